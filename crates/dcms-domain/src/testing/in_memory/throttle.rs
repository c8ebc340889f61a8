use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::identity::throttle::{Counted, Failures, Subject, SubjectKind, ThrottleRepository};
use crate::shared::Instant;
use crate::store::StoreError;

/// Keeps the failures of log-ins in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct InMemoryThrottle(Arc<Mutex<BTreeMap<Subject, Failures>>>);

impl InMemoryThrottle {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Subject, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a subject.
    #[must_use]
    pub fn failures(&self, subject: &Subject) -> Option<Failures> {
        self.all().get(subject).copied()
    }
}

#[async_trait]
impl ThrottleRepository for InMemoryThrottle {
    async fn count(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<Option<Counted>, StoreError> {
        let mut all = self.all();
        let row = match subject.kind() {
            SubjectKind::Account | SubjectKind::Address => {
                Some(all.entry(subject.clone()).or_default())
            }
            SubjectKind::Pair => all.get_mut(subject),
        };
        Ok(row.map(|failures| failures.count(subject.kind(), now)))
    }

    async fn take_back(
        &mut self,
        subject: &Subject,
        blocked_until: Instant,
    ) -> Result<(), StoreError> {
        if let Some(failures) = self.all().get_mut(subject) {
            failures.take_back(blocked_until);
        }
        Ok(())
    }

    async fn clear(&mut self, account: &Subject) -> Result<(), StoreError> {
        self.all().remove(account);
        Ok(())
    }

    async fn remember(&mut self, pair: &Subject) -> Result<(), StoreError> {
        self.all().insert(pair.clone(), Failures::default());
        Ok(())
    }

    async fn purge(&mut self, now: Instant) -> Result<(), StoreError> {
        self.all().retain(|subject, failures| {
            subject.kind() == SubjectKind::Pair || failures.at(now) != Failures::default()
        });
        Ok(())
    }
}
