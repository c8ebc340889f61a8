//! How fast passwords may be guessed.
//!
//! A try to log in is judged by the failures of its [subjects](Subject). From an address that the
//! account used before, that is their pair alone: whatever others do elsewhere, the owner's own
//! place works. From anywhere else it is the account and the address. Delays grow and are bounded,
//! so that nobody is locked out for good.
//!
//! The counting is done before the password is looked at and taken back when it was right: a
//! hundred tries at once are not a hundred looks at the password. [`admit`] is the beginning of a
//! try and [`Admitted::succeeded`] its good end; a bad end needs nothing.

use std::net::{IpAddr, Ipv6Addr};

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::shared::{Instant, folded_text};
use crate::store::StoreError;

/// How long after the last failure all of a subject's are forgotten.
pub const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

/// The most failures of a pair with which a try that comes too early is looked at.
pub const MAX_FAILURES_FOR_EARLY_TRIES: u32 = 50;

/// What failures are counted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// The name that was typed, whether there is such a user or not.
    Account,
    /// The client's address.
    Address,
    /// A name at an address where it logged in before.
    Pair,
}

impl SubjectKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Account, Self::Address, Self::Pair];

    /// The kind's name for stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Address => "address",
            Self::Pair => "pair",
        }
    }

    /// The failures that cost no time. An address has more, since a whole clinic can be behind it.
    const fn free_failures(self) -> u32 {
        match self {
            Self::Account | Self::Pair => 5,
            Self::Address => 20,
        }
    }

    /// What the delay grows to, in seconds. An account's is short: it is its owner who waits.
    const fn longest_delay_seconds(self) -> u32 {
        match self {
            Self::Account | Self::Pair => 60,
            Self::Address => 15 * 60,
        }
    }

    /// How many seconds have to pass after that many failures before the next try: nothing for the
    /// free ones, then one second, doubled with each further failure, up to a bound.
    #[must_use]
    pub fn delay_seconds_after(self, failures: u32) -> u32 {
        let Some(doublings) = failures.checked_sub(self.free_failures() + 1) else {
            return 0;
        };
        2_u32
            .saturating_pow(doublings)
            .min(self.longest_delay_seconds())
    }

    /// The seconds after 0, 1, 2, … failures; the last entry is for all further ones, too. For a
    /// store that does not want to know the rule.
    #[must_use]
    pub fn delays_in_seconds(self) -> Vec<u32> {
        let growing = (0..)
            .map(|failures| self.delay_seconds_after(failures))
            .take_while(|delay| *delay < self.longest_delay_seconds());
        growing.chain([self.longest_delay_seconds()]).collect()
    }
}

/// Something failures are counted of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    kind: SubjectKind,
    key: String,
}

impl Subject {
    /// The account of that name, in whatever spelling.
    #[must_use]
    pub fn account(username: &str) -> Self {
        Self {
            kind: SubjectKind::Account,
            key: folded_text(username.trim()),
        }
    }

    /// The client's address. One customer has a whole /64 of IPv6, so that is one subject.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            version_4 @ IpAddr::V4(_) => version_4,
        };
        Self {
            kind: SubjectKind::Address,
            key: network.to_string(),
        }
    }

    /// The account of that name at that address.
    #[must_use]
    pub fn pair(username: &str, address: IpAddr) -> Self {
        // No address has a space, so no two pairs have the same key.
        let (account, address) = (Self::account(username), Self::address(address));
        Self {
            kind: SubjectKind::Pair,
            key: format!("{} {}", address.key, account.key),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> SubjectKind {
        self.kind
    }

    /// Which one it is. Has in it what somebody typed, of any length and with any character: a
    /// store keeps its SHA-256, never the key itself, since people type passwords where names
    /// belong.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What a store keeps of a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many, the tries that are being looked at included.
    pub count: u32,
    /// When the last was counted; nothing when there was none since the last success.
    pub last_failed_at: Option<Instant>,
    /// From when on the next try may be made.
    pub blocked_until: Option<Instant>,
}

/// What became of counting a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It came in time and is counted.
    InTime {
        /// From when on the next may be made.
        blocked_until: Instant,
    },
    /// It came too early, is looked at all the same, and is counted.
    Early {
        /// From when on one may be made that is not early.
        blocked_until: Instant,
    },
    /// It came too early and is not counted.
    Refused {
        /// From when on one may be made.
        blocked_until: Instant,
    },
}

impl Counted {
    const fn blocked_until(self) -> Instant {
        match self {
            Self::InTime { blocked_until }
            | Self::Early { blocked_until }
            | Self::Refused { blocked_until } => blocked_until,
        }
    }
}

impl Failures {
    /// These failures as they are at that time: none when the last is long ago.
    #[must_use]
    pub fn at(self, now: Instant) -> Self {
        match self.last_failed_at {
            Some(last) if now < last + FORGOTTEN_AFTER => self,
            _ => Self::default(),
        }
    }

    /// Counts a try as failed, unless it comes too early to be looked at. This is the whole rule;
    /// a store does it in one statement.
    pub fn count(&mut self, kind: SubjectKind, now: Instant) -> Counted {
        let before = self.at(now);
        let block = before.blocked_until.filter(|until| now < *until);
        // What cost no time blocks nobody, not even who looked at the clock just before.
        let block = block.filter(|until| before.last_failed_at < Some(*until));
        let is_looked_at_early =
            kind == SubjectKind::Pair && before.count <= MAX_FAILURES_FOR_EARLY_TRIES;
        if let Some(blocked_until) = block.filter(|_| !is_looked_at_early) {
            return Counted::Refused { blocked_until };
        }
        let count = before.count.saturating_add(1);
        let delay = TimeDelta::seconds(kind.delay_seconds_after(count).into());
        // An early try must not shorten the wait for the next.
        let blocked_until = (now + delay).max(block.unwrap_or(now));
        *self = Self {
            count,
            last_failed_at: Some(now),
            blocked_until: Some(blocked_until),
        };
        match block {
            Some(_) => Counted::Early { blocked_until },
            None => Counted::InTime { blocked_until },
        }
    }

    /// Undoes the counting of a try whose password was right. The wait goes with it, unless
    /// another try was counted since.
    pub fn take_back(&mut self, blocked_until: Instant) {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.last_failed_at = None;
        }
        if self.blocked_until == Some(blocked_until) {
            self.blocked_until = None;
        }
    }
}

/// Keeps the failures, one row a subject: `(kind, key_sha256)` unique, `failures`,
/// `last_failed_at`, `blocked_until`.
///
/// Each method is atomic by itself: two at the same time on the same subject take turns. The delays
/// come from [`SubjectKind::delays_in_seconds`], so that the rule stands in one place.
///
/// Outside of a unit of work each stands at once.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ThrottleRepository: Send {
    /// Does what [`Failures::count`] does. An account or an address that has no row gets one;
    /// nothing for a pair that has none.
    async fn count(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<Option<Counted>, StoreError>;

    /// Does what [`Failures::take_back`] does; nothing when there is no row any more.
    async fn take_back(
        &mut self,
        subject: &Subject,
        blocked_until: Instant,
    ) -> Result<(), StoreError>;

    /// Forgets an account's failures.
    async fn clear(&mut self, account: &Subject) -> Result<(), StoreError>;

    /// Makes a row without failures for a pair, new or not: from now on the address is one that
    /// the account used.
    async fn remember(&mut self, pair: &Subject) -> Result<(), StoreError>;

    /// Drops accounts and addresses whose failures are forgotten by now; pairs stay, since their
    /// rows say where an account is at home.
    async fn purge(&mut self, now: Instant) -> Result<(), StoreError>;
}

/// Whether the password of a try is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Admitted(Admitted),
    /// It is not, and the try is not counted.
    Refused {
        /// After how many whole seconds it would be; at least 1.
        retry_after_seconds: u32,
    },
}

/// A try whose password is looked at. Counts as failed, until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    account: Subject,
    pair: Option<Subject>,
    /// What was counted, and the wait that came of it.
    counted: Vec<(Subject, Instant)>,
    early_until: Option<Instant>,
}

impl Admitted {
    /// After how many whole seconds to try again, when a wrong password has to be answered like a
    /// refusal: whoever came too early must not learn that it was looked at.
    #[must_use]
    pub fn answered_as_refused(&self, now: Instant) -> Option<u32> {
        self.early_until
            .map(|until| retry_after_seconds(until, now))
    }

    /// Takes the try back, because its password could not be looked at.
    ///
    /// # Errors
    /// What a store can fail with.
    pub async fn not_looked_at(
        &self,
        throttle: &mut dyn ThrottleRepository,
    ) -> Result<(), StoreError> {
        for (subject, blocked_until) in &self.counted {
            throttle.take_back(subject, *blocked_until).await?;
        }
        Ok(())
    }

    /// Notes that the password was right: clears what was counted of the account and the pair, and
    /// takes the try back from the address, whose other failures stay; else whoever has an account
    /// of their own could guess at others for ever. Belongs into the unit of work that makes the
    /// session.
    ///
    /// # Errors
    /// What a store can fail with.
    pub async fn succeeded(&self, throttle: &mut dyn ThrottleRepository) -> Result<(), StoreError> {
        throttle.clear(&self.account).await?;
        for (subject, blocked_until) in &self.counted {
            if subject.kind() == SubjectKind::Address {
                throttle.take_back(subject, *blocked_until).await?;
            }
        }
        if let Some(pair) = &self.pair {
            throttle.remember(pair).await?;
        }
        Ok(())
    }
}

/// Counts a try to log in as failed and tells whether its password may be looked at. To be done
/// outside of a unit of work, so that it stands before the password is looked at. Whoever has no
/// address is judged by the account alone.
///
/// # Errors
/// What a store can fail with.
pub async fn admit(
    throttle: &mut dyn ThrottleRepository,
    username: &str,
    address: Option<IpAddr>,
    now: Instant,
) -> Result<Admission, StoreError> {
    let mut admitted = Admitted {
        account: Subject::account(username),
        pair: address.map(|address| Subject::pair(username, address)),
        counted: Vec::new(),
        early_until: None,
    };
    if let Some(pair) = admitted.pair.clone()
        && let Some(counted) = throttle.count(&pair, now).await?
    {
        match counted {
            Counted::Refused { blocked_until } => return Ok(refused(blocked_until, now)),
            Counted::Early { blocked_until } => admitted.early_until = Some(blocked_until),
            Counted::InTime { .. } => {}
        }
        admitted.counted.push((pair, counted.blocked_until()));
        return Ok(Admission::Admitted(admitted));
    }
    let address = address.map(Subject::address);
    let account = Some(admitted.account.clone());
    for subject in [address, account].into_iter().flatten() {
        match throttle.count(&subject, now).await? {
            Some(Counted::Refused { blocked_until }) => {
                // A try that is not looked at is not counted, by the other neither.
                admitted.not_looked_at(throttle).await?;
                return Ok(refused(blocked_until, now));
            }
            Some(counted) => admitted.counted.push((subject, counted.blocked_until())),
            None => {}
        }
    }
    Ok(Admission::Admitted(admitted))
}

fn refused(until: Instant, now: Instant) -> Admission {
    Admission::Refused {
        retry_after_seconds: retry_after_seconds(until, now),
    }
}

/// The whole seconds until then, at least 1.
fn retry_after_seconds(until: Instant, now: Instant) -> u32 {
    let left = (until - now).max(TimeDelta::seconds(1));
    let seconds = left.num_seconds() + i64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
