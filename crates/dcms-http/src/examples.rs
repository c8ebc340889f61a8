//! The examples of the OpenAPI document, made of one example for each field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};

/// What each id of an example stands for, by the names of fields and parameters. A reader of the
/// document replaces them with the ids of things that exist.
const IDS: [(&str, &str); 15] = [
    ("appointment_id", "0198f000-0000-7000-8000-000000000001"),
    ("audit_id", "0198f000-0000-7000-8000-00000000000d"),
    ("closure_id", "0198f000-0000-7000-8000-00000000000e"),
    ("contact_id", "0198f000-0000-7000-8000-000000000002"),
    ("doctor_id", "0198f000-0000-7000-8000-000000000003"),
    ("invoice_id", "0198f000-0000-7000-8000-000000000004"),
    ("item_id", "0198f000-0000-7000-8000-000000000005"),
    ("patient_id", "0198f000-0000-7000-8000-000000000006"),
    ("payment_id", "0198f000-0000-7000-8000-000000000007"),
    ("refund_id", "0198f000-0000-7000-8000-000000000008"),
    ("room_id", "0198f000-0000-7000-8000-000000000009"),
    ("service_id", "0198f000-0000-7000-8000-00000000000a"),
    ("session_id", "0198f000-0000-7000-8000-00000000000b"),
    ("time_off_id", "0198f000-0000-7000-8000-00000000000f"),
    ("user_id", "0198f000-0000-7000-8000-00000000000c"),
];

/// The example of a field: of this schema's when one is named, else of every field of the name.
/// Null means that requests leave it out.
fn table() -> BTreeMap<&'static str, Value> {
    let mut table = BTreeMap::from_iter(by_field_to_i());
    table.extend(by_field_from_j());
    table.extend(by_schema_and_field());
    table.extend(IDS.map(|(name, id)| (name, json!(id))));
    // Ids under other names than those of what they name.
    for (name, same_as) in [
        ("invoice_item_id", "item_id"),
        ("recorded_by", "user_id"),
        ("actor_id", "user_id"),
        ("entity_id", "patient_id"),
        ("usual_room_id", "room_id"),
    ] {
        table.insert(name, table[same_as].clone());
    }
    table
}

fn by_schema_and_field() -> impl IntoIterator<Item = (&'static str, Value)> {
    [
        ("Access.address", json!("192.0.2.7")),
        ("AddItem.description", Value::Null),
        ("AddItem.unit_price_cents", Value::Null),
        ("AuditEntry.address", json!("192.0.2.7")),
        ("Closure.reason", json!("Public holiday")),
        ("CreateClosure.reason", json!("Public holiday")),
        ("CreateTimeOff.reason", json!("Congress")),
        ("TimeOff.reason", json!("Congress")),
        ("ChangeRoom.name", json!("Surgery 5, north")),
        ("ChangeService.code", json!("D1110-L")),
        ("ChangeUser.username", json!("n.okafor-brandt")),
        ("CreateUser.password", json!("a-long-first-password")),
        ("Doctor.display_name", json!("Dr. Clara Weiss")),
        ("Obstacle.kind", json!("closure")),
        ("Obstacle.starts_at", Value::Null),
        ("Obstacle.ends_at", Value::Null),
        ("Obstacle.id", json!("0198f000-0000-7000-8000-00000000000e")),
        ("LogIn.username", json!("admin")),
        (
            "RescheduleAppointment.ends_at",
            json!("2027-03-02T14:30:00+01:00"),
        ),
        (
            "RescheduleAppointment.starts_at",
            json!("2027-03-02T14:00:00+01:00"),
        ),
        ("AppointmentVersion.action", json!("reschedule")),
        ("AppointmentVersion.version", json!(2)),
        ("Room.name", json!("Surgery 5")),
        ("CreateRoom.name", json!("Surgery 5")),
        ("RecordRefund.amount_cents", json!(500)),
        ("Refund.amount_cents", json!(500)),
        ("Session.address", json!("192.0.2.7")),
        ("DeskFlags.birthday", json!(false)),
        ("FieldChange.after", json!("Lindqvist")),
        ("FieldChange.before", json!("Lindquist")),
        ("username", json!("n.okafor")),
    ]
}

fn by_field_to_i() -> impl IntoIterator<Item = (&'static str, Value)> {
    [
        (
            "access_token",
            json!("3q2-7wAAb2FhYmJjY2RkZWVmZmdnaGhpaWpqa2tsbG1t"),
        ),
        ("action", json!("change")),
        ("active", json!(true)),
        ("age", json!(42)),
        ("agent", json!("Oldtown Desk/2.1")),
        ("at", json!("2026-03-02T09:00:00Z")),
        (
            "changes",
            json!({"last_name": {"before": "Lindquist", "after": "Lindqvist"}}),
        ),
        ("address", json!("12 Mill Lane\nOldtown")),
        ("amount_cents", json!(2500)),
        ("anonymized_at", Value::Null),
        ("archived", json!(false)),
        ("archived_at", Value::Null),
        ("arrived_at", Value::Null),
        ("balance_cents", json!(6300)),
        ("buffer_minutes", json!(10)),
        ("birthday", json!("1987-06-05")),
        ("cancel_reason", Value::Null),
        ("clinic_name", json!("Oldtown Dental")),
        ("closes_at", json!("17:00")),
        ("code", json!("D1110")),
        ("completed_at", Value::Null),
        ("created_at", json!("2026-03-02T09:00:00Z")),
        ("currency", json!("EUR")),
        ("current_password", json!("dcms-dev-password")),
        ("current_price_cents", json!(8800)),
        ("date", json!("2027-03-01")),
        ("default_duration_minutes", json!(30)),
        ("default_slot_minutes", json!(30)),
        ("description", json!("Travel toothbrush")),
        ("description_snapshot", json!("Cleaning")),
        ("device_name", json!("Front desk")),
        ("display_name", json!("Ngozi Okafor")),
        (
            "doctor_ids",
            json!(["0198f000-0000-7000-8000-000000000003"]),
        ),
        ("duration_minutes", json!(45)),
        ("doctor_name", json!("Dr. Clara Weiss")),
        ("email", json!("desk@oldtown.example")),
        ("ends_at", json!("2027-03-01T09:30:00+01:00")),
        ("ends_at_time", json!("12:00")),
        ("ends_on", json!("2027-03-03")),
        ("entity", json!("patient")),
        ("expires_at", json!("2026-03-02T21:00:00Z")),
        ("exported_at", json!("2026-03-02T09:00:00Z")),
        ("first_visit", json!(false)),
        ("first_name", json!("Zoé")),
        ("format", json!("dcms-patient-export/1")),
        ("from", json!("2027-03-01")),
        ("from_appointment", json!(false)),
        ("gender", json!("female")),
        ("chair_minutes", json!(25)),
        ("changed_at", json!("2026-03-02T09:00:00Z")),
        ("impersonator", Value::Null),
        ("impersonator_id", Value::Null),
        ("invoice_number", json!("INV-000042")),
        ("is_active", json!(true)),
        ("is_current", json!(true)),
        ("is_primary", json!(true)),
        ("issued_at", json!("2026-03-02T10:00:00Z")),
    ]
}

fn by_field_from_j() -> impl IntoIterator<Item = (&'static str, Value)> {
    [
        ("kind", json!("surgery")),
        ("label", json!("work")),
        ("largest_notice_days", json!(731)),
        ("last_name", json!("Lindqvist")),
        ("last_seen_at", json!("2026-03-02T10:00:00Z")),
        ("limit", json!(50)),
        ("line_total_cents", json!(8800)),
        ("method", json!("card")),
        ("more_conflicts", json!(false)),
        ("must_change_password", json!(false)),
        ("name", json!("Cleaning")),
        ("new_password", json!("another-long-password")),
        ("next_cursor", Value::Null),
        ("no_shows_in_a_year", json!(0)),
        ("notes", json!("Prefers mornings.")),
        ("opens_at", json!("09:00")),
        ("overbook_reason", Value::Null),
        ("paid_at", json!("2026-02-27T10:05:00Z")),
        ("paid_cents", json!(2500)),
        ("password", json!("dcms-dev-password")),
        ("phone", json!("+49 30 5550 123")),
        ("position", json!(1)),
        ("qty", json!(1)),
        (
            "patient_ids",
            json!(["0198f000-0000-7000-8000-000000000006"]),
        ),
        ("query", json!("lindq")),
        ("reason", json!("Asked for it by phone")),
        ("reference", json!("Slip 4711")),
        ("refunded_cents", json!(0)),
        ("register_number", json!("P000042")),
        ("request_id", json!("0198f000-0000-7000-8000-0000000000ff")),
        ("roles", json!(["receptionist"])),
        ("room_name", json!("Surgery 5")),
        ("room_kind", json!("surgery")),
        ("slot_grid_minutes", json!(5)),
        ("smallest_notice_minutes", json!(0)),
        ("starts_at", json!("2027-03-01T09:00:00+01:00")),
        ("starts_at_time", Value::Null),
        ("starts_on", json!("2027-03-02")),
        ("time_from", json!("08:00")),
        ("time_to", json!("12:00")),
        ("time_zone", json!("Europe/Berlin")),
        ("to", json!("2027-03-02")),
        ("token_type", json!("Bearer")),
        ("total_cents", json!(8800)),
        ("type", json!("phone")),
        ("unit_price_cents", json!(450)),
        ("unit_price_snapshot_cents", json!(8800)),
        ("updated_at", json!("2026-03-02T09:00:00Z")),
        ("valid_from", json!("2027-03-01")),
        ("value", json!("+49 30 5550 456")),
        ("waiting_minutes", json!(5)),
        ("void_reason", Value::Null),
        ("voided_at", Value::Null),
    ]
}

/// The ids of the examples, by what they stand for.
pub(crate) fn ids_as_json() -> Value {
    IDS.into_iter()
        .map(|(name, id)| (name.to_owned(), json!(id)))
        .collect::<Map<_, _>>()
        .into()
}

/// Makes examples of schemas.
pub(crate) struct Examples {
    schemas: BTreeMap<String, Value>,
    fields: BTreeMap<&'static str, Value>,
}

/// Which of a body's fields an example shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// All of them, also those that are null.
    All,
    /// Those that have a value.
    Given,
}

impl Examples {
    pub(crate) fn of(schemas: &BTreeMap<String, RefOr<Schema>>) -> Self {
        // A schema is made of text, numbers and lists: writing it cannot fail.
        let json = |schema| serde_json::to_value(schema).unwrap_or_default();
        Self {
            schemas: schemas
                .iter()
                .map(|(name, schema)| (name.clone(), json(schema)))
                .collect(),
            fields: table(),
        }
    }

    /// An example of a request's body.
    pub(crate) fn of_request(&self, schema: Option<&RefOr<Schema>>) -> Option<Value> {
        self.of_body(schema, Shown::Given)
    }

    /// An example of an answer's body.
    pub(crate) fn of_answer(&self, schema: Option<&RefOr<Schema>>) -> Option<Value> {
        self.of_body(schema, Shown::All)
    }

    /// An example of a parameter; none of those that only an earlier answer tells.
    pub(crate) fn of_parameter(&self, parameter: &Parameter) -> Option<Value> {
        if parameter.parameter_in == ParameterIn::Header {
            return None;
        }
        let schema = serde_json::to_value(parameter.schema.as_ref()?).ok()?;
        let items = &schema["items"];
        let one = if items.is_null() { &schema } else { items };
        let example = self
            .fields
            .get(parameter.name.as_str())
            .cloned()
            .or_else(|| self.first_name(one))?;
        Some(if items.is_null() {
            example
        } else {
            json!([example])
        })
    }

    fn of_body(&self, schema: Option<&RefOr<Schema>>, shown: Shown) -> Option<Value> {
        let schema = serde_json::to_value(schema?).ok()?;
        Some(self.of_schema(&schema, "", shown))
    }

    fn of_schema(&self, schema: &Value, name: &str, shown: Shown) -> Value {
        let (schema, name) = self.resolved(schema, name);
        if let Some(properties) = schema["properties"].as_object() {
            return properties
                .iter()
                .map(|(field, property)| {
                    (field.clone(), self.of_field(name, field, property, shown))
                })
                .filter(|(_, value)| shown == Shown::All || !value.is_null())
                .collect::<Map<_, _>>()
                .into();
        }
        if !schema["items"].is_null() {
            return json!([self.of_schema(&schema["items"], name, shown)]);
        }
        self.first_name(schema).unwrap_or_default()
    }

    fn of_field(&self, owner: &str, field: &str, property: &Value, shown: Shown) -> Value {
        let own = self.fields.get(format!("{owner}.{field}").as_str());
        own.or_else(|| self.fields.get(field))
            .cloned()
            .unwrap_or_else(|| self.of_schema(property, "", shown))
    }

    /// The first of the names that a schema allows.
    fn first_name(&self, schema: &Value) -> Option<Value> {
        self.resolved(schema, "").0["enum"].get(0).cloned()
    }

    /// The schema behind a reference or a choice between null and another, and what it is called.
    fn resolved<'schema>(
        &'schema self,
        schema: &'schema Value,
        name: &'schema str,
    ) -> (&'schema Value, &'schema str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return (self.schemas.get(name).unwrap_or(&Value::Null), name);
        }
        let mut choices = schema["oneOf"].as_array().into_iter().flatten();
        let choice = choices.find(|choice| choice["type"] != "null");
        choice.map_or((schema, name), |choice| self.resolved(choice, name))
    }
}
