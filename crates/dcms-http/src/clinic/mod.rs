//! The clinic's settings, its rooms and doctors.

mod dto;
mod routes;

pub(crate) use routes::routes;
