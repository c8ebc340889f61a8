//! Payments and refunds.

use dcms_tests::{Answer, Client};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Clinic, NOBODY, Search, assert_unchanged, etag, if_match, items, pay, texts, texts_of_pages,
    url, with,
};

const PAYMENTS: &str = "/api/v1/payments";

async fn offer(client: &Client, invoice: &str, cents: i64) -> Answer {
    let body = json!({"amount_cents": cents, "method": "cash"});
    client.post(&format!("{invoice}/payments"), &body).await
}

async fn refund(client: &Client, payment: &str, cents: i64) -> Answer {
    let body = json!({"amount_cents": cents, "reason": "Overcharged"});
    client.post(&format!("{payment}/refunds"), &body).await
}

/// Fails unless the answer's invoice stands there, and says so too when it is read.
async fn assert_stands(client: &Client, answer: &Answer, status: &str, paid: i64, balance: i64) {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.text("/invoice/status"), status, "{answer:?}");
    assert_eq!(answer.number("/invoice/paid_cents"), paid, "{answer:?}");
    assert_eq!(
        answer.number("/invoice/balance_cents"),
        balance,
        "{answer:?}"
    );
    let invoice = format!("/api/v1/invoices/{}", answer.text("/invoice/invoice_id"));
    assert_eq!(client.get(&invoice).await.body, answer.body["invoice"]);
}

#[tokio::test]
async fn two_part_payments_pay_an_invoice() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let invoice = clinic.issued(1000).await;
    let body = json!({
        "amount_cents": 400, "method": "bank_transfer", "paid_at": "2026-01-07T09:00:00+01:00",
        "reference": "Slip 17",
    });
    let first = desk.post(&format!("{invoice}/payments"), &body).await;
    assert_stands(desk, &first, "partially_paid", 400, 600).await;
    let wanted = json!({
        "invoice_id": first.body["invoice"]["invoice_id"], "amount_cents": 400,
        "method": "bank_transfer", "paid_at": "2026-01-07T08:00:00Z", "reference": "Slip 17",
    });
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&first.body["payment"][field], value, "{field}");
    }
    let location = format!("{PAYMENTS}/{}", first.text("/payment/payment_id"));
    assert_eq!(first.header("location"), Some(location.as_str()));
    let read = desk.get(&location).await;
    assert_eq!(read.body, first.body["payment"]);
    assert_eq!(etag(&read), etag(&first));

    let second = offer(desk, &invoice, 600).await;
    assert_stands(desk, &second, "paid", 1000, 0).await;
    assert_eq!(second.body["payment"]["reference"], Value::Null);
    // Without a time it came in now.
    assert_eq!(
        second.body["payment"]["paid_at"],
        second.body["payment"]["created_at"]
    );
    let list = desk.get(&format!("{invoice}/payments")).await;
    assert_eq!(
        items(&list),
        [
            first.body["payment"].clone(),
            second.body["payment"].clone()
        ]
    );
}

#[tokio::test]
async fn nobody_pays_more_than_is_owed() {
    let clinic = Clinic::open().await;
    let invoice = clinic.issued(1000).await;
    for (paid, too_much, balance) in [(400, 1001, 1000), (599, 601, 600), (1, 2, 1)] {
        let before = clinic.desk.get(&invoice).await;
        let refused = offer(&clinic.desk, &invoice, too_much).await;
        refused.assert_problem(422, "payment_exceeds_balance");
        assert_eq!(refused.number("/balance_cents"), balance);
        assert_unchanged(&clinic.desk, &invoice, &before).await;
        pay(&clinic.desk, &invoice, paid).await;
    }
    assert_eq!(clinic.desk.get(&invoice).await.text("/status"), "paid");
}

#[tokio::test]
async fn nothing_is_paid_on_what_is_draft_void_or_paid() {
    let clinic = Clinic::open().await;
    let (draft, voided, paid) = (
        clinic.draft(1000).await,
        clinic.issued(1000).await,
        clinic.issued(1000).await,
    );
    let reason = json!({"reason": "Wrong patient"});
    let answer = clinic
        .server
        .admin()
        .post(&format!("{voided}/void"), &reason)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    pay(&clinic.desk, &paid, 1000).await;
    for invoice in [draft, voided, paid] {
        let before = clinic.desk.get(&invoice).await;
        let answer = offer(&clinic.desk, &invoice, 1).await;
        answer.assert_problem(409, "invoice_not_payable");
        assert_unchanged(&clinic.desk, &invoice, &before).await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_all_at_once() {
    let clinic = Clinic::open().await;
    let invoice = clinic.issued(1000).await;
    let before = clinic.desk.get(&invoice).await;
    let path = format!("{invoice}/payments");
    let body = json!({"amount_cents": 100, "method": "cash"});
    let cases = [
        (json!({"amount_cents": 0}), vec!["/amount_cents"]),
        (json!({"amount_cents": -100}), vec!["/amount_cents"]),
        (
            json!({"amount_cents": null, "method": null}),
            vec!["/amount_cents", "/method"],
        ),
        (json!({"method": "gold"}), vec!["/method"]),
        (json!({"reference": " "}), vec!["/reference"]),
        (json!({"paid_at": "2190-01-01T00:00:00Z"}), vec!["/paid_at"]),
        (json!({"paid_at": "1850-01-01T00:00:00Z"}), vec!["/paid_at"]),
        (
            json!({"amount_cents": 0, "paid_at": "2190-01-01T00:00:00Z", "reference": "\u{0}"}),
            vec!["/amount_cents", "/paid_at", "/reference"],
        ),
        (
            json!({"amount_cents": null, "method": "gold"}),
            vec!["/amount_cents", "/method"],
        ),
    ];
    for (change, pointers) in cases {
        let answer = clinic.desk.post(&path, &with(body.clone(), &change)).await;
        answer.assert_faults(&pointers);
    }
    clinic
        .desk
        .post(&path, &json!({}))
        .await
        .assert_faults(&["/amount_cents", "/method"]);
    for change in [
        json!({"amount_cents": 99.5}),
        json!({"amount_cents": "100"}),
        json!({"paid_at": "2026-01-07T09:00:00"}),
        json!({"invoice_id": NOBODY}),
    ] {
        let answer = clinic.desk.post(&path, &with(body.clone(), &change)).await;
        answer.assert_problem(400, "malformed_request");
    }
    let stale = if_match(&clinic.desk, Method::POST, &path, "\"99\"", &body).await;
    stale.assert_problem(412, "version_mismatch");
    assert_unchanged(&clinic.desk, &invoice, &before).await;
    assert_eq!(items(&clinic.desk.get(&path).await), [] as [Value; 0]);
}

#[tokio::test]
async fn refunds_take_the_status_back_with_the_sums() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let invoice = clinic.issued(1000).await;
    let large = pay(&clinic.desk, &invoice, 700).await;
    let small = pay(&clinic.desk, &invoice, 300).await;

    let first = refund(&manager, &large, 200).await;
    assert_stands(&manager, &first, "partially_paid", 800, 200).await;
    assert_eq!(first.number("/refund/amount_cents"), 200);
    assert_eq!(first.text("/refund/reason"), "Overcharged");
    let payment_id = large.rsplit('/').next().unwrap();
    assert_eq!(first.text("/refund/payment_id"), payment_id);
    let rest = refund(&manager, &large, 500).await;
    assert_stands(&manager, &rest, "partially_paid", 300, 700).await;
    let all = refund(&manager, &small, 300).await;
    assert_stands(&manager, &all, "issued", 0, 1000).await;

    // What is owed again can be paid again.
    let again = offer(&clinic.desk, &invoice, 1000).await;
    assert_stands(&manager, &again, "paid", 1000, 0).await;
}

#[tokio::test]
async fn refunds_never_exceed_their_payment() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let invoice = clinic.issued(1000).await;
    let payment = pay(&clinic.desk, &invoice, 600).await;
    // The other payment's money does not count.
    pay(&clinic.desk, &invoice, 400).await;
    for (back, too_much) in [(200, 601), (399, 401), (1, 2), (0, 1)] {
        let before = manager.get(&invoice).await;
        let answer = refund(&manager, &payment, too_much).await;
        answer.assert_problem(422, "refund_exceeds_payment");
        assert_unchanged(&manager, &invoice, &before).await;
        if back > 0 {
            assert_eq!(refund(&manager, &payment, back).await.status, 201);
        }
    }
    assert_eq!(manager.get(&invoice).await.number("/paid_cents"), 400);
}

#[tokio::test]
async fn a_refund_that_is_wrong_moves_nothing() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let invoice = clinic.issued(1000).await;
    let payment = pay(&clinic.desk, &invoice, 600).await;
    let before = manager.get(&invoice).await;
    let path = format!("{payment}/refunds");
    let cases = [
        (json!({}), vec!["/amount_cents", "/reason"]),
        (
            json!({"amount_cents": 100, "reason": null}),
            vec!["/reason"],
        ),
        (
            json!({"amount_cents": 0, "reason": "x"}),
            vec!["/amount_cents"],
        ),
        (
            json!({"amount_cents": -1, "reason": " "}),
            vec!["/amount_cents", "/reason"],
        ),
    ];
    for (body, pointers) in cases {
        manager.post(&path, &body).await.assert_faults(&pointers);
    }
    refund(&clinic.desk, &payment, 100)
        .await
        .assert_problem(403, "forbidden");
    let back = json!({"amount_cents": 100, "reason": "Overcharged"});
    let stale = if_match(&manager, Method::POST, &path, "\"99\"", &back).await;
    stale.assert_problem(412, "version_mismatch");
    let nobody = format!("{PAYMENTS}/{NOBODY}");
    refund(&manager, &nobody, 100)
        .await
        .assert_problem(404, "not_found");
    manager.get(&nobody).await.assert_problem(404, "not_found");
    assert_unchanged(&manager, &invoice, &before).await;
}

#[tokio::test]
async fn payments_are_listed_by_time_and_method() {
    let clinic = Clinic::open().await;
    let desk = &clinic.desk;
    let zone = json!({"time_zone": "Europe/Berlin"});
    let answer = clinic.server.admin().patch("/api/v1/clinic", &zone).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let invoice = clinic.issued(1000).await;
    for (reference, method, paid_at) in [
        ("late", "card", "2026-03-29T22:00:00Z"),
        ("early", "cash", "2026-03-28T23:00:00Z"),
        ("before", "cash", "2026-03-28T22:59:59Z"),
        ("noon", "insurance", "2026-03-29T12:00:00+02:00"),
        ("other", "other", "2020-01-01T00:00:00Z"),
    ] {
        let body = json!({
            "amount_cents": 1, "method": method, "paid_at": paid_at, "reference": reference,
        });
        desk.create(&format!("{invoice}/payments"), &body, "payment/payment_id")
            .await;
    }
    let all = ["late", "early", "before", "noon", "other"];
    let cases: &[Search] = &[
        (&[], &all),
        (&[("method", "cash")], &["early", "before"]),
        (&[("method", "bank_transfer")], &[]),
        (
            &[
                ("from", "2026-03-28T23:00:00Z"),
                ("to", "2026-03-29T22:00:00Z"),
            ],
            &["early", "noon"],
        ),
        (&[("from", "2026-03-29T12:00:00+02:00")], &["late", "noon"]),
        (
            &[("to", "2026-03-29T12:00:00+02:00")],
            &["early", "before", "other"],
        ),
        // A day starts when the clinic's does.
        (
            &[("from", "2026-03-29"), ("to", "2026-03-30")],
            &["early", "noon"],
        ),
        (
            &[("from", "2026-03-29T00:00:00+01:00"), ("method", "cash")],
            &["early"],
        ),
    ];
    for (query, wanted) in cases {
        let list = clinic.doctor.get(&url(PAYMENTS, query)).await;
        assert_eq!(texts(&list, "reference"), *wanted, "{query:?}");
    }
    let other = clinic.issued(1000).await;
    let body = json!({"amount_cents": 1, "method": "cash", "reference": "elsewhere"});
    desk.create(&format!("{other}/payments"), &body, "payment/payment_id")
        .await;
    for path in [
        format!("{invoice}/payments"),
        url(PAYMENTS, &[("to", "2026-04-01T00:00:00Z")]),
    ] {
        let mut added = 0;
        let add = async || {
            added += 1;
            let body = json!({"amount_cents": 1, "method": "cash", "reference": "new"});
            desk.create(&format!("{other}/payments"), &body, "payment/payment_id")
                .await;
        };
        let pages = texts_of_pages(desk, &path, 2, "reference", add).await;
        assert_eq!(pages, all);
        assert_eq!(added, 2);
    }
    for query in ["method=gold", "from=2026-03-29T00:00:00", "to=soon"] {
        let answer = desk.get(&format!("{PAYMENTS}?{query}")).await;
        answer.assert_problem(400, "malformed_request");
    }
}

#[tokio::test]
async fn a_payment_cannot_be_edited_or_deleted() {
    let clinic = Clinic::open().await;
    let admin = clinic.server.admin();
    let invoice = clinic.issued(1000).await;
    let payment = pay(&clinic.desk, &invoice, 600).await;
    let before = admin.get(&payment).await;
    let change = json!({"amount_cents": 1});
    for method in [Method::PATCH, Method::PUT, Method::POST, Method::DELETE] {
        let answer = Answer::of(admin.request(method, &payment).json(&change)).await;
        answer.assert_problem(405, "method_not_allowed");
        let allow = answer.header("allow").expect("an Allow header");
        assert!(allow.contains("GET"), "{allow}");
    }
    assert_unchanged(admin, &payment, &before).await;
}
