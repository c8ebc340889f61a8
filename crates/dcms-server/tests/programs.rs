//! The programs themselves: started, asked, stopped, and started wrongly.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dcms_local_postgres::LocalPostgres;
use dcms_local_postgres::throwaway::{self, TestDatabase};
use dcms_postgres::{APPLICATION_ROLE, PostgresStore};
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

const PASSWORD: &str = "a password for tests";

/// A migrated database without users.
async fn database() -> TestDatabase {
    let fingerprint = PostgresStore::migrations_fingerprint();
    let migrate = async |url: &str| -> anyhow::Result<()> {
        let store = PostgresStore::connect(url).await?;
        store.migrate().await?;
        store.close().await;
        Ok(())
    };
    let template = format!("dcms_{fingerprint:.16}");
    throwaway::database(&template, migrate).await.unwrap()
}

/// A database with nothing in it.
async fn empty_database() -> TestDatabase {
    let nothing = async |_: &str| -> anyhow::Result<()> { Ok(()) };
    throwaway::database("empty", nothing).await.unwrap()
}

/// The URL that a program is to serve with.
fn application(database: &TestDatabase) -> String {
    database.url_as(APPLICATION_ROLE)
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
    // Kept open: a program notices when nobody reads what it prints.
    _output: BufReader<ChildStdout>,
}

impl Running {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = dcms(&["serve"], environment).spawn().unwrap();
        let mut first_line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut first_line).unwrap();
        let address = first_line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map(|(address, _)| format!("http://{address}"));
        Self {
            child,
            address: address.unwrap_or_else(|| panic!("no address in {first_line:?}")),
            _output: output,
        }
    }

    /// Stops it, and gives what it logged about anything but stopping.
    fn log_after_the_end(&mut self) -> String {
        self.terminate();
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        let mut error = self.child.stderr.take().unwrap();
        error.read_to_string(&mut log).unwrap();
        let lines = log.split_inclusive('\n');
        lines.filter(|line| !line.contains("stopping:")).collect()
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
    let database = database().await;
    let url = application(&database);
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
    let database = database().await;
    let url = application(&database);
    let output = create_admin(&url, dcms_seed::DEV_PASSWORD);
    assert_refused(&output, &["/password", "published default"]);

    let mut made_by_developer = dcms(
        &["admin", "create", "alice"],
        &[
            ("DATABASE_URL", &url),
            ("OWNER_DATABASE_URL", database.url()),
            ("ENV", "dev"),
        ],
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
    let database = database().await;
    let url = application(&database);
    let server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
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
    let database = database().await;
    let url = application(&database);
    assert!(create_admin(&url, PASSWORD).status.success());
    let mut server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let (_, body) = log_in(&server, PASSWORD).await;
    let token = body["access_token"].as_str().unwrap().to_owned();

    let mut blocker = PgConnection::connect(database.url()).await.unwrap();
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
    wait_until_somebody_waits_for_a_lock(database.url()).await;

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
async fn the_owner_migrates_and_the_application_serves() {
    // Another database's migration has made the role.
    database().await;
    let database = empty_database().await;
    let application = application(&database);
    let serving = [
        ("DATABASE_URL", application.as_str()),
        ("BIND_ADDR", "127.0.0.1:0"),
    ];
    let output = dcms(&["serve"], &serving).output().unwrap();
    assert_refused(&output, &["dcms migrate"]);
    // Only who owns the database can.
    let output = dcms(&["migrate"], &serving).output().unwrap();
    assert_refused(&output, &["permission denied"]);

    let owning = [("OWNER_DATABASE_URL", database.url())];
    let output = dcms(&["migrate"], &owning).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(printed.contains("the role dcms_app may do"), "{printed}");
    let output = dcms(&["serve"], &owning).output().unwrap();
    assert_refused(&output, &["DATABASE_URL", "only for migrating"]);

    let mut server = Running::start(&serving);
    assert_eq!(server.log_after_the_end(), "");
}

#[tokio::test]
async fn serving_with_too_many_rights_is_warned_of_in_one_line() {
    let database = database().await;
    let environment = [
        ("DATABASE_URL", database.url()),
        ("BIND_ADDR", "127.0.0.1:0"),
    ];
    let mut server = Running::start(&environment);
    let log = server.log_after_the_end();
    assert_eq!(log.lines().count(), 1, "{log}");
    for word in [
        "WARN",
        "is a superuser",
        "owns tables",
        "OWNER_DATABASE_URL",
    ] {
        assert!(log.contains(word), "no {word:?} in: {log}");
    }
}

/// Who is connected to the managed PostgreSQL's database as the program.
async fn roles_of_programs(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(
        "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = 'dcms'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_managed_database_of_an_earlier_version_gets_the_role_and_keeps_its_data() {
    let directory = tempfile::Builder::new()
        .prefix("dcms-test-")
        .permissions(std::fs::Permissions::from_mode(0o711))
        .tempdir_in("/var/tmp")
        .unwrap();
    let postgres = LocalPostgres::start(directory.path()).await.unwrap();
    postgres.ensure_database("dcms").await.unwrap();
    let url = postgres.url("dcms");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    Migrator::new(Path::new(migrations))
        .await
        .unwrap()
        .run(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql("UPDATE clinic_settings SET clinic_name = 'Kept'")
        .execute(&mut connection)
        .await
        .unwrap();

    let data_dir = directory.path().to_str().unwrap();
    let path = std::env::var("PATH").unwrap();
    let environment = [
        ("DATA_DIR", data_dir),
        ("BIND_ADDR", "127.0.0.1:0"),
        ("PATH", &path),
    ];
    let mut server = Running::start(&environment);
    let ready = reqwest::get(format!("{}/ready", server.address));
    assert_eq!(ready.await.unwrap().status(), 200);
    assert_eq!(roles_of_programs(&url).await, [APPLICATION_ROLE]);
    let name: String = sqlx::query_scalar("SELECT clinic_name FROM clinic_settings")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(name, "Kept");
    assert_eq!(server.log_after_the_end(), "");
    postgres.leave().await.unwrap();
}

#[tokio::test]
async fn a_database_without_migrations_is_refused_in_production() {
    let database = empty_database().await;
    let environment = [
        ("DATABASE_URL", database.url()),
        ("BIND_ADDR", "127.0.0.1:0"),
    ];
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

#[tokio::test]
async fn plain_http_on_a_network_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let output = dcms(&["serve"], &[("BIND_ADDR", address)])
            .output()
            .unwrap();
        let ways_out = ["TLS_CERT", "TLS_KEY", "TRUSTED_PROXIES", "PRIVATE_NETWORK"];
        assert_refused(&output, &[&["BIND_ADDR", address], &ways_out[..]].concat());
    }
}

#[tokio::test]
async fn plain_http_on_a_network_is_served_when_it_is_said_to_be_safe() {
    let database = database().await;
    for said in [
        ("PRIVATE_NETWORK", "true"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
    ] {
        let environment = [
            ("DATABASE_URL", database.url()),
            ("BIND_ADDR", "0.0.0.0:0"),
            said,
        ];
        drop(Running::start(&environment));
    }
}

#[tokio::test]
async fn half_of_a_certificate_or_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nonsense = folder.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nonsense").unwrap();
    let nonsense = nonsense.to_str().unwrap();
    let missing = folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    for (environment, words) in [
        (vec![("TLS_CERT", nonsense)], vec!["TLS_CERT", "TLS_KEY"]),
        (vec![("TLS_KEY", nonsense)], vec!["TLS_CERT", "TLS_KEY"]),
        (
            vec![("TLS_CERT", missing), ("TLS_KEY", nonsense)],
            vec!["TLS_CERT", missing],
        ),
        (
            vec![("TLS_CERT", nonsense), ("TLS_KEY", nonsense)],
            vec!["TLS_CERT", nonsense],
        ),
    ] {
        let output = dcms(&["serve"], &environment).output().unwrap();
        assert_refused(&output, &words);
    }
}

#[tokio::test]
async fn proxies_and_origins_that_are_none_are_refused() {
    for (variable, value) in [
        ("TRUSTED_PROXIES", "proxy.example"),
        ("CORS_ORIGINS", "https://desk.example.org/app"),
        ("CORS_ORIGINS", "*"),
        ("PRIVATE_NETWORK", "perhaps"),
    ] {
        let output = dcms(&["serve"], &[(variable, value)]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(value), "{error}");
    }
}

fn verify_audit_log(url: &str) -> Output {
    dcms(&["audit", "verify"], &[("DATABASE_URL", url)])
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_audit_log_is_verified_at_the_console() {
    let database = database().await;
    let url = application(&database);
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

    let mut connection = PgConnection::connect(database.url()).await.unwrap();
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
    let database = database().await;
    let url = application(&database);
    let mut server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_log IN EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    let (status, _) = log_in(&server, "not the password").await;
    assert_eq!(status, 401);
    let log = server.log_after_the_end();
    let told = log.lines().find(|line| line.contains("are lost"));
    let told: Value = serde_json::from_str(told.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert_eq!(
        (&told["level"], &told["fields"]["entries"]),
        (&json!("ERROR"), &json!(1)),
        "{told}"
    );
}

/// How much memory a process has, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// Reads until the text comes, and what came with it.
#[cfg(target_os = "linux")]
async fn read_until(stream: &mut tokio::net::TcpStream, text: &str) {
    use tokio::io::AsyncReadExt as _;
    let read = async {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            let count = stream.read_buf(&mut read).await.unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&read));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), read).await;
    in_time.unwrap_or_else(|_| panic!("in vain waited for {text}"));
}

#[cfg(target_os = "linux")]
async fn opened_stream(address: &str, token: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/appointments/events HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "event: ready").await;
    stream
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn streams_take_little_memory() {
    const STREAMS: usize = 2_000;
    const CONNECTIONS_BESIDES: usize = 100;
    const MOST_KIB_A_STREAM: u64 = 64;
    // Raises the limit of this process, and with it that of the server that it starts.
    let allowed = dcms_server::open_files::connections_to_allow();
    let wanted = allowed.saturating_sub(CONNECTIONS_BESIDES).min(STREAMS);
    // With few, what is there anyway would count as theirs.
    assert!(wanted >= 200, "a process may have {allowed} connections");
    if wanted < STREAMS {
        // Not by a macro: what those write is not shown when a test passes.
        let told = format!("{wanted} streams only: a process may have {allowed} connections\n");
        std::io::stderr().write_all(told.as_bytes()).unwrap();
    }
    let database = database().await;
    let url = application(&database);
    assert!(create_admin(&url, PASSWORD).status.success());
    let server = Running::start(&[("DATABASE_URL", &url), ("BIND_ADDR", "127.0.0.1:0")]);
    let (_, body) = log_in(&server, PASSWORD).await;
    let token = body["access_token"].as_str().unwrap();
    let create = async |path: &str, body: Value, id: &str| -> String {
        let answer = reqwest::Client::new()
            .post(format!("{}/api/v1{path}", server.address))
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        let id = answer[id].as_str();
        id.unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let doctor = json!({
        "username": "doctor", "display_name": "Doctor", "roles": ["doctor"], "password": PASSWORD,
    });
    let doctor = create("/admin/users", doctor, "user_id").await;
    let patient = json!({"first_name": "Anna", "last_name": "Beispiel"});
    let patient = create("/patients", patient, "patient_id").await;

    let address = server.address.trim_start_matches("http://");
    let mut streams = vec![opened_stream(address, token).await];
    let before = resident_kib(server.child.id());
    while streams.len() < wanted {
        streams.push(opened_stream(address, token).await);
    }
    let opened = resident_kib(server.child.id());
    let booking = json!({
        "patient_id": patient, "doctor_id": doctor, "starts_at": "2026-03-02T10:00:00Z",
        "ends_at": "2026-03-02T10:30:00Z",
    });
    let visit = create("/appointments", booking, "appointment_id").await;
    for stream in &mut streams {
        read_until(stream, &visit).await;
    }
    let told = resident_kib(server.child.id());
    let each = |now: u64| now.saturating_sub(before) / u64::try_from(wanted - 1).unwrap();
    println!(
        "a stream takes {} KiB when it is open, {} KiB after an event",
        each(opened),
        each(told)
    );
    assert!(each(told) <= MOST_KIB_A_STREAM, "{before} {opened} {told}");
}
