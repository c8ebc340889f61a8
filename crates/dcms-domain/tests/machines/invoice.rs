//! Invoices and payments against a model of a few lines, step by step.
//!
//! The model is written from the HTTP contract: drafts are edited and frozen once issued, paid
//! states follow from the sums, and `0 ≤ paid ≤ total` whatever is tried.

use std::sync::LazyLock;

use dcms_domain::billing::{
    BillingError, DraftInvoice, Invoice, ItemChanges, NewItem, PaymentMethod, RecordPayment,
    RecordRefund,
};
use dcms_domain::shared::{Cents, Change, Expected, InvoiceId, PageRequest, PaymentId};
use dcms_domain::testing::Clinic;
use pollster::block_on;
use proptest::prelude::{BoxedStrategy, Just, Strategy};
use proptest::prop_oneof;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

#[derive(Debug, Clone, Copy)]
enum Step {
    Add { price: i64, qty: i64 },
    Change { line: usize, price: i64, qty: i64 },
    Remove { line: usize },
    Issue,
    Void,
    Pay(i64),
    Refund { payment: usize, amount: i64 },
}

/// What a step answers: `ok`, or the code of its problem.
type Answer = (&'static str, Option<i64>);

const OK: Answer = ("ok", None);

#[derive(Debug, Clone, Default)]
struct Model {
    lines: Vec<(i64, i64)>,
    is_issued: bool,
    is_void: bool,
    /// What came in, and what of it went back.
    payments: Vec<(i64, i64)>,
    answer: Option<Answer>,
}

impl Model {
    fn total(&self) -> i64 {
        self.lines.iter().map(|(price, qty)| price * qty).sum()
    }

    fn paid(&self) -> i64 {
        self.payments.iter().map(|(paid, back)| paid - back).sum()
    }

    fn status(&self) -> &'static str {
        match (self.paid(), self.total()) {
            _ if self.is_void => "void",
            _ if !self.is_issued => "draft",
            (paid, total) if paid == total => "paid",
            (0, _) => "issued",
            _ => "partially_paid",
        }
    }

    fn step(&mut self, step: Step) -> Answer {
        let is_draft = self.status() == "draft";
        match step {
            Step::Add { .. } | Step::Change { .. } | Step::Remove { .. } | Step::Issue
                if !is_draft =>
            {
                return ("invoice_not_draft", None);
            }
            Step::Add { price, qty } => self.lines.push((price, qty)),
            Step::Change { line, price, qty } => self.lines[line] = (price, qty),
            Step::Remove { line } => {
                self.lines.remove(line);
            }
            Step::Issue if self.lines.is_empty() => return ("invoice_empty", None),
            Step::Issue => self.is_issued = true,
            Step::Void if self.is_void || self.paid() != 0 => return ("invalid_transition", None),
            Step::Void => self.is_void = true,
            Step::Pay(_) if !["issued", "partially_paid"].contains(&self.status()) => {
                return ("invoice_not_payable", None);
            }
            Step::Pay(amount) if amount > self.total() - self.paid() => {
                let balance = self.total() - self.paid();
                return ("payment_exceeds_balance", Some(balance));
            }
            Step::Pay(amount) => self.payments.push((amount, 0)),
            Step::Refund { payment, amount } => {
                let (paid, back) = &mut self.payments[payment];
                if amount > *paid - *back {
                    return ("refund_exceeds_payment", None);
                }
                *back += amount;
            }
        }
        OK
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let (price, qty) = (0..6_i64, 1..4_i64);
        let balance = (state.total() - state.paid()).max(1);
        let amount = || prop_oneof![2 => 1..8_i64, 1 => Just(balance), 1 => Just(balance + 1)];
        let add = (price.clone(), qty.clone()).prop_map(|(price, qty)| Step::Add { price, qty });
        let anywhere = prop_oneof![
            2 => add,
            3 => Just(Step::Issue),
            1 => Just(Step::Void),
            4 => amount().prop_map(Step::Pay),
        ];
        let mut steps = anywhere.boxed();
        if !state.lines.is_empty() {
            let line = 0..state.lines.len();
            let change = (line.clone(), price, qty).prop_map(|(line, price, qty)| Step::Change {
                line,
                price,
                qty,
            });
            let remove = line.prop_map(|line| Step::Remove { line });
            steps = prop_oneof![6 => steps, 1 => change, 1 => remove].boxed();
        }
        if !state.payments.is_empty() {
            let refund = (0..state.payments.len(), amount())
                .prop_map(|(payment, amount)| Step::Refund { payment, amount });
            steps = prop_oneof![2 => steps, 1 => refund].boxed();
        }
        steps
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Change { line, .. } | Step::Remove { line } => *line < state.lines.len(),
            Step::Refund { payment, .. } => *payment < state.payments.len(),
            Step::Add { .. } | Step::Issue | Step::Void | Step::Pay(_) => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.answer = Some(state.step(*step));
        state
    }
}

/// The clinic that every case starts from, with an empty draft.
static START: LazyLock<(Clinic, InvoiceId)> = LazyLock::new(|| {
    block_on(async {
        let clinic = Clinic::open().await;
        let empty = DraftInvoice {
            patient_id: clinic.patient.patient_id,
            appointment_id: None,
            from_appointment: false,
            items: Vec::new(),
        };
        let draft = clinic.services.billing.draft(&clinic.manager, empty).await;
        (clinic, draft.unwrap().invoice_id)
    })
});

struct Billing {
    clinic: Clinic,
    payments: Vec<PaymentId>,
    /// What was issued, if it was.
    issued: Option<Invoice>,
}

impl Billing {
    async fn invoice(&self) -> Invoice {
        let (_, id) = *START;
        let billing = &self.clinic.services.billing;
        billing.invoice(&self.clinic.doctor, id).await.unwrap()
    }

    async fn step(&mut self, step: Step) -> Result<(), BillingError> {
        let (_, id) = *START;
        let (billing, any) = (&self.clinic.services.billing, Expected::Any);
        let (desk, manager) = (&self.clinic.receptionist, &self.clinic.manager);
        let item_id = |invoice: &Invoice, line: usize| invoice.items[line].invoice_item_id;
        match step {
            Step::Add { price, qty } => {
                let item = NewItem {
                    service_id: None,
                    description: Some("Something".to_owned()),
                    unit_price: Some(Cents::new(price)),
                    qty,
                };
                billing.add_item(desk, id, &any, item).await?;
            }
            Step::Change { line, price, qty } => {
                let item = item_id(&self.invoice().await, line);
                let changes = ItemChanges {
                    description: Change::Keep,
                    unit_price: Change::Set(Cents::new(price)),
                    qty: Change::Set(qty),
                };
                billing.change_item(desk, id, item, &any, changes).await?;
            }
            Step::Remove { line } => {
                let item = item_id(&self.invoice().await, line);
                billing.remove_item(desk, id, item, &any).await?;
            }
            Step::Issue => self.issued = Some(billing.issue(desk, id, &any).await?),
            Step::Void => {
                billing.void(manager, id, &any, "Mistake").await?;
            }
            Step::Pay(amount) => {
                let payment = RecordPayment {
                    amount: Cents::new(amount),
                    method: PaymentMethod::Cash,
                    paid_at: None,
                    reference: None,
                };
                let (payment, _) = billing.record_payment(desk, id, &any, payment).await?;
                self.payments.push(payment.payment_id);
            }
            Step::Refund { payment, amount } => {
                let refund = RecordRefund {
                    amount: Cents::new(amount),
                    reason: "Too much".to_owned(),
                };
                let payment = self.payments[payment];
                billing
                    .record_refund(manager, payment, &any, refund)
                    .await?;
            }
        }
        Ok(())
    }
}

fn answer(result: Result<(), BillingError>) -> Answer {
    match result {
        Ok(()) => OK,
        Err(BillingError::InvoiceNotDraft) => ("invoice_not_draft", None),
        Err(BillingError::InvoiceEmpty) => ("invoice_empty", None),
        Err(BillingError::InvoiceNotPayable) => ("invoice_not_payable", None),
        Err(BillingError::NotVoidable { .. }) => ("invalid_transition", None),
        Err(BillingError::PaymentExceedsBalance { balance }) => {
            ("payment_exceeds_balance", Some(balance.get()))
        }
        Err(BillingError::RefundExceedsPayment) => ("refund_exceeds_payment", None),
        Err(BillingError::Common(error)) => panic!("unexpected: {error:?}"),
    }
}

impl StateMachineTest for Billing {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self {
            clinic: START.0.fork(),
            payments: Vec::new(),
            issued: None,
        }
    }

    fn apply(mut state: Self, model: &Model, step: Step) -> Self {
        let result = block_on(state.step(step));
        assert_eq!(Some(answer(result)), model.answer);
        state
    }

    fn check_invariants(state: &Self, model: &Model) {
        let invoice = block_on(state.invoice());
        assert_eq!(invoice.status().as_str(), model.status());
        assert_eq!(invoice.total.get(), model.total());
        assert_eq!(invoice.paid.get(), model.paid());
        assert!((Cents::ZERO..=invoice.total).contains(&invoice.paid));
        let owed = model.total() - model.paid();
        let balance = if model.is_void { 0 } else { owed };
        assert_eq!(invoice.balance(), Ok(Cents::new(balance)));
        let lines: Vec<(i64, i64)> = invoice
            .items
            .iter()
            .map(|item| (item.unit_price_snapshot.get(), item.quantity.get().into()))
            .collect();
        assert_eq!(lines, model.lines);

        if let Some(issued) = &state.issued {
            assert_eq!(invoice.items, issued.items);
            assert_eq!(invoice.issue, issued.issue);
        }
        let (_, id) = *START;
        let billing = &state.clinic.services.billing;
        let payments = billing.payments_of_invoice(&state.clinic.doctor, id, PageRequest::first());
        let payments: Vec<(i64, i64)> = block_on(payments)
            .unwrap()
            .items
            .iter()
            .map(|payment| (payment.amount.get(), payment.refunded.get()))
            .collect();
        assert_eq!(payments, model.payments);
    }
}

prop_state_machine! {
    #![proptest_config(crate::ten_thousand_cases())]

    #[test]
    fn invoices_follow_the_model(sequential 1..14 => Billing);
}
