//! Patients and how to reach them.

mod audited;
mod model;
mod privacy;
mod repository;
mod service;

pub use model::*;
pub use privacy::{PatientError, PatientExport};
pub use repository::*;
pub use service::*;
