//! Entries wait while the store is away, and what is lost is told.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use async_trait::async_trait;
use chrono::TimeDelta;
use dcms_domain::audit::{AccessLog, AuditAction, AuditEntry, AuditValue, Entity, WrittenDown};
use dcms_domain::shared::{AuditId, IdSource, Ports};
use dcms_domain::store::{NotReady, Repositories, Rule, Store, StoreError, UnitOfWork};
use dcms_domain::testing::{CountingIds, FrozenClock, InMemoryStore, MockStore};
use pollster::block_on;

use crate::audit::entries_of;

/// What the log holds at most, and what is written at once.
const CAPACITY: usize = 12_000;
const BATCH: usize = 500;

fn ports(store: Arc<dyn Store>) -> Ports {
    Ports {
        store,
        clock: Arc::new(FrozenClock::default()),
        ids: Arc::new(CountingIds::default()),
        access_log: Arc::default(),
    }
}

fn note(ports: &Ports) -> AuditEntry {
    let (id, now) = (ports.ids.next_id().into(), ports.clock.now());
    let entry = AuditEntry::unattributed(id, now, AuditAction::List, Entity::Patient);
    ports.access_log.note(entry.clone());
    entry
}

fn notes(ports: &Ports, count: usize) -> Vec<AuditEntry> {
    (0..count).map(|_| note(ports)).collect()
}

async fn write_down(ports: &Ports) -> Result<WrittenDown, StoreError> {
    ports.access_log.write_down(ports).await
}

fn waiting(ports: &Ports) -> (usize, u64) {
    let log: &AccessLog = &ports.access_log;
    let count = log.len();
    assert_eq!(log.is_empty(), count == 0);
    (count, log.lost())
}

#[track_caller]
fn assert_tells_loss_of(count: i64, entry: &AuditEntry) {
    assert_eq!(
        (entry.action, entry.entity),
        (AuditAction::Lose, Entity::AuditLog)
    );
    assert_eq!((entry.actor_id, entry.entity_id), (None, None));
    let changes: Vec<_> = entry
        .changes
        .iter()
        .map(|change| (&*change.field, &change.after))
        .collect();
    assert_eq!(changes, [("entries", &AuditValue::Number(count))]);
}

/// A store in memory that can fail.
#[derive(Default)]
struct Unsteady {
    store: InMemoryStore,
    failure: Mutex<Option<fn() -> StoreError>>,
}

impl Unsteady {
    fn fail_with(&self, failure: fn() -> StoreError) {
        *self.failure.lock().unwrap() = Some(failure);
    }

    fn recover(&self) {
        *self.failure.lock().unwrap() = None;
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("away".into())
}

fn refused() -> StoreError {
    StoreError::Violated(Rule::ValueRefused)
}

#[async_trait]
impl Store for Unsteady {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        self.store.connect().await
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let failure = *self.failure.lock().unwrap();
        match failure {
            Some(failure) => Err(failure()),
            None => self.store.begin().await,
        }
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.store.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.store.wait_before_retry(attempt).await;
    }
}

#[test]
fn nothing_is_written_when_nothing_waits() {
    let store = Arc::new(MockStore::new(|_| ()));
    let ports = ports(Arc::clone(&store) as _);
    assert_eq!(waiting(&ports), (0, 0));
    assert_eq!(
        block_on(write_down(&ports)).unwrap(),
        WrittenDown::default()
    );
    assert_eq!(store.begun(), 0);
}

#[test]
fn entries_wait_while_the_store_is_away_and_are_written_later() {
    let store = Arc::new(Unsteady::default());
    let ports = ports(Arc::clone(&store) as _);
    let mut expected = notes(&ports, 3);
    store.fail_with(away);
    for tries in 1..4 {
        let failure = block_on(write_down(&ports)).unwrap_err();
        assert!(matches!(failure, StoreError::Unavailable(_)));
        assert_eq!(waiting(&ports), (2 + tries, 0));
        assert_eq!(block_on(entries_of(&store.store)), []);
        expected.push(note(&ports));
    }
    store.recover();
    let written = WrittenDown {
        written: 6,
        lost: 0,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
    assert_eq!(waiting(&ports), (0, 0));
    assert_eq!(block_on(entries_of(&store.store)), expected);
    assert_eq!(
        block_on(write_down(&ports)).unwrap(),
        WrittenDown::default()
    );
}

/// The ids that were appended besides the last one of each unit of work, which its commit takes.
type Appended = Arc<Mutex<Vec<Vec<AuditId>>>>;

fn recording() -> (MockStore, Appended) {
    let appended = Appended::default();
    let seen = Arc::clone(&appended);
    let store = MockStore::new(move |ports| {
        let seen = Arc::clone(&seen);
        ports.audit.expect_append().returning(move |entries| {
            let ids = entries.iter().map(|entry| entry.audit_id).collect();
            seen.lock().unwrap().push(ids);
            Ok(())
        });
    });
    (store, appended)
}

#[test]
fn many_entries_are_written_in_batches_in_the_order_they_came() {
    let (store, appended) = recording();
    let conflicts = AtomicBool::new(true);
    // The first batch meets a conflict: it goes back to the front.
    let store = Arc::new(store.on_commit(move || {
        if conflicts.swap(false, Ordering::Relaxed) {
            return Err(StoreError::Conflict);
        }
        Ok(())
    }));
    let ports = ports(Arc::clone(&store) as _);
    let noted = notes(&ports, 2 * BATCH + 1);
    let failure = block_on(write_down(&ports)).unwrap_err();
    assert!(matches!(failure, StoreError::Conflict));
    assert_eq!(waiting(&ports), (2 * BATCH + 1, 0));
    appended.lock().unwrap().clear();

    let written = WrittenDown {
        written: 2 * BATCH + 1,
        lost: 0,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
    assert_eq!(store.committed(), 3);
    // A batch ends with what its commit takes; of the last one that is all.
    let expected: Vec<Vec<AuditId>> = noted
        .chunks(BATCH)
        .map(|batch| {
            batch[..batch.len() - 1]
                .iter()
                .map(|entry| entry.audit_id)
                .collect()
        })
        .filter(|batch: &Vec<AuditId>| !batch.is_empty())
        .collect();
    assert_eq!(*appended.lock().unwrap(), expected);
}

#[test]
fn what_was_written_before_the_store_went_away_does_not_wait_any_more() {
    let commits = AtomicBool::new(false);
    let (store, _) = recording();
    let store = store.on_commit(move || {
        if commits.swap(true, Ordering::Relaxed) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    });
    let ports = ports(Arc::new(store));
    notes(&ports, BATCH + 7);
    block_on(write_down(&ports)).unwrap_err();
    assert_eq!(waiting(&ports), (7, 0));
}

#[test]
fn what_does_not_fit_is_counted_and_told() {
    let store = Arc::new(Unsteady::default());
    store.fail_with(away);
    let ports = ports(Arc::clone(&store) as _);
    let kept = notes(&ports, CAPACITY);
    assert_eq!(waiting(&ports), (CAPACITY, 0));
    notes(&ports, 2);
    assert_eq!(waiting(&ports), (CAPACITY, 2));
    // Whoever tries in vain loses nothing more.
    block_on(write_down(&ports)).unwrap_err();
    assert_eq!(waiting(&ports), (CAPACITY, 2));
    note(&ports);
    assert_eq!(waiting(&ports), (CAPACITY, 3));

    store.recover();
    let written = WrittenDown {
        written: CAPACITY,
        lost: 3,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
    assert_eq!(waiting(&ports), (0, 0));
    let mut entries = block_on(entries_of(&store.store));
    let loss = entries
        .iter()
        .position(|entry| entry.action == AuditAction::Lose);
    assert_tells_loss_of(3, &entries.remove(loss.unwrap()));
    assert_eq!(entries, kept);
}

#[test]
fn what_is_noted_while_a_batch_is_on_its_way_takes_its_place() {
    let waiting_room = Arc::<AccessLog>::default();
    let (log, ids) = (Arc::clone(&waiting_room), CountingIds::default());
    let template = Arc::new(Mutex::new(None::<AuditEntry>));
    let is_first = AtomicBool::new(true);
    let late = Arc::clone(&template);
    let (store, _) = recording();
    let store = store.on_commit(move || {
        if is_first.swap(false, Ordering::Relaxed) {
            let entry = late.lock().unwrap().clone().unwrap();
            for _ in 0..BATCH {
                log.note(AuditEntry {
                    audit_id: ids.next_id().into(),
                    ..entry.clone()
                });
            }
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    });
    let ports = Ports {
        access_log: waiting_room,
        ..ports(Arc::new(store))
    };
    let kept = notes(&ports, CAPACITY);
    *template.lock().unwrap() = kept.first().cloned();
    block_on(write_down(&ports)).unwrap_err();
    assert_eq!(waiting(&ports), (CAPACITY, 500));
    let written = WrittenDown {
        written: CAPACITY,
        lost: 500,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
}

#[test]
fn a_batch_that_the_store_refuses_is_dropped_and_told() {
    let store = Arc::new(Unsteady::default());
    let ports = ports(Arc::clone(&store) as _);
    let first = note(&ports);
    block_on(write_down(&ports)).unwrap();
    notes(&ports, 3);
    store.fail_with(refused);
    let failure = block_on(write_down(&ports)).unwrap_err();
    assert!(matches!(failure, StoreError::Violated(Rule::ValueRefused)));
    assert_eq!(waiting(&ports), (0, 3));
    store.recover();
    let entries = block_on(entries_of(&store.store));
    assert_eq!(entries, std::slice::from_ref(&first));

    let next = note(&ports);
    let written = WrittenDown {
        written: 1,
        lost: 3,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
    assert_eq!(waiting(&ports), (0, 0));
    let entries = block_on(entries_of(&store.store));
    assert_eq!(entries[..2], [first, next]);
    assert_tells_loss_of(3, &entries[2]);
    assert_eq!(entries.len(), 3);
}

#[test]
fn what_was_written_already_stays_as_it_is_and_spoils_no_batch() {
    // First, in the middle, or last, which is the one that the commit takes.
    for place in 0..3 {
        let store = Arc::new(InMemoryStore::default());
        let ports = ports(Arc::clone(&store) as _);
        let first = note(&ports);
        block_on(write_down(&ports)).unwrap();

        let mut expected = vec![first.clone()];
        for count in 0..3 {
            if count == place {
                // As after a commit of which nobody knows whether it succeeded.
                ports.access_log.note(AuditEntry {
                    action: AuditAction::Change,
                    ..first.clone()
                });
            } else {
                expected.push(note(&ports));
            }
        }
        let written = WrittenDown {
            written: 3,
            lost: 0,
        };
        assert_eq!(block_on(write_down(&ports)).unwrap(), written);
        assert_eq!(waiting(&ports), (0, 0));
        assert_eq!(block_on(entries_of(&store)), expected, "{place}");
    }
}

#[test]
fn a_loss_is_told_even_when_nothing_else_waits() {
    for failure in [
        || StoreError::Unexpected("broken".into()),
        || StoreError::Violated(Rule::ValueRefused),
    ] {
        let (store, appended) = recording();
        let fails = Mutex::new(2);
        let store = Arc::new(store.on_commit(move || {
            let mut fails = fails.lock().unwrap();
            if *fails > 0 {
                *fails -= 1;
                return Err(failure());
            }
            Ok(())
        }));
        let ports = ports(Arc::clone(&store) as _);
        notes(&ports, 4);
        block_on(write_down(&ports)).unwrap_err();
        assert_eq!(waiting(&ports), (0, 4));
        // The telling is refused as well: nothing is lost twice.
        block_on(write_down(&ports)).unwrap_err();
        assert_eq!(waiting(&ports), (0, 4));
        appended.lock().unwrap().clear();
        let told = WrittenDown {
            written: 0,
            lost: 4,
        };
        assert_eq!(block_on(write_down(&ports)).unwrap(), told);
        assert_eq!(waiting(&ports), (0, 0));
        assert_eq!(store.committed(), 1);
        assert_eq!(*appended.lock().unwrap(), Vec::<Vec<AuditId>>::new());
    }
}

#[test]
fn what_waits_for_half_a_day_is_lost() {
    let clock = Arc::new(FrozenClock::default());
    let store = Arc::new(Unsteady::default());
    let ports = Ports {
        clock: Arc::clone(&clock) as _,
        ..ports(Arc::clone(&store) as _)
    };
    notes(&ports, 2);
    clock.advance(TimeDelta::microseconds(1));
    let kept = notes(&ports, 3);
    store.fail_with(away);
    clock.advance(TimeDelta::hours(12));
    block_on(write_down(&ports)).unwrap_err();
    assert_eq!(waiting(&ports), (3, 2));
    store.recover();
    let written = WrittenDown {
        written: 3,
        lost: 2,
    };
    assert_eq!(block_on(write_down(&ports)).unwrap(), written);
    assert_eq!(block_on(entries_of(&store.store))[..3], kept);
}

/// A store that never answers.
struct Silent;

#[async_trait]
impl Store for Silent {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        std::future::pending().await
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        std::future::pending().await
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        std::future::pending().await
    }

    async fn wait_before_retry(&self, _attempt: u32) {}
}

#[test]
fn what_was_on_its_way_when_nobody_waited_any_more_waits_again() {
    let ports = ports(Arc::new(Silent));
    notes(&ports, CAPACITY + 2);
    {
        let mut writing = pin!(write_down(&ports));
        let mut context = Context::from_waker(Waker::noop());
        assert!(writing.as_mut().poll(&mut context).is_pending());
        assert_eq!(waiting(&ports), (CAPACITY, 0));
    }
    assert_eq!(waiting(&ports), (CAPACITY, 2));
}
