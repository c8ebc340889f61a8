//! Versions of a stored resource, and what a caller expects of them.

use super::CommonError;

/// Counts the changes of one resource, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

impl Version {
    /// The version of a resource that is there without having been made, and was never changed.
    pub const NEVER_CHANGED: Self = Self(0);
    /// The version of a resource that was just made.
    pub const FIRST: Self = Self(1);

    /// A version as a store keeps it.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number a store keeps.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The version that the change to this one started from.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0 - 1)
    }
}

/// Which versions the caller is willing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    Any,
    /// One of these and no other.
    OneOf(Vec<Version>),
}

impl Expected {
    /// Whether the caller agreed to change `current`.
    #[must_use]
    pub fn includes(&self, current: Version) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(&current),
        }
    }
}

/// A resource that counts its changes.
pub trait Versioned {
    /// The version it is in.
    fn version(&self) -> Version;
}

macro_rules! versioned {
    ($($resource:path),+ $(,)?) => {$(
        impl Versioned for $resource {
            fn version(&self) -> Version {
                self.version
            }
        }
    )+};
}

versioned!(
    crate::appointments::Appointment,
    crate::billing::Invoice,
    crate::billing::Payment,
    crate::calendar::Schedule,
    crate::catalog::Service,
    crate::clinic::ClinicSettings,
    crate::clinic::Doctor,
    crate::clinic::Room,
    crate::identity::User,
    crate::patients::Contact,
    crate::patients::Patient,
);

/// What was looked up, when it exists in a version that the caller expected.
pub(crate) fn in_version<Resource: Versioned>(
    found: Option<Resource>,
    expected: &Expected,
) -> Result<Resource, CommonError> {
    let resource = found.ok_or(CommonError::NotFound)?;
    if expected.includes(resource.version()) {
        Ok(resource)
    } else {
        Err(CommonError::VersionMismatch)
    }
}
