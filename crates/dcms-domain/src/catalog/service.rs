use super::model::Minutes;
use super::{CreateService, Service, ServiceChanges, ServiceFilter};
use crate::access::{Actor, Permission};
use crate::audit::AuditAction;
use crate::shared::{
    Change, CommonError, Expected, FaultCode, Faults, Page, PageRequest, Ports, ServiceId, UserId,
    Version, in_version, search_text,
};
use crate::store::{Repositories, StoreError, retry_conflicts};

/// The most doctors that a service names.
const MAX_PERFORMERS: usize = 100;

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
            buffer_minutes: 0,
            room_kind: command.room_kind,
            doctor_ids: Vec::new(),
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        let minutes = Minutes {
            default_duration: command.default_duration_minutes,
            buffer: command.buffer_minutes,
        };
        service.check(&minutes, &mut faults);
        let (service, faults, doctor_ids) = (&service, &faults, &command.doctor_ids);
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let mut faults = faults.clone();
            let doctor_ids = performers(&mut *work, doctor_ids, &mut faults).await?;
            faults.into_result()?;
            let service = Service {
                doctor_ids,
                ..service.clone()
            };
            work.services().insert(&service).await?;
            let entry = self.ports.audit_created(actor, &service);
            work.commit(&entry).await?;
            Ok(service)
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
            let mut faults = Faults::new();
            let mut service = current.changed(changes.clone(), self.ports.clock.now(), &mut faults);
            if changes.doctor_ids != Change::Keep {
                let doctor_ids = changes.doctor_ids.clone();
                let doctor_ids = doctor_ids.apply_required(Vec::new(), "/doctor_ids", &mut faults);
                service.doctor_ids = performers(&mut *work, &doctor_ids, &mut faults).await?;
            }
            faults.into_result()?;
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

/// Each of the doctors once, in the order of their ids; notes who is none.
async fn performers(
    work: &mut dyn Repositories,
    doctor_ids: &[UserId],
    faults: &mut Faults,
) -> Result<Vec<UserId>, StoreError> {
    if doctor_ids.len() > MAX_PERFORMERS {
        let detail = format!("must name at most {MAX_PERFORMERS} doctors");
        faults.add("/doctor_ids", FaultCode::TooLong, detail);
        return Ok(Vec::new());
    }
    if doctor_ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = work.clinic().doctors_among(doctor_ids).await?;
    for (index, doctor_id) in doctor_ids.iter().enumerate() {
        if !known.contains(doctor_id) {
            faults.add(
                format!("/doctor_ids/{index}"),
                FaultCode::Unknown,
                "must be a user with the role doctor",
            );
        }
    }
    known.sort_unstable();
    Ok(known)
}
