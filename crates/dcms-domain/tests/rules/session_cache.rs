use std::collections::HashMap;

use chrono::TimeDelta;
use dcms_domain::identity::TokenHash;
use dcms_domain::identity::session_cache::{
    CLOCK_JITTER, Confirmation, KnownSession, MAX_CACHED_SESSIONS, Read, SessionCache, TRUSTED_FOR,
};
use dcms_domain::shared::{Clock as _, Instant, SessionId, UserId};
use dcms_domain::testing::FrozenClock;
use proptest::prelude::*;
use uuid::Uuid;

type Cache = SessionCache<&'static str>;

fn at(milliseconds: i64) -> Instant {
    FrozenClock::default().now() + TimeDelta::milliseconds(milliseconds)
}

fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

fn session_id(number: u8) -> SessionId {
    Uuid::from_u128(number.into()).into()
}

/// Session `number` of user `number / 2`, used just now, with hours to go.
fn session(number: u8) -> KnownSession<&'static str> {
    KnownSession {
        session_id: session_id(number),
        user_id: user_id(number / 2),
        ends_at: at(12 * 3_600_000),
        last_seen_at: at(0),
        standing: "doctor",
    }
}

fn user_id(number: u8) -> UserId {
    Uuid::from_u128(u128::from(number) + 1_000).into()
}

fn empty() -> Cache {
    Cache::new(TimeDelta::minutes(30))
}

/// A cache that read session 0 at 0.
fn cached() -> Cache {
    let cache = empty();
    let read = cache.begin_read(at(0));
    cache.put(read, token(0), &session(0));
    cache
}

/// Confirms all that is cached.
fn confirm_all(cache: &Cache, now: Instant) {
    let asked = cache.to_confirm(now);
    let found: Vec<_> = asked
        .tokens()
        .iter()
        .map(|token| (*token, session(token.0[0])))
        .collect();
    cache.confirm(asked, found);
}

fn is_trusted(cache: &Cache, milliseconds: i64) -> bool {
    cache.lookup(&token(0), at(milliseconds)).is_some()
}

#[test]
fn together_with_the_jitter_trust_lasts_a_second() {
    assert_eq!(TRUSTED_FOR + CLOCK_JITTER, TimeDelta::seconds(1));
}

#[test]
fn a_read_is_trusted_from_when_it_began() {
    for (milliseconds, expected) in [(0, true), (900, true), (901, false), (86_400_000, false)] {
        assert_eq!(
            is_trusted(&cached(), milliseconds),
            expected,
            "{milliseconds}"
        );
    }
    assert!(cached().lookup(&token(1), at(0)).is_none());
}

#[test]
fn a_confirmation_is_trusted_from_when_it_began() {
    let cache = cached();
    let asked = cache.to_confirm(at(300));
    assert_eq!(asked.tokens(), [token(0)]);
    cache.confirm(asked, [(token(0), session(0))]);
    assert!(is_trusted(&cache, 1_200));
    assert!(!is_trusted(&cache, 1_201));
}

#[test]
fn a_confirmation_brings_what_changed_elsewhere() {
    let cache = cached();
    let asked = cache.to_confirm(at(300));
    let demoted = KnownSession {
        standing: "receptionist",
        ..session(0)
    };
    cache.confirm(asked, [(token(0), demoted)]);
    assert_eq!(cache.lookup(&token(0), at(300)), Some("receptionist"));
    let asked = cache.to_confirm(at(600));
    cache.confirm(asked, []);
    assert!(!is_trusted(&cache, 600));
}

#[test]
fn what_is_forgotten_is_unknown_at_once_and_nothing_else_is() {
    type Forget = fn(&Cache);
    let table: [(Forget, [bool; 3]); 4] = [
        (
            |cache| cache.forget_session(session_id(0)),
            [false, true, true],
        ),
        (|cache| cache.forget_user(user_id(0)), [false, false, true]),
        (Cache::forget_all, [false, false, false]),
        (|cache| cache.forget_user(user_id(9)), [true, true, true]),
    ];
    for (row, (forget, expected)) in table.into_iter().enumerate() {
        let cache = empty();
        for number in 0..3 {
            let read = cache.begin_read(at(0));
            cache.put(read, token(number), &session(number));
        }
        forget(&cache);
        let are_trusted = [0, 1, 2].map(|number| cache.lookup(&token(number), at(0)).is_some());
        assert_eq!(are_trusted, expected, "row {row}");
    }
}

#[test]
fn a_read_from_before_something_was_forgotten_is_not_kept() {
    let cache = empty();
    let read = cache.begin_read(at(0));
    cache.forget_user(user_id(0));
    cache.put(read, token(0), &session(0));
    assert!(!is_trusted(&cache, 0));
}

#[test]
fn a_confirmation_from_before_something_was_forgotten_does_not_bring_it_back() {
    let cache = cached();
    let asked = cache.to_confirm(at(100));
    cache.forget_user(user_id(0));
    cache.confirm(asked.clone(), [(token(0), session(0))]);
    assert!(!is_trusted(&cache, 100));

    let read = cache.begin_read(at(100));
    let demoted = KnownSession {
        standing: "receptionist",
        ..session(0)
    };
    cache.put(read, token(0), &demoted);
    cache.confirm(asked, [(token(0), session(0))]);
    assert_eq!(cache.lookup(&token(0), at(100)), Some("receptionist"));
}

#[test]
fn others_are_confirmed_although_somebody_was_forgotten_meanwhile() {
    let cache = cached();
    let asked = cache.to_confirm(at(800));
    cache.forget_user(user_id(9));
    cache.confirm(asked, [(token(0), session(0))]);
    assert!(is_trusted(&cache, 1_600));
}

#[test]
fn an_older_read_does_not_replace_a_newer_one() {
    let cache = empty();
    let old = cache.begin_read(at(0));
    let new = cache.begin_read(at(500));
    let demoted = KnownSession {
        standing: "receptionist",
        ..session(0)
    };
    cache.put(new, token(0), &demoted);
    cache.put(old, token(0), &session(0));
    assert_eq!(cache.lookup(&token(0), at(500)), Some("receptionist"));
}

#[test]
fn a_clock_that_goes_backwards_is_not_believed() {
    for (back, expected) in [(0, true), (100, true), (101, false), (3_600_000, false)] {
        let cache = cached();
        assert!(is_trusted(&cache, 500));
        assert_eq!(is_trusted(&cache, 500 - back), expected, "{back}");
        assert_eq!(is_trusted(&cache, 500), expected, "{back} and forth");
    }
    let cache = cached();
    let read = cache.begin_read(at(500));
    let _ = cache.lookup(&token(0), at(-5_000));
    cache.put(read, token(0), &session(0));
    assert!(!is_trusted(&cache, 500), "began before the clock went back");
}

#[test]
fn steps_back_that_are_small_add_up() {
    let cache = cached();
    assert!(is_trusted(&cache, 500));
    assert!(is_trusted(&cache, 450));
    assert!(is_trusted(&cache, 400));
    assert!(!is_trusted(&cache, 350));
}

#[test]
fn an_ended_session_is_unknown() {
    let cache = empty();
    let ending = KnownSession {
        ends_at: at(500),
        ..session(0)
    };
    cache.put(cache.begin_read(at(0)), token(0), &ending);
    assert!(is_trusted(&cache, 499));
    assert!(!is_trusted(&cache, 500));
    assert_eq!(cache.to_confirm(at(500)).tokens(), []);
}

#[test]
fn an_idle_session_is_unknown_however_well_confirmed() {
    for (milliseconds, expected) in [(1_999, true), (2_000, false)] {
        let cache = Cache::new(TimeDelta::seconds(2));
        cache.put(cache.begin_read(at(0)), token(0), &session(0));
        confirm_all(&cache, at(1_500));
        assert_eq!(is_trusted(&cache, milliseconds), expected, "{milliseconds}");
    }
}

#[test]
fn what_is_not_used_for_a_minute_is_confirmed_no_more() {
    let cache = cached();
    assert!(is_trusted(&cache, 700));
    assert_eq!(cache.to_confirm(at(60_699)).tokens(), [token(0)]);
    assert_eq!(cache.to_confirm(at(60_700)).tokens(), []);
}

#[test]
fn what_does_not_fit_is_not_cached_and_its_use_is_noted() {
    let cache = empty();
    let read = cache.begin_read(at(0));
    for number in 0..MAX_CACHED_SESSIONS {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        cache.put(read, TokenHash(bytes), &session(1));
    }
    let read = cache.begin_read(at(100));
    cache.put(read, token(0), &session(0));
    assert!(!is_trusted(&cache, 100));
    assert_eq!(cache.all_touches().len(), 1);
    assert!(cache.all_touches().contains(&(session_id(0), at(100))));
}

#[test]
fn the_last_use_is_written_at_most_once_a_minute() {
    let cache = cached();
    let mut written = Vec::new();
    for tick in 0..1_000 {
        let now = 300 * tick;
        confirm_all(&cache, at(now));
        // Used for four minutes, and then not any more.
        assert_eq!(is_trusted(&cache, now), now < 300_000);
        if now == 240_000 {
            break;
        }
        let due = cache.touches_due(at(now));
        cache.touches_written(&due);
        written.extend(due);
    }
    let every_minute = [60_000, 120_000, 180_000].map(|used| (session_id(0), at(used)));
    assert_eq!(written, every_minute);

    // The confirmations told what was written when it was read: the first use.
    let last = [(session_id(0), at(240_000))];
    assert_eq!(cache.all_touches(), last);
    assert_eq!(cache.touches_due(at(240_001)), last);
}

#[test]
fn a_use_that_was_the_last_is_written_when_the_session_leaves() {
    let cache = cached();
    assert!(is_trusted(&cache, 800));
    assert_eq!(cache.touches_due(at(60_799)), []);
    let last = [(session_id(0), at(800))];
    assert_eq!(cache.touches_due(at(60_800)), last);
    assert_eq!(cache.touches_due(at(90_000)), last, "it was not written");
    cache.touches_written(&last);
    assert_eq!(cache.touches_due(at(90_001)), []);
    assert_eq!(cache.all_touches(), []);
}

#[test]
fn a_use_is_written_although_the_session_was_forgotten() {
    let cache = cached();
    assert!(is_trusted(&cache, 800));
    cache.forget_user(user_id(0));
    assert_eq!(cache.all_touches(), [(session_id(0), at(800))]);
}

#[test]
fn what_another_instance_wrote_is_not_written_again() {
    let cache = cached();
    assert!(is_trusted(&cache, 800));
    let asked = cache.to_confirm(at(900));
    let used_elsewhere = KnownSession {
        last_seen_at: at(850),
        ..session(0)
    };
    cache.confirm(asked, [(token(0), used_elsewhere)]);
    assert_eq!(cache.all_touches(), []);
}

/// What happens to a cache, a store and the clock.
#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    SetBack(i64),
    LookUp(u8),
    BeginRead(u8),
    EndRead,
    BeginTick,
    EndTick,
    FailTick,
    ChangeHere(u8),
    ChangeElsewhere(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_i64..600).prop_map(Step::Pass),
        1 => (101_i64..5_000).prop_map(Step::SetBack),
        8 => (0_u8..3).prop_map(Step::LookUp),
        4 => (0_u8..3).prop_map(Step::BeginRead),
        4 => Just(Step::EndRead),
        2 => Just(Step::BeginTick),
        2 => Just(Step::EndTick),
        1 => Just(Step::FailTick),
        2 => (0_u8..3).prop_map(Step::ChangeHere),
        2 => (0_u8..3).prop_map(Step::ChangeElsewhere),
    ]
}

/// A session of the store: its standing is how often it changed.
#[derive(Debug, Clone, Default)]
struct Stored {
    /// When it changed elsewhere, by the true time, and what it stood for before.
    changed_elsewhere: Vec<(i64, u64)>,
    /// From which standing on it is known here that older ones do not count.
    known_here: u64,
    standing: u64,
}

struct World {
    cache: SessionCache<u64>,
    stored: [Stored; 3],
    /// Milliseconds that truly passed.
    true_time: i64,
    /// What the clock shows less than that.
    behind: i64,
    /// Reads that have seen the store and not yet told the cache.
    reads: Vec<(Read, u8, u64)>,
    tick: Option<(Confirmation, HashMap<TokenHash, KnownSession<u64>>)>,
}

impl World {
    fn shown(&self) -> Instant {
        at(self.true_time - self.behind)
    }

    fn found(&self, number: u8) -> KnownSession<u64> {
        let KnownSession {
            session_id,
            user_id,
            ends_at,
            last_seen_at,
            ..
        } = session(number);
        KnownSession {
            session_id,
            user_id,
            ends_at,
            last_seen_at,
            standing: self.stored[usize::from(number)].standing,
        }
    }

    fn change(&mut self, number: u8) -> &mut Stored {
        let stored = &mut self.stored[usize::from(number)];
        stored.standing += 1;
        stored
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Pass(milliseconds) => self.true_time += milliseconds,
            Step::SetBack(milliseconds) => {
                // Somebody asks before and after, as the tick does.
                let _ = self.cache.lookup(&token(9), self.shown());
                self.behind += milliseconds;
                let _ = self.cache.lookup(&token(9), self.shown());
            }
            Step::LookUp(number) => return self.look_up(number),
            Step::BeginRead(number) => {
                let read = self.cache.begin_read(self.shown());
                let seen = self.found(number).standing;
                self.reads.push((read, number, seen));
            }
            Step::EndRead => {
                if let Some((read, number, standing)) = self.reads.pop() {
                    let found = KnownSession {
                        standing,
                        ..self.found(number)
                    };
                    self.cache.put(read, token(number), &found);
                }
            }
            Step::BeginTick => {
                let asked = self.cache.to_confirm(self.shown());
                let found = asked.tokens().iter();
                let found = found
                    .map(|token| (*token, self.found(token.0[0])))
                    .collect();
                self.tick = Some((asked, found));
            }
            Step::EndTick => {
                if let Some((asked, found)) = self.tick.take() {
                    self.cache.confirm(asked, found);
                }
            }
            Step::FailTick => self.tick = None,
            Step::ChangeHere(number) => {
                let stored = self.change(number);
                stored.known_here = stored.standing;
                self.cache.forget_session(session_id(number));
            }
            Step::ChangeElsewhere(number) => {
                let now = self.true_time;
                let stored = self.change(number);
                let before = stored.standing - 1;
                stored.changed_elsewhere.push((now, before));
            }
        }
        Ok(())
    }

    fn look_up(&self, number: u8) -> Result<(), TestCaseError> {
        let Some(standing) = self.cache.lookup(&token(number), self.shown()) else {
            return Ok(());
        };
        let stored = &self.stored[usize::from(number)];
        prop_assert!(standing >= stored.known_here, "forgotten and trusted");
        for (changed, before) in &stored.changed_elsewhere {
            prop_assert!(
                standing > *before || self.true_time - changed <= 1_000,
                "trusted for {} ms after a change elsewhere",
                self.true_time - changed
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    })]

    #[test]
    fn nothing_is_trusted_that_changed_here_or_a_second_ago_elsewhere(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let mut world = World {
            cache: SessionCache::new(TimeDelta::minutes(30)),
            stored: Default::default(),
            true_time: 0,
            behind: 0,
            reads: Vec::new(),
            tick: None,
        };
        for step in &steps {
            world.take(step)?;
        }
    }
}

#[test]
fn who_only_peeks_uses_nothing() {
    let cache = Cache::new(TimeDelta::seconds(2));
    cache.put(cache.begin_read(at(0)), token(0), &session(0));
    for now in [500, 1_000, 1_500, 1_999] {
        confirm_all(&cache, at(now));
        assert!(cache.peek(&token(0), at(now)).is_some(), "{now}");
    }
    confirm_all(&cache, at(2_000));
    assert_eq!(cache.peek(&token(0), at(2_000)), None, "it is idle");
    assert!(!is_trusted(&cache, 2_000));
    assert_eq!(cache.all_touches(), []);
}

#[test]
fn what_is_peeked_at_is_confirmed_like_what_is_used() {
    let cache = cached();
    for now in (0..=90_000).step_by(300) {
        confirm_all(&cache, at(now));
        assert!(cache.peek(&token(0), at(now)).is_some(), "{now}");
    }
    assert_eq!(cache.to_confirm(at(149_999)).tokens(), [token(0)]);
    assert_eq!(cache.to_confirm(at(150_000)).tokens(), []);
}

#[test]
fn a_peek_believes_nothing_that_a_use_would_not() {
    let cache = cached();
    assert!(cache.peek(&token(0), at(900)).is_some());
    assert_eq!(cache.peek(&token(0), at(901)), None, "too old");
    assert_eq!(cache.peek(&token(1), at(900)), None, "another token");
    let cache = cached();
    cache.forget_session(session_id(0));
    assert_eq!(cache.peek(&token(0), at(0)), None, "forgotten");
    let cache = empty();
    let ending = KnownSession {
        ends_at: at(500),
        ..session(0)
    };
    cache.put(cache.begin_read(at(0)), token(0), &ending);
    assert!(cache.peek(&token(0), at(499)).is_some());
    assert_eq!(cache.peek(&token(0), at(500)), None, "ended");
}

#[test]
fn what_was_read_for_a_peek_is_kept_and_not_used() {
    let cache = empty();
    cache.put_peeked(cache.begin_read(at(0)), token(0), &session(0));
    assert!(cache.peek(&token(0), at(100)).is_some());
    assert_eq!(cache.all_touches(), []);
    assert_eq!(cache.to_confirm(at(60_099)).tokens(), [token(0)]);

    let stale = cache.begin_read(at(60_100));
    cache.forget_session(session_id(0));
    cache.put_peeked(stale, token(0), &session(0));
    assert_eq!(cache.peek(&token(0), at(60_100)), None);
}
