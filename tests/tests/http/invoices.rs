//! Invoices: drafts, lines, issuing, voiding, and their numbers.

use dcms_tests::{Answer, Client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Clinic, NOBODY, Search, assert_created, assert_members, assert_unchanged, book, draft, etag,
    if_match, pay, texts, texts_of_pages, url, with,
};

const INVOICES: &str = "/api/v1/invoices";

/// The number in an invoice's number.
pub(crate) fn sequence(invoice: &Answer) -> i64 {
    let number = invoice.text("/invoice_number");
    let prefix = number.trim_end_matches(|digit: char| digit.is_ascii_digit());
    number[prefix.len()..].parse().expect("a number at the end")
}

async fn issue(client: &Client, invoice: &str) -> Answer {
    let answer = client.act(&format!("{invoice}/issue")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn void(client: &Client, invoice: &str) -> Answer {
    let reason = json!({"reason": "Wrong patient"});
    client.post(&format!("{invoice}/void"), &reason).await
}

fn line(description: &str, cents: i64, qty: i64) -> Value {
    json!({"description": description, "unit_price_cents": cents, "qty": qty})
}

/// What lines say, cost, and come to.
fn lines(invoice: &Answer) -> Vec<(String, i64, i64, i64)> {
    let line = |item: &Value| {
        let number = |field: &str| item[field].as_i64().unwrap();
        (
            item["description_snapshot"].as_str().unwrap().to_owned(),
            number("unit_price_snapshot_cents"),
            number("qty"),
            number("line_total_cents"),
        )
    };
    invoice.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

fn wanted(lines: &[(&str, i64, i64, i64)]) -> Vec<(String, i64, i64, i64)> {
    let owned = |(text, price, qty, total): &(&str, i64, i64, i64)| {
        ((*text).to_owned(), *price, *qty, *total)
    };
    lines.iter().map(owned).collect()
}

#[tokio::test]
async fn a_draft_has_lines_of_the_catalog_and_of_ones_own() {
    let clinic = Clinic::open().await;
    let filling = clinic.server.service("F1", 5000).await;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let body = json!({
        "patient_id": clinic.patient, "appointment_id": visit,
        "items": [{"service_id": filling, "qty": 3}, line("Toothbrush", 399, 2)],
    });
    let answer = clinic.desk.post(INVOICES, &body).await;
    assert_created(&clinic.desk, &answer).await;
    let location = format!("{INVOICES}/{}", answer.text("/invoice_id"));
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let facts = json!({
        "patient_id": clinic.patient, "appointment_id": visit, "status": "draft",
        "invoice_number": null, "issued_at": null, "voided_at": null, "currency": "EUR",
        "total_cents": 15_798, "paid_cents": 0, "balance_cents": 15_798,
    });
    for (field, value) in facts.as_object().unwrap() {
        assert_eq!(&answer.body[field], value, "{field}");
    }
    let all = [("Service F1", 5000, 3, 15_000), ("Toothbrush", 399, 2, 798)];
    assert_eq!(lines(&answer), wanted(&all));
    assert_members(
        &answer.body["items"][0],
        &[
            "invoice_item_id",
            "service_id",
            "description_snapshot",
            "unit_price_snapshot_cents",
            "qty",
            "line_total_cents",
        ],
    );
    assert_eq!(answer.text("/items/0/service_id"), filling);
    assert_eq!(answer.body["items"][1]["service_id"], Value::Null);
}

#[tokio::test]
async fn a_draft_takes_the_services_of_its_visit() {
    let clinic = Clinic::open().await;
    let (filling, crown) = (
        clinic.server.service("F1", 5000).await,
        clinic.server.service("C1", 50_000).await,
    );
    let services = json!({"services": [
        {"service_id": crown, "qty": 1}, {"service_id": filling, "qty": 2},
    ]});
    let visit = clinic.booking("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z");
    let visit = book(&clinic.desk, &with(visit, &services)).await;
    let body = json!({
        "patient_id": clinic.patient, "appointment_id": visit, "from_appointment": true,
        "items": [line("Toothbrush", 399, 1)],
    });
    let answer = clinic.desk.post(INVOICES, &body).await;
    assert_created(&clinic.desk, &answer).await;
    let all = [
        ("Service C1", 50_000, 1, 50_000),
        ("Service F1", 5000, 2, 10_000),
        ("Toothbrush", 399, 1, 399),
    ];
    assert_eq!(lines(&answer), wanted(&all));
    assert_eq!(answer.number("/total_cents"), 60_399);

    // Only when asked for.
    let body = with(body, &json!({"from_appointment": false}));
    let answer = clinic.desk.post(INVOICES, &body).await;
    assert_eq!(answer.number("/total_cents"), 399);
}

#[tokio::test]
async fn what_is_wrong_is_told_all_at_once() {
    let clinic = Clinic::open().await;
    let service = clinic.server.service("F1", 5000).await;
    let stranger = clinic.server.patient().await;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let body = json!({"patient_id": clinic.patient, "items": []});
    let cases = [
        (json!({"patient_id": NOBODY}), vec!["/patient_id"]),
        (json!({"appointment_id": NOBODY}), vec!["/appointment_id"]),
        // Another patient's visit.
        (
            json!({"patient_id": stranger, "appointment_id": visit}),
            vec!["/appointment_id"],
        ),
        (json!({"from_appointment": true}), vec!["/appointment_id"]),
        (
            json!({"items": [{"service_id": NOBODY, "qty": 1}]}),
            vec!["/items/0/service_id"],
        ),
        (
            json!({"items": [{"service_id": service, "qty": 0}]}),
            vec!["/items/0/qty"],
        ),
        (
            json!({"items": [line("A", 1, 1), line("", -1, 10_001)]}),
            vec![
                "/items/1/description",
                "/items/1/unit_price_cents",
                "/items/1/qty",
            ],
        ),
        (
            json!({"items": [{"qty": 1}]}),
            vec!["/items/0/description", "/items/0/unit_price_cents"],
        ),
        (
            json!({"items": [line("A", i64::MAX, 1)]}),
            vec!["/items/0/unit_price_cents"],
        ),
        // A line is of the catalog or of one's own.
        (
            json!({"items": [with(line("A", 1, 1), &json!({"service_id": service}))]}),
            vec!["/items/0/description", "/items/0/unit_price_cents"],
        ),
        (
            json!({
                "patient_id": NOBODY, "appointment_id": NOBODY,
                "items": [{"service_id": NOBODY, "qty": 0}, line(" ", 1, 1)],
            }),
            vec![
                "/patient_id",
                "/appointment_id",
                "/items/0/service_id",
                "/items/0/qty",
                "/items/1/description",
            ],
        ),
    ];
    for (change, pointers) in cases {
        let answer = clinic
            .desk
            .post(INVOICES, &with(body.clone(), &change))
            .await;
        answer.assert_faults(&pointers);
    }
    clinic
        .desk
        .post(INVOICES, &json!({"items": []}))
        .await
        .assert_faults(&["/patient_id"]);
    for change in [
        json!({"status": "paid"}),
        json!({"items": [line("A", 1, 1), {"qty": 1.5}]}),
        json!({"items": {}}),
    ] {
        let answer = clinic
            .desk
            .post(INVOICES, &with(body.clone(), &change))
            .await;
        answer.assert_problem(400, "malformed_request");
    }
    assert_eq!(
        texts(&clinic.desk.get(INVOICES).await, "invoice_id"),
        [] as [&str; 0]
    );
}

#[tokio::test]
async fn the_largest_invoice_adds_up() {
    let clinic = Clinic::open().await;
    let largest = line("Gold", 1_000_000_000_000, 10_000);
    let items = Value::Array(vec![largest.clone(); 200]);
    let invoice = draft(&clinic.desk, &clinic.patient, &items).await;
    let answer = clinic.desk.get(&invoice).await;
    assert_eq!(answer.number("/total_cents"), 2_000_000_000_000_000_000);
    // One more would be too many.
    let before = answer;
    let answer = clinic
        .desk
        .post(&format!("{invoice}/items"), &largest)
        .await;
    answer.assert_problem(422, "validation_failed");
    assert_unchanged(&clinic.desk, &invoice, &before).await;
}

#[tokio::test]
async fn lines_of_a_draft_are_added_changed_and_removed() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let service = clinic.server.service("F1", 5000).await;
    let invoice = clinic.draft(100).await;
    let items = format!("{invoice}/items");

    let added = desk
        .post(&items, &json!({"service_id": service, "qty": 2}))
        .await;
    assert_eq!(added.status, 201, "{added:?}");
    assert!(added.header("location").is_some(), "{added:?}");
    let added = desk.post(&items, &line("Toothbrush", 399, 1)).await;
    assert_eq!(added.status, 201, "{added:?}");
    let now = desk.get(&invoice).await;
    let all = [
        ("Crown", 100, 1, 100),
        ("Service F1", 5000, 2, 10_000),
        ("Toothbrush", 399, 1, 399),
    ];
    assert_eq!(lines(&now), wanted(&all));
    assert_eq!(now.number("/total_cents"), 10_499);
    assert_eq!(now.number("/balance_cents"), 10_499);

    let item = |index: usize| {
        format!(
            "{items}/{}",
            now.text(&format!("/items/{index}/invoice_item_id"))
        )
    };
    let change = json!({"qty": 3, "unit_price_cents": 4000, "description": "Filling"});
    let changed = if_match(desk, Method::PATCH, &item(1), &etag(&now), &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = desk.patch(&item(2), &json!({"qty": 2})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(desk.delete(&item(0)).await.status, 204);
    let now_ids = desk.get(&invoice).await;
    assert_eq!(
        lines(&now_ids),
        wanted(&[("Filling", 4000, 3, 12_000), ("Toothbrush", 399, 2, 798)])
    );
    assert_eq!(now_ids.number("/total_cents"), 12_798);
    // The lines are the same ones still, and the one of the catalog remains one.
    for index in [1, 2] {
        let id = now.text(&format!("/items/{index}/invoice_item_id"));
        assert_eq!(
            now_ids.text(&format!("/items/{}/invoice_item_id", index - 1)),
            id
        );
    }
    assert_eq!(now_ids.text("/items/0/service_id"), service);

    let before = now_ids;
    let cases = [
        (
            json!({"qty": 0, "unit_price_cents": -1, "description": ""}),
            vec!["/qty", "/unit_price_cents", "/description"],
        ),
        (
            json!({"qty": null, "unit_price_cents": null, "description": null}),
            vec!["/qty", "/unit_price_cents", "/description"],
        ),
    ];
    for (change, pointers) in cases {
        desk.patch(&item(1), &change).await.assert_faults(&pointers);
    }
    desk.post(&items, &line("", 1, 0))
        .await
        .assert_faults(&["/description", "/qty"]);
    desk.post(&items, &json!({"service_id": NOBODY, "qty": 1}))
        .await
        .assert_faults(&["/service_id"]);
    desk.patch(&item(0), &json!({"qty": 1}))
        .await
        .assert_problem(404, "not_found");
    desk.delete(&item(0)).await.assert_problem(404, "not_found");
    // A line of another draft is not found under this one.
    let other = clinic.draft(100).await;
    let elsewhere = item(1).replace(&invoice, &other);
    desk.delete(&elsewhere)
        .await
        .assert_problem(404, "not_found");
    for (method, path, body) in [
        (Method::POST, items.clone(), line("A", 1, 1)),
        (Method::PATCH, item(1), json!({"qty": 1})),
        (Method::DELETE, item(1), Value::Null),
    ] {
        let stale = if_match(desk, method, &path, "\"99\"", &body).await;
        stale.assert_problem(412, "version_mismatch");
    }
    assert_unchanged(desk, &invoice, &before).await;
}

#[tokio::test]
async fn a_patch_replaces_lines_and_visit_of_a_draft() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let stranger = clinic.server.patient().await;
    let others = json!({"patient_id": stranger});
    let others = with(
        clinic.booking("2030-01-07T10:00:00Z", "2030-01-07T10:30:00Z"),
        &others,
    );
    let others = book(desk, &others).await;
    let invoice = clinic.draft(100).await;

    let change = json!({"appointment_id": visit, "items": [line("A", 10, 1), line("B", 20, 2)]});
    let changed = desk.patch(&invoice, &change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.text("/appointment_id"), visit);
    assert_eq!(
        lines(&changed),
        wanted(&[("A", 10, 1, 10), ("B", 20, 2, 40)])
    );
    assert_eq!(changed.number("/total_cents"), 50);
    assert_unchanged(desk, &invoice, &changed).await;

    for appointment_id in [others.as_str(), NOBODY] {
        let change = json!({"appointment_id": appointment_id, "items": [line("", 1, 1)]});
        let answer = desk.patch(&invoice, &change).await;
        answer.assert_faults(&["/appointment_id", "/items/0/description"]);
    }
    for change in [
        json!({"status": "issued"}),
        json!({"total_cents": 1}),
        json!({"paid_cents": 1}),
        json!({"invoice_number": "INV-1"}),
        json!({"patient_id": stranger}),
    ] {
        desk.patch(&invoice, &change)
            .await
            .assert_problem(400, "malformed_request");
    }
    let stale = if_match(
        desk,
        Method::PATCH,
        &invoice,
        "\"99\"",
        &json!({"items": []}),
    )
    .await;
    stale.assert_problem(412, "version_mismatch");
    assert_unchanged(desk, &invoice, &changed).await;

    let cleared = desk.patch(&invoice, &json!({"appointment_id": null})).await;
    assert_eq!(cleared.body["appointment_id"], Value::Null);
    assert_eq!(lines(&cleared), lines(&changed));
    let cleared = desk.patch(&invoice, &json!({"items": null})).await;
    assert_eq!(lines(&cleared), []);
    assert_eq!(cleared.number("/total_cents"), 0);
}

#[tokio::test]
async fn a_draft_can_be_deleted() {
    let clinic = Clinic::open().await;
    let invoice = clinic.draft(100).await;
    let stale = if_match(
        &clinic.desk,
        Method::DELETE,
        &invoice,
        "\"99\"",
        &Value::Null,
    )
    .await;
    stale.assert_problem(412, "version_mismatch");
    assert_eq!(clinic.desk.delete(&invoice).await.status, 204);
    let path = |rest: &str| format!("{invoice}{rest}");
    let admin = clinic.server.admin();
    let cash = json!({"amount_cents": 1, "method": "cash"});
    for answer in [
        admin.get(&invoice).await,
        admin.delete(&invoice).await,
        admin.patch(&invoice, &json!({"items": []})).await,
        admin.act(&path("/issue")).await,
        void(admin, &invoice).await,
        admin.post(&path("/items"), &line("A", 1, 1)).await,
        admin.get(&path("/payments")).await,
        admin.post(&path("/payments"), &cash).await,
    ] {
        answer.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn later_changes_of_the_catalog_never_reach_a_line() {
    let clinic = Clinic::open().await;
    let (desk, admin) = (&clinic.desk, clinic.server.admin());
    let service = clinic.server.service("F1", 5000).await;
    let of_catalog = json!([{"service_id": service, "qty": 1}]);
    let (open, issued) = (
        draft(desk, &clinic.patient, &of_catalog).await,
        draft(desk, &clinic.patient, &of_catalog).await,
    );
    issue(desk, &issued).await;
    let change = json!({"name": "Filling, large", "current_price_cents": 9000});
    let path = format!("/api/v1/services/{service}");
    assert_eq!(admin.patch(&path, &change).await.status, 200);
    let old = ("Service F1", 5000, 1, 5000);
    for invoice in [&open, &issued] {
        let seen = desk.get(invoice).await;
        assert_eq!(lines(&seen), wanted(&[old]));
        assert_eq!(seen.number("/total_cents"), 5000);
    }
    // What is added now costs what it costs now, and what is there stays.
    let added = json!({"service_id": service, "qty": 2});
    assert_eq!(
        desk.post(&format!("{open}/items"), &added).await.status,
        201
    );
    assert_eq!(
        admin
            .patch(&path, &json!({"is_active": false}))
            .await
            .status,
        200
    );
    let seen = issue(desk, &open).await;
    assert_eq!(
        lines(&seen),
        wanted(&[old, ("Filling, large", 9000, 2, 18_000)])
    );
    assert_eq!(seen.number("/total_cents"), 23_000);
}

#[tokio::test]
async fn issuing_needs_a_line_and_gives_a_number() {
    let clinic = Clinic::open().await;
    let empty = draft(&clinic.desk, &clinic.patient, &json!([])).await;
    let before = clinic.desk.get(&empty).await;
    let answer = clinic.desk.act(&format!("{empty}/issue")).await;
    answer.assert_problem(422, "invoice_empty");
    assert_unchanged(&clinic.desk, &empty, &before).await;

    let invoice = clinic.draft(100).await;
    let path = format!("{invoice}/issue");
    let stale = if_match(&clinic.desk, Method::POST, &path, "\"99\"", &Value::Null).await;
    stale.assert_problem(412, "version_mismatch");
    let before = clinic.desk.get(&invoice).await;
    let issued = if_match(
        &clinic.desk,
        Method::POST,
        &path,
        &etag(&before),
        &Value::Null,
    )
    .await;
    assert_eq!(issued.status, 200, "{issued:?}");
    assert_eq!(issued.text("/status"), "issued");
    assert_eq!(sequence(&issued), 1);
    assert_ne!(issued.text("/issued_at"), "");
    assert_eq!(issued.number("/balance_cents"), 100);
    assert_unchanged(&clinic.desk, &invoice, &issued).await;
}

#[tokio::test]
async fn what_is_issued_or_void_is_frozen() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let (issued, paid, voided) = (
        clinic.issued(100).await,
        clinic.issued(100).await,
        clinic.draft(100).await,
    );
    pay(desk, &paid, 100).await;
    assert_eq!(void(clinic.server.admin(), &voided).await.status, 200);
    for invoice in [issued, paid, voided] {
        let before = desk.get(&invoice).await;
        let items = format!("{invoice}/items");
        let item = format!("{items}/{}", before.text("/items/0/invoice_item_id"));
        for answer in [
            desk.patch(&invoice, &json!({"items": []})).await,
            desk.patch(&invoice, &json!({"appointment_id": null})).await,
            desk.delete(&invoice).await,
            desk.post(&items, &line("A", 1, 1)).await,
            desk.patch(&item, &json!({"qty": 2})).await,
            desk.delete(&item).await,
            desk.act(&format!("{invoice}/issue")).await,
        ] {
            answer.assert_problem(409, "invoice_not_draft");
        }
        assert_unchanged(desk, &invoice, &before).await;
    }
}

#[tokio::test]
async fn voiding_needs_a_reason_and_that_nothing_is_paid() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let invoice = clinic.issued(1000).await;
    let before = manager.get(&invoice).await;
    let path = format!("{invoice}/void");
    for body in [json!({}), json!({"reason": null}), json!({"reason": " "})] {
        manager.post(&path, &body).await.assert_faults(&["/reason"]);
    }
    let reason = json!({"reason": "Wrong patient"});
    let stale = if_match(&manager, Method::POST, &path, "\"99\"", &reason).await;
    stale.assert_problem(412, "version_mismatch");
    void(&clinic.desk, &invoice)
        .await
        .assert_problem(403, "forbidden");
    assert_unchanged(&manager, &invoice, &before).await;

    let payment = pay(&clinic.desk, &invoice, 400).await;
    let refused = void(&manager, &invoice).await;
    refused.assert_problem(409, "invalid_transition");
    assert_eq!(refused.text("/from"), "partially_paid");
    pay(&clinic.desk, &invoice, 600).await;
    let refused = void(&manager, &invoice).await;
    refused.assert_problem(409, "invalid_transition");
    assert_eq!(refused.text("/from"), "paid");

    let invoice = clinic.issued(1000).await;
    let number = manager.get(&invoice).await.text("/invoice_number");
    let part = pay(&clinic.desk, &invoice, 400).await;
    assert_ne!(part, payment);
    let back = json!({"amount_cents": 400, "reason": "Overcharged"});
    assert_eq!(
        manager.post(&format!("{part}/refunds"), &back).await.status,
        201
    );
    // All of it went back.
    let voided = void(&manager, &invoice).await;
    assert_eq!(voided.status, 200, "{voided:?}");
    assert_eq!(voided.text("/status"), "void");
    assert_eq!(voided.text("/invoice_number"), number);
    assert_ne!(voided.text("/voided_at"), "");
    assert_eq!(voided.number("/paid_cents"), 0);
    assert_unchanged(&manager, &invoice, &voided).await;
    let again = void(&manager, &invoice).await;
    again.assert_problem(409, "invalid_transition");
    assert_eq!(again.text("/from"), "void");
    assert_eq!(again.body["allowed"], json!([]));
    assert_unchanged(&manager, &invoice, &voided).await;
}

#[tokio::test]
async fn numbers_have_no_gaps() {
    let clinic = Clinic::open().await;
    let (desk, admin) = (&clinic.desk, clinic.server.admin());
    let first = clinic.draft(100).await;
    let second = clinic.draft(100).await;
    // Drafts have none, whatever becomes of them.
    let never = clinic.draft(100).await;
    let voided_draft = void(admin, &never).await;
    assert_eq!(voided_draft.text("/status"), "void");
    assert_eq!(voided_draft.body["invoice_number"], Value::Null);
    assert_eq!(desk.delete(&clinic.draft(100).await).await.status, 204);

    // In the order of issue, not of drafting.
    assert_eq!(sequence(&issue(desk, &second).await), 1);
    let empty = draft(desk, &clinic.patient, &json!([])).await;
    for refused in [&empty, &second, &never] {
        let answer = desk.act(&format!("{refused}/issue")).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    let path = format!("{first}/issue");
    let stale = if_match(desk, Method::POST, &path, "\"99\"", &Value::Null).await;
    stale.assert_problem(412, "version_mismatch");
    assert_eq!(sequence(&issue(desk, &first).await), 2);
    let voided = void(admin, &first).await;
    assert_eq!(sequence(&voided), 2);
    assert_eq!(sequence(&issue(desk, &clinic.draft(100).await).await), 3);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let clinic = Clinic::open().await;
    let (desk, admin) = (&clinic.desk, clinic.server.admin());
    let draft_path = clinic.draft(1).await;
    let issued = clinic.issued(2).await;
    let part = clinic.issued(300).await;
    pay(desk, &part, 100).await;
    let paid = clinic.issued(4).await;
    pay(desk, &paid, 4).await;
    let voided = clinic.issued(5).await;
    assert_eq!(void(admin, &voided).await.status, 200);
    let stranger = clinic.server.patient().await;
    let others = draft(desk, &stranger, &json!([])).await;
    let all: [&str; 6] = [&draft_path, &issued, &part, &paid, &voided, &others];
    let issued_at = desk.get(&paid).await.text("/issued_at");
    let created_at = desk.get(&others).await.text("/created_at");

    let cases: &[Search] = &[
        (&[], &all),
        (&[("patient_id", &stranger)], &[&others]),
        (&[("patient_id", NOBODY)], &[]),
        (&[("status", "draft")], &[&draft_path, &others]),
        (&[("status", "issued")], &[&issued]),
        (&[("status", "partially_paid")], &[&part]),
        (&[("status", "paid")], &[&paid]),
        (&[("status", "void")], &[&voided]),
        (
            &[("status", "draft"), ("patient_id", &clinic.patient)],
            &[&draft_path],
        ),
        // Half open.
        (
            &[("from", &issued_at), ("to", &created_at)],
            &[&paid, &voided],
        ),
        (&[("from", &created_at)], &[&others]),
        (&[("to", &issued_at)], &[&draft_path, &issued, &part]),
        (&[("from", "2190-01-01T00:00:00Z")], &[]),
    ];
    for (query, wanted) in cases {
        let list = clinic.doctor.get(&url(INVOICES, query)).await;
        let ids = texts(&list, "invoice_id");
        let paths: Vec<String> = ids.iter().map(|id| format!("{INVOICES}/{id}")).collect();
        assert_eq!(paths, *wanted, "{query:?}");
    }
    // What the list says of an invoice is what reading it says.
    let list = desk
        .get(&url(INVOICES, &[("status", "partially_paid")]))
        .await;
    assert_eq!(list.body["items"][0], desk.get(&part).await.body);

    let whole = texts(&desk.get(INVOICES).await, "invoice_id");
    let add = async || {
        clinic.draft(1).await;
    };
    let pages = texts_of_pages(desk, INVOICES, 4, "invoice_id", add).await;
    assert_eq!(pages[..whole.len()], whole);
    for query in ["status=open", "from=yesterday", "patient_id=42"] {
        let answer = desk.get(&format!("{INVOICES}?{query}")).await;
        answer.assert_problem(400, "malformed_request");
    }
}
