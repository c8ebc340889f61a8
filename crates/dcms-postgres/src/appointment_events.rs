//! What the other instances tell of changes of visits.

use dcms_domain::appointments::Position;
use dcms_domain::store::StoreError;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::error::store_error;
use crate::store::{ACQUIRE_TIMEOUT, PostgresStore};

/// Where the last position is told whenever some were given.
pub(crate) const CHANNEL: &str = "appointment_events";

/// Hears of the positions that are given, over a connection of its own, which comes back when it is
/// lost. What was told meanwhile is not heard.
pub struct PositionListener(PgListener);

impl PostgresStore {
    /// Begins to listen for positions that any instance gives.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn listen_for_positions(&self) -> Result<PositionListener, StoreError> {
        // A pool of one, which connects anew when the connection is lost.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.connect_options().clone());
        let listener = PgListener::connect_with(&pool).await;
        let mut listener = listener.map_err(store_error)?;
        listener.listen(CHANNEL).await.map_err(store_error)?;
        Ok(PositionListener(listener))
    }
}

impl PositionListener {
    /// Waits for the next time that positions are given; answers the last of them.
    ///
    /// # Errors
    /// When the connection is lost and there is no other.
    pub async fn next(&mut self) -> Result<Position, StoreError> {
        loop {
            let notification = self.0.recv().await.map_err(store_error)?;
            // Anybody who is let into the database can say anything here.
            if let Ok(position) = notification.payload().parse() {
                return Ok(Position::new(position));
            }
        }
    }
}
