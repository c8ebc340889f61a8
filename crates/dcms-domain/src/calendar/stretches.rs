//! Sets of moments, as stretches: not empty, sorted, apart from each other.

use super::Stretch;

/// All moments of the stretches, in whatever order they come.
pub(super) fn merged(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.retain(|stretch| !stretch.is_empty());
    stretches.sort_unstable_by_key(|stretch| stretch.from);
    let mut merged: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        match merged.last_mut() {
            Some(last) if stretch.from <= last.to => last.to = last.to.max(stretch.to),
            _ => merged.push(stretch),
        }
    }
    merged
}

/// The moments of both.
pub(super) fn intersection(ours: &[Stretch], theirs: &[Stretch]) -> Vec<Stretch> {
    let mut common = Vec::new();
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    while let (Some(one), Some(other)) = (ours.peek(), theirs.peek()) {
        let both = Stretch {
            from: one.from.max(other.from),
            to: one.to.min(other.to),
        };
        if !both.is_empty() {
            common.push(both);
        }
        if one.to <= other.to {
            ours.next();
        } else {
            theirs.next();
        }
    }
    common
}

/// The moments of ours that are not among theirs.
pub(super) fn difference(ours: &[Stretch], theirs: &[Stretch]) -> Vec<Stretch> {
    let mut rest = Vec::new();
    let mut theirs = theirs.iter().peekable();
    for stretch in ours {
        let mut start = stretch.from;
        while let Some(taken) = theirs.peek().filter(|taken| taken.from < stretch.to) {
            if start < taken.from {
                rest.push(Stretch {
                    from: start,
                    to: taken.from,
                });
            }
            start = start.max(taken.to);
            if taken.to > stretch.to {
                break;
            }
            theirs.next();
        }
        if start < stretch.to {
            rest.push(Stretch {
                from: start,
                to: stretch.to,
            });
        }
    }
    rest
}
