//! Who books, charges or writes at the moment in which somebody is anonymized, archived or disabled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dcms_domain::appointments::{AppointmentChanges, AppointmentError, Transition};
use dcms_domain::billing::{BillingError, PaymentMethod, RecordPayment, RecordRefund};
use dcms_domain::patients::{ContactType, CreateContact, Patient, PatientError};
use dcms_domain::shared::{Cents, Change, CommonError, Expected};
use dcms_domain::store::{Rule, StoreError};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::support::{Clinic, done, draft_of, in_time, raw_connection};

const ANY: Expected = Expected::Any;

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Done,
    /// The patient is archived: a fault.
    NotAvailable,
    Anonymized,
    OpenBalance,
    ComingVisit,
}

fn common(error: &CommonError) -> Outcome {
    match error {
        CommonError::Store(StoreError::Violated(Rule::PatientAnonymized)) => Outcome::Anonymized,
        CommonError::Invalid(_) => Outcome::NotAvailable,
        error => panic!("neither done nor refused: {error:?}"),
    }
}

trait Told {
    fn told(&self) -> Outcome;
}

impl<Value> Told for Result<Value, CommonError> {
    fn told(&self) -> Outcome {
        self.as_ref().map_or_else(common, |_| Outcome::Done)
    }
}

impl<Value> Told for Result<Value, AppointmentError> {
    fn told(&self) -> Outcome {
        match self {
            Ok(_) => Outcome::Done,
            Err(AppointmentError::Common(error)) => common(error),
            Err(error) => panic!("neither done nor refused: {error:?}"),
        }
    }
}

impl<Value> Told for Result<Value, BillingError> {
    fn told(&self) -> Outcome {
        match self {
            Ok(_) => Outcome::Done,
            Err(BillingError::Common(error)) => common(error),
            Err(error) => panic!("neither done nor refused: {error:?}"),
        }
    }
}

impl<Value> Told for Result<Value, PatientError> {
    fn told(&self) -> Outcome {
        match self {
            Ok(_) => Outcome::Done,
            Err(PatientError::OpenBalance) => Outcome::OpenBalance,
            Err(PatientError::ComingVisit) => Outcome::ComingVisit,
            Err(PatientError::Common(error)) => common(error),
        }
    }
}

/// What is tried at once.
const TRIES: [&str; 7] = [
    "anonymize",
    "book",
    "draft",
    "contact",
    "refund",
    "note",
    "arrive",
];

/// A patient with a paid invoice and a visit that nobody closed.
struct Target {
    patient: Patient,
    payment: dcms_domain::billing::Payment,
    visit: dcms_domain::appointments::Appointment,
    /// When nobody else of the test has a visit.
    minutes: i64,
}

impl Target {
    async fn prepare(clinic: &Clinic, number: i64) -> Self {
        let patient = clinic.register("Anna", "Meyer").await;
        let minutes = 60 + 30 * number;
        let past = clinic.visit_in(-minutes, &patient);
        let visits = &clinic.services.appointments;
        let visit = done(visits.book(&clinic.admin, past).await);
        let invoice = clinic.issued(&patient, 100).await;
        let payment = RecordPayment {
            amount: Cents::new(100),
            method: PaymentMethod::Cash,
            paid_at: None,
            reference: Some("Anna Meyer".to_owned()),
        };
        let (billing, id) = (&clinic.services.billing, invoice.invoice_id);
        let paid = billing.record_payment(&clinic.admin, id, &ANY, payment);
        Self {
            payment: done(paid.await).0,
            patient,
            visit,
            minutes,
        }
    }

    async fn attempt(&self, clinic: &Clinic, what: &str) -> Outcome {
        let (services, admin) = (&clinic.services, &clinic.admin);
        let id = self.patient.patient_id;
        let (visits, visit) = (&services.appointments, self.visit.appointment_id);
        match what {
            "anonymize" => {
                let patients = &services.patients;
                patients.anonymize(admin, id, &ANY, "Asked").await.told()
            }
            "book" => {
                let booking = clinic.visit_in(self.minutes, &self.patient);
                visits.book(admin, booking).await.told()
            }
            "draft" => {
                let draft = draft_of(&self.patient, 100);
                services.billing.draft(admin, draft).await.told()
            }
            "contact" => {
                let contact = CreateContact {
                    contact_type: ContactType::Email,
                    value: "anna@meyer.example".to_owned(),
                    label: None,
                    is_primary: true,
                };
                services
                    .patients
                    .add_contact(admin, id, contact)
                    .await
                    .told()
            }
            "refund" => {
                let refund = RecordRefund {
                    amount: Cents::new(10),
                    reason: "Anna Meyer".to_owned(),
                };
                let (billing, id) = (&services.billing, self.payment.payment_id);
                billing.record_refund(admin, id, &ANY, refund).await.told()
            }
            "note" => {
                let changes = AppointmentChanges {
                    notes: Change::Set("Anna Meyer".to_owned()),
                    ..AppointmentChanges::default()
                };
                visits.change(admin, visit, &ANY, changes).await.told()
            }
            "arrive" => {
                let arrive = Transition::Arrive;
                visits.take_action(admin, visit, &ANY, arrive).await.told()
            }
            other => panic!("nothing is known of {other}"),
        }
    }
}

/// Everybody at once, with one try fewer each time: whatever won, what lost was refused.
#[tokio::test]
async fn nothing_slips_past_whoever_anonymizes() {
    let clinic = Clinic::open().await;
    let mut number = 0;
    for left_out in [
        "",
        "book draft refund arrive",
        "draft refund",
        "book arrive",
    ] {
        for _ in 0..6 {
            number += 1;
            let target = Arc::new(Target::prepare(&clinic, number).await);
            let mut clients = JoinSet::new();
            for what in TRIES.iter().filter(|what| !left_out.contains(**what)) {
                let (clinic, target) = (Arc::clone(&clinic), Arc::clone(&target));
                clients.spawn(async move { (*what, target.attempt(&clinic, what).await) });
            }
            let outcomes: BTreeMap<_, _> = in_time(clients.join_all()).await.into_iter().collect();
            let is_done = |what: &str| outcomes.get(what) == Some(&Outcome::Done);
            let patients = &clinic.services.patients;
            let id = target.patient.patient_id;
            let export = done(patients.export(&clinic.admin, id).await);
            let told = format!("{export:?}");
            if is_done("anonymize") {
                assert!(export.patient.anonymized_at.is_some());
                for what in ["book", "draft", "refund", "arrive"] {
                    assert!(!is_done(what), "{outcomes:?}");
                }
                for word in ["Anna", "Meyer", "meyer"] {
                    assert!(!told.contains(word), "{word}: {told}");
                }
            } else {
                assert_eq!(export.patient, target.patient);
                for (what, outcome) in &outcomes {
                    let in_the_way = [Outcome::OpenBalance, Outcome::ComingVisit];
                    let refused = *what == "anonymize" && in_the_way.contains(outcome);
                    assert!(refused || *outcome == Outcome::Done, "{outcomes:?}");
                }
            }
        }
    }
}

/// Waits until somebody in the database waits for a lock.
async fn until_somebody_waits(connection: &mut PgConnection) {
    in_time(async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut *connection)
            .await
            .expect("it is known who waits");
            if waiting > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Whoever decides on somebody who is being changed waits, and then decides on what they became.
#[tokio::test]
async fn decisions_wait_for_changes_that_are_under_way() {
    const ANONYMIZE: &str = "UPDATE patients SET first_name = 'Anonymized', last_name = 'Patient',
        archived_at = now(), anonymized_at = now(), version = version + 1 WHERE patient_id = ";
    let clinic = Clinic::open().await;
    for (change, what, expected) in [
        (
            "UPDATE patients SET archived_at = now(), version = version + 1 WHERE patient_id = ",
            "book",
            Outcome::NotAvailable,
        ),
        (
            "UPDATE users SET is_active = false WHERE 'doctor' = ANY (roles) AND NULL IS DISTINCT FROM ",
            "book",
            Outcome::NotAvailable,
        ),
        (
            "UPDATE rooms SET is_active = false WHERE NULL IS DISTINCT FROM ",
            "book",
            Outcome::NotAvailable,
        ),
        (ANONYMIZE, "book", Outcome::NotAvailable),
        (ANONYMIZE, "draft", Outcome::Anonymized),
        (ANONYMIZE, "contact", Outcome::Anonymized),
    ] {
        let target = Target::prepare(&clinic, 1).await;
        let url = clinic.database.url();
        let (mut changing, mut watching) = (raw_connection(url).await, raw_connection(url).await);
        let mut transaction = changing.begin().await.expect("it begins");
        let statement = format!("{change} '{}'::uuid", target.patient.patient_id);
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await
            .expect("the statement is right");
        let attempt = async {
            let outcome = target.attempt(&clinic, what).await;
            assert_eq!(outcome, expected, "{what} while {change}");
        };
        let commit = async {
            until_somebody_waits(&mut watching).await;
            transaction.commit().await.expect("it commits");
        };
        in_time(async { tokio::join!(attempt, commit) }).await;
        sqlx::raw_sql("UPDATE users SET is_active = true; UPDATE rooms SET is_active = true; DELETE FROM appointment_services; DELETE FROM appointment_history; DELETE FROM appointments")
            .execute(&mut watching)
            .await
            .expect("the stage is set again");
    }
}

/// Not even the owner of the database gives an anonymized patient a name again, or changes the
/// books otherwise.
#[tokio::test]
async fn an_anonymized_patient_stays_so_for_the_owner_too() {
    let clinic = Clinic::open().await;
    let target = Target::prepare(&clinic, 1).await;
    let refund = target.attempt(&clinic, "refund").await;
    assert_eq!(refund, Outcome::Done);
    let rest = clinic.services.billing.record_payment(
        &clinic.admin,
        target.payment.invoice_id,
        &ANY,
        RecordPayment {
            amount: Cents::new(10),
            method: PaymentMethod::Card,
            paid_at: None,
            reference: None,
        },
    );
    done(rest.await);
    let void = clinic.issued(&target.patient, 10).await.invoice_id;
    let billing = &clinic.services.billing;
    done(billing.void(&clinic.admin, void, &ANY, "Anna").await);
    let mut connection = raw_connection(clinic.database.url()).await;
    let redactions = [
        "UPDATE invoices SET void_reason = 'redacted' WHERE voided_at IS NOT NULL",
        "UPDATE payments SET reference = 'redacted'",
        "UPDATE refunds SET reason = 'redacted'",
    ];
    for statement in redactions {
        let refused = sqlx::raw_sql(statement).execute(&mut connection).await;
        assert!(refused.is_err(), "{statement}");
    }
    sqlx::raw_sql("SELECT redact_money_of(patient_id), redact_audit_of(patient_id) FROM patients")
        .execute(&mut connection)
        .await
        .expect("it does nothing");
    assert_eq!(target.attempt(&clinic, "anonymize").await, Outcome::Done);
    for statement in [
        "UPDATE patients SET first_name = 'Anna'",
        "UPDATE patients SET birthday = '1987-06-05'",
        "UPDATE patients SET gender = 'female'",
        "UPDATE patients SET notes = 'Anna'",
        "UPDATE patients SET archived_at = NULL",
        "UPDATE patients SET anonymized_at = NULL",
        "UPDATE patients SET anonymized_at = now()",
        "UPDATE patients SET anonymized_at = NULL, first_name = 'Anna'",
        "INSERT INTO patient_contacts SELECT gen_random_uuid(), patient_id, 'phone', '030 1234', NULL,
            false, 1, now(), now() FROM patients",
        "UPDATE appointments SET notes = 'Anna'",
        "UPDATE invoices SET paid_cents = paid_cents",
        "UPDATE invoices SET void_reason = 'Anna' WHERE voided_at IS NOT NULL",
        "UPDATE invoices SET void_reason = 'redacted', currency = 'USD' WHERE voided_at IS NOT NULL",
        "UPDATE payments SET reference = 'Anna'",
        "UPDATE payments SET reference = NULL WHERE reference IS NOT NULL",
        "UPDATE payments SET reference = 'redacted', amount_cents = 1",
        "UPDATE refunds SET reason = 'Anna'",
        "UPDATE refunds SET reason = 'redacted', amount_cents = 1",
        "DELETE FROM refunds",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut connection).await;
        let refused = refused.expect_err(statement);
        let refused = refused.as_database_error().expect("the database refuses");
        let class = refused.code().unwrap_or_default();
        assert!(class.starts_with("23"), "{statement}: {refused}");
    }
    for statement in redactions {
        let again = sqlx::raw_sql(statement).execute(&mut connection).await;
        assert!(again.is_ok(), "{statement}: {again:?}");
    }
}
