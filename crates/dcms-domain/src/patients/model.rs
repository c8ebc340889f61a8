use std::fmt;

use chrono::NaiveDate;

use crate::shared::{
    Change, ContactId, FaultCode, Faults, Instant, PatientId, Version, email_address, is_sane_day,
    multi_line_text, phone_number, single_line_text,
};
use crate::store::{Rule, StoreError};

/// The number a patient is registered under: given once, never reused, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterNumber(i64);

impl RegisterNumber {
    /// A number as a store gives it.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number a store keeps.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads what people write: `P000042`, `p42` or `42`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['P', 'p']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().map(Self)
    }
}

impl fmt::Display for RegisterNumber {
    /// `P` and at least six digits, more when the number has more.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "P{:06}", self.0)
    }
}

/// A patient's gender, as far as the clinic knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Gender {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Neither.
    Other,
    /// Not known or not told.
    #[default]
    Unknown,
}

impl Gender {
    /// Every gender.
    pub const ALL: [Self; 4] = [Self::Female, Self::Male, Self::Other, Self::Unknown];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    /// The gender of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gender| gender.as_str() == name)
    }
}

/// A patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patient {
    /// Its id.
    pub patient_id: PatientId,
    /// Its number in the register.
    pub register_number: RegisterNumber,
    /// Given names.
    pub first_name: String,
    /// Family names.
    pub last_name: String,
    /// The day of birth.
    pub birthday: Option<NaiveDate>,
    /// The gender.
    pub gender: Gender,
    /// Whatever else matters.
    pub notes: Option<String>,
    /// Since when they are no longer treated here.
    pub archived_at: Option<Instant>,
    /// Since when nobody can tell who they were.
    pub anonymized_at: Option<Instant>,
    /// Counts the changes.
    pub version: Version,
    /// When they were registered.
    pub created_at: Instant,
    /// When the record was last changed.
    pub updated_at: Instant,
}

/// The parts of a patient that people write. Also what creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientDetails {
    /// Given names.
    pub first_name: String,
    /// Family names.
    pub last_name: String,
    /// The day of birth.
    pub birthday: Option<NaiveDate>,
    /// The gender.
    pub gender: Gender,
    /// Whatever else matters.
    pub notes: Option<String>,
}

/// Changes to a patient.
#[derive(Debug, Clone, Default)]
pub struct PatientChanges {
    /// Given names.
    pub first_name: Change<String>,
    /// Family names.
    pub last_name: Change<String>,
    /// The day of birth.
    pub birthday: Change<NaiveDate>,
    /// The gender.
    pub gender: Change<Gender>,
    /// Whatever else matters.
    pub notes: Change<String>,
}

impl PatientDetails {
    /// The details, cleaned.
    pub(super) fn checked(mut self, now: Instant, faults: &mut Faults) -> Self {
        self.first_name = single_line_text(&self.first_name, 100, "/first_name", faults);
        self.last_name = single_line_text(&self.last_name, 100, "/last_name", faults);
        // Somewhere on earth it may be tomorrow already.
        let tomorrow = now.date_naive().succ_opt().unwrap_or(now.date_naive());
        if self
            .birthday
            .is_some_and(|day| !is_sane_day(day) || day > tomorrow)
        {
            let detail = "must lie between the year 1900 and today";
            faults.add("/birthday", FaultCode::OutOfRange, detail);
        }
        self.notes = self
            .notes
            .map(|notes| multi_line_text(&notes, 10_000, "/notes", faults));
        self
    }
}

impl Patient {
    /// The patient after the changes.
    pub(super) fn changed(mut self, changes: PatientChanges, now: Instant) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let details = PatientDetails {
            first_name: changes.first_name.apply_required(
                self.first_name,
                "/first_name",
                &mut faults,
            ),
            last_name: changes
                .last_name
                .apply_required(self.last_name, "/last_name", &mut faults),
            birthday: changes.birthday.apply(self.birthday),
            gender: changes
                .gender
                .apply_required(self.gender, "/gender", &mut faults),
            notes: changes.notes.apply(self.notes),
        }
        .checked(now, &mut faults);
        faults.into_result()?;
        self.first_name = details.first_name;
        self.last_name = details.last_name;
        self.birthday = details.birthday;
        self.gender = details.gender;
        self.notes = details.notes;
        self.version = self.version.next();
        self.updated_at = now;
        Ok(self)
    }

    /// The patient with `archived_at` set to the instant or cleared; unchanged when it is so
    /// already.
    pub(super) fn archived(mut self, archived: bool, now: Instant) -> Self {
        if self.archived_at.is_some() != archived {
            self.archived_at = archived.then_some(now);
            self.version = self.version.next();
            self.updated_at = now;
        }
        self
    }
}

/// What an anonymized patient is called.
pub const ANONYMOUS_NAME: (&str, &str) = ("Anonymized", "Patient");

impl Patient {
    /// The patient without anything that tells who they are, archived for good.
    pub(super) fn anonymized(self, now: Instant) -> Self {
        Self {
            first_name: ANONYMOUS_NAME.0.to_owned(),
            last_name: ANONYMOUS_NAME.1.to_owned(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
            archived_at: self.archived_at.or(Some(now)),
            anonymized_at: Some(now),
            version: self.version.next(),
            updated_at: now,
            ..self
        }
    }

    /// Nothing, as long as the clinic knows who they are.
    ///
    /// # Errors
    /// [`Rule::PatientAnonymized`], which the store holds too.
    pub(crate) fn require_known(&self) -> Result<(), StoreError> {
        if self.anonymized_at.is_some() {
            return Err(StoreError::Violated(Rule::PatientAnonymized));
        }
        Ok(())
    }
}

/// How a patient can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContactType {
    /// By phone.
    Phone,
    /// By e-mail.
    Email,
}

impl ContactType {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Phone, Self::Email];

    /// Its name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|contact_type| contact_type.as_str() == name)
    }
}

/// A phone number or e-mail address of a patient. Families may share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub contact_id: ContactId,
    /// Whose it is.
    pub patient_id: PatientId,
    /// Phone or e-mail.
    pub contact_type: ContactType,
    /// The number or address.
    pub value: String,
    /// What people call it: work, mother.
    pub label: Option<String>,
    /// Whether it is the first to try of its type; at most one is.
    pub is_primary: bool,
    /// Counts the changes.
    pub version: Version,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// A contact to be made.
#[derive(Debug, Clone)]
pub struct CreateContact {
    /// Phone or e-mail.
    pub contact_type: ContactType,
    /// The number or address.
    pub value: String,
    /// What people call it.
    pub label: Option<String>,
    /// Whether it is the first to try of its type; takes that place from another.
    pub is_primary: bool,
}

/// Changes to a contact.
#[derive(Debug, Clone, Default)]
pub struct ContactChanges {
    /// Phone or e-mail.
    pub contact_type: Change<ContactType>,
    /// The number or address.
    pub value: Change<String>,
    /// What people call it.
    pub label: Change<String>,
    /// Whether it is the first to try of its type; takes that place from another.
    pub is_primary: Change<bool>,
}

impl Contact {
    /// Cleans the contact and notes what is wrong with it.
    pub(super) fn check(&mut self, faults: &mut Faults) {
        self.value = match self.contact_type {
            ContactType::Phone => phone_number(&self.value, "/value", faults),
            ContactType::Email => email_address(&self.value, "/value", faults),
        };
        self.label = self
            .label
            .as_deref()
            .map(|label| single_line_text(label, 100, "/label", faults));
    }

    /// The contact after the changes.
    pub(super) fn changed(mut self, changes: ContactChanges, now: Instant) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        self.contact_type =
            changes
                .contact_type
                .apply_required(self.contact_type, "/type", &mut faults);
        self.value = changes
            .value
            .apply_required(self.value, "/value", &mut faults);
        self.label = changes.label.apply(self.label);
        self.is_primary =
            changes
                .is_primary
                .apply_required(self.is_primary, "/is_primary", &mut faults);
        self.check(&mut faults);
        self.version = self.version.next();
        self.updated_at = now;
        faults.into_result().map(|()| self)
    }
}

/// Which patients are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatientFilter {
    /// Any part of a name, a register number, phone number or e-mail address; slips and missing
    /// accents are forgiven. Every patient when absent.
    pub query: Option<String>,
    /// Only archived ones, or only those who are not.
    pub archived: Option<bool>,
}

/// Where a page of patients starts: better matches come first, then those registered earlier.
/// Without a query every rank is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatientKey {
    /// How well the patient matches the query; higher is better.
    pub rank: i32,
    /// The patient.
    pub patient_id: PatientId,
}
