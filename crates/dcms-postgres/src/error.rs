//! What the errors of PostgreSQL mean to the domain.

use std::error::Error;
use std::time::Duration;

use dcms_domain::store::{Rule, StoreError};
use sqlx::migrate::MigrateError;

/// Why there is no connection to begin with.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of a PostgreSQL database.
    #[error("the database URL is not valid: {0}")]
    InvalidUrl(#[source] sqlx::Error),
    /// Nothing came back.
    #[error("the database did not answer within {} seconds", .0.as_secs())]
    NoAnswer(Duration),
    /// The server cannot be reached, or does not let this user in.
    #[error("the database cannot be connected to: {0}")]
    Failed(#[source] sqlx::Error),
}

/// Why the schema was not migrated or reset.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration failed, or the database has one that this build does not know.
    #[error("the database was not migrated: {0}")]
    Migration(#[from] MigrateError),
    /// The database cannot be reached, or did not do what was asked.
    #[error("the schema was not reset: {0}")]
    Database(#[from] sqlx::Error),
    /// The migrations were applied, but the application's role was not given its rights.
    #[error("the role of the application was not granted its rights: {0}")]
    Grants(#[source] sqlx::Error),
}

/// The [`Rule`] that each constraint and each unique index stands for.
#[rustfmt::skip]
pub const CONSTRAINTS: &[(&str, Rule)] = &[
    ("users_pkey", Rule::IdentifierTaken),
    ("users_username_key", Rule::UsernameTaken),
    ("users_username_form", Rule::ValueRefused),
    ("users_display_name_form", Rule::ValueRefused),
    ("users_password_hash_form", Rule::ValueRefused),
    ("users_roles_known", Rule::ValueRefused),
    ("users_version_positive", Rule::ValueRefused),
    ("users_created_at_sane", Rule::ValueRefused),
    ("users_updated_at_sane", Rule::ValueRefused),
    ("users_not_available_since_sane", Rule::ValueRefused),

    ("sessions_pkey", Rule::IdentifierTaken),
    ("sessions_token_hash_key", Rule::IdentifierTaken),
    ("sessions_token_hash_form", Rule::ValueRefused),
    ("sessions_user_id_fkey", Rule::UserUnknown),
    ("sessions_device_name_form", Rule::ValueRefused),
    ("sessions_created_at_sane", Rule::ValueRefused),
    ("sessions_expires_at_sane", Rule::ValueRefused),
    ("sessions_revoked_at_sane", Rule::ValueRefused),
    ("sessions_expire_after_creation", Rule::ValueRefused),
    ("sessions_last_seen_at_sane", Rule::ValueRefused),
    ("sessions_address_is_a_host", Rule::ValueRefused),
    ("sessions_agent_form", Rule::ValueRefused),
    ("sessions_impersonator_id_fkey", Rule::UserUnknown),
    ("sessions_impersonator_is_another", Rule::ValueRefused),

    ("retired_tokens_pkey", Rule::IdentifierTaken),
    ("retired_tokens_token_hash_form", Rule::ValueRefused),
    ("retired_tokens_session_id_fkey", Rule::IdentifierTaken),

    ("login_throttles_pkey", Rule::IdentifierTaken),
    ("login_throttles_kind_known", Rule::ValueRefused),
    ("login_throttles_subject_form", Rule::ValueRefused),
    ("login_throttles_failures_not_negative", Rule::ValueRefused),
    ("login_throttles_last_failed_at_sane", Rule::ValueRefused),
    ("login_throttles_blocked_until_sane", Rule::ValueRefused),

    ("idempotency_keys_pkey", Rule::IdentifierTaken),
    ("idempotency_keys_user_id_fkey", Rule::UserUnknown),
    ("idempotency_keys_key_form", Rule::ValueRefused),
    ("idempotency_keys_fingerprint_form", Rule::ValueRefused),
    ("idempotency_keys_answered_at_sane", Rule::ValueRefused),
    ("idempotency_keys_status_of_success", Rule::ValueRefused),
    ("idempotency_keys_location_form", Rule::ValueRefused),
    ("idempotency_keys_entity_tag_form", Rule::ValueRefused),

    ("audit_log_pkey", Rule::IdentifierTaken),
    ("audit_log_at_sane", Rule::ValueRefused),
    ("audit_log_request_id_form", Rule::ValueRefused),
    ("audit_log_action_form", Rule::ValueRefused),
    ("audit_log_entity_form", Rule::ValueRefused),
    ("audit_log_changes_salt_form", Rule::ValueRefused),
    ("audit_log_changes_digest_form", Rule::ValueRefused),
    ("audit_log_changes_with_salt", Rule::ValueRefused),
    ("audit_log_changes_with_digest", Rule::ValueRefused),

    ("audit_seals_pkey", Rule::IdentifierTaken),
    ("audit_seals_seal_id_positive", Rule::ValueRefused),
    ("audit_seals_sealed_at_sane", Rule::ValueRefused),
    ("audit_seals_previous_hash_form", Rule::ValueRefused),
    ("audit_seals_hash_form", Rule::ValueRefused),
    ("audit_sealed_rows_pkey", Rule::IdentifierTaken),
    ("audit_sealed_rows_seal_id_fkey", Rule::IdentifierTaken),
    ("audit_sealed_rows_digest_form", Rule::ValueRefused),

    ("patients_pkey", Rule::IdentifierTaken),
    ("patients_register_number_key", Rule::RegisterNumberTaken),
    ("patients_register_number_positive", Rule::ValueRefused),
    ("patients_first_name_form", Rule::ValueRefused),
    ("patients_last_name_form", Rule::ValueRefused),
    ("patients_birthday_sane", Rule::ValueRefused),
    ("patients_gender_known", Rule::ValueRefused),
    ("patients_notes_form", Rule::ValueRefused),
    ("patients_archived_at_sane", Rule::ValueRefused),
    ("patients_version_positive", Rule::ValueRefused),
    ("patients_created_at_sane", Rule::ValueRefused),
    ("patients_updated_at_sane", Rule::ValueRefused),
    ("patients_anonymized_at_sane", Rule::ValueRefused),
    ("patients_anonymized_is_empty", Rule::PatientAnonymized),
    ("patients_anonymized_for_good", Rule::PatientAnonymized),
    ("patient_contacts_of_known_patient", Rule::PatientAnonymized),
    ("appointments_of_known_patient", Rule::PatientAnonymized),
    ("invoices_of_known_patient", Rule::PatientAnonymized),

    ("patient_contacts_pkey", Rule::IdentifierTaken),
    ("patient_contacts_primary_key", Rule::PrimaryContactTaken),
    ("patient_contacts_patient_id_fkey", Rule::PatientUnknown),
    ("patient_contacts_type_known", Rule::ValueRefused),
    ("patient_contacts_value_form", Rule::ValueRefused),
    ("patient_contacts_label_form", Rule::ValueRefused),
    ("patient_contacts_version_positive", Rule::ValueRefused),
    ("patient_contacts_created_at_sane", Rule::ValueRefused),
    ("patient_contacts_updated_at_sane", Rule::ValueRefused),

    ("clinic_settings_pkey", Rule::IdentifierTaken),
    ("clinic_settings_singleton", Rule::ValueRefused),
    ("clinic_settings_clinic_name_form", Rule::ValueRefused),
    ("clinic_settings_time_zone_form", Rule::ValueRefused),
    ("clinic_settings_address_form", Rule::ValueRefused),
    ("clinic_settings_phone_form", Rule::ValueRefused),
    ("clinic_settings_email_form", Rule::ValueRefused),
    ("clinic_settings_currency_form", Rule::ValueRefused),
    ("clinic_settings_default_slot_minutes_range", Rule::ValueRefused),
    ("clinic_settings_slot_grid_minutes_divides_hour", Rule::ValueRefused),
    ("clinic_settings_smallest_notice_range", Rule::ValueRefused),
    ("clinic_settings_largest_notice_range", Rule::ValueRefused),
    ("clinic_settings_version_positive", Rule::ValueRefused),
    ("clinic_settings_updated_at_sane", Rule::ValueRefused),

    ("rooms_pkey", Rule::IdentifierTaken),
    ("rooms_name_key", Rule::RoomNameTaken),
    ("rooms_name_form", Rule::ValueRefused),
    ("rooms_kind_form", Rule::ValueRefused),
    ("rooms_position_range", Rule::ValueRefused),
    ("rooms_version_positive", Rule::ValueRefused),
    ("rooms_created_at_sane", Rule::ValueRefused),
    ("rooms_updated_at_sane", Rule::ValueRefused),
    ("rooms_not_available_since_sane", Rule::ValueRefused),

    ("doctor_settings_pkey", Rule::IdentifierTaken),
    ("doctor_settings_doctor_id_fkey", Rule::UserUnknown),
    ("doctor_settings_usual_room_id_fkey", Rule::RoomUnknown),
    ("doctor_settings_version_positive", Rule::ValueRefused),
    ("doctor_settings_updated_at_sane", Rule::ValueRefused),

    ("schedules_pkey", Rule::IdentifierTaken),
    ("schedules_doctor_id_fkey", Rule::UserUnknown),
    ("schedules_version_positive", Rule::ValueRefused),
    ("schedules_updated_at_sane", Rule::ValueRefused),
    ("schedules_doctor_id_key", Rule::IdentifierTaken),

    ("weekly_plans_schedule_id_fkey", Rule::IdentifierTaken),
    ("weekly_plans_valid_from_sane", Rule::ValueRefused),
    ("weekly_plans_pkey", Rule::IdentifierTaken),

    ("weekly_plan_intervals_weekday_range", Rule::ValueRefused),
    ("weekly_plan_intervals_opens_range", Rule::ValueRefused),
    ("weekly_plan_intervals_closes_range", Rule::ValueRefused),
    ("weekly_plan_intervals_pkey", Rule::HoursOverlap),
    ("weekly_plan_intervals_plan_fkey", Rule::IdentifierTaken),
    ("weekly_plan_intervals_apart", Rule::HoursOverlap),

    ("closures_pkey", Rule::IdentifierTaken),
    ("closures_from_sane", Rule::ValueRefused),
    ("closures_until_sane", Rule::ValueRefused),
    ("closures_reason_form", Rule::ValueRefused),
    ("closures_created_at_sane", Rule::ValueRefused),
    ("closures_not_empty", Rule::ValueRefused),

    ("time_off_pkey", Rule::IdentifierTaken),
    ("time_off_doctor_id_fkey", Rule::UserUnknown),
    ("time_off_from_sane", Rule::ValueRefused),
    ("time_off_until_sane", Rule::ValueRefused),
    ("time_off_reason_form", Rule::ValueRefused),
    ("time_off_created_at_sane", Rule::ValueRefused),
    ("time_off_not_empty", Rule::ValueRefused),

    ("appointments_pkey", Rule::IdentifierTaken),
    ("appointments_id_and_patient_key", Rule::IdentifierTaken),
    ("appointments_doctor_free", Rule::DoctorDoubleBooked),
    ("appointments_room_free", Rule::RoomDoubleBooked),
    ("appointments_patient_free", Rule::PatientDoubleBooked),
    ("appointments_patient_id_fkey", Rule::PatientUnknown),
    ("appointments_doctor_id_fkey", Rule::DoctorUnknown),
    ("appointments_room_id_fkey", Rule::RoomUnknown),
    ("appointments_starts_at_sane", Rule::ValueRefused),
    ("appointments_ends_at_sane", Rule::ValueRefused),
    ("appointments_slot_form", Rule::ValueRefused),
    ("appointments_status_known", Rule::ValueRefused),
    ("appointments_cancelled_with_reason", Rule::ValueRefused),
    ("appointments_notes_form", Rule::ValueRefused),
    ("appointments_room_free_at_range", Rule::ValueRefused),
    ("appointments_arrived_at_sane", Rule::ValueRefused),
    ("appointments_seated_at_sane", Rule::ValueRefused),
    ("appointments_completed_at_sane", Rule::ValueRefused),
    ("appointments_times_in_order", Rule::ValueRefused),
    ("appointments_accepted_obstacles_form", Rule::ValueRefused),
    ("appointments_overbook_reason_form", Rule::ValueRefused),
    ("appointments_cancel_reason_form", Rule::ValueRefused),
    ("appointments_version_positive", Rule::ValueRefused),
    ("appointments_created_at_sane", Rule::ValueRefused),
    ("appointments_updated_at_sane", Rule::ValueRefused),

    ("services_pkey", Rule::IdentifierTaken),
    ("services_code_key", Rule::ServiceCodeTaken),
    ("services_code_form", Rule::ValueRefused),
    ("services_name_form", Rule::ValueRefused),
    ("services_current_price_range", Rule::ValueRefused),
    ("services_default_duration_range", Rule::ValueRefused),
    ("services_buffer_range", Rule::ValueRefused),
    ("services_room_kind_form", Rule::ValueRefused),
    ("services_version_positive", Rule::ValueRefused),
    ("services_created_at_sane", Rule::ValueRefused),
    ("services_updated_at_sane", Rule::ValueRefused),

    ("service_doctors_service_id_fkey", Rule::ServiceUnknown),
    ("service_doctors_doctor_id_fkey", Rule::UserUnknown),
    ("service_doctors_pkey", Rule::IdentifierTaken),

    ("appointment_services_pkey", Rule::IdentifierTaken),
    ("appointment_services_appointment_id_fkey", Rule::AppointmentUnknown),
    ("appointment_services_service_id_fkey", Rule::ServiceUnknown),
    ("appointment_services_position_range", Rule::ValueRefused),
    ("appointment_services_qty_range", Rule::ValueRefused),
    ("appointment_services_unit_price_range", Rule::ValueRefused),

    ("appointment_history_appointment_id_fkey", Rule::AppointmentUnknown),
    ("appointment_history_version_positive", Rule::ValueRefused),
    ("appointment_history_position_key", Rule::IdentifierTaken),
    ("appointment_history_position_positive", Rule::ValueRefused),
    ("appointment_history_action_known", Rule::ValueRefused),
    ("appointment_history_user_id_fkey", Rule::UserUnknown),
    ("appointment_history_impersonator_id_fkey", Rule::UserUnknown),
    ("appointment_history_reason_form", Rule::ValueRefused),
    ("appointment_history_overbook_reason_form", Rule::ValueRefused),
    ("appointment_history_doctor_id_fkey", Rule::DoctorUnknown),
    ("appointment_history_room_id_fkey", Rule::RoomUnknown),
    ("appointment_history_starts_at_sane", Rule::ValueRefused),
    ("appointment_history_ends_at_sane", Rule::ValueRefused),
    ("appointment_history_status_known", Rule::ValueRefused),
    ("appointment_history_changed_at_sane", Rule::ValueRefused),
    ("appointment_history_pkey", Rule::IdentifierTaken),

    ("invoices_pkey", Rule::IdentifierTaken),
    ("invoices_invoice_number_key", Rule::InvoiceNumberTaken),
    ("invoices_invoice_number_form", Rule::ValueRefused),
    ("invoices_patient_id_fkey", Rule::PatientUnknown),
    ("invoices_appointment_id_fkey", Rule::AppointmentUnknown),
    ("invoices_currency_form", Rule::ValueRefused),
    ("invoices_total_not_negative", Rule::ValueRefused),
    ("invoices_paid_within_total", Rule::PaidBeyondTotal),
    ("invoices_paid_only_when_owed", Rule::PaidBeyondTotal),
    ("invoices_numbered_when_issued", Rule::ValueRefused),
    ("invoices_voided_with_reason", Rule::ValueRefused),
    ("invoices_issued_at_sane", Rule::ValueRefused),
    ("invoices_voided_at_sane", Rule::ValueRefused),
    ("invoices_void_reason_form", Rule::ValueRefused),
    ("invoices_version_positive", Rule::ValueRefused),
    ("invoices_created_at_sane", Rule::ValueRefused),
    ("invoices_updated_at_sane", Rule::ValueRefused),
    ("invoices_frozen_once_issued", Rule::InvoiceFrozen),
    ("invoices_frozen_once_void", Rule::InvoiceFrozen),
    ("invoices_kept_once_issued", Rule::InvoiceFrozen),
    ("invoices_sums_agree", Rule::SumsDisagree),

    ("invoice_items_pkey", Rule::IdentifierTaken),
    ("invoice_items_position_key", Rule::ValueRefused),
    ("invoice_items_invoice_id_fkey", Rule::InvoiceUnknown),
    ("invoice_items_service_id_fkey", Rule::ServiceUnknown),
    ("invoice_items_position_range", Rule::ValueRefused),
    ("invoice_items_description_form", Rule::ValueRefused),
    ("invoice_items_unit_price_range", Rule::ValueRefused),
    ("invoice_items_qty_range", Rule::ValueRefused),
    ("invoice_items_frozen_once_issued", Rule::InvoiceFrozen),
    ("invoice_items_sum_agrees", Rule::SumsDisagree),

    ("invoice_numbering_pkey", Rule::IdentifierTaken),
    ("invoice_numbering_singleton", Rule::ValueRefused),
    ("invoice_numbering_not_negative", Rule::ValueRefused),

    ("payments_pkey", Rule::IdentifierTaken),
    ("payments_invoice_id_fkey", Rule::InvoiceUnknown),
    ("payments_recorded_by_fkey", Rule::UserUnknown),
    ("payments_amount_range", Rule::ValueRefused),
    ("payments_refunded_within_amount", Rule::RefundBeyondPayment),
    ("payments_method_known", Rule::ValueRefused),
    ("payments_paid_at_sane", Rule::ValueRefused),
    ("payments_reference_form", Rule::ValueRefused),
    ("payments_version_positive", Rule::ValueRefused),
    ("payments_created_at_sane", Rule::ValueRefused),
    ("payments_never_changed", Rule::PaymentFrozen),
    ("payments_never_deleted", Rule::PaymentFrozen),
    ("payments_sum_agrees", Rule::SumsDisagree),
    ("payments_refunds_agree", Rule::SumsDisagree),

    ("refunds_pkey", Rule::IdentifierTaken),
    ("refunds_payment_id_fkey", Rule::PaymentUnknown),
    ("refunds_recorded_by_fkey", Rule::UserUnknown),
    ("refunds_amount_range", Rule::ValueRefused),
    ("refunds_reason_form", Rule::ValueRefused),
    ("refunds_created_at_sane", Rule::ValueRefused),
    ("refunds_never_changed", Rule::PaymentFrozen),
    ("refunds_sum_agrees", Rule::SumsDisagree),
];

/// What PostgreSQL said, without the detail: that repeats values of the row.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL refused with {code}: {message}")]
struct Refusal {
    code: String,
    message: String,
}

/// The database holds a value that this build does not know.
#[derive(Debug, thiserror::Error)]
#[error("the column {0} holds an unknown value")]
struct UnknownValue(&'static str);

/// A value that was read from a column, when the domain knows it.
pub(crate) fn known<Value>(
    value: Option<Value>,
    column: &'static str,
) -> Result<Value, StoreError> {
    value.ok_or_else(|| StoreError::Unexpected(Box::new(UnknownValue(column))))
}

/// What an error means.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(refusal) => {
            let code = refusal.code().unwrap_or_default();
            meaning(&code, refusal.constraint(), refusal.message())
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(Box::new(error)),
        other => StoreError::Unexpected(Box::new(other)),
    }
}

/// What an error of a DELETE means: there a foreign key is not about what the row refers to, but
/// about what refers to the row.
pub(crate) fn delete_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some("23503") => {
            StoreError::Violated(Rule::StillInUse)
        }
        _ => store_error(error),
    }
}

fn meaning(code: &str, constraint: Option<&str>, message: &str) -> StoreError {
    let source: Box<dyn Error + Send + Sync> = Box::new(Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    });
    match (code.get(..2).unwrap_or_default(), code) {
        // Serialization failure and deadlock.
        (_, "40001" | "40P01") => StoreError::Conflict,
        ("23", _) => CONSTRAINTS
            .iter()
            .find(|(name, _)| Some(*name) == constraint)
            .map_or(StoreError::Unexpected(source), |(_, rule)| {
                StoreError::Violated(*rule)
            }),
        ("22", _) => StoreError::Violated(Rule::ValueRefused),
        // Lost connections, a role that may not come in, scarce resources, operators at work; then: read-only (a standby),
        // idle in a transaction for too long, a lock that did not come in time.
        ("08" | "28" | "53" | "57", _) | (_, "25006" | "25P03" | "55P03") => {
            StoreError::Unavailable(source)
        }
        _ => StoreError::Unexpected(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str, constraint: Option<&str>) -> &'static str {
        match meaning(code, constraint, "") {
            StoreError::Violated(Rule::ValueRefused) => "value refused",
            StoreError::Violated(_) => "violated",
            StoreError::Conflict => "conflict",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Unexpected(_) => "unexpected",
        }
    }

    #[test]
    fn each_sqlstate_has_its_meaning() {
        for (code, constraint, expected) in [
            ("40001", None, "conflict"),
            ("40P01", None, "conflict"),
            ("23P01", Some("appointments_room_free"), "violated"),
            ("23505", Some("users_username_key"), "violated"),
            ("23514", Some("payments_amount_range"), "value refused"),
            ("23505", Some("of_a_later_build"), "unexpected"),
            ("23502", None, "unexpected"),
            ("22021", None, "value refused"),
            ("22008", None, "value refused"),
            ("55P03", None, "unavailable"),
            ("57014", None, "unavailable"),
            ("57P01", None, "unavailable"),
            ("57P03", None, "unavailable"),
            ("53300", None, "unavailable"),
            ("25006", None, "unavailable"),
            ("28000", None, "unavailable"),
            ("25P03", None, "unavailable"),
            ("08006", None, "unavailable"),
            ("42P01", None, "unexpected"),
            ("", None, "unexpected"),
        ] {
            assert_eq!(kind(code, constraint), expected, "{code} {constraint:?}");
        }
    }

    #[test]
    fn no_constraint_is_named_twice() {
        for (index, (name, _)) in CONSTRAINTS.iter().enumerate() {
            let others = &CONSTRAINTS[index + 1..];
            assert!(others.iter().all(|(other, _)| other != name), "{name}");
        }
    }

    #[test]
    fn lost_connections_are_unavailable_and_unknown_values_unexpected() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into());
        for error in [lost, sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed] {
            let error = store_error(error);
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        }
        let unknown = known(None::<Rule>, "users.roles").unwrap_err();
        assert!(matches!(unknown, StoreError::Unexpected(_)), "{unknown:?}");
    }
}
