//! Reads are in the audit log soon after, whatever happens meanwhile.

use std::time::{Duration, Instant};

use dcms_tests::Server;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{items, url};

/// Asks until the answer is the one that is awaited, for some seconds at most.
async fn poll_until<Answer>(
    mut ask: impl AsyncFnMut() -> Answer,
    is_awaited: impl Fn(&Answer) -> bool,
) -> Answer
where
    Answer: std::fmt::Debug,
{
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask().await;
        if is_awaited(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The entries that match.
async fn entries(server: &Server, filter: &[(&str, &str)]) -> Vec<Value> {
    let path = url("/api/v1/admin/audit", filter);
    items(&server.admin().get(&path).await).to_vec()
}

/// How many rows of the audit log match, past the server.
async fn rows(database_url: &str, condition: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM audit_log WHERE {condition}");
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(&mut connection(database_url).await)
        .await
        .unwrap()
}

async fn connection(database_url: &str) -> PgConnection {
    PgConnection::connect(database_url).await.unwrap()
}

async fn execute(database_url: &str, statement: &'static str) {
    let mut connection = connection(database_url).await;
    sqlx::raw_sql(statement)
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn read(server: &Server, patient: &str) {
    let path = format!("/api/v1/patients/{patient}");
    assert_eq!(server.admin().get(&path).await.status, 200);
}

#[tokio::test]
async fn a_read_is_in_the_log_soon_after() {
    let server = Server::start().await;
    let patient = server.patient().await;
    read(&server, &patient).await;
    let filter = [
        ("entity", "patient"),
        ("entity_id", patient.as_str()),
        ("action", "read"),
    ];
    let ask = async || entries(&server, &filter).await;
    let found = poll_until(ask, |found| !found.is_empty()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["actor_id"], json!(server.admin().user_id));
    assert_eq!(found[0]["patient_ids"], json!([patient]));
}

#[tokio::test]
async fn what_waits_is_written_before_the_server_ends() {
    let server = Server::start().await;
    let patient = server.patient().await;
    let database_url = server.database_url().to_owned();
    // Whoever writes to the log waits, whoever reads does not.
    let mut holder = connection(&database_url).await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_log IN EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    for _ in 0..3 {
        read(&server, &patient).await;
    }
    let stopped = tokio::spawn(server.stop());
    let waiting = "action = 'read' AND entity = 'patient'";
    assert_eq!(rows(&database_url, waiting).await, 0);
    held.rollback().await.unwrap();
    stopped.await.unwrap().unwrap();
    assert_eq!(rows(&database_url, waiting).await, 3);
}

#[tokio::test]
async fn what_the_database_refuses_is_counted_and_told() {
    let server = Server::start().await;
    let patient = server.patient().await;
    let database_url = server.database_url();
    let refuse = "ALTER TABLE audit_log
        ADD CONSTRAINT nothing CHECK (action NOT IN ('read', 'lose')) NOT VALID";
    execute(database_url, refuse).await;
    for _ in 0..3 {
        read(&server, &patient).await;
    }
    let audit = &server.services().audit;
    poll_until(async || audit.lost_accesses(), |lost| *lost == 3).await;
    execute(
        database_url,
        "ALTER TABLE audit_log DROP CONSTRAINT nothing",
    )
    .await;

    let told = async || entries(&server, &[("action", "lose")]).await;
    let told = poll_until(told, |told| !told.is_empty()).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["entity"], "audit_log");
    assert_eq!(told[0]["changes"]["entries"]["after"], 3);
    assert_eq!(audit.lost_accesses(), 0);
    let lost = "action = 'read' AND entity = 'patient'";
    assert_eq!(rows(database_url, lost).await, 0);
    // The server goes on.
    read(&server, &patient).await;
    let written = async || rows(database_url, lost).await;
    poll_until(written, |rows| *rows == 1).await;
}
