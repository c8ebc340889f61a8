//! The whole system over HTTP against a real PostgreSQL.
//!
//! Each test starts a [`Server`] of its own, on a database of its own, and makes its own users and
//! data. Nothing is shared, so tests run in parallel; nothing is read from the environment.

#![expect(clippy::missing_panics_doc, reason = "a test panics when it fails")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dcms_domain::Services;
use dcms_domain::identity::{IdentitySettings, PasswordPolicy, Secret};
use dcms_domain::shared::Ports;
use dcms_http::{Draining, EdgeConfig, LiveEvents};
use dcms_local_postgres::throwaway::{self, TestDatabase};
use dcms_postgres::{APPLICATION_ROLE, PostgresStore};
use dcms_server::background::Background;
use dcms_server::connections::Transport;
use dcms_server::open_files::connections_to_allow;
use dcms_system::{Argon2Hasher, CommonPasswordList, SystemClock, SystemIds, SystemTokens};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The password of every user that a test makes.
pub const PASSWORD: &str = "a password for tests";

/// The password that an admin gives a new user, who has to change it first.
pub const FIRST_PASSWORD: &str = "to be replaced, 4711";

/// A server on a free port with an empty clinic and the admin `admin`.
pub struct Server {
    address: SocketAddr,
    store: Arc<PostgresStore>,
    services: Arc<Services>,
    live: LiveEvents,
    database_url: String,
    admin: Client,
    names_given: AtomicU32,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Server {
    /// Starts a server on a fresh database.
    pub async fn start() -> Self {
        let database = fresh_database().await;
        let url = database.url();
        assert_ne!(as_application(url), url, "it is the superuser's");
        let server = Self::start_on(url).await;
        server.look_far_ahead().await;
        server
    }

    /// Lets visits be booked ten years ahead, without a trace: tests name days that are far away.
    pub async fn look_far_ahead(&self) {
        let mut connection = PgConnection::connect(&self.database_url)
            .await
            .expect("a connection");
        sqlx::query("UPDATE clinic_settings SET largest_notice_days = 3650")
            .execute(&mut connection)
            .await
            .expect("settings");
    }

    /// Starts a server on a migrated database without users. For the URL of the superuser it runs
    /// as the application's role, else as whoever the URL names.
    pub async fn start_on(database_url: &str) -> Self {
        Self::start_with_admin(database_url, "admin").await
    }

    /// Starts a server on a migrated database, and makes an admin of that name first.
    pub async fn start_with_admin(database_url: &str, admin: &str) -> Self {
        let store = PostgresStore::connect(&as_application(database_url))
            .await
            .expect("a connection");
        let store = Arc::new(store);
        let ports = Ports {
            store: Arc::clone(&store) as _,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            access_log: Arc::default(),
        };
        // Cheap on purpose: what a hash costs is tested where it is made.
        let hasher = Arc::new(Argon2Hasher::with_cost(8, 1).expect("a hasher"));
        let services = Arc::new(Services::new(
            &ports,
            hasher,
            Arc::new(SystemTokens),
            IdentitySettings::new(PasswordPolicy::new(Arc::new(CommonPasswordList), &[])),
        ));
        services
            .identity
            .create_admin_from_console(admin.to_owned(), Secret::new(PASSWORD.to_owned()))
            .await
            .expect("the first admin");

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let draining = Draining::default();
        let live = LiveEvents::default();
        let router = dcms_http::router(
            Arc::clone(&services),
            Arc::clone(&store) as _,
            Arc::new(SystemIds),
            draining.clone(),
            live.clone(),
            EdgeConfig::default(),
        );
        let (stop, stopped) = oneshot::channel();
        let stop_notice = async move {
            // Also when the test is over and the sender is gone.
            let _ = stopped.await;
            Duration::ZERO
        };
        let background = Background::start(&store, &services, &live);
        let running = tokio::spawn(async move {
            // As the program does: many tests have their connections in one process.
            let transport = Transport {
                max_connections: connections_to_allow(),
                ..Transport::default()
            };
            let served =
                dcms_server::serve::run(listener, router, draining, stop_notice, transport).await;
            background.stop().await;
            served
        });
        let anonymous = Client::anonymous(address);
        let admin = anonymous.log_in(admin).await;
        Self {
            address,
            store,
            services,
            live,
            database_url: database_url.to_owned(),
            admin,
            names_given: AtomicU32::new(0),
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// A client that is logged in as `admin`.
    #[must_use]
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// A client that is not logged in.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.address)
    }

    /// A new user with one role, logged in.
    pub async fn user(&self, role: &str) -> Client {
        let number = self.names_given.fetch_add(1, Ordering::Relaxed);
        let username = format!("{role}{number}");
        self.make_user(&username, &[role]).await;
        self.anonymous().log_in(&username).await
    }

    /// A new user with one role, logged in with the password that the admin gave them.
    pub async fn newcomer(&self, role: &str) -> Client {
        let number = self.names_given.fetch_add(1, Ordering::Relaxed);
        let username = format!("{role}{number}");
        self.make_newcomer(&username, &[role]).await;
        let anonymous = self.anonymous();
        anonymous.log_in_with(&username, FIRST_PASSWORD).await
    }

    /// A client with which the admin acts as the user of that id.
    pub async fn act_as(&self, user_id: &str) -> Client {
        let path = format!("/api/v1/admin/users/{user_id}/impersonate");
        let body = json!({"reason": "They asked for help"});
        let answer = self.admin.post(&path, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Client {
            token: Some(answer.text("/access_token")),
            user_id: user_id.to_owned(),
            ..self.anonymous()
        }
    }

    /// A new user with these roles and [`FIRST_PASSWORD`]; their id.
    pub async fn make_newcomer(&self, username: &str, roles: &[&str]) -> String {
        let body = json!({
            "username": username,
            "display_name": format!("The {username}"),
            "roles": roles,
            "password": FIRST_PASSWORD,
        });
        self.admin
            .create("/api/v1/admin/users", &body, "user_id")
            .await
    }

    /// A new user with these roles, who chose a password; their id.
    pub async fn make_user(&self, username: &str, roles: &[&str]) -> String {
        let user_id = self.make_newcomer(username, roles).await;
        let client = self.anonymous().log_in_with(username, FIRST_PASSWORD).await;
        client.choose_password(FIRST_PASSWORD, PASSWORD).await;
        assert_eq!(client.act("/api/v1/auth/logout").await.status, 204);
        user_id
    }

    /// A new patient.
    pub async fn patient(&self) -> String {
        let body = json!({"first_name": "Anna", "last_name": "Beispiel"});
        self.admin
            .create("/api/v1/patients", &body, "patient_id")
            .await
    }

    /// A new room.
    pub async fn room(&self, name: &str) -> String {
        self.admin
            .create("/api/v1/rooms", &json!({"name": name}), "room_id")
            .await
    }

    /// A new service of the catalog.
    pub async fn service(&self, code: &str, price_cents: i64) -> String {
        let body = json!({"code": code, "name": format!("Service {code}"), "current_price_cents": price_cents});
        self.admin
            .create("/api/v1/services", &body, "service_id")
            .await
    }

    /// The entries of the audit log that match the query, the latest first, once those that wait
    /// are written.
    pub async fn audit(&self, query: &str) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.services.audit.unwritten_accesses() > 0 {
            assert!(Instant::now() < deadline, "the audit log is not written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/admin/audit?limit=200&{query}{cursor}");
            let page = self.admin.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            entries.extend(
                page.body["items"]
                    .as_array()
                    .expect("items")
                    .iter()
                    .cloned(),
            );
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return entries,
            }
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that the server was started on, the superuser's, for tests that look behind it or get
    /// in its way.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The store that the server uses.
    #[must_use]
    pub fn store(&self) -> &Arc<PostgresStore> {
        &self.store
    }

    /// The services that the server uses.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// What tells the server's streams of changes.
    #[must_use]
    pub fn live(&self) -> &LiveEvents {
        &self.live
    }

    /// Asks the server to stop, and waits until it has.
    ///
    /// # Errors
    /// When requests in flight did not finish in time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stop.take());
        match self.running.take() {
            Some(running) => running.await?,
            None => Ok(()),
        }
    }
}

/// The URL of the superuser as one of the application's role; any other as it is.
#[must_use]
pub fn as_application(url: &str) -> String {
    let application = format!("postgres://{APPLICATION_ROLE}@");
    url.replacen("postgres://postgres@", &application, 1)
}

/// A migrated database of one's own, without users.
pub async fn fresh_database() -> TestDatabase {
    let fingerprint = PostgresStore::migrations_fingerprint();
    let template = format!("dcms_{fingerprint:.16}");
    throwaway::database(&template, migrate)
        .await
        .expect("a test database")
}

/// Applies all migrations to the database of that URL.
///
/// # Errors
/// When it cannot be reached or a migration fails.
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    let store = PostgresStore::connect(url).await?;
    store.migrate().await?;
    store.close().await;
    Ok(())
}

/// All that the tables of a database hold: the rows of each as JSON, in an order of their own.
/// Without the times at which migrations ran and the salts of the audit log, so that two databases
/// of the same content are equal; and without what is written beside the requests, so that a
/// database to which nothing was done stays equal: the seals, when sessions were last seen, in which
/// order changes of visits are told, and the entries about what was read, refused or tried in vain.
pub async fn rows(database_url: &str) -> BTreeMap<String, Vec<String>> {
    let mut connection = PgConnection::connect(database_url)
        .await
        .expect("a connection");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'
            AND tablename NOT IN ('audit_seals', 'audit_sealed_rows')",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the tables");
    let mut all = BTreeMap::new();
    for table in tables {
        let statement = format!(
            "SELECT row::text FROM (
                SELECT to_jsonb(t) - '{{installed_on,execution_time}}'::text[]
                    - '{{changes_salt,changes_digest,last_seen_at}}'::text[]
                    - CASE WHEN '{table}' = 'appointment_history' THEN 'position' ELSE '' END
                FROM public.{table} t
            ) AS rows (row)
            WHERE '{table}' <> 'audit_log' OR row ->> 'action' NOT IN
                ('read', 'list', 'export', 'refuse', 'log_in_failed', 'lose')
            ORDER BY 1"
        );
        let rows = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&mut connection)
            .await
            .expect("the rows");
        all.insert(table, rows);
    }
    all
}

/// Somebody who talks to a server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// The user's id; empty when nobody is logged in.
    pub user_id: String,
}

impl Client {
    /// Somebody who is not logged in to the server at that address.
    #[must_use]
    pub fn anonymous(address: SocketAddr) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: format!("http://{address}"),
            token: None,
            user_id: String::new(),
        }
    }

    /// The same, logged in.
    pub async fn log_in(&self, username: &str) -> Self {
        self.log_in_with(username, PASSWORD).await
    }

    /// The same, logged in with that password.
    pub async fn log_in_with(&self, username: &str, password: &str) -> Self {
        let body = json!({"username": username, "password": password});
        let answer = self.post("/api/v1/auth/login", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self {
            token: Some(answer.text("/access_token")),
            user_id: answer.text("/user/user_id"),
            ..self.clone()
        }
    }

    /// Changes the password of whoever is logged in.
    pub async fn choose_password(&self, current: &str, new: &str) {
        let body = json!({"current_password": current, "new_password": new});
        let answer = self.post("/api/v1/auth/change_password", &body).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// The same, with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The token it comes with.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to be completed by the test.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// `POST path` without a body.
    pub async fn act(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::POST, path)).await
    }

    /// `PATCH path` with a JSON merge patch.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Creates something and answers its id, the field `id`.
    pub async fn create(&self, path: &str, body: &Value, id: &str) -> String {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text(&format!("/{id}"))
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is empty or a stream of events, a string when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Sends a request.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/event-stream");
        // A stream has no end to wait for.
        let text = if is_stream {
            String::new()
        } else {
            response.text().await.expect("a whole body")
        };
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Self {
            status,
            headers,
            body,
        }
    }

    /// The string at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value
            .unwrap_or_else(|| panic!("no string at {pointer}: {self:?}"))
            .to_owned()
    }

    /// The integer at a JSON pointer.
    #[must_use]
    pub fn number(&self, pointer: &str) -> i64 {
        let value = self.body.pointer(pointer).and_then(Value::as_i64);
        value.unwrap_or_else(|| panic!("no integer at {pointer}: {self:?}"))
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Fails unless this is a problem of that status and code, in the form that all have.
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(self.text("/code"), code, "{self:?}");
        assert_eq!(self.number("/status"), i64::from(status), "{self:?}");
        let request_id = self.header("x-request-id").expect("a request id");
        assert_eq!(self.text("/request_id"), request_id, "{self:?}");
        for field in ["/type", "/title", "/detail"] {
            assert!(!self.text(field).is_empty(), "{field}: {self:?}");
        }
    }

    /// Fails unless this is a `validation_failed` that names exactly these pointers, in any order.
    pub fn assert_faults(&self, pointers: &[&str]) {
        self.assert_problem(422, "validation_failed");
        let errors = self.body.pointer("/errors").and_then(Value::as_array);
        let mut found: Vec<&str> = errors
            .unwrap_or_else(|| panic!("no errors: {self:?}"))
            .iter()
            .filter_map(|error| error.pointer("/pointer").and_then(Value::as_str))
            .collect();
        found.sort_unstable();
        let mut wanted = pointers.to_vec();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{self:?}");
    }
}
