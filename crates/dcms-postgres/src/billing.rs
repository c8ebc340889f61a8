use async_trait::async_trait;
use dcms_domain::billing::{
    Invoice, InvoiceFilter, InvoiceItem, InvoiceNumber, InvoiceRepository, InvoiceStatus, Issue,
    Payment, PaymentFilter, PaymentMethod, PaymentRepository, Refund, Voiding,
};
use dcms_domain::shared::{
    AppointmentId, Cents, Instant, InvoiceId, Page, PageRequest, PatientId, PaymentId, Quantity,
    RefundId, ServiceId, Version,
};
use dcms_domain::store::StoreError;
use iso_currency::Currency;
use uuid::Uuid;

use crate::error::{delete_error, known, store_error};
use crate::session::{PgSession, require_change, require_one_row};

/// An invoice with its lines as columns, in the order of their positions.
struct InvoiceRow {
    invoice_id: Uuid,
    invoice_number: Option<String>,
    patient_id: Uuid,
    appointment_id: Option<Uuid>,
    currency: String,
    total_cents: i64,
    paid_cents: i64,
    issued_at: Option<Instant>,
    voided_at: Option<Instant>,
    void_reason: Option<String>,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
    item_ids: Vec<Uuid>,
    service_ids: Vec<Option<Uuid>>,
    descriptions: Vec<String>,
    unit_prices: Vec<i64>,
    quantities: Vec<i32>,
    line_totals: Vec<i64>,
}

impl TryFrom<InvoiceRow> for Invoice {
    type Error = StoreError;

    fn try_from(row: InvoiceRow) -> Result<Self, StoreError> {
        let items = row
            .item_ids
            .into_iter()
            .zip(row.service_ids)
            .zip(row.descriptions)
            .zip(row.unit_prices)
            .zip(row.quantities)
            .zip(row.line_totals)
            .map(|(((((id, service), description), price), pieces), total)| {
                Ok(InvoiceItem {
                    invoice_item_id: id.into(),
                    service_id: service.map(ServiceId::from),
                    description_snapshot: description,
                    unit_price_snapshot: Cents::new(price),
                    quantity: known(Quantity::new(i64::from(pieces)), "invoice_items.qty")?,
                    line_total: Cents::new(total),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let number = row.invoice_number.map(InvoiceNumber::new);
        Ok(Self {
            invoice_id: row.invoice_id.into(),
            patient_id: row.patient_id.into(),
            appointment_id: row.appointment_id.map(AppointmentId::from),
            currency: known(Currency::from_code(&row.currency), "invoices.currency")?,
            items,
            issue: row
                .issued_at
                .zip(number)
                .map(|(at, number)| Issue { at, number }),
            voiding: row
                .voided_at
                .zip(row.void_reason)
                .map(|(at, reason)| Voiding { at, reason }),
            total: Cents::new(row.total_cents),
            paid: Cents::new(row.paid_cents),
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Invoices with their lines, in one query: `$rows` selects them, and lines are looked up for
/// those rows only.
macro_rules! select_invoices {
    ($rows:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            InvoiceRow,
            "SELECT invoice_id, invoice_number, patient_id, appointment_id, currency,
                total_cents, paid_cents, issued_at, voided_at, void_reason, version, created_at,
                updated_at,
                coalesce(item_ids, '{}') AS \"item_ids!\",
                coalesce(service_ids, '{}') AS \"service_ids!: Vec<Option<Uuid>>\",
                coalesce(descriptions, '{}') AS \"descriptions!\",
                coalesce(unit_prices, '{}') AS \"unit_prices!\",
                coalesce(quantities, '{}') AS \"quantities!\",
                coalesce(line_totals, '{}') AS \"line_totals!\"
            FROM (" + $rows + ") AS invoice
            CROSS JOIN LATERAL (
                SELECT array_agg(invoice_item_id ORDER BY position) AS item_ids,
                    array_agg(service_id ORDER BY position) AS service_ids,
                    array_agg(description_snapshot ORDER BY position) AS descriptions,
                    array_agg(unit_price_snapshot_cents ORDER BY position) AS unit_prices,
                    array_agg(qty ORDER BY position) AS quantities,
                    array_agg(line_total_cents ORDER BY position) AS line_totals
                FROM invoice_items WHERE invoice_items.invoice_id = invoice.invoice_id
            ) AS lines
            ORDER BY invoice_id",
            $($argument),+
        )
    };
}

/// Lines as columns: PostgreSQL turns them into rows with `UNNEST`.
struct LineColumns {
    item_ids: Vec<Uuid>,
    service_ids: Vec<Option<Uuid>>,
    descriptions: Vec<String>,
    unit_prices: Vec<i64>,
    quantities: Vec<i32>,
}

impl LineColumns {
    fn of(items: &[InvoiceItem]) -> Self {
        Self {
            item_ids: items
                .iter()
                .map(|item| item.invoice_item_id.into())
                .collect(),
            service_ids: items
                .iter()
                .map(|item| item.service_id.map(Uuid::from))
                .collect(),
            descriptions: items
                .iter()
                .map(|item| item.description_snapshot.clone())
                .collect(),
            unit_prices: items
                .iter()
                .map(|item| item.unit_price_snapshot.get())
                .collect(),
            quantities: items.iter().map(|item| item.quantity.get()).collect(),
        }
    }
}

struct PaymentRow {
    payment_id: Uuid,
    invoice_id: Uuid,
    patient_id: Uuid,
    amount_cents: i64,
    refunded_cents: i64,
    method: String,
    paid_at: Instant,
    reference: Option<String>,
    recorded_by: Uuid,
    version: i64,
    created_at: Instant,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        Ok(Self {
            payment_id: row.payment_id.into(),
            invoice_id: row.invoice_id.into(),
            patient_id: row.patient_id.into(),
            amount: Cents::new(row.amount_cents),
            refunded: Cents::new(row.refunded_cents),
            method: known(PaymentMethod::from_name(&row.method), "payments.method")?,
            paid_at: row.paid_at,
            reference: row.reference,
            recorded_by: row.recorded_by.into(),
            version: Version::new(row.version),
            created_at: row.created_at,
        })
    }
}

struct RefundRow {
    refund_id: Uuid,
    payment_id: Uuid,
    amount_cents: i64,
    reason: String,
    recorded_by: Uuid,
    created_at: Instant,
}

impl From<RefundRow> for Refund {
    fn from(row: RefundRow) -> Self {
        Self {
            refund_id: row.refund_id.into(),
            payment_id: row.payment_id.into(),
            amount: Cents::new(row.amount_cents),
            reason: row.reason,
            recorded_by: row.recorded_by.into(),
            created_at: row.created_at,
        }
    }
}

#[async_trait]
impl InvoiceRepository for PgSession {
    async fn insert(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        let lines = LineColumns::of(&invoice.items);
        sqlx::query!(
            "WITH drafted AS (
                INSERT INTO invoices (
                    invoice_id, patient_id, appointment_id, currency, total_cents, paid_cents,
                    version, created_at, updated_at
                ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                RETURNING invoice_id
            )
            INSERT INTO invoice_items (
                invoice_item_id, invoice_id, position, service_id, description_snapshot,
                unit_price_snapshot_cents, qty
            )
            SELECT line.item_id, drafted.invoice_id, line.position - 1, line.service_id,
                line.description, line.unit_price, line.qty
            FROM drafted CROSS JOIN UNNEST(
                $10::uuid[], $11::uuid[], $12::text[], $13::bigint[], $14::integer[]
            ) WITH ORDINALITY
                AS line (item_id, service_id, description, unit_price, qty, position)",
            Uuid::from(invoice.invoice_id),
            Uuid::from(invoice.patient_id),
            invoice.appointment_id.map(Uuid::from),
            invoice.currency.code(),
            invoice.total.get(),
            invoice.paid.get(),
            invoice.version.get(),
            invoice.created_at,
            invoice.updated_at,
            &lines.item_ids,
            &lines.service_ids as &[Option<Uuid>],
            &lines.descriptions,
            &lines.unit_prices,
            &lines.quantities,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn get(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError> {
        select_invoices!(
            "SELECT * FROM invoices WHERE invoice_id = $1",
            Uuid::from(invoice_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Invoice::try_from)
        .transpose()
    }

    async fn lock(&mut self, invoice_id: InvoiceId) -> Result<Option<Invoice>, StoreError> {
        // Two statements: one that waits for the lock would join the invoice as it is afterwards
        // with the lines as they were when the statement began.
        let locked = sqlx::query_scalar!(
            "SELECT invoice_id FROM invoices WHERE invoice_id = $1 FOR UPDATE",
            Uuid::from(invoice_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        match locked {
            Some(id) => InvoiceRepository::get(self, id.into()).await,
            None => Ok(None),
        }
    }

    async fn lock_of_payment(
        &mut self,
        payment_id: PaymentId,
    ) -> Result<Option<Invoice>, StoreError> {
        let locked = sqlx::query_scalar!(
            "SELECT invoice_id FROM invoices
            WHERE invoice_id = (SELECT invoice_id FROM payments WHERE payment_id = $1)
            FOR UPDATE",
            Uuid::from(payment_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?;
        match locked {
            Some(id) => InvoiceRepository::get(self, id.into()).await,
            None => Ok(None),
        }
    }

    async fn lock_of_patient(&mut self, patient_id: PatientId) -> Result<Vec<Invoice>, StoreError> {
        // Two statements, as in `lock`.
        sqlx::query_scalar!(
            "SELECT invoice_id FROM invoices WHERE patient_id = $1 ORDER BY invoice_id FOR UPDATE",
            Uuid::from(patient_id),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        select_invoices!(
            "SELECT * FROM invoices WHERE patient_id = $1",
            Uuid::from(patient_id),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?
        .into_iter()
        .map(Invoice::try_from)
        .collect()
    }

    async fn update_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        let lines = LineColumns::of(&invoice.items);
        // Lines that go and lines that come or change are different rows, so it does not matter
        // which PostgreSQL does first; that no two have one position is only checked at commit.
        let changed = sqlx::query_scalar!(
            "WITH changed AS (
                UPDATE invoices
                SET appointment_id = $3, currency = $4, total_cents = $5, version = $6,
                    updated_at = $7
                WHERE invoice_id = $1 AND version = $2
                RETURNING invoice_id
            ), dropped AS (
                DELETE FROM invoice_items USING changed
                WHERE invoice_items.invoice_id = changed.invoice_id
                    AND invoice_item_id <> ALL ($8::uuid[])
            ), stored AS (
                INSERT INTO invoice_items (
                    invoice_item_id, invoice_id, position, service_id, description_snapshot,
                    unit_price_snapshot_cents, qty
                )
                SELECT item_id, invoice_id, position::integer - 1, service_id, description,
                    unit_price, qty
                FROM changed CROSS JOIN UNNEST(
                    $8::uuid[], $9::uuid[], $10::text[], $11::bigint[], $12::integer[]
                ) WITH ORDINALITY
                    AS line (item_id, service_id, description, unit_price, qty, position)
                EXCEPT
                SELECT invoice_item_id, invoice_id, position, service_id, description_snapshot,
                    unit_price_snapshot_cents, qty
                FROM invoice_items WHERE invoice_id = $1
                ON CONFLICT (invoice_item_id) DO UPDATE
                SET position = excluded.position, service_id = excluded.service_id,
                    description_snapshot = excluded.description_snapshot,
                    unit_price_snapshot_cents = excluded.unit_price_snapshot_cents,
                    qty = excluded.qty
                WHERE invoice_items.invoice_id = excluded.invoice_id
            )
            SELECT EXISTS (SELECT FROM changed) AS \"changed!\"",
            Uuid::from(invoice.invoice_id),
            invoice.version.previous().get(),
            invoice.appointment_id.map(Uuid::from),
            invoice.currency.code(),
            invoice.total.get(),
            invoice.version.get(),
            invoice.updated_at,
            &lines.item_ids,
            &lines.service_ids as &[Option<Uuid>],
            &lines.descriptions,
            &lines.unit_prices,
            &lines.quantities,
        )
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        require_change(changed)
    }

    async fn delete_draft(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM invoices WHERE invoice_id = $1 AND version = $2",
            Uuid::from(invoice.invoice_id),
            invoice.version.get(),
        )
        .execute(self.connection())
        .await
        .map_err(delete_error)?;
        require_one_row(&result)
    }

    async fn lock_numbering(&mut self) -> Result<i64, StoreError> {
        sqlx::query_scalar!("SELECT last_sequence FROM invoice_numbering FOR UPDATE")
            .fetch_one(self.connection())
            .await
            .map_err(store_error)
    }

    async fn save_issue(&mut self, invoice: &Invoice, sequence: i64) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "WITH issued AS (
                UPDATE invoices
                SET invoice_number = $3, issued_at = $4, currency = $5, version = $6,
                    updated_at = $7
                WHERE invoice_id = $1 AND version = $2
                RETURNING invoice_id
            )
            UPDATE invoice_numbering SET last_sequence = $8 FROM issued",
            Uuid::from(invoice.invoice_id),
            invoice.version.previous().get(),
            invoice.issue.as_ref().map(|issue| issue.number.as_str()),
            invoice.issue.as_ref().map(|issue| issue.at),
            invoice.currency.code(),
            invoice.version.get(),
            invoice.updated_at,
            sequence,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn save_voiding(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE invoices
            SET voided_at = $3, void_reason = $4, version = $5, updated_at = $6
            WHERE invoice_id = $1 AND version = $2",
            Uuid::from(invoice.invoice_id),
            invoice.version.previous().get(),
            invoice.voiding.as_ref().map(|voiding| voiding.at),
            invoice
                .voiding
                .as_ref()
                .map(|voiding| voiding.reason.as_str()),
            invoice.version.get(),
            invoice.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn list(
        &mut self,
        filter: &InvoiceFilter,
        page: PageRequest<InvoiceId>,
    ) -> Result<Page<Invoice, InvoiceId>, StoreError> {
        let rows = select_invoices!(
            "SELECT * FROM invoices
            WHERE ($1::uuid IS NULL OR patient_id = $1)
                AND ($2::text IS NULL OR status = $2)
                AND ($3::timestamptz IS NULL OR coalesce(issued_at, created_at) >= $3)
                AND ($4::timestamptz IS NULL OR coalesce(issued_at, created_at) < $4)
                AND invoice_id > coalesce($5, uuid '00000000-0000-0000-0000-000000000000')
            ORDER BY invoice_id LIMIT $6",
            filter.patient_id.map(Uuid::from),
            filter.status.map(InvoiceStatus::as_str),
            filter.window.from,
            filter.window.to,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let invoices = rows
            .into_iter()
            .map(Invoice::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(invoices, &page, |invoice: &Invoice| {
            invoice.invoice_id
        }))
    }
}

#[async_trait]
impl PaymentRepository for PgSession {
    async fn record(&mut self, payment: &Payment, invoice: &Invoice) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "WITH credited AS (
                UPDATE invoices SET paid_cents = $3, version = $4, updated_at = $5
                WHERE invoice_id = $1 AND version = $2
                RETURNING invoice_id
            )
            INSERT INTO payments (
                payment_id, invoice_id, amount_cents, refunded_cents, method, paid_at, reference,
                recorded_by, version, created_at
            )
            SELECT $6, invoice_id, $7, $8, $9, $10, $11, $12, $13, $14 FROM credited",
            Uuid::from(invoice.invoice_id),
            invoice.version.previous().get(),
            invoice.paid.get(),
            invoice.version.get(),
            invoice.updated_at,
            Uuid::from(payment.payment_id),
            payment.amount.get(),
            payment.refunded.get(),
            payment.method.as_str(),
            payment.paid_at,
            payment.reference,
            Uuid::from(payment.recorded_by),
            payment.version.get(),
            payment.created_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn record_refund(
        &mut self,
        refund: &Refund,
        payment: &Payment,
        invoice: &Invoice,
    ) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "WITH debited AS (
                UPDATE invoices SET paid_cents = $3, version = $4, updated_at = $5
                WHERE invoice_id = $1 AND version = $2
                RETURNING invoice_id
            ), reduced AS (
                UPDATE payments SET refunded_cents = $8, version = $9
                FROM debited
                WHERE payments.invoice_id = debited.invoice_id
                    AND payment_id = $6 AND version = $7
                RETURNING payment_id
            )
            INSERT INTO refunds (
                refund_id, payment_id, amount_cents, reason, recorded_by, created_at
            )
            SELECT $10, payment_id, $11, $12, $13, $14 FROM reduced",
            Uuid::from(invoice.invoice_id),
            invoice.version.previous().get(),
            invoice.paid.get(),
            invoice.version.get(),
            invoice.updated_at,
            Uuid::from(payment.payment_id),
            payment.version.previous().get(),
            payment.refunded.get(),
            payment.version.get(),
            Uuid::from(refund.refund_id),
            refund.amount.get(),
            refund.reason,
            Uuid::from(refund.recorded_by),
            refund.created_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        sqlx::query!("SELECT redact_money_of($1)", Uuid::from(patient_id))
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn refunds_of_patient(
        &mut self,
        patient_id: PatientId,
        page: PageRequest<RefundId>,
    ) -> Result<Page<Refund, RefundId>, StoreError> {
        let rows = sqlx::query_as!(
            RefundRow,
            "SELECT refund_id, payment_id, refunds.amount_cents, reason, refunds.recorded_by,
                refunds.created_at
            FROM invoices JOIN payments USING (invoice_id) JOIN refunds USING (payment_id)
            WHERE patient_id = $1
                AND refund_id > coalesce($2, uuid '00000000-0000-0000-0000-000000000000')
            ORDER BY refund_id LIMIT $3",
            Uuid::from(patient_id),
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let refunds = rows.into_iter().map(Refund::from).collect();
        Ok(Page::from_rows(refunds, &page, |refund: &Refund| {
            refund.refund_id
        }))
    }

    async fn get(&mut self, payment_id: PaymentId) -> Result<Option<Payment>, StoreError> {
        sqlx::query_as!(
            PaymentRow,
            "SELECT payment_id, invoice_id, patient_id, amount_cents, refunded_cents, method,
                paid_at, reference, recorded_by, payments.version, payments.created_at
            FROM payments JOIN invoices USING (invoice_id) WHERE payment_id = $1",
            Uuid::from(payment_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Payment::try_from)
        .transpose()
    }

    async fn list(
        &mut self,
        filter: &PaymentFilter,
        page: PageRequest<PaymentId>,
    ) -> Result<Page<Payment, PaymentId>, StoreError> {
        let rows = sqlx::query_as!(
            PaymentRow,
            "SELECT payment_id, invoice_id, patient_id, amount_cents, refunded_cents, method,
                paid_at, reference, recorded_by, payments.version, payments.created_at
            FROM payments JOIN invoices USING (invoice_id)
            WHERE ($1::uuid IS NULL OR invoice_id = $1)
                AND ($2::text IS NULL OR method = $2)
                AND ($3::timestamptz IS NULL OR paid_at >= $3)
                AND ($4::timestamptz IS NULL OR paid_at < $4)
                AND payment_id > coalesce($5, uuid '00000000-0000-0000-0000-000000000000')
                AND ($7::uuid IS NULL OR patient_id = $7)
            ORDER BY payment_id LIMIT $6",
            filter.invoice_id.map(Uuid::from),
            filter.method.map(PaymentMethod::as_str),
            filter.window.from,
            filter.window.to,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
            filter.patient_id.map(Uuid::from),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let payments = rows
            .into_iter()
            .map(Payment::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(payments, &page, |payment: &Payment| {
            payment.payment_id
        }))
    }
}
