//! What the services promise, sentence by sentence, over the in-memory store.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

mod access;
mod access_log;
mod appointments;
mod audit;
mod billing;
mod booking;
mod catalog;
mod clinic;
mod contacts;
mod identity;
mod patients;
mod payments;
mod privacy;
mod session_cache;
mod throttle;

use std::fmt::Debug;

use dcms_domain::access::Forbidden;
use dcms_domain::appointments::AppointmentError;
use dcms_domain::audit::{AuditAction, AuditEntry, Entity};
use dcms_domain::billing::BillingError;
use dcms_domain::clinic::ClinicError;
use dcms_domain::identity::IdentityError;
use dcms_domain::patients::PatientError;
use dcms_domain::shared::{Clock, CommonError, Expected, IdSource, Version};
use dcms_domain::store::{Rule, StoreError};
use dcms_domain::testing::Clinic;

const ANY: Expected = Expected::Any;

/// A version that nothing in these tests has.
fn outdated() -> Expected {
    Expected::OneOf(vec![Version::new(99)])
}

/// What all contexts can fail with.
trait Fails: Debug {
    fn common(&self) -> Option<&CommonError>;
}

impl Fails for CommonError {
    fn common(&self) -> Option<&CommonError> {
        Some(self)
    }
}

macro_rules! context_fails {
    ($($error:ident),+) => {$(
        impl Fails for $error {
            fn common(&self) -> Option<&CommonError> {
                match self {
                    Self::Common(common) => Some(common),
                    _ => None,
                }
            }
        }
    )+};
}

context_fails!(
    AppointmentError,
    BillingError,
    ClinicError,
    IdentityError,
    PatientError
);

/// All faults of a refused command, as `pointer code`.
#[track_caller]
fn faults<Value: Debug>(result: Result<Value, impl Fails>) -> Vec<String> {
    let failure = result.expect_err("a fault");
    let Some(CommonError::Invalid(faults)) = failure.common() else {
        panic!("expected faults, got {failure:?}");
    };
    let told = |fault: &dcms_domain::shared::Fault| {
        assert!(!fault.detail.is_empty());
        format!("{} {}", fault.pointer, fault.code.as_str())
    };
    faults.as_slice().iter().map(told).collect()
}

#[track_caller]
fn violated<Value: Debug>(result: Result<Value, impl Fails>) -> Rule {
    let failure = result.expect_err("a violation");
    let Some(CommonError::Store(StoreError::Violated(rule))) = failure.common() else {
        panic!("expected a violation, got {failure:?}");
    };
    *rule
}

#[track_caller]
fn assert_not_found<Value: Debug>(result: Result<Value, impl Fails>) {
    let failure = result.expect_err("not found");
    let is_so = matches!(failure.common(), Some(CommonError::NotFound));
    assert!(is_so, "expected not found, got {failure:?}");
}

#[track_caller]
fn assert_mismatch<Value: Debug>(result: Result<Value, impl Fails>) {
    let failure = result.expect_err("a version mismatch");
    let is_so = matches!(failure.common(), Some(CommonError::VersionMismatch));
    assert!(is_so, "expected a version mismatch, got {failure:?}");
}

/// Why it is forbidden, if that is what it is.
fn forbidden(failure: &impl Fails) -> Option<Forbidden> {
    match failure.common() {
        Some(CommonError::Forbidden(reason)) => Some(*reason),
        _ => None,
    }
}

#[track_caller]
fn assert_forbidden_because<Value: Debug>(reason: Forbidden, result: Result<Value, impl Fails>) {
    let failure = result.expect_err("forbidden");
    assert_eq!(forbidden(&failure), Some(reason), "{failure:?}");
}

#[track_caller]
fn assert_forbidden<Value: Debug>(result: Result<Value, impl Fails>) {
    assert_forbidden_because(Forbidden::Role, result);
}

/// An entry of the audit log, for changes that no service makes.
fn entry(clinic: &Clinic) -> AuditEntry {
    let (id, now) = (clinic.ids.next_id().into(), clinic.clock.now());
    AuditEntry::unattributed(id, now, AuditAction::Change, Entity::Operation)
}
