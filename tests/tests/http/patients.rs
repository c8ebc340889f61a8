//! Patients and their contacts.

use std::collections::HashSet;

use dcms_tests::{Answer, Client, Server};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{
    Clinic, NOBODY, assert_created, assert_members, assert_unchanged, etag, if_match, items, pay,
    texts,
};

const PATIENTS: &str = "/api/v1/patients";

fn zoe() -> Value {
    json!({
        "first_name": "Zoë", "last_name": "Grünwald", "birthday": "1990-05-17",
        "gender": "female", "notes": "Allergic to latex.\nPrefers mornings.",
    })
}

/// Registers a patient; their path.
async fn register(client: &Client, body: &Value) -> String {
    let id = client.create(PATIENTS, body, "patient_id").await;
    format!("{PATIENTS}/{id}")
}

#[tokio::test]
async fn a_patient_is_registered_and_read_back() {
    let server = Server::start().await;
    let desk = server.user("receptionist").await;
    let answer = desk.post(PATIENTS, &zoe()).await;
    assert_created(&desk, &answer).await;
    assert_members(
        &answer.body,
        &[
            "patient_id",
            "register_number",
            "first_name",
            "last_name",
            "birthday",
            "gender",
            "notes",
            "archived_at",
            "anonymized_at",
            "created_at",
            "updated_at",
        ],
    );
    for (field, value) in zoe().as_object().unwrap() {
        assert_eq!(&answer.body[field], value);
    }
    assert_eq!(answer.body["archived_at"], Value::Null);
    assert_eq!(answer.body["created_at"], answer.body["updated_at"]);
    let location = format!("{PATIENTS}/{}", answer.text("/patient_id"));
    assert_eq!(answer.header("location"), Some(location.as_str()));
}

#[tokio::test]
async fn a_name_is_all_that_a_patient_needs() {
    let server = Server::start().await;
    let body = json!({"first_name": "Li", "last_name": "Wu"});
    let answer = server.admin().post(PATIENTS, &body).await;
    assert_created(server.admin(), &answer).await;
    assert_eq!(answer.body["birthday"], Value::Null);
    assert_eq!(answer.body["gender"], "unknown");
    assert_eq!(answer.body["notes"], Value::Null);
}

#[tokio::test]
async fn what_is_wrong_is_told_all_at_once() {
    let server = Server::start().await;
    let long = "x".repeat(101);
    let cases = [
        (json!({}), vec!["/first_name", "/last_name"]),
        (
            json!({"first_name": null, "last_name": null}),
            vec!["/first_name", "/last_name"],
        ),
        (
            json!({"first_name": "  ", "last_name": long}),
            vec!["/first_name", "/last_name"],
        ),
        (
            json!({"first_name": "\u{7}", "last_name": "a\nb"}),
            vec!["/first_name", "/last_name"],
        ),
        (
            json!({"first_name": "", "last_name": "B", "birthday": "1899-12-31", "notes": "\u{0}"}),
            vec!["/first_name", "/birthday", "/notes"],
        ),
        (
            json!({"first_name": "A", "last_name": "", "birthday": "2190-01-01", "notes": ""}),
            vec!["/last_name", "/birthday", "/notes"],
        ),
        (
            json!({"first_name": "A", "gender": "none"}),
            vec!["/last_name", "/gender"],
        ),
    ];
    for (body, pointers) in cases {
        server
            .admin()
            .post(PATIENTS, &body)
            .await
            .assert_faults(&pointers);
    }
    let nobody = server.admin().get(PATIENTS).await;
    assert_eq!(items(&nobody), [] as [Value; 0]);
}

/// What a schema can tell (absent, null, none of the names) and what only the domain can (blank, too
/// long, out of range) are faults of one request.
#[tokio::test]
async fn faults_of_form_and_of_content_are_told_together() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let patient = format!("{PATIENTS}/{}", clinic.patient);
    let payment = pay(admin, &clinic.issued(1000).await, 100).await;
    let cases = [
        (
            PATIENTS.to_owned(),
            json!({"last_name": "", "gender": "none", "birthday": "2190-01-01"}),
            vec!["/first_name", "/last_name", "/gender", "/birthday"],
        ),
        (
            format!("{patient}/contacts"),
            json!({"type": "fax", "value": "030 12345", "label": "", "is_primary": true}),
            vec!["/type", "/label"],
        ),
        (
            "/api/v1/services".to_owned(),
            json!({"name": "", "current_price_cents": -1}),
            vec!["/code", "/name", "/current_price_cents"],
        ),
        (
            format!("{payment}/refunds"),
            json!({"reason": ""}),
            vec!["/amount_cents", "/reason"],
        ),
    ];
    for (path, body, pointers) in cases {
        admin.post(&path, &body).await.assert_faults(&pointers);
    }
    let change = json!({"first_name": null, "last_name": "", "gender": "none"});
    let answer = admin.patch(&patient, &change).await;
    answer.assert_faults(&["/first_name", "/last_name", "/gender"]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused() {
    let server = Server::start().await;
    let path = register(server.admin(), &zoe()).await;
    let before = server.admin().get(&path).await;
    let changes = [
        json!({"birthday": "17.05.1990"}),
        json!({"birthday": "1990-02-30"}),
        json!({"birthday": 19_900_517}),
        json!({"first_name": ["Zoë"]}),
        json!({"nickname": "Zo"}),
        // The server's own.
        json!({"register_number": "P000099"}),
        json!({"patient_id": NOBODY}),
        json!({"archived_at": "2026-01-01T00:00:00Z"}),
    ];
    for change in changes {
        let answer = server.admin().patch(&path, &change).await;
        answer.assert_problem(400, "malformed_request");
    }
    assert_unchanged(server.admin(), &path, &before).await;
    let answer = server.admin().get(&format!("{PATIENTS}/42")).await;
    answer.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn a_patch_leaves_what_is_absent_and_clears_what_is_null() {
    let server = Server::start().await;
    let path = register(server.admin(), &zoe()).await;
    let before = server.admin().get(&path).await;

    let change = json!({"last_name": "Grün", "birthday": null, "notes": null});
    let changed = server.admin().patch(&path, &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(etag(&changed), etag(&before));
    let mut wanted = before.body.clone();
    wanted["last_name"] = json!("Grün");
    wanted["birthday"] = Value::Null;
    wanted["notes"] = Value::Null;
    wanted["updated_at"] = changed.body["updated_at"].clone();
    assert_eq!(changed.body, wanted);
    assert!(changed.text("/updated_at") > before.text("/updated_at"));
    assert_unchanged(server.admin(), &path, &changed).await;

    let change = json!({"birthday": "1991-05-17", "gender": "other"});
    let changed = server.admin().patch(&path, &change).await;
    assert_eq!(changed.text("/birthday"), "1991-05-17");
    assert_eq!(changed.text("/gender"), "other");
}

#[tokio::test]
async fn a_patch_that_is_wrong_changes_nothing() {
    let server = Server::start().await;
    let path = register(server.admin(), &zoe()).await;
    let before = server.admin().get(&path).await;
    let change = json!({"first_name": null, "last_name": null, "gender": null, "notes": "New"});
    let answer = server.admin().patch(&path, &change).await;
    answer.assert_faults(&["/first_name", "/last_name", "/gender"]);

    let change = json!({"notes": "New"});
    let stale = if_match(server.admin(), Method::PATCH, &path, "\"99\"", &change).await;
    stale.assert_problem(412, "version_mismatch");
    assert_unchanged(server.admin(), &path, &before).await;
    let current = if_match(
        server.admin(),
        Method::PATCH,
        &path,
        &etag(&before),
        &change,
    )
    .await;
    assert_eq!(current.status, 200, "{current:?}");
}

#[tokio::test]
async fn nobody_is_not_found() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = format!("{PATIENTS}/{NOBODY}");
    let contact = format!("{path}/contacts/{NOBODY}");
    let phone = json!({"type": "phone", "value": "030 12345", "is_primary": true});
    let answers = [
        admin.get(&path).await,
        admin.patch(&path, &json!({"notes": "x"})).await,
        admin.delete(&path).await,
        admin.act(&format!("{path}/archive")).await,
        admin.act(&format!("{path}/restore")).await,
        admin.get(&format!("{path}/contacts")).await,
        admin.post(&format!("{path}/contacts"), &phone).await,
        admin.patch(&contact, &json!({"label": "x"})).await,
        admin.delete(&contact).await,
    ];
    for answer in answers {
        answer.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn archiving_takes_a_patient_aside_and_restoring_brings_them_back() {
    let server = Server::start().await;
    let admin = server.admin();
    let path = register(admin, &zoe()).await;
    let (archive, restore) = (format!("{path}/archive"), format!("{path}/restore"));

    let stale = if_match(admin, Method::POST, &archive, "\"99\"", &Value::Null).await;
    stale.assert_problem(412, "version_mismatch");
    let archived = admin.act(&archive).await;
    assert_eq!(archived.status, 200, "{archived:?}");
    assert_ne!(archived.text("/archived_at"), "");
    assert_unchanged(admin, &path, &archived).await;
    // Who is archived already stays as they are.
    let again = admin.act(&archive).await;
    assert_eq!(again.body, archived.body);
    assert_eq!(etag(&again), etag(&archived));

    let restored = admin.act(&restore).await;
    assert_eq!(restored.status, 200, "{restored:?}");
    assert_eq!(restored.body["archived_at"], Value::Null);
    assert_unchanged(admin, &path, &restored).await;
}

#[tokio::test]
async fn only_a_patient_without_history_can_be_deleted() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let id_of = |path: &str| path.rsplit('/').next().unwrap().to_owned();

    let unknown = register(admin, &zoe()).await;
    let phone = json!({"type": "phone", "value": "030 12345", "is_primary": true});
    let reachable = register(admin, &zoe()).await;
    admin
        .create(&format!("{reachable}/contacts"), &phone, "contact_id")
        .await;
    for path in [unknown, reachable] {
        let stale = if_match(admin, Method::DELETE, &path, "\"99\"", &Value::Null).await;
        stale.assert_problem(412, "version_mismatch");
        let deleted = admin.delete(&path).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        assert_eq!(deleted.body, Value::Null);
        admin.get(&path).await.assert_problem(404, "not_found");
    }

    let billed = register(admin, &zoe()).await;
    let body = json!({"patient_id": id_of(&billed), "items": []});
    admin.create("/api/v1/invoices", &body, "invoice_id").await;
    // A visit that was called off is history too.
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let cancel = format!("/api/v1/appointments/{visit}/cancel");
    assert_eq!(
        admin.post(&cancel, &json!({"reason": "Ill"})).await.status,
        200
    );
    for path in [billed, format!("{PATIENTS}/{}", clinic.patient)] {
        let before = admin.get(&path).await;
        admin.delete(&path).await.assert_problem(409, "in_use");
        assert_unchanged(admin, &path, &before).await;
    }
}

#[tokio::test]
async fn register_numbers_are_never_given_twice() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut numbers = HashSet::new();
    let register = async || {
        let answer = admin.post(PATIENTS, &zoe()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        (answer.text("/register_number"), answer.text("/patient_id"))
    };
    for (number, _) in join_all((0..16).map(|_| register())).await {
        assert!(numbers.insert(number.clone()), "{number} was given twice");
    }
    // Not even that of somebody who was deleted.
    for _ in 0..3 {
        let (number, id) = register().await;
        assert!(numbers.insert(number.clone()), "{number} was given twice");
        let deleted = admin.delete(&format!("{PATIENTS}/{id}")).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
}

#[tokio::test]
async fn long_register_numbers_are_not_cut() {
    let server = Server::start().await;
    let mut database = PgConnection::connect(server.database_url()).await.unwrap();
    sqlx::query("SELECT setval('register_numbers', 99999999998)")
        .execute(&mut database)
        .await
        .unwrap();
    for digits in ["99999999999", "100000000000"] {
        let answer = server.admin().post(PATIENTS, &zoe()).await;
        let number = answer.text("/register_number");
        assert!(
            number.ends_with(digits),
            "{number} does not end in {digits}"
        );
        let found = server
            .admin()
            .get(&format!("{PATIENTS}?query={number}"))
            .await;
        assert_eq!(texts(&found, "register_number"), [number]);
    }
}

async fn add_contact(client: &Client, patient: &str, body: &Value) -> Answer {
    let answer = client.post(&format!("{patient}/contacts"), body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

/// Value and rank of each contact, in order.
async fn contacts(client: &Client, patient: &str) -> Vec<(String, bool)> {
    let list = client.get(&format!("{patient}/contacts")).await;
    let contact = |item: &Value| {
        let value = item["value"].as_str().unwrap().to_owned();
        (value, item["is_primary"].as_bool().unwrap())
    };
    items(&list).iter().map(contact).collect()
}

fn ranked(contacts: &[(&str, bool)]) -> Vec<(String, bool)> {
    contacts
        .iter()
        .map(|(value, primary)| ((*value).to_owned(), *primary))
        .collect()
}

#[tokio::test]
async fn a_contact_is_added_changed_and_deleted() {
    let server = Server::start().await;
    let desk = server.user("receptionist").await;
    let patient = register(&desk, &zoe()).await;
    let phone = json!({
        "type": "phone", "value": "+49 (30) 123-45", "label": "Work", "is_primary": false,
    });
    let added = add_contact(&desk, &patient, &phone).await;
    for (field, value) in phone.as_object().unwrap() {
        assert_eq!(&added.body[field], value);
    }
    let path = format!("{patient}/contacts/{}", added.text("/contact_id"));
    assert_eq!(added.header("location"), Some(path.as_str()));

    let stale = if_match(
        &desk,
        Method::PATCH,
        &path,
        "\"99\"",
        &json!({"label": null}),
    )
    .await;
    stale.assert_problem(412, "version_mismatch");
    let change = json!({"label": null});
    let changed = if_match(&desk, Method::PATCH, &path, &etag(&added), &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["label"], Value::Null);
    assert_eq!(changed.body["value"], phone["value"]);
    let change = json!({"type": "email", "value": "zoe@example.org"});
    let changed = desk.patch(&path, &change).await;
    assert_eq!(changed.text("/type"), "email");

    // Under another patient there is no such contact.
    let other = register(&desk, &zoe()).await;
    let elsewhere = format!("{other}/contacts/{}", added.text("/contact_id"));
    desk.patch(&elsewhere, &change)
        .await
        .assert_problem(404, "not_found");
    desk.delete(&elsewhere)
        .await
        .assert_problem(404, "not_found");

    let stale = if_match(&desk, Method::DELETE, &path, "\"99\"", &Value::Null).await;
    stale.assert_problem(412, "version_mismatch");
    assert_eq!(desk.delete(&path).await.status, 204);
    assert_eq!(contacts(&desk, &patient).await, []);
    desk.delete(&path).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_contact_that_is_wrong_is_told_all_at_once() {
    let server = Server::start().await;
    let patient = register(server.admin(), &zoe()).await;
    let path = format!("{patient}/contacts");
    let cases = [
        (json!({"is_primary": true}), vec!["/type", "/value"]),
        (
            json!({"type": "phone", "value": "call me", "is_primary": true}),
            vec!["/value"],
        ),
        (
            json!({"type": "email", "value": "030 12345", "is_primary": true}),
            vec!["/value"],
        ),
        (
            json!({"type": "phone", "value": "", "label": "", "is_primary": true}),
            vec!["/value", "/label"],
        ),
        (
            json!({"type": "fax", "is_primary": true}),
            vec!["/type", "/value"],
        ),
    ];
    for (body, pointers) in cases {
        server
            .admin()
            .post(&path, &body)
            .await
            .assert_faults(&pointers);
    }
    assert_eq!(contacts(server.admin(), &patient).await, []);
}

#[tokio::test]
async fn a_patient_has_one_primary_contact_a_type() {
    let server = Server::start().await;
    let admin = server.admin();
    let patient = register(admin, &zoe()).await;
    let contact =
        |kind: &str, value: &str| json!({"type": kind, "value": value, "is_primary": true});
    let email = "zoe@example.org";

    let first = add_contact(admin, &patient, &contact("phone", "030 111")).await;
    add_contact(admin, &patient, &contact("email", email)).await;
    add_contact(admin, &patient, &contact("phone", "030 222")).await;
    let wanted = ranked(&[("030 111", false), (email, true), ("030 222", true)]);
    assert_eq!(contacts(admin, &patient).await, wanted);

    // Losing the first place is a change.
    let first_path = format!("{patient}/contacts/{}", first.text("/contact_id"));
    let change = json!({"is_primary": true});
    let stale = if_match(admin, Method::PATCH, &first_path, &etag(&first), &change).await;
    stale.assert_problem(412, "version_mismatch");

    let promoted = admin.patch(&first_path, &change).await;
    assert_eq!(promoted.body["is_primary"], true);
    let wanted = ranked(&[("030 111", true), (email, true), ("030 222", false)]);
    assert_eq!(contacts(admin, &patient).await, wanted);

    // A primary contact keeps the first place when it becomes one of another type.
    let change = json!({"type": "email", "value": "work@example.org"});
    assert_eq!(admin.patch(&first_path, &change).await.status, 200);
    let wanted = ranked(&[
        ("work@example.org", true),
        (email, false),
        ("030 222", false),
    ]);
    assert_eq!(contacts(admin, &patient).await, wanted);

    let demoted = admin
        .patch(&first_path, &json!({"is_primary": false}))
        .await;
    assert_eq!(demoted.body["is_primary"], false);
}

#[tokio::test]
async fn a_family_shares_a_phone() {
    let server = Server::start().await;
    let phone = json!({"type": "phone", "value": "030 12345", "is_primary": true});
    for name in ["Mia", "Ben"] {
        let body = json!({"first_name": name, "last_name": "Grünwald"});
        let patient = register(server.admin(), &body).await;
        add_contact(server.admin(), &patient, &phone).await;
        let wanted = ranked(&[("030 12345", true)]);
        assert_eq!(contacts(server.admin(), &patient).await, wanted);
    }
    let found = server
        .admin()
        .get(&format!("{PATIENTS}?query=03012345"))
        .await;
    assert_eq!(texts(&found, "first_name"), ["Mia", "Ben"]);
}
