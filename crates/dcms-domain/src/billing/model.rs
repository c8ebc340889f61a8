use std::fmt;

use iso_currency::Currency;

use crate::appointments::PlannedService;
use crate::catalog::{Service, available_service, check_price};
use crate::shared::{
    AppointmentId, Cents, Change, CommonError, FaultCode, Faults, Instant, InvoiceId,
    InvoiceItemId, MoneyOverflow, PatientId, PaymentId, Quantity, RefundId, ServiceId, UserId,
    Version, WindowRequest, context_error, is_sane_instant, single_line_text,
};

/// The most lines of an invoice.
pub const MAX_INVOICE_LINES: usize = 200;

/// The number an invoice is filed under: given at issue, without gaps, never given again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InvoiceNumber(String);

impl InvoiceNumber {
    /// The number of the `sequence`-th invoice that was issued: `INV-` and at least six digits.
    #[must_use]
    pub fn of_sequence(sequence: i64) -> Self {
        Self(format!("INV-{sequence:06}"))
    }

    /// A number as a store keeps it.
    #[must_use]
    pub const fn new(number: String) -> Self {
        Self(number)
    }

    /// The number as it is printed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvoiceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where an invoice stands. Follows from its facts; nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvoiceStatus {
    /// Being written.
    Draft,
    /// Sent out; nothing was paid yet.
    Issued,
    /// Part of it was paid.
    PartiallyPaid,
    /// Nothing is owed any more.
    Paid,
    /// Called off.
    Void,
}

impl InvoiceStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Draft,
        Self::Issued,
        Self::PartiallyPaid,
        Self::Paid,
        Self::Void,
    ];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
            Self::PartiallyPaid => "partially_paid",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// The fact that an invoice was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// When.
    pub at: Instant,
    /// Under which number.
    pub number: InvoiceNumber,
}

/// The fact that an invoice was called off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voiding {
    /// When.
    pub at: Instant,
    /// Why.
    pub reason: String,
}

/// A line of an invoice: name and price as they were when it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceItem {
    /// Its id.
    pub invoice_item_id: InvoiceItemId,
    /// The service it charges, if it is one of the catalog.
    pub service_id: Option<ServiceId>,
    /// What it says.
    pub description_snapshot: String,
    /// What one costs.
    pub unit_price_snapshot: Cents,
    /// How many.
    pub quantity: Quantity,
    /// Unit price times quantity.
    pub line_total: Cents,
}

/// An invoice, as the facts about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub invoice_id: InvoiceId,
    /// Who is charged.
    pub patient_id: PatientId,
    /// For which visit, if for one.
    pub appointment_id: Option<AppointmentId>,
    /// What it is charged in: the clinic's currency, settled at issue.
    pub currency: Currency,
    /// Its lines, in the order they were added.
    pub items: Vec<InvoiceItem>,
    /// That it was issued.
    pub issue: Option<Issue>,
    /// That it was called off.
    pub voiding: Option<Voiding>,
    /// The sum of its lines.
    pub total: Cents,
    /// The sum of its payments without their refunds.
    pub paid: Cents,
    /// Counts the changes.
    pub version: Version,
    /// When it was drafted.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// A line to be added, as callers write it: a service of the catalog, or a description with a
/// price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// The service; then name and price are the catalog's.
    pub service_id: Option<ServiceId>,
    /// What it says; only without a service.
    pub description: Option<String>,
    /// What one costs; only without a service.
    pub unit_price: Option<Cents>,
    /// How many: 1 to 10,000.
    pub qty: i64,
}

/// Changes to a line of a draft.
#[derive(Debug, Clone, Default)]
pub struct ItemChanges {
    /// What it says.
    pub description: Change<String>,
    /// What one costs.
    pub unit_price: Change<Cents>,
    /// How many.
    pub qty: Change<i64>,
}

/// An invoice to be drafted.
#[derive(Debug, Clone)]
pub struct DraftInvoice {
    /// Who is charged.
    pub patient_id: PatientId,
    /// For which visit, if for one; the patient's own.
    pub appointment_id: Option<AppointmentId>,
    /// Whether the visit's planned services become the first lines.
    pub from_appointment: bool,
    /// Its lines, or those behind the visit's.
    pub items: Vec<NewItem>,
}

/// Changes to a draft; what is named is replaced.
#[derive(Debug, Clone, Default)]
pub struct InvoiceChanges {
    /// For which visit.
    pub appointment_id: Change<AppointmentId>,
    /// All lines.
    pub items: Change<Vec<NewItem>>,
}

/// How money came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentMethod {
    /// Notes and coins.
    Cash,
    /// By card.
    Card,
    /// By bank transfer.
    BankTransfer,
    /// From an insurance.
    Insurance,
    /// Otherwise.
    Other,
}

impl PaymentMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self::Cash,
        Self::Card,
        Self::BankTransfer,
        Self::Insurance,
        Self::Other,
    ];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cash => "cash",
            Self::Card => "card",
            Self::BankTransfer => "bank_transfer",
            Self::Insurance => "insurance",
            Self::Other => "other",
        }
    }

    /// The method of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// Money that came in for an invoice. Never edited, never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub payment_id: PaymentId,
    /// What it was paid for.
    pub invoice_id: InvoiceId,
    /// Who was charged.
    pub patient_id: PatientId,
    /// How much; positive.
    pub amount: Cents,
    /// How much of it went back since.
    pub refunded: Cents,
    /// How it came in.
    pub method: PaymentMethod,
    /// When the money came in.
    pub paid_at: Instant,
    /// What the slip says.
    pub reference: Option<String>,
    /// Who recorded it.
    pub recorded_by: UserId,
    /// Counts its refunds, from 1.
    pub version: Version,
    /// When it was recorded.
    pub created_at: Instant,
}

/// Money of one payment that went back. Never edited, never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Its id.
    pub refund_id: RefundId,
    /// The payment it came from.
    pub payment_id: PaymentId,
    /// How much; positive.
    pub amount: Cents,
    /// Why.
    pub reason: String,
    /// Who recorded it.
    pub recorded_by: UserId,
    /// When it was recorded.
    pub created_at: Instant,
}

/// A payment to be recorded.
#[derive(Debug, Clone)]
pub struct RecordPayment {
    /// How much.
    pub amount: Cents,
    /// How it came in.
    pub method: PaymentMethod,
    /// When the money came in; now when absent, never in the future.
    pub paid_at: Option<Instant>,
    /// What the slip says.
    pub reference: Option<String>,
}

/// A refund to be recorded.
#[derive(Debug, Clone)]
pub struct RecordRefund {
    /// How much.
    pub amount: Cents,
    /// Why; not empty.
    pub reason: String,
}

/// What can go wrong with invoices and payments.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// What any context can fail with.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// Only a draft can be edited, issued or deleted.
    #[error("the invoice is not a draft any more")]
    InvoiceNotDraft,
    /// An invoice without a line cannot be issued.
    #[error("the invoice has no line")]
    InvoiceEmpty,
    /// Nothing can be paid on a draft, a void or a paid invoice.
    #[error("the invoice does not take payments")]
    InvoiceNotPayable,
    /// Only what has no net payments can be called off, and only once.
    #[error("an invoice that is {} cannot be voided", from.as_str())]
    NotVoidable {
        /// Where the invoice stands.
        from: InvoiceStatus,
    },
    /// More was offered than is owed.
    #[error("the payment exceeds the balance")]
    PaymentExceedsBalance {
        /// What is owed.
        balance: Cents,
    },
    /// More was to go back than is left of the payment.
    #[error("the refund exceeds the payment")]
    RefundExceedsPayment,
}

context_error!(BillingError);

impl Invoice {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> InvoiceStatus {
        match (&self.issue, &self.voiding) {
            (_, Some(_)) => InvoiceStatus::Void,
            (None, None) => InvoiceStatus::Draft,
            (Some(_), None) if self.paid == self.total => InvoiceStatus::Paid,
            (Some(_), None) if self.paid == Cents::ZERO => InvoiceStatus::Issued,
            (Some(_), None) => InvoiceStatus::PartiallyPaid,
        }
    }

    /// What is owed, or will be once it is issued; nothing when it is void.
    ///
    /// # Errors
    /// [`MoneyOverflow`], which the bounds of lines and payments rule out.
    pub fn balance(&self) -> Result<Cents, MoneyOverflow> {
        if self.voiding.is_some() {
            return Ok(Cents::ZERO);
        }
        self.total.minus(self.paid)
    }

    /// Whether money is owed on it, or will be once it is issued.
    pub(crate) fn is_open(&self) -> bool {
        match self.status() {
            InvoiceStatus::Draft | InvoiceStatus::Issued | InvoiceStatus::PartiallyPaid => true,
            InvoiceStatus::Paid | InvoiceStatus::Void => false,
        }
    }

    /// Nothing, as long as it is a draft.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`].
    pub fn require_draft(&self) -> Result<(), BillingError> {
        if self.status() == InvoiceStatus::Draft {
            Ok(())
        } else {
            Err(BillingError::InvoiceNotDraft)
        }
    }

    /// The draft with these lines instead of its own.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`]; a fault when there are more than [`MAX_INVOICE_LINES`].
    pub fn with_items(
        mut self,
        items: Vec<InvoiceItem>,
        now: Instant,
    ) -> Result<Self, BillingError> {
        self.require_draft()?;
        if items.len() > MAX_INVOICE_LINES {
            let mut faults = Faults::new();
            let detail = format!("must have at most {MAX_INVOICE_LINES} entries");
            faults.add("/items", FaultCode::TooLong, detail);
            return Err(faults.into());
        }
        self.total = Cents::sum(items.iter().map(|item| item.line_total))?;
        self.items = items;
        Ok(self.touched(now))
    }

    /// The invoice, sent out under the number.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotDraft`]; [`BillingError::InvoiceEmpty`].
    pub fn issued(
        mut self,
        number: InvoiceNumber,
        currency: Currency,
        now: Instant,
    ) -> Result<Self, BillingError> {
        self.require_draft()?;
        if self.items.is_empty() {
            return Err(BillingError::InvoiceEmpty);
        }
        self.issue = Some(Issue { at: now, number });
        self.currency = currency;
        Ok(self.touched(now))
    }

    /// The invoice, called off. It keeps its number.
    ///
    /// # Errors
    /// [`BillingError::NotVoidable`]; a fault of the reason.
    pub fn voided(mut self, reason: &str, now: Instant) -> Result<Self, BillingError> {
        if self.voiding.is_some() || self.paid != Cents::ZERO {
            return Err(BillingError::NotVoidable {
                from: self.status(),
            });
        }
        let mut faults = Faults::new();
        let reason = single_line_text(reason, 500, "/reason", &mut faults);
        faults.into_result()?;
        self.voiding = Some(Voiding { at: now, reason });
        Ok(self.touched(now))
    }

    /// The invoice after the amount came in.
    ///
    /// # Errors
    /// [`BillingError::InvoiceNotPayable`]; [`BillingError::PaymentExceedsBalance`]; a fault when
    /// the amount is not positive.
    pub fn paid_by(mut self, amount: Cents, now: Instant) -> Result<Self, BillingError> {
        require_amount(amount)?;
        match self.status() {
            InvoiceStatus::Draft | InvoiceStatus::Paid | InvoiceStatus::Void => {
                return Err(BillingError::InvoiceNotPayable);
            }
            InvoiceStatus::Issued | InvoiceStatus::PartiallyPaid => {}
        }
        let balance = self.balance()?;
        if amount > balance {
            return Err(BillingError::PaymentExceedsBalance { balance });
        }
        self.paid = self.paid.plus(amount)?;
        Ok(self.touched(now))
    }

    /// The invoice after the amount of one of its payments went back.
    ///
    /// # Errors
    /// [`MoneyOverflow`], which the bounds of payments rule out.
    pub fn refunded_by(mut self, amount: Cents, now: Instant) -> Result<Self, BillingError> {
        self.paid = self.paid.minus(amount)?;
        Ok(self.touched(now))
    }

    fn touched(mut self, now: Instant) -> Self {
        self.version = self.version.next();
        self.updated_at = now;
        self
    }
}

impl Payment {
    /// The payment after part of it went back.
    ///
    /// # Errors
    /// [`BillingError::RefundExceedsPayment`]; a fault when the amount is not positive.
    pub fn refunded_by(mut self, amount: Cents) -> Result<Self, BillingError> {
        require_amount(amount)?;
        if amount > self.amount.minus(self.refunded)? {
            return Err(BillingError::RefundExceedsPayment);
        }
        self.refunded = self.refunded.plus(amount)?;
        self.version = self.version.next();
        Ok(self)
    }
}

fn check_amount(amount: Cents, faults: &mut Faults) {
    if !(Cents::new(1)..=Cents::MAX_AMOUNT).contains(&amount) {
        let detail = format!("must lie between 1 and {}", Cents::MAX_AMOUNT);
        faults.add("/amount_cents", FaultCode::OutOfRange, detail);
    }
}

fn require_amount(amount: Cents) -> Result<(), Faults> {
    let mut faults = Faults::new();
    check_amount(amount, &mut faults);
    faults.into_result()
}

impl RecordPayment {
    /// When the money came in, and what the slip says, cleaned.
    pub(super) fn checked(&self, now: Instant) -> Result<(Instant, Option<String>), Faults> {
        let mut faults = Faults::new();
        check_amount(self.amount, &mut faults);
        let paid_at = self.paid_at.unwrap_or(now);
        if paid_at > now || !is_sane_instant(paid_at) {
            let detail = "must not lie in the future or before the year 1900";
            faults.add("/paid_at", FaultCode::OutOfRange, detail);
        }
        let reference = self
            .reference
            .as_deref()
            .map(|reference| single_line_text(reference, 200, "/reference", &mut faults));
        faults.into_result().map(|()| (paid_at, reference))
    }
}

impl RecordRefund {
    /// Why the money goes back, cleaned.
    pub(super) fn checked(&self) -> Result<String, Faults> {
        let mut faults = Faults::new();
        check_amount(self.amount, &mut faults);
        let reason = single_line_text(&self.reason, 500, "/reason", &mut faults);
        faults.into_result().map(|()| reason)
    }
}

impl InvoiceItem {
    /// A line whose name and price are taken from the catalog or from the caller. `known` holds
    /// the services that are named.
    pub(super) fn from_new(
        new: &NewItem,
        known: &[Service],
        invoice_item_id: InvoiceItemId,
        pointer: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        let quantity = check_quantity(new.qty, &format!("{pointer}/qty"), faults);
        let (description, unit_price) = match new.service_id {
            Some(service_id) => new.of_catalog(service_id, known, pointer, faults)?,
            None => new.of_caller(pointer, faults),
        };
        Self::priced(
            invoice_item_id,
            new.service_id,
            description,
            unit_price,
            quantity?,
        )
        .map_err(|overflow| faults.add(pointer, FaultCode::OutOfRange, overflow.to_string()))
        .ok()
    }

    /// A line for a service that was planned, at the price that the patient was told. `known` holds
    /// the service.
    pub(super) fn from_planned(
        planned: &PlannedService,
        known: &[Service],
        invoice_item_id: InvoiceItemId,
        faults: &mut Faults,
    ) -> Option<Self> {
        let (pointer, service_id) = ("/appointment_id", planned.service_id);
        let service = available_service(known, service_id, pointer, faults)?;
        Self::priced(
            invoice_item_id,
            Some(service_id),
            service.name.clone(),
            planned.unit_price.unwrap_or(service.current_price),
            planned.quantity,
        )
        .map_err(|overflow| faults.add(pointer, FaultCode::OutOfRange, overflow.to_string()))
        .ok()
    }

    /// The line after the changes.
    pub(super) fn changed(self, changes: ItemChanges) -> Result<Self, BillingError> {
        let mut faults = Faults::new();
        let description = changes.description.apply_required(
            self.description_snapshot,
            "/description",
            &mut faults,
        );
        let description = item_description(&description, "/description", &mut faults);
        let unit_price = changes.unit_price.apply_required(
            self.unit_price_snapshot,
            "/unit_price_cents",
            &mut faults,
        );
        check_price(unit_price, "/unit_price_cents", &mut faults);
        let qty = changes
            .qty
            .apply_required(i64::from(self.quantity.get()), "/qty", &mut faults);
        let quantity = check_quantity(qty, "/qty", &mut faults);
        let Some(quantity) = quantity.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let (id, service_id) = (self.invoice_item_id, self.service_id);
        Ok(Self::priced(
            id,
            service_id,
            description,
            unit_price,
            quantity,
        )?)
    }

    fn priced(
        invoice_item_id: InvoiceItemId,
        service_id: Option<ServiceId>,
        description_snapshot: String,
        unit_price_snapshot: Cents,
        quantity: Quantity,
    ) -> Result<Self, MoneyOverflow> {
        Ok(Self {
            invoice_item_id,
            service_id,
            description_snapshot,
            unit_price_snapshot,
            quantity,
            line_total: unit_price_snapshot.times(quantity)?,
        })
    }
}

impl NewItem {
    fn of_catalog(
        &self,
        service_id: ServiceId,
        known: &[Service],
        pointer: &str,
        faults: &mut Faults,
    ) -> Option<(String, Cents)> {
        let own_words = [
            (self.description.is_some(), "description"),
            (self.unit_price.is_some(), "unit_price_cents"),
        ];
        for (_, field) in own_words.into_iter().filter(|(given, _)| *given) {
            let detail = "comes from the catalog when service_id is given";
            faults.add(format!("{pointer}/{field}"), FaultCode::Conflicting, detail);
        }
        available_service(known, service_id, &format!("{pointer}/service_id"), faults)
            .map(|service| (service.name.clone(), service.current_price))
    }

    fn of_caller(&self, pointer: &str, faults: &mut Faults) -> (String, Cents) {
        let description = self.description.as_deref().unwrap_or_default();
        let description = item_description(description, &format!("{pointer}/description"), faults);
        let price_pointer = format!("{pointer}/unit_price_cents");
        match self.unit_price {
            Some(price) => check_price(price, &price_pointer, faults),
            None => faults.add(
                price_pointer,
                FaultCode::Required,
                "must be given without service_id",
            ),
        }
        (description, self.unit_price.unwrap_or_default())
    }
}

fn item_description(description: &str, pointer: &str, faults: &mut Faults) -> String {
    single_line_text(description, 200, pointer, faults)
}

fn check_quantity(qty: i64, pointer: &str, faults: &mut Faults) -> Option<Quantity> {
    let quantity = Quantity::new(qty);
    if quantity.is_none() {
        let detail = format!("must lie between 1 and {}", Quantity::MAX);
        faults.add(pointer, FaultCode::OutOfRange, detail);
    }
    quantity
}

/// Which invoices are looked for, as callers write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvoiceQuery {
    /// Of this patient.
    pub patient_id: Option<PatientId>,
    /// In this status.
    pub status: Option<InvoiceStatus>,
    /// Issued in this window; drafts count by when they were made.
    pub window: WindowRequest,
}

/// Which payments are looked for, as callers write it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaymentQuery {
    /// That came in this way.
    pub method: Option<PaymentMethod>,
    /// Paid in this window.
    pub window: WindowRequest,
}
