//! The server from its start to its end.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use dcms_domain::shared::Clock as _;
use dcms_domain::store::{NotReady, Store as _};
use dcms_http::{Draining, LiveEvents};
use dcms_system::{SystemClock, SystemIds};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::background::Background;
use crate::config::{Config, Environment};
use crate::connections::{Connections, Transport};
use crate::database::{self, Database};
use crate::open_files::connections_to_allow;
use crate::services;
use crate::tls::Tls;

/// How long after SIGTERM connections are still accepted while `/ready` already fails, so that
/// whoever spreads the load sees it before they are refused.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);

/// How long requests in flight may take once nothing new is accepted: a little more than the
/// longest that a request may take at all.
const DRAIN_LIMIT: Duration = Duration::from_secs(35);

/// Serves until a signal comes, then lets the requests in flight finish.
///
/// # Errors
/// One line that says what is missing and what to do.
pub async fn serve(config: &Config) -> anyhow::Result<()> {
    start_logging(config.env)?;
    // From here on signals wait for their turn, so that a PostgreSQL that was started is stopped.
    let stop = StopSignals::register()?;
    // First, because these are the mistakes that are quickest to tell.
    config.require_private_or_tls()?;
    let tls = config.tls_files()?.map(Tls::load).transpose()?;
    let listener = bind(config.bind_addr).await?;
    let database = Database::open(config).await?;
    prepare(config, &database).await?;

    let services = Arc::new(services(
        Arc::clone(database.store()) as _,
        config.env,
        config.session_lifetime(),
    )?);
    let live = LiveEvents::default();
    let mut background = Background::start(database.store(), &services, &live);
    let draining = Draining::default();
    let router = dcms_http::router(
        services,
        Arc::clone(database.store()) as _,
        Arc::new(SystemIds),
        draining.clone(),
        live,
        config.edge(),
    );
    let transport = Transport {
        tls,
        plain_http_peers: config.plain_http_peers(),
        max_connections: connections_to_allow(),
        ..Transport::default()
    };
    if let Err(error) = print_welcome(config, &listener) {
        // Nobody has to read it.
        tracing::warn!(%error, "the welcome was not printed");
    }
    let served = tokio::select! {
        served = run(listener, router, draining, stop.notice(), transport) => served,
        // Who supervises the program starts it again; going on would lose sessions and entries.
        error = background.failed() => Err(error).context("a task in the background failed"),
    };
    background.stop().await;
    let closed = database.close().await;
    served.and(closed)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve on {address}; stop what uses it or set BIND_ADDR to another address")
    })
}

/// Refuses a database that is not migrated, warns of a role that may too much, and seeds an empty
/// database of a developer.
async fn prepare(config: &Config, database: &Database) -> anyhow::Result<()> {
    let store = database.store();
    match store.check_ready().await {
        Ok(()) => {}
        Err(NotReady::MigrationsMissing(versions)) => {
            anyhow::bail!("the database lacks the migrations {versions:?}; run: dcms migrate");
        }
        Err(not_ready) => return Err(not_ready.into()),
    }
    if config.env == Environment::Prod {
        database::warn_of_needless_powers(store).await?;
    }
    if config.env == Environment::Dev && dcms_seed::is_empty(&**store).await? {
        tracing::info!("seeding the empty database");
        dcms_seed::seed(Arc::clone(store) as _, SystemClock.now()).await?;
    }
    Ok(())
}

/// Serves `router` until `stop` gives the notice to leave, then lets the requests in flight finish.
///
/// # Errors
/// When requests in flight did not finish in time.
pub async fn run(
    listener: TcpListener,
    router: Router,
    draining: Draining,
    stop: impl Future<Output = Duration> + Send + 'static,
    transport: Transport,
) -> anyhow::Result<()> {
    let shutdown = GracefulShutdown::new();
    let connections = Connections::new(router, &transport);
    let notice = async {
        let notice = stop.await;
        draining.begin();
        tracing::info!("stopping: requests in flight may finish");
        tokio::time::sleep(notice).await;
    };
    let follow_files = async {
        match transport.tls {
            Some(tls) => tls.follow_files().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        never = connections.accept(&listener, &shutdown) => match never {},
        never = follow_files => match never {},
        () = notice => {}
    }
    drop(listener);
    tokio::time::timeout(DRAIN_LIMIT, shutdown.shutdown())
        .await
        .context("requests in flight did not finish in time")
}

/// SIGTERM and SIGINT, from when they are registered on.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn register() -> anyhow::Result<Self> {
        let register = || -> std::io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        register().context("cannot listen for signals")
    }

    /// Waits for one of them; answers how long to accept connections from then on.
    async fn notice(mut self) -> Duration {
        tokio::select! {
            _ = self.terminate.recv() => DRAIN_NOTICE,
            // Somebody sits at the terminal and nobody spreads load.
            _ = self.interrupt.recv() => Duration::ZERO,
        }
    }
}

fn print_welcome(config: &Config, listener: &TcpListener) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let mut out = std::io::stdout().lock();
    let scheme = if config.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    writeln!(out, "DCMS serves on {scheme}://{address}/api/v1")?;
    writeln!(out, "Documentation:  {scheme}://{address}/docs")?;
    if config.env == Environment::Dev {
        let users = dcms_seed::USERNAMES.join(", ");
        writeln!(
            out,
            "Log in as one of: {users}; password: {}",
            dcms_seed::DEV_PASSWORD
        )?;
    }
    Ok(())
}

fn start_logging(env: Environment) -> anyhow::Result<()> {
    // PostgreSQL's notices are about the schema being as it should be already.
    let directives = std::env::var(EnvFilter::DEFAULT_ENV)
        .unwrap_or_else(|_| "info,sqlx::postgres::notice=warn".to_owned());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("RUST_LOG is not a filter of logs: {directives:?}"))?;
    // What a panic says may hold anything, a patient's name even.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a thread panicked");
    }));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match env {
        Environment::Dev => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        Environment::Prod => logs.json().init(),
    }
    Ok(())
}
