//! What the tests share: data directories, other processes, and waiting for a condition.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A directory that the account of the server may enter, whoever runs the tests.
pub(crate) fn temporary_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("dcms-test-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in("/var/tmp")
        .unwrap()
}

/// This test program once more, in which only the ignored test of that name runs. It is handed a
/// directory and prints `ready` with a text once it uses the server there, until its input ends.
pub(crate) struct OtherProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) text: String,
}

impl OtherProcess {
    pub(crate) fn start(helper: &str, directory: &Path) -> Self {
        Self::spawn(helper, directory).wait_until_ready()
    }

    pub(crate) fn spawn(helper: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", helper])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{}", directory.display()).unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            output,
            child,
            input: Some(input),
            text: String::new(),
        }
    }

    pub(crate) fn wait_until_ready(mut self) -> Self {
        let mut lines = (&mut self.output).lines().map(Result::unwrap);
        let ready = lines.find_map(|line| Some(line.split_once("ready ")?.1.to_owned()));
        self.text = ready.expect("the other process has to become ready");
        self
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn finish(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// The other side of [`OtherProcess`].
pub(crate) fn directory_from_input() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert!(
        !line.is_empty(),
        "only other tests start this one, with a directory as input"
    );
    line.trim().to_owned()
}

pub(crate) fn say_ready_and_wait_for_the_end_of_input(text: &str) {
    println!("ready {text}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

pub(crate) fn postmaster(data: &Path) -> Pid {
    let contents = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    Pid::from_raw(contents.lines().next().unwrap().parse().unwrap()).unwrap()
}

pub(crate) fn kill(process: Pid) {
    kill_process(process, Signal::KILL).unwrap();
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

pub(crate) async fn answers(url: &str) -> bool {
    PgConnection::connect(url).await.is_ok()
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
