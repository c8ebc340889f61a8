//! Text that people type: trimmed, in Unicode's composed form (NFC), of bounded length, without
//! control characters. Each function gives back the cleaned text and notes what is wrong with it.

use unicode_normalization::UnicodeNormalization;

use super::{FaultCode, Faults};

/// What stands in the place of text that had to go.
pub const REDACTED: &str = "redacted";

/// Text of one line, from 1 to `max` characters.
pub fn single_line_text(value: &str, max: usize, pointer: &str, faults: &mut Faults) -> String {
    text(value, max, char::is_control, pointer, faults)
}

/// Text that may have several lines, from 1 to `max` characters.
pub fn multi_line_text(value: &str, max: usize, pointer: &str, faults: &mut Faults) -> String {
    let forbidden = |character: char| character.is_control() && !"\n\r\t".contains(character);
    text(value, max, forbidden, pointer, faults)
}

fn text(
    value: &str,
    max: usize,
    is_forbidden: impl Fn(char) -> bool,
    pointer: &str,
    faults: &mut Faults,
) -> String {
    let cleaned: String = value.trim().nfc().collect();
    if cleaned.is_empty() {
        faults.add(pointer, FaultCode::Required, "must not be empty");
    }
    if cleaned.chars().count() > max {
        let detail = format!("must have at most {max} characters");
        faults.add(pointer, FaultCode::TooLong, detail);
    }
    if cleaned.chars().any(is_forbidden) {
        let detail = "must not contain control characters";
        faults.add(pointer, FaultCode::InvalidCharacters, detail);
    }
    cleaned
}

/// The text as it is compared when neither case nor Unicode's many ways to write the same letter
/// may make a difference. Two spellings that a database takes for the same name fold alike; the
/// reverse does not hold. Not for showing.
#[must_use]
pub fn folded_text(value: &str) -> String {
    value
        .nfkc()
        .flat_map(char::to_lowercase)
        // There and back again, since only one of the two ways knows that ß is ss and ς is σ.
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        // Some databases make İ a plain i, others keep its dot apart.
        .filter(|character| *character != COMBINING_DOT_ABOVE)
        .nfkc()
        .collect()
}

const COMBINING_DOT_ABOVE: char = '\u{307}';

/// An e-mail address: something, `@`, a host; no spaces; at most 254 characters. Whether it
/// receives anything only a message can tell, so no finer grammar is enforced.
pub fn email_address(value: &str, pointer: &str, faults: &mut Faults) -> String {
    let cleaned = single_line_text(value, 254, pointer, faults);
    let well_formed = cleaned.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty()
            && host.len() >= 3
            && host.contains('.')
            && !host.starts_with('.')
            && !host.ends_with('.')
            && !host.contains('@')
    }) && !cleaned.contains(char::is_whitespace);
    if !cleaned.is_empty() && !well_formed {
        let detail = "must be an e-mail address such as name@example.org";
        faults.add(pointer, FaultCode::InvalidFormat, detail);
    }
    cleaned
}

/// A phone number as people write it: 3 to 20 digits, with `+ ( ) - . /` and spaces between.
pub fn phone_number(value: &str, pointer: &str, faults: &mut Faults) -> String {
    let cleaned = single_line_text(value, 40, pointer, faults);
    let digits = cleaned.chars().filter(char::is_ascii_digit).count();
    let well_formed = (3..=20).contains(&digits)
        && cleaned
            .chars()
            .all(|character| character.is_ascii_digit() || "+()-./ ".contains(character));
    if !cleaned.is_empty() && !well_formed {
        let detail = "must be a phone number: 3 to 20 digits, with + ( ) - . / and spaces between";
        faults.add(pointer, FaultCode::InvalidFormat, detail);
    }
    cleaned
}

/// What to search for: nothing when only spaces were given.
pub(crate) fn search_text(query: Option<String>) -> Result<Option<String>, Faults> {
    let Some(query) = query.filter(|query| !query.trim().is_empty()) else {
        return Ok(None);
    };
    let mut faults = Faults::new();
    let cleaned = single_line_text(&query, 200, "/query", &mut faults);
    faults.into_result()?;
    Ok(Some(cleaned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_same_name_fold_alike() {
        for (one, other) in [
            ("Müller", "mu\u{308}LLER"),
            ("Straße", "STRASSE"),
            ("STRAẞE", "strasse"),
            ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
            ("ＡＤＭＩＮ", "admin"),
            ("\u{212a}arl", "karl"),
            ("İvan", "ivan"),
        ] {
            assert_eq!(folded_text(one), folded_text(other), "{one} and {other}");
        }
        assert_ne!(folded_text("Müller"), folded_text("Muller"));
    }

    #[test]
    fn no_letter_has_a_case_that_folds_differently() {
        for letter in ('\0'..=char::MAX).filter(|letter| letter.is_alphabetic()) {
            let folded = folded_text(&letter.to_string());
            let lower: String = letter.to_lowercase().collect();
            let upper: String = letter.to_uppercase().collect();
            assert_eq!(folded_text(&lower), folded, "{letter} in lower case");
            assert_eq!(folded_text(&upper), folded, "{letter} in upper case");
            assert_eq!(folded_text(&folded), folded, "{letter} folded twice");
        }
    }
}
