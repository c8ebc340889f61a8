use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{AuditAction, AuditEntry, Entity, Subject};
use crate::access::Origin;
use crate::shared::Ports;
use crate::store::{Store, StoreError};

/// How many entries wait at most. At 200 reads a second that is a minute without a database.
const CAPACITY: usize = 12_000;

/// How many entries are written at once.
const BATCH: usize = 500;

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

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().entries.len()
    }

    /// Whether no entry waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were lost and could not be told of yet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.waiting().lost
    }

    /// Writes everything that waits. Only one caller may do so at a time.
    ///
    /// # Errors
    /// When the store does not take them. While it is away they go on waiting; a batch that it
    /// refuses is lost.
    pub async fn write_down(&self, ports: &Ports) -> Result<WrittenDown, StoreError> {
        let mut done = WrittenDown::default();
        loop {
            let (mut batch, lost) = self.take_batch();
            if lost > 0 {
                let subject = Subject::list(Entity::AuditLog);
                let count = i64::try_from(lost).unwrap_or(i64::MAX);
                let entry = ports.audit_anonymous(&Origin::default(), AuditAction::Lose, subject);
                batch.push(entry.with("entries", count));
            }
            let noted = batch.len() - usize::from(lost > 0);
            if batch.is_empty() {
                return Ok(done);
            }
            if let Err(error) = append(&*ports.store, &batch).await {
                batch.truncate(noted);
                self.take_back(batch, lost, &error);
                return Err(error);
            }
            done.written += noted;
            done.lost += lost;
        }
    }

    fn take_batch(&self) -> (Vec<AuditEntry>, u64) {
        let mut waiting = self.waiting();
        let count = waiting.entries.len().min(BATCH);
        let batch = waiting.entries.drain(..count).collect();
        (batch, std::mem::take(&mut waiting.lost))
    }

    fn take_back(&self, batch: Vec<AuditEntry>, lost: u64, error: &StoreError) {
        let mut waiting = self.waiting();
        waiting.lost += lost;
        let may_work_later = matches!(error, StoreError::Unavailable(_) | StoreError::Conflict);
        for entry in batch.into_iter().rev() {
            if may_work_later && waiting.entries.len() < CAPACITY {
                waiting.entries.push_front(entry);
            } else {
                waiting.lost += 1;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock half way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn append(store: &dyn Store, batch: &[AuditEntry]) -> Result<(), StoreError> {
    let Some((last, others)) = batch.split_last() else {
        return Ok(());
    };
    let mut work = store.begin().await?;
    if !others.is_empty() {
        work.audit().append(others).await?;
    }
    work.commit(last).await
}
