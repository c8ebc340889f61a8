use std::net::IpAddr;

use async_trait::async_trait;
use dcms_domain::audit::{
    AuditAction, AuditEntry, AuditFilter, AuditRepository, AuditValue, Entity, FieldChange,
};
use dcms_domain::shared::{AuditId, Instant, Page, PageRequest, PatientId};
use dcms_domain::store::StoreError;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::{known, store_error};
use crate::session::PgSession;

struct AuditRow {
    audit_id: Uuid,
    at: Instant,
    actor_id: Option<Uuid>,
    impersonator_id: Option<Uuid>,
    session_id: Option<Uuid>,
    address: Option<String>,
    request_id: Option<String>,
    action: String,
    entity: String,
    entity_id: Option<Uuid>,
    patient_ids: Vec<Uuid>,
    changes: Option<Value>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        Ok(Self {
            audit_id: row.audit_id.into(),
            at: row.at,
            actor_id: row.actor_id.map(Into::into),
            impersonator_id: row.impersonator_id.map(Into::into),
            session_id: row.session_id.map(Into::into),
            address: row.address.map(|text| address(&text)).transpose()?,
            request_id: row.request_id,
            action: known(AuditAction::from_name(&row.action), "audit_log.action")?,
            entity: known(Entity::from_name(&row.entity), "audit_log.entity")?,
            entity_id: row.entity_id,
            patient_ids: row.patient_ids.into_iter().map(Into::into).collect(),
            changes: row.changes.map_or_else(Vec::new, changes_of_json),
        })
    }
}

/// An address as `host()` writes it.
pub(crate) fn address(text: &str) -> Result<IpAddr, StoreError> {
    known(text.parse().ok(), "an address")
}

fn json_of_changes(changes: &[FieldChange]) -> Option<Value> {
    let members = changes.iter().map(|change| {
        let pair = json!([json_of(&change.before), json_of(&change.after)]);
        (change.field.clone().into_owned(), pair)
    });
    (!changes.is_empty()).then(|| Value::Object(members.collect()))
}

fn changes_of_json(json: Value) -> Vec<FieldChange> {
    let Value::Object(members) = json else {
        return Vec::new();
    };
    members
        .into_iter()
        .map(|(field, pair)| {
            let mut pair = match pair {
                Value::Array(pair) => pair.into_iter(),
                _ => Vec::new().into_iter(),
            };
            let mut next = || value_of_json(pair.next().unwrap_or(Value::Null));
            FieldChange {
                field: field.into(),
                before: next(),
                after: next(),
            }
        })
        .collect()
}

fn json_of(value: &AuditValue) -> Value {
    match value {
        AuditValue::Nothing => Value::Null,
        AuditValue::Text(text) => text.as_str().into(),
        AuditValue::Number(number) => (*number).into(),
        AuditValue::Flag(flag) => (*flag).into(),
        AuditValue::List(values) => values.iter().map(json_of).collect(),
        AuditValue::Record(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| (name.clone().into_owned(), json_of(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn value_of_json(json: Value) -> AuditValue {
    match json {
        Value::Null => AuditValue::Nothing,
        Value::Bool(flag) => AuditValue::Flag(flag),
        // Nothing but whole numbers is ever written.
        Value::Number(number) => number
            .as_i64()
            .map_or(AuditValue::Nothing, AuditValue::Number),
        Value::String(text) => AuditValue::Text(text),
        Value::Array(values) => AuditValue::List(values.into_iter().map(value_of_json).collect()),
        Value::Object(members) => AuditValue::Record(
            members
                .into_iter()
                .map(|(name, value)| (name.into(), value_of_json(value)))
                .collect(),
        ),
    }
}

#[async_trait]
impl AuditRepository for PgSession {
    async fn append(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        // As one JSON document: lists of patients differ in length, which arrays of arrays cannot.
        let rows: Value = entries
            .iter()
            .map(|entry| {
                let patients: Vec<Uuid> = entry.patient_ids.iter().map(|id| (*id).into()).collect();
                json!({
                    "audit_id": Uuid::from(entry.audit_id).to_string(),
                    "at": entry.at.to_rfc3339(),
                    "actor_id": entry.actor_id.map(|id| id.to_string()),
                    "impersonator_id": entry.impersonator_id.map(|id| id.to_string()),
                    "session_id": entry.session_id.map(|id| id.to_string()),
                    "address": entry.address.map(|address| address.to_string()),
                    "request_id": entry.request_id,
                    "action": entry.action.as_str(),
                    "entity": entry.entity.as_str(),
                    "entity_id": entry.entity_id.map(|id| id.to_string()),
                    "patient_ids": patients.iter().map(Uuid::to_string).collect::<Vec<_>>(),
                    "changes": json_of_changes(&entry.changes),
                })
            })
            .collect();
        sqlx::query!(
            "INSERT INTO audit_log (
                audit_id, at, actor_id, impersonator_id, session_id, address, request_id, action,
                entity, entity_id, patient_ids, changes, changes_salt, changes_digest
            )
            SELECT audit_id, at, actor_id, impersonator_id, session_id, address, request_id,
                action, entity, entity_id, patient_ids, changes,
                CASE WHEN changes IS NOT NULL THEN salt END, audit_changes_digest(salt, changes)
            FROM (
                SELECT *, substring(
                    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FOR 16
                ) AS salt
                FROM jsonb_to_recordset($1) AS entry (
                    audit_id uuid, at timestamptz, actor_id uuid, impersonator_id uuid,
                    session_id uuid, address inet, request_id text, action text, entity text,
                    entity_id uuid, patient_ids uuid[], changes jsonb
                )
            ) AS entries
            ON CONFLICT (audit_id) DO NOTHING",
            rows,
        )
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn list(
        &mut self,
        filter: &AuditFilter,
        page: PageRequest<AuditId>,
    ) -> Result<Page<AuditEntry, AuditId>, StoreError> {
        let rows = sqlx::query_as!(
            AuditRow,
            r#"SELECT audit_id, at, actor_id, impersonator_id, session_id,
                host(address) AS address, request_id, action, entity, entity_id, patient_ids,
                changes
            FROM audit_log
            WHERE ($1::uuid IS NULL OR actor_id = $1)
                AND ($2::text IS NULL OR entity = $2)
                AND ($3::uuid IS NULL OR entity_id = $3)
                AND ($4::text IS NULL OR action = $4)
                AND ($5::uuid IS NULL OR patient_ids @> ARRAY[$5])
                AND ($6::timestamptz IS NULL OR at >= $6)
                AND ($7::timestamptz IS NULL OR at < $7)
                AND ($8::uuid IS NULL OR audit_id < $8)
            ORDER BY audit_id DESC LIMIT $9"#,
            filter.actor_id.map(Uuid::from),
            filter.entity.map(Entity::as_str),
            filter.entity_id,
            filter.action.map(AuditAction::as_str),
            filter.patient_id.map(Uuid::from),
            filter.window.from,
            filter.window.to,
            page.after.map(Uuid::from),
            page.rows_to_fetch(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(store_error)?;
        let entries = rows
            .into_iter()
            .map(AuditEntry::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(entries, &page, |entry: &AuditEntry| {
            entry.audit_id
        }))
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        sqlx::query!("SELECT redact_audit_of($1)", Uuid::from(patient_id))
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        Ok(())
    }
}
