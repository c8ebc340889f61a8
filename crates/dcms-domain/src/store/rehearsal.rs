use std::sync::Arc;

use async_trait::async_trait;

use super::{IdempotencyRepository, NotReady, Repositories, Store, StoreError, UnitOfWork};
use crate::appointments::{AppointmentRepository, HistoryRepository};
use crate::audit::{AuditEntry, AuditRepository};
use crate::billing::{InvoiceRepository, PaymentRepository};
use crate::calendar::CalendarRepository;
use crate::catalog::ServiceRepository;
use crate::clinic::ClinicRepository;
use crate::identity::throttle::ThrottleRepository;
use crate::identity::{SessionRepository, UserRepository};
use crate::patients::PatientRepository;

/// A store over another, whose units of work refuse what the other's refuse and never commit.
pub(crate) struct Rehearsal(Arc<dyn Store>);

impl Rehearsal {
    pub(crate) fn of(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

/// A unit of work over another, which leaves it to somebody else what becomes of a commit.
pub(super) struct Withheld<Commit> {
    work: Box<dyn UnitOfWork>,
    commit: Commit,
}

impl<Commit> Withheld<Commit>
where
    Commit: FnOnce(Box<dyn UnitOfWork>, &AuditEntry) -> Result<(), StoreError> + Send,
{
    pub(super) fn new(work: Box<dyn UnitOfWork>, commit: Commit) -> Self {
        Self { work, commit }
    }
}

#[async_trait]
impl Store for Rehearsal {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        self.0.connect().await
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        // Rolls back, and says so: nobody may take a rehearsal for the real thing.
        let refuse = |_, _: &AuditEntry| {
            let why = "a rehearsal keeps nothing";
            Err(StoreError::Unexpected(why.into()))
        };
        Ok(Box::new(Withheld::new(self.0.begin().await?, refuse)))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.0.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.0.wait_before_retry(attempt).await;
    }
}

#[async_trait]
impl<Commit> UnitOfWork for Withheld<Commit>
where
    Commit: FnOnce(Box<dyn UnitOfWork>, &AuditEntry) -> Result<(), StoreError> + Send,
{
    async fn commit(self: Box<Self>, entry: &AuditEntry) -> Result<(), StoreError> {
        let Self { work, commit } = *self;
        commit(work, entry)
    }
}

impl<Commit: Send> Repositories for Withheld<Commit> {
    fn users(&mut self) -> &mut dyn UserRepository {
        self.work.users()
    }

    fn sessions(&mut self) -> &mut dyn SessionRepository {
        self.work.sessions()
    }

    fn throttle(&mut self) -> &mut dyn ThrottleRepository {
        self.work.throttle()
    }

    fn clinic(&mut self) -> &mut dyn ClinicRepository {
        self.work.clinic()
    }

    fn patients(&mut self) -> &mut dyn PatientRepository {
        self.work.patients()
    }

    fn appointments(&mut self) -> &mut dyn AppointmentRepository {
        self.work.appointments()
    }

    fn calendar(&mut self) -> &mut dyn CalendarRepository {
        self.work.calendar()
    }

    fn history(&mut self) -> &mut dyn HistoryRepository {
        self.work.history()
    }

    fn services(&mut self) -> &mut dyn ServiceRepository {
        self.work.services()
    }

    fn invoices(&mut self) -> &mut dyn InvoiceRepository {
        self.work.invoices()
    }

    fn payments(&mut self) -> &mut dyn PaymentRepository {
        self.work.payments()
    }

    fn audit(&mut self) -> &mut dyn AuditRepository {
        self.work.audit()
    }

    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository {
        self.work.idempotency()
    }
}
