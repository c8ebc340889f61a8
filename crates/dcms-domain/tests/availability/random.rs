//! Thousands of made-up clinics around the days on which clocks change.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Weekday, WeekdaySet};
use chrono_tz::Tz;
use dcms_domain::calendar::{
    Booking, Closure, SlotDoctor, SlotSearch, Stretch, TimeOfDay, TimeOff, Timetable, WallSpan,
    WeeklyInterval, WeeklyPlan, starts_within_notice,
};
use dcms_domain::shared::{Instant, PatientId, RoomId, TimeSlot};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use proptest::sample::{select, subsequence};
use proptest::test_runner::RngAlgorithm;
use proptest::{prop_assert, prop_assert_eq};
use uuid::Uuid;

use super::brute_force;

/// Days on which something happens to the clock, and a few on which nothing does.
const PLACES: [(Tz, (i32, u32, u32)); 24] = [
    (Tz::UTC, (2026, 6, 1)),
    (Tz::Asia__Kathmandu, (2026, 1, 1)),
    (Tz::Europe__Berlin, (2026, 3, 29)),
    (Tz::Europe__Berlin, (2026, 10, 25)),
    (Tz::Europe__Berlin, (2026, 7, 1)),
    (Tz::America__New_York, (2026, 3, 8)),
    (Tz::America__New_York, (2026, 11, 1)),
    (Tz::Australia__Lord_Howe, (2026, 4, 5)),
    (Tz::Australia__Lord_Howe, (2026, 10, 4)),
    // A day that was skipped.
    (Tz::Pacific__Apia, (2011, 12, 30)),
    (Tz::Pacific__Kwajalein, (1993, 8, 21)),
    // Two days of the same date, of which the second was short.
    (Tz::America__Juneau, (1983, 10, 30)),
    // Midnight does not exist, or exists twice.
    (Tz::America__Havana, (2026, 3, 8)),
    (Tz::America__Havana, (2026, 11, 1)),
    (Tz::Asia__Beirut, (2026, 3, 29)),
    (Tz::Asia__Beirut, (2026, 10, 25)),
    (Tz::America__Sao_Paulo, (2018, 11, 4)),
    (Tz::America__Sao_Paulo, (2018, 2, 18)),
    // A minute past midnight.
    (Tz::America__St_Johns, (2010, 3, 14)),
    (Tz::America__St_Johns, (2010, 11, 7)),
    // By two hours.
    (Tz::Antarctica__Troll, (2026, 3, 29)),
    (Tz::Antarctica__Troll, (2026, 10, 25)),
    // Forward and back within a month.
    (Tz::Africa__Casablanca, (2026, 2, 15)),
    (Tz::Africa__Casablanca, (2026, 3, 22)),
];

const WEEKDAYS: [Weekday; 7] = [
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
    Weekday::Thu,
    Weekday::Fri,
    Weekday::Sat,
    Weekday::Sun,
];

fn id<Id: From<Uuid>>(number: u128) -> Id {
    Uuid::from_u128(number).into()
}

/// A clinic and what is looked for in it.
#[derive(Debug, Clone)]
struct Case {
    timetable: Timetable,
    bookings: Vec<Booking>,
    doctors: Vec<SlotDoctor>,
    rooms: Option<Vec<RoomId>>,
    patient_id: Option<PatientId>,
    window: Stretch,
    now: Instant,
    smallest_notice: TimeDelta,
    largest_notice: TimeDelta,
    length: TimeDelta,
    buffer: TimeDelta,
    grid_minutes: i32,
    weekdays: WeekdaySet,
    time_of_day: Option<TimeOfDay>,
}

impl Case {
    fn search(&self) -> SlotSearch<'_> {
        SlotSearch {
            timetable: &self.timetable,
            bookings: &self.bookings,
            doctors: &self.doctors,
            rooms: self.rooms.as_deref(),
            patient_id: self.patient_id,
            window: self.window.clone(),
            starts: starts_within_notice(self.now, self.smallest_notice, self.largest_notice),
            length: self.length,
            buffer: self.buffer,
            grid_minutes: self.grid_minutes,
            weekdays: self.weekdays,
            time_of_day: self.time_of_day,
        }
    }
}

fn minute_of_day() -> impl Strategy<Value = u16> {
    prop_oneof![3 => (0..96_u16).prop_map(|quarter| quarter * 15), 1 => 0..1440_u16]
}

fn interval(weekday: Weekday) -> impl Strategy<Value = WeeklyInterval> {
    let length = prop_oneof![
        Just(1440_u16),
        1..=1440_u16,
        (1..=16_u16).prop_map(|hour| hour * 60)
    ];
    (minute_of_day(), length).prop_map(move |(opens_minute, length)| WeeklyInterval {
        weekday,
        opens_minute,
        closes_minute: opens_minute + length,
    })
}

fn intervals() -> impl Strategy<Value = Vec<WeeklyInterval>> {
    WEEKDAYS
        .map(|weekday| vec(interval(weekday), 0..=2))
        .prop_map(|days| days.concat())
}

/// Plans that begin around the day.
fn plans(day: NaiveDate) -> impl Strategy<Value = Vec<WeeklyPlan>> {
    let days_before = prop_oneof![2 => Just(400_i64), 3 => -2..=3_i64];
    let plan = (days_before, weighted(0.8, intervals()));
    vec(plan, 0..=2).prop_map(move |plans| {
        let mut plans: Vec<_> = (plans.into_iter())
            .map(|(days_before, intervals)| WeeklyPlan {
                valid_from: day - TimeDelta::days(days_before),
                intervals,
            })
            .collect();
        plans.sort_by_key(|plan| plan.valid_from);
        plans.dedup_by_key(|plan| plan.valid_from);
        plans
    })
}

fn wall_span(midnight: NaiveDateTime) -> impl Strategy<Value = WallSpan> {
    let length = prop_oneof![1..=180_i64, 1..=1500_i64];
    (-1500..=1500_i64, length).prop_map(move |(from, length)| {
        let from = midnight + TimeDelta::minutes(from);
        WallSpan {
            from,
            until: from + TimeDelta::minutes(length),
        }
    })
}

fn timetable(zone: Tz, day: NaiveDate) -> impl Strategy<Value = Timetable> {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap();
    let doctors = (weighted(0.5, plans(day)), weighted(0.5, plans(day)));
    let closures = vec(wall_span(midnight), 0..=2);
    let time_off = vec((1..=3_u128, wall_span(midnight)), 0..=3);
    (plans(day), doctors, closures, time_off).prop_map(
        move |(clinic, (first, second), closures, time_off)| Timetable {
            zone,
            clinic,
            doctors: [(1, first), (2, second)]
                .into_iter()
                .filter_map(|(number, plans)| Some((id(number), plans?)))
                .collect(),
            closures: (100..)
                .zip(closures)
                .map(|(number, span)| Closure {
                    closure_id: id(number),
                    span,
                    reason: "Christmas".to_owned(),
                    created_at: Instant::UNIX_EPOCH,
                })
                .collect(),
            time_off: (200..)
                .zip(time_off)
                .map(|(number, (doctor, span))| TimeOff {
                    time_off_id: id(number),
                    doctor_id: id(doctor),
                    span,
                    reason: None,
                    created_at: Instant::UNIX_EPOCH,
                })
                .collect(),
        },
    )
}

/// Mostly none, as clients have whole minutes.
fn odd_seconds() -> impl Strategy<Value = TimeDelta> {
    prop_oneof![
        4 => Just(TimeDelta::zero()),
        1 => (0..60_000_000_i64).prop_map(TimeDelta::microseconds),
    ]
}

fn bookings(window_start: Instant) -> impl Strategy<Value = Vec<Booking>> {
    let length = prop_oneof![3 => 5..=60_i64, 1 => 1..=400_i64];
    let slot = (-30..=200_i64, length, odd_seconds());
    let buffer = weighted(0.3, 1..=240_i64);
    let booking = (1..=3_u128, 1..=3_u128, of(1..=3_u128), slot, buffer);
    vec(booking, 0..=6).prop_map(move |bookings| {
        (bookings.into_iter())
            .map(|(doctor, patient, room, (start, length, odd), buffer)| {
                let start = window_start + TimeDelta::minutes(start * 5) + odd;
                let end = start + TimeDelta::minutes(length);
                Booking {
                    doctor_id: id(doctor),
                    patient_id: id(patient),
                    room_id: room.map(id),
                    slot: TimeSlot::new(start, end).unwrap(),
                    room_free_at: end + TimeDelta::minutes(buffer.unwrap_or(0)),
                }
            })
            .collect()
    })
}

fn window(day: NaiveDate) -> impl Strategy<Value = Stretch> {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap().and_utc();
    let length = prop_oneof![9 => 1..=400_i64, 1 => 400..=1600_i64];
    let from = prop_oneof![-900..=1500_i64, (-15..=25_i64).prop_map(|hour| hour * 60)];
    (from, length, odd_seconds(), odd_seconds()).prop_map(move |(from, length, odd, odd_end)| {
        let from = midnight + TimeDelta::minutes(from) + odd;
        from..from + TimeDelta::minutes(length) + odd_end
    })
}

fn weekdays() -> impl Strategy<Value = WeekdaySet> {
    prop_oneof![
        4 => Just(WeekdaySet::ALL),
        1 => subsequence(WEEKDAYS.to_vec(), 0..=7).prop_map(WeekdaySet::from_iter),
    ]
}

fn time_of_day() -> impl Strategy<Value = Option<TimeOfDay>> {
    weighted(
        0.2,
        (minute_of_day(), 0..=1440_u16).prop_map(|(from_minute, until_minute)| TimeOfDay {
            from_minute,
            until_minute,
        }),
    )
}

fn doctors() -> impl Strategy<Value = Vec<SlotDoctor>> {
    let usual = of((1..=4_u128).prop_map(id));
    let doctors = (subsequence(vec![1_u128, 2], 1..=2).prop_shuffle(), usual);
    doctors.prop_map(|(doctors, usual_room_id)| {
        (doctors.into_iter())
            .map(|doctor| SlotDoctor {
                doctor_id: id(doctor),
                usual_room_id,
            })
            .collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let place = select(&PLACES[..]).prop_flat_map(|(zone, (year, month, day))| {
        let day = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let window = window(day).prop_flat_map(|window| (bookings(window.start), Just(window)));
        (timetable(zone, day), window)
    });
    let minutes = |minutes: std::ops::RangeInclusive<i64>| minutes.prop_map(TimeDelta::minutes);
    let notice = (
        prop_oneof![3 => minutes(-6000..=-3000), 1 => minutes(-200..=200)],
        odd_seconds(),
        prop_oneof![2 => minutes(0..=0), 1 => minutes(0..=300)],
        prop_oneof![3 => minutes(9000..=9000), 1 => minutes(0..=1500)],
    );
    let rooms = of(subsequence(vec![1_u128, 2, 3], 0..=3).prop_shuffle());
    let who_and_where = (doctors(), rooms, of((1..=3_u128).prop_map(id)));
    let wish = (
        select(vec![1, 5, 10, 15, 20, 30, 45, 60, 90, 180_i64]).prop_map(TimeDelta::minutes),
        select(vec![0, 0, 5, 10, 30, 240_i64]).prop_map(TimeDelta::minutes),
        select(vec![1, 2, 5, 5, 10, 15, 20, 30, 60_i32]),
        weekdays(),
        time_of_day(),
    );
    (place, notice, who_and_where, wish).prop_map(
        |(
            (timetable, (bookings, window)),
            (now, odd, smallest_notice, largest_notice),
            (doctors, rooms, patient_id),
            (length, buffer, grid_minutes, weekdays, time_of_day),
        )| Case {
            timetable,
            bookings,
            doctors,
            rooms: rooms.map(|rooms| rooms.into_iter().map(id).collect()),
            patient_id,
            now: window.start + now + odd,
            window,
            smallest_notice,
            largest_notice,
            length,
            buffer,
            grid_minutes,
            weekdays,
            time_of_day,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        // The default takes longer than what is tested.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_offered_is_what_can_be_booked(case in case(), after in 0..300_i64) {
        let search = case.search();
        let expected = brute_force::free_slots(&search);
        let offered: Vec<_> = search.free_slots().collect();
        prop_assert_eq!(&offered, &expected);
        let firsts: Vec<_> = (case.doctors.iter())
            .filter_map(|doctor| {
                (expected.iter()).find(|slot| slot.doctor_id == doctor.doctor_id).copied()
            })
            .collect();
        prop_assert_eq!(search.first_free_slots(), firsts);

        let start = case.window.start.timestamp().div_euclid(60) + after;
        let start = Instant::from_timestamp(start * 60, 0).unwrap();
        let slot = TimeSlot::new(start, start + case.length).unwrap();
        let (timetable, doctor_id) = (&case.timetable, case.doctors[0].doctor_id);
        let mut in_the_way = timetable.obstacles(doctor_id, slot);
        in_the_way.sort_by_key(|obstacle| format!("{obstacle:?}"));
        let mut expected = brute_force::obstacles(timetable, doctor_id, slot);
        expected.sort_by_key(|obstacle| format!("{obstacle:?}"));
        prop_assert_eq!(&in_the_way, &expected);
        let around = slot.starts_at() - TimeDelta::hours(20)..slot.ends_at() + TimeDelta::hours(20);
        let open = timetable.open_times(doctor_id, &around);
        let is_inside = (open.iter())
            .any(|open| open.start <= slot.starts_at() && slot.ends_at() <= open.end);
        prop_assert_eq!(is_inside, in_the_way.is_empty());
        prop_assert!(open.is_sorted_by(|one, next| one.end < next.start));
    }
}
