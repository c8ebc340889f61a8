//! When the clinic and its doctors can be booked: hours, closures, time off, and what is free.

mod availability;
mod model;
mod open_times;
mod repository;
mod stretches;
mod wall_clock;

pub use availability::*;
pub use model::*;
pub use repository::*;
