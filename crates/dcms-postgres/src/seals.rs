//! Seals of the audit log: made beside the requests, and walked by whoever wants to know whether
//! the log is what was written.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta};
use dcms_domain::shared::Instant;
use dcms_domain::store::StoreError;
use sqlx::{PgConnection, PgPool};
use uuid::{Builder, Uuid};

use crate::error::store_error;
use crate::store::PostgresStore;

/// How many rows a seal covers at most.
const ROWS_PER_SEAL: i64 = 10_000;

/// How many seals are verified at once.
const SEALS_AT_ONCE: i64 = 100;

/// How long after its time a row may still come: see [`awaited_from`].
const LATEST: TimeDelta = TimeDelta::days(1);

/// What the first seal holds in the place of the hash of the one before.
const NO_HASH: [u8; 32] = [0; 32];

/// A seal of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Its number, from 1 without gaps.
    pub seal_id: i64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// Whether it covers as many rows as a seal can: more of them may wait.
    pub is_full: bool,
}

/// What was found when the audit log was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many seals were found to be right.
    pub seals: u64,
    /// How many rows these cover.
    pub rows: u64,
    /// The last of these seals.
    pub last_seal: Option<Seal>,
    /// What is wrong first, in the order of the seals; or else how many rows wait to be sealed.
    pub outcome: Result<u64, Tampering>,
}

/// What somebody did to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// A row is not what was sealed.
    #[error("row {audit_id} of seal {seal_id} was changed")]
    RowChanged {
        /// The seal that covers it.
        seal_id: i64,
        /// The row.
        audit_id: Uuid,
    },
    /// A row that was sealed is gone.
    #[error("row {audit_id} of seal {seal_id} was removed")]
    RowRemoved {
        /// The seal that covers it.
        seal_id: i64,
        /// The row.
        audit_id: Uuid,
    },
    /// A row came long after its time. When no seal covers it, none ever will.
    #[error("row {audit_id} was inserted {}", covered(*seal_id))]
    RowInserted {
        /// The seal that covers it.
        seal_id: Option<i64>,
        /// The row.
        audit_id: Uuid,
    },
    /// A seal, or the list of the rows that it covers, is not what was made.
    #[error("seal {seal_id}, or what it says of its rows, was changed")]
    SealChanged {
        /// The seal.
        seal_id: i64,
    },
    /// A seal is gone.
    #[error("seal {seal_id} was removed")]
    SealRemoved {
        /// The seal.
        seal_id: i64,
    },
}

fn covered(seal_id: Option<i64>) -> String {
    match seal_id {
        Some(seal_id) => format!("shortly before seal {seal_id} was made, and bears an older time"),
        None => "behind the seals that had been made".to_owned(),
    }
}

struct SealRow {
    seal_id: i64,
    sealed_at: Instant,
    previous_hash: Vec<u8>,
    hash: Vec<u8>,
    /// What the hash should be.
    expected_hash: Vec<u8>,
    rows: i64,
    /// The last of the rows that it covers.
    newest: Option<Uuid>,
}

/// What has to be known of a seal when the next one is made or verified.
struct Link {
    seal_id: i64,
    hash: Vec<u8>,
    awaited_from: Option<Instant>,
}

impl Link {
    /// What comes before the first seal.
    fn before_the_first() -> Self {
        Self {
            seal_id: 0,
            hash: NO_HASH.to_vec(),
            awaited_from: None,
        }
    }

    fn after(seal: &SealRow) -> Self {
        Self {
            seal_id: seal.seal_id,
            hash: seal.hash.clone(),
            awaited_from: Some(awaited_from(seal.sealed_at, seal.newest)),
        }
    }

    /// The first id that a row may have that no seal covers yet.
    fn first_id(&self) -> Uuid {
        self.awaited_from.map_or(Uuid::nil(), first_id_at)
    }
}

/// The low-water mark behind a seal: older rows are not looked for any more.
///
/// Ids are UUIDs of version 7, so they are in the order of the time at which entries were made, and
/// rows become visible later than that: a transaction takes at most as long as its time-outs let
/// it, seconds, and what waits off the path of requests waits for at most 12 hours. A row that
/// was not visible when a seal was made is therefore at most 12 hours older than that seal, and the
/// next one, which looks a whole day behind it, covers it. Where more rows waited than a seal can
/// cover, it covers the oldest, and the mark follows these.
fn awaited_from(sealed_at: Instant, newest: Option<Uuid>) -> Instant {
    let newest = newest.and_then(time_of).unwrap_or(sealed_at);
    // A time in the future would hide everything until then.
    newest.min(sealed_at) - LATEST
}

fn time_of(id: Uuid) -> Option<Instant> {
    let millis = i64::try_from(id.as_u128() >> 80).ok()?;
    DateTime::from_timestamp_millis(millis)
}

fn first_id_at(instant: Instant) -> Uuid {
    let millis = u64::try_from(instant.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

impl PostgresStore {
    /// Seals the rows of the audit log that no seal covers yet, the oldest first. Answers the seal;
    /// nothing when there are no such rows, or somebody else is at it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached or refuses.
    pub async fn seal_audit_log(&self) -> Result<Option<Seal>, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(store_error)?;
        // Only the values tell that there is little behind the mark, so plans are made for them.
        // A day with very many rows may take longer than a request may.
        let sealer = sqlx::query!(
            r#"SELECT
                pg_try_advisory_xact_lock(hashtextextended('dcms audit seals', 0)) AS "is_alone!",
                set_config('plan_cache_mode', 'force_custom_plan', true) AS plans,
                set_config('statement_timeout', '0', true) AS patience"#
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
        if !sealer.is_alone {
            return Ok(None);
        }
        // After the lock, so that it sees what the last one to hold it made.
        let last = last_link(&mut transaction).await?;
        let made = seal_rows_after(&mut transaction, &last).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(made)
    }

    /// Walks the seals of the audit log and everything that they cover. Needs no more than to read,
    /// and gets in nobody's way.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn verify_audit_log(&self) -> Result<Verification, StoreError> {
        let pool = self
            .connection_without_timeouts()
            .await
            .map_err(store_error)?;
        let verification = verify(&pool).await;
        pool.close().await;
        verification
    }
}

async fn last_link(connection: &mut PgConnection) -> Result<Link, StoreError> {
    let last = sqlx::query!(
        r#"SELECT seal_id, sealed_at, hash, (
            SELECT audit_id FROM audit_sealed_rows
            WHERE audit_sealed_rows.seal_id = audit_seals.seal_id
            ORDER BY audit_id DESC LIMIT 1
        ) AS newest
        FROM audit_seals ORDER BY seal_id DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    Ok(last.map_or_else(Link::before_the_first, |last| Link {
        seal_id: last.seal_id,
        awaited_from: Some(awaited_from(last.sealed_at, last.newest)),
        hash: last.hash,
    }))
}

async fn seal_rows_after(
    connection: &mut PgConnection,
    last: &Link,
) -> Result<Option<Seal>, StoreError> {
    // Both sides are bounded, or it would read all that was ever sealed.
    let made = sqlx::query!(
        r#"WITH fresh AS MATERIALIZED (
            SELECT entry.audit_id, audit_row_digest(entry) AS digest
            FROM audit_log AS entry
            WHERE entry.audit_id >= $3 AND NOT EXISTS (
                SELECT FROM audit_sealed_rows AS sealed
                WHERE sealed.audit_id = entry.audit_id AND sealed.audit_id >= $3
            )
            ORDER BY entry.audit_id LIMIT $4
        ), seal AS (
            INSERT INTO audit_seals (seal_id, sealed_at, previous_hash, hash)
            SELECT $1, statement_timestamp(), $2, audit_seal_hash(
                $1, statement_timestamp(), $2,
                string_agg(uuid_send(audit_id) || digest, ''::bytea ORDER BY audit_id)
            )
            FROM fresh HAVING count(*) > 0
            RETURNING seal_id, hash
        ), covered AS (
            INSERT INTO audit_sealed_rows (audit_id, seal_id, digest)
            SELECT audit_id, seal_id, digest FROM fresh CROSS JOIN seal
            RETURNING audit_id
        )
        SELECT seal_id, encode(hash, 'hex') AS "hash!",
            (SELECT count(*) FROM covered) AS "rows!"
        FROM seal"#,
        last.seal_id + 1,
        last.hash,
        last.first_id(),
        ROWS_PER_SEAL,
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    Ok(made.map(|made| Seal {
        seal_id: made.seal_id,
        hash: made.hash,
        is_full: made.rows == ROWS_PER_SEAL,
    }))
}

async fn verify(pool: &PgPool) -> Result<Verification, StoreError> {
    // All statements see the log as it is now, however many rows come meanwhile.
    let mut snapshot = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(store_error)?;
    let mut verification = Verification {
        seals: 0,
        rows: 0,
        last_seal: None,
        outcome: Ok(0),
    };
    let mut last = Link::before_the_first();
    loop {
        let seals = seals_after(&mut snapshot, last.seal_id).await?;
        if seals.is_empty() {
            break;
        }
        let (sound, broken) = sound_seals(&seals, &mut last);
        let tampering = match first_wrong_row(&mut snapshot, &sound).await? {
            Some(wrong_row) => Some(wrong_row),
            None => broken,
        };
        if let Some(tampering) = tampering {
            verification.outcome = Err(tampering);
            return Ok(verification);
        }
        for seal in &seals {
            verification.seals += 1;
            verification.rows += u64::try_from(seal.rows).unwrap_or_default();
        }
        verification.last_seal = seals.last().map(Seal::from);
    }
    verification.outcome = beyond_the_seals(&mut snapshot, &last).await?;
    Ok(verification)
}

impl From<&SealRow> for Seal {
    fn from(seal: &SealRow) -> Self {
        Self {
            seal_id: seal.seal_id,
            hash: seal.hash.iter().fold(String::new(), |mut hash, byte| {
                // Writing to a String cannot fail.
                let _ = write!(hash, "{byte:02x}");
                hash
            }),
            is_full: seal.rows == ROWS_PER_SEAL,
        }
    }
}

async fn seals_after(
    connection: &mut PgConnection,
    seal_id: i64,
) -> Result<Vec<SealRow>, StoreError> {
    sqlx::query_as!(
        SealRow,
        r#"SELECT seal_id, sealed_at, previous_hash, hash,
            audit_seal_hash(
                seal_id, sealed_at, previous_hash, coalesce(sealed_rows, ''::bytea)
            ) AS "expected_hash!",
            rows AS "rows!", (
                SELECT audit_id FROM audit_sealed_rows
                WHERE audit_sealed_rows.seal_id = seals.seal_id
                ORDER BY audit_id DESC LIMIT 1
            ) AS newest
        FROM (
            SELECT * FROM audit_seals WHERE seal_id > $1 ORDER BY seal_id LIMIT $2
        ) AS seals
        CROSS JOIN LATERAL (
            SELECT count(*) AS rows,
                string_agg(uuid_send(audit_id) || digest, ''::bytea ORDER BY audit_id)
                    AS sealed_rows
            FROM audit_sealed_rows WHERE audit_sealed_rows.seal_id = seals.seal_id
        ) AS covered
        ORDER BY seal_id"#,
        seal_id,
        SEALS_AT_ONCE,
    )
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// The seals that follow on `last` and on each other, each with the link before it, and what is
/// wrong with the first that does not.
fn sound_seals(seals: &[SealRow], last: &mut Link) -> (Vec<Link>, Option<Tampering>) {
    let mut sound = Vec::new();
    for seal in seals {
        if seal.seal_id != last.seal_id + 1 {
            let seal_id = last.seal_id + 1;
            return (sound, Some(Tampering::SealRemoved { seal_id }));
        }
        if seal.previous_hash != last.hash || seal.hash != seal.expected_hash {
            let seal_id = seal.seal_id;
            return (sound, Some(Tampering::SealChanged { seal_id }));
        }
        sound.push(std::mem::replace(last, Link::after(seal)));
    }
    (sound, None)
}

/// The first row of the seals behind these links that is not what was sealed. The seals themselves
/// are right, so what they say of the rows is what the rows were.
async fn first_wrong_row(
    connection: &mut PgConnection,
    links: &[Link],
) -> Result<Option<Tampering>, StoreError> {
    let seal_ids: Vec<i64> = links.iter().map(|link| link.seal_id + 1).collect();
    let awaited_from: Vec<Option<Instant>> = links.iter().map(|link| link.awaited_from).collect();
    let first_ids: Vec<Uuid> = links.iter().map(Link::first_id).collect();
    let wrong = sqlx::query!(
        r#"SELECT sealed.seal_id, sealed.audit_id, entry.audit_id IS NULL AS "is_gone!",
            audit_row_digest(entry) IS NOT DISTINCT FROM sealed.digest
                AND changes_are_right AS "is_right!"
        FROM unnest($1::bigint[], $2::timestamptz[], $3::uuid[])
            AS seal (seal_id, awaited_from, first_id)
        JOIN audit_sealed_rows AS sealed USING (seal_id)
        LEFT JOIN audit_log AS entry USING (audit_id)
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN entry.changes IS NOT NULL THEN
                    audit_changes_digest(entry.changes_salt, entry.changes)
                        IS NOT DISTINCT FROM entry.changes_digest
                -- Taken out, which is right only of somebody who was anonymized, whether or not
                -- they were deleted since.
                WHEN entry.changes_digest IS NOT NULL THEN EXISTS (
                    SELECT FROM patients
                    WHERE patient_id = ANY (entry.patient_ids) AND anonymized_at IS NOT NULL
                ) OR EXISTS (
                    SELECT FROM audit_log AS anonymization
                    WHERE anonymization.entity_id = ANY (entry.patient_ids)
                        AND anonymization.entity = 'patient'
                        AND anonymization.action = 'anonymize'
                        AND NOT EXISTS (
                            SELECT FROM patients WHERE patient_id = anonymization.entity_id
                        )
                )
                ELSE true
            END AS changes_are_right
        ) AS changes
        WHERE audit_row_digest(entry) IS DISTINCT FROM sealed.digest OR NOT changes_are_right
            OR entry.at < seal.awaited_from OR entry.audit_id < seal.first_id
        ORDER BY sealed.seal_id, sealed.audit_id LIMIT 1"#,
        &seal_ids,
        &awaited_from as &[Option<Instant>],
        &first_ids,
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    Ok(wrong.map(|wrong| {
        let (seal_id, audit_id) = (wrong.seal_id, wrong.audit_id);
        if wrong.is_gone {
            Tampering::RowRemoved { seal_id, audit_id }
        } else if wrong.is_right {
            let seal_id = Some(seal_id);
            Tampering::RowInserted { seal_id, audit_id }
        } else {
            Tampering::RowChanged { seal_id, audit_id }
        }
    }))
}

/// How many rows wait to be sealed behind the last seal, unless something is there that should not.
async fn beyond_the_seals(
    connection: &mut PgConnection,
    last: &Link,
) -> Result<Result<u64, Tampering>, StoreError> {
    // The database does not let them be, but whoever owns it does.
    let stray = sqlx::query_scalar!(
        "SELECT seal_id FROM audit_sealed_rows WHERE seal_id < 1 OR seal_id > $1
        ORDER BY seal_id LIMIT 1",
        last.seal_id,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if let Some(seal_id) = stray {
        return Ok(Err(Tampering::SealRemoved { seal_id }));
    }
    let inserted = sqlx::query_scalar!(
        "SELECT audit_id FROM audit_log AS entry
        WHERE audit_id < $1 AND NOT EXISTS (
            SELECT FROM audit_sealed_rows AS sealed WHERE sealed.audit_id = entry.audit_id
        )
        ORDER BY audit_id LIMIT 1",
        last.first_id(),
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if let Some(audit_id) = inserted {
        let seal_id = None;
        return Ok(Err(Tampering::RowInserted { seal_id, audit_id }));
    }
    let waiting = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM audit_log AS entry
        WHERE audit_id >= $1 AND NOT EXISTS (
            SELECT FROM audit_sealed_rows AS sealed
            WHERE sealed.audit_id = entry.audit_id AND sealed.audit_id >= $1
        )"#,
        last.first_id(),
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    Ok(Ok(u64::try_from(waiting).unwrap_or_default()))
}
