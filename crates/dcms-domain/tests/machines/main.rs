//! The state machines of visits and invoices, driven through their services in random steps and
//! held against models that know nothing of the code.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

mod appointment;
mod invoice;

use proptest::test_runner::{Config, RngAlgorithm};

fn ten_thousand_cases() -> Config {
    Config {
        failure_persistence: None,
        // The usual one takes half of the time in a build without optimisation.
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::with_cases(10_000)
    }
}
