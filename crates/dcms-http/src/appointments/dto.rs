#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use chrono::NaiveDate;
use dcms_domain::appointments as model;
use dcms_domain::appointments::Transition;
use dcms_domain::shared::{self, Cents, WindowRequest};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::RefBuilder;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::conflicts::extended;
use crate::json::request_bodies;
use crate::wire::{AppointmentStatus, Bound, Day, HistoryAction, Id, Instant, Patch};

/// A visit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Appointment {
    appointment_id: Id,
    patient_id: Id,
    doctor_id: Id,
    room_id: Option<Id>,
    /// The first moment that belongs to it.
    starts_at: Instant,
    /// The first moment that no longer belongs to it.
    ends_at: Instant,
    /// Until when the room is taken: later than the visit ends where a buffer follows.
    room_free_at: Instant,
    status: AppointmentStatus,
    /// When the patient came in.
    arrived_at: Option<Instant>,
    /// When the treatment began.
    seated_at: Option<Instant>,
    /// When it was over.
    completed_at: Option<Instant>,
    notes: Option<String>,
    services: Vec<PlannedService>,
    /// Why it was booked outside the hours, if it was.
    overbook_reason: Option<String>,
    /// Why it was cancelled, if it was.
    cancel_reason: Option<String>,
    created_at: Instant,
    updated_at: Instant,
}

/// A service that is planned for a visit.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlannedService {
    service_id: Id,
    qty: i32,
    /// What one cost when it was planned; null when that is not known.
    unit_price_cents: Option<i64>,
}

impl From<model::Appointment> for Appointment {
    fn from(appointment: model::Appointment) -> Self {
        let planned = |service: &model::PlannedService| PlannedService {
            service_id: Id::of(service.service_id),
            qty: service.quantity.get(),
            unit_price_cents: service.unit_price.map(Cents::get),
        };
        Self {
            appointment_id: Id::of(appointment.appointment_id),
            patient_id: Id::of(appointment.patient_id),
            doctor_id: Id::of(appointment.doctor_id),
            room_id: appointment.room_id.map(Id::of),
            starts_at: Instant(appointment.slot.starts_at()),
            ends_at: Instant(appointment.slot.ends_at()),
            room_free_at: Instant(appointment.room_free_at),
            status: AppointmentStatus(appointment.status),
            arrived_at: appointment.arrived_at.map(Instant),
            seated_at: appointment.seated_at.map(Instant),
            completed_at: appointment.completed_at.map(Instant),
            notes: appointment.notes,
            services: appointment.services.iter().map(planned).collect(),
            overbook_reason: appointment.overbook_reason,
            cancel_reason: appointment.cancel_reason,
            created_at: Instant(appointment.created_at),
            updated_at: Instant(appointment.updated_at),
        }
    }
}

/// A visit in a list, with what the front desk wants to know where a day is looked at.
#[derive(Serialize)]
pub(super) struct ListedAppointment {
    #[serde(flatten)]
    appointment: Appointment,
    /// Only where a day is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    front_desk: Option<FrontDesk>,
}

impl PartialSchema for ListedAppointment {
    fn schema() -> RefOr<Schema> {
        let front_desk = RefBuilder::new()
            .ref_location_from_schema_name(FrontDesk::name())
            .description(Some("Only with `date`."));
        let front_desk = front_desk.build().into();
        extended(Appointment::schema(), "front_desk", front_desk, false)
    }
}

impl ToSchema for ListedAppointment {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((FrontDesk::name().into_owned(), FrontDesk::schema()));
        FrontDesk::schemas(schemas);
        Appointment::schemas(schemas);
    }
}

/// What the front desk wants to know of a visit on the day that it looks at.
#[derive(Serialize, ToSchema)]
pub(super) struct FrontDesk {
    patient: DeskPatient,
    doctor_name: String,
    /// Null when it is not settled where.
    room_name: Option<String>,
    /// What the patient owes: the balances of all invoices that are issued and not void.
    balance_cents: i64,
    /// How many whole minutes the patient waited before they were seated, or waits by now; null when
    /// they did not wait, or left.
    waiting_minutes: Option<i64>,
    /// How many whole minutes the treatment took, or takes by now; null when it did not begin.
    chair_minutes: Option<i64>,
    flags: DeskFlags,
}

/// Who comes.
#[derive(Serialize, ToSchema)]
pub(super) struct DeskPatient {
    first_name: String,
    last_name: String,
    register_number: String,
    /// In years, on the day; null when the birthday is not known.
    age: Option<u32>,
    birthday: Option<Day>,
    /// The primary phone number, else the first one.
    phone: Option<String>,
}

/// What to be aware of.
#[derive(Serialize, ToSchema)]
pub(super) struct DeskFlags {
    /// There is no earlier visit of the patient, cancelled ones and no-shows aside.
    first_visit: bool,
    /// The patient is a year older since that day. For who was born on 29 February that is 1 March in
    /// years without one.
    birthday: bool,
    /// How many visits of the 365 days before this one the patient did not come to.
    no_shows_in_a_year: u32,
}

impl From<model::Appointment> for ListedAppointment {
    fn from(appointment: model::Appointment) -> Self {
        Self {
            appointment: appointment.into(),
            front_desk: None,
        }
    }
}

impl ListedAppointment {
    /// The visit as the front desk sees it on a day, at a moment of the clock.
    pub(super) fn of(visit: model::DeskVisit, day: NaiveDate, now: shared::Instant) -> Self {
        let flags = DeskFlags {
            first_visit: visit.is_first,
            birthday: visit.has_birthday_on(day),
            no_shows_in_a_year: visit.no_shows,
        };
        let waiting_minutes = visit.waiting(now).map(|time| time.num_minutes());
        let chair_minutes = visit.in_chair(now).map(|time| time.num_minutes());
        let patient = DeskPatient {
            age: visit.age_on(day),
            first_name: visit.first_name,
            last_name: visit.last_name,
            register_number: visit.register_number.to_string(),
            birthday: visit.birthday.map(Day),
            phone: visit.phone,
        };
        let front_desk = FrontDesk {
            patient,
            doctor_name: visit.doctor_name,
            room_name: visit.room_name,
            balance_cents: visit.balance.get(),
            waiting_minutes,
            chair_minutes,
            flags,
        };
        Self {
            appointment: visit.appointment.into(),
            front_desk: Some(front_desk),
        }
    }
}

/// A version that a visit once was in, and how it came to be.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppointmentVersion {
    appointment_id: Id,
    /// Counts the changes of the visit, from 1.
    version: i64,
    action: HistoryAction,
    changed_at: Instant,
    /// Who did it; null where the visit is older than the history.
    user_id: Option<Id>,
    /// The admin who acted as them, if one did.
    impersonator_id: Option<Id>,
    /// Why, if a reason was given.
    reason: Option<String>,
    /// Why the visit takes place from then on although something is in its way.
    overbook_reason: Option<String>,
    /// Who was to treat from then on.
    doctor_id: Id,
    /// Where it was to be from then on, if that was settled.
    room_id: Option<Id>,
    /// The first moment that belonged to it from then on.
    starts_at: Instant,
    /// The first moment that no longer belonged to it from then on.
    ends_at: Instant,
    /// Where it stood from then on.
    status: AppointmentStatus,
}

impl From<model::AppointmentVersion> for AppointmentVersion {
    fn from(version: model::AppointmentVersion) -> Self {
        Self {
            appointment_id: Id::of(version.appointment_id),
            version: version.version.get(),
            action: HistoryAction(version.action),
            changed_at: Instant(version.changed_at),
            user_id: version.user_id.map(Id::of),
            impersonator_id: version.impersonator_id.map(Id::of),
            reason: version.reason,
            overbook_reason: version.overbook_reason,
            doctor_id: Id::of(version.doctor_id),
            room_id: version.room_id.map(Id::of),
            starts_at: Instant(version.slot.starts_at()),
            ends_at: Instant(version.slot.ends_at()),
            status: AppointmentStatus(version.status),
        }
    }
}

/// A service to be planned.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanService {
    service_id: Id,
    /// 1 to 10,000; 1 when absent.
    qty: Option<i64>,
}

fn requests_of(services: Vec<PlanService>) -> Vec<model::ServiceRequest> {
    let request = |service: PlanService| model::ServiceRequest {
        service_id: service.service_id.get(),
        qty: service.qty.unwrap_or(1),
    };
    services.into_iter().map(request).collect()
}

/// A visit to be booked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BookAppointment {
    patient_id: Id,
    /// An active user with the role doctor.
    doctor_id: Id,
    room_id: Option<Id>,
    /// The first moment that belongs to it.
    starts_at: Instant,
    /// The first moment that no longer belongs to it; at most 24 hours later. When absent, the visit
    /// takes as long as the planned services do; where none says how long, as long as the
    /// clinic's `default_slot_minutes`.
    ends_at: Option<Instant>,
    /// At most 10,000 characters.
    notes: Option<String>,
    /// At most 50.
    services: Option<Vec<PlanService>>,
    /// Why it may lie outside the hours. At most 500 characters.
    overbook_reason: Option<String>,
}

impl From<BookAppointment> for model::BookAppointment {
    fn from(body: BookAppointment) -> Self {
        Self {
            patient_id: body.patient_id.get(),
            doctor_id: body.doctor_id.get(),
            room_id: body.room_id.map(Id::get),
            starts_at: body.starts_at.0,
            ends_at: body.ends_at.map(|ends_at| ends_at.0),
            notes: body.notes,
            services: requests_of(body.services.unwrap_or_default()),
            overbook_reason: body.overbook_reason,
        }
    }
}

/// Changes to a visit that move it neither in time nor in status.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeAppointment {
    /// At most 10,000 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    notes: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<Id>)]
    room_id: Patch<Id>,
    /// At most 50; replaces what was planned.
    #[serde(default)]
    #[schema(value_type = Option<Vec<PlanService>>)]
    services: Patch<Vec<PlanService>>,
    /// Why, for the history; 1 to 500 characters.
    reason: Option<String>,
}

impl From<ChangeAppointment> for model::AppointmentChanges {
    fn from(body: ChangeAppointment) -> Self {
        Self {
            notes: body.notes.0,
            room_id: body.room_id.0.map(Id::get),
            services: body.services.0.map(requests_of),
            reason: body.reason,
        }
    }
}

/// Another time for a visit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RescheduleAppointment {
    /// The first moment that belongs to it.
    starts_at: Instant,
    /// The first moment that no longer belongs to it; at most 24 hours later. When absent, the visit
    /// keeps its length.
    ends_at: Option<Instant>,
    /// The same doctor when absent.
    doctor_id: Option<Id>,
    /// The same room when absent, none when null.
    #[serde(default)]
    #[schema(value_type = Option<Id>)]
    room_id: Patch<Id>,
    /// Why it may lie outside the hours. At most 500 characters.
    overbook_reason: Option<String>,
    /// Why it is moved. At most 500 characters.
    reason: Option<String>,
}

impl From<RescheduleAppointment> for Transition {
    fn from(body: RescheduleAppointment) -> Self {
        Self::Reschedule {
            starts_at: body.starts_at.0,
            ends_at: body.ends_at.map(|ends_at| ends_at.0),
            doctor_id: body.doctor_id.map(Id::get),
            room_id: body.room_id.0.map(Id::get),
            overbook_reason: body.overbook_reason,
            reason: body.reason,
        }
    }
}

/// Why a visit is called off.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelAppointment {
    /// 1 to 500 characters.
    reason: String,
}

impl From<CancelAppointment> for Transition {
    fn from(body: CancelAppointment) -> Self {
        Self::Cancel {
            reason: body.reason,
        }
    }
}

/// Why a visit takes place in spite of what stands in its way.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptConflict {
    /// 1 to 500 characters; becomes the visit's `overbook_reason`.
    reason: String,
}

impl AcceptConflict {
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }
}

/// Which visits are looked at for conflicts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConflictFilter {
    /// Only those that end after it; from now on when absent.
    from: Option<Bound>,
    /// Only those that start before it.
    to: Option<Bound>,
}

impl From<ConflictFilter> for WindowRequest {
    fn from(filter: ConflictFilter) -> Self {
        Self {
            from: filter.from.map(|bound| bound.0),
            to: filter.to.map(|bound| bound.0),
            day: None,
        }
    }
}

/// Which appointments are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppointmentFilter {
    /// Only this doctor's.
    doctor_id: Option<Id>,
    /// Only this patient's.
    patient_id: Option<Id>,
    /// Only those in this room.
    room_id: Option<Id>,
    /// Only those in this status.
    status: Option<AppointmentStatus>,
    /// Only those that end after it.
    from: Option<Bound>,
    /// Only those that start before it.
    to: Option<Bound>,
    /// Only those that overlap this day of the clinic, each with what the `front_desk` wants to know
    /// of it.
    date: Option<Day>,
}

impl AppointmentFilter {
    /// The day that is looked at, if it is one.
    pub(super) fn day(&self) -> Option<NaiveDate> {
        self.date.map(|day| day.0)
    }
}

impl From<AppointmentFilter> for model::AppointmentQuery {
    fn from(filter: AppointmentFilter) -> Self {
        Self {
            doctor_id: filter.doctor_id.map(Id::get),
            patient_id: filter.patient_id.map(Id::get),
            room_id: filter.room_id.map(Id::get),
            status: filter.status.map(|status| status.0),
            window: WindowRequest {
                from: filter.from.map(|bound| bound.0),
                to: filter.to.map(|bound| bound.0),
                day: filter.date.map(|day| day.0),
            },
        }
    }
}

request_bodies!(
    BookAppointment,
    ChangeAppointment,
    RescheduleAppointment,
    CancelAppointment,
    AcceptConflict
);
