//! Days on which other programs went wrong.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Weekday, WeekdaySet};
use chrono_tz::Tz;
use dcms_domain::calendar::{
    Booking, Closure, Obstacle, SlotDoctor, SlotSearch, Stretch, TimeOfDay, TimeOff, Timetable,
    WallSpan, WeeklyInterval, WeeklyPlan,
};
use dcms_domain::shared::{Instant, RoomId, TimeSlot, UserId, clinic_day};
use uuid::Uuid;

fn id<Id: From<Uuid>>(number: u128) -> Id {
    Uuid::from_u128(number).into()
}

fn doctor() -> UserId {
    id(1)
}

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn stretch(from: &str, to: &str) -> Stretch {
    at(from)..at(to)
}

fn day_of(zone: Tz, date: &str) -> Stretch {
    let window = clinic_day(zone, day(date));
    window.from.unwrap()..window.to.unwrap()
}

/// The same hours every day, in minutes after midnight.
fn daily(hours: &[(u16, u16)]) -> WeeklyPlan {
    let mut intervals = Vec::new();
    let mut weekday = Weekday::Mon;
    for _ in 0..7 {
        for (opens_minute, closes_minute) in hours.iter().copied() {
            intervals.push(WeeklyInterval {
                weekday,
                opens_minute,
                closes_minute,
            });
        }
        weekday = weekday.succ();
    }
    WeeklyPlan {
        valid_from: day("1900-01-01"),
        intervals: Some(intervals),
    }
}

fn clinic(zone: Tz, clinic: Vec<WeeklyPlan>) -> Timetable {
    Timetable {
        zone,
        clinic,
        doctors: HashMap::new(),
        closures: Vec::new(),
        time_off: Vec::new(),
    }
}

fn search<'plans>(
    timetable: &'plans Timetable,
    doctors: &'plans [SlotDoctor],
    window: Stretch,
    minutes: i64,
) -> SlotSearch<'plans> {
    SlotSearch {
        timetable,
        bookings: &[],
        doctors,
        rooms: None,
        patient_id: None,
        window,
        starts: Instant::MIN_UTC..=Instant::MAX_UTC,
        length: TimeDelta::minutes(minutes),
        buffer: TimeDelta::zero(),
        grid_minutes: 5,
        weekdays: WeekdaySet::ALL,
        time_of_day: None,
    }
}

fn somebody() -> [SlotDoctor; 1] {
    [SlotDoctor {
        doctor_id: doctor(),
        usual_room_id: None,
    }]
}

fn starts(search: &SlotSearch<'_>) -> Vec<Instant> {
    (search.free_slots())
        .map(|free| free.slot.starts_at())
        .collect()
}

#[test]
fn nine_stays_nine_when_clocks_change() {
    for (zone, date, opens, closes) in [
        (Tz::Europe__Berlin, "2026-03-28", "08:00", "16:00"),
        (Tz::Europe__Berlin, "2026-03-29", "07:00", "15:00"),
        (Tz::Europe__Berlin, "2026-10-24", "07:00", "15:00"),
        (Tz::Europe__Berlin, "2026-10-25", "08:00", "16:00"),
        (Tz::America__New_York, "2026-03-07", "14:00", "22:00"),
        (Tz::America__New_York, "2026-03-08", "13:00", "21:00"),
        (Tz::America__New_York, "2026-11-01", "14:00", "22:00"),
        (Tz::Asia__Kathmandu, "2026-06-01", "03:15", "11:15"),
    ] {
        let timetable = clinic(zone, vec![daily(&[(540, 1020)])]);
        let open = timetable.open_times(doctor(), &day_of(zone, date));
        let expected = stretch(
            &format!("{date}T{opens}:00Z"),
            &format!("{date}T{closes}:00Z"),
        );
        assert_eq!(open, [expected], "{zone} {date}");
    }
}

#[test]
fn hours_that_the_clock_jumps_over_never_come_and_those_shown_twice_count_twice() {
    for (zone, date, hours, minutes) in [
        // 02:00 to 03:00 is skipped in spring, and comes twice in autumn.
        (Tz::Europe__Berlin, "2026-03-29", (120, 180), 0),
        (Tz::Europe__Berlin, "2026-03-29", (60, 240), 120),
        (Tz::Europe__Berlin, "2026-10-25", (120, 180), 120),
        (Tz::Europe__Berlin, "2026-10-25", (60, 240), 240),
        // In New York 01:00 to 02:00 comes twice.
        (Tz::America__New_York, "2026-03-08", (120, 180), 0),
        (Tz::America__New_York, "2026-11-01", (60, 120), 120),
        // Half an hour.
        (Tz::Australia__Lord_Howe, "2026-10-04", (120, 180), 30),
        (Tz::Australia__Lord_Howe, "2026-04-05", (60, 180), 150),
        (Tz::Australia__Lord_Howe, "2026-04-05", (90, 120), 60),
        // The day starts at 01:00.
        (Tz::America__Sao_Paulo, "2018-11-04", (0, 60), 0),
        (Tz::America__Sao_Paulo, "2018-11-04", (0, 120), 60),
        // Midnight comes twice.
        (Tz::America__Havana, "2026-11-01", (0, 60), 120),
        // The day does not come at all.
        (Tz::Pacific__Apia, "2011-12-30", (540, 1020), 0),
        (Tz::Pacific__Apia, "2011-12-31", (540, 1020), 480),
    ] {
        let timetable = clinic(zone, vec![daily(&[hours])]);
        let open = timetable.open_times(doctor(), &day_of(zone, date));
        let total: TimeDelta = open.iter().map(|open| open.end - open.start).sum();
        assert_eq!(total.num_minutes(), minutes, "{zone} {date} {hours:?}");
    }
}

#[test]
fn what_lies_on_both_sides_of_a_change_is_one_stretch() {
    let berlin = Tz::Europe__Berlin;
    let timetable = clinic(berlin, vec![daily(&[(60, 240)])]);
    let open = timetable.open_times(doctor(), &day_of(berlin, "2026-03-29"));
    assert_eq!(
        open,
        [stretch("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z")]
    );
    let over_the_change = TimeSlot::new(at("2026-03-29T00:30:00Z"), at("2026-03-29T01:30:00Z"));
    assert_eq!(timetable.obstacles(doctor(), over_the_change.unwrap()), []);
}

#[test]
fn the_first_slot_of_a_day_without_midnight_is_its_first_moment() {
    let sao_paulo = Tz::America__Sao_Paulo;
    let timetable = clinic(sao_paulo, vec![daily(&[(0, 1440)])]);
    let doctors = somebody();
    let search = search(&timetable, &doctors, day_of(sao_paulo, "2018-11-04"), 60);
    let starts = starts(&search);
    assert_eq!(starts.first(), Some(&at("2018-11-04T03:00:00Z")));
    assert_eq!(starts.last(), Some(&at("2018-11-05T01:00:00Z")));
}

#[test]
fn the_grid_is_on_the_wall_also_after_half_an_hour() {
    let lord_howe = Tz::Australia__Lord_Howe;
    let timetable = clinic(lord_howe, vec![daily(&[(0, 240)])]);
    let doctors = somebody();
    let search = SlotSearch {
        grid_minutes: 60,
        ..search(&timetable, &doctors, day_of(lord_howe, "2026-10-04"), 15)
    };
    // 00:00 and 01:00 at +10:30; 02:00 does not come; 03:00 at +11.
    let expected = [
        "2026-10-03T13:30:00Z",
        "2026-10-03T14:30:00Z",
        "2026-10-03T16:00:00Z",
    ];
    assert_eq!(starts(&search), expected.map(at));
}

#[test]
fn offsets_with_seconds_are_exact() {
    // Monrovia was 44 minutes and 30 seconds behind until 1972-01-07.
    let monrovia = Tz::Africa__Monrovia;
    let timetable = clinic(monrovia, vec![daily(&[(540, 545)])]);
    let open = timetable.open_times(doctor(), &day_of(monrovia, "1972-01-06"));
    assert_eq!(
        open,
        [stretch("1972-01-06T09:44:30Z", "1972-01-06T09:49:30Z")]
    );
    let doctors = somebody();
    let search = search(&timetable, &doctors, day_of(monrovia, "1972-01-06"), 5);
    assert_eq!(starts(&search), [at("1972-01-06T09:44:30Z")]);
}

#[test]
fn hours_go_past_midnight_over_the_end_of_the_week_and_of_the_plan() {
    // 2026-03-01 is a Sunday.
    let evening = WeeklyPlan {
        valid_from: day("2026-01-01"),
        intervals: Some(vec![WeeklyInterval {
            weekday: Weekday::Sun,
            opens_minute: 1320,
            closes_minute: 1560,
        }]),
    };
    let never = WeeklyPlan {
        valid_from: day("2026-03-02"),
        intervals: Some(Vec::new()),
    };
    let timetable = clinic(Tz::UTC, vec![evening, never]);
    let expected = [stretch("2026-03-01T22:00:00Z", "2026-03-02T02:00:00Z")];
    let around = stretch("2026-02-28T00:00:00Z", "2026-03-20T00:00:00Z");
    assert_eq!(timetable.open_times(doctor(), &around), expected);
}

#[test]
fn a_change_of_hours_leaves_the_days_before_it_alone() {
    let later = WeeklyPlan {
        valid_from: day("2026-03-10"),
        ..daily(&[(600, 660)])
    };
    let timetable = clinic(Tz::UTC, vec![daily(&[(540, 600)]), later]);
    let open = timetable.open_times(
        doctor(),
        &stretch("2026-03-09T00:00:00Z", "2026-03-11T00:00:00Z"),
    );
    let expected = [
        stretch("2026-03-09T09:00:00Z", "2026-03-09T10:00:00Z"),
        stretch("2026-03-10T10:00:00Z", "2026-03-10T11:00:00Z"),
    ];
    assert_eq!(open, expected);
}

#[test]
fn without_hours_the_clinic_is_open_and_doctors_have_its_hours() {
    let window = stretch("2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z");
    assert_eq!(
        clinic(Tz::UTC, Vec::new()).open_times(doctor(), &window),
        std::slice::from_ref(&window)
    );
    let unset = WeeklyPlan {
        valid_from: day("2026-03-01"),
        intervals: None,
    };
    let mut timetable = clinic(Tz::UTC, vec![daily(&[(540, 600)])]);
    timetable
        .doctors
        .insert(doctor(), vec![daily(&[(0, 60)]), unset]);
    let expected = [stretch("2026-03-09T09:00:00Z", "2026-03-09T10:00:00Z")];
    assert_eq!(timetable.open_times(doctor(), &window), expected);
}

#[test]
fn all_that_is_in_the_way_is_named() {
    let mut timetable = clinic(Tz::UTC, vec![daily(&[(540, 1020)])]);
    let span = |from: &str, until: &str| WallSpan {
        from: from.parse().unwrap(),
        until: until.parse().unwrap(),
    };
    timetable.closures.push(Closure {
        closure_id: id(7),
        span: span("2026-03-09T12:00:00", "2026-03-09T13:00:00"),
        reason: "Training".to_owned(),
        created_at: Instant::UNIX_EPOCH,
    });
    timetable.time_off.push(TimeOff {
        time_off_id: id(8),
        doctor_id: doctor(),
        span: span("2026-03-09T16:00:00", "2026-03-11T00:00:00"),
        reason: None,
        created_at: Instant::UNIX_EPOCH,
    });
    timetable.doctors.insert(id(2), vec![daily(&[(600, 1080)])]);
    let closure = Obstacle::Closure(id(7));
    let time_off = Obstacle::TimeOff(id(8));
    let moment = |time: &str| at(&format!("2026-03-09T{time}:00Z"));
    let slot = |from, to| TimeSlot::new(moment(from), moment(to)).unwrap();
    let closed = |from, to| Obstacle::ClinicHours(slot(from, to));
    let away = |from, to| Obstacle::DoctorHours(slot(from, to));
    for (doctor_id, from, to, expected) in [
        (1, "09:00", "12:00", vec![]),
        (1, "13:00", "16:00", vec![]),
        (1, "11:30", "12:01", vec![closure]),
        (1, "12:59", "13:30", vec![closure]),
        (1, "15:30", "16:01", vec![time_off]),
        (1, "08:59", "09:30", vec![closed("08:59", "09:00")]),
        (1, "07:00", "08:00", vec![closed("07:00", "08:00")]),
        (
            1,
            "16:30",
            "17:01",
            vec![closed("17:00", "17:01"), time_off],
        ),
        (
            1,
            "08:00",
            "20:00",
            vec![
                closed("08:00", "09:00"),
                closed("17:00", "20:00"),
                closure,
                time_off,
            ],
        ),
        (2, "16:00", "17:00", vec![]),
        (2, "09:59", "10:30", vec![away("09:59", "10:00")]),
        (2, "17:00", "18:00", vec![closed("17:00", "18:00")]),
        (
            2,
            "08:00",
            "08:30",
            vec![closed("08:00", "08:30"), away("08:00", "08:30")],
        ),
    ] {
        assert_eq!(
            timetable.obstacles(id(doctor_id), slot(from, to)),
            expected,
            "{doctor_id} {from}"
        );
    }
}

#[test]
fn slots_touch_closing_time_and_each_other() {
    let timetable = clinic(Tz::UTC, vec![daily(&[(540, 600)])]);
    let doctors = somebody();
    let moment = |time: &str| at(&format!("2026-03-09T{time}:00Z"));
    let bookings = [Booking {
        doctor_id: doctor(),
        patient_id: id(5),
        room_id: None,
        slot: TimeSlot::new(moment("09:20"), moment("09:30")).unwrap(),
        room_free_at: moment("09:30"),
    }];
    let search = SlotSearch {
        bookings: &bookings,
        ..search(&timetable, &doctors, day_of(Tz::UTC, "2026-03-09"), 20)
    };
    let expected = ["09:00", "09:30", "09:35", "09:40"].map(moment);
    assert_eq!(starts(&search), expected);
}

#[test]
fn a_window_that_ends_at_another_midnight_cuts_slots_off() {
    // Somebody asks for a day of UTC in a clinic in New York, open from 18:00 to 22:00.
    let timetable = clinic(Tz::America__New_York, vec![daily(&[(1080, 1320)])]);
    let doctors = somebody();
    let search = SlotSearch {
        grid_minutes: 30,
        ..search(&timetable, &doctors, day_of(Tz::UTC, "2026-07-02"), 60)
    };
    let expected = [
        // 20:00, 20:30 and 21:00 of July 1, then 18:00, 18:30 and 19:00 of July 2.
        "2026-07-02T00:00:00Z",
        "2026-07-02T00:30:00Z",
        "2026-07-02T01:00:00Z",
        "2026-07-02T22:00:00Z",
        "2026-07-02T22:30:00Z",
        "2026-07-02T23:00:00Z",
    ];
    assert_eq!(starts(&search), expected.map(at));
}

#[test]
fn filters_mean_what_the_clock_on_the_wall_shows() {
    // 2026-07-01 is a Wednesday. 22:00 in New York is Thursday in UTC.
    let timetable = clinic(Tz::America__New_York, Vec::new());
    let doctors = somebody();
    let search = SlotSearch {
        grid_minutes: 60,
        weekdays: WeekdaySet::single(Weekday::Wed),
        time_of_day: Some(TimeOfDay {
            from_minute: 1320,
            until_minute: 60,
        }),
        ..search(
            &timetable,
            &doctors,
            stretch("2026-06-29T00:00:00Z", "2026-07-05T00:00:00Z"),
            30,
        )
    };
    let expected = [
        "2026-07-01T04:00:00Z",
        "2026-07-02T02:00:00Z",
        "2026-07-02T03:00:00Z",
    ];
    assert_eq!(starts(&search), expected.map(at));
}

#[test]
fn a_room_is_free_when_it_was_cleaned_up_and_can_be_again() {
    let timetable = clinic(Tz::UTC, vec![daily(&[(540, 660)])]);
    let moment = |time: &str| at(&format!("2026-03-09T{time}:00Z"));
    let booking = |room, from, to, free_at| Booking {
        doctor_id: id(9),
        patient_id: id(5),
        room_id: Some(id(room)),
        slot: TimeSlot::new(moment(from), moment(to)).unwrap(),
        room_free_at: moment(free_at),
    };
    let bookings = [
        booking(1, "08:00", "09:10", "09:20"),
        booking(1, "10:00", "10:30", "10:40"),
        booking(2, "09:40", "10:40", "10:45"),
    ];
    let rooms: [RoomId; 2] = [id(1), id(2)];
    let doctors =
        [(1, None), (2, Some(id(2))), (3, Some(id(7)))].map(|(doctor, usual_room_id)| SlotDoctor {
            doctor_id: id(doctor),
            usual_room_id,
        });
    let search = SlotSearch {
        bookings: &bookings,
        rooms: Some(&rooms),
        grid_minutes: 20,
        buffer: TimeDelta::minutes(10),
        ..search(&timetable, &doctors, day_of(Tz::UTC, "2026-03-09"), 30)
    };
    let offered: Vec<_> = (search.free_slots())
        .map(|free| (free.slot.starts_at(), free.doctor_id, free.room_id.unwrap()))
        .collect();
    let expected: Vec<_> = [
        // The first room is still being cleaned; the second has to be clean by 09:40.
        ("09:00", 1, 2),
        ("09:00", 2, 2),
        ("09:00", 3, 2),
        ("09:20", 1, 1),
        ("09:20", 2, 1),
        ("09:20", 3, 1),
    ]
    .into_iter()
    .map(|(time, doctor, room)| (moment(time), id(doctor), id(room)))
    .collect();
    assert_eq!(offered, expected);
    assert_eq!(search.first_free_slots().len(), 3);
}
