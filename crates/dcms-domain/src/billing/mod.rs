//! Invoices, payments and refunds.

mod audited;
mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
