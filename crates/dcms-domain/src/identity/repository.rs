use async_trait::async_trait;

use super::{LiveAt, LiveSession, PasswordHash, Session, TokenHash, User};
use crate::shared::{Instant, Page, PageRequest, SessionId, UserId};
use crate::store::StoreError;

/// Keeps users.
///
/// `update` stores a user whose version was raised by one; when the stored one is not the version
/// before, it answers [`StoreError::Conflict`].
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait UserRepository: Send {
    /// Adds a user.
    async fn insert(&mut self, user: &User, password: &PasswordHash) -> Result<(), StoreError>;

    /// The user of that id.
    async fn get(&mut self, user_id: UserId) -> Result<Option<User>, StoreError>;

    /// Stores a changed user.
    async fn update(&mut self, user: &User) -> Result<(), StoreError>;

    /// Users in the order they were made.
    async fn list(&mut self, page: PageRequest<UserId>) -> Result<Page<User, UserId>, StoreError>;

    /// The user of that name, blind to case, with their password.
    async fn find_by_username(
        &mut self,
        username: &str,
    ) -> Result<Option<(User, PasswordHash)>, StoreError>;

    /// The password of a user.
    async fn password(&mut self, user_id: UserId) -> Result<Option<PasswordHash>, StoreError>;

    /// The user of that id with their password, held against change until the unit of work ends.
    async fn lock(&mut self, user_id: UserId) -> Result<Option<(User, PasswordHash)>, StoreError>;

    /// Gives a user another password; their version stays.
    async fn set_password(
        &mut self,
        user_id: UserId,
        password: &PasswordHash,
    ) -> Result<(), StoreError>;

    /// The active admins, held against change until the unit of work ends, in the order of their
    /// ids, so that two who demote each other take turns.
    async fn lock_active_admins(&mut self) -> Result<Vec<UserId>, StoreError>;
}

/// Keeps sessions.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait SessionRepository: Send {
    /// Adds a session.
    async fn insert(&mut self, session: &Session, token: TokenHash) -> Result<(), StoreError>;

    /// The session that is not revoked and has this token, with its user's standing.
    async fn find_by_token(&mut self, token: TokenHash) -> Result<Option<LiveSession>, StoreError>;

    /// The same for many tokens at once; tokens of no such session are left out.
    async fn find_by_tokens(
        &mut self,
        tokens: &[TokenHash],
    ) -> Result<Vec<(TokenHash, LiveSession)>, StoreError>;

    /// The session that is not revoked and had this token before another one.
    async fn find_by_retired_token(
        &mut self,
        token: TokenHash,
    ) -> Result<Option<Session>, StoreError>;

    /// Gives a live session that has the token `old` the token `new` and marks it as seen; answers
    /// it as it is then, nothing when there is none. The old token stays known as retired.
    async fn rotate(
        &mut self,
        session_id: SessionId,
        old: TokenHash,
        new: TokenHash,
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError>;

    /// Live sessions in the order of log-in, of one user or of all.
    async fn list_live(
        &mut self,
        user_id: Option<UserId>,
        live: LiveAt,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, StoreError>;

    /// Ends a live session, of this user when one is named. Answers it when there was one.
    async fn revoke(
        &mut self,
        session_id: SessionId,
        user_id: Option<UserId>,
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError>;

    /// Ends a user's sessions, all but `keep`, and those in which they act as somebody else.
    async fn revoke_all(
        &mut self,
        user_id: UserId,
        keep: Option<SessionId>,
        now: Instant,
    ) -> Result<(), StoreError>;

    /// Ends the sessions in which a user acts as somebody else.
    async fn revoke_impersonations_by(
        &mut self,
        user_id: UserId,
        now: Instant,
    ) -> Result<(), StoreError>;

    /// Ends a user's oldest live sessions until at most `keep` are left. Those in which an admin
    /// acts as the user neither count nor end.
    async fn revoke_oldest(
        &mut self,
        user_id: UserId,
        keep: usize,
        live: LiveAt,
    ) -> Result<(), StoreError>;

    /// Notes when sessions were last seen; never earlier than what is known. Outside of a unit of
    /// work it stands at once.
    async fn mark_seen(&mut self, seen: &[(SessionId, Instant)]) -> Result<(), StoreError>;

    /// Forgets at most `limit` sessions that expired before `before`; answers how many. Outside of
    /// a unit of work it stands at once.
    async fn forget_expired(&mut self, before: Instant, limit: u32) -> Result<u32, StoreError>;
}
