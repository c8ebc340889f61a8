#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::calendar as model;
use dcms_domain::shared::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::json::request_bodies;
use crate::wire::{Day, Id, Instant, Weekday};

/// The hours of the clinic or of a doctor.
#[derive(Serialize, ToSchema)]
pub(super) struct Hours {
    /// Earlier ones first; each is valid until the next one begins. Before the first, hours are
    /// unset.
    plans: Vec<WeeklyPlan>,
}

/// Weekly hours that are valid from a day on.
#[derive(Serialize, ToSchema)]
pub(super) struct WeeklyPlan {
    /// The first day that it is valid on.
    valid_from: Day,
    /// In the order of the week. Empty: no hours at all. Null: unset, so a doctor has the clinic's
    /// hours, and a clinic is always open.
    intervals: Option<Vec<WeeklyInterval>>,
}

/// Hours of a weekday, by the clinic's clock.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WeeklyInterval {
    /// The day it opens on.
    weekday: Weekday,
    /// `HH:MM`, `00:00` to `23:59`.
    opens_at: String,
    /// `HH:MM`, `00:00` to `24:00`; on the next day when it is not later than `opens_at`.
    closes_at: String,
}

impl From<model::Schedule> for Hours {
    fn from(schedule: model::Schedule) -> Self {
        Self {
            plans: schedule.plans.into_iter().map(WeeklyPlan::from).collect(),
        }
    }
}

impl From<model::WeeklyPlan> for WeeklyPlan {
    fn from(plan: model::WeeklyPlan) -> Self {
        let intervals = plan.intervals;
        Self {
            valid_from: Day(plan.valid_from),
            intervals: intervals
                .map(|intervals| intervals.into_iter().map(WeeklyInterval::from).collect()),
        }
    }
}

impl From<model::WeeklyInterval> for WeeklyInterval {
    fn from(interval: model::WeeklyInterval) -> Self {
        let (opens_at, closes_at) = interval.times();
        Self {
            weekday: Weekday(interval.weekday),
            opens_at,
            closes_at,
        }
    }
}

/// Other weekly hours, from a day on until they are changed again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeHours {
    /// The first day that they are valid on; the clinic's today when absent. Plans that begin then
    /// or later are replaced, earlier ones stay.
    valid_from: Option<Day>,
    /// At most 100, which do not overlap, past midnight and over the end of the week included.
    /// Empty: no hours at all. Null: unset, so a doctor has the clinic's hours, and a clinic is
    /// always open.
    #[schema(required = true)]
    intervals: Option<Vec<WeeklyInterval>>,
}

impl From<ChangeHours> for model::ChangeHours {
    fn from(body: ChangeHours) -> Self {
        let request = |interval: WeeklyInterval| model::IntervalRequest {
            weekday: interval.weekday.0,
            opens_at: interval.opens_at,
            closes_at: interval.closes_at,
        };
        Self {
            valid_from: body.valid_from.map(|day| day.0),
            intervals: body
                .intervals
                .map(|intervals| intervals.into_iter().map(request).collect()),
        }
    }
}

/// A time at which the clinic is closed: one stretch, by the clinic's clock.
#[derive(Serialize, ToSchema)]
pub(super) struct Closure {
    closure_id: Id,
    /// Its first day.
    starts_on: Day,
    /// `HH:MM` of that day; null: from its beginning.
    starts_at_time: Option<String>,
    /// Its last day.
    ends_on: Day,
    /// `HH:MM` of that day; null: to its end.
    ends_at_time: Option<String>,
    reason: String,
    created_at: Instant,
}

impl From<model::Closure> for Closure {
    fn from(closure: model::Closure) -> Self {
        let span = model::SpanRequest::from(closure.span);
        Self {
            closure_id: Id::of(closure.closure_id),
            starts_on: Day(span.starts_on),
            starts_at_time: span.starts_at_time,
            ends_on: Day(span.ends_on.unwrap_or(span.starts_on)),
            ends_at_time: span.ends_at_time,
            reason: closure.reason,
            created_at: Instant(closure.created_at),
        }
    }
}

/// A closure to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateClosure {
    /// Its first day.
    starts_on: Day,
    /// `HH:MM` of that day, `00:00` to `23:59`; from its beginning when absent.
    starts_at_time: Option<String>,
    /// Its last day; the first when absent.
    ends_on: Option<Day>,
    /// `HH:MM` of that day, `00:00` to `24:00`; to its end when absent.
    ends_at_time: Option<String>,
    /// 1 to 500 characters.
    reason: String,
}

impl From<CreateClosure> for model::CreateClosure {
    fn from(body: CreateClosure) -> Self {
        Self {
            span: model::SpanRequest {
                starts_on: body.starts_on.0,
                starts_at_time: body.starts_at_time,
                ends_on: body.ends_on.map(|day| day.0),
                ends_at_time: body.ends_at_time,
            },
            reason: body.reason,
        }
    }
}

/// A time at which a doctor is not there: one stretch, by the clinic's clock.
#[derive(Serialize, ToSchema)]
pub(super) struct TimeOff {
    time_off_id: Id,
    doctor_id: Id,
    /// Its first day.
    starts_on: Day,
    /// `HH:MM` of that day; null: from its beginning.
    starts_at_time: Option<String>,
    /// Its last day.
    ends_on: Day,
    /// `HH:MM` of that day; null: to its end.
    ends_at_time: Option<String>,
    reason: Option<String>,
    created_at: Instant,
}

impl From<model::TimeOff> for TimeOff {
    fn from(time_off: model::TimeOff) -> Self {
        let span = model::SpanRequest::from(time_off.span);
        Self {
            time_off_id: Id::of(time_off.time_off_id),
            doctor_id: Id::of(time_off.doctor_id),
            starts_on: Day(span.starts_on),
            starts_at_time: span.starts_at_time,
            ends_on: Day(span.ends_on.unwrap_or(span.starts_on)),
            ends_at_time: span.ends_at_time,
            reason: time_off.reason,
            created_at: Instant(time_off.created_at),
        }
    }
}

/// Time off to be given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateTimeOff {
    /// Its first day.
    starts_on: Day,
    /// `HH:MM` of that day, `00:00` to `23:59`; from its beginning when absent.
    starts_at_time: Option<String>,
    /// Its last day; the first when absent.
    ends_on: Option<Day>,
    /// `HH:MM` of that day, `00:00` to `24:00`; to its end when absent.
    ends_at_time: Option<String>,
    /// At most 500 characters. Everybody who may read the clinic's hours sees it.
    reason: Option<String>,
}

impl CreateTimeOff {
    pub(super) fn of(self, doctor_id: UserId) -> model::CreateTimeOff {
        model::CreateTimeOff {
            doctor_id,
            span: model::SpanRequest {
                starts_on: self.starts_on.0,
                starts_at_time: self.starts_at_time,
                ends_on: self.ends_on.map(|day| day.0),
                ends_at_time: self.ends_at_time,
            },
            reason: self.reason,
        }
    }
}

/// Which closures or which time off is looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DayWindow {
    /// Only what is not over before this day.
    from: Option<Day>,
    /// Only what starts before this day.
    to: Option<Day>,
}

impl From<DayWindow> for model::DayWindow {
    fn from(window: DayWindow) -> Self {
        Self {
            from: window.from.map(|day| day.0),
            to: window.to.map(|day| day.0),
        }
    }
}

request_bodies!(ChangeHours, CreateClosure, CreateTimeOff);
