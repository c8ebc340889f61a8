use async_trait::async_trait;
use chrono::{Days, NaiveDate, NaiveDateTime, TimeDelta};

use super::{
    Booking, Closure, Schedule, SlotDoctor, Stretch, TimeOff, Timetable, WallSpan, WeeklyPlan,
};
use crate::shared::{ClosureId, Instant, Page, PageRequest, PatientId, RoomId, TimeOffId, UserId};
use crate::store::StoreError;

/// Keeps hours, closures and time off.
///
/// Deletes answer [`StoreError::Conflict`] when there is nothing to delete any more.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait CalendarRepository: Send {
    /// Everything that says when these doctors may be booked, as far as it can matter to the
    /// stretch of time; perhaps a little more. Who is no doctor has no plans and no time off.
    async fn timetable(
        &mut self,
        doctor_ids: &[UserId],
        stretch: &Stretch,
    ) -> Result<Timetable, StoreError>;

    /// The active users with the role, or those of them who are named, in the order they were made.
    async fn slot_doctors(
        &mut self,
        among: Option<Vec<UserId>>,
    ) -> Result<Vec<SlotDoctor>, StoreError>;

    /// The active rooms, or those of them that are of the kind: by their position, then in the
    /// order they were made.
    async fn slot_rooms(&mut self, kind: Option<String>) -> Result<Vec<RoomId>, StoreError>;

    /// What takes one of the doctors, one of the rooms or the patient during the stretch of time,
    /// in no particular order; a visit may come more than once.
    async fn bookings(
        &mut self,
        doctor_ids: &[UserId],
        room_ids: &[RoomId],
        patient_id: Option<PatientId>,
        stretch: &Stretch,
    ) -> Result<Vec<Booking>, StoreError>;

    /// Keeps visits from being booked and moved until the unit of work ends. To be called before
    /// plans are changed: whoever is at work on a visit then has either seen the change, or has
    /// put the visit where this unit of work sees it.
    async fn hold_plans(&mut self) -> Result<(), StoreError>;

    /// The hours of the doctor, or of the clinic when nobody is named.
    async fn schedule(&mut self, doctor_id: Option<UserId>) -> Result<Schedule, StoreError>;

    /// Stores a schedule whose version was raised by one, and which has the plan in the place of
    /// all that begin when it does or later; when the stored one is not the version before,
    /// answers [`StoreError::Conflict`].
    async fn replace_plans(
        &mut self,
        schedule: &Schedule,
        plan: &WeeklyPlan,
        at: Instant,
    ) -> Result<(), StoreError>;

    /// Adds a closure.
    async fn insert_closure(&mut self, closure: &Closure) -> Result<(), StoreError>;

    /// The closure of that id.
    async fn closure(&mut self, closure_id: ClosureId) -> Result<Option<Closure>, StoreError>;

    /// Deletes a closure.
    async fn delete_closure(&mut self, closure_id: ClosureId) -> Result<(), StoreError>;

    /// The closures in the window, those that end earlier first.
    async fn closures(
        &mut self,
        window: WallWindow,
        page: PageRequest<ClosureKey>,
    ) -> Result<Page<Closure, ClosureKey>, StoreError>;

    /// Adds time off.
    async fn insert_time_off(&mut self, time_off: &TimeOff) -> Result<(), StoreError>;

    /// The time off of that id.
    async fn time_off(&mut self, time_off_id: TimeOffId) -> Result<Option<TimeOff>, StoreError>;

    /// Deletes time off.
    async fn delete_time_off(&mut self, time_off_id: TimeOffId) -> Result<(), StoreError>;

    /// A doctor's time off in the window, what ends earlier first.
    async fn time_off_of(
        &mut self,
        doctor_id: UserId,
        window: WallWindow,
        page: PageRequest<TimeOffKey>,
    ) -> Result<Page<TimeOff, TimeOffKey>, StoreError>;
}

/// What clocks can show during a stretch of time, wherever they are: none is a day off UTC or more.
#[must_use]
pub fn readings_during(stretch: &Stretch) -> WallSpan {
    let (from, until) = (stretch.start.naive_utc(), stretch.end.naive_utc());
    let day = TimeDelta::days(1);
    WallSpan {
        from: from.checked_sub_signed(day).unwrap_or(from),
        until: until.checked_add_signed(day).unwrap_or(until),
    }
}

/// The first and the last day whose plans can matter to a stretch of time: what opened the evening
/// before may still be open.
#[must_use]
pub fn plan_days_during(stretch: &Stretch) -> (NaiveDate, NaiveDate) {
    let readings = readings_during(stretch);
    let first = readings.from.date();
    let evening_before = first.checked_sub_days(Days::new(1)).unwrap_or(first);
    (evening_before, readings.until.date())
}

/// A stretch of wall time to look at: half open, an end that is absent is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WallWindow {
    /// The first reading of the clock that belongs to it.
    pub from: Option<NaiveDateTime>,
    /// The first that no longer belongs to it.
    pub to: Option<NaiveDateTime>,
}

impl WallWindow {
    /// Whether a reading belongs to both.
    #[must_use]
    pub fn overlaps(&self, span: WallSpan) -> bool {
        self.from.is_none_or(|from| from < span.until) && self.to.is_none_or(|to| span.from < to)
    }
}

/// The place of a closure in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClosureKey {
    /// When it ends.
    pub until: NaiveDateTime,
    /// Its id.
    pub closure_id: ClosureId,
}

/// The place of time off in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOffKey {
    /// When it ends.
    pub until: NaiveDateTime,
    /// Its id.
    pub time_off_id: TimeOffId,
}

impl From<&Closure> for ClosureKey {
    fn from(closure: &Closure) -> Self {
        Self {
            until: closure.span.until,
            closure_id: closure.closure_id,
        }
    }
}

impl From<&TimeOff> for TimeOffKey {
    fn from(time_off: &TimeOff) -> Self {
        Self {
            until: time_off.span.until,
            time_off_id: time_off.time_off_id,
        }
    }
}
