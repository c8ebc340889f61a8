use chrono::{NaiveDate, NaiveTime};

use super::commands::reason_text;
use super::wall_clock::moments_around;
use super::{
    ChangeHours, Closure, ClosureKey, CreateClosure, CreateTimeOff, Schedule, TimeOff, TimeOffKey,
    WallSpan, WallWindow,
};
use crate::access::{Actor, Permission};
use crate::appointments::{Changed, ConflictScope};
use crate::audit::AuditAction;
use crate::shared::{
    ClosureId, CommonError, Expected, Faults, Instant, Page, PageRequest, Ports, TimeOffId,
    TimeWindow, UserId, clinic_day, in_version,
};
use crate::store::{Repositories, StoreError, UnitOfWork, retry_conflicts};

/// Hours, closures and time off. Fails with what any context can fail with.
pub struct CalendarService {
    ports: Ports,
}

/// Which closures or which time off is looked for: what has a moment of the days from the first
/// on and before the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayWindow {
    /// The first day that belongs to it.
    pub from: Option<NaiveDate>,
    /// The first that no longer belongs to it.
    pub to: Option<NaiveDate>,
}

impl From<DayWindow> for WallWindow {
    fn from(days: DayWindow) -> Self {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN);
        Self {
            from: days.from.map(midnight),
            to: days.to.map(midnight),
        }
    }
}

impl CalendarService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// The hours of the doctor, or of the clinic when nobody is named.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such doctor.
    pub async fn hours(
        &self,
        actor: &Actor,
        doctor_id: Option<UserId>,
    ) -> Result<Schedule, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        if let Some(doctor_id) = doctor_id {
            require_doctor(&mut *connection, doctor_id).await?;
        }
        Ok(connection.calendar().schedule(doctor_id).await?)
    }

    /// Gives the doctor, or the clinic when nobody is named, other hours from a day on, until they
    /// are changed again.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`] when there is no such doctor;
    /// [`CommonError::VersionMismatch`].
    pub async fn change_hours(
        &self,
        actor: &Actor,
        doctor_id: Option<UserId>,
        expected: &Expected,
        command: ChangeHours,
    ) -> Result<Changed<Schedule>, CommonError> {
        actor.require(Permission::ChangeClinic)?;
        let command = &command;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            work.calendar().hold_plans().await?;
            if let Some(doctor_id) = doctor_id {
                require_doctor(&mut *work, doctor_id).await?;
            }
            let before = work.calendar().schedule(doctor_id).await?;
            let before = in_version(Some(before), expected)?;
            let now = self.ports.clock.now();
            let zone = work.clinic().settings().await?.time_zone;
            let plan = command.plan(now.with_timezone(&zone).date_naive())?;
            let schedule = before.with(plan.clone());
            work.calendar().replace_plans(&schedule, &plan, now).await?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &schedule);
            let scope = ConflictScope {
                doctor_id,
                room_id: None,
                window: TimeWindow {
                    from: clinic_day(zone, plan.valid_from).from,
                    to: None,
                },
            };
            let changed = Changed::with_conflicts(schedule, &mut *work, &scope, now).await?;
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &changed);
            Ok(changed)
        })
        .await
    }

    /// The closures in the window, those that end earlier first.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn closures(
        &self,
        actor: &Actor,
        window: DayWindow,
        page: PageRequest<ClosureKey>,
    ) -> Result<Page<Closure, ClosureKey>, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.calendar().closures(window.into(), page).await?)
    }

    /// One closure.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn closure(
        &self,
        actor: &Actor,
        closure_id: ClosureId,
    ) -> Result<Closure, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        let closure = connection.calendar().closure(closure_id).await?;
        closure.ok_or(CommonError::NotFound)
    }

    /// Closes the clinic for a while.
    ///
    /// # Errors
    /// Faults.
    pub async fn close(
        &self,
        actor: &Actor,
        command: CreateClosure,
    ) -> Result<Changed<Closure>, CommonError> {
        actor.require(Permission::ChangeClinic)?;
        let mut faults = Faults::new();
        let span = command.span.check(&mut faults);
        let reason = reason_text(&command.reason, &mut faults);
        let Some(span) = span.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let closure = &Closure {
            closure_id: self.ports.ids.next_id().into(),
            span,
            reason,
            created_at: self.ports.clock.now(),
        };
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            work.calendar().hold_plans().await?;
            work.calendar().insert_closure(closure).await?;
            let entry = self.ports.audit_created(actor, closure);
            let absence = Absence {
                doctor_id: None,
                span: closure.span,
                now: closure.created_at,
            };
            let changed = absence.conflicts(closure.clone(), &mut *work).await?;
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &changed);
            Ok(changed)
        })
        .await
    }

    /// Takes a closure back.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn reopen(&self, actor: &Actor, closure_id: ClosureId) -> Result<(), CommonError> {
        actor.require(Permission::ChangeClinic)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let closure = work.calendar().closure(closure_id).await?;
            let closure = closure.ok_or(CommonError::NotFound)?;
            work.calendar().delete_closure(closure_id).await?;
            let entry = self.ports.audit_deleted(actor, &closure);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// A doctor's time off in the window, what ends earlier first.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such doctor.
    pub async fn time_off(
        &self,
        actor: &Actor,
        doctor_id: UserId,
        window: DayWindow,
        page: PageRequest<TimeOffKey>,
    ) -> Result<Page<TimeOff, TimeOffKey>, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        require_doctor(&mut *connection, doctor_id).await?;
        let calendar = connection.calendar();
        Ok(calendar.time_off_of(doctor_id, window.into(), page).await?)
    }

    /// One stretch of a doctor's time off.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when the doctor has none of that id.
    pub async fn one_time_off(
        &self,
        actor: &Actor,
        doctor_id: UserId,
        time_off_id: TimeOffId,
    ) -> Result<TimeOff, CommonError> {
        actor.require(Permission::ReadClinic)?;
        let mut connection = self.ports.store.connect().await?;
        time_off_of(&mut *connection, doctor_id, time_off_id).await
    }

    /// Gives a doctor time off.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`] when there is no such doctor.
    pub async fn grant_time_off(
        &self,
        actor: &Actor,
        command: CreateTimeOff,
    ) -> Result<Changed<TimeOff>, CommonError> {
        actor.require(Permission::ChangeClinic)?;
        let mut faults = Faults::new();
        let span = command.span.check(&mut faults);
        let reason = command
            .reason
            .as_ref()
            .map(|reason| reason_text(reason, &mut faults));
        let Some(span) = span.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let time_off = &TimeOff {
            time_off_id: self.ports.ids.next_id().into(),
            doctor_id: command.doctor_id,
            span,
            reason,
            created_at: self.ports.clock.now(),
        };
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            work.calendar().hold_plans().await?;
            require_doctor(&mut *work, time_off.doctor_id).await?;
            work.calendar().insert_time_off(time_off).await?;
            let entry = self.ports.audit_created(actor, time_off);
            let absence = Absence {
                doctor_id: Some(time_off.doctor_id),
                span: time_off.span,
                now: time_off.created_at,
            };
            let changed = absence.conflicts(time_off.clone(), &mut *work).await?;
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &changed);
            Ok(changed)
        })
        .await
    }

    /// Takes time off back.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when the doctor has none of that id.
    pub async fn take_back_time_off(
        &self,
        actor: &Actor,
        doctor_id: UserId,
        time_off_id: TimeOffId,
    ) -> Result<(), CommonError> {
        actor.require(Permission::ChangeClinic)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let time_off = time_off_of(&mut *work, doctor_id, time_off_id).await?;
            work.calendar().delete_time_off(time_off_id).await?;
            let entry = self.ports.audit_deleted(actor, &time_off);
            Ok(work.commit(&entry).await?)
        })
        .await
    }
}

/// The time off of that id, if it is the doctor's.
async fn time_off_of(
    repositories: &mut dyn Repositories,
    doctor_id: UserId,
    time_off_id: TimeOffId,
) -> Result<TimeOff, CommonError> {
    let time_off = repositories.calendar().time_off(time_off_id).await?;
    time_off
        .filter(|time_off| time_off.doctor_id == doctor_id)
        .ok_or(CommonError::NotFound)
}

/// A closure or time off that was just written.
struct Absence {
    doctor_id: Option<UserId>,
    span: WallSpan,
    now: Instant,
}

impl Absence {
    async fn conflicts<Thing>(
        self,
        thing: Thing,
        work: &mut dyn UnitOfWork,
    ) -> Result<Changed<Thing>, StoreError> {
        let zone = work.clinic().settings().await?.time_zone;
        let Some(moments) = moments_around(self.span, zone) else {
            return Ok(Changed::without_conflicts(thing));
        };
        let scope = ConflictScope {
            doctor_id: self.doctor_id,
            room_id: None,
            window: TimeWindow {
                from: Some(moments.start),
                to: Some(moments.end),
            },
        };
        Changed::with_conflicts(thing, work, &scope, self.now).await
    }
}

/// Goes on only with a user who has the role, active or not.
async fn require_doctor(
    repositories: &mut dyn Repositories,
    doctor_id: UserId,
) -> Result<(), CommonError> {
    let doctor = repositories.clinic().doctor(doctor_id).await?;
    doctor.map(|_| ()).ok_or(CommonError::NotFound)
}
