use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::rehearsal::Withheld;
use super::{
    ANSWERS_KEPT, AnsweredRequest, IdempotencyKey, NotReady, Repositories, Store, StoreError,
    UnitOfWork,
};
use crate::audit::AuditEntry;
use crate::shared::Instant;

/// A store over another, for one request that names itself. Its unit of work claims the name first
/// and, when it is to be committed, waits for the answer to be kept with it: whoever made this
/// store commits.
pub(crate) struct Once {
    store: Arc<dyn Store>,
    key: IdempotencyKey,
    since: Instant,
    progress: Arc<Mutex<Progress>>,
}

/// How far a request has come.
pub(crate) enum Progress {
    /// Nothing is to be committed.
    NothingDecided,
    /// This is to be committed, with its entry.
    Decided(Box<dyn UnitOfWork>, AuditEntry),
    /// The name was claimed before, and this was answered.
    AnsweredBefore(AnsweredRequest),
}

impl Once {
    pub(crate) fn over(store: Arc<dyn Store>, key: IdempotencyKey, now: Instant) -> Self {
        Self {
            store,
            key,
            since: now - ANSWERS_KEPT,
            progress: Arc::new(Mutex::new(Progress::NothingDecided)),
        }
    }

    /// How far the request has come. To be asked once, when its service is done.
    pub(crate) fn progress(&self) -> Progress {
        std::mem::replace(&mut *held(&self.progress), Progress::NothingDecided)
    }
}

/// Progress is replaced whole, so a panic elsewhere leaves none half written.
fn held(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for Once {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        self.store.connect().await
    }

    /// Fails when the request was answered before: there is nothing more to do.
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        if matches!(*held(&self.progress), Progress::Decided(..)) {
            let why = "what is done once is done in one unit of work";
            return Err(StoreError::Unexpected(why.into()));
        }
        let mut work = self.store.begin().await?;
        if let Some(answered) = work.idempotency().claim(&self.key, self.since).await? {
            *held(&self.progress) = Progress::AnsweredBefore(answered);
            let why = "the request was answered before";
            return Err(StoreError::Unexpected(why.into()));
        }
        let progress = Arc::clone(&self.progress);
        Ok(Box::new(Withheld::new(work, move |work, entry| {
            *held(&progress) = Progress::Decided(work, entry.clone());
            Ok(())
        })))
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.store.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.store.wait_before_retry(attempt).await;
    }
}
