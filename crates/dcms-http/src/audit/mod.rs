//! Who did what, to whose record, from where.

mod csv;
mod dto;
mod routes;

pub(crate) use routes::routes;
