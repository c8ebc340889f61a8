//! The seals of the audit log: made of what was written, broken by whoever changes it.

use chrono::TimeDelta;
use dcms_domain::audit::{AuditAction, AuditEntry, AuditValue, Entity, FieldChange};
use dcms_domain::shared::Instant;
use dcms_domain::store::Store as _;
use dcms_postgres::{PostgresStore, Seal, Tampering, Verification};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::task::JoinSet;
use uuid::{Builder, Uuid};

use crate::support::{execute, in_time, migrated_database, raw_connection, store_on};

/// The patient whom some entries are about.
const PATIENT: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// An audit log of its own, and what time it is there.
struct Log {
    url: String,
    store: PostgresStore,
    now: Instant,
}

impl Log {
    async fn open() -> Self {
        let url = migrated_database().await.url().to_owned();
        let now = sqlx::query_scalar("SELECT now()")
            .fetch_one(&mut raw_connection(&url).await)
            .await
            .expect("it tells the time");
        let store = store_on(&url).await;
        Self { url, store, now }
    }

    /// Two seals of three rows each, and a row that waits; the rows in their order.
    async fn sealed() -> (Self, Vec<Uuid>) {
        let log = Self::open().await;
        let mut rows = Vec::new();
        for first in [0, 3] {
            rows.extend(log.write(first..first + 3).await);
            log.seal().await.expect("rows wait");
        }
        rows.extend(log.write(6..7).await);
        (log, rows)
    }

    /// An entry about the patient, made so long ago. Each number is another entry.
    fn entry(&self, ago: TimeDelta, number: u16) -> AuditEntry {
        let at = self.now - ago;
        let millis = u64::try_from(at.timestamp_millis()).expect("a year of today");
        let mut random = [0; 10];
        random[8..].copy_from_slice(&number.to_be_bytes());
        let audit_id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        AuditEntry {
            actor_id: Some(Uuid::from_u128(1).into()),
            address: "192.0.2.1".parse().ok(),
            request_id: Some("request".to_owned()),
            entity_id: Some(PATIENT),
            patient_ids: vec![PATIENT.into()],
            changes: vec![FieldChange {
                field: "last_name".into(),
                before: AuditValue::Nothing,
                after: AuditValue::Text("Meyer".to_owned()),
            }],
            ..AuditEntry::unattributed(audit_id.into(), at, AuditAction::Change, Entity::Patient)
        }
    }

    async fn append(&self, entry: &AuditEntry) -> Uuid {
        let work = self.store.begin().await.expect("it begins");
        work.commit(entry).await.expect("it is written");
        entry.audit_id.into()
    }

    /// Entries of these numbers, made now.
    async fn write(&self, numbers: std::ops::Range<u16>) -> Vec<Uuid> {
        let mut rows = Vec::new();
        for number in numbers {
            rows.push(self.append(&self.entry(TimeDelta::zero(), number)).await);
        }
        rows
    }

    async fn seal(&self) -> Option<Seal> {
        in_time(self.store.seal_audit_log())
            .await
            .expect("it can be sealed")
    }

    async fn verify(&self) -> Verification {
        in_time(self.store.verify_audit_log())
            .await
            .expect("it can be read")
    }

    /// Fails unless so many rows are sealed, so many wait, and nothing is wrong.
    #[track_caller]
    fn assert_sound(verification: &Verification, seals: u64, rows: u64, waiting: u64) {
        let found = (verification.seals, verification.rows, verification.outcome);
        assert_eq!(found, (seals, rows, Ok(waiting)), "{verification:?}");
    }

    async fn tampering(&self) -> Tampering {
        let verification = self.verify().await;
        verification.outcome.expect_err("it is found")
    }
}

/// A statement over the row of that id.
fn update(assignment: &str, row: Uuid) -> String {
    format!("UPDATE audit_log SET {assignment} WHERE audit_id = '{row}'")
}

/// A copy of a row with another id, under which it was written so many days later.
fn copy(row: Uuid, id: Uuid, days: i32) -> String {
    format!(
        "INSERT INTO audit_log SELECT (jsonb_populate_record(
            entry, jsonb_build_object('audit_id', '{id}', 'at', entry.at + interval '{days} days')
        )).* FROM audit_log AS entry WHERE audit_id = '{row}'"
    )
}

#[tokio::test]
async fn an_empty_log_is_sound_and_needs_no_seal() {
    let log = Log::open().await;
    assert_eq!(log.seal().await, None);
    let verification = log.verify().await;
    Log::assert_sound(&verification, 0, 0, 0);
    assert_eq!(verification.last_seal, None);
}

#[tokio::test]
async fn a_seal_covers_what_came_since_the_last() {
    let log = Log::open().await;
    for (seals, first) in [(1, 0), (2, 3), (3, 6)] {
        log.write(first..first + 3).await;
        let covered = u64::from(first);
        Log::assert_sound(&log.verify().await, seals - 1, covered, 3);
        let seal = log.seal().await.expect("rows wait");
        assert_eq!(seal.seal_id, i64::try_from(seals).expect("a small number"));
        assert!(!seal.is_full, "{seal:?}");
        assert_eq!(log.seal().await, None);
        let verification = log.verify().await;
        Log::assert_sound(&verification, seals, covered + 3, 0);
        assert_eq!(verification.last_seal, Some(seal));
    }
}

/// Whoever owns the database may do everything, and is found out.
#[tokio::test]
async fn a_row_that_was_changed_is_named() {
    let (log, rows) = Log::sealed().await;
    let (seal_id, audit_id) = (2, rows[4]);
    let without_checks = "ALTER TABLE audit_log
        DROP CONSTRAINT audit_log_changes_with_digest, DROP CONSTRAINT audit_log_changes_with_salt";
    execute(&log.url, without_checks).await;
    let kept =
        format!("CREATE TABLE kept AS SELECT * FROM audit_log WHERE audit_id = '{audit_id}'");
    execute(&log.url, &kept).await;
    for assignment in [
        "at = at + interval '1 microsecond'",
        "actor_id = NULL",
        "actor_id = '00000000-0000-0000-0000-000000000002'",
        "impersonator_id = '00000000-0000-0000-0000-000000000002'",
        "session_id = '00000000-0000-0000-0000-000000000002'",
        "address = '192.0.2.2'",
        "address = '192.0.2.1/24'",
        "request_id = 'another'",
        "action = 'read'",
        "entity = 'room'",
        "entity_id = NULL",
        "patient_ids = '{}'",
        "patient_ids = patient_ids || patient_ids",
        "changes = '{\"last_name\": [null, \"Mayer\"]}'",
        "changes_salt = substr(sha256(''), 1, 16)",
        "changes_digest = sha256('')",
        "changes_digest = NULL",
        // Nobody was anonymized.
        "changes = NULL, changes_salt = NULL",
        "changes = NULL, changes_salt = NULL, changes_digest = NULL",
        "changes = '{}', changes_digest = audit_changes_digest(changes_salt, '{}')",
    ] {
        execute(&log.url, &update(assignment, audit_id)).await;
        let changed = Tampering::RowChanged { seal_id, audit_id };
        assert_eq!(log.tampering().await, changed, "{assignment}");
        let restored = format!(
            "DELETE FROM audit_log WHERE audit_id = '{audit_id}';
            INSERT INTO audit_log SELECT * FROM kept"
        );
        execute(&log.url, &restored).await;
        Log::assert_sound(&log.verify().await, 2, 6, 1);
    }
}

#[tokio::test]
async fn a_row_that_was_removed_is_named() {
    let (log, rows) = Log::sealed().await;
    let removal = format!("DELETE FROM audit_log WHERE audit_id = '{}'", rows[4]);
    execute(&log.url, &removal).await;
    let (seal_id, audit_id) = (2, rows[4]);
    let removed = Tampering::RowRemoved { seal_id, audit_id };
    assert_eq!(log.tampering().await, removed);
    // What was done to an earlier row is told first.
    execute(&log.url, &update("action = 'read'", rows[1])).await;
    let (seal_id, audit_id) = (1, rows[1]);
    let changed = Tampering::RowChanged { seal_id, audit_id };
    assert_eq!(log.tampering().await, changed);
    execute(&log.url, "TRUNCATE audit_log").await;
    let (seal_id, audit_id) = (1, rows[0]);
    let removed = Tampering::RowRemoved { seal_id, audit_id };
    assert_eq!(log.tampering().await, removed);
}

#[tokio::test]
async fn a_row_that_was_inserted_behind_the_seals_is_named() {
    let (log, rows) = Log::sealed().await;
    let old = log.entry(TimeDelta::days(2), 0);
    let audit_id = old.audit_id.into();
    execute(&log.url, &copy(rows[0], audit_id, -2)).await;
    let seal_id = None;
    let inserted = Tampering::RowInserted { seal_id, audit_id };
    assert_eq!(log.tampering().await, inserted);
    // No seal ever covers it.
    assert_eq!(log.seal().await.expect("a row waits").seal_id, 3);
    assert_eq!(log.tampering().await, inserted);
}

#[tokio::test]
async fn a_row_that_pretends_to_be_old_is_named() {
    let (log, rows) = Log::sealed().await;
    let audit_id = log.entry(TimeDelta::zero(), 7).audit_id.into();
    execute(&log.url, &copy(rows[0], audit_id, -2)).await;
    log.seal().await.expect("rows wait");
    let seal_id = Some(3);
    let inserted = Tampering::RowInserted { seal_id, audit_id };
    assert_eq!(log.tampering().await, inserted);
}

/// Fails unless the statements break a log of two seals as expected.
async fn assert_breaks(statements: &str, expected: impl Fn(&[Uuid]) -> Tampering) {
    let (log, rows) = Log::sealed().await;
    let mut script = statements.to_owned();
    for (name, row) in [
        "$row0", "$row1", "$row2", "$row3", "$row4", "$row5", "$row6",
    ]
    .iter()
    .zip(&rows)
    {
        script = script.replace(name, &format!("'{row}'"));
    }
    execute(&log.url, &script).await;
    assert_eq!(log.tampering().await, expected(&rows), "{statements}");
}

#[tokio::test]
async fn a_seal_that_was_removed_is_named() {
    let all_of = |seal_id| {
        format!(
            "DELETE FROM audit_log USING audit_sealed_rows AS sealed
            WHERE audit_log.audit_id = sealed.audit_id AND seal_id = {seal_id};
            DELETE FROM audit_sealed_rows WHERE seal_id = {seal_id};
            DELETE FROM audit_seals WHERE seal_id = {seal_id};"
        )
    };
    let removed = |_: &[Uuid]| Tampering::SealRemoved { seal_id: 1 };
    assert_breaks(&all_of(1), removed).await;
    // The second in its place.
    let renumbered = "UPDATE audit_seals SET seal_id = 1 WHERE seal_id = 2;
        UPDATE audit_sealed_rows SET seal_id = 1 WHERE seal_id = 2;";
    let script = format!(
        "{} SET session_replication_role = replica; {renumbered}",
        all_of(1)
    );
    assert_breaks(&script, |_| Tampering::SealChanged { seal_id: 1 }).await;
    // Only itself: its rows tell of it.
    let last = "SET session_replication_role = replica; DELETE FROM audit_seals WHERE seal_id = 2";
    assert_breaks(last, |_| Tampering::SealRemoved { seal_id: 2 }).await;
}

#[tokio::test]
async fn a_seal_that_was_forged_is_named() {
    let sealed_anew = "UPDATE audit_sealed_rows SET digest = audit_row_digest(entry)
        FROM audit_log AS entry WHERE entry.audit_id = audit_sealed_rows.audit_id;";
    let changed = "UPDATE audit_log SET action = 'read'
        WHERE audit_id = $row1;";
    let in_no_seal = "DELETE FROM audit_sealed_rows WHERE audit_id = $row1;";
    let hashed_anew = "UPDATE audit_seals SET hash = audit_seal_hash(
            seal_id, sealed_at, previous_hash, (
                SELECT string_agg(uuid_send(audit_id) || digest, ''::bytea ORDER BY audit_id)
                FROM audit_sealed_rows AS sealed WHERE sealed.seal_id = audit_seals.seal_id
            )
        );";
    for (statements, seal_id) in [
        (format!("{changed} {sealed_anew}"), 1),
        // It does not fit the one behind it.
        (format!("{changed} {sealed_anew} {hashed_anew}"), 2),
        (in_no_seal.to_owned(), 1),
        (
            "DELETE FROM audit_log WHERE audit_id = $row1;".to_owned() + in_no_seal,
            1,
        ),
        (
            "INSERT INTO audit_sealed_rows
            SELECT audit_id, 2, audit_row_digest(entry) FROM audit_log AS entry
            WHERE audit_id = $row6"
                .to_owned(),
            2,
        ),
        (
            "UPDATE audit_sealed_rows SET seal_id = 1
            WHERE audit_id = $row4"
                .to_owned(),
            1,
        ),
        (
            "UPDATE audit_seals SET sealed_at = sealed_at - interval '1 microsecond'
            WHERE seal_id = 2"
                .to_owned(),
            2,
        ),
        (
            "UPDATE audit_seals SET previous_hash = sha256('') WHERE seal_id = 1".to_owned(),
            1,
        ),
        (
            "UPDATE audit_seals SET hash = sha256('') WHERE seal_id = 2".to_owned(),
            2,
        ),
    ] {
        let expected = |_: &[Uuid]| Tampering::SealChanged { seal_id };
        assert_breaks(&statements, expected).await;
    }
    // Beyond the last seal, where nothing is covered.
    let hidden = "SET session_replication_role = replica;
        INSERT INTO audit_sealed_rows VALUES ($row6, 9, sha256(''))";
    assert_breaks(hidden, |_| Tampering::SealRemoved { seal_id: 9 }).await;
}

#[tokio::test]
async fn what_was_taken_out_for_somebody_who_was_anonymized_is_sound() {
    let (log, _) = Log::sealed().await;
    let patient = format!(
        "INSERT INTO patients (
            patient_id, register_number, first_name, last_name, gender, version, created_at,
            updated_at
        )
        VALUES ('{PATIENT}', 1, 'Anna', 'Meyer', 'female', 1, now(), now())"
    );
    execute(&log.url, &patient).await;
    let redacted = format!("SELECT redact_audit_of('{PATIENT}')");
    execute(&log.url, &redacted).await;
    let kept = "SELECT count(*) FROM audit_log WHERE changes IS NOT NULL";
    let count = async |statement: &str| -> i64 {
        sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&mut raw_connection(&log.url).await)
            .await
            .expect("it counts")
    };
    assert_eq!(count(kept).await, 7, "nobody was anonymized");
    let anonymized = format!(
        "UPDATE patients SET first_name = 'Anonymized', last_name = 'Patient', gender = 'unknown',
            archived_at = now(), anonymized_at = now()
        WHERE patient_id = '{PATIENT}';
        {redacted}"
    );
    execute(&log.url, &anonymized).await;
    assert_eq!(count(kept).await, 0);
    Log::assert_sound(&log.verify().await, 2, 6, 1);
    log.append(&AuditEntry {
        action: AuditAction::Anonymize,
        ..log.entry(TimeDelta::zero(), 8)
    })
    .await;
    execute(&log.url, "DELETE FROM patients").await;
    log.seal().await.expect("rows wait");
    Log::assert_sound(&log.verify().await, 3, 8, 0);
}

#[tokio::test]
async fn only_one_seals_at_a_time() {
    let log = Log::open().await;
    log.write(0..1).await;
    let mut connection = raw_connection(&log.url).await;
    let hold = "SELECT pg_advisory_lock(hashtextextended('dcms audit seals', 0))::text";
    sqlx::query(hold)
        .execute(&mut connection)
        .await
        .expect("nobody has it");
    assert_eq!(log.seal().await, None);
    connection.close().await.expect("it lets go");

    let other = store_on(&log.url).await;
    let mut sealers = JoinSet::new();
    for store in [&log.store, &other, &log.store, &other] {
        let store = store.clone();
        sealers.spawn(async move {
            for _ in 0..20 {
                store.seal_audit_log().await.expect("it can be sealed");
            }
        });
    }
    log.write(1..60).await;
    while let Some(ended) = sealers.join_next().await {
        ended.expect("it seals");
    }
    log.seal().await;
    let verification = log.verify().await;
    assert_eq!((verification.rows, verification.outcome), (60, Ok(0)));
}

#[tokio::test]
async fn what_is_committed_late_is_covered_by_a_later_seal() {
    let log = Log::open().await;
    log.write(0..1).await;
    let mut late = log.store.begin().await.expect("it begins");
    let long_ago = log.entry(TimeDelta::hours(12), 0);
    late.audit()
        .append(&[long_ago])
        .await
        .expect("it is written");
    for number in 1..4 {
        log.write(number..number + 1).await;
        log.seal().await.expect("a row waits");
    }
    let last = log.entry(TimeDelta::hours(11), 1);
    late.commit(&last).await.expect("it is committed");
    Log::assert_sound(&log.verify().await, 3, 4, 2);
    assert_eq!(log.seal().await.expect("rows wait").seal_id, 4);
    Log::assert_sound(&log.verify().await, 4, 6, 0);
    // And nothing that comes then is taken for older than it is.
    log.write(4..6).await;
    log.seal().await.expect("rows wait");
    Log::assert_sound(&log.verify().await, 5, 8, 0);
}

/// A log that was written for days before anybody sealed it: the seal at the end of each batch
/// bears today's date, the rows behind it do not.
#[tokio::test]
async fn more_rows_than_a_seal_covers_are_sealed_one_seal_after_the_other() {
    let log = Log::open().await;
    let rows = "INSERT INTO audit_log (audit_id, at, action, entity, patient_ids)
        SELECT encode(
                substr(int8send((extract(epoch FROM at) * 1000)::bigint), 3)
                    || '\\x7000'::bytea || int8send(number), 'hex'
            )::uuid, at, 'read', 'patient', '{}'
        FROM generate_series(1, 20100) AS number,
            LATERAL (SELECT now() - interval '5 days' + number * interval '20 seconds' AS at) AS t";
    execute(&log.url, rows).await;
    for (seal_id, is_full) in [(1, true), (2, true), (3, false)] {
        let seal = log.seal().await.expect("rows wait");
        assert_eq!((seal.seal_id, seal.is_full), (seal_id, is_full));
    }
    assert_eq!(log.seal().await, None);
    Log::assert_sound(&log.verify().await, 3, 20_100, 0);
}

#[tokio::test]
async fn a_row_from_the_future_does_not_hide_what_comes() {
    let log = Log::open().await;
    log.append(&log.entry(TimeDelta::days(-900), 0)).await;
    log.seal().await.expect("a row waits");
    log.write(1..3).await;
    log.seal().await.expect("rows wait");
    Log::assert_sound(&log.verify().await, 2, 3, 0);
}
