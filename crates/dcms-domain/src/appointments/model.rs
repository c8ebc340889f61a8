use chrono::TimeDelta;

use crate::access::Permission;
use crate::calendar::Obstacle;
use crate::shared::{
    AppointmentId, Cents, Change, CommonError, FaultCode, Faults, Instant, PatientId, Quantity,
    REDACTED, RoomId, ServiceId, TimeSlot, TimeSlotError, UserId, Version, WindowRequest,
    context_error, is_sane_instant, multi_line_text, single_line_text,
};

/// Where a visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Booked.
    Scheduled,
    /// The patient said that they will come.
    Confirmed,
    /// The patient is in the house.
    Arrived,
    /// The patient is being treated.
    InChair,
    /// The treatment is over.
    Completed,
    /// It will not take place.
    Cancelled,
    /// The patient did not come.
    NoShow,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Confirmed,
        Self::Arrived,
        Self::InChair,
        Self::Completed,
        Self::Cancelled,
        Self::NoShow,
    ];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Confirmed => "confirmed",
            Self::Arrived => "arrived",
            Self::InChair => "in_chair",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::NoShow => "no_show",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nobody else can have the doctor, the room or the patient meanwhile.
    #[must_use]
    pub const fn occupies_slot(self) -> bool {
        !matches!(self, Self::Cancelled | Self::NoShow)
    }

    /// Whether the patient still has to come.
    #[must_use]
    pub const fn is_booked(self) -> bool {
        matches!(self, Self::Scheduled | Self::Confirmed)
    }

    /// Where the action leads from here, if it can be taken.
    #[must_use]
    pub fn after(self, action: Action) -> Option<Self> {
        TRANSITIONS
            .iter()
            .find(|(from, taken, _)| *from == self && *taken == action)
            .map(|(_, _, to)| *to)
    }
}

/// What can be done with a visit once it is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The patient says that they will come.
    Confirm,
    /// The patient comes in.
    Arrive,
    /// The treatment begins.
    Start,
    /// The treatment ends.
    Complete,
    /// It is called off.
    Cancel,
    /// The patient is given up on.
    NoShow,
    /// It moves to another time, doctor or room.
    Reschedule,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Confirm,
        Self::Arrive,
        Self::Start,
        Self::Complete,
        Self::Cancel,
        Self::NoShow,
        Self::Reschedule,
    ];

    /// Its name for clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Arrive => "arrive",
            Self::Start => "start",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
            Self::NoShow => "no_show",
            Self::Reschedule => "reschedule",
        }
    }

    /// What the actor must be allowed to do to take it.
    #[must_use]
    pub const fn permission(self) -> Permission {
        match self {
            Self::Start | Self::Complete => Permission::TreatAppointments,
            Self::Confirm | Self::Arrive | Self::Cancel | Self::NoShow | Self::Reschedule => {
                Permission::ScheduleAppointments
            }
        }
    }
}

/// Every step a visit can take; what is not here is refused.
#[rustfmt::skip]
pub const TRANSITIONS: [(Status, Action, Status); 13] = [
    (Status::Scheduled, Action::Confirm,    Status::Confirmed),
    (Status::Scheduled, Action::Arrive,     Status::Arrived),
    (Status::Scheduled, Action::Cancel,     Status::Cancelled),
    (Status::Scheduled, Action::NoShow,     Status::NoShow),
    (Status::Scheduled, Action::Reschedule, Status::Scheduled),
    (Status::Confirmed, Action::Arrive,     Status::Arrived),
    (Status::Confirmed, Action::Cancel,     Status::Cancelled),
    (Status::Confirmed, Action::NoShow,     Status::NoShow),
    (Status::Confirmed, Action::Reschedule, Status::Scheduled),
    (Status::Arrived,   Action::Start,      Status::InChair),
    (Status::Arrived,   Action::Cancel,     Status::Cancelled),
    (Status::InChair,   Action::Complete,   Status::Completed),
    (Status::NoShow,    Action::Arrive,     Status::Arrived),
    // Nothing leads out of Completed and Cancelled.
];

/// A service that is planned for a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedService {
    /// The service.
    pub service_id: ServiceId,
    /// How many of it.
    pub quantity: Quantity,
    /// What one cost when it was planned; nobody knows it of what was planned long ago.
    pub unit_price: Option<Cents>,
}

/// A visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appointment {
    /// Its id.
    pub appointment_id: AppointmentId,
    /// Who comes.
    pub patient_id: PatientId,
    /// Who treats.
    pub doctor_id: UserId,
    /// Where, if that is settled.
    pub room_id: Option<RoomId>,
    /// When.
    pub slot: TimeSlot,
    /// Until when the room is taken: the end of the slot, or up to four hours later.
    pub room_free_at: Instant,
    /// Where it stands.
    pub status: Status,
    /// When the patient came in.
    pub arrived_at: Option<Instant>,
    /// When the treatment began.
    pub seated_at: Option<Instant>,
    /// When it was over.
    pub completed_at: Option<Instant>,
    /// Whatever else matters.
    pub notes: Option<String>,
    /// What is planned.
    pub services: Vec<PlannedService>,
    /// Why it was booked outside the hours, if it was.
    pub overbook_reason: Option<String>,
    /// What stood in its way when somebody who may said that it takes place all the same.
    pub accepted_obstacles: Vec<Obstacle>,
    /// Why it was cancelled, if it was.
    pub cancel_reason: Option<String>,
    /// Counts the changes.
    pub version: Version,
    /// When it was booked.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// A service to be planned, as callers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRequest {
    /// The service.
    pub service_id: ServiceId,
    /// How many of it: 1 to 10,000.
    pub qty: i64,
}

/// A visit to be booked.
#[derive(Debug, Clone)]
pub struct BookAppointment {
    /// Who comes.
    pub patient_id: PatientId,
    /// Who treats.
    pub doctor_id: UserId,
    /// Where, if that is settled.
    pub room_id: Option<RoomId>,
    /// From when.
    pub starts_at: Instant,
    /// Until when. When absent, it takes as long as its services, and as the clinic's visits
    /// usually do when nobody knows how long they take.
    pub ends_at: Option<Instant>,
    /// Whatever else matters.
    pub notes: Option<String>,
    /// What is planned.
    pub services: Vec<ServiceRequest>,
    /// Why it may lie outside the hours.
    pub overbook_reason: Option<String>,
}

/// Changes to a visit that move it neither in time nor in status.
#[derive(Debug, Clone, Default)]
pub struct AppointmentChanges {
    /// Whatever else matters.
    pub notes: Change<String>,
    /// Where.
    pub room_id: Change<RoomId>,
    /// What is planned; replaces what was.
    pub services: Change<Vec<ServiceRequest>>,
    /// Why, for the history.
    pub reason: Option<String>,
}

/// An action with what it takes.
#[derive(Debug, Clone)]
pub enum Transition {
    /// See [`Action::Confirm`].
    Confirm,
    /// See [`Action::Arrive`].
    Arrive,
    /// See [`Action::Start`].
    Start,
    /// See [`Action::Complete`].
    Complete,
    /// See [`Action::Cancel`].
    Cancel {
        /// Why; not empty.
        reason: String,
    },
    /// See [`Action::NoShow`].
    NoShow,
    /// See [`Action::Reschedule`].
    Reschedule {
        /// From when.
        starts_at: Instant,
        /// Until when; it keeps its length when absent.
        ends_at: Option<Instant>,
        /// Who treats from now on; the same doctor when absent.
        doctor_id: Option<UserId>,
        /// Where from now on.
        room_id: Change<RoomId>,
        /// Why it may lie outside the hours.
        overbook_reason: Option<String>,
        /// Why it is moved.
        reason: Option<String>,
    },
}

impl Transition {
    /// The action that is taken.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Confirm => Action::Confirm,
            Self::Arrive => Action::Arrive,
            Self::Start => Action::Start,
            Self::Complete => Action::Complete,
            Self::Cancel { .. } => Action::Cancel,
            Self::NoShow => Action::NoShow,
            Self::Reschedule { .. } => Action::Reschedule,
        }
    }

    /// Whether it may lead outside the hours.
    pub(super) const fn overbooks(&self) -> bool {
        matches!(
            self,
            Self::Reschedule {
                overbook_reason: Some(_),
                ..
            }
        )
    }

    /// Why it was taken, as far as somebody said. `next` is the visit after it.
    pub(super) fn reason(&self, next: &Appointment, faults: &mut Faults) -> Option<String> {
        match self {
            Self::Cancel { .. } => next.cancel_reason.clone(),
            Self::Reschedule { reason, .. } => match reason {
                Some(reason) => Some(single_line_text(reason, 500, "/reason", faults)),
                None => next.overbook_reason.clone(),
            },
            Self::Confirm | Self::Arrive | Self::Start | Self::Complete | Self::NoShow => None,
        }
    }
}

/// What can go wrong with appointments. That a doctor, room or patient is taken is a
/// [`Rule`](crate::store::Rule) of the store, for only the store can tell.
#[derive(Debug, thiserror::Error)]
pub enum AppointmentError {
    /// What any context can fail with.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// The action cannot be taken where the visit stands.
    #[error("a visit that is {} does not allow this", from.as_str())]
    InvalidTransition {
        /// Where the visit stands.
        from: Status,
        /// What can be done with it now.
        allowed: Vec<Action>,
    },
    /// Hours, closures or time off do not allow a visit then, and nobody said why it may take place
    /// all the same.
    #[error("the clinic or the doctor is not open to visits then")]
    OutsideWorkingHours {
        /// What stands in the way.
        obstacles: Vec<Obstacle>,
    },
}

context_error!(AppointmentError);

/// The most services that one visit can have planned.
pub const MAX_PLANNED_SERVICES: usize = 50;

impl Appointment {
    /// The actions that can be taken now.
    #[must_use]
    pub fn allowed_actions(&self, now: Instant) -> Vec<Action> {
        Action::ALL
            .into_iter()
            .filter(|action| self.status.after(*action).is_some())
            .filter(|action| *action != Action::NoShow || now >= self.slot.starts_at())
            .collect()
    }

    /// The visit after a transition; notes what is wrong with what the transition takes.
    ///
    /// # Errors
    /// [`AppointmentError::InvalidTransition`] when it cannot be taken now.
    pub fn after(
        mut self,
        transition: Transition,
        now: Instant,
        faults: &mut Faults,
    ) -> Result<Self, AppointmentError> {
        let action = transition.action();
        let allowed = self.allowed_actions(now);
        let Some(status) = self
            .status
            .after(action)
            .filter(|_| allowed.contains(&action))
        else {
            return Err(AppointmentError::InvalidTransition {
                from: self.status,
                allowed,
            });
        };
        match transition {
            Transition::Cancel { reason } => {
                self.cancel_reason = Some(single_line_text(&reason, 500, "/reason", faults));
            }
            Transition::Reschedule {
                starts_at,
                ends_at,
                doctor_id,
                room_id,
                overbook_reason,
                reason: _,
            } => {
                let buffer = self.buffer();
                let ends_at = ends_at.unwrap_or_else(|| end_after(starts_at, self.slot.length()));
                self.slot = time_slot(starts_at, ends_at, faults).unwrap_or(self.slot);
                self.room_free_at = self.slot.ends_at() + buffer;
                self.doctor_id = doctor_id.unwrap_or(self.doctor_id);
                self.room_id = room_id.apply(self.room_id);
                self.overbook_reason = overbook_text(overbook_reason.as_deref(), faults);
                self.accepted_obstacles.clear();
            }
            // In this order even where a clock was set back in between.
            Transition::Arrive => self.arrived_at = Some(now),
            Transition::Start => self.seated_at = self.arrived_at.max(Some(now)),
            Transition::Complete => {
                self.completed_at = self.arrived_at.max(self.seated_at).max(Some(now));
            }
            Transition::Confirm | Transition::NoShow => {}
        }
        self.status = status;
        self.version = self.version.next();
        self.updated_at = now;
        Ok(self)
    }

    /// Whether the patient still has to come, or is here: it did not end, neither in fact nor by
    /// the clock.
    pub(crate) fn is_coming(&self, now: Instant) -> bool {
        match self.status {
            Status::Scheduled | Status::Confirmed => self.slot.ends_at() > now,
            Status::Arrived | Status::InChair => true,
            Status::Completed | Status::Cancelled | Status::NoShow => false,
        }
    }

    /// The visit without what people wrote about it, if they wrote anything.
    pub(crate) fn redacted(&self, now: Instant) -> Option<Self> {
        let redacted = |reason: &Option<String>| reason.as_ref().map(|_| REDACTED.to_owned());
        let without = Self {
            notes: None,
            overbook_reason: redacted(&self.overbook_reason),
            cancel_reason: redacted(&self.cancel_reason),
            ..self.clone()
        };
        (without != *self).then(|| Self {
            version: self.version.next(),
            updated_at: now,
            ..without
        })
    }

    /// How long the room stays taken when the visit is over.
    #[must_use]
    pub fn buffer(&self) -> TimeDelta {
        self.room_free_at - self.slot.ends_at()
    }

    /// Whether it takes a doctor, room or patient at a time at which `before` did not.
    #[must_use]
    pub fn claims_more_than(&self, before: &Self) -> bool {
        let claim = |visit: &Self| {
            let room = visit.room_id.map(|room_id| (room_id, visit.room_free_at));
            (visit.patient_id, visit.doctor_id, room, visit.slot)
        };
        self.status.occupies_slot()
            && (!before.status.occupies_slot() || claim(self) != claim(before))
    }
}

/// The slot between two instants, or a fault.
pub(super) fn time_slot(
    starts_at: Instant,
    ends_at: Instant,
    faults: &mut Faults,
) -> Option<TimeSlot> {
    TimeSlot::new(starts_at, ends_at)
        .map_err(|error| {
            let pointer = match error {
                TimeSlotError::OutOfRange if !is_sane_instant(starts_at) => "/starts_at",
                TimeSlotError::OutOfRange | TimeSlotError::Empty | TimeSlotError::TooLong => {
                    "/ends_at"
                }
            };
            faults.add(pointer, FaultCode::OutOfRange, error.to_string());
        })
        .ok()
}

/// When what takes so long is over; the end of time when that is nearer.
pub(super) fn end_after(starts_at: Instant, length: TimeDelta) -> Instant {
    starts_at
        .checked_add_signed(length)
        .unwrap_or(Instant::MAX_UTC)
}

/// The cleaned reason why a visit may lie outside the hours.
pub(super) fn overbook_text(reason: Option<&str>, faults: &mut Faults) -> Option<String> {
    reason.map(|reason| single_line_text(reason, 500, "/overbook_reason", faults))
}

/// Cleaned notes.
pub(super) fn notes_text(notes: &str, faults: &mut Faults) -> String {
    multi_line_text(notes, 10_000, "/notes", faults)
}

/// Who and what a visit needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// Who comes.
    pub patient_id: PatientId,
    /// Who treats.
    pub doctor_id: UserId,
    /// Where, if that is settled.
    pub room_id: Option<RoomId>,
}

/// Whether somebody or something can be booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no such thing.
    Unknown,
    /// It exists, but takes no bookings: an archived patient, a user who is not an active doctor,
    /// an inactive room.
    NotAvailable,
    /// It can be booked.
    Available,
}

impl Standing {
    fn check(self, pointer: &str, detail: &str, faults: &mut Faults) {
        match self {
            Self::Unknown => faults.add(pointer, FaultCode::Unknown, detail),
            Self::NotAvailable => faults.add(pointer, FaultCode::NotAvailable, detail),
            Self::Available => {}
        }
    }
}

/// The standing of all parties of a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartiesStanding {
    /// Of the patient.
    pub patient: Standing,
    /// Of the doctor.
    pub doctor: Standing,
    /// Of the room; available when there is none.
    pub room: Standing,
    /// What the room is equipped for, if it is known.
    pub room_kind: Option<String>,
}

impl PartiesStanding {
    /// Notes who and what cannot be booked.
    pub(super) fn check(&self, faults: &mut Faults) {
        let patient = "must be a patient who is not archived";
        self.patient.check("/patient_id", patient, faults);
        let doctor = "must be an active user with the role doctor";
        self.doctor.check("/doctor_id", doctor, faults);
        self.check_room(faults);
    }

    /// Notes a room that cannot be booked.
    pub(super) fn check_room(&self, faults: &mut Faults) {
        self.room
            .check("/room_id", "must be an active room", faults);
    }
}

/// Which appointments are looked for, as callers write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppointmentQuery {
    /// Of this doctor.
    pub doctor_id: Option<UserId>,
    /// Of this patient.
    pub patient_id: Option<PatientId>,
    /// In this room.
    pub room_id: Option<RoomId>,
    /// In this status.
    pub status: Option<Status>,
    /// That overlap this window.
    pub window: WindowRequest,
}

/// Where a page of appointments starts: earlier ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppointmentKey {
    /// When it starts.
    pub starts_at: Instant,
    /// Which one.
    pub appointment_id: AppointmentId,
}

impl From<&Appointment> for AppointmentKey {
    fn from(appointment: &Appointment) -> Self {
        Self {
            starts_at: appointment.slot.starts_at(),
            appointment_id: appointment.appointment_id,
        }
    }
}
