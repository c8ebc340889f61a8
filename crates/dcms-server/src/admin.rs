//! What is done without the server.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use anyhow::Context as _;
use dcms_domain::identity::Secret;
use dcms_domain::shared::Clock as _;
use dcms_postgres::{Seal, Verification};
use dcms_system::SystemClock;

use crate::config::Config;
use crate::database::{Database, DatabasePlace};
use crate::services;

/// Applies the migrations that are missing, and grants the application's role its rights.
///
/// # Errors
/// When the database cannot be reached, or a migration or a grant fails.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let place = DatabasePlace::find(config).await?;
    let role = place.migrate().await?;
    println!("The database is up to date; {role}.");
    place.leave().await
}

/// Makes an admin. The password comes from a prompt, or from the first line of standard input when
/// that is not a terminal; never from the command line, where others could read it.
///
/// # Errors
/// When the name or the password is refused, or the database cannot be reached or is not migrated.
pub async fn create_admin(config: &Config, username: String) -> anyhow::Result<()> {
    let password = read_password()?;
    let database = Database::open(config).await?;
    let services = services(
        Arc::clone(database.store()) as _,
        config.env,
        config.session_lifetime(),
    )?;
    let user = services
        .identity
        .create_admin_from_console(username, password)
        .await?;
    println!("Created the admin {} ({}).", user.username, user.user_id);
    database.close().await
}

/// Walks the seals of the audit log. The server may run meanwhile.
///
/// # Errors
/// One line that names the first row or seal that somebody changed, removed or inserted; or when
/// the database cannot be reached or is not migrated.
pub async fn verify_audit_log(config: &Config) -> anyhow::Result<()> {
    let database = Database::open(config).await?;
    let verification = database.store().verify_audit_log().await;
    database.close().await?;
    let Verification {
        seals,
        rows,
        last_seal,
        outcome,
    } = verification?;
    println!("{rows} rows in {seals} seals are what was written.");
    let waiting =
        outcome.context("the audit log is not what was written, from there on nothing is known")?;
    println!("{waiting} rows are not sealed yet.");
    if let Some(Seal { seal_id, hash, .. }) = last_seal {
        println!("The last seal is {seal_id}: {hash}");
    }
    Ok(())
}

fn read_password() -> anyhow::Result<Secret> {
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        let repeated = rpassword::prompt_password("Once more: ")?;
        anyhow::ensure!(password == repeated, "the two passwords differ");
        return Ok(Secret::new(password));
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("no password on standard input")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Drops everything in the database's schema, migrates, and seeds.
///
/// # Errors
/// When this is not a developer's run, or the database cannot be reached.
pub async fn reset(config: &Config) -> anyhow::Result<()> {
    config.require_dev("reset")?;
    let place = DatabasePlace::find(config).await?;
    place.reset_schema().await?;
    place.migrate().await?;
    let database = place.connect().await?;
    dcms_seed::seed(Arc::clone(database.store()) as _, SystemClock.now()).await?;
    println!("The database is reset and seeded.");
    database.close().await
}

/// Migrates, and seeds a database that is empty.
///
/// # Errors
/// When this is not a developer's run, or the database has users already.
pub async fn seed(config: &Config) -> anyhow::Result<()> {
    config.require_dev("seed")?;
    let database = Database::open(config).await?;
    dcms_seed::seed(Arc::clone(database.store()) as _, SystemClock.now()).await?;
    println!("The database is seeded.");
    database.close().await
}
