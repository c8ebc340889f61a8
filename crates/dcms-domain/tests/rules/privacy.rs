//! Patients taken out as a document, and patients who become nobody.

use chrono::{NaiveDate, TimeDelta};
use dcms_domain::appointments::{AppointmentChanges, Transition};
use dcms_domain::audit::{AuditAction, AuditEntry, AuditValue, Entity};
use dcms_domain::billing::{PaymentMethod, RecordPayment, RecordRefund};
use dcms_domain::patients::{
    ContactType, CreateContact, Gender, Patient, PatientChanges, PatientError, PatientExport,
    PatientFilter,
};
use dcms_domain::shared::{
    Cents, Change, Clock as _, Expected, IdSource as _, InvoiceId, PageRequest, PatientId,
};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::audit::entries_of;
use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

fn contact(value: &str) -> CreateContact {
    CreateContact {
        contact_type: ContactType::Email,
        value: value.to_owned(),
        label: Some("mother".to_owned()),
        is_primary: false,
    }
}

async fn pay(clinic: &Clinic, invoice_id: InvoiceId, amount: i64) -> dcms_domain::billing::Payment {
    let command = RecordPayment {
        amount: Cents::new(amount),
        method: PaymentMethod::BankTransfer,
        paid_at: None,
        reference: Some("Anna Meyer, thanks".to_owned()),
    };
    let billing = &clinic.services.billing;
    let paid = billing.record_payment(&clinic.admin, invoice_id, &ANY, command);
    paid.await.unwrap().0
}

async fn refund(clinic: &Clinic, payment: &dcms_domain::billing::Payment, amount: i64) {
    let command = RecordRefund {
        amount: Cents::new(amount),
        reason: "Anna was unhappy".to_owned(),
    };
    let (billing, id) = (&clinic.services.billing, payment.payment_id);
    let refunded = billing.record_refund(&clinic.admin, id, &ANY, command);
    refunded.await.unwrap();
}

/// A patient with a settled record of every kind: a visit that took place, one that was called off,
/// a paid invoice with a refund, a void one, a contact.
async fn with_settled_record() -> Clinic {
    let clinic = Clinic::open().await;
    let (services, admin) = (&clinic.services, &clinic.admin);
    let id = clinic.patient.patient_id;
    let changes = PatientChanges {
        birthday: Change::Set(NaiveDate::from_ymd_opt(1987, 6, 5).unwrap()),
        notes: Change::Set("Afraid".to_owned()),
        ..PatientChanges::default()
    };
    let outcome = services.patients.change(admin, id, &ANY, changes).await;
    outcome.unwrap();
    let added = services
        .patients
        .add_contact(admin, id, contact("a@meyer.example"));
    added.await.unwrap();
    let calendar = &services.appointments;
    let mut visit = clinic.visit_in(0);
    visit.notes = Some("Anna's crown".to_owned());
    visit.overbook_reason = Some("Anna in pain".to_owned());
    let visit = calendar.book(admin, visit).await.unwrap().appointment_id;
    for step in [Transition::Arrive, Transition::Start, Transition::Complete] {
        calendar
            .take_action(admin, visit, &ANY, step)
            .await
            .unwrap();
    }
    let cancelled = clinic.booked_in(60).await.appointment_id;
    let reason = "Anna is ill".to_owned();
    let cancel = Transition::Cancel { reason };
    calendar
        .take_action(admin, cancelled, &ANY, cancel)
        .await
        .unwrap();
    let invoice = clinic.issued(&[100]).await.invoice_id;
    let payment = pay(&clinic, invoice, 60).await;
    refund(&clinic, &payment, 10).await;
    pay(&clinic, invoice, 50).await;
    let void = clinic.issued(&[70]).await.invoice_id;
    let voided = services.billing.void(admin, void, &ANY, "Not Anna's");
    voided.await.unwrap();
    clinic.clock.advance(TimeDelta::hours(3));
    clinic
}

async fn export(clinic: &Clinic, patient: &Patient) -> PatientExport {
    let patients = &clinic.services.patients;
    let export = patients.export(&clinic.manager, patient.patient_id).await;
    export.unwrap()
}

/// An id that nobody has.
fn nobody(clinic: &Clinic) -> PatientId {
    clinic.ids.next_id().into()
}

async fn last_entry(clinic: &Clinic) -> AuditEntry {
    entries_of(&clinic.store).await.pop().unwrap()
}

#[test]
fn an_export_holds_everything_about_one_patient() {
    block_on(async {
        let clinic = with_settled_record().await;
        let other = clinic.register("Berta", "Schulz").await;
        let (patients, admin) = (&clinic.services.patients, &clinic.admin);
        let added = patients.add_contact(admin, other.patient_id, contact("b@schulz.example"));
        added.await.unwrap();
        let export = export(&clinic, &clinic.patient).await;
        assert_eq!(export.exported_at, clinic.clock.now());
        assert_eq!(export.patient.notes.as_deref(), Some("Afraid"));
        assert_eq!(export.contacts.len(), 1);
        assert_eq!(export.appointments.len(), 2);
        assert_eq!(export.invoices.len(), 2);
        assert!(
            export
                .invoices
                .iter()
                .all(|invoice| invoice.items.len() == 1)
        );
        assert_eq!(export.payments.len(), 2);
        assert_eq!(export.refunds.len(), 1);
        assert_eq!(export.refunds[0].reason, "Anna was unhappy");
        let told = export
            .audit
            .iter()
            .any(|entry| entry.action == AuditAction::Change && entry.entity == Entity::Patient);
        assert!(told && !format!("{export:?}").contains("schulz"));
        assert!(!format!("{export:?}").contains(&other.patient_id.to_string()));

        let entry = last_entry(&clinic).await;
        let id = clinic.patient.patient_id;
        assert_eq!(
            (entry.action, entry.entity),
            (AuditAction::Export, Entity::Patient)
        );
        assert_eq!(
            (entry.entity_id, entry.patient_ids),
            (Some(id.into()), vec![id])
        );
        assert_eq!(entry.actor_id, Some(clinic.manager.user_id));
        assert_not_found(patients.export(admin, nobody(&clinic)).await);
    });
}

#[test]
fn an_export_is_complete_whatever_the_number_of_rows() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (services, admin) = (&clinic.services, &clinic.admin);
        let id = clinic.patient.patient_id;
        let invoice = clinic.issued(&[100_000]).await.invoice_id;
        for number in 0..201 {
            let address = format!("a{number}@meyer.example");
            let added = services.patients.add_contact(admin, id, contact(&address));
            added.await.unwrap();
            clinic.booked_in(30 * number).await;
            clinic.drafted(&[1]).await;
            let payment = pay(&clinic, invoice, 2).await;
            refund(&clinic, &payment, 1).await;
        }
        let export = export(&clinic, &clinic.patient).await;
        assert_eq!(export.contacts.len(), 201);
        assert_eq!(export.appointments.len(), 201);
        assert_eq!(export.invoices.len(), 202);
        assert_eq!((export.payments.len(), export.refunds.len()), (201, 201));
        // The patient and the invoice were made, and the invoice issued.
        assert_eq!(export.audit.len(), 3 + 5 * 201);
    });
}

async fn anonymize(clinic: &Clinic) -> Result<Patient, PatientError> {
    let (patients, id) = (&clinic.services.patients, clinic.patient.patient_id);
    patients
        .anonymize(&clinic.admin, id, &ANY, " They asked ")
        .await
}

#[test]
fn an_anonymized_patient_is_nobody_and_money_and_times_stay() {
    block_on(async {
        let clinic = with_settled_record().await;
        let before = export(&clinic, &clinic.patient).await;
        let now = clinic.clock.now();
        let anonymized = anonymize(&clinic).await.unwrap();
        let expected = Patient {
            first_name: "Anonymized".to_owned(),
            last_name: "Patient".to_owned(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
            archived_at: Some(now),
            anonymized_at: Some(now),
            version: before.patient.version.next(),
            updated_at: now,
            ..before.patient.clone()
        };
        assert_eq!(anonymized, expected);

        let entries = entries_of(&clinic.store).await;
        let (entry, earlier) = entries.split_last().unwrap();
        assert_eq!(entry.action, AuditAction::Anonymize);
        assert_eq!(entry.patient_ids, [anonymized.patient_id]);
        let told: Vec<_> = entry
            .changes
            .iter()
            .map(|change| (&*change.field, change.before.clone(), change.after.clone()))
            .collect();
        let reason = AuditValue::Text("They asked".to_owned());
        assert_eq!(told, [("reason", AuditValue::Nothing, reason)]);
        let theirs = |entry: &&AuditEntry| entry.patient_ids.contains(&anonymized.patient_id);
        let redacted: Vec<_> = earlier.iter().filter(theirs).collect();
        assert!(redacted.len() > 10);
        assert!(redacted.iter().all(|entry| entry.changes.is_empty()));
        assert!(earlier.iter().any(|entry| !entry.changes.is_empty()));

        let mut after = export(&clinic, &anonymized).await;
        assert_eq!(after.contacts, []);
        for word in ["Anna", "Meyer", "meyer", "Afraid", "1987-06-05"] {
            assert!(!format!("{after:?}").contains(word), "{word}: {after:?}");
        }
        for (before, after) in before.appointments.iter().zip(&mut after.appointments) {
            assert_eq!((before.slot, before.status), (after.slot, after.status));
            assert_eq!(
                after.cancel_reason.is_some(),
                before.cancel_reason.is_some()
            );
            assert_eq!(
                after.overbook_reason.is_some(),
                before.overbook_reason.is_some()
            );
        }
        assert_eq!(before.appointments.len(), after.appointments.len());
        for (before, after) in before.invoices.iter().zip(&mut after.invoices) {
            if let Some(voiding) = &mut after.voiding {
                assert_eq!(voiding.reason, "redacted");
                voiding
                    .reason
                    .clone_from(&before.voiding.as_ref().unwrap().reason);
            }
            after.version = before.version;
        }
        assert_eq!(before.invoices, after.invoices);
        for (before, after) in before.payments.iter().zip(&mut after.payments) {
            assert_eq!(after.reference.as_deref(), Some("redacted"));
            after.reference.clone_from(&before.reference);
            after.version = before.version;
        }
        assert_eq!(before.payments, after.payments);
        assert_eq!(after.refunds[0].reason, "redacted");
        assert_eq!(before.refunds[0].amount, after.refunds[0].amount);
    });
}

#[test]
fn nobody_is_found_changed_or_served_again() {
    block_on(async {
        let clinic = with_settled_record().await;
        let before = export(&clinic, &clinic.patient).await;
        let anonymized = anonymize(&clinic).await.unwrap();
        let id = anonymized.patient_id;
        let (services, admin) = (&clinic.services, &clinic.admin);
        let patients = &services.patients;

        let filter = PatientFilter {
            query: Some("Meyer".to_owned()),
            archived: None,
        };
        let found = patients.patients(admin, filter, PageRequest::first()).await;
        assert_eq!(found.unwrap().items, []);

        // Again, and archived: nothing changes, and nothing is noted.
        let noted = entries_of(&clinic.store).await.len();
        clinic.clock.advance(TimeDelta::hours(1));
        assert_eq!(anonymize(&clinic).await.unwrap(), anonymized);
        assert_eq!(patients.archive(admin, id, &ANY).await.unwrap(), anonymized);
        assert_eq!(entries_of(&clinic.store).await.len(), noted);

        let no_changes = PatientChanges::default();
        let visit = before.appointments[0].appointment_id;
        let changes = AppointmentChanges {
            notes: Change::Set("Anna again".to_owned()),
            ..AppointmentChanges::default()
        };
        let payment = RecordRefund {
            amount: Cents::new(1),
            reason: "Anna".to_owned(),
        };
        let draft = dcms_domain::billing::DraftInvoice {
            patient_id: id,
            appointment_id: None,
            from_appointment: false,
            items: Vec::new(),
        };
        for refused in [
            violated(patients.change(admin, id, &ANY, no_changes).await),
            violated(patients.restore(admin, id, &ANY).await),
            violated(
                patients
                    .add_contact(admin, id, contact("a@b.example"))
                    .await,
            ),
            violated(
                services
                    .appointments
                    .change(admin, visit, &ANY, changes)
                    .await,
            ),
            violated(services.billing.draft(admin, draft).await),
            violated(
                services
                    .billing
                    .record_refund(admin, before.payments[0].payment_id, &ANY, payment)
                    .await,
            ),
        ] {
            assert_eq!(refused, Rule::PatientAnonymized);
        }
        let booking = clinic.visit_in(600);
        let refused = services.appointments.book(admin, booking).await;
        assert_eq!(faults(refused), ["/patient_id not_available"]);
        assert_eq!(export(&clinic, &anonymized).await.patient, anonymized);
    });
}

#[test]
fn the_reason_the_version_and_the_patient_have_to_be_right() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, admin) = (&clinic.services.patients, &clinic.admin);
        let id = clinic.patient.patient_id;
        for (reason, fault) in [
            ("", "/reason required"),
            ("  ", "/reason required"),
            ("two\nlines", "/reason invalid_characters"),
            (&"x".repeat(501), "/reason too_long"),
        ] {
            let refused = patients.anonymize(admin, id, &ANY, reason).await;
            assert_eq!(faults(refused), [fault], "{reason:?}");
        }
        assert_mismatch(patients.anonymize(admin, id, &outdated(), "Asked").await);
        let nobody = nobody(&clinic);
        assert_not_found(patients.anonymize(admin, nobody, &ANY, "Asked").await);
        assert_eq!(patients.patient(admin, id).await.unwrap(), clinic.patient);
        let current = Expected::OneOf(vec![clinic.patient.version]);
        let longest = "x".repeat(500);
        patients
            .anonymize(admin, id, &current, &longest)
            .await
            .unwrap();
    });
}

/// What a patient has when somebody wants to anonymize them, and whether it stands in the way.
#[test]
fn an_open_balance_and_a_coming_visit_stand_in_the_way() {
    block_on(async {
        use Transition::{Arrive, Complete, Confirm, NoShow, Start};
        // The steps of a visit that begins now, how many minutes later it is asked, and whether
        // the visit is coming.
        for (steps, minutes, is_coming) in [
            (vec![], -10, true),
            (vec![], 29, true),
            (vec![], 30, false),
            (vec![Confirm], 29, true),
            (vec![Confirm], 30, false),
            (vec![Arrive], 600, true),
            (vec![Arrive, Start], 600, true),
            (vec![Arrive, Start, Complete], 0, false),
            (vec![NoShow], 0, false),
        ] {
            let clinic = Clinic::open().await;
            let visit = clinic.booked_in(0).await.appointment_id;
            let visits = &clinic.services.appointments;
            for step in &steps {
                let taken = visits.take_action(&clinic.admin, visit, &ANY, step.clone());
                taken.await.unwrap();
            }
            clinic.clock.advance(TimeDelta::minutes(minutes));
            let outcome = anonymize(&clinic).await;
            let refused = matches!(outcome, Err(PatientError::ComingVisit));
            assert_eq!(refused, is_coming, "{steps:?} {minutes} {outcome:?}");
            assert!(refused || outcome.is_ok(), "{outcome:?}");
            assert_untouched_if(refused, &clinic).await;
        }
        // The sum of an invoice, whether it is issued, what was paid, whether it was voided.
        for (total, issued, paid, voided, is_open) in [
            (100, false, 0, false, true),
            (0, false, 0, false, true),
            (100, true, 0, false, true),
            (100, true, 99, false, true),
            (100, true, 100, false, false),
            (0, true, 0, false, false),
            (100, false, 0, true, false),
            (100, true, 0, true, false),
        ] {
            let clinic = Clinic::open().await;
            let invoice = if issued {
                clinic.issued(&[total]).await
            } else {
                clinic.drafted(&[total]).await
            };
            if paid > 0 {
                pay(&clinic, invoice.invoice_id, paid).await;
            }
            if voided {
                let (billing, id) = (&clinic.services.billing, invoice.invoice_id);
                billing.void(&clinic.admin, id, &ANY, "Slip").await.unwrap();
            }
            let outcome = anonymize(&clinic).await;
            let refused = matches!(outcome, Err(PatientError::OpenBalance));
            assert_eq!(refused, is_open, "{total} {issued} {paid} {voided}");
            assert!(refused || outcome.is_ok(), "{outcome:?}");
            assert_untouched_if(refused, &clinic).await;
        }
    });
}

async fn assert_untouched_if(refused: bool, clinic: &Clinic) {
    let (patients, id) = (&clinic.services.patients, clinic.patient.patient_id);
    let now = patients.patient(&clinic.admin, id).await.unwrap();
    assert_eq!(now == clinic.patient, refused);
    assert_eq!(now.anonymized_at.is_some(), !refused);
}
