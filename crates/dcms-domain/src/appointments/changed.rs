use super::{AppointmentConflict, ConflictScope, conflicts};
use crate::access::Actor;
use crate::audit::Entity;
use crate::shared::{Instant, PageLimit, PageRequest, Ports, Version, Versioned};
use crate::store::{Repositories, StoreError};

/// Something that visits rest on, as it was changed, and the coming visits that are in conflict now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed<Thing> {
    /// What was changed.
    pub thing: Thing,
    /// The visits in conflict; `None` when the change leaves the calendar alone.
    pub conflicts: Option<Conflicts>,
}

/// Coming visits that are in conflict with what was changed. They stay where they are until
/// somebody moves, cancels or accepts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts {
    /// The visits, earlier ones first; at most [`PageLimit::MAX`].
    pub visits: Vec<AppointmentConflict>,
    /// Whether there are others, or may be.
    pub more: bool,
}

impl<Thing> Changed<Thing> {
    /// A change that no visit minds.
    pub(crate) const fn without_conflicts(thing: Thing) -> Self {
        Self {
            thing,
            conflicts: None,
        }
    }

    /// A change that was just written, with the visits of the scope that are in conflict.
    pub(crate) async fn with_conflicts(
        thing: Thing,
        repositories: &mut dyn Repositories,
        scope: &ConflictScope,
        now: Instant,
    ) -> Result<Self, StoreError> {
        let page = PageRequest {
            limit: PageLimit::LARGEST,
            after: None,
        };
        let page = conflicts(repositories, scope, now, page).await?;
        let conflicts = Some(Conflicts {
            visits: page.items,
            more: page.next.is_some(),
        });
        Ok(Self { thing, conflicts })
    }
}

impl<Thing: Versioned> Versioned for Changed<Thing> {
    fn version(&self) -> Version {
        self.thing.version()
    }
}

impl Ports {
    /// Notes that the visits in conflict were read.
    pub(crate) fn note_conflicts<Thing>(&self, actor: &Actor, changed: &Changed<Thing>) {
        if let Some(conflicts) = &changed.conflicts
            && !conflicts.visits.is_empty()
        {
            let visits = conflicts.visits.iter();
            let patients = visits.map(|conflict| conflict.appointment.patient_id);
            self.note_list(actor, Entity::Appointment, patients);
        }
    }
}
