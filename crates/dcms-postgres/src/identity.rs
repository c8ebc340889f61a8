use async_trait::async_trait;
use dcms_domain::access::{Role, Roles};
use dcms_domain::identity::{
    LiveAt, LiveSession, PasswordHash, Session, SessionRepository, TokenHash, User, UserRepository,
};
use dcms_domain::shared::{Instant, Page, PageRequest, SessionId, UserId, Version};
use dcms_domain::store::StoreError;
use uuid::Uuid;

use crate::audit::address;
use crate::error::{known, store_error};
use crate::session::{PgSession, require_one_row};

struct UserRow {
    user_id: Uuid,
    username: String,
    display_name: String,
    roles: Vec<String>,
    is_active: bool,
    must_change_password: bool,
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
            must_change_password: row.must_change_password,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

struct UserWithPasswordRow {
    user_id: Uuid,
    username: String,
    display_name: String,
    roles: Vec<String>,
    is_active: bool,
    must_change_password: bool,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
    password_hash: String,
}

impl TryFrom<UserWithPasswordRow> for (User, PasswordHash) {
    type Error = StoreError;

    fn try_from(row: UserWithPasswordRow) -> Result<Self, StoreError> {
        let user = UserRow {
            user_id: row.user_id,
            username: row.username,
            display_name: row.display_name,
            roles: row.roles,
            is_active: row.is_active,
            must_change_password: row.must_change_password,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Ok((user.try_into()?, PasswordHash::new(row.password_hash)))
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
    address: Option<String>,
    agent: Option<String>,
    impersonator_id: Option<Uuid>,
    created_at: Instant,
    last_seen_at: Instant,
    expires_at: Instant,
}

impl TryFrom<SessionRow> for Session {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        Ok(Self {
            session_id: row.session_id.into(),
            user_id: row.user_id.into(),
            device_name: row.device_name,
            address: row.address.map(|text| address(&text)).transpose()?,
            agent: row.agent,
            impersonator_id: row.impersonator_id.map(Into::into),
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
        })
    }
}

#[async_trait]
impl UserRepository for PgSession {
    async fn insert(&mut self, user: &User, password: &PasswordHash) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO users (
                user_id, username, display_name, password_hash, roles, is_active,
                must_change_password, version, created_at, updated_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            Uuid::from(user.user_id),
            user.username,
            user.display_name,
            password.as_str(),
            &role_names(user.roles),
            user.is_active,
            user.must_change_password,
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
            "SELECT user_id, username, display_name, roles, is_active, must_change_password,
                version, created_at, updated_at
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
            SET username = $3, display_name = $4, roles = $5, is_active = $6,
                must_change_password = $7, version = $8, updated_at = $9
            WHERE user_id = $1 AND version = $2",
            Uuid::from(user.user_id),
            user.version.previous().get(),
            user.username,
            user.display_name,
            &role_names(user.roles),
            user.is_active,
            user.must_change_password,
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
            "SELECT user_id, username, display_name, roles, is_active, must_change_password,
                version, created_at, updated_at
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
        sqlx::query_as!(
            UserWithPasswordRow,
            "SELECT user_id, username, display_name, roles, is_active, must_change_password,
                version, created_at, updated_at, password_hash
            FROM users WHERE lower(username) = lower($1)",
            username,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(TryInto::try_into)
        .transpose()
    }

    async fn lock(&mut self, user_id: UserId) -> Result<Option<(User, PasswordHash)>, StoreError> {
        // NO KEY: what only refers to the user need not wait; bookings of a doctor do.
        sqlx::query_as!(
            UserWithPasswordRow,
            "SELECT user_id, username, display_name, roles, is_active, must_change_password,
                version, created_at, updated_at, password_hash
            FROM users WHERE user_id = $1
            FOR NO KEY UPDATE",
            Uuid::from(user_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(TryInto::try_into)
        .transpose()
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
        // NO KEY: what only refers to a user need not wait; log-ins of admins do.
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

/// What the tokens of several sessions lead to.
async fn sessions_with_tokens(
    session: &mut PgSession,
    tokens: &[TokenHash],
) -> Result<Vec<(TokenHash, LiveSession)>, StoreError> {
    let hashes: Vec<Vec<u8>> = tokens.iter().map(|token| token.0.to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT token_hash, session_id, expires_at, last_seen_at, impersonator_id, user_id,
            owner.roles, owner.must_change_password,
            owner.is_active AND (
                impersonator_id IS NULL OR EXISTS (
                    SELECT FROM users AS impersonator
                    WHERE impersonator.user_id = impersonator_id
                        AND impersonator.is_active AND 'admin' = ANY (impersonator.roles)
                )
            ) AS "may_act!"
        FROM sessions JOIN users AS owner USING (user_id)
        WHERE token_hash = ANY ($1) AND revoked_at IS NULL"#,
        &hashes,
    )
    .fetch_all(session.connection())
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|row| {
            let token = known(row.token_hash.try_into().ok(), "sessions.token_hash")?;
            let session = LiveSession {
                session_id: row.session_id.into(),
                user_id: row.user_id.into(),
                roles: roles(&row.roles)?,
                must_change_password: row.must_change_password,
                impersonator_id: row.impersonator_id.map(Into::into),
                may_act: row.may_act,
                last_seen_at: row.last_seen_at,
                expires_at: row.expires_at,
            };
            Ok((TokenHash(token), session))
        })
        .collect()
}

#[async_trait]
impl SessionRepository for PgSession {
    async fn insert(&mut self, session: &Session, token: TokenHash) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO sessions (
                session_id, user_id, token_hash, device_name, address, agent, impersonator_id,
                created_at, last_seen_at, expires_at
            ) VALUES ($1, $2, $3, $4, $5::text::inet, $6, $7, $8, $9, $10)",
            Uuid::from(session.session_id),
            Uuid::from(session.user_id),
            token.0.as_slice(),
            session.device_name,
            session.address.map(|address| address.to_string()),
            session.agent,
            session.impersonator_id.map(Uuid::from),
            session.created_at,
            session.last_seen_at,
            session.expires_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn find_by_token(&mut self, token: TokenHash) -> Result<Option<LiveSession>, StoreError> {
        let found = sessions_with_tokens(self, &[token]).await?;
        Ok(found.into_iter().next().map(|(_, session)| session))
    }

    async fn find_by_tokens(
        &mut self,
        tokens: &[TokenHash],
    ) -> Result<Vec<(TokenHash, LiveSession)>, StoreError> {
        sessions_with_tokens(self, tokens).await
    }

    async fn find_by_retired_token(
        &mut self,
        token: TokenHash,
    ) -> Result<Option<Session>, StoreError> {
        sqlx::query_as!(
            SessionRow,
            "SELECT session_id, user_id, device_name, host(address) AS address, agent,
                impersonator_id, created_at, last_seen_at, expires_at
            FROM retired_tokens JOIN sessions USING (session_id)
            WHERE retired_tokens.token_hash = $1 AND revoked_at IS NULL",
            token.0.as_slice(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Session::try_from)
        .transpose()
    }

    async fn rotate(
        &mut self,
        session_id: SessionId,
        old: TokenHash,
        new: TokenHash,
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError> {
        sqlx::query_as!(
            SessionRow,
            r#"WITH rotated AS (
                UPDATE sessions SET token_hash = $3, last_seen_at = $4
                WHERE session_id = $1 AND token_hash = $2 AND revoked_at IS NULL
                    AND expires_at > $4 AND last_seen_at > $5
                RETURNING *
            ), retired AS (
                INSERT INTO retired_tokens (token_hash, session_id)
                SELECT $2, session_id FROM rotated
            )
            SELECT session_id AS "session_id!", user_id AS "user_id!", device_name,
                host(address) AS address, agent, impersonator_id, created_at AS "created_at!",
                last_seen_at AS "last_seen_at!", expires_at AS "expires_at!"
            FROM rotated"#,
            Uuid::from(session_id),
            old.0.as_slice(),
            new.0.as_slice(),
            live.now,
            live.seen_after,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Session::try_from)
        .transpose()
    }

    async fn list_live(
        &mut self,
        user_id: Option<UserId>,
        live: LiveAt,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, StoreError> {
        let rows = sqlx::query_as!(
            SessionRow,
            "SELECT session_id, user_id, device_name, host(address) AS address, agent,
                impersonator_id, created_at, last_seen_at, expires_at
            FROM sessions
            WHERE revoked_at IS NULL AND expires_at > $2 AND last_seen_at > $3
                AND ($1::uuid IS NULL OR user_id = $1)
                AND ($4::uuid IS NULL OR session_id > $4)
            ORDER BY session_id LIMIT $5",
            user_id.map(Uuid::from),
            live.now,
            live.seen_after,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let sessions = rows
            .into_iter()
            .map(Session::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(sessions, &page, |session: &Session| {
            session.session_id
        }))
    }

    async fn revoke(
        &mut self,
        session_id: SessionId,
        user_id: Option<UserId>,
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError> {
        sqlx::query_as!(
            SessionRow,
            "UPDATE sessions SET revoked_at = $3
            WHERE session_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
                AND revoked_at IS NULL AND expires_at > $3 AND last_seen_at > $4
            RETURNING session_id, user_id, device_name, host(address) AS address, agent,
                impersonator_id, created_at, last_seen_at, expires_at",
            Uuid::from(session_id),
            user_id.map(Uuid::from),
            live.now,
            live.seen_after,
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Session::try_from)
        .transpose()
    }

    async fn revoke_all(
        &mut self,
        user_id: UserId,
        keep: Option<SessionId>,
        now: Instant,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sessions SET revoked_at = $3
            WHERE (user_id = $1 OR impersonator_id = $1) AND session_id IS DISTINCT FROM $2
                AND revoked_at IS NULL",
            Uuid::from(user_id),
            keep.map(Uuid::from),
            now,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn revoke_impersonations_by(
        &mut self,
        user_id: UserId,
        now: Instant,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sessions SET revoked_at = $2 WHERE impersonator_id = $1 AND revoked_at IS NULL",
            Uuid::from(user_id),
            now,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn revoke_oldest(
        &mut self,
        user_id: UserId,
        keep: usize,
        live: LiveAt,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sessions SET revoked_at = $3
            WHERE session_id IN (
                SELECT session_id FROM sessions
                WHERE user_id = $1 AND impersonator_id IS NULL AND revoked_at IS NULL
                    AND expires_at > $3 AND last_seen_at > $4
                ORDER BY session_id DESC OFFSET $2
            )",
            Uuid::from(user_id),
            i64::try_from(keep).unwrap_or(i64::MAX),
            live.now,
            live.seen_after,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn mark_seen(&mut self, seen: &[(SessionId, Instant)]) -> Result<(), StoreError> {
        let (ids, instants): (Vec<Uuid>, Vec<Instant>) =
            seen.iter().map(|(id, at)| (Uuid::from(*id), *at)).unzip();
        // In one order, so that two who mark the same sessions do not wait for each other.
        sqlx::query!(
            "WITH seen AS (
                SELECT session_id, at
                FROM unnest($1::uuid[], $2::timestamptz[]) AS seen (session_id, at)
            ), held AS (
                SELECT session_id FROM sessions JOIN seen USING (session_id)
                ORDER BY session_id FOR NO KEY UPDATE OF sessions
            )
            UPDATE sessions SET last_seen_at = greatest(last_seen_at, seen.at)
            FROM seen JOIN held USING (session_id)
            WHERE sessions.session_id = seen.session_id",
            &ids,
            &instants,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn forget_expired(&mut self, before: Instant, limit: u32) -> Result<u32, StoreError> {
        let deleted = sqlx::query!(
            "DELETE FROM sessions WHERE session_id IN (
                SELECT session_id FROM sessions WHERE expires_at < $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )",
            before,
            i64::from(limit),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        // No more than the limit.
        Ok(u32::try_from(deleted.rows_affected()).unwrap_or(limit))
    }
}
