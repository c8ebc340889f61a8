use chrono::TimeDelta;

use super::{MAX_PLANNED_SERVICES, PartiesStanding, PlannedService, ServiceRequest, Standing};
use crate::calendar::starts_within_notice;
use crate::catalog::{Service, available_service};
use crate::clinic::ClinicSettings;
use crate::shared::{
    FaultCode, Faults, Instant, Quantity, RoomId, ServiceId, UserId, is_sane_instant,
};
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

/// How long the room stays taken after what is planned.
pub(super) fn longest_buffer(planned: &[PlannedService], catalog: &[Service]) -> TimeDelta {
    let minutes = planned
        .iter()
        .filter_map(|planned| entry(catalog, planned.service_id))
        .map(|service| service.buffer_minutes.into())
        .max();
    TimeDelta::minutes(minutes.unwrap_or(0))
}

/// Notes each service that the doctor does not perform.
pub(super) fn check_performed(
    planned: &[PlannedService],
    catalog: &[Service],
    doctor_id: UserId,
    faults: &mut Faults,
) {
    for (index, planned) in planned.iter().enumerate() {
        if !is_performed(planned, catalog, doctor_id) {
            let detail = "must be a service that the doctor performs";
            faults.add(pointer(index), FaultCode::NotAvailable, detail);
        }
    }
}

/// Notes a doctor who does not perform everything that is planned.
pub(super) fn check_performer(
    planned: &[PlannedService],
    catalog: &[Service],
    doctor_id: UserId,
    faults: &mut Faults,
) {
    let performs_all = planned
        .iter()
        .all(|planned| is_performed(planned, catalog, doctor_id));
    if !performs_all {
        let detail = "must be a doctor who performs the planned services";
        faults.add("/doctor_id", FaultCode::NotAvailable, detail);
    }
}

fn is_performed(planned: &PlannedService, catalog: &[Service], doctor_id: UserId) -> bool {
    entry(catalog, planned.service_id).is_none_or(|service| {
        service.doctor_ids.is_empty() || service.doctor_ids.contains(&doctor_id)
    })
}

/// Notes a room that is not equipped for everything that is planned. Without a room, or in one that
/// cannot be booked anyway, everything is.
pub(super) fn check_room_kind(
    planned: &[PlannedService],
    catalog: &[Service],
    room_id: Option<RoomId>,
    standing: &PartiesStanding,
    faults: &mut Faults,
) {
    let fits = planned
        .iter()
        .filter_map(|planned| entry(catalog, planned.service_id)?.room_kind.as_deref())
        .all(|needed| standing.room_kind.as_deref() == Some(needed));
    if room_id.is_some() && standing.room == Standing::Available && !fits {
        let detail = "must be a room of the kind that the planned services need";
        faults.add("/room_id", FaultCode::NotAvailable, detail);
    }
}

/// Notes a start that is too soon or too late for whom the clinic still books, or books already.
pub(super) fn check_notice(
    starts_at: Instant,
    settings: &ClinicSettings,
    now: Instant,
    faults: &mut Faults,
) {
    let (minutes, days) = (
        settings.smallest_notice_minutes,
        settings.largest_notice_days,
    );
    let smallest = TimeDelta::minutes(minutes.into());
    let starts = starts_within_notice(now, smallest, TimeDelta::days(days.into()));
    // Without a smallest notice, whoever is here already is entered afterwards.
    let is_too_soon = minutes > 0 && starts_at < *starts.start();
    if is_sane_instant(starts_at) && (is_too_soon || starts_at > *starts.end()) {
        let detail = if minutes > 0 {
            format!("must lie at least {minutes} minutes and at most {days} days ahead")
        } else {
            format!("must lie at most {days} days ahead")
        };
        faults.add("/starts_at", FaultCode::OutOfRange, detail);
    }
}

fn entry(catalog: &[Service], service_id: ServiceId) -> Option<&Service> {
    catalog
        .iter()
        .find(|service| service.service_id == service_id)
}
