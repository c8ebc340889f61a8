//! The audit log, and who looked at whose record.

use chrono::{DateTime, FixedOffset};
use dcms_tests::{Answer, Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Clinic, NOBODY, assert_members, items, texts, texts_of_pages, url};

/// A parameter, its value, and which entries it lets through.
type Filter<'case> = (&'case str, &'case str, &'case dyn Fn(&Value) -> bool);

const AUDIT: &str = "/api/v1/admin/audit";

async fn table(client: &Client, path: &str) -> Answer {
    let request = client.request(Method::GET, path);
    Answer::of(request.header("Accept", "text/csv")).await
}

/// The cells of a table, line by line.
fn cells(table: &Answer) -> Vec<Vec<String>> {
    assert_eq!(table.status, 200, "{table:?}");
    let text = table.body.as_str().expect("a text");
    let mut lines = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let cells = |line: csv::StringRecord| line.iter().map(str::to_owned).collect();
    lines.records().map(|line| cells(line.unwrap())).collect()
}

/// The only entry that matches.
async fn only(server: &Server, query: &str) -> Value {
    let mut entries = server.audit(query).await;
    assert_eq!(entries.len(), 1, "{query}: {entries:?}");
    entries.remove(0)
}

fn instant(value: &Value) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap()
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["audit_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_change_is_told_with_who_did_it_and_what_became_of_which_field() {
    let clinic = Clinic::open().await;
    let path = format!("/api/v1/patients/{}", clinic.patient);
    let changed = clinic.desk.patch(&path, &json!({"notes": "Knocks."})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let me = clinic.desk.get("/api/v1/auth/me").await;

    let of_patient = format!("entity_id={}&action=change", clinic.patient);
    let entry = only(&clinic.server, &of_patient).await;
    assert!(instant(&entry["at"]) >= instant(&changed.body["updated_at"]));
    assert_eq!(entry["actor_id"], json!(clinic.desk.user_id));
    assert_eq!(entry["impersonator_id"], Value::Null);
    assert_eq!(entry["session_id"], me.body["session_id"]);
    assert_eq!(entry["entity"], "patient");
    assert_eq!(entry["patient_ids"], json!([clinic.patient]));
    let notes = json!({"notes": {"before": null, "after": "Knocks."}});
    assert_eq!(entry["changes"], notes);
}

#[tokio::test]
async fn what_was_not_done_leaves_no_entry() {
    let clinic = Clinic::open().await;
    let path = format!("/api/v1/patients/{}", clinic.patient);
    let before = clinic.server.audit("entity=patient").await;
    let wrong = clinic.desk.patch(&path, &json!({"last_name": ""})).await;
    wrong.assert_faults(&["/last_name"]);
    let stale = clinic.desk.request(Method::PATCH, &path);
    let stale = stale
        .header("If-Match", "\"99\"")
        .json(&json!({"notes": "x"}));
    Answer::of(stale)
        .await
        .assert_problem(412, "version_mismatch");
    assert_eq!(clinic.server.audit("entity=patient").await, before);
}

#[tokio::test]
async fn passwords_are_changed_without_being_told() {
    let server = Server::start().await;
    let user = server.user("doctor").await;
    let chosen = format!("actor_id={}&action=change_password", user.user_id);
    let entry = only(&server, &chosen).await;
    let changes = json!({"must_change_password": {"before": true, "after": false}});
    assert_eq!(entry["changes"], changes);
    let everything = server.audit("").await;
    let everything = json!(everything).to_string();
    for secret in [
        dcms_tests::PASSWORD,
        dcms_tests::FIRST_PASSWORD,
        "argon2",
        user.token().unwrap(),
    ] {
        assert!(!everything.contains(secret), "{secret}: {everything}");
    }
}

#[tokio::test]
async fn a_failed_log_in_is_told_without_what_was_typed() {
    let server = Server::start().await;
    let nora = server.make_user("nora", &["doctor"]).await;
    for username in ["nora", "typed by mistake"] {
        let body = json!({"username": username, "password": "typed by mistake"});
        let answer = server.anonymous().post("/api/v1/auth/login", &body).await;
        answer.assert_problem(401, "invalid_credentials");
    }
    let entries = server.audit("action=log_in_failed").await;
    let about: Vec<&Value> = entries.iter().map(|entry| &entry["entity_id"]).collect();
    assert_eq!(about, [&Value::Null, &json!(nora)]);
    assert!(entries.iter().all(|entry| entry["actor_id"].is_null()));
    assert!(!json!(entries).to_string().contains("typed"), "{entries:?}");
}

#[tokio::test]
async fn the_log_is_filtered_by_each_parameter_and_by_all() {
    let clinic = Clinic::open().await;
    let patient = format!("/api/v1/patients/{}", clinic.patient);
    clinic.desk.get(&patient).await;
    clinic
        .doctor
        .patch(&patient, &json!({"notes": "Knocks."}))
        .await;
    clinic.server.room("Surgery 5").await;
    let all = clinic.server.audit("").await;
    let middle = instant(&all[all.len() / 2]["at"]);
    let at_middle = middle.to_rfc3339();
    let doctor = clinic.doctor.user_id.as_str();
    let filters: [Filter; 6] = [
        ("actor_id", doctor, &|entry| entry["actor_id"] == doctor),
        ("entity", "patient", &|entry| entry["entity"] == "patient"),
        ("entity_id", &clinic.patient, &|entry| {
            entry["entity_id"] == json!(clinic.patient)
        }),
        ("action", "change", &|entry| entry["action"] == "change"),
        ("from", &at_middle, &|entry| instant(&entry["at"]) >= middle),
        ("to", &at_middle, &|entry| instant(&entry["at"]) < middle),
    ];
    for (name, value, matches) in filters {
        let expected: Vec<Value> = all.iter().filter(|entry| matches(entry)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{name}");
        // The log was read meanwhile, which is in the log.
        let mut found = clinic.server.audit(&url("", &[(name, value)])[1..]).await;
        found.retain(|entry| ids(&all).contains(&entry["audit_id"].as_str().unwrap()));
        assert_eq!(found, expected, "{name}");
    }
    let all_of_them = [
        ("actor_id", doctor),
        ("entity", "patient"),
        ("entity_id", &clinic.patient),
        ("action", "change"),
        ("from", "2020-01-01"),
        ("to", "2200-01-01T00:00:00Z"),
    ];
    only(&clinic.server, &url("", &all_of_them)[1..]).await;
    let nobody = format!("actor_id={NOBODY}");
    assert_eq!(clinic.server.audit(&nobody).await, [] as [Value; 0]);
}

#[tokio::test]
async fn pages_are_stable_while_entries_are_added() {
    let clinic = Clinic::open().await;
    let server = &clinic.server;
    let before = server.audit("").await;
    let added = async || {
        server.patient().await;
        server.audit("action=refuse").await;
    };
    let paged = texts_of_pages(server.admin(), AUDIT, 3, "audit_id", added).await;
    // The first page shows that the log was read, too.
    let known = ids(&before);
    let paged: Vec<&str> = paged
        .iter()
        .map(String::as_str)
        .skip_while(|id| *id != known[0])
        .collect();
    assert_eq!(paged, known);
    assert!(before.is_sorted_by(|later, earlier| instant(&later["at"]) >= instant(&earlier["at"])));
}

#[tokio::test]
async fn the_log_is_a_table_for_those_who_ask_for_one() {
    let clinic = Clinic::open().await;
    let server = &clinic.server;
    let path = format!("/api/v1/patients/{}", clinic.patient);
    let trap = "=HYPERLINK(\"http://example.org\",\"x\"),\r\n@SUM(A1)";
    let answer = clinic.desk.patch(&path, &json!({"notes": trap})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let entries = server.audit("entity=patient").await;

    let mut next = Some(format!("{AUDIT}?entity=patient&limit=2"));
    let mut lines = Vec::new();
    while let Some(path) = next {
        let page = table(server.admin(), &path).await;
        let content_type = page.header("content-type").unwrap();
        assert!(content_type.starts_with("text/csv"), "{content_type}");
        let mut page_lines = cells(&page);
        assert!((2..=3).contains(&page_lines.len()), "{page:?}");
        let header = page_lines.remove(0);
        assert_eq!(header[..3], ["audit_id", "at", "actor_id"]);
        assert_eq!(header[11], "changes");
        lines.extend(page_lines);
        next = page.header("link").map(|link| {
            let path = link.strip_prefix('<').unwrap();
            path.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
    }
    let first_cells: Vec<&str> = lines.iter().map(|line| line[0].as_str()).collect();
    assert_eq!(first_cells, ids(&entries));
    for (line, entry) in lines.iter().zip(&entries) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        assert_eq!(line[1], text("at"));
        assert_eq!(line[2], text("actor_id"));
        assert_eq!(line[7], text("action"));
        assert_eq!(line[9], text("entity_id"));
        let changes: Value = serde_json::from_str(&line[11]).unwrap();
        assert_eq!(changes, entry["changes"]);
    }
    // Taking it out is an entry of its own, a page each.
    let exports = server.audit("action=export").await;
    assert_eq!(exports.len(), entries.len().div_ceil(2));
    assert!(exports.iter().all(|entry| entry["entity"] == "audit_log"));
}

#[tokio::test]
async fn no_cell_of_the_table_is_a_formula() {
    let clinic = Clinic::open().await;
    let path = format!("/api/v1/patients/{}", clinic.patient);
    let body = json!({"notes": "=1+1", "first_name": "+Anna", "last_name": "@SUM(A1)"});
    // The name of a request is the client's choice, and a cell.
    let request = clinic.desk.request(Method::PATCH, &path);
    let request = request.header("X-Request-Id", "-2").json(&body);
    assert_eq!(Answer::of(request).await.status, 200);
    clinic.server.audit("").await;
    let page = table(clinic.server.admin(), &format!("{AUDIT}?limit=200")).await;
    let lines = cells(&page);
    assert!(lines.iter().any(|line| line[6] == "'-2"), "{lines:?}");
    let formula = |cell: &String| cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    assert!(!lines.iter().flatten().any(formula), "{lines:?}");
}

#[tokio::test]
async fn json_is_what_everybody_else_gets() {
    let server = Server::start().await;
    for accept in ["*/*", "application/json", "application/json, text/csv"] {
        let request = server.admin().request(Method::GET, AUDIT);
        let answer = Answer::of(request.header("Accept", accept)).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(!items(&answer).is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn who_looked_at_a_record_is_told_to_those_who_run_the_clinic() {
    let clinic = Clinic::open().await;
    let server = &clinic.server;
    let patient = format!("/api/v1/patients/{}", clinic.patient);
    let visit = clinic
        .visit("2030-03-04T08:00:00Z", "2030-03-04T09:00:00Z")
        .await;
    let invoice = clinic.issued(1000).await;
    clinic.doctor.get(&patient).await;
    clinic.doctor.get("/api/v1/patients?query=Beispiel").await;
    let path = format!("/api/v1/appointments/{visit}");
    clinic.doctor.get(&path).await;
    clinic.doctor.get(&invoice).await;
    // Of somebody else: none of this record's business.
    let other = server.patient().await;
    let other = format!("/api/v1/patients/{other}");
    clinic.doctor.get(&other).await;
    clinic
        .desk
        .patch(&patient, &json!({"notes": "Knocks."}))
        .await;
    server.audit("").await;

    let path = format!("{patient}/accesses?limit=200");
    let manager = server.user("manager").await;
    let seen = manager.get(&path).await;
    let deeds: Vec<[&str; 3]> = items(&seen)
        .iter()
        .rev()
        .map(|entry| ["actor_id", "action", "entity"].map(|name| entry[name].as_str().unwrap()))
        .collect();
    let (desk, doctor) = (clinic.desk.user_id.as_str(), clinic.doctor.user_id.as_str());
    let expected = [
        [server.admin().user_id.as_str(), "create", "patient"],
        [desk, "create", "appointment"],
        [desk, "create", "invoice"],
        [desk, "issue", "invoice"],
        [doctor, "read", "patient"],
        [doctor, "list", "patient"],
        [doctor, "read", "appointment"],
        [doctor, "read", "invoice"],
        [desk, "change", "patient"],
    ];
    let from_the_record: Vec<[&str; 3]> = deeds
        .into_iter()
        .filter(|[_, _, entity]| *entity != "audit_log")
        .collect();
    assert_eq!(from_the_record, expected);
    for entry in items(&seen) {
        let names = [
            "audit_id",
            "at",
            "actor_id",
            "impersonator_id",
            "address",
            "action",
            "entity",
            "entity_id",
        ];
        assert_members(entry, &names);
    }
    // Looking at it is looking at the record.
    server.audit("").await;
    let again = server.admin().get(&path).await;
    let own_look = |entry: &Value| {
        entry["actor_id"] == json!(manager.user_id) && entry["entity"] == "audit_log"
    };
    assert!(items(&again).iter().any(own_look), "{again:?}");
    let path = format!("{patient}/accesses");
    let paged = texts_of_pages(&manager, &path, 2, "audit_id", async || {}).await;
    // The look before may have come to it.
    let known = texts(&again, "audit_id");
    let paged: Vec<&String> = paged.iter().skip_while(|id| **id != known[0]).collect();
    assert!(paged.into_iter().eq(&known));

    let nobodys = format!("/api/v1/patients/{NOBODY}/accesses");
    manager.get(&nobodys).await.assert_problem(404, "not_found");
}
