use std::fmt::Debug;
use std::sync::Arc;

use chrono::TimeDelta;

use super::{CountingIds, FakeCommonPasswords, FakeHasher, FakeTokens, FrozenClock, InMemoryStore};
use crate::Services;
use crate::access::{Actor, Origin, Role, Roles};
use crate::appointments::{Appointment, BookAppointment};
use crate::billing::{DraftInvoice, Invoice, NewItem};
use crate::catalog::{CreateService, Service};
use crate::clinic::{CreateRoom, Room};
use crate::identity::{
    CreateUser, IdentitySettings, LogIn, LoggedIn, PasswordPolicy, Secret, TokenSource,
};
use crate::patients::{Gender, Patient, PatientDetails};
use crate::shared::{Cents, Clock, Expected, IdSource, Instant, Ports};
use crate::store::Store;

/// The password of every user of a [`Clinic`].
pub const PASSWORD: &str = "correct horse battery";

/// The password that an admin gives a new user of the fixture.
const FIRST_PASSWORD: &str = "incorrect horse battery";

/// All services over an in-memory store, with a user in each role, a patient, a room and a service
/// of the catalog.
///
/// Its methods set a stage: they panic when something fails.
pub struct Clinic {
    /// What everything is kept in.
    pub store: Arc<InMemoryStore>,
    /// The time; see [`FrozenClock::default`].
    pub clock: Arc<FrozenClock>,
    /// Fresh ids.
    pub ids: Arc<CountingIds>,
    tokens: Arc<FakeTokens>,
    /// The services.
    pub services: Services,
    /// `admin`, logged in.
    pub admin: Actor,
    /// `manager`, logged in.
    pub manager: Actor,
    /// `doctor1`, logged in.
    pub doctor: Actor,
    /// `doctor2`, logged in.
    pub other_doctor: Actor,
    /// `receptionist`, logged in.
    pub receptionist: Actor,
    /// Anna Meyer.
    pub patient: Patient,
    /// Room 1.
    pub room: Room,
    /// `FILL1`, Filling, 80.00.
    pub service: Service,
}

impl Clinic {
    /// A clinic that just opened.
    ///
    /// # Panics
    /// When something fails.
    pub async fn open() -> Self {
        let store = Arc::new(InMemoryStore::default());
        let clock = Arc::new(FrozenClock::default());
        let ids = Arc::new(CountingIds::default());
        let tokens = Arc::new(FakeTokens::default());
        let services = services(&store, &clock, &ids, &tokens);
        let admin = services
            .identity
            .create_admin_from_console("admin".to_owned(), password())
            .await;
        done(admin);
        let admin = log_in(&services, "admin").await;
        let mut actors = Vec::new();
        for (username, role) in [
            ("manager", Role::Manager),
            ("doctor1", Role::Doctor),
            ("doctor2", Role::Doctor),
            ("receptionist", Role::Receptionist),
        ] {
            let user = CreateUser {
                username: username.to_owned(),
                display_name: format!("The {username}"),
                roles: Roles::from_iter([role]),
                is_active: true,
                password: Secret::new(FIRST_PASSWORD.to_owned()),
            };
            done(services.identity.create_user(&admin, user).await);
            actors.push(first_log_in(&services, username).await);
        }
        let [manager, doctor, other_doctor, receptionist] =
            <[Actor; 4]>::try_from(actors).expect("four users were made");
        let patient = PatientDetails {
            first_name: "Anna".to_owned(),
            last_name: "Meyer".to_owned(),
            birthday: None,
            gender: Gender::Female,
            notes: None,
        };
        let room = CreateRoom {
            name: "Room 1".to_owned(),
            is_active: true,
            kind: None,
            position: 0,
        };
        let filling = CreateService {
            code: "FILL1".to_owned(),
            name: "Filling".to_owned(),
            current_price: Cents::new(8_000),
            default_duration_minutes: Some(30),
            is_active: true,
            buffer_minutes: 0,
            room_kind: None,
            doctor_ids: Vec::new(),
        };
        Self {
            patient: done(services.patients.register(&receptionist, patient).await),
            room: done(services.clinic.create_room(&manager, room).await),
            service: done(services.catalog.create(&manager, filling).await),
            admin,
            manager,
            doctor,
            other_doctor,
            receptionist,
            store,
            clock,
            ids,
            tokens,
            services,
        }
    }

    /// Another clinic that starts as this one stands now; what one does the other does not see.
    #[must_use]
    pub fn fork(&self) -> Self {
        let store = Arc::new(self.store.fork());
        let clock = Arc::new(FrozenClock::default());
        clock.set(self.clock.now());
        Self {
            services: services(&store, &clock, &self.ids, &self.tokens),
            store,
            clock,
            ids: Arc::clone(&self.ids),
            tokens: Arc::clone(&self.tokens),
            patient: self.patient.clone(),
            room: self.room.clone(),
            service: self.service.clone(),
            admin: self.admin.clone(),
            manager: self.manager.clone(),
            doctor: self.doctor.clone(),
            other_doctor: self.other_doctor.clone(),
            receptionist: self.receptionist.clone(),
        }
    }

    /// The instant that many minutes from now.
    #[must_use]
    pub fn minutes_from_now(&self, minutes: i64) -> Instant {
        self.clock.now() + TimeDelta::minutes(minutes)
    }

    /// A half-hour visit of the patient with the doctor in the room, that many minutes from now.
    #[must_use]
    pub fn visit_in(&self, minutes: i64) -> BookAppointment {
        BookAppointment {
            patient_id: self.patient.patient_id,
            doctor_id: self.doctor.user_id,
            room_id: Some(self.room.room_id),
            starts_at: self.minutes_from_now(minutes),
            ends_at: Some(self.minutes_from_now(minutes + 30)),
            notes: None,
            services: Vec::new(),
            overbook_reason: None,
        }
    }

    /// Books [`visit_in`](Self::visit_in) that many minutes.
    ///
    /// # Panics
    /// When something fails.
    pub async fn booked_in(&self, minutes: i64) -> Appointment {
        let visit = self.visit_in(minutes);
        done(
            self.services
                .appointments
                .book(&self.receptionist, visit)
                .await,
        )
    }

    /// Registers another patient.
    ///
    /// # Panics
    /// When something fails.
    pub async fn register(&self, first_name: &str, last_name: &str) -> Patient {
        let details = PatientDetails {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
        };
        done(
            self.services
                .patients
                .register(&self.receptionist, details)
                .await,
        )
    }

    /// Drafts an invoice of the patient with a line of each of these prices.
    ///
    /// # Panics
    /// When something fails.
    pub async fn drafted(&self, prices: &[i64]) -> Invoice {
        let line = |price: &i64| NewItem {
            service_id: None,
            description: Some("Something".to_owned()),
            unit_price: Some(Cents::new(*price)),
            qty: 1,
        };
        let draft = DraftInvoice {
            patient_id: self.patient.patient_id,
            appointment_id: None,
            from_appointment: false,
            items: prices.iter().map(line).collect(),
        };
        done(self.services.billing.draft(&self.receptionist, draft).await)
    }

    /// Drafts an invoice and issues it.
    ///
    /// # Panics
    /// When something fails.
    pub async fn issued(&self, prices: &[i64]) -> Invoice {
        let draft = self.drafted(prices).await;
        done(
            self.services
                .billing
                .issue(&self.receptionist, draft.invoice_id, &Expected::Any)
                .await,
        )
    }

    /// Opens another session of a user.
    ///
    /// # Errors
    /// As [`log_in`](crate::identity::IdentityService::log_in).
    pub async fn log_in(
        &self,
        username: &str,
        password: &str,
    ) -> Result<LoggedIn, crate::identity::IdentityError> {
        self.services
            .identity
            .log_in(&attempt(username, password), &Origin::default())
            .await
    }
}

fn services(
    store: &Arc<InMemoryStore>,
    clock: &Arc<FrozenClock>,
    ids: &Arc<CountingIds>,
    tokens: &Arc<FakeTokens>,
) -> Services {
    let ports = Ports {
        store: Arc::clone(store) as Arc<dyn Store>,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ids: Arc::clone(ids) as Arc<dyn IdSource>,
        access_log: Arc::default(),
    };
    let published = [Secret::new("published default".to_owned())];
    let passwords = PasswordPolicy::new(Arc::new(FakeCommonPasswords), &published);
    let settings = IdentitySettings::new(passwords);
    Services::new(
        &ports,
        Arc::new(FakeHasher),
        Arc::clone(tokens) as Arc<dyn TokenSource>,
        settings,
    )
}

fn attempt(username: &str, password: &str) -> LogIn {
    LogIn {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
        device_name: None,
    }
}

async fn log_in_with(services: &Services, username: &str, password: &str) -> Actor {
    let identity = &services.identity;
    let (attempt, origin) = (attempt(username, password), Origin::default());
    let logged_in = done(identity.log_in(&attempt, &origin).await);
    done(
        identity
            .authenticate(&logged_in.access_token, &origin)
            .await,
    )
}

async fn log_in(services: &Services, username: &str) -> Actor {
    log_in_with(services, username, PASSWORD).await
}

/// Logs in with the password that an admin chose, and changes it.
async fn first_log_in(services: &Services, username: &str) -> Actor {
    let mut actor = log_in_with(services, username, FIRST_PASSWORD).await;
    let (first, chosen) = (Secret::new(FIRST_PASSWORD.to_owned()), password());
    let identity = &services.identity;
    done(identity.change_password(&actor, &first, &chosen).await);
    actor.must_change_password = false;
    actor
}

fn password() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

#[track_caller]
fn done<Value>(outcome: Result<Value, impl Debug>) -> Value {
    outcome.expect("the stage can be set")
}
