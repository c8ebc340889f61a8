//! Coming visits that hours, closures, time off, their doctor or their room do not allow any more.

use super::{Appointment, AppointmentKey};
use crate::calendar::{Obstacle, Timetable};
use crate::shared::{Instant, Page, PageLimit, PageRequest, RoomId, TimeWindow, UserId};
use crate::store::{Repositories, StoreError};

/// How many visits are looked at for one page of conflicts, in pages of a store: enough for months
/// of a clinic, and no more than a request has the time for.
const MAX_BATCHES: usize = 50;

/// Which visits are looked at for conflicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConflictScope {
    /// Only this doctor's.
    pub doctor_id: Option<UserId>,
    /// Only those in this room.
    pub room_id: Option<RoomId>,
    /// Only those that overlap this window.
    pub window: TimeWindow,
}

/// A visit that was booked and is not over, and who or what of it is not available any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComingVisit {
    /// The visit: scheduled or confirmed.
    pub appointment: Appointment,
    /// Since when its doctor is disabled or no doctor any more, if so.
    pub doctor_not_available_since: Option<Instant>,
    /// Since when its room is inactive, if it has one that is.
    pub room_not_available_since: Option<Instant>,
}

impl ComingVisit {
    /// What stands in its way, accepted or not.
    pub(super) fn obstacles(&self, timetable: &Timetable) -> Vec<Obstacle> {
        let visit = &self.appointment;
        let mut obstacles = timetable.obstacles(visit.doctor_id, visit.slot);
        let (doctor, room) = (
            self.doctor_not_available_since,
            self.room_not_available_since,
        );
        obstacles.extend(doctor.map(Obstacle::DoctorNotAvailable));
        obstacles.extend(room.map(Obstacle::RoomNotAvailable));
        obstacles
    }
}

/// A coming visit and what stands in its way, of which not everything was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppointmentConflict {
    /// The visit.
    pub appointment: Appointment,
    /// What was not accepted.
    pub obstacles: Vec<Obstacle>,
}

impl Appointment {
    /// Whether it still has to take place, as it was booked.
    #[must_use]
    pub fn may_conflict(&self, now: Instant) -> bool {
        self.status.is_booked() && self.slot.ends_at() > now
    }

    /// Those of the obstacles that nobody accepted.
    pub(super) fn unaccepted(&self, mut obstacles: Vec<Obstacle>) -> Vec<Obstacle> {
        let accepted = &self.accepted_obstacles;
        obstacles.retain(|obstacle| !accepted.iter().any(|one| one.covers(*obstacle)));
        obstacles
    }
}

/// The coming visits in conflict with what stands in their way now, earlier ones first. A page may
/// hold fewer than asked for, even none, and another follow: then many visits were looked at.
pub(crate) async fn conflicts(
    repositories: &mut dyn Repositories,
    scope: &ConflictScope,
    now: Instant,
    page: PageRequest<AppointmentKey>,
) -> Result<Page<AppointmentConflict, AppointmentKey>, StoreError> {
    let mut found = Vec::new();
    let mut after = page.after;
    for _ in 0..MAX_BATCHES {
        let batch = PageRequest {
            limit: PageLimit::LARGEST,
            after,
        };
        let visits = repositories
            .appointments()
            .coming(scope, now, batch)
            .await?;
        found.extend(in_conflict(repositories, visits.items).await?);
        after = visits.next;
        if found.len() > page.limit.get() || after.is_none() {
            break;
        }
    }
    let whole = Page::from_rows(found, &page, |last: &AppointmentConflict| {
        AppointmentKey::from(&last.appointment)
    });
    Ok(Page {
        next: whole.next.or(after),
        ..whole
    })
}

/// Those of the visits that something stands in the way of.
async fn in_conflict(
    repositories: &mut dyn Repositories,
    visits: Vec<ComingVisit>,
) -> Result<Vec<AppointmentConflict>, StoreError> {
    let slots = || visits.iter().map(|visit| visit.appointment.slot);
    let first = slots().map(|slot| slot.starts_at()).min();
    let last = slots().map(|slot| slot.ends_at()).max();
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(Vec::new());
    };
    let mut doctors: Vec<UserId> = visits
        .iter()
        .map(|visit| visit.appointment.doctor_id)
        .collect();
    doctors.sort_unstable();
    doctors.dedup();
    let timetable = repositories
        .calendar()
        .timetable(&doctors, &(first..last))
        .await?;
    let conflict = |visit: ComingVisit| {
        let obstacles = visit.appointment.unaccepted(visit.obstacles(&timetable));
        (!obstacles.is_empty()).then_some(AppointmentConflict {
            appointment: visit.appointment,
            obstacles,
        })
    };
    Ok(visits.into_iter().filter_map(conflict).collect())
}
