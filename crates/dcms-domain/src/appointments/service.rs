use chrono::TimeDelta;

use super::model::{end_after, notes_text, overbook_text, time_slot};
use super::planning::{catalog_entries, planned_services, treatment_length};
use super::{
    Appointment, AppointmentChange, AppointmentChanges, AppointmentError, AppointmentEvent,
    AppointmentFilter, AppointmentKey, AppointmentQuery, AppointmentVersion, BookAppointment,
    HistoryAction, HistoryKey, HistoryOf, Parties, Position, ServiceRequest, Status, Transition,
    Watch, WatchQuery,
};
use crate::access::{Actor, Permission};
use crate::audit::{AuditAction, Audited as _, Entity};
use crate::clinic::resolve_window;
use crate::shared::{
    AppointmentId, Change, CommonError, Expected, Faults, Page, PageRequest, Ports, ServiceId,
    Version, WindowRequest, in_version,
};
use crate::store::{Repositories, retry_conflicts};

/// Visits: booked, moved, and brought through the day.
pub struct AppointmentService {
    ports: Ports,
}

impl AppointmentService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Books a visit.
    ///
    /// # Errors
    /// Faults; [`Rule::DoctorDoubleBooked`](crate::store::Rule::DoctorDoubleBooked) and its like
    /// when the slot is taken.
    pub async fn book(
        &self,
        actor: &Actor,
        command: BookAppointment,
    ) -> Result<Appointment, AppointmentError> {
        actor.require_for(Permission::ScheduleAppointments, command.doctor_id)?;
        if command.overbook_reason.is_some() {
            actor.require_for(Permission::Overbook, command.doctor_id)?;
        }
        let command = &command;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let appointment = self.decide_booking(&mut *work, command).await?;
            let reason = appointment.overbook_reason.as_ref();
            let change = AppointmentChange::by(actor, HistoryAction::Book, reason);
            work.appointments().book(&appointment, &change).await?;
            let entry = self.ports.audit_created(actor, &appointment);
            work.commit(&entry).await?;
            Ok(appointment)
        })
        .await
    }

    async fn decide_booking(
        &self,
        work: &mut dyn Repositories,
        command: &BookAppointment,
    ) -> Result<Appointment, AppointmentError> {
        let mut faults = Faults::new();
        let catalog = catalog_entries(work, ids_of(&command.services)).await?;
        let services = planned_services(&command.services, &[], &catalog, &mut faults);
        let ends_at = command.ends_at.unwrap_or_else(|| {
            let length = treatment_length(&services, &catalog).unwrap_or(TimeDelta::minutes(30));
            end_after(command.starts_at, length)
        });
        let slot = time_slot(command.starts_at, ends_at, &mut faults);
        let notes = command
            .notes
            .as_deref()
            .map(|notes| notes_text(notes, &mut faults));
        let overbook_reason = overbook_text(command.overbook_reason.as_deref(), &mut faults);
        let parties = Parties {
            patient_id: command.patient_id,
            doctor_id: command.doctor_id,
            room_id: command.room_id,
        };
        work.appointments()
            .standing(parties)
            .await?
            .check(&mut faults);
        let Some(slot) = slot.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let now = self.ports.clock.now();
        Ok(Appointment {
            appointment_id: self.ports.ids.next_id().into(),
            patient_id: command.patient_id,
            doctor_id: command.doctor_id,
            room_id: command.room_id,
            slot,
            room_free_at: slot.ends_at(),
            status: Status::Scheduled,
            arrived_at: None,
            seated_at: None,
            completed_at: None,
            notes,
            services,
            overbook_reason,
            accepted_obstacles: Vec::new(),
            cancel_reason: None,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        })
    }

    /// One appointment.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn appointment(
        &self,
        actor: &Actor,
        appointment_id: AppointmentId,
    ) -> Result<Appointment, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let appointment = connection.appointments().get(appointment_id).await?;
        let appointment = appointment.ok_or(CommonError::NotFound)?;
        self.ports.note_read(actor, appointment.subject());
        Ok(appointment)
    }

    /// What was done to a visit, from its booking on.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such visit.
    pub async fn history(
        &self,
        actor: &Actor,
        appointment_id: AppointmentId,
        page: PageRequest<HistoryKey>,
    ) -> Result<Page<AppointmentVersion, HistoryKey>, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let appointment = connection.appointments().get(appointment_id).await?;
        let appointment = appointment.ok_or(CommonError::NotFound)?;
        let of = HistoryOf::Appointment(appointment_id);
        let history = connection.history().list(of, page).await?;
        self.ports.note_read(actor, appointment.subject());
        Ok(history)
    }

    /// Which changes the actor hears of from now on. A day is what the clinic's zone makes of it now.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn watch(&self, actor: &Actor, query: WatchQuery) -> Result<Watch, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let window = WindowRequest {
            day: query.day,
            ..WindowRequest::default()
        };
        Ok(Watch {
            doctor_id: query.doctor_id,
            window: resolve_window(&mut *connection, window).await?,
        })
    }

    /// At most `limit` changes after a position, in their order. They name visits and no patient,
    /// so nobody's record was read.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn events_after(
        &self,
        actor: &Actor,
        position: Position,
        limit: u16,
    ) -> Result<Vec<AppointmentEvent>, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.history().events_after(position, limit).await?)
    }

    /// The position of the last change that has one.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn last_position(&self, actor: &Actor) -> Result<Position, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.history().last_position().await?)
    }

    /// The appointments that match, earlier ones first.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn appointments(
        &self,
        actor: &Actor,
        query: AppointmentQuery,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<Appointment, AppointmentKey>, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let filter = AppointmentFilter {
            doctor_id: query.doctor_id,
            patient_id: query.patient_id,
            room_id: query.room_id,
            status: query.status,
            window: resolve_window(&mut *connection, query.window).await?,
        };
        let appointments = connection.appointments().list(&filter, page).await?;
        let shown = appointments.items.iter().map(|shown| shown.patient_id);
        self.ports.note_list(actor, Entity::Appointment, shown);
        Ok(appointments)
    }

    /// Changes notes, room or planned services.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`]; [`CommonError::VersionMismatch`];
    /// [`Rule::RoomDoubleBooked`](crate::store::Rule::RoomDoubleBooked).
    pub async fn change(
        &self,
        actor: &Actor,
        appointment_id: AppointmentId,
        expected: &Expected,
        changes: AppointmentChanges,
    ) -> Result<Appointment, AppointmentError> {
        actor.require_some(Permission::ScheduleAppointments)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = work.appointments().get(appointment_id).await?;
            let current = in_version(current, expected)?;
            actor.require_for(Permission::ScheduleAppointments, current.doctor_id)?;
            let mut faults = Faults::new();
            let mut next = current.clone();
            next.notes = changes
                .notes
                .clone()
                .map(|notes| notes_text(&notes, &mut faults))
                .apply(next.notes);
            next.room_id = changes.room_id.clone().apply(next.room_id);
            match &changes.services {
                Change::Keep => {}
                Change::Clear => next.services.clear(),
                Change::Set(requests) => {
                    let catalog = catalog_entries(&mut *work, ids_of(requests)).await?;
                    next.services =
                        planned_services(requests, &current.services, &catalog, &mut faults);
                }
            }
            if next.room_id != current.room_id {
                work.appointments()
                    .standing(parties_of(&next))
                    .await?
                    .check_room(&mut faults);
            }
            faults.into_result()?;
            next.version = next.version.next();
            next.updated_at = self.ports.clock.now();
            if next.claims_more_than(&current) {
                work.appointments().hold_calendar().await?;
            }
            let change = AppointmentChange::by(actor, HistoryAction::Change, None);
            work.appointments().update(&next, &change).await?;
            let action = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, action, &current, &next);
            work.commit(&entry).await?;
            Ok(next)
        })
        .await
    }

    /// Takes an action. When it fails, the visit stays where and when it was.
    ///
    /// # Errors
    /// [`AppointmentError::InvalidTransition`]; faults; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`];
    /// [`Rule::DoctorDoubleBooked`](crate::store::Rule::DoctorDoubleBooked) and its like when it
    /// claims a slot that is taken.
    pub async fn take_action(
        &self,
        actor: &Actor,
        appointment_id: AppointmentId,
        expected: &Expected,
        transition: Transition,
    ) -> Result<Appointment, AppointmentError> {
        let permission = transition.action().permission();
        actor.require_some(permission)?;
        let transition = &transition;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = work.appointments().get(appointment_id).await?;
            let current = in_version(current, expected)?;
            actor.require_for(permission, current.doctor_id)?;
            let mut faults = Faults::new();
            let now = self.ports.clock.now();
            let next = current
                .clone()
                .after(transition.clone(), now, &mut faults)?;
            actor.require_for(permission, next.doctor_id)?;
            let claims_more = next.claims_more_than(&current);
            if claims_more {
                work.appointments()
                    .standing(parties_of(&next))
                    .await?
                    .check(&mut faults);
            }
            faults.into_result()?;
            if claims_more {
                work.appointments().hold_calendar().await?;
            }
            let action = transition.action();
            let reason = next.cancel_reason.as_ref();
            let change = AppointmentChange::by(actor, HistoryAction::Taken(action), reason);
            work.appointments().update(&next, &change).await?;
            let entry = self
                .ports
                .audit_changed(actor, action.into(), &current, &next);
            work.commit(&entry).await?;
            Ok(next)
        })
        .await
    }
}

const fn parties_of(appointment: &Appointment) -> Parties {
    Parties {
        patient_id: appointment.patient_id,
        doctor_id: appointment.doctor_id,
        room_id: appointment.room_id,
    }
}

fn ids_of(requests: &[ServiceRequest]) -> Vec<ServiceId> {
    requests.iter().map(|request| request.service_id).collect()
}
