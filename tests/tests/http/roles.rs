//! Who may call what: every route of the API against every role.

use std::collections::BTreeSet;

use dcms_tests::{Answer, Client, Server};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::NOBODY;
use crate::world::World;

/// The operations that need no log-in.
pub(crate) const PUBLIC: [(&str, &str); 5] = [
    ("POST", "/api/v1/auth/login"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/docs"),
];

/// A route, the body to send, the status for those who may (`x`); the others (`-`) get 403. The
/// columns are: admin, manager, a doctor with what is their own, the same doctor with what is
/// another doctor's, receptionist.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) status: u16,
    pub(crate) may: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal $body:literal $status:literal $may:literal)+) => {
        &[$(Route { method: stringify!($method), path: $path, body: $body, status: $status, may: $may }),+]
    };
}

#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = routes! {
    // Own account.                                                                                   A M O D R
    POST   "/auth/logout" ""                                                                      204 "x x x x x"
    GET    "/auth/me" ""                                                                          200 "x x x x x"
    POST   "/auth/refresh" ""                                                                     200 "x x x x x"
    POST   "/auth/change_password"
           r#"{"current_password": "a password for tests", "new_password": "another password"}"#  204 "x x x x x"
    GET    "/auth/sessions" ""                                                                    200 "x x x x x"
    POST   "/auth/sessions/{own_session}/revoke" ""                                               204 "x x x x x"

    // Users, and the sessions of others.                                                             A M O D R
    GET    "/admin/sessions" ""                                                                   200 "x - - - -"
    POST   "/admin/sessions/{session}/revoke" ""                                                  204 "x - - - -"
    GET    "/admin/users" ""                                                                      200 "x - - - -"
    POST   "/admin/users"
           r#"{"username": "{unique}", "display_name": "New", "roles": ["doctor"], "password": "a password for tests"}"#
                                                                                                  201 "x - - - -"
    GET    "/admin/users/{user}" ""                                                               200 "x - - - -"
    PATCH  "/admin/users/{user}" r#"{"display_name": "Other"}"#                                   200 "x - - - -"
    POST   "/admin/users/{user}/reset_password" r#"{"new_password": "another password"}"#         204 "x - - - -"
    POST   "/admin/users/{user}/revoke_sessions" ""                                               204 "x - - - -"

    // Clinic settings, rooms, service catalog: read; change.                                         A M O D R
    GET    "/clinic" ""                                                                           200 "x x x x x"
    PATCH  "/clinic" r#"{"phone": "+49 30 1234567"}"#                                             200 "x x - - -"
    GET    "/rooms" ""                                                                            200 "x x x x x"
    POST   "/rooms" r#"{"name": "{unique}"}"#                                                     201 "x x - - -"
    GET    "/rooms/{room}" ""                                                                     200 "x x x x x"
    PATCH  "/rooms/{room}" r#"{"is_active": false}"#                                              200 "x x - - -"
    DELETE "/rooms/{room}" ""                                                                     204 "x x - - -"
    GET    "/doctors" ""                                                                          200 "x x x x x"
    GET    "/services" ""                                                                         200 "x x x x x"
    POST   "/services" r#"{"code": "{unique}", "name": "New", "current_price_cents": 100}"#       201 "x x - - -"
    GET    "/services/{service}" ""                                                               200 "x x x x x"
    PATCH  "/services/{service}" r#"{"current_price_cents": 200}"#                                200 "x x - - -"
    DELETE "/services/{service}" ""                                                               204 "x x - - -"

    // Patients: create, change, archive; delete.                                                     A M O D R
    GET    "/patients" ""                                                                         200 "x x x x x"
    POST   "/patients" r#"{"first_name": "Anna", "last_name": "Beispiel"}"#                       201 "x x x x x"
    GET    "/patients/{patient}" ""                                                               200 "x x x x x"
    PATCH  "/patients/{patient}" r#"{"notes": "Afraid of needles"}"#                              200 "x x x x x"
    DELETE "/patients/{patient}" ""                                                               204 "x x - - -"
    POST   "/patients/{patient}/archive" ""                                                       200 "x x x x x"
    POST   "/patients/{patient}/restore" ""                                                       200 "x x x x x"
    GET    "/patients/{patient}/export" ""                                                        200 "x x - - -"
    POST   "/patients/{patient}/anonymize" r#"{"reason": "Asked to be forgotten"}"#               200 "x - - - -"
    GET    "/patients/{patient}/contacts" ""                                                      200 "x x x x x"
    POST   "/patients/{patient}/contacts" r#"{"type": "email", "value": "a@example.org"}"#        201 "x x x x x"
    PATCH  "/patients/{patient}/contacts/{contact}" r#"{"label": "work"}"#                        200 "x x x x x"
    DELETE "/patients/{patient}/contacts/{contact}" ""                                            204 "x x x x x"

    // Appointments: schedule; treat.                                                                 A M O D R
    GET    "/appointments" ""                                                                     200 "x x x x x"
    POST   "/appointments"
           r#"{"patient_id": "{patient}", "doctor_id": "{doctor}", "starts_at": "{starts_at}", "ends_at": "{ends_at}"}"#
                                                                                                  201 "x x x - x"
    GET    "/appointments/{scheduled}" ""                                                         200 "x x x x x"
    PATCH  "/appointments/{scheduled}" r#"{"notes": "Bring X-rays"}"#                             200 "x x x - x"
    POST   "/appointments/{scheduled}/reschedule"
           r#"{"starts_at": "{starts_at}", "ends_at": "{ends_at}"}"#                              200 "x x x - x"
    POST   "/appointments/{scheduled}/confirm" ""                                                 200 "x x x - x"
    POST   "/appointments/{scheduled}/arrive" ""                                                  200 "x x x - x"
    POST   "/appointments/{arrived}/start" ""                                                     200 "x x x - -"
    POST   "/appointments/{in_chair}/complete" ""                                                 200 "x x x - -"
    POST   "/appointments/{scheduled}/cancel" r#"{"reason": "Ill"}"#                              200 "x x x - x"
    POST   "/appointments/{scheduled}/no_show" ""                                                 200 "x x x - x"

    // Invoices and payments: read; draft, issue, record; void, refund.                               A M O D R
    GET    "/invoices" ""                                                                         200 "x x x x x"
    POST   "/invoices" r#"{"patient_id": "{patient}", "items": []}"#                              201 "x x - - x"
    GET    "/invoices/{draft}" ""                                                                 200 "x x x x x"
    PATCH  "/invoices/{draft}" r#"{"items": []}"#                                                 200 "x x - - x"
    DELETE "/invoices/{draft}" ""                                                                 204 "x x - - x"
    POST   "/invoices/{draft}/items"
           r#"{"description": "Bridge", "unit_price_cents": 100, "qty": 1}"#                      201 "x x - - x"
    PATCH  "/invoices/{draft}/items/{item}" r#"{"qty": 2}"#                                       200 "x x - - x"
    DELETE "/invoices/{draft}/items/{item}" ""                                                    204 "x x - - x"
    POST   "/invoices/{draft}/issue" ""                                                           200 "x x - - x"
    POST   "/invoices/{issued}/void" r#"{"reason": "Charged twice"}"#                             200 "x x - - -"
    GET    "/invoices/{issued}/payments" ""                                                       200 "x x x x x"
    POST   "/invoices/{issued}/payments" r#"{"amount_cents": 100, "method": "cash"}"#             201 "x x - - x"
    GET    "/payments" ""                                                                         200 "x x x x x"
    GET    "/payments/{payment}" ""                                                               200 "x x x x x"
    POST   "/payments/{payment}/refunds" r#"{"amount_cents": 100, "reason": "Goodwill"}"#         201 "x x - - -"
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

/// One column of the matrix: who asks, and whose visits it is about.
struct Column<'server> {
    server: &'server Server,
    index: usize,
    role: &'static str,
    actor: Client,
    world: World<'server>,
}

impl<'server> Column<'server> {
    async fn new(server: &'server Server, index: usize) -> Self {
        let role = ["admin", "manager", "doctor", "doctor", "receptionist"][index];
        let actor = server.user(role).await;
        let doctor = if index == 2 {
            actor.clone()
        } else {
            server.user("doctor").await
        };
        Self {
            server,
            index,
            role,
            actor,
            world: World::new(server, &format!("{role}{index}"), &doctor),
        }
    }

    /// Calls every route; answers those that did not go as the table says.
    async fn walk(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for route in ROUTES {
            let may = route.may.split(' ').nth(self.index) == Some("x");
            let answer = self.call(route).await;
            let as_said = if may {
                answer.status == route.status
            } else {
                answer.status == 403 && answer.body["code"] == "forbidden"
            };
            if !as_said {
                let (role, method, path) = (self.role, route.method, route.path);
                wrong.push(format!("{role} {method} {path}: {answer:?}"));
            }
        }
        wrong
    }

    async fn call(&mut self, route: &Route) -> Answer {
        self.world.forget();
        // Some of these end the session that they come with.
        let actor = if route.path.starts_with("/auth/") {
            &self.server.user(self.role).await
        } else {
            &self.actor
        };
        let mut path = format!("/api/v1{}", route.path);
        if path.contains("{own_session}") {
            let me = actor.get("/api/v1/auth/me").await;
            path = path.replace("{own_session}", &me.text("/session_id"));
        }
        let path = self.world.resolve(&path).await;
        let body = self.world.resolve(route.body).await;
        call(actor, route.method, &path, &body).await
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_matrix_says_and_nothing_else() {
    let server = Server::start().await;
    let columns = join_all((0..5).map(|index| Column::new(&server, index))).await;
    let wrong = join_all(columns.into_iter().map(Column::walk))
        .await
        .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_table_has_every_route_of_the_served_document() {
    let server = Server::start().await;
    let document = server.anonymous().get("/api/v1/openapi.json").await.body;
    let documented: BTreeSet<(String, String)> = operations(&document)
        .map(|(method, path, _)| (method, template(path)))
        .collect();
    let in_table = ROUTES.iter().map(|route| {
        (
            route.method.to_owned(),
            template(&format!("/api/v1{}", route.path)),
        )
    });
    let public = PUBLIC.map(|(method, path)| (method.to_owned(), path.to_owned()));
    let known: BTreeSet<(String, String)> = in_table.chain(public).collect();
    assert_eq!(documented, known);
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

#[tokio::test]
async fn without_a_live_session_nothing_but_the_public_routes_answers() {
    let server = Server::start().await;
    let gone = server.user("admin").await;
    assert_eq!(gone.act("/api/v1/auth/logout").await.status, 204);
    let gone = format!("Bearer {}", gone.token().unwrap());
    let live = server.admin().token().unwrap();
    let credentials = [
        None,
        Some(gone),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer garbage".to_owned()),
        Some(format!("Bearer {}", "a".repeat(8000))),
        Some(format!("Bearer {}", live.to_lowercase())),
        Some(format!("Bearer {live}a")),
        Some(format!("Basic {live}")),
        Some(live.to_owned()),
    ];
    let anonymous = server.anonymous();
    for route in ROUTES {
        let path = template(&format!("/api/v1{}", route.path));
        let path = path.replace("{}", NOBODY);
        for credential in &credentials {
            let method = Method::from_bytes(route.method.as_bytes()).unwrap();
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
