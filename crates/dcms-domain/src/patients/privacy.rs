use super::{Contact, Patient, PatientService};
use crate::access::{Actor, Permission};
use crate::appointments::{
    Appointment, AppointmentFilter, AppointmentVersion, HistoryAction, HistoryOf, VersionCause,
};
use crate::audit::{AuditAction, AuditEntry, AuditFilter, Audited as _};
use crate::billing::{Invoice, InvoiceFilter, Payment, PaymentFilter, Refund};
use crate::shared::{
    CommonError, Expected, Faults, Instant, PageLimit, PageRequest, PatientId, context_error,
    in_version, single_line_text,
};
use crate::store::{StoreError, UnitOfWork, retry_conflicts};

/// Everything that is held about a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientExport {
    /// When it was taken out.
    pub exported_at: Instant,
    /// Who it is about.
    pub patient: Patient,
    /// How they can be reached, in the order the contacts were made.
    pub contacts: Vec<Contact>,
    /// Their visits, earlier ones first.
    pub appointments: Vec<Appointment>,
    /// What was done to them, one visit after the other.
    pub appointment_history: Vec<AppointmentVersion>,
    /// Their invoices with all lines, in the order they were drafted.
    pub invoices: Vec<Invoice>,
    /// The payments for them, in the order they were recorded.
    pub payments: Vec<Payment>,
    /// What of it went back, in the order it was recorded.
    pub refunds: Vec<Refund>,
    /// Who looked at their record and who changed what, the latest first. Names no other patient.
    pub audit: Vec<AuditEntry>,
}

/// What can go wrong when a patient is anonymized.
#[derive(Debug, thiserror::Error)]
pub enum PatientError {
    /// What any context can fail with.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// There is a draft, or an invoice on which money is owed.
    #[error("the patient has an invoice that is not settled")]
    OpenBalance,
    /// There is a visit still to come, or under way.
    #[error("the patient has a visit that is still to come")]
    ComingVisit,
}

context_error!(PatientError);

/// All items of a list, page by page: `$list` asks for the page that `$page` names.
macro_rules! whole_list {
    (|$page:ident| $list:expr) => {{
        let mut items = Vec::new();
        let mut $page = PageRequest {
            limit: PageLimit::LARGEST,
            after: None,
        };
        loop {
            let found = $list.await?;
            items.extend(found.items);
            $page.after = found.next;
            if $page.after.is_none() {
                break items;
            }
        }
    }};
}

impl PatientService {
    /// Everything that is held about a patient. The patient themself stays as they are while it is
    /// read; what else changes in that moment may be there or not.
    ///
    /// # Errors
    /// [`CommonError::NotFound`] when there is no such patient.
    pub async fn export(
        &self,
        actor: &Actor,
        patient_id: PatientId,
    ) -> Result<PatientExport, CommonError> {
        actor.require(Permission::ExportPatients)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let patient = work.patients().hold(patient_id).await?;
            let patient = patient.ok_or(CommonError::NotFound)?;
            let now = self.ports.clock.now();
            let export = everything_about(&mut *work, patient, now).await?;
            let subject = export.patient.subject();
            let entry = self.ports.audit(actor, AuditAction::Export, subject);
            work.commit(&entry).await?;
            Ok(export)
        })
        .await
    }

    /// Takes away for good what tells who a patient is: names, contacts, birthday, gender, and what
    /// people wrote about them and their visits and payments. Money and times stay. Anonymizing one
    /// who is anonymized changes nothing.
    ///
    /// # Errors
    /// [`PatientError::OpenBalance`]; [`PatientError::ComingVisit`]; faults;
    /// [`CommonError::NotFound`]; [`CommonError::VersionMismatch`].
    pub async fn anonymize(
        &self,
        actor: &Actor,
        patient_id: PatientId,
        expected: &Expected,
        reason: &str,
    ) -> Result<Patient, PatientError> {
        actor.require(Permission::AnonymizePatients)?;
        retry_conflicts(&*self.ports.store, || async move {
            let mut work = self.ports.store.begin().await?;
            let patient = in_version(work.patients().lock(patient_id).await?, expected)?;
            let mut faults = Faults::new();
            let reason = single_line_text(reason, 500, "/reason", &mut faults);
            faults.into_result()?;
            if patient.anonymized_at.is_some() {
                return Ok(patient);
            }
            let now = self.ports.clock.now();
            let invoices = work.invoices().lock_of_patient(patient_id).await?;
            if invoices.iter().any(Invoice::is_open) {
                return Err(PatientError::OpenBalance);
            }
            let visits = work.appointments().lock_of_patient(patient_id).await?;
            if visits.iter().any(|visit| visit.is_coming(now)) {
                return Err(PatientError::ComingVisit);
            }
            for visit in visits.iter().filter_map(|visit| visit.redacted(now)) {
                let cause = VersionCause::by(actor, HistoryAction::Anonymize, None);
                work.appointments().update(&visit, &cause).await?;
            }
            for contact in whole_list!(|page| work.patients().contacts(patient_id, page)) {
                work.patients().delete_contact(&contact).await?;
            }
            let patient = patient.anonymized(now);
            work.patients().update(&patient).await?;
            work.history().redact(patient_id).await?;
            work.payments().redact(patient_id).await?;
            work.audit().redact(patient_id).await?;
            work.idempotency().forget_patient(patient_id).await?;
            let action = AuditAction::Anonymize;
            let entry = self.ports.audit(actor, action, patient.subject());
            work.commit(&entry.with("reason", reason.as_str())).await?;
            Ok(patient)
        })
        .await
    }
}

async fn everything_about(
    work: &mut dyn UnitOfWork,
    patient: Patient,
    exported_at: Instant,
) -> Result<PatientExport, StoreError> {
    let patient_id = patient.patient_id;
    let visits = AppointmentFilter {
        patient_id: Some(patient_id),
        ..AppointmentFilter::default()
    };
    let history = HistoryOf::Patient(patient_id);
    let invoices = InvoiceFilter {
        patient_id: Some(patient_id),
        ..InvoiceFilter::default()
    };
    let payments = PaymentFilter {
        patient_id: Some(patient_id),
        ..PaymentFilter::default()
    };
    let entries = AuditFilter {
        patient_id: Some(patient_id),
        ..AuditFilter::default()
    };
    let mut audit = whole_list!(|page| work.audit().list(&entries, page));
    for entry in &mut audit {
        entry.patient_ids.retain(|id| *id == patient_id);
    }
    Ok(PatientExport {
        exported_at,
        contacts: whole_list!(|page| work.patients().contacts(patient_id, page)),
        appointments: whole_list!(|page| work.appointments().list(&visits, page)),
        appointment_history: whole_list!(|page| work.history().list(history, page)),
        invoices: whole_list!(|page| work.invoices().list(&invoices, page)),
        payments: whole_list!(|page| work.payments().list(&payments, page)),
        refunds: whole_list!(|page| work.payments().refunds_of_patient(patient_id, page)),
        audit,
        patient,
    })
}
