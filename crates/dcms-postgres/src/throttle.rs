use async_trait::async_trait;
use dcms_domain::identity::throttle::{
    Counted, FORGOTTEN_AFTER, MAX_FAILURES_FOR_EARLY_TRIES, Subject, SubjectKind,
    ThrottleRepository,
};
use dcms_domain::shared::Instant;
use dcms_domain::store::StoreError;
use sha2::{Digest, Sha256};

use crate::error::store_error;
use crate::session::PgSession;

/// What is stored of a subject: what was typed as a name may be anything.
fn digest_of(subject: &Subject) -> Vec<u8> {
    Sha256::digest(subject.key().as_bytes()).to_vec()
}

#[async_trait]
impl ThrottleRepository for PgSession {
    async fn count(
        &mut self,
        subject: &Subject,
        now: Instant,
    ) -> Result<Option<Counted>, StoreError> {
        let (kind, digest) = (subject.kind(), digest_of(subject));
        if kind != SubjectKind::Pair {
            sqlx::query!(
                "INSERT INTO login_throttles (kind, subject) VALUES ($1, $2)
                ON CONFLICT (kind, subject) DO NOTHING",
                kind.as_str(),
                digest,
            )
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        }
        let delays: Vec<i32> = kind
            .delays_in_seconds()
            .into_iter()
            .map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX))
            .collect();
        let most_for_early = match kind {
            SubjectKind::Pair => i32::try_from(MAX_FAILURES_FOR_EARLY_TRIES).unwrap_or(i32::MAX),
            SubjectKind::Account | SubjectKind::Address => -1,
        };
        // Whoever waited for the row sees what was counted meanwhile.
        let counted = sqlx::query!(
            r#"WITH held AS (
                SELECT kind, subject, failures, blocked_until, last_failed_at
                FROM login_throttles WHERE kind = $1 AND subject = $2
                FOR UPDATE
            ), before AS (
                SELECT kind, subject,
                    CASE WHEN last_failed_at > $3 THEN failures ELSE 0 END AS failures,
                    CASE
                        WHEN last_failed_at > $3 AND blocked_until > greatest($4, last_failed_at)
                        THEN blocked_until
                    END AS block
                FROM held
            )
            UPDATE login_throttles AS throttle
            SET failures = before.failures + 1,
                last_failed_at = $4,
                blocked_until = greatest(
                    before.block,
                    $4 + make_interval(
                        secs => ($5::integer[])[least(before.failures + 2, cardinality($5))]
                    )
                )
            FROM before
            WHERE throttle.kind = before.kind AND throttle.subject = before.subject
                AND (before.block IS NULL OR before.failures <= $6)
            RETURNING throttle.blocked_until AS "blocked_until!",
                before.block IS NOT NULL AS "is_early!""#,
            kind.as_str(),
            digest,
            now - FORGOTTEN_AFTER,
            now,
            &delays,
            most_for_early,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        if let Some(row) = counted {
            let blocked_until = row.blocked_until;
            return Ok(Some(if row.is_early {
                Counted::Early { blocked_until }
            } else {
                Counted::InTime { blocked_until }
            }));
        }
        let block = sqlx::query_scalar!(
            "SELECT blocked_until FROM login_throttles WHERE kind = $1 AND subject = $2",
            kind.as_str(),
            digest,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        // A pair without a row is not known; a row that was refused has a block.
        Ok(block
            .flatten()
            .map(|blocked_until| Counted::Refused { blocked_until }))
    }

    async fn take_back(
        &mut self,
        subject: &Subject,
        blocked_until: Instant,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE login_throttles
            SET failures = greatest(failures - 1, 0), blocked_until = nullif(blocked_until, $3),
                last_failed_at = CASE WHEN failures > 1 THEN last_failed_at END
            WHERE kind = $1 AND subject = $2",
            subject.kind().as_str(),
            digest_of(subject),
            blocked_until,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn clear(&mut self, account: &Subject) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM login_throttles WHERE kind = $1 AND subject = $2",
            account.kind().as_str(),
            digest_of(account),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn remember(&mut self, pair: &Subject) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO login_throttles (kind, subject) VALUES ($1, $2)
            ON CONFLICT (kind, subject) DO UPDATE
            SET failures = 0, last_failed_at = NULL, blocked_until = NULL",
            pair.kind().as_str(),
            digest_of(pair),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn purge(&mut self, now: Instant) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM login_throttles WHERE (kind, subject) IN (
                SELECT kind, subject FROM login_throttles
                WHERE kind <> 'pair' AND coalesce(last_failed_at, '-infinity') < $1
                LIMIT 10000
                FOR UPDATE SKIP LOCKED
            )",
            now - FORGOTTEN_AFTER,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }
}
