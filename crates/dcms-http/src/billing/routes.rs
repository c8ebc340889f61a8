use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::IntoResponse as _;
use dcms_domain::billing as model;
use dcms_domain::shared::{InvoiceId, PaymentId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{
    AddItem, ChangeInvoice, ChangeItem, DraftInvoice, Invoice, InvoiceFilter, Payment,
    PaymentFilter, RecordPayment, RecordRefund, RecordedPayment, RecordedRefund, VoidInvoice,
};
use crate::extract::{Caller, IfMatch, Path, Query, entity_tag};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type InvoiceList = List<Invoice>;
type PaymentList = List<Payment>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_invoices, draft_invoice))
        .routes(routes!(read_invoice, change_invoice, delete_invoice))
        .routes(routes!(add_item))
        .routes(routes!(change_item, delete_item))
        .routes(routes!(issue_invoice))
        .routes(routes!(void_invoice))
        .routes(routes!(list_payments_of_invoice, record_payment))
        .routes(routes!(list_payments))
        .routes(routes!(read_payment))
        .routes(routes!(record_refund))
}

/// Draft an invoice
#[utoipa::path(
    post, path = "/invoices", tag = "Invoices",
    request_body = DraftInvoice,
    responses((status = 201, description = "The invoice was drafted.", body = Invoice)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invalid_transition"])),
        ("x-max-body-bytes" = json!(1_048_576)),
    ),
)]
async fn draft_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<DraftInvoice>,
) -> Answer {
    let invoice = app.services.billing.draft(&actor, body.into()).await?;
    created_invoice(invoice)
}

/// Find invoices
///
/// In the order they were drafted.
#[utoipa::path(
    get, path = "/invoices", tag = "Invoices",
    params(InvoiceFilter, PageParams),
    responses((status = 200, description = "A page of invoices.", body = InvoiceList)),
    extensions(("x-permission" = json!("read_billing"))),
)]
async fn list_invoices(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<InvoiceFilter>,
    Paging(page): Paging<InvoiceId>,
) -> Answer {
    let service = &app.services.billing;
    let page = service.invoices(&actor, filter.into(), page).await?;
    Ok(ok(List::try_of(page, Invoice::try_from)?))
}

/// Read an invoice
#[utoipa::path(
    get, path = "/invoices/{invoice_id}", tag = "Invoices",
    responses((status = 200, description = "The invoice.", body = Invoice)),
    extensions(("x-permission" = json!("read_billing"))),
)]
async fn read_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
) -> Answer {
    let invoice = app
        .services
        .billing
        .invoice(&actor, invoice_id.get())
        .await?;
    found::<_, Invoice>(invoice)
}

/// Change a draft
///
/// An issued invoice never changes: `invoice_not_draft`.
#[utoipa::path(
    patch, path = "/invoices/{invoice_id}", tag = "Invoices",
    request_body = ChangeInvoice,
    responses((status = 200, description = "The changed draft.", body = Invoice)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "version_mismatch"])),
        ("x-max-body-bytes" = json!(1_048_576)),
    ),
)]
async fn change_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeInvoice>,
) -> Answer {
    let service = &app.services.billing;
    let invoice = service
        .change_draft(&actor, invoice_id.get(), &expected, body.into())
        .await?;
    found::<_, Invoice>(invoice)
}

/// Delete a draft
#[utoipa::path(
    delete, path = "/invoices/{invoice_id}", tag = "Invoices",
    responses((status = 204, description = "The draft is gone.")),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "version_mismatch"])),
    ),
)]
async fn delete_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.billing;
    service
        .delete_draft(&actor, invoice_id.get(), &expected)
        .await?;
    Ok(nothing())
}

/// Add a line to a draft
///
/// `If-Match`, `ETag` and `Location` are about the invoice.
#[utoipa::path(
    post, path = "/invoices/{invoice_id}/items", tag = "Invoices",
    request_body = AddItem,
    responses((status = 201, description = "The whole draft, with the line.", body = Invoice)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "version_mismatch"])),
    ),
)]
async fn add_item(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<AddItem>,
) -> Answer {
    let service = &app.services.billing;
    let invoice = service
        .add_item(&actor, invoice_id.get(), &expected, body.into())
        .await?;
    created_invoice(invoice)
}

/// Change a line of a draft
///
/// `If-Match` and `ETag` are about the invoice.
#[utoipa::path(
    patch, path = "/invoices/{invoice_id}/items/{item_id}", tag = "Invoices",
    request_body = ChangeItem,
    responses((status = 200, description = "The whole draft after the change.", body = Invoice)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "version_mismatch"])),
    ),
)]
async fn change_item(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id, item_id]): Path<2>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeItem>,
) -> Answer {
    let (invoice_id, item_id) = (invoice_id.get(), item_id.get());
    let service = &app.services.billing;
    let invoice = service
        .change_item(&actor, invoice_id, item_id, &expected, body.into())
        .await?;
    found::<_, Invoice>(invoice)
}

/// Remove a line of a draft
///
/// `If-Match` and `ETag` are about the invoice.
#[utoipa::path(
    delete, path = "/invoices/{invoice_id}/items/{item_id}", tag = "Invoices",
    responses((
        status = 204, description = "The line is gone.",
        headers(("ETag" = String, description = "The version of the invoice.")),
    )),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "version_mismatch"])),
    ),
)]
async fn delete_item(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id, item_id]): Path<2>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let (invoice_id, item_id) = (invoice_id.get(), item_id.get());
    let service = &app.services.billing;
    let invoice = service
        .remove_item(&actor, invoice_id, item_id, &expected)
        .await?;
    let tag = entity_tag(invoice.version);
    Ok(([(ETAG, tag)], nothing()).into_response())
}

/// Issue an invoice
///
/// It gets the next number and never changes again. It needs a line: `invoice_empty`.
#[utoipa::path(
    post, path = "/invoices/{invoice_id}/issue", tag = "Invoices",
    responses((status = 200, description = "The issued invoice.", body = Invoice)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_draft", "invoice_empty", "version_mismatch"])),
    ),
)]
async fn issue_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.billing;
    let invoice = service.issue(&actor, invoice_id.get(), &expected).await?;
    found::<_, Invoice>(invoice)
}

/// Call an invoice off
///
/// Only while nothing is paid on it, or all of it went back. It keeps its number.
#[utoipa::path(
    post, path = "/invoices/{invoice_id}/void", tag = "Invoices",
    request_body = VoidInvoice,
    responses((status = 200, description = "The void invoice.", body = Invoice)),
    extensions(
        ("x-permission" = json!("reverse")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn void_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<VoidInvoice>,
) -> Answer {
    let service = &app.services.billing;
    let invoice = service
        .void(&actor, invoice_id.get(), &expected, &body.reason)
        .await?;
    found::<_, Invoice>(invoice)
}

/// Record a payment
///
/// `If-Match` is about the invoice, `Location` and `ETag` about the payment.
#[utoipa::path(
    post, path = "/invoices/{invoice_id}/payments", tag = "Payments",
    request_body = RecordPayment,
    responses((status = 201, description = "The payment is recorded.", body = RecordedPayment)),
    extensions(
        ("x-permission" = json!("bill")),
        ("x-problems" = json!(["invoice_not_payable", "payment_exceeds_balance", "version_mismatch"])),
    ),
)]
async fn record_payment(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<RecordPayment>,
) -> Answer {
    let service = &app.services.billing;
    let (payment, invoice) = service
        .record_payment(&actor, invoice_id.get(), &expected, body.into())
        .await?;
    let location = location_of(payment.payment_id);
    let version = payment.version;
    let body = RecordedPayment {
        payment: payment.into(),
        invoice: invoice.try_into()?,
    };
    Ok(created(location, Some(version), body))
}

/// List an invoice's payments
///
/// In the order they were recorded.
#[utoipa::path(
    get, path = "/invoices/{invoice_id}/payments", tag = "Payments",
    params(PageParams),
    responses((status = 200, description = "A page of payments.", body = PaymentList)),
    extensions(("x-permission" = json!("read_billing"))),
)]
async fn list_payments_of_invoice(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([invoice_id]): Path<1>,
    Paging(page): Paging<PaymentId>,
) -> Answer {
    let service = &app.services.billing;
    let page = service
        .payments_of_invoice(&actor, invoice_id.get(), page)
        .await?;
    Ok(ok(List::of(page, Payment::from)))
}

/// Find payments
///
/// In the order they were recorded.
#[utoipa::path(
    get, path = "/payments", tag = "Payments",
    params(PaymentFilter, PageParams),
    responses((status = 200, description = "A page of payments.", body = PaymentList)),
    extensions(("x-permission" = json!("read_billing"))),
)]
async fn list_payments(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<PaymentFilter>,
    Paging(page): Paging<PaymentId>,
) -> Answer {
    let service = &app.services.billing;
    let page = service.payments(&actor, filter.into(), page).await?;
    Ok(ok(List::of(page, Payment::from)))
}

/// Read a payment
#[utoipa::path(
    get, path = "/payments/{payment_id}", tag = "Payments",
    responses((status = 200, description = "The payment.", body = Payment)),
    extensions(("x-permission" = json!("read_billing"))),
)]
async fn read_payment(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([payment_id]): Path<1>,
) -> Answer {
    let payment = app
        .services
        .billing
        .payment(&actor, payment_id.get())
        .await?;
    found::<_, Payment>(payment)
}

/// Give money of a payment back
///
/// `If-Match` and `Location` are about the payment.
#[utoipa::path(
    post, path = "/payments/{payment_id}/refunds", tag = "Payments",
    request_body = RecordRefund,
    responses((status = 201, description = "The refund is recorded.", body = RecordedRefund)),
    extensions(
        ("x-permission" = json!("reverse")),
        ("x-problems" = json!(["invalid_transition", "refund_exceeds_payment", "version_mismatch"])),
    ),
)]
async fn record_refund(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([payment_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<RecordRefund>,
) -> Answer {
    let service = &app.services.billing;
    let (refund, invoice) = service
        .record_refund(&actor, payment_id.get(), &expected, body.into())
        .await?;
    let location = location_of(refund.payment_id);
    let body = RecordedRefund {
        refund: refund.into(),
        invoice: invoice.try_into()?,
    };
    Ok(created(location, None, body))
}

fn created_invoice(invoice: model::Invoice) -> Answer {
    let location = format!("{BASE_PATH}/invoices/{}", invoice.invoice_id);
    let version = invoice.version;
    let body = Invoice::try_from(invoice)?;
    Ok(created(location, Some(version), body))
}

fn location_of(payment_id: PaymentId) -> String {
    format!("{BASE_PATH}/payments/{payment_id}")
}
