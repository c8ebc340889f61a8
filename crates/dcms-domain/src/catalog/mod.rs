//! The services that can be planned and charged.

mod model;
mod repository;
mod service;

pub use model::*;
pub use repository::*;
pub use service::*;
