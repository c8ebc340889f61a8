use std::sync::Arc;

use chrono::TimeDelta;
use unicode_normalization::UnicodeNormalization as _;

use super::model::{check_password, check_user};
use super::{
    CreateUser, IMPERSONATION_MINUTES, IdentityError, LogIn, LoggedIn, MAX_SESSIONS, Me,
    PasswordHash, PasswordHasher, Secret, Session, SessionLifetime, TokenSource, User, UserChanges,
};
use crate::access::{Actor, Origin, Permission, Role, Roles};
use crate::audit::{AuditAction, AuditEntry, Audited as _, Entity, Subject, created};
use crate::shared::{
    CommonError, Expected, Faults, Instant, Page, PageRequest, Ports, SessionId, UserId, Version,
    in_version, single_line_text,
};
use crate::store::retry_conflicts;

/// How long the records of sessions are kept after these have expired.
const SESSIONS_KEPT: TimeDelta = TimeDelta::days(30);

/// How many sessions are forgotten at once.
const FORGOTTEN_AT_ONCE: u32 = 500;

/// What can be configured about who comes in.
#[derive(Debug, Clone, Default)]
pub struct IdentitySettings {
    /// Published defaults: passwords that can neither be set nor be logged in with.
    pub refused_passwords: Vec<Secret>,
    /// How long sessions live.
    pub session_lifetime: SessionLifetime,
}

/// Users, passwords and sessions.
pub struct IdentityService {
    ports: Ports,
    hasher: Arc<dyn PasswordHasher>,
    tokens: Arc<dyn TokenSource>,
    settings: IdentitySettings,
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
            settings,
        }
    }

    /// Opens a session for whoever knows the password of an active user. When they have too many,
    /// the oldest ends.
    ///
    /// # Errors
    /// [`IdentityError::InvalidCredentials`] for an unknown user, a wrong password and a disabled
    /// user alike, after the same effort.
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

        // The connection goes back to the pool before the slow hashing starts.
        let found = if attempt.username.contains('\0') {
            None
        } else {
            let mut connection = self.ports.store.connect().await?;
            connection
                .users()
                .find_by_username(&attempt.username.trim().nfc().collect::<String>())
                .await?
        };
        let (user, hash) = found.unzip();
        let matches = self.hasher.verify(&attempt.password, hash.clone()).await?;
        let user_id = user.as_ref().map(|user| user.user_id);
        let refused = &self.settings.refused_passwords;
        let verified = user
            .filter(|user| matches && user.is_active)
            .filter(|_| !refused.contains(&attempt.password))
            .zip(hash);
        let Some((user, hash)) = verified else {
            self.note_failed_log_in(user_id, origin);
            return Err(IdentityError::InvalidCredentials);
        };

        let access_token = self.tokens.new_token();
        let (user, session) = self
            .open_session(&user, &hash, device_name, &access_token, origin)
            .await?;
        Ok(LoggedIn {
            access_token,
            session,
            user,
        })
    }

    async fn open_session(
        &self,
        user: &User,
        hash: &PasswordHash,
        device_name: Option<String>,
        access_token: &Secret,
        origin: &Origin,
    ) -> Result<(User, Session), IdentityError> {
        let now = self.ports.clock.now();
        let session = Session {
            session_id: self.ports.ids.next_id().into(),
            user_id: user.user_id,
            device_name,
            address: origin.address,
            agent: origin.agent.clone(),
            impersonator_id: None,
            created_at: now,
            last_seen_at: now,
            expires_at: now + self.settings.session_lifetime.absolute,
        };
        let (session, token) = (&session, self.tokens.hash(access_token));
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            // While the password was checked it may have been changed, and the user disabled.
            let (user, _) = work
                .users()
                .lock(session.user_id)
                .await?
                .filter(|(user, current)| user.is_active && current == hash)
                .ok_or(IdentityError::InvalidCredentials)?;
            let live = self.settings.session_lifetime.at(now);
            work.sessions()
                .revoke_oldest(user.user_id, MAX_SESSIONS - 1, live)
                .await?;
            work.sessions().insert(session, token).await?;
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
        let live = self.settings.session_lifetime.at(self.ports.clock.now());
        session
            .actor(live, origin.clone())
            .ok_or(IdentityError::Unauthenticated)
    }

    async fn end_family(&self, session: &Session, origin: &Origin) -> Result<(), IdentityError> {
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
    /// [`IdentityError::InvalidCredentials`] when `current` is not the password.
    pub async fn change_password(
        &self,
        actor: &Actor,
        current: &Secret,
        new: &Secret,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ChangeOwnPassword)?;
        let mut faults = Faults::new();
        check_password(
            new,
            &self.settings.refused_passwords,
            "/new_password",
            &mut faults,
        );
        faults.into_result()?;

        let stored = {
            let mut connection = self.ports.store.connect().await?;
            connection.users().password(actor.user_id).await?
        };
        if !self.hasher.verify(current, stored.clone()).await? {
            return Err(IdentityError::InvalidCredentials);
        }
        let (stored, hash) = (&stored, &self.hasher.hash(new).await?);
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
    ) -> Result<User, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let changes = &changes;
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
            }
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &user);
            work.commit(&entry).await?;
            Ok(user)
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
        let mut faults = Faults::new();
        check_password(
            new,
            &self.settings.refused_passwords,
            "/new_password",
            &mut faults,
        );
        faults.into_result()?;
        self.user(actor, user_id).await?;
        let hash = &self.hasher.hash(new).await?;
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
        check_password(
            &command.password,
            &self.settings.refused_passwords,
            "/password",
            &mut faults,
        );
        faults.into_result()?;

        let hash = self.hasher.hash(&command.password).await?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.users().insert(&user, &hash).await?;
            work.commit(&entry(&user)).await?;
            Ok(user.clone())
        })
        .await
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
