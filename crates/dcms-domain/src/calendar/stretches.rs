//! Sets of moments, as stretches: half open, not empty, sorted, apart from each other.

use std::ops::Range;

use crate::shared::Instant;

/// A half-open stretch of time.
pub type Stretch = Range<Instant>;

/// All moments of the stretches, in whatever order they come.
pub(super) fn merged(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.retain(|stretch| !stretch.is_empty());
    stretches.sort_unstable_by_key(|stretch| stretch.start);
    let mut merged: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for stretch in stretches {
        match merged.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
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
        let both = one.start.max(other.start)..one.end.min(other.end);
        if !both.is_empty() {
            common.push(both);
        }
        if one.end <= other.end {
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
        let mut start = stretch.start;
        while let Some(taken) = theirs.peek().filter(|taken| taken.start < stretch.end) {
            if start < taken.start {
                rest.push(start..taken.start);
            }
            start = start.max(taken.end);
            if taken.end > stretch.end {
                break;
            }
            theirs.next();
        }
        if start < stretch.end {
            rest.push(start..stretch.end);
        }
    }
    rest
}
