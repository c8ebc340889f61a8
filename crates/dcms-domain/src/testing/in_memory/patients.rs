use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::{Connection, State, forms, hold, page, search, stored_before, stored_in_version};
use crate::patients::{
    ANONYMOUS_NAME, Contact, ContactType, Gender, Patient, PatientFilter, PatientKey,
    PatientRepository, RegisterNumber,
};
use crate::shared::{ContactId, Page, PageRequest, PatientId};
use crate::store::{Rule, StoreError};

impl State {
    fn check_register_number_free(&self, patient: &Patient) -> Result<(), StoreError> {
        let is_taken = self.patients.values().any(|other| {
            other.patient_id != patient.patient_id
                && other.register_number == patient.register_number
        });
        hold(Rule::RegisterNumberTaken, !is_taken)
    }

    fn check_primary_place_free(&self, contact: &Contact) -> Result<(), StoreError> {
        let is_taken = self.contacts.values().any(|other| {
            other.contact_id != contact.contact_id
                && other.patient_id == contact.patient_id
                && other.contact_type == contact.contact_type
                && other.is_primary
        });
        hold(Rule::PrimaryContactTaken, !(contact.is_primary && is_taken))
    }

    /// Whether the patient is one of whom more may be kept; asked of those who exist.
    pub(super) fn check_patient_known(&self, patient_id: PatientId) -> Result<(), StoreError> {
        let patient = self.patients.get(&patient_id);
        hold(
            Rule::PatientAnonymized,
            patient.is_none_or(|patient| patient.anonymized_at.is_none()),
        )
    }

    fn contacts_of(&self, patient_id: PatientId) -> impl Iterator<Item = &Contact> {
        self.contacts
            .values()
            .filter(move |contact| contact.patient_id == patient_id)
    }

    /// How well the patient matches, if at all.
    fn rank(&self, patient: &Patient, filter: &PatientFilter) -> Option<i32> {
        let is_archived = patient.archived_at.is_some();
        if filter.archived.is_some_and(|wanted| wanted != is_archived) {
            return None;
        }
        match &filter.query {
            None => Some(0),
            Some(query) => search::rank(patient, self.contacts_of(patient.patient_id), query),
        }
    }
}

/// Nothing is left of whoever is anonymized.
fn check_anonymous(patient: &Patient) -> Result<(), StoreError> {
    let name = (patient.first_name.as_str(), patient.last_name.as_str());
    hold(
        Rule::PatientAnonymized,
        patient.anonymized_at.is_none()
            || (name == ANONYMOUS_NAME
                && patient.birthday.is_none()
                && patient.gender == Gender::Unknown
                && patient.notes.is_none()
                && patient.archived_at.is_some()),
    )
}

fn key_of((rank, patient): &(i32, Patient)) -> PatientKey {
    PatientKey {
        rank: *rank,
        patient_id: patient.patient_id,
    }
}

fn place(key: PatientKey) -> (Reverse<i32>, PatientId) {
    (Reverse(key.rank), key.patient_id)
}

#[async_trait]
impl PatientRepository for Connection {
    async fn next_register_number(&mut self) -> Result<RegisterNumber, StoreError> {
        self.read()?;
        let last = self.shared.register_numbers.fetch_add(1, Ordering::Relaxed);
        Ok(RegisterNumber::new(last + 1))
    }

    async fn insert(&mut self, patient: &Patient) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[patient])?;
            check_anonymous(patient)?;
            hold(
                Rule::IdentifierTaken,
                !state.patients.contains_key(&patient.patient_id),
            )?;
            state.check_register_number_free(patient)?;
            state.patients.insert(patient.patient_id, patient.clone());
            Ok(())
        })
    }

    async fn get(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        Ok(self.read()?.patients.get(&patient_id).cloned())
    }

    async fn hold(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        // Whoever commits second meets a conflict anyway.
        PatientRepository::get(self, patient_id).await
    }

    async fn lock(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        PatientRepository::get(self, patient_id).await
    }

    async fn update(&mut self, patient: &Patient) -> Result<(), StoreError> {
        self.write(|state| {
            let stored = stored_before(&mut state.patients, &patient.patient_id, patient)?;
            let before = std::mem::replace(stored, patient.clone());
            forms::check(&[patient])?;
            check_anonymous(patient)?;
            hold(
                Rule::PatientAnonymized,
                before.anonymized_at.is_none() || before.anonymized_at == patient.anonymized_at,
            )?;
            state.check_register_number_free(patient)
        })
    }

    async fn delete(&mut self, patient: &Patient) -> Result<(), StoreError> {
        self.write(|state| {
            let patient_id = patient.patient_id;
            stored_in_version(&state.patients, &patient_id, patient)?;
            let mut visits = state.appointments.values();
            let mut invoices = state.invoices.values();
            let has_history = visits.any(|visit| visit.patient_id == patient_id)
                || invoices.any(|invoice| invoice.patient_id == patient_id);
            hold(Rule::StillInUse, !has_history)?;
            state
                .contacts
                .retain(|_, contact| contact.patient_id != patient_id);
            state.patients.remove(&patient_id);
            Ok(())
        })
    }

    async fn list(
        &mut self,
        filter: &PatientFilter,
        request: PageRequest<PatientKey>,
    ) -> Result<Page<Patient, PatientKey>, StoreError> {
        let state = self.read()?;
        let mut ranked: Vec<(i32, Patient)> = state
            .patients
            .values()
            .filter_map(|patient| Some((state.rank(patient, filter)?, patient.clone())))
            .collect();
        ranked.sort_by_key(|row| place(key_of(row)));
        let found = page(
            ranked.into_iter(),
            &request,
            |row, after| place(key_of(row)) > place(*after),
            key_of,
        );
        Ok(Page {
            items: found
                .items
                .into_iter()
                .map(|(_, patient)| patient)
                .collect(),
            next: found.next,
        })
    }

    async fn insert_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[contact])?;
            hold(
                Rule::IdentifierTaken,
                !state.contacts.contains_key(&contact.contact_id),
            )?;
            state.check_primary_place_free(contact)?;
            hold(
                Rule::PatientUnknown,
                state.patients.contains_key(&contact.patient_id),
            )?;
            state.check_patient_known(contact.patient_id)?;
            state.contacts.insert(contact.contact_id, contact.clone());
            Ok(())
        })
    }

    async fn contact(
        &mut self,
        patient_id: PatientId,
        contact_id: ContactId,
    ) -> Result<Option<Contact>, StoreError> {
        let state = self.read()?;
        Ok(state
            .contacts
            .get(&contact_id)
            .filter(|contact| contact.patient_id == patient_id)
            .cloned())
    }

    async fn update_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        self.write(|state| {
            *stored_before(&mut state.contacts, &contact.contact_id, contact)? = contact.clone();
            forms::check(&[contact])?;
            state.check_primary_place_free(contact)?;
            state.check_patient_known(contact.patient_id)
        })
    }

    async fn delete_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        self.write(|state| {
            stored_in_version(&state.contacts, &contact.contact_id, contact)?;
            state.contacts.remove(&contact.contact_id);
            Ok(())
        })
    }

    async fn demote_primary_contact(
        &mut self,
        patient_id: PatientId,
        contact_type: ContactType,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let primary = state.contacts.values_mut().find(|contact| {
                contact.patient_id == patient_id
                    && contact.contact_type == contact_type
                    && contact.is_primary
            });
            if let Some(contact) = primary {
                contact.is_primary = false;
                contact.version = contact.version.next();
            }
            Ok(())
        })
    }

    async fn contacts(
        &mut self,
        patient_id: PatientId,
        request: PageRequest<ContactId>,
    ) -> Result<Page<Contact, ContactId>, StoreError> {
        let state = self.read()?;
        Ok(page(
            state.contacts_of(patient_id).cloned(),
            &request,
            |contact, after| contact.contact_id > *after,
            |contact| contact.contact_id,
        ))
    }
}
