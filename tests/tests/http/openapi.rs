//! The served document against the server: what it says is so.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;

use dcms_domain::access::{Grant, Permission};
use dcms_domain::shared::Clock as _;
use dcms_postgres::PostgresStore;
use dcms_seed::DEV_PASSWORD;
use dcms_system::SystemClock;
use dcms_tests::{Answer, Client, Server, as_application, fresh_database};
use reqwest::Method;
use serde_json::{Value, json};

use crate::roles::{PUBLIC, operations, template};
use crate::support::NOBODY;
use crate::world::World;

async fn document(server: &Server) -> Value {
    server.anonymous().get("/api/v1/openapi.json").await.body
}

/// Whether nobody who is logged in can be refused, whoever they are.
fn is_for_everybody(operation: &Value) -> bool {
    let permission = operation["x-permission"].as_str().expect("a permission");
    let row = Permission::from_name(permission).expect(permission).row();
    let for_all_roles = row.grants.iter().all(|grant| *grant == Grant::Always);
    for_all_roles && row.before_password_change && row.impersonated
}

fn is_public(method: &str, path: &str) -> bool {
    PUBLIC.contains(&(method, path))
}

#[tokio::test]
async fn the_server_has_exactly_the_methods_that_the_document_names() {
    let server = Server::start().await;
    let document = document(&server).await;
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, _) in operations(&document) {
        let of_path = methods.entry(template(path)).or_default();
        if method == "GET" {
            of_path.insert("HEAD".to_owned());
        }
        of_path.insert(method);
    }
    for (path, documented) in methods {
        let path = path.replace("{}", NOBODY);
        let request = server.admin().request(Method::OPTIONS, &path);
        let answer = Answer::of(request).await;
        answer.assert_problem(405, "method_not_allowed");
        let allow = answer.header("allow").expect("Allow").split(',');
        let allowed: BTreeSet<String> = allow.map(|method| method.trim().to_owned()).collect();
        assert_eq!(allowed, documented, "{path}");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_is_and_who_may_call_it() {
    let server = Server::start().await;
    let document = document(&server).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{method} {path} has no summary");
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(
            !id.is_empty() && ids.insert(id),
            "{method} {path}: operationId {id:?}"
        );
        let security = operation["security"].as_array();
        let security = security.unwrap_or_else(|| panic!("{method} {path} names no security"));
        if is_public(&method, path) {
            assert!(security.is_empty(), "{method} {path}");
        } else {
            let named: Vec<&String> = security
                .iter()
                .flat_map(|requirement| requirement.as_object().unwrap().keys())
                .collect();
            assert!(!named.is_empty(), "{method} {path}");
            assert!(
                named.iter().all(|name| schemes.contains_key(*name)),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_declares_the_problems_it_can_answer_with() {
    let server = Server::start().await;
    let document = document(&server).await;
    for (method, path, operation) in operations(&document) {
        let mut expected = BTreeSet::from(["400"]);
        let is_public = is_public(&method, path);
        let takes_body = operation.get("requestBody").is_some();
        if !is_public {
            expected.extend(["401", "500", "503"]);
        }
        if path == "/ready" {
            expected.insert("503");
        }
        if takes_body {
            expected.extend(["413", "415", "422", "503"]);
        } else if method != "GET" {
            expected.insert("413");
        }
        if path.contains('{') {
            expected.insert("404");
        }
        if !is_public && !is_for_everybody(operation) {
            expected.insert("403");
        }
        if method == "PATCH" {
            expected.insert("412");
        }
        if path.ends_with("/login") {
            expected.insert("401");
        }
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            expected.contains("403") == responses.contains_key("403"),
            "{method} {path}: 403"
        );
        for status in expected {
            assert!(
                responses.contains_key(status),
                "{method} {path} lacks {status}"
            );
        }
        assert!(
            responses.keys().any(|status| status.starts_with('2')) || path == "/docs",
            "{method} {path} has no success"
        );
        for (status, response) in responses {
            let is_problem = status.starts_with('4') || status.starts_with('5');
            let response = match response["$ref"].as_str() {
                Some(reference) => document.pointer(&reference[1..]).expect("a response"),
                None => response,
            };
            let form = &response["content"]["application/problem+json"]["schema"];
            assert!(!is_problem || !form.is_null(), "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    fn references<'value>(value: &'value Value, found: &mut Vec<&'value str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let server = Server::start().await;
    let document = document(&server).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// Sends the examples of operations, with the ids of things that exist.
struct Reader<'server> {
    document: &'server Value,
    server: &'server Server,
    world: World<'server>,
}

impl Reader<'_> {
    /// The text with a fresh thing in place of each id of the examples, as the operation needs it.
    async fn with_real_ids(&mut self, text: &str, path: &str) -> String {
        let mut text = text.to_owned();
        let ids = self.document["x-example-ids"].as_object().expect("ids");
        for (name, placeholder) in ids {
            let placeholder = placeholder.as_str().expect("an id");
            if text.contains(placeholder) {
                let name = format!("{{{}}}", name_in_world(name, path));
                let id = self.world.resolve(&name).await;
                text = text.replace(placeholder, &id);
            }
        }
        text
    }

    /// The path and the query of an operation, made of the examples of its parameters.
    fn place(path: &str, operation: &Value) -> String {
        let mut place = path.to_owned();
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let example = &parameter["example"];
            let examples = example
                .as_array()
                .map_or(slice::from_ref(example), Vec::as_slice);
            for example in examples.iter().filter(|example| !example.is_null()) {
                let text = example
                    .as_str()
                    .map_or_else(|| example.to_string(), str::to_owned);
                match parameter["in"].as_str().unwrap() {
                    "path" => place = place.replace(&format!("{{{name}}}"), &text),
                    "query" => query.push(format!("{name}={}", text.replace('+', "%2B"))),
                    _ => {}
                }
            }
        }
        assert!(
            !place.contains('{'),
            "{place} has a parameter without an example"
        );
        if query.is_empty() {
            place
        } else {
            format!("{place}?{}", query.join("&"))
        }
    }

    async fn send(&mut self, method: &str, path: &str, operation: &Value) -> Vec<Answer> {
        let bodies: Vec<(String, String)> = operation["requestBody"]["content"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(content_type, content)| {
                assert!(
                    !content["example"].is_null(),
                    "{method} {path} has no example"
                );
                (content_type.clone(), content["example"].to_string())
            })
            .collect();
        self.world.forget();
        let place = self
            .with_real_ids(&Self::place(path, operation), path)
            .await;
        let caller = self.caller(path).await;
        let place = self.with_own_session(&place, path, &caller).await;
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        if bodies.is_empty() {
            return vec![Answer::of(caller.request(method, &place)).await];
        }
        let mut answers = Vec::new();
        for (content_type, body) in bodies {
            let body = self.with_real_ids(&body, path).await;
            let request = caller.request(method.clone(), &place);
            let request = request.header("Content-Type", content_type).body(body);
            answers.push(Answer::of(request).await);
        }
        answers
    }

    /// The admin, or somebody of the seed for what ends their session or changes their password,
    /// which is not done to whoever has to log in again.
    async fn caller(&self, path: &str) -> Client {
        if !path.contains("/auth/") {
            return self.server.admin().clone();
        }
        let anonymous = self.server.anonymous();
        let username = if path.ends_with("/change_password") {
            "doctor1"
        } else {
            "manager"
        };
        let body = json!({"username": username, "password": DEV_PASSWORD});
        let answer = anonymous.post("/api/v1/auth/login", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        anonymous.with_token(&answer.text("/access_token"))
    }

    async fn with_own_session(&self, place: &str, path: &str, caller: &Client) -> String {
        if !path.ends_with("/auth/sessions/{session_id}/revoke") {
            return place.to_owned();
        }
        let session = caller.get("/api/v1/auth/me").await.text("/session_id");
        format!("/api/v1/auth/sessions/{session}/revoke")
    }
}

/// What the id of an example has to stand for, so that the operation can be done.
fn name_in_world(name: &str, path: &str) -> &'static str {
    match (name, path.rsplit('/').next().unwrap_or_default()) {
        ("appointment_id", "start") => "arrived",
        ("appointment_id", "complete") => "in_chair",
        ("appointment_id", "accept_conflict") => "in_conflict",
        ("appointment_id", "invoices" | "{invoice_id}") => "visit_of_patient",
        ("appointment_id", _) => "scheduled",
        ("invoice_id", "void" | "payments") => "issued",
        ("invoice_id", _) => "draft",
        ("item_id", _) => "item",
        ("closure_id", _) => "closure",
        ("contact_id", _) => "contact",
        ("doctor_id", _) => "doctor",
        ("patient_id", _) => "patient",
        ("payment_id", _) => "payment",
        ("room_id", _) => "room",
        ("service_id", _) => "service",
        ("session_id", _) => "session",
        ("time_off_id", _) => "time_off",
        ("user_id", _) => "user",
        (other, _) => panic!("no request names a {other}"),
    }
}

#[tokio::test]
async fn every_example_of_a_request_is_accepted() {
    let database = fresh_database().await;
    let store = PostgresStore::connect(&as_application(database.url()))
        .await
        .unwrap();
    let seeded = dcms_seed::seed(Arc::new(store), SystemClock.now()).await;
    seeded.expect("the clinic of the examples");
    let server = Server::start_with_admin(database.url(), "reader").await;
    let document = document(&server).await;
    let doctor = server.user("doctor").await;
    let mut reader = Reader {
        document: &document,
        server: &server,
        world: World::new(&server, "examples", &doctor),
    };
    let mut refused = Vec::new();
    for (method, path, operation) in operations(&document) {
        for answer in reader.send(&method, path, operation).await {
            let declared = operation["responses"].get(answer.status.as_str()).is_some();
            if !answer.status.is_success() || !(declared || path == "/docs") {
                refused.push(format!("{method} {path}: {answer:?}"));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
