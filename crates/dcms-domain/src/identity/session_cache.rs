//! Who is logged in, kept at hand, so that a request takes no round trip to the store.
//!
//! What a read of the store said of a session is believed for less than a second since the read
//! *began*, so what changes on another instance counts here within that time, whether anybody
//! tells us or not. A tick from outside asks the store about everything in here again
//! before the time is over:
//!
//! ```text
//! every TICK:  let asked = cache.to_confirm(now);
//!              let found = … the live sessions of asked.tokens(), in one statement …;
//!              cache.confirm(asked, found);              // not on an error: trust runs out
//!              let touches = cache.touches_due(now);
//!              … last_seen_at = greatest(last_seen_at, used_at) for each, in one statement …;
//!              cache.touches_written(&touches);          // not on an error: they come again
//! a request:   if let Some(standing) = cache.lookup(&token, now) { … }
//!              else { let read = cache.begin_read(now);
//!                     let session = … the live session of that token …;
//!                     cache.put(read, token, &session); }
//! what stays   if cache.peek(&token, now).is_none() { let read = cache.begin_read(now);
//!   open:        … the same, with cache.put_peeked(read, token, &session); }
//! a change:    after its commit, and before it is answered: forget_user, forget_session, …
//! shutdown:    … write all_touches() …
//! ```
//!
//! Everything that is doubtful makes an entry unknown, never trusted: a clock that goes backwards,
//! a read that was under way while something changed here, a store that does not answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use super::TokenHash;
use crate::shared::{Instant, SessionId, UserId};

/// How long the answer of a read is believed, since the read began: with [`CLOCK_JITTER`], the one
/// second within which a change counts everywhere.
pub const TRUSTED_FOR: TimeDelta = TimeDelta::milliseconds(900);
/// How much earlier than the last time that was told the next may be. Requests tell the time they
/// came at, and overtake each other.
pub const CLOCK_JITTER: TimeDelta = TimeDelta::milliseconds(100);
/// How often to confirm what is cached: three times while it is trusted.
pub const TICK: TimeDelta = TimeDelta::milliseconds(300);
/// How often the last use of a session is written at most; also after how long without use, and
/// without anybody who peeked, a session leaves the cache.
pub const TOUCH_EVERY: TimeDelta = TimeDelta::minutes(1);
/// How many sessions are cached. When there are more, the others are read on each request.
pub const MAX_CACHED_SESSIONS: usize = 10_000;

/// A live session of an active user, as a read of the store found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSession<Standing> {
    /// Its id.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// From when on it counts no more, used or not.
    pub ends_at: Instant,
    /// When it was used last, as far as the store knows.
    pub last_seen_at: Instant,
    /// What it stands for: who acts, in what roles.
    pub standing: Standing,
}

/// A read of the store that began. What is forgotten from here on it may still have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Read {
    generation: u64,
    started_at: Instant,
}

/// A read of the store that asks about everything that is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Confirmation {
    read: Read,
    tokens: Vec<TokenHash>,
}

impl Confirmation {
    /// The tokens to ask about.
    #[must_use]
    pub fn tokens(&self) -> &[TokenHash] {
        &self.tokens
    }
}

/// The sessions that were used lately. Shared by all requests; no method waits for anything but
/// the others of this cache, for microseconds.
pub struct SessionCache<Standing> {
    idle_after: TimeDelta,
    state: Mutex<State<Standing>>,
}

struct State<Standing> {
    /// Counts what was forgotten.
    generation: u64,
    /// The latest time that anybody told.
    latest: Option<Instant>,
    entries: HashMap<TokenHash, Entry<Standing>>,
    /// Apart from the entries: what is forgotten was used all the same.
    uses: HashMap<SessionId, Use>,
}

struct Entry<Standing> {
    session: KnownSession<Standing>,
    confirmed_by: Read,
    peeked_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Use {
    used_at: Instant,
    written_at: Instant,
}

impl<Standing: Clone> SessionCache<Standing> {
    /// An empty cache. A session that was not used for `idle_after` counts no more; less than a
    /// few [`TOUCH_EVERY`] makes no sense, since the store knows the last use no better.
    #[must_use]
    pub fn new(idle_after: TimeDelta) -> Self {
        Self {
            idle_after,
            state: Mutex::new(State {
                generation: 0,
                latest: None,
                entries: HashMap::new(),
                uses: HashMap::new(),
            }),
        }
    }

    /// What the session of that token stands for, and notes that it is used; nothing when that has
    /// to be read from the store.
    #[must_use]
    pub fn lookup(&self, token: &TokenHash, now: Instant) -> Option<Standing> {
        let mut state = self.lock_at(now);
        let state = &mut *state;
        let entry = state.entries.get(token)?;
        let last_use = state.uses.get_mut(&entry.session.session_id)?;
        if !entry.counts(last_use.used_at, self.idle_after, now) {
            return None;
        }
        last_use.used_at = last_use.used_at.max(now);
        Some(entry.session.standing.clone())
    }

    /// What the session of that token stands for, without using it: whoever only stays does not
    /// keep a session from becoming idle. As long as somebody peeks, the session is confirmed like
    /// those that are used. Nothing when what it stands for has to be read from the store.
    #[must_use]
    pub fn peek(&self, token: &TokenHash, now: Instant) -> Option<Standing> {
        let mut state = self.lock_at(now);
        let state = &mut *state;
        let entry = state.entries.get_mut(token)?;
        let seen_at = entry.session.last_seen_at;
        let last_use = state.uses.get(&entry.session.session_id);
        let used_at = last_use.map_or(seen_at, |last_use| last_use.used_at.max(seen_at));
        if !entry.counts(used_at, self.idle_after, now) {
            return None;
        }
        entry.peeked_at = entry.peeked_at.max(Some(now));
        Some(entry.session.standing.clone())
    }

    /// Says that a read of one session begins. To be called before the store is asked.
    pub fn begin_read(&self, now: Instant) -> Read {
        self.lock_at(now).read_from(now)
    }

    /// Keeps what a read said of a session that is in use, unless something was forgotten since
    /// it began, a later read is here already, or the cache is full. That it is used is noted
    /// in each case.
    pub fn put(&self, read: Read, token: TokenHash, session: &KnownSession<Standing>) {
        let mut state = self.lock();
        state.note_use(session, read.started_at);
        state.keep(read, token, session);
    }

    /// Keeps what a read said of a session that somebody peeked at: like [`put`](Self::put), but
    /// notes no use.
    pub fn put_peeked(&self, read: Read, token: TokenHash, session: &KnownSession<Standing>) {
        let mut state = self.lock();
        state.keep(read, token, session);
        if let Some(entry) = state.entries.get_mut(&token) {
            entry.peeked_at = entry.peeked_at.max(Some(read.started_at));
        }
    }

    /// Lets go of sessions that ended or were neither used nor peeked at for [`TOUCH_EVERY`], and
    /// says that a read of all others begins. To be called before the store is asked.
    pub fn to_confirm(&self, now: Instant) -> Confirmation {
        let mut state = self.lock_at(now);
        let State { entries, uses, .. } = &mut *state;
        entries.retain(|_, entry| {
            let last_use = uses.get(&entry.session.session_id);
            let lately = last_use
                .map(|last_use| last_use.used_at)
                .max(entry.peeked_at);
            lately.is_some_and(|lately| now - lately < TOUCH_EVERY) && now < entry.session.ends_at
        });
        Confirmation {
            tokens: entries.keys().copied().collect(),
            read: state.read_from(now),
        }
    }

    /// Keeps what the store found of the sessions that were asked about, and lets go of those that
    /// it did not find. What was forgotten since the read began stays so.
    pub fn confirm(
        &self,
        asked: Confirmation,
        found: impl IntoIterator<Item = (TokenHash, KnownSession<Standing>)>,
    ) {
        let mut found: HashMap<_, _> = found.into_iter().collect();
        let mut state = self.lock();
        for token in asked.tokens {
            let Slot::Occupied(mut there) = state.entries.entry(token) else {
                continue;
            };
            let Some(session) = found.remove(&token) else {
                there.remove();
                continue;
            };
            // An entry that a later read put here after something was forgotten knows better.
            let Entry {
                confirmed_by: before,
                peeked_at,
                ..
            } = *there.get();
            if before.generation <= asked.read.generation
                && before.started_at <= asked.read.started_at
            {
                let seen_at = session.last_seen_at;
                let session_id = session.session_id;
                there.insert(Entry {
                    session,
                    confirmed_by: asked.read,
                    peeked_at,
                });
                state.note_written(session_id, seen_at);
            }
        }
    }

    /// Lets go of a user's sessions: they, their roles or their standing changed.
    pub fn forget_user(&self, user_id: UserId) {
        self.forget(|session| session.user_id == user_id);
    }

    /// Lets go of a session: it ended or has another token.
    pub fn forget_session(&self, session_id: SessionId) {
        self.forget(|session| session.session_id == session_id);
    }

    /// Lets go of everything.
    pub fn forget_all(&self) {
        self.forget(|_| true);
    }

    /// The sessions whose last use is to be written, each with its time: those that were used a
    /// minute or more after what is written, and those that were used since and then not for a
    /// minute. They come again until [`touches_written`](Self::touches_written).
    #[must_use]
    pub fn touches_due(&self, now: Instant) -> Vec<(SessionId, Instant)> {
        let mut state = self.lock_at(now);
        let is_over = |last_use: &Use| now - last_use.used_at >= TOUCH_EVERY;
        state
            .uses
            .retain(|_, last_use| last_use.is_unwritten() || !is_over(last_use));
        state.touches(|last_use| {
            is_over(last_use) || last_use.used_at - last_use.written_at >= TOUCH_EVERY
        })
    }

    /// Every session that was used after what is written: for shutdown.
    #[must_use]
    pub fn all_touches(&self) -> Vec<(SessionId, Instant)> {
        self.lock().touches(|_| true)
    }

    /// Notes what was written.
    pub fn touches_written(&self, touches: &[(SessionId, Instant)]) {
        let mut state = self.lock();
        for (session_id, used_at) in touches {
            state.note_written(*session_id, *used_at);
        }
    }

    fn forget(&self, is_meant: impl Fn(&KnownSession<Standing>) -> bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.entries.retain(|_, entry| !is_meant(&entry.session));
    }

    fn lock(&self) -> MutexGuard<'_, State<Standing>> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // Whoever panicked may have left half of a change: nothing in here counts any more.
            let mut state = PoisonError::into_inner(poisoned);
            state.distrust_all();
            self.state.clear_poison();
            state
        })
    }

    fn lock_at(&self, now: Instant) -> MutexGuard<'_, State<Standing>> {
        let mut state = self.lock();
        if state
            .latest
            .is_some_and(|latest| now < latest - CLOCK_JITTER)
        {
            // How old anything is cannot be told any more: what seems new may be old.
            state.distrust_all();
            state.latest = None;
        }
        state.latest = state.latest.max(Some(now));
        state
    }
}

impl<Standing> Entry<Standing> {
    /// Whether what is known is fresh, and the session, used last at that time, goes on.
    fn counts(&self, used_at: Instant, idle_after: TimeDelta, now: Instant) -> bool {
        let age = now - self.confirmed_by.started_at;
        let is_fresh = -CLOCK_JITTER <= age && age <= TRUSTED_FOR;
        is_fresh && now - used_at < idle_after && now < self.session.ends_at
    }
}

impl<Standing: Clone> State<Standing> {
    fn keep(&mut self, read: Read, token: TokenHash, session: &KnownSession<Standing>) {
        if read.generation != self.generation {
            return;
        }
        let is_full = self.entries.len() >= MAX_CACHED_SESSIONS;
        let entry = |peeked_at| Entry {
            session: session.clone(),
            confirmed_by: read,
            peeked_at,
        };
        match self.entries.entry(token) {
            Slot::Occupied(mut there) if there.get().confirmed_by.started_at < read.started_at => {
                let peeked_at = there.get().peeked_at;
                there.insert(entry(peeked_at));
            }
            Slot::Vacant(free) if !is_full => {
                free.insert(entry(None));
            }
            Slot::Occupied(_) | Slot::Vacant(_) => {}
        }
    }
}

impl<Standing> State<Standing> {
    const fn read_from(&self, started_at: Instant) -> Read {
        Read {
            generation: self.generation,
            started_at,
        }
    }

    fn distrust_all(&mut self) {
        self.generation += 1;
        self.entries.clear();
    }

    fn note_use(&mut self, session: &KnownSession<Standing>, used_at: Instant) {
        let seen_at = session.last_seen_at;
        let last_use = self.uses.entry(session.session_id).or_insert(Use {
            used_at: seen_at,
            written_at: seen_at,
        });
        last_use.used_at = last_use.used_at.max(used_at);
        last_use.written_at = last_use.written_at.max(seen_at);
    }

    fn note_written(&mut self, session_id: SessionId, written_at: Instant) {
        if let Some(last_use) = self.uses.get_mut(&session_id) {
            last_use.written_at = last_use.written_at.max(written_at);
            // On another instance it may have been used later than here.
            last_use.used_at = last_use.used_at.max(written_at);
        }
    }

    fn touches(&self, is_due: impl Fn(&Use) -> bool) -> Vec<(SessionId, Instant)> {
        self.uses
            .iter()
            .filter(|(_, last_use)| last_use.is_unwritten() && is_due(last_use))
            .map(|(session_id, last_use)| (*session_id, last_use.used_at))
            .collect()
    }
}

impl Use {
    fn is_unwritten(&self) -> bool {
        self.written_at < self.used_at
    }
}
