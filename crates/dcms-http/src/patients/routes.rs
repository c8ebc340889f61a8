use axum::extract::State;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::IntoResponse as _;
use dcms_domain::patients::PatientKey;
use dcms_domain::shared::ContactId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{
    AnonymizePatient, ChangeContact, ChangePatient, Contact, CreateContact, CreatePatient, Patient,
    PatientExport, PatientFilter,
};
use crate::extract::{Caller, IfMatch, Path, Query};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type ContactList = List<Contact>;
type PatientList = List<Patient>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_patients, register_patient))
        .routes(routes!(read_patient, change_patient, delete_patient))
        .routes(routes!(archive_patient))
        .routes(routes!(restore_patient))
        .routes(routes!(export_patient))
        .routes(routes!(anonymize_patient))
        .routes(routes!(list_contacts, add_contact))
        .routes(routes!(change_contact, delete_contact))
}

/// Register a patient
#[utoipa::path(
    post, path = "/patients", tag = "Patients",
    request_body = CreatePatient,
    responses((status = 201, description = "The patient was registered.", body = Patient)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-max-body-bytes" = json!(262_144)),
    ),
)]
async fn register_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<CreatePatient>,
) -> Answer {
    let patient = app.services.patients.register(&actor, body.into()).await?;
    let location = format!("{BASE_PATH}/patients/{}", patient.patient_id);
    Ok(created(
        location,
        Some(patient.version),
        Patient::from(patient),
    ))
}

/// Find patients
///
/// Better matches come first, then those registered earlier.
#[utoipa::path(
    get, path = "/patients", tag = "Patients",
    params(PatientFilter, PageParams),
    responses((status = 200, description = "A page of patients.", body = PatientList)),
    extensions(
        ("x-permission" = json!("read_patients")),
        ("x-problems" = json!(["validation_failed"])),
    ),
)]
async fn list_patients(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<PatientFilter>,
    Paging(page): Paging<PatientKey>,
) -> Answer {
    let service = &app.services.patients;
    let page = service.patients(&actor, filter.into(), page).await?;
    Ok(ok(List::of(page, Patient::from)))
}

/// Read a patient
#[utoipa::path(
    get, path = "/patients/{patient_id}", tag = "Patients",
    responses((status = 200, description = "The patient.", body = Patient)),
    extensions(("x-permission" = json!("read_patients"))),
)]
async fn read_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
) -> Answer {
    let patient = app
        .services
        .patients
        .patient(&actor, patient_id.get())
        .await?;
    found::<_, Patient>(patient)
}

/// Change a patient
#[utoipa::path(
    patch, path = "/patients/{patient_id}", tag = "Patients",
    request_body = ChangePatient,
    responses((status = 200, description = "The changed patient.", body = Patient)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
        ("x-max-body-bytes" = json!(262_144)),
    ),
)]
async fn change_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangePatient>,
) -> Answer {
    let service = &app.services.patients;
    let patient = service
        .change(&actor, patient_id.get(), &expected, body.into())
        .await?;
    found::<_, Patient>(patient)
}

/// Delete a patient
///
/// Only one who never had an appointment or an invoice; archive others instead.
#[utoipa::path(
    delete, path = "/patients/{patient_id}", tag = "Patients",
    responses((status = 204, description = "The patient and their contacts are gone.")),
    extensions(
        ("x-permission" = json!("delete_patients")),
        ("x-problems" = json!(["in_use", "version_mismatch"])),
    ),
)]
async fn delete_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.patients;
    service.delete(&actor, patient_id.get(), &expected).await?;
    Ok(nothing())
}

/// Archive a patient
///
/// They keep their record and get no new appointments. Archiving one who is archived changes
/// nothing.
#[utoipa::path(
    post, path = "/patients/{patient_id}/archive", tag = "Patients",
    responses((status = 200, description = "The archived patient.", body = Patient)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn archive_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.patients;
    let patient = service.archive(&actor, patient_id.get(), &expected).await?;
    found::<_, Patient>(patient)
}

/// Take a patient out of the archive
///
/// Restoring one who is not archived changes nothing. One who is anonymized stays there.
#[utoipa::path(
    post, path = "/patients/{patient_id}/restore", tag = "Patients",
    responses((status = 200, description = "The restored patient.", body = Patient)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn restore_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.patients;
    let patient = service.restore(&actor, patient_id.get(), &expected).await?;
    found::<_, Patient>(patient)
}

/// Export everything held about a patient
///
/// One document: the patient, contacts, appointments, invoices with their lines, payments, refunds,
/// and who looked at the record or changed it. The export is noted in the audit log; what others
/// read in the same moment may be missing.
#[utoipa::path(
    get, path = "/patients/{patient_id}/export", tag = "Patients",
    responses((
        status = 200, description = "Everything held about the patient.", body = PatientExport,
        headers(("Content-Disposition" = String, description = "A name for the file.")),
    )),
    extensions(("x-permission" = json!("export_patients"))),
)]
async fn export_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
) -> Answer {
    let service = &app.services.patients;
    let export = service.export(&actor, patient_id.get()).await?;
    // A name would end up in lists of downloads.
    let file = format!(
        "attachment; filename=\"patient-{}.json\"",
        export.patient.register_number
    );
    let export = PatientExport::try_from(export)?;
    Ok(([(CONTENT_DISPOSITION, file)], ok(export)).into_response())
}

/// Anonymize a patient
///
/// Irreversible: names, birthday, gender, contacts and notes go, as does what people wrote about the
/// patient's visits, payments, refunds and void invoices, and what the audit log says of changes.
/// Money, times, the register number and the lines of invoices stay. Refused with `in_use` while an
/// invoice is a draft or not paid, or a visit is still to come. Afterwards the patient is archived
/// for good, and nothing about them changes. Anonymizing one who is anonymized changes nothing.
#[utoipa::path(
    post, path = "/patients/{patient_id}/anonymize", tag = "Patients",
    request_body = AnonymizePatient,
    responses((status = 200, description = "The anonymized patient.", body = Patient)),
    extensions(
        ("x-permission" = json!("anonymize_patients")),
        ("x-problems" = json!(["in_use", "version_mismatch"])),
    ),
)]
async fn anonymize_patient(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<AnonymizePatient>,
) -> Answer {
    let service = &app.services.patients;
    let patient = service
        .anonymize(&actor, patient_id.get(), &expected, &body.reason)
        .await?;
    found::<_, Patient>(patient)
}

/// List a patient's contacts
///
/// In the order they were made.
#[utoipa::path(
    get, path = "/patients/{patient_id}/contacts", tag = "Patients",
    params(PageParams),
    responses((status = 200, description = "A page of contacts.", body = ContactList)),
    extensions(("x-permission" = json!("read_patients"))),
)]
async fn list_contacts(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    Paging(page): Paging<ContactId>,
) -> Answer {
    let service = &app.services.patients;
    let page = service.contacts(&actor, patient_id.get(), page).await?;
    Ok(ok(List::of(page, Contact::from)))
}

/// Add a contact to a patient
#[utoipa::path(
    post, path = "/patients/{patient_id}/contacts", tag = "Patients",
    request_body = CreateContact,
    responses((status = 201, description = "The contact was added.", body = Contact)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["already_exists", "invalid_transition"])),
    ),
)]
async fn add_contact(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    Json(body): Json<CreateContact>,
) -> Answer {
    let service = &app.services.patients;
    let contact = service
        .add_contact(&actor, patient_id.get(), body.into())
        .await?;
    let location = format!(
        "{BASE_PATH}/patients/{}/contacts/{}",
        contact.patient_id, contact.contact_id
    );
    Ok(created(
        location,
        Some(contact.version),
        Contact::from(contact),
    ))
}

/// Change a contact
#[utoipa::path(
    patch, path = "/patients/{patient_id}/contacts/{contact_id}", tag = "Patients",
    request_body = ChangeContact,
    responses((status = 200, description = "The changed contact.", body = Contact)),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["already_exists", "version_mismatch"])),
    ),
)]
async fn change_contact(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id, contact_id]): Path<2>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeContact>,
) -> Answer {
    let (patient_id, contact_id) = (patient_id.get(), contact_id.get());
    let service = &app.services.patients;
    let contact = service
        .change_contact(&actor, patient_id, contact_id, &expected, body.into())
        .await?;
    found::<_, Contact>(contact)
}

/// Delete a contact
#[utoipa::path(
    delete, path = "/patients/{patient_id}/contacts/{contact_id}", tag = "Patients",
    responses((status = 204, description = "The contact is gone.")),
    extensions(
        ("x-permission" = json!("change_patients")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn delete_contact(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id, contact_id]): Path<2>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let (patient_id, contact_id) = (patient_id.get(), contact_id.get());
    let service = &app.services.patients;
    service
        .delete_contact(&actor, patient_id, contact_id, &expected)
        .await?;
    Ok(nothing())
}
