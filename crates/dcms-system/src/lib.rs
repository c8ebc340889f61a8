//! What the domain asks of the machine it runs on: the time, fresh ids, random tokens, a
//! password hash that is expensive on purpose, and the passwords that everybody has.

mod argon2_hasher;
mod common_password_list;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DurationRound, TimeDelta, Utc};
use dcms_domain::identity::{Secret, TokenHash, TokenSource};
use dcms_domain::shared::{Clock, IdSource, Instant};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use argon2_hasher::Argon2Hasher;
pub use common_password_list::CommonPasswordList;

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Instant {
        let now = Utc::now();
        // Fails only centuries from now, where nanoseconds leave 64 bits.
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }
}

/// UUIDs of version 7, from the machine's clock and random numbers.
pub struct SystemIds;

impl IdSource for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn next_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Tokens of 256 bits from the operating system's random numbers, hashed with SHA-256: enough for
/// what cannot be guessed, and cheap on every request.
pub struct SystemTokens;

impl TokenSource for SystemTokens {
    fn new_token(&self) -> Secret {
        let mut bytes = [0_u8; 32];
        // A machine without random numbers cannot have sessions; nothing sensible is left to do.
        getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
        Secret::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn hash(&self, token: &Secret) -> TokenHash {
        TokenHash(Sha256::digest(token.expose().as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_what_a_store_can_keep() {
        let now = SystemClock.now();
        assert_eq!(now.timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn later_ids_sort_behind_earlier_ones() {
        let ids: Vec<Uuid> = (0..1_000).map(|_| SystemIds.next_id()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn tokens_differ_and_hash_alike() {
        let (one, other) = (SystemTokens.new_token(), SystemTokens.new_token());
        assert!(one != other);
        assert_eq!(one.expose().len(), 43);
        assert_eq!(SystemTokens.hash(&one), SystemTokens.hash(&one));
        assert_ne!(SystemTokens.hash(&one), SystemTokens.hash(&other));
    }
}
