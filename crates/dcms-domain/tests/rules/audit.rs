//! Who did what, to whose record: every change leaves one entry, every look at a record is noted.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{NaiveDate, TimeDelta, Weekday};
use dcms_domain::Services;
use dcms_domain::access::{Actor, Origin, Role, Roles};
use dcms_domain::appointments::{
    AppointmentChanges, AppointmentQuery, BookAppointment, ServiceRequest, Transition,
};
use dcms_domain::audit::{
    AccessLog, AuditAction, AuditEntry, AuditFilter, AuditQuery, AuditValue, Entity,
};
use dcms_domain::billing::{
    DraftInvoice, InvoiceChanges, InvoiceQuery, ItemChanges, NewItem, PaymentMethod, PaymentQuery,
    RecordPayment, RecordRefund,
};
use dcms_domain::calendar::{
    ChangeHours, CreateClosure, CreateTimeOff, IntervalRequest, SpanRequest,
};
use dcms_domain::catalog::{CreateService, ServiceChanges, ServiceFilter};
use dcms_domain::clinic::{ClinicChanges, CreateRoom, DoctorChanges, RoomChanges};
use dcms_domain::identity::{
    CreateUser, IdentityError, IdentitySettings, LogIn, Secret, SessionLifetime, TokenHash,
    TokenSource, UserChanges,
};
use dcms_domain::patients::{
    ContactChanges, ContactType, CreateContact, Gender, PatientChanges, PatientDetails,
    PatientFilter,
};
use dcms_domain::shared::{
    AuditId, Cents, Change, Clock, IdSource, PageLimit, PageRequest, PatientId, Ports, SessionId,
    UserId,
};
use dcms_domain::store::{Rule, Store};
use dcms_domain::testing::{
    Clinic, FakeHasher, FakeTokens, InMemoryStore, PASSWORD, identity_settings,
};
use pollster::block_on;
use uuid::Uuid;

use crate::access::{Answer, Question, questions};
use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

/// Tokens that the fixture never gave.
#[derive(Default)]
pub(crate) struct OtherTokens(FakeTokens);

impl TokenSource for OtherTokens {
    fn new_token(&self) -> Secret {
        Secret::new(format!("other-{}", self.0.new_token().expose()))
    }

    fn hash(&self, token: &Secret) -> TokenHash {
        self.0.hash(token)
    }
}

/// Gives the clinic services whose access log can be seen, and sessions that live so long.
pub(crate) fn watch_with(clinic: &mut Clinic, session_lifetime: SessionLifetime) -> Arc<AccessLog> {
    let access_log = Arc::<AccessLog>::default();
    let ports = Ports {
        store: Arc::clone(&clinic.store) as _,
        clock: Arc::clone(&clinic.clock) as _,
        ids: Arc::clone(&clinic.ids) as _,
        access_log: Arc::clone(&access_log),
    };
    let settings = IdentitySettings {
        session_lifetime,
        ..identity_settings()
    };
    let (hasher, tokens) = (Arc::new(FakeHasher), Arc::new(OtherTokens::default()));
    clinic.services = Services::new(&ports, hasher, tokens, settings);
    access_log
}

/// All entries of the store, the earliest first.
pub(crate) async fn entries_of(store: &InMemoryStore) -> Vec<AuditEntry> {
    let mut connection = store.connect().await.unwrap();
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest {
            limit: PageLimit::new(200).unwrap(),
            after,
        };
        let filter = AuditFilter::default();
        let page = connection.audit().list(&filter, page).await.unwrap();
        entries.extend(page.items);
        after = page.next;
        if after.is_none() {
            entries.reverse();
            return entries;
        }
    }
}

/// Who did it, as an entry tells it.
#[derive(Debug, PartialEq, Eq)]
struct By {
    actor_id: Option<UserId>,
    impersonator_id: Option<UserId>,
    session_id: Option<SessionId>,
    address: Option<IpAddr>,
    request_id: Option<String>,
}

impl By {
    fn actor(actor: &Actor) -> Self {
        Self {
            actor_id: Some(actor.user_id),
            impersonator_id: actor.impersonator_id,
            session_id: Some(actor.session_id),
            ..Self::nobody(&actor.origin)
        }
    }

    fn nobody(origin: &Origin) -> Self {
        Self {
            actor_id: None,
            impersonator_id: None,
            session_id: None,
            address: origin.address,
            request_id: origin.request_id.clone(),
        }
    }

    fn of(entry: &AuditEntry) -> Self {
        Self {
            actor_id: entry.actor_id,
            impersonator_id: entry.impersonator_id,
            session_id: entry.session_id,
            address: entry.address,
            request_id: entry.request_id.clone(),
        }
    }
}

fn shown(value: &AuditValue) -> String {
    match value {
        AuditValue::Nothing => "-".to_owned(),
        AuditValue::Text(text) => text.clone(),
        AuditValue::Number(number) => number.to_string(),
        AuditValue::Flag(flag) => flag.to_string(),
        AuditValue::List(values) => {
            let values: Vec<String> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        AuditValue::Record(fields) => {
            let field = |(name, value): &(_, AuditValue)| format!("{name}: {}", shown(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// What was done to what and whose record, and then a line for each field that changed.
fn told(entry: &AuditEntry) -> String {
    let mut told = format!("{} {}", entry.action.as_str(), entry.entity.as_str());
    if let Some(id) = entry.entity_id {
        write!(told, " {id}").unwrap();
    }
    for patient in &entry.patient_ids {
        write!(told, " of {patient}").unwrap();
    }
    for change in &entry.changes {
        let (before, after) = (shown(&change.before), shown(&change.after));
        write!(told, "\n{}: {before} → {after}", change.field).unwrap();
    }
    told
}

fn origin(request_id: &str) -> Origin {
    Origin {
        address: Some([192, 0, 2, 7].into()),
        agent: Some("A browser".to_owned()),
        request_id: Some(request_id.to_owned()),
    }
}

fn coming_from(actor: &Actor, request_id: &str) -> Actor {
    Actor {
        origin: origin(request_id),
        ..actor.clone()
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn text(text: &str) -> Change<String> {
    Change::Set(text.to_owned())
}

/// A clinic whose entries are watched.
struct Stage {
    clinic: Clinic,
    log: Arc<AccessLog>,
    known: BTreeSet<AuditId>,
    admin: Actor,
    manager: Actor,
    doctor: Actor,
    receptionist: Actor,
    patient_id: PatientId,
}

impl Stage {
    async fn open() -> Self {
        let mut clinic = Clinic::open().await;
        let log = watch_with(&mut clinic, SessionLifetime::default());
        let known = entries_of(&clinic.store).await;
        Self {
            known: known.iter().map(|entry| entry.audit_id).collect(),
            log,
            admin: coming_from(&clinic.admin, "of-admin"),
            manager: coming_from(&clinic.manager, "of-manager"),
            doctor: coming_from(&clinic.doctor, "of-doctor"),
            receptionist: coming_from(&clinic.receptionist, "of-receptionist"),
            patient_id: clinic.patient.patient_id,
            clinic,
        }
    }

    /// The entries that came since this was last asked.
    async fn new_entries(&mut self) -> Vec<AuditEntry> {
        let mut entries = entries_of(&self.clinic.store).await;
        entries.retain(|entry| self.known.insert(entry.audit_id));
        entries
    }

    /// The only entry that came since the last one, which came just now.
    async fn entry(&mut self) -> AuditEntry {
        let entries = self.new_entries().await;
        let [entry] = <[AuditEntry; 1]>::try_from(entries).expect("one entry");
        assert_eq!(entry.at, self.clinic.clock.now());
        assert_eq!(self.log.len(), 0, "a change is no read");
        // No other entry is of this moment.
        self.clinic.clock.advance(TimeDelta::seconds(1));
        entry
    }

    /// One entry came, and it tells this.
    async fn tells(&mut self, actor: &Actor, expected: &str) {
        let entry = self.entry().await;
        assert_eq!(told(&entry), expected);
        assert_eq!(By::of(&entry), By::actor(actor), "{expected}");
    }
}

/// The call succeeds and leaves one entry of this actor, which tells what the last argument says of
/// the outcome.
macro_rules! leaves {
    ($stage:ident, $actor:ident, $context:ident.$method:ident($($argument:expr),* $(,)?), |$outcome:pat_param| $expected:expr) => {{
        let actor = $stage.$actor.clone();
        let service = &$stage.clinic.services.$context;
        let outcome = service.$method(&actor, $($argument),*).await.unwrap();
        let expected: String = {
            let $outcome = &outcome;
            $expected.to_string()
        };
        $stage.tells(&actor, &expected).await;
        outcome
    }};
}

fn attempt(username: &str, password: &str) -> LogIn {
    LogIn {
        username: username.to_owned(),
        password: secret(password),
        device_name: None,
    }
}

/// Everything that can be done to sessions.
async fn change_sessions(stage: &mut Stage) -> Vec<Secret> {
    let mut tokens = Vec::new();
    let doctor_id = stage.doctor.user_id;
    let origin = origin("of-nobody");
    for _ in 0..4 {
        let identity = &stage.clinic.services.identity;
        let attempt = attempt("doctor1", PASSWORD);
        let logged_in = identity.log_in(&attempt, &origin).await.unwrap();
        let session_id = logged_in.session.session_id;
        let entry = stage.entry().await;
        assert_eq!(told(&entry), format!("log_in session {session_id}"));
        let expected = By {
            actor_id: Some(doctor_id),
            session_id: Some(session_id),
            ..By::nobody(&origin)
        };
        assert_eq!(By::of(&entry), expected);
        tokens.push((logged_in.access_token, session_id));
    }
    let [(stolen, family), (_, own), (_, others), (last, left)] = tokens.try_into().unwrap();

    let identity = &stage.clinic.services.identity;
    let doctor = identity.authenticate(&stolen, &origin).await.unwrap();
    let refreshed = identity.refresh(&doctor, &stolen).await.unwrap();
    stage
        .tells(&doctor, &format!("refresh session {family}"))
        .await;
    let identity = &stage.clinic.services.identity;
    for _ in 0..2 {
        let refused = identity.authenticate(&stolen, &origin).await;
        assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
    }
    let entry = stage.entry().await;
    assert_eq!(told(&entry), format!("token_reused session {family}"));
    assert_eq!(By::of(&entry), By::nobody(&origin));

    let expected = format!("revoke session {own}");
    leaves!(stage, doctor, identity.revoke_own_session(own), |()| {
        expected
    });
    let expected = format!("revoke session {others}");
    leaves!(stage, admin, identity.revoke_session(others), |()| expected);
    let identity = &stage.clinic.services.identity;
    let leaving = identity.authenticate(&last, &origin).await.unwrap();
    identity.log_out(&leaving).await.unwrap();
    stage
        .tells(&leaving, &format!("log_out session {left}"))
        .await;
    let expected = format!("revoke user {doctor_id}");
    leaves!(
        stage,
        admin,
        identity.revoke_sessions_of(doctor_id, &ANY),
        |()| expected
    );

    let acting = leaves!(
        stage,
        admin,
        identity.impersonate(doctor_id, " They asked me to "),
        |acting| {
            let session_id = acting.session.session_id;
            format!(
                "impersonate user {doctor_id}\nreason: - → They asked me to\n\
                 session_id: - → {session_id}"
            )
        }
    );
    vec![stolen, refreshed.access_token, last, acting.access_token]
}

/// Everything that can be done to users.
async fn change_users(stage: &mut Stage) {
    let console = stage
        .clinic
        .services
        .identity
        .create_admin_from_console("root".to_owned(), secret("chosen at the console"))
        .await
        .unwrap();
    let entry = stage.entry().await;
    let expected = format!(
        "create user {}\nusername: - → root\ndisplay_name: - → root\nroles: - → [admin]\n\
         is_active: - → true\nmust_change_password: - → false",
        console.user_id
    );
    assert_eq!(told(&entry), expected);
    assert_eq!(By::of(&entry), By::nobody(&Origin::default()));

    let user = CreateUser {
        username: "new".to_owned(),
        display_name: " Somebody  new ".to_owned(),
        roles: Roles::from_iter([Role::Receptionist, Role::Doctor]),
        is_active: true,
        password: secret("chosen by an admin"),
    };
    let user = leaves!(stage, admin, identity.create_user(user), |user| format!(
        "create user {}\nusername: - → new\ndisplay_name: - → {}\n\
         roles: - → [doctor, receptionist]\nis_active: - → true\nmust_change_password: - → true",
        user.user_id, user.display_name
    ));
    let id = user.user_id;
    let changes = UserChanges {
        username: text("newer"),
        roles: Change::Set(Roles::from_iter([Role::Doctor])),
        ..UserChanges::default()
    };
    let expected = format!(
        "change user {id}\nusername: new → newer\nroles: [doctor, receptionist] → [doctor]"
    );
    leaves!(
        stage,
        admin,
        identity.change_user(id, &ANY, changes),
        |_| expected
    );
    let changes = UserChanges {
        is_active: Change::Set(false),
        ..UserChanges::default()
    };
    let expected = format!("change user {id}\nis_active: true → false");
    leaves!(
        stage,
        admin,
        identity.change_user(id, &ANY, changes),
        |_| expected
    );

    let new = secret("another secret by an admin");
    let id = stage.doctor.user_id;
    let expected = format!("reset_password user {id}\nmust_change_password: false → true");
    leaves!(
        stage,
        admin,
        identity.reset_password(id, &ANY, &new),
        |()| expected
    );
    let chosen = secret("their own choice");
    let expected = format!("change_password user {id}\nmust_change_password: true → false");
    leaves!(
        stage,
        doctor,
        identity.change_password(&new, &chosen),
        |()| expected
    );
    let expected = format!("change_password user {id}");
    leaves!(
        stage,
        doctor,
        identity.change_password(&chosen, &new),
        |()| expected
    );
}

#[test]
fn whatever_is_done_to_sessions_leaves_one_entry() {
    block_on(async {
        change_sessions(&mut Stage::open().await).await;
    });
}

#[test]
fn whatever_is_done_to_users_leaves_one_entry() {
    block_on(async {
        change_users(&mut Stage::open().await).await;
    });
}

#[test]
fn whatever_is_done_to_the_clinic_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let changes = ClinicChanges {
            clinic_name: text("Dr. Meyer"),
            time_zone: text("Europe/Berlin"),
            currency: text("CHF"),
            default_slot_minutes: Change::Set(20),
            ..ClinicChanges::default()
        };
        leaves!(
            stage,
            manager,
            clinic.change_settings(&ANY, changes),
            |_| {
                "change clinic\nclinic_name: Dental clinic → Dr. Meyer\n\
             time_zone: UTC → Europe/Berlin\ncurrency: EUR → CHF\ndefault_slot_minutes: 30 → 20"
            }
        );

        let room = CreateRoom {
            name: "Room 2".to_owned(),
            is_active: false,
            kind: None,
            position: 0,
        };
        let room = leaves!(stage, manager, clinic.create_room(room), |room| format!(
            "create room {}\nname: - → Room 2\nis_active: - → false\nposition: - → 0",
            room.room_id
        ));
        let id = room.room_id;
        let changes = RoomChanges {
            name: text("Room 3"),
            is_active: Change::Set(true),
            kind: text("surgery"),
            position: Change::Set(2),
        };
        let expected = format!(
            "change room {id}\nname: Room 2 → Room 3\nis_active: false → true\n\
             kind: - → surgery\nposition: 0 → 2"
        );
        leaves!(stage, admin, clinic.change_room(id, &ANY, changes), |_| {
            expected
        });
        let expected = format!(
            "delete room {id}\nname: Room 3 → -\nis_active: true → -\nkind: surgery → -\n\
             position: 2 → -"
        );
        leaves!(stage, manager, clinic.delete_room(id, &ANY), |()| expected);
    });
}

#[test]
fn whatever_is_done_to_the_calendar_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let doctor = stage.doctor.user_id;
        let changes = DoctorChanges {
            usual_room_id: Change::Set(stage.clinic.room.room_id),
        };
        let expected = format!(
            "change doctor {doctor}\nusual_room_id: - → {}",
            stage.clinic.room.room_id
        );
        leaves!(
            stage,
            manager,
            clinic.change_doctor(doctor, &ANY, changes),
            |_| { expected }
        );
        let hours = ChangeHours {
            valid_from: NaiveDate::from_ymd_opt(2030, 3, 4),
            intervals: Some(vec![IntervalRequest {
                weekday: Weekday::Mon,
                opens_at: "22:00".to_owned(),
                closes_at: "06:00".to_owned(),
            }]),
        };
        let told = "plans: - → [{valid_from: 2030-03-04, intervals: [Mon 22:00-06:00]}]";
        leaves!(
            stage,
            manager,
            calendar.change_hours(None, &ANY, hours.clone()),
            |_| { format!("change hours\n{told}") }
        );
        leaves!(
            stage,
            manager,
            calendar.change_hours(Some(doctor), &ANY, hours),
            |_| { format!("change hours {doctor}\n{told}") }
        );

        let span = SpanRequest {
            starts_on: NaiveDate::from_ymd_opt(2030, 3, 4).unwrap(),
            starts_at_time: Some("12:30".to_owned()),
            ends_on: None,
            ends_at_time: None,
        };
        let closure = CreateClosure {
            span: span.clone(),
            reason: "Training".to_owned(),
        };
        let closure = leaves!(stage, manager, calendar.close(closure), |closure| format!(
            "create closure {}\nfrom: - → 2030-03-04T12:30\nuntil: - → 2030-03-05T00:00\n\
             reason: - → Training",
            closure.thing.closure_id
        ));
        let id = closure.thing.closure_id;
        let expected = format!(
            "delete closure {id}\nfrom: 2030-03-04T12:30 → -\nuntil: 2030-03-05T00:00 → -\n\
             reason: Training → -"
        );
        leaves!(stage, admin, calendar.reopen(id), |()| expected);

        let time_off = CreateTimeOff {
            doctor_id: doctor,
            span,
            reason: None,
        };
        let time_off = leaves!(
            stage,
            manager,
            calendar.grant_time_off(time_off),
            |time_off| {
                format!(
                    "create time_off {}\ndoctor_id: - → {doctor}\nfrom: - → 2030-03-04T12:30\n\
                 until: - → 2030-03-05T00:00",
                    time_off.thing.time_off_id
                )
            }
        );
        let id = time_off.thing.time_off_id;
        let expected = format!(
            "delete time_off {id}\ndoctor_id: {doctor} → -\nfrom: 2030-03-04T12:30 → -\n\
             until: 2030-03-05T00:00 → -"
        );
        leaves!(
            stage,
            admin,
            calendar.take_back_time_off(doctor, id),
            |()| expected
        );
    });
}

#[test]
fn whatever_is_done_to_the_catalog_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let service = CreateService {
            code: "NEW".to_owned(),
            name: "Something new".to_owned(),
            current_price: Cents::new(1_250),
            default_duration_minutes: None,
            is_active: true,
            buffer_minutes: 0,
            room_kind: None,
            doctor_ids: Vec::new(),
        };
        let service = leaves!(stage, manager, catalog.create(service), |service| format!(
            "create service {}\ncode: - → NEW\nname: - → Something new\n\
             current_price_cents: - → 1250\nis_active: - → true\nbuffer_minutes: - → 0",
            service.service_id
        ));
        let id = service.service_id;
        let changes = ServiceChanges {
            current_price: Change::Set(Cents::new(0)),
            default_duration_minutes: Change::Set(15),
            ..ServiceChanges::default()
        };
        let expected = format!(
            "change service {id}\ncurrent_price_cents: 1250 → 0\n\
             default_duration_minutes: - → 15"
        );
        leaves!(stage, manager, catalog.change(id, &ANY, changes), |_| {
            expected
        });
        let expected = format!(
            "delete service {id}\ncode: NEW → -\nname: Something new → -\n\
             current_price_cents: 0 → -\ndefault_duration_minutes: 15 → -\nis_active: true → -\n\
             buffer_minutes: 0 → -"
        );
        leaves!(stage, admin, catalog.delete(id, &ANY), |()| expected);
    });
}

#[test]
fn whatever_is_done_to_patients_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let details = PatientDetails {
            first_name: "Berta".to_owned(),
            last_name: "Busch".to_owned(),
            birthday: Some("1990-05-17".parse().unwrap()),
            gender: Gender::Unknown,
            notes: None,
        };
        let berta = leaves!(stage, doctor, patients.register(details), |berta| {
            let (id, number) = (berta.patient_id, berta.register_number.get());
            format!(
                "create patient {id} of {id}\nregister_number: - → {number}\n\
                 first_name: - → Berta\nlast_name: - → Busch\nbirthday: - → 1990-05-17\n\
                 gender: - → unknown"
            )
        });
        let (id, number) = (berta.patient_id, berta.register_number.get());
        let changes = PatientChanges {
            last_name: text("Baum"),
            birthday: Change::Clear,
            notes: text("Afraid of needles"),
            ..PatientChanges::default()
        };
        let expected = format!(
            "change patient {id} of {id}\nlast_name: Busch → Baum\nbirthday: 1990-05-17 → -\n\
             notes: - → Afraid of needles"
        );
        leaves!(
            stage,
            receptionist,
            patients.change(id, &ANY, changes),
            |_| expected
        );
        let head = |action: &str| format!("{action} patient {id} of {id}\narchived_at:");
        let archived = leaves!(stage, doctor, patients.archive(id, &ANY), |_| {
            format!("{} - → 2026-03-02T09:00:02Z", head("archive"))
        });
        assert!(archived.archived_at.is_some());
        let expected = format!("{} 2026-03-02T09:00:02Z → -", head("restore"));
        leaves!(stage, doctor, patients.restore(id, &ANY), |_| expected);
        let expected = format!(
            "delete patient {id} of {id}\nregister_number: {number} → -\nfirst_name: Berta → -\n\
             last_name: Baum → -\ngender: unknown → -\nnotes: Afraid of needles → -"
        );
        leaves!(stage, manager, patients.delete(id, &ANY), |()| expected);
    });
}

#[test]
fn what_changes_nothing_leaves_no_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (doctor, id) = (stage.doctor.clone(), stage.patient_id);
        let patients = &stage.clinic.services.patients;
        patients.restore(&doctor, id, &ANY).await.unwrap();
        patients.archive(&doctor, id, &ANY).await.unwrap();
        assert_eq!(stage.new_entries().await.len(), 1);
        let patients = &stage.clinic.services.patients;
        patients.archive(&doctor, id, &ANY).await.unwrap();
        assert_eq!(stage.new_entries().await, []);
    });
}

#[test]
fn whatever_is_done_to_contacts_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let patient = stage.patient_id;
        let contact = CreateContact {
            contact_type: ContactType::Phone,
            value: "030 1234".to_owned(),
            label: Some("At home".to_owned()),
            is_primary: true,
        };
        let contact = leaves!(
            stage,
            receptionist,
            patients.add_contact(patient, contact),
            |contact| {
                format!(
                    "create contact {} of {patient}\ntype: - → phone\nvalue: - → {}\n\
                 label: - → At home\nis_primary: - → true",
                    contact.contact_id, contact.value
                )
            }
        );
        let (id, value) = (contact.contact_id, contact.value);
        let changes = ContactChanges {
            label: Change::Clear,
            is_primary: Change::Set(false),
            ..ContactChanges::default()
        };
        let expected = format!(
            "change contact {id} of {patient}\nlabel: At home → -\nis_primary: true → false"
        );
        leaves!(
            stage,
            doctor,
            patients.change_contact(patient, id, &ANY, changes),
            |_| expected
        );
        let expected = format!(
            "delete contact {id} of {patient}\ntype: phone → -\nvalue: {value} → -\n\
             is_primary: false → -"
        );
        leaves!(
            stage,
            doctor,
            patients.delete_contact(patient, id, &ANY),
            |()| expected
        );
    });
}

#[test]
fn whatever_is_done_to_visits_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (patient, doctor) = (stage.patient_id, stage.doctor.user_id);
        let (room, service) = (stage.clinic.room.room_id, stage.clinic.service.service_id);
        let services = vec![ServiceRequest {
            service_id: service,
            qty: 2,
        }];
        let visit = BookAppointment {
            services,
            overbook_reason: Some("Pain".to_owned()),
            ..stage.clinic.visit_in(60)
        };
        let visit = leaves!(stage, doctor, appointments.book(visit), |visit| format!(
            "create appointment {} of {patient}\npatient_id: - → {patient}\n\
             doctor_id: - → {doctor}\nroom_id: - → {room}\nstarts_at: - → 2026-03-02T10:00:00Z\n\
             ends_at: - → 2026-03-02T10:30:00Z\nstatus: - → scheduled\n\
             services: - → [{{service_id: {service}, qty: 2, unit_price_cents: 8000}}]\noverbook_reason: - → Pain",
            visit.appointment_id
        ));
        let id = visit.appointment_id;
        let changes = AppointmentChanges {
            notes: text("Be kind"),
            room_id: Change::Clear,
            services: Change::Clear,
            reason: Some("Moved".to_owned()),
        };
        let expected = format!(
            "change appointment {id} of {patient}\nroom_id: {room} → -\nnotes: - → Be kind\n\
             services: [{{service_id: {service}, qty: 2, unit_price_cents: 8000}}] → -"
        );
        leaves!(
            stage,
            receptionist,
            appointments.change(id, &ANY, changes),
            |_| expected
        );

        let other = stage.clinic.other_doctor.user_id;
        let moved = Transition::Reschedule {
            starts_at: visit.slot.starts_at() + TimeDelta::hours(1),
            ends_at: Some(visit.slot.ends_at() + TimeDelta::hours(1)),
            doctor_id: Some(other),
            room_id: Change::Keep,
            overbook_reason: None,
            reason: None,
        };
        let expected = format!(
            "reschedule appointment {id} of {patient}\ndoctor_id: {doctor} → {other}\n\
             starts_at: 2026-03-02T10:00:00Z → 2026-03-02T11:00:00Z\n\
             ends_at: 2026-03-02T10:30:00Z → 2026-03-02T11:30:00Z\noverbook_reason: Pain → -"
        );
        leaves!(
            stage,
            manager,
            appointments.take_action(id, &ANY, moved),
            |_| expected
        );
        for (transition, expected) in [
            (Transition::Confirm, "status: scheduled → confirmed"),
            (
                Transition::Arrive,
                "status: confirmed → arrived\narrived_at: - → 2026-03-02T09:00:04Z",
            ),
            (
                Transition::Start,
                "status: arrived → in_chair\nseated_at: - → 2026-03-02T09:00:05Z",
            ),
            (
                Transition::Complete,
                "status: in_chair → completed\ncompleted_at: - → 2026-03-02T09:00:06Z",
            ),
        ] {
            let action = transition.action().as_str();
            let expected = format!("{action} appointment {id} of {patient}\n{expected}");
            leaves!(
                stage,
                manager,
                appointments.take_action(id, &ANY, transition),
                |_| expected
            );
        }
    });
}

#[test]
fn whoever_does_not_come_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let patient = stage.patient_id;
        let reason = "Ill".to_owned();
        for (transition, expected) in [
            (
                Transition::Cancel { reason },
                "status: scheduled → cancelled\ncancel_reason: - → Ill",
            ),
            (Transition::NoShow, "status: scheduled → no_show"),
        ] {
            let visit = stage.clinic.booked_in(180).await;
            stage.entry().await;
            stage.clinic.clock.set(visit.slot.ends_at());
            let id = visit.appointment_id;
            let action = transition.action().as_str();
            let expected = format!("{action} appointment {id} of {patient}\n{expected}");
            leaves!(
                stage,
                doctor,
                appointments.take_action(id, &ANY, transition),
                |_| expected
            );
        }
    });
}

fn item(price: i64) -> NewItem {
    NewItem {
        service_id: None,
        description: Some("Something".to_owned()),
        unit_price: Some(Cents::new(price)),
        qty: 1,
    }
}

#[test]
fn whatever_is_done_to_drafts_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let patient = stage.patient_id;
        let service = stage.clinic.service.service_id;
        let draft = DraftInvoice {
            patient_id: patient,
            appointment_id: None,
            from_appointment: false,
            items: vec![NewItem {
                service_id: Some(service),
                description: None,
                unit_price: None,
                qty: 2,
            }],
        };
        let draft = leaves!(stage, receptionist, billing.draft(draft), |draft| {
            let (id, line) = (draft.invoice_id, draft.items[0].invoice_item_id);
            format!(
                "create invoice {id} of {patient}\npatient_id: - → {patient}\n\
                 currency: - → EUR\nitems: - → [{{invoice_item_id: {line}, service_id: {service}, \
                 description: Filling, unit_price_cents: 8000, qty: 2}}]\nstatus: - → draft\n\
                 total_cents: - → 16000\npaid_cents: - → 0"
            )
        });
        let (id, first) = (draft.invoice_id, draft.items[0].invoice_item_id);
        let filling = format!(
            "{{invoice_item_id: {first}, service_id: {service}, description: Filling, \
             unit_price_cents: 8000, qty: 2}}"
        );
        let head = format!("change invoice {id} of {patient}\nitems:");
        let line = |id: &dyn ToString, qty: i64| {
            let id = id.to_string();
            format!(
                "{{invoice_item_id: {id}, service_id: -, description: Something, \
                 unit_price_cents: 100, qty: {qty}}}"
            )
        };
        let added = leaves!(
            stage,
            receptionist,
            billing.add_item(id, &ANY, item(100)),
            |added| {
                let second = line(&added.items[1].invoice_item_id, 1);
                format!("{head} [{filling}] → [{filling}, {second}]\ntotal_cents: 16000 → 16100")
            }
        );
        let second = added.items[1].invoice_item_id;
        let changes = ItemChanges {
            qty: Change::Set(3),
            ..ItemChanges::default()
        };
        let (before, after) = (line(&second, 1), line(&second, 3));
        let expected = format!(
            "{head} [{filling}, {before}] → [{filling}, {after}]\ntotal_cents: 16100 → 16300"
        );
        leaves!(
            stage,
            admin,
            billing.change_item(id, second, &ANY, changes),
            |_| expected
        );
        let expected = format!("{head} [{filling}, {after}] → [{after}]\ntotal_cents: 16300 → 300");
        leaves!(stage, admin, billing.remove_item(id, first, &ANY), |_| {
            expected
        });

        let visit = stage.clinic.booked_in(60).await.appointment_id;
        stage.entry().await;
        let changes = InvoiceChanges {
            appointment_id: Change::Set(visit),
            items: Change::Set(Vec::new()),
        };
        let expected = format!(
            "change invoice {id} of {patient}\nappointment_id: - → {visit}\n\
             items: [{after}] → -\ntotal_cents: 300 → 0"
        );
        leaves!(
            stage,
            receptionist,
            billing.change_draft(id, &ANY, changes),
            |_| expected
        );
        let expected = format!(
            "delete invoice {id} of {patient}\npatient_id: {patient} → -\n\
             appointment_id: {visit} → -\ncurrency: EUR → -\nstatus: draft → -\n\
             total_cents: 0 → -\npaid_cents: 0 → -"
        );
        leaves!(stage, receptionist, billing.delete_draft(id, &ANY), |()| {
            expected
        });
    });
}

#[test]
fn whatever_is_done_to_money_leaves_one_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let patient = stage.patient_id;
        let id = stage.clinic.drafted(&[100]).await.invoice_id;
        stage.entry().await;
        leaves!(stage, receptionist, billing.issue(id, &ANY), |issued| {
            let number = issued.issue.as_ref().unwrap().number.as_str();
            format!(
                "issue invoice {id} of {patient}\ninvoice_number: - → {number}\n\
                 status: draft → issued"
            )
        });
        let payment = RecordPayment {
            amount: Cents::new(40),
            method: PaymentMethod::BankTransfer,
            paid_at: None,
            reference: Some("TX 7".to_owned()),
        };
        let (payment, _) = leaves!(
            stage,
            receptionist,
            billing.record_payment(id, &ANY, payment),
            |(payment, _)| format!(
                "create payment {} of {patient}\ninvoice_id: - → {id}\namount_cents: - → 40\n\
                 method: - → bank_transfer\npaid_at: - → 2026-03-02T09:00:02Z\n\
                 reference: - → TX 7",
                payment.payment_id
            )
        );
        let payment = payment.payment_id;
        let refund = RecordRefund {
            amount: Cents::new(40),
            reason: "Too much".to_owned(),
        };
        leaves!(
            stage,
            manager,
            billing.record_refund(payment, &ANY, refund),
            |(refund, _)| format!(
                "create refund {} of {patient}\npayment_id: - → {payment}\n\
                 amount_cents: - → 40\nreason: - → Too much",
                refund.refund_id
            )
        );
        let expected = format!(
            "void invoice {id} of {patient}\nvoid_reason: - → Mistake\nstatus: issued → void"
        );
        leaves!(stage, manager, billing.void(id, &ANY, "Mistake"), |_| {
            expected
        });
    });
}

#[test]
fn what_an_admin_does_as_somebody_else_is_told_of_both() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (doctor, patient) = (stage.doctor.user_id, stage.patient_id);
        let services = &stage.clinic.services;
        let identity = &services.identity;
        let acting = identity
            .impersonate(&stage.admin, doctor, "They asked me to")
            .await;
        let acting = acting.unwrap();
        let origin = origin("of-both");
        let actor = identity.authenticate(&acting.access_token, &origin).await;
        let actor = actor.unwrap();
        let entry = stage.entry().await;
        assert_eq!(By::of(&entry), By::actor(&stage.admin));

        let expected = By {
            actor_id: Some(doctor),
            impersonator_id: Some(stage.admin.user_id),
            session_id: Some(acting.session.session_id),
            ..By::nobody(&origin)
        };
        let services = &stage.clinic.services;
        services
            .patients
            .archive(&actor, patient, &ANY)
            .await
            .unwrap();
        assert_eq!(By::of(&stage.entry().await), expected);
        let services = &stage.clinic.services;
        services.patients.patient(&actor, patient).await.unwrap();
        assert_eq!(By::of(&written_down(&mut stage).await[0]), expected);
        let services = &stage.clinic.services;
        services.identity.log_out(&actor).await.unwrap();
        assert_eq!(By::of(&stage.entry().await), expected);
    });
}

#[test]
fn neither_passwords_nor_tokens_are_in_any_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let mut tokens = change_sessions(&mut stage).await;
        change_users(&mut stage).await;
        let identity = &stage.clinic.services.identity;
        // Somebody types the password where the name belongs, or one that is wrong.
        for (username, password) in [(PASSWORD, "doctor1"), ("doctor1", "wrong password")] {
            let attempt = attempt(username, password);
            let refused = identity.log_in(&attempt, &origin("of-nobody")).await;
            assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        }
        let (wrong, new) = (secret("wrong password"), secret("never their own"));
        let refused = identity.change_password(&stage.doctor, &wrong, &new).await;
        assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        written_down(&mut stage).await;
        let entries = entries_of(&stage.clinic.store).await;
        let all = format!("{entries:?}");
        // The text is there to be searched.
        for action in [
            "LogIn",
            "LogInFailed",
            "ResetPassword",
            "ChangePassword",
            "Refresh",
        ] {
            assert!(all.contains(&format!("action: {action},")), "{action}");
        }
        let passwords = [
            PASSWORD,
            "incorrect horse battery",
            "wrong password",
            "never their own",
            "chosen at the console",
            "chosen by an admin",
            "another secret by an admin",
            "their own choice",
            "argon2id",
        ];
        for password in passwords {
            assert!(!all.contains(password), "{password}");
        }
        tokens.extend((1..20).map(|count| secret(&format!("token-{count}"))));
        for token in tokens {
            let hash = FakeTokens::default().hash(&token);
            let hex = hash
                .0
                .iter()
                .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            for shown in [token.expose().to_owned(), format!("{:?}", hash.0), hex] {
                assert!(!all.contains(&shown), "{shown}");
            }
        }
    });
}

/// What was noted and is now written.
async fn written_down(stage: &mut Stage) -> Vec<AuditEntry> {
    assert_eq!(stage.new_entries().await, []);
    let ports = Ports {
        store: Arc::clone(&stage.clinic.store) as _,
        clock: Arc::clone(&stage.clinic.clock) as _,
        ids: Arc::clone(&stage.clinic.ids) as _,
        access_log: Arc::clone(&stage.log),
    };
    let done = stage.log.write_down(&ports).await.unwrap();
    let entries = stage.new_entries().await;
    assert_eq!((done.written, done.lost), (entries.len(), 0));
    entries
}

#[test]
fn a_log_in_that_failed_is_noted_with_the_user_where_there_is_one() {
    block_on(async {
        let mut stage = Stage::open().await;
        let disabled = UserChanges {
            is_active: Change::Set(false),
            ..UserChanges::default()
        };
        let (doctor, other) = (stage.doctor.user_id, stage.clinic.other_doctor.user_id);
        let identity = &stage.clinic.services.identity;
        let changed = identity
            .change_user(&stage.admin, other, &ANY, disabled)
            .await;
        changed.unwrap();
        stage.entry().await;
        let origin = origin("of-nobody");
        for (username, password, expected) in [
            ("Doctor1", "wrong password", Some(doctor)),
            ("doctor2", PASSWORD, Some(other)),
            ("nobody", PASSWORD, None),
            ("doc\0tor1", PASSWORD, None),
        ] {
            let identity = &stage.clinic.services.identity;
            let refused = identity.log_in(&attempt(username, password), &origin).await;
            assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
            let [entry] = <[AuditEntry; 1]>::try_from(written_down(&mut stage).await).unwrap();
            let id = expected.map(|id| format!(" {id}")).unwrap_or_default();
            assert_eq!(told(&entry), format!("log_in_failed user{id}"));
            assert_eq!(By::of(&entry), By::nobody(&origin));
            assert_eq!(entry.at, stage.clinic.clock.now());
        }
    });
}

#[test]
fn a_try_that_is_not_looked_at_is_noted_as_well() {
    block_on(async {
        let mut stage = Stage::open().await;
        let origin = origin("of-nobody");
        for (username, user_id) in [("doctor1", Some(stage.doctor.user_id)), ("nobody", None)] {
            let wrong = attempt(username, "wrong password");
            let mut refusals = 0;
            for _ in 0..8 {
                let refused = stage.clinic.services.identity.log_in(&wrong, &origin).await;
                match refused {
                    Err(IdentityError::InvalidCredentials) => {}
                    Err(IdentityError::Throttled { .. }) => refusals += 1,
                    outcome => panic!("unexpected: {outcome:?}"),
                }
            }
            assert_eq!(refusals, 2, "{username}");
            let id = user_id.map(|id| format!(" {id}")).unwrap_or_default();
            let entries = written_down(&mut stage).await;
            assert_eq!(entries.len(), 8);
            for entry in entries {
                assert_eq!(told(&entry), format!("log_in_failed user{id}"));
                assert_eq!(By::of(&entry), By::nobody(&origin));
            }
        }
    });
}

#[test]
fn a_wrong_current_password_is_noted_like_a_log_in_that_failed() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (wrong, new) = (secret("wrong password"), secret("another secret"));
        let identity = &stage.clinic.services.identity;
        let refused = identity.change_password(&stage.doctor, &wrong, &new).await;
        assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        let [entry] = <[AuditEntry; 1]>::try_from(written_down(&mut stage).await).unwrap();
        let id = stage.doctor.user_id;
        assert_eq!(told(&entry), format!("log_in_failed user {id}"));
        assert_eq!(By::of(&entry), By::nobody(&stage.doctor.origin));
    });
}

/// The call succeeds, changes nothing, and notes one entry of the doctor that tells this.
macro_rules! notes {
    ($stage:ident, $expected:expr, $actor:ident $context:ident.$method:ident($($argument:expr),* $(,)?)) => {{
        let actor = $stage.$actor.clone();
        let service = &$stage.clinic.services.$context;
        service.$method(&actor, $($argument),*).await.unwrap();
        let entries = written_down(&mut $stage).await;
        let entries: Vec<(String, By)> =
            entries.iter().map(|entry| (told(entry), By::of(entry))).collect();
        assert_eq!(entries, [($expected.to_string(), By::actor(&actor))]);
    }};
}

#[test]
fn whatever_is_read_of_a_record_is_noted_with_the_patients_shown() {
    block_on(async {
        let mut stage = Stage::open().await;
        let anna = stage.patient_id;
        let berta = stage.clinic.register("Berta", "Busch").await.patient_id;
        stage.clinic.register("Clara", "Clausen").await;
        let visits = [
            stage.clinic.booked_in(60).await.appointment_id,
            stage.clinic.booked_in(120).await.appointment_id,
        ];
        let of_berta = BookAppointment {
            patient_id: berta,
            doctor_id: stage.clinic.other_doctor.user_id,
            room_id: None,
            ..stage.clinic.visit_in(60)
        };
        let appointments = &stage.clinic.services.appointments;
        appointments.book(&stage.admin, of_berta).await.unwrap();
        let invoice = stage.clinic.issued(&[100]).await.invoice_id;
        let empty = stage.clinic.issued(&[100]).await.invoice_id;
        let payment = RecordPayment {
            amount: Cents::new(40),
            method: PaymentMethod::Cash,
            paid_at: None,
            reference: None,
        };
        let billing = &stage.clinic.services.billing;
        let paid = billing
            .record_payment(&stage.admin, invoice, &ANY, payment)
            .await;
        let payment = paid.unwrap().0.payment_id;
        stage.new_entries().await;

        let of_both = format!("of {anna} of {berta}");
        let searched = |query: &str| PatientFilter {
            query: Some(query.to_owned()),
            ..PatientFilter::default()
        };
        let first = PageRequest::first;
        notes!(stage, format!("read patient {anna} of {anna}"), doctor patients.patient(anna));
        notes!(stage, format!("list patient of {berta}"), doctor patients.patients(searched("busch"), PageRequest::first()));
        notes!(stage, "list patient", doctor patients.patients(searched("nobody of that name"), PageRequest::first()));
        let two = PageRequest {
            limit: PageLimit::new(2).unwrap(),
            after: None,
        };
        notes!(stage, format!("list patient {of_both}"), doctor patients.patients(PatientFilter::default(), two));
        notes!(stage, format!("list contact of {berta}"), doctor patients.contacts(berta, first()));
        notes!(stage, format!("read appointment {} of {anna}", visits[1]), doctor appointments.appointment(visits[1]));
        // A patient who is shown twice is told once.
        notes!(stage, format!("list appointment {of_both}"), doctor appointments.appointments(AppointmentQuery::default(), PageRequest::first()));
        let of_doctor = AppointmentQuery {
            doctor_id: Some(stage.doctor.user_id),
            ..AppointmentQuery::default()
        };
        notes!(stage, format!("list appointment of {anna}"), doctor appointments.appointments(of_doctor, PageRequest::first()));
        notes!(stage, format!("read invoice {invoice} of {anna}"), doctor billing.invoice(invoice));
        notes!(stage, format!("list invoice of {anna}"), doctor billing.invoices(InvoiceQuery::default(), PageRequest::first()));
        notes!(stage, format!("read payment {payment} of {anna}"), doctor billing.payment(payment));
        notes!(stage, format!("list payment of {anna}"), doctor billing.payments(PaymentQuery::default(), PageRequest::first()));
        notes!(stage, format!("list payment of {anna}"), doctor billing.payments_of_invoice(invoice, PageRequest::first()));
        notes!(stage, format!("list payment of {anna}"), doctor billing.payments_of_invoice(empty, PageRequest::first()));

        notes!(stage, format!("list audit_log of {anna}"), manager audit.accesses(anna, PageRequest::first()));
        let about = AuditQuery {
            action: Some(AuditAction::Create),
            entity: Some(Entity::Appointment),
            ..AuditQuery::default()
        };
        notes!(stage, format!("list audit_log {of_both}"), admin audit.entries(about.clone(), PageRequest::first()));
        notes!(stage, format!("export audit_log {of_both}"), admin audit.export(about, PageRequest::first()));
    });
}

#[test]
fn what_is_no_part_of_a_record_is_read_without_a_note() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (services, admin) = (&stage.clinic.services, &stage.admin);
        services.clinic.settings(admin).await.unwrap();
        services
            .clinic
            .rooms(admin, PageRequest::first())
            .await
            .unwrap();
        let room = stage.clinic.room.room_id;
        services.clinic.room(admin, room).await.unwrap();
        services
            .clinic
            .doctors(admin, PageRequest::first())
            .await
            .unwrap();
        let service = stage.clinic.service.service_id;
        services.catalog.service(admin, service).await.unwrap();
        let filter = ServiceFilter::default();
        let listed = services
            .catalog
            .services(admin, filter, PageRequest::first())
            .await;
        listed.unwrap();
        services.identity.me(admin).await.unwrap();
        services
            .identity
            .users(admin, PageRequest::first())
            .await
            .unwrap();
        let own = services
            .identity
            .own_sessions(admin, PageRequest::first())
            .await;
        own.unwrap();
        assert_eq!(written_down(&mut stage).await, []);
    });
}

#[test]
fn whatever_is_refused_or_fails_leaves_no_entry() {
    let clinic = block_on(Clinic::open());
    let first = Actor {
        must_change_password: true,
        ..clinic.admin.clone()
    };
    let impersonated = Actor {
        impersonator_id: Some(clinic.manager.user_id),
        ..clinic.admin.clone()
    };
    let (mut refused, mut failed) = (0, 0);
    for (name, ask) in questions() {
        for actor in [
            &clinic.admin,
            &clinic.doctor,
            &clinic.receptionist,
            &first,
            &impersonated,
        ] {
            let mut fork = clinic.fork();
            let log = watch_with(&mut fork, SessionLifetime::default());
            let before = block_on(entries_of(&fork.store));
            let question = Question {
                clinic: &fork,
                actor,
                doctor_id: clinic.other_doctor.user_id,
                appointment_id: clinic.ids.next_id().into(),
            };
            let mut noted = 0;
            match block_on(ask(&question)) {
                Answer::Done => continue,
                Answer::Forbidden(_) => refused += 1,
                Answer::Failed => {
                    failed += 1;
                    // It came with a wrong password: whoever guesses at one is noted.
                    noted = usize::from(name == "change_password");
                }
            }
            assert_eq!(block_on(entries_of(&fork.store)), before, "{name}");
            assert_eq!(log.len(), noted, "{name}");
        }
    }
    assert!(refused > 100 && failed > 100, "{refused} {failed}");
}

#[test]
fn what_the_store_or_the_version_forbids_leaves_no_entry() {
    block_on(async {
        let mut stage = Stage::open().await;
        let visit = stage.clinic.booked_in(60).await.appointment_id;
        let invoice = stage.clinic.issued(&[100]).await.invoice_id;
        stage.new_entries().await;
        let (services, admin) = (&stage.clinic.services, &stage.admin);
        let (patient, room) = (stage.patient_id, stage.clinic.room.room_id);

        let deleted = services.patients.delete(admin, patient, &ANY).await;
        assert_eq!(violated(deleted), Rule::StillInUse);
        assert_eq!(
            violated(services.clinic.delete_room(admin, room, &ANY).await),
            Rule::StillInUse
        );
        let taken = stage.clinic.visit_in(60);
        let booked = services.appointments.book(admin, taken).await;
        assert_eq!(violated(booked), Rule::DoctorDoubleBooked);
        let renamed = UserChanges {
            username: text("manager"),
            ..UserChanges::default()
        };
        let id = stage.doctor.user_id;
        let renamed = services
            .identity
            .change_user(admin, id, &ANY, renamed)
            .await;
        assert_eq!(violated(renamed), Rule::UsernameTaken);
        let demoted = UserChanges {
            is_active: Change::Set(false),
            ..UserChanges::default()
        };
        let demoted = services
            .identity
            .change_user(admin, admin.user_id, &ANY, demoted)
            .await;
        assert!(matches!(demoted, Err(IdentityError::LastAdmin)));

        let old = outdated();
        assert_mismatch(services.patients.archive(admin, patient, &old).await);
        assert_mismatch(services.billing.void(admin, invoice, &old, "Mistake").await);
        let confirm = Transition::Confirm;
        assert_mismatch(
            services
                .appointments
                .take_action(admin, visit, &old, confirm)
                .await,
        );
        let too_soon = services
            .appointments
            .take_action(admin, visit, &ANY, Transition::Complete)
            .await;
        too_soon.unwrap_err();
        let payment = RecordPayment {
            amount: Cents::new(101),
            method: PaymentMethod::Cash,
            paid_at: None,
            reference: None,
        };
        let paid = services
            .billing
            .record_payment(admin, invoice, &ANY, payment)
            .await;
        paid.unwrap_err();
        assert_eq!(
            faults(services.identity.impersonate(admin, id, " ").await),
            ["/reason required"]
        );
        let rehearsal = services.rehearsal();
        rehearsal
            .patients
            .archive(admin, patient, &ANY)
            .await
            .unwrap_err();
        assert_eq!(stage.log.len(), 0);
        assert_eq!(stage.new_entries().await, []);
    });
}

#[test]
fn a_refusal_is_noted_when_it_is_told() {
    block_on(async {
        let mut stage = Stage::open().await;
        let receptionist = stage.receptionist.clone();
        let audit = &stage.clinic.services.audit;
        audit.note_refusal(&receptionist, "GET /admin/users", None);
        let [entry] = <[AuditEntry; 1]>::try_from(written_down(&mut stage).await).unwrap();
        assert_eq!(
            told(&entry),
            "refuse operation\noperation: - → GET /admin/users"
        );
        assert_eq!(By::of(&entry), By::actor(&receptionist));
    });
}

#[test]
fn who_may_only_read_accesses_does_not_see_what_was_changed() {
    block_on(async {
        let mut stage = Stage::open().await;
        let (anna, manager) = (stage.patient_id, stage.manager.clone());
        let berta = stage.clinic.register("Berta", "Busch").await.patient_id;
        let services = &stage.clinic.services;
        services
            .patients
            .patient(&stage.doctor, anna)
            .await
            .unwrap();
        services
            .patients
            .patient(&stage.doctor, berta)
            .await
            .unwrap();
        stage.new_entries().await;
        written_down(&mut stage).await;
        let audit = &stage.clinic.services.audit;
        let page = audit
            .accesses(&manager, anna, PageRequest::first())
            .await
            .unwrap();
        let accesses: Vec<String> = page.items.iter().map(told).collect();
        let expected =
            ["read", "create"].map(|action| format!("{action} patient {anna} of {anna}"));
        assert_eq!(accesses, expected);
        assert_eq!(page.items[0].actor_id, Some(stage.doctor.user_id));
        let nobody = stage.clinic.ids.next_id().into();
        assert_not_found(audit.accesses(&manager, nobody, PageRequest::first()).await);
        let whole = entries_of(&stage.clinic.store).await;
        let id = Some(Uuid::from(anna));
        let made = whole.iter().find(|entry| entry.entity_id == id).unwrap();
        assert!(!made.changes.is_empty());
    });
}

#[test]
fn names_of_actions_and_entities_lead_back_to_them() {
    for action in AuditAction::ALL {
        assert_eq!(AuditAction::from_name(action.as_str()), Some(*action));
    }
    for entity in Entity::ALL {
        assert_eq!(Entity::from_name(entity.as_str()), Some(*entity));
    }
    assert_eq!(AuditAction::from_name("destroy"), None);
    assert_eq!(Entity::from_name("world"), None);
}
