use std::iter;

use super::{
    BillingError, DraftInvoice, Invoice, InvoiceChanges, InvoiceFilter, InvoiceItem, InvoiceNumber,
    InvoiceQuery, ItemChanges, NewItem, Payment, PaymentFilter, PaymentQuery, RecordPayment,
    RecordRefund, Refund,
};
use crate::access::{Actor, Permission};
use crate::appointments::{Appointment, PlannedService};
use crate::audit::{AuditAction, Audited as _, Entity};
use crate::clinic::resolve_window;
use crate::shared::{
    AppointmentId, Cents, Change, CommonError, Expected, FaultCode, Faults, InvoiceId,
    InvoiceItemId, Page, PageRequest, PatientId, PaymentId, Ports, ServiceId, Version, in_version,
};
use crate::store::{Repositories, UnitOfWork, retry_conflicts};

/// Invoices, payments and refunds.
pub struct BillingService {
    ports: Ports,
}

impl BillingService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Drafts an invoice.
    ///
    /// # Errors
    /// Faults; [`Rule::PatientAnonymized`](crate::store::Rule::PatientAnonymized).
    pub async fn draft(
        &self,
        actor: &Actor,
        command: DraftInvoice,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        retry_conflicts(&*self.ports.store, || async {
            let mut faults = Faults::new();
            if command.from_appointment && command.appointment_id.is_none() {
                let detail = "must be given with from_appointment";
                faults.add("/appointment_id", FaultCode::Required, detail);
            }
            let mut work = self.ports.store.begin().await?;
            match work.patients().hold(command.patient_id).await? {
                Some(patient) => patient.require_known()?,
                None => faults.add("/patient_id", FaultCode::Unknown, "must be a patient"),
            }
            let appointment = visit_of(
                &mut *work,
                command.patient_id,
                command.appointment_id,
                &mut faults,
            )
            .await?;
            let planned = appointment
                .filter(|_| command.from_appointment)
                .map(|appointment| appointment.services)
                .unwrap_or_default();
            let items = self
                .items(&mut *work, &planned, &command.items, &mut faults)
                .await?;
            faults.into_result()?;
            let now = self.ports.clock.now();
            let empty = Invoice {
                invoice_id: self.ports.ids.next_id().into(),
                patient_id: command.patient_id,
                appointment_id: command.appointment_id,
                currency: work.clinic().settings().await?.currency,
                items: Vec::new(),
                issue: None,
                voiding: None,
                total: Cents::ZERO,
                paid: Cents::ZERO,
                version: Version::FIRST,
                created_at: now,
                updated_at: now,
            };
            let invoice = Invoice {
                version: Version::FIRST,
                ..empty.with_items(items, now)?
            };
            work.invoices().insert(&invoice).await?;
            let entry = self.ports.audit_created(actor, &invoice);
            work.commit(&entry).await?;
            Ok(invoice)
        })
        .await
    }

    /// One invoice.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn invoice(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::ReadBilling)?;
        let mut connection = self.ports.store.connect().await?;
        let invoice = connection.invoices().get(invoice_id).await?;
        let invoice = invoice.ok_or(CommonError::NotFound)?;
        self.ports.note_read(actor, invoice.subject());
        Ok(invoice)
    }

    /// The invoices that match, in the order they were drafted.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn invoices(
        &self,
        actor: &Actor,
        query: InvoiceQuery,
        page: PageRequest<InvoiceId>,
    ) -> Result<Page<Invoice, InvoiceId>, BillingError> {
        actor.require(Permission::ReadBilling)?;
        let mut connection = self.ports.store.connect().await?;
        let filter = InvoiceFilter {
            patient_id: query.patient_id,
            status: query.status,
            window: resolve_window(&mut *connection, query.window).await?,
        };
        let invoices = connection.invoices().list(&filter, page).await?;
        let shown = invoices.items.iter().map(|invoice| invoice.patient_id);
        self.ports.note_list(actor, Entity::Invoice, shown);
        Ok(invoices)
    }

    /// Changes a draft.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`]; faults; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn change_draft(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
        changes: InvoiceChanges,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let (mut work, before) = self.open_draft(invoice_id, expected).await?;
            let mut draft = before.clone();
            let mut faults = Faults::new();
            draft.appointment_id = changes.appointment_id.clone().apply(draft.appointment_id);
            if changes.appointment_id != Change::Keep {
                visit_of(
                    &mut *work,
                    draft.patient_id,
                    draft.appointment_id,
                    &mut faults,
                )
                .await?;
            }
            let items = match &changes.items {
                Change::Keep => draft.items.clone(),
                Change::Clear => Vec::new(),
                Change::Set(items) => self.items(&mut *work, &[], items, &mut faults).await?,
            };
            faults.into_result()?;
            self.save_draft(actor, work, &before, draft, items).await
        })
        .await
    }

    /// Adds a line to a draft.
    ///
    /// # Errors
    /// As [`change_draft`](Self::change_draft).
    pub async fn add_item(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
        item: NewItem,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        let item = &item;
        retry_conflicts(&*self.ports.store, || async move {
            let (mut work, draft) = self.open_draft(invoice_id, expected).await?;
            let known = match item.service_id {
                Some(service_id) => work.services().get_many(&[service_id]).await?,
                None => Vec::new(),
            };
            let mut faults = Faults::new();
            let id = self.ports.ids.next_id().into();
            let item = InvoiceItem::from_new(item, &known, id, "", &mut faults);
            faults.into_result()?;
            let items = draft.items.iter().cloned().chain(item).collect();
            self.save_draft(actor, work, &draft, draft.clone(), items)
                .await
        })
        .await
    }

    /// Changes a line of a draft.
    ///
    /// # Errors
    /// As [`change_draft`](Self::change_draft).
    pub async fn change_item(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        item_id: InvoiceItemId,
        expected: &Expected,
        changes: ItemChanges,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let (work, draft) = self.open_draft(invoice_id, expected).await?;
            let mut items = draft.items.clone();
            let item = items
                .iter_mut()
                .find(|item| item.invoice_item_id == item_id)
                .ok_or(CommonError::NotFound)?;
            *item = item.clone().changed(changes.clone())?;
            self.save_draft(actor, work, &draft, draft.clone(), items)
                .await
        })
        .await
    }

    /// Removes a line of a draft.
    ///
    /// # Errors
    /// As [`change_draft`](Self::change_draft).
    pub async fn remove_item(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        item_id: InvoiceItemId,
        expected: &Expected,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        retry_conflicts(&*self.ports.store, || async move {
            let (work, draft) = self.open_draft(invoice_id, expected).await?;
            let mut items = draft.items.clone();
            items.retain(|item| item.invoice_item_id != item_id);
            if items.len() == draft.items.len() {
                return Err(CommonError::NotFound.into());
            }
            self.save_draft(actor, work, &draft, draft.clone(), items)
                .await
        })
        .await
    }

    /// Deletes a draft.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`]; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn delete_draft(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
    ) -> Result<(), BillingError> {
        actor.require(Permission::Bill)?;
        retry_conflicts(&*self.ports.store, || async move {
            let (mut work, draft) = self.open_draft(invoice_id, expected).await?;
            work.invoices().delete_draft(&draft).await?;
            let entry = self.ports.audit_deleted(actor, &draft);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// Sends an invoice out, under the next number.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`]; [`BillingError::InvoiceEmpty`];
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn issue(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Bill)?;
        retry_conflicts(&*self.ports.store, || async move {
            let (mut work, draft) = self.open_draft(invoice_id, expected).await?;
            let sequence = work.invoices().lock_numbering().await? + 1;
            // Read behind the lock: the currency cannot change once a number is given.
            let currency = work.clinic().settings().await?.currency;
            let number = InvoiceNumber::of_sequence(sequence);
            let before = draft.clone();
            let invoice = draft.issued(number, currency, self.ports.clock.now())?;
            work.invoices().save_issue(&invoice, sequence).await?;
            let issue = AuditAction::Issue;
            let entry = self.ports.audit_changed(actor, issue, &before, &invoice);
            work.commit(&entry).await?;
            Ok(invoice)
        })
        .await
    }

    /// Calls an invoice off.
    ///
    /// # Errors
    /// [`BillingError::NotVoidable`]; faults; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn void(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
        reason: &str,
    ) -> Result<Invoice, BillingError> {
        actor.require(Permission::Reverse)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let invoice = in_version(work.invoices().lock(invoice_id).await?, expected)?;
            let before = invoice.clone();
            let invoice = invoice.voided(reason, self.ports.clock.now())?;
            work.invoices().save_voiding(&invoice).await?;
            let void = AuditAction::Void;
            let entry = self.ports.audit_changed(actor, void, &before, &invoice);
            work.commit(&entry).await?;
            Ok(invoice)
        })
        .await
    }

    /// Records money that came in for an invoice. `expected` is about the invoice.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotPayable`]; [`BillingError::PaymentExceedsBalance`]; faults;
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn record_payment(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        expected: &Expected,
        command: RecordPayment,
    ) -> Result<(Payment, Invoice), BillingError> {
        actor.require(Permission::Bill)?;
        let command = &command;
        retry_conflicts(&*self.ports.store, || async move {
            let now = self.ports.clock.now();
            let mut work = self.ports.store.begin().await?;
            let invoice = in_version(work.invoices().lock(invoice_id).await?, expected)?;
            let (paid_at, reference) = command.checked(now)?;
            let invoice = invoice.paid_by(command.amount, now)?;
            let payment = Payment {
                payment_id: self.ports.ids.next_id().into(),
                invoice_id,
                patient_id: invoice.patient_id,
                amount: command.amount,
                refunded: Cents::ZERO,
                method: command.method,
                paid_at,
                reference,
                recorded_by: actor.user_id,
                version: Version::FIRST,
                created_at: now,
            };
            work.payments().record(&payment, &invoice).await?;
            let entry = self.ports.audit_created(actor, &payment);
            work.commit(&entry).await?;
            Ok((payment, invoice))
        })
        .await
    }

    /// Records that money of a payment went back. `expected` is about the payment.
    ///
    /// # Errors
    /// [`BillingError::RefundExceedsPayment`]; faults; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn record_refund(
        &self,
        actor: &Actor,
        payment_id: PaymentId,
        expected: &Expected,
        command: RecordRefund,
    ) -> Result<(Refund, Invoice), BillingError> {
        actor.require(Permission::Reverse)?;
        let command = &command;
        retry_conflicts(&*self.ports.store, || async move {
            let now = self.ports.clock.now();
            let mut work = self.ports.store.begin().await?;
            // The invoice is held first: all that moves its money waits here, so what is read of
            // the payment afterwards stays true.
            let invoice = work.invoices().lock_of_payment(payment_id).await?;
            let invoice = invoice.ok_or(CommonError::NotFound)?;
            let payment = in_version(work.payments().get(payment_id).await?, expected)?;
            let reason = command.checked()?;
            let payment = payment.refunded_by(command.amount)?;
            let invoice = invoice.refunded_by(command.amount, now)?;
            let refund = Refund {
                refund_id: self.ports.ids.next_id().into(),
                payment_id,
                amount: command.amount,
                reason,
                recorded_by: actor.user_id,
                created_at: now,
            };
            work.payments()
                .record_refund(&refund, &payment, &invoice)
                .await?;
            let entry = self.ports.audit_created(actor, &refund);
            let entry = entry.about(vec![payment.patient_id]);
            work.commit(&entry).await?;
            Ok((refund, invoice))
        })
        .await
    }

    /// One payment.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn payment(
        &self,
        actor: &Actor,
        payment_id: PaymentId,
    ) -> Result<Payment, BillingError> {
        actor.require(Permission::ReadBilling)?;
        let mut connection = self.ports.store.connect().await?;
        let payment = connection.payments().get(payment_id).await?;
        let payment = payment.ok_or(CommonError::NotFound)?;
        self.ports.note_read(actor, payment.subject());
        Ok(payment)
    }

    /// The payments that match, in the order they were recorded.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn payments(
        &self,
        actor: &Actor,
        query: PaymentQuery,
        page: PageRequest<PaymentId>,
    ) -> Result<Page<Payment, PaymentId>, BillingError> {
        actor.require(Permission::ReadBilling)?;
        let mut connection = self.ports.store.connect().await?;
        let filter = PaymentFilter {
            invoice_id: None,
            patient_id: None,
            method: query.method,
            window: resolve_window(&mut *connection, query.window).await?,
        };
        let payments = connection.payments().list(&filter, page).await?;
        let shown = payments.items.iter().map(|payment| payment.patient_id);
        self.ports.note_list(actor, Entity::Payment, shown);
        Ok(payments)
    }

    /// The payments of one invoice, in the order they were recorded.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such invoice.
    pub async fn payments_of_invoice(
        &self,
        actor: &Actor,
        invoice_id: InvoiceId,
        page: PageRequest<PaymentId>,
    ) -> Result<Page<Payment, PaymentId>, BillingError> {
        actor.require(Permission::ReadBilling)?;
        let mut connection = self.ports.store.connect().await?;
        let filter = PaymentFilter {
            invoice_id: Some(invoice_id),
            ..PaymentFilter::default()
        };
        let payments = connection.payments().list(&filter, page).await?;
        let patient_id = if let Some(payment) = payments.items.first() {
            payment.patient_id
        } else {
            let invoice = connection.invoices().get(invoice_id).await?;
            invoice.ok_or(CommonError::NotFound)?.patient_id
        };
        self.ports
            .note_list(actor, Entity::Payment, iter::once(patient_id));
        Ok(payments)
    }

    /// A draft in a version that is expected, held against change.
    async fn open_draft(
        &self,
        invoice_id: InvoiceId,
        expected: &Expected,
    ) -> Result<(Box<dyn UnitOfWork>, Invoice), BillingError> {
        let mut work = self.ports.store.begin().await?;
        let draft = in_version(work.invoices().lock(invoice_id).await?, expected)?;
        draft.require_draft()?;
        Ok((work, draft))
    }

    async fn save_draft(
        &self,
        actor: &Actor,
        mut work: Box<dyn UnitOfWork>,
        before: &Invoice,
        draft: Invoice,
        items: Vec<InvoiceItem>,
    ) -> Result<Invoice, BillingError> {
        let invoice = draft.with_items(items, self.ports.clock.now())?;
        work.invoices().update_draft(&invoice).await?;
        let change = AuditAction::Change;
        let entry = self.ports.audit_changed(actor, change, before, &invoice);
        work.commit(&entry).await?;
        Ok(invoice)
    }

    /// The lines to add: those of the visit, then those of the caller, with today's names and
    /// prices.
    async fn items(
        &self,
        work: &mut dyn Repositories,
        of_visit: &[PlannedService],
        of_caller: &[NewItem],
        faults: &mut Faults,
    ) -> Result<Vec<InvoiceItem>, BillingError> {
        let planned = of_visit.iter().map(|planned| planned.service_id);
        let asked_for = of_caller.iter().filter_map(|item| item.service_id);
        let ids: Vec<ServiceId> = planned.chain(asked_for).collect();
        let known = if ids.is_empty() {
            Vec::new()
        } else {
            work.services().get_many(&ids).await?
        };
        let mut items = Vec::new();
        for planned in of_visit {
            let id = self.ports.ids.next_id().into();
            items.extend(InvoiceItem::from_planned(planned, &known, id, faults));
        }
        for (index, new) in of_caller.iter().enumerate() {
            let id = self.ports.ids.next_id().into();
            let pointer = format!("/items/{index}");
            items.extend(InvoiceItem::from_new(new, &known, id, &pointer, faults));
        }
        Ok(items)
    }
}

/// The visit an invoice is for; notes one that does not exist or is another patient's.
async fn visit_of(
    work: &mut dyn Repositories,
    patient_id: PatientId,
    appointment_id: Option<AppointmentId>,
    faults: &mut Faults,
) -> Result<Option<Appointment>, BillingError> {
    let Some(appointment_id) = appointment_id else {
        return Ok(None);
    };
    let appointment = work
        .appointments()
        .get(appointment_id)
        .await?
        .filter(|appointment| appointment.patient_id == patient_id);
    if appointment.is_none() {
        let detail = "must be an appointment of the patient";
        faults.add("/appointment_id", FaultCode::Unknown, detail);
    }
    Ok(appointment)
}
