use chrono::NaiveDate;

use super::stage::{Must, Stage, all_of, assert_conflict, assert_violates, changed, page_of};
use crate::access::Role;
use crate::patients::{ContactType, Gender, Patient, PatientFilter, RegisterNumber};
use crate::shared::PageRequest;
use crate::store::{Rule, Store, StoreError};

async fn insert(stage: &Stage<'_>, patient: &Patient) -> Result<(), StoreError> {
    stage
        .write(async |work| work.patients().insert(patient).await)
        .await
}

async fn update(stage: &Stage<'_>, patient: &Patient) -> Result<(), StoreError> {
    stage
        .write(async |work| work.patients().update(patient).await)
        .await
}

async fn delete(stage: &Stage<'_>, patient: &Patient) -> Result<(), StoreError> {
    stage
        .write(async |work| work.patients().delete(patient).await)
        .await
}

async fn stored(stage: &Stage<'_>, patient: &Patient) -> Option<Patient> {
    let mut connection = stage.connect().await;
    connection.patients().get(patient.patient_id).await.must()
}

/// No number comes twice, whether it was used or not.
pub async fn register_numbers_differ(store: &dyn Store) {
    let stage = Stage::new(store);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(stage.saved_patient("Anna", "Meyer").await.register_number);
        let mut work = store.begin().await.must();
        numbers.push(work.patients().next_register_number().await.must());
        numbers.push(work.patients().next_register_number().await.must());
        work.commit(&stage.entry()).await.must();
    }
    assert!(numbers.iter().all(|number| number.get() > 0));
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 9);
}

/// What was stored comes back.
pub async fn a_patient_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let bare = stage.saved_patient("Anna", "Meyer").await;
    let full = Patient {
        birthday: NaiveDate::from_ymd_opt(1900, 1, 1),
        gender: Gender::Other,
        notes: Some("Two\nlines".to_owned()),
        archived_at: Some(stage.at(3)),
        ..stage
            .patient("Zoë 'Z'", "O’Neill \\ Müller-Lüdenscheidt")
            .await
    };
    insert(&stage, &full).await.must();
    assert_eq!(stored(&stage, &bare).await.as_ref(), Some(&bare));
    assert_eq!(stored(&stage, &full).await.as_ref(), Some(&full));
    let unknown = changed(&full, |patient| patient.patient_id = stage.id());
    assert_eq!(stored(&stage, &unknown).await, None);
}

/// An update replaces everything, empty fields included, if the version before it is stored.
pub async fn a_changed_patient_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let full = changed(&patient, |patient| {
        patient.first_name = "Berta".into();
        patient.last_name = "Schulz".into();
        patient.birthday = NaiveDate::from_ymd_opt(2000, 2, 29);
        patient.gender = Gender::Female;
        patient.notes = Some("Notes".to_owned());
        patient.archived_at = Some(stage.at(5));
        patient.version = patient.version.next();
        patient.updated_at = stage.at(5);
    });
    update(&stage, &full).await.must();
    assert_eq!(stored(&stage, &patient).await.as_ref(), Some(&full));
    assert_conflict(update(&stage, &full).await);

    let bare = changed(&full, |full| {
        full.birthday = None;
        full.notes = None;
        full.archived_at = None;
        full.version = full.version.next();
    });
    update(&stage, &bare).await.must();
    assert_eq!(stored(&stage, &patient).await.as_ref(), Some(&bare));
    let unknown = changed(&bare, |patient| patient.patient_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
}

/// Two patients share neither number nor id.
pub async fn a_register_number_belongs_to_one_patient(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_patient("Anna", "Meyer").await;
    let same_number = changed(&anna, |patient| patient.patient_id = stage.id());
    assert_violates(
        insert(&stage, &same_number).await,
        Rule::RegisterNumberTaken,
    );
    let same_id = Patient {
        patient_id: anna.patient_id,
        ..stage.patient("Berta", "Schulz").await
    };
    assert_violates(insert(&stage, &same_id).await, Rule::IdentifierTaken);
}

/// The store refuses what no service would write.
pub async fn a_patient_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let fine = stage.patient("Anna", "Meyer").await;
    let wrong: [fn(&mut Patient); 6] = [
        |patient| patient.first_name = String::new(),
        |patient| patient.last_name = "x".repeat(101),
        |patient| patient.last_name = "with\0nul".into(),
        |patient| patient.birthday = NaiveDate::from_ymd_opt(1899, 12, 31),
        |patient| patient.notes = Some(String::new()),
        |patient| patient.register_number = RegisterNumber::new(0),
    ];
    for change in wrong {
        let patient = changed(&fine, change);
        assert_violates(insert(&stage, &patient).await, Rule::ValueRefused);
    }
    insert(&stage, &fine).await.must();
}

/// A patient without history goes in the version given, and their contacts with them.
pub async fn a_patient_is_deleted_with_their_contacts(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let contact = stage
        .saved_contact(&patient, ContactType::Phone, "030 1234")
        .await;
    let kept = stage
        .saved_contact(&other, ContactType::Phone, "030 1234")
        .await;
    let outdated = changed(&patient, |patient| patient.version = patient.version.next());
    assert_conflict(delete(&stage, &outdated).await);
    delete(&stage, &patient).await.must();

    assert_eq!(stored(&stage, &patient).await, None);
    let mut connection = stage.connect().await;
    let of = |contact: &crate::patients::Contact| (contact.patient_id, contact.contact_id);
    let (patient_id, contact_id) = of(&contact);
    let gone = connection.patients().contact(patient_id, contact_id).await;
    assert_eq!(gone.must(), None);
    let (patient_id, contact_id) = of(&kept);
    let stays = connection.patients().contact(patient_id, contact_id).await;
    assert_eq!(stays.must(), Some(kept));
    assert_conflict(delete(&stage, &patient).await);
}

/// A patient who has a visit or an invoice stays.
pub async fn a_patient_with_history_is_not_deleted(store: &dyn Store) {
    let stage = Stage::new(store);
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let visitor = stage.saved_patient("Anna", "Meyer").await;
    let visit = stage.visit(&visitor, &doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let charged = stage.saved_patient("Berta", "Schulz").await;
    stage.saved_draft(&charged, 100).await;
    for patient in [visitor, charged] {
        assert_violates(delete(&stage, &patient).await, Rule::StillInUse);
        assert_eq!(stored(&stage, &patient).await, Some(patient));
    }
}

/// Archived patients can be left out, or the others.
pub async fn archived_patients_are_told_apart(store: &dyn Store) {
    let stage = Stage::new(store);
    let present = stage.saved_patient("Anna", "Meyer").await;
    let archived = Patient {
        archived_at: Some(stage.at(0)),
        ..stage.patient("Anna", "Meyer").await
    };
    insert(&stage, &archived).await.must();
    for query in [None, Some("meyer".to_owned())] {
        for (wanted, expected) in [
            (None, vec![present.clone(), archived.clone()]),
            (Some(false), vec![present.clone()]),
            (Some(true), vec![archived.clone()]),
        ] {
            let filter = PatientFilter {
                query: query.clone(),
                archived: wanted,
            };
            let mut connection = stage.connect().await;
            let found = connection
                .patients()
                .list(&filter, PageRequest::first())
                .await;
            assert_eq!(all_of(found), expected, "{filter:?}");
        }
    }
}

/// Pages hold patients in the order they were registered, each once, while others are added and
/// even when the one the page ended with is deleted.
pub async fn patients_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let early = stage.patient("Early", "Bird").await;
    let mut expected = Vec::new();
    for name in ["C", "B", "A"] {
        expected.push(stage.saved_patient(name, "Meyer").await);
    }
    let filter = PatientFilter::default();
    let mut connection = stage.connect().await;
    let first = connection.patients().list(&filter, page_of(2, None)).await;
    let first = first.must();
    assert_eq!(first.items, expected[..2]);
    insert(&stage, &early).await.must();
    delete(&stage, &expected[1]).await.must();
    expected.push(stage.saved_patient("Late", "Meyer").await);
    let second = connection
        .patients()
        .list(&filter, page_of(2, first.next))
        .await;
    assert_eq!(all_of(second), expected[2..]);
}
