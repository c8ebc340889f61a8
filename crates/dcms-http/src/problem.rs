//! The one answer to whatever goes wrong: problem details (RFC 9457), with a code for programs.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dcms_domain::access::Forbidden;
use dcms_domain::appointments::{Action, AppointmentError, Status};
use dcms_domain::billing::{BillingError, InvoiceStatus};
use dcms_domain::clinic::ClinicError;
use dcms_domain::identity::{HashError, IdentityError};
use dcms_domain::patients::PatientError;
use dcms_domain::shared::{Cents, CommonError, FaultCode, Faults, MoneyOverflow};
use dcms_domain::store::{NotReady, Rule, StoreError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::appointments::Obstacle;
use crate::json::{Gap, filled};

/// What `Content-Type` a problem has.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// In how many seconds it is worth trying again when the service was unavailable.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

macro_rules! codes {
    ($($variant:ident, $status:ident, $name:literal, $title:literal;)+) => {
        /// The kinds of problems. A kind has one status, whatever led to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            pub(crate) const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

#[rustfmt::skip]
codes! {
    MalformedRequest,     BAD_REQUEST,            "malformed_request",      "The request cannot be understood";
    Unauthenticated,      UNAUTHORIZED,           "unauthenticated",        "Not logged in";
    InvalidCredentials,   UNAUTHORIZED,           "invalid_credentials",    "The username or the password is wrong";
    Forbidden,            FORBIDDEN,              "forbidden",              "The user's roles do not allow this";
    PasswordChangeRequired, FORBIDDEN,            "password_change_required", "The password has to be changed first";
    NotFound,             NOT_FOUND,              "not_found",              "There is no such thing";
    MethodNotAllowed,     METHOD_NOT_ALLOWED,     "method_not_allowed",     "The method is not allowed here";
    AppointmentOverlap,   CONFLICT,               "appointment_overlap",    "The time is taken";
    InvalidTransition,    CONFLICT,               "invalid_transition",     "The action cannot be taken now";
    AlreadyExists,        CONFLICT,               "already_exists",         "The value is taken";
    InUse,                CONFLICT,               "in_use",                 "It is in use";
    InvoiceNotDraft,      CONFLICT,               "invoice_not_draft",      "The invoice is not a draft any more";
    InvoiceNotPayable,    CONFLICT,               "invoice_not_payable",    "The invoice does not take payments";
    LastAdmin,            CONFLICT,               "last_admin",             "The last active admin has to stay";
    VersionMismatch,      PRECONDITION_FAILED,    "version_mismatch",       "It was changed meanwhile";
    PayloadTooLarge,      PAYLOAD_TOO_LARGE,      "payload_too_large",      "The body is too large";
    UnsupportedMediaType, UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body is not of a type that is understood";
    ValidationFailed,     UNPROCESSABLE_ENTITY,   "validation_failed",      "The request is not valid";
    PaymentExceedsBalance, UNPROCESSABLE_ENTITY,  "payment_exceeds_balance", "The payment exceeds the balance";
    RefundExceedsPayment, UNPROCESSABLE_ENTITY,   "refund_exceeds_payment", "The refund exceeds the payment";
    IdempotencyKeyReused, UNPROCESSABLE_ENTITY,   "idempotency_key_reused", "The Idempotency-Key was used for another request";
    OutsideWorkingHours,  UNPROCESSABLE_ENTITY,   "outside_working_hours",  "Nobody is there then";
    InvoiceEmpty,         UNPROCESSABLE_ENTITY,   "invoice_empty",          "The invoice has no line";
    RateLimited,          TOO_MANY_REQUESTS,      "rate_limited",           "Too many tries";
    InternalError,        INTERNAL_SERVER_ERROR,  "internal_error",         "Something went wrong here";
    Unavailable,          SERVICE_UNAVAILABLE,    "unavailable",            "Not available now";
}

impl Code {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The code of an answer that says nothing but its status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let fallback = if status.is_client_error() {
            Self::MalformedRequest
        } else {
            Self::InternalError
        };
        // The first code of a status is its general one.
        Self::ALL
            .into_iter()
            .find(|code| code.status() == status)
            .unwrap_or(fallback)
    }
}

/// Where and why a request is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(crate) struct FaultMember {
    /// A JSON pointer (RFC 6901) into the body, such as `/items/0/qty`; `/` and the name of a
    /// query parameter when that is at fault.
    pub(crate) pointer: String,
    /// What kind of fault: `required`, `too_short`, `too_long`, `invalid_characters`,
    /// `invalid_format`, `out_of_range`, `unknown`, `not_available`, `conflicting` or
    /// `invalid_credentials`.
    pub(crate) code: &'static str,
    /// What is wrong and what would be right, for people.
    pub(crate) detail: String,
}

/// What a problem says beyond its code, each member only where it applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Members {
    /// With `validation_failed`: every fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<FaultMember>>,
    /// With `appointment_overlap`: who or what is taken: `doctor`, `room` or `patient`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    resource: Option<&'static str>,
    /// With `already_exists`: the field whose value is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    field: Option<&'static str>,
    /// With `invalid_transition`: the status in which the action cannot be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    from: Option<&'static str>,
    /// With `invalid_transition`: the actions that can be taken instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<String>>)]
    allowed: Option<Vec<&'static str>>,
    /// With `outside_working_hours`: what stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    obstacles: Option<Vec<Obstacle>>,
    /// With `payment_exceeds_balance`: what is owed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    balance_cents: Option<i64>,
    /// With `unavailable` of `/ready`: `draining`, `unreachable`, `migrations_missing` or
    /// `migrations_unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    reason: Option<&'static str>,
}

/// Why a request was not done, as problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A URI that names the kind of problem: `urn:dcms:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem, for people.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time, for people.
    detail: String,
    /// The kind of problem, for programs.
    #[schema(value_type = String)]
    code: &'static str,
    /// The `X-Request-Id` of this answer; the server's log names it too.
    request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    members: Members,
}

#[cfg(test)]
impl ProblemBody {
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }
}

/// A problem on its way to the client. It travels as an extension of an otherwise empty response,
/// and [`render`](Self::render) writes it once the request's id is at hand.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    members: Box<Members>,
    /// What caused it; for the log, never for the client.
    source: Option<Arc<dyn Error + Send + Sync>>,
    /// The request's body with its gaps filled, when gaps are what is wrong with it.
    filled_body: Option<Arc<Value>>,
    /// In how many seconds it is worth trying again, when that is known.
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            members: Box::default(),
            source: None,
            filled_body: None,
            retry_after_seconds: None,
        }
    }

    /// A problem of which nothing more can be said than what kind it is.
    pub(crate) fn of(code: Code) -> Self {
        Self::new(code, format!("{}.", code.title()))
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedRequest, detail)
    }

    fn with_members(code: Code, detail: impl Into<String>, members: Members) -> Self {
        Self {
            members: Box::new(members),
            ..Self::new(code, detail)
        }
    }

    pub(crate) fn invalid(errors: Vec<FaultMember>) -> Self {
        let members = Members {
            errors: Some(errors),
            ..Members::default()
        };
        Self::with_members(
            Code::ValidationFailed,
            "See errors for each fault.",
            members,
        )
    }

    /// A body with gaps. What else is wrong with it is found out by [`crate::rehearsal`].
    pub(crate) fn incomplete(gaps: Vec<Gap>, body: Value) -> Self {
        let filled_body = Some(Arc::new(filled(body, &gaps)));
        Self {
            filled_body,
            ..Self::invalid(gaps.into_iter().map(|gap| gap.fault).collect())
        }
    }

    /// The body with its gaps filled, when gaps are what is wrong with it.
    pub(crate) fn filled_body(&self) -> Option<&Value> {
        self.filled_body.as_deref()
    }

    /// This problem in the light of how the request with its gaps filled was refused: a refusal
    /// that comes before validation stands for it, and faults besides the gaps are added.
    pub(crate) fn completed_by(mut self, rehearsed: Self) -> Self {
        let lacks_owner = self
            .members
            .errors
            .iter()
            .flatten()
            .any(|gap| gap.pointer == "/doctor_id");
        match rehearsed.code {
            // Whose visit it is decides what a doctor may do with it, and nobody was named.
            Code::Forbidden if lacks_owner => self,
            Code::Forbidden
            | Code::PasswordChangeRequired
            | Code::NotFound
            | Code::VersionMismatch => rehearsed,
            Code::ValidationFailed => {
                let gaps = self.members.errors.get_or_insert_default();
                let found = rehearsed.members.errors.unwrap_or_default();
                let is_gap =
                    |fault: &FaultMember| gaps.iter().any(|gap| gap.pointer == fault.pointer);
                let more: Vec<_> = found.into_iter().filter(|fault| !is_gap(fault)).collect();
                gaps.extend(more);
                self
            }
            // The request would have come further than to its faults: there are no more.
            _ => self,
        }
    }

    /// One fault that has a code of the HTTP layer's own.
    pub(crate) fn invalid_field(pointer: &str, code: &'static str, detail: &str) -> Self {
        Self::invalid(vec![FaultMember {
            pointer: pointer.to_owned(),
            code,
            detail: detail.to_owned(),
        }])
    }

    pub(crate) fn not_ready(reason: &'static str, detail: String) -> Self {
        let members = Members {
            reason: Some(reason),
            ..Members::default()
        };
        Self::with_members(Code::Unavailable, detail, members)
    }

    /// A fault inside, told in words.
    pub(crate) fn unexpected(cause: impl Into<String>) -> Self {
        let source: Box<dyn Error + Send + Sync> = cause.into().into();
        Self {
            source: Some(source.into()),
            ..Self::of(Code::InternalError)
        }
    }

    fn with_source(code: Code, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::of(code)
        }
    }

    fn unknown(pointer: &str, detail: &str) -> Self {
        Self::invalid_field(pointer, FaultCode::Unknown.as_str(), detail)
    }

    fn already_exists(field: &'static str) -> Self {
        let members = Members {
            field: Some(field),
            ..Members::default()
        };
        let detail = format!("Another one has this {field}.");
        Self::with_members(Code::AlreadyExists, detail, members)
    }

    fn rate_limited(retry_after_seconds: u32) -> Self {
        let detail = format!("Too many tries failed. Try again in {retry_after_seconds} seconds.");
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(Code::RateLimited, detail)
        }
    }

    fn overlap(resource: &'static str) -> Self {
        let members = Members {
            resource: Some(resource),
            ..Members::default()
        };
        let detail = format!("The {resource} is taken at that time.");
        Self::with_members(Code::AppointmentOverlap, detail, members)
    }

    fn invalid_transition(from: &'static str, allowed: Vec<&'static str>) -> Self {
        let members = Members {
            from: Some(from),
            allowed: Some(allowed),
            ..Members::default()
        };
        let detail = format!("This cannot be done now: the status is {from}.");
        Self::with_members(Code::InvalidTransition, detail, members)
    }

    fn exceeds_balance(balance: Cents) -> Self {
        let members = Members {
            balance_cents: Some(balance.get()),
            ..Members::default()
        };
        let detail = format!("At most the balance of {balance} can be paid.");
        Self::with_members(Code::PaymentExceedsBalance, detail, members)
    }

    /// Whether it is because of who asks.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code.status() == StatusCode::FORBIDDEN
    }

    /// Notes what the operator has to know: the whole chain of causes, once.
    pub(crate) fn log(&self, request_id: &str) {
        match self.code {
            Code::InternalError => {
                tracing::error!(request_id, causes = self.causes(), "a request failed");
            }
            Code::Unavailable => {
                tracing::warn!(
                    request_id,
                    causes = self.causes(),
                    "a request could not be served now"
                );
            }
            _ => {}
        }
    }

    fn causes(&self) -> String {
        let mut causes = self.detail.clone();
        let mut next = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(cause) = next {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            next = cause.source();
        }
        causes
    }

    pub(crate) fn into_body(self, request_id: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:dcms:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail,
            code: self.code.as_str(),
            request_id: request_id.to_owned(),
            members: *self.members,
        }
    }

    /// The answer that the client sees.
    pub(crate) fn render(self, request_id: &str) -> Response {
        let status = self.code.status();
        let retry_after = match self.retry_after_seconds {
            Some(seconds) => Some(HeaderValue::from(seconds)),
            None if status == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_SECONDS),
            None => None,
        };
        let body = self.into_body(request_id);
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = retry_after {
            headers.insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

impl Problem {
    /// What a problem of this kind looks like, for the document.
    pub(crate) fn example(code: Code) -> serde_json::Value {
        let problem = match code {
            Code::ValidationFailed => {
                Self::invalid_field("/first_name", FaultCode::Required.as_str(), "must be given")
            }
            Code::AppointmentOverlap => Self::overlap("doctor"),
            Code::InvalidTransition => Self::invalid_transition("completed", Vec::new()),
            Code::AlreadyExists => Self::already_exists("username"),
            Code::PaymentExceedsBalance => Self::exceeds_balance(Cents::new(6300)),
            Code::RateLimited => Self::rate_limited(8),
            other => Self::of(other),
        };
        let body = problem.into_body("0198f000-0000-7000-8000-0000000000ff");
        // It is made of text, numbers and lists: writing it cannot fail.
        serde_json::to_value(body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<CommonError> for Problem {
    fn from(error: CommonError) -> Self {
        match error {
            CommonError::Forbidden(forbidden) => forbidden.into(),
            CommonError::NotFound => Self::of(Code::NotFound),
            CommonError::Invalid(faults) => faults.into(),
            CommonError::VersionMismatch => Self::of(Code::VersionMismatch),
            CommonError::Store(error) => error.into(),
        }
    }
}

impl From<Forbidden> for Problem {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Role => Self::of(Code::Forbidden),
            Forbidden::PasswordChangeRequired => Self::of(Code::PasswordChangeRequired),
            Forbidden::Impersonated => Self::new(
                Code::Forbidden,
                "This cannot be done while acting as somebody else.",
            ),
        }
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let member = |fault: &dcms_domain::shared::Fault| FaultMember {
            pointer: fault.pointer.clone(),
            code: fault.code.as_str(),
            detail: fault.detail.clone(),
        };
        Self::invalid(faults.as_slice().iter().map(member).collect())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Violated(rule) => rule.into(),
            StoreError::Conflict | StoreError::Unavailable(_) => {
                Self::with_source(Code::Unavailable, error)
            }
            StoreError::Unexpected(_) => Self::with_source(Code::InternalError, error),
        }
    }
}

impl From<Rule> for Problem {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::UsernameTaken => Self::already_exists("username"),
            Rule::RoomNameTaken => Self::already_exists("name"),
            Rule::ServiceCodeTaken => Self::already_exists("code"),
            Rule::PrimaryContactTaken => Self::already_exists("is_primary"),
            Rule::DoctorDoubleBooked => Self::overlap("doctor"),
            Rule::RoomDoubleBooked => Self::overlap("room"),
            Rule::PatientDoubleBooked => Self::overlap("patient"),
            Rule::UserUnknown => Self::unknown("/user_id", "must be a user"),
            Rule::DoctorUnknown => Self::unknown("/doctor_id", "must be a doctor"),
            Rule::RoomUnknown => Self::unknown("/room_id", "must be a room"),
            Rule::PatientUnknown => Self::unknown("/patient_id", "must be a patient"),
            Rule::AppointmentUnknown => {
                Self::unknown("/appointment_id", "must be an appointment of the patient")
            }
            Rule::ServiceUnknown => Self::unknown("", "names a service that does not exist"),
            // Both stand in the path.
            Rule::InvoiceUnknown | Rule::PaymentUnknown => Self::of(Code::NotFound),
            Rule::StillInUse => Self::new(Code::InUse, "Others refer to it; it cannot be deleted."),
            Rule::InvoiceFrozen => Self::of(Code::InvoiceNotDraft),
            Rule::PaidBeyondTotal => Self::of(Code::InvoiceNotPayable),
            Rule::RefundBeyondPayment => Self::of(Code::RefundExceedsPayment),
            Rule::PatientAnonymized => Self::invalid_transition("anonymized", Vec::new()),
            Rule::HoursOverlap => Self::invalid_field(
                "/intervals",
                FaultCode::Conflicting.as_str(),
                "must not overlap each other",
            ),
            Rule::ValueRefused => Self::invalid_field(
                "",
                FaultCode::OutOfRange.as_str(),
                "has a value that cannot be stored",
            ),
            // Nothing that a caller sends leads here.
            Rule::RegisterNumberTaken
            | Rule::InvoiceNumberTaken
            | Rule::IdentifierTaken
            | Rule::PaymentFrozen
            | Rule::SumsDisagree => {
                Self::with_source(Code::InternalError, StoreError::Violated(rule))
            }
        }
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => Self::with_source(Code::Unavailable, error),
            HashError::Failed(_) => Self::with_source(Code::InternalError, error),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Common(error) => error.into(),
            IdentityError::InvalidCredentials => Self::of(Code::InvalidCredentials),
            IdentityError::Throttled {
                retry_after_seconds,
            } => Self::rate_limited(retry_after_seconds),
            IdentityError::Unauthenticated => Self::of(Code::Unauthenticated),
            IdentityError::NotImpersonable => Self::invalid_field(
                "",
                FaultCode::NotAvailable.as_str(),
                "must be another user who is active",
            ),
            IdentityError::LastAdmin => Self::of(Code::LastAdmin),
            IdentityError::Hash(error) => error.into(),
        }
    }
}

impl From<ClinicError> for Problem {
    fn from(error: ClinicError) -> Self {
        match error {
            ClinicError::Common(error) => error.into(),
            ClinicError::CurrencyFrozen => Self::new(
                Code::InUse,
                "The currency is fixed once an invoice was issued.",
            ),
        }
    }
}

impl From<PatientError> for Problem {
    fn from(error: PatientError) -> Self {
        match error {
            PatientError::Common(error) => error.into(),
            PatientError::OpenBalance => Self::new(
                Code::InUse,
                "The patient has an invoice that is a draft or not paid.",
            ),
            PatientError::ComingVisit => Self::new(
                Code::InUse,
                "The patient has an appointment that is still to come or under way.",
            ),
        }
    }
}

impl From<AppointmentError> for Problem {
    fn from(error: AppointmentError) -> Self {
        match error {
            AppointmentError::Common(error) => error.into(),
            AppointmentError::InvalidTransition { from, allowed } => {
                let allowed = allowed.into_iter().map(Action::as_str).collect();
                Self::invalid_transition(Status::as_str(from), allowed)
            }
            AppointmentError::OutsideWorkingHours { obstacles } => {
                let members = Members {
                    obstacles: Some(obstacles.into_iter().map(Obstacle::from).collect()),
                    ..Members::default()
                };
                let detail = "Hours, closures or time off do not allow a visit then. Who may \
                              overbook can book it with overbook_reason.";
                Self::with_members(Code::OutsideWorkingHours, detail, members)
            }
        }
    }
}

impl From<BillingError> for Problem {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::Common(error) => error.into(),
            BillingError::InvoiceNotDraft => Self::of(Code::InvoiceNotDraft),
            BillingError::InvoiceEmpty => Self::of(Code::InvoiceEmpty),
            BillingError::InvoiceNotPayable => Self::of(Code::InvoiceNotPayable),
            BillingError::NotVoidable { from } => {
                let allowed = match from {
                    InvoiceStatus::Draft => vec!["issue", "void"],
                    InvoiceStatus::Issued => vec!["void"],
                    InvoiceStatus::PartiallyPaid | InvoiceStatus::Paid | InvoiceStatus::Void => {
                        Vec::new()
                    }
                };
                Self::invalid_transition(from.as_str(), allowed)
            }
            BillingError::PaymentExceedsBalance { balance } => Self::exceeds_balance(balance),
            BillingError::RefundExceedsPayment => Self::of(Code::RefundExceedsPayment),
        }
    }
}

impl From<MoneyOverflow> for Problem {
    /// Of an answer: what was stored has sums within bounds.
    fn from(overflow: MoneyOverflow) -> Self {
        Self::with_source(Code::InternalError, overflow)
    }
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<NotReady> for Problem {
    fn from(not_ready: NotReady) -> Self {
        let reason = match not_ready {
            NotReady::Unreachable => "unreachable",
            NotReady::MigrationsMissing(_) => "migrations_missing",
            NotReady::MigrationsUnknown(_) => "migrations_unknown",
        };
        Self::not_ready(reason, not_ready.to_string())
    }
}
