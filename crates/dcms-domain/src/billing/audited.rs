use uuid::Uuid;

use super::{Invoice, InvoiceItem, Payment, Refund};
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for Invoice {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Invoice, self.invoice_id).of(self.patient_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            invoice_id: _,
            patient_id,
            appointment_id,
            currency,
            items,
            issue,
            voiding,
            total,
            paid,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        let number = issue.as_ref().map(|issue| issue.number.as_str());
        let void_reason = voiding.as_ref().map(|voiding| &voiding.reason);
        vec![
            ("patient_id", Uuid::from(*patient_id).into()),
            ("appointment_id", appointment_id.map(Uuid::from).into()),
            ("currency", currency.code().into()),
            ("items", AuditValue::list(items.iter().map(line))),
            ("invoice_number", number.into()),
            ("void_reason", void_reason.into()),
            ("status", self.status().as_str().into()),
            ("total_cents", (*total).into()),
            ("paid_cents", (*paid).into()),
        ]
    }
}

fn line(item: &InvoiceItem) -> AuditValue {
    let InvoiceItem {
        invoice_item_id,
        service_id,
        description_snapshot,
        unit_price_snapshot,
        quantity,
        line_total: _,
    } = item;
    AuditValue::Record(vec![
        (
            "invoice_item_id".into(),
            Uuid::from(*invoice_item_id).into(),
        ),
        ("service_id".into(), service_id.map(Uuid::from).into()),
        ("description".into(), description_snapshot.into()),
        ("unit_price_cents".into(), (*unit_price_snapshot).into()),
        ("qty".into(), quantity.get().into()),
    ])
}

impl Audited for Payment {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Payment, self.payment_id).of(self.patient_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            payment_id: _,
            invoice_id,
            patient_id: _,
            amount,
            refunded: _,
            method,
            paid_at,
            reference,
            recorded_by: _,
            version: _,
            created_at: _,
        } = self;
        vec![
            ("invoice_id", Uuid::from(*invoice_id).into()),
            ("amount_cents", (*amount).into()),
            ("method", method.as_str().into()),
            ("paid_at", (*paid_at).into()),
            ("reference", reference.as_ref().into()),
        ]
    }
}

/// Its subject lacks the patient, whom only the payment knows.
impl Audited for Refund {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Refund, self.refund_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            refund_id: _,
            payment_id,
            amount,
            reason,
            recorded_by: _,
            created_at: _,
        } = self;
        vec![
            ("payment_id", Uuid::from(*payment_id).into()),
            ("amount_cents", (*amount).into()),
            ("reason", reason.into()),
        ]
    }
}
