use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::sync::Arc;

use async_trait::async_trait;

use crate::appointments::{
    AppointmentRepository, HistoryRepository, MockAppointmentRepository, MockHistoryRepository,
};
use crate::audit::{AuditEntry, AuditRepository, MockAuditRepository};
use crate::billing::{
    InvoiceRepository, MockInvoiceRepository, MockPaymentRepository, PaymentRepository,
};
use crate::calendar::{CalendarRepository, MockCalendarRepository};
use crate::catalog::{MockServiceRepository, ServiceRepository};
use crate::clinic::{ClinicRepository, MockClinicRepository};
use crate::identity::throttle::{MockThrottleRepository, ThrottleRepository};
use crate::identity::{
    MockSessionRepository, MockUserRepository, SessionRepository, UserRepository,
};
use crate::patients::{MockPatientRepository, PatientRepository};
use crate::store::{
    IdempotencyRepository, MockIdempotencyRepository, NotReady, Repositories, Store, StoreError,
    UnitOfWork,
};

type Prepare = dyn Fn(&mut MockRepositories) + Send + Sync;
type Outcome = dyn Fn() -> Result<(), StoreError> + Send + Sync;

/// A store whose repositories are mocks, and that tells what became of its units of work.
pub struct MockStore {
    prepare: Box<Prepare>,
    begin: Box<Outcome>,
    commit: Arc<Outcome>,
    begun: AtomicUsize,
    committed: Arc<AtomicUsize>,
    waits: Mutex<Vec<u32>>,
}

impl MockStore {
    /// A store that lets `prepare` say what is expected of each connection and unit of work. They
    /// begin and commit without fail.
    #[must_use]
    pub fn new(prepare: impl Fn(&mut MockRepositories) + Send + Sync + 'static) -> Self {
        Self {
            prepare: Box::new(prepare),
            begin: Box::new(|| Ok(())),
            commit: Arc::new(|| Ok(())),
            begun: AtomicUsize::new(0),
            committed: Arc::default(),
            waits: Mutex::default(),
        }
    }

    /// The store, with another outcome of connecting and beginning.
    #[must_use]
    pub fn on_begin(
        mut self,
        outcome: impl Fn() -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        self.begin = Box::new(outcome);
        self
    }

    /// The store, with another outcome of commits.
    #[must_use]
    pub fn on_commit(
        mut self,
        outcome: impl Fn() -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        self.commit = Arc::new(outcome);
        self
    }

    /// How many units of work began.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many units of work were committed.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// The attempts after which somebody waited.
    ///
    /// # Panics
    /// When another thread panicked while it waited.
    #[must_use]
    pub fn waits(&self) -> Vec<u32> {
        self.waits.lock().expect("no test panicked waiting").clone()
    }

    fn repositories(&self) -> MockRepositories {
        let mut repositories = MockRepositories {
            users: MockUserRepository::new(),
            sessions: MockSessionRepository::new(),
            throttle: MockThrottleRepository::new(),
            clinic: MockClinicRepository::new(),
            patients: MockPatientRepository::new(),
            appointments: MockAppointmentRepository::new(),
            calendar: MockCalendarRepository::new(),
            history: MockHistoryRepository::new(),
            services: MockServiceRepository::new(),
            invoices: MockInvoiceRepository::new(),
            payments: MockPaymentRepository::new(),
            audit: MockAuditRepository::new(),
            idempotency: MockIdempotencyRepository::new(),
            commit: Arc::clone(&self.commit),
            committed: Arc::clone(&self.committed),
        };
        (self.prepare)(&mut repositories);
        repositories
    }
}

#[async_trait]
impl Store for MockStore {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        (self.begin)()?;
        Ok(Box::new(self.repositories()))
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        (self.begin)()?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.repositories()))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        Ok(())
    }

    async fn wait_before_retry(&self, attempt: u32) {
        let mut waits = self.waits.lock().expect("no test panicked waiting");
        waits.push(attempt);
    }
}

/// One connection or unit of work of a [`MockStore`].
pub struct MockRepositories {
    /// See [`Repositories::users`].
    pub users: MockUserRepository,
    /// See [`Repositories::sessions`].
    pub sessions: MockSessionRepository,
    /// See [`Repositories::throttle`].
    pub throttle: MockThrottleRepository,
    /// See [`Repositories::clinic`].
    pub clinic: MockClinicRepository,
    /// See [`Repositories::patients`].
    pub patients: MockPatientRepository,
    /// See [`Repositories::appointments`].
    pub appointments: MockAppointmentRepository,
    /// See [`Repositories::calendar`].
    pub calendar: MockCalendarRepository,
    /// See [`Repositories::history`].
    pub history: MockHistoryRepository,
    /// See [`Repositories::services`].
    pub services: MockServiceRepository,
    /// See [`Repositories::invoices`].
    pub invoices: MockInvoiceRepository,
    /// See [`Repositories::payments`].
    pub payments: MockPaymentRepository,
    /// See [`Repositories::audit`].
    pub audit: MockAuditRepository,
    /// See [`Repositories::idempotency`].
    pub idempotency: MockIdempotencyRepository,
    commit: Arc<Outcome>,
    committed: Arc<AtomicUsize>,
}

impl Repositories for MockRepositories {
    fn users(&mut self) -> &mut dyn UserRepository {
        &mut self.users
    }
    fn sessions(&mut self) -> &mut dyn SessionRepository {
        &mut self.sessions
    }
    fn throttle(&mut self) -> &mut dyn ThrottleRepository {
        &mut self.throttle
    }
    fn clinic(&mut self) -> &mut dyn ClinicRepository {
        &mut self.clinic
    }
    fn patients(&mut self) -> &mut dyn PatientRepository {
        &mut self.patients
    }
    fn appointments(&mut self) -> &mut dyn AppointmentRepository {
        &mut self.appointments
    }
    fn calendar(&mut self) -> &mut dyn CalendarRepository {
        &mut self.calendar
    }
    fn history(&mut self) -> &mut dyn HistoryRepository {
        &mut self.history
    }
    fn services(&mut self) -> &mut dyn ServiceRepository {
        &mut self.services
    }
    fn invoices(&mut self) -> &mut dyn InvoiceRepository {
        &mut self.invoices
    }
    fn payments(&mut self) -> &mut dyn PaymentRepository {
        &mut self.payments
    }
    fn audit(&mut self) -> &mut dyn AuditRepository {
        &mut self.audit
    }
    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository {
        &mut self.idempotency
    }
}

#[async_trait]
impl UnitOfWork for MockRepositories {
    async fn commit(self: Box<Self>, _: &AuditEntry) -> Result<(), StoreError> {
        (self.commit)()?;
        self.committed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
