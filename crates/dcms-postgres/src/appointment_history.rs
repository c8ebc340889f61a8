//! What was done to visits: the history, and the events in the order of their positions.

use async_trait::async_trait;
use dcms_domain::appointments::{
    AppointmentEvent, AppointmentVersion, HistoryAction, HistoryKey, HistoryOf, HistoryRepository,
    Position, Status, Whereabouts,
};
use dcms_domain::shared::{
    Instant, Page, PageRequest, PatientId, RoomId, TimeSlot, UserId, Version,
};
use dcms_domain::store::StoreError;
use sqlx::Connection as _;
use uuid::Uuid;

use crate::appointment_events::CHANNEL;
use crate::error::{known, store_error};
use crate::session::PgSession;

/// The key of the advisory lock under which positions are given: by one at a time, whose
/// transaction is over before the next one gives any. So they become visible in their order.
const POSITIONS_LOCK: i64 = 0x6463_6d73_0004;

/// How many changes get their positions in one transaction, which is to be short.
const POSITIONS_AT_ONCE: i64 = 5_000;

struct VersionRow {
    appointment_id: Uuid,
    version: i64,
    action: String,
    user_id: Option<Uuid>,
    impersonator_id: Option<Uuid>,
    reason: Option<String>,
    overbook_reason: Option<String>,
    doctor_id: Uuid,
    room_id: Option<Uuid>,
    starts_at: Instant,
    ends_at: Instant,
    status: String,
    changed_at: Instant,
}

impl TryFrom<VersionRow> for AppointmentVersion {
    type Error = StoreError;

    fn try_from(row: VersionRow) -> Result<Self, StoreError> {
        Ok(Self {
            appointment_id: row.appointment_id.into(),
            version: Version::new(row.version),
            action: action(&row.action)?,
            user_id: row.user_id.map(UserId::from),
            impersonator_id: row.impersonator_id.map(UserId::from),
            reason: row.reason,
            overbook_reason: row.overbook_reason,
            doctor_id: row.doctor_id.into(),
            room_id: row.room_id.map(RoomId::from),
            slot: slot(row.starts_at, row.ends_at)?,
            status: known(Status::from_name(&row.status), "appointment_history.status")?,
            changed_at: row.changed_at,
        })
    }
}

fn action(name: &str) -> Result<HistoryAction, StoreError> {
    known(HistoryAction::from_name(name), "appointment_history.action")
}

fn slot(starts_at: Instant, ends_at: Instant) -> Result<TimeSlot, StoreError> {
    let slot = TimeSlot::new(starts_at, ends_at).ok();
    known(slot, "appointment_history.ends_at")
}

#[async_trait]
impl HistoryRepository for PgSession {
    async fn list(
        &mut self,
        of: HistoryOf,
        page: PageRequest<HistoryKey>,
    ) -> Result<Page<AppointmentVersion, HistoryKey>, StoreError> {
        let (appointment_id, patient_id) = match of {
            HistoryOf::Appointment(id) => (Some(Uuid::from(id)), None),
            HistoryOf::Patient(id) => (None, Some(Uuid::from(id))),
        };
        let rows = sqlx::query_as!(
            VersionRow,
            "SELECT appointment_id, version, action, user_id, impersonator_id, reason,
                overbook_reason, doctor_id, room_id, starts_at, ends_at, status, changed_at
            FROM appointment_history
            WHERE appointment_id = ANY (ARRAY(
                    SELECT $1::uuid
                    UNION ALL
                    SELECT appointment_id FROM appointments WHERE patient_id = $2
                ))
                AND (appointment_id, version) > (
                    coalesce($3, uuid '00000000-0000-0000-0000-000000000000'),
                    coalesce($4::bigint, 0)
                )
            ORDER BY appointment_id, version LIMIT $5",
            appointment_id,
            patient_id,
            page.after.map(|key| Uuid::from(key.appointment_id)),
            page.after.map(|key| key.version.get()),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let versions = rows
            .into_iter()
            .map(AppointmentVersion::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(versions, &page, |version| version.into()))
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        sqlx::query!("SELECT redact_history_of($1)", Uuid::from(patient_id))
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn assign_positions(&mut self) -> Result<(), StoreError> {
        loop {
            // Asked first, for mostly there is nothing to do, and nobody has to be waited for.
            let is_waiting = sqlx::query_scalar!(
                "SELECT EXISTS (SELECT FROM appointment_history WHERE position IS NULL) AS \"is!\""
            )
            .fetch_one(self.connection())
            .await
            .map_err(store_error)?;
            if !is_waiting {
                return Ok(());
            }
            assign_some(self).await.map_err(store_error)?;
        }
    }

    async fn last_position(&mut self) -> Result<Position, StoreError> {
        // Not the last of the sequence: that one may not be visible yet.
        sqlx::query_scalar!("SELECT max(position) FROM appointment_history")
            .fetch_one(self.connection())
            .await
            .map(|last| last.map_or(Position::START, Position::new))
            .map_err(store_error)
    }

    async fn events_after(
        &mut self,
        position: Position,
        limit: u16,
    ) -> Result<Vec<AppointmentEvent>, StoreError> {
        let rows = sqlx::query!(
            "SELECT change.position AS \"position!\", change.appointment_id, change.version,
                change.action, change.doctor_id, change.starts_at, change.ends_at,
                before.doctor_id AS \"doctor_before?\", before.starts_at AS \"start_before?\",
                before.ends_at AS \"end_before?\"
            FROM appointment_history AS change
            LEFT JOIN appointment_history AS before
                ON before.appointment_id = change.appointment_id
                AND before.version = change.version - 1
            WHERE change.position > $1
            ORDER BY change.position LIMIT $2",
            position.get(),
            i64::from(limit),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let whereabouts = |doctor_id: Uuid, starts_at, ends_at| {
            Ok::<_, StoreError>(Whereabouts {
                doctor_id: doctor_id.into(),
                slot: slot(starts_at, ends_at)?,
            })
        };
        rows.into_iter()
            .map(|row| {
                let before = match (row.doctor_before, row.start_before, row.end_before) {
                    (Some(doctor_id), Some(starts_at), Some(ends_at)) => {
                        Some(whereabouts(doctor_id, starts_at, ends_at)?)
                    }
                    _ => None,
                };
                Ok(AppointmentEvent {
                    position: Position::new(row.position),
                    appointment_id: row.appointment_id.into(),
                    version: Version::new(row.version),
                    action: action(&row.action)?,
                    before,
                    after: whereabouts(row.doctor_id, row.starts_at, row.ends_at)?,
                })
            })
            .collect()
    }
}

async fn assign_some(session: &mut PgSession) -> Result<(), sqlx::Error> {
    let mut transaction = session.connection().begin().await?;
    // A statement of its own: the next one then sees what was committed while this one waited.
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", POSITIONS_LOCK)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!(
        "WITH given AS (
            UPDATE appointment_history SET position = numbered.position
            FROM (
                SELECT appointment_id, version, nextval('appointment_history_positions') AS position
                FROM (
                    SELECT appointment_id, version FROM appointment_history
                    WHERE position IS NULL
                    -- A visit's versions in their order, whatever the clocks of those who made them.
                    ORDER BY max(changed_at) OVER (PARTITION BY appointment_id ORDER BY version),
                        appointment_id, version
                    LIMIT $1
                ) AS waiting
            ) AS numbered
            WHERE appointment_history.appointment_id = numbered.appointment_id
                AND appointment_history.version = numbered.version
            RETURNING appointment_history.position
        )
        SELECT pg_notify($2, last::text)
        FROM (SELECT max(position) AS last FROM given) AS news
        WHERE last IS NOT NULL",
        POSITIONS_AT_ONCE,
        CHANNEL,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
