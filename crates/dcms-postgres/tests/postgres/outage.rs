//! The database goes away and comes back.

use dcms_domain::audit::{AuditAction, AuditEntry, Entity};
use dcms_domain::shared::{Clock as _, IdSource as _};
use dcms_domain::store::{NotReady, Store, StoreError};
use dcms_domain::testing::{CountingIds, FrozenClock};
use dcms_local_postgres::throwaway;
use dcms_postgres::{APPLICATION_ROLE, ConnectError, PostgresStore};

use crate::support::{application_on, in_time, migrated_database, store_on};

async fn clinic_name(store: &PostgresStore) -> Result<String, StoreError> {
    let mut connection = store.connect().await?;
    Ok(connection.clinic().settings().await?.clinic_name)
}

fn is_unavailable<Value>(result: &Result<Value, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn a_store_recovers_as_soon_as_the_database_is_back() {
    let cluster = throwaway::cluster().await.expect("a cluster starts");
    cluster.ensure_database("dcms").await.expect("it is made");
    let owner = store_on(&cluster.url("dcms")).await;
    owner.migrate().await.expect("it migrates");
    owner.close().await;
    let url = cluster.url_as(APPLICATION_ROLE, "dcms");
    let store = store_on(&url).await;

    for round in 0..2 {
        // A pool full of connections, all of which are about to break.
        let mut connections = Vec::new();
        for _ in 0..12 {
            connections.push(store.connect().await.expect("it is there"));
        }
        drop(connections);
        let mut work = store.begin().await.expect("it is there");
        work.clinic().settings().await.expect("it is there");

        cluster.stop_now().await.expect("it stops");
        assert!(is_unavailable(&work.clinic().settings().await));
        let at = FrozenClock::default().now();
        let id = CountingIds::default().next_id().into();
        let entry = AuditEntry::unattributed(id, at, AuditAction::Read, Entity::Clinic);
        assert!(is_unavailable(&work.commit(&entry).await));
        let read = in_time(clinic_name(&store)).await;
        assert!(is_unavailable(&read), "{read:?} in round {round}");
        assert_eq!(store.check_ready().await, Err(NotReady::Unreachable));
        let error = in_time(PostgresStore::connect(&url)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Failed(_)), "{error}");

        cluster.start_again().await.expect("it starts");
        // As many as the pool has connections, and every one of them works.
        for _ in 0..16 {
            let read = in_time(clinic_name(&store)).await;
            assert_eq!(read.expect("it is back"), "Dental clinic");
        }
        assert_eq!(store.check_ready().await, Ok(()));
    }
    store.close().await;
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_told_in_a_line() {
    let cases = [
        ("not a url", "the database URL is not valid"),
        (
            "postgres://postgres@localhost/dcms?host=/nonexistent",
            "the database cannot be connected to",
        ),
    ];
    for (url, expected) in cases {
        let error = PostgresStore::connect(url).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for_long() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let url = format!("postgres://dcms@{address}/dcms?sslmode=disable");
    let error = in_time(PostgresStore::connect(&url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn a_lock_is_not_waited_for_long() {
    let database = migrated_database().await;
    let store = application_on(&database).await;
    let mut holder = store.begin().await.expect("it begins");
    holder
        .invoices()
        .lock_numbering()
        .await
        .expect("nobody has it");
    let mut other = store.begin().await.expect("it begins");
    let locked = in_time(other.invoices().lock_numbering()).await;
    assert!(is_unavailable(&locked), "{locked:?}");
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_not_waited_for_long() {
    let database = migrated_database().await;
    let store = application_on(&database).await;
    let mut held = Vec::new();
    let refused = loop {
        match in_time(store.connect()).await {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert!(is_unavailable(&in_time(store.begin()).await.map(drop)));
    assert!(held.len() >= 8, "{}", held.len());
    held.clear();
    assert!(store.connect().await.is_ok());
}
