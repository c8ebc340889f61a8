use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use chrono::TimeDelta;
use unicode_normalization::UnicodeNormalization as _;

use crate::access::{Actor, Origin, Roles};
use crate::shared::{
    Change, CommonError, FaultCode, Faults, Instant, SessionId, UserId, Version, context_error,
    single_line_text,
};

/// The most live sessions of a user; who logs in once more ends the oldest.
pub const MAX_SESSIONS: usize = 50;
/// How long an admin acts as somebody else, in minutes.
pub const IMPERSONATION_MINUTES: i64 = 15;

/// How long sessions live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLifetime {
    /// Without being used.
    pub idle: TimeDelta,
    /// At all, however much they are used or refreshed.
    pub absolute: TimeDelta,
}

impl Default for SessionLifetime {
    /// 30 minutes idle, 12 hours at all.
    fn default() -> Self {
        Self {
            idle: TimeDelta::minutes(30),
            absolute: TimeDelta::hours(12),
        }
    }
}

impl SessionLifetime {
    /// What has to hold for a session to be live at `now`.
    pub(super) fn at(&self, now: Instant) -> LiveAt {
        LiveAt {
            now,
            seen_after: now - self.idle,
        }
    }
}

/// A session is live at this moment when it is not revoked, expires after `now`, and was seen
/// after `seen_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAt {
    /// The moment.
    pub now: Instant,
    /// When an idle session was last seen that is over now.
    pub seen_after: Instant,
}

/// Somebody who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub user_id: UserId,
    /// What they log in with; unique, blind to case.
    pub username: String,
    /// What others call them.
    pub display_name: String,
    /// What they are in the clinic; never empty.
    pub roles: Roles,
    /// Whether they may log in.
    pub is_active: bool,
    /// Whether somebody else has set their password, so that they have to change it first.
    pub must_change_password: bool,
    /// Counts the changes.
    pub version: Version,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// A log-in that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What the user calls the device.
    pub device_name: Option<String>,
    /// The address they logged in from.
    pub address: Option<IpAddr>,
    /// What the client they logged in with says it is.
    pub agent: Option<String>,
    /// The admin who acts as the user in it.
    pub impersonator_id: Option<UserId>,
    /// When they logged in.
    pub created_at: Instant,
    /// When it was last used, to the minute.
    pub last_seen_at: Instant,
    /// From when on it counts no more, however much it is used.
    pub expires_at: Instant,
}

/// A password or token in the clear. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps what must not be shown.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret in Unicode's composed form (NFC): the same password, however the keyboard put
    /// its letters together. This form is what is measured, hashed and verified.
    #[must_use]
    pub fn normalized(&self) -> Self {
        Self(self.0.nfc().collect())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// A password as it is stored: in PHC string format, salt and parameters included.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A PHC string.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// A token as it is stored: its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// Hashes passwords. Takes tens of milliseconds of a core on purpose.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// A salted hash of the password.
    async fn hash(&self, password: &Secret) -> Result<PasswordHash, HashError>;

    /// Whether the password is the one of the hash; with no hash to compare, [`Verdict::Wrong`]
    /// after the effort that a hash of today takes, so that the time does not tell whether a user
    /// exists. It still tells of a user whose hash is [weak](Verdict::RightButWeak), until they
    /// log in and are hashed anew.
    async fn verify(
        &self,
        password: &Secret,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, HashError>;
}

/// What a [`PasswordHasher`] says of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is another one.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and its hash was made with less effort than is asked today: time to hash it
    /// anew, while it is known.
    RightButWeak,
}

impl Verdict {
    /// Whether the password is the one, weakly hashed or not.
    #[must_use]
    pub const fn is_right(self) -> bool {
        matches!(self, Self::Right | Self::RightButWeak)
    }
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many are being hashed already; later it may work.
    #[error("too many passwords are being checked")]
    Overloaded,
    /// A fault inside.
    #[error("hashing failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// Makes access tokens.
pub trait TokenSource: Send + Sync {
    /// A token of at least 256 random bits.
    fn new_token(&self) -> Secret;

    /// What is stored of a token.
    fn hash(&self, token: &Secret) -> TokenHash;
}

/// A log-in attempt.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// Who they say they are; blind to case.
    pub username: String,
    /// The password they offer.
    pub password: Secret,
    /// What to call the device in the list of sessions.
    pub device_name: Option<String>,
}

/// A session that was opened or refreshed, with the token that proves it. The token is not kept:
/// this is the only time it is seen.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The token for the `Authorization` header.
    pub access_token: Secret,
    /// The session.
    pub session: Session,
    /// The user.
    pub user: User,
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct CreateUser {
    /// What they log in with.
    pub username: String,
    /// What others call them.
    pub display_name: String,
    /// What they are in the clinic.
    pub roles: Roles,
    /// Whether they may log in.
    pub is_active: bool,
    /// Their first password.
    pub password: Secret,
}

/// Changes to a user.
#[derive(Debug, Clone, Default)]
pub struct UserChanges {
    /// What they log in with.
    pub username: Change<String>,
    /// What others call them.
    pub display_name: Change<String>,
    /// What they are in the clinic.
    pub roles: Change<Roles>,
    /// Whether they may log in.
    pub is_active: Change<bool>,
}

/// What can go wrong with users and sessions.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// What any context can fail with.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// Unknown user, wrong password or disabled user: which of them is not told.
    #[error("the username or the password is wrong")]
    InvalidCredentials,
    /// Too many tries failed; this one was not looked at.
    #[error("too many tries to log in")]
    Throttled {
        /// In how many seconds one will be; at least 1.
        retry_after_seconds: u32,
    },
    /// The token is not that of a live session of an active user.
    #[error("not logged in")]
    Unauthenticated,
    /// An admin cannot act as this user: it is themselves, or the user is disabled.
    #[error("nobody can act as this user")]
    NotImpersonable,
    /// The clinic would be left without an active admin.
    #[error("the last active admin has to stay")]
    LastAdmin,
    /// The password could not be hashed or checked.
    #[error(transparent)]
    Hash(#[from] HashError),
}

context_error!(IdentityError);

/// Cleans what identifies a user and notes what is wrong with it.
pub(super) fn check_user(user: &mut User, faults: &mut Faults) {
    user.username = single_line_text(&user.username, 64, "/username", faults);
    if user.username.contains(char::is_whitespace) {
        let detail = "must not contain spaces";
        faults.add("/username", FaultCode::InvalidCharacters, detail);
    }
    user.display_name = single_line_text(&user.display_name, 100, "/display_name", faults);
    if user.roles.is_empty() {
        faults.add("/roles", FaultCode::Required, "must name at least one role");
    }
}

/// A user, the session they came with, and the clinic they are in.
#[derive(Debug, Clone)]
pub struct Me {
    /// The user.
    pub user: User,
    /// The session the request came with.
    pub session_id: SessionId,
    /// The admin who acts as the user.
    pub impersonator: Option<User>,
    /// The clinic's name.
    pub clinic_name: String,
}

/// A session that is not revoked, and its user's standing, as they are right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSession {
    /// Its id.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What they are in the clinic.
    pub roles: Roles,
    /// Whether they have to change their password first.
    pub must_change_password: bool,
    /// The admin who acts as them.
    pub impersonator_id: Option<UserId>,
    /// Whether the user may act: they are active, and whoever acts as them is an active admin.
    pub may_act: bool,
    /// When it was last seen.
    pub last_seen_at: Instant,
    /// From when on it counts no more.
    pub expires_at: Instant,
}

impl LiveSession {
    /// Whether it counts at that moment.
    pub(super) fn counts(&self, live: LiveAt) -> bool {
        self.may_act && live.now < self.expires_at && live.seen_after < self.last_seen_at
    }

    /// Who acts in it.
    pub(super) const fn actor(&self, origin: Origin) -> Actor {
        Actor {
            user_id: self.user_id,
            session_id: self.session_id,
            roles: self.roles,
            // Who acts as somebody else neither knows the password nor may change it.
            must_change_password: self.must_change_password && self.impersonator_id.is_none(),
            impersonator_id: self.impersonator_id,
            origin,
        }
    }
}
