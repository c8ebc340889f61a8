//! The clinic itself: its settings, rooms and doctors.

mod audited;
mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
