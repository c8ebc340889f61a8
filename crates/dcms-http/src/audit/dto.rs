use std::collections::BTreeMap;

use dcms_domain::audit as model;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::wire::{AuditAction, AuditEntity, Bound, Id, Instant, window_of};

/// A line of the audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntry {
    audit_id: Id,
    at: Instant,
    /// Who did it; null at the console, and when it is not known.
    actor_id: Option<Id>,
    /// The admin who acted as them; null when nobody did.
    impersonator_id: Option<Id>,
    session_id: Option<Id>,
    /// The address it came from.
    address: Option<String>,
    /// The `X-Request-Id` it came with.
    request_id: Option<String>,
    action: AuditAction,
    entity: AuditEntity,
    /// Null for lists.
    entity_id: Option<Id>,
    /// The patients whose records it is about.
    patient_ids: Vec<Id>,
    /// What became of which field. Empty when nothing was changed, and when the patient was
    /// anonymized since.
    changes: BTreeMap<String, FieldChange>,
}

/// What became of a field; null where nothing was.
#[derive(Serialize, ToSchema)]
pub(crate) struct FieldChange {
    #[schema(value_type = Value)]
    before: Value,
    #[schema(value_type = Value)]
    after: Value,
}

impl From<model::AuditEntry> for AuditEntry {
    fn from(entry: model::AuditEntry) -> Self {
        Self {
            audit_id: Id::of(entry.audit_id),
            at: Instant(entry.at),
            actor_id: entry.actor_id.map(Id::of),
            impersonator_id: entry.impersonator_id.map(Id::of),
            session_id: entry.session_id.map(Id::of),
            address: entry.address.map(|address| address.to_string()),
            request_id: entry.request_id,
            action: AuditAction(entry.action),
            entity: AuditEntity(entry.entity),
            entity_id: entry.entity_id.map(Id::of),
            patient_ids: entry.patient_ids.into_iter().map(Id::of).collect(),
            changes: changes_of(entry.changes),
        }
    }
}

impl AuditEntry {
    /// The names of its cells in a table.
    pub(super) const COLUMNS: [&str; 12] = [
        "audit_id",
        "at",
        "actor_id",
        "impersonator_id",
        "session_id",
        "address",
        "request_id",
        "action",
        "entity",
        "entity_id",
        "patient_ids",
        "changes",
    ];

    /// Its cells, in the order of [`COLUMNS`](Self::COLUMNS): nothing where there is nothing,
    /// patients one behind the other, changes as JSON.
    pub(super) fn cells(&self) -> [String; 12] {
        let text = |id: &Option<Id>| id.map(|id| id.to_string()).unwrap_or_default();
        let patients = self.patient_ids.iter().map(Id::to_string);
        [
            self.audit_id.to_string(),
            self.at.to_string(),
            text(&self.actor_id),
            text(&self.impersonator_id),
            text(&self.session_id),
            self.address.clone().unwrap_or_default(),
            self.request_id.clone().unwrap_or_default(),
            self.action.0.as_str().to_owned(),
            self.entity.0.as_str().to_owned(),
            text(&self.entity_id),
            patients.collect::<Vec<_>>().join(" "),
            json!(self.changes).to_string(),
        ]
    }
}

fn changes_of(changes: Vec<model::FieldChange>) -> BTreeMap<String, FieldChange> {
    let changes = changes.into_iter().map(|change| {
        let (before, after) = (json_of(change.before), json_of(change.after));
        (change.field.into_owned(), FieldChange { before, after })
    });
    changes.collect()
}

fn json_of(value: model::AuditValue) -> Value {
    match value {
        model::AuditValue::Nothing => Value::Null,
        model::AuditValue::Text(text) => text.into(),
        model::AuditValue::Number(number) => number.into(),
        model::AuditValue::Flag(flag) => flag.into(),
        model::AuditValue::List(values) => values.into_iter().map(json_of).collect(),
        model::AuditValue::Record(members) => members
            .into_iter()
            .map(|(name, value)| (name.into_owned(), json_of(value)))
            .collect(),
    }
}

/// Who looked at a patient's record or changed it.
#[derive(Serialize, ToSchema)]
pub(super) struct Access {
    audit_id: Id,
    at: Instant,
    /// Who did; null at the console, and when it is not known.
    actor_id: Option<Id>,
    /// The admin who acted as them; null when nobody did.
    impersonator_id: Option<Id>,
    address: Option<String>,
    action: AuditAction,
    entity: AuditEntity,
    /// Null for lists.
    entity_id: Option<Id>,
}

impl From<model::AuditEntry> for Access {
    fn from(entry: model::AuditEntry) -> Self {
        Self {
            audit_id: Id::of(entry.audit_id),
            at: Instant(entry.at),
            actor_id: entry.actor_id.map(Id::of),
            impersonator_id: entry.impersonator_id.map(Id::of),
            address: entry.address.map(|address| address.to_string()),
            action: AuditAction(entry.action),
            entity: AuditEntity(entry.entity),
            entity_id: entry.entity_id.map(Id::of),
        }
    }
}

/// Who looked at a patient's record or changed it, and what they changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportedAccess {
    audit_id: Id,
    at: Instant,
    /// Who did; null at the console, and when it is not known.
    actor_id: Option<Id>,
    /// The admin who acted as them; null when nobody did.
    impersonator_id: Option<Id>,
    action: AuditAction,
    entity: AuditEntity,
    /// Null for lists.
    entity_id: Option<Id>,
    /// What became of which field. Empty when nothing was changed, and when the patient was
    /// anonymized since.
    changes: BTreeMap<String, FieldChange>,
}

impl From<model::AuditEntry> for ExportedAccess {
    fn from(entry: model::AuditEntry) -> Self {
        Self {
            audit_id: Id::of(entry.audit_id),
            at: Instant(entry.at),
            actor_id: entry.actor_id.map(Id::of),
            impersonator_id: entry.impersonator_id.map(Id::of),
            action: AuditAction(entry.action),
            entity: AuditEntity(entry.entity),
            entity_id: entry.entity_id.map(Id::of),
            changes: changes_of(entry.changes),
        }
    }
}

/// Which entries are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditFilter {
    /// Only what this user did.
    actor_id: Option<Id>,
    /// Only what was done to things of this kind.
    entity: Option<AuditEntity>,
    /// Only what was done to this one.
    entity_id: Option<Id>,
    /// Only this.
    action: Option<AuditAction>,
    /// Only from this instant or day on.
    from: Option<Bound>,
    /// Only before this instant or day.
    to: Option<Bound>,
}

impl From<AuditFilter> for model::AuditQuery {
    fn from(filter: AuditFilter) -> Self {
        Self {
            actor_id: filter.actor_id.map(Id::get),
            entity: filter.entity.map(|entity| entity.0),
            entity_id: filter.entity_id.map(Id::get),
            action: filter.action.map(|action| action.0),
            window: window_of(filter.from, filter.to),
        }
    }
}
