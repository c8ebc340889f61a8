//! The database itself: made twice it is the same, and an ordinary role can make it.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Datelike as _, Days, NaiveDate, Timelike as _, Weekday};
use dcms_domain::access::Origin;
use dcms_domain::identity::{LogIn, Secret, SessionLifetime};
use dcms_domain::shared::{Clock as _, Instant};
use dcms_local_postgres::throwaway::TestDatabase;
use dcms_postgres::{ApplicationRole, PostgresStore};
use dcms_seed::{DEV_PASSWORD, USERNAMES};
use dcms_server::config::Environment;
use dcms_system::SystemClock;
use dcms_tests::{Server, as_application, fresh_database, rows};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Everything in the schema that is no row, one definition a line.
const DEFINITIONS: &str = "
    SELECT format('column %s.%s %s null=%s %s %s', table_name, column_name, data_type, is_nullable,
                  column_default, generation_expression)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(pg_trigger.oid)
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(pg_proc.oid)
    FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
    WHERE pronamespace = 'public'::regnamespace AND lanname IN ('sql', 'plpgsql')
    UNION ALL
    SELECT format('sequence %s %s', sequencename, last_value)
    FROM pg_sequences WHERE schemaname = 'public'
    UNION ALL
    SELECT format('extension %s %s', extname, extversion) FROM pg_extension
    ORDER BY 1";

fn instant(text: &str) -> Instant {
    text.parse().expect("an instant")
}

/// All that a database holds: its definitions and its rows.
async fn dump(url: &str) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let definitions = sqlx::query_scalar(DEFINITIONS)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    (definitions, rows(url).await)
}

async fn reset(url: &str, now: Instant) {
    let store = PostgresStore::connect(url).await.unwrap();
    store.reset_schema().await.unwrap();
    store.migrate().await.unwrap();
    let application = PostgresStore::connect(&as_application(url)).await.unwrap();
    dcms_seed::seed(Arc::new(application), now).await.unwrap();
}

#[tokio::test]
async fn resetting_twice_gives_the_same_database() {
    let now = instant("2026-11-18T15:00:00Z");
    let database = fresh_database().await;
    reset(database.url(), now).await;
    let first = dump(database.url()).await;
    assert!(first.0.len() > 100 && first.1.len() > 10, "{:?}", first.0);
    reset(database.url(), now).await;
    assert_same(&dump(database.url()).await, &first);
}

#[tokio::test]
async fn migrating_gives_the_same_schema_from_nothing_again_and_after_a_reset() {
    let database = fresh_database().await;
    let from_nothing = dump(database.url()).await;
    dcms_tests::migrate(database.url()).await.unwrap();
    assert_same(&dump(database.url()).await, &from_nothing);
    let store = PostgresStore::connect(database.url()).await.unwrap();
    store.reset_schema().await.unwrap();
    store.migrate().await.unwrap();
    assert_same(&dump(database.url()).await, &from_nothing);
}

type Dump = (Vec<String>, BTreeMap<String, Vec<String>>);

fn assert_same(one: &Dump, other: &Dump) {
    assert_eq!(one.0, other.0);
    assert_eq!(
        one.1.keys().collect::<Vec<_>>(),
        other.1.keys().collect::<Vec<_>>()
    );
    for (table, rows) in &one.1 {
        let others = &other.1[table];
        assert_eq!(rows.len(), others.len(), "{table}");
        for (row, other) in rows.iter().zip(others) {
            assert_eq!(row, other, "{table}");
        }
    }
}

/// The seed, made on a day.
struct Seeded {
    database: TestDatabase,
    rows: BTreeMap<String, Vec<Value>>,
}

impl Seeded {
    async fn on(now: Instant) -> Self {
        let database = fresh_database().await;
        let url = as_application(database.url());
        let store = PostgresStore::connect(&url).await.unwrap();
        dcms_seed::seed(Arc::new(store), now).await.unwrap();
        let parsed = |rows: Vec<String>| -> Vec<Value> {
            rows.iter()
                .map(|row| serde_json::from_str(row).unwrap())
                .collect()
        };
        let all = rows(database.url()).await;
        Self {
            database,
            rows: all
                .into_iter()
                .map(|(table, rows)| (table, parsed(rows)))
                .collect(),
        }
    }

    fn count(&self, table: &str) -> usize {
        self.rows[table].len()
    }

    /// Appointments and invoices in every status.
    fn assert_every_status(&self) {
        let visits = "arrived cancelled completed confirmed in_chair no_show scheduled";
        let invoices = "draft issued paid partially_paid void";
        for (table, statuses) in [("appointments", visits), ("invoices", invoices)] {
            let expected: BTreeSet<&str> = statuses.split(' ').collect();
            assert_eq!(self.texts(table, "status"), expected, "{table}");
        }
    }

    /// No visit on a weekday from 09:00 to 16:00 UTC.
    fn assert_office_hours_are_free(&self) {
        for visit in &self.rows["appointments"] {
            let [starts_at, ends_at] = ["starts_at", "ends_at"]
                .map(|column| visit[column].as_str().unwrap().parse::<Instant>().unwrap());
            let is_weekend = matches!(starts_at.weekday(), Weekday::Sat | Weekday::Sun);
            let is_outside = ends_at.hour() < 9 || starts_at.hour() >= 16;
            assert!(is_weekend || is_outside, "{visit}");
        }
    }

    /// The distinct texts of a column.
    fn texts(&self, table: &str, column: &str) -> BTreeSet<&str> {
        self.rows[table]
            .iter()
            .filter_map(|row| row[column].as_str())
            .collect()
    }
}

#[tokio::test]
async fn the_seed_looks_like_a_clinic() {
    let now = instant("2026-11-18T15:00:00Z");
    let seeded = Seeded::on(now).await;
    let mut roles: Vec<(&str, &Value)> = seeded.rows["users"]
        .iter()
        .map(|user| (user["username"].as_str().unwrap(), &user["roles"]))
        .collect();
    roles.sort_unstable_by_key(|(username, _)| *username);
    assert_eq!(
        roles,
        [
            ("admin", &json!(["admin"])),
            ("doctor1", &json!(["doctor"])),
            ("doctor2", &json!(["doctor"])),
            ("doctor3", &json!(["doctor"])),
            ("manager", &json!(["manager"])),
            ("receptionist", &json!(["receptionist"])),
        ]
    );
    assert_eq!(seeded.count("rooms"), 3);
    assert_eq!(seeded.count("services"), 20);
    assert_eq!(seeded.texts("services", "code").len(), 20);
    assert_eq!(seeded.count("patients"), 200);
    assert_eq!(seeded.texts("patient_contacts", "patient_id").len(), 200);

    seeded.assert_every_status();
    assert!(seeded.count("payments") > 50 && seeded.count("refunds") > 0);

    // A past month and a coming fortnight, and everything made before now or planned for later.
    let days: BTreeSet<&str> = seeded
        .texts("appointments", "starts_at")
        .into_iter()
        .map(|instant| &instant[..10])
        .collect();
    assert!(*days.first().unwrap() <= "2026-10-20", "{days:?}");
    assert!(*days.last().unwrap() >= "2026-12-01", "{days:?}");
    assert!(days.contains("2026-11-18"), "{days:?}");
    for visit in &seeded.rows["appointments"] {
        let starts_at = visit["starts_at"].as_str().unwrap();
        let is_over = matches!(visit["status"].as_str(), Some("completed" | "no_show"));
        assert!(!is_over || starts_at < "2026-11-19", "{visit}");
        let is_open = matches!(visit["status"].as_str(), Some("scheduled" | "confirmed"));
        assert!(!is_open || starts_at > "2026-11-18", "{visit}");
    }
    assert_all_log_in_for_development_only(&seeded.database).await;
    // Nobody seeds a clinic that has users.
    let url = as_application(seeded.database.url());
    let store = PostgresStore::connect(&url).await.unwrap();
    assert!(dcms_seed::seed(Arc::new(store), now).await.is_err());
}

/// In a developer's clinic with the published password, in no other.
async fn assert_all_log_in_for_development_only(database: &TestDatabase) {
    let url = as_application(database.url());
    let store = PostgresStore::connect(&url).await.unwrap();
    for (env, may) in [(Environment::Dev, true), (Environment::Prod, false)] {
        let services =
            dcms_server::services(Arc::new(store.clone()), env, SessionLifetime::default())
                .unwrap();
        for username in USERNAMES {
            let attempt = LogIn {
                username: username.to_owned(),
                password: Secret::new(DEV_PASSWORD.to_owned()),
                device_name: None,
            };
            let outcome = services.identity.log_in(&attempt, &Origin::default()).await;
            assert_eq!(outcome.is_ok(), may, "{username}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn the_seed_works_on_a_weekend_and_around_a_change_of_clocks() {
    // The last Sunday of March, and the Wednesday after the last Sunday of October.
    for now in ["2026-03-29T00:30:00Z", "2026-10-28T23:30:00Z"] {
        let seeded = Seeded::on(instant(now)).await;
        seeded.assert_every_status();
        seeded.assert_office_hours_are_free();
        // Nine in the morning is nine in the morning, in winter as in summer.
        let times = seeded.texts("appointments", "starts_at");
        let at = |time: &str| times.iter().any(|instant| instant[10..].starts_with(time));
        assert!(at("T08:00:00") && at("T07:00:00"), "{times:?}");
    }
}

#[tokio::test]
async fn the_seed_works_when_the_year_ends() {
    for now in ["2026-12-20T12:00:00Z", "2026-12-31T12:00:00Z"] {
        let seeded = Seeded::on(instant(now)).await;
        seeded.assert_every_status();
        seeded.assert_office_hours_are_free();
    }
}

#[tokio::test]
async fn every_doctor_of_the_seed_can_be_booked_on_weekdays_for_two_years() {
    let today = SystemClock.now();
    let seeded = Seeded::on(today).await;
    let server = Server::start_with_admin(seeded.database.url(), "reader").await;
    let days: Vec<NaiveDate> = today.date_naive().iter_days().skip(1).take(730).collect();
    for window in days.chunks(60) {
        let (from, to) = (window[0], window[window.len() - 1] + Days::new(1));
        // All of it at once: from 09:00 to 16:00 UTC.
        let query = format!("duration_minutes=420&from={from}&to={to}&limit=10000");
        let free = server
            .admin()
            .get(&format!("/api/v1/availability?{query}"))
            .await;
        assert_eq!(free.body["next_cursor"], Value::Null, "{free:?}");
        let mut doctors: BTreeMap<&str, usize> = BTreeMap::new();
        for slot in free.body["items"].as_array().unwrap() {
            *doctors
                .entry(slot["starts_at"].as_str().unwrap())
                .or_default() += 1;
        }
        for day in window {
            let is_weekend = matches!(day.weekday(), Weekday::Sat | Weekday::Sun);
            let at_nine = doctors.get(format!("{day}T09:00:00Z").as_str());
            assert!(is_weekend || at_nine == Some(&3), "{day}: {at_nine:?}");
        }
    }
}

/// An empty database of its own on the same server, owned by a role that may do nothing else.
async fn database_of_ordinary_role(beside: &TestDatabase) -> String {
    let mut superuser = PgConnection::connect(beside.url()).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let name = format!("{name}_ordinary");
    for statement in [
        format!(
            "CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        ),
        format!("CREATE DATABASE {name} OWNER {name}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut superuser)
            .await
            .unwrap();
    }
    let (server, directory) = beside.url().split_once("postgres@").expect("the superuser");
    let (host, directory) = directory.split_once('/').expect("a database");
    let (_, parameters) = directory.split_once('?').expect("parameters");
    format!("{server}{name}@{host}/{name}?{parameters}")
}

#[tokio::test]
async fn an_ordinary_role_can_migrate_reset_and_work_through_a_day() {
    let beside = fresh_database().await;
    let url = database_of_ordinary_role(&beside).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let privileges: (bool, bool) =
        sqlx::query_as("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(privileges, (false, false));

    dcms_tests::migrate(&url).await.unwrap();
    let store = PostgresStore::connect(&url).await.unwrap();
    store.reset_schema().await.unwrap();
    store.migrate().await.unwrap();
    // Alone, and with the application's role beside it.
    work_through_a_day(&Server::start_on(&url).await).await;
    store.reset_schema().await.unwrap();
    let role = store.migrate().await.unwrap();
    assert_eq!(role, ApplicationRole::Granted);
    let beside = as_application(beside.url());
    let (server, _) = beside.split_once('@').expect("the application");
    let (_, rest) = url.split_once('@').expect("the ordinary role");
    work_through_a_day(&Server::start_on(&format!("{server}@{rest}")).await).await;
}

/// What a clinic does with a patient, from the register to the paid invoice.
async fn work_through_a_day(server: &Server) {
    let admin = server.admin();
    assert_eq!(server.anonymous().get("/ready").await.status, 200);
    let doctor = server.user("doctor").await;
    let desk = server.user("receptionist").await;
    let (room, service) = (
        server.room("Room 1").await,
        server.service("FILL", 10_000).await,
    );
    let patient = json!({"first_name": "Zoë", "last_name": "Müller"});
    let patient = desk
        .create("/api/v1/patients", &patient, "patient_id")
        .await;
    let contact = json!({"type": "phone", "value": "+49 30 1234567", "is_primary": true});
    let contacts = format!("/api/v1/patients/{patient}/contacts");
    desk.create(&contacts, &contact, "contact_id").await;
    for query in ["zoe", "mull", "P000001", "1234567"] {
        let found = desk.get(&format!("/api/v1/patients?query={query}")).await;
        assert_eq!(found.text("/items/0/patient_id"), patient, "{query}");
    }

    let mut visit = json!({
        "patient_id": patient,
        "doctor_id": doctor.user_id,
        "room_id": room,
        "starts_at": "2026-03-02T09:00:00+01:00",
        "ends_at": "2026-03-02T10:00:00+01:00",
        "services": [{"service_id": service, "qty": 1}],
    });
    let id = desk
        .create("/api/v1/appointments", &visit, "appointment_id")
        .await;
    visit["patient_id"] = json!(server.patient().await);
    let taken = desk.post("/api/v1/appointments", &visit).await;
    taken.assert_problem(409, "appointment_overlap");
    for (client, action) in [
        (&desk, "confirm"),
        (&desk, "arrive"),
        (&doctor, "start"),
        (&doctor, "complete"),
    ] {
        let answer = client
            .act(&format!("/api/v1/appointments/{id}/{action}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    let invoice = json!({"patient_id": patient, "appointment_id": id, "from_appointment": true});
    let invoice = desk
        .create("/api/v1/invoices", &invoice, "invoice_id")
        .await;
    let invoice = format!("/api/v1/invoices/{invoice}");
    assert_eq!(desk.act(&format!("{invoice}/issue")).await.status, 200);
    let payments = format!("{invoice}/payments");
    for (amount, status) in [(4_000, "partially_paid"), (6_000, "paid")] {
        let body = json!({"amount_cents": amount, "method": "card"});
        let paid = desk.post(&payments, &body).await;
        assert_eq!(paid.status, 201, "{paid:?}");
        assert_eq!(paid.text("/invoice/status"), status);
    }
    let payment = desk.get(&payments).await.text("/items/0/payment_id");
    let refund = json!({"amount_cents": 1_000, "reason": "Goodwill"});
    let path = format!("/api/v1/payments/{payment}/refunds");
    assert_eq!(admin.post(&path, &refund).await.status, 201);
    assert_eq!(admin.get(&invoice).await.number("/balance_cents"), 1_000);
}
