//! The whole seed as one unit of work: it is there or it is not, and the disk is waited for once.

use std::sync::Arc;

use async_trait::async_trait;
use dcms_domain::appointments::{AppointmentRepository, HistoryRepository};
use dcms_domain::audit::{AuditEntry, AuditRepository};
use dcms_domain::billing::{InvoiceRepository, PaymentRepository};
use dcms_domain::calendar::CalendarRepository;
use dcms_domain::catalog::ServiceRepository;
use dcms_domain::clinic::ClinicRepository;
use dcms_domain::identity::throttle::ThrottleRepository;
use dcms_domain::identity::{SessionRepository, UserRepository};
use dcms_domain::patients::PatientRepository;
use dcms_domain::store::{
    IdempotencyRepository, NotReady, Repositories, Store, StoreError, UnitOfWork,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A store whose units of work are all parts of one, which [`finish`](Self::finish) commits.
pub(crate) struct OneUnitOfWork {
    store: Arc<dyn Store>,
    whole: Arc<Mutex<Box<dyn UnitOfWork>>>,
}

/// A part, as long as its turn lasts.
struct Part(OwnedMutexGuard<Box<dyn UnitOfWork>>);

impl OneUnitOfWork {
    pub(crate) async fn begin(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let whole = Arc::new(Mutex::new(store.begin().await?));
        Ok(Self { store, whole })
    }

    /// Commits everything. To be called when no part is open and no service holds the store.
    pub(crate) async fn finish(self: Arc<Self>, entry: &AuditEntry) -> anyhow::Result<()> {
        let whole = Arc::into_inner(self)
            .and_then(|this| Arc::into_inner(this.whole))
            .ok_or_else(|| anyhow::anyhow!("the seed is still being written"))?;
        Ok(whole.into_inner().commit(entry).await?)
    }

    async fn part(&self) -> Box<Part> {
        Box::new(Part(Arc::clone(&self.whole).lock_owned().await))
    }
}

#[async_trait]
impl Store for OneUnitOfWork {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        Ok(self.part().await)
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        Ok(self.part().await)
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.store.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.store.wait_before_retry(attempt).await;
    }
}

#[async_trait]
impl UnitOfWork for Part {
    /// A part that fails fails the whole, so nothing but the entry is to be kept of one that
    /// succeeds.
    async fn commit(mut self: Box<Self>, entry: &AuditEntry) -> Result<(), StoreError> {
        self.0.audit().append(std::slice::from_ref(entry)).await
    }
}

impl Repositories for Part {
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

    fn history(&mut self) -> &mut dyn HistoryRepository {
        self.0.history()
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

    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository {
        self.0.idempotency()
    }
}
