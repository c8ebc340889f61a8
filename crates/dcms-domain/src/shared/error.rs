//! What every context can fail with.

use super::{Faults, MoneyOverflow};
use crate::access::Forbidden;
use crate::store::StoreError;

/// The failures that all contexts share; a context with failures of its own wraps it.
#[derive(Debug, thiserror::Error)]
pub enum CommonError {
    /// The actor's roles do not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The command is wrong in these places.
    #[error("invalid: {0}")]
    Invalid(#[from] Faults),
    /// The resource is not in a version that the caller expected.
    #[error("the resource was changed meanwhile")]
    VersionMismatch,
    /// Persistence failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MoneyOverflow> for CommonError {
    fn from(_: MoneyOverflow) -> Self {
        let mut faults = Faults::new();
        faults.add("", super::FaultCode::OutOfRange, MoneyOverflow.to_string());
        Self::Invalid(faults)
    }
}

/// Lets `?` lift every common failure into a context's error, which has a variant `Common`.
macro_rules! context_error {
    ($error:ty) => {
        $crate::shared::context_error!(
            $error,
            $crate::store::StoreError,
            $crate::access::Forbidden,
            $crate::shared::Faults,
            $crate::shared::MoneyOverflow
        );

        impl $crate::store::CarriesStoreError for $error {
            fn store_error(&self) -> Option<&$crate::store::StoreError> {
                match self {
                    Self::Common(common) => common.store_error(),
                    _ => None,
                }
            }
        }
    };
    ($error:ty, $($source:ty),+) => {$(
        impl From<$source> for $error {
            fn from(source: $source) -> Self {
                Self::Common($crate::shared::CommonError::from(source))
            }
        }
    )+};
}
pub(crate) use context_error;
