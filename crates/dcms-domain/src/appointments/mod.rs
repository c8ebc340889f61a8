//! Visits: booked, moved, and brought through the day.

mod audited;
mod changed;
mod conflicts;
mod model;
mod planning;
mod repository;
mod service;

pub use changed::Changed;
pub use conflicts::*;
pub use model::*;
pub use repository::*;
pub use service::*;
