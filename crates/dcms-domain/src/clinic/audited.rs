use uuid::Uuid;

use super::{ClinicSettings, Doctor, Room};
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for ClinicSettings {
    fn subject(&self) -> Subject {
        // There is one, and it needs no id.
        Subject::list(Entity::Clinic)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            clinic_name,
            time_zone,
            address,
            phone,
            email,
            currency,
            default_slot_minutes,
            slot_grid_minutes,
            smallest_notice_minutes,
            largest_notice_days,
            version: _,
            updated_at: _,
        } = self;
        vec![
            ("clinic_name", clinic_name.into()),
            ("time_zone", time_zone.name().into()),
            ("address", address.as_ref().into()),
            ("phone", phone.as_ref().into()),
            ("email", email.as_ref().into()),
            ("currency", currency.code().into()),
            ("default_slot_minutes", (*default_slot_minutes).into()),
            ("slot_grid_minutes", (*slot_grid_minutes).into()),
            ("smallest_notice_minutes", (*smallest_notice_minutes).into()),
            ("largest_notice_days", (*largest_notice_days).into()),
        ]
    }
}

impl Audited for Room {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Room, self.room_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            room_id: _,
            name,
            is_active,
            kind,
            position,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            ("name", name.into()),
            ("is_active", (*is_active).into()),
            ("kind", kind.as_ref().into()),
            ("position", (*position).into()),
        ]
    }
}

impl Audited for Doctor {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Doctor, self.doctor_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            doctor_id: _,
            // Changed with the user, and told there.
            display_name: _,
            usual_room_id,
            version: _,
        } = self;
        vec![("usual_room_id", usual_room_id.map(Uuid::from).into())]
    }
}
