use async_trait::async_trait;
use dcms_domain::access::Role;
use dcms_domain::clinic::{ClinicRepository, ClinicSettings, Doctor, Room};
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
                default_slot_minutes, version, updated_at
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
            version: Version::new(row.version),
            updated_at: row.updated_at,
        })
    }

    async fn update_settings(&mut self, settings: &ClinicSettings) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE clinic_settings
            SET clinic_name = $2, time_zone = $3, address = $4, phone = $5, email = $6,
                currency = $7, default_slot_minutes = $8, version = $9, updated_at = $10
            WHERE version = $1",
            settings.version.previous().get(),
            settings.clinic_name,
            settings.time_zone.name(),
            settings.address,
            settings.phone,
            settings.email,
            settings.currency.code(),
            settings.default_slot_minutes,
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
            "INSERT INTO rooms (room_id, name, is_active, version, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6)",
            Uuid::from(room.room_id),
            room.name,
            room.is_active,
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
            "SELECT room_id, name, is_active, version, created_at, updated_at
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
            "UPDATE rooms SET name = $3, is_active = $4, version = $5, updated_at = $6
            WHERE room_id = $1 AND version = $2",
            Uuid::from(room.room_id),
            room.version.previous().get(),
            room.name,
            room.is_active,
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

    async fn rooms(&mut self, page: PageRequest<RoomId>) -> Result<Page<Room, RoomId>, StoreError> {
        let rows = sqlx::query_as!(
            RoomRow,
            "SELECT room_id, name, is_active, version, created_at, updated_at
            FROM rooms
            WHERE $1::uuid IS NULL OR room_id > $1
            ORDER BY room_id LIMIT $2",
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let rooms = rows.into_iter().map(Room::from).collect();
        Ok(Page::from_rows(rooms, &page, |room: &Room| room.room_id))
    }

    async fn doctors(
        &mut self,
        page: PageRequest<UserId>,
    ) -> Result<Page<Doctor, UserId>, StoreError> {
        let rows = sqlx::query!(
            "SELECT user_id, display_name FROM users
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
            })
            .collect();
        Ok(Page::from_rows(doctors, &page, |doctor: &Doctor| {
            doctor.doctor_id
        }))
    }
}
