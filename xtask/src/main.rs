//! The chores of a developer: `cargo xtask --help`.
//!
//! Depends on neither the adapters nor the server. `prepare` has to work when the queries of
//! dcms-postgres do not compile yet, so what needs those crates is run as a program of its own.

mod prepare;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of a developer")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Drop everything in the database, migrate, seed. Only with ENV=dev.
    Reset,
    /// Apply the migrations that are missing.
    Migrate,
    /// Migrate, and seed a database that is empty. Only with ENV=dev.
    Seed,
    /// Run the server.
    Run,
    /// Check the SQL against the migrations and refresh .sqlx.
    Prepare {
        /// Change nothing; fail when .sqlx is stale.
        #[arg(long)]
        check: bool,
    },
    /// Refresh docs/openapi.json.
    Openapi {
        /// Change nothing; fail when it is stale.
        #[arg(long)]
        check: bool,
    },
    /// Refresh docs/permissions.md.
    Permissions {
        /// Change nothing; fail when it is stale.
        #[arg(long)]
        check: bool,
    },
    /// Run all tests.
    Test,
    /// Format everything.
    Fmt {
        /// Change nothing; fail when something is not formatted.
        #[arg(long)]
        check: bool,
    },
    /// Lint everything; a warning fails.
    Clippy,
    /// All that has to pass before a change lands.
    Ci,
}

fn main() -> ExitCode {
    match Arguments::parse().chore.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Chore {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Reset => cargo(&["run", "--quiet", "--bin", "dcms-dev", "--", "reset"]),
            Self::Migrate => cargo(&["run", "--quiet", "--bin", "dcms", "--", "migrate"]),
            Self::Seed => cargo(&["run", "--quiet", "--bin", "dcms-dev", "--", "seed"]),
            Self::Run => cargo(&["run"]),
            Self::Prepare { check } => prepare::prepare(check),
            Self::Openapi { check } => document("openapi", "docs/openapi.json", check),
            Self::Permissions { check } => document("permissions", "docs/permissions.md", check),
            Self::Test => cargo(&["test", "--workspace"]),
            Self::Fmt { check: false } => cargo(&["fmt", "--all"]),
            Self::Fmt { check: true } => cargo(&["fmt", "--all", "--check"]),
            Self::Clippy => cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ]),
            Self::Ci => ci(),
        }
    }
}

/// The quickest to fail first.
fn ci() -> anyhow::Result<()> {
    for chore in [
        Chore::Fmt { check: true },
        Chore::Clippy,
        Chore::Prepare { check: true },
        Chore::Openapi { check: true },
        Chore::Permissions { check: true },
        Chore::Test,
    ] {
        chore.run()?;
    }
    deny()
}

/// Licences, sources and bans need nothing but the lock file. Advisories need their database: when
/// it cannot be fetched, that is said and is no failure of the change.
fn deny() -> anyhow::Result<()> {
    cargo(&["deny", "check", "bans", "licenses", "sources"])?;
    let fetched = Command::new("cargo")
        .args(["deny", "fetch", "db"])
        .status()?;
    if fetched.success() {
        cargo(&["deny", "check", "--disable-fetch", "advisories"])
    } else {
        eprintln!("xtask: advisories were NOT checked: their database cannot be fetched here");
        Ok(())
    }
}

/// Writes what `dcms-dev` prints into a file, or compares it.
fn document(chore: &str, path: &'static str, check: bool) -> anyhow::Result<()> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--bin", "dcms-dev", "--", chore])
        .current_dir(root()?)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{path} could not be made: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = root()?.join(path);
    if !check {
        return std::fs::write(&file, output.stdout).context(path);
    }
    let committed = std::fs::read(&file).context(path)?;
    anyhow::ensure!(
        committed == output.stdout,
        "{path} is stale; run: cargo xtask {chore}"
    );
    Ok(())
}

/// The root of the workspace.
fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("xtask lies below the root")?.to_owned())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(root()?)
        .status()?;
    anyhow::ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}
