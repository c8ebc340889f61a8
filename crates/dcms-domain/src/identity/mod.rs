//! Users, passwords and sessions.

mod audited;
mod model;
mod passwords;
mod repository;
mod service;
pub mod session_cache;
pub mod throttle;

pub use model::*;
pub use passwords::*;
pub use repository::*;
pub use service::*;
