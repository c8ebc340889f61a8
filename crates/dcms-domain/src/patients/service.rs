use std::iter;

use super::{
    Contact, ContactChanges, CreateContact, Patient, PatientChanges, PatientDetails, PatientFilter,
    PatientKey,
};
use crate::access::{Actor, Permission};
use crate::audit::{AuditAction, Audited as _, Entity};
use crate::shared::{
    CommonError, ContactId, Expected, Faults, Instant, Page, PageRequest, PatientId, Ports,
    Version, in_version, search_text,
};
use crate::store::{Rule, StoreError, UnitOfWork, retry_conflicts};

/// Patients and their contacts. Fails with what any context can fail with.
pub struct PatientService {
    pub(super) ports: Ports,
}

impl PatientService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// Registers a patient under a new number.
    ///
    /// # Errors
    /// Faults.
    pub async fn register(
        &self,
        actor: &Actor,
        details: PatientDetails,
    ) -> Result<Patient, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let now = self.ports.clock.now();
        let mut faults = Faults::new();
        let details = details.checked(now, &mut faults);
        faults.into_result()?;
        retry_conflicts(&*self.ports.store, || async {
            let mut work = self.ports.store.begin().await?;
            let patient = Patient {
                patient_id: self.ports.ids.next_id().into(),
                register_number: work.patients().next_register_number().await?,
                first_name: details.first_name.clone(),
                last_name: details.last_name.clone(),
                birthday: details.birthday,
                gender: details.gender,
                notes: details.notes.clone(),
                archived_at: None,
                anonymized_at: None,
                version: Version::FIRST,
                created_at: now,
                updated_at: now,
            };
            work.patients().insert(&patient).await?;
            let entry = self.ports.audit_created(actor, &patient);
            work.commit(&entry).await?;
            Ok(patient)
        })
        .await
    }

    /// One patient.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is none.
    pub async fn patient(
        &self,
        actor: &Actor,
        patient_id: PatientId,
    ) -> Result<Patient, CommonError> {
        actor.require(Permission::ReadPatients)?;
        let mut connection = self.ports.store.connect().await?;
        let patient = connection.patients().get(patient_id).await?;
        let patient = patient.ok_or(CommonError::NotFound)?;
        self.ports.note_read(actor, patient.subject());
        Ok(patient)
    }

    /// The patients that match.
    ///
    /// # Errors
    /// What any context can fail with.
    pub async fn patients(
        &self,
        actor: &Actor,
        mut filter: PatientFilter,
        page: PageRequest<PatientKey>,
    ) -> Result<Page<Patient, PatientKey>, CommonError> {
        actor.require(Permission::ReadPatients)?;
        filter.query = search_text(filter.query)?;
        let mut connection = self.ports.store.connect().await?;
        let patients = connection.patients().list(&filter, page).await?;
        let shown = patients.items.iter().map(|patient| patient.patient_id);
        self.ports.note_list(actor, Entity::Patient, shown);
        Ok(patients)
    }

    /// Changes a patient.
    ///
    /// # Errors
    /// Faults; [`Rule::PatientAnonymized`]; [`CommonError::NotFound`];
    /// [`CommonError::VersionMismatch`].
    pub async fn change(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        expected: &Expected,
        changes: PatientChanges,
    ) -> Result<Patient, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let action = AuditAction::Change;
        self.update(actor, action, patient_id, expected, |patient, now| {
            patient.require_known()?;
            Ok(patient.changed(changes.clone(), now)?)
        })
        .await
    }

    /// Archives a patient: they keep their record and get no new appointments. Archiving one who
    /// is archived changes nothing.
    ///
    /// # Errors
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn archive(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        expected: &Expected,
    ) -> Result<Patient, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let action = AuditAction::Archive;
        self.update(actor, action, patient_id, expected, |patient, now| {
            Ok(patient.archived(true, now))
        })
        .await
    }

    /// Takes a patient out of the archive. Restoring one who is not archived changes nothing.
    ///
    /// # Errors
    /// [`Rule::PatientAnonymized`]; [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn restore(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        expected: &Expected,
    ) -> Result<Patient, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let action = AuditAction::Restore;
        self.update(actor, action, patient_id, expected, |patient, now| {
            patient.require_known()?;
            Ok(patient.archived(false, now))
        })
        .await
    }

    /// Deletes a patient who never had an appointment or an invoice.
    ///
    /// # Errors
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse) when they had;
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn delete(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        expected: &Expected,
    ) -> Result<(), CommonError> {
        actor.require(Permission::DeletePatients)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let patient = in_version(work.patients().get(patient_id).await?, expected)?;
            work.patients().delete(&patient).await?;
            let entry = self.ports.audit_deleted(actor, &patient);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    /// A patient's contacts.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such patient.
    pub async fn contacts(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        page: PageRequest<ContactId>,
    ) -> Result<Page<Contact, ContactId>, CommonError> {
        actor.require(Permission::ReadPatients)?;
        let mut connection = self.ports.store.connect().await?;
        let contacts = connection.patients().contacts(patient_id, page).await?;
        if contacts.items.is_empty() {
            connection
                .patients()
                .get(patient_id)
                .await?
                .ok_or(CommonError::NotFound)?;
        }
        self.ports
            .note_list(actor, Entity::Contact, iter::once(patient_id));
        Ok(contacts)
    }

    /// Adds a contact. A primary one takes that place from another of its type.
    ///
    /// # Errors
    /// Faults; [`Rule::PatientAnonymized`]; [`CommonError::NotFound`] when there is no such
    /// patient.
    pub async fn add_contact(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        command: CreateContact,
    ) -> Result<Contact, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let now = self.ports.clock.now();
        let mut contact = Contact {
            contact_id: self.ports.ids.next_id().into(),
            patient_id,
            contact_type: command.contact_type,
            value: command.value,
            label: command.label,
            is_primary: command.is_primary,
            version: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let mut faults = Faults::new();
        contact.check(&mut faults);
        faults.into_result()?;
        let contact = &contact;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let patient = work.patients().hold(patient_id).await?;
            patient.ok_or(CommonError::NotFound)?.require_known()?;
            make_way(&mut *work, contact).await?;
            work.patients()
                .insert_contact(contact)
                .await
                .map_err(taken_meanwhile)?;
            let entry = self.ports.audit_created(actor, contact);
            work.commit(&entry).await?;
            Ok(contact.clone())
        })
        .await
    }

    /// Changes a contact. One that becomes primary takes that place from another of its type.
    ///
    /// # Errors
    /// Faults; [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn change_contact(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        contact_id: ContactId,
        expected: &Expected,
        changes: ContactChanges,
    ) -> Result<Contact, CommonError> {
        actor.require(Permission::ChangePatients)?;
        let changes = &changes;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = work.patients().contact(patient_id, contact_id).await?;
            let current = in_version(current, expected)?;
            let place = |contact: &Contact| (contact.is_primary, contact.contact_type);
            let before = current.clone();
            let contact = current.changed(changes.clone(), self.ports.clock.now())?;
            if place(&contact) != place(&before) {
                make_way(&mut *work, &contact).await?;
            }
            work.patients()
                .update_contact(&contact)
                .await
                .map_err(taken_meanwhile)?;
            let change = AuditAction::Change;
            let entry = self.ports.audit_changed(actor, change, &before, &contact);
            work.commit(&entry).await?;
            Ok(contact)
        })
        .await
    }

    /// Deletes a contact.
    ///
    /// # Errors
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn delete_contact(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        contact_id: ContactId,
        expected: &Expected,
    ) -> Result<(), CommonError> {
        actor.require(Permission::ChangePatients)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let contact = work.patients().contact(patient_id, contact_id).await?;
            let contact = in_version(contact, expected)?;
            work.patients().delete_contact(&contact).await?;
            let entry = self.ports.audit_deleted(actor, &contact);
            Ok(work.commit(&entry).await?)
        })
        .await
    }

    async fn update(
        &self,
        actor: &Actor,
        action: AuditAction,
        patient_id: PatientId,
        expected: &Expected,
        decide: impl Fn(Patient, Instant) -> Result<Patient, CommonError> + Send + Sync,
    ) -> Result<Patient, CommonError> {
        let decide = &decide;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let current = in_version(work.patients().get(patient_id).await?, expected)?;
            let before = current.clone();
            let patient = decide(current, self.ports.clock.now())?;
            if patient.version != before.version {
                work.patients().update(&patient).await?;
                let entry = self.ports.audit_changed(actor, action, &before, &patient);
                work.commit(&entry).await?;
            }
            Ok(patient)
        })
        .await
    }
}

/// Demotes the contact in whose place a primary one is to stand.
async fn make_way(work: &mut dyn UnitOfWork, contact: &Contact) -> Result<(), CommonError> {
    if contact.is_primary {
        work.patients()
            .demote_primary_contact(contact.patient_id, contact.contact_type)
            .await?;
    }
    Ok(())
}

/// Way was made for a primary contact, so another one can only have come in between: the later one
/// takes the place from it, too.
fn taken_meanwhile(error: StoreError) -> StoreError {
    match error {
        StoreError::Violated(Rule::PrimaryContactTaken) => StoreError::Conflict,
        error => error,
    }
}
