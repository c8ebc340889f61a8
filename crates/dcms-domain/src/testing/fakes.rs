use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DurationRound, TimeDelta, TimeZone, Utc};
use uuid::{Builder, Uuid};

use crate::identity::{
    CommonPasswords, HashError, IdentitySettings, PasswordHash, PasswordHasher, PasswordPolicy,
    Secret, TokenHash, TokenSource, Verdict,
};
use crate::shared::{Clock, IdSource, Instant, folded_text};

/// A clock that stands still until it is moved. Starts on Monday, 2 March 2026, at 9:00 UTC.
pub struct FrozenClock(Mutex<Instant>);

impl Default for FrozenClock {
    fn default() -> Self {
        Self::at(2026, 3, 2, 9)
    }
}

impl FrozenClock {
    /// A clock that stands at that hour, UTC.
    ///
    /// # Panics
    /// When there is no such hour.
    #[must_use]
    pub fn at(year: i32, month: u32, day: u32, hour: u32) -> Self {
        let instant = Utc.with_ymd_and_hms(year, month, day, hour, 0, 0);
        Self(Mutex::new(instant.single().expect("the hour exists")))
    }

    /// Moves the clock to that instant, cut to the microsecond.
    ///
    /// # Panics
    /// When another thread panicked while it moved the clock.
    pub fn set(&self, now: Instant) {
        *self.0.lock().expect("no test panicked holding the clock") = now;
    }

    /// Moves the clock on.
    pub fn advance(&self, by: TimeDelta) {
        self.set(self.now() + by);
    }
}

impl Clock for FrozenClock {
    fn now(&self) -> Instant {
        let now = *self.0.lock().expect("no test panicked holding the clock");
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }
}

/// Ids that count: the same in each run, of the form of UUID version 7, each behind the last.
#[derive(Default)]
pub struct CountingIds(AtomicU64);

impl IdSource for CountingIds {
    fn next_id(&self) -> Uuid {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&count.to_be_bytes());
        // 2026-01-01; the count decides the order.
        Builder::from_unix_timestamp_millis(1_767_225_600_000 + count, &random).into_uuid()
    }
}

/// Keeps passwords as they are, behind the prefix that stores expect. `$argon2id$weak$` in the
/// place of its own prefix is a weak hash.
#[derive(Default)]
pub struct FakeHasher;

#[async_trait]
impl PasswordHasher for FakeHasher {
    async fn hash(&self, password: &Secret) -> Result<PasswordHash, HashError> {
        Ok(PasswordHash::new(format!(
            "$argon2id$plain${}",
            password.expose()
        )))
    }

    async fn verify(
        &self,
        password: &Secret,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, HashError> {
        let weak = PasswordHash::new(format!("$argon2id$weak${}", password.expose()));
        Ok(if hash == Some(self.hash(password).await?) {
            Verdict::Right
        } else if hash == Some(weak) {
            Verdict::RightButWeak
        } else {
            Verdict::Wrong
        })
    }
}

/// Knows one common password: `password1234`.
#[derive(Default)]
pub struct FakeCommonPasswords;

impl CommonPasswords for FakeCommonPasswords {
    fn contains(&self, password: &Secret) -> bool {
        folded_text(password.expose()) == "password1234"
    }
}

/// Tokens that count.
#[derive(Default)]
pub struct FakeTokens(AtomicU64);

impl TokenSource for FakeTokens {
    fn new_token(&self) -> Secret {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Secret::new(format!("token-{count}"))
    }

    fn hash(&self, token: &Secret) -> TokenHash {
        let mut bytes = [0; 32];
        for (salt, part) in bytes.chunks_exact_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            (salt, token.expose()).hash(&mut hasher);
            part.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        TokenHash(bytes)
    }
}

/// What tests that are about something else configure: passwords as [`FakeCommonPasswords`] knows
/// them, none of them published, and sessions of the usual length.
#[must_use]
pub fn identity_settings() -> IdentitySettings {
    IdentitySettings::new(PasswordPolicy::new(Arc::new(FakeCommonPasswords), &[]))
}
