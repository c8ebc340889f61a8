use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use super::{AuditAction, AuditEntry, Entity, Subject};
use crate::access::Origin;
use crate::shared::{Instant, Ports};
use crate::store::{Store, StoreError};

/// How many entries wait at most. At 200 reads a second that is a minute without a database.
const CAPACITY: usize = 12_000;

/// How many entries are written at once.
const BATCH: usize = 500;

/// How long an entry waits at most. What comes later than a day after its time looks to whoever
/// verifies the log as if somebody had slipped it in.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(12);

/// Entries of the audit log that wait to be written: of reads, of refusals, of failed log-ins.
///
/// Whoever notes one never waits. When the store is away for so long that no more entries fit, or
/// refuses a batch, the entries are lost; how many is counted and becomes an entry itself.
#[derive(Debug, Default)]
pub struct AccessLog {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<AuditEntry>,
    /// How many are being written.
    under_way: usize,
    lost: u64,
}

/// What became of entries that waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenDown {
    /// How many were written.
    pub written: usize,
    /// How many had been lost since that was last told. The log says so, too.
    pub lost: u64,
}

impl AccessLog {
    /// Takes an entry to be written soon.
    pub fn note(&self, entry: AuditEntry) {
        let mut waiting = self.waiting();
        if waiting.entries.len() < CAPACITY {
            waiting.entries.push_back(entry);
        } else {
            waiting.lost += 1;
        }
    }

    /// How many entries are not written yet.
    #[must_use]
    pub fn len(&self) -> usize {
        let waiting = self.waiting();
        waiting.entries.len() + waiting.under_way
    }

    /// Whether all entries are written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were lost and could not be told of yet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.waiting().lost
    }

    /// Writes everything that waits. Only one caller may do so at a time. Dropped half way, it
    /// lets what it had not written wait on.
    ///
    /// # Errors
    /// When the store does not take them. While it is away they go on waiting; a batch that it
    /// refuses is lost.
    pub async fn write_down(&self, ports: &Ports) -> Result<WrittenDown, StoreError> {
        let mut done = WrittenDown::default();
        loop {
            let mut batch = self.take_batch(ports.clock.now());
            let Some(appended) = batch.append(ports).await? else {
                return Ok(done);
            };
            done.written += appended.written;
            done.lost += appended.lost;
        }
    }

    fn take_batch(&self, now: Instant) -> Batch<'_> {
        let mut waiting = self.waiting();
        let is_too_old = |entry: &AuditEntry| now - entry.at > LONGEST_WAIT;
        while waiting.entries.front().is_some_and(is_too_old) {
            waiting.entries.pop_front();
            waiting.lost += 1;
        }
        let count = waiting.entries.len().min(BATCH);
        waiting.under_way += count;
        Batch {
            log: self,
            entries: waiting.entries.drain(..count).collect(),
            taken: count,
            lost: std::mem::take(&mut waiting.lost),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock half way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries on their way to the store. Dropped, those that did not arrive wait again.
struct Batch<'log> {
    log: &'log AccessLog,
    entries: Vec<AuditEntry>,
    taken: usize,
    lost: u64,
}

impl Batch<'_> {
    /// Writes it; nothing when there is nothing to write.
    async fn append(&mut self, ports: &Ports) -> Result<Option<WrittenDown>, StoreError> {
        let loss = (self.lost > 0).then(|| {
            let subject = Subject::list(Entity::AuditLog);
            let count = i64::try_from(self.lost).unwrap_or(i64::MAX);
            let loss = ports.audit_anonymous(&Origin::default(), AuditAction::Lose, subject);
            loss.with("entries", count)
        });
        let (last, others) = match (&loss, self.entries.split_last()) {
            (Some(loss), _) => (loss, self.entries.as_slice()),
            (None, Some((last, others))) => (last, others),
            (None, None) => return Ok(None),
        };
        if let Err(error) = append(&*ports.store, others, last).await {
            if !matches!(error, StoreError::Unavailable(_) | StoreError::Conflict) {
                let refused = self.entries.drain(..).len();
                self.lost += u64::try_from(refused).unwrap_or(u64::MAX);
            }
            return Err(error);
        }
        Ok(Some(WrittenDown {
            written: std::mem::take(&mut self.entries).len(),
            lost: std::mem::take(&mut self.lost),
        }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.log.waiting();
        waiting.under_way -= self.taken;
        waiting.lost += self.lost;
        for entry in self.entries.drain(..).rev() {
            if waiting.entries.len() < CAPACITY {
                waiting.entries.push_front(entry);
            } else {
                waiting.lost += 1;
            }
        }
    }
}

async fn append(
    store: &dyn Store,
    others: &[AuditEntry],
    last: &AuditEntry,
) -> Result<(), StoreError> {
    let mut work = store.begin().await?;
    if !others.is_empty() {
        work.audit().append(others).await?;
    }
    work.commit(last).await
}
