//! When the clinic and its doctors can be booked: hours, closures, time off, and what is free.

mod model;

pub use model::*;
