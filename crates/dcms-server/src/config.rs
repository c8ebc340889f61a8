//! What can be configured: by flags or by the environment, in that order.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The configuration of every command.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// `dev` seeds an empty database and allows its published password; `prod` does neither.
    #[arg(long, env = "ENV", value_enum, default_value_t = Environment::Prod, global = true)]
    pub env: Environment,

    /// The address to serve on.
    #[arg(
        long,
        env = "BIND_ADDR",
        default_value = "127.0.0.1:8080",
        global = true
    )]
    pub bind_addr: SocketAddr,

    /// A PostgreSQL that runs elsewhere. Without it, one is managed in the data directory.
    // Hidden, because a URL may hold a password and `--help` prints the environment's values.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// The same PostgreSQL as its owner, who migrates [default: `DATABASE_URL` does].
    #[arg(
        long,
        env = "OWNER_DATABASE_URL",
        hide_env_values = true,
        global = true
    )]
    pub owner_database_url: Option<String>,

    /// Where the managed PostgreSQL keeps its data [default: the platform's data directory].
    #[arg(long, env = "DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// What the program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// By a developer.
    Dev,
    /// By a clinic.
    Prod,
}

impl Config {
    /// Nothing, when this is a developer's run.
    ///
    /// # Errors
    /// One line that says so, when it is not.
    pub fn require_dev(&self, command: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.env == Environment::Dev,
            "{command} destroys or makes up data and runs only with ENV=dev; ENV is prod"
        );
        Ok(())
    }
}
