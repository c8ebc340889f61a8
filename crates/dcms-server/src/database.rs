//! The database: the one that is configured, or one that is managed here.

use std::sync::Arc;

use dcms_local_postgres::{LocalPostgres, default_data_dir};
use dcms_postgres::PostgresStore;

use crate::config::{Config, Environment};

/// The database's name in a managed PostgreSQL. A developer has one of their own, so that no chore
/// ever meets a clinic's records, even on the clinic's machine.
const fn database_name(env: Environment) -> &'static str {
    match env {
        Environment::Dev => "dcms_dev",
        Environment::Prod => "dcms",
    }
}

/// A store, and the PostgreSQL below it when that is managed here.
pub struct Database {
    store: Arc<PostgresStore>,
    managed: Option<LocalPostgres>,
}

impl Database {
    /// Connects to `DATABASE_URL`, else finds, starts or joins the managed PostgreSQL.
    ///
    /// # Errors
    /// One line that says what is missing and what to do.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let (url, managed) = if let Some(url) = &config.database_url {
            (url.clone(), None)
        } else {
            let data_dir = config.data_dir.clone().map_or_else(default_data_dir, Ok)?;
            let postgres = LocalPostgres::start(&data_dir).await?;
            let name = database_name(config.env);
            postgres.ensure_database(name).await?;
            (postgres.url(name), Some(postgres))
        };
        let store = Arc::new(PostgresStore::connect(&url).await?);
        Ok(Self { store, managed })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<PostgresStore> {
        &self.store
    }

    /// Whether the PostgreSQL below is managed here.
    #[must_use]
    pub const fn is_managed(&self) -> bool {
        self.managed.is_some()
    }

    /// Closes the connections; stops a managed PostgreSQL unless somebody else uses it.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.store.close().await;
        if let Some(postgres) = self.managed {
            postgres.leave().await?;
        }
        Ok(())
    }
}
