//! What the tests of several groups need.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{Days, NaiveDate, SecondsFormat, TimeDelta};
use dcms_domain::shared::Clock as _;
use dcms_system::SystemClock;
use dcms_tests::{Answer, Client, Server};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// A query, and the names of what it finds.
pub(crate) type Search<'case> = (&'case [(&'case str, &'case str)], &'case [&'case str]);

/// How long to wait for what has to come.
const DEADLINE: Duration = Duration::from_secs(20);
/// How many connections to the database the server has.
pub(crate) const SERVED_AT_A_TIME: usize = 16;
/// An id that nothing has.
pub(crate) const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A server with somebody at the front desk, a doctor and a patient.
pub(crate) struct Clinic {
    pub(crate) server: Server,
    pub(crate) desk: Client,
    pub(crate) doctor: Client,
    pub(crate) patient: String,
}

impl Clinic {
    pub(crate) async fn open() -> Self {
        Self::on(Server::start().await).await
    }

    pub(crate) async fn on(server: Server) -> Self {
        let desk = server.user("receptionist").await;
        let doctor = server.user("doctor").await;
        let patient = server.patient().await;
        Self {
            server,
            desk,
            doctor,
            patient,
        }
    }

    /// A booking of the patient with the doctor.
    pub(crate) fn booking(&self, starts_at: &str, ends_at: &str) -> Value {
        booking(&self.patient, &self.doctor.user_id, starts_at, ends_at)
    }

    /// A visit of the patient with the doctor; its id.
    pub(crate) async fn visit(&self, starts_at: &str, ends_at: &str) -> String {
        book(&self.desk, &self.booking(starts_at, ends_at)).await
    }

    /// A draft for the patient with one line of that sum; its path.
    pub(crate) async fn draft(&self, cents: i64) -> String {
        let items = json!([{"description": "Crown", "unit_price_cents": cents, "qty": 1}]);
        draft(&self.desk, &self.patient, &items).await
    }

    /// An issued invoice of the patient over that sum; its path.
    pub(crate) async fn issued(&self, cents: i64) -> String {
        let path = self.draft(cents).await;
        let answer = self.desk.act(&format!("{path}/issue")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        path
    }
}

pub(crate) fn booking(patient: &str, doctor: &str, starts_at: &str, ends_at: &str) -> Value {
    json!({"patient_id": patient, "doctor_id": doctor, "starts_at": starts_at, "ends_at": ends_at})
}

/// The day, asked once: it stays the same in a test that goes on past midnight.
pub(crate) fn today() -> NaiveDate {
    static TODAY: LazyLock<NaiveDate> = LazyLock::new(|| SystemClock.now().date_naive());
    *TODAY
}

/// Half an hour of a day in about a month.
pub(crate) fn coming_half_hour() -> (String, String) {
    let day = today() + Days::new(30);
    let noon = day.and_hms_opt(12, 0, 0).expect("a time").and_utc();
    let [starts_at, ends_at] = [noon, noon + TimeDelta::minutes(30)]
        .map(|instant| instant.to_rfc3339_opts(SecondsFormat::Secs, true));
    (starts_at, ends_at)
}

/// Books a visit; its id.
pub(crate) async fn book(client: &Client, body: &Value) -> String {
    client
        .create("/api/v1/appointments", body, "appointment_id")
        .await
}

/// Drafts an invoice; its path.
pub(crate) async fn draft(client: &Client, patient: &str, items: &Value) -> String {
    let body = json!({"patient_id": patient, "items": items});
    let id = client.create("/api/v1/invoices", &body, "invoice_id").await;
    format!("/api/v1/invoices/{id}")
}

/// Records a payment; its path.
pub(crate) async fn pay(client: &Client, invoice: &str, cents: i64) -> String {
    let body = json!({"amount_cents": cents, "method": "cash"});
    let id = client
        .create(&format!("{invoice}/payments"), &body, "payment/payment_id")
        .await;
    format!("/api/v1/payments/{id}")
}

/// The members, laid over those of the other value.
pub(crate) fn with(mut value: Value, members: &Value) -> Value {
    let members = members.as_object().expect("an object").clone();
    value.as_object_mut().expect("an object").extend(members);
    value
}

/// A path with a query, encoded as browsers do.
pub(crate) fn url(path: &str, query: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("http://host", query).expect("a URL");
    format!("{path}?{}", url.query().unwrap_or_default())
}

/// Sends a body on the condition that the resource still has the tag.
pub(crate) async fn if_match(
    client: &Client,
    method: Method,
    path: &str,
    tag: &str,
    body: &Value,
) -> Answer {
    let request = client.request(method, path).header("if-match", tag);
    Answer::of(if body.is_null() {
        request
    } else {
        request.json(body)
    })
    .await
}

/// The version that an answer carries.
pub(crate) fn etag(answer: &Answer) -> String {
    answer
        .header("etag")
        .unwrap_or_else(|| panic!("no ETag: {answer:?}"))
        .to_owned()
}

/// `PUT path` with a JSON body.
pub(crate) async fn put(client: &Client, path: &str, body: &Value) -> Answer {
    Answer::of(client.request(Method::PUT, path).json(body)).await
}

/// The same hours on every day of the week, each from when to when.
pub(crate) fn every_day(hours: &[(&str, &str)]) -> Value {
    let days = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let interval = |weekday: &str, (opens_at, closes_at): &(&str, &str)| json!({"weekday": weekday, "opens_at": opens_at, "closes_at": closes_at});
    (days.iter())
        .flat_map(|weekday| hours.iter().map(|hours| interval(weekday, hours)))
        .collect()
}

/// Lets these be the hours of the clinic or a doctor, and have been since long ago.
pub(crate) async fn set_hours(client: &Client, path: &str, intervals: &Value) {
    let plan = json!({"valid_from": "2020-01-01", "intervals": intervals});
    let answer = put(client, path, &plan).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The list's items.
pub(crate) fn items(list: &Answer) -> &[Value] {
    assert_eq!(list.status, 200, "{list:?}");
    list.body["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no items: {list:?}"))
}

/// One text of each item of a list.
pub(crate) fn texts(list: &Answer, field: &str) -> Vec<String> {
    let text = |item: &Value| item[field].as_str().expect("a text").to_owned();
    items(list).iter().map(text).collect()
}

/// One text of each item of a list, page by page, with whatever `between` does after each page.
pub(crate) async fn texts_of_pages(
    client: &Client,
    path: &str,
    limit: usize,
    field: &str,
    mut between: impl AsyncFnMut(),
) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let query: Vec<(&str, &str)> = query.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let (path, separator) = (path, if path.contains('?') { '&' } else { '?' });
        let page = url("", &query).replacen('?', &separator.to_string(), 1);
        let page = client.get(&format!("{path}{page}")).await;
        let found = texts(&page, field);
        assert!(found.len() <= limit, "{page:?}");
        all.extend(found);
        match page.body["next_cursor"].as_str() {
            None => return all,
            Some(next) => cursor = Some(next.to_owned()),
        }
        between().await;
    }
}

/// Fails unless the resource is, to the byte, what the answer before said it was.
pub(crate) async fn assert_unchanged(client: &Client, path: &str, before: &Answer) {
    let now = client.get(path).await;
    assert_eq!(now.body, before.body, "{path} was changed");
    assert_eq!(etag(&now), etag(before), "{path} was changed");
}

/// Fails unless the create was answered with the resource as it can be read at its `Location`.
pub(crate) async fn assert_created(client: &Client, answer: &Answer) {
    assert_eq!(answer.status, 201, "{answer:?}");
    let location = answer.header("location").expect("a Location");
    let read = client.get(location).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.body, answer.body);
    assert_eq!(etag(&read), etag(answer));
}

/// Fails unless the object's members are exactly these.
pub(crate) fn assert_members(value: &Value, names: &[&str]) {
    let mut wanted = names.to_vec();
    wanted.sort_unstable();
    let mut found: Vec<&String> = value.as_object().expect("an object").keys().collect();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

/// What the work gives, unless it waits for something that never comes.
pub(crate) async fn soon<Outcome>(work: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("an end before the deadline")
}

/// Waits until it is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until that many connections wait for a lock on a table, or one of the server's own making.
pub(crate) async fn until_waiting(connection: &mut PgConnection, crowd: usize) {
    until(async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks
            WHERE NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        usize::try_from(waiting).unwrap() >= crowd
    })
    .await;
}
