//! A day as the front desk sees it.

use chrono::{NaiveDate, TimeDelta};

use super::{Appointment, AppointmentKey, Status};
use crate::patients::RegisterNumber;
use crate::shared::{Cents, Instant, Page};

/// For how long before a visit it is counted how often its patient did not come.
pub const NO_SHOWS_COUNTED: TimeDelta = TimeDelta::days(365);

/// A day of the clinic, or a page of it, as it stands at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDesk {
    /// The day.
    pub day: NaiveDate,
    /// The moment.
    pub now: Instant,
    /// The visits, earlier ones first.
    pub visits: Page<DeskVisit, AppointmentKey>,
}

/// A visit with what the front desk wants to know around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskVisit {
    /// The visit.
    pub appointment: Appointment,
    /// The patient's number in the register.
    pub register_number: RegisterNumber,
    /// The patient's given names.
    pub first_name: String,
    /// The patient's family names.
    pub last_name: String,
    /// The patient's day of birth.
    pub birthday: Option<NaiveDate>,
    /// The patient's primary phone number; the first one when none is primary.
    pub phone: Option<String>,
    /// What the doctor is called.
    pub doctor_name: String,
    /// What the room is called.
    pub room_name: Option<String>,
    /// What the patient owes: the balances of all invoices that are issued and not void.
    pub balance: Cents,
    /// Whether the patient has no earlier visit, cancelled ones and no-shows aside.
    pub is_first: bool,
    /// How often the patient did not come in the [time before](NO_SHOWS_COUNTED).
    pub no_shows: u32,
}

impl DeskVisit {
    /// How old the patient is on a day, in years; nothing when that is not known or they are not
    /// born yet. Who was born on 29 February is a year older on 1 March in other years.
    #[must_use]
    pub fn age_on(&self, day: NaiveDate) -> Option<u32> {
        day.years_since(self.birthday?)
    }

    /// Whether the patient is a year older on that day than on the day before.
    #[must_use]
    pub fn has_birthday_on(&self, day: NaiveDate) -> bool {
        let before = day.pred_opt().and_then(|before| self.age_on(before));
        before.is_some() && self.age_on(day) > before
    }

    /// How long the patient waited from their arrival until they were seated, or waits by now.
    /// Nothing when they did not wait, or left.
    #[must_use]
    pub fn waiting(&self, now: Instant) -> Option<TimeDelta> {
        let visit = &self.appointment;
        let now = (visit.status == Status::Arrived).then_some(now);
        stretch(visit.arrived_at, visit.seated_at.or(now))
    }

    /// How long the patient was treated, or is by now.
    #[must_use]
    pub fn in_chair(&self, now: Instant) -> Option<TimeDelta> {
        let visit = &self.appointment;
        let now = (visit.status == Status::InChair).then_some(now);
        stretch(visit.seated_at, visit.completed_at.or(now))
    }
}

/// From one moment to another, which may be a little earlier by the clock of another instance.
fn stretch(from: Option<Instant>, to: Option<Instant>) -> Option<TimeDelta> {
    Some((to? - from?).max(TimeDelta::zero()))
}
