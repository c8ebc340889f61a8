use chrono::{NaiveDate, TimeDelta};

use super::model::{end_after, notes_text, overbook_text, time_slot};
use super::planning::{
    catalog_entries, check_notice, check_performed, check_performer, check_room_kind,
    longest_buffer, planned_services, treatment_length,
};
use super::{
    Appointment, AppointmentChanges, AppointmentConflict, AppointmentError, AppointmentEvent,
    AppointmentFilter, AppointmentKey, AppointmentQuery, AppointmentVersion, BookAppointment,
    ConflictScope, FrontDesk, HistoryAction, HistoryKey, HistoryOf, Parties, Position,
    ServiceRequest, Status, Transition, VersionCause, Watch, WatchQuery, conflicts,
};
use crate::access::{Actor, Permission};
use crate::audit::{AuditAction, Audited as _, Entity};
use crate::calendar::{Obstacle, Timetable};
use crate::clinic::resolve_window;
use crate::shared::{
    AppointmentId, Change, CommonError, Expected, Faults, Instant, Page, PageRequest, Ports,
    ServiceId, Version, WindowRequest, in_version, single_line_text,
};
use crate::store::{Repositories, StoreError, retry_conflicts};

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
    /// Faults; [`AppointmentError::OutsideWorkingHours`];
    /// [`Rule::DoctorDoubleBooked`](crate::store::Rule::DoctorDoubleBooked) and its like when the
    /// slot is taken.
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
            let cause = VersionCause::by(actor, HistoryAction::Book, reason);
            work.appointments().book(&appointment, &cause).await?;
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
        let now = self.ports.clock.now();
        let mut faults = Faults::new();
        let catalog = catalog_entries(work, ids_of(&command.services)).await?;
        let services = planned_services(&command.services, &[], &catalog, &mut faults);
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
        let standing = work.appointments().standing(parties).await?;
        standing.check(&mut faults);
        check_performed(&services, &catalog, parties.doctor_id, &mut faults);
        let room_id = parties.room_id;
        check_room_kind(&services, &catalog, room_id, &standing, &mut faults);
        let settings = work.clinic().settings().await?;
        let ends_at = command.ends_at.unwrap_or_else(|| {
            let usual = TimeDelta::minutes(settings.default_slot_minutes.into());
            let length = treatment_length(&services, &catalog).unwrap_or(usual);
            end_after(command.starts_at, length)
        });
        let slot = time_slot(command.starts_at, ends_at, &mut faults);
        check_notice(command.starts_at, &settings, now, &mut faults);
        let Some(slot) = slot.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let mut appointment = Appointment {
            appointment_id: self.ports.ids.next_id().into(),
            patient_id: command.patient_id,
            doctor_id: command.doctor_id,
            room_id: command.room_id,
            slot,
            room_free_at: slot.ends_at() + longest_buffer(&services, &catalog),
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
        };
        accept_obstacles(work, &mut appointment).await?;
        Ok(appointment)
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
        let filter = filter_of(&mut *connection, query).await?;
        let appointments = connection.appointments().list(&filter, page).await?;
        let shown = appointments.items.iter().map(|shown| shown.patient_id);
        self.ports.note_list(actor, Entity::Appointment, shown);
        Ok(appointments)
    }

    /// The appointments that match and overlap a day of the clinic, earlier ones first, with what
    /// the front desk wants to know of each.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn front_desk(
        &self,
        actor: &Actor,
        day: NaiveDate,
        mut query: AppointmentQuery,
        page: PageRequest<AppointmentKey>,
    ) -> Result<FrontDesk, AppointmentError> {
        for permission in [
            Permission::ReadAppointments,
            Permission::ReadPatients,
            Permission::ReadBilling,
        ] {
            actor.require(permission)?;
        }
        query.window.day = Some(day);
        let mut connection = self.ports.store.connect().await?;
        let filter = filter_of(&mut *connection, query).await?;
        let visits = connection
            .appointments()
            .list_for_desk(&filter, page)
            .await?;
        let shown = visits
            .items
            .iter()
            .map(|shown| shown.appointment.patient_id);
        self.ports.note_list(actor, Entity::Appointment, shown);
        let now = self.ports.clock.now();
        Ok(FrontDesk { day, now, visits })
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
            replan(&mut *work, &current, &mut next, changes, &mut faults).await?;
            let reason = changes.reason.as_deref();
            let reason = reason.map(|reason| single_line_text(reason, 500, "/reason", &mut faults));
            faults.into_result()?;
            next.version = next.version.next();
            next.updated_at = self.ports.clock.now();
            if next.claims_more_than(&current) {
                work.appointments().hold_calendar().await?;
            }
            let cause = VersionCause::by(actor, HistoryAction::Change, reason.as_ref());
            work.appointments().update(&next, &cause).await?;
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
    /// [`CommonError::VersionMismatch`]; [`AppointmentError::OutsideWorkingHours`] where it moves;
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
            let mut next = current
                .clone()
                .after(transition.clone(), now, &mut faults)?;
            actor.require_for(permission, next.doctor_id)?;
            if transition.overbooks() {
                actor.require_for(Permission::Overbook, current.doctor_id)?;
                actor.require_for(Permission::Overbook, next.doctor_id)?;
            }
            let reason = transition.reason(&next, &mut faults);
            if let Transition::Reschedule { starts_at, .. } = transition {
                if *starts_at != current.slot.starts_at() {
                    let settings = work.clinic().settings().await?;
                    check_notice(*starts_at, &settings, now, &mut faults);
                }
                resettle(&mut *work, &current, &mut next, faults).await?;
            } else {
                if next.claims_more_than(&current) {
                    let parties = parties_of(&next);
                    let standing = work.appointments().standing(parties).await?;
                    standing.check(&mut faults);
                }
                faults.into_result()?;
            }
            if next.claims_more_than(&current) {
                work.appointments().hold_calendar().await?;
            }
            let action = transition.action();
            let cause = VersionCause::by(actor, HistoryAction::Taken(action), reason.as_ref());
            work.appointments().update(&next, &cause).await?;
            let entry = self
                .ports
                .audit_changed(actor, action.into(), &current, &next);
            work.commit(&entry).await?;
            Ok(next)
        })
        .await
    }

    /// The coming visits in the window that hours, closures, time off, their doctor or their room
    /// do not allow, and that nobody accepted, earlier ones first; from now on when the window says
    /// nothing. A page may hold fewer than asked for, even none, and another follow.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn conflicts(
        &self,
        actor: &Actor,
        window: WindowRequest,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<AppointmentConflict, AppointmentKey>, AppointmentError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let scope = ConflictScope {
            window: resolve_window(&mut *connection, window).await?,
            ..ConflictScope::default()
        };
        let now = self.ports.clock.now();
        let found = conflicts(&mut *connection, &scope, now, page).await?;
        let shown = found
            .items
            .iter()
            .map(|conflict| conflict.appointment.patient_id);
        self.ports.note_list(actor, Entity::Appointment, shown);
        Ok(found)
    }

    /// Accepts what stands in the way of a coming visit now: it takes place all the same.
    ///
    /// # Errors
    /// [`AppointmentError::InvalidTransition`] when nothing is in its way that was not accepted, or
    /// it is not to come any more; faults; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn accept_conflict(
        &self,
        actor: &Actor,
        appointment_id: AppointmentId,
        expected: &Expected,
        reason: &str,
    ) -> Result<Appointment, AppointmentError> {
        actor.require_some(Permission::Overbook)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = work.appointments().get(appointment_id).await?;
            let current = in_version(current, expected)?;
            actor.require_for(Permission::Overbook, current.doctor_id)?;
            let mut faults = Faults::new();
            let reason = single_line_text(reason, 500, "/reason", &mut faults);
            faults.into_result()?;
            let now = self.ports.clock.now();
            let obstacles = obstacles_now(&mut *work, &current, now).await?;
            if current.unaccepted(obstacles.clone()).is_empty() {
                return Err(AppointmentError::InvalidTransition {
                    from: current.status,
                    allowed: current.allowed_actions(now),
                });
            }
            let next = Appointment {
                overbook_reason: Some(reason),
                accepted_obstacles: obstacles,
                version: current.version.next(),
                updated_at: now,
                ..current.clone()
            };
            let reason = next.overbook_reason.as_ref();
            let cause = VersionCause::by(actor, HistoryAction::AcceptConflict, reason);
            work.appointments().update(&next, &cause).await?;
            let action = AuditAction::AcceptConflict;
            let entry = self.ports.audit_changed(actor, action, &current, &next);
            work.commit(&entry).await?;
            Ok(next)
        })
        .await
    }
}

/// What stands in the way of a visit now, accepted or not; nothing when it is not to come.
async fn obstacles_now(
    work: &mut dyn Repositories,
    visit: &Appointment,
    now: Instant,
) -> Result<Vec<Obstacle>, StoreError> {
    if !visit.may_conflict(now) {
        return Ok(Vec::new());
    }
    // For what it holds: plans, the doctor and the room stay as they are until the end.
    work.appointments().standing(parties_of(visit)).await?;
    // A doctor's visits never overlap: it is the only one.
    let scope = ConflictScope {
        doctor_id: Some(visit.doctor_id),
        window: visit.slot.into(),
        ..ConflictScope::default()
    };
    let page = PageRequest::first();
    let found = work.appointments().coming(&scope, now, page).await?;
    let timetable = timetable_of(work, visit).await?;
    let found = found.items.iter();
    Ok(found
        .flat_map(|visit| visit.obstacles(&timetable))
        .collect())
}

async fn timetable_of(
    work: &mut dyn Repositories,
    visit: &Appointment,
) -> Result<Timetable, StoreError> {
    let stretch = visit.slot.starts_at()..visit.slot.ends_at();
    let calendar = work.calendar();
    calendar.timetable(&[visit.doctor_id], &stretch).await
}

/// Accepts what hours, closures and time off put in the way of a visit, when somebody says why it
/// may take place all the same; else refuses it.
async fn accept_obstacles(
    work: &mut dyn Repositories,
    visit: &mut Appointment,
) -> Result<(), AppointmentError> {
    let timetable = timetable_of(work, visit).await?;
    let obstacles = timetable.obstacles(visit.doctor_id, visit.slot);
    if !obstacles.is_empty() && visit.overbook_reason.is_none() {
        return Err(AppointmentError::OutsideWorkingHours { obstacles });
    }
    visit.accepted_obstacles = obstacles;
    Ok(())
}

/// Gives the visit its new room and services, as far as they fit.
///
/// How long the room stays taken follows from the services only until the patient comes: what
/// turns out to be done in the chair takes no time away from whoever is next.
async fn replan(
    work: &mut dyn Repositories,
    current: &Appointment,
    next: &mut Appointment,
    changes: &AppointmentChanges,
    faults: &mut Faults,
) -> Result<(), StoreError> {
    next.room_id = changes.room_id.clone().apply(next.room_id);
    let moves_room = next.room_id != current.room_id;
    if !moves_room && changes.services == Change::Keep {
        return Ok(());
    }
    let catalog = match &changes.services {
        Change::Keep => catalog_entries(work, planned_ids(next)).await?,
        Change::Clear => {
            next.services.clear();
            Vec::new()
        }
        Change::Set(requests) => {
            let catalog = catalog_entries(work, ids_of(requests)).await?;
            next.services = planned_services(requests, &current.services, &catalog, faults);
            check_performed(&next.services, &catalog, next.doctor_id, faults);
            catalog
        }
    };
    if changes.services != Change::Keep && next.status.is_booked() {
        next.room_free_at = next.slot.ends_at() + longest_buffer(&next.services, &catalog);
    }
    if moves_room {
        next.accepted_obstacles
            .retain(|obstacle| !matches!(obstacle, Obstacle::RoomNotAvailable(_)));
    }
    if next.room_id.is_some() {
        let standing = work.appointments().standing(parties_of(next)).await?;
        if moves_room {
            standing.check_room(faults);
        }
        check_room_kind(&next.services, &catalog, next.room_id, &standing, faults);
    }
    Ok(())
}

/// Holds a visit that moves against all that a new one is held against. A doctor or a room that
/// stays need not fit what is planned: that was settled before.
async fn resettle(
    work: &mut dyn Repositories,
    current: &Appointment,
    next: &mut Appointment,
    mut faults: Faults,
) -> Result<(), AppointmentError> {
    let catalog = catalog_entries(work, planned_ids(next)).await?;
    next.room_free_at = next.slot.ends_at() + longest_buffer(&next.services, &catalog);
    let standing = work.appointments().standing(parties_of(next)).await?;
    standing.check(&mut faults);
    if next.doctor_id != current.doctor_id {
        check_performer(&next.services, &catalog, next.doctor_id, &mut faults);
    }
    if next.room_id != current.room_id {
        let room_id = next.room_id;
        check_room_kind(&next.services, &catalog, room_id, &standing, &mut faults);
    }
    faults.into_result()?;
    accept_obstacles(work, next).await
}

async fn filter_of(
    repositories: &mut dyn Repositories,
    query: AppointmentQuery,
) -> Result<AppointmentFilter, StoreError> {
    Ok(AppointmentFilter {
        doctor_id: query.doctor_id,
        patient_id: query.patient_id,
        room_id: query.room_id,
        status: query.status,
        window: resolve_window(repositories, query.window).await?,
    })
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

fn planned_ids(appointment: &Appointment) -> Vec<ServiceId> {
    let planned = appointment.services.iter();
    planned.map(|planned| planned.service_id).collect()
}
