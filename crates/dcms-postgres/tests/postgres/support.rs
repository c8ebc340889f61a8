//! Databases of a test's own, and a clinic to put into them.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use dcms_domain::Services;
use dcms_domain::access::{Actor, Origin, Role, Roles};
use dcms_domain::appointments::BookAppointment;
use dcms_domain::billing::{DraftInvoice, Invoice, NewItem};
use dcms_domain::clinic::{CreateRoom, Room};
use dcms_domain::identity::{CreateUser, Secret, User};
use dcms_domain::patients::{Gender, Patient, PatientDetails};
use dcms_domain::shared::{Cents, Clock, Expected, IdSource, Instant, Ports};
use dcms_domain::testing::{CountingIds, FakeHasher, FakeTokens, FrozenClock, identity_settings};
use dcms_local_postgres::throwaway::{self, TestDatabase};
use dcms_postgres::{APPLICATION_ROLE, ConnectError, PostgresStore, SchemaError};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum TemplateError {
    Connect(#[from] ConnectError),
    Schema(#[from] SchemaError),
}

/// A new database with nothing in it.
pub(crate) async fn empty_database() -> TestDatabase {
    throwaway::database("empty", async |_: &str| Ok::<(), Infallible>(()))
        .await
        .expect("a database is made")
}

/// A new database with the migrations applied.
pub(crate) async fn migrated_database() -> TestDatabase {
    let template = format!("dcms_{}", PostgresStore::migrations_fingerprint());
    throwaway::database(&template, async |url: &str| {
        let store = PostgresStore::connect(url).await?;
        store.migrate().await?;
        store.close().await;
        Ok::<(), TemplateError>(())
    })
    .await
    .expect("a migrated database is made")
}

/// A store on a new database with the migrations applied.
pub(crate) async fn fresh_store() -> PostgresStore {
    application_on(&migrated_database().await).await
}

/// A store as the server has it.
pub(crate) async fn application_on(database: &TestDatabase) -> PostgresStore {
    store_on(&database.url_as(APPLICATION_ROLE)).await
}

/// A store as whoever the URL names.
pub(crate) async fn store_on(url: &str) -> PostgresStore {
    PostgresStore::connect(url)
        .await
        .expect("the database is there")
}

/// A connection past the store.
pub(crate) async fn raw_connection(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .expect("the database is there")
}

/// Does statements that are no concern of the store.
pub(crate) async fn execute(url: &str, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut raw_connection(url).await)
        .await
        .expect("the statements are right");
}

/// Waits, but not for ever: what does not end has run into a deadlock.
pub(crate) async fn in_time<Output>(work: impl Future<Output = Output>) -> Output {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("it ends in time")
}

/// All services over a database of their own, an admin who may do everything, a doctor and a room.
pub(crate) struct Clinic {
    pub(crate) database: TestDatabase,
    pub(crate) services: Services,
    pub(crate) clock: Arc<FrozenClock>,
    pub(crate) admin: Actor,
    pub(crate) doctor: User,
    pub(crate) room: Room,
}

impl Clinic {
    /// A clinic in whose database two that wait for each other would do so for a minute.
    pub(crate) async fn open() -> Arc<Self> {
        let database = migrated_database().await;
        execute(
            database.url(),
            "DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = %L', current_database(), '1min');
            END $$",
        )
        .await;
        let clock = Arc::new(FrozenClock::default());
        let ids = Arc::new(CountingIds::default());
        let ports = Ports {
            store: Arc::new(application_on(&database).await),
            clock: clock.clone(),
            ids: ids.clone(),
            access_log: Arc::default(),
        };
        let services = Services::new(
            &ports,
            Arc::new(FakeHasher),
            Arc::new(FakeTokens::default()),
            identity_settings(),
        );
        let password = Secret::new("correct horse battery".to_owned());
        let admin = services
            .identity
            .create_admin_from_console("admin".to_owned(), password.clone())
            .await
            .expect("an admin is made");
        let admin = Actor {
            user_id: admin.user_id,
            session_id: ids.next_id().into(),
            roles: admin.roles,
            must_change_password: false,
            impersonator_id: None,
            origin: Origin::default(),
        };
        let doctor = CreateUser {
            username: "doctor".to_owned(),
            display_name: "Dr. Doctor".to_owned(),
            roles: Roles::from_iter([Role::Doctor]),
            is_active: true,
            password,
        };
        let room = CreateRoom {
            name: "Room".to_owned(),
            is_active: true,
            kind: None,
            position: 0,
        };
        Arc::new(Self {
            doctor: done(services.identity.create_user(&admin, doctor).await),
            room: done(services.clinic.create_room(&admin, room).await),
            database,
            services,
            clock,
            admin,
        })
    }

    pub(crate) async fn register(&self, first_name: &str, last_name: &str) -> Patient {
        let details = PatientDetails {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
        };
        done(self.services.patients.register(&self.admin, details).await)
    }

    /// A half-hour visit with the doctor in the room, that many minutes from now.
    pub(crate) fn visit_in(&self, minutes: i64, patient: &Patient) -> BookAppointment {
        BookAppointment {
            patient_id: patient.patient_id,
            doctor_id: self.doctor.user_id,
            room_id: Some(self.room.room_id),
            starts_at: self.minutes_from_now(minutes),
            ends_at: Some(self.minutes_from_now(minutes + 30)),
            notes: None,
            services: Vec::new(),
            overbook_reason: None,
        }
    }

    pub(crate) fn minutes_from_now(&self, minutes: i64) -> Instant {
        self.clock.now() + chrono::TimeDelta::minutes(minutes)
    }

    /// A draft with one line of that price.
    pub(crate) async fn draft(&self, patient: &Patient, price: i64) -> Invoice {
        let command = draft_of(patient, price);
        done(self.services.billing.draft(&self.admin, command).await)
    }

    /// An issued invoice of that total.
    pub(crate) async fn issued(&self, patient: &Patient, total: i64) -> Invoice {
        let draft = self.draft(patient, total).await;
        let issued = self
            .services
            .billing
            .issue(&self.admin, draft.invoice_id, &Expected::Any)
            .await;
        done(issued)
    }
}

/// What drafts an invoice with one line of that price.
pub(crate) fn draft_of(patient: &Patient, price: i64) -> DraftInvoice {
    DraftInvoice {
        patient_id: patient.patient_id,
        appointment_id: None,
        from_appointment: false,
        items: vec![NewItem {
            service_id: None,
            description: Some("Filling".to_owned()),
            unit_price: Some(Cents::new(price)),
            qty: 1,
        }],
    }
}

/// What sets the stage succeeds.
pub(crate) fn done<Value, Failure: Debug>(result: Result<Value, Failure>) -> Value {
    result.expect("it succeeds")
}
