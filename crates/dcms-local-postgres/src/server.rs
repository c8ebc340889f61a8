//! One PostgreSQL: its directory, its locks, its start and its stop.
//!
//! Whether it runs is asked of its socket, never of its process id: a killed postmaster that nobody
//! reaps looks alive. What it leaves behind is cleared away before the next start.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::LocalPostgresError;
use crate::account::{Account, remove_file};
use crate::binaries::{Binaries, Search, last_line};

const SECONDS_TO_START: u64 = 60;
const SECONDS_TO_STOP: u64 = 60;
/// A killed postmaster's backends notice its death at their next wait.
const TIME_FOR_ORPHANS_TO_END: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// macOS allows 104 bytes for a socket's path, of which `/.s.PGSQL.5432` takes 14.
const LONGEST_SOCKET_DIRECTORY_IN_BYTES: usize = 85;
const LARGEST_LOG_IN_BYTES: u64 = 10 * 1024 * 1024;

/// What the data is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Everything that was committed survives.
    Durable,
    /// As fast as can be; a crash of the machine loses it.
    Throwaway,
}

impl Profile {
    fn initdb_options(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &["--data-checksums"],
            Self::Throwaway => &["--no-sync"],
        }
    }

    fn settings(self) -> &'static [&'static str] {
        match self {
            // With 10,000 files, recovery by fsync takes ten times as long.
            Self::Durable if cfg!(target_os = "linux") => &["recovery_init_sync_method=syncfs"],
            Self::Durable => &[],
            Self::Throwaway => &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "autovacuum=off",
                "wal_level=minimal",
                "max_wal_senders=0",
                "max_connections=300",
            ],
        }
    }
}

/// What the socket says.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    StartingOrStopping,
    NotRunning,
}

/// A PostgreSQL that may or may not run.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    directory: PathBuf,
    account: Account,
    profile: Profile,
    socket_directory: PathBuf,
}

impl Server {
    /// `directory` belongs to `account` and holds everything of this server.
    ///
    /// Takes the start lock for a moment: the first caller decides where the socket is.
    pub(crate) fn new(
        directory: PathBuf,
        account: Account,
        profile: Profile,
    ) -> Result<Self, LocalPostgresError> {
        let mut server = Self {
            socket_directory: directory.join("run"),
            directory,
            account,
            profile,
        };
        let _start = server.start_lock()?;
        server.socket_directory = server.choose_socket_directory()?;
        Ok(server)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("postgres.log")
    }

    /// The URL of a database as the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// A URL that sqlx and libpq understand. Port and TLS are named so that nobody's `PGPORT` or
    /// `PGSSLMODE` changes them.
    pub(crate) fn url_as(&self, role: &str, database: &str) -> String {
        format!(
            "postgres://{}@localhost:5432/{}?host={}&sslmode=disable",
            percent_encoded(role, ""),
            percent_encoded(database, ""),
            percent_encoded(&self.socket_directory.to_string_lossy(), "/"),
        )
    }

    /// Held by whoever starts or stops the server, or decides to join it. Blocks.
    pub(crate) fn start_lock(&self) -> Result<File, LocalPostgresError> {
        let (file, path) = self.lock_file("start.lock")?;
        file.lock().map_err(LocalPostgresError::directory(&path))?;
        Ok(file)
    }

    /// Held shared by each user of the server, exclusively by nobody for longer than a moment.
    pub(crate) fn users_lock(&self) -> Result<File, LocalPostgresError> {
        let (file, path) = self.lock_file("users.lock")?;
        file.lock_shared()
            .map_err(LocalPostgresError::directory(&path))?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf), LocalPostgresError> {
        let path = self.directory.join(name);
        let file = self
            .account
            .open_file(&path)
            .map_err(LocalPostgresError::directory(&path))?;
        Ok((file, path))
    }

    /// Whether a client would be let in now.
    pub(crate) fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    /// Makes the server run; needs the start lock.
    pub(crate) fn ensure_running(&self, search: &Search) -> Result<(), LocalPostgresError> {
        let deadline = Instant::now() + Duration::from_secs(SECONDS_TO_START);
        loop {
            match self.state() {
                State::Ready => return Ok(()),
                State::NotRunning if self.postmaster().is_none() => break,
                // Started by somebody who was killed meanwhile, or on its way down.
                State::NotRunning | State::StartingOrStopping => self.pause(deadline)?,
            }
        }
        let binaries = search.find(&self.account, &self.data())?;
        self.initialize(&binaries)?;
        self.launch(&binaries, deadline)
    }

    /// Ends all sessions, writes everything down and waits for the end; needs the start lock.
    pub(crate) fn stop(&self) -> Result<(), LocalPostgresError> {
        let Some(process) = self.postmaster() else {
            return Ok(());
        };
        if let Err(error) = kill_process(process, Signal::INT)
            && error != rustix::io::Errno::SRCH
        {
            return Err(LocalPostgresError::directory(&self.data())(error.into()));
        }
        let deadline = Instant::now() + Duration::from_secs(SECONDS_TO_STOP);
        while self.postmaster().is_some() {
            if Instant::now() > deadline {
                return Err(LocalPostgresError::DidNotStop {
                    process: process.as_raw_nonzero().get(),
                    seconds: SECONDS_TO_STOP,
                });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Deletes the data of a server that does not run; needs the start lock.
    pub(crate) fn wipe(&self) -> Result<(), LocalPostgresError> {
        remove_directory(&self.data())
    }

    /// Asks for a session and reads the first byte of the answer.
    fn state(&self) -> State {
        let ask = || -> io::Result<State> {
            let mut socket = UnixStream::connect(self.socket())?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.set_write_timeout(Some(Duration::from_secs(5)))?;
            let parameters = b"user\0postgres\0database\0postgres\0\0";
            let length = u32::try_from(8 + parameters.len()).unwrap_or(u32::MAX);
            let mut request = length.to_be_bytes().to_vec();
            request.extend(196_608_u32.to_be_bytes());
            request.extend(parameters);
            socket.write_all(&request)?;
            let mut answer = [0; 512];
            let received = socket.read(&mut answer)?;
            let answer = &answer[..received];
            match answer.first() {
                Some(b'R') => {
                    // Say good-bye, or PostgreSQL writes a line about it.
                    socket.write_all(b"X\0\0\0\x04")?;
                    Ok(State::Ready)
                }
                // Any other refusal, such as "too many clients", comes from a running server.
                Some(b'E') if !contains(answer, b"57P03") => Ok(State::Ready),
                _ => Ok(State::StartingOrStopping),
            }
        };
        ask().unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => State::NotRunning,
            _ => State::StartingOrStopping,
        })
    }

    fn socket(&self) -> PathBuf {
        self.socket_directory.join(".s.PGSQL.5432")
    }

    /// The process that `postmaster.pid` names, if it is alive and the postmaster of this data.
    fn postmaster(&self) -> Option<Pid> {
        let contents = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let process: i32 = contents.lines().next()?.trim().parse().ok()?;
        let data = self.data();
        let pid = Pid::from_raw(process)?;
        contains(&command_line(process), data.as_os_str().as_encoded_bytes()).then_some(pid)
    }

    fn pause(&self, deadline: Instant) -> Result<(), LocalPostgresError> {
        if Instant::now() > deadline {
            return Err(LocalPostgresError::NoAnswer {
                data: self.data(),
                seconds: SECONDS_TO_START,
                log: self.log(),
            });
        }
        thread::sleep(POLL_INTERVAL);
        Ok(())
    }

    fn initialize(&self, binaries: &Binaries) -> Result<(), LocalPostgresError> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        // Text in code point order everywhere, so that no system update breaks an index; upper and
        // lower case as in Unicode, where the platform knows such a locale.
        let unfinished = self.directory.join("data.new");
        let mut outcome = Err(String::new());
        for character_type in ["C.UTF-8", "en_US.UTF-8", "C"] {
            remove_directory(&unfinished)?;
            outcome = self.run_initdb(binaries, &unfinished, character_type);
            if outcome.is_ok() {
                break;
            }
        }
        let failure = |reason| LocalPostgresError::Initialize {
            data: data.clone(),
            reason,
        };
        outcome.map_err(failure)?;
        fs::rename(&unfinished, &data)
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|error| failure(error.to_string()))
    }

    fn run_initdb(
        &self,
        binaries: &Binaries,
        directory: &Path,
        character_type: &str,
    ) -> Result<(), String> {
        let output = self
            .account
            .command(binaries.directory.join("initdb"), &self.directory)
            .arg("--pgdata")
            .arg(directory)
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--lc-ctype={character_type}"))
            // Only who may enter the socket's directory gets this far.
            .args(["--auth-local=trust", "--auth-host=reject"])
            .args(self.profile.initdb_options())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        // What follows the error is about the clean-up.
        let error = text.lines().find(|line| line.contains("error:"));
        Err(error.map_or_else(|| last_line(&text), |line| line.trim().to_owned()))
    }

    fn launch(&self, binaries: &Binaries, deadline: Instant) -> Result<(), LocalPostgresError> {
        let orphans_must_end_by = Instant::now() + TIME_FOR_ORPHANS_TO_END;
        loop {
            self.clear_traces_of_a_dead_postmaster()
                .map_err(LocalPostgresError::directory(&self.data()))?;
            let log = self
                .open_log()
                .map_err(LocalPostgresError::directory(&self.log()))?;
            let earlier = log
                .metadata()
                .map_err(LocalPostgresError::directory(&self.log()))?
                .len();
            let mut child = self
                .spawn(binaries, &log)
                .map_err(LocalPostgresError::directory(&binaries.directory))?;
            let answered = self.wait_for(&mut child, deadline);
            if !matches!(answered, Ok(false)) {
                // Nobody else reaps it when it ends before this process.
                thread::spawn(move || child.wait());
                return answered.map(|_| ());
            }
            let text = self
                .log_since(earlier)
                .map_err(LocalPostgresError::directory(&self.log()))?;
            if !text.contains("still in use") || Instant::now() > orphans_must_end_by {
                let reason = text.lines().rev().find(|line| line.contains("FATAL"));
                return Err(LocalPostgresError::DidNotStart {
                    reason: last_line(reason.unwrap_or(&text)),
                    log: self.log(),
                });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn spawn(&self, binaries: &Binaries, log: &File) -> io::Result<Child> {
        let mut command = self
            .account
            .command(binaries.directory.join("postgres"), &self.directory);
        command
            .arg("-D")
            .arg(self.data())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let sockets = self.socket_directory.display();
        let common = [
            format!("unix_socket_directories={sockets}"),
            "listen_addresses=".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            // Errors go to the client that made them. Here, their text and their details would
            // put patients' data into a log file.
            "log_min_messages=log".to_owned(),
            "log_min_error_statement=panic".to_owned(),
            "log_error_verbosity=terse".to_owned(),
        ];
        for setting in &common {
            command.args(["-c", setting]);
        }
        for setting in self.profile.settings() {
            command.args(["-c", setting]);
        }
        command.spawn()
    }

    /// Waits until the server answers (true) or `child` has ended (false).
    fn wait_for(&self, child: &mut Child, deadline: Instant) -> Result<bool, LocalPostgresError> {
        loop {
            if self.is_ready() {
                return Ok(true);
            }
            let ended = child
                .try_wait()
                .map_err(LocalPostgresError::directory(&self.data()))?;
            if ended.is_some() {
                return Ok(false);
            }
            self.pause(deadline)?;
        }
    }

    /// What a killed postmaster leaves would stop the next one whenever its process id looks alive
    /// (never reaped, or given to another process).
    fn clear_traces_of_a_dead_postmaster(&self) -> io::Result<()> {
        for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
            remove_file(&self.socket_directory.join(name))?;
        }
        let path = self.data().join("postmaster.pid");
        let contents = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        // PostgreSQL takes its own parent's id for a dead postmaster's, and goes on to see whether
        // backends still use the shared memory that a later line names: that line must stay.
        match contents.split_once('\n') {
            Some((process, rest)) if process.trim().parse::<i32>().is_ok() => {
                let contents = format!("{}\n{rest}", std::process::id());
                self.account.replace_file(&path, contents.as_bytes())
            }
            _ => remove_file(&path),
        }
    }

    fn log_since(&self, position: u64) -> io::Result<String> {
        let mut log = File::open(self.log())?;
        log.seek(SeekFrom::Start(position))?;
        let mut text = Vec::new();
        log.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn open_log(&self) -> io::Result<File> {
        let path = self.log();
        let mut log = self.account.open_file(&path)?;
        if log.metadata()?.len() > LARGEST_LOG_IN_BYTES {
            fs::rename(&path, path.with_extension("log.old"))?;
            log = self.account.open_file(&path)?;
        }
        Ok(log)
    }

    /// The directory of the socket: `run` if sockets may have so long a name and PostgreSQL can
    /// read it from a list, else a short private one that a file here remembers.
    fn choose_socket_directory(&self) -> Result<PathBuf, LocalPostgresError> {
        let run = self.directory.join("run");
        let usable = run.to_str().is_some_and(|path| {
            path.len() < LONGEST_SOCKET_DIRECTORY_IN_BYTES
                && path.chars().all(|character| {
                    character.is_ascii_alphanumeric() || "/._- ".contains(character)
                })
        });
        if usable {
            self.account
                .create_private_directory(&run)
                .map_err(LocalPostgresError::directory(&run))?;
            return Ok(run);
        }
        self.short_socket_directory()
            .map_err(LocalPostgresError::directory(Path::new("/tmp")))
    }

    fn short_socket_directory(&self) -> io::Result<PathBuf> {
        let note = self.directory.join("socket-directory");
        if let Ok(remembered) = fs::read_to_string(&note) {
            let remembered = PathBuf::from(remembered);
            if self.account.owns(&remembered) {
                return Ok(remembered);
            }
        }
        let directory = tempfile::Builder::new()
            .prefix("dcms-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")?;
        self.account.take_over(directory.path())?;
        let path = directory.path().as_os_str().as_encoded_bytes();
        self.account.replace_file(&note, path)?;
        Ok(directory.keep())
    }
}

fn remove_directory(directory: &Path) -> Result<(), LocalPostgresError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(LocalPostgresError::directory(directory)),
    }
}

/// The words that started a process; nothing when it is dead, be it reaped or not.
fn command_line(process: i32) -> Vec<u8> {
    if cfg!(target_os = "linux") {
        return fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    }
    let output = std::process::Command::new("ps")
        .args(["-o", "command=", "-p", &process.to_string()])
        .output();
    output.map(|output| output.stdout).unwrap_or_default()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn percent_encoded(text: &str, unchanged: &str) -> String {
    let encode = |byte: u8| match char::from(byte) {
        character
            if character.is_ascii_alphanumeric()
                || "-._".contains(character)
                || unchanged.contains(character) =>
        {
            character.to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
