use async_trait::async_trait;

use super::{Invoice, InvoiceStatus, Payment, PaymentMethod, Refund};
use crate::shared::{InvoiceId, Page, PageRequest, PatientId, PaymentId, RefundId, TimeWindow};
use crate::store::StoreError;

/// Keeps invoices and their lines.
///
/// Writes store an invoice whose version was raised by one; when the stored one is not the version
/// before, they answer [`StoreError::Conflict`]. Those about an anonymized patient are refused with
/// [`Rule::PatientAnonymized`](crate::store::Rule::PatientAnonymized).
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait InvoiceRepository: Send {
    /// Adds a draft with its lines.
    async fn insert(&mut self, invoice: &Invoice) -> Result<(), StoreError>;

    /// The invoice of that id.
    async fn get(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError>;

    /// The invoice of that id, held against change until the unit of work ends, so that decisions
    /// about its money take turns.
    async fn lock(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError>;

    /// The invoice that the payment was made for, held like [`lock`](Self::lock).
    async fn lock_of_payment(
        &mut self,
        payment_id: PaymentId,
    ) -> Result<Option<Invoice>, StoreError>;

    /// All invoices of a patient, each held like [`lock`](Self::lock). To be called with the
    /// patient [locked](crate::patients::PatientRepository::lock), so that none comes.
    async fn lock_of_patient(&mut self, patient_id: PatientId) -> Result<Vec<Invoice>, StoreError>;

    /// Stores a changed draft with its lines.
    async fn update_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError>;

    /// Deletes a draft with its lines.
    async fn delete_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError>;

    /// The sequence of the number that was given last, 0 before the first. Nobody else takes one
    /// until the unit of work ends, so that none is given twice and none is left out.
    async fn lock_numbering(&mut self) -> Result<i64, StoreError>;

    /// Stores that the invoice was issued, under the number of this sequence.
    async fn save_issue(&mut self, invoice: &Invoice, sequence: i64) -> Result<(), StoreError>;

    /// Stores that the invoice was called off.
    async fn save_voiding(&mut self, invoice: &Invoice) -> Result<(), StoreError>;

    /// The invoices that match, in the order they were drafted.
    async fn list(
        &mut self,
        filter: &InvoiceFilter,
        page: PageRequest<InvoiceId>,
    ) -> Result<Page<Invoice, InvoiceId>, StoreError>;
}

/// Keeps payments and refunds. Adds to them, never changes or deletes them; only what people wrote
/// about an anonymized patient's goes.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait PaymentRepository: Send {
    /// Adds a payment and stores what the invoice's sums are with it.
    async fn record(&mut self, payment: &Payment, invoice: &Invoice) -> Result<(), StoreError>;

    /// Adds a refund and stores what its payment's and invoice's sums are with it.
    async fn record_refund(
        &mut self,
        refund: &Refund,
        payment: &Payment,
        invoice: &Invoice,
    ) -> Result<(), StoreError>;

    /// The payment of that id.
    async fn get(&mut self, payment_id: PaymentId) -> Result<Option<Payment>, StoreError>;

    /// Puts [`REDACTED`](crate::shared::REDACTED) in the place of what people wrote about the
    /// payments, refunds and void invoices of a patient who is anonymized, and touches nobody
    /// else's.
    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError>;

    /// A patient's refunds, in the order they were recorded.
    async fn refunds_of_patient(
        &mut self,
        patient_id: PatientId,
        page: PageRequest<RefundId>,
    ) -> Result<Page<Refund, RefundId>, StoreError>;

    /// The payments that match, in the order they were recorded.
    async fn list(
        &mut self,
        filter: &PaymentFilter,
        page: PageRequest<PaymentId>,
    ) -> Result<Page<Payment, PaymentId>, StoreError>;
}

/// Which invoices are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvoiceFilter {
    /// Of this patient.
    pub patient_id: Option<PatientId>,
    /// In this status.
    pub status: Option<InvoiceStatus>,
    /// Issued in this window; drafts and what was voided as one count by when they were made.
    pub window: TimeWindow,
}

/// Which payments are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Of this invoice.
    pub invoice_id: Option<InvoiceId>,
    /// For an invoice of this patient.
    pub patient_id: Option<PatientId>,
    /// That came in this way.
    pub method: Option<PaymentMethod>,
    /// Paid in this window.
    pub window: TimeWindow,
}
