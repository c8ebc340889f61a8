//! The program that a clinic runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dcms_server::config::Config;
use dcms_server::{admin, exit_code, serve};

/// The server that a dental clinic runs on.
#[derive(Parser)]
#[command(name = "dcms", version)]
struct Arguments {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what is done without a command).
    Serve,
    /// Apply the migrations that are missing.
    Migrate,
    /// Keep the admins.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Keep the audit log.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Make an admin; the password is asked for, or read from standard input.
    Create {
        /// What they log in with.
        username: String,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Tell whether rows were changed or removed since they were sealed, or inserted with a time that
    /// lies more than a day behind.
    Verify,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config;
    exit_code(match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&config).await,
        Command::Migrate => admin::migrate(&config).await,
        Command::Admin {
            command: AdminCommand::Create { username },
        } => admin::create_admin(&config, username).await,
        Command::Audit {
            command: AuditCommand::Verify,
        } => admin::verify_audit_log(&config).await,
    })
}
