use async_trait::async_trait;

use super::{Connection, State, contains, forms, hold, page, stored_before, stored_in_version};
use crate::billing::{
    Invoice, InvoiceFilter, InvoiceItem, InvoiceRepository, Payment, PaymentFilter,
    PaymentRepository, Refund,
};
use crate::shared::{
    Cents, InvoiceId, Page, PageRequest, PatientId, PaymentId, REDACTED, RefundId, UserId,
};
use crate::store::{Rule, StoreError};

impl State {
    /// What a draft refers to.
    fn check_references(&self, draft: &Invoice) -> Result<(), StoreError> {
        hold(
            Rule::PatientUnknown,
            self.patients.contains_key(&draft.patient_id),
        )?;
        let visit = draft.appointment_id.map(|id| self.appointments.get(&id));
        hold(
            Rule::AppointmentUnknown,
            visit.is_none_or(|visit| {
                visit.is_some_and(|visit| visit.patient_id == draft.patient_id)
            }),
        )?;
        let mut services = draft.items.iter().filter_map(|item| item.service_id);
        hold(
            Rule::ServiceUnknown,
            services.all(|service_id| self.services.contains_key(&service_id)),
        )?;
        self.check_patient_known(draft.patient_id)
    }

    fn check_line_ids_unused(&self, draft: &Invoice) -> Result<(), StoreError> {
        let mut others = self
            .invoices
            .values()
            .filter(|other| other.invoice_id != draft.invoice_id)
            .flat_map(|other| &other.items);
        let is_used = others.any(|other| {
            let mut lines = draft.items.iter();
            lines.any(|line| line.invoice_item_id == other.invoice_item_id)
        });
        hold(Rule::IdentifierTaken, !is_used)
    }

    fn check_number_free(&self, invoice: &Invoice) -> Result<(), StoreError> {
        let number = |invoice: &Invoice| Some(invoice.issue.as_ref()?.number.clone());
        let is_taken = self.invoices.values().any(|other| {
            other.invoice_id != invoice.invoice_id
                && number(other).is_some()
                && number(other) == number(invoice)
        });
        hold(Rule::InvoiceNumberTaken, !is_taken)
    }

    fn check_user_known(&self, user_id: UserId) -> Result<(), StoreError> {
        hold(Rule::UserUnknown, self.users.contains_key(&user_id))
    }

    /// Stores what was paid, and in which version the invoice is with it.
    fn save_paid(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        let stored = stored_before(&mut self.invoices, &invoice.invoice_id, invoice)?;
        stored.paid = invoice.paid;
        stored.version = invoice.version;
        stored.updated_at = invoice.updated_at;
        check_paid(stored)?;
        let patient_id = stored.patient_id;
        self.check_patient_known(patient_id)
    }

    fn redact_money_of(&mut self, patient_id: PatientId) {
        let is_written = |text: &String| text != REDACTED;
        for invoice in self.invoices.values_mut() {
            if let Some(voiding) = &mut invoice.voiding
                && invoice.patient_id == patient_id
                && is_written(&voiding.reason)
            {
                REDACTED.clone_into(&mut voiding.reason);
                invoice.version = invoice.version.next();
            }
        }
        let mut theirs = Vec::new();
        for payment in self.payments.values_mut() {
            if payment.patient_id != patient_id {
                continue;
            }
            theirs.push(payment.payment_id);
            if payment.reference.as_ref().is_some_and(is_written) {
                payment.reference = Some(REDACTED.to_owned());
                payment.version = payment.version.next();
            }
        }
        for refund in self.refunds.values_mut() {
            if theirs.contains(&refund.payment_id) {
                REDACTED.clone_into(&mut refund.reason);
            }
        }
    }

    /// Whether the stored sums are the sums of what is stored; asked at commit.
    pub(super) fn check_sums(&self) -> Result<(), StoreError> {
        for invoice in self.invoices.values() {
            let paid = self
                .payments
                .values()
                .filter(|payment| payment.invoice_id == invoice.invoice_id)
                .map(|payment| payment.amount.get() - payment.refunded.get())
                .sum();
            let total = Cents::sum(invoice.items.iter().map(|item| item.line_total));
            hold(
                Rule::SumsDisagree,
                total == Ok(invoice.total) && invoice.paid == Cents::new(paid),
            )?;
        }
        for payment in self.payments.values() {
            let refunds = self
                .refunds
                .values()
                .filter(|refund| refund.payment_id == payment.payment_id);
            let refunded = Cents::sum(refunds.map(|refund| refund.amount));
            hold(Rule::SumsDisagree, refunded == Ok(payment.refunded))?;
        }
        Ok(())
    }
}

/// `0 ≤ paid ≤ total`, and nothing paid unless it is owed.
fn check_paid(invoice: &Invoice) -> Result<(), StoreError> {
    let is_owed = invoice.issue.is_some() && invoice.voiding.is_none();
    hold(
        Rule::PaidBeyondTotal,
        (Cents::ZERO..=invoice.total).contains(&invoice.paid)
            && (is_owed || invoice.paid == Cents::ZERO),
    )
}

fn check_is_draft(stored: &Invoice) -> Result<(), StoreError> {
    hold(
        Rule::InvoiceFrozen,
        stored.issue.is_none() && stored.voiding.is_none(),
    )
}

/// The lines as they are stored: what one comes to is worked out anew.
fn stored_lines(lines: &[InvoiceItem]) -> Result<Vec<InvoiceItem>, StoreError> {
    let store = |line: &InvoiceItem| {
        let line_total = line.unit_price_snapshot.times(line.quantity);
        Ok(InvoiceItem {
            line_total: line_total.map_err(|_| StoreError::Violated(Rule::ValueRefused))?,
            ..line.clone()
        })
    };
    lines.iter().map(store).collect()
}

fn matches_invoice(invoice: &Invoice, filter: &InvoiceFilter) -> bool {
    let dated = invoice
        .issue
        .as_ref()
        .map_or(invoice.created_at, |issue| issue.at);
    filter
        .patient_id
        .is_none_or(|wanted| wanted == invoice.patient_id)
        && filter
            .status
            .is_none_or(|wanted| wanted == invoice.status())
        && contains(filter.window, dated)
}

fn matches_payment(payment: &Payment, filter: &PaymentFilter) -> bool {
    filter
        .invoice_id
        .is_none_or(|wanted| wanted == payment.invoice_id)
        && filter
            .patient_id
            .is_none_or(|wanted| wanted == payment.patient_id)
        && filter.method.is_none_or(|wanted| wanted == payment.method)
        && contains(filter.window, payment.paid_at)
}

#[async_trait]
impl InvoiceRepository for Connection {
    async fn insert(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[invoice])?;
            check_paid(invoice)?;
            hold(
                Rule::IdentifierTaken,
                !state.invoices.contains_key(&invoice.invoice_id),
            )?;
            state.check_line_ids_unused(invoice)?;
            state.check_number_free(invoice)?;
            state.check_references(invoice)?;
            let stored = Invoice {
                items: stored_lines(&invoice.items)?,
                ..invoice.clone()
            };
            state.invoices.insert(invoice.invoice_id, stored);
            Ok(())
        })
    }

    async fn get(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError> {
        Ok(self.read()?.invoices.get(&invoice_id).cloned())
    }

    async fn lock(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError> {
        // Whoever commits second meets a conflict anyway.
        Ok(self.read()?.invoices.get(&invoice_id).cloned())
    }

    async fn lock_of_payment(
        &mut self,
        payment_id: PaymentId,
    ) -> Result<Option<Invoice>, StoreError> {
        let state = self.read()?;
        let payment = state.payments.get(&payment_id);
        Ok(payment.and_then(|payment| state.invoices.get(&payment.invoice_id).cloned()))
    }

    async fn lock_of_patient(&mut self, patient_id: PatientId) -> Result<Vec<Invoice>, StoreError> {
        let state = self.read()?;
        let invoices = state.invoices.values();
        let theirs = invoices.filter(|invoice| invoice.patient_id == patient_id);
        Ok(theirs.cloned().collect())
    }

    async fn update_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        self.write(|state| {
            let stored = stored_before(&mut state.invoices, &invoice.invoice_id, invoice)?;
            check_is_draft(stored)?;
            stored.appointment_id = invoice.appointment_id;
            stored.items = stored_lines(&invoice.items)?;
            stored.total = invoice.total;
            stored.version = invoice.version;
            stored.updated_at = invoice.updated_at;
            forms::check(&[invoice])?;
            state.check_line_ids_unused(invoice)?;
            state.check_references(invoice)
        })
    }

    async fn delete_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        self.write(|state| {
            stored_in_version(&state.invoices, &invoice.invoice_id, invoice)?;
            let deleted = state.invoices.remove(&invoice.invoice_id);
            deleted.as_ref().map_or(Ok(()), check_is_draft)
        })
    }

    async fn lock_numbering(&mut self) -> Result<i64, StoreError> {
        Ok(self.read()?.last_invoice_sequence)
    }

    async fn save_issue(&mut self, invoice: &Invoice, sequence: i64) -> Result<(), StoreError> {
        self.write(|state| {
            let stored = stored_before(&mut state.invoices, &invoice.invoice_id, invoice)?;
            check_is_draft(stored)?;
            stored.issue.clone_from(&invoice.issue);
            stored.currency = invoice.currency;
            stored.version = invoice.version;
            stored.updated_at = invoice.updated_at;
            state.last_invoice_sequence = sequence;
            forms::check(&[invoice])?;
            state.check_number_free(invoice)?;
            state.check_patient_known(invoice.patient_id)
        })
    }

    async fn save_voiding(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        self.write(|state| {
            let stored = stored_before(&mut state.invoices, &invoice.invoice_id, invoice)?;
            hold(Rule::InvoiceFrozen, stored.voiding.is_none())?;
            stored.voiding.clone_from(&invoice.voiding);
            stored.version = invoice.version;
            stored.updated_at = invoice.updated_at;
            check_paid(stored)?;
            forms::check(&[invoice])?;
            state.check_patient_known(invoice.patient_id)
        })
    }

    async fn list(
        &mut self,
        filter: &InvoiceFilter,
        request: PageRequest<InvoiceId>,
    ) -> Result<Page<Invoice, InvoiceId>, StoreError> {
        let state = self.read()?;
        let found = state
            .invoices
            .values()
            .filter(|invoice| matches_invoice(invoice, filter));
        Ok(page(
            found.cloned(),
            &request,
            |invoice, after| invoice.invoice_id > *after,
            |invoice| invoice.invoice_id,
        ))
    }
}

#[async_trait]
impl PaymentRepository for Connection {
    async fn record(&mut self, payment: &Payment, invoice: &Invoice) -> Result<(), StoreError> {
        self.write(|state| {
            state.save_paid(invoice)?;
            forms::check(&[payment])?;
            hold(
                Rule::IdentifierTaken,
                !state.payments.contains_key(&payment.payment_id),
            )?;
            hold(
                Rule::InvoiceUnknown,
                state.invoices.contains_key(&payment.invoice_id),
            )?;
            state.check_user_known(payment.recorded_by)?;
            state.payments.insert(payment.payment_id, payment.clone());
            Ok(())
        })
    }

    async fn record_refund(
        &mut self,
        refund: &Refund,
        payment: &Payment,
        invoice: &Invoice,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            state.save_paid(invoice)?;
            let stored = stored_before(&mut state.payments, &payment.payment_id, payment)?;
            stored.refunded = payment.refunded;
            stored.version = payment.version;
            hold(
                Rule::RefundBeyondPayment,
                (Cents::ZERO..=stored.amount).contains(&stored.refunded),
            )?;
            forms::check(&[refund])?;
            hold(
                Rule::IdentifierTaken,
                !state.refunds.contains_key(&refund.refund_id),
            )?;
            hold(
                Rule::PaymentUnknown,
                state.payments.contains_key(&refund.payment_id),
            )?;
            state.check_user_known(refund.recorded_by)?;
            state.refunds.insert(refund.refund_id, refund.clone());
            Ok(())
        })
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        self.write(|state| {
            if state.check_patient_known(patient_id).is_err() {
                state.redact_money_of(patient_id);
            }
            Ok(())
        })
    }

    async fn refunds_of_patient(
        &mut self,
        patient_id: PatientId,
        request: PageRequest<RefundId>,
    ) -> Result<Page<Refund, RefundId>, StoreError> {
        let state = self.read()?;
        let payment = |refund: &Refund| state.payments.get(&refund.payment_id);
        let is_theirs = |refund: &&Refund| {
            payment(refund).is_some_and(|payment| payment.patient_id == patient_id)
        };
        Ok(page(
            state.refunds.values().filter(is_theirs).cloned(),
            &request,
            |refund, after| refund.refund_id > *after,
            |refund| refund.refund_id,
        ))
    }

    async fn get(&mut self, payment_id: PaymentId) -> Result<Option<Payment>, StoreError> {
        Ok(self.read()?.payments.get(&payment_id).cloned())
    }

    async fn list(
        &mut self,
        filter: &PaymentFilter,
        request: PageRequest<PaymentId>,
    ) -> Result<Page<Payment, PaymentId>, StoreError> {
        let state = self.read()?;
        let found = state
            .payments
            .values()
            .filter(|payment| matches_payment(payment, filter));
        Ok(page(
            found.cloned(),
            &request,
            |payment, after| payment.payment_id > *after,
            |payment| payment.payment_id,
        ))
    }
}
