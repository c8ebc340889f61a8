use chrono_tz::Tz;

use super::{
    ClinicChanges, ClinicError, ClinicSettings, CreateRoom, Doctor, DoctorChanges, Room,
    RoomChanges, RoomKey,
};
use crate::access::{Actor, Permission};
use crate::appointments::{Changed, ConflictScope};
use crate::audit::AuditAction;
use crate::shared::{
    Change, CommonError, Expected, FaultCode, Faults, Page, PageRequest, Ports, RoomId, TimeWindow,
    UserId, Version, WindowRequest, in_version,
};
use crate::store::{Repositories, StoreError, retry_conflicts};

/// The clinic's settings, rooms and doctors.
pub struct ClinicService {
    ports: Ports,
}

impl ClinicService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// The clinic's settings.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn settings(&self, actor: &Actor) -> Result<ClinicSettings, ClinicError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.clinic().settings().await?)
    }

    /// Changes the clinic's settings. A new time zone moves all plans, so it is answered with the
    /// visits that are in conflict then.
    ///
    /// # Errors
    /// Faults; [`ClinicError::CurrencyFrozen`]; [`CommonError::VersionMismatch`].
    pub async fn change_settings(
        &self,
        actor: &Actor,
        expected: &Expected,
        changes: ClinicChanges,
    ) -> Result<Changed<ClinicSettings>, ClinicError> {
        actor.require(Permission::ChangeClinic)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            if changes.time_zone != Change::Keep {
                // Every plan moves with it.
                work.calendar().hold_plans().await?;
            }
            let settings = in_version(Some(work.clinic().settings().await?), expected)?;
            let before = settings.clone();
            let now = self.ports.clock.now();
            let settings = settings.changed(changes.clone(), now)?;
            if settings.currency != before.currency && work.invoices().lock_numbering().await? > 0 {
                return Err(ClinicError::CurrencyFrozen);
            }
            work.clinic().update_settings(&settings).await?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &settings);
            let outcome = if settings.time_zone == before.time_zone {
                Changed::without_conflicts(settings)
            } else {
                let everything = ConflictScope::default();
                Changed::with_conflicts(settings, &mut *work, &everything, now).await?
            };
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &outcome);
            Ok(outcome)
        })
        .await
    }

    /// Rooms by their position, then in the order they were made.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn rooms(
        &self,
        actor: &Actor,
        page: PageRequest<RoomKey>,
    ) -> Result<Page<Room, RoomKey>, ClinicError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.clinic().rooms(page).await?)
    }

    /// One room.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn room(&self, actor: &Actor, room_id: RoomId) -> Result<Room, ClinicError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        let room = connection.clinic().room(room_id).await?;
        Ok(room.ok_or(CommonError::NotFound)?)
    }

    /// Makes a room.
    ///
    /// # Errors
    /// Faults, or [`Rule::RoomNameTaken`](crate::store::Rule::RoomNameTaken).
    pub async fn create_room(
        &self,
        actor: &Actor,
        command: CreateRoom,
    ) -> Result<Room, ClinicError> {
        actor.require(Permission::ChangeClinic)?;
        let now = self.ports.clock.now();
        let mut room = Room {
            room_id: self.ports.ids.next_id().into(),
            name: command.name,
            is_active: command.is_active,
            kind: command.kind,
            position: 0,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        room.check(command.position, &mut faults);
        faults.into_result()?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.clinic().insert_room(&room).await?;
            let entry = self.ports.audit_created(actor, &room);
            work.commit(&entry).await?;
            Ok(room.clone())
        })
        .await
    }

    /// Changes a room. Visits in a room that was deactivated stay there, and are told.
    ///
    /// # Errors
    /// Faults; [`Rule::RoomNameTaken`](crate::store::Rule::RoomNameTaken);
    /// [`CommonError::VersionMismatch`].
    pub async fn change_room(
        &self,
        actor: &Actor,
        room_id: RoomId,
        expected: &Expected,
        changes: RoomChanges,
    ) -> Result<Changed<Room>, ClinicError> {
        actor.require(Permission::ChangeClinic)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let before = in_version(work.clinic().room(room_id).await?, expected)?;
            let room = before
                .clone()
                .changed(changes.clone(), self.ports.clock.now())?;
            work.clinic().update_room(&room).await?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &room);
            let outcome = if before.is_active && !room.is_active {
                let scope = ConflictScope {
                    room_id: Some(room_id),
                    ..ConflictScope::default()
                };
                let now = room.updated_at;
                Changed::with_conflicts(room, &mut *work, &scope, now).await?
            } else {
                Changed::without_conflicts(room)
            };
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &outcome);
            Ok(outcome)
        })
        .await
    }

    /// Deletes a room that was never booked and is nobody's usual one.
    ///
    /// # Errors
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse) when it was or is;
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn delete_room(
        &self,
        actor: &Actor,
        room_id: RoomId,
        expected: &Expected,
    ) -> Result<(), ClinicError> {
        actor.require(Permission::ChangeClinic)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let room = in_version(work.clinic().room(room_id).await?, expected)?;
            work.clinic().delete_room(&room).await?;
            let entry = self.ports.audit_deleted(actor, &room);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// The active doctors, in the order they were made.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn doctors(
        &self,
        actor: &Actor,
        page: PageRequest<UserId>,
    ) -> Result<Page<Doctor, UserId>, ClinicError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.clinic().doctors(page).await?)
    }

    /// A user with the role, active or not.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn doctor(&self, actor: &Actor, doctor_id: UserId) -> Result<Doctor, ClinicError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        let doctor = connection.clinic().doctor(doctor_id).await?;
        Ok(doctor.ok_or(CommonError::NotFound)?)
    }

    /// Changes what a user has as a doctor.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn change_doctor(
        &self,
        actor: &Actor,
        doctor_id: UserId,
        expected: &Expected,
        changes: DoctorChanges,
    ) -> Result<Doctor, ClinicError> {
        actor.require(Permission::ChangeClinic)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let before = in_version(work.clinic().doctor(doctor_id).await?, expected)?;
            if let Change::Set(room_id) = changes.usual_room_id {
                let room = work.clinic().room(room_id).await?;
                usual_room_faults(room.as_ref()).into_result()?;
            }
            let doctor = Doctor {
                usual_room_id: changes.usual_room_id.clone().apply(before.usual_room_id),
                version: before.version.next(),
                ..before.clone()
            };
            let now = self.ports.clock.now();
            work.clinic().update_doctor(&doctor, now).await?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &doctor);
            work.commit(&entry).await?;
            Ok(doctor)
        })
        .await
    }
}

/// What is wrong with a room as somebody's usual one.
fn usual_room_faults(room: Option<&Room>) -> Faults {
    let mut faults = Faults::new();
    match room {
        None => faults.add(
            "/usual_room_id",
            FaultCode::Unknown,
            "must be a room of the clinic",
        ),
        Some(room) if !room.is_active => faults.add(
            "/usual_room_id",
            FaultCode::NotAvailable,
            "must be an active room",
        ),
        Some(_) => {}
    }
    faults
}

/// The instants that a caller means; the clinic's zone is read only when it takes part.
pub(crate) async fn resolve_window(
    repositories: &mut dyn Repositories,
    request: WindowRequest,
) -> Result<TimeWindow, StoreError> {
    let zone = if request.needs_zone() {
        repositories.clinic().settings().await?.time_zone
    } else {
        Tz::UTC
    };
    Ok(request.resolve(zone))
}
