#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::catalog as model;
use dcms_domain::shared::Cents;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::json::request_bodies;
use crate::wire::{Id, Patch};

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
}

impl From<CreateService> for model::CreateService {
    fn from(body: CreateService) -> Self {
        Self {
            code: body.code,
            name: body.name,
            current_price: Cents::new(body.current_price_cents),
            default_duration_minutes: body.default_duration_minutes,
            is_active: body.is_active.unwrap_or(true),
        }
    }
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
}

impl From<ChangeService> for model::ServiceChanges {
    fn from(body: ChangeService) -> Self {
        Self {
            code: body.code.0,
            name: body.name.0,
            current_price: body.current_price_cents.0.map(Cents::new),
            default_duration_minutes: body.default_duration_minutes.0,
            is_active: body.is_active.0,
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
