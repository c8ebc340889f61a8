use std::net::IpAddr;

use chrono::TimeDelta;
use dcms_domain::identity::throttle::{
    Admission, Admitted, Counted, FORGOTTEN_AFTER, Failures, MAX_FAILURES_FOR_EARLY_TRIES, Subject,
    SubjectKind, ThrottleRepository as _, admit,
};
use dcms_domain::shared::{Clock as _, Instant};
use dcms_domain::testing::{FrozenClock, InMemoryThrottle};
use pollster::block_on;
use proptest::prelude::*;

const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "198.51.100.9";

fn start() -> Instant {
    FrozenClock::default().now()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Counters of failed log-ins and the time.
struct Gate {
    throttle: InMemoryThrottle,
    now: Instant,
}

impl Gate {
    fn new() -> Self {
        Self {
            throttle: InMemoryThrottle::default(),
            now: start(),
        }
    }

    fn pass(&mut self, seconds: u32) {
        self.now += TimeDelta::seconds(seconds.into());
    }

    /// A try, or the seconds after which to try again.
    fn attempt(&mut self, username: &str, from: &str) -> Result<Admitted, u32> {
        let (throttle, from) = (&mut self.throttle, Some(address(from)));
        match block_on(admit(throttle, username, from, self.now)).unwrap() {
            Admission::Admitted(admitted) => Ok(admitted),
            Admission::Refused {
                retry_after_seconds,
            } => Err(retry_after_seconds),
        }
    }

    fn log_in(&mut self, username: &str, from: &str) {
        let admitted = self.attempt(username, from).unwrap();
        block_on(admitted.succeeded(&mut self.throttle)).unwrap();
    }

    /// Fails as often, waiting as long as it takes.
    fn fail(&mut self, times: u32, username: &str, from: &str) {
        for _ in 0..times {
            let mut waits = 0;
            while let Err(seconds) = self.attempt(username, from) {
                waits += 1;
                assert!(waits <= 2, "the address and the account have a wait each");
                self.pass(seconds);
            }
        }
    }

    fn failures(&self, subject: &Subject) -> Option<u32> {
        self.throttle
            .failures(subject)
            .map(|failures| failures.count)
    }
}

#[test]
fn delays_start_behind_the_free_failures_and_double_up_to_a_bound() {
    for (kind, expected) in [
        (
            SubjectKind::Account,
            vec![0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60],
        ),
        (
            SubjectKind::Pair,
            vec![0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60],
        ),
        (
            SubjectKind::Address,
            [
                [0; 21].to_vec(),
                vec![1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900],
            ]
            .concat(),
        ),
    ] {
        assert_eq!(kind.delays_in_seconds(), expected, "{kind:?}");
        for further in [100, 10_000, u32::MAX] {
            assert_eq!(Some(&kind.delay_seconds_after(further)), expected.last());
        }
    }
}

#[test]
fn a_wait_is_told_in_whole_seconds() {
    for (microseconds_later, expected) in [
        (0, Err(8)),
        (1, Err(8)),
        (999_999, Err(8)),
        (1_000_000, Err(7)),
        (7_000_000, Err(1)),
        (7_999_999, Err(1)),
        (8_000_000, Ok(())),
    ] {
        let mut gate = Gate::new();
        gate.fail(9, "anna", HOME);
        gate.now += TimeDelta::microseconds(microseconds_later);
        assert_eq!(gate.attempt("anna", HOME).map(|_| ()), expected);
    }
}

#[test]
fn spellings_of_a_name_are_one_account() {
    let account = Subject::account("Zoë");
    for spelling in ["zoë", " ZOË ", "zoe\u{308}", "ＺＯË"] {
        assert_eq!(Subject::account(spelling), account, "{spelling}");
    }
    assert_ne!(Subject::account("zoé"), account);
    assert_ne!(Subject::account("a\0b"), Subject::account("ab"));
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    for (one, other, are_one) in [
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
        ("192.0.2.7", "::ffff:192.0.2.7", true),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
    ] {
        let (one, other) = (address(one), address(other));
        let alike = Subject::address(one) == Subject::address(other);
        assert_eq!(alike, are_one, "{one} and {other}");
        let alike = Subject::pair("anna", one) == Subject::pair("ANNA", other);
        assert_eq!(alike, are_one, "{one} and {other}");
    }
}

#[test]
fn a_try_counts_before_the_password_is_looked_at() {
    let mut gate = Gate::new();
    let admitted = (0..100)
        .filter(|_| gate.attempt("anna", ELSEWHERE).is_ok())
        .count();
    assert_eq!(
        admitted, 6,
        "five that are free and the one that costs a second"
    );
    assert_eq!(gate.failures(&Subject::account("anna")), Some(6));
    assert_eq!(
        gate.failures(&Subject::address(address(ELSEWHERE))),
        Some(6),
        "what was refused is counted nowhere"
    );
}

#[test]
fn an_unknown_name_is_slowed_down_like_a_known_one() {
    let mut gate = Gate::new();
    gate.log_in("anna", HOME);
    for (username, from) in [
        ("anna", "203.0.113.1"),
        ("nobody", "203.0.113.2"),
        ("", "203.0.113.3"),
        ("a\0b", "203.0.113.4"),
    ] {
        gate.fail(8, username, from);
        assert_eq!(gate.attempt(username, from), Err(4), "{username:?}");
    }
}

#[test]
fn an_address_that_tries_many_names_is_slowed_down() {
    let mut gate = Gate::new();
    let admitted = (0..100)
        .filter(|count| gate.attempt(&format!("user{count}"), ELSEWHERE).is_ok())
        .count();
    assert_eq!(admitted, 21);
    assert_eq!(gate.attempt("another", ELSEWHERE), Err(1));
    assert!(gate.attempt("another", HOME).is_ok());
    gate.fail(20, "another", ELSEWHERE);
    assert_eq!(gate.attempt("yet another", ELSEWHERE), Err(900));
}

#[test]
fn the_wait_of_the_address_is_told_before_that_of_the_account() {
    for (of_address, of_account, expected) in [(25, 6, [16, 0]), (21, 10, [1, 15])] {
        let mut gate = Gate::new();
        gate.fail(of_account, "anna", HOME);
        for count in 0..of_address {
            gate.fail(1, &format!("user{count}"), ELSEWHERE);
        }
        for wait in expected.into_iter().filter(|wait| *wait > 0) {
            assert_eq!(gate.attempt("anna", ELSEWHERE), Err(wait));
            gate.pass(wait);
        }
        gate.attempt("anna", ELSEWHERE).unwrap();
    }
}

#[test]
fn what_the_account_refuses_costs_the_address_nothing() {
    let mut gate = Gate::new();
    for count in 0..25 {
        gate.fail(1, &format!("user{count}"), ELSEWHERE);
    }
    gate.pass(16);
    gate.fail(10, "anna", HOME);
    for _ in 0..100 {
        assert_eq!(gate.attempt("anna", ELSEWHERE), Err(16));
    }
    let elsewhere = Subject::address(address(ELSEWHERE));
    assert_eq!(gate.failures(&elsewhere), Some(25));
    gate.attempt("somebody", ELSEWHERE).unwrap();
    assert_eq!(gate.attempt("somebody", ELSEWHERE), Err(32));
}

#[test]
fn nobody_is_locked_out_for_good() {
    let mut gate = Gate::new();
    gate.fail(1_000, "anna", ELSEWHERE);
    gate.pass(60);
    assert!(gate.attempt("anna", HOME).is_ok());
    gate.pass(15 * 60);
    assert!(gate.attempt("anna", ELSEWHERE).is_ok());
}

#[test]
fn at_home_an_attack_from_elsewhere_is_not_felt() {
    let mut gate = Gate::new();
    gate.log_in("anna", HOME);
    gate.fail(100, "anna", ELSEWHERE);
    assert!(gate.attempt("anna", ELSEWHERE).is_err());
    let admitted = gate.attempt("anna", HOME).unwrap();
    assert_eq!(admitted.answered_as_refused(gate.now), None);
}

/// Somebody at home guessed at the password until no early try is looked at any more.
fn attacked_from_home() -> Gate {
    let mut gate = Gate::new();
    gate.log_in("anna", HOME);
    for count in 1..=MAX_FAILURES_FOR_EARLY_TRIES + 1 {
        let admitted = gate.attempt("Anna", HOME).unwrap();
        let answered = admitted.answered_as_refused(gate.now);
        assert_eq!(answered.is_some(), count > 6, "failure {count}");
    }
    gate
}

#[test]
fn under_attack_from_home_the_right_password_works_for_a_while() {
    let mut gate = attacked_from_home();
    assert_eq!(gate.attempt("anna", HOME), Err(60), "refused unseen");
    gate.pass(60);
    let in_time = gate.attempt("anna", HOME).unwrap();
    assert_eq!(in_time.answered_as_refused(gate.now), None);
    assert_eq!(gate.attempt("anna", HOME), Err(60));

    let mut with_owner = attacked_from_home();
    with_owner.pass(60);
    with_owner.log_in("anna", HOME);
    let pair = Subject::pair("anna", address(HOME));
    assert_eq!(with_owner.failures(&pair), Some(0));
}

#[test]
fn what_comes_too_early_and_is_wrong_is_answered_like_a_refusal() {
    let mut gate = Gate::new();
    gate.log_in("anna", HOME);
    gate.fail(9, "anna", HOME);
    let early = gate.attempt("anna", HOME).unwrap();
    let waits = early.answered_as_refused(gate.now);
    assert_eq!(waits, Some(16), "the wait that the tenth failure costs");
}

#[test]
fn success_clears_the_account_and_not_the_address() {
    let mut gate = Gate::new();
    let (account, elsewhere) = (
        Subject::account("anna"),
        Subject::address(address(ELSEWHERE)),
    );
    for count in 0..15 {
        gate.fail(1, &format!("user{count}"), ELSEWHERE);
    }
    gate.fail(4, "anna", ELSEWHERE);
    gate.log_in("anna", ELSEWHERE);
    assert_eq!(gate.failures(&account), None);
    assert_eq!(gate.failures(&elsewhere), Some(19));
    // From now on it is the pair that is judged, so the address cannot be cleared that way either.
    gate.fail(5, "anna", ELSEWHERE);
    gate.log_in("anna", ELSEWHERE);
    assert_eq!(gate.failures(&elsewhere), Some(19));
    assert_eq!(
        gate.failures(&Subject::pair("anna", address(ELSEWHERE))),
        Some(0)
    );
}

#[test]
fn a_right_password_takes_its_own_wait_back_and_no_other() {
    let mut gate = Gate::new();
    for count in 0..22 {
        gate.fail(1, &format!("user{count}"), ELSEWHERE);
    }
    gate.pass(2);
    gate.log_in("anna", ELSEWHERE);
    assert!(gate.attempt("somebody", ELSEWHERE).is_ok());

    gate.pass(4);
    let slow = gate.attempt("berta", ELSEWHERE).unwrap();
    gate.pass(8);
    gate.attempt("somebody", ELSEWHERE).unwrap();
    block_on(slow.succeeded(&mut gate.throttle)).unwrap();
    assert_eq!(gate.attempt("another", ELSEWHERE), Err(16));
}

#[test]
fn a_reset_clears_the_account() {
    let mut gate = Gate::new();
    gate.fail(10, "anna", ELSEWHERE);
    assert!(gate.attempt("anna", HOME).is_err());
    block_on(gate.throttle.clear(&Subject::account("Anna"))).unwrap();
    assert!(gate.attempt("anna", HOME).is_ok());
}

#[test]
fn whoever_has_no_address_is_judged_by_the_account() {
    let mut throttle = InMemoryThrottle::default();
    let mut attempt = || block_on(admit(&mut throttle, "anna", None, start())).unwrap();
    for _ in 0..6 {
        assert!(matches!(attempt(), Admission::Admitted(_)));
    }
    let refused = Admission::Refused {
        retry_after_seconds: 1,
    };
    assert_eq!(attempt(), refused);
}

#[test]
fn what_is_forgotten_is_purged_and_homes_are_not() {
    let mut gate = Gate::new();
    gate.log_in("anna", HOME);
    gate.fail(8, "anna", HOME);
    gate.fail(8, "anna", ELSEWHERE);
    let subjects = [
        Subject::account("anna"),
        Subject::address(address(ELSEWHERE)),
        Subject::pair("anna", address(HOME)),
    ];
    for (later, expected) in [
        (FORGOTTEN_AFTER - TimeDelta::seconds(1), [true, true, true]),
        (FORGOTTEN_AFTER, [false, false, true]),
    ] {
        block_on(gate.throttle.purge(gate.now + later)).unwrap();
        let are_there = subjects
            .each_ref()
            .map(|subject| gate.failures(subject).is_some());
        assert_eq!(are_there, expected);
    }
}

#[test]
fn what_cost_no_time_blocks_nobody_who_looked_at_the_clock_just_before() {
    for kind in SubjectKind::ALL {
        let (mut failures, now) = (Failures::default(), start());
        failures.count(kind, now);
        let counted = failures.count(kind, now - TimeDelta::milliseconds(1));
        assert!(matches!(counted, Counted::InTime { .. }), "{counted:?}");
        assert_eq!(failures.count, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delays_grow_and_are_bounded(failures: u32) {
        for kind in SubjectKind::ALL {
            let delay = kind.delay_seconds_after(failures);
            prop_assert!(delay <= kind.delay_seconds_after(failures.saturating_add(1)));
            let bound = if kind == SubjectKind::Address { 900 } else { 60 };
            prop_assert!(delay <= bound);
            let listed = kind.delays_in_seconds();
            let last = listed.len() - 1;
            prop_assert_eq!(delay, listed[usize::try_from(failures).unwrap().min(last)]);
        }
    }

    #[test]
    fn counting_keeps_its_promises(
        waits in prop::collection::vec(0_i64..100_000_000, 1..200),
        kind in prop::sample::select(SubjectKind::ALL.to_vec()),
    ) {
        let mut failures = Failures::default();
        let mut now = start();
        let longest = TimeDelta::seconds(kind.delay_seconds_after(u32::MAX).into());
        for wait in waits {
            now += TimeDelta::milliseconds(wait / 1_000);
            let before = failures;
            let counted = failures.count(kind, now);
            let was_blocked = before.at(now).blocked_until.is_some_and(|until| now < until);
            match counted {
                Counted::Refused { blocked_until } => {
                    prop_assert!(was_blocked);
                    prop_assert_eq!(failures, before);
                    prop_assert!(now < blocked_until && blocked_until <= now + longest);
                }
                Counted::InTime { blocked_until } | Counted::Early { blocked_until } => {
                    let is_early = matches!(counted, Counted::Early { .. });
                    prop_assert_eq!(is_early, was_blocked);
                    prop_assert_eq!(failures.count, before.at(now).count + 1);
                    prop_assert!(now <= blocked_until && blocked_until <= now + longest);
                    if is_early {
                        prop_assert_eq!(kind, SubjectKind::Pair);
                        prop_assert!(before.count <= MAX_FAILURES_FOR_EARLY_TRIES);
                    }
                }
            }
            prop_assert_eq!(failures.at(now + FORGOTTEN_AFTER), Failures::default());
        }
    }
}
