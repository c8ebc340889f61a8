use std::collections::HashMap;

use async_trait::async_trait;
use dcms_domain::appointments::{
    Appointment, AppointmentFilter, AppointmentKey, AppointmentRepository, ComingVisit,
    ConflictScope, DeskVisit, NO_SHOWS_COUNTED, Parties, PartiesStanding, PlannedService, Standing,
    Status, VersionCause,
};
use dcms_domain::calendar::Obstacle;
use dcms_domain::patients::RegisterNumber;
use dcms_domain::shared::{
    AppointmentId, Cents, Instant, Page, PageRequest, PatientId, Quantity, RoomId, TimeSlot,
    Version,
};
use dcms_domain::store::{Rule, StoreError};
use uuid::Uuid;

use crate::calendar::PLANS_LOCK;
use crate::error::{known, store_error};
use crate::session::{PgSession, require_change};

/// The key of the advisory lock that whoever claims a slot holds until the transaction ends.
///
/// A constraint that excludes overlaps lets two transactions that insert overlapping rows at once
/// wait for each other, until `deadlock_timeout` passes and one of them is sacrificed. `INSERT …
/// ON CONFLICT DO NOTHING` does not: it inserts speculatively, and takes its row back instead of
/// waiting. An UPDATE has no such form. So each INSERT and each UPDATE of an appointment shares
/// this lock, any number of them at a time, and an UPDATE that claims a slot
/// ([`hold_calendar`](AppointmentRepository::hold_calendar)) has it alone: it waits for whoever is
/// at work already and then meets nobody.
///
/// A transaction that shares the lock must not ask to have it alone: two that do so would wait for
/// each other.
const CALENDAR_LOCK: i64 = 0x6463_6d73_0001;

struct AppointmentRow {
    appointment_id: Uuid,
    patient_id: Uuid,
    doctor_id: Uuid,
    room_id: Option<Uuid>,
    starts_at: Instant,
    ends_at: Instant,
    room_free_at: Option<Instant>,
    status: String,
    arrived_at: Option<Instant>,
    seated_at: Option<Instant>,
    completed_at: Option<Instant>,
    notes: Option<String>,
    overbook_reason: Option<String>,
    accepted_obstacles: Vec<String>,
    cancel_reason: Option<String>,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
    service_ids: Vec<Uuid>,
    quantities: Vec<i32>,
    unit_prices: Vec<Option<i64>>,
}

impl TryFrom<AppointmentRow> for Appointment {
    type Error = StoreError;

    fn try_from(row: AppointmentRow) -> Result<Self, StoreError> {
        let planned = |((service_id, pieces), unit_price): ((Uuid, i32), Option<i64>)| {
            Ok(PlannedService {
                service_id: service_id.into(),
                quantity: known(Quantity::new(i64::from(pieces)), "appointment_services.qty")?,
                unit_price: unit_price.map(Cents::new),
            })
        };
        let obstacle =
            |name: &String| known(Obstacle::from_name(name), "appointments.accepted_obstacles");
        Ok(Self {
            appointment_id: row.appointment_id.into(),
            patient_id: row.patient_id.into(),
            doctor_id: row.doctor_id.into(),
            room_id: row.room_id.map(RoomId::from),
            slot: known(
                TimeSlot::new(row.starts_at, row.ends_at).ok(),
                "appointments.ends_at",
            )?,
            room_free_at: row.room_free_at.unwrap_or(row.ends_at),
            status: known(Status::from_name(&row.status), "appointments.status")?,
            arrived_at: row.arrived_at,
            seated_at: row.seated_at,
            completed_at: row.completed_at,
            notes: row.notes,
            services: row
                .service_ids
                .into_iter()
                .zip(row.quantities)
                .zip(row.unit_prices)
                .map(planned)
                .collect::<Result<_, StoreError>>()?,
            overbook_reason: row.overbook_reason,
            accepted_obstacles: row
                .accepted_obstacles
                .iter()
                .map(obstacle)
                .collect::<Result<_, StoreError>>()?,
            cancel_reason: row.cancel_reason,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Appointments with what is planned for them, in one query: `$rows` selects them, and what is
/// planned is looked up for those rows only.
macro_rules! select_appointments {
    ($rows:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            AppointmentRow,
            "SELECT appointment_id, patient_id, doctor_id, room_id, starts_at, ends_at,
                room_free_at, status, arrived_at, seated_at, completed_at, notes,
                overbook_reason, accepted_obstacles, cancel_reason, version, created_at, updated_at,
                coalesce(service_ids, '{}') AS \"service_ids!\",
                coalesce(quantities, '{}') AS \"quantities!\",
                coalesce(unit_prices, '{}') AS \"unit_prices!: Vec<Option<i64>>\"
            FROM (" + $rows + ") AS appointment
            CROSS JOIN LATERAL (
                SELECT array_agg(service_id ORDER BY position) AS service_ids,
                    array_agg(qty ORDER BY position) AS quantities,
                    array_agg(unit_price_cents ORDER BY position) AS unit_prices
                FROM appointment_services
                WHERE appointment_services.appointment_id = appointment.appointment_id
            ) AS planned
            ORDER BY starts_at, appointment_id",
            $($argument),+
        )
    };
}

/// The planned services as columns: PostgreSQL turns them into rows with `UNNEST`.
struct PlannedColumns {
    service_ids: Vec<Uuid>,
    quantities: Vec<i32>,
    unit_prices: Vec<Option<i64>>,
}

impl PlannedColumns {
    fn of(services: &[PlannedService]) -> Self {
        let services = services.iter();
        Self {
            service_ids: services.clone().map(|one| one.service_id.into()).collect(),
            quantities: services.clone().map(|one| one.quantity.get()).collect(),
            unit_prices: services.map(|one| one.unit_price.map(Cents::get)).collect(),
        }
    }
}

/// Until when the room is taken, where that is longer than the visit.
fn room_free_at(appointment: &Appointment) -> Option<Instant> {
    Some(appointment.room_free_at).filter(|free_at| *free_at > appointment.slot.ends_at())
}

fn obstacle_names(appointment: &Appointment) -> Vec<String> {
    let accepted = appointment.accepted_obstacles.iter();
    accepted.map(Obstacle::to_string).collect()
}

#[async_trait]
impl AppointmentRepository for PgSession {
    async fn standing(&mut self, parties: Parties) -> Result<PartiesStanding, StoreError> {
        // See PLANS_LOCK for the first part.
        let row = sqlx::query!(
            "WITH plans AS MATERIALIZED (
                SELECT pg_advisory_xact_lock_shared($4)
            ), patient AS MATERIALIZED (
                SELECT archived_at FROM patients WHERE patient_id = $1 FOR SHARE
            ), doctor AS MATERIALIZED (
                SELECT is_active, roles FROM users WHERE user_id = $2 FOR SHARE
            ), room AS MATERIALIZED (
                SELECT is_active, kind FROM rooms WHERE room_id = $3 FOR SHARE
            )
            SELECT
                (SELECT archived_at IS NULL FROM patient) AS patient,
                (SELECT is_active AND 'doctor' = ANY (roles) FROM doctor) AS doctor,
                (SELECT is_active FROM room) AS room,
                (SELECT kind FROM room) AS room_kind
            FROM plans",
            Uuid::from(parties.patient_id),
            Uuid::from(parties.doctor_id),
            parties.room_id.map(Uuid::from),
            PLANS_LOCK,
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        let standing = |available| match available {
            None => Standing::Unknown,
            Some(false) => Standing::NotAvailable,
            Some(true) => Standing::Available,
        };
        Ok(PartiesStanding {
            patient: standing(row.patient),
            doctor: standing(row.doctor),
            room: match parties.room_id {
                Some(_) => standing(row.room),
                None => Standing::Available,
            },
            room_kind: row.room_kind,
        })
    }

    async fn book(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError> {
        let planned = PlannedColumns::of(&appointment.services);
        // See CALENDAR_LOCK for the first and the second part. What ON CONFLICT compares with is
        // the newest state, not that of when the statement began to wait for the lock.
        let booked = sqlx::query_scalar!(
            "WITH calendar AS MATERIALIZED (
                SELECT pg_advisory_xact_lock_shared($1)
            ), booked AS (
                INSERT INTO appointments (
                    appointment_id, patient_id, doctor_id, room_id, starts_at, ends_at,
                    room_free_at, status, arrived_at, seated_at, completed_at, notes,
                    overbook_reason, accepted_obstacles, cancel_reason, version, created_at,
                    updated_at
                )
                SELECT $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                    $19
                FROM calendar
                ON CONFLICT DO NOTHING
                RETURNING *
            ), planned AS (
                INSERT INTO appointment_services (
                    appointment_id, position, service_id, qty, unit_price_cents
                )
                SELECT appointment_id, position - 1, service_id, qty, unit_price_cents
                FROM booked CROSS JOIN UNNEST($20::uuid[], $21::integer[], $22::bigint[])
                    WITH ORDINALITY AS line (service_id, qty, unit_price_cents, position)
            ), history AS (
                INSERT INTO appointment_history (
                    appointment_id, version, action, user_id, impersonator_id, reason, doctor_id,
                    room_id, starts_at, ends_at, status, overbook_reason, changed_at
                )
                SELECT appointment_id, version, $23, $24, $25, $26, doctor_id, room_id, starts_at,
                    ends_at, status, overbook_reason, updated_at
                FROM booked
            )
            SELECT EXISTS (SELECT FROM booked) AS \"booked!\"",
            CALENDAR_LOCK,
            Uuid::from(appointment.appointment_id),
            Uuid::from(appointment.patient_id),
            Uuid::from(appointment.doctor_id),
            appointment.room_id.map(Uuid::from),
            appointment.slot.starts_at(),
            appointment.slot.ends_at(),
            room_free_at(appointment),
            appointment.status.as_str(),
            appointment.arrived_at,
            appointment.seated_at,
            appointment.completed_at,
            appointment.notes,
            appointment.overbook_reason,
            &obstacle_names(appointment),
            appointment.cancel_reason,
            appointment.version.get(),
            appointment.created_at,
            appointment.updated_at,
            &planned.service_ids,
            &planned.quantities,
            &planned.unit_prices as &[Option<i64>],
            cause.action.as_str(),
            Uuid::from(cause.user_id),
            cause.impersonator_id.map(Uuid::from),
            cause.reason,
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        if booked {
            self.note_changed_visit();
            Ok(())
        } else {
            Err(self.why_not_booked(appointment).await?)
        }
    }

    async fn get(
        &mut self,
        appointment_id: AppointmentId,
    ) -> Result<Option<Appointment>, StoreError> {
        select_appointments!(
            "SELECT * FROM appointments WHERE appointment_id = $1",
            Uuid::from(appointment_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Appointment::try_from)
        .transpose()
    }

    async fn lock_of_patient(
        &mut self,
        patient_id: PatientId,
    ) -> Result<Vec<Appointment>, StoreError> {
        // The calendar comes before the rows, as in an update: see CALENDAR_LOCK. Statements of
        // their own: each then sees what was committed while the one before it waited.
        sqlx::query!("SELECT pg_advisory_xact_lock_shared($1)", CALENDAR_LOCK)
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        sqlx::query_scalar!(
            "SELECT appointment_id FROM appointments WHERE patient_id = $1
            ORDER BY appointment_id FOR UPDATE",
            Uuid::from(patient_id),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        select_appointments!(
            "SELECT * FROM appointments WHERE patient_id = $1",
            Uuid::from(patient_id),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?
        .into_iter()
        .map(Appointment::try_from)
        .collect()
    }

    async fn hold_calendar(&mut self) -> Result<(), StoreError> {
        // A statement of its own: the next one then sees what was committed while this one waited.
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", CALENDAR_LOCK)
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn update(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError> {
        let planned = PlannedColumns::of(&appointment.services);
        // Those that claim no slot share the lock too: they write new index entries, which one
        // that claims a slot would wait for. The two statements about what is planned touch
        // different positions, so it does not matter which one PostgreSQL does first.
        let changed = sqlx::query_scalar!(
            "WITH calendar AS MATERIALIZED (
                SELECT pg_advisory_xact_lock_shared($1)
            ), changed AS (
                UPDATE appointments
                SET doctor_id = $4, room_id = $5, starts_at = $6, ends_at = $7, room_free_at = $8,
                    status = $9, arrived_at = $10, seated_at = $11, completed_at = $12,
                    notes = $13, overbook_reason = $14, accepted_obstacles = $15,
                    cancel_reason = $16, version = $17, updated_at = $18
                FROM calendar
                WHERE appointment_id = $2 AND version = $3
                RETURNING appointments.*
            ), dropped AS (
                DELETE FROM appointment_services USING changed
                WHERE appointment_services.appointment_id = changed.appointment_id
                    AND position >= cardinality($19::uuid[])
            ), planned AS (
                INSERT INTO appointment_services (
                    appointment_id, position, service_id, qty, unit_price_cents
                )
                SELECT appointment_id, position::integer - 1, service_id, qty, unit_price_cents
                FROM changed CROSS JOIN UNNEST($19::uuid[], $20::integer[], $21::bigint[])
                    WITH ORDINALITY AS line (service_id, qty, unit_price_cents, position)
                EXCEPT
                SELECT appointment_id, position, service_id, qty, unit_price_cents
                FROM appointment_services WHERE appointment_id = $2
                ON CONFLICT (appointment_id, position)
                DO UPDATE SET service_id = excluded.service_id, qty = excluded.qty,
                    unit_price_cents = excluded.unit_price_cents
            ), history AS (
                INSERT INTO appointment_history (
                    appointment_id, version, action, user_id, impersonator_id, reason, doctor_id,
                    room_id, starts_at, ends_at, status, overbook_reason, changed_at
                )
                SELECT appointment_id, version, $22, $23, $24, $25, doctor_id, room_id, starts_at,
                    ends_at, status, overbook_reason, updated_at
                FROM changed
            )
            SELECT EXISTS (SELECT FROM changed) AS \"changed!\"",
            CALENDAR_LOCK,
            Uuid::from(appointment.appointment_id),
            appointment.version.previous().get(),
            Uuid::from(appointment.doctor_id),
            appointment.room_id.map(Uuid::from),
            appointment.slot.starts_at(),
            appointment.slot.ends_at(),
            room_free_at(appointment),
            appointment.status.as_str(),
            appointment.arrived_at,
            appointment.seated_at,
            appointment.completed_at,
            appointment.notes,
            appointment.overbook_reason,
            &obstacle_names(appointment),
            appointment.cancel_reason,
            appointment.version.get(),
            appointment.updated_at,
            &planned.service_ids,
            &planned.quantities,
            &planned.unit_prices as &[Option<i64>],
            cause.action.as_str(),
            Uuid::from(cause.user_id),
            cause.impersonator_id.map(Uuid::from),
            cause.reason,
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        self.note_changed_visit();
        require_change(changed)
    }

    async fn list(
        &mut self,
        filter: &AppointmentFilter,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<Appointment, AppointmentKey>, StoreError> {
        // What overlaps the window started at most 24 hours, the longest slot, before it: that
        // bounds the stretch of the index that is read.
        let rows = select_appointments!(
            "SELECT * FROM appointments
            WHERE ($1::uuid IS NULL OR doctor_id = $1)
                AND ($2::uuid IS NULL OR patient_id = $2)
                AND ($3::uuid IS NULL OR room_id = $3)
                AND ($4::text IS NULL OR status = $4)
                AND starts_at > coalesce($5::timestamptz - interval '24 hours', '-infinity')
                AND ends_at > coalesce($5, '-infinity')
                AND starts_at < coalesce($6, timestamptz 'infinity')
                AND ($5 < $6) IS NOT FALSE
                AND (starts_at, appointment_id) > (
                    coalesce($7, timestamptz '-infinity'),
                    coalesce($8, uuid '00000000-0000-0000-0000-000000000000')
                )
            ORDER BY starts_at, appointment_id LIMIT $9",
            filter.doctor_id.map(Uuid::from),
            filter.patient_id.map(Uuid::from),
            filter.room_id.map(Uuid::from),
            filter.status.map(Status::as_str),
            filter.window.from,
            filter.window.to,
            page.after.map(|key| key.starts_at),
            page.after.map(|key| Uuid::from(key.appointment_id)),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let appointments = rows
            .into_iter()
            .map(Appointment::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(appointments, &page, |appointment| {
            AppointmentKey::from(appointment)
        }))
    }

    async fn list_for_desk(
        &mut self,
        filter: &AppointmentFilter,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<DeskVisit, AppointmentKey>, StoreError> {
        let hours_counted = i32::try_from(NO_SHOWS_COUNTED.num_hours()).unwrap_or(i32::MAX);
        let rows = sqlx::query_file!(
            "src/front_desk.sql",
            filter.doctor_id.map(Uuid::from),
            filter.patient_id.map(Uuid::from),
            filter.room_id.map(Uuid::from),
            filter.status.map(Status::as_str),
            filter.window.from,
            filter.window.to,
            page.after.map(|key| key.starts_at),
            page.after.map(|key| Uuid::from(key.appointment_id)),
            page.rows_to_fetch(),
            hours_counted,
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let mut visits = Vec::with_capacity(rows.len());
        for row in rows {
            let appointment = AppointmentRow {
                appointment_id: row.appointment_id,
                patient_id: row.patient_id,
                doctor_id: row.doctor_id,
                room_id: row.room_id,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
                room_free_at: row.room_free_at,
                status: row.status,
                arrived_at: row.arrived_at,
                seated_at: row.seated_at,
                completed_at: row.completed_at,
                notes: row.notes,
                overbook_reason: row.overbook_reason,
                accepted_obstacles: row.accepted_obstacles,
                cancel_reason: row.cancel_reason,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
                service_ids: row.service_ids,
                quantities: row.quantities,
                unit_prices: row.unit_prices,
            };
            visits.push(DeskVisit {
                appointment: appointment.try_into()?,
                register_number: RegisterNumber::new(row.register_number),
                first_name: row.first_name,
                last_name: row.last_name,
                birthday: row.birthday,
                phone: row.phone,
                doctor_name: row.doctor_name,
                room_name: row.room_name,
                balance: Cents::new(row.balance),
                is_first: row.is_first,
                no_shows: u32::try_from(row.no_shows).unwrap_or(u32::MAX),
            });
        }
        Ok(Page::from_rows(visits, &page, |visit: &DeskVisit| {
            AppointmentKey::from(&visit.appointment)
        }))
    }

    async fn coming(
        &mut self,
        scope: &ConflictScope,
        now: Instant,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<ComingVisit, AppointmentKey>, StoreError> {
        // As in a list: what is not over started at most 24 hours ago.
        let rows = select_appointments!(
            "SELECT * FROM appointments
            WHERE ($1::uuid IS NULL OR doctor_id = $1)
                AND ($2::uuid IS NULL OR room_id = $2)
                AND status IN ('scheduled', 'confirmed')
                AND starts_at > greatest($3::timestamptz, $4) - interval '24 hours'
                AND ends_at > greatest($3, $4)
                AND starts_at < coalesce($5, timestamptz 'infinity')
                AND ($4 < $5) IS NOT FALSE
                AND (starts_at, appointment_id) > (
                    coalesce($6, timestamptz '-infinity'),
                    coalesce($7, uuid '00000000-0000-0000-0000-000000000000')
                )
            ORDER BY starts_at, appointment_id LIMIT $8",
            scope.doctor_id.map(Uuid::from),
            scope.room_id.map(Uuid::from),
            now,
            scope.window.from,
            scope.window.to,
            page.after.map(|key| key.starts_at),
            page.after.map(|key| Uuid::from(key.appointment_id)),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let appointments: Vec<Appointment> = rows
            .into_iter()
            .map(Appointment::try_from)
            .collect::<Result<_, _>>()?;
        let not_available_since = self.not_available_since(&appointments).await?;
        let since = |id: Uuid| not_available_since.get(&id).copied();
        let coming = |appointment: Appointment| ComingVisit {
            doctor_not_available_since: since(appointment.doctor_id.into()),
            room_not_available_since: appointment.room_id.map(Uuid::from).and_then(since),
            appointment,
        };
        let visits = appointments.into_iter().map(coming).collect();
        Ok(Page::from_rows(visits, &page, |visit: &ComingVisit| {
            AppointmentKey::from(&visit.appointment)
        }))
    }
}

impl PgSession {
    /// The doctors and the rooms of the appointments that cannot be booked, and since when.
    async fn not_available_since(
        &mut self,
        appointments: &[Appointment],
    ) -> Result<HashMap<Uuid, Instant>, StoreError> {
        let visits = appointments.iter();
        let doctors: Vec<Uuid> = visits.clone().map(|visit| visit.doctor_id.into()).collect();
        let rooms: Vec<Uuid> = visits
            .filter_map(|visit| visit.room_id)
            .map(Uuid::from)
            .collect();
        let rows = sqlx::query!(
            "SELECT user_id AS \"id!\", not_available_since AS \"since!\" FROM users
            WHERE user_id = ANY ($1) AND not_available_since IS NOT NULL
            UNION ALL
            SELECT room_id, not_available_since FROM rooms
            WHERE room_id = ANY ($2) AND not_available_since IS NOT NULL",
            &doctors,
            &rooms,
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        Ok(rows.into_iter().map(|row| (row.id, row.since)).collect())
    }

    /// What stood in the way of a booking. When nothing does any more, the booking can be tried
    /// again. Nothing that started earlier than the longest visit and the longest buffer before it
    /// can: that bounds the stretch of the index that is read.
    async fn why_not_booked(
        &mut self,
        appointment: &Appointment,
    ) -> Result<StoreError, StoreError> {
        let taken = sqlx::query!(
            "WITH near AS MATERIALIZED (
                SELECT doctor_id, room_id, patient_id,
                    starts_at < $5 AND ends_at > $4 AS meets
                FROM appointments
                WHERE (doctor_id = $1 OR room_id = $2 OR patient_id = $3)
                    AND starts_at > $4::timestamptz - interval '28 hours'
                    AND starts_at < $6 AND coalesce(room_free_at, ends_at) > $4
                    AND status NOT IN ('cancelled', 'no_show')
            )
            SELECT EXISTS (SELECT FROM near WHERE doctor_id = $1 AND meets) AS \"doctor!\",
                EXISTS (SELECT FROM near WHERE room_id = $2) AS \"room!\",
                EXISTS (SELECT FROM near WHERE patient_id = $3 AND meets) AS \"patient!\",
                EXISTS (SELECT FROM appointments WHERE appointment_id = $7) AS \"id!\"",
            Uuid::from(appointment.doctor_id),
            appointment.room_id.map(Uuid::from),
            Uuid::from(appointment.patient_id),
            appointment.slot.starts_at(),
            appointment.slot.ends_at(),
            appointment.room_free_at,
            Uuid::from(appointment.appointment_id),
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        let rules = [
            (taken.doctor, Rule::DoctorDoubleBooked),
            (taken.room, Rule::RoomDoubleBooked),
            (taken.patient, Rule::PatientDoubleBooked),
            (taken.id, Rule::IdentifierTaken),
        ];
        Ok(rules
            .into_iter()
            .find(|(taken, _)| *taken)
            .map_or(StoreError::Conflict, |(_, rule)| StoreError::Violated(rule)))
    }
}
