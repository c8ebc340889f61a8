//! Money as whole minor units. No float ever touches it, and no sum wraps.

use std::fmt;

/// A sum of money in the currency's minor unit.
///
/// Arithmetic is checked: an overflow is an error, never a wrong sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(i64);

/// A sum did not fit into 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large")]
pub struct MoneyOverflow;

impl Cents {
    /// Nothing owed, nothing paid.
    pub const ZERO: Self = Self(0);
    /// The highest price or payment that is believed, in minor units; lines of it, with the
    /// highest quantity and the most lines an invoice may have, still add up without overflow.
    pub const MAX_AMOUNT: Self = Self(1_000_000_000_000);

    /// An amount in minor units.
    #[must_use]
    pub const fn new(minor_units: i64) -> Self {
        Self(minor_units)
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum of both.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// What is left when `other` is taken away; may be negative.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn minus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// The price of `quantity` pieces at this unit price.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn times(self, quantity: Quantity) -> Result<Self, MoneyOverflow> {
        self.0
            .checked_mul(i64::from(quantity.get()))
            .map(Self)
            .ok_or(MoneyOverflow)
    }

    /// The sum of all amounts.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyOverflow> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How many of a service: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i32);

impl Quantity {
    /// One piece.
    pub const ONE: Self = Self(1);
    /// The most that one line may charge.
    pub const MAX: i32 = 10_000;

    /// A quantity within bounds, or nothing.
    #[must_use]
    pub fn new(pieces: i64) -> Option<Self> {
        i32::try_from(pieces)
            .ok()
            .filter(|pieces| (1..=Self::MAX).contains(pieces))
            .map(Self)
    }

    /// The number of pieces.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}
