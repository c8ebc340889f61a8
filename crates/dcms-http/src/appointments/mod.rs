//! Visits: booked, moved, and brought through the day.

mod conflicts;
mod dto;
mod routes;

pub(crate) use conflicts::WithConflicts;
pub(crate) use dto::{Appointment, AppointmentVersion};
pub(crate) use routes::routes;
