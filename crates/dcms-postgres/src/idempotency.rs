use async_trait::async_trait;
use dcms_domain::shared::{Instant, PatientId};
use dcms_domain::store::{
    AnsweredRequest, IdempotencyKey, IdempotencyRepository, KeptAnswer, KeyedRequest, StoreError,
};
use uuid::Uuid;

use crate::error::{known, store_error};
use crate::session::PgSession;

#[async_trait]
impl IdempotencyRepository for PgSession {
    async fn claim(
        &mut self,
        key: &IdempotencyKey,
        since: Instant,
    ) -> Result<Option<AnsweredRequest>, StoreError> {
        // A lock and no row: a row would have to wait for its answer, and who is refused would
        // leave a dead one behind. Whoever waited for the lock sees what was kept meanwhile, for
        // the next statement is one of its own.
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, hashtext('dcms idempotency')))",
            key.as_str(),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        let row = sqlx::query!(
            "SELECT user_id, fingerprint, patient_id, answered_at, status, location, entity_tag, body
            FROM idempotency_keys WHERE key = $1 AND answered_at > $2",
            key.as_str(),
            since,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        row.map(|row| {
            let fingerprint = row.fingerprint.try_into().ok();
            let fingerprint = known(fingerprint, "idempotency_keys.fingerprint")?;
            let status = known(row.status.try_into().ok(), "idempotency_keys.status")?;
            Ok(AnsweredRequest {
                request: KeyedRequest {
                    key: key.clone(),
                    fingerprint,
                },
                user_id: row.user_id.into(),
                patient_id: row.patient_id.map(Into::into),
                answered_at: row.answered_at,
                answer: KeptAnswer {
                    status,
                    location: row.location,
                    entity_tag: row.entity_tag,
                    body: row.body,
                },
            })
        })
        .transpose()
    }

    async fn keep(&mut self, answered: &AnsweredRequest) -> Result<(), StoreError> {
        let AnsweredRequest {
            request: KeyedRequest { key, fingerprint },
            user_id,
            patient_id,
            answered_at,
            answer,
        } = answered;
        // What is there already is too old to count, and was not swept yet.
        sqlx::query!(
            "INSERT INTO idempotency_keys (
                key, user_id, fingerprint, patient_id, answered_at, status, location, entity_tag,
                body
            )
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (key) DO UPDATE SET
                user_id = excluded.user_id, fingerprint = excluded.fingerprint,
                patient_id = excluded.patient_id, answered_at = excluded.answered_at,
                status = excluded.status, location = excluded.location,
                entity_tag = excluded.entity_tag, body = excluded.body",
            key.as_str(),
            Uuid::from(*user_id),
            fingerprint.as_slice(),
            patient_id.map(Uuid::from),
            answered_at,
            i16::try_from(answer.status).unwrap_or(i16::MAX),
            answer.location,
            answer.entity_tag,
            answer.body,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn forget_patient(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM idempotency_keys WHERE patient_id = $1",
            Uuid::from(patient_id),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn forget_until(&mut self, until: Instant, limit: u32) -> Result<u32, StoreError> {
        let deleted = sqlx::query!(
            "DELETE FROM idempotency_keys WHERE key IN (
                SELECT key FROM idempotency_keys WHERE answered_at <= $1
                ORDER BY answered_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )",
            until,
            i64::from(limit),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        // No more than the limit.
        Ok(u32::try_from(deleted.rows_affected()).unwrap_or(limit))
    }
}
