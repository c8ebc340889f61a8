//! SECURITY.md against the repository: its evidence exists, and no requirement is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The requirements of levels 1 and 2 of ASVS 5.0, of all chapters that apply to an API.
const REQUIREMENTS: &str = "
    1.1.1 1.1.2 1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.2.6 1.2.7 1.2.8 1.2.9 1.3.1 1.3.2 1.3.3 1.3.4
    1.3.5 1.3.6 1.3.7 1.3.8 1.3.9 1.3.10 1.3.11 1.4.1 1.4.2 1.4.3 1.5.1 1.5.2
    2.1.1 2.1.2 2.1.3 2.2.1 2.2.2 2.2.3 2.3.1 2.3.2 2.3.3 2.3.4 2.4.1
    3.2.1 3.2.2 3.3.1 3.3.2 3.3.3 3.3.4 3.4.1 3.4.2 3.4.3 3.4.4 3.4.5 3.4.6 3.5.1 3.5.2 3.5.3
    3.5.4 3.5.5 3.7.1 3.7.2
    4.1.1 4.1.2 4.1.3 4.2.1 4.3.1 4.3.2 4.4.1 4.4.2 4.4.3 4.4.4
    6.1.1 6.1.2 6.1.3 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.2.9 6.2.10 6.2.11 6.2.12
    6.3.1 6.3.2 6.3.3 6.3.4 6.4.1 6.4.2 6.4.3 6.4.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5 6.6.1 6.6.2
    6.6.3 6.8.1 6.8.2 6.8.3 6.8.4
    7.1.1 7.1.2 7.1.3 7.2.1 7.2.2 7.2.3 7.2.4 7.3.1 7.3.2 7.4.1 7.4.2 7.4.3 7.4.4 7.4.5 7.5.1
    7.5.2 7.6.1 7.6.2
    8.1.1 8.1.2 8.2.1 8.2.2 8.2.3 8.3.1 8.4.1
    11.1.1 11.1.2 11.2.1 11.2.2 11.2.3 11.3.1 11.3.2 11.3.3 11.4.1 11.4.2 11.4.3 11.4.4 11.5.1
    11.6.1
    12.1.1 12.1.2 12.1.3 12.2.1 12.2.2 12.3.1 12.3.2 12.3.3 12.3.4
    13.1.1 13.2.1 13.2.2 13.2.3 13.2.4 13.2.5 13.3.1 13.3.2 13.4.1 13.4.2 13.4.3 13.4.4 13.4.5
    14.1.1 14.1.2 14.2.1 14.2.2 14.2.3 14.2.4 14.3.1 14.3.2 14.3.3
    15.1.1 15.1.2 15.1.3 15.2.1 15.2.2 15.2.3 15.3.1 15.3.2 15.3.3 15.3.4 15.3.5 15.3.6 15.3.7
    16.1.1 16.2.1 16.2.2 16.2.3 16.2.4 16.2.5 16.3.1 16.3.2 16.3.3 16.3.4 16.4.1 16.4.2 16.4.3
    16.5.1 16.5.2 16.5.3
";

/// The chapters of which no requirement applies.
const CHAPTERS_THAT_DO_NOT_APPLY: [&str; 4] = ["V5", "V9", "V10", "V17"];

const STATES: [&str; 4] = ["met", "partly", "not met", "n/a"];

/// What the gaps are listed under, behind the tables.
const GAPS: &str = "## What is not met at level 2, and why";

/// The endings of names of files that the document may name.
const ENDINGS: [&str; 8] = ["gz", "json", "lock", "md", "rs", "sql", "toml", "yaml"];

/// A row of the tables of requirements.
struct Row<'a> {
    ids: Vec<&'a str>,
    state: &'a str,
    evidence: &'a str,
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn document() -> String {
    fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md")
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

fn is_requirement(text: &str) -> bool {
    let is_number = |part: &str| part.parse::<u8>().is_ok();
    text.split('.').count() == 3 && text.split('.').all(is_number)
}

fn rows(document: &str) -> Vec<Row<'_>> {
    document
        .lines()
        .filter_map(cells)
        .filter_map(|cells| {
            let ids: Vec<&str> = cells[0].split(", ").collect();
            ids.iter().all(|id| is_requirement(id)).then(|| Row {
                ids,
                state: cells[2],
                evidence: cells[3],
            })
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn is_file(quoted: &str) -> bool {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    let ending = quoted.rsplit('.').next().unwrap_or_default();
    let is_of_docker = quoted.starts_with("docker/");
    quoted.chars().all(is_plain)
        && !quoted.starts_with('/')
        && (is_of_docker || (quoted.contains('.') && ENDINGS.contains(&ending)))
}

/// Whether the text has it, as a whole word when it is one.
fn holds(text: &str, evidence: &str) -> bool {
    let is_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if evidence.chars().all(is_of_word) {
        text.split(|character| !is_of_word(character))
            .any(|word| word == evidence)
    } else {
        text.contains(evidence)
    }
}

#[test]
fn every_file_that_is_named_exists() {
    let document = document();
    let named: BTreeSet<&str> = document
        .lines()
        .flat_map(quoted)
        .filter(|it| is_file(it))
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|path| !root().join(path).is_file())
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// In a cell, what is named behind a file is in it.
#[test]
fn all_evidence_is_in_its_file() {
    let document = document();
    let mut missing = Vec::new();
    let mut found = 0;
    for row in rows(&document) {
        let mut file = None;
        for quoted in quoted(row.evidence) {
            if is_file(quoted) {
                file = Some((
                    quoted,
                    fs::read_to_string(root().join(quoted)).unwrap_or_default(),
                ));
            } else if let Some((path, text)) = &file {
                if holds(text, quoted) {
                    found += 1;
                } else {
                    missing.push(format!("{}: {quoted} in {path}", row.ids[0]));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 100, "{found}");
}

#[test]
fn each_requirement_has_one_state_and_what_speaks_for_it() {
    let document = document();
    let rows = rows(&document);
    let mut named: Vec<&str> = rows.iter().flat_map(|row| row.ids.clone()).collect();
    named.sort_unstable();
    let mut expected: Vec<&str> = REQUIREMENTS.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(named, expected);
    for Row {
        ids,
        state,
        evidence,
    } in rows
    {
        assert!(STATES.contains(&state), "{ids:?}: {state}");
        assert!(!evidence.is_empty(), "{ids:?}");
        let has_evidence = evidence.contains("above") || quoted(evidence).into_iter().any(is_file);
        assert!(state != "met" || has_evidence, "{ids:?}: {evidence}");
    }
}

#[test]
fn whole_chapters_that_do_not_apply_are_named() {
    let document = document();
    let named = document.lines().filter_map(cells).filter_map(|cells| {
        let chapter = cells[0].split(' ').next()?;
        let number = chapter.strip_prefix('V')?;
        number.parse::<u8>().is_ok().then_some(chapter)
    });
    assert_eq!(named.collect::<Vec<_>>(), CHAPTERS_THAT_DO_NOT_APPLY);
}

#[test]
fn the_list_of_gaps_is_that_of_the_tables() {
    let document = document();
    let in_tables: BTreeSet<&str> = rows(&document)
        .into_iter()
        .filter(|row| ["partly", "not met"].contains(&row.state))
        .flat_map(|row| row.ids)
        .collect();
    let (_, gaps) = document.split_once(GAPS).expect("the list of gaps");
    let listed: Vec<&str> = gaps
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '.')
        .filter_map(|word| word.strip_prefix('V'))
        .map(|id| id.trim_end_matches('.'))
        .filter(|id| is_requirement(id))
        .collect();
    let once: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(once.len(), listed.len(), "one is listed twice: {listed:?}");
    assert_eq!(once, in_tables);
}
