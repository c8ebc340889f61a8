//! Everything held about a patient as one document, and patients who become nobody.

use std::collections::BTreeMap;

use dcms_tests::{Answer, Client, rows};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{
    Clinic, NOBODY, assert_members, assert_unchanged, booking, coming_half_hour, draft, etag,
    if_match, items, url,
};

/// What tells who the patient is, or was written about them, wherever it stands.
const MARKS: [&str; 13] = [
    "Markquintessa",
    "Markoldname",
    "Markzimmermann",
    "1987-06-05",
    "marknotes",
    "491705550999",
    "mark.mail@zimmermann.example",
    "marklabel",
    "markvisit",
    "markpain",
    "markcancel",
    "markreference",
    "markrefund",
];
/// The same, in a reason that is written into an invoice.
const VOID_MARK: &str = "markvoid";
/// What was sold: it stays in the lines of invoices.
const LINE_MARK: &str = "markline";

/// A marked patient with a record of every kind, all of it settled and over.
struct Marked {
    clinic: Clinic,
    path: String,
    id: String,
    visit: String,
    invoice: String,
    payment: String,
}

impl Marked {
    async fn prepare() -> Self {
        let clinic = Clinic::open().await;
        let admin = clinic.server.admin().clone();
        let body = json!({
            "first_name": "Markquintessa", "last_name": "Markoldname", "birthday": "1987-06-05",
            "gender": "female", "notes": "marknotes: afraid of needles",
        });
        let id = admin.create("/api/v1/patients", &body, "patient_id").await;
        let path = format!("/api/v1/patients/{id}");
        let married = admin
            .patch(&path, &json!({"last_name": "Markzimmermann"}))
            .await;
        assert_eq!(married.status, 200, "{married:?}");
        for (kind, value) in [
            ("phone", "+491705550999"),
            ("email", "mark.mail@zimmermann.example"),
        ] {
            let body = json!({"type": kind, "value": value, "label": "marklabel"});
            let contacts = format!("{path}/contacts");
            admin.create(&contacts, &body, "contact_id").await;
        }
        let visit = Self::visit(&clinic, &id).await;
        let line = json!([{"description": LINE_MARK, "unit_price_cents": 9000, "qty": 1}]);
        let invoice = draft(&admin, &id, &line).await;
        act(&admin, &format!("{invoice}/issue"), &Value::Null).await;
        let body = json!({
            "amount_cents": 9000, "method": "bank_transfer", "reference": "markreference",
        });
        let payments = format!("{invoice}/payments");
        let payment = admin.create(&payments, &body, "payment/payment_id").await;
        let payment = format!("/api/v1/payments/{payment}");
        let refund = json!({"amount_cents": 500, "reason": "markrefund"});
        let refunds = format!("{payment}/refunds");
        admin.create(&refunds, &refund, "refund/refund_id").await;
        let rest = json!({"amount_cents": 500, "method": "cash"});
        admin.create(&payments, &rest, "payment/payment_id").await;
        let void = draft(&admin, &id, &line).await;
        act(&admin, &format!("{void}/issue"), &Value::Null).await;
        act(
            &admin,
            &format!("{void}/void"),
            &json!({"reason": VOID_MARK}),
        )
        .await;
        Self {
            clinic,
            path,
            id,
            visit,
            invoice,
            payment,
        }
    }

    /// A visit that took place, and one that was called off; the path of the first.
    async fn visit(clinic: &Clinic, patient: &str) -> String {
        let admin = clinic.server.admin();
        let mut paths = Vec::new();
        for (day, reason) in [("03", Some("markpain")), ("04", None)] {
            let starts_at = format!("2024-03-{day}T09:00:00Z");
            let ends_at = format!("2024-03-{day}T09:30:00Z");
            let mut body = booking(patient, &clinic.doctor.user_id, &starts_at, &ends_at);
            body["notes"] = json!("markvisit: crown");
            body["overbook_reason"] = json!(reason);
            let visits = "/api/v1/appointments";
            let id = admin.create(visits, &body, "appointment_id").await;
            paths.push(format!("{visits}/{id}"));
        }
        for step in ["arrive", "start", "complete"] {
            act(admin, &format!("{}/{step}", paths[0]), &Value::Null).await;
        }
        let cancel = format!("{}/cancel", paths[1]);
        act(admin, &cancel, &json!({"reason": "markcancel"})).await;
        paths.swap_remove(0)
    }

    async fn anonymize(&self) -> Answer {
        let body = json!({"reason": "Asked to be forgotten"});
        let path = format!("{}/anonymize", self.path);
        self.clinic.server.admin().post(&path, &body).await
    }

    async fn rows(&self) -> BTreeMap<String, Vec<String>> {
        rows(self.clinic.server.database_url()).await
    }

    /// The rows of the audit log about the patient, by their ids.
    async fn audit_rows(&self) -> BTreeMap<String, Value> {
        let url = self.clinic.server.database_url();
        let mut connection = PgConnection::connect(url).await.unwrap();
        let theirs = "SELECT to_jsonb(entry) FROM audit_log AS entry
            WHERE patient_ids @> ARRAY[$1::uuid]";
        let theirs: Vec<Value> = sqlx::query_scalar(theirs)
            .bind(&self.id)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        theirs
            .into_iter()
            .map(|row| (row["audit_id"].as_str().unwrap().to_owned(), row))
            .collect()
    }
}

async fn act(client: &Client, path: &str, body: &Value) {
    let answer = if body.is_null() {
        client.act(path).await
    } else {
        client.post(path, body).await
    };
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
}

/// What the audit log says was done to the patient themself, the latest first.
async fn actions(marked: &Marked, action: &str) -> Vec<Value> {
    let admin = marked.clinic.server.admin();
    let query = [("entity_id", marked.id.as_str()), ("action", action)];
    let list = admin.get(&url("/api/v1/admin/audit", &query)).await;
    items(&list).to_vec()
}

#[tokio::test]
async fn an_export_holds_everything_about_one_patient_and_is_noted() {
    let marked = Marked::prepare().await;
    let server = &marked.clinic.server;
    let other =
        json!({"first_name": "Othername", "last_name": "Otherfamily", "notes": "othernotes"});
    let other = server
        .admin()
        .create("/api/v1/patients", &other, "patient_id")
        .await;
    let contact = json!({"type": "phone", "value": "+49301112223"});
    let contacts = format!("/api/v1/patients/{other}/contacts");
    server
        .admin()
        .create(&contacts, &contact, "contact_id")
        .await;
    draft(server.admin(), &other, &json!([])).await;

    let manager = server.user("manager").await;
    let export = manager.get(&format!("{}/export", marked.path)).await;
    assert_eq!(export.status, 200, "{export:?}");
    assert_eq!(export.header("content-type"), Some("application/json"));
    let patient = server.admin().get(&marked.path).await.body;
    let number = patient["register_number"].as_str().unwrap();
    assert_eq!(
        export.header("content-disposition"),
        Some(format!("attachment; filename=\"patient-{number}.json\"").as_str())
    );
    assert_members(
        &export.body,
        &[
            "format",
            "exported_at",
            "patient",
            "contacts",
            "appointments",
            "appointment_history",
            "invoices",
            "payments",
            "refunds",
            "audit",
        ],
    );
    assert_eq!(export.text("/format"), "dcms-patient-export/1");
    assert_eq!(export.body["patient"], patient);
    let text = export.body.to_string();
    for mark in MARKS.iter().chain(&[VOID_MARK, LINE_MARK]) {
        assert!(text.contains(mark), "{mark} is missing: {text}");
    }
    for (list, length) in [
        ("contacts", 2),
        ("appointments", 2),
        // Booked, arrived, started and completed; booked and called off.
        ("appointment_history", 6),
        ("invoices", 2),
        ("payments", 2),
        ("refunds", 1),
    ] {
        assert_eq!(
            export.body[list].as_array().unwrap().len(),
            length,
            "{list}"
        );
    }
    for (list, path) in [
        ("appointments", &marked.visit),
        ("invoices", &marked.invoice),
        ("payments", &marked.payment),
    ] {
        let one = server.admin().get(path).await.body;
        assert!(export.body[list].as_array().unwrap().contains(&one));
    }
    for foreign in [
        "Other",
        "other",
        other.as_str(),
        marked.clinic.patient.as_str(),
    ] {
        assert!(!text.contains(foreign), "{foreign}: {text}");
    }

    let noted = actions(&marked, "export").await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0]["actor_id"], json!(manager.user_id));
    assert_eq!(noted[0]["patient_ids"], json!([marked.id]));
    let again = manager.get(&format!("{}/export", marked.path)).await.body;
    let told = again["audit"].as_array().unwrap().iter();
    let exports = told.filter(|entry| entry["action"] == "export");
    assert_eq!(exports.count(), 1, "{again:?}");
    let unknown = manager
        .get(&format!("/api/v1/patients/{NOBODY}/export"))
        .await;
    unknown.assert_problem(404, "not_found");
}

#[tokio::test]
async fn an_open_balance_or_a_coming_visit_stands_in_the_way_and_nothing_is_changed() {
    let marked = Marked::prepare().await;
    let admin = marked.clinic.server.admin();
    let line = json!([{"description": "Crown", "unit_price_cents": 100, "qty": 1}]);
    let open = draft(admin, &marked.id, &line).await;
    for step in ["issue", "payments"] {
        let before = marked.rows().await;
        let refused = marked.anonymize().await;
        refused.assert_problem(409, "in_use");
        assert!(refused.text("/detail").contains("invoice"), "{refused:?}");
        assert_eq!(marked.rows().await, before);
        match step {
            "issue" => act(admin, &format!("{open}/issue"), &Value::Null).await,
            _ => drop(crate::support::pay(admin, &open, 100).await),
        }
    }
    let doctor = &marked.clinic.doctor.user_id;
    let (starts_at, ends_at) = coming_half_hour();
    let coming = booking(&marked.id, doctor, &starts_at, &ends_at);
    let coming = crate::support::book(admin, &coming).await;
    let before = marked.rows().await;
    let refused = marked.anonymize().await;
    refused.assert_problem(409, "in_use");
    assert!(
        refused.text("/detail").contains("appointment"),
        "{refused:?}"
    );
    assert_eq!(marked.rows().await, before);
    let cancel = format!("/api/v1/appointments/{coming}/cancel");
    act(admin, &cancel, &json!({"reason": "Moves away"})).await;

    let path = format!("{}/anonymize", marked.path);
    for (body, pointer) in [
        (json!({}), "/reason"),
        (json!({"reason": ""}), "/reason"),
        (json!({"reason": "two\nlines"}), "/reason"),
        (json!({"reason": "x".repeat(501)}), "/reason"),
    ] {
        admin.post(&path, &body).await.assert_faults(&[pointer]);
    }
    let body = json!({"reason": "Asked"});
    let stale = if_match(admin, Method::POST, &path, "\"99\"", &body).await;
    stale.assert_problem(412, "version_mismatch");
    let nobody = format!("/api/v1/patients/{NOBODY}/anonymize");
    admin
        .post(&nobody, &body)
        .await
        .assert_problem(404, "not_found");
    let manager = marked.clinic.server.user("manager").await;
    manager
        .post(&path, &body)
        .await
        .assert_problem(403, "forbidden");
    let tag = etag(&admin.get(&marked.path).await);
    let done = if_match(admin, Method::POST, &path, &tag, &body).await;
    assert_eq!(done.status, 200, "{done:?}");
}

#[tokio::test]
async fn nothing_of_an_anonymized_patient_is_left_but_money_and_times() {
    let marked = Marked::prepare().await;
    let admin = marked.clinic.server.admin();
    let before = admin.get(&format!("{}/export", marked.path)).await.body;
    let audit_before = marked.audit_rows().await;
    let everything = format!("{:?}", marked.rows().await);
    for mark in MARKS.iter().chain(&[VOID_MARK, LINE_MARK]) {
        assert!(everything.contains(mark), "{mark}");
    }

    let answer = marked.anonymize().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("/first_name"), "Anonymized");
    assert_eq!(answer.text("/last_name"), "Patient");
    assert_eq!(answer.text("/gender"), "unknown");
    for gone in ["birthday", "notes"] {
        assert_eq!(answer.body[gone], Value::Null);
    }
    let now = answer.text("/anonymized_at");
    assert_eq!(answer.text("/archived_at"), now);
    for kept in ["patient_id", "register_number", "created_at"] {
        assert_eq!(answer.body[kept], before["patient"][kept]);
    }
    for (table, rows) in marked.rows().await {
        for row in rows {
            for mark in MARKS.iter().chain(&[VOID_MARK]) {
                assert!(!row.contains(mark), "{table}: {row}");
            }
            assert!(
                table == "invoice_items" || !row.contains(LINE_MARK),
                "{table}: {row}"
            );
        }
    }

    let mut after = admin.get(&format!("{}/export", marked.path)).await.body;
    assert_eq!(after["contacts"], json!([]));
    let mut expected = before;
    for visit in expected["appointments"].as_array_mut().unwrap() {
        visit["notes"] = Value::Null;
        for reason in ["overbook_reason", "cancel_reason"] {
            if visit[reason].is_string() {
                visit[reason] = json!("redacted");
            }
        }
        visit["updated_at"] = json!(now);
    }
    for (list, text) in [
        ("invoices", "void_reason"),
        ("payments", "reference"),
        ("refunds", "reason"),
    ] {
        for item in expected[list].as_array_mut().unwrap() {
            if item[text].is_string() {
                item[text] = json!("redacted");
            }
        }
    }
    for list in ["appointments", "invoices", "payments", "refunds"] {
        assert_eq!(after[list].take(), expected[list].take(), "{list}");
    }

    let audit_after = marked.audit_rows().await;
    let mut redacted = 0;
    for (id, mut row) in audit_before {
        let mut left = audit_after[&id].clone();
        let text = left.to_string();
        assert!(!MARKS.iter().any(|mark| text.contains(mark)), "{text}");
        assert_eq!(left["changes"], Value::Null);
        assert_eq!(left["changes_salt"], Value::Null);
        redacted += i32::from(row["changes"].is_object());
        assert_eq!(
            row["changes"].is_object(),
            left["changes_digest"].is_string()
        );
        for row in [&mut row, &mut left] {
            row["changes"].take();
            row["changes_salt"].take();
        }
        assert_eq!(left, row);
    }
    assert!(redacted > 10, "{redacted}");
    let noted = actions(&marked, "anonymize").await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    let reason = json!({"reason": {"before": null, "after": "Asked to be forgotten"}});
    assert_eq!(noted[0]["changes"], reason);
}

#[tokio::test]
async fn anonymizing_is_for_good() {
    let marked = Marked::prepare().await;
    let admin = marked.clinic.server.admin();
    let answer = marked.anonymize().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for query in [
        "Markquintessa",
        "Markzimmermann",
        "Markzimermann",
        "0170 5550999",
        "zimmermann",
    ] {
        let found = admin
            .get(&url("/api/v1/patients", &[("query", query)]))
            .await;
        assert_eq!(items(&found), &[] as &[Value], "{query}");
    }
    // Nothing is left to do, and nothing is noted.
    let again = marked.anonymize().await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &answer.body));
    assert_eq!(actions(&marked, "anonymize").await.len(), 1);
    let archived = admin.act(&format!("{}/archive", marked.path)).await;
    assert_eq!(archived.body, answer.body);

    let doctor = &marked.clinic.doctor.user_id;
    let (starts_at, ends_at) = coming_half_hour();
    let coming = booking(&marked.id, doctor, &starts_at, &ends_at);
    let booked = admin.post("/api/v1/appointments", &coming).await;
    booked.assert_faults(&["/patient_id"]);
    let post = async |path: String, body: Value| admin.post(&path, &body).await;
    for refused in [
        admin
            .patch(&marked.path, &json!({"first_name": "Markquintessa"}))
            .await,
        admin.act(&format!("{}/restore", marked.path)).await,
        post(
            format!("{}/contacts", marked.path),
            json!({"type": "phone", "value": "+491705550999"}),
        )
        .await,
        post(
            "/api/v1/invoices".to_owned(),
            json!({"patient_id": marked.id, "items": []}),
        )
        .await,
        admin
            .patch(&marked.visit, &json!({"notes": "markvisit"}))
            .await,
        post(
            format!("{}/refunds", marked.payment),
            json!({"amount_cents": 100, "reason": "markrefund"}),
        )
        .await,
    ] {
        refused.assert_problem(409, "invalid_transition");
        assert_eq!(refused.text("/from"), "anonymized");
        assert_eq!(refused.body["allowed"], json!([]));
    }
    assert_unchanged(admin, &marked.path, &answer).await;

    let owner = marked.clinic.server.database_url();
    let mut connection = PgConnection::connect(owner).await.unwrap();
    for statement in [
        "UPDATE patients SET first_name = 'Markquintessa' WHERE anonymized_at IS NOT NULL",
        "UPDATE patients SET anonymized_at = NULL WHERE anonymized_at IS NOT NULL",
        "UPDATE patients SET anonymized_at = NULL, first_name = 'Markquintessa' WHERE anonymized_at IS NOT NULL",
    ] {
        let done = sqlx::query(statement).execute(&mut connection).await;
        assert!(done.is_err(), "{statement}");
    }
}
