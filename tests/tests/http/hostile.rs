//! What no client in its right mind sends: always refused as the caller's fault, and nothing changes.

use dcms_tests::{Answer, Client, Server, rows};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::world::World;

/// Representative endpoints that take a body, each with one that would be accepted.
fn endpoints() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "POST",
            "/auth/login",
            json!({"username": "nobody", "password": "guessed", "device_name": "PC"}),
        ),
        (
            "POST",
            "/admin/users",
            json!({
                "username": "nora", "display_name": "Nora", "roles": ["doctor"],
                "is_active": true, "password": "a password for tests",
            }),
        ),
        (
            "PATCH",
            "/clinic",
            json!({
                "clinic_name": "Other", "time_zone": "Europe/Paris", "address": "Here", "phone": "030 123",
                "email": "a@example.org", "currency": "CHF", "default_slot_minutes": 20,
            }),
        ),
        (
            "POST",
            "/rooms",
            json!({"name": "Room 9", "is_active": true}),
        ),
        (
            "POST",
            "/services",
            json!({
                "code": "X", "name": "X-ray", "current_price_cents": 100,
                "default_duration_minutes": 30, "is_active": true,
            }),
        ),
        (
            "POST",
            "/patients",
            json!({
                "first_name": "Anna", "last_name": "Beispiel", "birthday": "1980-01-01",
                "gender": "female", "notes": "Tall",
            }),
        ),
        (
            "PATCH",
            "/patients/{patient}",
            json!({"first_name": "Bea", "birthday": "1981-01-01", "gender": "male", "notes": "Small"}),
        ),
        (
            "POST",
            "/patients/{patient}/contacts",
            json!({"type": "email", "value": "a@example.org", "label": "work", "is_primary": true}),
        ),
        (
            "POST",
            "/appointments",
            json!({
                "patient_id": "{patient}", "doctor_id": "{doctor}", "room_id": "{room}",
                "starts_at": "2030-01-01T09:00:00Z", "ends_at": "2030-01-01T10:00:00Z", "notes": "Early",
                "services": [{"service_id": "{service}", "qty": 1}], "overbook_reason": "In pain",
            }),
        ),
        (
            "POST",
            "/appointments/{scheduled}/reschedule",
            json!({
                "starts_at": "2030-01-02T09:00:00Z", "ends_at": "2030-01-02T10:00:00Z",
                "doctor_id": "{doctor}", "room_id": "{room}",
            }),
        ),
        (
            "POST",
            "/appointments/{scheduled}/cancel",
            json!({"reason": "Ill"}),
        ),
        (
            "POST",
            "/invoices/{draft}/items",
            json!({"description": "Bridge", "unit_price_cents": 100, "qty": 1}),
        ),
        (
            "POST",
            "/invoices/{issued}/payments",
            json!({
                "amount_cents": 100, "method": "cash", "paid_at": "2026-01-01T09:00:00Z", "reference": "Slip 1",
            }),
        ),
        (
            "POST",
            "/payments/{payment}/refunds",
            json!({"amount_cents": 100, "reason": "Goodwill"}),
        ),
    ]
}

/// Values that are wrong in every field.
const WRONG_ANYWHERE: [&str; 6] = [
    "{}",
    r#"{"$ne": null}"#,
    "[[]]",
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\u0000\ud83d""#,
];

/// Values that are wrong where a number of cents, pieces or minutes is due.
const WRONG_NUMBERS: [&str; 15] = [
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1e400",
    "1e2",
    "10.0",
    "10.5",
    "-1",
    "\"10\"",
    "\"\"",
    "\"Infinity\"",
    "NaN",
    "0x10",
    "true",
];

/// Values that are wrong where a day or an instant is due.
const WRONG_TIMES: [&str; 14] = [
    "\"294276-12-31T23:59:59Z\"",
    "\"+294276-12-31T23:59:59Z\"",
    "\"-4713-11-24T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"9999-12-31\"",
    "\"1899-12-31T23:59:59Z\"",
    "\"1899-12-31\"",
    "\"infinity\"",
    "\"-infinity\"",
    "\"now\"",
    "\"2026-02-30\"",
    "\"0000-00-00T00:00:00Z\"",
    "0",
    "1e300",
];

/// Values that are wrong where text is due that is shown to people.
const WRONG_TEXTS: [&str; 5] = [
    r#""a\u0000b""#,
    r#""a\u0007b""#,
    r#""a\u001bb""#,
    "10",
    "\"a\u{7}b\"",
];

/// A body with one member replaced by raw text, which need not be JSON.
fn with_raw(body: &Map<String, Value>, name: &str, raw: &str) -> String {
    let members: Vec<String> = body
        .iter()
        .map(|(member, value)| {
            let value = value.to_string();
            let value = if member == name { raw } else { &value };
            format!("\"{member}\": {value}")
        })
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// Bodies that differ from an acceptable one in one member.
fn with_one_wrong_member(body: &Map<String, Value>) -> Vec<String> {
    let too_long = format!("\"{}\"", "x".repeat(600_000));
    let mut bodies = Vec::new();
    for (name, value) in body {
        let mut wrong = WRONG_ANYWHERE.to_vec();
        match value {
            Value::Number(_) => wrong.extend(WRONG_NUMBERS),
            Value::Bool(_) => wrong.extend(["\"true\"", "1", "0"]),
            Value::String(_) if name.ends_with("_at") || name == "birthday" => {
                wrong.extend(WRONG_TIMES);
            }
            // Whatever it is made of, a password is a password; it is stored as a hash only.
            Value::String(_) if name.contains("password") => {}
            Value::String(_) => {
                wrong.extend(WRONG_TEXTS);
                wrong.push(&too_long);
            }
            _ => wrong.extend(["\"\"", "1", "[null]", "[1]", "[\"x\"]"]),
        }
        bodies.extend(wrong.iter().map(|raw| with_raw(body, name, raw)));
    }
    bodies
}

/// Bodies that are wrong as a whole.
fn wrong_bodies(body: &Map<String, Value>) -> Vec<Vec<u8>> {
    let good = Value::Object(body.clone()).to_string();
    let (name, value) = body.iter().next().expect("a member");
    let twice = format!("{{\"{name}\": {value}, {}", &good[1..]);
    let escaped_twice = twice.replacen(
        &name[..1],
        &format!("\\u{:04x}", u32::from(name.as_bytes()[0])),
        1,
    );
    let nested = "[".repeat(20_000);
    let nested_member = with_raw(body, name, &format!("{nested}{}", "]".repeat(20_000)));
    let objects = "{\"a\":".repeat(20_000);
    let latin1 = [b"{\"", name.as_bytes(), b"\": \"M\xfcller\"}"].concat();
    let overlong = [b"{\"", name.as_bytes(), b"\": \"\xc0\x80\"}"].concat();
    let surrogate = [b"{\"", name.as_bytes(), b"\": \"\xed\xa0\x80\"}"].concat();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let texts = [
        String::new(),
        " ".to_owned(),
        "\0".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        "1".to_owned(),
        "\"text\"".to_owned(),
        "[]".to_owned(),
        format!("[{good}]"),
        format!("{good}{good}"),
        format!("{good} trailing"),
        format!("{good},"),
        format!("\u{feff}{good}"),
        good[..good.len() - 1].to_owned(),
        good.replacen(':', "=", 1),
        good.replace('"', "'"),
        format!("{}, }}", &good[..good.len() - 1]),
        format!("/* */{good}"),
        format!("{{\"__proto__\": {{}}, {}", &good[1..]),
        twice,
        escaped_twice,
        nested,
        nested_member,
        objects,
    ];
    let mut bodies: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    bodies.extend([latin1, overlong, surrogate, utf16]);
    bodies
}

async fn send(client: &Client, method: &str, path: &str, body: Vec<u8>) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client
        .request(method, path)
        .header("Content-Type", "application/json");
    Answer::of(request.body(body)).await
}

/// Fails unless the answer is a problem that is the caller's fault.
fn assert_refused(answer: &Answer, sent: &str) {
    let sent: String = sent.chars().take(300).collect();
    assert!(answer.status.is_client_error(), "{sent}: {answer:?}");
    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
    assert!(!code.is_empty(), "{sent}: {answer:?}");
    answer.assert_problem(answer.status.as_u16(), &code);
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_change_nothing() {
    let server = Server::start().await;
    let mut world = World::new(&server, "hostile", &server.user("doctor").await);
    for (method, path, body) in endpoints() {
        world.forget();
        let path = world.resolve(&format!("/api/v1{path}")).await;
        let body = world.resolve(&body.to_string()).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let body = body.as_object().unwrap();
        // Tries to log in are counted, which is what has to become of them.
        let is_log_in = path == "/api/v1/auth/login";
        let kept = async || {
            let mut rows = rows(server.database_url()).await;
            rows.retain(|table, _| !(is_log_in && table == "login_throttles"));
            rows
        };
        let before = kept().await;
        let bodies = with_one_wrong_member(body)
            .into_iter()
            .map(String::into_bytes);
        for bytes in bodies.chain(wrong_bodies(body)) {
            let sent = format!("{method} {path} {}", String::from_utf8_lossy(&bytes));
            let answer = send(server.admin(), method, &path, bytes).await;
            assert_refused(&answer, &sent);
        }
        assert!(kept().await == before, "{method} {path}");

        // And what was varied would have been accepted, so it was the variation that was refused.
        if !is_log_in {
            let good = Value::Object(body.clone()).to_string().into_bytes();
            let answer = send(server.admin(), method, &path, good).await;
            assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_and_change_nothing() {
    let server = Server::start().await;
    let mut world = World::new(&server, "large", &server.user("doctor").await);
    for (path, name) in [
        ("/auth/login", "password"),
        ("/patients", "notes"),
        ("/invoices/{issued}/payments", "reference"),
    ] {
        let path = world.resolve(&format!("/api/v1{path}")).await;
        let before = rows(server.database_url()).await;
        for megabytes in [2, 20] {
            let text = "x".repeat(megabytes << 20);
            for body in [json!({name: text}).to_string(), text] {
                let answer = send(server.admin(), "POST", &path, body.into_bytes()).await;
                answer.assert_problem(413, "payload_too_large");
            }
        }
        assert!(rows(server.database_url()).await == before, "{path}");
    }
}

/// Values that are wrong in every query parameter, as they are sent.
const WRONG_QUERIES: [&str; 6] = ["%00", "a%00b", "%FF", "%ED%A0%80", "%C0%80", "a%0Ab"];

#[tokio::test]
async fn hostile_queries_are_refused() {
    let server = Server::start().await;
    server.patient().await;
    let long = "9".repeat(60_000);
    let typed = [
        "%zz",
        "'%20OR%201=1%20--",
        "99999999999999999999",
        "-1",
        "1e3",
        "infinity",
        "-infinity",
        "NaN",
        "294276-01-01",
        "%2B294276-01-01T00:00:00Z",
        "294276-12-31T23:59:59Z",
        "null",
        "%7B%7D",
        "[]",
        "2026-02-30",
        &long,
    ];
    for (path, typed_parameters, texts) in [
        (
            "/patients",
            ["archived", "limit", "cursor"].as_slice(),
            ["query"].as_slice(),
        ),
        ("/services", &["active", "limit", "cursor"], &["query"]),
        (
            "/appointments",
            &[
                "doctor_id",
                "patient_id",
                "room_id",
                "status",
                "from",
                "to",
                "date",
            ],
            &[],
        ),
        ("/invoices", &["patient_id", "status", "from", "to"], &[]),
        ("/payments", &["from", "to", "method"], &[]),
        ("/admin/sessions", &["user_id"], &[]),
    ] {
        for parameter in typed_parameters.iter().chain(texts) {
            for wrong in WRONG_QUERIES {
                let query = format!("/api/v1{path}?{parameter}={wrong}");
                assert_refused(&server.admin().get(&query).await, &query);
            }
        }
        for parameter in typed_parameters {
            for wrong in typed {
                let query = format!("/api/v1{path}?{parameter}={wrong}");
                assert_refused(&server.admin().get(&query).await, &query);
            }
        }
        for parameter in texts {
            let query = format!("/api/v1{path}?{parameter}={long}");
            assert_refused(&server.admin().get(&query).await, &query);
            // Text that only looks dangerous is text, and finds nothing.
            for odd in [
                "'%20OR%201=1%20--",
                "%25",
                "_",
                "%5C",
                "*",
                "%F0%9F%A6%B7",
                "%22",
                "(%7C",
            ] {
                let query = format!("/api/v1{path}?{parameter}={odd}");
                let answer = server.admin().get(&query).await;
                assert_eq!(answer.status, 200, "{query}: {answer:?}");
                assert_eq!(answer.body["items"], json!([]), "{query}");
            }
        }
        for wrong in WRONG_QUERIES {
            let query = format!("/api/v1{path}?{wrong}=1");
            assert_refused(&server.admin().get(&query).await, &query);
        }
    }
}

#[tokio::test]
async fn days_and_instants_far_away_are_no_fault_of_the_server() {
    let server = Server::start().await;
    for path in ["/appointments", "/invoices", "/payments"] {
        for far in [
            "0000-01-01",
            "0001-01-01",
            "9999-12-31",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-14:00",
        ] {
            for parameter in ["from", "to"] {
                let query = format!("/api/v1{path}?{parameter}={far}");
                let answer = server.admin().get(&query).await;
                if answer.status != 200 {
                    assert_refused(&answer, &query);
                }
            }
        }
    }
    for far in ["0000-01-01", "9999-12-31"] {
        let query = format!("/api/v1/appointments?date={far}");
        let answer = server.admin().get(&query).await;
        if answer.status != 200 {
            assert_refused(&answer, &query);
        }
    }
}

#[tokio::test]
async fn hostile_paths_are_refused() {
    let server = Server::start().await;
    let long = "a".repeat(60_000);
    for id in [
        "%00",
        "%FF",
        "%ED%A0%80",
        "..%2F..%2Fetc%2Fpasswd",
        "%2E%2E%5C",
        "'%20OR%201=1",
        "null",
        "-1",
        "%7Bpatient_id%7D",
        "0198f000-0000-7000-8000-00000000000g",
        &long,
    ] {
        for (method, path) in [
            ("GET", "/patients/{}"),
            ("PATCH", "/patients/{}"),
            ("DELETE", "/patients/{}"),
            ("POST", "/appointments/{}/confirm"),
            ("GET", "/invoices/{}/payments"),
            ("POST", "/auth/sessions/{}/revoke"),
        ] {
            let path = format!("/api/v1{}", path.replace("{}", id));
            let answer = send(server.admin(), method, &path, b"{}".to_vec()).await;
            assert_refused(&answer, &format!("{method} {path}"));
        }
    }
}

/// Sends bytes that no client library would, and reads the first line of the answer. Empty when
/// the server closed the connection without one.
async fn status_line(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // The server may have answered and closed before it was sent everything.
    let _ = stream.write_all(request).await;
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line).await;
    line.trim_end().to_owned()
}

#[tokio::test]
async fn what_the_parser_of_http_refuses_is_no_fault_of_the_server() {
    let server = Server::start().await;
    // These are refused before there is a request that could be answered with a problem.
    for (target, header) in [
        (
            format!("/api/v1/patients?query={}", "a".repeat(70_000)),
            "X-A: 1".to_owned(),
        ),
        (
            "/api/v1/patients".to_owned(),
            format!("X-A: {}", "a".repeat(1_000_000)),
        ),
        (
            "/api/v1/patients".to_owned(),
            "Content-Length: -1".to_owned(),
        ),
        (
            "/api/v1/patients".to_owned(),
            "Content-Length: 99999999999999999999".to_owned(),
        ),
        ("/api/v1/pat ients".to_owned(), "X-A: 1".to_owned()),
        ("/api/v1/patients".to_owned(), "X\0A: 1".to_owned()),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: clinic\r\n{header}\r\n\r\n");
        let line = status_line(&server, request.as_bytes()).await;
        let sent: String = request.chars().take(100).collect();
        assert!(
            line.is_empty() || line.starts_with("HTTP/1.1 4"),
            "{sent}: {line}"
        );
    }
    assert_eq!(server.admin().get("/api/v1/patients").await.status, 200);
}

#[tokio::test]
async fn hostile_headers_are_refused_or_ignored() {
    let server = Server::start().await;
    let path = format!("/api/v1/patients/{}", server.patient().await);
    let before = rows(server.database_url()).await;
    let long = vec![b'a'; 20_000];
    let odd_values: [&[u8]; 5] = [b"\xff\xfe", b"\"", b"\"\"\"\"", b",,,,", &long];
    for value in odd_values {
        for name in [
            "If-Match",
            "If-None-Match",
            "Accept",
            "Accept-Encoding",
            "X-Request-Id",
            "X-Forwarded-For",
        ] {
            let request = server
                .admin()
                .request(Method::GET, &path)
                .header(name, value);
            let answer = Answer::of(request).await;
            assert_eq!(answer.status, 200, "{name} {value:?}: {answer:?}");
        }
        let request = server.anonymous().request(Method::GET, &path);
        let answer = Answer::of(request.header("Authorization", value)).await;
        answer.assert_problem(401, "unauthenticated");
        let request = server
            .admin()
            .request(Method::PATCH, &path)
            .header("If-Match", value);
        let answer = Answer::of(request.json(&json!({"notes": "x"}))).await;
        answer.assert_problem(412, "version_mismatch");
        let request = server.admin().request(Method::PATCH, &path);
        let answer = Answer::of(request.header("Content-Type", value).body("{}")).await;
        answer.assert_problem(415, "unsupported_media_type");
    }
    assert!(rows(server.database_url()).await == before);
}
