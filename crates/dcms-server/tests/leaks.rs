//! No personal data and no secret in what the program writes: marked ones are sent through every
//! operation of the document, right and wrong, and looked for in all that the program wrote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use dcms_domain::shared::Clock as _;
use dcms_local_postgres::throwaway;
use dcms_postgres::PostgresStore;
use dcms_system::SystemClock;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

/// What every marked text has.
const MARK: &str = "zqmark";
/// What every marked password and token has, besides.
const SECRET: &str = "zqmarksecret";
/// What every marked phone number has.
const PHONE: &str = "77123456789";

const ADMIN: &str = "zqmark-admin";
const PASSWORD: &str = "zqmarksecret of the admin";
const OTHER_PASSWORD: &str = "zqmarksecret of somebody";

/// A migrated database without users.
async fn database() -> String {
    let fingerprint = PostgresStore::migrations_fingerprint();
    let migrate = async |url: &str| -> anyhow::Result<()> {
        let store = PostgresStore::connect(url).await?;
        store.migrate().await?;
        store.close().await;
        Ok(())
    };
    let template = format!("dcms_{fingerprint:.16}");
    let database = throwaway::database(&template, migrate).await;
    database.unwrap().url().to_owned()
}

fn dcms(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcms"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    command
}

fn create_admin(url: &str) {
    let mut child = dcms(&["admin", "create", ADMIN], &[("DATABASE_URL", url)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
}

/// A server that tells as much as it can, into files. It is killed when the test fails.
struct Program {
    child: Child,
    written: [NamedTempFile; 2],
}

impl Program {
    fn start(url: &str) -> Self {
        let written = [NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap()];
        let sink = |file: &NamedTempFile| Stdio::from(file.reopen().unwrap());
        let environment = [
            ("DATABASE_URL", url),
            ("BIND_ADDR", "127.0.0.1:0"),
            ("RUST_LOG", "debug"),
        ];
        let child = dcms(&["serve"], &environment)
            .stdout(sink(&written[0]))
            .stderr(sink(&written[1]))
            .spawn()
            .unwrap();
        Self { child, written }
    }

    fn written(&self) -> String {
        let mut text = String::new();
        for file in &self.written {
            file.reopen().unwrap().read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Where it listens, as soon as it says so.
    async fn address(&self) -> String {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let written = self.written();
            if let Some((_, rest)) = written.split_once("http://")
                && let Some((address, _)) = rest.split_once('/')
            {
                return format!("http://{address}");
            }
            assert!(Instant::now() < deadline, "no address in {written}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as an operator does; all that it wrote.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        self.written()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request: its path with query, headers and body.
#[derive(Clone, Default)]
struct Request {
    method: Method,
    path: String,
    token: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Request {
    fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut request = self.clone();
        request.headers.push((name, value.to_owned()));
        request
    }

    fn with_body(&self, body: impl Into<String>) -> Self {
        Self {
            body: Some(body.into()),
            ..self.clone()
        }
    }

    fn at(&self, path: String) -> Self {
        Self {
            path,
            ..self.clone()
        }
    }
}

/// Somebody who sends marked things.
struct Sender {
    http: reqwest::Client,
    address: String,
    document: Value,
    token: String,
    /// Every token that was given out.
    tokens: Vec<String>,
    doctor: String,
    /// A day that visits can be booked on.
    coming: NaiveDate,
    made: u32,
    sent: u32,
}

impl Sender {
    async fn new(address: String) -> Self {
        let mut sender = Self {
            http: reqwest::Client::new(),
            address,
            document: Value::Null,
            token: String::new(),
            tokens: Vec::new(),
            doctor: String::new(),
            coming: SystemClock.now().date_naive() + Days::new(7),
            made: 0,
            sent: 0,
        };
        sender.document = sender.call(Method::GET, "/api/v1/openapi.json", None).await;
        sender.token = sender.log_in(ADMIN, PASSWORD).await;
        sender.doctor = sender.make_user().await;
        sender
    }

    /// Sends a request. Fails when it was the server's fault, or when the answer to one that was
    /// refused tells a secret.
    async fn send(&mut self, request: &Request) -> (u16, Value) {
        let mut builder = self.http.request(
            request.method.clone(),
            format!("{}{}", self.address, request.path),
        );
        let replaces = |name: &str| request.headers.iter().any(|(header, _)| *header == name);
        if !request.token.is_empty() && !replaces("Authorization") {
            builder = builder.bearer_auth(&request.token);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
            if !replaces("Content-Type") {
                builder = builder.header("Content-Type", "application/json");
            }
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let answer = builder.send().await.unwrap();
        let status = answer.status().as_u16();
        let is_stream = answer.headers().get("content-type");
        // A stream has no end to wait for.
        let text = if is_stream.is_some_and(|kind| kind == "text/event-stream") {
            String::new()
        } else {
            answer.text().await.unwrap()
        };
        let line = format!("{} {}", request.method, request.path);
        assert!(status < 500, "{line}: {text}");
        let tells = status >= 400
            && (text.contains(SECRET) || self.tokens.iter().any(|token| text.contains(token)));
        assert!(!tells, "{line} {:?}: {text}", request.body);
        self.sent += 1;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Sends what has to succeed; the body of the answer.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = Request {
            method,
            path: path.to_owned(),
            token: self.token.clone(),
            body: body.map(|body| body.to_string()),
            ..Request::default()
        };
        let (status, answer) = self.send(&request).await;
        assert!(status < 300, "{path}: {answer}");
        answer
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::POST, &format!("/api/v1{path}"), Some(body))
            .await
    }

    async fn log_in(&mut self, username: &str, password: &str) -> String {
        let body = json!({"username": username, "password": password});
        let answer = self.post("/auth/login", body).await;
        let token = answer["access_token"].as_str().unwrap().to_owned();
        self.tokens.push(token.clone());
        token
    }

    fn unique(&mut self) -> String {
        self.made += 1;
        format!("{MARK}{}", self.made)
    }

    async fn make_user(&mut self) -> String {
        let body = json!({
            "username": self.unique(),
            "display_name": "zqmark display_name",
            "roles": ["doctor"],
            "password": OTHER_PASSWORD,
        });
        text_of(&self.post("/admin/users", body).await, "user_id")
    }

    /// Makes what an id of that name stands for in a request to that path.
    async fn make(&mut self, name: &str, path: &str, patient: &str) -> String {
        match name {
            "patient_id" => patient.to_owned(),
            "doctor_id" => self.doctor.clone(),
            "user_id" => self.make_user().await,
            "session_id" => {
                let before = self.token.clone();
                self.token = self.log_in(ADMIN, PASSWORD).await;
                let me = self.call(Method::GET, "/api/v1/auth/me", None).await;
                self.token = before;
                text_of(&me, "session_id")
            }
            "room_id" => {
                let body = json!({"name": self.unique()});
                text_of(&self.post("/rooms", body).await, "room_id")
            }
            "service_id" => {
                let code = self.unique();
                let body = json!({"code": code, "name": "zqmark name", "current_price_cents": 1});
                text_of(&self.post("/services", body).await, "service_id")
            }
            "contact_id" => {
                let body = json!({"type": "phone", "value": format!("+4930{PHONE}")});
                let contacts = format!("/patients/{patient}/contacts");
                text_of(&self.post(&contacts, body).await, "contact_id")
            }
            "closure_id" => {
                let body = json!({"starts_on": "2190-01-01", "reason": MARK});
                text_of(&self.post("/clinic/closures", body).await, "closure_id")
            }
            "time_off_id" => {
                let body = json!({"starts_on": "2190-01-01", "reason": MARK});
                let time_off = format!("/doctors/{}/time_off", self.doctor);
                text_of(&self.post(&time_off, body).await, "time_off_id")
            }
            "appointment_id" if path.ends_with("/accept_conflict") => {
                self.make_visit_in_conflict(patient).await
            }
            "appointment_id" => self.make_visit(path, patient).await,
            "invoice_id" => self.make_invoice(path, patient).await,
            "payment_id" => {
                let invoice = self.make_invoice("/payments", patient).await;
                let body = json!({"amount_cents": 600, "method": "cash", "reference": MARK});
                let payments = format!("/invoices/{invoice}/payments");
                text_of(&self.post(&payments, body).await["payment"], "payment_id")
            }
            other => panic!("no request names a {other}"),
        }
    }

    /// A coming visit whose room was closed. Nothing else is in its way, whatever hours and closures
    /// there are by now.
    async fn make_visit_in_conflict(&mut self, patient: &str) -> String {
        let room = json!({"name": self.unique()});
        let room = text_of(&self.post("/rooms", room).await, "room_id");
        let starts_at = self.coming.and_time(NaiveTime::MIN).and_utc();
        let starts_at = starts_at + TimeDelta::hours(self.made.into());
        let body = json!({
            "patient_id": patient,
            "doctor_id": self.doctor,
            "room_id": room,
            "starts_at": starts_at.to_rfc3339(),
            "notes": "zqmark notes",
            "overbook_reason": "zqmark overbook_reason",
        });
        let visit = text_of(&self.post("/appointments", body).await, "appointment_id");
        let close = Some(json!({"is_active": false}));
        let room = format!("/api/v1/rooms/{room}");
        let closed = self.call(Method::PATCH, &room, close).await;
        assert_eq!(closed["conflicts"][0]["appointment_id"], visit);
        visit
    }

    /// A visit long ago that is as far as the path's action needs it.
    async fn make_visit(&mut self, path: &str, patient: &str) -> String {
        self.made += 1;
        let (day, hour) = (1 + self.made / 24, self.made % 24);
        let (month, day) = (1 + day / 28, 1 + day % 28);
        let at = |minute: &str| format!("2020-{month:02}-{day:02}T{hour:02}:{minute}:00Z");
        let body = json!({
            "patient_id": patient,
            "doctor_id": self.doctor,
            "starts_at": at("00"),
            "ends_at": at("30"),
            "notes": "zqmark notes",
        });
        let visit = text_of(&self.post("/appointments", body).await, "appointment_id");
        let before: &[&str] = match path.rsplit('/').next() {
            Some("start") => &["arrive"],
            Some("complete") => &["arrive", "start"],
            _ => &[],
        };
        for action in before {
            let path = format!("/api/v1/appointments/{visit}/{action}");
            self.call(Method::POST, &path, None).await;
        }
        visit
    }

    /// An invoice that was issued, when the path is about such.
    async fn make_invoice(&mut self, path: &str, patient: &str) -> String {
        let item = json!({"description": "zqmark", "unit_price_cents": 60_000, "qty": 1});
        let body = json!({"patient_id": patient, "items": [item]});
        let invoice = text_of(&self.post("/invoices", body).await, "invoice_id");
        if path.ends_with("/void") || path.ends_with("/payments") {
            let path = format!("/api/v1/invoices/{invoice}/issue");
            self.call(Method::POST, &path, None).await;
        }
        invoice
    }

    /// The text with ids of fresh things in place of those of the examples.
    async fn with_real_ids(&mut self, text: &str, path: &str) -> String {
        let body = json!({
            "first_name": "zqmark first_name",
            "last_name": "zqmark last_name",
            "notes": "zqmark notes",
        });
        let patient = text_of(&self.post("/patients", body).await, "patient_id");
        let mut text = text.to_owned();
        let ids = self.document["x-example-ids"].as_object().unwrap().clone();
        for (name, placeholder) in &ids {
            let placeholder = placeholder.as_str().unwrap();
            if name != "item_id" && text.contains(placeholder) {
                let id = self.make(name, path, &patient).await;
                if name == "invoice_id" && text.contains(ids["item_id"].as_str().unwrap()) {
                    let invoice = format!("/api/v1/invoices/{id}");
                    let invoice = self.call(Method::GET, &invoice, None).await;
                    let item = text_of(&invoice["items"][0], "invoice_item_id");
                    text = text.replace(ids["item_id"].as_str().unwrap(), &item);
                }
                text = text.replace(placeholder, &id);
            }
        }
        text
    }

    /// The example of a body with marks in place of what people write.
    fn marked(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.marked(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), &member) {
                        ("username" | "name" | "code", _) => *member = json!(self.unique()),
                        ("current_password", _) => *member = json!(PASSWORD),
                        ("password" | "new_password", _) => *member = json!(OTHER_PASSWORD),
                        ("email", _) => *member = json!("zqmark@example.org"),
                        ("value", Value::String(text)) if text.contains('@') => {
                            *member = json!("zqmark@example.org");
                        }
                        ("phone" | "value", _) => *member = json!(format!("+4930{PHONE}")),
                        (
                            "first_name" | "last_name" | "notes" | "label" | "display_name"
                            | "device_name" | "reason" | "description" | "clinic_name" | "address"
                            | "reference" | "overbook_reason",
                            Value::String(_),
                        ) => *member = json!(format!("{MARK} {name}")),
                        _ => self.marked(member),
                    }
                }
            }
            _ => {}
        }
    }

    /// Sends an operation as it should be, and in all the ways in which it should not be.
    async fn try_out(&mut self, method: &str, path: &str, operation: &Value) {
        let ends_session = path.contains("/auth/") && !path.ends_with("/login");
        let mut request = Request {
            method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
            token: self.token.clone(),
            ..Request::default()
        };
        let mut place = path.to_owned();
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for parameter in parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
        {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            place = place.replace(&name, parameter["example"].as_str().unwrap());
        }
        let content = &operation["requestBody"]["content"]["application/json"];
        let mut body = content["example"].clone();
        self.marked(&mut body);
        // Both at once, so that the body is about what the path is about.
        let whole = self.with_real_ids(&format!("{place}\n{body}"), path).await;
        let (place, body) = whole.split_once('\n').unwrap();
        place.clone_into(&mut request.path);
        let body: Value = serde_json::from_str(body).unwrap();
        if !body.is_null() {
            request = request.with_body(body.to_string());
        }

        for wrong in wrong_requests(&request, path, &parameters, body.as_object()) {
            self.send(&wrong).await;
        }
        if path.ends_with("/login") {
            return;
        }
        if ends_session {
            request.token = self.log_in(ADMIN, PASSWORD).await;
        }
        if path.ends_with("/availability") {
            request.path = format!("{}?date={}", request.path, self.coming);
        }
        let (status, answer) = self.send(&request).await;
        let done = status < 300 || path == "/docs";
        assert!(done, "{method} {path} {:?}: {answer}", request.body);
        if path.contains("/availability") {
            let offers = answer["items"].as_array().unwrap();
            assert!(!offers.is_empty(), "nothing is offered at {path}");
        }
        if let Some(token) = answer["access_token"].as_str() {
            self.tokens.push(token.to_owned());
        }
        // What is unique is taken now.
        self.send(&request).await;
    }
}

/// The request with marks where they do not belong, and as somebody who is not logged in.
fn wrong_requests(
    request: &Request,
    path: &str,
    parameters: &[Value],
    body: Option<&Map<String, Value>>,
) -> Vec<Request> {
    let query = |query: String| request.at(format!("{}?{query}", request.path));
    let mut wrong = vec![
        query(format!("{MARK}={MARK}")),
        query(format!("password={SECRET}&access_token={SECRET}")),
        query(format!("limit=1&limit={MARK}")),
        query(format!("{MARK}=%FF%00")),
        request.at(format!("{}/{SECRET}", request.path)),
        request.at(format!("/{SECRET}{}", request.path)),
        request.with_header("Authorization", &format!("Bearer {SECRET}")),
        request.with_header("Authorization", &format!("{SECRET} {SECRET}")),
    ];
    for header in [
        "If-Match",
        "If-None-Match",
        "Accept",
        "Cookie",
        "User-Agent",
        "Referer",
    ] {
        let mut other = request.with_header(header, &format!("\"{SECRET}\""));
        let is_refused = parameters
            .iter()
            .any(|parameter| parameter["name"] == "If-Match");
        if request.method != Method::GET && !(header == "If-Match" && is_refused) {
            // Nothing is to be done yet.
            other.token = String::new();
        }
        wrong.push(other);
    }
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap();
        if parameter["in"] == "query" {
            wrong.push(query(format!("{name}={MARK}")));
            wrong.push(query(format!("{name}={MARK}&{name}={MARK}")));
            wrong.push(query(format!("{name}={MARK}%00")));
        }
    }
    let ids = path.split('/').zip(request.path.split('/'));
    for (_, id) in ids.filter(|(segment, _)| segment.starts_with('{')) {
        wrong.push(request.at(request.path.replace(id, SECRET)));
        wrong.push(request.at(request.path.replace(id, &format!("%00{SECRET}"))));
    }
    let Some(body) = body else {
        return wrong;
    };
    wrong.push(request.with_header("Content-Type", &format!("{MARK}/{MARK}")));
    for (name, value) in body {
        let text = if name.contains("password") {
            SECRET
        } else {
            MARK
        };
        let with = |new: &Value| {
            let mut body = body.clone();
            body.insert(name.clone(), new.clone());
            body
        };
        let mut refused = vec![
            json!({text: text}),
            json!([text]),
            json!([[text], {"name": text}]),
            json!(text.repeat(3000)),
        ];
        if text == MARK {
            refused.push(json!(format!("{text}\u{0}")));
        }
        let bodies = refused
            .iter()
            .map(|new| Value::Object(with(new)).to_string());
        wrong.extend(bodies.map(|body| request.with_body(body)));
        // What may be right is not, with a field too many or with half a character.
        for new in [value, &json!(format!("{text} wrong"))] {
            let mut body = with(new);
            body.insert(format!("{MARK}_field"), json!(text));
            wrong.push(request.with_body(Value::Object(body).to_string()));
        }
        let body = Value::Object(with(&json!("REPLACED"))).to_string();
        let half = format!("{text}\\ud800");
        wrong.push(request.with_body(body.replace("REPLACED", &half)));
    }
    for body in [
        SECRET.to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        format!("{{\"password\": \"{SECRET}"),
        format!("{{\"password\": \"{SECRET}\", \"password\": \"{SECRET}\"}}"),
        format!("{{\"{MARK}\": {SECRET}}}"),
        format!("{{\"password\": {{\"{MARK}\": \"{SECRET}\"}}}}"),
    ] {
        wrong.push(request.with_body(body));
    }
    wrong
}

fn text_of(value: &Value, name: &str) -> String {
    let text = value[name].as_str();
    text.unwrap_or_else(|| panic!("no {name} in {value}"))
        .to_owned()
}

#[tokio::test]
async fn nothing_personal_and_no_secret_is_written() {
    let url = database().await;
    create_admin(&url);
    let program = Program::start(&url);
    let mut sender = Sender::new(program.address().await).await;
    let paths = sender.document["paths"].as_object().unwrap().clone();
    let mut operations: Vec<(&String, &String, &Value)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (path, method, operation))
        })
        .collect();
    // Changing the password comes last: it ends all other sessions.
    operations.sort_by_key(|(path, _, _)| path.ends_with("/change_password"));
    for (path, method, operation) in &operations {
        sender.try_out(method, path, operation).await;
    }
    assert!(operations.len() > 50 && sender.sent > 1000);

    let (tokens, written) = (sender.tokens, program.stop());
    for known in ["/api/v1/patients/{patient_id}", "DEBUG", "request_id"] {
        assert!(written.contains(known), "no {known}: {written:.2000}");
    }
    let lines = written.lines();
    let leaks: Vec<&str> = lines
        .filter(|line| {
            let line = line.to_lowercase();
            line.contains(MARK) || line.contains(PHONE)
        })
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    assert!(tokens.len() > 5);
    assert!(tokens.iter().all(|token| !written.contains(token)));
}
