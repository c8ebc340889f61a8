//! Users, passwords and sessions.

mod audited;
mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
