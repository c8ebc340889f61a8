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
    /// The visits in conflict, earlier ones first; at most [`PageLimit::MAX`]. They stay where they
    /// are until somebody moves, cancels or accepts them.
    pub conflicts: Vec<AppointmentConflict>,
    /// Whether there are others, or may be.
    pub more_conflicts: bool,
}

impl<Thing> Changed<Thing> {
    /// A change that no visit minds.
    pub(crate) const fn without_conflicts(thing: Thing) -> Self {
        Self {
            thing,
            conflicts: Vec::new(),
            more_conflicts: false,
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
        Ok(Self {
            thing,
            conflicts: page.items,
            more_conflicts: page.next.is_some(),
        })
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
        if !changed.conflicts.is_empty() {
            let visits = changed.conflicts.iter();
            let patients = visits.map(|conflict| conflict.appointment.patient_id);
            self.note_list(actor, Entity::Appointment, patients);
        }
    }
}
