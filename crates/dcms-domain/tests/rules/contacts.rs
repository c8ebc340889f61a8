use dcms_domain::patients::{Contact, ContactChanges, ContactType, CreateContact};
use dcms_domain::shared::{Change, CommonError, ContactId, PageRequest, PatientId};
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated};

fn contact(contact_type: ContactType, value: &str, is_primary: bool) -> CreateContact {
    CreateContact {
        contact_type,
        value: value.to_owned(),
        label: None,
        is_primary,
    }
}

async fn add(clinic: &Clinic, command: CreateContact) -> Result<Contact, CommonError> {
    let id = clinic.patient.patient_id;
    let patients = &clinic.services.patients;
    patients
        .add_contact(&clinic.receptionist, id, command)
        .await
}

async fn change(
    clinic: &Clinic,
    id: ContactId,
    changes: ContactChanges,
) -> Result<Contact, CommonError> {
    let patient = clinic.patient.patient_id;
    let patients = &clinic.services.patients;
    patients
        .change_contact(&clinic.receptionist, patient, id, &ANY, changes)
        .await
}

async fn primaries(clinic: &Clinic) -> Vec<String> {
    let id = clinic.patient.patient_id;
    let patients = &clinic.services.patients;
    let page = patients
        .contacts(&clinic.doctor, id, PageRequest::first())
        .await;
    let contacts = page.unwrap().items.into_iter();
    contacts
        .filter(|contact| contact.is_primary)
        .map(|contact| contact.value)
        .collect()
}

#[test]
fn numbers_and_addresses_have_their_form() {
    block_on(async {
        let clinic = Clinic::open().await;
        for (contact_type, value, fault) in [
            (ContactType::Phone, "+49 (0)30/123-45.6", None),
            (ContactType::Phone, " 112 ", None),
            (ContactType::Phone, "12", Some("/value invalid_format")),
            (
                ContactType::Phone,
                "0800 FLOWERS",
                Some("/value invalid_format"),
            ),
            (
                ContactType::Phone,
                "123456789012345678901",
                Some("/value invalid_format"),
            ),
            (ContactType::Phone, "", Some("/value required")),
            (ContactType::Email, "Anna.Meyer+tag@example.org", None),
            (ContactType::Email, "anna@müller.example", None),
            (ContactType::Email, "anna", Some("/value invalid_format")),
            (
                ContactType::Email,
                "@example.org",
                Some("/value invalid_format"),
            ),
            (
                ContactType::Email,
                "anna@example",
                Some("/value invalid_format"),
            ),
            (
                ContactType::Email,
                "anna@.org",
                Some("/value invalid_format"),
            ),
            (
                ContactType::Email,
                "an na@example.org",
                Some("/value invalid_format"),
            ),
            (
                ContactType::Email,
                "a@b@example.org",
                Some("/value invalid_format"),
            ),
        ] {
            let added = add(&clinic, contact(contact_type, value, false)).await;
            match fault {
                None => assert_eq!(added.unwrap().value, value.trim()),
                Some(fault) => assert_eq!(faults(added), [fault], "{value}"),
            }
        }
        let faulty = CreateContact {
            label: Some("x".repeat(101)),
            ..contact(ContactType::Phone, "call me", false)
        };
        let refused = add(&clinic, faulty).await;
        assert_eq!(
            faults(refused),
            ["/value invalid_format", "/label too_long"]
        );
    });
}

#[test]
fn a_new_primary_contact_takes_the_place_of_the_old_one() {
    block_on(async {
        let clinic = Clinic::open().await;
        let phone = |value, is_primary| contact(ContactType::Phone, value, is_primary);
        let first = add(&clinic, phone("030 111", true)).await.unwrap();
        let email = contact(ContactType::Email, "anna@example.org", true);
        add(&clinic, email).await.unwrap();
        add(&clinic, phone("030 222", true)).await.unwrap();
        assert_eq!(primaries(&clinic).await, ["anna@example.org", "030 222"]);

        let back = ContactChanges {
            is_primary: Change::Set(true),
            ..ContactChanges::default()
        };
        let after = change(&clinic, first.contact_id, back.clone())
            .await
            .unwrap();
        assert_eq!(
            primaries(&clinic).await,
            [after.value.as_str(), "anna@example.org"]
        );
        // It has the place already.
        change(&clinic, first.contact_id, back).await.unwrap();
        assert_eq!(
            primaries(&clinic).await,
            [after.value.as_str(), "anna@example.org"]
        );

        let as_email = ContactChanges {
            contact_type: Change::Set(ContactType::Email),
            value: Change::Set("other@example.org".to_owned()),
            ..ContactChanges::default()
        };
        change(&clinic, first.contact_id, as_email).await.unwrap();
        assert_eq!(primaries(&clinic).await, ["other@example.org"]);
    });
}

#[test]
fn families_share_a_number() {
    block_on(async {
        let clinic = Clinic::open().await;
        let sibling = clinic.register("Berta", "Meyer").await.patient_id;
        let shared = contact(ContactType::Phone, "030 1234", true);
        add(&clinic, shared.clone()).await.unwrap();
        let patients = &clinic.services.patients;
        let added = patients.add_contact(&clinic.doctor, sibling, shared).await;
        assert!(added.unwrap().is_primary);
        assert_eq!(primaries(&clinic).await, ["030 1234"]);
    });
}

#[test]
fn a_contact_is_found_only_with_its_patient() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, desk) = (&clinic.services.patients, &clinic.receptionist);
        let other = clinic.register("Berta", "Schulz").await.patient_id;
        let own = contact(ContactType::Phone, "030 1234", false);
        let id = add(&clinic, own.clone()).await.unwrap().contact_id;
        let changes = ContactChanges::default();
        let after = patients
            .change_contact(desk, other, id, &ANY, changes.clone())
            .await;
        assert_not_found(after);
        assert_not_found(patients.delete_contact(desk, other, id, &ANY).await);

        let patient = clinic.patient.patient_id;
        let faulty = ContactChanges {
            value: Change::Clear,
            ..changes
        };
        let after = patients
            .change_contact(desk, patient, id, &outdated(), faulty.clone())
            .await;
        assert_mismatch(after);
        assert_eq!(
            faults(change(&clinic, id, faulty).await),
            ["/value required"]
        );
        assert_mismatch(
            patients
                .delete_contact(desk, patient, id, &outdated())
                .await,
        );
        patients
            .delete_contact(desk, patient, id, &ANY)
            .await
            .unwrap();
        assert_not_found(patients.delete_contact(desk, patient, id, &ANY).await);

        let nobody: PatientId = uuid::Uuid::from(clinic.room.room_id).into();
        assert_not_found(patients.contacts(desk, nobody, PageRequest::first()).await);
        assert_not_found(patients.add_contact(desk, nobody, own).await);
        let none = patients.contacts(desk, other, PageRequest::first()).await;
        assert_eq!(none.unwrap().items, []);
    });
}
