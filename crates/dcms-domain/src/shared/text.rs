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
