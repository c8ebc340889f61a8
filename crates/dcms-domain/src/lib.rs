//! The rules of a dental clinic, with no input or output of their own.
//!
//! - [`shared`]: the small nouns of every context: ids, [`shared::Cents`], [`shared::TimeSlot`],
//!   pages, faults, and the ports [`shared::Clock`] and [`shared::IdSource`].
//! - [`store`]: the door to persistence. A [`store::Store`] opens a [`store::UnitOfWork`], which
//!   hands out the repositories and commits or, dropped, leaves no trace. [`store::Rule`] names
//!   what the store itself refuses.
//! - [`access`]: who acts, and the one permission matrix that every service asks.
//! - [`audit`]: who did what, to whose record, from where.
//! - [`identity`]: users, passwords, sessions.
//! - [`clinic`]: the clinic's settings, its rooms and doctors.
//! - [`calendar`]: hours, closures, time off, and which slots are free.
//! - [`patients`]: patients and how to reach them.
//! - [`appointments`]: who sits in which chair when, and the visit's way through the day.
//! - [`catalog`]: the services that can be planned and charged.
//! - [`billing`]: invoices, payments, refunds.
//! - `testing` (feature `testing`): an in-memory store, a frozen clock, mocks, and the suite that
//!   every store has to pass.
//!
//! Each context has a `model` (what is, and what may become of it), a `repository` (the port that
//! keeps it) and a `service` (the commands and questions that callers have). A service method
//! takes the [`access::Actor`] first, asks the matrix, validates (all faults at once), decides, and
//! writes in one unit of work.

pub mod access;
pub mod appointments;
pub mod audit;
pub mod billing;
pub mod calendar;
pub mod catalog;
pub mod clinic;
pub mod identity;
pub mod patients;
mod services;
pub mod shared;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use services::{Answered, Services};
