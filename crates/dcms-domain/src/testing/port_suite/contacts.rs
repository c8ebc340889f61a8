use super::stage::{Must, Stage, all_of, assert_conflict, assert_violates, changed, page_of};
use crate::patients::{Contact, ContactType};
use crate::store::{Rule, Store, StoreError};

async fn update(stage: &Stage<'_>, contact: &Contact) -> Result<(), StoreError> {
    stage
        .write(async |work| work.patients().update_contact(contact).await)
        .await
}

async fn stored(stage: &Stage<'_>, contact: &Contact) -> Option<Contact> {
    let (patient_id, contact_id) = (contact.patient_id, contact.contact_id);
    let mut connection = stage.connect().await;
    let contact = connection.patients().contact(patient_id, contact_id).await;
    contact.must()
}

/// A contact comes back for its patient only, changes and goes in the version given.
pub async fn a_contact_is_stored_changed_and_deleted(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let contact = stage
        .saved_contact(&patient, ContactType::Phone, "+49 (0)30 1234")
        .await;
    assert_eq!(stored(&stage, &contact).await.as_ref(), Some(&contact));
    let of_other = changed(&contact, |contact| contact.patient_id = other.patient_id);
    assert_eq!(stored(&stage, &of_other).await, None);

    let next = changed(&contact, |contact| {
        contact.contact_type = ContactType::Email;
        contact.value = "Anna@Example.org".into();
        contact.label = Some("Work".to_owned());
        contact.is_primary = true;
        contact.version = contact.version.next();
        contact.updated_at = stage.at(5);
    });
    update(&stage, &next).await.must();
    assert_eq!(stored(&stage, &contact).await.as_ref(), Some(&next));
    assert_conflict(update(&stage, &next).await);

    let delete = async |contact: &Contact| {
        stage
            .write(async |work| work.patients().delete_contact(contact).await)
            .await
    };
    assert_conflict(delete(&contact).await);
    delete(&next).await.must();
    assert_eq!(stored(&stage, &contact).await, None);
    assert_conflict(delete(&next).await);
}

/// A contact has a patient, an id of its own, and a value that others may share.
pub async fn a_contact_is_of_a_known_patient_and_new(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let sibling = stage.saved_patient("Berta", "Meyer").await;
    let contact = stage
        .saved_contact(&patient, ContactType::Phone, "030 1234")
        .await;
    stage
        .saved_contact(&patient, ContactType::Phone, "030 1234")
        .await;
    stage
        .saved_contact(&sibling, ContactType::Phone, "030 1234")
        .await;

    let nobodys = changed(&contact, |contact| {
        contact.contact_id = stage.id();
        contact.patient_id = stage.id();
    });
    assert_violates(stage.save_contact(&nobodys).await, Rule::PatientUnknown);
    assert_violates(stage.save_contact(&contact).await, Rule::IdentifierTaken);
    let empty = stage.contact(&patient, ContactType::Phone, "");
    assert_violates(stage.save_contact(&empty).await, Rule::ValueRefused);
}

/// A patient has one primary contact of a type; other types and patients have their own.
pub async fn a_patient_has_one_primary_contact_of_a_type(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let primary = |patient, kind, value| {
        changed(&stage.contact(patient, kind, value), |contact| {
            contact.is_primary = true;
        })
    };
    let phone = primary(&patient, ContactType::Phone, "030 1");
    let email = primary(&patient, ContactType::Email, "a@example.org");
    let of_other = primary(&other, ContactType::Phone, "030 2");
    for contact in [&phone, &email, &of_other] {
        stage.save_contact(contact).await.must();
    }
    let second = primary(&patient, ContactType::Phone, "030 3");
    assert_violates(stage.save_contact(&second).await, Rule::PrimaryContactTaken);
    let retyped = changed(&email, |contact| {
        contact.contact_type = ContactType::Phone;
        contact.version = contact.version.next();
    });
    assert_violates(update(&stage, &retyped).await, Rule::PrimaryContactTaken);
}

/// A primary contact that is demoted makes way for another within one unit of work, and counts
/// the change.
pub async fn a_primary_contact_makes_way(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let demote = async |kind| {
        stage
            .write(async |work| {
                work.patients()
                    .demote_primary_contact(patient.patient_id, kind)
                    .await
            })
            .await
            .must();
    };
    demote(ContactType::Phone).await;
    let old = changed(
        &stage.contact(&patient, ContactType::Phone, "030 1"),
        |contact| {
            contact.is_primary = true;
        },
    );
    stage.save_contact(&old).await.must();
    demote(ContactType::Email).await;
    assert_eq!(stored(&stage, &old).await.as_ref(), Some(&old));

    let new = changed(&old, |contact| {
        contact.contact_id = stage.id();
        contact.value = "030 2".into();
    });
    stage
        .write(async |work| {
            work.patients()
                .demote_primary_contact(patient.patient_id, ContactType::Phone)
                .await?;
            work.patients().insert_contact(&new).await
        })
        .await
        .must();
    let demoted = stored(&stage, &old).await.expect("the old one stays");
    assert!(!demoted.is_primary);
    assert_eq!(demoted.version, old.version.next());
    assert_eq!(stored(&stage, &new).await, Some(new));
}

/// Pages hold a patient's contacts in the order they were made.
pub async fn contacts_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let early = stage.contact(&patient, ContactType::Phone, "030 0");
    let mut expected = Vec::new();
    for value in ["030 3", "030 2", "030 1"] {
        expected.push(
            stage
                .saved_contact(&patient, ContactType::Phone, value)
                .await,
        );
    }
    stage
        .saved_contact(&other, ContactType::Phone, "030 9")
        .await;
    let mut connection = stage.connect().await;
    let list = connection.patients();
    let first = list
        .contacts(patient.patient_id, page_of(2, None))
        .await
        .must();
    assert_eq!(first.items, expected[..2]);
    stage.save_contact(&early).await.must();
    let second = list
        .contacts(patient.patient_id, page_of(2, first.next))
        .await;
    assert_eq!(all_of(second), expected[2..]);
    let of_nobody = list.contacts(stage.id(), page_of(2, None)).await;
    assert_eq!(all_of(of_nobody), []);
}
