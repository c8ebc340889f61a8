//! The router over the in-memory store.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use chrono::NaiveDate;
use dcms_domain::access::Origin;
use dcms_domain::appointments::{Appointment, Position, Transition};
use dcms_domain::calendar::{CreateClosure, CreateTimeOff, SpanRequest};
use dcms_domain::identity::{LogIn, Secret};
use dcms_domain::patients::{ContactType, CreateContact};
use dcms_domain::shared::Expected;
use dcms_domain::store::{NotReady, Repositories, Store, StoreError, UnitOfWork};
use dcms_domain::testing::{Clinic, CountingIds, PASSWORD};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::middleware::X_REQUEST_ID;
use crate::router::at_the_edge;
use crate::{Draining, EdgeConfig, LiveEvents, openapi_json, router};

/// The password that the document's examples log in with.
const EXAMPLE_PASSWORD: &str = "dcms-dev-password";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Answer {
    fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

struct Server {
    router: Router,
    draining: Draining,
    token: String,
}

impl Server {
    /// A clinic that just opened, with nobody logged in.
    async fn open() -> Self {
        Self::over(Clinic::open().await)
    }

    fn over(clinic: Clinic) -> Self {
        let Clinic {
            services,
            store,
            ids,
            ..
        } = clinic;
        let draining = Draining::default();
        let live = LiveEvents::default();
        live.start(Position::START);
        Self {
            router: router(
                Arc::new(services),
                store,
                ids,
                draining.clone(),
                live,
                EdgeConfig::default(),
            ),
            draining,
            token: String::new(),
        }
    }

    async fn logged_in_as(mut self, username: &str) -> Self {
        let body = json!({"username": username, "password": PASSWORD});
        let answer = self.send("POST /api/v1/auth/login", Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK);
        self.token = answer.body["access_token"].as_str().unwrap().to_owned();
        self
    }

    async fn send(&self, line: &str, body: Option<Value>) -> Answer {
        self.send_with(line, &[], body).await
    }

    async fn send_with(&self, line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !self.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send_raw(request.body(body).unwrap()).await
    }

    async fn send_text(&self, path: &str, body: String) -> Answer {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        self.send_raw(request.unwrap()).await
    }

    async fn send_raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE);
        // A stream has no end to wait for.
        let bytes = if kind.is_some_and(|kind| kind == "text/event-stream") {
            Bytes::new()
        } else {
            to_bytes(body, usize::MAX).await.unwrap()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

fn problem_of(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json");
    let body = &answer.body;
    assert_eq!(body["status"], answer.status.as_u16());
    assert_eq!(body["type"], format!("urn:dcms:problem:{}", answer.code()));
    assert_eq!(body["request_id"], answer.header(X_REQUEST_ID));
    for member in ["title", "detail"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()));
    }
    (answer.status.as_u16(), answer.code())
}

#[tokio::test]
async fn a_patient_is_registered_changed_and_found() {
    let server = Server::open().await.logged_in_as("receptionist").await;
    let new = json!({"first_name": "Zoé", "last_name": "Lindqvist", "notes": "Knocks."});
    let made = server.send("POST /api/v1/patients", Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.header(ETAG), "\"1\"");
    assert_eq!(made.body["gender"], "unknown");
    let place = made.header("location").to_owned();

    let clear = json!({"notes": null, "birthday": "1987-06-05"});
    let change = format!("PATCH {place}");
    let changed = server
        .send_with(&change, &[("if-match", "\"1\"")], Some(clear.clone()))
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.header(ETAG), "\"2\"");
    assert_eq!(changed.body["notes"], Value::Null);
    assert_eq!(changed.body["birthday"], "1987-06-05");
    let stale = server
        .send_with(&change, &[("if-match", "\"1\", W/\"2\"")], Some(clear))
        .await;
    assert_eq!(problem_of(&stale), (412, "version_mismatch"));

    let read = server.send(&format!("GET {place}"), None).await;
    assert_eq!(read.body, changed.body);
    let found = server
        .send("GET /api/v1/patients?query=lindq&limit=1", None)
        .await;
    assert_eq!(found.body["items"], json!([changed.body]));
    assert_eq!(found.body["next_cursor"], Value::Null);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let server = Server::open().await.logged_in_as("admin").await;
    let mut seen = Vec::new();
    let mut line = "GET /api/v1/admin/users?limit=2".to_owned();
    loop {
        let page = server.send(&line, None).await;
        assert_eq!(page.status, StatusCode::OK);
        for user in page.body["items"].as_array().unwrap() {
            seen.push(user["username"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        line = format!("GET /api/v1/admin/users?limit=2&cursor={cursor}");
    }
    assert_eq!(
        seen,
        ["admin", "manager", "doctor1", "doctor2", "receptionist"]
    );
}

#[tokio::test]
async fn whatever_is_no_route_of_ours_is_a_problem() {
    let server = Server::open().await.logged_in_as("admin").await;
    for line in [
        "GET /",
        "GET /api/v1/nothing",
        "POST /api/v1/patients/",
        "GET /docs/none.js",
    ] {
        let answer = server.send(line, None).await;
        assert_eq!(problem_of(&answer), (404, "not_found"), "{line}");
    }
    let answer = server.send("DELETE /api/v1/patients", None).await;
    assert_eq!(problem_of(&answer), (405, "method_not_allowed"));
    let mut allowed: Vec<_> = answer.header(ALLOW).split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_malformed() {
    let server = Server::open().await.logged_in_as("admin").await;
    for line in [
        "GET /api/v1/patients/7",
        "GET /api/v1/patients/%FF",
        "GET /api/v1/patients?other=1",
        "GET /api/v1/patients?query=%00",
        "GET /api/v1/patients?query=a&query=b",
        "GET /api/v1/patients?limit=0",
        "GET /api/v1/patients?limit=201",
        "GET /api/v1/patients?limit=x",
        "GET /api/v1/patients?cursor=AAAA",
        "GET /api/v1/patients?archived=maybe",
        "GET /api/v1/appointments?status=lost",
        "GET /api/v1/appointments?from=2026-03-02T09:00:00",
        "GET /api/v1/appointments?from=294276-01-01",
        "GET /api/v1/appointments?date=infinity",
        "GET /api/v1/rooms?name=x",
        "GET /api/v1/clinic?x",
    ] {
        let answer = server.send(line, None).await;
        assert_eq!(problem_of(&answer), (400, "malformed_request"), "{line}");
    }
    let unknown = json!({"first_name": "A", "last_name": "B", "archived_at": null});
    let answer = server.send("POST /api/v1/patients", Some(unknown)).await;
    assert_eq!(problem_of(&answer), (400, "malformed_request"));
    let typed = server
        .send_with(
            "POST /api/v1/patients",
            &[("content-type", "text/plain")],
            None,
        )
        .await;
    assert_eq!(problem_of(&typed), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_window_may_be_of_days_or_instants() {
    let clinic = Clinic::open().await;
    clinic.booked_in(60).await;
    let server = Server::over(clinic).logged_in_as("doctor1").await;
    for (query, count) in [
        ("date=2026-03-02", 1),
        ("date=2026-03-03", 0),
        ("from=2026-03-02&to=2026-03-03&status=scheduled", 1),
        ("from=2026-03-02T10:15:00Z", 1),
        ("from=2026-03-02T10:30:00Z", 0),
        ("to=2026-03-02T12:00:00%2B02:00", 0),
    ] {
        let page = server
            .send(&format!("GET /api/v1/appointments?{query}"), None)
            .await;
        assert_eq!(page.status, StatusCode::OK, "{query}: {}", page.body);
        assert_eq!(
            page.body["items"].as_array().unwrap().len(),
            count,
            "{query}"
        );
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_and_nothing_of_theirs_is_read() {
    let mut server = Server::open().await;
    for token in ["", "nonsense"] {
        token.clone_into(&mut server.token);
        // Neither the id, nor the query, nor the body is of any form.
        let answer = server
            .send("PATCH /api/v1/patients/7?x=1", Some(json!([])))
            .await;
        assert_eq!(problem_of(&answer), (401, "unauthenticated"));
        assert_eq!(answer.header(WWW_AUTHENTICATE), "Bearer");
    }
    let wrong = json!({"username": "admin", "password": "not the password"});
    let answer = server.send("POST /api/v1/auth/login", Some(wrong)).await;
    assert_eq!(problem_of(&answer), (401, "invalid_credentials"));
}

#[tokio::test]
async fn exactly_these_operations_are_public() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    let server = Server::open().await;
    let mut public = Vec::new();
    for operation in operations_of(&document) {
        if operation.of["security"] == json!([]) {
            public.push(operation.line);
            continue;
        }
        let answer = server.send(&operation.line, None).await;
        assert_eq!(
            problem_of(&answer),
            (401, "unauthenticated"),
            "{}",
            operation.line
        );
    }
    assert_eq!(
        public,
        [
            "POST /api/v1/auth/login",
            "GET /api/v1/openapi.json",
            "GET /docs",
            "GET /health",
            "GET /ready",
        ]
    );
}

#[tokio::test]
async fn a_wrong_current_password_is_a_fault_and_no_end_of_the_session() {
    let server = Server::open().await.logged_in_as("doctor1").await;
    let wrong = json!({"current_password": "wrong", "new_password": "a-long-new-password"});
    let answer = server
        .send("POST /api/v1/auth/change_password", Some(wrong))
        .await;
    assert_eq!(problem_of(&answer), (422, "validation_failed"));
    assert_eq!(answer.body["errors"][0]["pointer"], "/current_password");
    assert_eq!(answer.body["errors"][0]["code"], "invalid_credentials");
}

#[tokio::test]
async fn what_the_domain_refuses_names_what_is_in_the_way() {
    let clinic = Clinic::open().await;
    let visit = clinic.booked_in(60).await;
    let invoice = clinic.issued(&[1000]).await;
    let server = Server::over(clinic).logged_in_as("admin").await;

    let book = json!({
        "patient_id": visit.patient_id.to_string(),
        "doctor_id": visit.doctor_id.to_string(),
        "starts_at": "2026-03-02T10:29:59Z",
        "ends_at": "2026-03-02T11:00:00Z",
    });
    let taken = server.send("POST /api/v1/appointments", Some(book)).await;
    assert_eq!(problem_of(&taken), (409, "appointment_overlap"));
    assert_eq!(taken.body["resource"], "doctor");

    let complete = format!(
        "POST /api/v1/appointments/{}/complete",
        visit.appointment_id
    );
    let early = server.send(&complete, None).await;
    assert_eq!(problem_of(&early), (409, "invalid_transition"));
    assert_eq!(early.body["from"], "scheduled");
    let allowed = json!(["confirm", "arrive", "cancel", "reschedule"]);
    assert_eq!(early.body["allowed"], allowed);

    let pay = format!("POST /api/v1/invoices/{}/payments", invoice.invoice_id);
    let much = json!({"amount_cents": 1001, "method": "cash"});
    let refused = server.send(&pay, Some(much)).await;
    assert_eq!(problem_of(&refused), (422, "payment_exceeds_balance"));
    assert_eq!(refused.body["balance_cents"], 1000);
    let all = json!({"amount_cents": 1000, "method": "cash"});
    let paid = server.send(&pay, Some(all)).await;
    assert_eq!(paid.status, StatusCode::CREATED);
    assert_eq!(paid.body["invoice"]["status"], "paid");
    let place = paid.header("location").to_owned();
    let payment = server.send(&format!("GET {place}"), None).await;
    assert_eq!(payment.body, paid.body["payment"]);
    let void = format!("POST /api/v1/invoices/{}/void", invoice.invoice_id);
    let refused = server.send(&void, Some(json!({"reason": "x"}))).await;
    assert_eq!(problem_of(&refused), (409, "invalid_transition"));
    assert_eq!(refused.body["from"], "paid");
    assert_eq!(refused.body["allowed"], json!([]));

    let again = json!({"name": "rOOm 1"});
    let taken = server.send("POST /api/v1/rooms", Some(again)).await;
    assert_eq!(problem_of(&taken), (409, "already_exists"));
    assert_eq!(taken.body["field"], "name");

    let empty = json!({"first_name": "", "last_name": "x".repeat(101)});
    let invalid = server.send("POST /api/v1/patients", Some(empty)).await;
    assert_eq!(problem_of(&invalid), (422, "validation_failed"));
    let faults: Vec<_> = invalid.body["errors"].as_array().unwrap().iter().collect();
    assert_eq!(faults.len(), 2);
    assert_eq!(faults[1]["pointer"], "/last_name");
    assert_eq!(faults[1]["code"], "too_long");
}

#[tokio::test]
async fn a_version_that_is_known_is_not_sent_again() {
    let server = Server::open().await.logged_in_as("admin").await;
    let line = "GET /api/v1/clinic";
    let tag = server.send(line, None).await.header(ETAG).to_owned();
    for tags in [tag.clone(), format!("\"0\", W/{tag}"), "*".to_owned()] {
        let known = server
            .send_with(line, &[("if-none-match", &tags)], None)
            .await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED);
        assert_eq!(known.header(ETAG), tag);
        assert_eq!(known.body, Value::Null);
    }
    let other = server
        .send_with(line, &[("if-none-match", "\"0\"")], None)
        .await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let server = Server::open().await;
    for line in [
        "GET /health",
        "GET /none",
        "GET /api/v1/clinic",
        "GET /docs/",
    ] {
        let named = server
            .send_with(line, &[("x-request-id", "mine-1")], None)
            .await;
        assert_eq!(named.header(X_REQUEST_ID), "mine-1", "{line}");
        let unnamed = server
            .send_with(line, &[("x-request-id", "not mine")], None)
            .await;
        let id = unnamed.header(X_REQUEST_ID);
        assert!(uuid::Uuid::try_parse(id).is_ok(), "{line}: {id}");
    }
}

#[tokio::test]
async fn readiness_ends_when_draining_begins_and_health_does_not() {
    let server = Server::open().await;
    assert_eq!(server.send("GET /ready", None).await.status, StatusCode::OK);
    server.draining.begin();
    let answer = server.send("GET /ready", None).await;
    assert_eq!(problem_of(&answer), (503, "unavailable"));
    assert_eq!(answer.body["reason"], "draining");
    assert_eq!(answer.header(RETRY_AFTER), "1");
    let health = server.send("GET /health", None).await;
    assert_eq!(health.body, json!({"status": "ok"}));
}

/// A store that fails in one way.
struct Broken(fn() -> StoreError);

#[async_trait]
impl Store for Broken {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        Err((self.0)())
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        Err((self.0)())
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        Err(NotReady::MigrationsMissing(vec![7]))
    }

    async fn wait_before_retry(&self, _: u32) {}
}

fn broken(how: fn() -> StoreError) -> Server {
    let store = Arc::new(Broken(how));
    let ids = Arc::new(CountingIds::default());
    let ports = dcms_domain::shared::Ports {
        store: store.clone(),
        clock: Arc::new(dcms_domain::testing::FrozenClock::default()),
        ids: ids.clone(),
        access_log: Arc::default(),
    };
    let services = dcms_domain::Services::new(
        &ports,
        Arc::new(dcms_domain::testing::FakeHasher),
        Arc::new(dcms_domain::testing::FakeTokens::default()),
        dcms_domain::testing::identity_settings(),
    );
    let draining = Draining::default();
    Server {
        router: router(
            Arc::new(services),
            store,
            ids,
            draining.clone(),
            LiveEvents::default(),
            EdgeConfig::default(),
        ),
        draining,
        token: "any".to_owned(),
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_one_that_fails_an_error_that_tells_nothing() {
    let away = broken(|| StoreError::Unavailable("connection refused".into()));
    let answer = away.send("GET /api/v1/clinic", None).await;
    assert_eq!(problem_of(&answer), (503, "unavailable"));
    assert_eq!(answer.header(RETRY_AFTER), "1");
    let answer = away.send("GET /ready", None).await;
    assert_eq!(answer.body["reason"], "migrations_missing");
    let health = away.send("GET /health", None).await;
    assert_eq!(health.status, StatusCode::OK);

    let failing = broken(|| StoreError::Unexpected("column secret_notes".into()));
    let answer = failing.send("GET /api/v1/clinic", None).await;
    assert_eq!(problem_of(&answer), (500, "internal_error"));
    assert!(!answer.body.to_string().contains("secret"));
}

#[tokio::test]
async fn the_document_is_served_and_can_be_browsed() {
    let server = Server::open().await;
    let document = server.send("GET /api/v1/openapi.json", None).await;
    assert_eq!(document.body["openapi"], "3.1.0");
    assert_eq!(document.body["info"]["title"], "DCMS");
    let docs = server.send("GET /docs", None).await;
    assert_eq!(docs.header("location"), "/docs/");
    for (line, content_type) in [
        ("GET /docs/", "text/html; charset=utf-8"),
        (
            "GET /docs/swagger-ui-bundle.js",
            "text/javascript; charset=utf-8",
        ),
        (
            "GET /docs/swagger-initializer.js",
            "text/javascript; charset=utf-8",
        ),
    ] {
        let file = server.send(line, None).await;
        assert_eq!(file.status, StatusCode::OK, "{line}");
        assert_eq!(file.header(CONTENT_TYPE), content_type, "{line}");
    }
    let script = server.send("GET /docs/swagger-initializer.js", None).await;
    assert!(
        script.text.contains("\"/api/v1/openapi.json\""),
        "{}",
        script.text
    );
    let gzip = [("accept-encoding", "gzip")];
    let packed = server
        .send_with("GET /api/v1/openapi.json", &gzip, None)
        .await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.text.len() < document.text.len() / 4);
}

struct Operation<'document> {
    /// Method and path template.
    line: String,
    method: Method,
    of: &'document Value,
}

fn operations_of(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'_ Value)| {
        let item: Vec<_> = item
            .as_object()
            .unwrap()
            .iter()
            .map(|(m, _)| m.to_uppercase())
            .collect();
        item.into_iter()
            .map(|method| (method.clone(), format!("{method} {path}"), path.clone()))
            .collect::<Vec<_>>()
    };
    paths
        .iter()
        .flat_map(of_path)
        .map(|(method, line, path)| Operation {
            line,
            of: &document["paths"][&path][method.to_lowercase()],
            method: method.parse().unwrap(),
        })
        .collect()
}

/// A closure and time off: on the day of the visit when it is to be in conflict.
async fn absences_for(operation_id: &str, clinic: &Clinic, visit: &Appointment) -> [String; 2] {
    let starts_on = match operation_id {
        "accept_conflict" => visit.slot.starts_at().date_naive(),
        _ => NaiveDate::from_ymd_opt(2190, 1, 1).unwrap(),
    };
    let span = SpanRequest {
        starts_on,
        starts_at_time: None,
        ends_on: None,
        ends_at_time: None,
    };
    let closure = CreateClosure {
        span: span.clone(),
        reason: "Training".to_owned(),
    };
    let time_off = CreateTimeOff {
        doctor_id: visit.doctor_id,
        span,
        reason: None,
    };
    let calendar = &clinic.services.calendar;
    let closure = calendar.close(&clinic.admin, closure).await.unwrap();
    let time_off = calendar.grant_time_off(&clinic.admin, time_off).await;
    [
        closure.thing.closure_id.to_string(),
        time_off.unwrap().thing.time_off_id.to_string(),
    ]
}

/// A clinic in which the operation's examples can be accepted, and the ids they then need.
async fn stage_for(operation_id: &str, examples: &Value) -> (Server, Vec<(String, String)>) {
    let clinic = Clinic::open().await;
    let services = &clinic.services;
    let admin = &clinic.admin;
    let visit = clinic.booked_in(0).await;
    let steps: &[Transition] = match operation_id {
        "start_appointment" => &[Transition::Arrive],
        "complete_appointment" => &[Transition::Arrive, Transition::Start],
        _ => &[],
    };
    for step in steps {
        let id = visit.appointment_id;
        let taken = services
            .appointments
            .take_action(admin, id, &Expected::Any, step.clone())
            .await;
        taken.unwrap();
    }
    let [closure_id, time_off_id] = absences_for(operation_id, &clinic, &visit).await;
    let invoice = match operation_id {
        "record_payment" | "record_refund" | "void_invoice" => clinic.issued(&[8800]).await,
        _ => clinic.drafted(&[8800]).await,
    };
    let paid = clinic.issued(&[8800]).await;
    let payment = dcms_domain::billing::RecordPayment {
        amount: dcms_domain::shared::Cents::new(2500),
        method: dcms_domain::billing::PaymentMethod::Card,
        paid_at: None,
        reference: None,
    };
    let (payment, _) = services
        .billing
        .record_payment(admin, paid.invoice_id, &Expected::Any, payment)
        .await
        .unwrap();
    let unused_patient = clinic.register("Nobody", "Special").await;
    let patient_id = match operation_id {
        "anonymize_patient" | "delete_patient" => unused_patient.patient_id,
        _ => clinic.patient.patient_id,
    };
    let contact = CreateContact {
        contact_type: ContactType::Email,
        value: "anna@meyer.example".to_owned(),
        label: None,
        is_primary: true,
    };
    let contact = services.patients.add_contact(admin, patient_id, contact);
    let contact_id = contact.await.unwrap().contact_id;
    let room = dcms_domain::clinic::CreateRoom {
        name: "Unused".to_owned(),
        is_active: true,
        kind: None,
        position: 0,
    };
    let unused_room = services.clinic.create_room(admin, room).await.unwrap();
    let reset = Secret::new(EXAMPLE_PASSWORD.to_owned());
    let service = &services.identity;
    service
        .reset_password(admin, admin.user_id, &Expected::Any, &reset)
        .await
        .unwrap();
    let log_in = LogIn {
        username: "admin".to_owned(),
        password: reset,
        device_name: None,
    };
    let token = service.log_in(&log_in, &Origin::default()).await.unwrap();
    let session = service
        .log_in(&log_in, &Origin::default())
        .await
        .unwrap()
        .session
        .session_id;

    let ids = [
        ("appointment_id", visit.appointment_id.to_string()),
        ("closure_id", closure_id),
        ("time_off_id", time_off_id),
        ("contact_id", contact_id.to_string()),
        ("doctor_id", clinic.doctor.user_id.to_string()),
        ("invoice_id", invoice.invoice_id.to_string()),
        ("item_id", invoice.items[0].invoice_item_id.to_string()),
        ("patient_id", patient_id.to_string()),
        ("payment_id", payment.payment_id.to_string()),
        ("room_id", unused_room.room_id.to_string()),
        ("service_id", clinic.service.service_id.to_string()),
        ("session_id", session.to_string()),
        ("user_id", clinic.other_doctor.user_id.to_string()),
    ];
    let ids = ids.map(|(name, id)| (examples[name].as_str().unwrap().to_owned(), id));
    let mut server = Server::over(clinic);
    server.token = token.access_token.expose().to_owned();
    (server, ids.to_vec())
}

/// The example of an operation as a request, with ids of things that exist.
fn example_request(operation: &Operation<'_>, ids: &[(String, String)]) -> (String, Option<Value>) {
    let mut line = operation.line.clone();
    let mut query = Vec::new();
    for parameter in operation.of["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            // It may be given again and again; once is enough.
            Value::Array(values) => values[0].as_str().unwrap().to_owned(),
            other => other.to_string(),
        };
        match parameter["in"].as_str().unwrap() {
            "path" => line = line.replace(&format!("{{{name}}}"), &example),
            "query" if !parameter["example"].is_null() => query.push(format!("{name}={example}")),
            _ => {}
        }
    }
    if !query.is_empty() {
        line = format!("{line}?{}", query.join("&"));
    }
    let mut body =
        operation.of["requestBody"]["content"]["application/json"]["example"].to_string();
    for (example, id) in ids {
        line = line.replace(example, id);
        body = body.replace(example, id);
    }
    (
        line,
        serde_json::from_str(&body)
            .ok()
            .filter(|body: &Value| !body.is_null()),
    )
}

#[tokio::test]
async fn every_example_is_accepted_and_answered_as_the_document_says() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    for operation in operations_of(&document) {
        let id = operation.of["operationId"].as_str().unwrap();
        let (server, ids) = stage_for(id, &document["x-example-ids"]).await;
        let (line, body) = example_request(&operation, &ids);
        let answer = server.send(&line, body).await;
        let status = answer.status;
        assert!(
            status.is_success() || status == 303,
            "{line}: {}",
            answer.body
        );

        let documented = &operation.of["responses"][status.as_str()];
        assert!(documented.is_object(), "{line}: {status}");
        for header in ["ETag", "Location", "X-Request-Id"] {
            let said = !documented["headers"][header].is_null();
            assert_eq!(
                answer.headers.contains_key(header),
                said,
                "{line}: {header}"
            );
        }
        let example = &documented["content"]["application/json"]["example"];
        if let (Some(example), Some(body)) = (example.as_object(), answer.body.as_object())
            && id != "read_openapi"
        {
            let schema = &documented["content"]["application/json"]["schema"];
            let pointer = schema["$ref"].as_str().unwrap_or_default();
            let schema = document.pointer(pointer.trim_start_matches('#')).unwrap();
            // What the document does not promise, such as conflicts where there cannot be any.
            let is_optional = |name: &String| {
                let required = schema["required"].as_array();
                required.is_some_and(|required| !required.contains(&json!(name)))
            };
            let wanted: Vec<_> = (example.keys())
                .filter(|name| body.contains_key(*name) || !is_optional(name))
                .collect();
            assert_eq!(body.keys().collect::<Vec<_>>(), wanted, "{line}");
        }
    }
}

#[tokio::test]
async fn every_operation_says_what_it_is() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    let operations = operations_of(&document);
    assert!(operations.len() > 60);
    for operation in operations {
        let line = &operation.line;
        for member in ["summary", "operationId"] {
            assert!(operation.of[member].is_string(), "{line}: {member}");
        }
        assert!(operation.of["security"].is_array(), "{line}");
        assert_eq!(
            operation.of["tags"].as_array().map(Vec::len),
            Some(1),
            "{line}"
        );
        assert!(operation.of["x-problems"].is_null(), "{line}");
        if operation.method == Method::PATCH {
            assert!(!operation.of["responses"]["412"].is_null(), "{line}");
        }
        for (status, response) in operation.of["responses"].as_object().unwrap() {
            if status.starts_with(['4', '5']) {
                let name = response["$ref"]
                    .as_str()
                    .unwrap()
                    .rsplit('/')
                    .next()
                    .unwrap();
                let problem = &document["components"]["responses"][name];
                let content = &problem["content"]["application/problem+json"];
                for code in name.split('.') {
                    let example = &content["examples"][code]["value"];
                    assert_eq!(example["status"].to_string(), *status, "{line}: {code}");
                }
            }
        }
        let text = operation.of.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{line}: {pointer}");
        }
    }
}

#[test]
fn every_field_and_parameter_has_an_example() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    for operation in operations_of(&document) {
        for parameter in operation.of["parameters"].as_array().into_iter().flatten() {
            let shown = !parameter["example"].is_null()
                || parameter["in"] == "header"
                || parameter["name"] == "cursor";
            assert!(shown, "{}: {parameter}", operation.line);
        }
        let content = &operation.of["requestBody"]["content"]["application/json"];
        if !content.is_null() {
            let fields = content["example"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            assert!(fields > 0, "{}", operation.line);
        }
    }
}

/// The body limits of all operations that take a body.
fn body_limits(document: &Value) -> Vec<(String, u64)> {
    let operations = operations_of(document).into_iter();
    operations
        .filter(|operation| !operation.of["requestBody"].is_null())
        .map(|operation| {
            let limit = operation.of["x-max-body-bytes"].as_u64().unwrap();
            (operation.line, limit)
        })
        .collect()
}

#[tokio::test]
async fn a_body_is_held_to_the_limit_of_its_operation() {
    let document: Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
    let limits = body_limits(&document);
    let mut larger: Vec<_> = limits
        .iter()
        .filter(|(_, limit)| *limit != 65_536)
        .collect();
    larger.sort();
    let larger: Vec<_> = larger.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        larger,
        [
            "PATCH /api/v1/appointments/{appointment_id}",
            "PATCH /api/v1/invoices/{invoice_id}",
            "PATCH /api/v1/patients/{patient_id}",
            "POST /api/v1/appointments",
            "POST /api/v1/invoices",
            "POST /api/v1/patients",
        ]
    );
    let server = Server::open().await.logged_in_as("admin").await;
    for (line, limit) in limits {
        let id = |segment: &str| {
            if segment.starts_with('{') {
                uuid::Uuid::nil().to_string()
            } else {
                segment.to_owned()
            }
        };
        let line = line.split('/').map(id).collect::<Vec<_>>().join("/");
        let limit = usize::try_from(limit).unwrap();
        for (bytes, is_too_large) in [(limit, false), (limit + 1, true)] {
            let (method, path) = line.split_once(' ').unwrap();
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(AUTHORIZATION, format!("Bearer {}", server.token))
                .header(CONTENT_TYPE, "application/json");
            let body = Body::from("x".repeat(bytes));
            let answer = server.send_raw(request.body(body).unwrap()).await;
            assert_eq!(
                answer.status == 413,
                is_too_large,
                "{line}: {}",
                answer.text
            );
        }
    }
}

/// The largest that the domain takes, written as wastefully as JSON allows.
#[tokio::test]
async fn the_longest_notes_and_the_most_lines_fit_into_a_body() {
    let server = Server::open().await.logged_in_as("admin").await;
    let escaped = |count: usize| "\\ud83e\\uddb7".repeat(count);
    let patient = format!(
        r#"{{"first_name": "A", "last_name": "B", "notes": "{}"}}"#,
        escaped(10_000)
    );
    let made = server.send_text("/api/v1/patients", patient).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let line = format!(
        r#"{{"description": "{}", "unit_price_cents": 1, "qty": 1}}"#,
        escaped(200)
    );
    let invoice = format!(
        r#"{{"patient_id": {}, "items": [{}]}}"#,
        made.body["patient_id"],
        vec![line; 200].join(",")
    );
    let made = server.send_text("/api/v1/invoices", invoice).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
}

#[tokio::test]
async fn a_handler_knows_where_a_request_comes_from() {
    let probe = async |Extension(origin): Extension<Origin>| format!("{origin:?}");
    let edge = EdgeConfig {
        trusted_proxies: "10.0.0.0/8".parse().unwrap(),
        ..EdgeConfig::default()
    };
    let probing = Router::new().route("/probe", get(probe));
    let router = at_the_edge(probing, Arc::new(CountingIds::default()), edge);
    let ask = async |peer: [u8; 4]| {
        let request = Request::get("/probe")
            .header(X_REQUEST_ID, "a-name")
            .header("user-agent", "probe/1")
            .header("x-forwarded-for", "198.51.100.7")
            .extension(ConnectInfo(SocketAddr::from((peer, 4711))))
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let origin = |address: [u8; 4]| Origin {
        address: Some(address.into()),
        agent: Some("probe/1".to_owned()),
        request_id: Some("a-name".to_owned()),
    };
    let believed = format!("{:?}", origin([198, 51, 100, 7]));
    assert_eq!(ask([10, 1, 2, 3]).await, believed);
    let ignored = format!("{:?}", origin([203, 0, 113, 9]));
    assert_eq!(ask([203, 0, 113, 9]).await, ignored);
}
