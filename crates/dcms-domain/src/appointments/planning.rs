use chrono::TimeDelta;

use super::{MAX_PLANNED_SERVICES, PlannedService, ServiceRequest};
use crate::catalog::{Service, available_service};
use crate::shared::{FaultCode, Faults, Quantity, ServiceId};
use crate::store::{Repositories, StoreError};

/// Those of the services that exist.
pub(super) async fn catalog_entries(
    repositories: &mut dyn Repositories,
    service_ids: Vec<ServiceId>,
) -> Result<Vec<Service>, StoreError> {
    if service_ids.is_empty() {
        return Ok(Vec::new());
    }
    repositories.services().get_many(&service_ids).await
}

/// The services to plan, in the order they are asked for; notes those that cannot be. What was
/// planned `before` keeps its price.
pub(super) fn planned_services(
    requests: &[ServiceRequest],
    before: &[PlannedService],
    catalog: &[Service],
    faults: &mut Faults,
) -> Vec<PlannedService> {
    if requests.len() > MAX_PLANNED_SERVICES {
        let detail = format!("must have at most {MAX_PLANNED_SERVICES} entries");
        faults.add("/services", FaultCode::TooLong, detail);
    }
    let mut planned = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let quantity = Quantity::new(request.qty);
        if quantity.is_none() {
            faults.add(
                format!("/services/{index}/qty"),
                FaultCode::OutOfRange,
                format!("must lie between 1 and {}", Quantity::MAX),
            );
        }
        let service_id = request.service_id;
        let service = available_service(catalog, service_id, &pointer(index), faults);
        let told = before.iter().find(|one| one.service_id == service_id);
        planned.push(PlannedService {
            service_id,
            quantity: quantity.unwrap_or(Quantity::ONE),
            unit_price: told
                .and_then(|told| told.unit_price)
                .or_else(|| service.map(|service| service.current_price)),
        });
    }
    planned
}

fn pointer(index: usize) -> String {
    format!("/services/{index}/service_id")
}

/// How long what is planned takes; unknown when no service says how long it takes.
pub(super) fn treatment_length(
    planned: &[PlannedService],
    catalog: &[Service],
) -> Option<TimeDelta> {
    let minutes = planned.iter().filter_map(|planned| {
        let service = entry(catalog, planned.service_id)?;
        let minutes = i64::from(service.default_duration_minutes?);
        Some(minutes * i64::from(planned.quantity.get()))
    });
    minutes
        .reduce(|one, other| one + other)
        .map(TimeDelta::minutes)
}

fn entry(catalog: &[Service], service_id: ServiceId) -> Option<&Service> {
    catalog
        .iter()
        .find(|service| service.service_id == service_id)
}
