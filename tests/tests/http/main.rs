//! The server over HTTP: a file an endpoint group, all in one program because linking takes longer
//! than running.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

mod admin;
mod appointments;
mod audit;
mod audit_log;
mod availability;
mod bookings;
mod calendar;
mod clinic;
mod concurrency;
mod conventions;
mod day;
mod edge;
mod events;
mod front_desk;
mod history;
mod hostile;
mod idempotency;
mod identity;
mod invoices;
mod openapi;
mod operations;
mod patients;
mod payments;
mod privacy;
mod roles;
mod search;
mod services;
mod support;
mod world;
