//! When the clinic and its doctors can be booked: hours, closures, time off, and what is free.

mod model;
mod repository;

pub use model::*;
pub use repository::*;
