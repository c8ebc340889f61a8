//! Sums of money neither wrap nor lose anything.

use dcms_domain::shared::{Cents, MoneyOverflow, Quantity};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{prop_assert_eq, strategy::Strategy};

fn exact(sum: i128) -> Result<Cents, MoneyOverflow> {
    i64::try_from(sum)
        .map(Cents::new)
        .map_err(|_| MoneyOverflow)
}

/// Amounts of every size, those at the ends of the range among them.
fn amount() -> impl Strategy<Value = i64> {
    proptest::prop_oneof![
        any::<i64>(),
        -1000..1000_i64,
        (0..5_i64).prop_map(|below| i64::MAX - below),
        (0..5_i64).prop_map(|above| i64::MIN + above),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_and_differences_are_exact_or_refused(one in amount(), other in amount()) {
        let (left, right) = (Cents::new(one), Cents::new(other));
        let (wide, wide_other) = (i128::from(one), i128::from(other));
        prop_assert_eq!(left.plus(right), exact(wide + wide_other));
        prop_assert_eq!(left.plus(right), right.plus(left));
        prop_assert_eq!(left.minus(right), exact(wide - wide_other));
    }

    #[test]
    fn what_is_added_can_be_taken_away(one in amount(), other in amount()) {
        let (left, right) = (Cents::new(one), Cents::new(other));
        if let Ok(sum) = left.plus(right) {
            prop_assert_eq!(sum.minus(right), Ok(left));
        }
    }

    #[test]
    fn prices_times_quantities_are_exact_or_refused(
        price in amount(),
        pieces in 1..=i64::from(Quantity::MAX),
    ) {
        let quantity = Quantity::new(pieces).unwrap();
        let expected = exact(i128::from(price) * i128::from(pieces));
        prop_assert_eq!(Cents::new(price).times(quantity), expected);
    }

    #[test]
    fn the_order_of_a_sum_does_not_matter(
        amounts in proptest::collection::vec(-1_000_000_000_000..1_000_000_000_000_i64, 0..50),
        turn in any::<usize>(),
    ) {
        let sum = |amounts: &[i64]| Cents::sum(amounts.iter().copied().map(Cents::new));
        let total: i128 = amounts.iter().copied().map(i128::from).sum();
        prop_assert_eq!(sum(&amounts), exact(total));
        let mut turned = amounts.clone();
        turned.rotate_left(turn % amounts.len().max(1));
        turned.reverse();
        prop_assert_eq!(sum(&turned), sum(&amounts));
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused(
        amounts in proptest::collection::vec(amount(), 0..10),
    ) {
        // Exact as long as no partial sum leaves the range, never a wrong sum.
        let mut partial = Ok(Cents::ZERO);
        for amount in &amounts {
            partial = partial.and_then(|sum: Cents| {
                exact(i128::from(sum.get()) + i128::from(*amount))
            });
        }
        prop_assert_eq!(Cents::sum(amounts.into_iter().map(Cents::new)), partial);
    }

    #[test]
    fn quantities_are_within_bounds(pieces in amount()) {
        let quantity = Quantity::new(pieces).map(|quantity| i64::from(quantity.get()));
        prop_assert_eq!(quantity, (1..=10_000).contains(&pieces).then_some(pieces));
    }
}

#[test]
fn quantities_end_at_their_bounds() {
    for (pieces, is_one) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
        assert_eq!(Quantity::new(pieces).is_some(), is_one, "{pieces}");
    }
    assert_eq!(Quantity::ONE.get(), 1);
}

#[test]
fn the_largest_invoice_still_adds_up() {
    let line = Cents::MAX_AMOUNT.times(Quantity::new(10_000).unwrap());
    let total = Cents::sum(std::iter::repeat_n(line.unwrap(), 200));
    assert_eq!(total, Ok(Cents::new(2_000_000_000_000_000_000)));
}
