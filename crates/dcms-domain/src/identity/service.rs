use std::sync::Arc;

use chrono::TimeDelta;
use unicode_normalization::UnicodeNormalization as _;

use super::model::check_user;
use super::session_cache::{KnownSession, SessionCache};
use super::throttle::{self, Admission, Admitted, Subject as ThrottledSubject};
use super::{
    CreateUser, IMPERSONATION_MINUTES, IdentityError, LiveSession, LogIn, LoggedIn, MAX_SESSIONS,
    Me, PasswordHash, PasswordHasher, PasswordPolicy, Secret, Session, SessionLifetime, TokenHash,
    TokenSource, User, UserChanges, Verdict,
};
use crate::access::{Actor, Origin, Permission, Role, Roles};
use crate::appointments::{Changed, ConflictScope};
use crate::audit::{AuditAction, AuditEntry, Audited as _, Entity, Subject, created};
use crate::shared::{
    CommonError, Expected, FaultCode, Faults, Instant, Page, PageRequest, Ports, SessionId, UserId,
    Version, in_version, single_line_text,
};
use crate::store::{Store, StoreError, retry_conflicts};

/// How long the records of sessions are kept after these have expired.
const SESSIONS_KEPT: TimeDelta = TimeDelta::days(30);

/// How many sessions are forgotten at once.
const FORGOTTEN_AT_ONCE: u32 = 500;

/// What can be configured about who comes in.
#[derive(Clone)]
pub struct IdentitySettings {
    /// Which passwords are taken.
    pub passwords: PasswordPolicy,
    /// How long sessions live.
    pub session_lifetime: SessionLifetime,
}

impl IdentitySettings {
    /// These passwords, and sessions of the usual length.
    #[must_use]
    pub fn new(passwords: PasswordPolicy) -> Self {
        Self {
            passwords,
            session_lifetime: SessionLifetime::default(),
        }
    }
}

/// Users, passwords and sessions.
pub struct IdentityService {
    ports: Ports,
    hasher: Arc<dyn PasswordHasher>,
    tokens: Arc<dyn TokenSource>,
    settings: IdentitySettings,
    known_sessions: SessionCache<LiveSession>,
}

impl IdentityService {
    /// A service over these ports.
    #[must_use]
    pub fn new(
        ports: Ports,
        hasher: Arc<dyn PasswordHasher>,
        tokens: Arc<dyn TokenSource>,
        settings: IdentitySettings,
    ) -> Self {
        Self {
            ports,
            hasher,
            tokens,
            known_sessions: SessionCache::new(settings.session_lifetime.idle),
            settings,
        }
    }

    /// Opens a session for whoever knows the password of an active user. When they have too many,
    /// the oldest ends.
    ///
    /// # Errors
    /// [`IdentityError::InvalidCredentials`] for an unknown user, a wrong password and a disabled
    /// user alike, after the same effort; [`IdentityError::Throttled`] when too many tries failed.
    pub async fn log_in(
        &self,
        attempt: &LogIn,
        origin: &Origin,
    ) -> Result<LoggedIn, IdentityError> {
        let mut faults = Faults::new();
        let device_name = attempt
            .device_name
            .as_deref()
            .map(|name| single_line_text(name, 100, "/device_name", &mut faults));
        faults.into_result()?;

        let username = attempt.username.trim().nfc().collect::<String>();
        let (admission, found) = self.admit(&username, origin).await?;
        let (user, hash) = found.unzip();
        let user_id = user.as_ref().map(|user| user.user_id);
        let admitted = self.admitted(admission, user_id, origin)?;
        let password = attempt.password.normalized();
        let verdict = self.look_at(&password, hash.clone(), &admitted).await?;
        let is_published = self.settings.passwords.is_published(&password);
        let verified = user
            .filter(|user| verdict.is_right() && user.is_active && !is_published)
            .zip(hash);
        let Some((user, hash)) = verified else {
            return Err(self.failed_log_in(user_id, &admitted, origin));
        };
        let stronger = if verdict == Verdict::RightButWeak {
            Some(self.hasher.hash(&password).await?)
        } else {
            None
        };

        let access_token = self.tokens.new_token();
        let opening = Opening {
            user_id: user.user_id,
            verified: hash,
            stronger,
            device_name,
            token: self.tokens.hash(&access_token),
            admitted,
        };
        let opened = self.open_session(&opening, origin).await;
        let (user, session) = match opened {
            Err(IdentityError::InvalidCredentials) => {
                return Err(self.failed_log_in(user_id, &opening.admitted, origin));
            }
            opened => opened?,
        };
        Ok(LoggedIn {
            access_token,
            session,
            user,
        })
    }

    /// Counts the try, and finds the user of that name. The connection goes back to the pool
    /// before the slow hashing starts.
    async fn admit(
        &self,
        username: &str,
        origin: &Origin,
    ) -> Result<(Admission, Option<(User, PasswordHash)>), IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        let now = self.ports.clock.now();
        let admission =
            throttle::admit(connection.throttle(), username, origin.address, now).await?;
        let found = if username.contains('\0') {
            None
        } else {
            connection.users().find_by_username(username).await?
        };
        Ok((admission, found))
    }

    /// Compares a password. A try whose password could not be looked at does not count.
    async fn look_at(
        &self,
        password: &Secret,
        hash: Option<PasswordHash>,
        admitted: &Admitted,
    ) -> Result<Verdict, IdentityError> {
        let verdict = self.hasher.verify(password, hash).await;
        if verdict.is_err() {
            let mut connection = self.ports.store.connect().await?;
            admitted.not_looked_at(connection.throttle()).await?;
        }
        Ok(verdict?)
    }

    /// The try, when its password is looked at.
    fn admitted(
        &self,
        admission: Admission,
        user_id: Option<UserId>,
        origin: &Origin,
    ) -> Result<Admitted, IdentityError> {
        match admission {
            Admission::Admitted(admitted) => Ok(admitted),
            Admission::Refused {
                retry_after_seconds,
            } => {
                self.note_failed_log_in(user_id, origin);
                Err(IdentityError::Throttled {
                    retry_after_seconds,
                })
            }
        }
    }

    /// Whoever came too early must not learn that the password was looked at.
    fn failed_log_in(
        &self,
        user_id: Option<UserId>,
        admitted: &Admitted,
        origin: &Origin,
    ) -> IdentityError {
        self.note_failed_log_in(user_id, origin);
        match admitted.answered_as_refused(self.ports.clock.now()) {
            Some(retry_after_seconds) => IdentityError::Throttled {
                retry_after_seconds,
            },
            None => IdentityError::InvalidCredentials,
        }
    }

    async fn open_session(
        &self,
        opening: &Opening,
        origin: &Origin,
    ) -> Result<(User, Session), IdentityError> {
        let now = self.ports.clock.now();
        let session = Session {
            session_id: self.ports.ids.next_id().into(),
            user_id: opening.user_id,
            device_name: opening.device_name.clone(),
            address: origin.address,
            agent: origin.agent.clone(),
            impersonator_id: None,
            created_at: now,
            last_seen_at: now,
            expires_at: now + self.settings.session_lifetime.absolute,
        };
        let session = &session;
        // The oldest session may end.
        let known = &self.known_sessions;
        let _forgotten = WhenDone(move || known.forget_user(session.user_id));
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            // While the password was checked it may have been changed, and the user disabled.
            let (user, _) = work
                .users()
                .lock(session.user_id)
                .await?
                .filter(|(user, current)| user.is_active && *current == opening.verified)
                .ok_or(IdentityError::InvalidCredentials)?;
            if let Some(stronger) = &opening.stronger {
                work.users().set_password(user.user_id, stronger).await?;
            }
            opening.admitted.succeeded(work.throttle()).await?;
            let live = self.settings.session_lifetime.at(now);
            work.sessions()
                .revoke_oldest(user.user_id, MAX_SESSIONS - 1, live)
                .await?;
            work.sessions().insert(session, opening.token).await?;
            let subject = Subject::new(Entity::Session, session.session_id);
            let entry = AuditEntry {
                actor_id: Some(user.user_id),
                session_id: Some(session.session_id),
                ..self
                    .ports
                    .audit_anonymous(origin, AuditAction::LogIn, subject)
            };
            work.commit(&entry).await?;
            Ok((user, session.clone()))
        })
        .await
    }

    /// What was typed as a name is not noted: it may be anything, a password even.
    fn note_failed_log_in(&self, user_id: Option<UserId>, origin: &Origin) {
        let subject = Subject {
            id: user_id.map(Into::into),
            ..Subject::list(Entity::User)
        };
        let action = AuditAction::LogInFailed;
        let entry = self.ports.audit_anonymous(origin, action, subject);
        self.ports.access_log.note(entry);
    }

    /// Who comes with this token. A token that was replaced by another ends its session: one of
    /// those who have it stole it.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] when it is not that of a live session of an active user.
    pub async fn authenticate(
        &self,
        token: &Secret,
        origin: &Origin,
    ) -> Result<Actor, IdentityError> {
        let token = self.tokens.hash(token);
        let now = self.ports.clock.now();
        if let Some(session) = self.known_sessions.lookup(&token, now) {
            return Ok(session.actor(origin.clone()));
        }
        let read = self.known_sessions.begin_read(now);
        let mut connection = self.ports.store.connect().await?;
        let found = connection.sessions().find_by_token(token).await?;
        let Some(session) = found else {
            let retired = connection.sessions().find_by_retired_token(token).await?;
            drop(connection);
            if let Some(session) = retired {
                self.end_family(&session, origin).await?;
            }
            return Err(IdentityError::Unauthenticated);
        };
        if !session.counts(self.settings.session_lifetime.at(now)) {
            return Err(IdentityError::Unauthenticated);
        }
        self.known_sessions.put(read, token, &known(session));
        Ok(session.actor(origin.clone()))
    }

    /// Who still comes with the token of `actor`, without using their session: for what stays open
    /// after it was asked for, and is to be asked about each second.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] when it is not that of a live session of an active user
    /// any more; when the store has to be asked and does not answer.
    pub async fn authenticate_again(
        &self,
        token: &Secret,
        actor: &Actor,
    ) -> Result<Actor, IdentityError> {
        let token = self.tokens.hash(token);
        let now = self.ports.clock.now();
        if let Some(session) = self.known_sessions.peek(&token, now) {
            return Ok(session.actor(actor.origin.clone()));
        }
        let read = self.known_sessions.begin_read(now);
        let mut connection = self.ports.store.connect().await?;
        let found = connection.sessions().find_by_token(token).await?;
        let live = self.settings.session_lifetime.at(now);
        let session = found.filter(|session| session.counts(live));
        let session = session.ok_or(IdentityError::Unauthenticated)?;
        self.known_sessions.put_peeked(read, token, &known(session));
        Ok(session.actor(actor.origin.clone()))
    }

    /// Asks `store` whether the sessions that are in use still count, and writes down when they
    /// were last seen. To be called every [`session_cache::TICK`](super::session_cache::TICK): for
    /// as long as it is, requests need not ask, and what others changed counts within a second.
    /// Does nothing when no session is in use.
    ///
    /// # Errors
    /// When the store does not answer; until it does, every request asks it.
    pub async fn confirm_sessions(&self, store: &dyn Store) -> Result<(), StoreError> {
        let now = self.ports.clock.now();
        let confirmation = self.known_sessions.to_confirm(now);
        if !confirmation.tokens().is_empty() {
            let mut connection = store.connect().await?;
            let tokens = confirmation.tokens();
            let found = connection.sessions().find_by_tokens(tokens).await?;
            let live = self.settings.session_lifetime.at(now);
            let counting = found
                .into_iter()
                .filter(|(_, session)| session.counts(live));
            let counting = counting.map(|(token, session)| (token, known(session)));
            self.known_sessions.confirm(confirmation, counting);
        }
        self.write_seen(store, self.known_sessions.touches_due(now))
            .await
    }

    /// Writes down when sessions were last seen, also of those that were seen a moment ago: for the
    /// end of the program.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn write_all_seen(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.write_seen(store, self.known_sessions.all_touches())
            .await
    }

    async fn write_seen(
        &self,
        store: &dyn Store,
        seen: Vec<(SessionId, Instant)>,
    ) -> Result<(), StoreError> {
        if !seen.is_empty() {
            let mut connection = store.connect().await?;
            connection.sessions().mark_seen(&seen).await?;
            self.known_sessions.touches_written(&seen);
        }
        Ok(())
    }

    /// Lets no session be trusted once this is dropped, also when nobody waits for the outcome any
    /// more: what is changed counts from the next request on.
    fn forget_all_sessions_when_done(&self) -> impl Drop {
        WhenDone(|| self.known_sessions.forget_all())
    }

    fn forget_session_when_done(&self, session_id: SessionId) -> impl Drop {
        WhenDone(move || self.known_sessions.forget_session(session_id))
    }

    async fn end_family(&self, session: &Session, origin: &Origin) -> Result<(), IdentityError> {
        let _forgotten = self.forget_session_when_done(session.session_id);
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let live = self.settings.session_lifetime.at(self.ports.clock.now());
            let ended = work
                .sessions()
                .revoke(session.session_id, None, live)
                .await?;
            if ended.is_none() {
                return Ok(());
            }
            let subject = Subject::new(Entity::Session, session.session_id);
            let action = AuditAction::TokenReused;
            let entry = self.ports.audit_anonymous(origin, action, subject);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// Ends the actor's session.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when it ended meanwhile.
    pub async fn log_out(&self, actor: &Actor) -> Result<(), IdentityError> {
        actor.require(Permission::UseOwnAccount)?;
        let own = Some(actor.user_id);
        self.revoke(actor, AuditAction::LogOut, actor.session_id, own)
            .await
    }

    /// The actor, their session and their clinic.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn me(&self, actor: &Actor) -> Result<Me, IdentityError> {
        actor.require(Permission::UseOwnAccount)?;
        let mut connection = self.ports.store.connect().await?;
        let user = connection
            .users()
            .get(actor.user_id)
            .await?
            .ok_or(IdentityError::Unauthenticated)?;
        let impersonator = match actor.impersonator_id {
            Some(impersonator_id) => connection.users().get(impersonator_id).await?,
            None => None,
        };
        let clinic_name = connection.clinic().settings().await?.clinic_name;
        Ok(Me {
            user,
            session_id: actor.session_id,
            impersonator,
            clinic_name,
        })
    }

    /// Gives the actor's session another token; `current` counts no more, and whoever still comes
    /// with it ends the session. The session ends when it would have ended.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] when the session ended or got another token meanwhile.
    pub async fn refresh(
        &self,
        actor: &Actor,
        current: &Secret,
    ) -> Result<LoggedIn, IdentityError> {
        actor.require(Permission::ManageOwnSessions)?;
        let access_token = self.tokens.new_token();
        let (old, new) = (self.tokens.hash(current), self.tokens.hash(&access_token));
        let _forgotten = self.forget_session_when_done(actor.session_id);
        let (session, user) = retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let user = work
                .users()
                .get(actor.user_id)
                .await?
                .ok_or(IdentityError::Unauthenticated)?;
            let live = self.settings.session_lifetime.at(self.ports.clock.now());
            let session = work
                .sessions()
                .rotate(actor.session_id, old, new, live)
                .await?
                .ok_or(IdentityError::Unauthenticated)?;
            let subject = Subject::new(Entity::Session, session.session_id);
            let entry = self.ports.audit(actor, AuditAction::Refresh, subject);
            work.commit(&entry).await?;
            Ok::<_, IdentityError>((session, user))
        })
        .await?;
        Ok(LoggedIn {
            access_token,
            session,
            user,
        })
    }

    /// Changes the actor's password and ends their other sessions.
    ///
    /// # Errors
    /// [`IdentityError::InvalidCredentials`] when `current` is not the password;
    /// [`IdentityError::Throttled`] when too many tries failed, log-ins included; faults.
    pub async fn change_password(
        &self,
        actor: &Actor,
        current: &Secret,
        new: &Secret,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ChangeOwnPassword)?;
        let (user, stored) = {
            let mut connection = self.ports.store.connect().await?;
            let user = connection.users().get(actor.user_id).await?;
            let stored = connection.users().password(actor.user_id).await?;
            (user.ok_or(IdentityError::Unauthenticated)?, stored)
        };
        let mut faults = Faults::new();
        if current.expose().is_empty() {
            faults.add("/current_password", FaultCode::Required, "must be given");
        }
        self.check_password(new, &user.username, "/new_password", faults)
            .await?;
        // Who stole a session must not guess here what they may not guess at the door.
        let (admission, _) = self.admit(&user.username, &actor.origin).await?;
        let admitted = self.admitted(admission, Some(actor.user_id), &actor.origin)?;
        let current = current.normalized();
        let verdict = self.look_at(&current, stored.clone(), &admitted).await?;
        if !verdict.is_right() {
            let user_id = Some(actor.user_id);
            return Err(self.failed_log_in(user_id, &admitted, &actor.origin));
        }
        if current == new.normalized() {
            // Only told to who knows the current one.
            let detail = "must differ from the current one";
            let mut faults = Faults::new();
            faults.add("/new_password", FaultCode::Conflicting, detail);
            return Err(faults.into());
        }
        let (stored, hash) = (&stored, &self.hasher.hash(&new.normalized()).await?);
        let admitted = &admitted;
        let _forgotten = self.forget_all_sessions_when_done();
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            // An admin may have reset it while it was checked.
            let (mut user, _) = work
                .users()
                .lock(actor.user_id)
                .await?
                .filter(|(_, password)| Some(password) == stored.as_ref())
                .ok_or(IdentityError::InvalidCredentials)?;
            let before = user.clone();
            let now = self.ports.clock.now();
            user.must_change_password = false;
            user.version = user.version.next();
            user.updated_at = now;
            work.users().update(&user).await?;
            work.users().set_password(user.user_id, hash).await?;
            admitted.succeeded(work.throttle()).await?;
            work.sessions()
                .revoke_all(user.user_id, Some(actor.session_id), now)
                .await?;
            let action = AuditAction::ChangePassword;
            let entry = self.ports.audit_changed(actor, action, &before, &user);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// The actor's live sessions.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn own_sessions(
        &self,
        actor: &Actor,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, IdentityError> {
        actor.require(Permission::ManageOwnSessions)?;
        self.live_sessions(Some(actor.user_id), page).await
    }

    /// Ends one of the actor's sessions.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when it is not a live session of theirs.
    pub async fn revoke_own_session(
        &self,
        actor: &Actor,
        session_id: SessionId,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageOwnSessions)?;
        let own = Some(actor.user_id);
        self.revoke(actor, AuditAction::Revoke, session_id, own)
            .await
    }

    /// The live sessions of one user or of all.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn sessions(
        &self,
        actor: &Actor,
        user_id: Option<UserId>,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        self.live_sessions(user_id, page).await
    }

    /// Ends anybody's session.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when it is not a live session.
    pub async fn revoke_session(
        &self,
        actor: &Actor,
        session_id: SessionId,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageUsers)?;
        self.revoke(actor, AuditAction::Revoke, session_id, None)
            .await
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such user; [`CommonError::VersionMismatch`].
    pub async fn revoke_sessions_of(
        &self,
        actor: &Actor,
        user_id: UserId,
        expected: &Expected,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let _forgotten = self.forget_all_sessions_when_done();
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let user = in_version(work.users().get(user_id).await?, expected)?;
            work.sessions()
                .revoke_all(user_id, None, self.ports.clock.now())
                .await?;
            let action = AuditAction::Revoke;
            let entry = self.ports.audit(actor, action, user.subject());
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// Lets an admin act as another active user for [`IMPERSONATION_MINUTES`], for `reason`. What
    /// they do is marked with both; passwords, users and money are out of their reach.
    ///
    /// # Errors
    /// Faults; [`IdentityError::NotImpersonable`]; [`CommonError::NotFound`].
    pub async fn impersonate(
        &self,
        actor: &Actor,
        user_id: UserId,
        reason: &str,
    ) -> Result<LoggedIn, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let mut faults = Faults::new();
        let reason = single_line_text(reason, 500, "/reason", &mut faults);
        faults.into_result()?;
        let access_token = self.tokens.new_token();
        let (token, reason) = (self.tokens.hash(&access_token), reason.as_str());
        let (session, user) = retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let user = work.users().get(user_id).await?;
            let user = user.ok_or(CommonError::NotFound)?;
            if !user.is_active || user.user_id == actor.user_id {
                return Err(IdentityError::NotImpersonable);
            }
            let now = self.ports.clock.now();
            let session = Session {
                session_id: self.ports.ids.next_id().into(),
                user_id,
                device_name: None,
                address: actor.origin.address,
                agent: actor.origin.agent.clone(),
                impersonator_id: Some(actor.user_id),
                created_at: now,
                last_seen_at: now,
                expires_at: now + TimeDelta::minutes(IMPERSONATION_MINUTES),
            };
            work.sessions().insert(&session, token).await?;
            let action = AuditAction::Impersonate;
            let entry = self.ports.audit(actor, action, user.subject());
            let entry = entry
                .with("reason", reason)
                .with("session_id", uuid::Uuid::from(session.session_id));
            work.commit(&entry).await?;
            Ok((session, user))
        })
        .await?;
        Ok(LoggedIn {
            access_token,
            session,
            user,
        })
    }

    /// Forgets sessions that expired a month ago: what is done by itself from time to time.
    /// Answers how many.
    ///
    /// # Errors
    /// What any context can fail with. What was forgotten until then stays forgotten.
    pub async fn forget_expired_sessions(&self) -> Result<u64, IdentityError> {
        let before = self.ports.clock.now() - SESSIONS_KEPT;
        let mut forgotten = 0;
        loop {
            let count = retry_conflicts(&*self.ports.store, || self.forget_some(before)).await?;
            forgotten += u64::from(count);
            if count < FORGOTTEN_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }

    /// Forgets failed log-ins that do not count any more: what is done by itself from time to time.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forget_old_failures(&self) -> Result<(), IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        connection.throttle().purge(self.ports.clock.now()).await?;
        Ok(())
    }

    async fn forget_some(&self, expired_before: Instant) -> Result<u32, IdentityError> {
        let mut work = self.ports.store.begin().await?;
        let sessions = work.sessions();
        let count = sessions
            .forget_expired(expired_before, FORGOTTEN_AT_ONCE)
            .await?;
        if count > 0 {
            let (nobody, subject) = (Origin::default(), Subject::list(Entity::Session));
            let entry = self
                .ports
                .audit_anonymous(&nobody, AuditAction::Delete, subject);
            work.commit(&entry.with("sessions", i64::from(count)))
                .await?;
        }
        Ok(count)
    }

    /// Users in the order they were made.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn users(
        &self,
        actor: &Actor,
        page: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let mut connection = self.ports.store.connect().await?;
        Ok(connection.users().list(page).await?)
    }

    /// One user.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn user(&self, actor: &Actor, user_id: UserId) -> Result<User, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let mut connection = self.ports.store.connect().await?;
        let user = connection.users().get(user_id).await?;
        Ok(user.ok_or(CommonError::NotFound)?)
    }

    /// Makes a user, who has to change their password before anything else.
    ///
    /// # Errors
    /// Faults, or [`Rule::UsernameTaken`](crate::store::Rule::UsernameTaken).
    pub async fn create_user(
        &self,
        actor: &Actor,
        command: CreateUser,
    ) -> Result<User, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let made = |user: &User| self.ports.audit_created(actor, user);
        self.add_user(command, true, made).await
    }

    /// Makes an admin without being one: for whoever holds the machine the clinic runs on.
    ///
    /// # Errors
    /// As [`create_user_from_console`](Self::create_user_from_console).
    pub async fn create_admin_from_console(
        &self,
        username: String,
        password: Secret,
    ) -> Result<User, IdentityError> {
        let command = CreateUser {
            display_name: username.clone(),
            username,
            roles: Roles::from_iter([Role::Admin]),
            is_active: true,
            password,
        };
        self.create_user_from_console(command).await
    }

    /// Makes a user without being an admin: for whoever holds the machine the clinic runs on. They
    /// may keep the password.
    ///
    /// # Errors
    /// As [`create_user`](Self::create_user).
    pub async fn create_user_from_console(
        &self,
        command: CreateUser,
    ) -> Result<User, IdentityError> {
        let made = |user: &User| AuditEntry {
            changes: created(user),
            ..self
                .ports
                .audit_anonymous(&Origin::default(), AuditAction::Create, user.subject())
        };
        self.add_user(command, false, made).await
    }

    /// Changes a user. Disabling one ends their sessions.
    ///
    /// # Errors
    /// [`IdentityError::LastAdmin`] when no active admin would be left; faults;
    /// [`CommonError::VersionMismatch`].
    pub async fn change_user(
        &self,
        actor: &Actor,
        user_id: UserId,
        expected: &Expected,
        changes: UserChanges,
    ) -> Result<Changed<User>, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let changes = &changes;
        let _forgotten = self.forget_all_sessions_when_done();
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let admins = work.users().lock_active_admins().await?;
            let mut user = in_version(work.users().get(user_id).await?, expected)?;
            let before = user.clone();
            self.apply(&mut user, changes.clone())?;
            let stays_admin = user.is_active && user.roles.contains(Role::Admin);
            if admins == [user_id] && !stays_admin {
                return Err(IdentityError::LastAdmin);
            }
            work.users().update(&user).await?;
            if before.is_active && !user.is_active {
                work.sessions()
                    .revoke_all(user_id, None, user.updated_at)
                    .await?;
            } else if !stays_admin {
                work.sessions()
                    .revoke_impersonations_by(user_id, user.updated_at)
                    .await?;
            }
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &user);
            let treats = |user: &User| user.is_active && user.roles.contains(Role::Doctor);
            let outcome = if treats(&before) && !treats(&user) {
                let scope = ConflictScope {
                    doctor_id: Some(user_id),
                    ..ConflictScope::default()
                };
                let now = user.updated_at;
                Changed::with_conflicts(user, &mut *work, &scope, now).await?
            } else {
                Changed::without_conflicts(user)
            };
            work.commit(&entry).await?;
            self.ports.note_conflicts(actor, &outcome);
            Ok(outcome)
        })
        .await
    }

    /// Gives a user another password, which they have to change before anything else, and ends
    /// their sessions.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn reset_password(
        &self,
        actor: &Actor,
        user_id: UserId,
        expected: &Expected,
        new: &Secret,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let user = self.user(actor, user_id).await?;
        self.check_password(new, &user.username, "/new_password", Faults::new())
            .await?;
        let hash = &self.hasher.hash(&new.normalized()).await?;
        let _forgotten = self.forget_all_sessions_when_done();
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let (user, _) = work.users().lock(user_id).await?.unzip();
            let mut user = in_version(user, expected)?;
            let before = user.clone();
            let now = self.ports.clock.now();
            // Their own choice is nobody else's.
            user.must_change_password = user_id != actor.user_id;
            user.version = user.version.next();
            user.updated_at = now;
            work.users().update(&user).await?;
            work.users().set_password(user_id, hash).await?;
            work.sessions().revoke_all(user_id, None, now).await?;
            let account = ThrottledSubject::account(&user.username);
            work.throttle().clear(&account).await?;
            let action = AuditAction::ResetPassword;
            let entry = self.ports.audit_changed(actor, action, &before, &user);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    fn apply(&self, user: &mut User, changes: UserChanges) -> Result<(), Faults> {
        let mut faults = Faults::new();
        let username = std::mem::take(&mut user.username);
        user.username = changes
            .username
            .apply_required(username, "/username", &mut faults);
        let display_name = std::mem::take(&mut user.display_name);
        user.display_name =
            changes
                .display_name
                .apply_required(display_name, "/display_name", &mut faults);
        user.roles = changes
            .roles
            .apply_required(user.roles, "/roles", &mut faults);
        user.is_active =
            changes
                .is_active
                .apply_required(user.is_active, "/is_active", &mut faults);
        user.version = user.version.next();
        user.updated_at = self.ports.clock.now();
        check_user(user, &mut faults);
        faults.into_result()
    }

    async fn add_user(
        &self,
        command: CreateUser,
        must_change_password: bool,
        entry: impl Fn(&User) -> AuditEntry + Send + Sync,
    ) -> Result<User, IdentityError> {
        let now = self.ports.clock.now();
        let mut user = User {
            user_id: self.ports.ids.next_id().into(),
            username: command.username,
            display_name: command.display_name,
            roles: command.roles,
            is_active: command.is_active,
            must_change_password,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        check_user(&mut user, &mut faults);
        self.check_password(&command.password, &user.username, "/password", faults)
            .await?;

        let hash = self.hasher.hash(&command.password.normalized()).await?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.users().insert(&user, &hash).await?;
            work.commit(&entry(&user)).await?;
            Ok(user.clone())
        })
        .await
    }

    /// Adds what is wrong with a password that is to be set to `faults`, and fails when there are
    /// any.
    async fn check_password(
        &self,
        password: &Secret,
        username: &str,
        pointer: &str,
        mut faults: Faults,
    ) -> Result<(), IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        let clinic_name = connection.clinic().settings().await?.clinic_name;
        let policy = &self.settings.passwords;
        policy.check(password, username, &clinic_name, pointer, &mut faults);
        Ok(faults.into_result()?)
    }

    async fn live_sessions(
        &self,
        user_id: Option<UserId>,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        let live = self.settings.session_lifetime.at(self.ports.clock.now());
        Ok(connection.sessions().list_live(user_id, live, page).await?)
    }

    async fn revoke(
        &self,
        actor: &Actor,
        action: AuditAction,
        session_id: SessionId,
        user_id: Option<UserId>,
    ) -> Result<(), IdentityError> {
        let _forgotten = self.forget_session_when_done(session_id);
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let live = self.settings.session_lifetime.at(self.ports.clock.now());
            work.sessions()
                .revoke(session_id, user_id, live)
                .await?
                .ok_or(CommonError::NotFound)?;
            let subject = Subject::new(Entity::Session, session_id);
            let entry = self.ports.audit(actor, action, subject);
            Ok(work.commit(&entry).await?)
        })
        .await
    }
}

/// What a session is opened with, once the password was right.
struct Opening {
    user_id: UserId,
    /// The password that was compared with.
    verified: PasswordHash,
    /// What is to be stored in its stead, when it was made with less effort than is usual today.
    stronger: Option<PasswordHash>,
    device_name: Option<String>,
    token: TokenHash,
    admitted: Admitted,
}

/// Does something when it is dropped.
struct WhenDone<Deed: Fn()>(Deed);

impl<Deed: Fn()> Drop for WhenDone<Deed> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn known(session: LiveSession) -> KnownSession<LiveSession> {
    KnownSession {
        session_id: session.session_id,
        user_id: session.user_id,
        ends_at: session.expires_at,
        last_seen_at: session.last_seen_at,
        standing: session,
    }
}
