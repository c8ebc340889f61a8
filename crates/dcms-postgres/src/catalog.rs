use async_trait::async_trait;
use dcms_domain::catalog::{Service, ServiceFilter, ServiceRepository};
use dcms_domain::shared::{Cents, Instant, Page, PageRequest, ServiceId, UserId, Version};
use dcms_domain::store::StoreError;
use uuid::Uuid;

use crate::error::{delete_error, store_error};
use crate::session::{PgSession, require_change, require_one_row};

struct ServiceRow {
    service_id: Uuid,
    code: String,
    name: String,
    current_price_cents: i64,
    default_duration_minutes: Option<i32>,
    is_active: bool,
    buffer_minutes: i32,
    room_kind: Option<String>,
    doctor_ids: Vec<Uuid>,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

impl From<ServiceRow> for Service {
    fn from(row: ServiceRow) -> Self {
        Self {
            service_id: row.service_id.into(),
            code: row.code,
            name: row.name,
            current_price: Cents::new(row.current_price_cents),
            default_duration_minutes: row.default_duration_minutes,
            is_active: row.is_active,
            buffer_minutes: row.buffer_minutes,
            room_kind: row.room_kind,
            doctor_ids: row.doctor_ids.into_iter().map(UserId::from).collect(),
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Reads the services that `$which`, the clauses behind FROM, leaves.
macro_rules! select_services {
    ($which:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            ServiceRow,
            "SELECT service_id, code, name, current_price_cents, default_duration_minutes,
                is_active, buffer_minutes, room_kind,
                ARRAY (
                    SELECT doctor_id FROM service_doctors
                    WHERE service_doctors.service_id = services.service_id ORDER BY doctor_id
                ) AS \"doctor_ids!\",
                version, created_at, updated_at
            FROM services " + $which,
            $($argument),+
        )
    };
}

fn doctor_ids(service: &Service) -> Vec<Uuid> {
    service.doctor_ids.iter().copied().map(Uuid::from).collect()
}

#[async_trait]
impl ServiceRepository for PgSession {
    async fn insert(&mut self, service: &Service) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH service AS (
                INSERT INTO services (
                    service_id, code, name, current_price_cents, default_duration_minutes,
                    is_active, buffer_minutes, room_kind, version, created_at, updated_at
                ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            )
            INSERT INTO service_doctors (service_id, doctor_id)
            SELECT $1, doctor_id FROM UNNEST($12::uuid[]) AS doctor_id",
            Uuid::from(service.service_id),
            service.code,
            service.name,
            service.current_price.get(),
            service.default_duration_minutes,
            service.is_active,
            service.buffer_minutes,
            service.room_kind,
            service.version.get(),
            service.created_at,
            service.updated_at,
            &doctor_ids(service),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn get(&mut self, service_id: ServiceId) -> Result<Option<Service>, StoreError> {
        let row = select_services!("WHERE service_id = $1", Uuid::from(service_id),)
            .fetch_optional(self.connection())
            .await
            .map_err(store_error)?;
        Ok(row.map(Service::from))
    }

    async fn get_many(&mut self, service_ids: &[ServiceId]) -> Result<Vec<Service>, StoreError> {
        let ids: Vec<Uuid> = service_ids.iter().copied().map(Uuid::from).collect();
        let rows = select_services!("WHERE service_id = ANY ($1)", &ids,)
            .fetch_all(self.connection())
            .await
            .map_err(store_error)?;
        Ok(rows.into_iter().map(Service::from).collect())
    }

    async fn update(&mut self, service: &Service) -> Result<(), StoreError> {
        // The statements about who performs it touch different rows, so it does not matter which
        // one PostgreSQL does first.
        let changed = sqlx::query_scalar!(
            "WITH changed AS (
                UPDATE services
                SET code = $3, name = $4, current_price_cents = $5, default_duration_minutes = $6,
                    is_active = $7, buffer_minutes = $8, room_kind = $9, version = $10,
                    updated_at = $11
                WHERE service_id = $1 AND version = $2
                RETURNING service_id
            ), dropped AS (
                DELETE FROM service_doctors USING changed
                WHERE service_doctors.service_id = changed.service_id
                    AND doctor_id <> ALL ($12::uuid[])
            ), named AS (
                INSERT INTO service_doctors (service_id, doctor_id)
                SELECT service_id, doctor_id
                FROM changed CROSS JOIN UNNEST($12::uuid[]) AS doctor_id
                ON CONFLICT DO NOTHING
            )
            SELECT EXISTS (SELECT FROM changed) AS \"changed!\"",
            Uuid::from(service.service_id),
            service.version.previous().get(),
            service.code,
            service.name,
            service.current_price.get(),
            service.default_duration_minutes,
            service.is_active,
            service.buffer_minutes,
            service.room_kind,
            service.version.get(),
            service.updated_at,
            &doctor_ids(service),
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        require_change(changed)
    }

    async fn delete(&mut self, service: &Service) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM services WHERE service_id = $1 AND version = $2",
            Uuid::from(service.service_id),
            service.version.get(),
        )
        .execute(self.connection())
        .await
        .map_err(delete_error)?;
        require_one_row(&result)
    }

    async fn list(
        &mut self,
        filter: &ServiceFilter,
        page: PageRequest<ServiceId>,
    ) -> Result<Page<Service, ServiceId>, StoreError> {
        // A catalog is small, so it is read through; strpos knows no wildcards.
        let rows = select_services!(
            "WHERE ($1::text IS NULL OR strpos(search_text, folded($1)) > 0)
                AND ($2::boolean IS NULL OR is_active = $2)
                AND ($3::uuid IS NULL OR service_id > $3)
            ORDER BY service_id LIMIT $4",
            filter.query,
            filter.active,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let services = rows.into_iter().map(Service::from).collect();
        Ok(Page::from_rows(services, &page, |service: &Service| {
            service.service_id
        }))
    }
}
