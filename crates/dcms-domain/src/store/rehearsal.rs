use std::sync::Arc;

use async_trait::async_trait;

use super::{NotReady, Repositories, Store, StoreError, UnitOfWork};
use crate::appointments::AppointmentRepository;
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

struct RehearsedUnitOfWork(Box<dyn UnitOfWork>);

#[async_trait]
impl Store for Rehearsal {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        self.0.connect().await
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        Ok(Box::new(RehearsedUnitOfWork(self.0.begin().await?)))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.0.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.0.wait_before_retry(attempt).await;
    }
}

#[async_trait]
impl UnitOfWork for RehearsedUnitOfWork {
    /// Rolls back, and says so: nobody may take a rehearsal for the real thing.
    async fn commit(self: Box<Self>, _: &AuditEntry) -> Result<(), StoreError> {
        Err(StoreError::Unexpected("a rehearsal keeps nothing".into()))
    }
}

impl Repositories for RehearsedUnitOfWork {
    fn users(&mut self) -> &mut dyn UserRepository {
        self.0.users()
    }

    fn sessions(&mut self) -> &mut dyn SessionRepository {
        self.0.sessions()
    }

    fn throttle(&mut self) -> &mut dyn ThrottleRepository {
        self.0.throttle()
    }

    fn clinic(&mut self) -> &mut dyn ClinicRepository {
        self.0.clinic()
    }

    fn patients(&mut self) -> &mut dyn PatientRepository {
        self.0.patients()
    }

    fn appointments(&mut self) -> &mut dyn AppointmentRepository {
        self.0.appointments()
    }

    fn calendar(&mut self) -> &mut dyn CalendarRepository {
        self.0.calendar()
    }

    fn services(&mut self) -> &mut dyn ServiceRepository {
        self.0.services()
    }

    fn invoices(&mut self) -> &mut dyn InvoiceRepository {
        self.0.invoices()
    }

    fn payments(&mut self) -> &mut dyn PaymentRepository {
        self.0.payments()
    }

    fn audit(&mut self) -> &mut dyn AuditRepository {
        self.0.audit()
    }
}
