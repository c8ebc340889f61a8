use std::collections::HashMap;
use std::fmt;

use chrono::{NaiveDate, NaiveDateTime, SecondsFormat, Weekday};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::shared::{ClosureId, Instant, TimeOffId, TimeSlot, UserId, Version};

/// Minutes of a day.
pub const MINUTES_PER_DAY: u16 = 24 * 60;

/// Hours of one weekday: half open, in minutes that the clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeeklyInterval {
    /// The day it opens on.
    pub weekday: Weekday,
    /// Minutes after that day's midnight, less than [`MINUTES_PER_DAY`].
    pub opens_minute: u16,
    /// Minutes after the same midnight, later than it opens by at most a day: more than
    /// [`MINUTES_PER_DAY`] when it closes on the next day.
    pub closes_minute: u16,
}

impl WeeklyInterval {
    /// Whether a minute of the week, of which the first follows the last, belongs to both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        const MINUTES_PER_WEEK: u32 = 7 * MINUTES_PER_DAY as u32;
        let span = |interval: &Self| {
            let day = interval.weekday.num_days_from_monday();
            let midnight = day * u32::from(MINUTES_PER_DAY);
            let opens = midnight + u32::from(interval.opens_minute);
            (opens, midnight + u32::from(interval.closes_minute))
        };
        let meet = |one: (u32, u32), other: (u32, u32)| one.0 < other.1 && other.0 < one.1;
        let a_week_later = |(opens, closes)| (opens + MINUTES_PER_WEEK, closes + MINUTES_PER_WEEK);
        let (this, other) = (span(self), span(other));
        meet(this, other) || meet(this, a_week_later(other)) || meet(a_week_later(this), other)
    }

    /// Intervals are told in the order of the week.
    pub(crate) fn place_in_the_week(self) -> (u32, u16) {
        (self.weekday.num_days_from_monday(), self.opens_minute)
    }
}

/// Weekly hours that are valid from a day on, until the next plan of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeeklyPlan {
    /// The first day that it is valid on. What opens the evening before goes on past midnight.
    pub valid_from: NaiveDate,
    /// The hours: apart from each other also across midnight and the end of the week. Empty: none
    /// at all. `None`: unset, so a doctor has the clinic's hours, and a clinic is always open.
    pub intervals: Option<Vec<WeeklyInterval>>,
}

/// The hours of the clinic or of a doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whose hours they are; the clinic's when nobody is named.
    pub doctor_id: Option<UserId>,
    /// Earlier ones first. Before the first, hours are unset.
    pub plans: Vec<WeeklyPlan>,
    /// Counts the changes, from 0.
    pub version: Version,
}

impl Schedule {
    /// The schedule after one more change: the plan stands in the place of all that begin when it
    /// does or later.
    #[must_use]
    pub(crate) fn with(&self, plan: WeeklyPlan) -> Self {
        let earlier = self.plans.iter();
        let earlier = earlier.filter(|earlier| earlier.valid_from < plan.valid_from);
        let mut plans: Vec<WeeklyPlan> = earlier.cloned().collect();
        plans.push(plan);
        Self {
            doctor_id: self.doctor_id,
            plans,
            version: self.version.next(),
        }
    }
}

/// A stretch of wall time: half open, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WallSpan {
    /// The first reading of the clock that belongs to it.
    pub from: NaiveDateTime,
    /// The first that no longer belongs to it.
    pub until: NaiveDateTime,
}

/// A time at which nobody is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// Its id.
    pub closure_id: ClosureId,
    /// When.
    pub span: WallSpan,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: Instant,
}

/// A time at which a doctor is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeOff {
    /// Its id.
    pub time_off_id: TimeOffId,
    /// Who is not there.
    pub doctor_id: UserId,
    /// When.
    pub span: WallSpan,
    /// Why, if somebody wants to say.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: Instant,
}

/// Everything that says when doctors may be booked, as far as it can matter to a stretch of time.
///
/// A moment belongs to hours, to a closure or to time off when the clinic's clock shows a time of
/// it at that moment. So 09:00 stays 09:00 when clocks change; a time that does not exist on a day
/// never comes, and one that exists twice counts both times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// The clinic's zone.
    pub zone: Tz,
    /// The clinic's plans, earlier ones first.
    pub clinic: Vec<WeeklyPlan>,
    /// The plans of doctors who have some, earlier ones first.
    pub doctors: HashMap<UserId, Vec<WeeklyPlan>>,
    /// Closures.
    pub closures: Vec<Closure>,
    /// Time off of the doctors.
    pub time_off: Vec<TimeOff>,
}

/// What stands in the way of a visit, besides other visits.
///
/// It says so much that what was accepted of a visit can be told from what came later: other
/// minutes of it, another closure, a doctor or a room that came back and is gone again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The clinic is not open for this part of the visit.
    ClinicHours(TimeSlot),
    /// The doctor does not work for this part of the visit.
    DoctorHours(TimeSlot),
    /// The clinic is closed for some of it.
    Closure(ClosureId),
    /// The doctor is not there for some of it.
    TimeOff(TimeOffId),
    /// The doctor is disabled, or no doctor any more, since then.
    DoctorNotAvailable(Instant),
    /// The room is inactive since then.
    RoomNotAvailable(Instant),
}

impl Obstacle {
    /// Whether who accepted this accepted the other too.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::ClinicHours(accepted), Self::ClinicHours(part))
            | (Self::DoctorHours(accepted), Self::DoctorHours(part)) => accepted.contains(part),
            _ => self == other,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::ClinicHours(_) => "clinic_hours",
            Self::DoctorHours(_) => "doctor_hours",
            Self::Closure(_) => "closure",
            Self::TimeOff(_) => "time_off",
            Self::DoctorNotAvailable(_) => "doctor_not_available",
            Self::RoomNotAvailable(_) => "room_not_available",
        }
    }

    /// The obstacle that is written so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (kind, which) = name.split_once(':')?;
        match kind {
            "clinic_hours" => part_from_name(which).map(Self::ClinicHours),
            "doctor_hours" => part_from_name(which).map(Self::DoctorHours),
            "closure" => Some(Self::Closure(which.parse::<Uuid>().ok()?.into())),
            "time_off" => Some(Self::TimeOff(which.parse::<Uuid>().ok()?.into())),
            "doctor_not_available" => which.parse().ok().map(Self::DoctorNotAvailable),
            "room_not_available" => which.parse().ok().map(Self::RoomNotAvailable),
            _ => None,
        }
    }
}

fn part_from_name(name: &str) -> Option<TimeSlot> {
    let (starts_at, ends_at) = name.split_once('/')?;
    TimeSlot::new(starts_at.parse().ok()?, ends_at.parse().ok()?).ok()
}

/// How it is stored: its kind, a colon, and which: an id, an instant, or an ISO 8601 interval.
impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = |instant: Instant| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write!(formatter, "{}:", self.kind())?;
        match self {
            Self::ClinicHours(part) | Self::DoctorHours(part) => {
                let (starts_at, ends_at) = (instant(part.starts_at()), instant(part.ends_at()));
                write!(formatter, "{starts_at}/{ends_at}")
            }
            Self::Closure(closure_id) => write!(formatter, "{closure_id}"),
            Self::TimeOff(time_off_id) => write!(formatter, "{time_off_id}"),
            Self::DoctorNotAvailable(since) | Self::RoomNotAvailable(since) => {
                formatter.write_str(&instant(*since))
            }
        }
    }
}
