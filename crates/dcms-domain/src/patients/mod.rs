//! Patients and how to reach them.

mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
