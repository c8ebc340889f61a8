//! Logging in and out, and what users do with their own account.

use dcms_tests::{Answer, Client, PASSWORD, Server, rows};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::NOBODY;

const OTHER_PASSWORD: &str = "another password of theirs";

async fn log_in(server: &Server, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    server.anonymous().post("/api/v1/auth/login", &body).await
}

async fn is_logged_in(client: &Client) -> bool {
    let answer = client.get("/api/v1/auth/me").await;
    if answer.status == 200 {
        return true;
    }
    answer.assert_problem(401, "unauthenticated");
    false
}

async fn session_of(client: &Client) -> String {
    client.get("/api/v1/auth/me").await.text("/session_id")
}

fn ids(list: &Answer, name: &str) -> Vec<String> {
    let items = list.body["items"].as_array().expect("items");
    let id = |item: &Value| item[name].as_str().expect("an id").to_owned();
    items.iter().map(id).collect()
}

#[tokio::test]
async fn logging_in_gives_a_token_that_says_who_is_there() {
    let server = Server::start().await;
    let user_id = server.make_user("Nora", &["manager", "doctor"]).await;
    let body = json!({"username": "nora", "password": PASSWORD, "device_name": "Front desk"});
    let answer = server.anonymous().post("/api/v1/auth/login", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("/token_type"), "Bearer");
    assert!(answer.text("/expires_at").ends_with('Z'), "{answer:?}");
    // 256 bits take 43 characters of base64 and more of anything coarser.
    assert!(answer.text("/access_token").len() >= 43, "{answer:?}");
    assert_eq!(answer.text("/user/user_id"), user_id);
    assert_eq!(answer.text("/user/username"), "Nora");
    assert_eq!(answer.body["user"]["roles"], json!(["manager", "doctor"]));

    let nora = server.anonymous().with_token(&answer.text("/access_token"));
    let me = nora.get("/api/v1/auth/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!(me.body["user"], answer.body["user"]);
    let clinic = nora.get("/api/v1/clinic").await;
    assert_eq!(me.text("/clinic_name"), clinic.text("/clinic_name"));
    let sessions = nora.get("/api/v1/auth/sessions").await;
    assert_eq!(ids(&sessions, "session_id"), [me.text("/session_id")]);
    assert_eq!(sessions.text("/items/0/device_name"), "Front desk");
}

#[tokio::test]
async fn unknown_wrong_and_disabled_look_the_same() {
    let server = Server::start().await;
    server.make_user("known", &["doctor"]).await;
    let disabled = server.make_user("disabled", &["doctor"]).await;
    let path = format!("/api/v1/admin/users/{disabled}");
    let answer = server
        .admin()
        .patch(&path, &json!({"is_active": false}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let mut looks = Vec::new();
    for (username, password) in [
        ("known", OTHER_PASSWORD),
        ("unknown", PASSWORD),
        ("disabled", PASSWORD),
        ("disabled", OTHER_PASSWORD),
        ("known", ""),
        ("", ""),
        ("kn\u{0}own", PASSWORD),
    ] {
        let mut answer = log_in(&server, username, password).await;
        answer.assert_problem(401, "invalid_credentials");
        for header in ["x-request-id", "date"] {
            answer.headers.remove(header);
        }
        let headers: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        let body = answer.body.as_object_mut().unwrap();
        body.remove("request_id");
        looks.push((headers, body.clone()));
    }
    // The length differs by nothing, as all request ids have the same length.
    looks.dedup();
    assert_eq!(looks.len(), 1, "{looks:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_log_in_is_said() {
    let server = Server::start().await;
    let path = "/api/v1/auth/login";
    let long = "x".repeat(101);
    let body = json!({"username": "admin", "password": PASSWORD, "device_name": long});
    let answer = server.anonymous().post(path, &body).await;
    answer.assert_faults(&["/device_name"]);
    let answer = server.anonymous().post(path, &json!({})).await;
    answer.assert_faults(&["/password", "/username"]);
}

#[tokio::test]
async fn nothing_that_is_stored_lets_anybody_in() {
    let server = Server::start().await;
    let user = server.user("doctor").await;
    let token = user.token().unwrap();
    let stored = rows(server.database_url()).await;
    assert_eq!(stored["users"].len(), 2);
    for row in stored.values().flatten() {
        assert!(!row.contains(PASSWORD) && !row.contains(token), "{row}");
    }
    assert!(stored["users"].iter().all(|row| row.contains("$argon2id$")));
}

#[tokio::test]
async fn refreshing_rotates_the_token_of_the_session() {
    let server = Server::start().await;
    let before = server.user("doctor").await;
    let session = session_of(&before).await;
    let answer = before.act("/api/v1/auth/refresh").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("/token_type"), "Bearer");
    assert_eq!(answer.text("/user/user_id"), before.user_id);
    assert_ne!(answer.text("/access_token"), before.token().unwrap());
    let after = before.with_token(&answer.text("/access_token"));
    assert!(is_logged_in(&after).await);
    assert!(!is_logged_in(&before).await);
    assert_eq!(session_of(&after).await, session);
    let refused = before.act("/api/v1/auth/refresh").await;
    refused.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn logging_out_ends_one_session() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let here = server.anonymous().log_in("nora").await;
    let there = server.anonymous().log_in("nora").await;
    assert_eq!(here.act("/api/v1/auth/logout").await.status, 204);
    assert!(!is_logged_in(&here).await);
    assert!(is_logged_in(&there).await);
    let again = here.act("/api/v1/auth/logout").await;
    again.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let server = Server::start().await;
    let user = server.user("doctor").await;
    let mut connection = PgConnection::connect(server.database_url()).await.unwrap();
    let age = "UPDATE sessions SET created_at = created_at - interval '1 day',
        expires_at = expires_at - interval '1 day' WHERE session_id = $1::uuid";
    let aged = sqlx::query(age)
        .bind(session_of(&user).await)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(aged.rows_affected(), 1);
    assert!(!is_logged_in(&user).await);
    assert!(is_logged_in(server.admin()).await);
}

#[tokio::test]
async fn changing_the_password_ends_the_other_sessions() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let here = server.anonymous().log_in("nora").await;
    let there = server.anonymous().log_in("nora").await;
    let body = json!({"current_password": PASSWORD, "new_password": OTHER_PASSWORD});
    let answer = here.post("/api/v1/auth/change_password", &body).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(is_logged_in(&here).await);
    assert!(!is_logged_in(&there).await);
    assert!(is_logged_in(server.admin()).await);
    let old = log_in(&server, "nora", PASSWORD).await;
    old.assert_problem(401, "invalid_credentials");
    assert_eq!(log_in(&server, "nora", OTHER_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_password_is_only_changed_to_a_good_one_by_who_knows_the_old_one() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let here = server.anonymous().log_in("nora").await;
    let there = server.anonymous().log_in("nora").await;
    let too_long = "x".repeat(129);
    for (current, new, pointer, code) in [
        (
            OTHER_PASSWORD,
            OTHER_PASSWORD,
            "/current_password",
            "invalid_credentials",
        ),
        (PASSWORD, "too short", "/new_password", "too_short"),
        (PASSWORD, &too_long, "/new_password", "too_long"),
    ] {
        let body = json!({"current_password": current, "new_password": new});
        let answer = here.post("/api/v1/auth/change_password", &body).await;
        answer.assert_faults(&[pointer]);
        assert_eq!(answer.text("/errors/0/code"), code);
    }
    assert!(is_logged_in(&there).await);
    assert_eq!(log_in(&server, "nora", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn users_see_and_end_their_own_sessions_and_no_others() {
    let server = Server::start().await;
    server.make_user("nora", &["admin"]).await;
    let here = server.anonymous().log_in("nora").await;
    let there = server.anonymous().log_in("nora").await;
    let (own, other) = (session_of(&here).await, session_of(&there).await);
    let list = here.get("/api/v1/auth/sessions").await;
    assert_eq!(ids(&list, "session_id"), [own.clone(), other.clone()]);
    assert_eq!(list.body["next_cursor"], Value::Null);
    for item in list.body["items"].as_array().unwrap() {
        assert_eq!(item["user_id"], json!(here.user_id));
        assert!(item.get("token_hash").is_none(), "{item}");
    }

    // Not even an admin ends another's here, and what is not there looks the same.
    let admins = session_of(server.admin()).await;
    for session in [admins.as_str(), NOBODY] {
        let path = format!("/api/v1/auth/sessions/{session}/revoke");
        here.act(&path).await.assert_problem(404, "not_found");
    }
    assert!(is_logged_in(server.admin()).await);

    let path = format!("/api/v1/auth/sessions/{other}/revoke");
    assert_eq!(here.act(&path).await.status, 204);
    assert!(!is_logged_in(&there).await);
    let list = here.get("/api/v1/auth/sessions").await;
    assert_eq!(ids(&list, "session_id"), [own.as_str()]);
    here.act(&path).await.assert_problem(404, "not_found");

    let path = format!("/api/v1/auth/sessions/{own}/revoke");
    assert_eq!(here.act(&path).await.status, 204);
    assert!(!is_logged_in(&here).await);
}

#[tokio::test]
async fn many_log_ins_at_once_all_succeed_or_are_told_to_come_back() {
    let server = Server::start().await;
    let attempts = (0..24).map(|_| log_in(&server, "admin", PASSWORD));
    for answer in futures_util::future::join_all(attempts).await {
        if answer.status != 200 {
            answer.assert_problem(503, "unavailable");
            assert!(answer.header("retry-after").is_some());
        }
    }
}

#[tokio::test]
async fn an_answer_with_a_token_is_not_to_be_stored() {
    let server = Server::start().await;
    let body = json!({"username": "admin", "password": PASSWORD});
    let request = server
        .anonymous()
        .request(Method::POST, "/api/v1/auth/login");
    let answer = Answer::of(request.json(&body)).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
