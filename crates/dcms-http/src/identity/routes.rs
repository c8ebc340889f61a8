use axum::extract::State;
use dcms_domain::identity::{IdentityError, Secret};
use dcms_domain::shared::{CommonError, SessionId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{
    ChangePassword, ChangeUser, CreateUser, Impersonate, LogIn, LoggedIn, Me, ResetPassword,
    Session, SessionFilter, User,
};
use crate::appointments::WithConflicts;
use crate::extract::{Bearer, Caller, IfMatch, Path, Query, Source};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::problem::{Code, Problem};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::{Id, List};

type ChangedUser = WithConflicts<User>;
type SessionList = List<Session>;
type UserList = List<User>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(log_in))
        .routes(routes!(log_out))
        .routes(routes!(read_me))
        .routes(routes!(refresh))
        .routes(routes!(change_password))
        .routes(routes!(list_own_sessions))
        .routes(routes!(revoke_own_session))
        .routes(routes!(list_sessions))
        .routes(routes!(revoke_session))
        .routes(routes!(revoke_sessions_of_user))
        .routes(routes!(list_users, create_user))
        .routes(routes!(read_user, change_user))
        .routes(routes!(reset_password))
        .routes(routes!(impersonate))
}

/// Log in
///
/// An unknown user, a wrong password and a disabled user are answered alike, after the same time.
/// Tries that fail too often have to wait, longer each time: those for one account and those from
/// one address. From an address that the account used before, the right password is taken at once.
#[utoipa::path(
    post, path = "/auth/login", tag = "Identity", security(),
    request_body = LogIn,
    responses((status = 200, description = "Logged in.", body = LoggedIn)),
    extensions(("x-problems" = json!(["invalid_credentials", "rate_limited"]))),
)]
async fn log_in(State(app): State<App>, Source(origin): Source, Json(body): Json<LogIn>) -> Answer {
    let service = &app.services.identity;
    let logged_in = service.log_in(&body.into(), &origin).await?;
    Ok(ok(LoggedIn::from(logged_in)))
}

/// Log out
///
/// Ends the session of the token that the request came with.
#[utoipa::path(
    post, path = "/auth/logout", tag = "Identity",
    responses((status = 204, description = "The session is over.")),
    extensions(("x-permission" = json!("use_own_account"))),
)]
async fn log_out(State(app): State<App>, Caller(actor): Caller) -> Answer {
    match app.services.identity.log_out(&actor).await {
        // It ended meanwhile, which is what was wanted.
        Ok(()) | Err(IdentityError::Common(CommonError::NotFound)) => Ok(nothing()),
        Err(error) => Err(error.into()),
    }
}

/// Read who is logged in
#[utoipa::path(
    get, path = "/auth/me", tag = "Identity",
    responses((status = 200, description = "The user, their session and their clinic.", body = Me)),
    extensions(("x-permission" = json!("use_own_account"))),
)]
async fn read_me(State(app): State<App>, Caller(actor): Caller) -> Answer {
    let me = app.services.identity.me(&actor).await?;
    Ok(ok(Me::from(me)))
}

/// Rotate the token
///
/// The session gets another token and ends when it would have ended. Whoever still comes with the
/// token it had ends the session: one of the two stole it.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "Identity",
    responses((status = 200, description = "The session with its new token.", body = LoggedIn)),
    extensions(("x-permission" = json!("manage_own_sessions"))),
)]
async fn refresh(State(app): State<App>, Caller(actor): Caller, Bearer(token): Bearer) -> Answer {
    let logged_in = app.services.identity.refresh(&actor, &token).await?;
    Ok(ok(LoggedIn::from(logged_in)))
}

/// Change one's own password
///
/// Ends the user's other sessions. A wrong current password is a fault at `/current_password` with
/// the code `invalid_credentials`; tries that fail too often have to wait, as at log-in.
#[utoipa::path(
    post, path = "/auth/change_password", tag = "Identity",
    request_body = ChangePassword,
    responses((status = 204, description = "The password is changed.")),
    extensions(
        ("x-permission" = json!("change_own_password")),
        ("x-problems" = json!(["rate_limited"])),
    ),
)]
async fn change_password(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<ChangePassword>,
) -> Answer {
    let (current, new) = body.into();
    let service = &app.services.identity;
    match service.change_password(&actor, &current, &new).await {
        Ok(()) => Ok(nothing()),
        // The caller is logged in: a 401 would tell a client to throw its token away.
        Err(IdentityError::InvalidCredentials) => Err(Problem::invalid_field(
            "/current_password",
            Code::InvalidCredentials.as_str(),
            "is not the current password",
        )),
        Err(error) => Err(error.into()),
    }
}

/// List one's own sessions
///
/// The live ones, in the order of log-in.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "Identity",
    params(PageParams),
    responses((status = 200, description = "A page of sessions.", body = SessionList)),
    extensions(("x-permission" = json!("manage_own_sessions"))),
)]
async fn list_own_sessions(
    State(app): State<App>,
    Caller(actor): Caller,
    Paging(page): Paging<SessionId>,
) -> Answer {
    let page = app.services.identity.own_sessions(&actor, page).await?;
    Ok(ok(List::of(page, Session::seen_from(actor.session_id))))
}

/// End one of one's own sessions
#[utoipa::path(
    post, path = "/auth/sessions/{session_id}/revoke", tag = "Identity",
    responses((status = 204, description = "The session is over.")),
    extensions(("x-permission" = json!("manage_own_sessions"))),
)]
async fn revoke_own_session(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([session_id]): Path<1>,
) -> Answer {
    let service = &app.services.identity;
    service.revoke_own_session(&actor, session_id.get()).await?;
    Ok(nothing())
}

/// List everybody's sessions
///
/// The live ones, in the order of log-in.
#[utoipa::path(
    get, path = "/admin/sessions", tag = "Users",
    params(SessionFilter, PageParams),
    responses((status = 200, description = "A page of sessions.", body = SessionList)),
    extensions(("x-permission" = json!("manage_users"))),
)]
async fn list_sessions(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<SessionFilter>,
    Paging(page): Paging<SessionId>,
) -> Answer {
    let user_id = filter.user_id.map(Id::get);
    let page = app
        .services
        .identity
        .sessions(&actor, user_id, page)
        .await?;
    Ok(ok(List::of(page, Session::seen_from(actor.session_id))))
}

/// End anybody's session
#[utoipa::path(
    post, path = "/admin/sessions/{session_id}/revoke", tag = "Users",
    responses((status = 204, description = "The session is over.")),
    extensions(("x-permission" = json!("manage_users"))),
)]
async fn revoke_session(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([session_id]): Path<1>,
) -> Answer {
    let service = &app.services.identity;
    service.revoke_session(&actor, session_id.get()).await?;
    Ok(nothing())
}

/// End all sessions of a user
#[utoipa::path(
    post, path = "/admin/users/{user_id}/revoke_sessions", tag = "Users",
    responses((status = 204, description = "The sessions are over.")),
    extensions(
        ("x-permission" = json!("manage_users")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn revoke_sessions_of_user(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([user_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.identity;
    service
        .revoke_sessions_of(&actor, user_id.get(), &expected)
        .await?;
    Ok(nothing())
}

/// List users
///
/// In the order they were made.
#[utoipa::path(
    get, path = "/admin/users", tag = "Users",
    params(PageParams),
    responses((status = 200, description = "A page of users.", body = UserList)),
    extensions(("x-permission" = json!("manage_users"))),
)]
async fn list_users(
    State(app): State<App>,
    Caller(actor): Caller,
    Paging(page): Paging<UserId>,
) -> Answer {
    let page = app.services.identity.users(&actor, page).await?;
    Ok(ok(List::of(page, User::from)))
}

/// Make a user
///
/// They have to change the password before they do anything else.
#[utoipa::path(
    post, path = "/admin/users", tag = "Users",
    request_body = CreateUser,
    responses((status = 201, description = "The user was made.", body = User)),
    extensions(
        ("x-permission" = json!("manage_users")),
        ("x-problems" = json!(["already_exists"])),
    ),
)]
async fn create_user(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<CreateUser>,
) -> Answer {
    let service = &app.services.identity;
    let user = service.create_user(&actor, body.into()).await?;
    let location = format!("{BASE_PATH}/admin/users/{}", user.user_id);
    Ok(created(location, Some(user.version), User::from(user)))
}

/// Read a user
#[utoipa::path(
    get, path = "/admin/users/{user_id}", tag = "Users",
    responses((status = 200, description = "The user.", body = User)),
    extensions(("x-permission" = json!("manage_users"))),
)]
async fn read_user(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([user_id]): Path<1>,
) -> Answer {
    let user = app.services.identity.user(&actor, user_id.get()).await?;
    found::<_, User>(user)
}

/// Change a user
///
/// Roles count from the user's next request on. The clinic keeps at least one active admin. Visits
/// of a doctor who is disabled, or is none any more, stay theirs; those that are coming are told.
#[utoipa::path(
    patch, path = "/admin/users/{user_id}", tag = "Users",
    request_body = ChangeUser,
    responses((status = 200, description = "The changed user.", body = ChangedUser)),
    extensions(
        ("x-permission" = json!("manage_users")),
        ("x-problems" = json!(["already_exists", "last_admin", "version_mismatch"])),
    ),
)]
async fn change_user(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([user_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeUser>,
) -> Answer {
    let service = &app.services.identity;
    let user = service
        .change_user(&actor, user_id.get(), &expected, body.into())
        .await?;
    found::<_, ChangedUser>(user)
}

/// Give a user another password
///
/// Ends their sessions. They have to change it before they do anything else.
#[utoipa::path(
    post, path = "/admin/users/{user_id}/reset_password", tag = "Users",
    request_body = ResetPassword,
    responses((status = 204, description = "The password is changed.")),
    extensions(
        ("x-permission" = json!("manage_users")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn reset_password(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([user_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ResetPassword>,
) -> Answer {
    let new = Secret::from(body);
    let service = &app.services.identity;
    service
        .reset_password(&actor, user_id.get(), &expected, &new)
        .await?;
    Ok(nothing())
}

/// Act as a user
///
/// For support: opens a session of 15 minutes as another active user. It cannot change passwords,
/// users or money, and the audit log names both.
#[utoipa::path(
    post, path = "/admin/users/{user_id}/impersonate", tag = "Users",
    request_body = Impersonate,
    responses((status = 200, description = "The session.", body = LoggedIn)),
    extensions(("x-permission" = json!("manage_users"))),
)]
async fn impersonate(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([user_id]): Path<1>,
    Json(body): Json<Impersonate>,
) -> Answer {
    let service = &app.services.identity;
    let logged_in = service
        .impersonate(&actor, user_id.get(), &body.reason)
        .await?;
    Ok(ok(LoggedIn::from(logged_in)))
}
