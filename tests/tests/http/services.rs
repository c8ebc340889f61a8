//! The service catalog.

use dcms_tests::{Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Clinic, NOBODY, Search, assert_created, assert_members, assert_unchanged, book, draft, etag,
    if_match, texts, texts_of_pages, url, with,
};

const SERVICES: &str = "/api/v1/services";

fn crown() -> Value {
    json!({
        "code": "D2740", "name": "Crown, céramique", "current_price_cents": 45_000,
        "default_duration_minutes": 60, "is_active": true,
    })
}

/// Makes a service; its path.
async fn make(client: &Client, body: &Value) -> String {
    let id = client.create(SERVICES, body, "service_id").await;
    format!("{SERVICES}/{id}")
}

#[tokio::test]
async fn a_service_is_made_and_read_back() {
    let server = Server::start().await;
    let answer = server.admin().post(SERVICES, &crown()).await;
    assert_created(server.admin(), &answer).await;
    for (field, value) in crown().as_object().unwrap() {
        assert_eq!(&answer.body[field], value);
    }
    let location = format!("{SERVICES}/{}", answer.text("/service_id"));
    assert_eq!(answer.header("location"), Some(location.as_str()));

    // A duration is not needed, and a service may cost nothing.
    let advice =
        json!({"code": "A", "name": "Advice", "current_price_cents": 0, "is_active": true});
    assert_members(
        &advice,
        &["code", "name", "current_price_cents", "is_active"],
    );
    let answer = server.admin().post(SERVICES, &advice).await;
    assert_created(server.admin(), &answer).await;
    assert_eq!(answer.body["default_duration_minutes"], Value::Null);
}

#[tokio::test]
async fn what_is_wrong_is_told_all_at_once() {
    let server = Server::start().await;
    let path = make(server.admin(), &crown()).await;
    let before = server.admin().get(&path).await;
    let cases = [
        (
            json!({"code": "", "name": " ", "current_price_cents": -1, "default_duration_minutes": 0}),
            vec![
                "/code",
                "/name",
                "/current_price_cents",
                "/default_duration_minutes",
            ],
        ),
        (json!({"code": "x".repeat(33)}), vec!["/code"]),
        (
            json!({"current_price_cents": i64::MAX}),
            vec!["/current_price_cents"],
        ),
        (
            json!({"default_duration_minutes": 1441}),
            vec!["/default_duration_minutes"],
        ),
        (
            json!({"code": null, "name": null, "current_price_cents": null, "is_active": null}),
            vec!["/code", "/name", "/current_price_cents", "/is_active"],
        ),
    ];
    for (change, pointers) in cases {
        server
            .admin()
            .patch(&path, &change)
            .await
            .assert_faults(&pointers);
        // A new service may be active without saying so.
        if change.get("is_active").is_none() {
            let body = with(with(crown(), &json!({"code": "NEW"})), &change);
            server
                .admin()
                .post(SERVICES, &body)
                .await
                .assert_faults(&pointers);
        }
    }
    let answer = server
        .admin()
        .post(SERVICES, &json!({"is_active": true}))
        .await;
    answer.assert_faults(&["/code", "/name", "/current_price_cents"]);
    for change in [
        json!({"current_price_cents": 10.5}),
        json!({"current_price_cents": "10"}),
        json!({"current_price_cents": 9_223_372_036_854_775_808_u64}),
        json!({"price": 10}),
        json!({"service_id": NOBODY}),
    ] {
        let answer = server.admin().patch(&path, &change).await;
        answer.assert_problem(400, "malformed_request");
    }
    assert_unchanged(server.admin(), &path, &before).await;
}

#[tokio::test]
async fn a_patch_leaves_what_is_absent_and_clears_what_is_null() {
    let server = Server::start().await;
    let path = make(server.admin(), &crown()).await;
    let before = server.admin().get(&path).await;
    let change = json!({"current_price_cents": 50_000, "default_duration_minutes": null});
    let stale = if_match(server.admin(), Method::PATCH, &path, "\"99\"", &change).await;
    stale.assert_problem(412, "version_mismatch");
    let changed = if_match(
        server.admin(),
        Method::PATCH,
        &path,
        &etag(&before),
        &change,
    )
    .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for (field, value) in with(crown(), &change).as_object().unwrap() {
        assert_eq!(&changed.body[field], value);
    }
    assert_unchanged(server.admin(), &path, &changed).await;
}

#[tokio::test]
async fn a_code_belongs_to_one_service_however_it_is_capitalised() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = make(admin, &crown()).await;
    let other = make(admin, &with(crown(), &json!({"code": "D1110"}))).await;
    let before = admin.get(&other).await;
    for code in ["D2740", "d2740", " d2740 "] {
        let code = json!({"code": code});
        for answer in [
            admin.post(SERVICES, &with(crown(), &code)).await,
            admin.patch(&other, &code).await,
        ] {
            answer.assert_problem(409, "already_exists");
            assert_eq!(answer.text("/field"), "code");
        }
    }
    assert_unchanged(admin, &other, &before).await;
    // Its own code is not in its way.
    let renamed = admin.patch(&path, &json!({"code": "d2740"})).await;
    assert_eq!(renamed.text("/code"), "d2740");
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let server = Server::start().await;
    let admin = server.admin();
    for (code, name, is_active) in [
        ("D2740", "Crown, céramique", true),
        ("D2750", "Crown, gold", false),
        ("D1110", "Prophylaxis 100%", true),
        ("X_1", "Other", true),
    ] {
        let body =
            json!({"code": code, "name": name, "current_price_cents": 1, "is_active": is_active});
        make(admin, &body).await;
    }
    let all = ["D2740", "D2750", "D1110", "X_1"];
    let cases: &[Search] = &[
        (&[], &all),
        (&[("query", "")], &all),
        (&[("query", "crown")], &["D2740", "D2750"]),
        (&[("query", "CERAMIQUE")], &["D2740"]),
        (&[("query", "Céram")], &["D2740"]),
        (&[("query", "d27")], &["D2740", "D2750"]),
        (&[("query", "2750")], &["D2750"]),
        (&[("query", "%")], &["D1110"]),
        (&[("query", "_")], &["X_1"]),
        (&[("query", "bridge")], &[]),
        (&[("active", "true")], &["D2740", "D1110", "X_1"]),
        (&[("active", "false")], &["D2750"]),
        (&[("query", "crown"), ("active", "true")], &["D2740"]),
    ];
    for (query, wanted) in cases {
        let list = admin.get(&url(SERVICES, query)).await;
        assert_eq!(texts(&list, "code"), *wanted, "{query:?}");
    }
    let mut added = 0;
    let add = async || {
        added += 1;
        server.service(&format!("NEW{added}"), 1).await;
    };
    let mut pages = texts_of_pages(admin, SERVICES, 2, "code", add).await;
    pages.retain(|code| !code.starts_with("NEW"));
    assert_eq!(pages, all);
    let answer = admin.get(&format!("{SERVICES}?active=maybe")).await;
    answer.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn only_a_service_that_was_never_used_can_be_deleted() {
    let clinic = Clinic::open().await;
    let server = &clinic.server;
    let manager = server.user("manager").await;
    let unused = make(&manager, &crown()).await;
    let stale = if_match(&manager, Method::DELETE, &unused, "\"99\"", &Value::Null).await;
    stale.assert_problem(412, "version_mismatch");
    assert_eq!(manager.delete(&unused).await.status, 204);
    for answer in [
        manager.get(&unused).await,
        manager.delete(&unused).await,
        manager.patch(&unused, &json!({"name": "x"})).await,
    ] {
        answer.assert_problem(404, "not_found");
    }

    let (planned, charged) = (server.service("P", 1).await, server.service("C", 1).await);
    let visit = clinic.booking("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    let services = json!({"services": [{"service_id": planned, "qty": 1}]});
    book(&clinic.desk, &with(visit, &services)).await;
    let lines = json!([{"service_id": charged, "qty": 1}]);
    draft(&clinic.desk, &clinic.patient, &lines).await;
    for id in [planned, charged] {
        let path = format!("{SERVICES}/{id}");
        let before = manager.get(&path).await;
        manager.delete(&path).await.assert_problem(409, "in_use");
        assert_unchanged(&manager, &path, &before).await;
        let deactivated = manager.patch(&path, &json!({"is_active": false})).await;
        assert_eq!(deactivated.body["is_active"], false);
        // It is not offered any more.
        let body = json!({"patient_id": clinic.patient, "items": [{"service_id": id, "qty": 1}]});
        let answer = clinic.desk.post("/api/v1/invoices", &body).await;
        answer.assert_faults(&["/items/0/service_id"]);
    }
}
