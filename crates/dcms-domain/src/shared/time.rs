//! Instants, days and slots. Instants are UTC; days belong to the clinic's time zone.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// A moment, to the microsecond.
pub type Instant = DateTime<Utc>;

/// The first year in which a date or an instant is believed.
pub const EARLIEST_YEAR: i32 = 1900;
/// The first year in which it is not believed any more.
pub const LATEST_YEAR: i32 = 2200;
/// The longest slot.
pub const MAX_SLOT_HOURS: i64 = 24;

/// Whether a date lies in the years that a clinic's records can be about.
#[must_use]
pub fn is_sane_day(day: NaiveDate) -> bool {
    (EARLIEST_YEAR..LATEST_YEAR).contains(&day.year())
}

/// Whether an instant lies in the years that a clinic's records can be about.
#[must_use]
pub fn is_sane_instant(instant: Instant) -> bool {
    is_sane_day(instant.date_naive())
}

/// A time that an appointment takes: half open, never empty, at most 24 hours, in sane years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeSlot {
    starts_at: Instant,
    ends_at: Instant,
}

/// Why two instants do not make a [`TimeSlot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeSlotError {
    /// An end lies outside the years that are believed.
    #[error("must lie between the years {EARLIEST_YEAR} and {LATEST_YEAR}")]
    OutOfRange,
    /// It ends before or when it starts.
    #[error("must be after starts_at")]
    Empty,
    /// It is longer than [`MAX_SLOT_HOURS`].
    #[error("must be at most {MAX_SLOT_HOURS} hours after starts_at")]
    TooLong,
}

impl TimeSlot {
    /// The slot `[starts_at, ends_at)`.
    ///
    /// # Errors
    /// A [`TimeSlotError`] that names the promise the two instants break.
    pub fn new(starts_at: Instant, ends_at: Instant) -> Result<Self, TimeSlotError> {
        if !is_sane_instant(starts_at) || !is_sane_instant(ends_at) {
            return Err(TimeSlotError::OutOfRange);
        }
        if ends_at <= starts_at {
            return Err(TimeSlotError::Empty);
        }
        if ends_at - starts_at > TimeDelta::hours(MAX_SLOT_HOURS) {
            return Err(TimeSlotError::TooLong);
        }
        Ok(Self { starts_at, ends_at })
    }

    /// The first moment that belongs to the slot.
    #[must_use]
    pub const fn starts_at(&self) -> Instant {
        self.starts_at
    }

    /// The first moment that no longer belongs to it.
    #[must_use]
    pub const fn ends_at(&self) -> Instant {
        self.ends_at
    }

    /// Whether each moment of the other belongs to this one.
    #[must_use]
    pub fn contains(&self, other: Self) -> bool {
        self.starts_at <= other.starts_at && other.ends_at <= self.ends_at
    }

    /// How long it takes.
    #[must_use]
    pub fn length(&self) -> TimeDelta {
        self.ends_at - self.starts_at
    }

    /// Whether a moment belongs to both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.starts_at < other.ends_at && other.starts_at < self.ends_at
    }
}

/// A stretch of time to look at, half open; an end that is absent is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// The first moment that belongs to it.
    pub from: Option<Instant>,
    /// The first moment that no longer belongs to it.
    pub to: Option<Instant>,
}

impl TimeWindow {
    /// Whether a moment belongs to both.
    #[must_use]
    pub fn overlaps(&self, slot: TimeSlot) -> bool {
        let from = self.from.unwrap_or(Instant::MIN_UTC).max(slot.starts_at());
        let to = self.to.unwrap_or(Instant::MAX_UTC).min(slot.ends_at());
        from < to
    }
}

impl From<TimeSlot> for TimeWindow {
    fn from(slot: TimeSlot) -> Self {
        Self {
            from: Some(slot.starts_at),
            to: Some(slot.ends_at),
        }
    }
}

/// An end of a window as callers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// That moment.
    At(Instant),
    /// The first moment of that day in the clinic's zone.
    StartOf(NaiveDate),
}

/// A window as callers write it: two bounds, a day, or both; then what lies in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowRequest {
    /// The first moment that belongs to it.
    pub from: Option<Bound>,
    /// The first moment that no longer belongs to it.
    pub to: Option<Bound>,
    /// A day of the clinic.
    pub day: Option<NaiveDate>,
}

impl WindowRequest {
    /// Whether it takes the clinic's zone to tell which instants are meant.
    #[must_use]
    pub const fn needs_zone(&self) -> bool {
        self.day.is_some()
            || matches!(self.from, Some(Bound::StartOf(_)))
            || matches!(self.to, Some(Bound::StartOf(_)))
    }

    /// The instants that are meant.
    #[must_use]
    pub fn resolve(&self, zone: Tz) -> TimeWindow {
        let instant = |bound| match bound {
            Bound::At(instant) => instant,
            Bound::StartOf(day) => start_of_day(zone, day),
        };
        let day = self
            .day
            .map_or_else(TimeWindow::default, |day| clinic_day(zone, day));
        // An absent bound is open, so the other one holds.
        let later = |one: Option<Instant>, other: Option<Instant>| one.max(other);
        let earlier = |one: Option<Instant>, other: Option<Instant>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        TimeWindow {
            from: later(self.from.map(instant), day.from),
            to: earlier(self.to.map(instant), day.to),
        }
    }
}

/// The instants that a clinic's day covers: 24 hours, 23 or 25 when clocks change, none when the
/// zone skipped the day.
///
/// Where midnight does not exist the day starts with its first moment; where it exists twice, with
/// the earlier one.
#[must_use]
pub fn clinic_day(zone: Tz, day: NaiveDate) -> TimeWindow {
    TimeWindow {
        from: Some(start_of_day(zone, day)),
        to: day
            .checked_add_days(Days::new(1))
            .map(|next| start_of_day(zone, next)),
    }
}

fn start_of_day(zone: Tz, day: NaiveDate) -> Instant {
    let midnight = day.and_time(NaiveTime::MIN);
    if let Some(start) = zone.from_local_datetime(&midnight).earliest() {
        return start.with_timezone(&Utc);
    }
    // Clocks jumped over midnight. Read with the offset that held before the jump, midnight is
    // the jump itself, which is the day's first moment. No zone ever jumped by more than a day.
    let before = zone.offset_from_utc_datetime(&(midnight - TimeDelta::days(1)));
    (midnight - before.fix()).and_utc()
}
