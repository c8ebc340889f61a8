//! Users, passwords and sessions.

mod dto;
mod routes;

pub(crate) use routes::routes;
