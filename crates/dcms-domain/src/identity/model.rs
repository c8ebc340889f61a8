use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use unicode_normalization::UnicodeNormalization as _;

use super::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS};
use crate::access::{Actor, Roles};
use crate::shared::{
    Change, CommonError, FaultCode, Faults, Instant, SessionId, UserId, Version, context_error,
    single_line_text,
};

/// How long a session lives after log-in or refresh.
pub const SESSION_HOURS: i64 = 12;

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
    /// When they logged in.
    pub created_at: Instant,
    /// From when on it counts no more.
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
    /// The token is not that of a live session of an active user.
    #[error("not logged in")]
    Unauthenticated,
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

/// Notes what is wrong with a password that is to be set.
pub(super) fn check_password(
    password: &Secret,
    refused: &[Secret],
    pointer: &str,
    faults: &mut Faults,
) {
    let chars = password.expose().chars().count();
    if chars < MIN_PASSWORD_CHARS {
        let detail = format!("must have at least {MIN_PASSWORD_CHARS} characters");
        faults.add(pointer, FaultCode::TooShort, detail);
    }
    if chars > MAX_PASSWORD_CHARS {
        let detail = format!("must have at most {MAX_PASSWORD_CHARS} characters");
        faults.add(pointer, FaultCode::TooLong, detail);
    }
    if refused.contains(password) {
        let detail = "is a published default; choose another";
        faults.add(pointer, FaultCode::NotAvailable, detail);
    }
}

/// A user, the session they came with, and the clinic they are in.
#[derive(Debug, Clone)]
pub struct Me {
    /// The user.
    pub user: User,
    /// The session the request came with.
    pub session_id: SessionId,
    /// The clinic's name.
    pub clinic_name: String,
}

/// A live session and its user's standing, as they are right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSession {
    /// Who acts.
    pub actor: Actor,
    /// From when on the session counts no more.
    pub expires_at: Instant,
    /// Whether its user may act.
    pub user_is_active: bool,
}
