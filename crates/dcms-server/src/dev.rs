//! What `cargo xtask reset`, `seed`, `openapi` and `permissions` run. Apart from `dcms`, so that no clinic's program can
//! drop its data.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dcms_server::config::Config;
use dcms_server::{admin, exit_code};

/// A developer's database.
#[derive(Parser)]
#[command(name = "dcms-dev", version)]
struct Arguments {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drop everything, migrate, seed.
    Reset,
    /// Migrate, and seed a database that is empty.
    Seed,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the page on who may do what.
    Permissions,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config;
    exit_code(match arguments.command {
        Command::Reset => admin::reset(&config).await,
        Command::Seed => admin::seed(&config).await,
        Command::Openapi => dcms_http::openapi_json()
            .map(|json| print!("{json}"))
            .map_err(Into::into),
        Command::Permissions => {
            print!("{}", dcms_http::permissions_page());
            Ok(())
        }
    })
}
