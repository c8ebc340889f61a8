//! The changes of visits, told to every stream of this instance.

use std::sync::Arc;

use dcms_domain::appointments::{AppointmentEvent, Position};
use tokio::sync::{broadcast, watch};

/// How many changes wait for streams that are slow: the memory that it takes is this, whatever the
/// number of streams. Who is slower comes back and reads the rest from the store.
const KEPT: usize = 1024;

/// Takes the changes of visits in the order of their positions and tells each to all streams.
/// Clones share it.
#[derive(Clone)]
pub struct LiveEvents {
    told: watch::Sender<Option<Position>>,
    changes: broadcast::Sender<Arc<AppointmentEvent>>,
}

impl Default for LiveEvents {
    fn default() -> Self {
        Self {
            told: watch::Sender::new(None),
            changes: broadcast::Sender::new(KEPT),
        }
    }
}

impl LiveEvents {
    /// Up to where changes were told; nothing before [`start`](Self::start).
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        *self.told.borrow()
    }

    /// Says from where on changes are going to be told. No stream starts before that is known.
    pub fn start(&self, position: Position) {
        self.told.send_replace(Some(position));
    }

    /// Tells the changes that follow on those that were told.
    pub fn tell(&self, changes: Vec<AppointmentEvent>) {
        self.told.send_modify(|told| {
            for change in changes {
                *told = Some(change.position);
                // Nobody has to listen.
                let _ = self.changes.send(Arc::new(change));
            }
        });
    }

    /// What is going to be told, and the position behind which that begins, once it is known.
    pub(crate) async fn subscribe(&self) -> (broadcast::Receiver<Arc<AppointmentEvent>>, Position) {
        let mut started = self.told.subscribe();
        loop {
            {
                // Nothing is told while this is borrowed, so nothing lies between the two.
                let told = started.borrow_and_update();
                if let Some(position) = *told {
                    return (self.changes.subscribe(), position);
                }
            }
            // The sender is this.
            let _ = started.changed().await;
        }
    }
}
