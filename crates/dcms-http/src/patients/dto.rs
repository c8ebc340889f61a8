#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::patients as model;
use dcms_domain::shared::MoneyOverflow;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::appointments::{Appointment, AppointmentVersion};
use crate::audit::ExportedAccess;
use crate::billing::{Invoice, Payment, Refund};
use crate::json::request_bodies;
use crate::wire::{ContactType, Day, Gender, Id, Instant, Patch, flag_in_query};

/// A patient.
#[derive(Serialize, ToSchema)]
pub(super) struct Patient {
    patient_id: Id,
    /// Given once by the server, never reused, never changed.
    register_number: String,
    first_name: String,
    last_name: String,
    birthday: Option<Day>,
    gender: Gender,
    notes: Option<String>,
    /// Since when they are no longer treated here; null while they are.
    archived_at: Option<Instant>,
    /// Since when nobody can tell who they were; null while somebody can.
    anonymized_at: Option<Instant>,
    created_at: Instant,
    updated_at: Instant,
}

impl From<model::Patient> for Patient {
    fn from(patient: model::Patient) -> Self {
        Self {
            patient_id: Id::of(patient.patient_id),
            register_number: patient.register_number.to_string(),
            first_name: patient.first_name,
            last_name: patient.last_name,
            birthday: patient.birthday.map(Day),
            gender: Gender(patient.gender),
            notes: patient.notes,
            archived_at: patient.archived_at.map(Instant),
            anonymized_at: patient.anonymized_at.map(Instant),
            created_at: Instant(patient.created_at),
            updated_at: Instant(patient.updated_at),
        }
    }
}

/// A patient to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatePatient {
    /// 1 to 100 characters.
    first_name: String,
    /// 1 to 100 characters.
    last_name: String,
    /// Not in the future.
    birthday: Option<Day>,
    /// `unknown` when absent.
    gender: Option<Gender>,
    /// At most 10,000 characters.
    notes: Option<String>,
}

impl From<CreatePatient> for model::PatientDetails {
    fn from(body: CreatePatient) -> Self {
        Self {
            first_name: body.first_name,
            last_name: body.last_name,
            birthday: body.birthday.map(|day| day.0),
            gender: body.gender.map(|gender| gender.0).unwrap_or_default(),
            notes: body.notes,
        }
    }
}

/// Changes to a patient.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePatient {
    /// 1 to 100 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    first_name: Patch<String>,
    /// 1 to 100 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    last_name: Patch<String>,
    /// Not in the future.
    #[serde(default)]
    #[schema(value_type = Option<Day>)]
    birthday: Patch<Day>,
    #[serde(default)]
    #[schema(value_type = Gender)]
    gender: Patch<Gender>,
    /// At most 10,000 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    notes: Patch<String>,
}

impl From<ChangePatient> for model::PatientChanges {
    fn from(body: ChangePatient) -> Self {
        Self {
            first_name: body.first_name.0,
            last_name: body.last_name.0,
            birthday: body.birthday.0.map(|day| day.0),
            gender: body.gender.0.map(|gender| gender.0),
            notes: body.notes.0,
        }
    }
}

/// Which patients are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PatientFilter {
    /// Any part of a name, a register number, phone number or e-mail address; a typing slip and
    /// missing accents are forgiven. Better matches come first. At most 200 characters.
    query: Option<String>,
    /// `true` for archived patients only, `false` for the others only, all when absent.
    #[serde(default, deserialize_with = "flag_in_query")]
    archived: Option<bool>,
}

impl From<PatientFilter> for model::PatientFilter {
    fn from(filter: PatientFilter) -> Self {
        Self {
            query: filter.query,
            archived: filter.archived,
        }
    }
}

/// A phone number or e-mail address of a patient.
#[derive(Serialize, ToSchema)]
pub(super) struct Contact {
    contact_id: Id,
    #[serde(rename = "type")]
    contact_type: ContactType,
    value: String,
    /// What people call it: work, mother.
    label: Option<String>,
    /// Whether it is the first to try of its type; at most one is.
    is_primary: bool,
}

impl From<model::Contact> for Contact {
    fn from(contact: model::Contact) -> Self {
        Self {
            contact_id: Id::of(contact.contact_id),
            contact_type: ContactType(contact.contact_type),
            value: contact.value,
            label: contact.label,
            is_primary: contact.is_primary,
        }
    }
}

/// Everything that is held about a patient.
#[derive(Serialize, ToSchema)]
pub(super) struct PatientExport {
    /// The form of this document. Fields may be added to it; when one changes or goes, the number
    /// rises.
    format: &'static str,
    exported_at: Instant,
    patient: Patient,
    /// In the order they were made.
    contacts: Vec<Contact>,
    /// Earlier ones first.
    appointments: Vec<Appointment>,
    /// What was done to them, one visit after the other.
    appointment_history: Vec<AppointmentVersion>,
    /// In the order they were drafted.
    invoices: Vec<Invoice>,
    /// In the order they were recorded.
    payments: Vec<Payment>,
    /// In the order they were recorded.
    refunds: Vec<Refund>,
    /// Who looked at their record and who changed what, the latest first.
    audit: Vec<ExportedAccess>,
}

impl TryFrom<model::PatientExport> for PatientExport {
    type Error = MoneyOverflow;

    fn try_from(export: model::PatientExport) -> Result<Self, MoneyOverflow> {
        let invoices = export.invoices.into_iter().map(Invoice::try_from);
        Ok(Self {
            format: "dcms-patient-export/1",
            exported_at: Instant(export.exported_at),
            patient: export.patient.into(),
            contacts: export.contacts.into_iter().map(Contact::from).collect(),
            appointments: export
                .appointments
                .into_iter()
                .map(Appointment::from)
                .collect(),
            appointment_history: export
                .appointment_history
                .into_iter()
                .map(AppointmentVersion::from)
                .collect(),
            invoices: invoices.collect::<Result<_, _>>()?,
            payments: export.payments.into_iter().map(Payment::from).collect(),
            refunds: export.refunds.into_iter().map(Refund::from).collect(),
            audit: export.audit.into_iter().map(ExportedAccess::from).collect(),
        })
    }
}

/// Why a patient is anonymized.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnonymizePatient {
    /// 1 to 500 characters. Stays in the audit log: it must not say who the patient was.
    pub(super) reason: String,
}

/// A contact to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateContact {
    #[serde(rename = "type")]
    contact_type: ContactType,
    /// A phone number with 3 to 20 digits, or an e-mail address. Families may share one.
    value: String,
    /// What people call it: work, mother. At most 100 characters.
    label: Option<String>,
    /// Whether it is the first to try of its type; takes that place from another. `false` when
    /// absent.
    is_primary: Option<bool>,
}

impl From<CreateContact> for model::CreateContact {
    fn from(body: CreateContact) -> Self {
        Self {
            contact_type: body.contact_type.0,
            value: body.value,
            label: body.label,
            is_primary: body.is_primary.unwrap_or(false),
        }
    }
}

/// Changes to a contact.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeContact {
    #[serde(default, rename = "type")]
    #[schema(value_type = ContactType)]
    contact_type: Patch<ContactType>,
    /// A phone number with 3 to 20 digits, or an e-mail address.
    #[serde(default)]
    #[schema(value_type = String)]
    value: Patch<String>,
    /// What people call it: work, mother. At most 100 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    label: Patch<String>,
    /// Whether it is the first to try of its type; takes that place from another.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_primary: Patch<bool>,
}

impl From<ChangeContact> for model::ContactChanges {
    fn from(body: ChangeContact) -> Self {
        Self {
            contact_type: body.contact_type.0.map(|contact_type| contact_type.0),
            value: body.value.0,
            label: body.label.0,
            is_primary: body.is_primary.0,
        }
    }
}

request_bodies!(
    CreatePatient,
    ChangePatient,
    AnonymizePatient,
    CreateContact,
    ChangeContact
);
