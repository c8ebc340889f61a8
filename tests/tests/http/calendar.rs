//! Hours, closures and time off, what rooms, services and doctors have for the calendar, and the
//! visits that a change leaves in conflict.

use std::slice;

use chrono::{DateTime, Days, SecondsFormat, TimeDelta, Utc};
use dcms_domain::shared::Clock as _;
use dcms_system::SystemClock;
use dcms_tests::{Answer, Client, Server, fresh_database};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{
    Clinic, NOBODY, SERVED_AT_A_TIME, book, every_day, items, put, today, until_waiting,
};

const HOURS: &str = "/api/v1/clinic/hours";
const CLOSURES: &str = "/api/v1/clinic/closures";

fn interval(weekday: &str, opens_at: &str, closes_at: &str) -> Value {
    json!({"weekday": weekday, "opens_at": opens_at, "closes_at": closes_at})
}

async fn put_if_match(client: &Client, path: &str, tag: &str, body: &Value) -> Answer {
    let request = client.request(Method::PUT, path);
    Answer::of(request.header("If-Match", tag).json(body)).await
}

/// Noon of a day in about three weeks.
fn coming_noon() -> DateTime<Utc> {
    let day = today() + Days::new(21);
    day.and_hms_opt(12, 0, 0).unwrap().and_utc()
}

/// Half an hour with the clinic's doctor, that many hours after the instant.
fn booking_at(clinic: &Clinic, at: DateTime<Utc>, hours: i64) -> Value {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let starts_at = at + TimeDelta::hours(hours);
    let ends_at = starts_at + TimeDelta::minutes(30);
    clinic.booking(&text(starts_at), &text(ends_at))
}

async fn visit_at(clinic: &Clinic, at: DateTime<Utc>, hours: i64) -> String {
    book(&clinic.desk, &booking_at(clinic, at, hours)).await
}

/// The ids of the visits in conflict, each with the kinds of what is in its way.
fn conflicts(answer: &Answer) -> Vec<(String, Vec<String>)> {
    assert!(matches!(answer.status.as_u16(), 200 | 201), "{answer:?}");
    assert_eq!(answer.body["more_conflicts"], json!(false));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let conflicts = answer.body["conflicts"].as_array().unwrap().iter();
    conflicts
        .map(|conflict| {
            let obstacles = conflict["obstacles"].as_array().unwrap().iter();
            let kinds = obstacles.map(|obstacle| text(&obstacle["kind"])).collect();
            (text(&conflict["appointment_id"]), kinds)
        })
        .collect()
}

/// Fails if conflicts were told for a change that leaves the calendar alone.
fn assert_no_word_of_conflicts(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    for told in ["conflicts", "more_conflicts"] {
        assert!(answer.body.get(told).is_none(), "{answer:?}");
    }
}

fn because(kind: &str, visits: &[&String]) -> Vec<(String, Vec<String>)> {
    let visits = visits.iter();
    visits
        .map(|visit| ((*visit).clone(), vec![kind.to_owned()]))
        .collect()
}

#[tokio::test]
async fn hours_are_valid_from_a_day_on() {
    let server = Server::start().await;
    let doctor = server.user("doctor").await.user_id;
    for path in [HOURS, &format!("/api/v1/doctors/{doctor}/hours")] {
        let admin = server.admin();
        assert_eq!(admin.get(path).await.body, json!({"plans": []}));
        let week = json!([
            interval("monday", "08:00", "12:00"),
            interval("monday", "13:00", "24:00"),
            interval("saturday", "22:00", "06:00"),
        ]);
        let shuffled = json!([week[2], week[1], week[0]]);
        let first = json!({"valid_from": "2030-01-01", "intervals": shuffled});
        assert_eq!(put(admin, path, &first).await.status, 200);
        // What changes next month leaves this month as it is.
        let second = json!({"valid_from": "2030-02-01", "intervals": []});
        let changed = put(admin, path, &second).await;
        let first = json!({"valid_from": "2030-01-01", "intervals": week});
        assert_eq!(changed.body["plans"], json!([first, second]));
        assert_eq!(changed.body["conflicts"], json!([]));
        assert_eq!(changed.body["more_conflicts"], json!(false));
        let third = json!({"valid_from": "2030-03-01", "intervals": null});
        put(admin, path, &third).await;
        let read = admin.get(path).await;
        assert_eq!(read.body, json!({"plans": [first, second, third]}));
        // A plan holds until another is put: what began then or later is replaced.
        let instead = json!({"valid_from": "2030-02-01", "intervals": [week[0]]});
        put(admin, path, &instead).await;
        let read = admin.get(path).await;
        assert_eq!(read.body, json!({"plans": [first, instead]}));
    }
}

#[tokio::test]
async fn hours_begin_today_when_no_day_is_given() {
    let server = Server::start().await;
    // At any moment, one of the two is a day ahead of the other.
    for zone in ["Pacific/Kiritimati", "Pacific/Niue"] {
        let zone_change = json!({"time_zone": zone});
        let answer = server.admin().patch("/api/v1/clinic", &zone_change).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let zone: chrono_tz::Tz = zone.parse().unwrap();
        let today = || {
            SystemClock
                .now()
                .with_timezone(&zone)
                .date_naive()
                .to_string()
        };
        let before = today();
        let put = put(server.admin(), HOURS, &json!({"intervals": []})).await;
        let plans = put.body["plans"].as_array().unwrap();
        let valid_from = plans.last().unwrap()["valid_from"].as_str().unwrap();
        assert!(
            [before, today()].contains(&valid_from.to_owned()),
            "{put:?}"
        );
    }
}

#[tokio::test]
async fn hours_tell_all_faults_at_once() {
    let server = Server::start().await;
    let with = |intervals: &[Value]| json!({"valid_from": "2030-01-01", "intervals": intervals});
    let morning = interval("monday", "09:00", "12:00");
    let cases: [(Value, &[&str]); 11] = [
        (json!({}), &["/intervals"]),
        (
            json!({"valid_from": "1899-12-31", "intervals": []}),
            &["/valid_from"],
        ),
        (
            with(&[
                interval("monday", "9:00", "12:60"),
                interval("monday", "24:00", "24:01"),
            ]),
            &[
                "/intervals/0/closes_at",
                "/intervals/0/opens_at",
                "/intervals/1/closes_at",
                "/intervals/1/opens_at",
            ],
        ),
        (
            with(&[interval("lundi", "09:00", "12:00")]),
            &["/intervals/0/weekday"],
        ),
        (
            with(&[json!({"weekday": "monday"})]),
            &["/intervals/0/closes_at", "/intervals/0/opens_at"],
        ),
        (
            with(&[morning.clone(), interval("monday", "11:59", "13:00")]),
            &["/intervals/1"],
        ),
        (with(&[morning.clone(), morning.clone()]), &["/intervals/1"]),
        // Past midnight, and over the end of the week.
        (
            with(&[morning.clone(), interval("sunday", "22:00", "09:01")]),
            &["/intervals/1"],
        ),
        (
            with(&[
                interval("friday", "22:00", "02:00"),
                interval("saturday", "01:59", "03:00"),
            ]),
            &["/intervals/1"],
        ),
        // A whole day, and a minute of it.
        (
            with(&[
                interval("friday", "09:00", "09:00"),
                interval("saturday", "08:59", "09:00"),
            ]),
            &["/intervals/1"],
        ),
        (with(&vec![morning.clone(); 101]), &["/intervals"]),
    ];
    for (body, pointers) in cases {
        let answer = put(server.admin(), HOURS, &body).await;
        answer.assert_faults(pointers);
    }
    let touching = with(&[
        morning,
        interval("monday", "12:00", "24:00"),
        interval("tuesday", "00:00", "00:00"),
        interval("sunday", "22:00", "09:00"),
    ]);
    assert_eq!(put(server.admin(), HOURS, &touching).await.status, 200);
}

#[tokio::test]
async fn hours_honour_if_match() {
    let server = Server::start().await;
    let doctor = server.user("doctor").await.user_id;
    for path in [HOURS, &format!("/api/v1/doctors/{doctor}/hours")] {
        let admin = server.admin();
        let body = json!({"intervals": []});
        assert_eq!(admin.get(path).await.header("etag"), Some("\"0\""));
        let first = put_if_match(admin, path, "\"0\"", &body).await;
        assert_eq!(first.header("etag"), Some("\"1\""), "{first:?}");
        let stale = put_if_match(admin, path, "\"0\"", &body).await;
        stale.assert_problem(412, "version_mismatch");
        let second = put_if_match(admin, path, "\"1\"", &body).await;
        assert_eq!(second.header("etag"), Some("\"2\""), "{second:?}");
        assert_eq!(admin.get(path).await.header("etag"), Some("\"2\""));
    }
}

#[tokio::test]
async fn closures_are_made_listed_and_taken_back() {
    let server = Server::start().await;
    let admin = server.admin();
    let make = async |body: &Value| {
        let answer = admin.post(CLOSURES, body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let location = format!("{CLOSURES}/{}", answer.text("/closure_id"));
        assert_eq!(answer.header("location"), Some(location.as_str()));
        let mut made = answer.body;
        let fields = made.as_object_mut().unwrap();
        assert_eq!(fields.remove("conflicts"), Some(json!([])));
        assert_eq!(fields.remove("more_conflicts"), Some(json!(false)));
        assert_eq!(admin.get(&location).await.body, made);
        made
    };
    let cases = [
        // As it was sent, and as it is shown: days, and times where they are not whole.
        (
            json!({"starts_on": "2030-05-06"}),
            ("2030-05-06", None, "2030-05-06", None),
        ),
        (
            json!({"starts_on": "2030-05-01", "ends_on": "2030-05-07", "ends_at_time": "24:00"}),
            ("2030-05-01", None, "2030-05-07", None),
        ),
        (
            json!({
                "starts_on": "2030-05-08", "starts_at_time": "12:30",
                "ends_on": "2030-05-09", "ends_at_time": "08:00",
            }),
            ("2030-05-08", Some("12:30"), "2030-05-09", Some("08:00")),
        ),
        (
            json!({"starts_on": "2030-05-10", "starts_at_time": "00:00", "ends_at_time": "12:00"}),
            ("2030-05-10", None, "2030-05-10", Some("12:00")),
        ),
    ];
    let mut closures = Vec::new();
    for (mut body, (starts_on, starts_at_time, ends_on, ends_at_time)) in cases {
        body["reason"] = json!("Holiday");
        let closure = make(&body).await;
        let shown = json!([
            closure["starts_on"],
            closure["starts_at_time"],
            closure["ends_on"],
            closure["ends_at_time"],
            closure["reason"],
        ]);
        let expected = json!([starts_on, starts_at_time, ends_on, ends_at_time, "Holiday"]);
        assert_eq!(shown, expected);
        closures.push(closure);
    }
    let list = async |query: &str| {
        let answer = admin.get(&format!("{CLOSURES}?{query}")).await;
        items(&answer).to_vec()
    };
    assert_eq!(list("").await, closures);
    assert_eq!(list("from=2030-05-07").await, closures[1..]);
    assert_eq!(list("from=2030-05-08").await, closures[2..]);
    assert_eq!(list("to=2030-05-06").await, closures[1..2]);
    assert_eq!(list("from=2030-05-09&to=2030-05-10").await, closures[2..3]);
    assert_eq!(
        list("from=2030-05-11").await,
        json!([]).as_array().unwrap()[..]
    );
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{CLOSURES}?limit=3{cursor}")).await;
        paged.extend_from_slice(items(&page));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, closures);

    let first = format!("{CLOSURES}/{}", closures[0]["closure_id"].as_str().unwrap());
    assert_eq!(admin.delete(&first).await.status, 204);
    assert_eq!(list("").await, closures[1..]);
    for missing in [first.as_str(), &format!("{CLOSURES}/{NOBODY}")] {
        let answer = admin.delete(missing).await;
        answer.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn absences_tell_all_faults_at_once() {
    let server = Server::start().await;
    let doctor = server.user("doctor").await.user_id;
    let time_off = format!("/api/v1/doctors/{doctor}/time_off");
    let cases: [(Value, &[&str]); 8] = [
        (json!({}), &["/starts_on"]),
        (
            json!({"starts_on": "1899-01-01", "ends_on": "2200-01-01"}),
            &["/ends_on", "/starts_on"],
        ),
        (
            json!({"starts_on": "2030-05-02", "ends_on": "2030-05-01"}),
            &["/ends_on"],
        ),
        (json!({"starts_on": "2199-12-31"}), &["/ends_on"]),
        (
            json!({"starts_on": "2030-05-02", "starts_at_time": "24:00", "ends_at_time": "noon"}),
            &["/ends_at_time", "/starts_at_time"],
        ),
        (
            json!({"starts_on": "2030-05-02", "starts_at_time": "12:00", "ends_at_time": "12:00"}),
            &["/ends_at_time"],
        ),
        (
            json!({"starts_on": "2030-05-02", "ends_on": "2030-05-02", "ends_at_time": "00:00"}),
            &["/ends_at_time"],
        ),
        (
            json!({"starts_on": "2030-05-02", "ends_at_time": "8:00", "reason": "x".repeat(501)}),
            &["/ends_at_time", "/reason"],
        ),
    ];
    for (mut body, pointers) in cases {
        let answer = server.admin().post(&time_off, &body).await;
        answer.assert_faults(pointers);
        if body["reason"].is_null() {
            body["reason"] = json!("Holiday");
        }
        let answer = server.admin().post(CLOSURES, &body).await;
        answer.assert_faults(pointers);
    }
    let whole_day = json!({"starts_on": "2030-05-02"});
    let answer = server.admin().post(CLOSURES, &whole_day).await;
    answer.assert_faults(&["/reason"]);
    let answer = server.admin().post(&time_off, &whole_day).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["reason"], Value::Null);
}

#[tokio::test]
async fn time_off_is_a_doctors() {
    let server = Server::start().await;
    let admin = server.admin();
    let doctor = server.make_user("leaves", &["doctor"]).await;
    let other = server.make_user("stays", &["doctor"]).await;
    let path = |doctor: &str| format!("/api/v1/doctors/{doctor}/time_off");
    let make = async |doctor: &str, day: &str| {
        let body = json!({"starts_on": day, "reason": "Congress"});
        let answer = admin.post(&path(doctor), &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.text("/doctor_id"), doctor);
        answer.text("/time_off_id")
    };
    let mut expected = Vec::new();
    for day in ["2030-05-01", "2030-05-02", "2030-05-03"] {
        expected.push(make(&doctor, day).await);
    }
    let others = make(&other, "2030-05-02").await;
    let list = async |doctor: &str, query: &str| {
        let answer = admin.get(&format!("{}?{query}", path(doctor))).await;
        let ids = items(&answer)
            .iter()
            .map(|item| item["time_off_id"].clone());
        (ids.collect::<Vec<_>>(), answer.body["next_cursor"].clone())
    };
    assert_eq!(list(&other, "").await.0, [json!(others)]);
    assert_eq!(
        list(&doctor, "from=2030-05-02&to=2030-05-03").await.0,
        [json!(expected[1])]
    );
    let (first, cursor) = list(&doctor, "limit=2").await;
    assert_eq!(first, [json!(expected[0]), json!(expected[1])]);
    let (second, cursor) = list(&doctor, &format!("cursor={}", cursor.as_str().unwrap())).await;
    assert_eq!((second, cursor), (vec![json!(expected[2])], Value::Null));

    // What is somebody else's is not found under this doctor.
    let elsewhere = format!("{}/{others}", path(&doctor));
    for answer in [admin.get(&elsewhere).await, admin.delete(&elsewhere).await] {
        answer.assert_problem(404, "not_found");
    }
    let own = format!("{}/{others}", path(&other));
    let listed = admin.get(&path(&other)).await;
    assert_eq!(admin.get(&own).await.body, items(&listed)[0]);
    assert_eq!(admin.delete(&own).await.status, 204);
    admin.get(&own).await.assert_problem(404, "not_found");
    admin.delete(&own).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn only_users_with_the_role_have_plans() {
    let server = Server::start().await;
    let admin = server.admin();
    let desk = server.make_user("desk", &["receptionist"]).await;
    let disabled = server.make_user("disabled", &["doctor"]).await;
    let user = format!("/api/v1/admin/users/{disabled}");
    assert_eq!(
        admin
            .patch(&user, &json!({"is_active": false}))
            .await
            .status,
        200
    );
    let day = json!({"starts_on": "2030-05-02"});
    for (user, exists) in [(desk.as_str(), false), (NOBODY, false), (&disabled, true)] {
        let doctor = format!("/api/v1/doctors/{user}");
        let (hours, time_off) = (format!("{doctor}/hours"), format!("{doctor}/time_off"));
        let answers = [
            admin.get(&doctor).await,
            admin.patch(&doctor, &json!({})).await,
            admin.get(&hours).await,
            put(admin, &hours, &json!({"intervals": null})).await,
            admin.get(&time_off).await,
            admin.post(&time_off, &day).await,
        ];
        for answer in answers {
            if exists {
                assert!(answer.status.is_success(), "{answer:?}");
            } else {
                answer.assert_problem(404, "not_found");
            }
        }
    }
}

#[tokio::test]
async fn a_doctor_has_a_usual_room() {
    let server = Server::start().await;
    let admin = server.admin();
    let doctor = server.make_user("weiss", &["doctor"]).await;
    let room = server.room("Room 1").await;
    let path = format!("/api/v1/doctors/{doctor}");
    let read = admin.get(&path).await;
    let without = json!({"doctor_id": doctor, "display_name": "The weiss", "usual_room_id": null});
    assert_eq!((&read.body, read.header("etag")), (&without, Some("\"0\"")));
    let usual = json!({"usual_room_id": room});
    let change = async |tag: &str, body: &Value| {
        let request = admin.request(Method::PATCH, &path).header("If-Match", tag);
        Answer::of(request.json(body)).await
    };
    let changed = change("\"0\"", &usual).await;
    assert_eq!(changed.header("etag"), Some("\"1\""), "{changed:?}");
    assert_eq!(changed.text("/usual_room_id"), room);
    assert_eq!(
        items(&admin.get("/api/v1/doctors").await),
        slice::from_ref(&changed.body)
    );
    assert_eq!(admin.get(&path).await.body, changed.body);
    change("\"0\"", &usual)
        .await
        .assert_problem(412, "version_mismatch");
    let refused = admin.delete(&format!("/api/v1/rooms/{room}")).await;
    refused.assert_problem(409, "in_use");

    let closed = server.room("Room 2").await;
    let close = json!({"is_active": false});
    admin
        .patch(&format!("/api/v1/rooms/{closed}"), &close)
        .await;
    for wrong in [closed.as_str(), NOBODY] {
        let answer = admin.patch(&path, &json!({"usual_room_id": wrong})).await;
        answer.assert_faults(&["/usual_room_id"]);
    }
    let cleared = change("\"1\"", &json!({"usual_room_id": null})).await;
    assert_eq!(cleared.body, without);
}

#[tokio::test]
async fn rooms_have_a_kind_and_are_listed_by_position() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = "/api/v1/rooms";
    let mut made = Vec::new();
    for (name, position) in [("A", Some(2)), ("B", Some(1)), ("C", Some(2)), ("D", None)] {
        let mut body = json!({"name": name, "kind": "surgery"});
        if let Some(position) = position {
            body["position"] = json!(position);
        }
        let answer = admin.post(path, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.text("/kind"), "surgery");
        made.push(answer.text("/room_id"));
    }
    let names = async |query: &str| {
        let answer = admin.get(&format!("{path}?{query}")).await;
        let rooms = items(&answer).iter();
        let names: String = rooms.map(|room| room["name"].as_str().unwrap()).collect();
        (names, answer.body["next_cursor"].clone())
    };
    assert_eq!(names("").await.0, "DBAC");
    let (first, cursor) = names("limit=3").await;
    let (second, _) = names(&format!("cursor={}", cursor.as_str().unwrap())).await;
    assert_eq!((first.as_str(), second.as_str()), ("DBA", "C"));
    let wanted = json!({"position": 0, "kind": null});
    let moved = admin.patch(&format!("{path}/{}", made[2]), &wanted).await;
    assert_eq!(
        (&moved.body["position"], &moved.body["kind"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(names("").await.0, "CDBA");

    let faulty = json!({"name": "E", "position": -1, "kind": "x".repeat(51)});
    let answer = admin.post(path, &faulty).await;
    answer.assert_faults(&["/kind", "/position"]);
    let faulty = json!({"position": null, "kind": ""});
    let answer = admin.patch(&format!("{path}/{}", made[0]), &faulty).await;
    answer.assert_faults(&["/kind", "/position"]);
}

#[tokio::test]
async fn a_service_says_who_performs_it_and_what_it_needs() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = "/api/v1/services";
    let first = server.make_user("first", &["doctor"]).await;
    let second = server.make_user("second", &["doctor"]).await;
    let desk = server.make_user("desk", &["receptionist"]).await;
    let plain = json!({"code": "A", "name": "Plain", "current_price_cents": 1});
    let plain = admin.post(path, &plain).await;
    let shown = |answer: &Answer| {
        let service = &answer.body;
        json!([
            service["buffer_minutes"],
            service["room_kind"],
            service["doctor_ids"]
        ])
    };
    assert_eq!(shown(&plain), json!([0, null, []]));
    let crown = json!({
        "code": "B", "name": "Crown", "current_price_cents": 1, "buffer_minutes": 15,
        "room_kind": "surgery", "doctor_ids": [second, first, second],
    });
    let crown = admin.post(path, &crown).await;
    assert_eq!(shown(&crown), json!([15, "surgery", [first, second]]));
    let crown = format!("{path}/{}", crown.text("/service_id"));
    for (body, expected) in [
        (
            json!({"doctor_ids": [second]}),
            json!([15, "surgery", [second]]),
        ),
        (json!({"name": "Other"}), json!([15, "surgery", [second]])),
        (
            json!({"buffer_minutes": 0, "room_kind": null, "doctor_ids": []}),
            json!([0, null, []]),
        ),
    ] {
        let changed = admin.patch(&crown, &body).await;
        assert_eq!(shown(&changed), expected, "{changed:?}");
        assert_eq!(shown(&admin.get(&crown).await), expected);
    }
    let faulty = json!({
        "buffer_minutes": 241, "room_kind": "", "doctor_ids": [first, desk, NOBODY],
    });
    let pointers = [
        "/buffer_minutes",
        "/doctor_ids/1",
        "/doctor_ids/2",
        "/room_kind",
    ];
    admin.patch(&crown, &faulty).await.assert_faults(&pointers);
    let mut made = faulty;
    for (name, value) in [
        ("code", json!("C")),
        ("name", json!("C")),
        ("current_price_cents", json!(1)),
    ] {
        made[name] = value;
    }
    admin.post(path, &made).await.assert_faults(&pointers);
    let nulls = json!({"buffer_minutes": null, "doctor_ids": null});
    let answer = admin.patch(&crown, &nulls).await;
    answer.assert_faults(&["/buffer_minutes", "/doctor_ids"]);
}

#[tokio::test]
async fn booking_rules_are_settings() {
    let database = fresh_database().await;
    let server = Server::start_on(database.url()).await;
    let path = "/api/v1/clinic";
    let clinic = server.admin().get(path).await.body;
    let rules = |clinic: &Value| {
        json!([
            clinic["slot_grid_minutes"],
            clinic["smallest_notice_minutes"],
            clinic["largest_notice_days"],
        ])
    };
    assert_eq!(rules(&clinic), json!([5, 0, 731]));
    let wanted = json!({
        "slot_grid_minutes": 20, "smallest_notice_minutes": 43_200, "largest_notice_days": 3_650,
    });
    let changed = server.admin().patch(path, &wanted).await;
    assert_eq!(rules(&changed.body), json!([20, 43_200, 3_650]));
    for wrong in [
        json!({"slot_grid_minutes": 7, "smallest_notice_minutes": -1, "largest_notice_days": 0}),
        json!({
            "slot_grid_minutes": 0, "smallest_notice_minutes": 43_201,
            "largest_notice_days": 3_651,
        }),
        json!({
            "slot_grid_minutes": null, "smallest_notice_minutes": null,
            "largest_notice_days": null,
        }),
    ] {
        let answer = server.admin().patch(path, &wrong).await;
        answer.assert_faults(&[
            "/largest_notice_days",
            "/slot_grid_minutes",
            "/smallest_notice_minutes",
        ]);
    }
}

#[tokio::test]
async fn a_change_of_plans_tells_the_visits_in_conflict() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let noon = coming_noon();
    let early = visit_at(&clinic, noon, 0).await;
    let late = visit_at(&clinic, noon, 4).await;
    let next_day = visit_at(&clinic, noon, 24).await;
    let day_of = |at: DateTime<Utc>| at.date_naive().to_string();
    let (day, day_after) = (day_of(noon), day_of(noon + Days::new(1)));

    let closure = json!({
        "starts_on": day, "starts_at_time": "12:29", "ends_at_time": "16:00", "reason": "Training",
    });
    let closed = admin.post(CLOSURES, &closure).await;
    assert_eq!(conflicts(&closed), because("closure", &[&early]));
    assert_eq!(
        closed.text("/conflicts/0/obstacles/0/id"),
        closed.text("/closure_id")
    );
    let path = format!("{CLOSURES}/{}", closed.text("/closure_id"));
    assert_eq!(admin.delete(&path).await.status, 204);

    let time_off = format!("/api/v1/doctors/{}/time_off", clinic.doctor.user_id);
    let answer = admin
        .post(&time_off, &json!({"starts_on": day_after}))
        .await;
    assert_eq!(conflicts(&answer), because("time_off", &[&next_day]));
    let path = format!("{time_off}/{}", answer.text("/time_off_id"));
    assert_eq!(admin.delete(&path).await.status, 204);
    // Another doctor's time off is in nobody's way.
    let other = clinic.server.user("doctor").await.user_id;
    let others = format!("/api/v1/doctors/{other}/time_off");
    let answer = admin.post(&others, &json!({"starts_on": day})).await;
    assert_eq!(conflicts(&answer), []);

    let mornings = every_day(&[("08:00", "12:30")]);
    let hours = json!({"valid_from": day, "intervals": mornings});
    let doctors = format!("/api/v1/doctors/{}/hours", clinic.doctor.user_id);
    let answer = put(admin, &doctors, &hours).await;
    assert_eq!(conflicts(&answer), because("doctor_hours", &[&late]));
    let unset = json!({"valid_from": day, "intervals": null});
    assert_eq!(conflicts(&put(admin, &doctors, &unset).await), []);
    let none = json!({"valid_from": day_after, "intervals": []});
    let answer = put(admin, HOURS, &none).await;
    assert_eq!(conflicts(&answer), because("clinic_hours", &[&next_day]));
    // Nothing was moved, and who has looked at whose visits is known.
    let visit = admin.get(&format!("/api/v1/appointments/{next_day}")).await;
    assert_eq!(visit.text("/status"), "scheduled");
    let told = clinic.server.audit("action=list&entity=appointment").await;
    assert!(!told.is_empty());
    assert_eq!(told[0]["patient_ids"], json!([clinic.patient]));
}

#[tokio::test]
async fn a_doctor_or_room_that_goes_leaves_visits_in_conflict() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let noon = coming_noon();
    let room = clinic.server.room("Room 1").await;
    let mut in_room = booking_at(&clinic, noon, 0);
    in_room["room_id"] = json!(room);
    let in_room = book(&clinic.desk, &in_room).await;
    let without_room = visit_at(&clinic, noon, 1).await;

    let path = format!("/api/v1/rooms/{room}");
    let renamed = admin.patch(&path, &json!({"name": "Room 2"})).await;
    assert_no_word_of_conflicts(&renamed);
    let closed = admin.patch(&path, &json!({"is_active": false})).await;
    assert_eq!(
        conflicts(&closed),
        because("room_not_available", &[&in_room])
    );
    let opened = admin.patch(&path, &json!({"is_active": true})).await;
    assert_no_word_of_conflicts(&opened);

    let path = format!("/api/v1/admin/users/{}", clinic.doctor.user_id);
    let both = because("doctor_not_available", &[&in_room, &without_room]);
    for (gone, back) in [
        (json!({"is_active": false}), json!({"is_active": true})),
        (json!({"roles": ["manager"]}), json!({"roles": ["doctor"]})),
    ] {
        let renamed = admin.patch(&path, &json!({"display_name": "Other"})).await;
        assert_no_word_of_conflicts(&renamed);
        assert_eq!(conflicts(&admin.patch(&path, &gone).await), both);
        assert_no_word_of_conflicts(&admin.patch(&path, &back).await);
    }

    // What was accepted stays so, whatever else becomes of the doctor.
    let gone = admin.patch(&path, &json!({"is_active": false})).await;
    assert_eq!(conflicts(&gone), both);
    for visit in [&in_room, &without_room] {
        let accept = format!("/api/v1/appointments/{visit}/accept_conflict");
        let accepted = admin.post(&accept, &json!({"reason": "Agreed"})).await;
        assert_eq!(accepted.status, 200, "{accepted:?}");
    }
    let reset = json!({"new_password": "another-long-password"});
    let reset = admin.post(&format!("{path}/reset_password"), &reset).await;
    assert!(reset.status.is_success(), "{reset:?}");
    admin.patch(&path, &json!({"display_name": "Third"})).await;
    let listed = admin.get("/api/v1/appointments/conflicts").await;
    assert_eq!(items(&listed).len(), 0, "{listed:?}");
}

/// Every plan moves with the clock on the wall.
#[tokio::test]
async fn another_time_zone_leaves_visits_in_conflict() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    put(
        admin,
        HOURS,
        &json!({"intervals": every_day(&[("09:00", "17:00")])}),
    )
    .await;
    let visit = visit_at(&clinic, coming_noon(), 0).await;
    let zone = |zone: &str| json!({"time_zone": zone});
    let here = admin.patch("/api/v1/clinic", &zone("Europe/London")).await;
    assert_eq!(conflicts(&here), []);
    let far = admin.patch("/api/v1/clinic", &zone("Asia/Tokyo")).await;
    assert_eq!(conflicts(&far), because("clinic_hours", &[&visit]));
    let renamed = admin
        .patch("/api/v1/clinic", &json!({"clinic_name": "A"}))
        .await;
    assert_no_word_of_conflicts(&renamed);
}

/// A visit is booked before the clinic is closed, and told then, or is refused.
///
/// The database keeps everybody from reading closures until some bookings are about to; meanwhile
/// the closure is made, and more bookings come behind it. Then all of them go on.
#[tokio::test]
async fn no_visit_slips_past_a_closure() {
    const VISITS_A_SIDE: usize = 6;
    const {
        assert!(2 * VISITS_A_SIDE < SERVED_AT_A_TIME, "all of them wait");
    }
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let noon = coming_noon();
    let closure = json!({"starts_on": noon.date_naive().to_string(), "reason": "Strike"});
    let book_from = |first: i64| -> Vec<_> {
        let bookings = (first..).take(VISITS_A_SIDE).map(|hour| {
            let booking = booking_at(&clinic, noon - TimeDelta::hours(12), hour);
            let request = clinic.desk.request(Method::POST, "/api/v1/appointments");
            tokio::spawn(Answer::of(request.json(&booking)))
        });
        bookings.collect()
    };
    let mut gate = PgConnection::connect(clinic.server.database_url())
        .await
        .unwrap();
    let mut gate = gate.begin().await.unwrap();
    sqlx::query("LOCK TABLE closures IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *gate)
        .await
        .unwrap();
    let mut bookings = book_from(0);
    until_waiting(&mut gate, VISITS_A_SIDE).await;
    let close = admin.request(Method::POST, CLOSURES).json(&closure);
    let close = tokio::spawn(Answer::of(close));
    until_waiting(&mut gate, VISITS_A_SIDE + 1).await;
    bookings.extend(book_from(12));
    until_waiting(&mut gate, 2 * VISITS_A_SIDE + 1).await;
    gate.commit().await.unwrap();

    let closed = close.await.unwrap();
    let (mut booked, mut refused) = (Vec::new(), 0);
    for answer in join_all(bookings).await {
        let answer = answer.unwrap();
        if answer.status == 201 {
            booked.push(answer.text("/appointment_id"));
        } else {
            answer.assert_problem(422, "outside_working_hours");
            refused += 1;
        }
    }
    let told = booked.iter().collect::<Vec<_>>();
    assert_eq!(conflicts(&closed), because("closure", &told));
    assert!(!booked.is_empty() && refused > 0, "{booked:?} {refused}");
}
