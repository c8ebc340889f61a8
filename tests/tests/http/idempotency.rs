//! Requests that name themselves: what comes again has no second effect and the same answer.

use std::slice;

use dcms_tests::{Answer, Client, Server, rows};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Clinic, NOBODY, booking, items, with};

const BOOK: &str = "/api/v1/appointments";

/// An answer to the byte.
struct Told {
    answer: Answer,
    bytes: Vec<u8>,
}

async fn send(client: &Client, key: &str, path: &str, body: &Value) -> Told {
    let request = client.request(Method::POST, path).json(body);
    told(request.header("idempotency-key", key)).await
}

async fn told(request: reqwest::RequestBuilder) -> Told {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.unwrap().to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    let answer = Answer {
        status,
        headers,
        body,
    };
    Told { answer, bytes }
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// The headers that are the same in every answer to the same request.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in ["x-request-id", "date", "idempotency-replayed"] {
        headers.remove(name);
    }
    headers
}

#[track_caller]
fn assert_replayed(first: &Told, again: &Told) {
    assert!(!is_replayed(&first.answer), "{:?}", first.answer);
    assert!(is_replayed(&again.answer), "{:?}", again.answer);
    assert_eq!(again.answer.status, first.answer.status);
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(
        lasting(&again.answer.headers),
        lasting(&first.answer.headers)
    );
    let name = |told: &Told| told.answer.header("x-request-id").unwrap().to_owned();
    assert_ne!(name(again), name(first));
}

async fn visits(clinic: &Clinic) -> Vec<Value> {
    items(&clinic.desk.get(BOOK).await).to_vec()
}

fn at_nine(clinic: &Clinic) -> Value {
    clinic.booking("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z")
}

fn at_ten() -> Value {
    json!({"starts_at": "2030-05-06T10:00:00Z", "ends_at": "2030-05-06T10:30:00Z"})
}

/// Lets all answers be an hour more than a day old.
async fn let_a_day_pass(server: &Server) {
    let mut connection = PgConnection::connect(server.database_url()).await.unwrap();
    sqlx::query("UPDATE idempotency_keys SET answered_at = answered_at - interval '25 hours'")
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_booking_that_comes_again_is_answered_as_the_first_time() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let first = send(&clinic.desk, "booking-1", BOOK, &body).await;
    assert_eq!(first.answer.status, 201, "{:?}", first.answer);
    let location = first.answer.header("location").unwrap();
    assert_eq!(first.answer.header("etag"), Some("\"1\""));
    assert_eq!(clinic.desk.get(location).await.body, first.answer.body);

    assert_replayed(&first, &send(&clinic.desk, "booking-1", BOOK, &body).await);
    assert_eq!(visits(&clinic).await, slice::from_ref(&first.answer.body));
    let noted = clinic
        .server
        .audit("action=create&entity=appointment")
        .await;
    assert_eq!(noted.len(), 1, "{noted:?}");

    let cancelled = clinic
        .desk
        .post(&format!("{location}/cancel"), &json!({"reason": "Ill"}))
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_replayed(&first, &send(&clinic.desk, "booking-1", BOOK, &body).await);
    assert_eq!(visits(&clinic).await, [cancelled.body]);
}

#[tokio::test]
async fn a_move_that_comes_again_is_answered_as_the_first_time() {
    let clinic = Clinic::open().await;
    let id = clinic
        .visit("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z")
        .await;
    let path = format!("{BOOK}/{id}/reschedule");
    let move_it = || {
        let request = clinic.desk.request(Method::POST, &path).json(&at_ten());
        let request = request.header("if-match", "\"1\"");
        told(request.header("idempotency-key", "move-1"))
    };
    let first = move_it().await;
    assert_eq!(first.answer.status, 200, "{:?}", first.answer);
    assert_eq!(first.answer.header("etag"), Some("\"2\""));
    assert_eq!(first.answer.header("location"), None);
    // Its version is not the one of the condition any more.
    assert_replayed(&first, &move_it().await);
    let back = clinic
        .desk
        .post(
            &path,
            &json!({"starts_at": "2030-05-06T09:00:00Z", "ends_at": "2030-05-06T09:30:00Z"}),
        )
        .await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_replayed(&first, &move_it().await);
    assert_eq!(visits(&clinic).await, [back.body]);
}

#[tokio::test]
async fn a_key_is_of_one_request_of_one_user() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let first = send(&clinic.desk, "booking-1", BOOK, &body).await;
    let location = first.answer.header("location").unwrap().to_owned();
    let later = with(body.clone(), &at_ten());
    let reschedule = format!("{location}/reschedule");
    // The same JSON in other bytes is another body too.
    let mut reformatted = clinic
        .desk
        .request(Method::POST, BOOK)
        .body(format!("{body} "));
    reformatted = reformatted.header("content-type", "application/json");
    let reformatted = told(reformatted.header("idempotency-key", "booking-1")).await;
    let colleague = clinic.server.user("receptionist").await;
    for reused in [
        send(&clinic.desk, "booking-1", BOOK, &later).await,
        send(&clinic.desk, "booking-1", &reschedule, &at_ten()).await,
        send(&colleague, "booking-1", BOOK, &body).await,
        send(clinic.server.admin(), "booking-1", BOOK, &later).await,
        reformatted,
    ] {
        reused.answer.assert_problem(422, "idempotency_key_reused");
        assert!(!is_replayed(&reused.answer));
    }
    assert_eq!(visits(&clinic).await, slice::from_ref(&first.answer.body));
    // Keys differ by case.
    let other = send(&clinic.desk, "BOOKING-1", BOOK, &later).await;
    assert_eq!(other.answer.status, 201, "{:?}", other.answer);
    assert!(!is_replayed(&other.answer));
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let taken = clinic
        .visit("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z")
        .await;
    for _ in 0..2 {
        let refused = send(&clinic.desk, "booking-1", BOOK, &body).await;
        refused.answer.assert_problem(409, "appointment_overlap");
        assert!(!is_replayed(&refused.answer));
    }
    let faulty = with(body.clone(), &json!({"ends_at": "2030-05-06T08:00:00Z"}));
    let refused = send(&clinic.desk, "booking-1", BOOK, &faulty).await;
    refused.answer.assert_faults(&["/ends_at"]);
    let incomplete = json!({"patient_id": clinic.patient});
    let refused = send(&clinic.desk, "booking-1", BOOK, &incomplete).await;
    refused.answer.assert_problem(422, "validation_failed");

    let reason = json!({"reason": "Ill"});
    let cancelled = clinic
        .desk
        .post(&format!("{BOOK}/{taken}/cancel"), &reason)
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let booked = send(&clinic.desk, "booking-1", BOOK, &body).await;
    assert_eq!(booked.answer.status, 201, "{:?}", booked.answer);
    assert_replayed(&booked, &send(&clinic.desk, "booking-1", BOOK, &body).await);
}

#[tokio::test]
async fn who_may_not_act_any_more_is_told_nothing() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let first = send(&clinic.desk, "booking-1", BOOK, &body).await;
    assert_eq!(first.answer.status, 201, "{:?}", first.answer);
    let user = format!("/api/v1/admin/users/{}", clinic.desk.user_id);
    let roles = json!({"roles": ["doctor"]});
    let changed = clinic.server.admin().patch(&user, &roles).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let refused = send(&clinic.desk, "booking-1", BOOK, &body).await;
    refused.answer.assert_problem(403, "forbidden");
    assert!(!is_replayed(&refused.answer));
}

#[tokio::test]
async fn a_key_is_given_once_in_visible_characters() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let too_long = "k".repeat(256);
    for key in ["", "a b", "caf\u{e9}", &too_long] {
        let refused = send(&clinic.desk, key, BOOK, &body).await;
        refused.answer.assert_problem(400, "malformed_request");
    }
    let twice = clinic.desk.request(Method::POST, BOOK).json(&body);
    let twice = twice
        .header("idempotency-key", "a")
        .header("idempotency-key", "a");
    told(twice)
        .await
        .answer
        .assert_problem(400, "malformed_request");
    assert_eq!(visits(&clinic).await, Vec::<Value>::new());

    let longest = "~".repeat(255);
    let booked = send(&clinic.desk, &longest, BOOK, &body).await;
    assert_replayed(&booked, &send(&clinic.desk, &longest, BOOK, &body).await);
}

#[tokio::test]
async fn operations_take_a_key_where_the_document_says_so() {
    let clinic = Clinic::open().await;
    let document = clinic.desk.get("/api/v1/openapi.json").await.body;
    let mut takers = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("post") else {
            continue;
        };
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let takes_key = parameters
            .into_iter()
            .any(|parameter| parameter["name"] == "Idempotency-Key");
        let answers = operation["responses"].as_object().unwrap();
        let tells_replays = answers
            .values()
            .any(|answer| answer["headers"].get("Idempotency-Replayed").is_some());
        assert_eq!(takes_key, tells_replays, "{template}");
        let path: Vec<&str> = template
            .split('/')
            .map(|part| if part.starts_with('{') { NOBODY } else { part })
            .collect();
        let admin = clinic.server.act_as(&clinic.doctor.user_id).await;
        let answer = send(&admin, "not visible", &path.join("/"), &json!({}))
            .await
            .answer;
        let refuses_key = answer.body["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("Idempotency-Key"));
        assert_eq!(takes_key, refuses_key, "{template}: {answer:?}");
        if takes_key {
            takers.push(template.clone());
        }
    }
    let expected = [
        BOOK.to_owned(),
        format!("{BOOK}/{{appointment_id}}/reschedule"),
    ];
    assert_eq!(takers, expected);
}

#[tokio::test]
async fn answers_outlive_the_server_but_not_the_day() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    let first = send(&clinic.desk, "booking-1", BOOK, &body).await;
    assert_eq!(first.answer.status, 201, "{:?}", first.answer);
    let Clinic { server, desk, .. } = clinic;
    let database = server.database_url().to_owned();
    server.stop().await.unwrap();

    let server = Server::start_with_admin(&database, "admin2").await;
    let desk = server.anonymous().with_token(desk.token().unwrap());
    assert_replayed(&first, &send(&desk, "booking-1", BOOK, &body).await);

    let_a_day_pass(&server).await;
    let again = send(&desk, "booking-1", BOOK, &body).await;
    again.answer.assert_problem(409, "appointment_overlap");
    // The key is free, whatever it was used for.
    let later = with(body, &at_ten());
    let other = send(&desk, "booking-1", BOOK, &later).await;
    assert_eq!(other.answer.status, 201, "{:?}", other.answer);
    assert_replayed(&other, &send(&desk, "booking-1", BOOK, &later).await);

    assert_eq!(server.services().forget_expired_answers().await.unwrap(), 0);
    let_a_day_pass(&server).await;
    assert_eq!(rows(&database).await["idempotency_keys"].len(), 1);
    assert_eq!(server.services().forget_expired_answers().await.unwrap(), 1);
    assert_eq!(
        rows(&database).await["idempotency_keys"],
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn answers_about_an_anonymized_patient_are_forgotten() {
    let clinic = Clinic::open().await;
    let other = clinic.server.patient().await;
    let doctor = &clinic.doctor.user_id;
    let notes = json!({"notes": "afraid of needles"});
    let mut locations = Vec::new();
    for (key, patient, day) in [("a", &clinic.patient, "06"), ("b", &other, "07")] {
        let (starts_at, ends_at) = (
            format!("2030-05-{day}T09:00:00Z"),
            format!("2030-05-{day}T09:30:00Z"),
        );
        let body = with(booking(patient, doctor, &starts_at, &ends_at), &notes);
        let booked = send(&clinic.desk, key, BOOK, &body).await.answer;
        assert_eq!(booked.status, 201, "{booked:?}");
        locations.push(booked.header("location").unwrap().to_owned());
    }
    let reason = json!({"reason": "Ill"});
    let cancelled = clinic
        .desk
        .post(&format!("{}/cancel", locations[0]), &reason)
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let path = format!("/api/v1/patients/{}/anonymize", clinic.patient);
    let anonymized = clinic
        .server
        .admin()
        .post(&path, &json!({"reason": "They asked"}))
        .await;
    assert_eq!(anonymized.status, 200, "{anonymized:?}");
    let kept = rows(clinic.server.database_url()).await["idempotency_keys"].clone();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].contains(&other), "{kept:?}");
}

/// A replay shows a record, so it leaves the trace of a look at it.
#[tokio::test]
async fn replays_are_noted() {
    let clinic = Clinic::open().await;
    let body = at_nine(&clinic);
    for _ in 0..3 {
        let answer = send(&clinic.desk, "booking-1", BOOK, &body).await.answer;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let query = format!(
        "action=read&entity=patient&actor_id={}&entity_id={}",
        clinic.desk.user_id, clinic.patient
    );
    assert_eq!(clinic.server.audit(&query).await.len(), 2);
}
