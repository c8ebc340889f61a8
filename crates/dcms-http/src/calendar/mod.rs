//! Hours, closures and time off.

mod dto;
mod routes;

pub(crate) use routes::routes;
