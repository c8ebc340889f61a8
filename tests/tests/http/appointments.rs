//! Visits: booking, changing, every action, and who is in one place at a time.

use dcms_tests::{Answer, Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Clinic, NOBODY, assert_created, assert_members, assert_unchanged, book, booking,
    coming_half_hour, etag, if_match, texts, texts_of_pages, url, with,
};

const VISITS: &str = "/api/v1/appointments";

/// Takes an action with whatever it needs.
async fn act(client: &Client, visit: &str, action: &str) -> Answer {
    let path = format!("{VISITS}/{visit}/{action}");
    match action {
        "cancel" => client.post(&path, &json!({"reason": "Ill"})).await,
        "reschedule" => {
            let slot = json!({
                "starts_at": "2031-05-05T09:00:00Z", "ends_at": "2031-05-05T09:30:00Z",
            });
            client.post(&path, &slot).await
        }
        _ => client.act(&path).await,
    }
}

/// Takes actions that must be allowed.
async fn take(client: &Client, visit: &str, actions: &[&str]) {
    for action in actions {
        let answer = act(client, visit, action).await;
        assert_eq!(answer.status, 200, "{action}: {answer:?}");
    }
}

fn assert_overlap(answer: &Answer, resource: &str) {
    answer.assert_problem(409, "appointment_overlap");
    assert_eq!(answer.text("/resource"), resource, "{answer:?}");
}

#[tokio::test]
async fn a_visit_is_booked_with_everything() {
    let clinic = Clinic::open().await;
    let (room, filling) = (
        clinic.server.room("Room 1").await,
        clinic.server.service("F1", 5000).await,
    );
    let crown = clinic.server.service("C1", 50_000).await;
    let slot = clinic.booking("2030-01-07T09:00:00+01:00", "2030-01-07T09:45:30.5+01:00");
    let rest = json!({
        "room_id": room, "notes": "Bring the X-ray.\nCall before.",
        "services": [{"service_id": filling, "qty": 2}, {"service_id": crown, "qty": 1}],
        "overbook_reason": "Pain",
    });
    let admin = clinic.server.admin();
    let answer = admin.post(VISITS, &with(slot.clone(), &rest)).await;
    assert_created(admin, &answer).await;
    let wanted = json!({
        "patient_id": clinic.patient, "doctor_id": clinic.doctor.user_id, "status": "scheduled",
        "starts_at": "2030-01-07T08:00:00Z", "ends_at": "2030-01-07T08:45:30.500Z",
        "services": [
            {"service_id": filling, "qty": 2, "unit_price_cents": 5000},
            {"service_id": crown, "qty": 1, "unit_price_cents": 50_000},
        ],
    });
    for (field, value) in with(rest, &wanted).as_object().unwrap() {
        assert_eq!(&answer.body[field], value, "{field}");
    }
    assert_eq!(answer.body["created_at"], answer.body["updated_at"]);
    let location = format!("{VISITS}/{}", answer.text("/appointment_id"));
    assert_eq!(answer.header("location"), Some(location.as_str()));
}

#[tokio::test]
async fn a_visit_needs_a_patient_a_doctor_and_a_time() {
    let clinic = Clinic::open().await;
    let mut body = clinic.booking("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    let ends_at = body.as_object_mut().unwrap().remove("ends_at").unwrap();
    let answer = clinic.desk.post(VISITS, &body).await;
    assert_created(&clinic.desk, &answer).await;
    for (field, value) in [
        ("ends_at", ends_at),
        ("room_id", json!(null)),
        ("notes", json!(null)),
        ("services", json!([])),
    ] {
        assert_eq!(answer.body[field], value, "{field}");
    }
    assert_members(&body, &["patient_id", "doctor_id", "starts_at"]);
    let answer = clinic.desk.post(VISITS, &json!({})).await;
    answer.assert_faults(&["/patient_id", "/doctor_id", "/starts_at"]);
}

/// A clinic with whatever cannot be booked: an archived patient, a doctor who left, and so on.
struct Unbookable {
    patient: String,
    doctor: String,
    room: String,
    service: String,
}

impl Unbookable {
    async fn of(server: &Server) -> Self {
        let admin = server.admin();
        let patient = server.patient().await;
        let archived = admin
            .act(&format!("/api/v1/patients/{patient}/archive"))
            .await;
        assert_eq!(archived.status, 200, "{archived:?}");
        let doctor = server.user("doctor").await.user_id;
        let room = server.room("Storage").await;
        let service = server.service("OLD", 100).await;
        for path in [
            format!("/api/v1/admin/users/{doctor}"),
            format!("/api/v1/rooms/{room}"),
            format!("/api/v1/services/{service}"),
        ] {
            let answer = admin.patch(&path, &json!({"is_active": false})).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        Self {
            patient,
            doctor,
            room,
            service,
        }
    }
}

#[tokio::test]
async fn what_cannot_be_booked_is_told_all_at_once() {
    let clinic = Clinic::open().await;
    let gone = Unbookable::of(&clinic.server).await;
    let service = clinic.server.service("F1", 100).await;
    let body = clinic.booking("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    let cases = [
        (json!({"patient_id": NOBODY}), vec!["/patient_id"]),
        (json!({"patient_id": gone.patient}), vec!["/patient_id"]),
        (json!({"doctor_id": NOBODY}), vec!["/doctor_id"]),
        (json!({"doctor_id": gone.doctor}), vec!["/doctor_id"]),
        // Somebody who is no doctor.
        (
            json!({"doctor_id": clinic.desk.user_id}),
            vec!["/doctor_id"],
        ),
        (json!({"room_id": NOBODY}), vec!["/room_id"]),
        (json!({"room_id": gone.room}), vec!["/room_id"]),
        (
            json!({"services": [{"service_id": service, "qty": 1}, {"service_id": NOBODY, "qty": 1}]}),
            vec!["/services/1/service_id"],
        ),
        (
            json!({"services": [{"service_id": gone.service, "qty": 1}]}),
            vec!["/services/0/service_id"],
        ),
        (
            json!({"services": [{"service_id": service, "qty": 0}, {"service_id": service, "qty": 10_001}]}),
            vec!["/services/0/qty", "/services/1/qty"],
        ),
        (json!({"ends_at": "2030-01-07T09:00:00Z"}), vec!["/ends_at"]),
        (json!({"ends_at": "2030-01-07T08:59:59Z"}), vec!["/ends_at"]),
        // The same moment, written in two zones.
        (
            json!({"ends_at": "2030-01-07T10:00:00+01:00"}),
            vec!["/ends_at"],
        ),
        (json!({"ends_at": "2030-01-08T09:00:01Z"}), vec!["/ends_at"]),
        (
            json!({"starts_at": "1850-01-07T09:00:00Z", "ends_at": "1850-01-07T09:30:00Z"}),
            vec!["/starts_at"],
        ),
        (json!({"notes": "a\u{0}b"}), vec!["/notes"]),
        (
            json!({
                "patient_id": gone.patient, "doctor_id": NOBODY, "room_id": gone.room,
                "ends_at": "2030-01-07T09:00:00Z", "notes": "",
                "services": [{"service_id": NOBODY, "qty": 1}, {"service_id": service, "qty": -1}],
            }),
            vec![
                "/patient_id",
                "/doctor_id",
                "/room_id",
                "/ends_at",
                "/notes",
                "/services/0/service_id",
                "/services/1/qty",
            ],
        ),
    ];
    for (change, pointers) in cases {
        let answer = clinic.desk.post(VISITS, &with(body.clone(), &change)).await;
        answer.assert_faults(&pointers);
    }
    // The longest there is, to show that the bound was the reason.
    let day = json!({"ends_at": "2030-01-08T09:00:00Z"});
    book(&clinic.desk, &with(body, &day)).await;
}

#[tokio::test]
async fn an_instant_without_an_offset_is_refused() {
    let clinic = Clinic::open().await;
    let body = clinic.booking("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    for starts_at in [
        "2030-01-07T09:00:00",
        "2030-01-07 09:00:00Z",
        "2030-01-07",
        "now",
        "",
    ] {
        let change = json!({"starts_at": starts_at});
        let answer = clinic.desk.post(VISITS, &with(body.clone(), &change)).await;
        answer.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn no_visit_is_not_found() {
    let clinic = Clinic::open().await;
    let path = format!("{VISITS}/{NOBODY}");
    clinic
        .desk
        .get(&path)
        .await
        .assert_problem(404, "not_found");
    let answer = clinic.desk.patch(&path, &json!({"notes": "x"})).await;
    answer.assert_problem(404, "not_found");
    for action in [
        "confirm",
        "arrive",
        "start",
        "complete",
        "cancel",
        "no_show",
        "reschedule",
    ] {
        let answer = act(clinic.server.admin(), NOBODY, action).await;
        answer.assert_problem(404, "not_found");
    }
}

/// A state, the actions that lead there, and what each action leads to from there.
type State = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

#[rustfmt::skip]
const STATES: [State; 7] = [
    ("scheduled", &[],                              &[("confirm", "confirmed"), ("arrive", "arrived"), ("cancel", "cancelled"), ("no_show", "no_show"), ("reschedule", "scheduled")]),
    ("confirmed", &["confirm"],                     &[("arrive", "arrived"), ("cancel", "cancelled"), ("no_show", "no_show"), ("reschedule", "scheduled")]),
    ("arrived",   &["arrive"],                      &[("start", "in_chair"), ("cancel", "cancelled")]),
    ("in_chair",  &["arrive", "start"],             &[("complete", "completed")]),
    ("completed", &["arrive", "start", "complete"], &[]),
    ("cancelled", &["cancel"],                      &[]),
    ("no_show",   &["no_show"],                     &[("arrive", "arrived")]),
];

#[tokio::test]
async fn every_action_does_in_every_state_what_the_table_says() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let actions = [
        "confirm",
        "arrive",
        "start",
        "complete",
        "cancel",
        "no_show",
        "reschedule",
    ];
    let mut day = 0;
    for (state, way, allowed) in STATES {
        for action in actions {
            day += 1;
            let day = format!("2020-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
            let starts_at = format!("{day}T09:00:00Z");
            let visit = clinic.visit(&starts_at, &format!("{day}T09:30:00Z")).await;
            take(admin, &visit, way).await;
            let path = format!("{VISITS}/{visit}");
            let before = admin.get(&path).await;
            assert_eq!(before.text("/status"), state);

            let answer = act(admin, &visit, action).await;
            if let Some((_, to)) = allowed.iter().find(|(name, _)| *name == action) {
                assert_eq!(answer.status, 200, "{action} when {state}: {answer:?}");
                assert_eq!(answer.text("/status"), *to, "{action} when {state}");
                assert_ne!(etag(&answer), etag(&before));
                assert_unchanged(admin, &path, &answer).await;
                if action == "reschedule" {
                    assert_eq!(answer.text("/starts_at"), "2031-05-05T09:00:00Z");
                    take(admin, &visit, &["cancel"]).await;
                }
            } else {
                answer.assert_problem(409, "invalid_transition");
                assert_eq!(answer.text("/from"), state);
                let mut names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
                names.sort_unstable();
                let mut told: Vec<&str> = answer.body["allowed"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|name| name.as_str().unwrap())
                    .collect();
                told.sort_unstable();
                assert_eq!(told, names, "{action} when {state}");
                assert_unchanged(admin, &path, &before).await;
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_given_up_on_before_the_visit_starts() {
    let clinic = Clinic::open().await;
    let (starts_at, ends_at) = coming_half_hour();
    let visit = clinic.visit(&starts_at, &ends_at).await;
    for (state, way) in [("scheduled", vec![]), ("confirmed", vec!["confirm"])] {
        take(&clinic.desk, &visit, &way).await;
        let answer = act(&clinic.desk, &visit, "no_show").await;
        answer.assert_problem(409, "invalid_transition");
        assert_eq!(answer.text("/from"), state);
        let allowed = answer.body["allowed"].as_array().unwrap();
        assert!(allowed.contains(&json!("cancel")), "{answer:?}");
        assert!(!allowed.contains(&json!("no_show")), "{answer:?}");
    }
}

#[tokio::test]
async fn calling_off_needs_a_reason() {
    let clinic = Clinic::open().await;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let path = format!("{VISITS}/{visit}");
    let before = clinic.desk.get(&path).await;
    let cancel = format!("{path}/cancel");
    for body in [
        json!({}),
        json!({"reason": null}),
        json!({"reason": ""}),
        json!({"reason": " \n"}),
    ] {
        clinic
            .desk
            .post(&cancel, &body)
            .await
            .assert_faults(&["/reason"]);
    }
    let without_body = clinic.desk.act(&cancel).await;
    assert!(without_body.status.is_client_error(), "{without_body:?}");
    assert_unchanged(&clinic.desk, &path, &before).await;
}

#[tokio::test]
async fn an_action_honours_if_match() {
    let clinic = Clinic::open().await;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let path = format!("{VISITS}/{visit}");
    let before = clinic.desk.get(&path).await;
    let notes = json!({"notes": "New"});
    let slot = json!({"starts_at": "2030-01-07T10:00:00Z", "ends_at": "2030-01-07T10:30:00Z"});
    let requests = [
        (Method::PATCH, "", notes),
        (Method::POST, "/confirm", Value::Null),
        (Method::POST, "/cancel", json!({"reason": "Ill"})),
        (Method::POST, "/reschedule", slot),
    ];
    for (method, action, body) in &requests {
        let path = format!("{path}{action}");
        let stale = if_match(&clinic.desk, method.clone(), &path, "\"99\"", body).await;
        stale.assert_problem(412, "version_mismatch");
    }
    assert_unchanged(&clinic.desk, &path, &before).await;
    let confirm = format!("{path}/confirm");
    let current = if_match(
        &clinic.desk,
        Method::POST,
        &confirm,
        &etag(&before),
        &Value::Null,
    )
    .await;
    assert_eq!(current.status, 200, "{current:?}");
    let again = if_match(
        &clinic.desk,
        Method::POST,
        &confirm,
        &etag(&before),
        &Value::Null,
    )
    .await;
    again.assert_problem(412, "version_mismatch");
}

#[tokio::test]
async fn a_patch_changes_notes_room_and_services_and_nothing_else() {
    let clinic = Clinic::open().await;
    let gone = Unbookable::of(&clinic.server).await;
    let (room, service) = (
        clinic.server.room("Room 1").await,
        clinic.server.service("F1", 100).await,
    );
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let path = format!("{VISITS}/{visit}");
    let before = clinic.desk.get(&path).await;

    let all = json!({
        "notes": "Bring the X-ray", "room_id": room,
        "services": [{"service_id": service, "qty": 3}],
    });
    let changed = clinic.desk.patch(&path, &all).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(etag(&changed), etag(&before));
    let told = json!({
        "updated_at": changed.body["updated_at"],
        "services": [{"service_id": service, "qty": 3, "unit_price_cents": 100}],
    });
    assert_eq!(changed.body, with(with(before.body.clone(), &all), &told));
    assert_unchanged(&clinic.desk, &path, &changed).await;

    for refused in [
        json!({"status": "confirmed"}),
        json!({"starts_at": "2030-01-07T10:00:00Z"}),
        json!({"ends_at": "2030-01-07T10:00:00Z"}),
        json!({"doctor_id": clinic.doctor.user_id}),
        json!({"patient_id": clinic.patient}),
        json!({"notes": "Other", "status": "completed"}),
    ] {
        let answer = clinic.desk.patch(&path, &refused).await;
        answer.assert_problem(400, "malformed_request");
    }
    let wrong = json!({
        "notes": "", "room_id": gone.room,
        "services": [{"service_id": gone.service, "qty": 1}, {"service_id": service, "qty": 0}],
    });
    let answer = clinic.desk.patch(&path, &wrong).await;
    answer.assert_faults(&[
        "/notes",
        "/room_id",
        "/services/0/service_id",
        "/services/1/qty",
    ]);
    assert_unchanged(&clinic.desk, &path, &changed).await;

    let cleared = clinic
        .desk
        .patch(
            &path,
            &json!({"notes": null, "room_id": null, "services": null}),
        )
        .await;
    let cleared_at = json!({"updated_at": cleared.body["updated_at"]});
    assert_eq!(cleared.body, with(before.body, &cleared_at));
}

#[tokio::test]
async fn a_patch_into_a_room_that_is_taken_changes_nothing() {
    let clinic = Clinic::open().await;
    let (desk, room) = (&clinic.desk, clinic.server.room("Room 1").await);
    let (starts_at, ends_at) = ("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    let other = booking(
        &clinic.server.patient().await,
        &clinic.server.user("doctor").await.user_id,
        starts_at,
        ends_at,
    );
    let other = book(desk, &with(other, &json!({"room_id": room}))).await;
    let visit = clinic.visit(starts_at, ends_at).await;
    let path = format!("{VISITS}/{visit}");
    let before = desk.get(&path).await;
    let change = json!({"room_id": room, "notes": "New"});
    assert_overlap(&desk.patch(&path, &change).await, "room");
    assert_unchanged(desk, &path, &before).await;
    // Once the other one has left it, the room can be had.
    take(desk, &other, &["cancel"]).await;
    assert_eq!(desk.patch(&path, &change).await.text("/room_id"), room);
}

/// The slots of visits, each with a name that it has as its notes, in another order than listed.
#[rustfmt::skip]
const LISTED: [(&str, &str, &str); 6] = [
    ("next day",      "2030-01-08T09:00:00Z", "2030-01-08T09:30:00Z"),
    ("early",         "2030-01-07T08:00:00Z", "2030-01-07T09:00:00Z"),
    ("morning",       "2030-01-07T09:00:00Z", "2030-01-07T10:00:00Z"),
    ("late",          "2030-01-07T10:00:00Z", "2030-01-07T11:00:00Z"),
    ("over midnight", "2030-01-07T23:30:00Z", "2030-01-08T00:30:00Z"),
    ("last year",     "2029-01-07T09:00:00Z", "2029-01-07T09:30:00Z"),
];

#[tokio::test]
async fn lists_are_filtered_and_in_order() {
    let clinic = Clinic::open().await;
    let (desk, room) = (&clinic.desk, clinic.server.room("Room 1").await);
    for (name, starts_at, ends_at) in LISTED {
        let body = clinic.booking(starts_at, ends_at);
        let visit = book(desk, &with(body, &json!({"notes": name}))).await;
        match name {
            "late" => take(desk, &visit, &["confirm"]).await,
            "early" => take(desk, &visit, &["cancel"]).await,
            _ => {}
        }
    }
    let doctor = clinic.server.user("doctor").await.user_id;
    let patient = clinic.server.patient().await;
    let (starts_at, ends_at) = ("2030-01-07T09:15:00Z", "2030-01-07T09:45:00Z");
    let other = json!({"notes": "other", "room_id": room});
    book(
        desk,
        &with(booking(&patient, &doctor, starts_at, ends_at), &other),
    )
    .await;

    let all = "last year, early, morning, other, late, over midnight, next day";
    let own = "last year, early, morning, late, over midnight, next day";
    let day = "early, morning, other, late, over midnight";
    let own_doctor = &clinic.doctor.user_id;
    let cases = [
        (String::new(), all),
        (format!("doctor_id={own_doctor}"), own),
        (format!("patient_id={}", clinic.patient), own),
        (format!("doctor_id={doctor}"), "other"),
        (format!("patient_id={patient}"), "other"),
        (format!("room_id={room}"), "other"),
        (format!("doctor_id={NOBODY}"), ""),
        ("status=confirmed".to_owned(), "late"),
        ("status=cancelled".to_owned(), "early"),
        ("status=in_chair".to_owned(), ""),
        // Whatever overlaps: one that ends where the window starts does not, nor the other way.
        (window("09:00:00Z", "10:00:00Z"), "morning, other"),
        (window("09:59:59Z", "10:00:01Z"), "morning, late"),
        (window("09:20:00Z", "09:25:00Z"), "morning, other"),
        (
            window("10:00:00%2B01:00", "11:00:00%2B01:00"),
            "morning, other",
        ),
        (
            "from=2030-01-08T00:00:00Z".to_owned(),
            "over midnight, next day",
        ),
        ("to=2030-01-07T09:00:00Z".to_owned(), "last year, early"),
        ("date=2030-01-07".to_owned(), day),
        ("date=2030-01-08".to_owned(), "over midnight, next day"),
        ("date=2030-01-09".to_owned(), ""),
        // All at once.
        (
            format!("date=2030-01-07&doctor_id={own_doctor}&status=scheduled"),
            "morning, over midnight",
        ),
        (
            format!("date=2030-01-07&doctor_id={own_doctor}&room_id={room}"),
            "",
        ),
    ];
    for (query, wanted) in cases {
        let list = clinic.doctor.get(&format!("{VISITS}?{query}")).await;
        assert_eq!(texts(&list, "notes").join(", "), wanted, "{query}");
    }
    for limit in [1, 2, 6, 7] {
        let pages = texts_of_pages(desk, VISITS, limit, "notes", async || {}).await;
        assert_eq!(pages.join(", "), all);
    }
}

/// The query for a window of one day.
fn window(from: &str, to: &str) -> String {
    format!("from=2030-01-07T{from}&to=2030-01-07T{to}")
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused() {
    let server = Server::start().await;
    for query in [
        "status=gone",
        "doctor_id=42",
        "from=2030-01-07T09:00:00",
        "to=x",
        "date=07.01.2030",
        "date=2030-02-30",
    ] {
        let answer = server.admin().get(&format!("{VISITS}?{query}")).await;
        answer.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn pages_stay_in_step_while_visits_are_added() {
    let clinic = Clinic::open().await;
    let mut wanted = Vec::new();
    for day in 10..16 {
        let (from, to) = (
            format!("2030-01-{day}T09:00:00Z"),
            format!("2030-01-{day}T10:00:00Z"),
        );
        wanted.push(clinic.visit(&from, &to).await);
    }
    let mut day = 0;
    let add = async || {
        // Before all that were seen already.
        day += 1;
        let (from, to) = (
            format!("2029-01-{day:02}T09:00:00Z"),
            format!("2029-01-{day:02}T10:00:00Z"),
        );
        clinic.visit(&from, &to).await;
    };
    let pages = texts_of_pages(&clinic.desk, VISITS, 2, "appointment_id", add).await;
    assert_eq!(pages, wanted);
}

/// Zone, day, first moment, last moment: the days on which clocks change, and ordinary ones.
const DAYS: [(&str, &str, &str, &str); 8] = [
    // 23 hours, 25 hours, 24 in summer and in winter.
    (
        "Europe/Berlin",
        "2026-03-29",
        "2026-03-28T23:00:00Z",
        "2026-03-29T22:00:00Z",
    ),
    (
        "Europe/Berlin",
        "2026-10-25",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    ),
    (
        "Europe/Berlin",
        "2026-07-01",
        "2026-06-30T22:00:00Z",
        "2026-07-01T22:00:00Z",
    ),
    (
        "Europe/Berlin",
        "2026-12-31",
        "2026-12-30T23:00:00Z",
        "2026-12-31T23:00:00Z",
    ),
    (
        "America/New_York",
        "2026-03-08",
        "2026-03-08T05:00:00Z",
        "2026-03-09T04:00:00Z",
    ),
    (
        "America/New_York",
        "2026-11-01",
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
    ),
    (
        "America/New_York",
        "2026-07-01",
        "2026-07-01T04:00:00Z",
        "2026-07-02T04:00:00Z",
    ),
    (
        "America/New_York",
        "2026-12-31",
        "2026-12-31T05:00:00Z",
        "2027-01-01T05:00:00Z",
    ),
];

#[tokio::test]
async fn a_day_is_the_clinics_also_when_clocks_change() {
    let clinic = Clinic::open().await;
    let half_hour_from = |instant: &str, minutes: i64| {
        let start = chrono::DateTime::parse_from_rfc3339(instant).unwrap();
        let start = start + chrono::TimeDelta::minutes(minutes);
        let end = start + chrono::TimeDelta::minutes(30);
        (start.to_rfc3339(), end.to_rfc3339())
    };
    for (zone, day, first, last) in DAYS {
        let answer = clinic
            .server
            .admin()
            .patch("/api/v1/clinic", &json!({"time_zone": zone}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let doctor = clinic.server.user("doctor").await.user_id;
        let slots = [
            ("the evening before", first, -30),
            ("the first", first, 0),
            ("the last", last, -30),
            ("the night after", last, 0),
        ];
        for (name, instant, minutes) in slots {
            let (from, to) = half_hour_from(instant, minutes);
            let body = booking(&clinic.server.patient().await, &doctor, &from, &to);
            book(&clinic.desk, &with(body, &json!({"notes": name}))).await;
        }
        let list = url(VISITS, &[("date", day), ("doctor_id", &doctor)]);
        let list = clinic.desk.get(&list).await;
        assert_eq!(
            texts(&list, "notes"),
            ["the first", "the last"],
            "{day} in {zone}"
        );
    }
}

/// How a slot can lie to 10:00–11:00, and whether both can be had.
#[rustfmt::skip]
const RELATIONS: [(&str, &str, &str, bool); 13] = [
    ("before",        "08:00", "09:00", true),
    ("meets",         "09:00", "10:00", true),
    ("overlaps",      "09:30", "10:30", false),
    ("finished by",   "09:30", "11:00", false),
    ("contains",      "09:30", "11:30", false),
    ("starts",        "10:00", "10:30", false),
    ("equals",        "10:00", "11:00", false),
    ("started by",    "10:00", "11:30", false),
    ("during",        "10:15", "10:45", false),
    ("finishes",      "10:30", "11:00", false),
    ("overlapped by", "10:30", "11:30", false),
    ("met by",        "11:00", "12:00", true),
    ("after",         "12:00", "13:00", true),
];

/// Each relation, with visits that have nothing in common but one resource: booked, and rescheduled.
async fn a_resource_is_in_one_place_at_a_time(resource: &str) {
    let server = Server::start().await;
    let desk = server.user("receptionist").await;
    let mut parties = Vec::new();
    for room in ["Room 1", "Room 2"] {
        parties.push(json!({
            "patient_id": server.patient().await,
            "doctor_id": server.user("doctor").await.user_id,
            "room_id": server.room(room).await,
        }));
    }
    let shared = format!("{resource}_id");
    let theirs = parties.pop().unwrap();
    let ours = with(
        parties.pop().unwrap(),
        &json!({shared.as_str(): theirs[shared.as_str()]}),
    );
    for (index, (relation, from, to, fits)) in RELATIONS.into_iter().enumerate() {
        let slot = |from: &str, to: &str| {
            let day = format!("2030-01-{:02}", index + 1);
            json!({"starts_at": format!("{day}T{from}:00Z"), "ends_at": format!("{day}T{to}:00Z")})
        };
        book(&desk, &with(theirs.clone(), &slot("10:00", "11:00"))).await;
        let booked = desk
            .post(VISITS, &with(ours.clone(), &slot(from, to)))
            .await;
        if fits {
            assert_eq!(booked.status, 201, "{relation}: {booked:?}");
            take(&desk, &booked.text("/appointment_id"), &["cancel"]).await;
        } else {
            assert_overlap(&booked, resource);
        }

        let elsewhere = book(&desk, &with(ours.clone(), &slot("20:00", "20:30"))).await;
        let path = format!("{VISITS}/{elsewhere}");
        let before = desk.get(&path).await;
        let moved = desk
            .post(&format!("{path}/reschedule"), &slot(from, to))
            .await;
        if fits {
            assert_eq!(moved.status, 200, "{relation}: {moved:?}");
            assert_unchanged(&desk, &path, &moved).await;
        } else {
            assert_overlap(&moved, resource);
            assert_unchanged(&desk, &path, &before).await;
        }
    }
}

#[tokio::test]
async fn a_doctor_is_in_one_place_at_a_time() {
    a_resource_is_in_one_place_at_a_time("doctor").await;
}

#[tokio::test]
async fn a_room_holds_one_visit_at_a_time() {
    a_resource_is_in_one_place_at_a_time("room").await;
}

#[tokio::test]
async fn a_patient_is_in_one_place_at_a_time() {
    a_resource_is_in_one_place_at_a_time("patient").await;
}

#[tokio::test]
async fn only_cancelled_and_no_show_free_the_slot() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    for (index, (state, way, _)) in STATES.into_iter().enumerate() {
        let day = format!("2020-01-{:02}", index + 1);
        let (from, to) = (format!("{day}T09:00:00Z"), format!("{day}T09:30:00Z"));
        let visit = clinic.visit(&from, &to).await;
        take(admin, &visit, way).await;
        let answer = admin.post(VISITS, &clinic.booking(&from, &to)).await;
        if ["cancelled", "no_show"].contains(&state) {
            assert_eq!(answer.status, 201, "{state}: {answer:?}");
        } else {
            answer.assert_problem(409, "appointment_overlap");
        }
    }
}

#[tokio::test]
async fn who_comes_after_all_takes_the_slot_again_if_it_is_free() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let (from, to) = ("2020-01-07T09:00:00Z", "2020-01-07T09:30:00Z");
    let late = clinic.visit(from, to).await;
    take(desk, &late, &["no_show"]).await;
    let path = format!("{VISITS}/{late}");
    let before = desk.get(&path).await;

    let other = booking(
        &clinic.server.patient().await,
        &clinic.doctor.user_id,
        from,
        to,
    );
    let taker = book(desk, &other).await;
    assert_overlap(&act(desk, &late, "arrive").await, "doctor");
    assert_unchanged(desk, &path, &before).await;

    take(desk, &taker, &["cancel"]).await;
    assert_eq!(act(desk, &late, "arrive").await.text("/status"), "arrived");
    assert_overlap(&desk.post(VISITS, &other).await, "doctor");
}

#[tokio::test]
async fn a_visit_moves_to_another_time_doctor_and_room() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let (from, to) = ("2030-01-07T09:00:00Z", "2030-01-07T10:00:00Z");
    let visit = clinic.visit(from, to).await;
    take(desk, &visit, &["confirm"]).await;
    let path = format!("{VISITS}/{visit}");
    let before = desk.get(&path).await;

    // Its own old slot is not in the way.
    let slot = json!({"starts_at": "2030-01-07T09:30:00Z", "ends_at": "2030-01-07T10:30:00Z"});
    let reschedule = format!("{path}/reschedule");
    let moved = desk.post(&reschedule, &slot).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    let changed = json!({
        "status": "scheduled", "room_free_at": slot["ends_at"],
        "updated_at": moved.body["updated_at"],
    });
    assert_eq!(moved.body, with(with(before.body, &slot), &changed));

    let parties = json!({
        "doctor_id": clinic.server.user("doctor").await.user_id,
        "room_id": clinic.server.room("Room 1").await,
    });
    let moved = desk.post(&reschedule, &with(slot, &parties)).await;
    assert_eq!(moved.body["doctor_id"], parties["doctor_id"]);
    assert_eq!(moved.body["room_id"], parties["room_id"]);
    assert_unchanged(desk, &path, &moved).await;

    // The old doctor is free now, but the patient is not.
    let (from, to) = ("2030-01-07T09:30:00Z", "2030-01-07T10:30:00Z");
    let doctor = &clinic.doctor.user_id;
    assert_overlap(
        &desk.post(VISITS, &clinic.booking(from, to)).await,
        "patient",
    );
    book(
        desk,
        &booking(&clinic.server.patient().await, doctor, from, to),
    )
    .await;
}

#[tokio::test]
async fn a_move_that_fails_leaves_the_visit_where_it_was() {
    let clinic = Clinic::open().await;
    let gone = Unbookable::of(&clinic.server).await;
    let desk = &clinic.desk;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T10:00:00Z")
        .await;
    let busy = clinic.server.user("doctor").await.user_id;
    let (from, to) = ("2030-01-07T11:00:00Z", "2030-01-07T12:00:00Z");
    book(
        desk,
        &booking(&clinic.server.patient().await, &busy, from, to),
    )
    .await;
    let path = format!("{VISITS}/{visit}");
    let reschedule = format!("{path}/reschedule");
    let before = desk.get(&path).await;

    let slot = json!({"starts_at": from, "ends_at": to});
    let to_busy = with(slot.clone(), &json!({"doctor_id": busy}));
    assert_overlap(&desk.post(&reschedule, &to_busy).await, "doctor");
    let cases = [
        (json!({"doctor_id": gone.doctor}), vec!["/doctor_id"]),
        (
            json!({"doctor_id": clinic.desk.user_id}),
            vec!["/doctor_id"],
        ),
        (json!({"room_id": gone.room}), vec!["/room_id"]),
        (json!({"ends_at": from}), vec!["/ends_at"]),
        (
            json!({"ends_at": from, "doctor_id": NOBODY, "room_id": NOBODY}),
            vec!["/ends_at", "/doctor_id", "/room_id"],
        ),
    ];
    for (change, pointers) in cases {
        let answer = desk.post(&reschedule, &with(slot.clone(), &change)).await;
        answer.assert_faults(&pointers);
    }
    desk.post(&reschedule, &json!({}))
        .await
        .assert_faults(&["/starts_at"]);
    assert_unchanged(desk, &path, &before).await;
    let again = clinic.booking("2030-01-07T09:30:00Z", "2030-01-07T09:45:00Z");
    desk.post(VISITS, &again)
        .await
        .assert_problem(409, "appointment_overlap");
}

#[tokio::test]
async fn a_doctor_has_a_say_in_their_own_visits_only() {
    let clinic = Clinic::open().await;
    let stranger = clinic.server.user("doctor").await;
    let (from, to) = ("2020-01-07T09:00:00Z", "2020-01-07T09:30:00Z");
    let body = clinic.booking(from, to);
    stranger
        .post(VISITS, &body)
        .await
        .assert_problem(403, "forbidden");
    let visit = book(&clinic.doctor, &body).await;
    let path = format!("{VISITS}/{visit}");
    let before = stranger.get(&path).await;
    assert_eq!(before.status, 200, "{before:?}");

    let answer = stranger.patch(&path, &json!({"notes": "Mine"})).await;
    answer.assert_problem(403, "forbidden");
    for action in [
        "confirm",
        "arrive",
        "start",
        "complete",
        "cancel",
        "no_show",
        "reschedule",
    ] {
        let answer = act(&stranger, &visit, action).await;
        answer.assert_problem(403, "forbidden");
    }
    // Taking a visit over is a change of another doctor's.
    let slot = json!({"starts_at": from, "ends_at": to, "doctor_id": stranger.user_id});
    let answer = stranger.post(&format!("{path}/reschedule"), &slot).await;
    answer.assert_problem(403, "forbidden");
    for action in ["start", "complete"] {
        act(&clinic.desk, &visit, action)
            .await
            .assert_problem(403, "forbidden");
    }
    assert_unchanged(&stranger, &path, &before).await;

    assert_eq!(
        clinic
            .doctor
            .patch(&path, &json!({"notes": "Mine"}))
            .await
            .status,
        200
    );
    take(
        &clinic.doctor,
        &visit,
        &["reschedule", "confirm", "arrive", "start", "complete"],
    )
    .await;
}

#[tokio::test]
async fn overbooking_is_not_the_front_desks() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let stranger = clinic.server.user("doctor").await;
    let reason = json!({"overbook_reason": "Pain"});
    for (hour, who, allowed) in [
        (9, &clinic.desk, false),
        (10, &stranger, false),
        (11, &clinic.doctor, true),
        (12, &manager, true),
        (13, clinic.server.admin(), true),
    ] {
        let (from, to) = (
            format!("2030-01-07T{hour:02}:00:00Z"),
            format!("2030-01-07T{hour:02}:30:00Z"),
        );
        let answer = who
            .post(VISITS, &with(clinic.booking(&from, &to), &reason))
            .await;
        if allowed {
            assert_eq!(answer.status, 201, "{answer:?}");
        } else {
            answer.assert_problem(403, "forbidden");
        }
    }
}
