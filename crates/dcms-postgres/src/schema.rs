use std::collections::BTreeMap;
use std::fmt::Write;

use dcms_domain::store::NotReady;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::error::SchemaError;
use crate::grants::{self, ApplicationRole, GRANTS};
use crate::store::PostgresStore;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

impl PostgresStore {
    /// Applies the migrations that are missing, and lets [`APPLICATION_ROLE`] do what the
    /// application needs. When several do so at once, one does it and the others wait.
    ///
    /// [`APPLICATION_ROLE`]: crate::APPLICATION_ROLE
    ///
    /// # Errors
    /// [`SchemaError::Migration`]; what was applied before the migration that failed stays.
    /// [`SchemaError::Grants`]; then the migrations are applied.
    pub async fn migrate(&self) -> Result<ApplicationRole, SchemaError> {
        let connection = self.connection_without_timeouts().await?;
        let result = match MIGRATIONS.run(&connection).await {
            Ok(()) => grants::grant(&connection).await,
            Err(error) => Err(error.into()),
        };
        connection.close().await;
        result
    }

    /// Drops the schema `public` with everything in it, and leaves an empty one. The owner of the
    /// database may do so.
    ///
    /// # Errors
    /// [`SchemaError::Database`]; then everything is as it was.
    pub async fn reset_schema(&self) -> Result<(), SchemaError> {
        let connection = self.connection_without_timeouts().await?;
        // Sent as one, so done as one.
        let result = sqlx::raw_sql("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public")
            .execute(&connection)
            .await;
        connection.close().await;
        result?;
        Ok(())
    }

    /// A short name that changes with every change to the migrations and grants of this build.
    #[must_use]
    pub fn migrations_fingerprint() -> String {
        let mut hasher = Sha256::new();
        for migration in MIGRATIONS.iter() {
            hasher.update(migration.version.to_be_bytes());
            hasher.update(&migration.checksum);
        }
        hasher.update(GRANTS);
        hasher
            .finalize()
            .iter()
            .take(8)
            .fold(String::new(), |mut name, byte| {
                // Writing to a String cannot fail.
                let _ = write!(name, "{byte:02x}");
                name
            })
    }
}

/// Whether the database has exactly the migrations of this build.
pub(crate) async fn compare(
    connection: &mut PgConnection,
) -> Result<Result<(), NotReady>, MigrateError> {
    let applied = match connection
        .list_applied_migrations(&MIGRATIONS.table_name)
        .await
    {
        Ok(applied) => applied,
        Err(error) if is_undefined_table(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    let applied: BTreeMap<i64, _> = applied
        .into_iter()
        .map(|migration| (migration.version, migration.checksum))
        .collect();
    let unknown: Vec<i64> = applied
        .iter()
        .filter(|(version, checksum)| {
            !MIGRATIONS
                .iter()
                .any(|known| known.version == **version && known.checksum == **checksum)
        })
        .map(|(version, _)| *version)
        .collect();
    if !unknown.is_empty() {
        return Ok(Err(NotReady::MigrationsUnknown(unknown)));
    }
    let missing: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .filter(|version| !applied.contains_key(version))
        .collect();
    if !missing.is_empty() {
        return Ok(Err(NotReady::MigrationsMissing(missing)));
    }
    Ok(Ok(()))
}

fn is_undefined_table(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error)) => {
            error.code().as_deref() == Some("42P01")
        }
        _ => false,
    }
}
