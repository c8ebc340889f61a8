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
use dcms_domain::store::{IdempotencyRepository, Repositories, StoreError, UnitOfWork};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgQueryResult;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::Notify;

use crate::error::store_error;

/// All repositories over one connection, inside a transaction or not.
pub(crate) enum PgSession {
    /// Each statement commits by itself.
    Plain(PoolConnection<Postgres>),
    /// Statements commit together. Dropped, it rolls back.
    Transaction {
        transaction: Transaction<'static, Postgres>,
        /// Whether a visit was changed in it.
        changed_visits: bool,
        /// Who waits for changes of visits that are committed.
        visit_changes: Arc<Notify>,
    },
}

impl PgSession {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Plain(connection) => connection,
            Self::Transaction { transaction, .. } => transaction,
        }
    }

    /// Lets those who wait for changes of visits know of one, once it is committed.
    pub(crate) fn note_changed_visit(&mut self) {
        if let Self::Transaction { changed_visits, .. } = self {
            *changed_visits = true;
        }
    }
}

impl Repositories for PgSession {
    fn users(&mut self) -> &mut dyn UserRepository {
        self
    }

    fn sessions(&mut self) -> &mut dyn SessionRepository {
        self
    }

    fn throttle(&mut self) -> &mut dyn ThrottleRepository {
        self
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

#[async_trait]
impl UnitOfWork for PgSession {
    async fn commit(mut self: Box<Self>, entry: &AuditEntry) -> Result<(), StoreError> {
        self.append(std::slice::from_ref(entry)).await?;
        match *self {
            // Every statement is committed already.
            Self::Plain(_) => Ok(()),
            // Constraints that are deferred speak up here.
            Self::Transaction {
                transaction,
                changed_visits,
                visit_changes,
            } => {
                transaction.commit().await.map_err(store_error)?;
                if changed_visits {
                    visit_changes.notify_one();
                }
                Ok(())
            }
        }
    }
}

/// A write that names the version it changes finds one row, or another change came first.
pub(crate) fn require_one_row(result: &PgQueryResult) -> Result<(), StoreError> {
    require_change(result.rows_affected() == 1)
}

/// See [`require_one_row`], for statements that tell it by a value.
pub(crate) const fn require_change(changed: bool) -> Result<(), StoreError> {
    if changed {
        Ok(())
    } else {
        Err(StoreError::Conflict)
    }
}
