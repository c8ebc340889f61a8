//! When the clinic and its doctors can be booked: hours, closures, time off, and what is free.

mod audited;
mod commands;
mod model;
mod repository;
mod service;

pub use commands::*;
pub use model::*;
pub use repository::*;
pub use service::*;
