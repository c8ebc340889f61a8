//! What is done beside the requests, from the start of the server to its end.
//!
//! It has connections of its own and never takes one from a request. On an idle server nothing but
//! sealing and looking for changes of visits asks the database anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dcms_domain::Services;
use dcms_domain::audit::WrittenDown;
use dcms_domain::identity::session_cache;
use dcms_domain::store::{Store as _, StoreError};
use dcms_http::LiveEvents;
use dcms_postgres::PostgresStore;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

/// How often it is asked whether the sessions that are in use still count.
const CONFIRM_PERIOD: Duration =
    Duration::from_millis(session_cache::TICK.num_milliseconds().unsigned_abs());
/// How long a read waits for its place in the audit log, about.
const WRITE_DOWN_PERIOD: Duration = Duration::from_millis(250);
/// How old a row of the audit log gets before it is sealed, about.
const SEAL_PERIOD: Duration = Duration::from_secs(10);
/// How often it is asked whether visits were changed of which nobody told: by an instance that was
/// killed, or while the connection that listens was lost.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How many changes of visits are read at once.
const CHANGES_AT_ONCE: u16 = 500;
/// How long to wait when nobody can be listened to.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
/// How often what is long over is forgotten.
const SWEEP_PERIOD: Duration = Duration::from_hours(1);
/// How long what is under way, and what still waits to be written, may take at the end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The tasks beside the server. Dropped, they end at once, and what waits to be written is lost:
/// see [`stop`](Self::stop).
pub struct Background {
    store: PostgresStore,
    /// Those that serve: they know which sessions are in use.
    serving: Arc<Services>,
    /// The same over the connections of the tasks.
    services: Arc<Services>,
    tasks: JoinSet<()>,
    stopping: watch::Sender<()>,
}

impl Background {
    /// Starts the tasks for these services, whose records are in this store. Changes of visits are
    /// told to `live`.
    #[must_use]
    pub fn start(store: &PostgresStore, serving: &Arc<Services>, live: &LiveEvents) -> Self {
        let store = store.for_background_work();
        let serving = Arc::clone(serving);
        let services = Arc::new(serving.over(Arc::new(store.clone())));
        let (stopping, stop) = watch::channel(());
        // Each runs by itself, so that none waits for another. One more is one more line here.
        let mut tasks = JoinSet::new();
        tasks.spawn(confirm_sessions(
            Arc::clone(&serving),
            store.clone(),
            stop.clone(),
        ));
        tasks.spawn(write_down_accesses(Arc::clone(&services), stop.clone()));
        tasks.spawn(seal(store.clone(), stop.clone()));
        tasks.spawn(tell_changes(store.clone(), live.clone(), stop.clone()));
        tasks.spawn(listen(store.clone(), live.clone(), stop.clone()));
        tasks.spawn(sweep(Arc::clone(&services), stop));
        Self {
            store,
            serving,
            services,
            tasks,
            stopping,
        }
    }

    /// Waits until a task fails, which none of them should: without it the server must not go on.
    pub async fn failed(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Ends the tasks and writes what still waits, within a few seconds. For when no request is
    /// served any more. What could not be written is lost, and the log of the program says so.
    pub async fn stop(self) {
        let Self {
            store,
            serving,
            services,
            mut tasks,
            stopping,
        } = self;
        // They notice that nobody holds it any more.
        drop(stopping);
        let orderly = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task in the background failed");
                }
            }
            match services.audit.write_down_accesses().await {
                Ok(done) => tell_loss(done),
                Err(error) => tell_failure(&error, "the audit log was not written"),
            }
            if let Err(error) = serving.identity.write_all_seen(&store).await {
                tell_failure(&error, "when sessions were last seen was not written");
            }
            store.close().await;
        };
        if timeout(STOP_LIMIT, orderly).await.is_err() {
            // What they had taken waits again, and is counted below.
            tasks.shutdown().await;
        }
        let entries = services.audit.unwritten_accesses();
        if entries > 0 {
            tracing::error!(entries, "entries of the audit log are lost");
        }
    }
}

/// Waits; answers whether to go on.
async fn goes_on_after(period: Duration, stop: &mut watch::Receiver<()>) -> bool {
    tokio::select! {
        () = sleep(period) => true,
        // Nothing is ever sent: the sender is gone.
        _ = stop.changed() => false,
    }
}

async fn confirm_sessions(
    serving: Arc<Services>,
    store: PostgresStore,
    mut stop: watch::Receiver<()>,
) {
    let mut outage = Outage::default();
    while goes_on_after(CONFIRM_PERIOD, &mut stop).await {
        match serving.identity.confirm_sessions(&store).await {
            Ok(()) => outage.ends(),
            Err(error) => outage.goes_on(&error, "sessions are not confirmed"),
        }
    }
}

async fn write_down_accesses(services: Arc<Services>, mut stop: watch::Receiver<()>) {
    let mut outage = Outage::default();
    let mut loss_is_told = false;
    while goes_on_after(WRITE_DOWN_PERIOD, &mut stop).await {
        match services.audit.write_down_accesses().await {
            Ok(done) => {
                outage.ends();
                loss_is_told = false;
                tell_loss(done);
            }
            Err(error) => {
                outage.goes_on(&error, "the audit log is not written");
                // How many there are in the end is told when it can be written again.
                let entries = services.audit.lost_accesses();
                if entries > 0 && !loss_is_told {
                    tracing::error!(entries, "entries of the audit log are being lost");
                    loss_is_told = true;
                }
            }
        }
    }
}

async fn seal(store: PostgresStore, mut stop: watch::Receiver<()>) {
    let mut outage = Outage::default();
    while goes_on_after(SEAL_PERIOD, &mut stop).await {
        // Where more rows wait than a seal covers, the next is made at once.
        while stop.has_changed().is_ok() {
            match store.seal_audit_log().await {
                Ok(Some(seal)) if seal.is_full => outage.ends(),
                Ok(_) => {
                    outage.ends();
                    break;
                }
                Err(error) => {
                    outage.goes_on(&error, "the audit log is not sealed");
                    break;
                }
            }
        }
    }
}

/// Gives positions to the changes of visits that are committed, and tells all changes in the order
/// of their positions.
async fn tell_changes(store: PostgresStore, live: LiveEvents, mut stop: watch::Receiver<()>) {
    let mut outage = Outage::default();
    loop {
        match tell_new_changes(&store, &live).await {
            Ok(()) => outage.ends(),
            Err(error) => outage.goes_on(&error, "changes of visits are not told"),
        }
        tokio::select! {
            () = store.visits_changed() => {}
            goes_on = goes_on_after(LOOK_PERIOD, &mut stop) => if !goes_on {
                return;
            }
        }
    }
}

async fn tell_new_changes(store: &PostgresStore, live: &LiveEvents) -> Result<(), StoreError> {
    let mut connection = store.connect().await?;
    let history = connection.history();
    let Some(mut position) = live.position() else {
        live.start(history.last_position().await?);
        return Ok(());
    };
    history.assign_positions().await?;
    loop {
        let changes = history.events_after(position, CHANGES_AT_ONCE).await?;
        let Some(last) = changes.last() else {
            return Ok(());
        };
        position = last.position;
        live.tell(changes);
    }
}

/// Pokes [`tell_changes`] when another instance gives positions.
async fn listen(store: PostgresStore, live: LiveEvents, mut stop: watch::Receiver<()>) {
    let mut outage = Outage::default();
    let listening = async {
        loop {
            match hear(&store, &live).await {
                Ok(never) => match never {},
                // Until it can be heard again, the looks in between find the changes.
                Err(error) => outage.goes_on(&error, "other instances are not listened to"),
            }
            sleep(LISTEN_PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        // Nothing is ever sent: the sender is gone.
        _ = stop.changed() => {}
    }
}

async fn hear(store: &PostgresStore, live: &LiveEvents) -> Result<Infallible, StoreError> {
    let mut listener = store.listen_for_positions().await?;
    loop {
        let position = listener.next().await?;
        if live.position().is_some_and(|told| told < position) {
            store.poke();
        }
    }
}

async fn sweep(services: Arc<Services>, mut stop: watch::Receiver<()>) {
    while goes_on_after(SWEEP_PERIOD, &mut stop).await {
        match services.identity.forget_expired_sessions().await {
            Ok(sessions) => tracing::debug!(sessions, "forgot sessions that are long over"),
            // The next time it is tried again.
            Err(error) => tell_failure(&error, "sessions that are long over were not forgotten"),
        }
        if let Err(error) = services.identity.forget_old_failures().await {
            tell_failure(&error, "failed log-ins of the past were not forgotten");
        }
        match services.forget_expired_answers().await {
            Ok(answers) => tracing::debug!(answers, "forgot answers that expired"),
            Err(error) => tell_failure(&error, "answers that expired were not forgotten"),
        }
    }
}

/// An outage is told of once, however often something is tried in vain.
#[derive(Default)]
struct Outage {
    is_told: bool,
}

impl Outage {
    fn goes_on(&mut self, error: &StoreError, what: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            tell_failure(error, what);
        }
    }

    fn ends(&mut self) {
        self.is_told = false;
    }
}

fn tell_failure(error: &dyn std::error::Error, what: &str) {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let error: Vec<String> = causes.map(ToString::to_string).collect();
    tracing::error!(error = error.join(": "), "{what}");
}

fn tell_loss(done: WrittenDown) {
    if done.lost > 0 {
        tracing::error!(entries = done.lost, "entries of the audit log were lost");
    }
}
