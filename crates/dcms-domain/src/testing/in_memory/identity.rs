use async_trait::async_trait;

use super::{Connection, State, StoredSession, forms, hold, page, same_text};
use crate::access::{Actor, Role};
use crate::identity::{
    LiveSession, PasswordHash, Session, SessionRepository, TokenHash, User, UserRepository,
};
use crate::shared::{Instant, Page, PageRequest, SessionId, UserId};
use crate::store::{Rule, StoreError};

impl State {
    fn check_username_free(&self, user: &User) -> Result<(), StoreError> {
        let is_taken = self.users.values().any(|(other, _)| {
            other.user_id != user.user_id && same_text(&other.username, &user.username)
        });
        hold(Rule::UsernameTaken, !is_taken)
    }

    fn check_token_unused(&self, token: TokenHash) -> Result<(), StoreError> {
        let is_used = self.sessions.values().any(|stored| stored.token == token);
        hold(Rule::IdentifierTaken, !is_used)
    }
}

#[async_trait]
impl UserRepository for Connection {
    async fn insert(&mut self, user: &User, password: &PasswordHash) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[user, password])?;
            hold(
                Rule::IdentifierTaken,
                !state.users.contains_key(&user.user_id),
            )?;
            state.check_username_free(user)?;
            let stored = (user.clone(), password.clone());
            state.users.insert(user.user_id, stored);
            Ok(())
        })
    }

    async fn get(&mut self, user_id: UserId) -> Result<Option<User>, StoreError> {
        let state = self.read()?;
        Ok(state.users.get(&user_id).map(|(user, _)| user.clone()))
    }

    async fn update(&mut self, user: &User) -> Result<(), StoreError> {
        self.write(|state| {
            let (stored, _) = state
                .users
                .get_mut(&user.user_id)
                .filter(|(stored, _)| stored.version == user.version.previous())
                .ok_or(StoreError::Conflict)?;
            *stored = user.clone();
            forms::check(&[user])?;
            state.check_username_free(user)
        })
    }

    async fn list(
        &mut self,
        request: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, StoreError> {
        let state = self.read()?;
        Ok(page(
            state.users.values().map(|(user, _)| user.clone()),
            &request,
            |user, after| user.user_id > *after,
            |user| user.user_id,
        ))
    }

    async fn find_by_username(
        &mut self,
        username: &str,
    ) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let state = self.read()?;
        let mut users = state.users.values();
        Ok(users
            .find(|(user, _)| same_text(&user.username, username))
            .cloned())
    }

    async fn password(&mut self, user_id: UserId) -> Result<Option<PasswordHash>, StoreError> {
        let state = self.read()?;
        Ok(state
            .users
            .get(&user_id)
            .map(|(_, password)| password.clone()))
    }

    async fn set_password(
        &mut self,
        user_id: UserId,
        password: &PasswordHash,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[password])?;
            if let Some((_, stored)) = state.users.get_mut(&user_id) {
                *stored = password.clone();
            }
            Ok(())
        })
    }

    async fn lock_active_admins(&mut self) -> Result<Vec<UserId>, StoreError> {
        let state = self.read()?;
        Ok(state
            .users
            .values()
            .filter(|(user, _)| user.is_active && user.roles.contains(Role::Admin))
            .map(|(user, _)| user.user_id)
            .collect())
    }
}

impl StoredSession {
    fn is_live(&self, now: Instant) -> bool {
        self.revoked_at.is_none() && now < self.session.expires_at
    }
}

#[async_trait]
impl SessionRepository for Connection {
    async fn insert(&mut self, session: &Session, token: TokenHash) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[session])?;
            hold(
                Rule::IdentifierTaken,
                !state.sessions.contains_key(&session.session_id),
            )?;
            state.check_token_unused(token)?;
            hold(
                Rule::UserUnknown,
                state.users.contains_key(&session.user_id),
            )?;
            let stored = StoredSession {
                session: session.clone(),
                token,
                revoked_at: None,
            };
            state.sessions.insert(session.session_id, stored);
            Ok(())
        })
    }

    async fn find_by_token(&mut self, token: TokenHash) -> Result<Option<LiveSession>, StoreError> {
        let state = self.read()?;
        let found = state
            .sessions
            .values()
            .find(|stored| stored.token == token && stored.revoked_at.is_none());
        Ok(found.and_then(|stored| {
            let (user, _) = state.users.get(&stored.session.user_id)?;
            Some(LiveSession {
                actor: Actor {
                    user_id: user.user_id,
                    session_id: stored.session.session_id,
                    roles: user.roles,
                },
                expires_at: stored.session.expires_at,
                user_is_active: user.is_active,
            })
        }))
    }

    async fn rotate(
        &mut self,
        session_id: SessionId,
        token: TokenHash,
        now: Instant,
        expires_at: Instant,
    ) -> Result<Option<Session>, StoreError> {
        self.write(|state| {
            let unused = state.check_token_unused(token);
            let Some(stored) = state
                .sessions
                .get_mut(&session_id)
                .filter(|stored| stored.is_live(now))
            else {
                return Ok(None);
            };
            unused?;
            stored.token = token;
            stored.session.expires_at = expires_at;
            forms::check(&[&stored.session])?;
            Ok(Some(stored.session.clone()))
        })
    }

    async fn list_live(
        &mut self,
        user_id: Option<UserId>,
        now: Instant,
        request: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, StoreError> {
        let state = self.read()?;
        let live = state
            .sessions
            .values()
            .filter(|stored| stored.is_live(now))
            .map(|stored| stored.session.clone())
            .filter(|session| user_id.is_none_or(|user_id| session.user_id == user_id));
        Ok(page(
            live,
            &request,
            |session, after| session.session_id > *after,
            |session| session.session_id,
        ))
    }

    async fn revoke(
        &mut self,
        session_id: SessionId,
        user_id: Option<UserId>,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.write(|state| {
            let live = state
                .sessions
                .get_mut(&session_id)
                .filter(|stored| stored.is_live(now))
                .filter(|stored| user_id.is_none_or(|user_id| stored.session.user_id == user_id));
            let is_live = live.is_some();
            if let Some(stored) = live {
                stored.revoked_at = Some(now);
            }
            Ok(is_live)
        })
    }

    async fn revoke_all(
        &mut self,
        user_id: UserId,
        keep: Option<SessionId>,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let ended = state.sessions.values_mut().filter(|stored| {
                stored.is_live(now)
                    && stored.session.user_id == user_id
                    && Some(stored.session.session_id) != keep
            });
            for stored in ended {
                stored.revoked_at = Some(now);
            }
            Ok(())
        })
    }
}
