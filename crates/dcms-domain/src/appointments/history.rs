//! What was done to visits: read as the history of one, and told to whoever watches the calendar.

use async_trait::async_trait;
use chrono::NaiveDate;

use super::{Action, Status};
use crate::access::Actor;
use crate::shared::{
    AppointmentId, Instant, Page, PageRequest, PatientId, RoomId, TimeSlot, TimeWindow, UserId,
    Version,
};
use crate::store::StoreError;

/// What makes a new version of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistoryAction {
    /// It was booked.
    Book,
    /// Notes, room or planned services were changed.
    Change,
    /// What stands in its way was accepted.
    AcceptConflict,
    /// What people wrote about it went, with all that tells who the patient was.
    Anonymize,
    /// It was moved or brought through the day.
    Taken(Action),
}

impl HistoryAction {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Book,
        Self::Change,
        Self::AcceptConflict,
        Self::Anonymize,
        Self::Taken(Action::Confirm),
        Self::Taken(Action::Arrive),
        Self::Taken(Action::Start),
        Self::Taken(Action::Complete),
        Self::Taken(Action::Cancel),
        Self::Taken(Action::NoShow),
        Self::Taken(Action::Reschedule),
    ];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Change => "change",
            Self::AcceptConflict => "accept_conflict",
            Self::Anonymize => "anonymize",
            Self::Taken(action) => action.as_str(),
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// Who made a version of a visit, how and why. When and what came of it, the visit itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCause {
    /// What was done.
    pub action: HistoryAction,
    /// By whom.
    pub user_id: UserId,
    /// Who acted as them, if somebody did.
    pub impersonator_id: Option<UserId>,
    /// Why, if there was a reason to give: 1 to 500 characters.
    pub reason: Option<String>,
}

impl VersionCause {
    pub(crate) fn by(actor: &Actor, action: HistoryAction, reason: Option<&String>) -> Self {
        Self {
            action,
            user_id: actor.user_id,
            impersonator_id: actor.impersonator_id,
            reason: reason.cloned(),
        }
    }
}

/// A version that a visit once was in, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppointmentVersion {
    /// The visit.
    pub appointment_id: AppointmentId,
    /// Which version.
    pub version: Version,
    /// What was done.
    pub action: HistoryAction,
    /// By whom. Unknown of visits that are older than the history.
    pub user_id: Option<UserId>,
    /// Who acted as them, if somebody did.
    pub impersonator_id: Option<UserId>,
    /// Why, if a reason was given.
    pub reason: Option<String>,
    /// Why it takes place from then on although something is in its way, if somebody said so.
    pub overbook_reason: Option<String>,
    /// Who was to treat from then on.
    pub doctor_id: UserId,
    /// Where, if that was settled.
    pub room_id: Option<RoomId>,
    /// When it was to be from then on.
    pub slot: TimeSlot,
    /// Where it stood from then on.
    pub status: Status,
    /// When it was done.
    pub changed_at: Instant,
}

/// Where a page of a history starts: the versions of a visit follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryKey {
    /// Of which visit.
    pub appointment_id: AppointmentId,
    /// Which version.
    pub version: Version,
}

impl From<&AppointmentVersion> for HistoryKey {
    fn from(version: &AppointmentVersion) -> Self {
        Self {
            appointment_id: version.appointment_id,
            version: version.version,
        }
    }
}

/// Whose history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryOf {
    /// Of one visit.
    Appointment(AppointmentId),
    /// Of all visits of a patient.
    Patient(PatientId),
}

/// The place of a change among all changes of visits: later ones have higher ones. There are gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// Before every change.
    pub const START: Self = Self(0);

    /// A position as a store keeps it.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number a store keeps.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Whose and when a visit is: what tells who watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whereabouts {
    /// Who treats.
    pub doctor_id: UserId,
    /// When.
    pub slot: TimeSlot,
}

/// A change as it is told to whoever watches the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppointmentEvent {
    /// Its place among all changes.
    pub position: Position,
    /// The visit.
    pub appointment_id: AppointmentId,
    /// The version that it is in since.
    pub version: Version,
    /// What was done.
    pub action: HistoryAction,
    /// Where it was before; nothing when it was booked.
    pub before: Option<Whereabouts>,
    /// Where it is since.
    pub after: Whereabouts,
}

/// Which changes somebody wants to hear of, as callers write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchQuery {
    /// Of this doctor's visits.
    pub doctor_id: Option<UserId>,
    /// Of visits on this day of the clinic.
    pub day: Option<NaiveDate>,
}

/// Which changes somebody wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    pub(super) doctor_id: Option<UserId>,
    pub(super) window: TimeWindow,
}

impl Watch {
    /// Whether the visit was or is one of those that are watched: who watches it also hears that
    /// it leaves.
    #[must_use]
    pub fn concerns(&self, event: &AppointmentEvent) -> bool {
        let is_watched = |visit: Whereabouts| {
            self.doctor_id
                .is_none_or(|doctor_id| doctor_id == visit.doctor_id)
                && self.window.overlaps(visit.slot)
        };
        is_watched(event.after) || event.before.is_some_and(is_watched)
    }
}

/// Keeps what was done to visits. [`AppointmentRepository`](super::AppointmentRepository) writes
/// it, together with what it tells of.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait HistoryRepository: Send {
    /// Every version: of one visit in their order, of a patient's visits one visit after the other.
    async fn list(
        &mut self,
        of: HistoryOf,
        page: PageRequest<HistoryKey>,
    ) -> Result<Page<AppointmentVersion, HistoryKey>, StoreError>;

    /// Redacts the reasons in the history of a patient who is anonymized. Touches nobody else's.
    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError>;

    /// Gives positions to the changes that are committed and have none yet, behind all others.
    /// Whoever reads up to a position has missed nothing before it. To be called outside units of
    /// work; any number may do so at once.
    async fn assign_positions(&mut self) -> Result<(), StoreError>;

    /// The last position that was given.
    async fn last_position(&mut self) -> Result<Position, StoreError>;

    /// At most `limit` changes after a position, in their order.
    async fn events_after(
        &mut self,
        position: Position,
        limit: u16,
    ) -> Result<Vec<AppointmentEvent>, StoreError>;
}
