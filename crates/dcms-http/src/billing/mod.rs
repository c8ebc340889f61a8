//! Invoices, payments and refunds.

mod dto;
mod routes;

pub(crate) use dto::{Invoice, Payment, Refund};
pub(crate) use routes::routes;
