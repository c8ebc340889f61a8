use uuid::Uuid;

use super::Service;
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for Service {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Service, self.service_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            service_id: _,
            code,
            name,
            current_price,
            default_duration_minutes,
            is_active,
            buffer_minutes,
            room_kind,
            doctor_ids,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            ("code", code.into()),
            ("name", name.into()),
            ("current_price_cents", (*current_price).into()),
            (
                "default_duration_minutes",
                (*default_duration_minutes).into(),
            ),
            ("is_active", (*is_active).into()),
            ("buffer_minutes", (*buffer_minutes).into()),
            ("room_kind", room_kind.as_ref().into()),
            (
                "doctor_ids",
                AuditValue::list(doctor_ids.iter().map(|id| Uuid::from(*id).into())),
            ),
        ]
    }
}
