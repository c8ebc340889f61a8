//! Who may call what: every operation of the served document against everybody there is. What is
//! expected follows from the permission that the document names and from the permission matrix.

use std::collections::{BTreeMap, BTreeSet};

use dcms_domain::access::{Grant, Permission, Role, Row};
use dcms_tests::{Answer, Client, FIRST_PASSWORD, Server};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::NOBODY;
use crate::world::{World, names_in};

/// The operations that need no log-in.
pub(crate) const PUBLIC: [(&str, &str); 5] = [
    ("POST", "/api/v1/auth/login"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/docs"),
];

/// What the document cannot tell of an operation that needs a log-in: a path and a body with which
/// it succeeds, and the status it has then.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) status: u16,
}

macro_rules! routes {
    ($($method:ident $path:literal $body:literal $status:literal)+) => {
        &[$(Route { method: stringify!($method), path: $path, body: $body, status: $status }),+]
    };
}

impl Route {
    /// The method, and the path with `{}` in place of ids and without its query.
    pub(crate) fn key(&self) -> (String, String) {
        let (path, _) = self.path.split_once('?').unwrap_or((self.path, ""));
        (self.method.to_owned(), template(&format!("/api/v1{path}")))
    }
}

#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = routes! {
    // Own account.
    POST   "/auth/logout" ""                                                                      204
    GET    "/auth/me" ""                                                                          200
    POST   "/auth/refresh" ""                                                                     200
    POST   "/auth/change_password"
           r#"{"current_password": "{password}", "new_password": "another password"}"#  204
    GET    "/auth/sessions" ""                                                                    200
    POST   "/auth/sessions/{own_session}/revoke" ""                                               204

    // Users, and the sessions of others.
    GET    "/admin/sessions" ""                                                                   200
    POST   "/admin/sessions/{session}/revoke" ""                                                  204
    GET    "/admin/users" ""                                                                      200
    POST   "/admin/users"
           r#"{"username": "{unique}", "display_name": "New", "roles": ["doctor"], "password": "a password for tests"}"#
                                                                                                  201
    GET    "/admin/users/{user}" ""                                                               200
    PATCH  "/admin/users/{user}" r#"{"display_name": "Other"}"#                                   200
    POST   "/admin/users/{user}/reset_password" r#"{"new_password": "another password"}"#         204
    POST   "/admin/users/{user}/revoke_sessions" ""                                               204
    POST   "/admin/users/{user}/impersonate" r#"{"reason": "They asked for help"}"#               200

    // The audit log.
    GET    "/admin/audit" ""                                                                      200
    GET    "/patients/{patient}/accesses" ""                                                      200

    // Clinic settings, rooms, service catalog.
    GET    "/clinic" ""                                                                           200
    PATCH  "/clinic" r#"{"phone": "+49 30 1234567"}"#                                             200
    GET    "/rooms" ""                                                                            200
    POST   "/rooms" r#"{"name": "{unique}"}"#                                                     201
    GET    "/rooms/{room}" ""                                                                     200
    PATCH  "/rooms/{room}" r#"{"is_active": false}"#                                              200
    DELETE "/rooms/{room}" ""                                                                     204
    GET    "/doctors" ""                                                                          200
    GET    "/doctors/{doctor}" ""                                                                 200
    PATCH  "/doctors/{doctor}" r#"{"usual_room_id": "{room}"}"#                                   200
    GET    "/clinic/hours" ""                                                                     200
    PUT    "/clinic/hours"
           r#"{"valid_from": "2100-01-01", "intervals": [{"weekday": "monday", "opens_at": "09:00", "closes_at": "17:00"}]}"#
                                                                                                  200
    GET    "/clinic/closures" ""                                                                  200
    POST   "/clinic/closures" r#"{"starts_on": "2100-01-01", "reason": "New Year"}"#              201
    GET    "/clinic/closures/{closure}" ""                                                        200
    DELETE "/clinic/closures/{closure}" ""                                                        204
    GET    "/doctors/{doctor}/hours" ""                                                           200
    PUT    "/doctors/{doctor}/hours" r#"{"valid_from": "2100-01-01", "intervals": []}"#           200
    GET    "/doctors/{doctor}/time_off" ""                                                        200
    POST   "/doctors/{doctor}/time_off" r#"{"starts_on": "2100-01-01"}"#                          201
    GET    "/doctors/{doctor}/time_off/{time_off}" ""                                             200
    DELETE "/doctors/{doctor}/time_off/{time_off}" ""                                             204
    GET    "/services" ""                                                                         200
    POST   "/services" r#"{"code": "{unique}", "name": "New", "current_price_cents": 100}"#       201
    GET    "/services/{service}" ""                                                               200
    PATCH  "/services/{service}" r#"{"current_price_cents": 200}"#                                200
    DELETE "/services/{service}" ""                                                               204

    // Patients.
    GET    "/patients" ""                                                                         200
    POST   "/patients" r#"{"first_name": "Anna", "last_name": "Beispiel"}"#                       201
    GET    "/patients/{patient}" ""                                                               200
    PATCH  "/patients/{patient}" r#"{"notes": "Afraid of needles"}"#                              200
    DELETE "/patients/{patient}" ""                                                               204
    POST   "/patients/{patient}/archive" ""                                                       200
    POST   "/patients/{patient}/restore" ""                                                       200
    GET    "/patients/{patient}/export" ""                                                        200
    POST   "/patients/{patient}/anonymize" r#"{"reason": "Asked to be forgotten"}"#               200
    GET    "/patients/{patient}/contacts" ""                                                      200
    POST   "/patients/{patient}/contacts" r#"{"type": "email", "value": "a@example.org"}"#        201
    PATCH  "/patients/{patient}/contacts/{contact}" r#"{"label": "work"}"#                        200
    DELETE "/patients/{patient}/contacts/{contact}" ""                                            204

    // Appointments.
    GET    "/appointments" ""                                                                     200
    POST   "/appointments"
           r#"{"patient_id": "{patient}", "doctor_id": "{doctor}", "starts_at": "{starts_at}", "ends_at": "{ends_at}"}"#
                                                                                                  201
    GET    "/availability?date=2020-01-01" ""                                                     200
    GET    "/availability/next" ""                                                                200
    GET    "/appointments/events" ""                                                              200
    GET    "/appointments/conflicts" ""                                                           200
    POST   "/appointments/{in_conflict}/accept_conflict" r#"{"reason": "Agreed"}"#                200
    GET    "/appointments/{scheduled}" ""                                                         200
    GET    "/appointments/{scheduled}/history" ""                                                 200
    PATCH  "/appointments/{scheduled}" r#"{"notes": "Bring X-rays"}"#                             200
    POST   "/appointments/{scheduled}/reschedule"
           r#"{"starts_at": "{starts_at}", "ends_at": "{ends_at}"}"#                              200
    POST   "/appointments/{scheduled}/confirm" ""                                                 200
    POST   "/appointments/{scheduled}/arrive" ""                                                  200
    POST   "/appointments/{arrived}/start" ""                                                     200
    POST   "/appointments/{in_chair}/complete" ""                                                 200
    POST   "/appointments/{scheduled}/cancel" r#"{"reason": "Ill"}"#                              200
    POST   "/appointments/{scheduled}/no_show" ""                                                 200

    // Invoices and payments.
    GET    "/invoices" ""                                                                         200
    POST   "/invoices" r#"{"patient_id": "{patient}", "items": []}"#                              201
    GET    "/invoices/{draft}" ""                                                                 200
    PATCH  "/invoices/{draft}" r#"{"items": []}"#                                                 200
    DELETE "/invoices/{draft}" ""                                                                 204
    POST   "/invoices/{draft}/items"
           r#"{"description": "Bridge", "unit_price_cents": 100, "qty": 1}"#                      201
    PATCH  "/invoices/{draft}/items/{item}" r#"{"qty": 2}"#                                       200
    DELETE "/invoices/{draft}/items/{item}" ""                                                    204
    POST   "/invoices/{draft}/issue" ""                                                           200
    POST   "/invoices/{issued}/void" r#"{"reason": "Charged twice"}"#                             200
    GET    "/invoices/{issued}/payments" ""                                                       200
    POST   "/invoices/{issued}/payments" r#"{"amount_cents": 100, "method": "cash"}"#             201
    GET    "/payments" ""                                                                         200
    GET    "/payments/{payment}" ""                                                               200
    POST   "/payments/{payment}/refunds" r#"{"amount_cents": 100, "reason": "Goodwill"}"#         201
};

/// A path with `{}` for whatever stands in its braces.
pub(crate) fn template(path: &str) -> String {
    let mut parts = path.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |template, part| {
        let (_, rest) = part.split_once('}').expect("a closing brace");
        template + "{}" + rest
    })
}

/// Sends a body when there is one.
async fn call(client: &Client, method: &str, path: &str, body: &str) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client.request(method, path);
    Answer::of(if body.is_empty() {
        request
    } else {
        request
            .header("Content-Type", "application/json")
            .body(body.to_owned())
    })
    .await
}

/// An operation of the document that needs a log-in.
struct Operation {
    /// As the document and the audit log name it: `GET /api/v1/patients/{patient_id}`.
    name: String,
    /// What the matrix says of the permission that it asks for.
    row: &'static Row,
}

/// The operations that need a log-in, by [`Route::key`].
type Operations = BTreeMap<(String, String), Operation>;

fn closed_operations(document: &Value) -> Operations {
    let closed =
        operations(document).filter(|(_, _, operation)| operation["security"] != json!([]));
    closed
        .map(|(method, path, operation)| {
            let name = format!("{method} {path}");
            let permission = operation["x-permission"].as_str();
            let row = permission
                .and_then(Permission::from_name)
                .unwrap_or_else(|| panic!("{name} names no permission"))
                .row();
            ((method, template(path)), Operation { name, row })
        })
        .collect()
}

/// In what way somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guise {
    /// Logged in with a password of their own.
    Themselves,
    /// Logged in with a password that somebody else has set.
    Newcomer,
    /// Somebody else: an admin acts as them.
    Impersonated,
}

/// What an operation has to answer, by the permission matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Done,
    /// Refused with this code, whatever it is about.
    Refused(&'static str),
    /// Refused because it is about somebody else's.
    NotTheirs,
}

/// One column of the matrix: who asks, and whose visits it is about.
struct Column<'server> {
    server: &'server Server,
    role: Role,
    guise: Guise,
    /// Whether the visits are their own.
    owns: bool,
    actor: Client,
    world: World<'server>,
    walked: Walked,
}

/// What came of a walk.
#[derive(Default)]
struct Walked {
    wrong: Vec<String>,
    refusals: Vec<Refusal>,
}

/// A refusal, as the audit log has to tell it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    actor_id: String,
    impersonator_id: Option<String>,
    operation: String,
    patient_ids: Vec<String>,
}

/// A call, and what came of it.
struct Call {
    actor_id: String,
    path: String,
    answer: Answer,
}

impl<'server> Column<'server> {
    async fn new(server: &'server Server, role: Role, guise: Guise, owns: bool) -> Self {
        let actor = somebody(server, role, guise).await;
        let doctor = if owns {
            actor.clone()
        } else {
            server.user("doctor").await
        };
        Self {
            server,
            role,
            guise,
            owns,
            actor,
            world: World::new(server, &format!("{role}-{guise:?}-{owns}"), &doctor),
            walked: Walked::default(),
        }
    }

    fn verdict(&self, row: &Row) -> Verdict {
        let refused_because_of_guise = match self.guise {
            Guise::Themselves => None,
            Guise::Newcomer => (!row.before_password_change).then_some("password_change_required"),
            Guise::Impersonated => (!row.impersonated).then_some("forbidden"),
        };
        if let Some(code) = refused_because_of_guise {
            return Verdict::Refused(code);
        }
        match row.grants[self.role as usize] {
            Grant::Always => Verdict::Done,
            Grant::Own if self.owns => Verdict::Done,
            Grant::Own => Verdict::NotTheirs,
            Grant::Never => Verdict::Refused("forbidden"),
        }
    }

    /// Calls every operation. What is refused whatever it is about is also called about nothing.
    async fn walk(mut self, operations: &Operations) -> Walked {
        for route in ROUTES {
            let operation = &operations[&route.key()];
            let verdict = self.verdict(operation.row);
            self.world.forget();
            let call = self.call(route, false).await;
            self.judge(route, operation, verdict, &call);
            if let Verdict::Refused(_) = verdict {
                let nothing = self.call(route, true).await;
                self.judge(route, operation, verdict, &nothing);
                if looks(&call.answer) != looks(&nothing.answer) {
                    let told = format!("{} tells: {:?}", operation.name, nothing.answer);
                    self.walked.wrong.push(told);
                }
            }
        }
        self.walked
    }

    async fn call(&mut self, route: &Route, about_nothing: bool) -> Call {
        // Some of these end the session that they come with.
        let actor = if route.path.starts_with("/auth/") {
            somebody(self.server, self.role, self.guise).await
        } else {
            self.actor.clone()
        };
        let me = actor.get("/api/v1/auth/me").await;
        self.world.name("own_session", me.text("/session_id"));
        if self.guise == Guise::Newcomer {
            self.world.name("password", FIRST_PASSWORD.to_owned());
        }
        let (path, body) = (format!("/api/v1{}", route.path), route.body);
        let (path, body) = if about_nothing {
            (without_things(&path), without_things(body))
        } else {
            (path, body.to_owned())
        };
        let path = self.world.resolve(&path).await;
        let body = self.world.resolve(&body).await;
        Call {
            answer: call(&actor, route.method, &path, &body).await,
            actor_id: actor.user_id,
            path,
        }
    }

    /// Notes what did not go as the matrix says, and what has to be in the audit log.
    fn judge(&mut self, route: &Route, operation: &Operation, verdict: Verdict, call: &Call) {
        let code = match verdict {
            Verdict::Done => None,
            Verdict::Refused(code) => Some(code),
            Verdict::NotTheirs => Some("forbidden"),
        };
        let as_said = match code {
            None => call.answer.status == route.status,
            Some(code) => call.answer.status == 403 && call.answer.body["code"] == code,
        };
        if !as_said {
            let (role, guise, owns) = (self.role, self.guise, self.owns);
            let who = format!("{role} ({guise:?}, own: {owns})");
            let wrong = format!("{who} {}: {:?}", operation.name, call.answer);
            self.walked.wrong.push(wrong);
        }
        if code.is_some() {
            let admin = self.server.admin().user_id.clone();
            let patient = call.path.strip_prefix("/api/v1/patients/");
            let patient = patient.and_then(|rest| rest.split('/').next());
            self.walked.refusals.push(Refusal {
                actor_id: call.actor_id.clone(),
                impersonator_id: (self.guise == Guise::Impersonated).then_some(admin),
                operation: operation.name.clone(),
                patient_ids: patient.map(str::to_owned).into_iter().collect(),
            });
        }
    }
}

/// A new user of that role, logged in that way.
async fn somebody(server: &Server, role: Role, guise: Guise) -> Client {
    match guise {
        Guise::Themselves => server.user(role.as_str()).await,
        Guise::Newcomer => server.newcomer(role.as_str()).await,
        Guise::Impersonated => {
            let user = server.user(role.as_str()).await;
            server.act_as(&user.user_id).await
        }
    }
}

/// The text with the id of nothing in place of each name of a thing.
fn without_things(text: &str) -> String {
    names_in(text)
        .into_iter()
        .filter(|name| !["unique", "password", "starts_at", "ends_at"].contains(name))
        .fold(text.to_owned(), |text, name| {
            text.replace(&format!("{{{name}}}"), NOBODY)
        })
}

/// What a client can tell answers apart by, but for the request's id.
fn looks(answer: &Answer) -> (StatusCode, Value) {
    let mut body = answer.body.clone();
    body.as_object_mut().unwrap().remove("request_id");
    (answer.status, body)
}

/// All refusals that the audit log tells of, in an order of their own.
async fn refusals_in_audit_log(server: &Server) -> Vec<Refusal> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = server.audit("action=refuse").await;
    let mut refusals: Vec<Refusal> = entries
        .iter()
        .map(|entry| Refusal {
            actor_id: text(&entry["actor_id"]).unwrap(),
            impersonator_id: text(&entry["impersonator_id"]),
            operation: text(&entry["changes"]["operation"]["after"]).unwrap(),
            patient_ids: serde_json::from_value(entry["patient_ids"].clone()).unwrap(),
        })
        .collect();
    refusals.sort();
    refusals
}

#[tokio::test]
async fn everybody_may_do_what_the_matrix_says_and_nothing_else() {
    let server = Server::start().await;
    let document = server.anonymous().get("/api/v1/openapi.json").await.body;
    let operations = closed_operations(&document);
    let columns = [
        (Role::Admin, Guise::Themselves, false),
        (Role::Manager, Guise::Themselves, false),
        (Role::Doctor, Guise::Themselves, true),
        (Role::Doctor, Guise::Themselves, false),
        (Role::Receptionist, Guise::Themselves, false),
        // Admins, whose role allows everything, so that it is their guise that forbids.
        (Role::Admin, Guise::Newcomer, false),
        (Role::Admin, Guise::Impersonated, false),
        // Who acts as somebody else may no more than they.
        (Role::Doctor, Guise::Impersonated, true),
    ];
    let (server, operations) = (&server, &operations);
    let walks = columns.map(|(role, guise, owns)| async move {
        let column = Column::new(server, role, guise, owns).await;
        column.walk(operations).await
    });
    let (mut wrong, mut refusals) = (Vec::new(), Vec::new());
    for walked in join_all(walks).await {
        wrong.extend(walked.wrong);
        refusals.extend(walked.refusals);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    refusals.sort();
    assert!(refusals.len() > 100, "{}", refusals.len());
    assert_eq!(refusals_in_audit_log(server).await, refusals);
}

#[tokio::test]
async fn the_table_has_every_route_of_the_served_document() {
    let server = Server::start().await;
    let document = server.anonymous().get("/api/v1/openapi.json").await.body;
    let documented: BTreeSet<(String, String)> = operations(&document)
        .map(|(method, path, _)| (method, template(path)))
        .collect();
    let in_table = ROUTES.iter().map(Route::key);
    let public = PUBLIC.map(|(method, path)| (method.to_owned(), path.to_owned()));
    let known: BTreeSet<(String, String)> = in_table.chain(public).collect();
    assert_eq!(documented, known);
    assert_eq!(ROUTES.len() + PUBLIC.len(), known.len());
    // Which also fails when one that is not public names no permission.
    assert_eq!(closed_operations(&document).len(), ROUTES.len());
}

/// The operations of an OpenAPI document: method in capitals, path, operation.
pub(crate) fn operations(
    document: &serde_json::Value,
) -> impl Iterator<Item = (String, &str, &serde_json::Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().expect("operations").iter();
        operations
            .filter(|(name, _)| !matches!(name.as_str(), "parameters" | "summary" | "description"))
            .map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

/// The token of a new user, which was never used, after `statement` ended what lets it in.
async fn token_ended_by(server: &Server, statement: &'static str) -> String {
    let user = server.user("admin").await;
    let mut connection = PgConnection::connect(server.database_url()).await.unwrap();
    let ended = sqlx::query(statement)
        .bind(&user.user_id)
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(ended.rows_affected() > 0, "{statement}");
    user.token().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_live_session_nothing_but_the_public_routes_answers() {
    let server = Server::start().await;
    let mut ended = Vec::new();
    for statement in [
        // Expired.
        "UPDATE sessions SET created_at = created_at - interval '1 day',
            last_seen_at = last_seen_at - interval '1 minute',
            expires_at = now() - interval '1 second' WHERE user_id = $1::uuid",
        // Idle.
        "UPDATE sessions SET created_at = created_at - interval '1 hour',
            last_seen_at = now() - interval '31 minutes' WHERE user_id = $1::uuid",
        // Revoked.
        "UPDATE sessions SET revoked_at = now() WHERE user_id = $1::uuid",
        // Of a disabled user.
        "UPDATE users SET is_active = false WHERE user_id = $1::uuid",
    ] {
        ended.push(format!(
            "Bearer {}",
            token_ended_by(&server, statement).await
        ));
    }
    let gone = server.user("admin").await;
    assert_eq!(gone.act("/api/v1/auth/logout").await.status, 204);
    ended.push(format!("Bearer {}", gone.token().unwrap()));
    let live = server.admin().token().unwrap();
    let garbage = [
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer garbage".to_owned(),
        format!("Bearer {}", "a".repeat(8000)),
        format!("Bearer {}", live.to_lowercase()),
        format!("Bearer {live}a"),
        format!("Basic {live}"),
        live.to_owned(),
    ];
    let credentials = ended.into_iter().chain(garbage).map(Some).chain([None]);
    let credentials: Vec<Option<String>> = credentials.collect();
    let anonymous = server.anonymous();
    for route in ROUTES {
        let (method, template) = route.key();
        let path = template.replace("{}", NOBODY);
        for credential in &credentials {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = anonymous.request(method, &path);
            if let Some(credential) = credential {
                request = request.header("Authorization", credential);
            }
            let answer = Answer::of(request).await;
            answer.assert_problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
}

#[tokio::test]
async fn what_is_about_nothing_is_not_found() {
    let server = Server::start().await;
    let mut world = World::new(&server, "nothing", &server.user("doctor").await);
    let mut asked = 0;
    for route in ROUTES {
        let path = format!("/api/v1{}", route.path);
        let body = world.resolve(&without_things(route.body)).await;
        // What a body names is no place where nothing is found, but a fault of the body.
        let expected = match (names_in(&path).len(), body.contains(NOBODY)) {
            (0, false) => continue,
            (0, true) => 422,
            _ => 404,
        };
        let mut paths = vec![without_things(&path)];
        // Also when only the last thing is not there.
        if let Some((start, _)) = path.rsplit_once('{')
            && start.contains('{')
        {
            paths.push(world.resolve(&format!("{start}{NOBODY}")).await);
        }
        for path in paths {
            let answer = call(server.admin(), route.method, &path, &body).await;
            assert_eq!(
                answer.status, expected,
                "{} {path}: {answer:?}",
                route.method
            );
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
}

#[tokio::test]
async fn the_public_routes_answer_without_a_session() {
    let server = Server::start().await;
    for (method, path) in PUBLIC.into_iter().filter(|(method, _)| *method == "GET") {
        let answer = call(&server.anonymous(), method, path, "").await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn who_has_two_roles_may_do_what_either_may() {
    let server = Server::start().await;
    server.make_user("both", &["doctor", "receptionist"]).await;
    let both = server.anonymous().log_in("both").await;
    let mut world = World::new(&server, "both", &both);
    for own in ["/start", "/complete"] {
        let name = if own == "/start" {
            "{arrived}"
        } else {
            "{in_chair}"
        };
        let path = world
            .resolve(&format!("/api/v1/appointments/{name}{own}"))
            .await;
        assert_eq!(both.act(&path).await.status, 200);
    }
    // As a receptionist, also with another doctor's; but not what only that doctor may.
    let mut world = World::new(&server, "other", &server.user("doctor").await);
    let confirm = world
        .resolve("/api/v1/appointments/{scheduled}/confirm")
        .await;
    assert_eq!(both.act(&confirm).await.status, 200);
    let start = world.resolve("/api/v1/appointments/{arrived}/start").await;
    both.act(&start).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn a_doctor_neither_gives_visits_away_nor_takes_them() {
    let server = Server::start().await;
    let (doctor, other) = (server.user("doctor").await, server.user("doctor").await);
    for (owner, receiver) in [(&doctor, &other), (&other, &doctor)] {
        let mut world = World::new(&server, "visits", owner);
        let visit = world.resolve("/api/v1/appointments/{scheduled}").await;
        let before = doctor.get(&visit).await.body;
        let body = json!({
            "starts_at": "2021-01-01T09:00:00Z",
            "ends_at": "2021-01-01T10:00:00Z",
            "doctor_id": receiver.user_id,
        });
        let answer = doctor.post(&format!("{visit}/reschedule"), &body).await;
        answer.assert_problem(403, "forbidden");
        assert_eq!(doctor.get(&visit).await.body, before);
    }
}

#[tokio::test]
async fn overbooking_is_for_those_who_may_treat() {
    let server = Server::start().await;
    let doctor = server.user("doctor").await;
    let other = server.user("doctor").await;
    let callers = [
        (server.admin().clone(), 201),
        (server.user("manager").await, 201),
        (doctor.clone(), 201),
        (other, 403),
        (server.user("receptionist").await, 403),
    ];
    for (index, (caller, status)) in callers.into_iter().enumerate() {
        let body = json!({
            "patient_id": server.patient().await,
            "doctor_id": doctor.user_id,
            "starts_at": format!("2021-01-0{}T09:00:00Z", index + 1),
            "ends_at": format!("2021-01-0{}T10:00:00Z", index + 1),
            "overbook_reason": "In pain",
        });
        let answer = caller.post("/api/v1/appointments", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
