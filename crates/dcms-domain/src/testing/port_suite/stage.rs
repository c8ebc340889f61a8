//! What the tests of the suite have in common.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use chrono::TimeDelta;
use iso_currency::Currency;
use uuid::Uuid;

use crate::access::{Role, Roles};
use crate::appointments::{Appointment, HistoryAction, Status, VersionCause};
use crate::audit::{AuditAction, AuditEntry, Entity};
use crate::billing::{Invoice, InvoiceItem, InvoiceNumber, Payment, PaymentMethod, Refund};
use crate::catalog::Service;
use crate::clinic::Room;
use crate::identity::{PasswordHash, Session, TokenHash, User};
use crate::patients::{Contact, ContactType, Gender, Patient};
use crate::shared::{
    Cents, Clock, IdSource, Instant, Page, PageLimit, PageRequest, Quantity, TimeSlot, Version,
};
use crate::store::{Repositories, Rule, Store, StoreError, UnitOfWork};
use crate::testing::{CountingIds, FrozenClock};

/// The store under test, and what is put into it.
pub(super) struct Stage<'store> {
    pub(super) store: &'store dyn Store,
    ids: CountingIds,
    clock: FrozenClock,
}

impl<'store> Stage<'store> {
    pub(super) fn new(store: &'store dyn Store) -> Self {
        Self {
            store,
            ids: CountingIds::default(),
            clock: FrozenClock::default(),
        }
    }

    pub(super) fn id<Id: From<Uuid>>(&self) -> Id {
        self.ids.next_id().into()
    }

    /// The instant that many minutes after the suite's day began; 0 is "now".
    pub(super) fn at(&self, minutes: i64) -> Instant {
        self.clock.now() + TimeDelta::minutes(minutes)
    }

    pub(super) fn slot(&self, from: i64, to: i64) -> TimeSlot {
        TimeSlot::new(self.at(from), self.at(to)).must()
    }

    pub(super) async fn connect(&self) -> Box<dyn Repositories> {
        self.store.connect().await.must()
    }

    /// Does it in one unit of work; what went wrong, then or at commit.
    pub(super) async fn write<Outcome>(
        &self,
        change: impl AsyncFnOnce(&mut dyn UnitOfWork) -> Result<Outcome, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let mut work = self.store.begin().await?;
        let outcome = change(&mut *work).await?;
        work.commit(&self.entry()).await?;
        Ok(outcome)
    }

    /// An entry of the audit log about nothing.
    pub(super) fn entry(&self) -> AuditEntry {
        AuditEntry::unattributed(self.id(), self.at(0), AuditAction::Change, Entity::Clinic)
    }

    /// Does it again while somebody gets in the way.
    pub(super) async fn take_turns<Outcome>(
        &self,
        unit_of_work: impl AsyncFn() -> Result<Outcome, StoreError>,
    ) -> Result<Outcome, StoreError> {
        let mut attempt = 1;
        loop {
            match unit_of_work().await {
                Err(StoreError::Conflict) if attempt < 20 => {
                    self.store.wait_before_retry(attempt).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    pub(super) fn user(&self, username: &str, role: Role) -> User {
        User {
            user_id: self.id(),
            username: username.to_owned(),
            display_name: format!("Called {username}"),
            roles: Roles::from_iter([role]),
            is_active: true,
            must_change_password: false,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn saved_user(&self, username: &str, role: Role) -> User {
        let user = self.user(username, role);
        self.write(async |work| work.users().insert(&user, &password("secret")).await)
            .await
            .must();
        user
    }

    pub(super) fn session(&self, user: &User) -> Session {
        Session {
            session_id: self.id(),
            user_id: user.user_id,
            device_name: None,
            address: None,
            agent: None,
            impersonator_id: None,
            created_at: self.at(0),
            last_seen_at: self.at(0),
            expires_at: self.at(60),
        }
    }

    pub(super) async fn saved_session(&self, user: &User, token: u8) -> Session {
        let session = self.session(user);
        self.write(async |work| work.sessions().insert(&session, token_hash(token)).await)
            .await
            .must();
        session
    }

    pub(super) fn room(&self, name: &str) -> Room {
        Room {
            room_id: self.id(),
            name: name.to_owned(),
            is_active: true,
            kind: None,
            position: 0,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn saved_room(&self, name: &str) -> Room {
        let room = self.room(name);
        self.write(async |work| work.clinic().insert_room(&room).await)
            .await
            .must();
        room
    }

    pub(super) async fn patient(&self, first_name: &str, last_name: &str) -> Patient {
        let number = self
            .write(async |work| work.patients().next_register_number().await)
            .await;
        Patient {
            patient_id: self.id(),
            register_number: number.must(),
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
            archived_at: None,
            anonymized_at: None,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn saved_patient(&self, first_name: &str, last_name: &str) -> Patient {
        let patient = self.patient(first_name, last_name).await;
        self.write(async |work| work.patients().insert(&patient).await)
            .await
            .must();
        patient
    }

    pub(super) fn contact(&self, patient: &Patient, kind: ContactType, value: &str) -> Contact {
        Contact {
            contact_id: self.id(),
            patient_id: patient.patient_id,
            contact_type: kind,
            value: value.to_owned(),
            label: None,
            is_primary: false,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn saved_contact(
        &self,
        patient: &Patient,
        kind: ContactType,
        value: &str,
    ) -> Contact {
        let contact = self.contact(patient, kind, value);
        self.save_contact(&contact).await.must();
        contact
    }

    pub(super) async fn save_contact(&self, contact: &Contact) -> Result<(), StoreError> {
        self.write(async |work| work.patients().insert_contact(contact).await)
            .await
    }

    pub(super) fn service(&self, code: &str, name: &str) -> Service {
        Service {
            service_id: self.id(),
            code: code.to_owned(),
            name: name.to_owned(),
            current_price: Cents::new(8_000),
            default_duration_minutes: Some(30),
            is_active: true,
            buffer_minutes: 0,
            room_kind: None,
            doctor_ids: Vec::new(),
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn saved_service(&self, code: &str, name: &str) -> Service {
        let service = self.service(code, name);
        self.write(async |work| work.services().insert(&service).await)
            .await
            .must();
        service
    }

    /// A visit without a room.
    pub(super) fn visit(&self, patient: &Patient, doctor: &User, slot: TimeSlot) -> Appointment {
        Appointment {
            appointment_id: self.id(),
            patient_id: patient.patient_id,
            doctor_id: doctor.user_id,
            room_id: None,
            slot,
            room_free_at: slot.ends_at(),
            status: Status::Scheduled,
            arrived_at: None,
            seated_at: None,
            completed_at: None,
            notes: None,
            services: Vec::new(),
            overbook_reason: None,
            accepted_obstacles: Vec::new(),
            cancel_reason: None,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn book(&self, visit: &Appointment) -> Result<(), StoreError> {
        let booked = by_their_doctor(visit, HistoryAction::Book);
        self.write(async |work| work.appointments().book(visit, &booked).await)
            .await
    }

    pub(super) fn line(&self, unit_price: i64, quantity: i64) -> InvoiceItem {
        InvoiceItem {
            invoice_item_id: self.id(),
            service_id: None,
            description_snapshot: "Something".to_owned(),
            unit_price_snapshot: Cents::new(unit_price),
            quantity: Quantity::new(quantity).expect("a quantity within bounds"),
            line_total: Cents::new(unit_price * quantity),
        }
    }

    pub(super) fn draft(&self, patient: &Patient, items: Vec<InvoiceItem>) -> Invoice {
        Invoice {
            invoice_id: self.id(),
            patient_id: patient.patient_id,
            appointment_id: None,
            currency: Currency::EUR,
            total: Cents::sum(items.iter().map(|item| item.line_total)).must(),
            items,
            issue: None,
            voiding: None,
            paid: Cents::ZERO,
            version: Version::FIRST,
            created_at: self.at(0),
            updated_at: self.at(0),
        }
    }

    pub(super) async fn save_draft(&self, draft: &Invoice) -> Result<(), StoreError> {
        self.write(async |work| work.invoices().insert(draft).await)
            .await
    }

    /// A draft of one line.
    pub(super) async fn saved_draft(&self, patient: &Patient, total: i64) -> Invoice {
        let draft = self.draft(patient, vec![self.line(total, 1)]);
        self.save_draft(&draft).await.must();
        draft
    }

    /// Issues a stored draft under the next number.
    pub(super) async fn issued(&self, draft: Invoice) -> Invoice {
        let now = self.at(1);
        self.write(async |work| {
            let sequence = work.invoices().lock_numbering().await? + 1;
            let number = InvoiceNumber::of_sequence(sequence);
            let invoice = draft.issued(number, Currency::EUR, now).must();
            work.invoices().save_issue(&invoice, sequence).await?;
            Ok(invoice)
        })
        .await
        .must()
    }

    pub(super) fn payment(&self, invoice: &Invoice, amount: i64, by: &User) -> Payment {
        Payment {
            payment_id: self.id(),
            invoice_id: invoice.invoice_id,
            patient_id: invoice.patient_id,
            amount: Cents::new(amount),
            refunded: Cents::ZERO,
            method: PaymentMethod::Cash,
            paid_at: self.at(2),
            reference: None,
            recorded_by: by.user_id,
            version: Version::FIRST,
            created_at: self.at(2),
        }
    }

    pub(super) async fn pay(&self, payment: &Payment, after: &Invoice) -> Result<(), StoreError> {
        self.write(async |work| work.payments().record(payment, after).await)
            .await
    }

    /// Records a payment and answers it with the invoice as it is then.
    pub(super) async fn paid(
        &self,
        invoice: &Invoice,
        amount: i64,
        by: &User,
    ) -> (Payment, Invoice) {
        let payment = self.payment(invoice, amount, by);
        let after = invoice.clone().paid_by(payment.amount, self.at(2)).must();
        self.pay(&payment, &after).await.must();
        (payment, after)
    }

    pub(super) fn refund(&self, payment: &Payment, amount: i64, by: &User) -> Refund {
        Refund {
            refund_id: self.id(),
            payment_id: payment.payment_id,
            amount: Cents::new(amount),
            reason: "Too much".to_owned(),
            recorded_by: by.user_id,
            created_at: self.at(3),
        }
    }

    pub(super) async fn pay_back(
        &self,
        refund: &Refund,
        payment: &Payment,
        invoice: &Invoice,
    ) -> Result<(), StoreError> {
        self.write(async |work| {
            work.payments()
                .record_refund(refund, payment, invoice)
                .await
        })
        .await
    }
}

/// What the visit's doctor did, without giving a reason.
pub(super) fn by_their_doctor(visit: &Appointment, action: HistoryAction) -> VersionCause {
    VersionCause {
        action,
        user_id: visit.doctor_id,
        impersonator_id: None,
        reason: None,
    }
}

/// A hash of the form that stores expect.
pub(super) fn password(secret: &str) -> PasswordHash {
    PasswordHash::new(format!("$argon2id$plain${secret}"))
}

pub(super) const fn token_hash(token: u8) -> TokenHash {
    TokenHash([token; 32])
}

/// A value as it is once it was changed.
pub(super) fn changed<Value: Clone>(value: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut changed = value.clone();
    change(&mut changed);
    changed
}

/// What has to succeed.
pub(super) trait Must<Value> {
    fn must(self) -> Value;
}

impl<Value, Failure: Debug> Must<Value> for Result<Value, Failure> {
    #[track_caller]
    fn must(self) -> Value {
        self.expect("this succeeds")
    }
}

#[track_caller]
pub(super) fn assert_violates<Outcome: Debug>(outcome: Result<Outcome, StoreError>, rule: Rule) {
    match outcome {
        Err(StoreError::Violated(violated)) => assert_eq!(violated, rule),
        outcome => panic!("expected a violation of {rule:?}, got {outcome:?}"),
    }
}

#[track_caller]
pub(super) fn assert_conflict<Outcome: Debug>(outcome: Result<Outcome, StoreError>) {
    match outcome {
        Err(StoreError::Conflict) => {}
        outcome => panic!("expected a conflict, got {outcome:?}"),
    }
}

pub(super) fn page_of<Key>(limit: u32, after: Option<Key>) -> PageRequest<Key> {
    PageRequest {
        limit: PageLimit::new(limit).expect("a limit within bounds"),
        after,
    }
}

/// The items of a page that is the only one.
#[track_caller]
pub(super) fn all_of<Item, Key: Debug>(page: Result<Page<Item, Key>, StoreError>) -> Vec<Item> {
    let page = page.must();
    assert!(
        page.next.is_none(),
        "expected one page, got {:?}",
        page.next
    );
    page.items
}

type Turn<'turn, Outcome> = Pin<Box<dyn Future<Output = Outcome> + 'turn>>;

/// Lets all go on at once and waits for the last.
pub(super) async fn all_at_once<Outcome>(mut turns: Vec<Turn<'_, Outcome>>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = turns.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (turn, outcome) in turns.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(ready) = turn.as_mut().poll(context)
            {
                *outcome = Some(ready);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

/// Lets the others go on first.
pub(super) async fn let_others_go_on() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
