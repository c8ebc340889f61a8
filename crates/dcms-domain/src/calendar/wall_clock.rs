use chrono::{DateTime, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::stretches::{Stretch, merged};
use super::{MINUTES_PER_DAY, WallSpan, WeeklyInterval};
use crate::shared::Instant;

/// How far apart the zone is asked for its offset. In the tz database no two changes are less than
/// three days apart, so none hides between two answers.
const SECONDS_BETWEEN_PROBES: i64 = 24 * 60 * 60;

/// What a clock of the zone shows during a stretch of time.
pub(super) struct WallClock {
    segments: Vec<Segment>,
}

/// A stretch during which the offset stays the same: there wall time runs like time itself.
pub(super) struct Segment {
    pub(super) stretch: Stretch,
    pub(super) offset: TimeDelta,
}

impl WallClock {
    pub(super) fn new(zone: Tz, window: &Stretch) -> Self {
        let offset_at = |second: i64| {
            let moment = DateTime::<Utc>::from_timestamp(second, 0).unwrap_or(Instant::MAX_UTC);
            let offset = zone.offset_from_utc_datetime(&moment.naive_utc()).fix();
            TimeDelta::seconds(offset.local_minus_utc().into())
        };
        let mut segments = Vec::new();
        let mut start = window.start;
        let mut probed = start.timestamp();
        let mut offset = offset_at(probed);
        while probed < window.end.timestamp() {
            let mut next = window
                .end
                .timestamp()
                .min(probed.saturating_add(SECONDS_BETWEEN_PROBES));
            if offset_at(next) != offset {
                // Offsets change on whole seconds: the first second of the other offset is sought.
                while next - probed > 1 {
                    let middle = i64::midpoint(probed, next);
                    if offset_at(middle) == offset {
                        probed = middle;
                    } else {
                        next = middle;
                    }
                }
                let change = DateTime::from_timestamp(next, 0).unwrap_or(window.end);
                segments.push(Segment {
                    stretch: start..change,
                    offset,
                });
                start = change;
                offset = offset_at(next);
            }
            probed = next;
        }
        segments.push(Segment {
            stretch: start..window.end,
            offset,
        });
        segments.retain(|segment| !segment.stretch.is_empty());
        Self { segments }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The moments at which the clock shows a reading of the span.
    pub(super) fn moments(&self, span: WallSpan) -> Vec<Stretch> {
        self.segments
            .iter()
            .filter_map(|segment| segment.moments(span))
            .collect()
    }

    /// The moments at which the clock shows a reading of the hours that open on each day; whole
    /// days where no hours are set.
    pub(super) fn moments_of_hours<'plans>(
        &self,
        hours_on: impl Fn(NaiveDate) -> Option<&'plans [WeeklyInterval]>,
    ) -> Vec<Stretch> {
        let mut moments = Vec::new();
        for segment in &self.segments {
            for day in segment.days() {
                match hours_on(day) {
                    None => moments.extend(segment.moments(minutes_of(day, 0, MINUTES_PER_DAY))),
                    Some(hours) => moments.extend(
                        hours
                            .iter()
                            .filter(|interval| interval.weekday == chrono::Datelike::weekday(&day))
                            .map(|interval| {
                                minutes_of(day, interval.opens_minute, interval.closes_minute)
                            })
                            .filter_map(|span| segment.moments(span)),
                    ),
                }
            }
        }
        merged(moments)
    }
}

/// From the first to the last moment at which a clock of the zone shows a reading of the span;
/// nothing when none is ever shown.
pub(super) fn moments_around(span: WallSpan, zone: Tz) -> Option<Stretch> {
    // No clock is a day off UTC or more.
    let day = TimeDelta::days(1);
    let wide = (span.from - day).and_utc()..(span.until + day).and_utc();
    let moments = WallClock::new(zone, &wide).moments(span);
    let start = moments.iter().map(|stretch| stretch.start).min()?;
    let end = moments.iter().map(|stretch| stretch.end).max()?;
    Some(start..end)
}

impl Segment {
    fn reading(&self, moment: Instant) -> NaiveDateTime {
        moment.naive_utc() + self.offset
    }

    fn moments(&self, span: WallSpan) -> Option<Stretch> {
        let from = (span.from - self.offset).and_utc();
        let until = (span.until - self.offset).and_utc();
        let stretch = from.max(self.stretch.start)..until.min(self.stretch.end);
        (!stretch.is_empty()).then_some(stretch)
    }

    /// The days whose hours can reach into the segment: what opens the day before may still be on.
    fn days(&self) -> impl Iterator<Item = NaiveDate> + use<> {
        let first = (self.reading(self.stretch.start) - TimeDelta::days(1)).date();
        let last = self.reading(self.stretch.end).date();
        first.iter_days().take_while(move |day| *day <= last)
    }
}

fn minutes_of(day: NaiveDate, from_minute: u16, until_minute: u16) -> WallSpan {
    let reading =
        |minute: u16| day.and_time(chrono::NaiveTime::MIN) + TimeDelta::minutes(minute.into());
    WallSpan {
        from: reading(from_minute),
        until: reading(until_minute),
    }
}
