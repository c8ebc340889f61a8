//! What bookings and moves are held against besides each other, and the visits that plans leave in
//! conflict.

use chrono::{DateTime, Days, SecondsFormat, TimeDelta, Utc};
use dcms_domain::shared::Clock as _;
use dcms_system::SystemClock;
use dcms_tests::{Answer, Client};
use serde_json::{Value, json};

use crate::support::{Clinic, book, every_day, items, set_hours, today, url, with};

const VISITS: &str = "/api/v1/appointments";
const HOURS: &str = "/api/v1/clinic/hours";
const CONFLICTS: &str = "/api/v1/appointments/conflicts";

fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A day in about a month, at that hour, in UTC.
fn coming(hour: u32) -> DateTime<Utc> {
    let day = today() + Days::new(30);
    day.and_hms_opt(hour, 0, 0).unwrap().and_utc()
}

/// Half an hour from then on.
fn half_hour(clinic: &Clinic, starts_at: DateTime<Utc>) -> Value {
    clinic.booking(&text(starts_at), &text(starts_at + TimeDelta::minutes(30)))
}

async fn patch(client: &Client, path: &str, body: &Value) {
    let answer = client.patch(path, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The kinds of what stands in the way.
#[track_caller]
fn obstacles(answer: &Answer) -> Vec<&str> {
    answer.assert_problem(422, "outside_working_hours");
    kinds(&answer.body)
}

fn kinds(body: &Value) -> Vec<&str> {
    let obstacles = body["obstacles"].as_array().unwrap().iter();
    obstacles
        .map(|obstacle| obstacle["kind"].as_str().unwrap())
        .collect()
}

/// The ids of the visits in conflict, each with the kinds of what is in its way.
async fn conflicts(client: &Client) -> Vec<(String, Vec<String>)> {
    let answer = client.get(CONFLICTS).await;
    let conflict = |item: &Value| {
        let kinds = kinds(item).into_iter().map(str::to_owned).collect();
        let id = item["appointment_id"].as_str().unwrap();
        (id.to_owned(), kinds)
    };
    items(&answer).iter().map(conflict).collect()
}

#[tokio::test]
async fn days_on_which_clocks_change_are_booked_and_listed() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    // The zone, the day, its first moment, the first of the next, and nine o'clock.
    for (zone, day, first, next, nine) in [
        (
            "America/New_York",
            "2030-03-10",
            "2030-03-10T05:00Z",
            "2030-03-11T04:00Z",
            "13:00",
        ),
        (
            "America/New_York",
            "2030-11-03",
            "2030-11-03T04:00Z",
            "2030-11-04T05:00Z",
            "14:00",
        ),
        (
            "Europe/Berlin",
            "2030-03-31",
            "2030-03-30T23:00Z",
            "2030-03-31T22:00Z",
            "07:00",
        ),
        (
            "Europe/Berlin",
            "2030-10-27",
            "2030-10-26T22:00Z",
            "2030-10-27T23:00Z",
            "08:00",
        ),
        (
            "Australia/Lord_Howe",
            "2030-04-07",
            "2030-04-06T13:00Z",
            "2030-04-07T13:30Z",
            "22:30",
        ),
        (
            "Australia/Lord_Howe",
            "2030-10-06",
            "2030-10-05T13:30Z",
            "2030-10-06T13:00Z",
            "22:00",
        ),
        // Midnight did not exist: the day starts at 01:00.
        (
            "Africa/Cairo",
            "2030-04-26",
            "2030-04-25T22:00Z",
            "2030-04-26T21:00Z",
            "06:00",
        ),
    ] {
        let at = |text: &str| -> DateTime<Utc> { text.replace('Z', ":00Z").parse().unwrap() };
        let (first, next) = (at(first), at(next));
        patch(admin, "/api/v1/clinic", &json!({"time_zone": zone})).await;
        set_hours(admin, HOURS, &Value::Null).await;
        let half = TimeDelta::minutes(30);
        let mut expected = Vec::new();
        for starts_at in [first, first + half * 4, next - half] {
            expected.push(book(&clinic.desk, &half_hour(&clinic, starts_at)).await);
        }
        book(&clinic.desk, &half_hour(&clinic, first - half)).await;
        book(&clinic.desk, &half_hour(&clinic, next)).await;
        let list = clinic.desk.get(&url(VISITS, &[("date", day)])).await;
        let ids: Vec<&Value> = items(&list)
            .iter()
            .map(|visit| &visit["appointment_id"])
            .collect();
        assert_eq!(ids, expected.iter().collect::<Vec<_>>(), "{zone} {day}");

        // Nine o'clock is nine o'clock.
        set_hours(admin, HOURS, &every_day(&[("09:00", "17:00")])).await;
        let mut opens = at(&format!("{}T{nine}Z", first.date_naive()));
        if opens < first {
            opens += TimeDelta::days(1);
        }
        let early = half_hour(&clinic, opens - TimeDelta::minutes(1));
        let refused = clinic.desk.post(VISITS, &early).await;
        assert_eq!(obstacles(&refused), ["clinic_hours"], "{zone} {day}");
        book(&clinic.desk, &half_hour(&clinic, opens)).await;
        let late = half_hour(&clinic, opens + TimeDelta::minutes(7 * 60 + 31));
        let refused = clinic.desk.post(VISITS, &late).await;
        assert_eq!(obstacles(&refused), ["clinic_hours"], "{zone} {day}");
        book(&clinic.desk, &half_hour(&clinic, opens + half * 15)).await;
    }
}

#[tokio::test]
async fn overbooking_lifts_hours_closures_and_time_off_but_never_an_overlap() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let doctor = format!("/api/v1/doctors/{}", clinic.doctor.user_id);
    set_hours(admin, HOURS, &every_day(&[("08:00", "18:00")])).await;
    let narrower = every_day(&[("09:00", "17:00")]);
    set_hours(admin, &format!("{doctor}/hours"), &narrower).await;
    let day = coming(0).date_naive().to_string();
    let span = |from: &str, to: &str| json!({"starts_on": day, "starts_at_time": from, "ends_at_time": to});
    let closure = with(span("11:00", "12:00"), &json!({"reason": "Strike"}));
    let closure = admin
        .create("/api/v1/clinic/closures", &closure, "closure_id")
        .await;
    let time_off = format!("{doctor}/time_off");
    let time_off = admin
        .create(&time_off, &span("14:00", "15:00"), "time_off_id")
        .await;
    let free = book(&clinic.desk, &half_hour(&clinic, coming(16))).await;
    let hours = |kind, hour| {
        let starts_at = coming(hour);
        let ends_at = text(starts_at + TimeDelta::minutes(30));
        json!({"kind": kind, "id": null, "starts_at": text(starts_at), "ends_at": ends_at})
    };
    let absence =
        |kind, id: &str| json!({"kind": kind, "id": id, "starts_at": null, "ends_at": null});
    for (hour, expected) in [
        (8, json!([hours("doctor_hours", 8)])),
        (11, json!([absence("closure", &closure)])),
        (14, json!([absence("time_off", &time_off)])),
        (
            18,
            json!([hours("clinic_hours", 18), hours("doctor_hours", 18)]),
        ),
    ] {
        let body = half_hour(&clinic, coming(hour));
        let refused = clinic.desk.post(VISITS, &body).await;
        obstacles(&refused);
        assert_eq!(refused.body["obstacles"], expected);
        let moved = json!({"starts_at": text(coming(hour))});
        let reschedule = format!("{VISITS}/{free}/reschedule");
        let refused = clinic.desk.post(&reschedule, &moved).await;
        obstacles(&refused);
        assert_eq!(refused.body["obstacles"], expected);

        let reason = json!({"overbook_reason": "In pain"});
        let overbooked = with(body, &reason);
        clinic
            .desk
            .post(VISITS, &overbooked)
            .await
            .assert_problem(403, "forbidden");
        book(&clinic.doctor, &overbooked).await;
        let taken = clinic.doctor.post(VISITS, &overbooked).await;
        taken.assert_problem(409, "appointment_overlap");
        let moved = with(moved, &reason);
        clinic
            .desk
            .post(&reschedule, &moved)
            .await
            .assert_problem(403, "forbidden");
        let taken = clinic.doctor.post(&reschedule, &moved).await;
        taken.assert_problem(409, "appointment_overlap");
    }
    // What was overbooked is accepted.
    assert_eq!(conflicts(&clinic.desk).await, []);
    let moved = json!({
        "starts_at": text(coming(8) + TimeDelta::minutes(30)), "overbook_reason": "In pain",
        "reason": "The patient asked for it",
    });
    let moved = clinic
        .doctor
        .post(&format!("{VISITS}/{free}/reschedule"), &moved)
        .await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(moved.text("/ends_at"), text(coming(9)));
    let history = clinic.desk.get(&format!("{VISITS}/{free}/history")).await;
    let reasons: Vec<&Value> = items(&history)
        .iter()
        .map(|version| &version["reason"])
        .collect();
    assert_eq!(reasons, [&Value::Null, &json!("The patient asked for it")]);
}

#[tokio::test]
async fn a_visit_is_in_conflict_until_it_is_moved_cancelled_or_accepted() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let mut visits = Vec::new();
    for hour in [9, 10, 11] {
        visits.push(book(&clinic.desk, &half_hour(&clinic, coming(hour))).await);
    }
    assert_eq!(conflicts(&clinic.desk).await, []);
    let accept = |visit: &str| format!("{VISITS}/{visit}/accept_conflict");
    let agreed = json!({"reason": "Agreed by phone"});
    let early = admin.post(&accept(&visits[0]), &agreed).await;
    early.assert_problem(409, "invalid_transition");
    let closure = json!({"starts_on": coming(0).date_naive().to_string(), "reason": "Strike"});
    admin
        .create("/api/v1/clinic/closures", &closure, "closure_id")
        .await;
    let in_conflict = |visits: &[String]| -> Vec<(String, Vec<String>)> {
        let visits = visits.iter();
        visits
            .map(|id| (id.clone(), vec!["closure".to_owned()]))
            .collect()
    };
    assert_eq!(conflicts(&clinic.desk).await, in_conflict(&visits));
    let window = [("from", text(coming(10))), ("to", text(coming(11)))];
    let window = window
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let some = clinic.desk.get(&url(CONFLICTS, &window)).await;
    assert_eq!(items(&some).len(), 1);
    let page = clinic.desk.get(&url(CONFLICTS, &[("limit", "2")])).await;
    assert_eq!(items(&page).len(), 2);
    let cursor = page.text("/next_cursor");
    let rest = clinic
        .desk
        .get(&url(CONFLICTS, &[("cursor", &cursor)]))
        .await;
    assert_eq!(items(&rest).len(), 1);
    assert_eq!(rest.body["next_cursor"], Value::Null);

    let moved = json!({"starts_at": text(coming(9) + TimeDelta::days(1))});
    let moved = clinic
        .desk
        .post(&format!("{VISITS}/{}/reschedule", visits[0]), &moved)
        .await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(conflicts(&clinic.desk).await, in_conflict(&visits[1..]));
    let cancel = format!("{VISITS}/{}/cancel", visits[1]);
    let cancelled = clinic
        .desk
        .post(&cancel, &json!({"reason": "Closed"}))
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_eq!(conflicts(&clinic.desk).await, in_conflict(&visits[2..]));

    let path = accept(&visits[2]);
    clinic
        .desk
        .post(&path, &agreed)
        .await
        .assert_problem(403, "forbidden");
    clinic
        .doctor
        .post(&path, &json!({"reason": ""}))
        .await
        .assert_faults(&["/reason"]);
    let accepted = clinic.doctor.post(&path, &agreed).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    assert_eq!(accepted.text("/overbook_reason"), "Agreed by phone");
    assert_eq!(conflicts(&clinic.desk).await, []);
    let again = clinic.doctor.post(&path, &agreed).await;
    again.assert_problem(409, "invalid_transition");
    let cancelled = admin.post(&accept(&visits[1]), &agreed).await;
    cancelled.assert_problem(409, "invalid_transition");
}

#[tokio::test]
async fn planned_services_say_how_long_with_whom_where_and_what_it_costs() {
    let clinic = Clinic::open().await;
    let (admin, server) = (clinic.server.admin(), &clinic.server);
    let other = server.user("doctor").await;
    let (plain, surgery) = (server.room("Room 1").await, server.room("Room 2").await);
    patch(
        admin,
        &format!("/api/v1/rooms/{surgery}"),
        &json!({"kind": "surgery"}),
    )
    .await;
    let service = server.service("IMPL1", 90_000).await;
    let implant = json!({
        "default_duration_minutes": 40, "buffer_minutes": 15, "room_kind": "surgery",
        "doctor_ids": [clinic.doctor.user_id],
    });
    patch(admin, &format!("/api/v1/services/{service}"), &implant).await;
    let visit = json!({
        "patient_id": clinic.patient, "doctor_id": clinic.doctor.user_id, "room_id": surgery,
        "starts_at": text(coming(9)), "services": [{"service_id": service, "qty": 2}],
    });
    let wrong = with(
        visit.clone(),
        &json!({"doctor_id": other.user_id, "room_id": plain}),
    );
    let refused = clinic.desk.post(VISITS, &wrong).await;
    refused.assert_faults(&["/services/0/service_id", "/room_id"]);
    let booked = clinic.desk.post(VISITS, &visit).await;
    assert_eq!(booked.status, 201, "{booked:?}");
    let ends_at = coming(9) + TimeDelta::minutes(80);
    let free_at = ends_at + TimeDelta::minutes(15);
    assert_eq!(booked.text("/ends_at"), text(ends_at));
    assert_eq!(booked.text("/room_free_at"), text(free_at));
    assert_eq!(booked.number("/services/0/unit_price_cents"), 90_000);

    // The room is cleaned up; the doctor is free.
    let next = |room: &str, starts_at| {
        json!({
            "patient_id": clinic.patient, "doctor_id": clinic.doctor.user_id, "room_id": room,
            "starts_at": text(starts_at),
        })
    };
    let taken = clinic.desk.post(VISITS, &next(&surgery, ends_at)).await;
    taken.assert_problem(409, "appointment_overlap");
    assert_eq!(taken.text("/resource"), "room");
    let behind = clinic.desk.post(VISITS, &next(&plain, ends_at)).await;
    assert_eq!(behind.status, 201, "{behind:?}");
    let with_other = with(
        next(&surgery, free_at),
        &json!({
            "patient_id": server.patient().await, "doctor_id": other.user_id,
        }),
    );
    let behind = clinic.desk.post(VISITS, &with_other).await;
    assert_eq!(behind.status, 201, "{behind:?}");
    // As long as a visit usually takes, when nobody says.
    assert_eq!(
        behind.text("/ends_at"),
        text(free_at + TimeDelta::minutes(30))
    );

    let path = format!("{VISITS}/{}", booked.text("/appointment_id"));
    let refused = clinic.desk.patch(&path, &json!({"room_id": plain})).await;
    refused.assert_faults(&["/room_id"]);
    let handed_over =
        json!({"starts_at": text(coming(14)), "doctor_id": other.user_id, "room_id": plain});
    let refused = clinic
        .desk
        .post(&format!("{path}/reschedule"), &handed_over)
        .await;
    refused.assert_faults(&["/doctor_id", "/room_id"]);

    patch(
        admin,
        &format!("/api/v1/services/{service}"),
        &json!({"current_price_cents": 95_000}),
    )
    .await;
    let invoice = json!({
        "patient_id": clinic.patient, "from_appointment": true, "items": [],
        "appointment_id": booked.text("/appointment_id"),
    });
    let invoice = clinic.desk.post("/api/v1/invoices", &invoice).await;
    assert_eq!(invoice.number("/total_cents"), 180_000, "{invoice:?}");
}

#[tokio::test]
async fn notice_has_bounds() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let now = SystemClock.now();
    let begun = half_hour(&clinic, now - TimeDelta::minutes(10));
    book(&clinic.desk, &begun).await;
    let rules = json!({"smallest_notice_minutes": 120, "largest_notice_days": 10});
    patch(admin, "/api/v1/clinic", &rules).await;
    let visit = book(&clinic.desk, &half_hour(&clinic, now + TimeDelta::days(5))).await;
    for starts_at in [now + TimeDelta::minutes(60), now + TimeDelta::days(11)] {
        let refused = clinic
            .desk
            .post(VISITS, &half_hour(&clinic, starts_at))
            .await;
        refused.assert_faults(&["/starts_at"]);
        let moved = json!({"starts_at": text(starts_at)});
        let refused = clinic
            .desk
            .post(&format!("{VISITS}/{visit}/reschedule"), &moved)
            .await;
        refused.assert_faults(&["/starts_at"]);
    }
}

#[tokio::test]
async fn a_visit_tells_when_the_patient_came_sat_down_and_left() {
    let clinic = Clinic::open().await;
    let visit = clinic
        .visit("2026-01-05T09:00:00Z", "2026-01-05T09:30:00Z")
        .await;
    let path = format!("{VISITS}/{visit}");
    let fields = ["arrived_at", "seated_at", "completed_at"];
    for (known, action) in ["arrive", "start", "complete"].into_iter().enumerate() {
        let answer = clinic.doctor.act(&format!("{path}/{action}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = fields.map(|field| answer.body[field].is_string());
        assert_eq!(told, [0, 1, 2].map(|field| field <= known), "{answer:?}");
        let time = |value: &Value| {
            value
                .as_str()
                .map(|time| time.parse::<DateTime<Utc>>().unwrap())
        };
        let times: Vec<DateTime<Utc>> = fields
            .iter()
            .filter_map(|field| time(&answer.body[field]))
            .collect();
        assert!(times.is_sorted(), "{answer:?}");
        assert_eq!(times.last().copied(), time(&answer.body["updated_at"]));
    }
}
