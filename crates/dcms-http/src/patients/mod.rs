//! Patients and how to reach them.

mod dto;
mod routes;

pub(crate) use routes::routes;
