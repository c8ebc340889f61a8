//! Slots are half open, and a clinic's day is as long as its clocks make it.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use dcms_domain::shared::{
    Bound, Instant, TimeSlot, TimeSlotError, TimeWindow, WindowRequest, clinic_day, is_sane_day,
    is_sane_instant,
};
use proptest::prelude::{ProptestConfig, proptest};
use proptest::{prop_assert, prop_assert_eq};

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn minute(minutes: i64) -> Instant {
    at("2026-03-02T09:00:00Z") + TimeDelta::minutes(minutes)
}

fn slot(from: i64, to: i64) -> TimeSlot {
    TimeSlot::new(minute(from), minute(to)).unwrap()
}

#[test]
fn a_slot_is_never_empty_nor_longer_than_a_day() {
    let start = minute(0);
    for (length, expected) in [
        (TimeDelta::microseconds(-1), Err(TimeSlotError::Empty)),
        (TimeDelta::zero(), Err(TimeSlotError::Empty)),
        (TimeDelta::microseconds(1), Ok(())),
        (TimeDelta::hours(24), Ok(())),
        (
            TimeDelta::hours(24) + TimeDelta::microseconds(1),
            Err(TimeSlotError::TooLong),
        ),
    ] {
        let slot = TimeSlot::new(start, start + length);
        assert_eq!(slot.map(|_| ()), expected, "{length}");
        if let Ok(slot) = slot {
            assert_eq!((slot.starts_at(), slot.ends_at()), (start, start + length));
        }
    }
}

#[test]
fn a_slot_lies_in_years_that_are_believed() {
    let hour = TimeDelta::hours(1);
    for (start, is_believed) in [
        (at("1899-12-31T22:59:59Z"), false),
        (at("1899-12-31T23:30:00Z"), false),
        (at("1900-01-01T00:00:00Z"), true),
        (at("2199-12-31T22:59:59Z"), true),
        (at("2199-12-31T23:00:00Z"), false),
        (at("2200-01-01T00:00:00Z"), false),
        (Instant::MIN_UTC, false),
        (Instant::MAX_UTC - hour, false),
    ] {
        let expected = if is_believed {
            Ok(())
        } else {
            Err(TimeSlotError::OutOfRange)
        };
        let slot = TimeSlot::new(start, start + hour);
        assert_eq!(slot.map(|_| ()), expected, "{start}");
    }
    assert!(is_sane_day(day("1900-01-01")) && !is_sane_day(day("1899-12-31")));
    assert!(is_sane_day(day("2199-12-31")) && !is_sane_day(day("2200-01-01")));
    assert!(is_sane_instant(at("1900-01-01T00:00:00Z")));
    assert!(!is_sane_instant(at("2200-01-01T00:00:00Z")));
}

#[test]
fn each_of_the_thirteen_relations_of_two_slots_overlaps_or_not() {
    let ours = slot(60, 90);
    for (relation, from, to, overlaps) in [
        ("before", 0, 50, false),
        ("meets", 0, 60, false),
        ("overlaps", 50, 70, true),
        ("starts", 60, 80, true),
        ("during", 70, 80, true),
        ("finishes", 70, 90, true),
        ("equals", 60, 90, true),
        ("is finished by", 50, 90, true),
        ("contains", 50, 100, true),
        ("is started by", 60, 100, true),
        ("is overlapped by", 80, 100, true),
        ("is met by", 90, 100, false),
        ("after", 100, 120, false),
    ] {
        let theirs = slot(from, to);
        assert_eq!(theirs.overlaps(&ours), overlaps, "{relation}");
        assert_eq!(
            ours.overlaps(&theirs),
            overlaps,
            "{relation}, seen from there"
        );
    }
}

fn hours(window: TimeWindow) -> f64 {
    let length = window.to.unwrap() - window.from.unwrap();
    f64::from(i32::try_from(length.num_minutes()).unwrap()) / 60.0
}

#[test]
fn a_day_is_as_long_as_the_clocks_make_it() {
    for (zone, date, expected) in [
        (Tz::UTC, "2026-03-29", 24.0),
        (Tz::Europe__Berlin, "2026-03-28", 24.0),
        (Tz::Europe__Berlin, "2026-03-29", 23.0),
        (Tz::Europe__Berlin, "2026-10-25", 25.0),
        (Tz::America__New_York, "2026-03-08", 23.0),
        (Tz::America__New_York, "2026-11-01", 25.0),
        (Tz::Australia__Lord_Howe, "2026-04-05", 24.5),
        (Tz::Australia__Lord_Howe, "2026-10-04", 23.5),
        (Tz::America__Sao_Paulo, "2018-11-04", 23.0),
        (Tz::America__Havana, "2026-11-01", 25.0),
        (Tz::Pacific__Apia, "2011-12-30", 0.0),
        (Tz::Pacific__Apia, "2011-12-29", 24.0),
    ] {
        let window = clinic_day(zone, day(date));
        let length = hours(window);
        assert!(
            (length - expected).abs() < 1e-9,
            "{zone} {date}: {length} h"
        );
    }
}

#[test]
fn a_day_starts_with_its_first_moment() {
    for (zone, date, expected) in [
        (Tz::Europe__Berlin, "2026-03-29", "2026-03-28T23:00:00Z"),
        (Tz::Europe__Berlin, "2026-03-30", "2026-03-29T22:00:00Z"),
        (Tz::America__New_York, "2026-07-01", "2026-07-01T04:00:00Z"),
        // Midnight does not exist: clocks jump from 00:00 to 01:00.
        (Tz::America__Sao_Paulo, "2018-11-04", "2018-11-04T03:00:00Z"),
        (Tz::Asia__Beirut, "2026-03-29", "2026-03-28T22:00:00Z"),
        // Midnight exists twice: clocks jump from 01:00 back to 00:00.
        (Tz::America__Havana, "2026-11-01", "2026-11-01T04:00:00Z"),
        // Samoa went from the 29th to the 31st.
        (Tz::Pacific__Apia, "2011-12-30", "2011-12-30T10:00:00Z"),
        (Tz::Pacific__Apia, "2011-12-31", "2011-12-30T10:00:00Z"),
    ] {
        let window = clinic_day(zone, day(date));
        assert_eq!(window.from, Some(at(expected)), "{zone} {date}");
    }
}

const ZONES: [Tz; 10] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::America__Havana,
    Tz::America__St_Johns,
    Tz::Asia__Beirut,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Apia,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overlap_is_a_moment_in_common(
        from in 0..100_i64,
        length in 1..50_i64,
        other_from in 0..100_i64,
        other_length in 1..50_i64,
    ) {
        let ours = slot(from, from + length);
        let theirs = slot(other_from, other_from + other_length);
        let in_common = (from..from + length)
            .any(|minute| (other_from..other_from + other_length).contains(&minute));
        prop_assert_eq!(ours.overlaps(&theirs), in_common);
        prop_assert_eq!(theirs.overlaps(&ours), in_common);
    }

    #[test]
    fn days_follow_each_other_and_hold_their_own_moments(
        zone in proptest::sample::select(&ZONES[..]),
        days in 0..73_000_i64,
        share in 0.0..1.0_f64,
    ) {
        let date = day("1950-01-01") + TimeDelta::days(days);
        let TimeWindow { from: Some(from), to: Some(to) } = clinic_day(zone, date) else {
            panic!("{date} has two ends");
        };
        let next = clinic_day(zone, date + TimeDelta::days(1));
        prop_assert_eq!(next.from, Some(to));
        let local_date = |instant: Instant| zone.from_utc_datetime(&instant.naive_utc()).date_naive();
        prop_assert!(local_date(from - TimeDelta::microseconds(1)) < date);
        prop_assert!(local_date(to) > date);
        if from < to {
            let somewhere = from + (to - from).mul_share(share);
            prop_assert_eq!(local_date(somewhere), date);
        }
    }
}

trait MulShare {
    fn mul_share(self, share: f64) -> Self;
}

impl MulShare for TimeDelta {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "any moment of the day will do"
    )]
    fn mul_share(self, share: f64) -> Self {
        Self::seconds((self.num_seconds() as f64 * share) as i64)
    }
}

#[test]
fn the_last_day_there_is_has_an_open_end() {
    let window = clinic_day(Tz::UTC, NaiveDate::MAX);
    assert_eq!(window.to, None);
    assert_eq!(window.from.unwrap().year(), NaiveDate::MAX.year());
}

#[test]
fn bounds_mean_instants_or_the_start_of_days_in_the_clinics_zone() {
    let berlin = Tz::Europe__Berlin;
    let request = WindowRequest {
        from: Some(Bound::StartOf(day("2026-03-29"))),
        to: Some(Bound::At(at("2026-03-29T10:00:00Z"))),
        day: None,
    };
    assert_eq!(
        request.resolve(berlin),
        TimeWindow {
            from: Some(at("2026-03-28T23:00:00Z")),
            to: Some(at("2026-03-29T10:00:00Z")),
        }
    );
    assert_eq!(
        WindowRequest::default().resolve(berlin),
        TimeWindow::default()
    );
}

#[test]
fn a_day_and_bounds_together_mean_what_lies_in_both() {
    let whole = WindowRequest {
        day: Some(day("2026-03-02")),
        ..WindowRequest::default()
    };
    let day_window = |from: &str, to: &str| TimeWindow {
        from: Some(at(from)),
        to: Some(at(to)),
    };
    assert_eq!(
        whole.resolve(Tz::UTC),
        day_window("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")
    );
    let inside = WindowRequest {
        from: Some(Bound::At(at("2026-03-02T08:00:00Z"))),
        to: Some(Bound::At(at("2026-03-02T09:00:00Z"))),
        ..whole
    };
    assert_eq!(
        inside.resolve(Tz::UTC),
        day_window("2026-03-02T08:00:00Z", "2026-03-02T09:00:00Z")
    );
    let around = WindowRequest {
        from: Some(Bound::At(at("2026-03-01T08:00:00Z"))),
        to: Some(Bound::StartOf(day("2026-03-04"))),
        ..whole
    };
    assert_eq!(around.resolve(Tz::UTC), whole.resolve(Tz::UTC));
    let open = WindowRequest {
        from: Some(Bound::At(at("2026-03-02T08:00:00Z"))),
        ..whole
    };
    assert_eq!(
        open.resolve(Tz::UTC),
        day_window("2026-03-02T08:00:00Z", "2026-03-03T00:00:00Z")
    );
}

#[test]
fn the_zone_is_needed_only_when_a_day_is_named() {
    let instant = Some(Bound::At(Utc.timestamp_opt(0, 0).unwrap()));
    let start_of = Some(Bound::StartOf(day("2026-03-02")));
    for (from, to, date, expected) in [
        (None, None, None, false),
        (instant, instant, None, false),
        (start_of, instant, None, true),
        (None, start_of, None, true),
        (None, None, Some(day("2026-03-02")), true),
    ] {
        let request = WindowRequest {
            from,
            to,
            day: date,
        };
        assert_eq!(request.needs_zone(), expected, "{request:?}");
    }
}
