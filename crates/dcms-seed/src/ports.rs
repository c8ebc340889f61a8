//! Ports that give the same answers on every run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::Context as _;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use async_trait::async_trait;
use chrono::DateTime;
use dcms_domain::identity::{HashError, PasswordHash, PasswordHasher, Secret, Verdict};
use dcms_domain::shared::{Clock, IdSource, Instant};
use uuid::{Builder, Uuid};

/// A clock that stands where the story is.
pub(crate) struct SeedClock(AtomicI64);

impl SeedClock {
    pub(crate) fn at(now: Instant) -> Self {
        Self(AtomicI64::new(now.timestamp_micros()))
    }

    pub(crate) fn set(&self, now: Instant) {
        self.0.store(now.timestamp_micros(), Ordering::Relaxed);
    }
}

impl Clock for SeedClock {
    fn now(&self) -> Instant {
        DateTime::from_timestamp_micros(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// Ids of version 7 whose time is the story's and whose random part counts.
pub(crate) struct SeedIds {
    clock: Arc<SeedClock>,
    given: AtomicU64,
}

impl SeedIds {
    pub(crate) fn new(clock: Arc<SeedClock>) -> Self {
        Self {
            clock,
            given: AtomicU64::new(0),
        }
    }
}

impl IdSource for SeedIds {
    fn next_id(&self) -> Uuid {
        let count = self.given.fetch_add(1, Ordering::Relaxed);
        let mut counter = [0; 10];
        counter[2..].copy_from_slice(&count.to_be_bytes());
        let millis = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        Builder::from_unix_timestamp_millis(millis, &counter).into_uuid()
    }
}

/// Argon2id whose salt follows from how many it hashed, so that dumps of two runs are equal. Hashes
/// nothing but the published password of the seed.
pub(crate) struct SeedHasher {
    argon2: Argon2<'static>,
    hashed: AtomicU64,
}

impl SeedHasher {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let params = argon2::Params::new(19_456, 2, 1, None).context("OWASP's parameters")?;
        Ok(Self {
            argon2: params.into(),
            hashed: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl PasswordHasher for SeedHasher {
    async fn hash(&self, password: &Secret) -> Result<PasswordHash, HashError> {
        let salt = format!("seed-{:011}", self.hashed.fetch_add(1, Ordering::Relaxed));
        self.argon2
            .hash_password_with_salt(password.expose().as_bytes(), salt.as_bytes())
            .map(|hash| PasswordHash::new(hash.to_string()))
            .map_err(|error| HashError::Failed(Box::new(error)))
    }

    async fn verify(
        &self,
        _password: &Secret,
        _hash: Option<PasswordHash>,
    ) -> Result<Verdict, HashError> {
        Err(HashError::Failed(
            "nobody logs in while the clinic is made up".into(),
        ))
    }
}
