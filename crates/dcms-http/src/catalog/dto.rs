#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::catalog as model;
use dcms_domain::shared::{Cents, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::json::request_bodies;
use crate::wire::{Id, Patch, flag_in_query};

/// A procedure that the clinic offers.
#[derive(Serialize, ToSchema)]
pub(super) struct Service {
    service_id: Id,
    /// Its short name.
    code: String,
    /// What it is called on invoices.
    name: String,
    /// What one costs today; invoices keep the price of the day it was added.
    current_price_cents: i64,
    /// How long it usually takes.
    default_duration_minutes: Option<i32>,
    /// Whether it may be planned and charged.
    is_active: bool,
    /// How long the room stays taken when the visit is over.
    buffer_minutes: i32,
    /// The kind of room that it needs; null when any will do.
    room_kind: Option<String>,
    /// Who performs it; empty when everybody does.
    doctor_ids: Vec<Id>,
}

impl From<model::Service> for Service {
    fn from(service: model::Service) -> Self {
        Self {
            service_id: Id::of(service.service_id),
            code: service.code,
            name: service.name,
            current_price_cents: service.current_price.get(),
            default_duration_minutes: service.default_duration_minutes,
            is_active: service.is_active,
            buffer_minutes: service.buffer_minutes,
            room_kind: service.room_kind,
            doctor_ids: service.doctor_ids.into_iter().map(Id::of).collect(),
        }
    }
}

/// A service to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateService {
    /// 1 to 32 characters; unique, blind to case.
    code: String,
    /// 1 to 200 characters.
    name: String,
    /// 0 to 1,000,000,000,000.
    current_price_cents: i64,
    /// 1 to 1,440.
    default_duration_minutes: Option<i64>,
    /// `true` when absent.
    is_active: Option<bool>,
    /// 0 to 240; 0 when absent.
    buffer_minutes: Option<i64>,
    /// 1 to 50 characters; any room when absent.
    room_kind: Option<String>,
    /// Users with the role doctor, at most 100; everybody when absent or empty.
    doctor_ids: Option<Vec<Id>>,
}

impl From<CreateService> for model::CreateService {
    fn from(body: CreateService) -> Self {
        Self {
            code: body.code,
            name: body.name,
            current_price: Cents::new(body.current_price_cents),
            default_duration_minutes: body.default_duration_minutes,
            is_active: body.is_active.unwrap_or(true),
            buffer_minutes: body.buffer_minutes.unwrap_or(0),
            room_kind: body.room_kind,
            doctor_ids: doctors_of(body.doctor_ids.unwrap_or_default()),
        }
    }
}

fn doctors_of(ids: Vec<Id>) -> Vec<UserId> {
    ids.into_iter().map(Id::get).collect()
}

/// Changes to a service.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeService {
    /// 1 to 32 characters; unique, blind to case.
    #[serde(default)]
    #[schema(value_type = String)]
    code: Patch<String>,
    /// 1 to 200 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    name: Patch<String>,
    /// 0 to 1,000,000,000,000. Lines that exist keep their price.
    #[serde(default)]
    #[schema(value_type = i64)]
    current_price_cents: Patch<i64>,
    /// 1 to 1,440.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    default_duration_minutes: Patch<i64>,
    /// Whether it may be planned and charged.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Patch<bool>,
    /// 0 to 240.
    #[serde(default)]
    #[schema(value_type = i64)]
    buffer_minutes: Patch<i64>,
    /// 1 to 50 characters; any room when null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    room_kind: Patch<String>,
    /// Users with the role doctor, at most 100; everybody when empty.
    #[serde(default)]
    #[schema(value_type = Vec<Id>)]
    doctor_ids: Patch<Vec<Id>>,
}

impl From<ChangeService> for model::ServiceChanges {
    fn from(body: ChangeService) -> Self {
        Self {
            code: body.code.0,
            name: body.name.0,
            current_price: body.current_price_cents.0.map(Cents::new),
            default_duration_minutes: body.default_duration_minutes.0,
            is_active: body.is_active.0,
            buffer_minutes: body.buffer_minutes.0,
            room_kind: body.room_kind.0,
            doctor_ids: body.doctor_ids.0.map(doctors_of),
        }
    }
}

/// Which services are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ServiceFilter {
    /// Any part of the code or the name, blind to case and accents. At most 200 characters.
    query: Option<String>,
    /// `true` for active services only, `false` for the others only, all when absent.
    #[serde(default, deserialize_with = "flag_in_query")]
    active: Option<bool>,
}

impl From<ServiceFilter> for model::ServiceFilter {
    fn from(filter: ServiceFilter) -> Self {
        Self {
            query: filter.query,
            active: filter.active,
        }
    }
}

request_bodies!(CreateService, ChangeService);
