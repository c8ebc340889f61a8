//! The audit log as a table for spreadsheets.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::dto::AuditEntry;

/// What `Content-Type` the table has.
pub(super) const TEXT_CSV: &str = "text/csv; charset=utf-8; header=present";

/// Whether the client would rather have a table than JSON: it names the one and not the other.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted: Vec<&str> = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .map(str::trim)
        .collect();
    let names = |wanted: &str| {
        accepted
            .iter()
            .any(|range| range.eq_ignore_ascii_case(wanted))
    };
    names("text/csv") && !names("application/json")
}

/// The table, with a line of names first.
pub(super) fn table(entries: &[AuditEntry]) -> Result<Vec<u8>, csv::Error> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(AuditEntry::COLUMNS)?;
    for entry in entries {
        table.write_record(entry.cells().map(harmless))?;
    }
    table
        .into_inner()
        .map_err(|error| error.into_error().into())
}

/// A cell that no spreadsheet takes for a formula.
fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_table_is_given_to_those_who_name_it_alone() {
        for (accept, expected) in [
            ("text/csv", true),
            ("Text/CSV; q=0.9, */*;q=0.1", true),
            ("application/json, text/csv", false),
            ("*/*", false),
            ("text/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(is_wanted(&headers), expected, "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert_eq!(harmless(formula.to_owned()), format!("'{formula}"));
        }
        assert_eq!(harmless("a=b".to_owned()), "a=b");
    }
}
