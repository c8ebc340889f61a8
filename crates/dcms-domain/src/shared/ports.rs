//! What every service needs from outside: the time, fresh ids, and the door to persistence.

use std::sync::Arc;

use uuid::Uuid;

use super::Instant;
use crate::audit::AccessLog;
use crate::store::Store;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The instant, to the microsecond: what a store keeps, so that what was answered and what
    /// is read later are equal.
    fn now(&self) -> Instant;
}

/// Makes ids.
pub trait IdSource: Send + Sync {
    /// An id that was never given before; later ones sort behind earlier ones (UUID version 7).
    fn next_id(&self) -> Uuid;
}

/// The ports that every service holds.
#[derive(Clone)]
pub struct Ports {
    /// The door to persistence.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// Where the entries of the audit log about reads wait to be written.
    pub access_log: Arc<AccessLog>,
}
