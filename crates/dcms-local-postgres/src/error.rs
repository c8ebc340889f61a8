use std::io;
use std::path::{Path, PathBuf};

/// Why PostgreSQL cannot be used. Each message is one line that says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalPostgresError {
    /// No usable PostgreSQL on this machine, and none could be downloaded.
    #[error(
        "no PostgreSQL 15 or newer with its contrib extensions was found here, and none could be \
         downloaded ({download}): install it ({INSTALL_HINT}), or set DCMS_PG_BIN to its bin \
         directory, or DATABASE_URL to a server"
    )]
    NotInstalled {
        /// Why the download failed.
        download: String,
    },
    /// The data directory needs a major version that is not here and could not be downloaded.
    #[error(
        "{} was written by PostgreSQL {major}, which was not found here and could not be \
         downloaded ({download}): install PostgreSQL {major}, or set DCMS_PG_BIN to its bin directory",
        data.display()
    )]
    MajorVersionNotInstalled {
        /// The PostgreSQL data directory.
        data: PathBuf,
        /// The major version that wrote it.
        major: u32,
        /// Why the download failed.
        download: String,
    },
    /// `DCMS_PG_BIN` is set, but what it names cannot be used.
    #[error("DCMS_PG_BIN={} cannot be used ({problem}): correct it or unset it", directory.display())]
    ConfiguredBinaries {
        /// What `DCMS_PG_BIN` says.
        directory: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Neither `XDG_DATA_HOME` nor `HOME` says where a user keeps data.
    #[error("HOME is not set, so there is no default place for the data: set DATA_DIR")]
    NoHomeDirectory,
    /// A file or directory that PostgreSQL needs could not be used.
    #[error(
        "{} cannot be used ({reason}): correct its permissions or set DATA_DIR to another directory",
        path.display()
    )]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else to run it.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user postgres nor a user \
         nobody: add one (useradd --system postgres), or start as another user"
    )]
    NoUnprivilegedUser,
    /// `initdb` failed.
    #[error("PostgreSQL could not create {} ({reason}): correct that and start again", data.display())]
    Initialize {
        /// The directory that was to be created.
        data: PathBuf,
        /// The last line that `initdb` wrote.
        reason: String,
    },
    /// PostgreSQL ended instead of starting.
    #[error("PostgreSQL did not start ({reason}): correct that and start again; its log is {}", log.display())]
    DidNotStart {
        /// The last line of PostgreSQL's log.
        reason: String,
        /// The whole log.
        log: PathBuf,
    },
    /// PostgreSQL runs but accepts nobody.
    #[error(
        "PostgreSQL runs on {} but accepted no connection within {seconds} s: start again if it is \
         still recovering (its log is {}), else end it first",
        data.display(), log.display()
    )]
    NoAnswer {
        /// The PostgreSQL data directory.
        data: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// PostgreSQL's log.
        log: PathBuf,
    },
    /// PostgreSQL was told to stop and did not.
    #[error(
        "PostgreSQL (process {process}) did not stop within {seconds} s: end it with kill -QUIT {process}"
    )]
    DidNotStop {
        /// The process id of the postmaster.
        process: i32,
        /// How long was waited.
        seconds: u64,
    },
    /// The watcher that ends a throwaway PostgreSQL could not be started.
    #[error(
        "the watcher of the throwaway PostgreSQL did not start ({0}): check that /bin/sh and mkfifo work here"
    )]
    Watcher(String),
    /// PostgreSQL refused a statement of this crate.
    #[error(
        "PostgreSQL refused to work on database {database} ({reason}): correct that and start again"
    )]
    Database {
        /// The database's name.
        database: String,
        /// What PostgreSQL says.
        reason: sqlx::Error,
    },
    /// The caller could not build the template of its test databases.
    #[error(
        "the template of the test databases could not be built ({0}): correct that and run the tests again"
    )]
    Template(Box<dyn std::error::Error + Send + Sync>),
}

const INSTALL_HINT: &str = if cfg!(target_os = "macos") {
    "brew install postgresql@17"
} else {
    "for example: sudo apt-get install postgresql"
};

impl LocalPostgresError {
    /// For `map_err` where the path is all that a reader needs to know.
    pub(crate) fn directory(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |reason| Self::Directory { path, reason }
    }

    pub(crate) fn database(name: &str) -> impl FnOnce(sqlx::Error) -> Self {
        let database = name.to_owned();
        move |reason| Self::Database { database, reason }
    }
}
