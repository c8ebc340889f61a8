//! Plans as callers write them, and what is wrong with them.

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};

use super::{MINUTES_PER_DAY, WallSpan, WeeklyInterval, WeeklyPlan};
use crate::shared::{
    EARLIEST_YEAR, FaultCode, Faults, LATEST_YEAR, UserId, is_sane_day, single_line_text,
};

/// The most intervals of a weekly plan.
pub const MAX_WEEKLY_INTERVALS: usize = 100;

/// Another weekly plan from a day on.
#[derive(Debug, Clone)]
pub struct ChangeHours {
    /// The first day that it is valid on; the clinic's today when absent.
    pub valid_from: Option<NaiveDate>,
    /// The hours; unset when absent.
    pub intervals: Option<Vec<IntervalRequest>>,
}

/// Hours of a weekday.
#[derive(Debug, Clone)]
pub struct IntervalRequest {
    /// The day it opens on.
    pub weekday: Weekday,
    /// `HH:MM`.
    pub opens_at: String,
    /// `HH:MM`, also `24:00`; on the next day when it is not later than it opens.
    pub closes_at: String,
}

/// A stretch of wall time.
#[derive(Debug, Clone)]
pub struct SpanRequest {
    /// Its first day.
    pub starts_on: NaiveDate,
    /// `HH:MM` of that day; its beginning when absent.
    pub starts_at_time: Option<String>,
    /// Its last day; the first when absent.
    pub ends_on: Option<NaiveDate>,
    /// `HH:MM` of that day, also `24:00`; its end when absent.
    pub ends_at_time: Option<String>,
}

/// A closure to be made.
#[derive(Debug, Clone)]
pub struct CreateClosure {
    /// When.
    pub span: SpanRequest,
    /// Why.
    pub reason: String,
}

/// Time off to be made.
#[derive(Debug, Clone)]
pub struct CreateTimeOff {
    /// Whose.
    pub doctor_id: UserId,
    /// When.
    pub span: SpanRequest,
    /// Why, if somebody wants to say.
    pub reason: Option<String>,
}

impl ChangeHours {
    /// The plan that is meant.
    pub(super) fn plan(&self, today: NaiveDate) -> Result<WeeklyPlan, Faults> {
        let mut faults = Faults::new();
        let valid_from = self.valid_from.unwrap_or(today);
        check_day(valid_from, "/valid_from", &mut faults);
        let intervals = self
            .intervals
            .as_ref()
            .map(|requests| weekly_intervals(requests, &mut faults));
        faults.into_result().map(|()| WeeklyPlan {
            valid_from,
            intervals,
        })
    }
}

fn weekly_intervals(requests: &[IntervalRequest], faults: &mut Faults) -> Vec<WeeklyInterval> {
    if requests.len() > MAX_WEEKLY_INTERVALS {
        let detail = format!("must have at most {MAX_WEEKLY_INTERVALS} intervals");
        faults.add("/intervals", FaultCode::TooLong, detail);
        return Vec::new();
    }
    let mut intervals: Vec<WeeklyInterval> = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let pointer = format!("/intervals/{index}");
        let opens = minute_of_day(&request.opens_at, &format!("{pointer}/opens_at"), faults);
        let closes = closing_minute(&request.closes_at, &format!("{pointer}/closes_at"), faults);
        let (Some(opens_minute), Some(closes)) = (opens, closes) else {
            continue;
        };
        let interval = WeeklyInterval {
            weekday: request.weekday,
            opens_minute,
            closes_minute: if closes > opens_minute {
                closes
            } else {
                closes + MINUTES_PER_DAY
            },
        };
        if intervals.iter().any(|earlier| earlier.overlaps(&interval)) {
            let detail = "must not overlap an interval before it";
            faults.add(pointer, FaultCode::Conflicting, detail);
        }
        intervals.push(interval);
    }
    intervals.sort_by_key(|interval| interval.place_in_the_week());
    intervals
}

impl SpanRequest {
    /// The stretch that is meant; notes what is wrong with it.
    pub(super) fn check(&self, faults: &mut Faults) -> Option<WallSpan> {
        let starts_is_sane = check_day(self.starts_on, "/starts_on", faults);
        let ends_on = self.ends_on.unwrap_or(self.starts_on);
        let ends_is_sane = self
            .ends_on
            .is_none_or(|ends_on| check_day(ends_on, "/ends_on", faults));
        let starts = self.starts_at_time.as_ref().map_or(Some(0), |time| {
            minute_of_day(time, "/starts_at_time", faults)
        });
        let ends = self
            .ends_at_time
            .as_ref()
            .map_or(Some(MINUTES_PER_DAY), |time| {
                closing_minute(time, "/ends_at_time", faults)
            });
        if !(starts_is_sane && ends_is_sane) {
            return None;
        }
        let span = WallSpan {
            from: reading(self.starts_on, starts?),
            until: reading(ends_on, ends?),
        };
        // The day after the last one that is believed is none.
        if !is_sane_day(span.until.date()) {
            faults.add("/ends_on", FaultCode::OutOfRange, "must be a day earlier");
            return None;
        }
        if span.from >= span.until {
            let pointer = match self.ends_at_time {
                Some(_) => "/ends_at_time",
                None => "/ends_on",
            };
            faults.add(pointer, FaultCode::OutOfRange, "must be after it starts");
            return None;
        }
        Some(span)
    }
}

fn reading(day: NaiveDate, minute: u16) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN) + TimeDelta::minutes(i64::from(minute))
}

/// Whether a day lies in the years that are believed; else notes that it does not.
fn check_day(day: NaiveDate, pointer: &str, faults: &mut Faults) -> bool {
    let is_sane = is_sane_day(day);
    if !is_sane {
        let detail = format!("must lie between the years {EARLIEST_YEAR} and {LATEST_YEAR}");
        faults.add(pointer, FaultCode::OutOfRange, detail);
    }
    is_sane
}

/// The minute of the day that a time is; notes what is none.
pub(super) fn minute_of_day(time: &str, pointer: &str, faults: &mut Faults) -> Option<u16> {
    let minute = parsed_time(time).filter(|minute| *minute < MINUTES_PER_DAY);
    if minute.is_none() {
        let detail = "must be a time of the day as HH:MM, 00:00 to 23:59";
        faults.add(pointer, FaultCode::InvalidFormat, detail);
    }
    minute
}

/// Like [`minute_of_day`], for ends: the end of the day is one.
pub(super) fn closing_minute(time: &str, pointer: &str, faults: &mut Faults) -> Option<u16> {
    let minute = parsed_time(time);
    if minute.is_none() {
        let detail = "must be a time of the day as HH:MM, 00:00 to 24:00";
        faults.add(pointer, FaultCode::InvalidFormat, detail);
    }
    minute
}

/// The minutes from `00:00` to `24:00`.
fn parsed_time(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_two_digits)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= MINUTES_PER_DAY).then_some(minute)
}

/// Why somebody or everybody is not there.
pub(super) fn reason_text(reason: &str, faults: &mut Faults) -> String {
    single_line_text(reason, 500, "/reason", faults)
}

/// How a minute of the day, or its end, is written: `HH:MM`.
#[must_use]
pub fn time_text(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl WeeklyInterval {
    /// When it opens and closes, as callers write it.
    #[must_use]
    pub fn times(&self) -> (String, String) {
        let closes = if self.closes_minute > MINUTES_PER_DAY {
            self.closes_minute - MINUTES_PER_DAY
        } else {
            self.closes_minute
        };
        (time_text(self.opens_minute), time_text(closes))
    }
}

impl From<WallSpan> for SpanRequest {
    /// The stretch as callers write it: without times where it has whole days.
    fn from(span: WallSpan) -> Self {
        let time = |reading: NaiveDateTime| {
            let is_midnight = reading.time() == NaiveTime::MIN;
            (!is_midnight).then(|| reading.format("%H:%M").to_string())
        };
        let ends_at_time = time(span.until);
        let last_day = match ends_at_time {
            Some(_) => span.until.date(),
            // A stretch that is not empty and ends at midnight began on a day before.
            None => span.until.date() - Days::new(1),
        };
        Self {
            starts_on: span.from.date(),
            starts_at_time: time(span.from),
            ends_on: Some(last_day),
            ends_at_time,
        }
    }
}
