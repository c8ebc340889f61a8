//! What admins do with users and with the sessions of others.

use dcms_domain::identity::IMPERSONATION_MINUTES;
use dcms_tests::{Answer, Client, PASSWORD, Server};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{NOBODY, assert_members, items, texts_of_pages};

const USERS: &str = "/api/v1/admin/users";
const SESSIONS: &str = "/api/v1/admin/sessions";
const OTHER_PASSWORD: &str = "another password of theirs";

fn path_of(user_id: &str) -> String {
    format!("{USERS}/{user_id}")
}

async fn log_in(server: &Server, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    server.anonymous().post("/api/v1/auth/login", &body).await
}

async fn session_of(client: &Client) -> String {
    client.get("/api/v1/auth/me").await.text("/session_id")
}

async fn assert_logged_out(client: &Client) {
    let answer = client.get("/api/v1/auth/me").await;
    answer.assert_problem(401, "unauthenticated");
}

fn sessions_in(list: &Answer) -> Vec<String> {
    assert_eq!(list.status, 200, "{list:?}");
    let items = list.body["items"].as_array().expect("items");
    let id = |item: &Value| item["session_id"].as_str().expect("an id").to_owned();
    items.iter().map(id).collect()
}

#[tokio::test]
async fn a_user_is_made_read_and_listed() {
    let server = Server::start().await;
    let body = json!({
        "username": "nora",
        "display_name": "Dr. Nora Möller",
        "roles": ["doctor", "manager"],
        "password": PASSWORD,
    });
    let made = server.admin().post(USERS, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.text("/username"), "nora");
    assert_eq!(made.text("/display_name"), "Dr. Nora Möller");
    assert_eq!(made.body["roles"], json!(["manager", "doctor"]));
    assert_eq!(made.body["is_active"], json!(true));
    assert!(made.body.get("password").is_none(), "{made:?}");
    assert_eq!(made.body["must_change_password"], json!(true));
    let path = path_of(&made.text("/user_id"));
    assert_eq!(made.header("location"), Some(path.as_str()));

    let read = server.admin().get(&path).await;
    assert_eq!((read.status.as_u16(), &read.body), (200, &made.body));
    let list = server.admin().get(USERS).await;
    assert_eq!(list.text("/items/0/username"), "admin");
    assert_eq!(list.body["items"][1], made.body);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(log_in(&server, "nora", PASSWORD).await.status, 200);

    let missing = server.admin().get(&path_of(NOBODY)).await;
    missing.assert_problem(404, "not_found");
}

#[tokio::test]
async fn every_fault_of_a_user_is_said_at_once() {
    let server = Server::start().await;
    let body = json!({"username": "no ra", "display_name": " ", "roles": [], "password": "short"});
    let answer = server.admin().post(USERS, &body).await;
    answer.assert_faults(&["/display_name", "/password", "/roles", "/username"]);
    let answer = server
        .admin()
        .post(USERS, &json!({"roles": ["owner"]}))
        .await;
    answer.assert_faults(&["/display_name", "/password", "/roles/0", "/username"]);
    let users = server.admin().get(USERS).await;
    assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_username_is_taken_whatever_its_case() {
    let server = Server::start().await;
    let nora = server.make_user("nora", &["doctor"]).await;
    let body = json!({
        "username": "NORA",
        "display_name": "Nora",
        "roles": ["doctor"],
        "password": PASSWORD,
    });
    let answer = server.admin().post(USERS, &body).await;
    answer.assert_problem(409, "already_exists");
    assert_eq!(answer.text("/field"), "username");
    let rename = json!({"username": "Admin"});
    let answer = server.admin().patch(&path_of(&nora), &rename).await;
    answer.assert_problem(409, "already_exists");
    assert_eq!(answer.text("/field"), "username");
    // Their own name in another case is theirs.
    let rename = json!({"username": "Nora"});
    let answer = server.admin().patch(&path_of(&nora), &rename).await;
    assert_eq!(answer.text("/username"), "Nora");
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let server = Server::start().await;
    let path = path_of(&server.make_user("nora", &["doctor"]).await);
    let before = server.admin().get(&path).await.body;
    let wanted = json!({"username": "nm", "display_name": "N. M.", "roles": ["receptionist"]});
    let answer = server.admin().patch(&path, &wanted).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut expected = before;
    for (name, value) in wanted.as_object().unwrap() {
        expected[name] = value.clone();
    }
    expected["updated_at"] = answer.body["updated_at"].clone();
    assert_eq!(server.admin().get(&path).await.body, expected);
    // She is no doctor any more, so it is told whose visits mind.
    expected["conflicts"] = json!([]);
    expected["more_conflicts"] = json!(false);
    assert_eq!(answer.body, expected);
    assert_eq!(log_in(&server, "nm", PASSWORD).await.status, 200);

    let nulls = json!({"username": null, "display_name": null, "roles": null, "is_active": null});
    let answer = server.admin().patch(&path, &nulls).await;
    answer.assert_faults(&["/display_name", "/is_active", "/roles", "/username"]);
    let missing = server.admin().patch(&path_of(NOBODY), &wanted).await;
    missing.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_changed_role_counts_from_the_next_request_on() {
    let server = Server::start().await;
    let nora = server.user("receptionist").await;
    let room = json!({"name": "Room 1"});
    let refused = nora.post("/api/v1/rooms", &room).await;
    refused.assert_problem(403, "forbidden");
    for (roles, status) in [(json!(["manager"]), 201), (json!(["receptionist"]), 403)] {
        let wanted = json!({"roles": roles});
        let changed = server.admin().patch(&path_of(&nora.user_id), &wanted).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let answer = nora.post("/api/v1/rooms", &room).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_from_the_next_request_on() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let nora = server.anonymous().log_in("nora").await;
    let path = path_of(&nora.user_id);
    let wanted = json!({"is_active": false});
    let answer = server.admin().patch(&path, &wanted).await;
    assert_eq!(answer.body["is_active"], json!(false), "{answer:?}");
    assert_logged_out(&nora).await;
    let of_nora = format!("{SESSIONS}?user_id={}", nora.user_id);
    let sessions = server.admin().get(&of_nora).await;
    assert_eq!(sessions_in(&sessions), Vec::<String>::new());

    // Enabled again they may log in, but the old session stays over.
    let wanted = json!({"is_active": true});
    assert_eq!(server.admin().patch(&path, &wanted).await.status, 200);
    assert_logged_out(&nora).await;
    assert_eq!(log_in(&server, "nora", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_clinic_keeps_an_active_admin() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = path_of(&admin.user_id);
    let losses = [json!({"is_active": false}), json!({"roles": ["manager"]})];
    for loss in &losses {
        let answer = admin.patch(&path, loss).await;
        answer.assert_problem(409, "last_admin");
    }
    // A disabled admin does not count.
    let other = server.make_user("other", &["admin"]).await;
    let disable = json!({"is_active": false});
    assert_eq!(admin.patch(&path_of(&other), &disable).await.status, 200);
    for loss in &losses {
        let answer = admin.patch(&path, loss).await;
        answer.assert_problem(409, "last_admin");
    }
    // What keeps them an admin is no loss, and with another one they may go.
    let keep = json!({"roles": ["admin", "doctor"], "display_name": "Boss"});
    assert_eq!(admin.patch(&path, &keep).await.status, 200);
    let enable = json!({"is_active": true});
    assert_eq!(admin.patch(&path_of(&other), &enable).await.status, 200);
    assert_eq!(admin.patch(&path, &losses[1]).await.status, 200);
    admin.get(USERS).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn two_admins_cannot_demote_each_other_at_once() {
    let server = Server::start().await;
    server.make_user("other", &["admin"]).await;
    let other = server.anonymous().log_in("other").await;
    let demote = json!({"roles": ["manager"]});
    let (paths, admin) = (
        [path_of(&other.user_id), path_of(&server.admin().user_id)],
        server.admin(),
    );
    let (one, two) = tokio::join!(
        admin.patch(&paths[0], &demote),
        other.patch(&paths[1], &demote)
    );
    let statuses = [one.status.as_u16(), two.status.as_u16()];
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{one:?} {two:?}"
    );
    // The other was refused: as the last admin, or because they were none any more.
    assert!(
        statuses.iter().any(|status| matches!(status, 403 | 409)),
        "{one:?} {two:?}"
    );
}

#[tokio::test]
async fn a_reset_password_replaces_the_old_one_and_ends_the_sessions() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let nora = server.anonymous().log_in("nora").await;
    let path = format!("{}/reset_password", path_of(&nora.user_id));
    let short = server
        .admin()
        .post(&path, &json!({"new_password": "short"}))
        .await;
    short.assert_faults(&["/new_password"]);
    assert_eq!(nora.get("/api/v1/auth/me").await.status, 200);

    let body = json!({"new_password": OTHER_PASSWORD});
    assert_eq!(server.admin().post(&path, &body).await.status, 204);
    assert_logged_out(&nora).await;
    let old = log_in(&server, "nora", PASSWORD).await;
    old.assert_problem(401, "invalid_credentials");
    assert_eq!(log_in(&server, "nora", OTHER_PASSWORD).await.status, 200);

    let missing = format!("{}/reset_password", path_of(NOBODY));
    let answer = server.admin().post(&missing, &body).await;
    answer.assert_problem(404, "not_found");
}

#[tokio::test]
async fn admins_see_and_end_the_sessions_of_all() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let here = server.anonymous().log_in("nora").await;
    let there = server.anonymous().log_in("nora").await;
    let paul = server.user("receptionist").await;
    let admins = session_of(server.admin()).await;
    let (first, second) = (session_of(&here).await, session_of(&there).await);
    let pauls = session_of(&paul).await;

    let all = server.admin().get(SESSIONS).await;
    assert_eq!(
        sessions_in(&all),
        [&admins, &first, &second, &pauls].map(Clone::clone)
    );
    let of_nora = format!("{SESSIONS}?user_id={}", here.user_id);
    let noras = server.admin().get(&of_nora).await;
    assert_eq!(sessions_in(&noras), [first.clone(), second.clone()]);
    let nobodys = server
        .admin()
        .get(&format!("{SESSIONS}?user_id={NOBODY}"))
        .await;
    assert_eq!(sessions_in(&nobodys), Vec::<String>::new());

    let revoke = format!("{SESSIONS}/{first}/revoke");
    assert_eq!(server.admin().act(&revoke).await.status, 204);
    assert_logged_out(&here).await;
    assert_eq!(there.get("/api/v1/auth/me").await.status, 200);
    let again = server.admin().act(&revoke).await;
    again.assert_problem(404, "not_found");
    assert_eq!(sessions_in(&server.admin().get(&of_nora).await), [second]);
}

#[tokio::test]
async fn all_sessions_of_a_user_end_at_once() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let sessions = [
        server.anonymous().log_in("nora").await,
        server.anonymous().log_in("nora").await,
    ];
    let paul = server.user("receptionist").await;
    let revoke_all = |user_id: &str| format!("{}/revoke_sessions", path_of(user_id));
    let path = revoke_all(&sessions[0].user_id);
    assert_eq!(server.admin().act(&path).await.status, 204);
    for session in &sessions {
        assert_logged_out(session).await;
    }
    assert_eq!(paul.get("/api/v1/auth/me").await.status, 200);
    assert_eq!(log_in(&server, "nora", PASSWORD).await.status, 200);
    let missing = server.admin().act(&revoke_all(NOBODY)).await;
    missing.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_list_of_sessions_goes_by_user_and_page_and_shows_no_token() {
    let server = Server::start().await;
    server.make_user("nora", &["doctor"]).await;
    let mut tokens = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let nora = server.anonymous().log_in("nora").await;
        let refreshed = nora.act("/api/v1/auth/refresh").await;
        tokens.extend([
            nora.token().unwrap().to_owned(),
            refreshed.text("/access_token"),
        ]);
        sessions.push(session_of(&nora.with_token(&refreshed.text("/access_token"))).await);
    }
    let nora = server.anonymous().with_token(&tokens[9]);
    let me = nora.get("/api/v1/auth/me").await;
    let of_nora = format!("{SESSIONS}?user_id={}", me.text("/user/user_id"));
    let paged = texts_of_pages(server.admin(), &of_nora, 2, "session_id", async || {}).await;
    assert_eq!(paged, sessions);

    let mut connection = PgConnection::connect(server.database_url()).await.unwrap();
    let hashes = "SELECT encode(hash, form) FROM (SELECT token_hash FROM sessions
        UNION SELECT token_hash FROM retired_tokens) AS kept (hash),
        unnest(ARRAY['hex', 'base64']) AS forms (form)";
    let hashes: Vec<String> = sqlx::query_scalar(hashes)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(hashes.len() >= 20, "{hashes:?}");
    for (client, path) in [
        (server.admin(), SESSIONS),
        (server.admin(), of_nora.as_str()),
        (&nora, "/api/v1/auth/sessions"),
    ] {
        let answer = client.get(path).await;
        assert!(sessions_in(&answer).len() >= 5, "{answer:?}");
        let shown = answer.body.to_string();
        for secret in hashes.iter().chain(&tokens) {
            assert!(!shown.contains(secret.trim_end_matches('=')), "{path}");
        }
        let names = [
            "session_id",
            "user_id",
            "device_name",
            "address",
            "agent",
            "impersonator_id",
            "created_at",
            "last_seen_at",
            "expires_at",
            "is_current",
        ];
        for item in items(&answer) {
            assert_members(item, &names);
        }
    }
}

#[tokio::test]
async fn an_admin_acts_as_a_user_under_the_eyes_of_the_audit_log() {
    let server = Server::start().await;
    let nora = server.user("manager").await;
    let admin = server.admin();
    let support = server.act_as(&nora.user_id).await;
    let me = support.get("/api/v1/auth/me").await;
    assert_eq!(me.text("/user/user_id"), nora.user_id);
    assert_eq!(me.text("/impersonator/user_id"), admin.user_id);
    assert_eq!(
        nora.get("/api/v1/auth/me").await.body["impersonator"],
        Value::Null
    );

    let patient = json!({"first_name": "Anna", "last_name": "Beispiel"});
    let patient = support
        .create("/api/v1/patients", &patient, "patient_id")
        .await;
    let price = json!({"code": "D1", "name": "Cleaning", "current_price_cents": 1});
    let body = json!({"patient_id": server.patient().await, "items": []});
    for (path, body) in [
        ("/api/v1/invoices", &body),
        ("/api/v1/services", &price),
        (USERS, &json!({})),
        (
            "/api/v1/auth/change_password",
            &json!({"current_password": PASSWORD, "new_password": OTHER_PASSWORD}),
        ),
    ] {
        let refused = support.post(path, body).await;
        refused.assert_problem(403, "forbidden");
    }

    let made = server.audit(&format!("entity_id={patient}")).await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0]["actor_id"], json!(nora.user_id));
    assert_eq!(made[0]["impersonator_id"], json!(admin.user_id));
    let begun = server.audit("action=impersonate").await;
    assert_eq!(begun.len(), 1, "{begun:?}");
    assert_eq!(begun[0]["actor_id"], json!(admin.user_id));
    assert_eq!(begun[0]["entity_id"], json!(nora.user_id));
    assert_eq!(
        begun[0]["changes"]["reason"]["after"],
        "They asked for help"
    );
    let session = &begun[0]["changes"]["session_id"]["after"];
    assert_eq!(session, &me.body["session_id"]);

    // The user sees it among their sessions, and may end it.
    let own = nora.get("/api/v1/auth/sessions").await;
    let foreign = items(&own)
        .iter()
        .find(|item| item["session_id"] == *session)
        .expect("the session");
    assert_eq!(foreign["impersonator_id"], json!(admin.user_id));
    let path = format!("/api/v1/auth/sessions/{}/revoke", session.as_str().unwrap());
    assert_eq!(nora.act(&path).await.status, 204);
    assert_logged_out(&support).await;
}

#[tokio::test]
async fn acting_as_a_user_lasts_a_quarter_of_an_hour_and_gives_a_reason() {
    let server = Server::start().await;
    let nora = server.make_newcomer("nora", &["doctor"]).await;
    let path = format!("{}/impersonate", path_of(&nora));
    for reason in ["", " ", &"x".repeat(501)] {
        let answer = server.admin().post(&path, &json!({"reason": reason})).await;
        answer.assert_faults(&["/reason"]);
    }
    let body = json!({"reason": "They asked for help"});
    let answer = server.admin().post(&path, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The admin neither knows the user's first password nor has to change it.
    let support = server.anonymous().with_token(&answer.text("/access_token"));
    let own = support.get("/api/v1/patients").await;
    assert_eq!(own.status, 200, "{own:?}");
    let of_nora = format!("{SESSIONS}?user_id={nora}");
    let session = &server.admin().get(&of_nora).await.body["items"][0];
    let instant = |name: &str| {
        let text = session[name].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap()
    };
    let lasts = instant("expires_at") - instant("created_at");
    assert_eq!(lasts.num_minutes(), IMPERSONATION_MINUTES);

    // Neither oneself, nor who is disabled, nor nobody.
    let own = format!("{}/impersonate", path_of(&server.admin().user_id));
    server.admin().post(&own, &body).await.assert_faults(&[""]);
    let disable = json!({"is_active": false});
    let answer = server.admin().patch(&path_of(&nora), &disable).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_logged_out(&support).await;
    server.admin().post(&path, &body).await.assert_faults(&[""]);
    let missing = format!("{}/impersonate", path_of(NOBODY));
    let answer = server.admin().post(&missing, &body).await;
    answer.assert_problem(404, "not_found");
}

#[tokio::test]
async fn who_acts_as_another_is_out_when_they_are_no_admin_any_more() {
    let server = Server::start().await;
    let boss = server.user("admin").await;
    let nora = server.make_user("nora", &["doctor"]).await;
    let path = format!("{}/impersonate", path_of(&nora));
    let answer = boss.post(&path, &json!({"reason": "They asked"})).await;
    let support = server.anonymous().with_token(&answer.text("/access_token"));
    assert_eq!(support.get("/api/v1/patients").await.status, 200);
    let demote = json!({"roles": ["manager"]});
    let answer = server.admin().patch(&path_of(&boss.user_id), &demote).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_logged_out(&support).await;
}
