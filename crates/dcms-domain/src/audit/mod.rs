//! The audit log: who did what, to whose record, from where.
//!
//! A change and its entry are one: [`UnitOfWork::commit`](crate::store::UnitOfWork::commit) takes
//! the entry, so nothing can be changed without one. Reads hand theirs to the [`AccessLog`], which
//! writes them down in batches off the path of the request.

mod access_log;
mod model;
mod repository;
mod service;

pub use access_log::{AccessLog, WrittenDown};
pub use model::{
    AuditAction, AuditEntry, AuditFilter, AuditQuery, AuditValue, Entity, FieldChange, Subject,
};
pub(crate) use model::{Audited, created, patients_of};
pub use repository::*;
pub use service::AuditService;
