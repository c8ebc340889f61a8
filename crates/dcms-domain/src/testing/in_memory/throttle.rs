use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::identity::throttle::{Counted, Failures, Subject, SubjectKind, ThrottleRepository};
use crate::shared::Instant;
use crate::store::StoreError;

/// Keeps the failures of log-ins in memory.
#[derive(Debug, Clone, Default)]
pub struct InMemoryThrottle(BTreeMap<Subject, Failures>);

impl InMemoryThrottle {
    /// What is kept of a subject.
    #[must_use]
    pub fn failures(&self, subject: &Subject) -> Option<Failures> {
        self.0.get(subject).copied()
    }
}

#[async_trait]
impl ThrottleRepository for InMemoryThrottle {
    async fn count(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<Option<Counted>, StoreError> {
        let row = match subject.kind() {
            SubjectKind::Account | SubjectKind::Address => {
                Some(self.0.entry(subject.clone()).or_default())
            }
            SubjectKind::Pair => self.0.get_mut(subject),
        };
        Ok(row.map(|failures| failures.count(subject.kind(), now)))
    }

    async fn take_back(
        &mut self,
        subject: &Subject,
        blocked_until: Instant,
    ) -> Result<(), StoreError> {
        if let Some(failures) = self.0.get_mut(subject) {
            failures.take_back(blocked_until);
        }
        Ok(())
    }

    async fn clear(&mut self, account: &Subject) -> Result<(), StoreError> {
        self.0.remove(account);
        Ok(())
    }

    async fn remember(&mut self, pair: &Subject) -> Result<(), StoreError> {
        self.0.insert(pair.clone(), Failures::default());
        Ok(())
    }

    async fn purge(&mut self, now: Instant) -> Result<(), StoreError> {
        self.0.retain(|subject, failures| {
            subject.kind() == SubjectKind::Pair || failures.at(now) != Failures::default()
        });
        Ok(())
    }
}
