//! The `dcms` program: reads the configuration, wires the adapters to the domain, serves, and
//! stops in an orderly way. The only crate that names every adapter.
//!
//! - [`config`]: what can be configured, and its defaults.
//! - [`database`]: the PostgreSQL that is configured, or one that is managed here.
//! - [`serve`]: the server from its start to its end.
//! - [`connections`]: each of them, within bounds.
//! - [`open_files`]: how many of them there may be.
//! - [`tls`]: the certificate, followed as it changes.
//! - [`background`]: what is done beside the requests.
//! - [`admin`]: what is done without the server.

pub mod admin;
pub mod background;
pub mod config;
pub mod connections;
pub mod database;
pub mod open_files;
pub mod serve;
pub mod tls;
mod wiring;

use std::process::ExitCode;

pub use wiring::services;

/// Ends a program: what went wrong as one line on standard error, and an exit code that says so.
#[must_use]
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            eprintln!("dcms: {line}");
            ExitCode::FAILURE
        }
    }
}
