#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::billing as model;
use dcms_domain::shared::{Cents, MoneyOverflow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::json::request_bodies;
use crate::wire::{Bound, Id, Instant, InvoiceStatus, Patch, PaymentMethod, window_of};

/// An invoice.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invoice {
    invoice_id: Id,
    /// Null until it is issued; then gapless.
    invoice_number: Option<String>,
    patient_id: Id,
    appointment_id: Option<Id>,
    status: InvoiceStatus,
    /// The ISO 4217 code of what it is charged in.
    currency: String,
    total_cents: i64,
    /// What was paid, without what went back.
    paid_cents: i64,
    /// What is owed; nothing when it is void.
    balance_cents: i64,
    created_at: Instant,
    issued_at: Option<Instant>,
    voided_at: Option<Instant>,
    /// Why it was called off, if it was.
    void_reason: Option<String>,
    items: Vec<InvoiceItem>,
}

/// A line of an invoice: name and price as they were when it was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvoiceItem {
    invoice_item_id: Id,
    /// Null when it charges nothing of the catalog.
    service_id: Option<Id>,
    description_snapshot: String,
    unit_price_snapshot_cents: i64,
    qty: i32,
    line_total_cents: i64,
}

impl TryFrom<model::Invoice> for Invoice {
    type Error = MoneyOverflow;

    fn try_from(invoice: model::Invoice) -> Result<Self, MoneyOverflow> {
        let balance = invoice.balance()?;
        let status = InvoiceStatus(invoice.status());
        let (issued_at, invoice_number) = invoice
            .issue
            .map(|issue| (Instant(issue.at), issue.number.to_string()))
            .unzip();
        let (voided_at, void_reason) = invoice
            .voiding
            .map(|voiding| (Instant(voiding.at), voiding.reason))
            .unzip();
        Ok(Self {
            invoice_id: Id::of(invoice.invoice_id),
            invoice_number,
            patient_id: Id::of(invoice.patient_id),
            appointment_id: invoice.appointment_id.map(Id::of),
            status,
            currency: invoice.currency.code().to_owned(),
            total_cents: invoice.total.get(),
            paid_cents: invoice.paid.get(),
            balance_cents: balance.get(),
            created_at: Instant(invoice.created_at),
            issued_at,
            voided_at,
            void_reason,
            items: invoice.items.into_iter().map(InvoiceItem::from).collect(),
        })
    }
}

impl From<model::InvoiceItem> for InvoiceItem {
    fn from(item: model::InvoiceItem) -> Self {
        Self {
            invoice_item_id: Id::of(item.invoice_item_id),
            service_id: item.service_id.map(Id::of),
            description_snapshot: item.description_snapshot,
            unit_price_snapshot_cents: item.unit_price_snapshot.get(),
            qty: item.quantity.get(),
            line_total_cents: item.line_total.get(),
        }
    }
}

/// A line to be added: a service of the catalog, or a description with a price.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddItem {
    /// An active service; name and price are then the catalog's of today.
    service_id: Option<Id>,
    /// Only without `service_id`, and then required. 1 to 200 characters.
    description: Option<String>,
    /// Only without `service_id`, and then required. 0 to 1,000,000,000,000.
    unit_price_cents: Option<i64>,
    /// 1 to 10,000; 1 when absent.
    qty: Option<i64>,
}

impl From<AddItem> for model::NewItem {
    fn from(body: AddItem) -> Self {
        Self {
            service_id: body.service_id.map(Id::get),
            description: body.description,
            unit_price: body.unit_price_cents.map(Cents::new),
            qty: body.qty.unwrap_or(1),
        }
    }
}

fn new_items(items: Vec<AddItem>) -> Vec<model::NewItem> {
    items.into_iter().map(model::NewItem::from).collect()
}

/// An invoice to be drafted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftInvoice {
    patient_id: Id,
    /// A visit of the patient.
    appointment_id: Option<Id>,
    /// Whether the visit's planned services become the first lines. `false` when absent.
    from_appointment: Option<bool>,
    /// At most 200.
    items: Option<Vec<AddItem>>,
}

impl From<DraftInvoice> for model::DraftInvoice {
    fn from(body: DraftInvoice) -> Self {
        Self {
            patient_id: body.patient_id.get(),
            appointment_id: body.appointment_id.map(Id::get),
            from_appointment: body.from_appointment.unwrap_or(false),
            items: new_items(body.items.unwrap_or_default()),
        }
    }
}

/// Changes to a draft.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeInvoice {
    /// A visit of the patient.
    #[serde(default)]
    #[schema(value_type = Option<Id>)]
    appointment_id: Patch<Id>,
    /// All lines; replaces those there were. At most 200.
    #[serde(default)]
    #[schema(value_type = Option<Vec<AddItem>>)]
    items: Patch<Vec<AddItem>>,
}

impl From<ChangeInvoice> for model::InvoiceChanges {
    fn from(body: ChangeInvoice) -> Self {
        Self {
            appointment_id: body.appointment_id.0.map(Id::get),
            items: body.items.0.map(new_items),
        }
    }
}

/// Changes to a line of a draft.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeItem {
    /// 1 to 200 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    description: Patch<String>,
    /// 0 to 1,000,000,000,000.
    #[serde(default)]
    #[schema(value_type = i64)]
    unit_price_cents: Patch<i64>,
    /// 1 to 10,000.
    #[serde(default)]
    #[schema(value_type = i64)]
    qty: Patch<i64>,
}

impl From<ChangeItem> for model::ItemChanges {
    fn from(body: ChangeItem) -> Self {
        Self {
            description: body.description.0,
            unit_price: body.unit_price_cents.0.map(Cents::new),
            qty: body.qty.0,
        }
    }
}

/// Why an invoice is called off.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidInvoice {
    /// 1 to 500 characters.
    pub(super) reason: String,
}

/// Which invoices are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InvoiceFilter {
    /// Only this patient's.
    patient_id: Option<Id>,
    /// Only those in this status.
    status: Option<InvoiceStatus>,
    /// Only those issued then or later; drafts count by when they were made.
    from: Option<Bound>,
    /// Only those issued before; drafts count by when they were made.
    to: Option<Bound>,
}

impl From<InvoiceFilter> for model::InvoiceQuery {
    fn from(filter: InvoiceFilter) -> Self {
        Self {
            patient_id: filter.patient_id.map(Id::get),
            status: filter.status.map(|status| status.0),
            window: window_of(filter.from, filter.to),
        }
    }
}

/// Money that came in for an invoice. Never edited, never deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Payment {
    payment_id: Id,
    invoice_id: Id,
    amount_cents: i64,
    /// How much of it went back since.
    refunded_cents: i64,
    method: PaymentMethod,
    /// When the money came in.
    paid_at: Instant,
    reference: Option<String>,
    /// The user who recorded it.
    recorded_by: Id,
    created_at: Instant,
}

impl From<model::Payment> for Payment {
    fn from(payment: model::Payment) -> Self {
        Self {
            payment_id: Id::of(payment.payment_id),
            invoice_id: Id::of(payment.invoice_id),
            amount_cents: payment.amount.get(),
            refunded_cents: payment.refunded.get(),
            method: PaymentMethod(payment.method),
            paid_at: Instant(payment.paid_at),
            reference: payment.reference,
            recorded_by: Id::of(payment.recorded_by),
            created_at: Instant(payment.created_at),
        }
    }
}

/// A payment to be recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordPayment {
    /// At least 1, at most the invoice's balance.
    amount_cents: i64,
    method: PaymentMethod,
    /// When the money came in; now when absent, never in the future.
    paid_at: Option<Instant>,
    /// What the slip says. At most 200 characters.
    reference: Option<String>,
}

impl From<RecordPayment> for model::RecordPayment {
    fn from(body: RecordPayment) -> Self {
        Self {
            amount: Cents::new(body.amount_cents),
            method: body.method.0,
            paid_at: body.paid_at.map(|instant| instant.0),
            reference: body.reference,
        }
    }
}

/// A payment that was recorded, and its invoice after it.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordedPayment {
    pub(super) payment: Payment,
    pub(super) invoice: Invoice,
}

/// Which payments are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PaymentFilter {
    /// Only those paid then or later.
    from: Option<Bound>,
    /// Only those paid before.
    to: Option<Bound>,
    /// Only those that came in this way.
    method: Option<PaymentMethod>,
}

impl From<PaymentFilter> for model::PaymentQuery {
    fn from(filter: PaymentFilter) -> Self {
        Self {
            method: filter.method.map(|method| method.0),
            window: window_of(filter.from, filter.to),
        }
    }
}

/// Money of one payment that went back. Never edited, never deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refund {
    refund_id: Id,
    payment_id: Id,
    amount_cents: i64,
    reason: String,
    /// The user who recorded it.
    recorded_by: Id,
    created_at: Instant,
}

impl From<model::Refund> for Refund {
    fn from(refund: model::Refund) -> Self {
        Self {
            refund_id: Id::of(refund.refund_id),
            payment_id: Id::of(refund.payment_id),
            amount_cents: refund.amount.get(),
            reason: refund.reason,
            recorded_by: Id::of(refund.recorded_by),
            created_at: Instant(refund.created_at),
        }
    }
}

/// A refund to be recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordRefund {
    /// At least 1, at most what is left of the payment.
    amount_cents: i64,
    /// 1 to 500 characters.
    reason: String,
}

impl From<RecordRefund> for model::RecordRefund {
    fn from(body: RecordRefund) -> Self {
        Self {
            amount: Cents::new(body.amount_cents),
            reason: body.reason,
        }
    }
}

/// A refund that was recorded, and the invoice after it.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordedRefund {
    pub(super) refund: Refund,
    pub(super) invoice: Invoice,
}

request_bodies!(
    DraftInvoice,
    ChangeInvoice,
    AddItem,
    ChangeItem,
    VoidInvoice,
    RecordPayment,
    RecordRefund
);
