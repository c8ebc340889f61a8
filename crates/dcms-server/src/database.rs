//! The database: the one that is configured, or one that is managed here. Its owner migrates it;
//! the application's role is all that the programs work as otherwise.

use std::sync::Arc;

use anyhow::Context as _;
use dcms_local_postgres::{LocalPostgres, default_data_dir};
use dcms_postgres::{APPLICATION_ROLE, ApplicationRole, PostgresStore};

use crate::config::{Config, Environment};

/// The database's name in a managed PostgreSQL. A developer has one of their own, so that no chore
/// ever meets a clinic's records, even on the clinic's machine.
const fn database_name(env: Environment) -> &'static str {
    match env {
        Environment::Dev => "dcms_dev",
        Environment::Prod => "dcms",
    }
}

/// Where the database is and whom to connect as, before the application does so: a new database
/// does not know its role yet.
pub struct DatabasePlace {
    owner_url: String,
    application_url: Option<String>,
    managed: Option<LocalPostgres>,
}

impl DatabasePlace {
    /// What is configured, else finds, starts or joins the managed PostgreSQL.
    ///
    /// # Errors
    /// One line that says what is missing and what to do.
    pub async fn find(config: &Config) -> anyhow::Result<Self> {
        let application = config.database_url.as_ref();
        let owner = config.owner_database_url.as_ref().or(application);
        if let Some(owner_url) = owner {
            return Ok(Self {
                owner_url: owner_url.clone(),
                application_url: application.cloned(),
                managed: None,
            });
        }
        let data_dir = config.data_dir.clone().map_or_else(default_data_dir, Ok)?;
        let postgres = LocalPostgres::start(&data_dir).await?;
        let name = database_name(config.env);
        postgres.ensure_database(name).await?;
        Ok(Self {
            owner_url: postgres.url(name),
            application_url: Some(postgres.url_as(APPLICATION_ROLE, name)),
            managed: Some(postgres),
        })
    }

    /// Applies the migrations that are missing, as the owner.
    ///
    /// # Errors
    /// When the database cannot be reached, or a migration or a grant fails.
    pub async fn migrate(&self) -> anyhow::Result<ApplicationRole> {
        let owner = PostgresStore::connect(&self.owner_url).await?;
        let role = owner.migrate().await?;
        owner.close().await;
        Ok(role)
    }

    /// Drops everything, as the owner.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub async fn reset_schema(&self) -> anyhow::Result<()> {
        let owner = PostgresStore::connect(&self.owner_url).await?;
        owner.reset_schema().await?;
        owner.close().await;
        Ok(())
    }

    /// Connects as the application.
    ///
    /// # Errors
    /// When only the owner is configured, or the database cannot be reached.
    pub async fn connect(self) -> anyhow::Result<Database> {
        let url = self
            .application_url
            .context("set DATABASE_URL too: OWNER_DATABASE_URL is only for migrating")?;
        Ok(Database {
            store: Arc::new(PostgresStore::connect(&url).await?),
            managed: self.managed,
        })
    }

    /// Stops a managed PostgreSQL unless somebody else uses it.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn leave(self) -> anyhow::Result<()> {
        if let Some(postgres) = self.managed {
            postgres.leave().await?;
        }
        Ok(())
    }
}

/// A store, and the PostgreSQL below it when that is managed here.
pub struct Database {
    store: Arc<PostgresStore>,
    managed: Option<LocalPostgres>,
}

impl Database {
    /// Connects as the application. Migrates first where nobody else is there to do it: a
    /// developer's database, or a managed one.
    ///
    /// # Errors
    /// One line that says what is missing and what to do.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let place = DatabasePlace::find(config).await?;
        if config.env == Environment::Dev || place.managed.is_some() {
            place.migrate().await?;
        }
        place.connect().await
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<PostgresStore> {
        &self.store
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

/// Says in one line when the role that serves may more than it needs.
///
/// # Errors
/// When the database cannot be asked.
pub async fn warn_of_needless_powers(store: &PostgresStore) -> anyhow::Result<()> {
    let powers = store.needless_powers().await?;
    if !powers.is_empty() {
        tracing::warn!(
            powers = powers.join(", "),
            "the role in DATABASE_URL may more than the application needs; use {APPLICATION_ROLE} \
             there and the owner in OWNER_DATABASE_URL for dcms migrate: docs/database-roles.md"
        );
    }
    Ok(())
}
