//! Whatever a write asks of its ports may fail: then the failure comes through and nothing is
//! committed. A conflict is met by doing the whole unit of work again, a bounded number of times.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

mod samples;
mod writes;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use dcms_domain::Services;
use dcms_domain::identity::throttle::{Counted, SubjectKind};
use dcms_domain::shared::{Clock as _, Ports};
use dcms_domain::store::{CarriesStoreError, Rule, StoreError};
use dcms_domain::testing::{
    CountingIds, FakeHasher, FakeTokens, FrozenClock, MockRepositories, MockStore,
};
use pollster::block_on;

use samples::Samples;
use writes::WRITES;

/// A write of a service.
struct Write {
    name: &'static str,
    /// What the ports answer when all goes well.
    script: fn(&mut MockRepositories, Answers),
    call: for<'services> fn(&'services Services, &'static Samples) -> Call<'services>,
}

type Call<'services> = Pin<Box<dyn Future<Output = Outcome> + 'services>>;

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Unavailable,
    Conflict,
    Other(String),
}

async fn outcome<Value, Failure: CarriesStoreError + Debug>(
    call: impl Future<Output = Result<Value, Failure>>,
) -> Outcome {
    match call.await {
        Ok(_) => Outcome::Done,
        Err(failure) => match failure.store_error() {
            Some(StoreError::Unavailable(_)) => Outcome::Unavailable,
            Some(StoreError::Conflict) => Outcome::Conflict,
            _ => Outcome::Other(format!("{failure:?}")),
        },
    }
}

/// Counts what is asked of the ports, and fails one of those calls. Lives as long as the tests,
/// because mocks want answers that do.
struct Calls {
    asked: AtomicUsize,
    failing: Option<usize>,
}

type Answers = &'static Calls;

impl Calls {
    fn failing(failing: Option<usize>) -> Answers {
        Box::leak(Box::new(Self {
            asked: AtomicUsize::new(0),
            failing,
        }))
    }

    fn with<Value>(&self, value: Value) -> Result<Value, StoreError> {
        let call = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.failing == Some(call) {
            Err(StoreError::Unavailable("away".into()))
        } else {
            Ok(value)
        }
    }
}

fn services(store: &Arc<MockStore>) -> Services {
    let ports = Ports {
        store: Arc::clone(store) as _,
        clock: Arc::new(FrozenClock::default()),
        ids: Arc::new(CountingIds::default()),
        access_log: Arc::default(),
    };
    Services::new(
        &ports,
        Arc::new(FakeHasher),
        Arc::new(FakeTokens::default()),
        dcms_domain::testing::identity_settings(),
    )
}

fn run(write: &Write, store: &Arc<MockStore>) -> Outcome {
    block_on((write.call)(&services(store), Samples::get()))
}

#[test]
fn whatever_fails_comes_through_and_nothing_is_committed() {
    for write in &WRITES {
        let mut failing = 0;
        loop {
            let answers = Calls::failing(Some(failing));
            let script = write.script;
            let store = MockStore::new(move |ports| script(ports, answers))
                .on_begin(|| answers.with(()))
                .on_commit(|| answers.with(()));
            let store = Arc::new(store);
            let outcome = run(write, &store);
            if outcome == Outcome::Done {
                // The call that was to fail was never made: all others failed before.
                assert_eq!(
                    answers.asked.load(Ordering::Relaxed),
                    failing,
                    "{}",
                    write.name
                );
                assert_eq!(store.committed(), 1, "{}", write.name);
                break;
            }
            let place = format!("{}, call {failing}", write.name);
            assert_eq!(outcome, Outcome::Unavailable, "{place}");
            assert_eq!(store.committed(), 0, "{place}");
            assert_eq!(store.waits(), [], "{place}");
            failing += 1;
        }
        // It began, asked a port for something, and committed.
        assert!(failing >= 3, "{} only made {failing} calls", write.name);
    }
}

#[test]
fn whatever_fails_in_a_try_that_is_not_looked_at_comes_through() {
    let mut failing = 0;
    loop {
        let answers = Calls::failing(Some(failing));
        let store = MockStore::new(move |ports| {
            let throttle = &mut ports.throttle;
            throttle.expect_count().returning(|subject, _| {
                answers.with(match subject.kind() {
                    SubjectKind::Pair => None,
                    SubjectKind::Address => Some(writes::in_time()),
                    SubjectKind::Account => Some(Counted::Refused {
                        blocked_until: FrozenClock::default().now() + TimeDelta::seconds(8),
                    }),
                })
            });
            throttle
                .expect_take_back()
                .withf(|subject, _| subject.kind() == SubjectKind::Address)
                .returning(|_, _| answers.with(()));
            ports
                .users
                .expect_find_by_username()
                .returning(|_| answers.with(None));
        });
        let store = Arc::new(store.on_begin(|| answers.with(())));
        let services = services(&store);
        let outcome = block_on(writes::log_in(&services, Samples::get()));
        assert_eq!(store.begun(), 0, "nothing is written in a unit of work");
        if answers.asked.load(Ordering::Relaxed) == failing {
            let expected = "Throttled { retry_after_seconds: 8 }";
            assert_eq!(outcome, Outcome::Other(expected.to_owned()));
            break;
        }
        assert_eq!(outcome, Outcome::Unavailable, "call {failing}");
        failing += 1;
    }
    assert_eq!(
        failing, 6,
        "a connection, three counts, one taken back, the user"
    );
}

#[test]
fn a_conflict_leads_to_the_whole_unit_of_work_again() {
    for write in &WRITES {
        let answers = Calls::failing(None);
        let (script, commits) = (write.script, AtomicUsize::new(0));
        let store = MockStore::new(move |ports| script(ports, answers)).on_commit(move || {
            if commits.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err(StoreError::Conflict);
            }
            Ok(())
        });
        let store = Arc::new(store);
        assert_eq!(run(write, &store), Outcome::Done, "{}", write.name);
        assert_eq!((store.begun(), store.committed()), (3, 1), "{}", write.name);
        assert_eq!(store.waits(), [1, 2], "{}", write.name);
    }
}

#[test]
fn conflicts_without_end_are_given_up_on() {
    for write in &WRITES {
        let answers = Calls::failing(None);
        let script = write.script;
        let store = MockStore::new(move |ports| script(ports, answers))
            .on_commit(|| Err(StoreError::Conflict));
        let store = Arc::new(store);
        assert_eq!(run(write, &store), Outcome::Conflict, "{}", write.name);
        assert_eq!((store.begun(), store.committed()), (8, 0), "{}", write.name);
        assert_eq!(store.waits(), [1, 2, 3, 4, 5, 6, 7], "{}", write.name);
    }
}

#[test]
fn a_primary_contact_that_came_in_between_is_met_by_another_try() {
    for name in ["add a primary contact", "make a contact primary"] {
        let write = WRITES.iter().find(|write| write.name == name).unwrap();
        let (answers, script) = (Calls::failing(None), write.script);
        let tries = AtomicUsize::new(0);
        let store = MockStore::new(move |ports| {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                let taken = || Err(StoreError::Violated(Rule::PrimaryContactTaken));
                let patients = &mut ports.patients;
                patients.expect_insert_contact().returning(move |_| taken());
                patients.expect_update_contact().returning(move |_| taken());
            }
            script(ports, answers);
        });
        let store = Arc::new(store);
        assert_eq!(run(write, &store), Outcome::Done, "{name}");
        assert_eq!((store.begun(), store.committed()), (2, 1), "{name}");
    }
}
