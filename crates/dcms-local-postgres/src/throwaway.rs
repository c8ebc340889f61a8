//! PostgreSQL for tests: fast, forgetful, and gone when the tests are.
//!
//! All test processes of a user share one server in `/var/tmp/dcms-test-UID`. The first one starts
//! it; a small shell script ends it and deletes its data some seconds after the last one has ended,
//! however that happened. Each call of [`database`] gives a new database. One takes 10 MB and a run of
//! all tests makes hundreds, so the next call in the same process drops those of its tests that are
//! over; the last ones of each process vanish with the server.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::account::{postgres_directory, remove_file};
use crate::binaries::Search;
use crate::server::{Profile, Server};
use crate::{LocalPostgresError, blocking, ensure_database, quoted};

/// On a disk also where `/tmp` is memory, and short enough for a socket.
const PARENT_DIRECTORY: &str = "/var/tmp";
/// Long enough for cargo to go from one test program to the next.
const TENTHS_OF_A_SECOND_TO_LINGER: u32 = 100;
const TIME_FOR_THE_WATCHER: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const LONGEST_TEMPLATE_NAME_IN_BYTES: usize = 50;

/// A database of one test's own. It is there at least until the thread that asked for it ends.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    server: Server,
    name: String,
    url: String,
}

impl TestDatabase {
    /// The URL of the database, as the superuser `postgres`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the database, as another role.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        self.server.url_as(role, &self.name)
    }
}

/// Makes a new database that is a copy of the template of that name.
///
/// When there is no such template yet, `build` gets the URL of an empty database and fills it;
/// whatever the number of tests and processes that ask, one of them does so and the others wait.
/// The name must change with what `build` does: take, for example, the hash of the migrations.
///
/// # Errors
///
/// Whatever hinders PostgreSQL from starting or working, and as [`LocalPostgresError::Template`]
/// what `build` says.
///
/// # Panics
///
/// If the name is longer than 50 bytes: PostgreSQL would cut it, and two templates could be mixed up.
pub async fn database<E>(
    template: &str,
    build: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> Result<TestDatabase, LocalPostgresError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    assert!(
        template.len() <= LONGEST_TEMPLATE_NAME_IN_BYTES,
        "the template's name {template:?} is longer than {LONGEST_TEMPLATE_NAME_IN_BYTES} bytes"
    );
    let server = blocking(shared_server).await?;
    if let Err(error) = drop_out_of_use(&server).await {
        // That is no failure of the test that asks now.
        tracing::warn!(%error, "databases of earlier tests stay");
    }
    let database = database_on(&server, template, build).await?;
    OF_THIS_TEST.with_borrow_mut(|DatabasesOfThisTest(names)| names.push(database.name.clone()));
    Ok(database)
}

/// The databases on the shared server whose tests are over.
static OUT_OF_USE: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Each test has a thread. What a test leaves running, such as a store, may outlive its
    /// [`TestDatabase`], but not its thread.
    static OF_THIS_TEST: RefCell<DatabasesOfThisTest> = const { RefCell::new(DatabasesOfThisTest(Vec::new())) };
}

struct DatabasesOfThisTest(Vec<String>);

/// Only notes them down: where a thread ends, nothing can be awaited.
impl Drop for DatabasesOfThisTest {
    fn drop(&mut self) {
        let mut out_of_use = OUT_OF_USE.lock().unwrap_or_else(PoisonError::into_inner);
        out_of_use.append(&mut self.0);
    }
}

async fn drop_out_of_use(server: &Server) -> Result<(), LocalPostgresError> {
    let names = std::mem::take(&mut *OUT_OF_USE.lock().unwrap_or_else(PoisonError::into_inner));
    if names.is_empty() {
        return Ok(());
    }
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .map_err(LocalPostgresError::database("postgres"))?;
    for name in names {
        // A program that the test has killed may still have a session.
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        execute(&mut connection, statement)
            .await
            .map_err(LocalPostgresError::database(&name))?;
    }
    Ok(())
}

async fn database_on<E>(
    server: &Server,
    template: &str,
    build: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> Result<TestDatabase, LocalPostgresError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .map_err(LocalPostgresError::database("postgres"))?;
    let template = format!("template_{template}");
    let failure = LocalPostgresError::database(&template);
    if !exists(&mut connection, &template).await.map_err(failure)? {
        build_template(server, &template, build).await?;
    }
    let name = copy(&mut connection, &template)
        .await
        .map_err(LocalPostgresError::database(&template))?;
    Ok(TestDatabase {
        url: server.url(&name),
        server: server.clone(),
        name,
    })
}

/// Starts a PostgreSQL of one test's own, for a test that needs to stop it.
///
/// # Errors
///
/// Whatever hinders PostgreSQL from starting.
pub async fn cluster() -> Result<TestCluster, LocalPostgresError> {
    blocking(|| {
        let directory = private_directory()?;
        let server = throwaway_server(directory.path())?;
        // The watcher runs as the account of the server and shall be able to delete it all.
        server
            .account()
            .take_over(directory.path())
            .map_err(LocalPostgresError::directory(directory.path()))?;
        let _start = server.start_lock()?;
        let presence = join(&server, 0, server.directory())?;
        server.ensure_running(&Search::of_this_machine())?;
        Ok(TestCluster {
            server,
            _presence: presence,
            _directory: directory,
        })
    })
    .await
}

/// A PostgreSQL of one test's own. It ends and its data vanishes when this is dropped, or when the
/// test process ends.
#[derive(Debug)]
pub struct TestCluster {
    server: Server,
    _presence: File,
    _directory: TempDir,
}

impl TestCluster {
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

    /// Ends all sessions and stops PostgreSQL; its data stays for [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// [`LocalPostgresError::DidNotStop`] if it is still there after a minute.
    pub async fn stop_now(&self) -> Result<(), LocalPostgresError> {
        let server = self.server.clone();
        blocking(move || {
            let _start = server.start_lock()?;
            server.stop()
        })
        .await
    }

    /// Starts PostgreSQL on the same data and under the same URL as before.
    ///
    /// # Errors
    ///
    /// Whatever hinders PostgreSQL from starting.
    pub async fn start_again(&self) -> Result<(), LocalPostgresError> {
        let server = self.server.clone();
        blocking(move || {
            let _start = server.start_lock()?;
            server.ensure_running(&Search::of_this_machine())
        })
        .await
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Err(error) = self.server.stop() {
            tracing::error!(%error, "could not stop the PostgreSQL of a test");
        }
    }
}

/// The server of all test processes, which runs until this process ends.
fn shared_server() -> Result<Server, LocalPostgresError> {
    static JOINED: Mutex<Option<(Server, File)>> = Mutex::new(None);
    let mut joined = JOINED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((server, _)) = &*joined {
        return Ok(server.clone());
    }
    let (server, presence) = join_or_start(&shared_directory()?, TENTHS_OF_A_SECOND_TO_LINGER)?;
    *joined = Some((server.clone(), presence));
    Ok(server)
}

/// The server stays while the file is open.
fn join_or_start(
    directory: &Path,
    tenths_of_a_second_to_linger: u32,
) -> Result<(Server, File), LocalPostgresError> {
    let server = throwaway_server(directory)?;
    let _start = server.start_lock()?;
    let presence = join(&server, tenths_of_a_second_to_linger, &server.data())?;
    if !server.is_ready() {
        // What an earlier server left behind is full of the databases of earlier tests.
        server.stop()?;
        server.wipe()?;
        server.ensure_running(&Search::of_this_machine())?;
    }
    Ok((server, presence))
}

fn throwaway_server(directory: &Path) -> Result<Server, LocalPostgresError> {
    let (directory, account) = postgres_directory(directory, Path::new(PARENT_DIRECTORY))?;
    Server::new(directory, account, Profile::Throwaway)
}

/// Others may write to its parent, so it must be what this user made.
fn shared_directory() -> Result<PathBuf, LocalPostgresError> {
    let user = rustix::process::geteuid();
    let directory = PathBuf::from(format!("{PARENT_DIRECTORY}/dcms-test-{}", user.as_raw()));
    let create = || match DirBuilder::new().mode(0o711).create(&directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(&directory)?;
            if metadata.is_dir() && metadata.uid() == user.as_raw() {
                Ok(())
            } else {
                Err(io::Error::other("it belongs to somebody else"))
            }
        }
        result => result,
    };
    create()
        .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)))
        .map_err(LocalPostgresError::directory(&directory))?;
    Ok(directory)
}

fn private_directory() -> Result<TempDir, LocalPostgresError> {
    tempfile::Builder::new()
        .prefix("dcms-test-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(PARENT_DIRECTORY)
        .map_err(LocalPostgresError::directory(Path::new(PARENT_DIRECTORY)))
}

/// Makes sure that a watcher keeps the server for as long as the returned file is open; needs the
/// start lock.
fn join(
    server: &Server,
    tenths_of_a_second_to_linger: u32,
    delete_afterwards: &Path,
) -> Result<File, LocalPostgresError> {
    let failure = |error: io::Error| LocalPostgresError::Watcher(error.to_string());
    if let Some(presence) = announce(server.directory()).map_err(failure)? {
        return Ok(presence);
    }
    // One that was killed has left its pipe; it must not be taken for the new one's.
    remove_file(&server.directory().join("users")).map_err(failure)?;
    let script = server.directory().join("watcher.sh");
    server
        .account()
        .replace_file(&script, include_bytes!("watcher.sh"))
        .map_err(failure)?;
    let mut watcher = server
        .account()
        .command("/bin/sh", server.directory())
        .arg(script)
        .arg(server.directory())
        .arg(tenths_of_a_second_to_linger.to_string())
        .arg(delete_afterwards)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failure)?;
    let deadline = Instant::now() + TIME_FOR_THE_WATCHER;
    loop {
        if let Some(presence) = announce(server.directory()).map_err(failure)? {
            // It outlives this process, or else is reaped when the one who asked is gone.
            thread::spawn(move || watcher.wait());
            return Ok(presence);
        }
        if let Some(status) = watcher.try_wait().map_err(failure)? {
            return Err(LocalPostgresError::Watcher(status.to_string()));
        }
        if Instant::now() > deadline {
            return Err(LocalPostgresError::Watcher("no answer".to_owned()));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Tells the watcher in `directory` that this process uses the server. `None`: there is no watcher,
/// or it has decided to end the server and now has done so.
fn announce(directory: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(
            (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW)
                .bits()
                .cast_signed(),
        )
        .open(directory.join("users"));
    let no_reader = rustix::io::Errno::NXIO.raw_os_error();
    let mut users = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(no_reader) => return Ok(None),
        opened => opened?,
    };
    let name = std::process::id();
    let joined = directory.join(format!("joined.{name}"));
    remove_file(&joined)?;
    let deadline = Instant::now() + TIME_FOR_THE_WATCHER;
    while Instant::now() < deadline {
        // Written again and again, as this is also how to notice that the watcher has ended.
        match users.write_all(format!("{name}\n").as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => result?,
        }
        if joined.exists() {
            remove_file(&joined)?;
            return Ok(Some(users));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

async fn exists(connection: &mut PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(connection)
        .await
}

/// Builds the template under another name and then renames it, so that one that was left half built
/// is never taken for it. Holds a lock meanwhile, which a killed process cannot keep.
async fn build_template<E>(
    server: &Server,
    template: &str,
    build: impl AsyncFnOnce(&str) -> Result<(), E>,
) -> Result<(), LocalPostgresError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let failure = || LocalPostgresError::database(template);
    let unfinished = format!("unfinished_{template}");
    let mut builder = PgConnection::connect(&server.url("postgres"))
        .await
        .map_err(failure())?;
    if !lock_and_create(&mut builder, template, &unfinished)
        .await
        .map_err(failure())?
    {
        return Ok(());
    }
    build(&server.url(&unfinished))
        .await
        .map_err(|error| LocalPostgresError::Template(error.into()))?;
    close_and_rename(&mut builder, &unfinished, template)
        .await
        .map_err(failure())
}

/// False if somebody else has built the template meanwhile.
async fn lock_and_create(
    builder: &mut PgConnection,
    template: &str,
    unfinished: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(template)
        .execute(&mut *builder)
        .await?;
    if exists(builder, template).await? {
        return Ok(false);
    }
    let unfinished = quoted(unfinished);
    execute(
        builder,
        format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"),
    )
    .await?;
    execute(builder, format!("CREATE DATABASE {unfinished}")).await?;
    Ok(true)
}

async fn close_and_rename(
    builder: &mut PgConnection,
    unfinished: &str,
    template: &str,
) -> Result<(), sqlx::Error> {
    // A session left open, or opened by somebody who is curious, would block each copy.
    let name = quoted(unfinished);
    execute(
        builder,
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
    )
    .await?;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(unfinished)
        .execute(&mut *builder)
        .await?;
    let template = quoted(template);
    execute(
        builder,
        format!("ALTER DATABASE {name} RENAME TO {template}"),
    )
    .await
}

/// Copies the template under a name that this server never used before, and no other process ever
/// uses: after a crash numbers begin again, and a name must not be dropped that became another's.
async fn copy(connection: &mut PgConnection, template: &str) -> Result<String, sqlx::Error> {
    let number: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text")
        .fetch_one(&mut *connection)
        .await?;
    let name = format!("test_{}_{number}", std::process::id());
    let template = quoted(template);
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY");
    execute(connection, statement).await?;
    Ok(name)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
