use async_trait::async_trait;

use super::{Contact, ContactType, Patient, PatientFilter, PatientKey, RegisterNumber};
use crate::shared::{ContactId, Page, PageRequest, PatientId};
use crate::store::StoreError;

/// Keeps patients and their contacts.
///
/// Updates store what was raised by one version, deletes remove what is in the version given; when
/// another one is stored, they answer [`StoreError::Conflict`].
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait PatientRepository: Send {
    /// A number that no patient ever had. Numbers may be skipped.
    async fn next_register_number(&mut self) -> Result<RegisterNumber, StoreError>;

    /// Adds a patient.
    async fn insert(&mut self, patient: &Patient) -> Result<(), StoreError>;

    /// The patient of that id.
    async fn get(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError>;

    /// The patient of that id, who stays as they are until the unit of work ends. Others may hold
    /// them at the same time.
    async fn hold(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError>;

    /// The patient of that id, held against everybody else until the unit of work ends: nobody
    /// books, charges or changes them meanwhile.
    async fn lock(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError>;

    /// Stores a changed patient. One who is anonymized stays so, and nameless: else refuses with
    /// [`Rule::PatientAnonymized`](crate::store::Rule::PatientAnonymized).
    async fn update(&mut self, patient: &Patient) -> Result<(), StoreError>;

    /// Deletes a patient and their contacts; one with appointments or invoices is refused with
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse).
    async fn delete(&mut self, patient: &Patient) -> Result<(), StoreError>;

    /// The patients that match, best first, then in the order they were registered.
    async fn list(
        &mut self,
        filter: &PatientFilter,
        page: PageRequest<PatientKey>,
    ) -> Result<Page<Patient, PatientKey>, StoreError>;

    /// Adds a contact, if the patient is not anonymized.
    async fn insert_contact(&mut self, contact: &Contact) -> Result<(), StoreError>;

    /// The contact of that id, if it is this patient's.
    async fn contact(
        &mut self,
        patient_id: PatientId,
        contact_id: ContactId,
    ) -> Result<Option<Contact>, StoreError>;

    /// Stores a changed contact.
    async fn update_contact(&mut self, contact: &Contact) -> Result<(), StoreError>;

    /// Deletes a contact.
    async fn delete_contact(&mut self, contact: &Contact) -> Result<(), StoreError>;

    /// Takes the first place from the patient's primary contact of that type, if there is one,
    /// and raises its version.
    async fn demote_primary_contact(
        &mut self,
        patient_id: PatientId,
        contact_type: ContactType,
    ) -> Result<(), StoreError>;

    /// A patient's contacts in the order they were made.
    async fn contacts(
        &mut self,
        patient_id: PatientId,
        page: PageRequest<ContactId>,
    ) -> Result<Page<Contact, ContactId>, StoreError>;
}
