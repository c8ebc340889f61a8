//! The door to persistence.
//!
//! Services open a unit of work, ask its repositories for what they need, decide, and commit;
//! dropping it rolls back. Questions that need no transaction use the same repositories over a
//! plain connection and do not pay for one.

mod idempotency;
mod once;
mod rehearsal;

use std::error::Error;

use async_trait::async_trait;

use crate::appointments::{AppointmentRepository, HistoryRepository};
use crate::audit::{AuditEntry, AuditRepository};
use crate::billing::{InvoiceRepository, PaymentRepository};
use crate::calendar::CalendarRepository;
use crate::catalog::ServiceRepository;
use crate::clinic::ClinicRepository;
use crate::identity::throttle::ThrottleRepository;
use crate::identity::{SessionRepository, UserRepository};
use crate::patients::PatientRepository;
use crate::shared::CommonError;

#[cfg(feature = "testing")]
pub use idempotency::MockIdempotencyRepository;
pub use idempotency::{
    ANSWERS_KEPT, AnsweredRequest, IdempotencyKey, IdempotencyRepository, KeptAnswer, KeyedRequest,
};
pub(crate) use once::{Once, Progress};
pub(crate) use rehearsal::Rehearsal;

/// Opens connections and units of work.
#[async_trait]
pub trait Store: Send + Sync {
    /// Repositories for questions: each statement sees what was committed before it.
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError>;

    /// Repositories whose changes become visible together, at [`UnitOfWork::commit`].
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError>;

    /// Whether the store can be reached and has exactly the shape that this build works with.
    async fn check_ready(&self) -> Result<(), NotReady>;

    /// Lets some time pass, longer and less predictable with each `attempt` (from 1), so that
    /// units of work that ran into each other do not meet again.
    async fn wait_before_retry(&self, attempt: u32);
}

/// The repositories of all contexts over one connection.
pub trait Repositories: Send {
    /// Users and their passwords.
    fn users(&mut self) -> &mut dyn UserRepository;
    /// Sessions.
    fn sessions(&mut self) -> &mut dyn SessionRepository;
    /// Failed log-ins.
    fn throttle(&mut self) -> &mut dyn ThrottleRepository;
    /// Settings, rooms and doctors.
    fn clinic(&mut self) -> &mut dyn ClinicRepository;
    /// Patients and their contacts.
    fn patients(&mut self) -> &mut dyn PatientRepository;
    /// Appointments.
    fn appointments(&mut self) -> &mut dyn AppointmentRepository;
    /// Hours, closures and time off.
    fn calendar(&mut self) -> &mut dyn CalendarRepository;
    /// What was done to appointments.
    fn history(&mut self) -> &mut dyn HistoryRepository;
    /// The service catalog.
    fn services(&mut self) -> &mut dyn ServiceRepository;
    /// Invoices and their lines.
    fn invoices(&mut self) -> &mut dyn InvoiceRepository;
    /// Payments and refunds.
    fn payments(&mut self) -> &mut dyn PaymentRepository;
    /// The audit log.
    fn audit(&mut self) -> &mut dyn AuditRepository;
    /// Answers to requests that may come again.
    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository;
}

/// Repositories inside one transaction. Dropped without [`commit`](Self::commit), nothing of it
/// remains.
#[async_trait]
pub trait UnitOfWork: Repositories {
    /// Makes every change of this unit of work and the entry that tells of them visible and
    /// durable, or nothing.
    async fn commit(self: Box<Self>, entry: &AuditEntry) -> Result<(), StoreError>;
}

/// Why a store cannot be worked with now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It does not answer.
    #[error("the database cannot be reached")]
    Unreachable,
    /// Migrations of this build are not applied.
    #[error("migrations are missing: {0:?}")]
    MigrationsMissing(Vec<i64>),
    /// Migrations are applied that this build does not know or knows differently.
    #[error("migrations are unknown to this build: {0:?}")]
    MigrationsUnknown(Vec<i64>),
}

/// Why persistence did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store refused: the change would break this rule.
    #[error("the change breaks the rule {0:?}")]
    Violated(Rule),
    /// Another unit of work got in the way; the same one may succeed when it is tried again.
    #[error("another change got in the way")]
    Conflict,
    /// The store cannot be reached or is too busy; later it may work. Nothing was changed, unless
    /// it happened in a commit: then it is not known.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// A fault inside: not the caller's, and trying again will not help.
    #[error("the store failed")]
    Unexpected(#[source] Box<dyn Error + Send + Sync>),
}

/// What a store guarantees whatever the services do. Each constraint of the database stands for
/// one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A username belongs to one user, however it is capitalised.
    UsernameTaken,
    /// A room's name belongs to one room, however it is capitalised.
    RoomNameTaken,
    /// A service's code belongs to one service, however it is capitalised.
    ServiceCodeTaken,
    /// A register number belongs to one patient.
    RegisterNumberTaken,
    /// An invoice number belongs to one invoice.
    InvoiceNumberTaken,
    /// A patient has at most one primary contact of a type.
    PrimaryContactTaken,
    /// An id or a token is given once.
    IdentifierTaken,
    /// A doctor is in one place at a time.
    DoctorDoubleBooked,
    /// A room holds one visit at a time.
    RoomDoubleBooked,
    /// A patient is in one place at a time.
    PatientDoubleBooked,
    /// What refers to a user refers to one that exists.
    UserUnknown,
    /// An appointment's doctor exists.
    DoctorUnknown,
    /// An appointment's room exists.
    RoomUnknown,
    /// What refers to a patient refers to one that exists.
    PatientUnknown,
    /// An invoice's appointment exists and is the same patient's.
    AppointmentUnknown,
    /// What refers to a service refers to one that exists.
    ServiceUnknown,
    /// The hours of a day do not overlap, past midnight and over the end of the week included.
    HoursOverlap,
    /// What belongs to an invoice belongs to one that exists.
    InvoiceUnknown,
    /// A refund's payment exists and is of the same invoice.
    PaymentUnknown,
    /// What others refer to is not deleted.
    StillInUse,
    /// Lines change only while the invoice is a draft; an issued invoice keeps its number, patient
    /// and total, and is never deleted.
    InvoiceFrozen,
    /// A payment or a refund is never changed or deleted.
    PaymentFrozen,
    /// `0 ≤ paid ≤ total`, and nothing is paid on a draft or a void invoice.
    PaidBeyondTotal,
    /// The refunds of a payment never exceed it.
    RefundBeyondPayment,
    /// An invoice's total is the sum of its lines, and what was paid the sum of its payments
    /// without their refunds.
    SumsDisagree,
    /// An anonymized patient stays nobody.
    PatientAnonymized,
    /// A value of the wrong form or out of bounds; services refuse it first and say where.
    ValueRefused,
}

/// An error that may carry a [`StoreError`].
pub trait CarriesStoreError {
    /// The store's error, when that is what happened.
    fn store_error(&self) -> Option<&StoreError>;
}

impl CarriesStoreError for CommonError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl CarriesStoreError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// How often a unit of work that met a conflict is tried in all.
const MAX_ATTEMPTS: u32 = 8;

/// Does `unit_of_work`, and does the whole of it again while it ends in [`StoreError::Conflict`],
/// a bounded number of times.
pub(crate) async fn retry_conflicts<Outcome, Failure, Work>(
    store: &dyn Store,
    unit_of_work: impl Fn() -> Work + Send + Sync,
) -> Result<Outcome, Failure>
where
    Failure: CarriesStoreError,
    Work: Future<Output = Result<Outcome, Failure>> + Send,
{
    let mut attempt = 1;
    loop {
        let outcome = unit_of_work().await;
        let conflicted = outcome
            .as_ref()
            .is_err_and(|failure| matches!(failure.store_error(), Some(StoreError::Conflict)));
        if !conflicted || attempt == MAX_ATTEMPTS {
            return outcome;
        }
        // The outcome is not needed any more and need not be `Send` across the wait.
        drop(outcome);
        store.wait_before_retry(attempt).await;
        attempt += 1;
    }
}
