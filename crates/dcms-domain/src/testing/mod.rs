//! What tests of every crate share.
//!
//! - [`InMemoryStore`]: a store that keeps every rule of the database, without one.
//! - [`Clinic`]: all services over it, with users, a patient, a room and a service to start from.
//! - [`FrozenClock`], [`CountingIds`], [`FakeHasher`], [`FakeTokens`], [`FakeCommonPasswords`]: the
//!   other ports, predictable.
//! - [`InMemoryThrottle`]: the counters of failed log-ins, in memory.
//! - [`MockStore`]: a store whose ports do what a test says, to see services cope with failures.
//! - [`port_suite`]: the tests that every store has to pass.

mod fakes;
mod fixture;
mod in_memory;
mod mocks;
#[expect(clippy::missing_panics_doc, reason = "a test panics when it fails")]
pub mod port_suite;

pub use fakes::{
    CountingIds, FakeCommonPasswords, FakeHasher, FakeTokens, FrozenClock, identity_settings,
};
pub use fixture::{Clinic, PASSWORD};
pub use in_memory::{InMemoryStore, InMemoryThrottle};
pub use mocks::{MockRepositories, MockStore};
