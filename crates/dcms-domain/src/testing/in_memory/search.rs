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
    let (value, wanted) = match contact.contact_type {
        ContactType::Phone => (digits(&contact.value), phone_digits(query)?),
        ContactType::Email => (contact.value.to_lowercase(), query.to_lowercase()),
    };
    if value.starts_with(&wanted) {
        Some(START)
    } else {
        value.contains(&wanted).then_some(PART)
    }
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
