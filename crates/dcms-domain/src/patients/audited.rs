use super::{Contact, Patient};
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for Patient {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Patient, self.patient_id).of(self.patient_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            patient_id: _,
            register_number,
            first_name,
            last_name,
            birthday,
            gender,
            notes,
            archived_at,
            anonymized_at,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            ("register_number", register_number.get().into()),
            ("first_name", first_name.into()),
            ("last_name", last_name.into()),
            ("birthday", (*birthday).into()),
            ("gender", gender.as_str().into()),
            ("notes", notes.as_ref().into()),
            ("archived_at", (*archived_at).into()),
            ("anonymized_at", (*anonymized_at).into()),
        ]
    }
}

impl Audited for Contact {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Contact, self.contact_id).of(self.patient_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            contact_id: _,
            patient_id: _,
            contact_type,
            value,
            label,
            is_primary,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            ("type", contact_type.as_str().into()),
            ("value", value.into()),
            ("label", label.as_ref().into()),
            ("is_primary", (*is_primary).into()),
        ]
    }
}
