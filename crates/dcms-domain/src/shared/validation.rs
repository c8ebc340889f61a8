//! What is wrong with a command: every fault at once, each with the place it is in.

use std::fmt;
use std::ops::RangeInclusive;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer (RFC 6901) into the command, such as `/items/0/qty`.
    pub pointer: String,
    /// What kind of fault, for programs.
    pub code: FaultCode,
    /// What is wrong and what would be right, for people. Never repeats the value.
    pub detail: String,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// Has to be given and not be empty or null.
    Required,
    /// Fewer characters or entries than allowed.
    TooShort,
    /// More characters or entries than allowed.
    TooLong,
    /// A control character or another one that text of this kind does not have.
    InvalidCharacters,
    /// Not of the form that the field's kind has.
    InvalidFormat,
    /// A number or a time outside its bounds.
    OutOfRange,
    /// Names something that does not exist.
    Unknown,
    /// Names something that exists but takes no new work: archived, inactive or not in that role.
    NotAvailable,
    /// Cannot be given together with another field.
    Conflicting,
}

impl FaultCode {
    /// The code as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::InvalidCharacters => "invalid_characters",
            Self::InvalidFormat => "invalid_format",
            Self::OutOfRange => "out_of_range",
            Self::Unknown => "unknown",
            Self::NotAvailable => "not_available",
            Self::Conflicting => "conflicting",
        }
    }
}

/// The most faults that are told of one command; whoever has more has enough to mend.
pub const MAX_FAULTS: usize = 100;

/// All faults of one command, up to [`MAX_FAULTS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes one fault.
    pub fn add(&mut self, pointer: impl Into<String>, code: FaultCode, detail: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault {
                pointer: pointer.into(),
                code,
                detail: detail.into(),
            });
        }
    }

    /// The faults, in the order they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing when there is no fault.
    ///
    /// # Errors
    /// The faults themselves, when there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{}: {}", fault.pointer, fault.detail)?;
        }
        Ok(())
    }
}

/// The number, when it is within the bounds; else notes that it is not.
pub(crate) fn bounded_number(
    number: i64,
    bounds: RangeInclusive<i32>,
    pointer: &str,
    faults: &mut Faults,
) -> Option<i32> {
    let bounded = i32::try_from(number)
        .ok()
        .filter(|number| bounds.contains(number));
    if bounded.is_none() {
        let detail = format!("must lie between {} and {}", bounds.start(), bounds.end());
        faults.add(pointer, FaultCode::OutOfRange, detail);
    }
    bounded
}

/// What a patch does to one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<Value> {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Takes its value away.
    Clear,
    /// Gives it another.
    Set(Value),
}

impl<Value> Change<Value> {
    /// The value of an optional field after the change.
    #[must_use]
    pub fn apply(self, current: Option<Value>) -> Option<Value> {
        match self {
            Self::Keep => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The value of a field that cannot be empty after the change; taking it away is a fault.
    pub fn apply_required(self, current: Value, pointer: &str, faults: &mut Faults) -> Value {
        match self {
            Self::Keep => current,
            Self::Clear => {
                faults.add(pointer, FaultCode::Required, "must not be null");
                current
            }
            Self::Set(value) => value,
        }
    }

    /// The same change of a converted value.
    pub fn map<Other>(self, convert: impl FnOnce(Value) -> Other) -> Change<Other> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(convert(value)),
        }
    }
}

impl std::error::Error for Faults {}
