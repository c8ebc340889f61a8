use async_trait::async_trait;
use chrono::NaiveDate;
use dcms_domain::patients::{
    Contact, ContactType, Gender, Patient, PatientFilter, PatientKey, PatientRepository,
    RegisterNumber,
};
use dcms_domain::shared::{ContactId, Instant, Page, PageRequest, PatientId, Version};
use dcms_domain::store::StoreError;
use uuid::Uuid;

use crate::error::{delete_error, known, store_error};
use crate::session::{PgSession, require_one_row};

struct PatientRow {
    patient_id: Uuid,
    register_number: i64,
    first_name: String,
    last_name: String,
    birthday: Option<NaiveDate>,
    gender: String,
    notes: Option<String>,
    archived_at: Option<Instant>,
    anonymized_at: Option<Instant>,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

impl TryFrom<PatientRow> for Patient {
    type Error = StoreError;

    fn try_from(row: PatientRow) -> Result<Self, StoreError> {
        Ok(Self {
            patient_id: row.patient_id.into(),
            register_number: RegisterNumber::new(row.register_number),
            first_name: row.first_name,
            last_name: row.last_name,
            birthday: row.birthday,
            gender: known(Gender::from_name(&row.gender), "patients.gender")?,
            notes: row.notes,
            archived_at: row.archived_at,
            anonymized_at: row.anonymized_at,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

struct FoundRow {
    rank: i32,
    patient_id: Uuid,
    register_number: i64,
    first_name: String,
    last_name: String,
    birthday: Option<NaiveDate>,
    gender: String,
    notes: Option<String>,
    archived_at: Option<Instant>,
    anonymized_at: Option<Instant>,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

/// A patient and how well they match.
struct Found {
    rank: i32,
    patient: Patient,
}

impl TryFrom<FoundRow> for Found {
    type Error = StoreError;

    fn try_from(row: FoundRow) -> Result<Self, StoreError> {
        let patient = PatientRow {
            patient_id: row.patient_id,
            register_number: row.register_number,
            first_name: row.first_name,
            last_name: row.last_name,
            birthday: row.birthday,
            gender: row.gender,
            notes: row.notes,
            archived_at: row.archived_at,
            anonymized_at: row.anonymized_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Ok(Self {
            rank: row.rank,
            patient: patient.try_into()?,
        })
    }
}

struct ContactRow {
    contact_id: Uuid,
    patient_id: Uuid,
    contact_type: String,
    value: String,
    label: Option<String>,
    is_primary: bool,
    version: i64,
    created_at: Instant,
    updated_at: Instant,
}

impl TryFrom<ContactRow> for Contact {
    type Error = StoreError;

    fn try_from(row: ContactRow) -> Result<Self, StoreError> {
        Ok(Self {
            contact_id: row.contact_id.into(),
            patient_id: row.patient_id.into(),
            contact_type: known(
                ContactType::from_name(&row.contact_type),
                "patient_contacts.type",
            )?,
            value: row.value,
            label: row.label,
            is_primary: row.is_primary,
            version: Version::new(row.version),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The patient of that id, locked as the clause says.
macro_rules! select_patient {
    ($lock:literal, $patient_id:ident, $session:ident) => {
        sqlx::query_as!(
            PatientRow,
            "SELECT patient_id, register_number, first_name, last_name, birthday, gender, notes,
                archived_at, anonymized_at, version, created_at, updated_at
            FROM patients WHERE patient_id = $1"
                + $lock,
            Uuid::from($patient_id),
        )
        .fetch_optional($session.connection())
        .await
        .map_err(store_error)?
        .map(Patient::try_from)
        .transpose()
    };
}

/// The fewest characters of an address, or digits of a number, that are worth looking for.
const FEWEST_CONTACT_CHARS: usize = 3;

/// LIKE patterns for the contacts that a query may mean.
#[derive(Debug, PartialEq, Eq)]
struct ContactPatterns {
    /// Of those that contain the query.
    part: String,
    /// Of those that begin with it.
    beginnings: Vec<String>,
}

impl ContactPatterns {
    /// Nothing when the query is not part of a phone number, in whatever formatting, or of an
    /// e-mail address.
    fn of(query: &str) -> Option<Self> {
        let is_number =
            |character: char| character.is_ascii_digit() || "+()-./ ".contains(character);
        if query.chars().all(is_number) {
            return Self::of_number(query);
        }
        let is_address =
            !query.contains(char::is_whitespace) && query.chars().count() >= FEWEST_CONTACT_CHARS;
        is_address.then(|| {
            let address = literal(&query.to_lowercase());
            Self {
                part: format!("%{address}%"),
                beginnings: vec![format!("{address}%")],
            }
        })
    }

    /// One number is written `+49 170 …`, `0049 170 …` and `0170 …`: without the leading zeros it
    /// is part of each, and an international one may be stored as a national one. How many digits
    /// the code of a country has, from one to three, is not known here.
    fn of_number(query: &str) -> Option<Self> {
        let digits: String = query.chars().filter(char::is_ascii_digit).collect();
        let number = digits.trim_start_matches('0');
        if number.len() < FEWEST_CONTACT_CHARS {
            return None;
        }
        let mut beginnings = vec![format!("{digits}%")];
        if query.trim_start().starts_with('+') || digits.starts_with("00") {
            beginnings = vec![format!("{number}%")];
            let without_code = (1..=3).filter_map(|code_digits| number.get(code_digits..));
            beginnings.extend(
                without_code
                    .filter(|national| national.len() >= FEWEST_CONTACT_CHARS)
                    .map(|national| format!("0{national}%")),
            );
        }
        Some(Self {
            part: format!("%{number}%"),
            beginnings,
        })
    }
}

/// The text with LIKE's own characters escaped.
fn literal(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('%', r"\%")
        .replace('_', r"\_")
}

#[async_trait]
impl PatientRepository for PgSession {
    async fn next_register_number(&mut self) -> Result<RegisterNumber, StoreError> {
        let number = sqlx::query_scalar!("SELECT nextval('register_numbers') AS \"number!\"")
            .fetch_one(self.connection())
            .await
            .map_err(store_error)?;
        Ok(RegisterNumber::new(number))
    }

    async fn insert(&mut self, patient: &Patient) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO patients (
                patient_id, register_number, first_name, last_name, birthday, gender, notes,
                archived_at, version, created_at, updated_at, anonymized_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            Uuid::from(patient.patient_id),
            patient.register_number.get(),
            patient.first_name,
            patient.last_name,
            patient.birthday,
            patient.gender.as_str(),
            patient.notes,
            patient.archived_at,
            patient.version.get(),
            patient.created_at,
            patient.updated_at,
            patient.anonymized_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn get(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        select_patient!("", patient_id, self)
    }

    async fn hold(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        select_patient!(" FOR SHARE", patient_id, self)
    }

    async fn lock(&mut self, patient_id: PatientId) -> Result<Option<Patient>, StoreError> {
        select_patient!(" FOR UPDATE", patient_id, self)
    }

    async fn update(&mut self, patient: &Patient) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE patients
            SET first_name = $3, last_name = $4, birthday = $5, gender = $6, notes = $7,
                archived_at = $8, version = $9, updated_at = $10, anonymized_at = $11
            WHERE patient_id = $1 AND version = $2",
            Uuid::from(patient.patient_id),
            patient.version.previous().get(),
            patient.first_name,
            patient.last_name,
            patient.birthday,
            patient.gender.as_str(),
            patient.notes,
            patient.archived_at,
            patient.version.get(),
            patient.updated_at,
            patient.anonymized_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn delete(&mut self, patient: &Patient) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM patients WHERE patient_id = $1 AND version = $2",
            Uuid::from(patient.patient_id),
            patient.version.get(),
        )
        .execute(self.connection())
        .await
        .map_err(delete_error)?;
        require_one_row(&result)
    }

    async fn list(
        &mut self,
        filter: &PatientFilter,
        page: PageRequest<PatientKey>,
    ) -> Result<Page<Patient, PatientKey>, StoreError> {
        let found = match &filter.query {
            Some(query) => self.search_patients(query, filter.archived, &page).await?,
            None => self.all_patients(filter.archived, &page).await?,
        };
        let page = Page::from_rows(found, &page, |found: &Found| PatientKey {
            rank: found.rank,
            patient_id: found.patient.patient_id,
        });
        Ok(Page {
            items: page.items.into_iter().map(|found| found.patient).collect(),
            next: page.next,
        })
    }

    async fn insert_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO patient_contacts (
                contact_id, patient_id, type, value, label, is_primary, version, created_at,
                updated_at
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            Uuid::from(contact.contact_id),
            Uuid::from(contact.patient_id),
            contact.contact_type.as_str(),
            contact.value,
            contact.label,
            contact.is_primary,
            contact.version.get(),
            contact.created_at,
            contact.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn contact(
        &mut self,
        patient_id: PatientId,
        contact_id: ContactId,
    ) -> Result<Option<Contact>, StoreError> {
        sqlx::query_as!(
            ContactRow,
            "SELECT contact_id, patient_id, type AS contact_type, value, label, is_primary,
                version, created_at, updated_at
            FROM patient_contacts WHERE contact_id = $1 AND patient_id = $2",
            Uuid::from(contact_id),
            Uuid::from(patient_id),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(store_error)?
        .map(Contact::try_from)
        .transpose()
    }

    async fn update_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "UPDATE patient_contacts
            SET type = $3, value = $4, label = $5, is_primary = $6, version = $7, updated_at = $8
            WHERE contact_id = $1 AND version = $2",
            Uuid::from(contact.contact_id),
            contact.version.previous().get(),
            contact.contact_type.as_str(),
            contact.value,
            contact.label,
            contact.is_primary,
            contact.version.get(),
            contact.updated_at,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        require_one_row(&result)
    }

    async fn delete_contact(&mut self, contact: &Contact) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "DELETE FROM patient_contacts WHERE contact_id = $1 AND version = $2",
            Uuid::from(contact.contact_id),
            contact.version.get(),
        )
        .execute(self.connection())
        .await
        .map_err(delete_error)?;
        require_one_row(&result)
    }

    async fn demote_primary_contact(
        &mut self,
        patient_id: PatientId,
        contact_type: ContactType,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE patient_contacts SET is_primary = false, version = version + 1
            WHERE patient_id = $1 AND type = $2 AND is_primary",
            Uuid::from(patient_id),
            contact_type.as_str(),
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn contacts(
        &mut self,
        patient_id: PatientId,
        page: PageRequest<ContactId>,
    ) -> Result<Page<Contact, ContactId>, StoreError> {
        let rows = sqlx::query_as!(
            ContactRow,
            "SELECT contact_id, patient_id, type AS contact_type, value, label, is_primary,
                version, created_at, updated_at
            FROM patient_contacts
            WHERE patient_id = $1 AND ($2::uuid IS NULL OR contact_id > $2)
            ORDER BY contact_id LIMIT $3",
            Uuid::from(patient_id),
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let contacts = rows
            .into_iter()
            .map(Contact::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(contacts, &page, |contact: &Contact| {
            contact.contact_id
        }))
    }
}

impl PgSession {
    /// Everybody, or only those in the archive, or only the others. Their rank is 0.
    async fn all_patients(
        &mut self,
        archived: Option<bool>,
        page: &PageRequest<PatientKey>,
    ) -> Result<Vec<Found>, StoreError> {
        let after = page.after.map(|key| Uuid::from(key.patient_id));
        // Two statements, so that the archive's own index serves whatever the plan knows of $1.
        let rows = if archived == Some(true) {
            sqlx::query_as!(
                FoundRow,
                "SELECT 0 AS \"rank!\", patient_id, register_number, first_name, last_name,
                    birthday, gender, notes, archived_at, anonymized_at, version, created_at,
                    updated_at
                FROM patients
                WHERE archived_at IS NOT NULL
                    AND patient_id > coalesce($1, uuid '00000000-0000-0000-0000-000000000000')
                ORDER BY patient_id LIMIT $2",
                after,
                page.rows_to_fetch(),
            )
            .fetch_all(self.connection())
            .await
        } else {
            sqlx::query_as!(
                FoundRow,
                "SELECT 0 AS \"rank!\", patient_id, register_number, first_name, last_name,
                    birthday, gender, notes, archived_at, anonymized_at, version, created_at,
                    updated_at
                FROM patients
                WHERE ($3 OR archived_at IS NULL)
                    AND patient_id > coalesce($1, uuid '00000000-0000-0000-0000-000000000000')
                ORDER BY patient_id LIMIT $2",
                after,
                page.rows_to_fetch(),
                archived.is_none(),
            )
            .fetch_all(self.connection())
            .await
        };
        rows.map_err(store_error)?
            .into_iter()
            .map(Found::try_from)
            .collect()
    }

    /// The patients that match, in classes: each `rank` is a way to match, looked for with its own
    /// index, in the order of ids, up to a page, and only when the ranks above did not fill the
    /// page. So a query that matches half the register is as fast as one that matches one patient.
    async fn search_patients(
        &mut self,
        query: &str,
        archived: Option<bool>,
        page: &PageRequest<PatientKey>,
    ) -> Result<Vec<Found>, StoreError> {
        let number = RegisterNumber::parse(query).map(RegisterNumber::get);
        let (part, beginnings) = ContactPatterns::of(query)
            .map(|patterns| (patterns.part, patterns.beginnings))
            .unzip();
        let rows = sqlx::query_file_as!(
            FoundRow,
            "src/search_patients.sql",
            query,
            number,
            part,
            archived,
            page.after.map(|key| key.rank),
            page.after.map(|key| Uuid::from(key.patient_id)),
            page.rows_to_fetch(),
            beginnings.as_deref(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        rows.into_iter().map(Found::try_from).collect()
    }
}
