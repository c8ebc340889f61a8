//! When a patient can be seen: what is offered is what can be booked.

use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use dcms_domain::shared::{Clock as _, clinic_day};
use dcms_system::SystemClock;
use dcms_tests::Answer;
use serde_json::{Value, json};

use crate::support::{Clinic, NOBODY, book, every_day, items, set_hours, texts, today, url, with};

const PATH: &str = "/api/v1/availability";

/// A Monday that has not come yet.
fn monday() -> NaiveDate {
    let soon = today() + Days::new(14);
    soon.week(Weekday::Mon).last_day() + Days::new(1)
}

/// The moment of that day, `HH:MM` in UTC.
fn at(day: NaiveDate, time: &str) -> String {
    format!("{day}T{time}:00Z")
}

/// A clinic that is open every day during these hours, with offers every quarter of an hour.
async fn open_at(hours: &[(&str, &str)]) -> Clinic {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    set_hours(admin, "/api/v1/clinic/hours", &every_day(hours)).await;
    change_settings(&clinic, &json!({"slot_grid_minutes": 15})).await;
    clinic
}

async fn change_settings(clinic: &Clinic, changes: &Value) {
    let answer = clinic.server.admin().patch("/api/v1/clinic", changes).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn offers(clinic: &Clinic, query: &[(&str, &str)]) -> Answer {
    clinic.desk.get(&url(PATH, query)).await
}

/// The starts that are offered.
async fn starts(clinic: &Clinic, query: &[(&str, &str)]) -> Vec<String> {
    texts(&offers(clinic, query).await, "starts_at")
}

fn times(day: NaiveDate, times: &[&str]) -> Vec<String> {
    times.iter().map(|time| at(day, time)).collect()
}

#[tokio::test]
async fn the_hours_of_a_day_are_offered_on_the_grid() {
    let clinic = open_at(&[("09:00", "10:00"), ("23:30", "00:15")]).await;
    let day = monday();
    let date = day.to_string();
    let expected = ["09:00", "09:15", "09:30", "23:30"];
    let found = offers(&clinic, &[("date", &date)]).await;
    assert_eq!(texts(&found, "starts_at"), times(day, &expected));
    let first = &items(&found)[0];
    assert_eq!(first["doctor_id"], clinic.doctor.user_id.as_str());
    assert_eq!(first["room_id"], Value::Null);
    assert_eq!(first["ends_at"], at(day, "09:30"));
    assert_eq!(found.body["next_cursor"], Value::Null);

    // Past midnight belongs to the next day.
    let query = [("date", date.as_str()), ("duration_minutes", "15")];
    let expected = [
        "00:00", "09:00", "09:15", "09:30", "09:45", "23:30", "23:45",
    ];
    assert_eq!(starts(&clinic, &query).await, times(day, &expected));
    let (from, to) = (at(day, "09:15"), at(day, "09:50"));
    let query = [
        ("from", from.as_str()),
        ("to", &to),
        ("duration_minutes", "15"),
    ];
    assert_eq!(
        starts(&clinic, &query).await,
        times(day, &["09:15", "09:30"])
    );
}

#[tokio::test]
async fn nothing_is_offered_on_closures_during_time_off_and_visits() {
    let clinic = open_at(&[("09:00", "12:00")]).await;
    let (admin, day) = (clinic.server.admin(), monday());
    let part = json!({
        "starts_on": day.to_string(), "starts_at_time": "09:00", "ends_at_time": "09:30", "reason": "Training",
    });
    admin
        .create("/api/v1/clinic/closures", &part, "closure_id")
        .await;
    let time_off = format!("/api/v1/doctors/{}/time_off", clinic.doctor.user_id);
    let part = json!({"starts_on": day.to_string(), "starts_at_time": "11:15"});
    admin.create(&time_off, &part, "time_off_id").await;
    clinic.visit(&at(day, "10:00"), &at(day, "10:30")).await;
    let cancelled = clinic.visit(&at(day, "10:45"), &at(day, "11:00")).await;
    let cancel = format!("/api/v1/appointments/{cancelled}/cancel");
    let answer = clinic.desk.post(&cancel, &json!({"reason": "Ill"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = starts(&clinic, &[("date", &day.to_string())]).await;
    assert_eq!(found, times(day, &["09:30", "10:30", "10:45"]));
}

#[tokio::test]
async fn filters_leave_out_what_is_not_wanted() {
    let clinic = open_at(&[("09:00", "10:00")]).await;
    let (admin, day) = (clinic.server.admin(), monday());
    let second = clinic.server.user("doctor").await.user_id;
    let first = clinic.doctor.user_id.clone();
    let hours = every_day(&[("09:30", "11:00")]);
    set_hours(admin, &format!("/api/v1/doctors/{second}/hours"), &hours).await;
    let until = (day + Days::new(7)).to_string();
    let date = day.to_string();
    let week = [
        ("from", date.as_str()),
        ("to", until.as_str()),
        ("duration_minutes", "30"),
    ];
    let both = async |more: &[(&str, &str)]| {
        let query = [&week[..], more].concat();
        let found = offers(&clinic, &query).await;
        let doctors = texts(&found, "doctor_id");
        let pairs: Vec<_> = (texts(&found, "starts_at").into_iter())
            .zip(doctors)
            .collect();
        pairs
    };
    let all = both(&[]).await;
    assert_eq!(all.len(), 7 * 4);
    let of = |doctor: &String| {
        let theirs = all.iter().filter(|(_, theirs)| theirs == doctor);
        theirs.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&second).len(), 7);
    assert_eq!(both(&[("doctor_id", &first)]).await, of(&first));
    assert_eq!(
        both(&[("doctor_id", &second), ("doctor_id", &first)]).await,
        all
    );
    assert_eq!(
        both(&[("doctor_id", NOBODY), ("doctor_id", &second)]).await,
        of(&second)
    );
    assert_eq!(both(&[("doctor_id", NOBODY)]).await, []);
    assert_eq!(both(&[("doctor_id", &clinic.desk.user_id)]).await, []);

    let some_days = both(&[("weekday", "monday"), ("weekday", "thursday")]).await;
    let thursday = day + Days::new(3);
    let is_wanted = |start: &str| {
        [day, thursday]
            .iter()
            .any(|day| start.starts_with(&day.to_string()))
    };
    let expected: Vec<_> = all
        .iter()
        .filter(|(start, _)| is_wanted(start))
        .cloned()
        .collect();
    assert_eq!(some_days, expected);
    let late = both(&[("time_from", "09:15"), ("time_to", "09:30")]).await;
    assert_eq!(late.len(), 7);
    assert!(late.iter().all(|(start, _)| start.ends_with("T09:15:00Z")));
    assert_eq!(
        both(&[("time_from", "09:30"), ("time_to", "09:15")])
            .await
            .len(),
        7 * 3
    );

    // Pages hold all of it, once.
    let mut paged = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = [&week[..], &[("limit", "5")]].concat();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = offers(&clinic, &query).await;
        assert!(items(&page).len() <= 5);
        paged.extend(
            texts(&page, "starts_at")
                .into_iter()
                .zip(texts(&page, "doctor_id")),
        );
        cursor = page.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_service_says_how_long_by_whom_and_where() {
    let clinic = open_at(&[("09:00", "10:00")]).await;
    let (admin, day) = (clinic.server.admin(), monday());
    let second = clinic.server.user("doctor").await.user_id;
    let crown = json!({
        "code": "D2740", "name": "Crown", "current_price_cents": 100, "buffer_minutes": 15,
        "default_duration_minutes": 45, "room_kind": "surgery", "doctor_ids": [second],
    });
    let crown = admin.create("/api/v1/services", &crown, "service_id").await;
    clinic.server.room("Waiting").await;
    let surgery = json!({"name": "Surgery", "kind": "surgery", "position": 7});
    let surgery = admin.create("/api/v1/rooms", &surgery, "room_id").await;
    let date = day.to_string();
    let query = [
        ("date", date.as_str()),
        ("service_id", &crown),
        ("room_id", "any"),
    ];
    let found = offers(&clinic, &query).await;
    assert_eq!(texts(&found, "starts_at"), times(day, &["09:00", "09:15"]));
    assert_eq!(texts(&found, "ends_at"), times(day, &["09:45", "10:00"]));
    assert_eq!(texts(&found, "doctor_id"), [second.as_str(), &second]);
    assert_eq!(texts(&found, "room_id"), [surgery.as_str(), &surgery]);
    let longer = [&query[..], &[("duration_minutes", "60")]].concat();
    assert_eq!(starts(&clinic, &longer).await, times(day, &["09:00"]));
    let first = clinic.doctor.user_id.as_str();
    let not_theirs = [&query[..], &[("doctor_id", first)]].concat();
    assert_eq!(starts(&clinic, &not_theirs).await, times(day, &[]));

    // A visit in the room whose clean-up ends at 09:15 leaves the slot after it.
    let visit = json!({
        "patient_id": clinic.patient, "doctor_id": second, "room_id": surgery,
        "services": [{"service_id": crown, "qty": 1}], "overbook_reason": "Came early",
        "starts_at": at(day, "08:30"), "ends_at": at(day, "09:00"),
    });
    book(admin, &visit).await;
    let expected = times(day, &["09:15"]);
    assert_eq!(starts(&clinic, &query).await, expected);
    let query = [
        ("date", date.as_str()),
        ("service_id", &crown),
        ("room_id", &surgery),
    ];
    assert_eq!(starts(&clinic, &query).await, expected);
    let without_room = [("date", date.as_str()), ("service_id", crown.as_str())];
    let expected = times(day, &["09:00", "09:15"]);
    assert_eq!(starts(&clinic, &without_room).await, expected);
}

#[tokio::test]
async fn the_usual_room_comes_before_others_and_a_patient_is_in_one_place() {
    let clinic = open_at(&[("09:00", "10:00")]).await;
    let (admin, day) = (clinic.server.admin(), monday());
    let first_room = clinic.server.room("Room 1").await;
    let usual_room = clinic.server.room("Room 2").await;
    let doctor = format!("/api/v1/doctors/{}", clinic.doctor.user_id);
    let changed = admin
        .patch(&doctor, &json!({"usual_room_id": usual_room}))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let elsewhere = clinic.server.user("doctor").await.user_id;
    let visit = json!({
        "patient_id": clinic.patient, "doctor_id": elsewhere, "room_id": usual_room,
        "starts_at": at(day, "09:30"), "ends_at": at(day, "10:00"),
    });
    book(&clinic.desk, &visit).await;
    let (date, doctor_id) = (day.to_string(), clinic.doctor.user_id.as_str());
    let query = [
        ("date", date.as_str()),
        ("doctor_id", doctor_id),
        ("room_id", "any"),
    ];
    let found = offers(&clinic, &query).await;
    assert_eq!(
        texts(&found, "starts_at"),
        times(day, &["09:00", "09:15", "09:30"])
    );
    let rooms = [&usual_room, &first_room, &first_room].map(String::clone);
    assert_eq!(texts(&found, "room_id"), rooms);
    let with_patient = [&query[..], &[("patient_id", &clinic.patient)]].concat();
    assert_eq!(starts(&clinic, &with_patient).await, times(day, &["09:00"]));
}

#[tokio::test]
async fn the_next_slot_of_each_doctor_is_found_however_far_away() {
    let clinic = open_at(&[("09:00", "10:00")]).await;
    let admin = clinic.server.admin();
    let late = clinic.server.user("doctor").await.user_id;
    let never = clinic.server.user("doctor").await.user_id;
    let today = today();
    let far = today + Days::new(300);
    for (doctor, until) in [
        (&late, far - Days::new(1)),
        (&never, today + Days::new(5000)),
    ] {
        let path = format!("/api/v1/doctors/{doctor}/time_off");
        let time_off =
            json!({"starts_on": (today - Days::new(1)).to_string(), "ends_on": until.to_string()});
        admin.create(&path, &time_off, "time_off_id").await;
    }
    let next = format!("{PATH}/next");
    let day = monday();
    let from = [("from", day.to_string())].map(|(name, value)| (name, value));
    let query: Vec<_> = from
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let found = clinic.desk.get(&url(&next, &query)).await;
    assert_eq!(
        texts(&found, "starts_at"),
        [at(day, "09:00"), at(far, "09:00")]
    );
    assert_eq!(
        texts(&found, "doctor_id"),
        [&clinic.doctor.user_id, &late].map(String::clone)
    );
    assert_eq!(found.body["next_cursor"], Value::Null);
    let query = [
        &query[..],
        &[("doctor_id", late.as_str()), ("time_from", "09:20")],
    ]
    .concat();
    let found = clinic.desk.get(&url(&next, &query)).await;
    assert_eq!(texts(&found, "starts_at"), [at(far, "09:30")]);
    change_settings(&clinic, &json!({"largest_notice_days": 299})).await;
    let found = clinic.desk.get(&url(&next, &query)).await;
    assert_eq!(items(&found), [] as [Value; 0]);
}

#[tokio::test]
async fn what_is_too_soon_or_too_late_is_not_offered() {
    let clinic = open_at(&[("00:00", "24:00")]).await;
    let now = SystemClock.now();
    change_settings(
        &clinic,
        &json!({"smallest_notice_minutes": 600, "largest_notice_days": 2}),
    )
    .await;
    let (from, to) = (now - TimeDelta::days(10), now + TimeDelta::days(10));
    let (from, to) = (from.to_rfc3339(), to.to_rfc3339());
    let found = starts(&clinic, &[("from", from.as_str()), ("to", &to)]).await;
    let moment = |text: &String| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
    let (first, last) = (moment(&found[0]), moment(found.last().unwrap()));
    // The server asked its clock a little later.
    let quarter = TimeDelta::minutes(15);
    let soonest = now + TimeDelta::minutes(600);
    assert!(
        soonest <= first && first <= soonest + quarter * 2,
        "{first}"
    );
    let latest = now + TimeDelta::days(2);
    assert!(
        latest - quarter <= last && last <= latest + quarter,
        "{last}"
    );
}

/// The next day that clocks change on.
fn next_change(zone: Tz, forward: bool) -> NaiveDate {
    let length = |day: NaiveDate| {
        let window = clinic_day(zone, day);
        window.to.unwrap() - window.from.unwrap()
    };
    let day_long = TimeDelta::days(1);
    (today() + Days::new(2))
        .iter_days()
        .find(|day| {
            if forward {
                length(*day) < day_long
            } else {
                length(*day) > day_long
            }
        })
        .unwrap()
}

#[tokio::test]
async fn days_on_which_clocks_change_are_offered_booked_and_listed() {
    // Hours from 01:00 to 04:00 by the clock, on a grid of an hour.
    for (zone, forward, expected) in [
        (Tz::Europe__Berlin, true, &["01:00", "03:00"][..]),
        (
            Tz::Europe__Berlin,
            false,
            &["01:00", "02:00", "02:00", "03:00"],
        ),
        (Tz::America__New_York, true, &["01:00", "03:00"]),
        (
            Tz::America__New_York,
            false,
            &["01:00", "01:00", "02:00", "03:00"],
        ),
        // 02:00 does not come, but half an hour of the one before and all of 03:00 do.
        (Tz::Australia__Lord_Howe, true, &["01:00", "03:00"]),
        // 01:30 to 02:00 comes twice.
        (
            Tz::Australia__Lord_Howe,
            false,
            &["01:00", "02:00", "03:00"],
        ),
    ] {
        let clinic = open_at(&[("01:00", "04:00")]).await;
        let settings = json!({"time_zone": zone.name(), "slot_grid_minutes": 60});
        change_settings(&clinic, &settings).await;
        let day = next_change(zone, forward);
        let date = day.to_string();
        let query = [("date", date.as_str()), ("duration_minutes", "30")];
        let found = offers(&clinic, &query).await;
        let shown = |slot: &Value| {
            let start: DateTime<Utc> = slot["starts_at"].as_str().unwrap().parse().unwrap();
            let start = start.with_timezone(&zone);
            assert_eq!(start.date_naive(), day, "{zone}");
            start.format("%H:%M").to_string()
        };
        let offered: Vec<_> = items(&found).iter().map(shown).collect();
        assert_eq!(offered, expected, "{zone} {date}");
        for slot in items(&found) {
            let visit = clinic.booking(
                slot["starts_at"].as_str().unwrap(),
                slot["ends_at"].as_str().unwrap(),
            );
            book(&clinic.desk, &visit).await;
        }
        let listed = url("/api/v1/appointments", &[("date", &date)]);
        let listed = texts(&clinic.desk.get(&listed).await, "starts_at");
        assert_eq!(listed, texts(&found, "starts_at"), "{zone} {date}");
        assert_eq!(
            starts(&clinic, &query).await,
            times(day, &[]),
            "{zone} {date}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_searched_is_told() {
    let clinic = Clinic::open().await;
    let from = monday();
    let day = |days| (from + Days::new(days)).to_string();
    let (first, last, too_late) = (day(0), day(62), day(63));
    let closed = json!({"name": "Closed", "is_active": false});
    let closed = clinic
        .server
        .admin()
        .create("/api/v1/rooms", &closed, "room_id")
        .await;
    let whole = [("from", first.as_str()), ("to", last.as_str())];
    assert_eq!(offers(&clinic, &whole).await.status, 200);
    for (query, pointers) in [
        (&[][..], &["/from", "/to"][..]),
        (&[("from", first.as_str())], &["/to"]),
        (
            &[("from", first.as_str()), ("to", too_late.as_str())],
            &["/to"],
        ),
        (
            &[whole[0], whole[1], ("service_id", NOBODY)],
            &["/service_id"],
        ),
        (&[whole[0], whole[1], ("room_id", NOBODY)], &["/room_id"]),
        (
            &[whole[0], whole[1], ("room_id", closed.as_str())],
            &["/room_id"],
        ),
        (
            &[whole[0], whole[1], ("patient_id", NOBODY)],
            &["/patient_id"],
        ),
        (
            &[whole[0], whole[1], ("duration_minutes", "0")],
            &["/duration_minutes"],
        ),
        (
            &[whole[0], whole[1], ("duration_minutes", "1441")],
            &["/duration_minutes"],
        ),
        (
            &[whole[0], whole[1], ("time_from", "24:00")],
            &["/time_from"],
        ),
        (
            &[whole[0], whole[1], ("time_from", "9:00")],
            &["/time_from"],
        ),
        (
            &[("time_from", "09:00"), ("time_to", "09:00")],
            &["/from", "/to", "/time_to"],
        ),
    ] {
        offers(&clinic, query).await.assert_faults(pointers);
    }
    for more in [
        ("limit", "0"),
        ("limit", "10001"),
        ("cursor", "x"),
        ("weekday", "someday"),
        ("doctor_id", "x"),
        ("room_id", "all"),
        ("duration_minutes", "x"),
        ("from", "today"),
    ] {
        let query = if more.0 == "from" {
            [more, whole[1], ("limit", "1")]
        } else {
            [whole[0], whole[1], more]
        };
        offers(&clinic, &query)
            .await
            .assert_problem(400, "malformed_request");
    }
}

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Books offers of a doctor and a room of their own, so that nobody is faster.
async fn book_offers(clinic: &Clinic, number: u64, count: usize) {
    let admin = clinic.server.admin();
    let doctor = clinic.server.user("doctor").await.user_id;
    let patient = clinic.server.patient().await;
    let room = clinic.server.room(&format!("Room {number}")).await;
    let service = json!({
        "code": format!("S{number}"), "name": "Crown", "current_price_cents": 100,
        "buffer_minutes": 5 * number,
    });
    let service = admin
        .create("/api/v1/services", &service, "service_id")
        .await;
    let mut numbers = Numbers(number);
    for _ in 0..count {
        let day = (monday() + Days::new(u64::try_from(numbers.below(60)).unwrap())).to_string();
        let minutes = (5 + 5 * numbers.below(12)).to_string();
        let query = [
            ("from", day.as_str()),
            (
                "to",
                &(day.parse::<NaiveDate>().unwrap() + Days::new(2)).to_string(),
            ),
            ("doctor_id", &doctor),
            ("room_id", &room),
            ("patient_id", &patient),
            ("service_id", &service),
            ("duration_minutes", &minutes),
        ];
        let found = offers(clinic, &query).await;
        let slots = items(&found);
        let slot = slots[numbers.below(slots.len())].clone();
        let visit = json!({
            "patient_id": patient, "services": [{"service_id": service, "qty": 1}],
        });
        book(&clinic.desk, &with(visit, &slot)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_offers_are_booked_without_a_refusal() {
    let clinic = open_at(&[("00:00", "01:30"), ("08:00", "12:00"), ("13:00", "18:10")]).await;
    change_settings(
        &clinic,
        &json!({"time_zone": "America/Havana", "slot_grid_minutes": 5}),
    )
    .await;
    let clinic = Arc::new(clinic);
    let desks: Vec<_> = (1..=10)
        .map(|number| {
            let clinic = Arc::clone(&clinic);
            tokio::spawn(async move { book_offers(&clinic, number, 100).await })
        })
        .collect();
    for desk in desks {
        desk.await.unwrap();
    }
}
