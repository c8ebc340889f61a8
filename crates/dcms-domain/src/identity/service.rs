use std::sync::Arc;

use chrono::TimeDelta;
use unicode_normalization::UnicodeNormalization as _;

use super::model::{check_password, check_user};
use super::{
    CreateUser, IdentityError, LogIn, LoggedIn, Me, PasswordHasher, SESSION_HOURS, Secret, Session,
    TokenSource, User, UserChanges,
};
use crate::access::{Actor, Permission, Role, Roles};
use crate::shared::{
    CommonError, Expected, Faults, Instant, Page, PageRequest, Ports, SessionId, UserId, Version,
    in_version, single_line_text,
};
use crate::store::retry_conflicts;

/// Users, passwords and sessions.
pub struct IdentityService {
    ports: Ports,
    hasher: Arc<dyn PasswordHasher>,
    tokens: Arc<dyn TokenSource>,
    refused_passwords: Vec<Secret>,
}

impl IdentityService {
    /// A service over these ports. `refused_passwords` are published defaults: they can neither be
    /// set nor be logged in with.
    #[must_use]
    pub fn new(
        ports: Ports,
        hasher: Arc<dyn PasswordHasher>,
        tokens: Arc<dyn TokenSource>,
        refused_passwords: Vec<Secret>,
    ) -> Self {
        Self {
            ports,
            hasher,
            tokens,
            refused_passwords,
        }
    }

    /// Opens a session for whoever knows the password of an active user.
    ///
    /// # Errors
    /// [`IdentityError::InvalidCredentials`] for an unknown user, a wrong password and a disabled
    /// user alike, after the same effort.
    pub async fn log_in(&self, attempt: &LogIn) -> Result<LoggedIn, IdentityError> {
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
        let matches = self
            .hasher
            .verify(&attempt.password, hash)
            .await?
            .is_right();
        let user = user
            .filter(|user| matches && user.is_active)
            .filter(|_| !self.refused_passwords.contains(&attempt.password))
            .ok_or(IdentityError::InvalidCredentials)?;

        let now = self.ports.clock.now();
        let session = Session {
            session_id: self.ports.ids.next_id().into(),
            user_id: user.user_id,
            device_name,
            created_at: now,
            expires_at: session_end(now),
        };
        let access_token = self.tokens.new_token();
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.sessions()
                .insert(&session, self.tokens.hash(&access_token))
                .await?;
            work.commit().await?;
            Ok(LoggedIn {
                access_token: access_token.clone(),
                session: session.clone(),
                user: user.clone(),
            })
        })
        .await
    }

    /// Who comes with this token.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] when it is not that of a live session of an active user.
    pub async fn authenticate(&self, token: &Secret) -> Result<Actor, IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        let session = connection
            .sessions()
            .find_by_token(self.tokens.hash(token))
            .await?;
        session
            .filter(|session| session.user_is_active && self.ports.clock.now() < session.expires_at)
            .map(|session| session.actor)
            .ok_or(IdentityError::Unauthenticated)
    }

    /// Ends the actor's session.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn log_out(&self, actor: &Actor) -> Result<(), IdentityError> {
        self.revoke_own_session(actor, actor.session_id).await
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
        let clinic_name = connection.clinic().settings().await?.clinic_name;
        Ok(Me {
            user,
            session_id: actor.session_id,
            clinic_name,
        })
    }

    /// Gives the actor's session another token and a full life; the token it had counts no more.
    ///
    /// # Errors
    /// [`IdentityError::Unauthenticated`] when the session ended meanwhile.
    pub async fn refresh(&self, actor: &Actor) -> Result<LoggedIn, IdentityError> {
        actor.require(Permission::UseOwnAccount)?;
        let now = self.ports.clock.now();
        let access_token = self.tokens.new_token();
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let user = work
                .users()
                .get(actor.user_id)
                .await?
                .ok_or(IdentityError::Unauthenticated)?;
            let session = work
                .sessions()
                .rotate(
                    actor.session_id,
                    self.tokens.hash(&access_token),
                    now,
                    session_end(now),
                )
                .await?
                .ok_or(IdentityError::Unauthenticated)?;
            work.commit().await?;
            Ok(LoggedIn {
                access_token: access_token.clone(),
                session,
                user,
            })
        })
        .await
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
        actor.require(Permission::UseOwnAccount)?;
        let mut faults = Faults::new();
        check_password(new, &self.refused_passwords, "/new_password", &mut faults);
        faults.into_result()?;

        let stored = {
            let mut connection = self.ports.store.connect().await?;
            connection.users().password(actor.user_id).await?
        };
        if !self.hasher.verify(current, stored).await?.is_right() {
            return Err(IdentityError::InvalidCredentials);
        }
        self.set_password(actor.user_id, new, Some(actor.session_id))
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
        actor.require(Permission::UseOwnAccount)?;
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
        actor.require(Permission::UseOwnAccount)?;
        self.revoke(session_id, Some(actor.user_id)).await
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
        self.revoke(session_id, None).await
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such user.
    pub async fn revoke_sessions_of(
        &self,
        actor: &Actor,
        user_id: UserId,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageUsers)?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.users()
                .get(user_id)
                .await?
                .ok_or(CommonError::NotFound)?;
            work.sessions()
                .revoke_all(user_id, None, self.ports.clock.now())
                .await?;
            Ok(work.commit().await?)
        })
        .await
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

    /// Makes a user.
    ///
    /// # Errors
    /// Faults, or [`Rule::UsernameTaken`](crate::store::Rule::UsernameTaken).
    pub async fn create_user(
        &self,
        actor: &Actor,
        command: CreateUser,
    ) -> Result<User, IdentityError> {
        actor.require(Permission::ManageUsers)?;
        self.add_user(command).await
    }

    /// Makes an admin without being one: for whoever holds the machine the clinic runs on.
    ///
    /// # Errors
    /// As [`create_user`](Self::create_user).
    pub async fn create_admin_from_console(
        &self,
        username: String,
        password: Secret,
    ) -> Result<User, IdentityError> {
        self.add_user(CreateUser {
            display_name: username.clone(),
            username,
            roles: Roles::from_iter([Role::Admin]),
            is_active: true,
            password,
        })
        .await
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
            let was_active = user.is_active;
            self.apply(&mut user, changes.clone())?;
            let stays_admin = user.is_active && user.roles.contains(Role::Admin);
            if admins == [user_id] && !stays_admin {
                return Err(IdentityError::LastAdmin);
            }
            work.users().update(&user).await?;
            if was_active && !user.is_active {
                work.sessions()
                    .revoke_all(user_id, None, user.updated_at)
                    .await?;
            }
            work.commit().await?;
            Ok(user)
        })
        .await
    }

    /// Gives a user another password and ends their sessions.
    ///
    /// # Errors
    /// Faults, or [`CommonError::NotFound`].
    pub async fn reset_password(
        &self,
        actor: &Actor,
        user_id: UserId,
        new: &Secret,
    ) -> Result<(), IdentityError> {
        actor.require(Permission::ManageUsers)?;
        let mut faults = Faults::new();
        check_password(new, &self.refused_passwords, "/new_password", &mut faults);
        faults.into_result()?;
        self.user(actor, user_id).await?;
        self.set_password(user_id, new, None).await
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

    async fn add_user(&self, command: CreateUser) -> Result<User, IdentityError> {
        let now = self.ports.clock.now();
        let mut user = User {
            user_id: self.ports.ids.next_id().into(),
            username: command.username,
            display_name: command.display_name,
            roles: command.roles,
            is_active: command.is_active,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        check_user(&mut user, &mut faults);
        check_password(
            &command.password,
            &self.refused_passwords,
            "/password",
            &mut faults,
        );
        faults.into_result()?;

        let hash = self.hasher.hash(&command.password).await?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.users().insert(&user, &hash).await?;
            work.commit().await?;
            Ok(user.clone())
        })
        .await
    }

    async fn set_password(
        &self,
        user_id: UserId,
        new: &Secret,
        keep: Option<SessionId>,
    ) -> Result<(), IdentityError> {
        let hash = self.hasher.hash(new).await?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            work.users().set_password(user_id, &hash).await?;
            work.sessions()
                .revoke_all(user_id, keep, self.ports.clock.now())
                .await?;
            Ok(work.commit().await?)
        })
        .await
    }

    async fn live_sessions(
        &self,
        user_id: Option<UserId>,
        page: PageRequest<SessionId>,
    ) -> Result<Page<Session, SessionId>, IdentityError> {
        let mut connection = self.ports.store.connect().await?;
        Ok(connection
            .sessions()
            .list_live(user_id, self.ports.clock.now(), page)
            .await?)
    }

    async fn revoke(
        &self,
        session_id: SessionId,
        user_id: Option<UserId>,
    ) -> Result<(), IdentityError> {
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let revoked = work
                .sessions()
                .revoke(session_id, user_id, self.ports.clock.now())
                .await?;
            if !revoked {
                return Err(CommonError::NotFound.into());
            }
            Ok(work.commit().await?)
        })
        .await
    }
}

fn session_end(now: Instant) -> Instant {
    now + TimeDelta::hours(SESSION_HOURS)
}
