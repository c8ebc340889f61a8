use std::borrow::Cow;

use dcms_domain::appointments as model;
use dcms_domain::calendar::Obstacle as ObstacleModel;
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::dto::Appointment;
use crate::wire::{Id, Instant};

/// A coming visit that something stands in the way of.
#[derive(Serialize)]
pub(crate) struct AppointmentConflict {
    #[serde(flatten)]
    appointment: Appointment,
    obstacles: Vec<Obstacle>,
}

impl PartialSchema for AppointmentConflict {
    fn schema() -> RefOr<Schema> {
        let obstacles = ArrayBuilder::new()
            .items(Ref::from_schema_name(Obstacle::name()))
            .description(Some("What was not accepted."));
        extended(Appointment::schema(), "obstacles", obstacles.into(), true)
    }
}

impl ToSchema for AppointmentConflict {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Appointment::schemas(schemas);
        schemas.push((Obstacle::name().into_owned(), Obstacle::schema()));
        Obstacle::schemas(schemas);
    }
}

/// The schema of an object of an answer with one member more.
pub(super) fn extended(
    object: RefOr<Schema>,
    name: &str,
    member: RefOr<Schema>,
    always_there: bool,
) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = object else {
        return object;
    };
    if !always_there && object.additional_properties.is_none() {
        object.required = object.properties.keys().cloned().collect();
        // It says itself what is always there.
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    }
    object.properties.insert(name.to_owned(), member);
    object.into()
}

/// What stands in the way of a visit, besides other visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Obstacle {
    kind: ObstacleKind,
    /// Of the closure, or of the time off.
    id: Option<Id>,
    /// Of hours: when the part of the visit begins that lies outside them.
    starts_at: Option<Instant>,
    /// Of hours: when the part of the visit ends that lies outside them.
    ends_at: Option<Instant>,
}

/// The kinds of what stands in the way of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ObstacleKind {
    ClinicHours,
    DoctorHours,
    Closure,
    TimeOff,
    DoctorNotAvailable,
    RoomNotAvailable,
}

impl From<ObstacleModel> for Obstacle {
    fn from(obstacle: ObstacleModel) -> Self {
        let (kind, id, part) = match obstacle {
            ObstacleModel::ClinicHours(part) => (ObstacleKind::ClinicHours, None, Some(part)),
            ObstacleModel::DoctorHours(part) => (ObstacleKind::DoctorHours, None, Some(part)),
            ObstacleModel::Closure(id) => (ObstacleKind::Closure, Some(Id::of(id)), None),
            ObstacleModel::TimeOff(id) => (ObstacleKind::TimeOff, Some(Id::of(id)), None),
            ObstacleModel::DoctorNotAvailable(_) => (ObstacleKind::DoctorNotAvailable, None, None),
            ObstacleModel::RoomNotAvailable(_) => (ObstacleKind::RoomNotAvailable, None, None),
        };
        Self {
            kind,
            id,
            starts_at: part.map(|part| Instant(part.starts_at())),
            ends_at: part.map(|part| Instant(part.ends_at())),
        }
    }
}

impl From<model::AppointmentConflict> for AppointmentConflict {
    fn from(conflict: model::AppointmentConflict) -> Self {
        Self {
            appointment: conflict.appointment.into(),
            obstacles: conflict.obstacles.into_iter().map(Obstacle::from).collect(),
        }
    }
}

/// Something that was changed: its own fields, and the coming visits that are in conflict now.
#[derive(Serialize)]
pub(crate) struct WithConflicts<Resource> {
    #[serde(flatten)]
    resource: Resource,
    #[serde(flatten)]
    conflicts: Option<Conflicts>,
}

#[derive(Serialize)]
struct Conflicts {
    conflicts: Vec<AppointmentConflict>,
    more_conflicts: bool,
}

impl From<model::Conflicts> for Conflicts {
    fn from(found: model::Conflicts) -> Self {
        Self {
            conflicts: found
                .visits
                .into_iter()
                .map(AppointmentConflict::from)
                .collect(),
            more_conflicts: found.more,
        }
    }
}

impl<Model, Resource: From<Model>> From<model::Changed<Model>> for WithConflicts<Resource> {
    fn from(changed: model::Changed<Model>) -> Self {
        Self {
            resource: changed.thing.into(),
            conflicts: changed.conflicts.map(Conflicts::from),
        }
    }
}

impl<Resource: ToSchema> PartialSchema for WithConflicts<Resource> {
    fn schema() -> RefOr<Schema> {
        let conflicts = ArrayBuilder::new()
            .items(Ref::from_schema_name(AppointmentConflict::name()))
            .description(Some(
                "The coming visits that are in conflict now, earlier ones first; at most 200. \
                They stay as they are until somebody moves, cancels or accepts them. Absent when \
                the change leaves the calendar alone.",
            ));
        let more_conflicts = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .description(Some("Whether there are others, or may be."));
        let changed = extended(Resource::schema(), "conflicts", conflicts.into(), false);
        extended(changed, "more_conflicts", more_conflicts.into(), false)
    }
}

impl<Resource: ToSchema> ToSchema for WithConflicts<Resource> {
    fn name() -> Cow<'static, str> {
        format!("Changed{}", Resource::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Resource::schemas(schemas);
        schemas.push((
            AppointmentConflict::name().into_owned(),
            AppointmentConflict::schema(),
        ));
        AppointmentConflict::schemas(schemas);
    }
}
