//! Visits: booked, moved, and brought through the day.

mod conflicts;
mod dto;
mod events;
mod routes;

pub(crate) use conflicts::{Obstacle, WithConflicts};
pub(crate) use dto::{Appointment, AppointmentVersion};
pub(crate) use events::LAST_EVENT_ID;
pub(crate) use routes::routes;
