//! The programs themselves: started, asked, stopped, and started wrongly.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dcms_local_postgres::throwaway;
use dcms_postgres::PostgresStore;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

const PASSWORD: &str = "a password for tests";

/// A migrated database without users.
async fn database() -> String {
    let fingerprint = PostgresStore::migrations_fingerprint();
    let migrate = async |url: &str| -> anyhow::Result<()> {
        let store = PostgresStore::connect(url).await?;
        store.migrate().await?;
        store.close().await;
        Ok(())
    };
    let template = format!("dcms_{fingerprint:.16}");
    throwaway::database(&template, migrate)
        .await
        .unwrap()
        .url()
        .to_owned()
}

/// One of the programs, with nothing in its environment but what is given.
fn program(path: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn dcms(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    program(env!("CARGO_BIN_EXE_dcms"), arguments, environment)
}

/// Fails unless the program refused with one line that has all these words.
fn assert_refused(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

fn create_admin(url: &str, password: &str) -> Output {
    let mut child = dcms(&["admin", "create", "alice"], &[("DATABASE_URL", url)])
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    child.wait_with_output().unwrap()
}

/// A server that is killed when the test fails.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = dcms(&["serve"], environment).spawn().unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first_line)
            .unwrap();
        let address = first_line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map(|(address, _)| format!("http://{address}"));
        Self {
            child,
            address: address.unwrap_or_else(|| panic!("no address in {first_line:?}")),
        }
    }

    fn terminate(&self) {
        let killed = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already, which is what most tests want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn log_in(server: &Running, password: &str) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/auth/login", server.address))
        .json(&json!({"username": "alice", "password": password}))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn an_admin_made_at_the_console_can_log_in() {
    let url = database().await;
    let output = create_admin(&url, PASSWORD);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains(PASSWORD), "{printed}");

    let server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let (status, body) = log_in(&server, PASSWORD).await;
    assert_eq!(
        (status, &body["user"]["roles"]),
        (200, &json!(["admin"])),
        "{body}"
    );
}

#[tokio::test]
async fn production_refuses_the_published_password() {
    let url = database().await;
    let output = create_admin(&url, dcms_seed::DEV_PASSWORD);
    assert_refused(&output, &["/password", "published default"]);

    let mut made_by_developer = dcms(
        &["admin", "create", "alice"],
        &[("DATABASE_URL", &url), ("ENV", "dev")],
    )
    .spawn()
    .unwrap();
    writeln!(
        made_by_developer.stdin.take().unwrap(),
        "{}",
        dcms_seed::DEV_PASSWORD
    )
    .unwrap();
    assert!(made_by_developer.wait().unwrap().success());

    let server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let (status, body) = log_in(&server, dcms_seed::DEV_PASSWORD).await;
    assert_eq!(
        (status, &body["code"]),
        (401, &json!("invalid_credentials"))
    );
}

#[tokio::test]
async fn production_seeds_nothing() {
    let url = database().await;
    let server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(users, 0);
    drop(server);
}

/// SIGTERM while a request waits for a lock that the test holds: `/ready` fails, the request gets
/// its answer, the program ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_before_the_end() {
    let url = database().await;
    assert!(create_admin(&url, PASSWORD).status.success());
    let mut server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let (_, body) = log_in(&server, PASSWORD).await;
    let token = body["access_token"].as_str().unwrap().to_owned();

    let mut blocker = PgConnection::connect(&url).await.unwrap();
    let mut holding = blocker.begin().await.unwrap();
    sqlx::query("SELECT * FROM clinic_settings FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let in_flight = tokio::spawn(
        reqwest::Client::new()
            .patch(format!("{}/api/v1/clinic", server.address))
            .bearer_auth(token)
            .json(&json!({"clinic_name": "Renamed"}))
            .send(),
    );
    wait_until_somebody_waits_for_a_lock(&url).await;

    server.terminate();
    let draining = wait_until_not_ready(&server.address).await;
    assert_eq!(draining["code"], "unavailable", "{draining}");
    holding.rollback().await.unwrap();
    assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
    assert!(server.child.wait().unwrap().success());
}

async fn wait_until_somebody_waits_for_a_lock(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        == 0
    {
        assert!(Instant::now() < deadline, "nobody waits for the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn wait_until_not_ready(address: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = reqwest::get(format!("{address}/ready")).await.unwrap();
        if answer.status() == 503 {
            return answer.json().await.unwrap();
        }
        assert!(Instant::now() < deadline, "still ready");
    }
}

#[tokio::test]
async fn a_taken_port_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = dcms(&["serve"], &[("BIND_ADDR", &address)])
        .output()
        .unwrap();
    assert_refused(&output, &[&address, "BIND_ADDR"]);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_told_in_one_line() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("postgres://somebody:hidden@{nobody}/dcms");
    let output = dcms(&["migrate"], &[("DATABASE_URL", &url)])
        .output()
        .unwrap();
    assert_refused(&output, &["dcms:"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hidden"));
}

#[tokio::test]
async fn reset_and_seed_refuse_outside_of_development() {
    for command in ["reset", "seed"] {
        let dev = env!("CARGO_BIN_EXE_dcms-dev");
        let output = program(dev, &[command], &[("ENV", "prod")])
            .output()
            .unwrap();
        assert_refused(&output, &[command, "ENV=dev"]);
    }
}

#[tokio::test]
async fn a_database_without_migrations_is_refused_in_production() {
    let empty = throwaway::database("empty", async |_: &str| -> anyhow::Result<()> { Ok(()) });
    let url = empty.await.unwrap().url().to_owned();
    let environment = [("DATABASE_URL", url.as_str()), ("BIND_ADDR", "127.0.0.1:0")];
    let output = dcms(&["serve"], &environment).output().unwrap();
    assert_refused(&output, &["dcms migrate"]);
    assert!(
        dcms(&["migrate"], &environment)
            .output()
            .unwrap()
            .status
            .success()
    );
    drop(Running::start(&environment));
}

fn verify_audit_log(url: &str) -> Output {
    dcms(&["audit", "verify"], &[("DATABASE_URL", url)])
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_audit_log_is_verified_at_the_console() {
    let url = database().await;
    let output = verify_audit_log(&url);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        printed,
        "0 rows in 0 seals are what was written.\n0 rows are not sealed yet.\n"
    );

    assert!(create_admin(&url, PASSWORD).status.success());
    let store = PostgresStore::connect(&url).await.unwrap();
    let seal = store.seal_audit_log().await.unwrap().unwrap();
    // While the server runs.
    let _server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let output = verify_audit_log(&url);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for line in [
        "1 rows in 1 seals are what was written.",
        "0 rows are not sealed yet.",
        &format!("The last seal is 1: {}", seal.hash),
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "no {line:?} in: {printed}"
        );
    }

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let audit_id: String = sqlx::query_scalar("DELETE FROM audit_log RETURNING audit_id::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let output = verify_audit_log(&url);
    assert_refused(&output, &["audit log", &audit_id, "seal 1", "was removed"]);
}

/// What cannot be written before the end is counted in the log of the program.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_lost_at_the_end_are_told() {
    let url = database().await;
    let mut server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_log IN EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    let (status, _) = log_in(&server, "not the password").await;
    assert_eq!(status, 401);
    server.terminate();
    assert!(server.child.wait().unwrap().success());
    let mut log = String::new();
    let mut error = server.child.stderr.take().unwrap();
    error.read_to_string(&mut log).unwrap();
    let told = log.lines().find(|line| line.contains("are lost"));
    let told: Value = serde_json::from_str(told.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert_eq!(
        (&told["level"], &told["fields"]["entries"]),
        (&json!("ERROR"), &json!(1)),
        "{told}"
    );
}
