//! Changes of visits as they happen: server-sent events.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dcms_domain::appointments::{AppointmentEvent, HistoryAction, Position, Whereabouts};
use dcms_domain::shared::{Clock as _, TimeSlot};
use dcms_http::EdgeConfig;
use dcms_server::connections::Transport;
use dcms_system::SystemClock;
use dcms_tests::{Client, Server, fresh_database};
use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::edge::{door, door_at};
use crate::support::{Clinic, book, booking, soon, until};

const EVENTS: &str = "/api/v1/appointments/events";
const VISITS: &str = "/api/v1/appointments";

/// What stands between two empty lines.
#[derive(Debug, Clone, Default, PartialEq)]
struct Block {
    id: String,
    event: String,
    data: Value,
    retry: Option<u64>,
    is_comment: bool,
}

impl Block {
    fn of(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').expect("a field");
            let value = value.trim_start();
            match name {
                "id" => value.clone_into(&mut block.id),
                "event" => value.clone_into(&mut block.event),
                "data" => block.data = serde_json::from_str(value).expect("JSON"),
                "retry" => block.retry = Some(value.parse().expect("a number")),
                "" => block.is_comment = true,
                other => panic!("a field {other}"),
            }
        }
        block
    }

    fn position(&self) -> i64 {
        self.id.parse().expect("a position")
    }
}

struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(client: &Client, query: &str, last: Option<&str>) -> Self {
        let request = client.request(Method::GET, &format!("{EVENTS}{query}"));
        let request = match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{response:?}");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next block; nothing when the stream ended.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (Block::of(block), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = soon(self.response.chunk()).await.expect("no failure")?;
            self.text += std::str::from_utf8(&chunk).expect("text");
        }
    }

    /// The next event; nothing when the stream ended.
    async fn event(&mut self) -> Option<Block> {
        let event = async {
            loop {
                let block = self.block().await?;
                if !block.is_comment {
                    return Some(block);
                }
            }
        };
        // Signs of life must not keep a test waiting for ever.
        soon(event).await
    }

    async fn change(&mut self) -> Block {
        let event = self.event().await.expect("an event");
        assert_eq!(event.event, "appointment", "{event:?}");
        event
    }

    /// A stream that has begun.
    async fn ready(client: &Client, query: &str) -> Self {
        let mut stream = Self::open(client, query, None).await;
        let first = stream.event().await.expect("an event");
        assert_eq!((&*first.event, &first.data), ("ready", &json!({})));
        stream
    }
}

/// The `number`th half hour of the `day`th day from a fixed one on: nothing here depends on today.
fn slot(day: i64, number: i64) -> [String; 2] {
    let first: DateTime<Utc> = "2026-01-05T00:00:00Z".parse().unwrap();
    let start = first + TimeDelta::days(day) + TimeDelta::minutes(30 * number);
    [start, start + TimeDelta::minutes(30)]
        .map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

async fn visit(clinic: &Clinic, day: i64, number: i64) -> String {
    let [from, to] = slot(day, number);
    clinic.visit(&from, &to).await
}

async fn act(client: &Client, visit: &str, action: &str) {
    let answer = client.act(&format!("{VISITS}/{visit}/{action}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn who_watches_is_told_what_changed() {
    let clinic = Clinic::open().await;
    let mut stream = Stream::ready(&clinic.desk, "").await;
    let headers = stream.response.headers().clone();
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(headers[name], value, "{headers:?}");
    }
    let id = visit(&clinic, 0, 0).await;
    act(&clinic.desk, &id, "confirm").await;
    let booked = stream.change().await;
    let confirmed = stream.change().await;
    assert_eq!(
        booked.data,
        json!({"appointment_id": id, "version": 1, "action": "book"})
    );
    assert_eq!(
        confirmed.data,
        json!({"appointment_id": id, "version": 2, "action": "confirm"})
    );
    assert!(booked.position() < confirmed.position());

    // Whoever comes back hears what came since, and then what comes.
    let mut again = Stream::open(&clinic.desk, "", Some(&booked.id)).await;
    assert_eq!(again.change().await, confirmed);
    act(&clinic.desk, &id, "arrive").await;
    assert_eq!(again.change().await.data["action"], "arrive");
    assert_eq!(stream.change().await.data["action"], "arrive");
}

#[tokio::test]
async fn a_visit_that_leaves_the_day_or_the_doctor_is_told_to_who_watches_them() {
    let clinic = Clinic::open().await;
    let other = clinic.server.user("doctor").await;
    let [first_day, _] = slot(0, 0);
    let day = format!("date={}", &first_day[..10]);
    let doctor = |client: &Client| format!("doctor_id={}", client.user_id);
    let watch = async |query: String| Stream::ready(&clinic.desk, &format!("?{query}")).await;
    let mut of_day = watch(day.clone()).await;
    let mut of_doctor = watch(doctor(&clinic.doctor)).await;
    let mut of_other = watch(doctor(&other)).await;
    let mut of_both = watch(format!("{day}&{}", doctor(&clinic.doctor))).await;

    // Away from the day, then to the other doctor, then back to the day.
    let id = visit(&clinic, 0, 0).await;
    for (day, doctor_id) in [(1, &clinic.doctor), (1, &other), (0, &other)] {
        let [starts_at, ends_at] = slot(day, 1);
        let body = json!({
            "starts_at": starts_at, "ends_at": ends_at, "doctor_id": doctor_id.user_id,
        });
        let path = format!("{VISITS}/{id}/reschedule");
        let moved = clinic.desk.post(&path, &body).await;
        assert_eq!(moved.status, 200, "{moved:?}");
    }
    // Told to everybody, so that what was not told is known not to come.
    let [from, to] = slot(0, 10);
    let last = book(
        &clinic.desk,
        &booking(
            &clinic.server.patient().await,
            &clinic.doctor.user_id,
            &from,
            &to,
        ),
    )
    .await;
    let [from, to] = slot(0, 11);
    let last_of_other = book(
        &clinic.desk,
        &booking(&clinic.server.patient().await, &other.user_id, &from, &to),
    )
    .await;
    for (stream, last, expected) in [
        (&mut of_day, &last, vec![1, 2, 4]),
        (&mut of_doctor, &last, vec![1, 2, 3]),
        (&mut of_other, &last_of_other, vec![3, 4]),
        (&mut of_both, &last, vec![1, 2]),
    ] {
        let mut versions = Vec::new();
        loop {
            let change = stream.change().await;
            if change.data["appointment_id"] == **last {
                break;
            }
            assert_eq!(change.data["appointment_id"], *id);
            versions.push(change.data["version"].as_i64().unwrap());
        }
        assert_eq!(versions, expected);
    }
}

/// 200 changes on two instances over one database, while a client comes back ten times, now to the
/// one and now to the other.
#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_seen_once_in_order_by_who_comes_back() {
    const VISITS_BOOKED: i64 = 100;
    const BETWEEN: usize = 20;
    let database = fresh_database().await;
    let url = database.url();
    let clinic = Clinic::on(Server::start_on(url).await).await;
    let second = Server::start_with_admin(url, "other_admin").await;
    let readers = [clinic.server.admin(), second.admin()];
    let desks = [clinic.desk.clone(), second.user("admin").await];

    let mut patients = Vec::new();
    for _ in 0..4 {
        patients.push((
            clinic.server.patient().await,
            clinic.server.user("doctor").await.user_id,
        ));
    }
    let mut stream = Stream::ready(readers[0], "").await;
    let changes = async {
        // Several at a time, each on its turn with one instance and then with the other.
        let workers = patients
            .iter()
            .zip(0..)
            .map(async |((patient, doctor), worker)| {
                for number in 0..VISITS_BOOKED / 4 {
                    let [from, to] = slot(number / 10, number % 10);
                    let here = usize::try_from(number + worker).unwrap() % 2;
                    let id = book(&desks[here], &booking(patient, doctor, &from, &to)).await;
                    act(&desks[1 - here], &id, "confirm").await;
                }
            });
        join_all(workers).await;
    };
    let reading = async {
        let mut told: Vec<Block> = Vec::new();
        for round in 0..10 {
            while told.len() < BETWEEN * (round + 1) {
                told.push(stream.change().await);
            }
            let last = told.last().map(|told| told.id.clone());
            stream = Stream::open(readers[(round + 1) % 2], "", last.as_deref()).await;
        }
        told
    };
    let ((), told) = tokio::join!(changes, reading);
    assert_eq!(told.len(), 200);
    assert!(told.is_sorted_by(|one, next| one.position() < next.position()));
    let seen: BTreeSet<String> = told.iter().map(|told| told.data.to_string()).collect();
    assert_eq!(seen.len(), 200, "each is another one");
    for change in &told {
        let is_first = change.data["version"] == 1;
        let other = told
            .iter()
            .find(|other| {
                other.data["appointment_id"] == change.data["appointment_id"]
                    && other.id != change.id
            })
            .expect("two changes a visit");
        assert_eq!(is_first, change.position() < other.position());
    }
    // And nothing else: what comes next is the next change.
    let last = visit(&clinic, 0, 45).await;
    assert_eq!(stream.change().await.data["appointment_id"], *last);
    second.stop().await.unwrap();
}

/// What an instance that was killed left behind, or what was told while nobody listened.
#[tokio::test]
async fn a_change_that_nobody_told_of_is_found() {
    let clinic = Clinic::open().await;
    let mut stream = Stream::ready(&clinic.desk, "").await;
    let id = visit(&clinic, 0, 0).await;
    let booked = stream.change().await;
    let mut connection = PgConnection::connect(clinic.server.database_url())
        .await
        .unwrap();
    sqlx::query("UPDATE appointment_history SET position = NULL")
        .execute(&mut connection)
        .await
        .unwrap();
    let found = stream.change().await;
    assert_eq!(found.data["appointment_id"], *id);
    assert!(found.position() > booked.position());
}

/// Adds these versions to the history of a visit, and tells nobody.
async fn change_behind(connection: &mut PgConnection, visit: &str, versions: RangeInclusive<i64>) {
    let added = sqlx::query(
        "INSERT INTO appointment_history (appointment_id, version, action, user_id, doctor_id,
            starts_at, ends_at, status, changed_at)
        SELECT appointment_id, number, 'change', user_id, doctor_id, starts_at, ends_at, status,
            changed_at
        FROM appointment_history, generate_series($2, $3) AS number
        WHERE appointment_id = $1::uuid AND version = 1",
    )
    .bind(visit)
    .bind(versions.start())
    .bind(versions.end())
    .execute(connection)
    .await
    .unwrap();
    assert!(added.rows_affected() > 0);
}

/// The next changes of the visit are these versions, each once and in their order.
async fn assert_told(stream: &mut Stream, visit: &str, versions: RangeInclusive<i64>) {
    for version in versions {
        let data = stream.change().await.data;
        assert_eq!(
            (&data["appointment_id"], &data["version"]),
            (&json!(visit), &json!(version))
        );
    }
}

const FROM_LISTENERS: &str = "FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN %'";

/// Waits until that many instances listen.
async fn until_listening(connection: &mut PgConnection, expected: i64) {
    until(async || {
        let count = AssertSqlSafe(format!("SELECT count(*) {FROM_LISTENERS}"));
        let count: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        count == expected
    })
    .await;
}

#[tokio::test]
async fn who_watches_misses_nothing_while_the_instances_do_not_hear_each_other() {
    let clinic = Clinic::open().await;
    let url = clinic.server.database_url();
    let second = Server::start_with_admin(url, "other_admin").await;
    let mut streams = [
        Stream::ready(clinic.server.admin(), "").await,
        Stream::ready(second.admin(), "").await,
    ];
    let id = visit(&clinic, 0, 0).await;
    let mut operator = PgConnection::connect(url).await.unwrap();
    until_listening(&mut operator, 2).await;
    // Those that are open stay; the superuser is always let in.
    limit_connections(&mut operator, 0).await;
    let ended = format!("SELECT pg_terminate_backend(pid) {FROM_LISTENERS}");
    sqlx::query(AssertSqlSafe(ended))
        .execute(&mut operator)
        .await
        .unwrap();
    until_listening(&mut operator, 0).await;
    change_behind(&mut operator, &id, 2..=50).await;
    for stream in &mut streams {
        assert_told(stream, &id, 1..=50).await;
    }
    limit_connections(&mut operator, -1).await;
    until_listening(&mut operator, 2).await;
    let id = visit(&clinic, 0, 1).await;
    for stream in &mut streams {
        assert_told(stream, &id, 1..=1).await;
    }
    second.stop().await.unwrap();
}

/// How many connections the database lets anybody but the superuser have; -1: any number.
async fn limit_connections(connection: &mut PgConnection, limit: i32) {
    let change = format!(
        "DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT {limit}', current_database());
        END $$"
    );
    sqlx::query(AssertSqlSafe(change))
        .execute(connection)
        .await
        .unwrap();
}

/// What a client leaves unread fills the buffers of its connection. Then it is cut off, which shows
/// in that the only connection there may be is free again.
#[tokio::test]
async fn who_reads_nothing_is_cut_off_and_can_come_back() {
    const BUFFER_BYTES: u32 = 4 * 1024;
    // Several times what the buffers hold, and not so many that the stream is sent away.
    const UNREAD: i64 = 1_000;
    const CHANGES: i64 = 5_000;
    let clinic = Clinic::open().await;
    let id = visit(&clinic, 0, 0).await;
    let transport = Transport {
        write_timeout: Duration::from_millis(100),
        max_connections: 1,
        ..Transport::default()
    };
    let socket = TcpSocket::new_v4().unwrap();
    // Those that it accepts have the same.
    socket.set_send_buffer_size(BUFFER_BYTES).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = door_at(listener, &clinic.server, EdgeConfig::default(), transport);

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
    let mut silent = socket.connect(address).await.unwrap();
    let token = clinic.desk.token().expect("a token");
    let request = format!(
        "GET {EVENTS} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Last-Event-ID: 0\r\n\r\n"
    );
    silent.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("\n\n") {
        let count = soon(silent.read_buf(&mut read)).await;
        assert_ne!(count.unwrap(), 0, "it goes on");
    }
    let first = clinic
        .server
        .live()
        .position()
        .expect("it has started")
        .get();
    let mut connection = PgConnection::connect(clinic.server.database_url())
        .await
        .unwrap();
    change_behind(&mut connection, &id, 2..=UNREAD).await;
    let told = |count| {
        let position = clinic.server.live().position().map(Position::get);
        position >= Some(first + count)
    };
    until(async || told(UNREAD - 1)).await;
    let somebody = Client::anonymous(address).with_token(token);
    let free_again = soon(somebody.get("/health")).await;
    assert_eq!(free_again.status, 200);
    change_behind(&mut connection, &id, UNREAD + 1..=CHANGES).await;
    until(async || told(CHANGES - 1)).await;

    // What was under way when it was cut off may end anywhere.
    let _ = soon(silent.read_to_end(&mut read)).await;
    let read = String::from_utf8_lossy(&read);
    let whole = read.rsplit_once("\n\n").expect("an event").0;
    let last = whole.rsplit_once("id: ").expect("an id").1;
    let last = last.lines().next().expect("an id");
    let seen = whole.matches("event: appointment").count();
    let seen = i64::try_from(seen).unwrap();
    assert!((1..UNREAD).contains(&seen), "{seen}");
    let mut again = Stream::open(&clinic.desk, "", Some(last)).await;
    assert_told(&mut again, &id, seen + 1..=CHANGES).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let clinic = Clinic::open().await;
    let other = Server::start_with_admin(clinic.server.database_url(), "other_admin").await;
    let (admin, other_admin) = (clinic.server.admin(), other.admin());
    for how in ["log out", "revoke elsewhere", "disable", "token"] {
        let somebody = clinic.server.user("receptionist").await;
        let session = somebody.get("/api/v1/auth/me").await.text("/session_id");
        let mut stream = Stream::ready(&somebody, "").await;
        let user = format!("/api/v1/admin/users/{}", somebody.user_id);
        let answer = match how {
            "log out" => somebody.act("/api/v1/auth/logout").await,
            "revoke elsewhere" => {
                let path = format!("/api/v1/admin/sessions/{session}/revoke");
                other_admin.act(&path).await
            }
            "disable" => admin.patch(&user, &json!({"is_active": false})).await,
            _ => somebody.act("/api/v1/auth/refresh").await,
        };
        assert!(answer.status.is_success(), "{how}: {answer:?}");
        assert_eq!(stream.event().await, None, "{how}");
    }
    // Who is changed and may still watch goes on.
    let somebody = clinic.server.user("receptionist").await;
    let mut stream = lively(&clinic.server, &somebody).await;
    let user = format!("/api/v1/admin/users/{}", somebody.user_id);
    let changed = admin.patch(&user, &json!({"roles": ["manager"]})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for _ in 0..100 {
        let block = stream.block().await.expect("a sign of life");
        assert!(block.is_comment, "{block:?}");
    }
    other.stop().await.unwrap();
}

/// A stream that is never silent for long, over connections that wait for nothing.
async fn lively(server: &Server, client: &Client) -> Stream {
    let edge = EdgeConfig {
        heartbeat_period: Duration::from_millis(20),
        ..EdgeConfig::default()
    };
    let transport = Transport {
        header_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_millis(100),
        ..Transport::default()
    };
    let address = door(server, edge, transport).await;
    let token = client.token().expect("a token");
    Stream::ready(&Client::anonymous(address).with_token(token), "").await
}

#[tokio::test]
async fn a_silent_stream_gives_signs_of_life_and_is_not_cut() {
    let clinic = Clinic::open().await;
    let mut stream = lively(&clinic.server, &clinic.desk).await;
    for _ in 0..30 {
        let block = stream.block().await.expect("a sign of life");
        assert!(block.is_comment, "{block:?}");
    }
    let id = visit(&clinic, 0, 0).await;
    let change = stream.change().await;
    assert_eq!(change.data["appointment_id"], *id);
    let beat = stream.block().await.expect("a sign of life");
    assert_eq!(beat.id, change.id, "with the place of what was told");
}

#[tokio::test]
async fn a_stream_does_not_hold_up_the_end_of_the_server() {
    let server = Server::start().await;
    let admin = server.admin().clone();
    let mut stream = Stream::ready(&admin, "").await;
    server.stop().await.unwrap();
    let last = stream.event().await.expect("an event");
    assert_eq!(last.event, "resume");
    assert!(
        last.retry
            .is_some_and(|retry| (500..3_000).contains(&retry))
    );
    assert_eq!(stream.event().await, None);
}

fn changes(from: Position, count: i64) -> Vec<AppointmentEvent> {
    let now = SystemClock.now();
    let after = Whereabouts {
        doctor_id: Uuid::nil().into(),
        slot: TimeSlot::new(now, now + TimeDelta::minutes(30)).unwrap(),
    };
    let change = |number| AppointmentEvent {
        position: Position::new(from.get() + number),
        appointment_id: Uuid::nil().into(),
        version: dcms_domain::shared::Version::FIRST,
        action: HistoryAction::Book,
        before: None,
        after,
    };
    (1..=count).map(change).collect()
}

#[tokio::test]
async fn who_is_too_slow_is_asked_to_come_back() {
    let clinic = Clinic::open().await;
    let id = visit(&clinic, 0, 0).await;
    let mut stream = Stream::open(&clinic.desk, "", Some("0")).await;
    let booked = stream.change().await;
    assert_eq!(booked.data["appointment_id"], *id);
    let live = clinic.server.live();
    live.tell(changes(live.position().expect("it has started"), 5_000));
    let last = stream.event().await.expect("an event");
    assert_eq!((&*last.event, &last.id), ("resume", &booked.id));
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn an_id_that_never_was_is_told_so() {
    let clinic = Clinic::open().await;
    let mut first = Stream::open(&clinic.desk, "", None).await;
    let ready = first.event().await.expect("an event");
    let future = format!("{}", ready.position() + 1_000);
    let mut stream = Stream::open(&clinic.desk, "", Some(&future)).await;
    let reset = stream.event().await.expect("an event");
    assert_eq!((&*reset.event, &reset.id), ("reset", &ready.id));
    let id = visit(&clinic, 0, 0).await;
    assert_eq!(stream.change().await.data["appointment_id"], *id);

    for wrong in ["x", "", "-1", "+1", "1.5", "1 ", "99999999999999999999"] {
        let request = clinic.desk.request(Method::GET, EVENTS);
        let request = request.header("Last-Event-ID", wrong);
        let answer = dcms_tests::Answer::of(request).await;
        if wrong == "1 " {
            // Spaces around a header's value do not belong to it.
            assert_eq!(answer.status, 200);
        } else {
            answer.assert_problem(400, "malformed_request");
        }
    }
    let twice = clinic
        .desk
        .request(Method::GET, EVENTS)
        .header("Last-Event-ID", "1")
        .header("Last-Event-ID", "2");
    let twice = dcms_tests::Answer::of(twice).await;
    twice.assert_problem(400, "malformed_request");
    for query in [
        "?date=today",
        "?doctor_id=x",
        "?room_id=x",
        "?date=2026-13-01",
    ] {
        let answer = clinic.desk.get(&format!("{EVENTS}{query}")).await;
        answer.assert_problem(400, "malformed_request");
    }
}
