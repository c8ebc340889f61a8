//! What whoever runs the server asks it, and how it behaves when the database goes away or it has to stop.

use std::time::{Duration, Instant};

use dcms_local_postgres::throwaway;
use dcms_tests::{Answer, Server, migrate};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

/// Tries until it succeeds; fails when that takes too long.
async fn eventually<Outcome>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Option<Outcome>,
) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(outcome) = attempt().await {
            return outcome;
        }
        assert!(Instant::now() < deadline, "in vain waited for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn assert_unavailable(answer: &Answer) {
    answer.assert_problem(503, "unavailable");
    let seconds = answer.header("retry-after").map(str::parse::<u32>);
    assert!(matches!(seconds, Some(Ok(_))), "{answer:?}");
}

#[tokio::test]
async fn a_server_says_that_it_lives_and_is_ready() {
    let server = Server::start().await;
    for path in ["/health", "/ready"] {
        let answer = server.anonymous().get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = server.anonymous().get(&format!("{path}?x=1")).await;
        answer.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn the_document_is_served_as_openapi() {
    let server = Server::start().await;
    let answer = server.anonymous().get("/api/v1/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.text("/openapi").starts_with("3.1."), "{answer:?}");
}

/// What a page or a script refers to: the texts between quotes behind `src=`, `href=` and `url`.
fn references(text: &str) -> Vec<String> {
    ["src=\"", "href=\"", "url: \"", "\"url\": \""]
        .iter()
        .flat_map(|prefix| text.split(prefix).skip(1))
        .filter_map(|rest| rest.split_once('"'))
        .map(|(reference, _)| reference.to_owned())
        .collect()
}

#[tokio::test]
async fn the_documentation_needs_no_other_host() {
    let server = Server::start().await;
    let base = reqwest::Url::parse(&format!("http://{}/docs", server.address())).unwrap();
    let page = reqwest::get(base).await.unwrap();
    assert_eq!(page.status(), 200);
    let is_html = page.headers()["content-type"]
        .to_str()
        .unwrap()
        .starts_with("text/html");
    assert!(is_html, "{:?}", page.headers());
    let (page_url, html) = (page.url().clone(), page.text().await.unwrap());

    let mut scripts_and_styles = 0;
    let mut settings = String::new();
    for reference in references(&html) {
        let url = page_url.join(&reference).unwrap();
        assert_eq!(url.origin(), page_url.origin(), "{reference}");
        let file = reqwest::get(url).await.unwrap();
        assert_eq!(file.status(), 200, "{reference}");
        let content_type = file.headers()["content-type"].to_str().unwrap().to_owned();
        scripts_and_styles +=
            usize::from(content_type.contains("javascript") || content_type.contains("css"));
        let text = file.text().await.unwrap();
        if reference.contains("initializer") {
            settings = text;
        }
    }
    assert!(scripts_and_styles >= 3, "{html}");

    // The page finds the document here, and asks nobody else whether it is valid.
    assert!(settings.contains("\"/api/v1/openapi.json\""), "{settings}");
    for reference in references(&settings) {
        assert_eq!(
            page_url.join(&reference).unwrap().origin(),
            page_url.origin(),
            "{reference}"
        );
    }
    let compact: String = settings
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    let no_validator = [
        "validatorUrl\":null",
        "validatorUrl\":\"none\"",
        "validatorUrl\":\"\"",
        "validatorUrl:null",
    ];
    assert!(
        no_validator.iter().any(|setting| compact.contains(setting)),
        "{settings}"
    );

    let missing = server.anonymous().get("/docs/nothing-here.js").await;
    missing.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_database_may_go_away_and_come_back() {
    let cluster = throwaway::cluster().await.unwrap();
    cluster.ensure_database("dcms").await.unwrap();
    let url = cluster.url("dcms");
    migrate(&url).await.unwrap();
    let server = Server::start_on(&url).await;
    let patient = format!("/api/v1/patients/{}", server.patient().await);
    let log_in = json!({"username": "admin", "password": dcms_tests::PASSWORD});

    cluster.stop_now().await.unwrap();
    let change = json!({"notes": "lost"});
    for answer in [
        server.admin().get(&patient).await,
        server.admin().get("/api/v1/patients").await,
        server.admin().patch(&patient, &change).await,
        server.anonymous().post("/api/v1/auth/login", &log_in).await,
    ] {
        assert_unavailable(&answer);
    }
    assert_eq!(server.anonymous().get("/health").await.status, 200);
    let ready = server.anonymous().get("/ready").await;
    assert_unavailable(&ready);
    assert_eq!(ready.text("/reason"), "unreachable");
    // Who is nobody is told so without the database.
    let nobody = server.anonymous().get(&patient).await;
    nobody.assert_problem(401, "unauthenticated");

    cluster.start_again().await.unwrap();
    let read = eventually("an answer", async || {
        let answer = server.admin().get(&patient).await;
        if answer.status == 200 {
            return Some(answer);
        }
        assert_unavailable(&answer);
        None
    })
    .await;
    assert_eq!(read.body["notes"], serde_json::Value::Null);
    assert_eq!(server.anonymous().get("/ready").await.status, 200);
    assert_eq!(server.admin().patch(&patient, &change).await.status, 200);
    let again = server.anonymous().post("/api/v1/auth/login", &log_in).await;
    assert_eq!(again.status, 200, "{again:?}");
}

#[tokio::test]
async fn connections_that_break_one_by_one_are_replaced() {
    let server = Server::start().await;
    let mut other = PgConnection::connect(server.database_url()).await.unwrap();
    for _ in 0..5 {
        server.admin().get("/api/v1/patients").await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        .execute(&mut other)
        .await
        .unwrap();
        eventually("an answer", async || {
            let answer = server.admin().get("/api/v1/patients").await;
            if answer.status == 200 {
                return Some(());
            }
            assert_unavailable(&answer);
            None
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_is_not_ready_for_a_database_with_other_migrations() {
    let server = Server::start().await;
    let mut other = PgConnection::connect(server.database_url()).await.unwrap();
    for (spoil, mend, reason, version) in [
        (
            "CREATE TABLE kept AS SELECT * FROM _sqlx_migrations WHERE version = 7;
             DELETE FROM _sqlx_migrations WHERE version = 7",
            "INSERT INTO _sqlx_migrations SELECT * FROM kept",
            "migrations_missing",
            "7",
        ),
        (
            "INSERT INTO _sqlx_migrations
             SELECT 9999, 'later', installed_on, success, checksum, execution_time FROM kept",
            "DELETE FROM _sqlx_migrations WHERE version = 9999",
            "migrations_unknown",
            "9999",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 7",
            "UPDATE _sqlx_migrations SET checksum = kept.checksum FROM kept WHERE kept.version = _sqlx_migrations.version",
            "migrations_unknown",
            "7",
        ),
        (
            "ALTER TABLE _sqlx_migrations RENAME TO hidden",
            "ALTER TABLE hidden RENAME TO _sqlx_migrations",
            "migrations_missing",
            "1",
        ),
    ] {
        sqlx::raw_sql(spoil).execute(&mut other).await.unwrap();
        let ready = server.anonymous().get("/ready").await;
        assert_unavailable(&ready);
        assert_eq!(ready.text("/reason"), reason);
        assert!(ready.text("/detail").contains(version), "{ready:?}");
        assert_eq!(server.anonymous().get("/health").await.status, 200);
        sqlx::raw_sql(mend).execute(&mut other).await.unwrap();
        assert_eq!(server.anonymous().get("/ready").await.status, 200);
    }
}

#[tokio::test]
async fn requests_in_flight_finish_when_the_server_stops() {
    let server = Server::start().await;
    let patient = server.patient().await;
    let path = format!("/api/v1/patients/{patient}");
    let (admin, address, url) = (
        server.admin().clone(),
        server.address(),
        server.database_url().to_owned(),
    );
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM patients WHERE patient_id = $1::uuid FOR UPDATE")
        .bind(&patient)
        .execute(&mut *held)
        .await
        .unwrap();

    let in_flight = tokio::spawn({
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.patch(&path, &json!({"notes": "in flight"})).await }
    });
    let mut watcher = PgConnection::connect(&url).await.unwrap();
    eventually("the request to wait for the row", async || {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        waiting.then_some(())
    })
    .await;

    let mut stopping = tokio::spawn(server.stop());
    // From now on nobody new is served: either the server says so, or it does not listen any more.
    eventually("the server to turn others away", async || {
        let request = reqwest::get(format!("http://{address}/ready")).await;
        match request {
            Ok(answer) if answer.status() == 200 => None,
            Ok(answer) => {
                assert_eq!(answer.status(), 503);
                Some(())
            }
            Err(_) => Some(()),
        }
    })
    .await;
    // It waits for as long as the row is held, rather than for a moment.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stopping).await;
    assert!(early.is_err() && !in_flight.is_finished(), "{early:?}");

    held.commit().await.unwrap();
    let answer = in_flight.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("/notes"), "in flight");
    stopping.await.unwrap().expect("an orderly end");
    let stored: String = sqlx::query_scalar("SELECT notes FROM patients")
        .fetch_one(&mut watcher)
        .await
        .unwrap();
    assert_eq!(stored, "in flight");
    let refused = admin.request(Method::GET, "/health").send().await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_server() {
    let server = Server::start().await;
    // The client keeps its connection for the next request.
    let client = server.anonymous();
    assert_eq!(client.get("/health").await.status, 200);
    let stopped = tokio::time::timeout(Duration::from_secs(20), server.stop()).await;
    stopped
        .expect("no waiting for idle connections")
        .expect("an orderly end");
}
