//! What the database itself guarantees, whatever is sent to it.

use std::collections::BTreeMap;

use dcms_domain::billing::{PaymentMethod, RecordPayment, RecordRefund};
use dcms_domain::shared::{Cents, Expected, InvoiceId, PatientId, PaymentId, RefundId, UserId};
use dcms_domain::store::Rule;
use dcms_postgres::CONSTRAINTS;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::support::{Clinic, done, migrated_database, raw_connection};

/// Every constraint, and every index that makes something unique without being one's.
async fn constraints(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u', 'x', 't')
            AND conrelid IS DISTINCT FROM '_sqlx_migrations'::regclass
            AND NOT EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_class'::regclass AND objid = conrelid AND deptype = 'e'
            )
        UNION ALL
        SELECT indexrelid::regclass::text FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'public'::regnamespace AND indisunique
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .expect("the catalogs can be read")
}

#[tokio::test]
async fn each_constraint_stands_for_one_rule() {
    let database = migrated_database().await;
    let mut connection = raw_connection(database.url()).await;
    let stored = constraints(&mut connection).await;
    let mut known: Vec<String> = CONSTRAINTS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    known.sort();
    assert_eq!(known, stored);
}

fn rule_of(constraint: &str) -> Option<Rule> {
    let rules: BTreeMap<_, _> = CONSTRAINTS.iter().copied().collect();
    rules.get(constraint).copied()
}

/// The rule that refuses the statements, which are tried in a transaction of their own.
async fn refusal(connection: &mut PgConnection, statements: &str) -> Option<Rule> {
    let mut transaction = connection.begin().await.expect("it begins");
    let done = sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut *transaction)
        .await;
    let result = match done {
        Ok(_) => transaction.commit().await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => None,
        Err(sqlx::Error::Database(error)) => {
            let name = error.constraint().unwrap_or_default();
            let rule = rule_of(name);
            assert!(rule.is_some(), "{statements}: {error} ({name:?})");
            rule
        }
        Err(error) => panic!("{statements}: {error}"),
    }
}

/// Invoices in every state, and a connection past the store.
struct Books {
    connection: PgConnection,
    admin: UserId,
    other_patient: PatientId,
    draft: InvoiceId,
    /// 400 of 1000 were paid, and 100 went back.
    issued: InvoiceId,
    void: InvoiceId,
    payment: PaymentId,
    refund: RefundId,
}

impl Books {
    async fn open() -> Self {
        let clinic = Clinic::open().await;
        let patient = clinic.register("Anna", "Meyer").await;
        let other_patient = clinic.register("Ben", "Meyer").await.patient_id;
        let draft = clinic.draft(&patient, 500).await.invoice_id;
        let issued = clinic.issued(&patient, 1000).await.invoice_id;
        let void = clinic.issued(&patient, 700).await.invoice_id;
        let (admin, any) = (&clinic.admin, &Expected::Any);
        let billing = &clinic.services.billing;
        done(billing.void(admin, void, any, "Slip").await);
        let payment = RecordPayment {
            amount: Cents::new(400),
            method: PaymentMethod::Card,
            paid_at: None,
            reference: None,
        };
        let (payment, _) = done(billing.record_payment(admin, issued, any, payment).await);
        let refund = RecordRefund {
            amount: Cents::new(100),
            reason: "Too much".to_owned(),
        };
        let refund = billing.record_refund(admin, payment.payment_id, any, refund);
        Self {
            refund: done(refund.await).0.refund_id,
            connection: raw_connection(clinic.database.url()).await,
            admin: admin.user_id,
            other_patient,
            draft,
            issued,
            void,
            payment: payment.payment_id,
        }
    }

    async fn assert_refused(&mut self, statements: &str, rule: Rule) {
        let refusal = refusal(&mut self.connection, statements).await;
        assert_eq!(refusal, Some(rule), "{statements}");
    }

    async fn assert_done(&mut self, statements: &str) {
        let refusal = refusal(&mut self.connection, statements).await;
        assert_eq!(refusal, None, "{statements}");
    }

    fn new_payment(&self, invoice: InvoiceId, amount: i64) -> String {
        let admin = self.admin;
        format!(
            "INSERT INTO payments (payment_id, invoice_id, amount_cents, refunded_cents, method,
                paid_at, recorded_by, version, created_at)
            VALUES (gen_random_uuid(), '{invoice}', {amount}, 0, 'cash', now(), '{admin}', 1, now())"
        )
    }

    fn new_refund(&self, amount: i64) -> String {
        let (payment, admin) = (self.payment, self.admin);
        format!(
            "INSERT INTO refunds (refund_id, payment_id, amount_cents, reason, recorded_by,
                created_at)
            VALUES (gen_random_uuid(), '{payment}', {amount}, 'Why', '{admin}', now())"
        )
    }
}

fn new_line(invoice: InvoiceId, price: i64) -> String {
    format!(
        "INSERT INTO invoice_items (invoice_item_id, invoice_id, position, description_snapshot,
            unit_price_snapshot_cents, qty)
        VALUES (gen_random_uuid(), '{invoice}', 1, 'More', {price}, 1)"
    )
}

fn change_invoice(invoice: InvoiceId, assignments: &str) -> String {
    format!("UPDATE invoices SET {assignments} WHERE invoice_id = '{invoice}'")
}

#[tokio::test]
async fn lines_are_those_of_a_draft() {
    let mut books = Books::open().await;
    let (draft, issued, void) = (books.draft, books.issued, books.void);
    let lines_of = |invoice| format!("WHERE invoice_id = '{invoice}'");
    for statement in [
        // Also for free.
        new_line(issued, 0),
        new_line(issued, 5),
        new_line(void, 0),
        format!("UPDATE invoice_items SET qty = 2 {}", lines_of(issued)),
        format!(
            "UPDATE invoice_items SET invoice_id = '{draft}', position = 2 {}",
            lines_of(issued)
        ),
        format!("DELETE FROM invoice_items {}", lines_of(issued)),
    ] {
        books.assert_refused(&statement, Rule::InvoiceFrozen).await;
    }
    for statement in [
        new_line(draft, 5),
        format!("DELETE FROM invoice_items {}", lines_of(draft)),
        change_invoice(draft, "total_cents = 501"),
    ] {
        books.assert_refused(&statement, Rule::SumsDisagree).await;
    }
    // What is right is let through, and a draft takes its lines with it.
    let longer = change_invoice(draft, "total_cents = 505");
    books
        .assert_done(&format!("{}; {longer}", new_line(draft, 5)))
        .await;
    books
        .assert_done(&format!(
            "DELETE FROM invoices WHERE invoice_id = '{draft}'"
        ))
        .await;
}

#[tokio::test]
async fn an_issued_invoice_keeps_what_it_says() {
    let mut books = Books::open().await;
    let (draft, issued, void) = (books.draft, books.issued, books.void);
    for statement in [
        change_invoice(issued, "total_cents = 2000"),
        change_invoice(issued, "invoice_number = 'INV-9'"),
        change_invoice(issued, &format!("patient_id = '{}'", books.other_patient)),
        change_invoice(
            issued,
            "issued_at = NULL, invoice_number = NULL, paid_cents = 0",
        ),
        change_invoice(issued, "currency = 'USD'"),
        change_invoice(void, "voided_at = NULL, void_reason = NULL"),
        change_invoice(void, "version = version + 1"),
        format!("DELETE FROM invoices WHERE invoice_id = '{void}'"),
    ] {
        books.assert_refused(&statement, Rule::InvoiceFrozen).await;
    }
    for statement in [
        change_invoice(draft, "issued_at = now()"),
        change_invoice(draft, "issued_at = 'infinity', invoice_number = 'INV-9'"),
        change_invoice(draft, "void_reason = 'Why'"),
        "INSERT INTO invoice_numbering VALUES (false, 7)".to_owned(),
    ] {
        books.assert_refused(&statement, Rule::ValueRefused).await;
    }
    let second_counter = "INSERT INTO invoice_numbering VALUES (true, 7)";
    books
        .assert_refused(second_counter, Rule::IdentifierTaken)
        .await;
}

#[tokio::test]
async fn what_was_paid_is_within_the_total_and_adds_up() {
    let mut books = Books::open().await;
    let (draft, issued) = (books.draft, books.issued);
    for statement in [
        change_invoice(issued, "paid_cents = 1001"),
        change_invoice(issued, "paid_cents = -1"),
        change_invoice(draft, "paid_cents = 100"),
        change_invoice(issued, "voided_at = now(), void_reason = 'Why'"),
    ] {
        books
            .assert_refused(&statement, Rule::PaidBeyondTotal)
            .await;
    }
    for statement in [
        change_invoice(issued, "paid_cents = 301"),
        books.new_payment(issued, 50),
        books.new_payment(draft, 50),
        books.new_refund(10),
        "UPDATE payments SET refunded_cents = 200".to_owned(),
    ] {
        books.assert_refused(&statement, Rule::SumsDisagree).await;
    }
    for statement in [books.new_payment(issued, 0), books.new_refund(0)] {
        books.assert_refused(&statement, Rule::ValueRefused).await;
    }
    books
        .assert_refused(
            "UPDATE payments SET refunded_cents = 401",
            Rule::RefundBeyondPayment,
        )
        .await;
    let nobodys = books.new_payment(Uuid::nil().into(), 50);
    books.assert_refused(&nobodys, Rule::InvoiceUnknown).await;
    let credited = change_invoice(issued, "paid_cents = 350");
    let paid = format!("{}; {credited}", books.new_payment(issued, 50));
    books.assert_done(&paid).await;
}

#[tokio::test]
async fn payments_and_refunds_stay() {
    let mut books = Books::open().await;
    let refund = books.refund;
    for statement in [
        "UPDATE payments SET amount_cents = 500".to_owned(),
        "UPDATE payments SET method = 'cash'".to_owned(),
        "UPDATE payments SET paid_at = now()".to_owned(),
        format!("UPDATE refunds SET amount_cents = 50 WHERE refund_id = '{refund}'"),
        format!("DELETE FROM refunds WHERE refund_id = '{refund}'"),
        "DELETE FROM refunds; DELETE FROM payments".to_owned(),
    ] {
        books.assert_refused(&statement, Rule::PaymentFrozen).await;
    }
}

#[tokio::test]
async fn values_have_their_form() {
    let mut books = Books::open().await;
    for statement in [
        "UPDATE patients SET birthday = 'infinity'",
        "UPDATE patients SET created_at = '294276-01-01Z'",
        "UPDATE users SET roles = '{}'",
        "UPDATE users SET roles = '{owner}'",
        "UPDATE users SET password_hash = 'in the clear'",
        "UPDATE clinic_settings SET default_slot_minutes = 0",
    ] {
        books.assert_refused(statement, Rule::ValueRefused).await;
    }
}

/// Whatever is kept of what was accepted can be read.
#[tokio::test]
async fn what_was_accepted_has_its_form() {
    let clinic = Clinic::open().await;
    let patient = clinic.register("Anna", "Meyer").await;
    let visit = clinic.visit_in(0, &patient);
    let visits = &clinic.services.appointments;
    done(visits.book(&clinic.admin, visit).await);
    let mut connection = raw_connection(clinic.database.url()).await;
    for name in [
        "NULL",
        "''",
        "'closure'",
        "'clinic_hours:x'",
        "'closure:x'",
        "'doctor_not_available:'",
    ] {
        let statement = format!("UPDATE appointments SET accepted_obstacles = ARRAY[{name}]");
        let refused = refusal(&mut connection, &statement).await;
        assert_eq!(refused, Some(Rule::ValueRefused), "{name}");
    }
}

#[tokio::test]
async fn an_invoice_never_charges_one_for_the_visit_of_another() {
    let clinic = Clinic::open().await;
    let patient = clinic.register("Anna", "Meyer").await;
    let other = clinic.register("Ben", "Meyer").await;
    let visit = clinic.visit_in(0, &other);
    let visit = done(
        clinic
            .services
            .appointments
            .book(&clinic.admin, visit)
            .await,
    );
    let draft = clinic.draft(&patient, 500).await;
    let statement = format!(
        "UPDATE invoices SET appointment_id = '{}' WHERE invoice_id = '{}'",
        visit.appointment_id, draft.invoice_id
    );
    let mut connection = raw_connection(clinic.database.url()).await;
    assert_eq!(
        refusal(&mut connection, &statement).await,
        Some(Rule::AppointmentUnknown)
    );
}
