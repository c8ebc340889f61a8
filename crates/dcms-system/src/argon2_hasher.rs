use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use dcms_domain::identity::{HashError, PasswordHash, PasswordHasher, Secret, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// OWASP's parameters for Argon2id: 19 MiB, two passes, one lane.
const OWASP_MEMORY_KIB: u32 = 19_456;
const OWASP_PASSES: u32 = 2;

/// How many may wait for each core; at some 30 ms each the last of them waits half a second.
const WAITING_PER_CORE: usize = 16;

/// Argon2id, off the async threads, at most one at a time on each core.
pub struct Argon2Hasher {
    argon2: Argon2<'static>,
    /// What an unknown user's password is compared with, so that it takes as long.
    nobodys_hash: PasswordHash,
    cores: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Argon2Hasher {
    /// A hasher with OWASP's parameters.
    ///
    /// # Errors
    /// [`HashError::Failed`] when the machine gives no random numbers.
    pub fn new() -> Result<Self, HashError> {
        Self::with_cost(OWASP_MEMORY_KIB, OWASP_PASSES)
    }

    /// A hasher with a memory cost in KiB and a number of passes. Tests take less than OWASP's;
    /// nothing else should.
    ///
    /// # Errors
    /// [`HashError::Failed`] for a cost that Argon2 does not know, or without random numbers.
    pub fn with_cost(memory_kib: u32, passes: u32) -> Result<Self, HashError> {
        let params = Params::new(memory_kib, passes, 1, None)
            .map_err(|error| HashError::Failed(Box::new(error)))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            nobodys_hash: hash(&argon2, &Secret::new(String::new()))?,
            argon2,
            cores: Arc::new(Semaphore::new(cores)),
            queue: Arc::new(Semaphore::new(cores * (1 + WAITING_PER_CORE))),
        })
    }

    /// Does the work on a thread that may block, once a core is free for it.
    async fn on_a_core<Output: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<Output, HashError> + Send + 'static,
    ) -> Result<Output, HashError> {
        let place = Arc::clone(&self.queue)
            .try_acquire_owned()
            .map_err(|_| HashError::Overloaded)?;
        let core: OwnedSemaphorePermit = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .map_err(|error| HashError::Failed(Box::new(error)))?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || {
            // Held by the thread: a caller who goes away does not make room while it still works.
            let _held = (place, core);
            work(&argon2)
        })
        .await
        .map_err(|error| HashError::Failed(Box::new(error)))?
    }
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: &Secret) -> Result<PasswordHash, HashError> {
        let password = password.clone();
        self.on_a_core(move |argon2| hash(argon2, &password)).await
    }

    async fn verify(
        &self,
        password: &Secret,
        stored: Option<PasswordHash>,
    ) -> Result<Verdict, HashError> {
        let password = password.clone();
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobodys_hash.clone());
        let verdict = self
            .on_a_core(move |argon2| verify(argon2, &password, &stored))
            .await?;
        Ok(if is_known { verdict } else { Verdict::Wrong })
    }
}

fn hash(argon2: &Argon2<'_>, password: &Secret) -> Result<PasswordHash, HashError> {
    argon2
        .hash_password(password.expose().as_bytes())
        .map(|hash| PasswordHash::new(hash.to_string()))
        .map_err(|error| HashError::Failed(Box::new(error)))
}

fn verify(
    argon2: &Argon2<'_>,
    password: &Secret,
    stored: &PasswordHash,
) -> Result<Verdict, HashError> {
    let failed = |error| HashError::Failed(Box::new(error));
    let stored = phc::PasswordHash::new(stored.as_str())
        .map_err(|error| HashError::Failed(Box::new(error)))?;
    match argon2.verify_password(password.expose().as_bytes(), &stored) {
        Ok(()) if is_weak(argon2, &stored).map_err(failed)? => Ok(Verdict::RightButWeak),
        Ok(()) => Ok(Verdict::Right),
        Err(password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(failed(error)),
    }
}

/// Whether a hash was made with less of anything than today's are.
fn is_weak(argon2: &Argon2<'_>, stored: &phc::PasswordHash) -> Result<bool, password_hash::Error> {
    let (then, today) = (Params::try_from(stored)?, argon2.params());
    Ok(stored.algorithm != ARGON2ID_IDENT
        || stored.version < Some(Version::V0x13.into())
        || then.m_cost() < today.m_cost()
        || then.t_cost() < today.t_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_password_itself_matches() {
        let hasher = Argon2Hasher::new().unwrap();
        let stored = hasher
            .hash(&secret("a long enough password"))
            .await
            .unwrap();
        assert!(
            stored
                .as_str()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        for (password, expected) in [
            ("a long enough password", Verdict::Right),
            ("another password", Verdict::Wrong),
        ] {
            let password = secret(password);
            let verdict = hasher.verify(&password, Some(stored.clone())).await;
            assert_eq!(verdict.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_hash_is_weak_when_less_of_anything_went_into_it() {
        let today = Argon2Hasher::with_cost(16, 2).unwrap();
        let password = secret("a long enough password");
        let other = secret("another password");
        for (memory_kib, passes, expected) in [
            (8, 2, Verdict::RightButWeak),
            (16, 1, Verdict::RightButWeak),
            (64, 1, Verdict::RightButWeak),
            (16, 2, Verdict::Right),
            (16, 3, Verdict::Right),
            (32, 2, Verdict::Right),
        ] {
            let then = Argon2Hasher::with_cost(memory_kib, passes).unwrap();
            let stored = then.hash(&password).await.unwrap();
            let verdict = today.verify(&password, Some(stored.clone())).await.unwrap();
            assert_eq!(verdict, expected, "{memory_kib} KiB, {passes} passes");
            let verdict = today.verify(&other, Some(stored)).await.unwrap();
            assert_eq!(verdict, Verdict::Wrong);
        }
    }

    #[tokio::test]
    async fn another_kind_of_argon2_is_weak() {
        let params = Params::new(32, 3, 1, None).unwrap();
        let password = secret("a long enough password");
        let today = Argon2Hasher::with_cost(16, 2).unwrap();
        for (algorithm, version) in [
            (Algorithm::Argon2i, Version::V0x13),
            (Algorithm::Argon2id, Version::V0x10),
        ] {
            let stored = hash(&Argon2::new(algorithm, version, params.clone()), &password);
            let verdict = today.verify(&password, Some(stored.unwrap())).await;
            assert_eq!(verdict.unwrap(), Verdict::RightButWeak);
        }
    }

    #[tokio::test]
    async fn an_unknown_user_costs_what_a_hash_of_today_costs() {
        let hasher = Argon2Hasher::new().unwrap();
        let stored = hasher.hash(&secret("a password")).await.unwrap();
        let effort = |hash: &PasswordHash| {
            let parsed = phc::PasswordHash::new(hash.as_str()).unwrap();
            (parsed.algorithm, parsed.version, parsed.params)
        };
        assert_eq!(effort(&hasher.nobodys_hash), effort(&stored));
    }

    #[tokio::test]
    async fn nobody_matches_nothing() {
        let hasher = Argon2Hasher::with_cost(8, 1).unwrap();
        let verdict = hasher.verify(&secret(""), None).await.unwrap();
        assert_eq!(verdict, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_damaged_hash_is_a_fault_and_not_a_wrong_password() {
        let hasher = Argon2Hasher::with_cost(8, 1).unwrap();
        let damaged = PasswordHash::new("$argon2id$damaged".to_owned());
        let outcome = hasher.verify(&secret("a password"), Some(damaged)).await;
        assert!(matches!(outcome, Err(HashError::Failed(_))));
    }

    #[tokio::test]
    async fn too_many_at_once_are_turned_away() {
        let hasher = Argon2Hasher::with_cost(8, 1).unwrap();
        let places = hasher.queue.available_permits();
        let _taken = Arc::clone(&hasher.queue)
            .try_acquire_many_owned(u32::try_from(places).unwrap())
            .unwrap();
        let outcome = hasher.hash(&secret("a password")).await;
        assert!(matches!(outcome, Err(HashError::Overloaded)));
    }
}
