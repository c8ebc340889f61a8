use std::sync::Arc;

use async_trait::async_trait;

use super::{Connection, contains, page};
use crate::audit::{AuditEntry, AuditFilter, AuditRepository};
use crate::shared::{AuditId, Page, PageRequest, PatientId};
use crate::store::StoreError;

#[async_trait]
impl AuditRepository for Connection {
    async fn append(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        self.write(|state| {
            for entry in entries {
                state
                    .audit
                    .entry(entry.audit_id)
                    .or_insert_with(|| Arc::new(entry.clone()));
            }
            Ok(())
        })
    }

    async fn list(
        &mut self,
        filter: &AuditFilter,
        request: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, StoreError> {
        let state = self.read()?;
        let wanted = |entry: &&Arc<AuditEntry>| {
            filter.actor_id.is_none_or(|id| entry.actor_id == Some(id))
                && filter.entity.is_none_or(|entity| entry.entity == entity)
                && filter
                    .entity_id
                    .is_none_or(|id| entry.entity_id == Some(id))
                && filter.action.is_none_or(|action| entry.action == action)
                && filter
                    .patient_id
                    .is_none_or(|id| entry.patient_ids.contains(&id))
                && contains(filter.window, entry.at)
        };
        let wanted = state.audit.values().rev().filter(wanted);
        let latest_first = wanted.map(|entry| AuditEntry::clone(entry));
        Ok(page(
            latest_first,
            &request,
            |entry, after| entry.audit_id < *after,
            |entry| entry.audit_id,
        ))
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        self.write(|state| {
            if state.check_patient_known(patient_id).is_ok() {
                return Ok(());
            }
            for entry in state.audit.values_mut() {
                if entry.patient_ids.contains(&patient_id) {
                    Arc::make_mut(entry).changes.clear();
                }
            }
            Ok(())
        })
    }
}
