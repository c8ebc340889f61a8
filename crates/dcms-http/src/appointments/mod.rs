//! Visits: booked, moved, and brought through the day.

mod dto;
mod routes;

pub(crate) use dto::{Appointment, AppointmentVersion};
pub(crate) use routes::routes;
