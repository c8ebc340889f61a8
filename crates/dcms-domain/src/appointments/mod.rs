//! Visits: booked, moved, and brought through the day.

mod audited;
mod model;
mod planning;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
