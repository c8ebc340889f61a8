//! A PostgreSQL that DCMS manages by itself, so that nobody has to set one up.
//!
//! [`LocalPostgres`] is durable: for `cargo run` and for a clinic on one machine. [`throwaway`] is
//! for tests. Both find the programs of PostgreSQL (15 or newer, with contrib) in `DCMS_PG_BIN`, in
//! the places where Debian, Fedora, Alpine, Homebrew and Postgres.app put them, in `PATH`, and else
//! download them. The version that wrote the data directory is the one that is used.
//!
//! # What is where
//!
//! Everything is in the directory `postgres` of the data directory: `data` (PostgreSQL's own),
//! `run` (its socket), `postgres.log`, and two lock files. No network port is opened and there is
//! no password: whoever may enter that directory is whichever role they name, the superuser too. Where the path is too long for a
//! socket, the socket is in a private directory `/tmp/dcms-…` that the file `socket-directory` names.
//!
//! # Root
//!
//! PostgreSQL refuses to run as root. Started by root, it runs as the owner of its directory, which
//! for a new one is the user `postgres`, else `nobody`. If that user cannot enter the data directory
//! (one in `/root`, say), `postgres` in it becomes a symbolic link to a new directory in
//! `/var/lib/dcms`. Copy that one for a backup.
//!
//! # Joining
//!
//! Programs that start on the same data directory share one server; the last to leave stops it.
//! A killed program leaves it running, and the next one joins it.

#[cfg(not(unix))]
compile_error!("the managed PostgreSQL needs Unix sockets, users and signals: run DCMS in WSL");

mod account;
mod binaries;
mod download;
mod error;
mod server;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod throwaway;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::binaries::Search;
use crate::server::{Profile, Server};

pub use crate::error::LocalPostgresError;

/// A durable PostgreSQL that runs for as long as this value lives in any process.
///
/// Dropping it leaves like [`leave`](Self::leave), but blocks the thread while PostgreSQL stops
/// and can only log an error.
#[derive(Debug)]
pub struct LocalPostgres {
    server: Server,
    users_lock: Option<File>,
}

impl LocalPostgres {
    /// Starts the PostgreSQL in `data_dir`, or joins it when it runs. A new one is created first.
    ///
    /// # Errors
    ///
    /// Says in one line what is missing: programs, permissions, or what PostgreSQL complains about.
    pub async fn start(data_dir: &Path) -> Result<Self, LocalPostgresError> {
        let search = Search::of_this_machine();
        Self::start_with(data_dir, search, Path::new(account::DATA_DIRECTORY_OF_ROOT)).await
    }

    async fn start_with(
        data_dir: &Path,
        search: Search,
        for_the_unreachable: &Path,
    ) -> Result<Self, LocalPostgresError> {
        let data_dir = data_dir.to_owned();
        let for_the_unreachable = for_the_unreachable.to_owned();
        blocking(move || {
            let (directory, account) =
                account::postgres_directory(&data_dir, &for_the_unreachable)?;
            let server = Server::new(directory, account, Profile::Durable)?;
            let start_lock = server.start_lock()?;
            let users_lock = server.users_lock()?;
            server.ensure_running(&search)?;
            drop(start_lock);
            Ok(Self {
                server,
                users_lock: Some(users_lock),
            })
        })
        .await
    }

    /// The URL of a database, as the superuser `postgres`; the database need not exist.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// The URL of a database, as another role; neither need exist.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        self.server.url_as(role, database)
    }

    /// Creates a database unless there is one of that name.
    ///
    /// # Errors
    ///
    /// [`LocalPostgresError::Database`] if PostgreSQL does not answer or refuses.
    pub async fn ensure_database(&self, name: &str) -> Result<(), LocalPostgresError> {
        ensure_database(&self.server, name)
            .await
            .map_err(LocalPostgresError::database(name))
    }

    /// Gives up this use of the server. The last one anywhere stops it: sessions are ended and
    /// everything is written down before this returns.
    ///
    /// # Errors
    ///
    /// [`LocalPostgresError::DidNotStop`] if it is still there after a minute.
    pub async fn leave(mut self) -> Result<(), LocalPostgresError> {
        blocking(move || self.leave_now()).await
    }

    fn leave_now(&mut self) -> Result<(), LocalPostgresError> {
        let Some(users_lock) = self.users_lock.take() else {
            return Ok(());
        };
        let _start = self.server.start_lock()?;
        // Not by closing the file: a child that is just being started has a copy of it.
        users_lock
            .unlock()
            .map_err(LocalPostgresError::directory(self.server.directory()))?;
        if users_lock.try_lock().is_ok() {
            self.server.stop()?;
        }
        Ok(())
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.leave_now() {
            tracing::error!(%error, "could not stop the local PostgreSQL");
        }
    }
}

/// Where the data is unless somebody says otherwise: `/var/lib/dcms` for root; for users
/// `~/Library/Application Support/dcms` on macOS, else `$XDG_DATA_HOME/dcms` or
/// `~/.local/share/dcms`.
///
/// # Errors
///
/// [`LocalPostgresError::NoHomeDirectory`] if the environment does not say where that is.
pub fn default_data_dir() -> Result<PathBuf, LocalPostgresError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from(account::DATA_DIRECTORY_OF_ROOT));
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let home = env::home_dir().filter(absolute);
    let directory = if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library/Application Support"))
    } else {
        env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(absolute)
            .or_else(|| home.map(|home| home.join(".local/share")))
    };
    directory
        .map(|directory| directory.join("dcms"))
        .ok_or(LocalPostgresError::NoHomeDirectory)
}

async fn ensure_database(server: &Server, name: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&server.url("postgres")).await?;
    let created = sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {}", quoted(name))))
        .execute(&mut connection)
        .await;
    match created {
        // 42P04: it exists; 23505: somebody else is creating it at this moment.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
        result => {
            result?;
        }
    }
    connection.close().await
}

/// A name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs what waits for files, locks and processes off the async threads. It finishes even when
/// nobody waits for it any longer, and then what it made is dropped.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => unreachable!("a blocking task cannot be cancelled once it runs: {error}"),
        },
    }
}
