//! Visits: booked, moved, and brought through the day.

mod audited;
mod changed;
mod conflicts;
mod front_desk;
mod history;
mod model;
mod planning;
mod repository;
mod service;

pub use changed::{Changed, Conflicts};
pub(crate) use conflicts::conflicts;
pub use conflicts::{AppointmentConflict, ComingVisit, ConflictScope};
pub use front_desk::*;
pub use history::*;
pub use model::*;
pub use repository::*;
pub use service::*;
