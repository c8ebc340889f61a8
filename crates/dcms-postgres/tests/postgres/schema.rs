//! Migrations, resets and readiness.

use dcms_domain::store::{NotReady, Store};
use dcms_postgres::PostgresStore;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::support::{
    application_on, empty_database, execute, migrated_database, raw_connection, store_on,
};

/// Everything that the schema is made of, as text.
async fn description(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable,
            coalesce(column_default, generation_expression))
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL
        SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL
        SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT extname FROM pg_extension
        UNION ALL
        SELECT to_jsonb(clinic_settings)::text FROM clinic_settings
        UNION ALL
        SELECT to_jsonb(invoice_numbering)::text FROM invoice_numbering
        ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .expect("the catalogs can be read")
}

/// The URL of the database as an ordinary role that owns it, and may nothing else.
async fn owned_by_a_plain_role(url: &str) -> String {
    let mut connection = raw_connection(url).await;
    let role: String = sqlx::query_scalar("SELECT 'owner_of_' || current_database()")
        .fetch_one(&mut connection)
        .await
        .expect("it has a name");
    execute(
        url,
        &format!(
            "DO $$ BEGIN
                CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
                EXECUTE format('ALTER DATABASE %I OWNER TO {role}', current_database());
            END $$"
        ),
    )
    .await;
    let plain = url.replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    assert_ne!(plain, url, "the URL names the superuser");
    plain
}

#[tokio::test]
async fn a_plain_owner_migrates_and_resets_twice() {
    let database = empty_database().await;
    let url = owned_by_a_plain_role(database.url()).await;
    let store = store_on(&url).await;
    store.migrate().await.expect("it migrates");
    let application = application_on(&database).await;
    let mut connection = raw_connection(&url).await;
    let migrated = description(&mut connection).await;
    assert!(migrated.len() > 200, "{}", migrated.len());
    for _ in 0..2 {
        // What is in use when the schema goes is in use again when it is back.
        let before = application
            .connect()
            .await
            .expect("it is there")
            .clinic()
            .settings()
            .await;
        store.reset_schema().await.expect("it resets");
        store.migrate().await.expect("it migrates");
        assert_eq!(description(&mut connection).await, migrated);
        assert_eq!(application.check_ready().await, Ok(()));
        let after = application
            .connect()
            .await
            .expect("it is there")
            .clinic()
            .settings()
            .await;
        assert_eq!(
            after.expect("they are there"),
            before.expect("they are there")
        );
    }
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let database = migrated_database().await;
    let mut connection = raw_connection(database.url()).await;
    let before = description(&mut connection).await;
    store_on(database.url())
        .await
        .migrate()
        .await
        .expect("it migrates");
    assert_eq!(description(&mut connection).await, before);
}

#[tokio::test]
async fn several_may_migrate_at_once() {
    let database = empty_database().await;
    let mut migrators = JoinSet::new();
    for _ in 0..4 {
        let store = store_on(database.url()).await;
        migrators.spawn(async move { store.migrate().await });
    }
    for result in migrators.join_all().await {
        result.expect("it migrates or waits");
    }
    assert_eq!(store_on(database.url()).await.check_ready().await, Ok(()));
}

#[tokio::test]
async fn readiness_compares_migrations() {
    let database = empty_database().await;
    let url = database.url();
    let store = store_on(url).await;
    let missing = store.check_ready().await;
    assert!(
        matches!(&missing, Err(NotReady::MigrationsMissing(versions)) if versions.starts_with(&[1, 2, 3])),
        "{missing:?}"
    );
    store.migrate().await.expect("it migrates");
    assert_eq!(store.check_ready().await, Ok(()));

    let later =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of a later build', true, '', 0)";
    execute(url, later).await;
    assert_eq!(
        store.check_ready().await,
        Err(NotReady::MigrationsUnknown(vec![9999]))
    );
    execute(
        url,
        "DELETE FROM _sqlx_migrations WHERE version = 9999;
        UPDATE _sqlx_migrations SET checksum = 'edited' WHERE version = 3",
    )
    .await;
    assert_eq!(
        store.check_ready().await,
        Err(NotReady::MigrationsUnknown(vec![3]))
    );
    execute(url, "DELETE FROM _sqlx_migrations WHERE version = 3").await;
    assert_eq!(
        store.check_ready().await,
        Err(NotReady::MigrationsMissing(vec![3]))
    );
}

#[tokio::test]
async fn what_another_build_migrated_is_left_alone() {
    let database = migrated_database().await;
    execute(
        database.url(),
        "UPDATE _sqlx_migrations SET checksum = 'edited' WHERE version = 3",
    )
    .await;
    let error = store_on(database.url()).await.migrate().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database was not migrated: migration 3 was previously applied but has been modified"
    );
}

#[test]
fn the_fingerprint_names_a_template() {
    let fingerprint = PostgresStore::migrations_fingerprint();
    assert_eq!(fingerprint, PostgresStore::migrations_fingerprint());
    assert_eq!(fingerprint.len(), 16);
}
