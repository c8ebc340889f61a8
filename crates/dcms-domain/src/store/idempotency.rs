//! Requests that name themselves, so that one that comes again has no second effect.

use async_trait::async_trait;
use chrono::TimeDelta;

use super::StoreError;
use crate::shared::{Instant, PatientId, UserId};

/// For how long a request that comes again gets the answer of the first time.
pub const ANSWERS_KEPT: TimeDelta = TimeDelta::hours(24);

/// The name that a caller gave a request: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key, when it is of that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_visible = |byte: u8| byte.is_ascii_graphic();
        let is_key = (1..=255).contains(&text.len()) && text.bytes().all(is_visible);
        is_key.then(|| Self(text.to_owned()))
    }

    /// The key as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request that names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Its name.
    pub key: IdempotencyKey,
    /// A digest of all that it asks for: another request has another one.
    pub fingerprint: [u8; 32],
}

/// What was answered, as whoever answers writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status: one of success.
    pub status: u16,
    /// Where what was made can be found.
    pub location: Option<String>,
    /// The version of what the answer shows.
    pub entity_tag: Option<String>,
    /// The bytes of the answer.
    pub body: Vec<u8>,
}

/// A request that had its effect, with the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The request.
    pub request: KeyedRequest,
    /// Who sent it.
    pub user_id: UserId,
    /// The patient whom the answer is about.
    pub patient_id: Option<PatientId>,
    /// When it was answered.
    pub answered_at: Instant,
    /// What was answered.
    pub answer: KeptAnswer,
}

/// Keeps answers. A key belongs to one request, whoever sent it.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait IdempotencyRepository: Send {
    /// What was answered to the request of that name, after `since`. Until the unit of work ends,
    /// everybody else who claims the key waits, and then sees what this one kept.
    async fn claim(
        &mut self,
        key: &IdempotencyKey,
        since: Instant,
    ) -> Result<Option<AnsweredRequest>, StoreError>;

    /// Keeps an answer in the place of any before. The key has to be
    /// [claimed](Self::claim) in the same unit of work.
    async fn keep(&mut self, answered: &AnsweredRequest) -> Result<(), StoreError>;

    /// Forgets the answers about a patient.
    async fn forget_patient(&mut self, patient_id: PatientId) -> Result<(), StoreError>;

    /// Forgets answers given at `until` or before, the oldest first and at most `limit` of them;
    /// answers how many. May be done outside a unit of work.
    async fn forget_until(&mut self, until: Instant, limit: u32) -> Result<u32, StoreError>;
}
