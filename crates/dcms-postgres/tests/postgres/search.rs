//! Searches, beyond what every store has to find: writing phone numbers, and the plans.

use dcms_domain::patients::{ContactType, CreateContact, PatientFilter};
use dcms_domain::shared::PageRequest;
use sqlx::AssertSqlSafe;

use crate::support::{Clinic, done, execute, migrated_database, raw_connection};

async fn found(clinic: &Clinic, query: &str) -> Vec<String> {
    let filter = PatientFilter {
        query: Some(query.to_owned()),
        archived: None,
    };
    let page = clinic
        .services
        .patients
        .patients(&clinic.admin, filter, PageRequest::first())
        .await;
    done(page)
        .items
        .into_iter()
        .map(|patient| patient.first_name)
        .collect()
}

#[tokio::test]
async fn a_phone_number_is_found_however_it_is_written() {
    let clinic = Clinic::open().await;
    for (name, number) in [
        ("International", "+49 170 1234567"),
        ("National", "0170/123 45 67"),
        ("Dialled", "0049 (170) 1234567"),
        ("Other", "+49 170 7654321"),
    ] {
        let patient = clinic.register(name, "Meyer").await;
        let contact = CreateContact {
            contact_type: ContactType::Phone,
            value: number.to_owned(),
            label: None,
            is_primary: true,
        };
        let added = clinic
            .services
            .patients
            .add_contact(&clinic.admin, patient.patient_id, contact)
            .await;
        done(added);
    }
    for query in [
        "0170 1234567",
        "+49 170 1234567",
        "0049 170/123-4567",
        "0170 1234",
    ] {
        let mut names = found(&clinic, query).await;
        names.sort();
        assert_eq!(names, ["Dialled", "International", "National"], "{query}");
    }
    assert_eq!(found(&clinic, "+49 170 7654321").await, ["Other"]);
    assert!(found(&clinic, "17").await.is_empty());
}

#[tokio::test]
async fn names_are_found_with_slips_of_every_kind() {
    let clinic = Clinic::open().await;
    for (first_name, last_name) in [
        ("Kwame", "Smith"),
        ("Yuki", "Johnson"),
        ("Zoltan", "Großmann"),
        ("Quentin", "O’Brien"),
        ("Xaver", "Müller-Lüdenscheidt"),
        ("Vadim", "Papadopoulos"),
    ] {
        clinic.register(first_name, last_name).await;
    }
    for (query, expected) in [
        ("Smiht", "Kwame"),
        ("Msith", "Kwame"),
        ("Smth", "Kwame"),
        ("Smitth", "Kwame"),
        ("Smyth", "Kwame"),
        ("kwmae smiht", "Kwame"),
        ("Jonson", "Yuki"),
        ("grossmann", "Zoltan"),
        ("Großman", "Zoltan"),
        ("o'brien", "Quentin"),
        ("obrien", "Quentin"),
        ("brien", "Quentin"),
        ("ludenscheidt", "Xaver"),
        ("mull xav", "Xaver"),
        ("papadopulus", "Vadim"),
        ("v", "Vadim"),
        ("p va", "Vadim"),
    ] {
        assert_eq!(found(&clinic, query).await, [expected], "{query}");
    }
}

/// Whatever people paste into a search field is a search.
#[tokio::test]
async fn no_query_is_an_error() {
    let clinic = Clinic::open().await;
    clinic.register("Anna", "Meyer").await;
    let long_word = "ŉ".repeat(200);
    let many_words = "a ".repeat(100);
    for query in [
        "'",
        "''",
        "\\",
        "\\'",
        ":*",
        "a:*b",
        "!",
        "& |",
        "(",
        "<->",
        "~",
        "~anna",
        "%",
        "_",
        "[",
        "]",
        "^$",
        "…",
        "’",
        "ŉ",
        "ª",
        "½",
        "㎮",
        "日本",
        "+",
        "00",
        "000",
        "+000",
        "p",
        "P0",
        "99999999999999999999",
        "P9223372036854775808",
        "@",
        "\"",
        "`",
        "\u{301}",
        "\u{200b}",
        &long_word,
        many_words.trim(),
    ] {
        found(&clinic, query).await;
    }
}

const SEARCH: &str = include_str!("../../src/search_patients.sql");

/// There is an index for each way to match. Whether it is faster than reading everything depends on
/// how much there is, so that choice is taken away here; `docs/search.md` has the plans for a
/// million patients.
#[tokio::test]
async fn each_way_to_match_has_an_index() {
    let database = migrated_database().await;
    let url = database.url();
    execute(
        url,
        "INSERT INTO patients (patient_id, register_number, first_name, last_name, gender, version,
            created_at, updated_at)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n,
            'First' || n % 100, 'Last' || n, 'unknown', 1, '2026-01-01Z', '2026-01-01Z'
        FROM generate_series(1, 20000) AS n;
        INSERT INTO patient_contacts (contact_id, patient_id, type, value, is_primary, version,
            created_at, updated_at)
        SELECT patient_id, patient_id, 'phone', '+49 170 ' || register_number * 7919, true, 1,
            created_at, updated_at
        FROM patients;
        ANALYZE patients;
        ANALYZE patient_contacts",
    )
    .await;
    let mut connection = raw_connection(url).await;
    let prepare = format!(
        "SET enable_seqscan = off;
        PREPARE search (text, bigint, text, boolean, integer, uuid, bigint, text[]) AS {SEARCH}"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut connection)
        .await
        .expect("it is prepared");
    for (arguments, index) in [
        (
            "'last12345', NULL, '%last12345%', NULL, NULL, NULL, 51, '{last12345%}'",
            "patients_search_terms",
        ),
        (
            "'lsat12345', NULL, NULL, NULL, NULL, NULL, 51, NULL",
            "patients_search_terms",
        ),
        (
            "'ast1234', NULL, NULL, NULL, NULL, NULL, 51, NULL",
            "patients_search_name",
        ),
        (
            "'12345', 12345, NULL, NULL, NULL, NULL, 51, NULL",
            "patients_register_number_key",
        ),
        (
            "'9 40', NULL, '%9173940%', NULL, NULL, NULL, 51, '{9173940%}'",
            "patient_contacts_search_value",
        ),
        (
            "'49 170 9', NULL, '%491709173940%', NULL, NULL, NULL, 51, '{491709173940%}'",
            "patient_contacts_by_value",
        ),
    ] {
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "EXPLAIN EXECUTE search({arguments})"
        )))
        .fetch_all(&mut connection)
        .await
        .expect("it is explained");
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan"), "{arguments}\n{plan}");
        assert!(plan.contains(index), "{arguments} without {index}\n{plan}");
    }
}
