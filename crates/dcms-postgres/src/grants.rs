use std::fmt::{self, Display, Formatter};

use dcms_domain::store::StoreError;
use sqlx::PgPool;

use crate::error::{SchemaError, store_error};
use crate::store::PostgresStore;

/// The role that the application runs as. It may use the records, but not change the schema or
/// what is to stay as it is.
pub const APPLICATION_ROLE: &str = "dcms_app";

/// What [`APPLICATION_ROLE`] may do.
pub(crate) const GRANTS: &str = include_str!("grants.sql");

/// Without a password: where passwords are asked for, nobody gets in before one is set. Roles are
/// the whole server's, so another database may make it at this moment; and not every owner of a
/// database may make roles.
const CREATE_APPLICATION_ROLE: &str = "
    DO $$ BEGIN
        IF to_regrole('dcms_app') IS NULL THEN
            CREATE ROLE dcms_app LOGIN
                NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN
        NULL;
    END $$";

/// What became of [`APPLICATION_ROLE`] when the database was migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationRole {
    /// It may do what the application needs, and nothing else.
    Granted,
    /// There is none, and the role that migrated may not make it. Only a role that may do
    /// everything can run the application.
    Missing,
    /// It is the role that migrated, so it owns what it should only use.
    Owner,
}

impl Display for ApplicationRole {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted => write!(
                formatter,
                "the role {APPLICATION_ROLE} may do what the application needs"
            ),
            Self::Missing => write!(
                formatter,
                "there is no role {APPLICATION_ROLE} and this one may not make it, so the \
                 application has to run as the owner; docs/database-roles.md says what to do"
            ),
            Self::Owner => write!(
                formatter,
                "the role {APPLICATION_ROLE} migrated, so it owns what it should only use; \
                 docs/database-roles.md says what to do"
            ),
        }
    }
}

/// Makes the application's role if need be, and lets it do what the application needs.
pub(crate) async fn grant(owner: &PgPool) -> Result<ApplicationRole, SchemaError> {
    let outcome = try_to_grant(owner).await.map_err(SchemaError::Grants)?;
    if outcome != ApplicationRole::Granted {
        tracing::warn!("{outcome}");
    }
    Ok(outcome)
}

async fn try_to_grant(owner: &PgPool) -> Result<ApplicationRole, sqlx::Error> {
    sqlx::raw_sql(CREATE_APPLICATION_ROLE)
        .execute(owner)
        .await?;
    let role = sqlx::query!(
        "SELECT to_regrole($1) IS NOT NULL AS \"exists!\", current_user = $1 AS \"migrates!\"",
        APPLICATION_ROLE,
    )
    .fetch_one(owner)
    .await?;
    if role.migrates {
        return Ok(ApplicationRole::Owner);
    }
    if !role.exists {
        return Ok(ApplicationRole::Missing);
    }
    // Sent as one, so done as one: at no moment is a server that runs without its rights.
    sqlx::raw_sql(GRANTS).execute(owner).await?;
    Ok(ApplicationRole::Granted)
}

impl PostgresStore {
    /// What the role of this store may do that the application's role may not: the end of a
    /// sentence that begins with "it". Empty when it is as it should be.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked, or is not migrated.
    pub async fn needless_powers(&self) -> Result<Vec<&'static str>, StoreError> {
        let powers = sqlx::query!(
            "SELECT
                EXISTS (
                    SELECT FROM pg_roles WHERE rolsuper AND pg_has_role(oid, 'MEMBER')
                ) AS \"is_superuser!\",
                EXISTS (
                    SELECT FROM pg_roles WHERE rolcreaterole AND pg_has_role(oid, 'MEMBER')
                ) AS \"makes_roles!\",
                EXISTS (
                    SELECT FROM pg_class
                    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                        AND pg_has_role(relowner, 'MEMBER')
                ) AS \"owns_tables!\",
                has_schema_privilege('public', 'CREATE') AS \"creates!\",
                EXISTS (
                    SELECT FROM unnest(ARRAY[
                        '_sqlx_migrations', 'audit_log', 'audit_seals', 'audit_sealed_rows'
                    ]) AS name
                    WHERE has_table_privilege(to_regclass('public.' || name), 'DELETE, TRUNCATE')
                        OR has_any_column_privilege(to_regclass('public.' || name), 'UPDATE')
                ) AS \"rewrites_history!\"",
        )
        .fetch_one(self.pool())
        .await
        .map_err(store_error)?;
        let named = [
            (powers.is_superuser, "is a superuser"),
            (powers.makes_roles, "may make roles"),
            (powers.owns_tables, "owns tables"),
            (powers.creates, "may create objects"),
            (powers.rewrites_history, "may rewrite history"),
        ];
        Ok(named
            .into_iter()
            .filter_map(|(has_it, name)| has_it.then_some(name))
            .collect())
    }
}
