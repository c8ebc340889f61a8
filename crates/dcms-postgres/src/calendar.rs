use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{NaiveDate, NaiveDateTime, Weekday};
use dcms_domain::access::Role;
use dcms_domain::calendar::{
    Booking, CalendarRepository, Closure, ClosureKey, Schedule, SlotDoctor, Stretch, TimeOff,
    TimeOffKey, Timetable, WallSpan, WallWindow, WeeklyInterval, WeeklyPlan, plan_days_during,
    readings_during,
};
use dcms_domain::shared::{
    ClosureId, Instant, Page, PageRequest, PatientId, RoomId, TimeOffId, TimeSlot, UserId, Version,
};
use dcms_domain::store::StoreError;
use uuid::Uuid;

use crate::error::{known, store_error};
use crate::session::{PgSession, require_change, require_one_row};

/// The key of the advisory lock that keeps hours, closures and time off as they are.
///
/// Whoever books or moves a visit shares it, from before they read the plans until the transaction
/// ends; whoever changes plans has it alone. So a visit that was decided on the old plans is seen
/// by those who list what the new ones stand in the way of.
pub(crate) const PLANS_LOCK: i64 = 0x6463_6d73_0002;

/// The id that a schedule is stored under.
fn schedule_id(doctor_id: Option<UserId>) -> Uuid {
    doctor_id.map_or(Uuid::nil(), Uuid::from)
}

struct PlanRow {
    valid_from: NaiveDate,
    is_unset: bool,
    weekdays: Vec<i32>,
    opens_minutes: Vec<i32>,
    closes_minutes: Vec<i32>,
}

impl TryFrom<PlanRow> for WeeklyPlan {
    type Error = StoreError;

    fn try_from(row: PlanRow) -> Result<Self, StoreError> {
        let minutes = row.opens_minutes.into_iter().zip(row.closes_minutes);
        let intervals = row
            .weekdays
            .into_iter()
            .zip(minutes)
            .map(|(weekday, (opens, closes))| weekly_interval(weekday, opens, closes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            valid_from: row.valid_from,
            intervals: (!row.is_unset).then_some(intervals),
        })
    }
}

/// 1 is Monday.
const fn weekday_number(weekday: Weekday) -> i32 {
    match weekday {
        Weekday::Mon => 1,
        Weekday::Tue => 2,
        Weekday::Wed => 3,
        Weekday::Thu => 4,
        Weekday::Fri => 5,
        Weekday::Sat => 6,
        Weekday::Sun => 7,
    }
}

fn weekly_interval(weekday: i32, opens: i32, closes: i32) -> Result<WeeklyInterval, StoreError> {
    let weekday = u8::try_from(weekday - 1)
        .ok()
        .and_then(|weekday| Weekday::try_from(weekday).ok());
    Ok(WeeklyInterval {
        weekday: known(weekday, "weekly_plan_intervals.weekday")?,
        opens_minute: known(
            u16::try_from(opens).ok(),
            "weekly_plan_intervals.opens_minute",
        )?,
        closes_minute: known(
            u16::try_from(closes).ok(),
            "weekly_plan_intervals.closes_minute",
        )?,
    })
}

struct ClosureRow {
    closure_id: Uuid,
    from_local: NaiveDateTime,
    until_local: NaiveDateTime,
    reason: String,
    created_at: Instant,
}

impl From<ClosureRow> for Closure {
    fn from(row: ClosureRow) -> Self {
        Self {
            closure_id: row.closure_id.into(),
            span: WallSpan {
                from: row.from_local,
                until: row.until_local,
            },
            reason: row.reason,
            created_at: row.created_at,
        }
    }
}

struct TimeOffRow {
    time_off_id: Uuid,
    doctor_id: Uuid,
    from_local: NaiveDateTime,
    until_local: NaiveDateTime,
    reason: Option<String>,
    created_at: Instant,
}

impl From<TimeOffRow> for TimeOff {
    fn from(row: TimeOffRow) -> Self {
        Self {
            time_off_id: row.time_off_id.into(),
            doctor_id: row.doctor_id.into(),
            span: WallSpan {
                from: row.from_local,
                until: row.until_local,
            },
            reason: row.reason,
            created_at: row.created_at,
        }
    }
}

/// The settings, a plan, a closure or time off: what the others have is missing.
struct TimetableRow {
    time_zone: Option<String>,
    valid_from: Option<NaiveDate>,
    is_unset: Option<bool>,
    weekdays: Option<Vec<i32>>,
    opens_minutes: Option<Vec<i32>>,
    closes_minutes: Option<Vec<i32>>,
    closure_id: Option<Uuid>,
    time_off_id: Option<Uuid>,
    doctor_id: Option<Uuid>,
    from_local: Option<NaiveDateTime>,
    until_local: Option<NaiveDateTime>,
    reason: Option<String>,
    created_at: Option<Instant>,
}

impl TimetableRow {
    fn plan(&mut self) -> Result<WeeklyPlan, StoreError> {
        WeeklyPlan::try_from(PlanRow {
            valid_from: known(self.valid_from, "weekly_plans.valid_from")?,
            is_unset: known(self.is_unset, "weekly_plans.is_unset")?,
            weekdays: self.weekdays.take().unwrap_or_default(),
            opens_minutes: self.opens_minutes.take().unwrap_or_default(),
            closes_minutes: self.closes_minutes.take().unwrap_or_default(),
        })
    }

    fn span(&self) -> Result<WallSpan, StoreError> {
        Ok(WallSpan {
            from: known(self.from_local, "from_local")?,
            until: known(self.until_local, "until_local")?,
        })
    }
}

fn timetable_of(rows: Vec<TimetableRow>) -> Result<Timetable, StoreError> {
    let mut zone = None;
    let mut clinic = Vec::new();
    let mut doctors: HashMap<UserId, Vec<WeeklyPlan>> = HashMap::new();
    let mut closures = Vec::new();
    let mut time_off = Vec::new();
    for mut row in rows {
        if let Some(name) = row.time_zone {
            zone = name.parse().ok();
        } else if row.valid_from.is_some() {
            let plan = row.plan()?;
            match row.doctor_id {
                Some(doctor_id) => doctors.entry(doctor_id.into()).or_default().push(plan),
                None => clinic.push(plan),
            }
        } else if let Some(closure_id) = row.closure_id {
            closures.push(Closure {
                closure_id: closure_id.into(),
                span: row.span()?,
                reason: known(row.reason.take(), "closures.reason")?,
                created_at: known(row.created_at, "closures.created_at")?,
            });
        } else {
            time_off.push(TimeOff {
                time_off_id: known(row.time_off_id, "time_off.time_off_id")?.into(),
                doctor_id: known(row.doctor_id, "time_off.doctor_id")?.into(),
                span: row.span()?,
                reason: row.reason.take(),
                created_at: known(row.created_at, "time_off.created_at")?,
            });
        }
    }
    clinic.sort_by_key(|plan| plan.valid_from);
    for plans in doctors.values_mut() {
        plans.sort_by_key(|plan| plan.valid_from);
    }
    Ok(Timetable {
        zone: known(zone, "clinic_settings.time_zone")?,
        clinic,
        doctors,
        closures,
        time_off,
    })
}

/// The columns of intervals, which PostgreSQL turns into rows with `UNNEST`.
fn interval_columns(plan: &WeeklyPlan) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for interval in plan.intervals.iter().flatten() {
        columns.0.push(weekday_number(interval.weekday));
        columns.1.push(i32::from(interval.opens_minute));
        columns.2.push(i32::from(interval.closes_minute));
    }
    columns
}

#[async_trait]
impl CalendarRepository for PgSession {
    async fn timetable(
        &mut self,
        doctor_ids: &[UserId],
        stretch: &Stretch,
    ) -> Result<Timetable, StoreError> {
        let doctor_ids: Vec<Uuid> = doctor_ids.iter().copied().map(Uuid::from).collect();
        let readings = readings_during(stretch);
        let (first_day, last_day) = plan_days_during(stretch);
        let rows = sqlx::query_as!(
            TimetableRow,
            "SELECT time_zone AS \"time_zone?\", NULL::date AS \"valid_from?\",
                NULL::boolean AS \"is_unset?\", NULL::integer[] AS \"weekdays?\",
                NULL::integer[] AS \"opens_minutes?\", NULL::integer[] AS \"closes_minutes?\",
                NULL::uuid AS \"closure_id?\", NULL::uuid AS \"time_off_id?\",
                NULL::uuid AS \"doctor_id?\", NULL::timestamp AS \"from_local?\",
                NULL::timestamp AS \"until_local?\", NULL::text AS \"reason?\",
                NULL::timestamptz AS \"created_at?\"
            FROM clinic_settings
            UNION ALL
            SELECT NULL, valid_from, is_unset, weekdays, opens_minutes, closes_minutes,
                NULL, NULL, doctor_id, NULL, NULL, NULL, NULL
            FROM schedules JOIN weekly_plans AS plan USING (schedule_id)
            CROSS JOIN LATERAL (
                SELECT array_agg(weekday ORDER BY weekday, opens_minute) AS weekdays,
                    array_agg(opens_minute ORDER BY weekday, opens_minute) AS opens_minutes,
                    array_agg(closes_minute ORDER BY weekday, opens_minute) AS closes_minutes
                FROM weekly_plan_intervals AS line
                WHERE line.schedule_id = plan.schedule_id AND line.valid_from = plan.valid_from
            ) AS intervals
            WHERE schedule_id = ANY ($1::uuid[] || $2::uuid) AND valid_from <= $4
                AND valid_from >= coalesce(
                    (
                        SELECT max(earlier.valid_from) FROM weekly_plans AS earlier
                        WHERE earlier.schedule_id = plan.schedule_id
                            AND earlier.valid_from <= $3
                    ),
                    date '-infinity'
                )
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, NULL,
                closure_id, NULL, NULL, from_local, until_local, reason, created_at
            FROM closures
            WHERE until_local > $5 AND from_local < $6
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, NULL,
                NULL, time_off_id, doctor_id, from_local, until_local, reason, created_at
            FROM time_off
            WHERE doctor_id = ANY ($1) AND until_local > $5 AND from_local < $6",
            &doctor_ids,
            schedule_id(None),
            first_day,
            last_day,
            readings.from,
            readings.until,
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        timetable_of(rows)
    }

    async fn slot_doctors(
        &mut self,
        among: Option<Vec<UserId>>,
    ) -> Result<Vec<SlotDoctor>, StoreError> {
        let among: Option<Vec<Uuid>> =
            among.map(|among| among.into_iter().map(Uuid::from).collect());
        let rows = sqlx::query!(
            "SELECT user_id, usual_room_id AS \"usual_room_id?\"
            FROM users LEFT JOIN doctor_settings ON doctor_id = user_id
            WHERE is_active AND $1 = ANY (roles) AND ($2::uuid[] IS NULL OR user_id = ANY ($2))
            ORDER BY user_id",
            Role::Doctor.as_str(),
            among.as_deref(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let doctor = rows.into_iter().map(|row| SlotDoctor {
            doctor_id: row.user_id.into(),
            usual_room_id: row.usual_room_id.map(RoomId::from),
        });
        Ok(doctor.collect())
    }

    async fn slot_rooms(&mut self, kind: Option<String>) -> Result<Vec<RoomId>, StoreError> {
        let room_ids = sqlx::query_scalar!(
            "SELECT room_id FROM rooms
            WHERE is_active AND ($1::text IS NULL OR kind = $1)
            ORDER BY position, room_id",
            kind,
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        Ok(room_ids.into_iter().map(RoomId::from).collect())
    }

    async fn bookings(
        &mut self,
        doctor_ids: &[UserId],
        room_ids: &[RoomId],
        patient_id: Option<PatientId>,
        stretch: &Stretch,
    ) -> Result<Vec<Booking>, StoreError> {
        let doctor_ids: Vec<Uuid> = doctor_ids.iter().copied().map(Uuid::from).collect();
        let room_ids: Vec<Uuid> = room_ids.iter().copied().map(Uuid::from).collect();
        // What takes a room during the stretch started at most 28 hours before it: the longest slot
        // and the longest buffer. That bounds the stretches of the indexes that are read.
        let rows = sqlx::query!(
            "SELECT doctor_id AS \"doctor_id!\", patient_id AS \"patient_id!\", room_id,
                starts_at AS \"starts_at!\", ends_at AS \"ends_at!\",
                coalesce(room_free_at, ends_at) AS \"room_free_at!\"
            FROM appointments
            WHERE doctor_id = ANY ($1) AND status NOT IN ('cancelled', 'no_show')
                AND starts_at > $4::timestamptz - interval '28 hours' AND starts_at < $5
                AND coalesce(room_free_at, ends_at) > $4
            UNION ALL
            SELECT doctor_id, patient_id, room_id, starts_at, ends_at,
                coalesce(room_free_at, ends_at)
            FROM appointments
            WHERE room_id = ANY ($2) AND status NOT IN ('cancelled', 'no_show')
                AND starts_at > $4::timestamptz - interval '28 hours' AND starts_at < $5
                AND coalesce(room_free_at, ends_at) > $4
            UNION ALL
            SELECT doctor_id, patient_id, room_id, starts_at, ends_at,
                coalesce(room_free_at, ends_at)
            FROM appointments
            WHERE patient_id = $3 AND status NOT IN ('cancelled', 'no_show')
                AND starts_at > $4::timestamptz - interval '28 hours' AND starts_at < $5
                AND coalesce(room_free_at, ends_at) > $4",
            &doctor_ids,
            &room_ids,
            patient_id.map(Uuid::from),
            stretch.start,
            stretch.end,
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        rows.into_iter()
            .map(|row| {
                let slot = TimeSlot::new(row.starts_at, row.ends_at).ok();
                Ok(Booking {
                    doctor_id: row.doctor_id.into(),
                    patient_id: row.patient_id.into(),
                    room_id: row.room_id.map(RoomId::from),
                    slot: known(slot, "appointments.ends_at")?,
                    room_free_at: row.room_free_at,
                })
            })
            .collect()
    }

    async fn hold_plans(&mut self) -> Result<(), StoreError> {
        // A statement of its own: the next one then sees what was committed while this one waited.
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", PLANS_LOCK)
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn schedule(&mut self, doctor_id: Option<UserId>) -> Result<Schedule, StoreError> {
        let rows = sqlx::query!(
            "SELECT version, valid_from, is_unset, weekdays AS \"weekdays!\",
                opens_minutes AS \"opens_minutes!\", closes_minutes AS \"closes_minutes!\"
            FROM schedules JOIN weekly_plans AS plan USING (schedule_id)
            CROSS JOIN LATERAL (
                SELECT coalesce(array_agg(weekday ORDER BY weekday, opens_minute), '{}')
                        AS weekdays,
                    coalesce(array_agg(opens_minute ORDER BY weekday, opens_minute), '{}')
                        AS opens_minutes,
                    coalesce(array_agg(closes_minute ORDER BY weekday, opens_minute), '{}')
                        AS closes_minutes
                FROM weekly_plan_intervals AS line
                WHERE line.schedule_id = plan.schedule_id AND line.valid_from = plan.valid_from
            ) AS intervals
            WHERE schedule_id = $1
            ORDER BY valid_from",
            schedule_id(doctor_id),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let version = rows
            .first()
            .map_or(Version::NEVER_CHANGED, |row| Version::new(row.version));
        let plans = rows.into_iter().map(|row| {
            WeeklyPlan::try_from(PlanRow {
                valid_from: row.valid_from,
                is_unset: row.is_unset,
                weekdays: row.weekdays,
                opens_minutes: row.opens_minutes,
                closes_minutes: row.closes_minutes,
            })
        });
        Ok(Schedule {
            doctor_id,
            plans: plans.collect::<Result<_, _>>()?,
            version,
        })
    }

    async fn replace_plans(
        &mut self,
        schedule: &Schedule,
        plan: &WeeklyPlan,
        at: Instant,
    ) -> Result<(), StoreError> {
        let schedule_id = schedule_id(schedule.doctor_id);
        let changed = sqlx::query_scalar!(
            "WITH changed AS (
                INSERT INTO schedules AS stored (schedule_id, doctor_id, version, updated_at)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (schedule_id) DO UPDATE
                SET version = excluded.version, updated_at = excluded.updated_at
                WHERE stored.version = excluded.version - 1
                RETURNING schedule_id
            ), replaced AS (
                DELETE FROM weekly_plans USING changed
                WHERE weekly_plans.schedule_id = changed.schedule_id AND valid_from >= $5
            )
            SELECT EXISTS (SELECT FROM changed) AS \"changed!\"",
            schedule_id,
            schedule.doctor_id.map(Uuid::from),
            schedule.version.get(),
            at,
            plan.valid_from,
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        require_change(changed)?;
        // In one statement with the above, what is deleted with a plan of the same day would take
        // the new intervals along.
        let (weekdays, opens, closes) = interval_columns(plan);
        sqlx::query!(
            "WITH plan AS (
                INSERT INTO weekly_plans (schedule_id, valid_from, is_unset) VALUES ($1, $2, $3)
            )
            INSERT INTO weekly_plan_intervals (
                schedule_id, valid_from, weekday, opens_minute, closes_minute
            )
            SELECT $1, $2, weekday, opens_minute, closes_minute
            FROM UNNEST($4::integer[], $5::integer[], $6::integer[])
                AS line (weekday, opens_minute, closes_minute)",
            schedule_id,
            plan.valid_from,
            plan.intervals.is_none(),
            &weekdays,
            &opens,
            &closes,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn insert_closure(&mut self, closure: &Closure) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO closures (closure_id, from_local, until_local, reason, created_at)
            VALUES ($1, $2, $3, $4, $5)",
            Uuid::from(closure.closure_id),
            closure.span.from,
            closure.span.until,
            closure.reason,
            closure.created_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn closure(&mut self, closure_id: ClosureId) -> Result<Option<Closure>, StoreError> {
        let row = sqlx::query_as!(
            ClosureRow,
            "SELECT closure_id, from_local, until_local, reason, created_at
            FROM closures WHERE closure_id = $1",
            Uuid::from(closure_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(row.map(Closure::from))
    }

    async fn delete_closure(&mut self, closure_id: ClosureId) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM closures WHERE closure_id = $1",
            Uuid::from(closure_id),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn closures(
        &mut self,
        window: WallWindow,
        page: PageRequest<ClosureKey>,
    ) -> Result<Page<Closure, ClosureKey>, StoreError> {
        let rows = sqlx::query_as!(
            ClosureRow,
            "SELECT closure_id, from_local, until_local, reason, created_at
            FROM closures
            WHERE until_local > coalesce($1, timestamp '-infinity')
                AND from_local < coalesce($2, timestamp 'infinity')
                AND (until_local, closure_id) > (
                    coalesce($3, timestamp '-infinity'),
                    coalesce($4, uuid '00000000-0000-0000-0000-000000000000')
                )
            ORDER BY until_local, closure_id LIMIT $5",
            window.from,
            window.to,
            page.after.map(|key| key.until),
            page.after.map(|key| Uuid::from(key.closure_id)),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let closures = rows.into_iter().map(Closure::from).collect();
        Ok(Page::from_rows(closures, &page, |closure| {
            ClosureKey::from(closure)
        }))
    }

    async fn insert_time_off(&mut self, time_off: &TimeOff) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO time_off (
                time_off_id, doctor_id, from_local, until_local, reason, created_at
            ) VALUES ($1, $2, $3, $4, $5, $6)",
            Uuid::from(time_off.time_off_id),
            Uuid::from(time_off.doctor_id),
            time_off.span.from,
            time_off.span.until,
            time_off.reason,
            time_off.created_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn time_off(&mut self, time_off_id: TimeOffId) -> Result<Option<TimeOff>, StoreError> {
        let row = sqlx::query_as!(
            TimeOffRow,
            "SELECT time_off_id, doctor_id, from_local, until_local, reason, created_at
            FROM time_off WHERE time_off_id = $1",
            Uuid::from(time_off_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(row.map(TimeOff::from))
    }

    async fn delete_time_off(&mut self, time_off_id: TimeOffId) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM time_off WHERE time_off_id = $1",
            Uuid::from(time_off_id),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn time_off_of(
        &mut self,
        doctor_id: UserId,
        window: WallWindow,
        page: PageRequest<TimeOffKey>,
    ) -> Result<Page<TimeOff, TimeOffKey>, StoreError> {
        let rows = sqlx::query_as!(
            TimeOffRow,
            "SELECT time_off_id, doctor_id, from_local, until_local, reason, created_at
            FROM time_off
            WHERE doctor_id = $1
                AND until_local > coalesce($2, timestamp '-infinity')
                AND from_local < coalesce($3, timestamp 'infinity')
                AND (until_local, time_off_id) > (
                    coalesce($4, timestamp '-infinity'),
                    coalesce($5, uuid '00000000-0000-0000-0000-000000000000')
                )
            ORDER BY until_local, time_off_id LIMIT $6",
            Uuid::from(doctor_id),
            window.from,
            window.to,
            page.after.map(|key| key.until),
            page.after.map(|key| Uuid::from(key.time_off_id)),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let time_off = rows.into_iter().map(TimeOff::from).collect();
        Ok(Page::from_rows(time_off, &page, |time_off| {
            TimeOffKey::from(time_off)
        }))
    }
}
