#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::access::Roles;
use dcms_domain::identity as model;
use dcms_domain::identity::Secret;
use dcms_domain::shared::SessionId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::json::request_bodies;
use crate::wire::{Id, Instant, Patch, Role};

/// Somebody who can log in.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    user_id: Id,
    username: String,
    /// What others call them.
    display_name: String,
    roles: Vec<Role>,
    /// Whether they may log in.
    is_active: bool,
    /// Whether somebody else has set their password: until they change it, nothing but reading
    /// who they are, changing the password and logging out is done.
    must_change_password: bool,
    created_at: Instant,
    updated_at: Instant,
}

impl From<model::User> for User {
    fn from(user: model::User) -> Self {
        Self {
            user_id: Id::of(user.user_id),
            username: user.username,
            display_name: user.display_name,
            roles: user.roles.iter().map(Role).collect(),
            is_active: user.is_active,
            must_change_password: user.must_change_password,
            created_at: Instant(user.created_at),
            updated_at: Instant(user.updated_at),
        }
    }
}

/// A log-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogIn {
    /// Blind to case.
    username: String,
    password: String,
    /// What to call the device in the list of sessions. At most 100 characters.
    device_name: Option<String>,
}

impl From<LogIn> for model::LogIn {
    fn from(body: LogIn) -> Self {
        Self {
            username: body.username,
            password: Secret::new(body.password),
            device_name: body.device_name,
        }
    }
}

/// A session that was opened or refreshed.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// What to send as `Authorization: Bearer …`. It is not shown again.
    access_token: String,
    /// Always `Bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
    /// When the session ends, however much it is used. It ends earlier when it is not used for
    /// 30 minutes, unless the server is configured otherwise.
    expires_at: Instant,
    user: User,
}

impl From<model::LoggedIn> for LoggedIn {
    fn from(logged_in: model::LoggedIn) -> Self {
        Self {
            access_token: logged_in.access_token.expose().to_owned(),
            token_type: "Bearer",
            expires_at: Instant(logged_in.session.expires_at),
            user: logged_in.user.into(),
        }
    }
}

/// Who is logged in, and where.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    user: User,
    session_id: Id,
    /// The admin who acts as the user in this session; null when nobody does.
    impersonator: Option<User>,
    clinic_name: String,
}

impl From<model::Me> for Me {
    fn from(me: model::Me) -> Self {
        Self {
            user: me.user.into(),
            session_id: Id::of(me.session_id),
            impersonator: me.impersonator.map(User::from),
            clinic_name: me.clinic_name,
        }
    }
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePassword {
    current_password: String,
    /// 12 to 128 characters, whichever; not a common one, and neither the username nor the clinic's
    /// name in it.
    new_password: String,
}

impl From<ChangePassword> for (Secret, Secret) {
    fn from(body: ChangePassword) -> Self {
        (
            Secret::new(body.current_password),
            Secret::new(body.new_password),
        )
    }
}

/// Another password for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetPassword {
    /// 12 to 128 characters, whichever; not a common one, and neither the username nor the clinic's
    /// name in it.
    new_password: String,
}

impl From<ResetPassword> for Secret {
    fn from(body: ResetPassword) -> Self {
        Self::new(body.new_password)
    }
}

/// Why an admin acts as somebody else.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Impersonate {
    /// 1 to 500 characters; the audit log keeps it.
    pub(super) reason: String,
}

/// A log-in that lasts.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    session_id: Id,
    user_id: Id,
    /// What the user calls the device.
    device_name: Option<String>,
    /// The address they logged in from.
    address: Option<String>,
    /// The `User-Agent` they logged in with.
    agent: Option<String>,
    /// The admin who acts as the user in it; null when nobody does.
    impersonator_id: Option<Id>,
    created_at: Instant,
    /// When it was last used, to the minute.
    last_seen_at: Instant,
    /// When it ends, however much it is used.
    expires_at: Instant,
    /// Whether it is the session that asks.
    is_current: bool,
}

impl Session {
    /// The session as the session `current` sees it.
    pub(super) fn seen_from(current: SessionId) -> impl Fn(model::Session) -> Self {
        move |session| Self {
            session_id: Id::of(session.session_id),
            user_id: Id::of(session.user_id),
            device_name: session.device_name,
            address: session.address.map(|address| address.to_string()),
            agent: session.agent,
            impersonator_id: session.impersonator_id.map(Id::of),
            created_at: Instant(session.created_at),
            last_seen_at: Instant(session.last_seen_at),
            expires_at: Instant(session.expires_at),
            is_current: session.session_id == current,
        }
    }
}

/// Which sessions are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionFilter {
    /// Only those of this user.
    pub(super) user_id: Option<Id>,
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateUser {
    /// 1 to 64 characters without spaces; unique, blind to case.
    username: String,
    /// 1 to 100 characters.
    display_name: String,
    /// At least one.
    roles: Vec<Role>,
    /// `true` when absent.
    is_active: Option<bool>,
    /// 12 to 128 characters, whichever; not a common one, and neither the username nor the clinic's
    /// name in it.
    password: String,
}

impl From<CreateUser> for model::CreateUser {
    fn from(body: CreateUser) -> Self {
        Self {
            username: body.username,
            display_name: body.display_name,
            roles: roles_of(body.roles),
            is_active: body.is_active.unwrap_or(true),
            password: Secret::new(body.password),
        }
    }
}

/// Changes to a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeUser {
    /// 1 to 64 characters without spaces; unique, blind to case.
    #[serde(default)]
    #[schema(value_type = String)]
    username: Patch<String>,
    /// 1 to 100 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    display_name: Patch<String>,
    /// At least one; replaces those there were.
    #[serde(default)]
    #[schema(value_type = Vec<Role>)]
    roles: Patch<Vec<Role>>,
    /// Disabling a user ends their sessions.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Patch<bool>,
}

impl From<ChangeUser> for model::UserChanges {
    fn from(body: ChangeUser) -> Self {
        Self {
            username: body.username.0,
            display_name: body.display_name.0,
            roles: body.roles.0.map(roles_of),
            is_active: body.is_active.0,
        }
    }
}

fn roles_of(roles: Vec<Role>) -> Roles {
    roles.into_iter().map(|role| role.0).collect()
}

request_bodies!(
    LogIn,
    ChangePassword,
    ResetPassword,
    Impersonate,
    CreateUser,
    ChangeUser
);
