use super::User;
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for User {
    fn subject(&self) -> Subject {
        Subject::new(Entity::User, self.user_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            user_id: _,
            username,
            display_name,
            roles,
            is_active,
            must_change_password,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        let roles = roles.iter().map(|role| role.as_str().into());
        vec![
            ("username", username.into()),
            ("display_name", display_name.into()),
            ("roles", AuditValue::list(roles)),
            ("is_active", (*is_active).into()),
            ("must_change_password", (*must_change_password).into()),
        ]
    }
}
