//! Logging in and out, and what users do with their own account.

use dcms_domain::identity::MAX_SESSIONS;
use dcms_tests::{Answer, Client, FIRST_PASSWORD, PASSWORD, Server, rows};
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
    assert_eq!(session_of(&after).await, session);
    let refused = before.act("/api/v1/auth/refresh").await;
    refused.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn refreshing_does_not_make_a_session_last_longer() {
    let server = Server::start().await;
    let user = server.user("doctor").await;
    let ends = |list: &Answer| list.text("/items/0/expires_at");
    let before = ends(&user.get("/api/v1/auth/sessions").await);
    let answer = user.act("/api/v1/auth/refresh").await;
    assert_eq!(answer.text("/expires_at"), before);
    let user = user.with_token(&answer.text("/access_token"));
    assert_eq!(ends(&user.get("/api/v1/auth/sessions").await), before);
}

#[tokio::test]
async fn a_token_that_comes_back_after_it_was_replaced_ends_its_session() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let elsewhere = server.anonymous().log_in("nora").await;
    let mut tokens = vec![server.anonymous().log_in("nora").await];
    let session = session_of(&tokens[0]).await;
    for turn in 0..2 {
        let answer = tokens[turn].act("/api/v1/auth/refresh").await;
        tokens.push(elsewhere.with_token(&answer.text("/access_token")));
    }
    assert!(is_logged_in(&tokens[2]).await);
    // The oldest one gives the thief away as well as the last one does.
    assert!(!is_logged_in(&tokens[0]).await);
    for token in &tokens {
        assert!(!is_logged_in(token).await);
    }
    assert!(is_logged_in(&elsewhere).await);
    let entries = server.audit("action=token_reused").await;
    let about: Vec<&Value> = entries.iter().map(|entry| &entry["entity_id"]).collect();
    assert_eq!(about, [&json!(session)]);
}

#[tokio::test]
async fn who_logs_in_too_often_loses_the_oldest_session() {
    let server = Server::start().await;
    let nora = server.make_user("nora", &["doctor"]).await;
    // Neither counts nor ends: it is the admin's.
    let support = server.act_as(&nora).await;
    let mut clients = Vec::new();
    for _ in 0..MAX_SESSIONS {
        clients.push(server.anonymous().log_in("nora").await);
    }
    assert!(is_logged_in(&clients[0]).await);
    clients.push(server.anonymous().log_in("nora").await);
    assert!(!is_logged_in(&clients[0]).await);
    assert!(is_logged_in(&clients[1]).await);
    assert!(is_logged_in(&support).await);
    let list = clients[1].get("/api/v1/auth/sessions?limit=200").await;
    assert_eq!(ids(&list, "session_id").len(), MAX_SESSIONS + 1);
}

#[tokio::test]
async fn users_see_where_they_are_logged_in() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let body = json!({"username": "nora", "password": PASSWORD, "device_name": "Front desk"});
    let request = server
        .anonymous()
        .request(Method::POST, "/api/v1/auth/login");
    let request = request.header("User-Agent", "Oldtown Desk/2.1").json(&body);
    let there = Answer::of(request).await;
    assert_eq!(there.status, 200, "{there:?}");
    let here = server.anonymous().log_in("nora").await;
    let list = here.get("/api/v1/auth/sessions").await;
    assert_eq!(list.text("/items/0/device_name"), "Front desk");
    assert_eq!(list.text("/items/0/address"), "127.0.0.1");
    assert_eq!(list.text("/items/0/agent"), "Oldtown Desk/2.1");
    assert_eq!(list.text("/items/0/expires_at"), there.text("/expires_at"));
    assert_eq!(list.body["items"][0]["impersonator_id"], Value::Null);
    assert_eq!(list.body["items"][1]["agent"], Value::Null);
    let current: Vec<&Value> = list.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["is_current"])
        .collect();
    assert_eq!(current, [&json!(false), &json!(true)]);
    for item in list.body["items"].as_array().unwrap() {
        let (created, seen) = (item["created_at"].as_str(), item["last_seen_at"].as_str());
        assert!(created.is_some() && created <= seen, "{item}");
    }
}

#[tokio::test]
async fn who_got_a_password_from_somebody_else_changes_it_first() {
    let server = Server::start().await;
    let nora = server.make_newcomer("nora", &["admin"]).await;
    let answer = log_in(&server, "nora", FIRST_PASSWORD).await;
    assert_eq!(answer.body["user"]["must_change_password"], json!(true));
    let client = server.anonymous().with_token(&answer.text("/access_token"));
    let refused = client.get("/api/v1/patients").await;
    refused.assert_problem(403, "password_change_required");
    let me = client.get("/api/v1/auth/me").await;
    assert_eq!(me.body["user"]["must_change_password"], json!(true));

    client.choose_password(FIRST_PASSWORD, OTHER_PASSWORD).await;
    let me = client.get("/api/v1/auth/me").await;
    assert_eq!(me.body["user"]["must_change_password"], json!(false));
    assert_eq!(client.get("/api/v1/patients").await.status, 200);

    // A reset brings them back to the start.
    let path = format!("/api/v1/admin/users/{nora}/reset_password");
    let body = json!({"new_password": FIRST_PASSWORD});
    assert_eq!(server.admin().post(&path, &body).await.status, 204);
    assert!(!is_logged_in(&client).await);
    let client = server.anonymous().log_in_with("nora", FIRST_PASSWORD).await;
    let refused = client.get("/api/v1/patients").await;
    refused.assert_problem(403, "password_change_required");
    assert_eq!(client.act("/api/v1/auth/logout").await.status, 204);
}

#[tokio::test]
async fn who_resets_their_own_password_chose_it_themselves() {
    let server = Server::start().await;
    let path = format!(
        "/api/v1/admin/users/{}/reset_password",
        server.admin().user_id
    );
    let body = json!({"new_password": OTHER_PASSWORD});
    assert_eq!(server.admin().post(&path, &body).await.status, 204);
    let admin = server
        .anonymous()
        .log_in_with("admin", OTHER_PASSWORD)
        .await;
    assert_eq!(admin.get("/api/v1/patients").await.status, 200);
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
        last_seen_at = last_seen_at - interval '1 day',
        expires_at = expires_at - interval '1 day' WHERE user_id = $1::uuid";
    let aged = sqlx::query(age)
        .bind(&user.user_id)
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(aged.rows_affected() > 0);
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
        (PASSWORD, PASSWORD, "/new_password", "conflicting"),
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
async fn a_few_who_log_in_for_the_first_time_at_once_do_not_stop_each_other() {
    let server = Server::start().await;
    let names: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    for name in &names {
        server.make_newcomer(name, &["doctor"]).await;
    }
    let attempts = names
        .iter()
        .map(|name| log_in(&server, name, FIRST_PASSWORD));
    for answer in futures_util::future::join_all(attempts).await {
        assert_eq!(answer.status, 200, "{answer:?}");
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
