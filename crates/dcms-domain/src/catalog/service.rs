use super::{CreateService, Service, ServiceChanges, ServiceFilter};
use crate::access::{Actor, Permission};
use crate::audit::AuditAction;
use crate::shared::{
    CommonError, Expected, Faults, Page, PageRequest, Ports, ServiceId, Version, in_version,
    search_text,
};
use crate::store::retry_conflicts;

/// The service catalog. Fails with what any context can fail with.
pub struct CatalogService {
    ports: Ports,
}

impl CatalogService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// The services that match, in the order they were made.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn services(
        &self,
        actor: &Actor,
        mut filter: ServiceFilter,
        page: PageRequest<ServiceId>,
    ) -> Result<Page<Service, ServiceId>, CommonError> {
        actor.require(Permission::ReadClinic)?;
        filter.query = search_text(filter.query)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.services().list(&filter, page).await?)
    }

    /// One service.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn service(
        &self,
        actor: &Actor,
        service_id: ServiceId,
    ) -> Result<Service, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        connection
            .services()
            .get(service_id)
            .await?
            .ok_or(CommonError::NotFound)
    }

    /// Makes a service.
    ///
    /// # Errors
    /// Faults, or [`Rule::ServiceCodeTaken`](crate::store::Rule::ServiceCodeTaken).
    pub async fn create(
        &self,
        actor: &Actor,
        command: CreateService,
    ) -> Result<Service, CommonError> {
        actor.require(Permission::ChangeClinic)?;
        let now = self.ports.clock.now();
        let mut service = Service {
            service_id: self.ports.ids.next_id().into(),
            code: command.code,
            name: command.name,
            current_price: command.current_price,
            default_duration_minutes: None,
            is_active: command.is_active,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        service.check(command.default_duration_minutes, &mut faults);
        faults.into_result()?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.services().insert(&service).await?;
            let entry = self.ports.audit_created(actor, &service);
            work.commit(&entry).await?;
            Ok(service.clone())
        })
        .await
    }

    /// Changes a service. Invoices that have it keep the name and price they took.
    ///
    /// # Errors
    /// Faults; [`Rule::ServiceCodeTaken`](crate::store::Rule::ServiceCodeTaken);
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn change(
        &self,
        actor: &Actor,
        service_id: ServiceId,
        expected: &Expected,
        changes: ServiceChanges,
    ) -> Result<Service, CommonError> {
        actor.require(Permission::ChangeClinic)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = in_version(work.services().get(service_id).await?, expected)?;
            let before = current.clone();
            let service = current.changed(changes.clone(), self.ports.clock.now())?;
            work.services().update(&service).await?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &service);
            work.commit(&entry).await?;
            Ok(service)
        })
        .await
    }

    /// Deletes a service that was never planned or charged.
    ///
    /// # Errors
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse) when it was;
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn delete(
        &self,
        actor: &Actor,
        service_id: ServiceId,
        expected: &Expected,
    ) -> Result<(), CommonError> {
        actor.require(Permission::ChangeClinic)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let service = in_version(work.services().get(service_id).await?, expected)?;
            work.services().delete(&service).await?;
            let entry = self.ports.audit_deleted(actor, &service);
            Ok(work.commit(&entry).await?)
        })
        .await
    }
}
