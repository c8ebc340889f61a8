//! When the clinic and its doctors can be booked: hours, closures, time off, and what is free.

mod audited;
mod availability;
mod commands;
mod model;
mod open_times;
mod repository;
mod service;
mod slot_search;
mod stretches;
mod wall_clock;

pub use availability::*;
pub use commands::*;
pub use model::*;
pub use repository::*;
pub use service::*;
pub use slot_search::*;
pub use stretches::Stretch;
