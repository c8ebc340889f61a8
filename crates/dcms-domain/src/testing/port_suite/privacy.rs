use chrono::NaiveDate;

use super::stage::{Must, Stage, all_of, assert_violates, by_their_doctor, changed, page_of};
use crate::access::Role;
use crate::appointments::{AppointmentVersion, HistoryAction, HistoryOf, VersionCause};
use crate::audit::{AuditEntry, AuditFilter, AuditValue, FieldChange};
use crate::billing::{Invoice, Payment, PaymentFilter, Refund};
use crate::identity::User;
use crate::patients::{ANONYMOUS_NAME, ContactType, Gender, Patient};
use crate::shared::PageRequest;
use crate::store::{Rule, Store, StoreError};

async fn update(stage: &Stage<'_>, patient: &Patient) -> Result<(), StoreError> {
    stage
        .write(async |work| work.patients().update(patient).await)
        .await
}

/// The patient, stored without anything that tells who they were.
async fn anonymized(stage: &Stage<'_>, patient: &Patient) -> Patient {
    let nobody = changed(patient, |patient| {
        ANONYMOUS_NAME.0.clone_into(&mut patient.first_name);
        ANONYMOUS_NAME.1.clone_into(&mut patient.last_name);
        patient.archived_at = Some(stage.at(7));
        patient.anonymized_at = Some(stage.at(7));
        patient.version = patient.version.next();
    });
    update(stage, &nobody).await.must();
    nobody
}

/// Whoever is held or locked comes back as they are.
pub async fn a_patient_is_held_and_locked(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let mut work = store.begin().await.must();
    let patients = work.patients();
    let held = patients.hold(patient.patient_id).await.must();
    assert_eq!(held.as_ref(), Some(&patient));
    let locked = patients.lock(patient.patient_id).await.must();
    assert_eq!(locked.as_ref(), Some(&patient));
    assert_eq!(patients.hold(stage.id()).await.must(), None);
    assert_eq!(patients.lock(stage.id()).await.must(), None);
}

/// All of a patient's visits and invoices are locked, and nobody else's.
pub async fn a_patients_visits_and_invoices_are_locked(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let (anna, berta) = (
        stage.saved_patient("Anna", "Meyer").await,
        stage.saved_patient("Berta", "Schulz").await,
    );
    let mut expected = Vec::new();
    for (patient, from) in [(&anna, 60), (&berta, 30), (&anna, 0)] {
        let visit = stage.visit(patient, &doctor, stage.slot(from, from + 30));
        stage.book(&visit).await.must();
        let draft = stage.saved_draft(patient, 100).await;
        if patient == &anna {
            expected.push((visit, draft));
        }
    }
    let mut work = store.begin().await.must();
    let visits = work.appointments().lock_of_patient(anna.patient_id).await;
    let mut visits = visits.must();
    visits.sort_by_key(|visit| visit.appointment_id);
    let invoices = work.invoices().lock_of_patient(anna.patient_id).await;
    let mut invoices = invoices.must();
    invoices.sort_by_key(|invoice| invoice.invoice_id);
    let locked: Vec<_> = visits.into_iter().zip(invoices).collect();
    assert_eq!(locked, expected);
    let nobody = stage.id();
    let none = work.appointments().lock_of_patient(nobody).await;
    assert_eq!(none.must(), []);
    assert_eq!(work.invoices().lock_of_patient(nobody).await.must(), []);
}

/// Nothing that tells who they were is there or comes back.
pub async fn an_anonymized_patient_stays_nobody(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let still_named = changed(&patient, |patient| {
        patient.archived_at = Some(stage.at(7));
        patient.anonymized_at = Some(stage.at(7));
        patient.version = patient.version.next();
    });
    assert_violates(update(&stage, &still_named).await, Rule::PatientAnonymized);
    let nobody = anonymized(&stage, &patient).await;
    let wrong: [fn(&mut Patient); 7] = [
        |patient| patient.first_name = "Anna".into(),
        |patient| patient.last_name = "Meyer".into(),
        |patient| patient.birthday = NaiveDate::from_ymd_opt(2000, 2, 29),
        |patient| patient.gender = Gender::Female,
        |patient| patient.notes = Some("Anna".to_owned()),
        |patient| patient.archived_at = None,
        |patient| patient.anonymized_at = None,
    ];
    for change in wrong {
        let somebody = changed(&nobody, |patient| {
            change(patient);
            patient.version = patient.version.next();
        });
        let refused = update(&stage, &somebody).await;
        assert_violates(refused, Rule::PatientAnonymized);
    }
    let mut connection = stage.connect().await;
    let stored = connection.patients().get(nobody.patient_id).await;
    assert_eq!(stored.must(), Some(nobody));
}

/// No contact, visit, invoice, payment or refund comes or changes.
pub async fn nothing_is_added_to_an_anonymized_patient(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let contact = stage
        .saved_contact(&patient, ContactType::Phone, "030 1234")
        .await;
    let visit = stage.visit(&patient, &doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let draft = stage.saved_draft(&patient, 100).await;
    let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
    let (payment, paid) = stage.paid(&issued, 50, &doctor).await;
    anonymized(&stage, &patient).await;

    let later = stage.visit(&patient, &doctor, stage.slot(60, 90));
    let another = stage.draft(&patient, vec![stage.line(100, 1)]);
    let rest = stage.payment(&paid, 50, &doctor);
    let after = paid.clone().paid_by(rest.amount, stage.at(8)).must();
    let refund = stage.refund(&payment, 10, &doctor);
    let refunded = payment.clone().refunded_by(refund.amount).must();
    let reduced = paid.clone().refunded_by(refund.amount, stage.at(8)).must();
    let changed_contact = changed(&contact, |contact| {
        contact.label = Some("Anna".to_owned());
        contact.version = contact.version.next();
    });
    let changed_visit = changed(&visit, |visit| {
        visit.notes = Some("Anna".to_owned());
        visit.version = visit.version.next();
    });
    let changed_draft = changed(&draft, |draft| draft.version = draft.version.next());
    let voided = draft.clone().voided("Anna", stage.at(8)).must();
    let write_contact = async || {
        stage
            .write(async |work| work.patients().update_contact(&changed_contact).await)
            .await
    };
    let change = by_their_doctor(&visit, HistoryAction::Change);
    let write_visit = async || {
        stage
            .write(async |work| work.appointments().update(&changed_visit, &change).await)
            .await
    };
    let write_draft = async |change: &Invoice| {
        stage
            .write(async |work| work.invoices().update_draft(change).await)
            .await
    };
    let write_voiding = async || {
        stage
            .write(async |work| work.invoices().save_voiding(&voided).await)
            .await
    };
    let email = stage.contact(&patient, ContactType::Email, "a@b.example");
    for refused in [
        stage.save_contact(&email).await,
        write_contact().await,
        stage.book(&later).await,
        write_visit().await,
        stage.save_draft(&another).await,
        write_draft(&changed_draft).await,
        write_voiding().await,
        stage.pay(&rest, &after).await,
        stage.pay_back(&refund, &refunded, &reduced).await,
    ] {
        assert_violates(refused, Rule::PatientAnonymized);
    }
    // What is there can still go.
    stage
        .write(async |work| work.patients().delete_contact(&contact).await)
        .await
        .must();
}

/// A patient with what people wrote about their money, and what the log tells of it.
struct Written {
    patient: Patient,
    void: Invoice,
    payment: Payment,
    refund: Refund,
    booking: AppointmentVersion,
    entry: AuditEntry,
}

impl Written {
    async fn about(stage: &Stage<'_>, name: &str, by: &User, from: i64) -> Self {
        let patient = stage.saved_patient(name, "Meyer").await;
        let draft = stage.saved_draft(&patient, 100).await;
        let void = draft.voided(name, stage.at(1)).must();
        stage
            .write(async |work| work.invoices().save_voiding(&void).await)
            .await
            .must();
        let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
        let payment = changed(&stage.payment(&issued, 100, by), |payment| {
            payment.reference = Some(name.to_owned());
        });
        let paid = issued.paid_by(payment.amount, stage.at(2)).must();
        stage.pay(&payment, &paid).await.must();
        let refund = changed(&stage.refund(&payment, 10, by), |refund| {
            name.clone_into(&mut refund.reason);
        });
        let payment = payment.refunded_by(refund.amount).must();
        let reduced = paid.refunded_by(refund.amount, stage.at(3)).must();
        stage.pay_back(&refund, &payment, &reduced).await.must();
        let visit = stage.visit(&patient, by, stage.slot(from, from + 30));
        let booked = VersionCause {
            reason: Some(name.to_owned()),
            ..by_their_doctor(&visit, HistoryAction::Book)
        };
        stage
            .write(async |work| work.appointments().book(&visit, &booked).await)
            .await
            .must();
        let booking = only(history_of(stage, &patient).await);
        let entry = AuditEntry {
            patient_ids: vec![patient.patient_id],
            changes: vec![FieldChange {
                field: "last_name".into(),
                before: AuditValue::Nothing,
                after: AuditValue::Text(name.to_owned()),
            }],
            ..stage.entry()
        };
        stage
            .write(async |work| work.audit().append(std::slice::from_ref(&entry)).await)
            .await
            .must();
        Self {
            patient,
            void,
            payment,
            refund,
            booking,
            entry,
        }
    }

    /// What is stored of it now.
    async fn stored(&self, stage: &Stage<'_>) -> Self {
        let id = self.patient.patient_id;
        let mut connection = stage.connect().await;
        let patient = connection.patients().get(id).await.must();
        let void = connection.invoices().get(self.void.invoice_id).await;
        let filter = PaymentFilter {
            patient_id: Some(id),
            ..PaymentFilter::default()
        };
        let first = PageRequest::first();
        let payments = all_of(connection.payments().list(&filter, first).await);
        let refunds = connection.payments();
        let refunds = all_of(refunds.refunds_of_patient(id, page_of(1, None)).await);
        let filter = AuditFilter {
            patient_id: Some(id),
            ..AuditFilter::default()
        };
        let entries = all_of(connection.audit().list(&filter, PageRequest::first()).await);
        Self {
            patient: patient.expect("the patient is there"),
            void: void.must().expect("the invoice is there"),
            payment: only(payments),
            refund: only(refunds),
            booking: only(history_of(stage, &self.patient).await),
            entry: only(entries),
        }
    }

    /// All that people wrote.
    fn texts(&self) -> [String; 5] {
        let void_reason = self.void.voiding.as_ref().map(|voiding| &voiding.reason);
        [
            void_reason.cloned().unwrap_or_default(),
            self.payment.reference.clone().unwrap_or_default(),
            self.refund.reason.clone(),
            self.booking.reason.clone().unwrap_or_default(),
            format!("{:?}", self.entry.changes),
        ]
    }
}

async fn history_of(stage: &Stage<'_>, patient: &Patient) -> Vec<AppointmentVersion> {
    let mut connection = stage.connect().await;
    let of = HistoryOf::Patient(patient.patient_id);
    let page = connection.history().list(of, PageRequest::first()).await;
    all_of(page)
}

fn only<Item>(items: Vec<Item>) -> Item {
    let mut items = items.into_iter();
    let item = items.next().expect("an item");
    assert_eq!(items.count(), 0);
    item
}

async fn redact(stage: &Stage<'_>, patient: &Patient) {
    stage
        .write(async |work| {
            work.history().redact(patient.patient_id).await?;
            work.payments().redact(patient.patient_id).await?;
            work.audit().redact(patient.patient_id).await
        })
        .await
        .must();
}

/// What people wrote goes, once nobody can tell whom it was about, and nothing else does.
pub async fn what_people_wrote_about_an_anonymized_patient_goes(store: &dyn Store) {
    let stage = Stage::new(store);
    let desk = stage.saved_user("desk", Role::Receptionist).await;
    let anna = Written::about(&stage, "Anna", &desk, 0).await;
    let berta = Written::about(&stage, "Berta", &desk, 30).await;
    redact(&stage, &anna.patient).await;
    assert_eq!(anna.stored(&stage).await.texts(), anna.texts());

    let nobody = anonymized(&stage, &anna.patient).await;
    redact(&stage, &nobody).await;
    let redacted = anna.stored(&stage).await;
    let gone = "redacted".to_owned();
    let none = "[]".to_owned();
    let expected = [gone.clone(), gone.clone(), gone.clone(), gone, none];
    assert_eq!(redacted.texts(), expected);
    let Written {
        void,
        payment,
        refund,
        booking,
        entry,
        ..
    } = redacted;
    let voiding = anna.void.voiding.clone();
    let whole = changed(&void, |void| {
        void.voiding = voiding;
        void.version = anna.void.version;
    });
    assert_eq!(whole, anna.void);
    assert_eq!(void.version, anna.void.version.next());
    let whole = changed(&payment, |payment| {
        payment.reference.clone_from(&anna.payment.reference);
        payment.version = anna.payment.version;
    });
    assert_eq!(whole, anna.payment);
    assert_eq!(payment.version, anna.payment.version.next());
    let whole = changed(&refund, |refund| {
        refund.reason.clone_from(&anna.refund.reason);
    });
    assert_eq!(whole, anna.refund);
    let whole = changed(&booking, |booking| {
        booking.reason.clone_from(&anna.booking.reason);
    });
    assert_eq!(whole, anna.booking);
    let whole = changed(&entry, |entry| {
        entry.changes.clone_from(&anna.entry.changes);
    });
    assert_eq!(whole, anna.entry);
    assert_eq!(berta.stored(&stage).await.texts(), berta.texts());

    // Once more, nothing is left to do.
    redact(&stage, &nobody).await;
    let again = anna.stored(&stage).await;
    assert_eq!((again.void, again.payment), (void, payment));
}

/// Pages hold a patient's refunds in the order they were recorded, and nobody else's.
pub async fn refunds_of_a_patient_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let desk = stage.saved_user("desk", Role::Receptionist).await;
    let mut expected = Vec::new();
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    for patient in [&patient, &other] {
        let issued = stage.issued(stage.saved_draft(patient, 100).await).await;
        let (mut payment, mut paid) = stage.paid(&issued, 100, &desk).await;
        for amount in [10, 20, 30] {
            let refund = stage.refund(&payment, amount, &desk);
            payment = payment.refunded_by(refund.amount).must();
            paid = paid.refunded_by(refund.amount, stage.at(3)).must();
            stage.pay_back(&refund, &payment, &paid).await.must();
            expected.push(refund);
        }
    }
    let id = patient.patient_id;
    let mut connection = stage.connect().await;
    let refunds = connection.payments();
    let first = refunds
        .refunds_of_patient(id, page_of(2, None))
        .await
        .must();
    assert_eq!(first.items, expected[..2]);
    assert_eq!(first.next, Some(expected[1].refund_id));
    let second = refunds.refunds_of_patient(id, page_of(2, first.next)).await;
    assert_eq!(all_of(second), expected[2..3]);
}
