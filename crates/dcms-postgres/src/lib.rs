//! The ports of `dcms-domain` over PostgreSQL.
//!
//! - [`PostgresStore`] holds the pool, and opens connections and units of work.
//! - One file a context implements its repositories; each statement stands beside the method that
//!   uses it and is checked against the migrations when it is compiled (`.sqlx` at the root).
//! - `error` says what each SQLSTATE and each constraint means.
//! - `schema` migrates, resets, and compares the database with the migrations of this build.
//! - `seals` chains the rows of the audit log, and tells whether somebody broke the chain.
//! - `grants` lets the application's role do what `grants.sql` says, and nothing else.

mod appointment_events;
mod appointment_history;
mod appointments;
mod audit;
mod billing;
mod calendar;
mod catalog;
mod clinic;
mod error;
mod grants;
mod idempotency;
mod identity;
mod patients;
mod schema;
mod seals;
mod session;
mod store;
mod throttle;

pub use error::{CONSTRAINTS, ConnectError, SchemaError};
pub use grants::{APPLICATION_ROLE, ApplicationRole};
pub use seals::{Seal, Tampering, Verification};
pub use store::PostgresStore;
