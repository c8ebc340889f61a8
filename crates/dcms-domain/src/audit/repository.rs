use async_trait::async_trait;

use super::{AuditEntry, AuditFilter};
use crate::shared::{AuditId, Page, PageRequest, PatientId};
use crate::store::StoreError;

/// Keeps the audit log. Entries are added and never changed.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait AuditRepository: Send {
    /// Adds entries. One whose id is known already is left as it is, so that it can be added again
    /// when it is not known whether it was.
    async fn append(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError>;

    /// The entries that match, the latest first.
    async fn list(
        &mut self,
        filter: &AuditFilter,
        page: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, StoreError>;

    /// Takes what was changed out of all entries about a patient who is anonymized, and leaves that
    /// it was. Touches nobody else's.
    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError>;
}
