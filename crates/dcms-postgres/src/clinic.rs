use async_trait::async_trait;
use dcms_domain::access::Role;
use dcms_domain::clinic::{ClinicRepository, ClinicSettings, Doctor, Room, RoomKey};
use dcms_domain::shared::{Instant, Page, PageRequest, RoomId, UserId, Version};
use dcms_domain::store::StoreError;
use iso_currency::Currency;
use uuid::Uuid;

use crate::error::{delete_error, known, store_error};
use crate::session::{PgSession, require_one_row};

struct RoomRow {
    room_id: Uuid,
    name: String,
    is_active: bool,
    kind: Option<String>,
    position: i32,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

impl From<RoomRow> for Room {
    fn from(row: RoomRow) -> Self {
        Self {
            room_id: row.room_id.into(),
            name: row.name,
            is_active: row.is_active,
            kind: row.kind,
            position: row.position,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[async_trait]
impl ClinicRepository for PgSession {
    async fn settings(&mut self) -> Result<ClinicSettings, StoreError> {
        let row = sqlx::query!(
            "SELECT clinic_name, time_zone, address, phone, email, currency,
                default_slot_minutes, slot_grid_minutes, smallest_notice_minutes,
                largest_notice_days, version, updated_at
            FROM clinic_settings",
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        Ok(ClinicSettings {
            clinic_name: row.clinic_name,
            time_zone: known(row.time_zone.parse().ok(), "clinic_settings.time_zone")?,
            address: row.address,
            phone: row.phone,
            email: row.email,
            currency: known(
                Currency::from_code(&row.currency),
                "clinic_settings.currency",
            )?,
            default_slot_minutes: row.default_slot_minutes,
            slot_grid_minutes: row.slot_grid_minutes,
            smallest_notice_minutes: row.smallest_notice_minutes,
            largest_notice_days: row.largest_notice_days,
            version: Version::new(row.version),
            updated_at: row.updated_at,
        })
    }

    async fn update_settings(&mut self, settings: &ClinicSettings) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE clinic_settings
            SET clinic_name = $2, time_zone = $3, address = $4, phone = $5, email = $6,
                currency = $7, default_slot_minutes = $8, slot_grid_minutes = $9,
                smallest_notice_minutes = $10, largest_notice_days = $11, version = $12,
                updated_at = $13
            WHERE version = $1",
            settings.version.previous().get(),
            settings.clinic_name,
            settings.time_zone.name(),
            settings.address,
            settings.phone,
            settings.email,
            settings.currency.code(),
            settings.default_slot_minutes,
            settings.slot_grid_minutes,
            settings.smallest_notice_minutes,
            settings.largest_notice_days,
            settings.version.get(),
            settings.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn insert_room(&mut self, room: &Room) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO rooms (
                room_id, name, is_active, kind, position, version, created_at, updated_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            Uuid::from(room.room_id),
            room.name,
            room.is_active,
            room.kind,
            room.position,
            room.version.get(),
            room.created_at,
            room.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn room(&mut self, room_id: RoomId) -> Result<Option<Room>, StoreError> {
        let row = sqlx::query_as!(
            RoomRow,
            "SELECT room_id, name, is_active, kind, position, version, created_at, updated_at
            FROM rooms WHERE room_id = $1",
            Uuid::from(room_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(row.map(Room::from))
    }

    async fn update_room(&mut self, room: &Room) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE rooms
            SET name = $3, is_active = $4, kind = $5, position = $6, version = $7, updated_at = $8
            WHERE room_id = $1 AND version = $2",
            Uuid::from(room.room_id),
            room.version.previous().get(),
            room.name,
            room.is_active,
            room.kind,
            room.position,
            room.version.get(),
            room.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn delete_room(&mut self, room: &Room) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM rooms WHERE room_id = $1 AND version = $2",
            Uuid::from(room.room_id),
            room.version.get(),
        )
        .execute(self.connection())
        .await
        .map_err(delete_error)?;
        require_one_row(&result)
    }

    async fn rooms(
        &mut self,
        page: PageRequest<RoomKey>,
    ) -> Result<Page<Room, RoomKey>, StoreError> {
        let rows = sqlx::query_as!(
            RoomRow,
            "SELECT room_id, name, is_active, kind, position, version, created_at, updated_at
            FROM rooms
            WHERE $1::integer IS NULL OR (position, room_id) > ($1, $2)
            ORDER BY position, room_id LIMIT $3",
            page.after.map(|key| key.position),
            page.after.map(|key| Uuid::from(key.room_id)),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let rooms = rows.into_iter().map(Room::from).collect();
        Ok(Page::from_rows(rooms, &page, |room| RoomKey::from(room)))
    }

    async fn doctor(&mut self, doctor_id: UserId) -> Result<Option<Doctor>, StoreError> {
        let row = sqlx::query!(
            "SELECT user_id, display_name, usual_room_id AS \"usual_room_id?\",
                doctor_settings.version AS \"version?\"
            FROM users LEFT JOIN doctor_settings ON doctor_id = user_id
            WHERE user_id = $1 AND $2 = ANY (roles)",
            Uuid::from(doctor_id),
            Role::Doctor.as_str(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(row.map(|row| Doctor {
            doctor_id: row.user_id.into(),
            display_name: row.display_name,
            usual_room_id: row.usual_room_id.map(RoomId::from),
            version: row.version.map_or(Version::NEVER_CHANGED, Version::new),
        }))
    }

    async fn doctors_among(&mut self, user_ids: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let ids: Vec<Uuid> = user_ids.iter().copied().map(Uuid::from).collect();
        let doctor_ids = sqlx::query_scalar!(
            "SELECT user_id FROM users WHERE user_id = ANY ($1) AND $2 = ANY (roles)",
            &ids,
            Role::Doctor.as_str(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        Ok(doctor_ids.into_iter().map(UserId::from).collect())
    }

    async fn update_doctor(&mut self, doctor: &Doctor, at: Instant) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "INSERT INTO doctor_settings AS stored (doctor_id, usual_room_id, version, updated_at)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (doctor_id) DO UPDATE
            SET usual_room_id = excluded.usual_room_id, version = excluded.version,
                updated_at = excluded.updated_at
            WHERE stored.version = excluded.version - 1",
            Uuid::from(doctor.doctor_id),
            doctor.usual_room_id.map(Uuid::from),
            doctor.version.get(),
            at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn doctors(
        &mut self,
        page: PageRequest<UserId>,
    ) -> Result<Page<Doctor, UserId>, StoreError> {
        let rows = sqlx::query!(
            "SELECT user_id, display_name, usual_room_id AS \"usual_room_id?\",
                doctor_settings.version AS \"version?\"
            FROM users LEFT JOIN doctor_settings ON doctor_id = user_id
            WHERE is_active AND $3 = ANY (roles) AND ($1::uuid IS NULL OR user_id > $1)
            ORDER BY user_id LIMIT $2",
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
            Role::Doctor.as_str(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let doctors = rows
            .into_iter()
            .map(|row| Doctor {
                doctor_id: row.user_id.into(),
                display_name: row.display_name,
                usual_room_id: row.usual_room_id.map(RoomId::from),
                version: row.version.map_or(Version::NEVER_CHANGED, Version::new),
            })
            .collect();
        Ok(Page::from_rows(doctors, &page, |doctor: &Doctor| {
            doctor.doctor_id
        }))
    }
}
