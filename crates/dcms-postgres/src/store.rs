use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dcms_domain::store::{NotReady, Repositories, Store, StoreError, UnitOfWork};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::error::{ConnectError, store_error};
use crate::schema;
use crate::session::PgSession;

/// Enough for writes, which wait for the disk, to share its flushes; more would only make
/// PostgreSQL switch between them.
const POOL_SIZE: u32 = 16;
/// What is done beside the requests has few connections, of its own: neither waits for the other.
const BACKGROUND_POOL_SIZE: u32 = 4;
/// How long the first connection, which tells whether there is a server at all, may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection of the pool.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a readiness check may take.
const READINESS_DEADLINE: Duration = Duration::from_secs(2);
/// Set for every connection of the pool.
const SERVER_SETTINGS: [(&str, &str); 6] = [
    // What waits for a lock has to see what was committed meanwhile.
    ("default_transaction_isolation", "read committed"),
    // Nothing hangs for ever.
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "30s"),
    // To compile a plan takes longer than any of these statements.
    ("jit", "off"),
    // How like a word of the query a name has to be: half of the word's trigrams, which forgives
    // two slips in a word of eleven letters.
    ("pg_trgm.word_similarity_threshold", "0.5"),
];
/// A connection that was idle for longer is tried before it is given out. No server comes back
/// in less, so whatever an outage broke is found here and not by a caller, while connections in
/// steady use are not tried at all.
const TRUSTED_WHEN_IDLE_FOR: Duration = Duration::from_millis(100);
/// Longer than a unit of work takes, so that those who met do not all meet again.
const SHORTEST_RETRY_WAIT: Duration = Duration::from_millis(16);
const LONGEST_RETRY_WAIT: Duration = Duration::from_millis(500);

/// The clinic's records in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// For work on everything there is, which may take longer than any request.
    without_timeouts: PgConnectOptions,
    /// Pokes who waits for changes of visits. All stores that were made of one share it.
    visit_changes: Arc<Notify>,
}

impl PostgresStore {
    /// Connects to the database of a URL such as `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// [`ConnectError`] when the URL is wrong, or the server is away, silent or refuses.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let without_timeouts = PgConnectOptions::from_str(url)
            .map_err(ConnectError::InvalidUrl)?
            .application_name("dcms");
        // A pool would try again and again and in the end only say that it waited.
        let first = timeout(
            CONNECT_DEADLINE,
            PgConnection::connect_with(&without_timeouts),
        )
        .await
        .map_err(|_| ConnectError::NoAnswer(CONNECT_DEADLINE))?
        .map_err(ConnectError::Failed)?;
        // It has told what it was for; how well it closes does not matter.
        drop(first);
        Ok(Self {
            pool: pool(POOL_SIZE, &without_timeouts),
            without_timeouts,
            visit_changes: Arc::default(),
        })
    }

    /// A store over the same database for what is done beside the requests, with a few connections
    /// of its own. It is to be closed by itself.
    #[must_use]
    pub fn for_background_work(&self) -> Self {
        Self {
            pool: pool(BACKGROUND_POOL_SIZE, &self.without_timeouts),
            without_timeouts: self.without_timeouts.clone(),
            visit_changes: Arc::clone(&self.visit_changes),
        }
    }

    /// Waits until every connection is given back, and closes them.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Waits until visits were changed by this store or one that was made of it, or
    /// [`poke`](Self::poke) says so; if that was since the last time, does not wait.
    pub async fn visits_changed(&self) {
        self.visit_changes.notified().await;
    }

    /// Lets who waits for [`visits_changed`](Self::visits_changed) go on.
    pub fn poke(&self) {
        self.visit_changes.notify_one();
    }

    pub(crate) fn connect_options(&self) -> &PgConnectOptions {
        &self.without_timeouts
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of its own, without limits on time, for work on everything there is. As a pool,
    /// because futures that borrow a single one for migrations are not `Send`.
    pub(crate) async fn connection_without_timeouts(&self) -> Result<PgPool, sqlx::Error> {
        PgPoolOptions::new()
            .max_connections(1)
            .connect_with(self.without_timeouts.clone())
            .await
    }
}

/// A pool that connects when somebody asks for a connection.
fn pool(size: u32, options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move {
                if usage.idle_for > TRUSTED_WHEN_IDLE_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone().options(SERVER_SETTINGS))
}

#[async_trait]
impl Store for PostgresStore {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        let connection = self.pool.acquire().await.map_err(store_error)?;
        Ok(Box::new(PgSession::Plain(connection)))
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let transaction = self.pool.begin().await.map_err(store_error)?;
        Ok(Box::new(PgSession::Transaction {
            transaction,
            changed_visits: false,
            visit_changes: Arc::clone(&self.visit_changes),
        }))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        let check = async {
            let mut connection = self.pool.acquire().await?;
            schema::compare(&mut connection).await
        };
        match timeout(READINESS_DEADLINE, check).await {
            Ok(Ok(comparison)) => comparison,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database is not ready");
                Err(NotReady::Unreachable)
            }
            Err(_) => Err(NotReady::Unreachable),
        }
    }

    async fn wait_before_retry(&self, attempt: u32) {
        let doublings = attempt.saturating_sub(1).min(16);
        let longest = (SHORTEST_RETRY_WAIT * 2_u32.pow(doublings)).min(LONGEST_RETRY_WAIT);
        // From half of it to all of it; the hasher's random keys are the dice.
        let dice = RandomState::new().build_hasher().finish() % 1024;
        let share = u32::try_from(dice).unwrap_or_default();
        sleep(longest / 2 + longest / 2 * share / 1024).await;
    }
}
