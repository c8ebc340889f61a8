//! A made-up clinic to develop against.
//!
//! Everything goes through the services, so that the seed breaks no rule, and everything follows
//! from the clinic's day: two runs on one day give the same database, ids and hashes included.
//!
//! Whatever its plans, every doctor can be booked on weekdays from 09:00 to 16:00 UTC, from the past
//! month to two years ahead.

mod calendar;
mod data;
mod history;
mod one_unit;
mod ports;

use std::sync::Arc;

use anyhow::Context as _;
use chrono::{Days, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use dcms_domain::Services;
use dcms_domain::access::{Actor, Origin, Role, Roles};
use dcms_domain::audit::{AuditAction, AuditEntry, Entity};
use dcms_domain::catalog::CreateService;
use dcms_domain::clinic::{ClinicChanges, CreateRoom};
use dcms_domain::identity::{CreateUser, IdentitySettings, PasswordPolicy, Secret};
use dcms_domain::patients::{ContactType, CreateContact, PatientDetails};
use dcms_domain::shared::{
    Cents, Change, Clock as _, Expected, IdSource as _, Instant, PageRequest, PatientId, Ports,
    RoomId, ServiceId, UserId, clinic_day,
};
use dcms_domain::store::Store;
use dcms_system::{CommonPasswordList, SystemTokens};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::one_unit::OneUnitOfWork;
use crate::ports::{SeedClock, SeedHasher, SeedIds};

/// The password of every user of the seed. Published, so production refuses it.
pub const DEV_PASSWORD: &str = "dcms-dev-password";

/// The users of the seed, the first of them an admin.
pub const USERNAMES: [&str; 6] = [
    "admin",
    "manager",
    "doctor1",
    "doctor2",
    "doctor3",
    "receptionist",
];

const ZONE: Tz = Tz::Europe__Berlin;
const PATIENTS: usize = 200;

/// Whether nobody can log in yet, which is when the seed has its place.
///
/// # Errors
/// When the store fails.
pub async fn is_empty(store: &dyn Store) -> anyhow::Result<bool> {
    let mut connection = store.connect().await?;
    Ok(connection
        .users()
        .list(PageRequest::first())
        .await?
        .items
        .is_empty())
}

/// Fills an empty, migrated store with the clinic as it looks on the day of `now`, all at once.
///
/// # Errors
/// When the store fails, or is not empty.
pub async fn seed(store: Arc<dyn Store>, now: Instant) -> anyhow::Result<()> {
    anyhow::ensure!(
        is_empty(&*store).await?,
        "the database has users already; reset it first"
    );
    let today = now.with_timezone(&ZONE).date_naive();
    let whole = Arc::new(OneUnitOfWork::begin(store).await?);
    let entry = {
        let mut seeding = Seeding::start(Arc::clone(&whole) as _, today).await?;
        seeding.clinic().await?;
        seeding.calendar().await?;
        seeding.catalog().await?;
        seeding.patients().await?;
        seeding.visits().await?;
        let (id, at) = (seeding.ids.next_id().into(), seeding.clock.now());
        AuditEntry::unattributed(id, at, AuditAction::Create, Entity::Clinic)
    };
    whole.finish(&entry).await
}

/// The clinic as far as it has been made.
struct Seeding {
    services: Services,
    clock: Arc<SeedClock>,
    ids: Arc<SeedIds>,
    random: StdRng,
    today: NaiveDate,
    admin: Actor,
    doctors: Vec<UserId>,
    rooms: Vec<RoomId>,
    /// What every doctor performs in any room.
    catalog: Vec<ServiceId>,
    patients: Vec<PatientId>,
}

impl Seeding {
    /// Makes the users, of whom the admin then makes the rest.
    async fn start(store: Arc<dyn Store>, today: NaiveDate) -> anyhow::Result<Self> {
        let clock = Arc::new(SeedClock::at(start_of(opening_day(today))?));
        let ids = Arc::new(SeedIds::new(Arc::clone(&clock)));
        let session_id = ids.next_id().into();
        let ports = Ports {
            store,
            clock: Arc::clone(&clock) as _,
            ids: Arc::clone(&ids) as _,
            access_log: Arc::default(),
        };
        let services = Services::new(
            &ports,
            Arc::new(SeedHasher::new()?),
            Arc::new(SystemTokens),
            IdentitySettings::new(PasswordPolicy::new(Arc::new(CommonPasswordList), &[])),
        );
        let [admin, others @ ..] = USERNAMES;
        let password = || Secret::new(DEV_PASSWORD.to_owned());
        let admin = services
            .identity
            .create_admin_from_console(admin.to_owned(), password())
            .await?;
        let admin = Actor {
            user_id: admin.user_id,
            session_id,
            roles: admin.roles,
            must_change_password: false,
            impersonator_id: None,
            origin: Origin::default(),
        };
        let mut doctors = Vec::new();
        for (username, (display_name, role)) in others.into_iter().zip(data::STAFF) {
            let command = CreateUser {
                username: username.to_owned(),
                display_name: display_name.to_owned(),
                roles: Roles::from_iter([role]),
                is_active: true,
                password: password(),
            };
            let user = services.identity.create_user_from_console(command).await?;
            if role == Role::Doctor {
                doctors.push(user.user_id);
            }
        }
        Ok(Self {
            services,
            clock,
            ids,
            random: StdRng::seed_from_u64(1),
            today,
            admin,
            doctors,
            rooms: Vec::new(),
            catalog: Vec::new(),
            patients: Vec::new(),
        })
    }

    async fn clinic(&mut self) -> anyhow::Result<()> {
        let changes = ClinicChanges {
            clinic_name: Change::Set("Lindenhof Dental Clinic".to_owned()),
            time_zone: Change::Set(ZONE.name().to_owned()),
            address: Change::Set("Lindenstraße 12\n10969 Berlin".to_owned()),
            phone: Change::Set("+49 30 5550100".to_owned()),
            email: Change::Set("desk@lindenhof.example".to_owned()),
            currency: Change::Set("EUR".to_owned()),
            ..ClinicChanges::default()
        };
        self.services
            .clinic
            .change_settings(&self.admin, &Expected::Any, changes)
            .await?;
        for ((name, kind), position) in data::ROOMS.into_iter().zip(1..) {
            let command = CreateRoom {
                name: name.to_owned(),
                is_active: true,
                kind: kind.map(str::to_owned),
                position,
            };
            self.rooms.push(
                self.services
                    .clinic
                    .create_room(&self.admin, command)
                    .await?
                    .room_id,
            );
        }
        Ok(())
    }

    async fn catalog(&mut self) -> anyhow::Result<()> {
        for data in data::CATALOG {
            let command = service(data);
            let service = self.services.catalog.create(&self.admin, command).await?;
            self.catalog.push(service.service_id);
        }
        for data in data::SURGERY {
            let command = CreateService {
                buffer_minutes: 15,
                room_kind: Some("surgery".to_owned()),
                doctor_ids: self.doctors[1..].to_vec(),
                ..service(data)
            };
            self.services.catalog.create(&self.admin, command).await?;
        }
        Ok(())
    }

    /// Registers the patients over the past three years; the last few left again.
    async fn patients(&mut self) -> anyhow::Result<()> {
        for index in 0..PATIENTS {
            let years = TimeDelta::days(5 * i64::try_from(PATIENTS - index)?);
            self.clock
                .set(start_of(self.today)? - years + TimeDelta::hours(10));
            let (first_name, gender) = data::pick(&data::FIRST_NAMES, &mut self.random);
            let last_name = data::pick(&data::LAST_NAMES, &mut self.random);
            let age_in_days = self.random.random_range(4 * 365..85 * 365);
            let details = PatientDetails {
                first_name: first_name.to_owned(),
                last_name: last_name.to_owned(),
                birthday: self.today.checked_sub_days(Days::new(age_in_days)),
                gender,
                notes: (index % 9 == 0)
                    .then(|| data::pick(&data::NOTES, &mut self.random).to_owned()),
            };
            let patient = self
                .services
                .patients
                .register(&self.admin, details)
                .await?;
            self.patients.push(patient.patient_id);
            self.contacts(index, patient.patient_id, first_name, last_name)
                .await?;
        }
        for patient_id in self.patients.split_off(PATIENTS - 6) {
            self.services
                .patients
                .archive(&self.admin, patient_id, &Expected::Any)
                .await?;
        }
        Ok(())
    }

    async fn contacts(
        &mut self,
        index: usize,
        patient_id: PatientId,
        first_name: &str,
        last_name: &str,
    ) -> anyhow::Result<()> {
        let subscriber = self.random.random_range(1_000_000..9_999_999);
        let mut contacts = vec![(ContactType::Phone, format!("+49 170 {subscriber}"))];
        if index.is_multiple_of(2) {
            let local = format!("{first_name}.{last_name}{index}").to_lowercase();
            contacts.push((
                ContactType::Email,
                format!("{}@mail.example", local.replace(' ', ".")),
            ));
        }
        for (contact_type, value) in contacts {
            let command = CreateContact {
                contact_type,
                value,
                label: None,
                is_primary: true,
            };
            self.services
                .patients
                .add_contact(&self.admin, patient_id, command)
                .await?;
        }
        Ok(())
    }
}

/// A service that every doctor performs in any room.
fn service((code, name, price, minutes): (&str, &str, i64, i64)) -> CreateService {
    CreateService {
        code: code.to_owned(),
        name: name.to_owned(),
        current_price: Cents::new(price),
        default_duration_minutes: Some(minutes),
        is_active: true,
        buffer_minutes: 0,
        room_kind: None,
        doctor_ids: Vec::new(),
    }
}

/// When the clinic opened.
fn opening_day(today: NaiveDate) -> NaiveDate {
    today - Days::new(3 * 365)
}

/// The clinic's first moment of the day.
fn start_of(day: NaiveDate) -> anyhow::Result<Instant> {
    clinic_day(ZONE, day).from.context("every day has a start")
}
