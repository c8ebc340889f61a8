//! Checks every query against the migrations and keeps what was learned in `.sqlx`, so that a
//! build needs no database.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use dcms_local_postgres::throwaway;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

/// Refreshes `.sqlx`, or only tells whether it is fresh.
pub(crate) fn prepare(check: bool) -> anyhow::Result<()> {
    let root = crate::root()?;
    let fresh = tempfile::tempdir()?;
    tokio::runtime::Runtime::new()?.block_on(describe_queries(&root, fresh.path()))?;
    let committed = root.join(".sqlx");
    if check {
        anyhow::ensure!(
            contents(fresh.path())? == contents(&committed)?,
            ".sqlx is stale; run: cargo xtask prepare"
        );
        return Ok(());
    }
    if committed.exists() {
        fs::remove_dir_all(&committed)?;
    }
    fs::create_dir(&committed)?;
    for (name, content) in contents(fresh.path())? {
        fs::write(committed.join(name), content)?;
    }
    Ok(())
}

/// Compiles dcms-postgres against a database that was just migrated.
async fn describe_queries(root: &Path, into: &Path) -> anyhow::Result<()> {
    let cluster = throwaway::cluster().await?;
    cluster.ensure_database("prepare").await?;
    let url = cluster.url("prepare");
    let mut connection = PgConnection::connect(&url).await?;
    Migrator::new(root.join("migrations"))
        .await?
        .run(&mut connection)
        .await?;
    connection.close().await?;

    // The queries are described while their crate compiles, so it must not look fresh.
    File::options()
        .append(true)
        .open(root.join("crates/dcms-postgres/src/lib.rs"))?
        .set_modified(std::time::SystemTime::now())?;
    let mut check = Command::new("cargo");
    check
        .args([
            "check",
            "--quiet",
            "--package",
            "dcms-postgres",
            "--all-targets",
        ])
        .current_dir(root)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", into)
        .env("DATABASE_URL", &url);
    // What cargo set for xtask would make it rebuild everything that reads it.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            check.env_remove(&*name);
        }
    }
    anyhow::ensure!(
        check.status()?.success(),
        "the queries do not fit the migrations"
    );
    Ok(())
}

fn contents(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, fs::read(entry.path())?))
        })
        .collect()
}
