//! Who did what, to whose record, from where.

mod csv;
mod dto;
mod routes;

pub(crate) use dto::ExportedAccess;
pub(crate) use routes::routes;
