//! What the application's role may do. That it may do enough is shown by all other tests: their
//! stores run as it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use dcms_domain::store::{NotReady, Store};
use dcms_local_postgres::throwaway::{self, TestDatabase};
use dcms_postgres::{APPLICATION_ROLE, ApplicationRole};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use crate::support::{
    application_on, empty_database, execute, in_time, migrated_database, raw_connection, store_on,
};

const GRANTS: &str = include_str!("../../src/grants.sql");

/// What everybody and the application's role may do, a line a privilege. What belongs to an
/// extension is left out.
const PRIVILEGES: &str = "
    WITH acls (object, acl) AS (
        SELECT 'DATABASE', coalesce(datacl, acldefault('d', datdba))
        FROM pg_database WHERE datname = current_database()
        UNION ALL
        SELECT 'SCHEMA ' || nspname, coalesce(nspacl, acldefault('n', nspowner))
        FROM pg_namespace WHERE nspname = 'public'
        UNION ALL
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || relname, relacl
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
        )
        UNION ALL
        SELECT format('%s.%s', attrelid::regclass, attname), attacl
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'FUNCTION ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
        )
    )
    SELECT concat(
        object, ' ', privilege_type, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END,
        CASE grantee WHEN 0 THEN ' TO PUBLIC' END
    )
    FROM acls CROSS JOIN aclexplode(acl)
    WHERE grantee IN (0, to_regrole('dcms_app'))";

/// Everything of our own that grants can be about.
const OBJECTS: &str = "
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || relname
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
        )
    UNION ALL
    SELECT 'FUNCTION ' || oid::regprocedure
    FROM pg_proc
    -- Triggers call theirs without being asked for any right.
    WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
        )";

async fn texts(connection: &mut PgConnection, query: &'static str) -> BTreeSet<String> {
    sqlx::query_scalar(query)
        .fetch_all(connection)
        .await
        .expect("the catalogs can be read")
        .into_iter()
        .collect()
}

/// The grants that `grants.sql` writes out: an object, and the list of what may be done with it.
fn written_grants() -> Vec<(String, String)> {
    let statements: String = GRANTS
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join(" ");
    statements
        .split(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter_map(|statement| {
            let (privileges, object) = statement
                .strip_prefix("GRANT ")?
                .strip_suffix(" TO dcms_app")
                .expect("each grant is to the application")
                .split_once(" ON ")
                .expect("each grant is on something");
            Some((object.to_owned(), privileges.to_owned()))
        })
        .collect()
}

/// The same in the form of [`PRIVILEGES`].
fn written_privileges() -> BTreeSet<String> {
    let mut lines = BTreeSet::from(["DATABASE CONNECT".to_owned()]);
    for (object, privileges) in written_grants() {
        let mut columns_of = None;
        for word in privileges.split([',', ' ']).filter(|word| !word.is_empty()) {
            if let Some(first) = word.strip_prefix('(') {
                // The word before was about columns, and not about the whole table.
                let privilege = columns_of
                    .take()
                    .expect("a privilege stands before columns");
                assert!(lines.remove(&format!("{object} {privilege}")), "{object}");
                columns_of = Some(privilege);
                if !first.is_empty() {
                    lines.insert(column_line(&object, first, privilege));
                }
            } else if let Some(privilege) = columns_of.filter(|_| word != word.to_uppercase()) {
                lines.insert(column_line(&object, word, privilege));
            } else if word != ")" {
                columns_of = Some(word);
                lines.insert(format!("{object} {word}"));
            }
        }
    }
    lines
}

fn column_line(table: &str, column: &str, privilege: &str) -> String {
    format!("{table}.{} {privilege}", column.trim_end_matches(')'))
}

/// A database that was migrated under its own name: copies of a template forget who may connect.
async fn granted_database() -> TestDatabase {
    let database = migrated_database().await;
    let role = store_on(database.url()).await.migrate().await;
    assert_eq!(role.expect("it migrates"), ApplicationRole::Granted);
    database
}

#[tokio::test]
async fn the_application_may_do_what_is_written_and_nothing_else() {
    let database = granted_database().await;
    let mut connection = raw_connection(database.url()).await;
    let written = written_privileges();
    assert!(
        written.contains("users.password_hash UPDATE"),
        "{written:?}"
    );
    assert!(written.contains("refunds INSERT"), "{written:?}");
    assert!(!written.contains("users DELETE"), "{written:?}");
    assert_eq!(texts(&mut connection, PRIVILEGES).await, written);
}

#[tokio::test]
async fn everything_in_the_schema_has_its_grant() {
    let database = migrated_database().await;
    let mut connection = raw_connection(database.url()).await;
    let written: BTreeSet<String> = written_grants()
        .into_iter()
        .map(|(object, _)| object)
        .filter(|object| object != "SCHEMA public")
        .collect();
    assert_eq!(texts(&mut connection, OBJECTS).await, written);
}

#[tokio::test]
async fn migrating_takes_back_what_somebody_granted() {
    let database = granted_database().await;
    execute(
        database.url(),
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO dcms_app WITH GRANT OPTION;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
        GRANT UPDATE (amount_cents) ON payments TO dcms_app;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO dcms_app, PUBLIC;
        GRANT EXECUTE ON FUNCTION folded(text) TO PUBLIC;
        GRANT ALL ON SCHEMA public TO dcms_app, PUBLIC;
        DO $$ BEGIN
            EXECUTE format('GRANT ALL ON DATABASE %I TO dcms_app, PUBLIC', current_database());
        END $$;
        SET ROLE dcms_app;
        GRANT SELECT ON users TO pg_read_all_stats",
    )
    .await;
    let owner = store_on(database.url()).await;
    owner.migrate().await.expect("it migrates");
    let mut connection = raw_connection(database.url()).await;
    assert_eq!(
        texts(&mut connection, PRIVILEGES).await,
        written_privileges()
    );
}

#[tokio::test]
async fn the_role_is_an_ordinary_one() {
    let database = migrated_database().await;
    let mut connection = raw_connection(database.url()).await;
    let powers = "
        SELECT 'an attribute' FROM pg_roles
        WHERE rolname = 'dcms_app' AND (
            rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
                OR NOT rolcanlogin
        )
        UNION ALL
        SELECT roleid::regrole::text FROM pg_auth_members WHERE member = 'dcms_app'::regrole
        UNION ALL
        SELECT relname FROM pg_class WHERE relowner = 'dcms_app'::regrole
        UNION ALL
        SELECT proname FROM pg_proc WHERE proowner = 'dcms_app'::regrole
        -- What runs with the rights of the owner could be turned against them; those that
        -- do check that the patient is anonymized.
        UNION ALL
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosecdef
            AND proname NOT IN ('redact_audit_of', 'redact_history_of', 'redact_money_of')";
    assert_eq!(texts(&mut connection, powers).await, BTreeSet::new());
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    let database = granted_database().await;
    let mut connection = raw_connection(&database.url_as(APPLICATION_ROLE)).await;
    for statement in [
        "DELETE FROM users",
        "UPDATE users SET user_id = user_id",
        "UPDATE patients SET register_number = 1",
        "UPDATE appointments SET patient_id = doctor_id",
        "UPDATE appointment_history SET reason = NULL",
        "DELETE FROM appointment_history",
        "UPDATE payments SET amount_cents = 1",
        "DELETE FROM payments",
        "UPDATE refunds SET reason = 'none'",
        "TRUNCATE refunds",
        "INSERT INTO invoice_numbering VALUES (true, 0)",
        "SELECT setval('register_numbers', 1)",
        "UPDATE _sqlx_migrations SET success = false",
        "DELETE FROM _sqlx_migrations",
        "ALTER TABLE payments DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP TABLE sessions",
        "CREATE TABLE of_ones_own ()",
        "CREATE TEMPORARY TABLE invoices ()",
        "CREATE SCHEMA of_ones_own",
        "CREATE FUNCTION folded(text, text) RETURNS text RETURN ''",
        "CREATE ROLE friend",
        "SET ROLE postgres",
        "COPY users TO PROGRAM 'cat'",
    ] {
        let refused = sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .expect_err(statement);
        let code = refused
            .as_database_error()
            .and_then(|error| error.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_role_that_may_too_much_is_noticed() {
    let database = granted_database().await;
    let owner = store_on(database.url()).await;
    assert_eq!(
        owner.needless_powers().await.expect("it is asked"),
        [
            "is a superuser",
            "may make roles",
            "owns tables",
            "may create objects",
            "may rewrite history"
        ]
    );
    let application = application_on(&database).await;
    let nothing: [&str; 0] = [];
    assert_eq!(
        application.needless_powers().await.expect("it is asked"),
        nothing
    );
    for grant in [
        "GRANT UPDATE (checksum) ON _sqlx_migrations TO dcms_app",
        "GRANT DELETE ON _sqlx_migrations TO dcms_app",
    ] {
        execute(database.url(), grant).await;
        assert_eq!(
            application.needless_powers().await.expect("it is asked"),
            ["may rewrite history"],
            "{grant}"
        );
        owner.migrate().await.expect("it migrates");
    }
}

#[tokio::test]
async fn an_owner_who_may_not_make_the_role_works_alone_until_somebody_does() {
    let cluster = throwaway::cluster().await.expect("a cluster starts");
    cluster.ensure_database("dcms").await.expect("it is made");
    let superuser = cluster.url("dcms");
    execute(
        &superuser,
        "CREATE ROLE clinic LOGIN; ALTER DATABASE dcms OWNER TO clinic",
    )
    .await;
    let owner = store_on(&cluster.url_as("clinic", "dcms")).await;
    let role = owner.migrate().await.expect("it migrates");
    assert_eq!(role, ApplicationRole::Missing);
    assert_eq!(owner.check_ready().await, Ok(()));
    let mut connection = owner.connect().await.expect("it is there");
    connection.clinic().settings().await.expect("it may read");
    assert_eq!(
        owner.needless_powers().await.expect("it is asked"),
        ["owns tables", "may create objects", "may rewrite history"]
    );

    execute(&superuser, "CREATE ROLE dcms_app LOGIN").await;
    let application = store_on(&cluster.url_as(APPLICATION_ROLE, "dcms")).await;
    assert_eq!(application.check_ready().await, Err(NotReady::Unreachable));
    let role = owner.migrate().await.expect("it migrates");
    assert_eq!(role, ApplicationRole::Granted);
    assert_eq!(application.check_ready().await, Ok(()));

    // Who migrates as the application owns what it should only use, and is told.
    execute(&superuser, "CREATE DATABASE mixed_up OWNER dcms_app").await;
    let mixed_up = store_on(&cluster.url_as(APPLICATION_ROLE, "mixed_up")).await;
    let role = mixed_up.migrate().await.expect("it migrates");
    assert_eq!(role, ApplicationRole::Owner);
    assert_eq!(mixed_up.check_ready().await, Ok(()));
}

#[tokio::test]
async fn databases_of_one_server_may_be_migrated_at_once() {
    let cluster = throwaway::cluster().await.expect("a cluster starts");
    for name in ["one", "two", "three"] {
        cluster.ensure_database(name).await.expect("it is made");
    }
    // At first there is a role to make, then there are grants to take back.
    for _ in 0..3 {
        let mut migrators = JoinSet::new();
        for name in ["one", "two", "three"].repeat(2) {
            let owner = store_on(&cluster.url(name)).await;
            migrators.spawn(async move { owner.migrate().await });
        }
        for role in in_time(migrators.join_all()).await {
            assert_eq!(role.expect("it migrates"), ApplicationRole::Granted);
        }
    }
}

#[tokio::test]
async fn an_empty_database_is_not_ready_for_the_application() {
    // Made by another database's migration.
    migrated_database().await;
    let database = empty_database().await;
    let ready = application_on(&database).await.check_ready().await;
    assert!(
        matches!(ready, Err(NotReady::MigrationsMissing(_))),
        "{ready:?}"
    );
}
