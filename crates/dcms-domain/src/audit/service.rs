use super::{
    AuditAction, AuditEntry, AuditFilter, AuditQuery, Entity, Subject, WrittenDown, patients_of,
};
use crate::access::{Actor, Permission};
use crate::clinic::resolve_window;
use crate::shared::{AuditId, CommonError, Page, PageRequest, PatientId, Ports};
use crate::store::StoreError;

/// The audit log. Fails with what any context can fail with.
pub struct AuditService {
    ports: Ports,
}

impl AuditService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// The entries that match, the latest first.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn entries(
        &self,
        actor: &Actor,
        query: AuditQuery,
        page: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, CommonError> {
        self.read(actor, query, page, AuditAction::List).await
    }

    /// The same, to be taken out of the system.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn export(
        &self,
        actor: &Actor,
        query: AuditQuery,
        page: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, CommonError> {
        self.read(actor, query, page, AuditAction::Export).await
    }

    async fn read(
        &self,
        actor: &Actor,
        query: AuditQuery,
        page: PageRequest<AuditId>,
        action: AuditAction,
    ) -> Result<Page<AuditEntry, AuditId>, CommonError> {
        actor.require(Permission::ReadAudit)?;
        let mut connection = self.ports.store.connect().await?;
        let filter = AuditFilter {
            actor_id: query.actor_id,
            entity: query.entity,
            entity_id: query.entity_id,
            action: query.action,
            patient_id: None,
            window: resolve_window(&mut *connection, query.window).await?,
        };
        let entries = connection.audit().list(&filter, page).await?;
        let about = entries.items.iter();
        let about = patients_of(about.flat_map(|entry| entry.patient_ids.iter().copied()));
        let subject = Subject::list(Entity::AuditLog);
        let entry = self.ports.audit(actor, action, subject).about(about);
        self.ports.access_log.note(entry);
        Ok(entries)
    }

    /// Who looked at a patient's record or changed it, the latest first. What they changed is left
    /// out: that is for those who may read the audit log.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such patient.
    pub async fn accesses(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        page: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, CommonError> {
        actor.require(Permission::ReadAccesses)?;
        let mut connection = self.ports.store.connect().await?;
        connection
            .patients()
            .get(patient_id)
            .await?
            .ok_or(CommonError::NotFound)?;
        let filter = AuditFilter {
            patient_id: Some(patient_id),
            ..AuditFilter::default()
        };
        let mut entries = connection.audit().list(&filter, page).await?;
        for entry in &mut entries.items {
            entry.changes.clear();
        }
        let subject = Subject::list(Entity::AuditLog).of(patient_id);
        let entry = self.ports.audit(actor, AuditAction::List, subject);
        self.ports.access_log.note(entry);
        Ok(entries)
    }

    /// Notes that the actor asked for something that their roles do not allow: an operation such
    /// as `GET /admin/users`, about `subject` where that is known.
    pub fn note_refusal(&self, actor: &Actor, operation: &str, subject: Option<Subject>) {
        let subject = subject.unwrap_or(Subject::list(Entity::Operation));
        let entry = self.ports.audit(actor, AuditAction::Refuse, subject);
        let entry = entry.with("operation", operation);
        self.ports.access_log.note(entry);
    }

    /// Writes the entries that wait: see [`AccessLog::write_down`](super::AccessLog::write_down).
    ///
    /// # Errors
    /// When the store does not take them.
    pub async fn write_down_accesses(&self) -> Result<WrittenDown, StoreError> {
        self.ports.access_log.write_down(&self.ports).await
    }

    /// How many entries wait or are lost without anybody having been told.
    #[must_use]
    pub fn unwritten_accesses(&self) -> u64 {
        let log = &self.ports.access_log;
        u64::try_from(log.len()).unwrap_or(u64::MAX) + log.lost()
    }

    /// How many entries are lost without anybody having been told.
    #[must_use]
    pub fn lost_accesses(&self) -> u64 {
        self.ports.access_log.lost()
    }
}
