use uuid::Uuid;

use super::{Appointment, PlannedService};
use crate::audit::{AuditAction, AuditValue, Audited, Entity, Subject};

impl Audited for Appointment {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Appointment, self.appointment_id).of(self.patient_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            appointment_id: _,
            patient_id,
            doctor_id,
            room_id,
            slot,
            room_free_at,
            status,
            arrived_at,
            seated_at,
            completed_at,
            notes,
            services,
            overbook_reason,
            accepted_obstacles,
            cancel_reason,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            ("patient_id", Uuid::from(*patient_id).into()),
            ("doctor_id", Uuid::from(*doctor_id).into()),
            ("room_id", room_id.map(Uuid::from).into()),
            ("starts_at", slot.starts_at().into()),
            ("ends_at", slot.ends_at().into()),
            (
                "room_free_at",
                Some(*room_free_at)
                    .filter(|free_at| *free_at > slot.ends_at())
                    .into(),
            ),
            ("status", status.as_str().into()),
            ("arrived_at", (*arrived_at).into()),
            ("seated_at", (*seated_at).into()),
            ("completed_at", (*completed_at).into()),
            ("notes", notes.as_ref().into()),
            ("services", AuditValue::list(services.iter().map(planned))),
            ("overbook_reason", overbook_reason.as_ref().into()),
            (
                "accepted_obstacles",
                AuditValue::list(
                    accepted_obstacles
                        .iter()
                        .map(|obstacle| obstacle.to_string().into()),
                ),
            ),
            ("cancel_reason", cancel_reason.as_ref().into()),
        ]
    }
}

fn planned(service: &PlannedService) -> AuditValue {
    AuditValue::Record(vec![
        ("service_id".into(), Uuid::from(service.service_id).into()),
        ("qty".into(), service.quantity.get().into()),
        ("unit_price_cents".into(), service.unit_price.into()),
    ])
}

impl From<super::Action> for AuditAction {
    fn from(action: super::Action) -> Self {
        match action {
            super::Action::Confirm => Self::Confirm,
            super::Action::Arrive => Self::Arrive,
            super::Action::Start => Self::Start,
            super::Action::Complete => Self::Complete,
            super::Action::Cancel => Self::Cancel,
            super::Action::NoShow => Self::NoShow,
            super::Action::Reschedule => Self::Reschedule,
        }
    }
}
