//! How text is found: by parts, without case and accents, and for patients with slips.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::patients::{Contact, ContactType, Patient, RegisterNumber};

/// Exact, or the start of a word.
const START: i32 = 3;
/// Somewhere inside.
const PART: i32 = 2;
/// Not there, but something like it.
const SIMILAR: i32 = 1;

/// The text without case and accents.
pub(super) fn folded(text: &str) -> String {
    let bare: String = text
        .nfd()
        .filter(|mark| !is_combining_mark(*mark))
        .collect();
    bare.to_lowercase()
}

/// How well a patient matches the query, if at all: by number, by a contact, or by a name that has
/// something for each word of the query.
pub(super) fn rank<'contacts>(
    patient: &Patient,
    contacts: impl Iterator<Item = &'contacts Contact>,
    query: &str,
) -> Option<i32> {
    let name = folded(&format!("{} {}", patient.first_name, patient.last_name));
    let by_number =
        (RegisterNumber::parse(query) == Some(patient.register_number)).then_some(START);
    let by_contact = contacts
        .filter_map(|contact| contact_rank(contact, query))
        .max();
    let by_name = folded(query)
        .split_whitespace()
        .map(|word| word_rank(&name, word))
        .min()
        .flatten();
    by_number.max(by_contact).max(by_name)
}

fn contact_rank(contact: &Contact, query: &str) -> Option<i32> {
    match contact.contact_type {
        ContactType::Phone => phone_rank(&digits(&contact.value), query),
        ContactType::Email => part_rank(&contact.value.to_lowercase(), &query.to_lowercase()),
    }
}

fn part_rank(value: &str, part: &str) -> Option<i32> {
    if value.starts_with(part) {
        Some(START)
    } else {
        value.contains(part).then_some(PART)
    }
}

/// `+49 171 …`, `0049 171 …` and `0171 …` are one number; a country's code has one to three digits.
fn phone_rank(number: &str, query: &str) -> Option<i32> {
    let wanted = phone_digits(query)?;
    let after_code = |number: &str, rest: &str| {
        (1..=3).any(|code| {
            number
                .get(code..)
                .is_some_and(|number| number.starts_with(rest))
        })
    };
    let is_same = if let Some(wanted) = wanted.strip_prefix("00") {
        return phone_rank(number, &format!("+{wanted}"));
    } else if let Some(rest) = wanted.strip_prefix('0') {
        !number.starts_with('0') && after_code(number, rest)
    } else {
        let national = number.strip_prefix('0').unwrap_or_default();
        query.starts_with('+')
            && (1..=3).any(|code| {
                let rest = wanted.get(code..).filter(|rest| rest.len() >= 3);
                rest.is_some_and(|rest| national.starts_with(rest))
            })
    };
    part_rank(number, &wanted).max(is_same.then_some(START))
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The digits of a query that can be part of a phone number; fewer than three would find anybody.
fn phone_digits(query: &str) -> Option<String> {
    let is_phone = query
        .chars()
        .all(|character| character.is_ascii_digit() || "+()-./ ".contains(character));
    Some(digits(query)).filter(|digits| is_phone && digits.len() >= 3)
}

fn word_rank(name: &str, word: &str) -> Option<i32> {
    let is_start = |(at, _)| !name[..at].ends_with(char::is_alphanumeric);
    if name.match_indices(word).any(is_start) {
        Some(START)
    } else if name.contains(word) {
        Some(PART)
    } else {
        name.split(|character: char| !character.is_alphanumeric())
            .any(|candidate| is_similar(candidate, word))
            .then_some(SIMILAR)
    }
}

/// Whether at least half of the trigrams of `word` are in `candidate`.
fn is_similar(candidate: &str, word: &str) -> bool {
    let (theirs, ours) = (trigrams(candidate), trigrams(word));
    let shared = ours.intersection(&theirs).count();
    shared > 0 && shared * 2 >= ours.len()
}

fn trigrams(word: &str) -> BTreeSet<[char; 3]> {
    let padded: Vec<char> = "  ".chars().chain(word.chars()).chain([' ']).collect();
    padded
        .windows(3)
        .filter(|trigram| trigram.iter().any(|character| character.is_alphanumeric()))
        .map(|trigram| [trigram[0], trigram[1], trigram[2]])
        .collect()
}
