//! Visits: booked, moved, and brought through the day.

mod dto;
mod routes;

pub(crate) use routes::routes;
