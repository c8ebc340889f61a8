//! Invoices, payments and refunds.

mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
