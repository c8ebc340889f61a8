//! A store in memory that keeps the rules of the database.
//!
//! A unit of work changes a copy and swaps it in at commit. It is stricter than the database where
//! that shows mistakes: whatever was committed meanwhile is a conflict, and only a unit of work
//! writes.

mod appointments;
mod audit;
mod billing;
mod calendar;
mod catalog;
mod clinic;
mod forms;
mod history;
mod idempotency;
mod identity;
mod patients;
mod search;
mod throttle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use iso_currency::Currency;

pub use throttle::InMemoryThrottle;

use uuid::Uuid;

use crate::access::Role;
use crate::appointments::{
    Appointment, AppointmentRepository, AppointmentVersion, HistoryKey, HistoryRepository, Position,
};
use crate::audit::{AuditEntry, AuditRepository};
use crate::billing::{Invoice, InvoiceRepository, Payment, PaymentRepository, Refund};
use crate::calendar::{CalendarRepository, Closure, Schedule, TimeOff};
use crate::catalog::{Service, ServiceRepository};
use crate::clinic::{ClinicRepository, ClinicSettings, Room};
use crate::identity::throttle::ThrottleRepository;
use crate::identity::{PasswordHash, Session, SessionRepository, TokenHash, User, UserRepository};
use crate::patients::{Contact, Patient, PatientRepository};
use crate::shared::{
    AppointmentId, AuditId, ClosureId, ContactId, Instant, InvoiceId, Page, PageRequest, PatientId,
    PaymentId, RefundId, RoomId, ServiceId, SessionId, TimeOffId, TimeWindow, UserId, Version,
    Versioned,
};
use crate::store::{
    AnsweredRequest, IdempotencyKey, IdempotencyRepository, NotReady, Repositories, Rule, Store,
    StoreError, UnitOfWork,
};

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct InMemoryStore(Arc<Shared>);

impl InMemoryStore {
    /// Another store that starts with what is committed in this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Shared {
            committed: Mutex::new(Arc::clone(&self.0.committed())),
            register_numbers: AtomicI64::new(self.0.register_numbers.load(Ordering::Relaxed)),
            throttle: InMemoryThrottle::default(),
        }))
    }
}

#[derive(Default)]
struct Shared {
    committed: Mutex<Arc<State>>,
    /// Like a sequence of the database: what is given stays given, committed or not.
    register_numbers: AtomicI64,
    /// Counted at once, committed or not.
    throttle: InMemoryThrottle,
}

impl Shared {
    fn committed(&self) -> MutexGuard<'_, Arc<State>> {
        // A state is swapped whole, so a panic elsewhere leaves none half written.
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct StoredSession {
    session: Session,
    token: TokenHash,
    revoked_at: Option<Instant>,
}

/// Everything that is stored.
#[derive(Clone)]
struct State {
    users: BTreeMap<UserId, (User, PasswordHash)>,
    sessions: BTreeMap<SessionId, StoredSession>,
    retired_tokens: Vec<(TokenHash, SessionId)>,
    settings: ClinicSettings,
    rooms: BTreeMap<RoomId, Room>,
    /// Since when users are no active doctors, and rooms are inactive.
    not_available_since: BTreeMap<Uuid, Instant>,
    /// What was changed of doctors: their usual rooms.
    doctors: BTreeMap<UserId, (Option<RoomId>, Version)>,
    schedules: BTreeMap<Option<UserId>, Schedule>,
    closures: BTreeMap<ClosureId, Closure>,
    time_off: BTreeMap<TimeOffId, TimeOff>,
    patients: BTreeMap<PatientId, Patient>,
    contacts: BTreeMap<ContactId, Contact>,
    appointments: BTreeMap<AppointmentId, Appointment>,
    history: BTreeMap<HistoryKey, (AppointmentVersion, Option<Position>)>,
    services: BTreeMap<ServiceId, Service>,
    invoices: BTreeMap<InvoiceId, Invoice>,
    last_invoice_sequence: i64,
    payments: BTreeMap<PaymentId, Payment>,
    refunds: BTreeMap<RefundId, Refund>,
    audit: BTreeMap<AuditId, Arc<AuditEntry>>,
    answers: BTreeMap<IdempotencyKey, AnsweredRequest>,
}

impl State {
    fn note_availability(&mut self, id: impl Into<Uuid>, is_available: bool, now: Instant) {
        if is_available {
            self.not_available_since.remove(&id.into());
        } else {
            self.not_available_since.entry(id.into()).or_insert(now);
        }
    }

    fn note_doctor(&mut self, user: &User) {
        let is_doctor = user.is_active && user.roles.contains(Role::Doctor);
        self.note_availability(user.user_id, is_doctor, user.updated_at);
    }

    fn note_room(&mut self, room: &Room) {
        self.note_availability(room.room_id, room.is_active, room.updated_at);
    }
}

impl Default for State {
    /// What the migrations leave behind.
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            sessions: BTreeMap::new(),
            retired_tokens: Vec::new(),
            settings: ClinicSettings {
                clinic_name: "Dental clinic".to_owned(),
                time_zone: Tz::UTC,
                address: None,
                phone: None,
                email: None,
                currency: Currency::EUR,
                default_slot_minutes: 30,
                slot_grid_minutes: 5,
                smallest_notice_minutes: 0,
                largest_notice_days: 731,
                version: Version::FIRST,
                updated_at: Utc
                    .with_ymd_and_hms(2026, 1, 1, 0, 0, 0)
                    .single()
                    .expect("the instant exists"),
            },
            rooms: BTreeMap::new(),
            not_available_since: BTreeMap::new(),
            doctors: BTreeMap::new(),
            schedules: BTreeMap::new(),
            closures: BTreeMap::new(),
            time_off: BTreeMap::new(),
            patients: BTreeMap::new(),
            contacts: BTreeMap::new(),
            appointments: BTreeMap::new(),
            history: BTreeMap::new(),
            services: BTreeMap::new(),
            invoices: BTreeMap::new(),
            last_invoice_sequence: 0,
            payments: BTreeMap::new(),
            refunds: BTreeMap::new(),
            audit: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }
}

#[async_trait]
impl Store for InMemoryStore {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        Ok(Box::new(Connection {
            shared: Arc::clone(&self.0),
            throttle: self.0.throttle.clone(),
            work: None,
        }))
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let base = Arc::clone(&self.0.committed());
        Ok(Box::new(Connection {
            shared: Arc::clone(&self.0),
            throttle: self.0.throttle.clone(),
            work: Some(Work {
                current: Arc::clone(&base),
                base,
                broken: false,
            }),
        }))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        Ok(())
    }

    async fn wait_before_retry(&self, _attempt: u32) {}
}

/// Implements every repository, over what is committed or inside one unit of work.
struct Connection {
    shared: Arc<Shared>,
    throttle: InMemoryThrottle,
    work: Option<Work>,
}

struct Work {
    /// What was committed when the unit of work began.
    base: Arc<State>,
    current: Arc<State>,
    /// Met a violation: like a transaction of the database, it cannot go on.
    broken: bool,
}

impl Connection {
    fn read(&self) -> Result<Arc<State>, StoreError> {
        match &self.work {
            None => Ok(Arc::clone(&self.shared.committed())),
            Some(work) if work.broken => {
                Err(misused("a unit of work that met a violation goes on"))
            }
            Some(work) => Ok(Arc::clone(&work.current)),
        }
    }

    /// Makes a change that stands at once when no unit of work is open.
    fn write_at_once<Outcome>(
        &mut self,
        change: impl FnOnce(&mut State) -> Outcome,
    ) -> Result<Outcome, StoreError> {
        if self.work.is_some() {
            return self.write(|state| Ok(change(state)));
        }
        let mut committed = self.shared.committed();
        let mut next = State::clone(&committed);
        let outcome = change(&mut next);
        *committed = Arc::new(next);
        Ok(outcome)
    }

    /// Makes the whole change or, when it is refused, none of it.
    fn write<Outcome>(
        &mut self,
        change: impl FnOnce(&mut State) -> Result<Outcome, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let mut next = State::clone(&*self.read()?);
        let Some(work) = &mut self.work else {
            return Err(misused("a write outside a unit of work"));
        };
        let outcome = change(&mut next);
        match &outcome {
            Ok(_) => work.current = Arc::new(next),
            Err(error) => work.broken = matches!(error, StoreError::Violated(_)),
        }
        outcome
    }
}

#[async_trait]
impl UnitOfWork for Connection {
    async fn commit(mut self: Box<Self>, entry: &AuditEntry) -> Result<(), StoreError> {
        self.append(std::slice::from_ref(entry)).await?;
        let next = self.read()?;
        let Some(work) = self.work else {
            return Err(misused("a commit outside a unit of work"));
        };
        next.check_sums()?;
        let mut committed = self.shared.committed();
        if !Arc::ptr_eq(&work.base, &committed) {
            return Err(StoreError::Conflict);
        }
        *committed = next;
        Ok(())
    }
}

impl Repositories for Connection {
    fn users(&mut self) -> &mut dyn UserRepository {
        self
    }
    fn sessions(&mut self) -> &mut dyn SessionRepository {
        self
    }
    fn throttle(&mut self) -> &mut dyn ThrottleRepository {
        &mut self.throttle
    }
    fn clinic(&mut self) -> &mut dyn ClinicRepository {
        self
    }
    fn patients(&mut self) -> &mut dyn PatientRepository {
        self
    }
    fn appointments(&mut self) -> &mut dyn AppointmentRepository {
        self
    }
    fn calendar(&mut self) -> &mut dyn CalendarRepository {
        self
    }
    fn history(&mut self) -> &mut dyn HistoryRepository {
        self
    }
    fn services(&mut self) -> &mut dyn ServiceRepository {
        self
    }
    fn invoices(&mut self) -> &mut dyn InvoiceRepository {
        self
    }
    fn payments(&mut self) -> &mut dyn PaymentRepository {
        self
    }
    fn audit(&mut self) -> &mut dyn AuditRepository {
        self
    }
    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository {
        self
    }
}

fn misused(how: &'static str) -> StoreError {
    StoreError::Unexpected(how.into())
}

/// Holds a rule: what is not so violates it.
fn hold(rule: Rule, is_so: bool) -> Result<(), StoreError> {
    if is_so {
        Ok(())
    } else {
        Err(StoreError::Violated(rule))
    }
}

/// What is stored, when it is in the version before that of `next`.
fn stored_before<'state, Id: Ord, Resource: Versioned>(
    table: &'state mut BTreeMap<Id, Resource>,
    id: &Id,
    next: &impl Versioned,
) -> Result<&'state mut Resource, StoreError> {
    table
        .get_mut(id)
        .filter(|stored| stored.version() == next.version().previous())
        .ok_or(StoreError::Conflict)
}

/// Whether what is to be deleted is stored in that version.
fn stored_in_version<Id: Ord, Resource: Versioned>(
    table: &BTreeMap<Id, Resource>,
    id: &Id,
    resource: &Resource,
) -> Result<(), StoreError> {
    table
        .get(id)
        .filter(|stored| stored.version() == resource.version())
        .map(|_| ())
        .ok_or(StoreError::Conflict)
}

/// The page of what is in the list's order.
fn page<Item, Key>(
    in_order: impl Iterator<Item = Item>,
    request: &PageRequest<Key>,
    is_behind: impl Fn(&Item, &Key) -> bool,
    key_of: impl FnOnce(&Item) -> Key,
) -> Page<Item, Key> {
    let rows = in_order
        .filter(|item| {
            request
                .after
                .as_ref()
                .is_none_or(|after| is_behind(item, after))
        })
        .take(request.limit.get() + 1)
        .collect();
    Page::from_rows(rows, request, key_of)
}

fn same_text(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn contains(window: TimeWindow, instant: Instant) -> bool {
    window.from.is_none_or(|from| from <= instant) && window.to.is_none_or(|to| instant < to)
}
