//! The services that can be planned and charged.

mod dto;
mod routes;

pub(crate) use routes::routes;
