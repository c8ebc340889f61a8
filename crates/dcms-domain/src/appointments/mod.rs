//! Visits: booked, moved, and brought through the day.

mod audited;
mod history;
mod model;
mod repository;
mod service;

pub use history::*;
pub use model::*;
pub use repository::*;
pub use service::*;
