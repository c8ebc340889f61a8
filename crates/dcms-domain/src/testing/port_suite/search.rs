use super::stage::{Must, Stage, all_of, page_of};
use crate::patients::{ContactType, Patient, PatientFilter};
use crate::shared::PageRequest;
use crate::store::Store;

fn filter(query: &str) -> PatientFilter {
    PatientFilter {
        query: Some(query.to_owned()),
        archived: None,
    }
}

/// The first names of those who are found, best first.
async fn found(stage: &Stage<'_>, query: &str) -> Vec<String> {
    let mut connection = stage.connect().await;
    let page = connection
        .patients()
        .list(&filter(query), PageRequest::first())
        .await;
    let first_name = |patient: Patient| patient.first_name;
    all_of(page).into_iter().map(first_name).collect()
}

async fn assert_finds(stage: &Stage<'_>, query: &str, expected: &[&str]) {
    assert_eq!(found(stage, query).await, expected, "looking for {query}");
}

/// Any part of a first or last name will do, in any case.
pub async fn patients_are_found_by_part_of_a_name(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Alexandra", "Bergmann").await;
    stage.saved_patient("Theodor", "Kurzweil").await;
    for query in ["Alexandra", "alex", "XANDR", "berg", "gmann", "Bergmann"] {
        assert_finds(&stage, query, &["Alexandra"]).await;
    }
    assert_finds(&stage, "Quintus", &[]).await;
}

/// Each of several words has to be found, in whatever order.
pub async fn patients_are_found_by_several_words(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Alexandra", "Bergmann").await;
    stage.saved_patient("Theodor", "Bergmann").await;
    stage.saved_patient("Alexandra", "Kurzweil").await;
    for query in [
        "Alexandra Bergmann",
        "bergmann alexandra",
        "alex berg",
        "berg  ALEX",
    ] {
        assert_finds(&stage, query, &["Alexandra"]).await;
    }
    assert_finds(&stage, "Theodor Kurzweil", &[]).await;
}

/// Accents make no difference, on neither side.
pub async fn patients_are_found_without_accents(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Zoé", "Müller").await;
    stage.saved_patient("Theodor", "Kurzweil").await;
    for query in [
        "zoe",
        "Zoë",
        "ZOÉ",
        "muller",
        "Müll",
        "MÚLLER",
        "zoe muller",
    ] {
        assert_finds(&stage, query, &["Zoé"]).await;
    }
    assert_finds(&stage, "théodor", &["Theodor"]).await;
}

/// A letter too many, too few or wrong, or two that changed places, are forgiven.
pub async fn patients_are_found_with_slips(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Alexandra", "Hoffmann").await;
    stage.saved_patient("Björn", "Johansson").await;
    stage.saved_patient("Carla", "Schmidt").await;
    for (query, expected) in [
        ("Hofmann", "Alexandra"),
        ("Hoffman", "Alexandra"),
        ("johanson", "Björn"),
        ("Schmit", "Carla"),
        ("Schmitt", "Carla"),
        ("Schmitd", "Carla"),
        ("carla schmit", "Carla"),
    ] {
        assert_finds(&stage, query, &[expected]).await;
    }
}

/// A register number finds its patient, as it is printed and as people type it.
pub async fn patients_are_found_by_register_number(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Alexandra", "Bergmann").await;
    let wanted = stage.saved_patient("Theodor", "Kurzweil").await;
    let number = wanted.register_number;
    for query in [
        number.to_string(),
        format!("p{}", number.get()),
        number.get().to_string(),
    ] {
        assert_finds(&stage, &query, &["Theodor"]).await;
    }
    let nobodys = format!("P{}", number.get() + 1000);
    assert_finds(&stage, &nobodys, &[]).await;
}

/// Part of a phone number will do, however it is grouped and with or without the country's code;
/// all who share it are found once.
pub async fn patients_are_found_by_phone(store: &dyn Store) {
    let stage = Stage::new(store);
    let alexandra = stage.saved_patient("Alexandra", "Bergmann").await;
    let theodor = stage.saved_patient("Theodor", "Bergmann").await;
    let carla = stage.saved_patient("Carla", "Kurzweil").await;
    let dora = stage.saved_patient("Dora", "Kurzweil").await;
    for (patient, number) in [
        (&alexandra, "+49 (171) 555-0101"),
        (&alexandra, "+49 171 5550101"),
        (&theodor, "+49/171.5550101"),
        (&carla, "+49 30 99887766"),
        (&dora, "030/99 88 77 66"),
    ] {
        stage
            .saved_contact(patient, ContactType::Phone, number)
            .await;
    }
    for query in [
        "+49 171 5550101",
        "0049 171 5550101",
        "0171 5550101",
        "0171 555",
        "5550101",
        "171/555-01",
        "1 7155501",
    ] {
        assert_finds(&stage, query, &["Alexandra", "Theodor"]).await;
    }
    for query in ["9988-77", "030 998877", "+49 30 9988", "00493099887766"] {
        let mut names = found(&stage, query).await;
        // Which of the two spellings is the better match is the store's business.
        names.sort();
        assert_eq!(names, ["Carla", "Dora"], "looking for {query}");
    }
    assert_finds(&stage, "1234567", &[]).await;
}

/// Part of an e-mail address will do, in any case.
pub async fn patients_are_found_by_email(store: &dyn Store) {
    let stage = Stage::new(store);
    let alexandra = stage.saved_patient("Alexandra", "Bergmann").await;
    let theodor = stage.saved_patient("Theodor", "Kurzweil").await;
    for (patient, address) in [
        (&alexandra, "Wonder_Land@Example.org"),
        (&theodor, "post@mailbox.example"),
    ] {
        stage
            .saved_contact(patient, ContactType::Email, address)
            .await;
    }
    for query in ["Wonder_Land@Example.org", "wonder_land@", "LAND@EXAMPLE"] {
        assert_finds(&stage, query, &["Alexandra"]).await;
    }
    assert_finds(&stage, "@mailbox.exa", &["Theodor"]).await;
}

/// Whole words and beginnings come before parts, parts before what is only similar, and those who
/// match alike in the order they were registered.
pub async fn better_matches_come_first(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_patient("Similar", "Hoffmann").await;
    stage.saved_patient("Part", "Neuhofmann").await;
    stage.saved_patient("Exact", "Hofmann").await;
    stage.saved_patient("Nobody", "Kurzweil").await;
    stage.saved_patient("Exact too", "Hofmann").await;
    let expected = ["Exact", "Exact too", "Part", "Similar"];
    assert_finds(&stage, "hofmann", &expected).await;

    stage.saved_patient("Inside", "Rosenzweig").await;
    stage.saved_patient("Start", "Zweigert").await;
    assert_finds(&stage, "zweig", &["Start", "Inside"]).await;
}

/// Pages go through all that match, best first, each once, while others are added.
pub async fn matches_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    for (first_name, last_name) in [
        ("Part", "Neuhofmann"),
        ("Exact", "Hofmann"),
        ("Part too", "Althofmann"),
        ("Exact too", "Hofmann"),
    ] {
        stage.saved_patient(first_name, last_name).await;
    }
    let mut connection = stage.connect().await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = connection
            .patients()
            .list(&filter("hofmann"), page_of(1, after))
            .await
            .must();
        seen.extend(page.items.into_iter().map(|patient| patient.first_name));
        if seen.len() == 3 {
            // Before and behind the place where the next page starts.
            stage.saved_patient("Exact, but late", "Hofmann").await;
            stage.saved_patient("Part, but late", "Hochhofmann").await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected = ["Exact", "Exact too", "Part", "Part too", "Part, but late"];
    assert_eq!(seen, expected);
}

/// What means something to a pattern or a query language finds only itself.
pub async fn wildcards_mean_themselves(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Alexandra", "Bergmann").await;
    stage
        .saved_contact(&patient, ContactType::Email, "alexandra@example.org")
        .await;
    stage.saved_patient("Theodor", "100% \\ Wunder_bar").await;
    for query in [
        "%",
        "_",
        "\\",
        "%%%",
        "x%d",
        "r_m",
        "' OR 1=1 --",
        "*",
        "&|!",
    ] {
        let names = found(&stage, query).await;
        assert!(!names.contains(&"Alexandra".to_owned()), "{query}");
    }
    for query in ["100%", "wunder_b"] {
        assert_finds(&stage, query, &["Theodor"]).await;
    }
}
