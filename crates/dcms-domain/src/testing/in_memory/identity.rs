use async_trait::async_trait;

use super::{Connection, State, StoredSession, forms, hold, page, same_text};
use crate::access::Role;
use crate::identity::{
    LiveAt, LiveSession, PasswordHash, Session, SessionRepository, TokenHash, User, UserRepository,
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

    fn live_session(&self, stored: &StoredSession) -> Option<LiveSession> {
        let session = &stored.session;
        let (user, _) = self.users.get(&session.user_id)?;
        let impersonator_may = session.impersonator_id.is_none_or(|impersonator_id| {
            self.users
                .get(&impersonator_id)
                .is_some_and(|(other, _)| other.is_active && other.roles.contains(Role::Admin))
        });
        Some(LiveSession {
            session_id: session.session_id,
            user_id: user.user_id,
            roles: user.roles,
            must_change_password: user.must_change_password,
            impersonator_id: session.impersonator_id,
            may_act: user.is_active && impersonator_may,
            last_seen_at: session.last_seen_at,
            expires_at: session.expires_at,
        })
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
            state.note_doctor(user);
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
            state.note_doctor(user);
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

    async fn lock(&mut self, user_id: UserId) -> Result<Option<(User, PasswordHash)>, StoreError> {
        Ok(self.read()?.users.get(&user_id).cloned())
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
    fn is_live(&self, live: LiveAt) -> bool {
        self.revoked_at.is_none()
            && live.now < self.session.expires_at
            && live.seen_after < self.session.last_seen_at
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
                [Some(session.user_id), session.impersonator_id]
                    .into_iter()
                    .flatten()
                    .all(|user_id| state.users.contains_key(&user_id)),
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
        let found = self.find_by_tokens(&[token]).await?;
        Ok(found.into_iter().next().map(|(_, session)| session))
    }

    async fn find_by_tokens(
        &mut self,
        tokens: &[TokenHash],
    ) -> Result<Vec<(TokenHash, LiveSession)>, StoreError> {
        let state = self.read()?;
        let found = state
            .sessions
            .values()
            .filter(|stored| tokens.contains(&stored.token) && stored.revoked_at.is_none());
        Ok(found
            .filter_map(|stored| Some((stored.token, state.live_session(stored)?)))
            .collect())
    }

    async fn find_by_retired_token(
        &mut self,
        token: TokenHash,
    ) -> Result<Option<Session>, StoreError> {
        let state = self.read()?;
        let retired = state.retired_tokens.iter().find(|(old, _)| *old == token);
        Ok(retired
            .and_then(|(_, session_id)| state.sessions.get(session_id))
            .filter(|stored| stored.revoked_at.is_none())
            .map(|stored| stored.session.clone()))
    }

    async fn rotate(
        &mut self,
        session_id: SessionId,
        old: TokenHash,
        new: TokenHash,
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError> {
        self.write(|state| {
            let unused = state.check_token_unused(new);
            let Some(stored) = state
                .sessions
                .get_mut(&session_id)
                .filter(|stored| stored.is_live(live) && stored.token == old)
            else {
                return Ok(None);
            };
            unused?;
            stored.token = new;
            stored.session.last_seen_at = live.now;
            state.retired_tokens.push((old, session_id));
            forms::check(&[&stored.session])?;
            Ok(Some(stored.session.clone()))
        })
    }

    async fn list_live(
        &mut self,
        user_id: Option<UserId>,
        live: LiveAt,
        request: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, StoreError> {
        let state = self.read()?;
        let live = state
            .sessions
            .values()
            .filter(|stored| stored.is_live(live))
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
        live: LiveAt,
    ) -> Result<Option<Session>, StoreError> {
        self.write(|state| {
            let stored = state
                .sessions
                .get_mut(&session_id)
                .filter(|stored| stored.is_live(live))
                .filter(|stored| user_id.is_none_or(|user_id| stored.session.user_id == user_id));
            Ok(stored.map(|stored| {
                stored.revoked_at = Some(live.now);
                stored.session.clone()
            }))
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
                let session = &stored.session;
                let is_theirs =
                    session.user_id == user_id || session.impersonator_id == Some(user_id);
                stored.revoked_at.is_none() && is_theirs && Some(session.session_id) != keep
            });
            for stored in ended {
                stored.revoked_at = Some(now);
            }
            Ok(())
        })
    }

    async fn revoke_impersonations_by(
        &mut self,
        user_id: UserId,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let ended = state.sessions.values_mut().filter(|stored| {
                stored.revoked_at.is_none() && stored.session.impersonator_id == Some(user_id)
            });
            for stored in ended {
                stored.revoked_at = Some(now);
            }
            Ok(())
        })
    }

    async fn revoke_oldest(
        &mut self,
        user_id: UserId,
        keep: usize,
        live: LiveAt,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let latest_first = state.sessions.values_mut().rev().filter(|stored| {
                stored.is_live(live)
                    && stored.session.user_id == user_id
                    && stored.session.impersonator_id.is_none()
            });
            for stored in latest_first.skip(keep) {
                stored.revoked_at = Some(live.now);
            }
            Ok(())
        })
    }

    async fn mark_seen(&mut self, seen: &[(SessionId, Instant)]) -> Result<(), StoreError> {
        self.write_at_once(|state| {
            for (session_id, at) in seen {
                if let Some(stored) = state.sessions.get_mut(session_id) {
                    let last_seen_at = &mut stored.session.last_seen_at;
                    *last_seen_at = (*at).max(*last_seen_at);
                }
            }
        })
    }

    async fn forget_expired(&mut self, before: Instant, limit: u32) -> Result<u32, StoreError> {
        self.write_at_once(|state| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let expired = state
                .sessions
                .values()
                .filter(|stored| stored.session.expires_at < before);
            let expired: Vec<SessionId> = expired
                .map(|stored| stored.session.session_id)
                .take(limit)
                .collect();
            state
                .sessions
                .retain(|session_id, _| !expired.contains(session_id));
            state
                .retired_tokens
                .retain(|(_, session_id)| !expired.contains(session_id));
            u32::try_from(expired.len()).unwrap_or(u32::MAX)
        })
    }
}
