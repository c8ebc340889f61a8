use async_trait::async_trait;
use dcms_domain::access::{Actor, Role, Roles};
use dcms_domain::identity::{
    LiveSession, PasswordHash, Session, SessionRepository, TokenHash, User, UserRepository,
};
use dcms_domain::shared::{Instant, Page, PageRequest, SessionId, UserId, Version};
use dcms_domain::store::StoreError;
use uuid::Uuid;

use crate::error::{known, store_error};
use crate::session::{PgSession, require_one_row};

struct UserRow {
    user_id: Uuid,
    username: String,
    display_name: String,
    roles: Vec<String>,
    is_active: bool,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            user_id: row.user_id.into(),
            username: row.username,
            display_name: row.display_name,
            roles: roles(&row.roles)?,
            is_active: row.is_active,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn roles(names: &[String]) -> Result<Roles, StoreError> {
    names
        .iter()
        .map(|name| known(Role::from_name(name), "users.roles"))
        .collect()
}

fn role_names(roles: Roles) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}

struct SessionRow {
    session_id: Uuid,
    user_id: Uuid,
    device_name: Option<String>,
    created_at: Instant,
    expires_at: Instant,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            session_id: row.session_id.into(),
            user_id: row.user_id.into(),
            device_name: row.device_name,
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

#[async_trait]
impl UserRepository for PgSession {
    async fn insert(&mut self, user: &User, password: &PasswordHash) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO users (
                user_id, username, display_name, password_hash, roles, is_active, version,
                created_at, updated_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            Uuid::from(user.user_id),
            user.username,
            user.display_name,
            password.as_str(),
            &role_names(user.roles),
            user.is_active,
            user.version.get(),
            user.created_at,
            user.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn get(&mut self, user_id: UserId) -> Result<Option<User>, StoreError> {
        sqlx::query_as!(
            UserRow,
            "SELECT user_id, username, display_name, roles, is_active, version, created_at,
                updated_at
            FROM users WHERE user_id = $1",
            Uuid::from(user_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(User::try_from)
        .transpose()
    }

    async fn update(&mut self, user: &User) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE users
            SET username = $3, display_name = $4, roles = $5, is_active = $6, version = $7,
                updated_at = $8
            WHERE user_id = $1 AND version = $2",
            Uuid::from(user.user_id),
            user.version.previous().get(),
            user.username,
            user.display_name,
            &role_names(user.roles),
            user.is_active,
            user.version.get(),
            user.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn list(&mut self, page: PageRequest<UserId>) -> Result<Page<User, UserId>, StoreError> {
        let rows = sqlx::query_as!(
            UserRow,
            "SELECT user_id, username, display_name, roles, is_active, version, created_at,
                updated_at
            FROM users
            WHERE $1::uuid IS NULL OR user_id > $1
            ORDER BY user_id LIMIT $2",
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let users = rows
            .into_iter()
            .map(User::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(users, &page, |user: &User| user.user_id))
    }

    async fn find_by_username(
        &mut self,
        username: &str,
    ) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let Some(row) = sqlx::query!(
            "SELECT user_id, username, display_name, password_hash, roles, is_active, version,
                created_at, updated_at
            FROM users WHERE lower(username) = lower($1)",
            username,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        else {
            return Ok(None);
        };
        let user = User {
            user_id: row.user_id.into(),
            username: row.username,
            display_name: row.display_name,
            roles: roles(&row.roles)?,
            is_active: row.is_active,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Ok(Some((user, PasswordHash::new(row.password_hash))))
    }

    async fn password(&mut self, user_id: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let hash = sqlx::query_scalar!(
            "SELECT password_hash FROM users WHERE user_id = $1",
            Uuid::from(user_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(hash.map(PasswordHash::new))
    }

    async fn set_password(
        &mut self,
        user_id: UserId,
        password: &PasswordHash,
    ) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE users SET password_hash = $2 WHERE user_id = $1",
            Uuid::from(user_id),
            password.as_str(),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn lock_active_admins(&mut self) -> Result<Vec<UserId>, StoreError> {
        // NO KEY: bookings and log-ins, which only refer to a user, need not wait.
        let ids = sqlx::query_scalar!(
            "SELECT user_id FROM users
            WHERE is_active AND 'admin' = ANY (roles)
            ORDER BY user_id
            FOR NO KEY UPDATE",
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        Ok(ids.into_iter().map(UserId::from).collect())
    }
}

#[async_trait]
impl SessionRepository for PgSession {
    async fn insert(&mut self, session: &Session, token: TokenHash) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO sessions (
                session_id, user_id, token_hash, device_name, created_at, expires_at
            ) VALUES ($1, $2, $3, $4, $5, $6)",
            Uuid::from(session.session_id),
            Uuid::from(session.user_id),
            token.0.as_slice(),
            session.device_name,
            session.created_at,
            session.expires_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn find_by_token(&mut self, token: TokenHash) -> Result<Option<LiveSession>, StoreError> {
        let Some(row) = sqlx::query!(
            "SELECT session_id, expires_at, user_id, roles, is_active
            FROM sessions JOIN users USING (user_id)
            WHERE token_hash = $1 AND revoked_at IS NULL",
            token.0.as_slice(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        else {
            return Ok(None);
        };
        Ok(Some(LiveSession {
            actor: Actor {
                user_id: row.user_id.into(),
                session_id: row.session_id.into(),
                roles: roles(&row.roles)?,
            },
            expires_at: row.expires_at,
            user_is_active: row.is_active,
        }))
    }

    async fn rotate(
        &mut self,
        session_id: SessionId,
        token: TokenHash,
        now: Instant,
        expires_at: Instant,
    ) -> Result<Option<Session>, StoreError> {
        let row = sqlx::query_as!(
            SessionRow,
            "UPDATE sessions SET token_hash = $2, expires_at = $4
            WHERE session_id = $1 AND revoked_at IS NULL AND expires_at > $3
            RETURNING session_id, user_id, device_name, created_at, expires_at",
            Uuid::from(session_id),
            token.0.as_slice(),
            now,
            expires_at,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        Ok(row.map(Session::from))
    }

    async fn list_live(
        &mut self,
        user_id: Option<UserId>,
        now: Instant,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, StoreError> {
        let rows = sqlx::query_as!(
            SessionRow,
            "SELECT session_id, user_id, device_name, created_at, expires_at
            FROM sessions
            WHERE revoked_at IS NULL AND expires_at > $2
                AND ($1::uuid IS NULL OR user_id = $1)
                AND ($3::uuid IS NULL OR session_id > $3)
            ORDER BY session_id LIMIT $4",
            user_id.map(Uuid::from),
            now,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let sessions = rows.into_iter().map(Session::from).collect();
        Ok(Page::from_rows(sessions, &page, |session: &Session| {
            session.session_id
        }))
    }

    async fn revoke(
        &mut self,
        session_id: SessionId,
        user_id: Option<UserId>,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "UPDATE sessions SET revoked_at = $3
            WHERE session_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
                AND revoked_at IS NULL AND expires_at > $3",
            Uuid::from(session_id),
            user_id.map(Uuid::from),
            now,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(result.rows_affected() == 1)
    }

    async fn revoke_all(
        &mut self,
        user_id: UserId,
        keep: Option<SessionId>,
        now: Instant,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sessions SET revoked_at = $3
            WHERE user_id = $1 AND session_id IS DISTINCT FROM $2
                AND revoked_at IS NULL AND expires_at > $3",
            Uuid::from(user_id),
            keep.map(Uuid::from),
            now,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }
}
