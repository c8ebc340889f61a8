use axum::extract::State;
use dcms_domain::appointments::{self as model, AppointmentKey, HistoryKey, Transition};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conflicts::AppointmentConflict;
use super::dto::{
    AcceptConflict, Appointment, AppointmentFilter, AppointmentVersion, BookAppointment,
    CancelAppointment, ChangeAppointment, ConflictFilter, ListedAppointment, RescheduleAppointment,
};
use crate::extract::{Caller, IfMatch, Path, Query};
use crate::idempotency::KeyedJson;
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type AppointmentList = List<ListedAppointment>;
type ConflictList = List<AppointmentConflict>;
type AppointmentVersionList = List<AppointmentVersion>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_appointments, book_appointment))
        .routes(routes!(super::events::watch_appointments))
        .routes(routes!(read_appointment, change_appointment))
        .routes(routes!(read_appointment_history))
        .routes(routes!(list_conflicts))
        .routes(routes!(accept_conflict))
        .routes(routes!(reschedule_appointment))
        .routes(routes!(confirm_appointment))
        .routes(routes!(arrive_appointment))
        .routes(routes!(start_appointment))
        .routes(routes!(complete_appointment))
        .routes(routes!(cancel_appointment))
        .routes(routes!(no_show_appointment))
}

/// Book a visit
///
/// Doctor, room and patient are each in one place at a time; the room stays taken for the longest
/// buffer of the planned services. The doctor performs them, and the room is of the kind that they
/// need. Outside the hours of the clinic or the doctor, on a closure or during time off, a visit is
/// refused (`outside_working_hours`, with `obstacles`), unless `overbook_reason` is given by who may
/// overbook: then these are accepted. A doctor who is neither admin nor manager books visits to
/// themselves only.
#[utoipa::path(
    post, path = "/appointments", tag = "Appointments",
    request_body = BookAppointment,
    responses((status = 201, description = "The visit is booked.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!([
            "appointment_overlap", "outside_working_hours", "idempotency_key_reused"
        ])),
        ("x-max-body-bytes" = json!(262_144)),
    ),
)]
async fn book_appointment(
    State(app): State<App>,
    Caller(actor): Caller,
    KeyedJson(body, keyed): KeyedJson<BookAppointment>,
) -> Answer {
    let command = model::BookAppointment::from(body);
    let (actor, command) = (&actor, &command);
    keyed
        .answer(app, actor, |app| async move {
            let service = &app.services.appointments;
            let appointment = service.book(actor, command.clone()).await?;
            let location = format!("{BASE_PATH}/appointments/{}", appointment.appointment_id);
            let version = appointment.version;
            Ok(created(
                location,
                Some(version),
                Appointment::from(appointment),
            ))
        })
        .await
}

/// Find visits
///
/// Everything that overlaps the window, earlier visits first. With `date` it is the front desk's day.
#[utoipa::path(
    get, path = "/appointments", tag = "Appointments",
    params(AppointmentFilter, PageParams),
    responses((status = 200, description = "A page of visits.", body = AppointmentList)),
    extensions(("x-permission" = json!("read_appointments"))),
)]
async fn list_appointments(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<AppointmentFilter>,
    Paging(page): Paging<AppointmentKey>,
) -> Answer {
    let service = &app.services.appointments;
    let Some(day) = filter.day() else {
        let page = service.appointments(&actor, filter.into(), page).await?;
        return Ok(ok(List::of(page, ListedAppointment::from)));
    };
    let desk = service.front_desk(&actor, day, filter.into(), page).await?;
    let listed = |visit| ListedAppointment::of(visit, desk.day, desk.now);
    Ok(ok(List::of(desk.visits, listed)))
}

/// Find visits in conflict
///
/// The coming visits, `scheduled` or `confirmed` and not over, that hours, closures, time off, their
/// doctor or their room do not allow, with what stands in their way; earlier visits first. Each is
/// listed until it is moved, cancelled or accepted. A page may hold fewer than `limit`, even none:
/// another follows as long as there is a `next_cursor`.
#[utoipa::path(
    get, path = "/appointments/conflicts", tag = "Appointments",
    params(ConflictFilter, PageParams),
    responses((status = 200, description = "A page of visits in conflict.", body = ConflictList)),
    extensions(("x-permission" = json!("read_appointments"))),
)]
async fn list_conflicts(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<ConflictFilter>,
    Paging(page): Paging<AppointmentKey>,
) -> Answer {
    let service = &app.services.appointments;
    let page = service.conflicts(&actor, filter.into(), page).await?;
    Ok(ok(List::of(page, AppointmentConflict::from)))
}

/// Accept what stands in the way of a visit
///
/// Everything that stands in its way now; what comes later puts it in conflict again. A visit that
/// nothing new stands in the way of, or that is not to come any more, answers
/// `invalid_transition`.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/accept_conflict", tag = "Appointments",
    request_body = AcceptConflict,
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("overbook")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn accept_conflict(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<AcceptConflict>,
) -> Answer {
    let service = &app.services.appointments;
    let reason = body.reason();
    let appointment = service
        .accept_conflict(&actor, appointment_id.get(), &expected, reason)
        .await?;
    found::<_, Appointment>(appointment)
}

/// Read a visit
#[utoipa::path(
    get, path = "/appointments/{appointment_id}", tag = "Appointments",
    responses((status = 200, description = "The visit.", body = Appointment)),
    extensions(("x-permission" = json!("read_appointments"))),
)]
async fn read_appointment(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
) -> Answer {
    let service = &app.services.appointments;
    let appointment = service.appointment(&actor, appointment_id.get()).await?;
    found::<_, Appointment>(appointment)
}

/// Read what was done to a visit
///
/// Every version of it, from its booking on: who made it, when and why, and what the visit was since.
#[utoipa::path(
    get, path = "/appointments/{appointment_id}/history", tag = "Appointments",
    params(PageParams),
    responses((status = 200, description = "A page of versions.", body = AppointmentVersionList)),
    extensions(("x-permission" = json!("read_appointments"))),
)]
async fn read_appointment_history(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
    Paging(page): Paging<HistoryKey>,
) -> Answer {
    let service = &app.services.appointments;
    let page = service.history(&actor, appointment_id.get(), page).await?;
    Ok(ok(List::of(page, AppointmentVersion::from)))
}

/// Change a visit's notes, room or planned services
///
/// Time and status change by actions only.
#[utoipa::path(
    patch, path = "/appointments/{appointment_id}", tag = "Appointments",
    request_body = ChangeAppointment,
    responses((status = 200, description = "The changed visit.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!(["appointment_overlap", "invalid_transition", "version_mismatch"])),
        ("x-max-body-bytes" = json!(262_144)),
    ),
)]
async fn change_appointment(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeAppointment>,
) -> Answer {
    let service = &app.services.appointments;
    let appointment = service
        .change(&actor, appointment_id.get(), &expected, body.into())
        .await?;
    found::<_, Appointment>(appointment)
}

/// Move a visit to another time, doctor or room
///
/// A `scheduled` or `confirmed` visit becomes `scheduled`. It is held against all that a new one is
/// held against, and what was accepted before counts no more; only a doctor or a room that stays need
/// not fit the planned services. When it fails, the visit stays where it was.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/reschedule", tag = "Appointments",
    request_body = RescheduleAppointment,
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!([
            "invalid_transition", "appointment_overlap", "outside_working_hours",
            "version_mismatch", "idempotency_key_reused"
        ])),
    ),
)]
async fn reschedule_appointment(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
    IfMatch(expected): IfMatch,
    KeyedJson(body, keyed): KeyedJson<RescheduleAppointment>,
) -> Answer {
    let transition = Transition::from(body);
    let (actor, expected, transition) = (&actor, &expected, &transition);
    keyed
        .answer(app, actor, |app| async move {
            let service = &app.services.appointments;
            let appointment = service
                .take_action(actor, appointment_id.get(), expected, transition.clone())
                .await?;
            found::<_, Appointment>(appointment)
        })
        .await
}

/// Note that the patient said that they will come
///
/// A `scheduled` visit becomes `confirmed`.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/confirm", tag = "Appointments",
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn confirm_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
) -> Answer {
    act(state, caller, path, if_match, Transition::Confirm).await
}

/// Note that the patient is in the house
///
/// A `scheduled`, `confirmed` or `no_show` visit becomes `arrived`; one that was `no_show` takes its
/// slot again, if it is still free.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/arrive", tag = "Appointments",
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!(["invalid_transition", "appointment_overlap", "validation_failed", "version_mismatch"])),
    ),
)]
async fn arrive_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
) -> Answer {
    act(state, caller, path, if_match, Transition::Arrive).await
}

/// Begin the treatment
///
/// An `arrived` visit becomes `in_chair`.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/start", tag = "Appointments",
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("treat_appointments")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn start_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
) -> Answer {
    act(state, caller, path, if_match, Transition::Start).await
}

/// End the treatment
///
/// A visit that is `in_chair` becomes `completed`.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/complete", tag = "Appointments",
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("treat_appointments")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn complete_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
) -> Answer {
    act(state, caller, path, if_match, Transition::Complete).await
}

/// Call a visit off
///
/// A `scheduled`, `confirmed` or `arrived` visit becomes `cancelled` and frees its slot.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/cancel", tag = "Appointments",
    request_body = CancelAppointment,
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn cancel_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
    Json(body): Json<CancelAppointment>,
) -> Answer {
    act(state, caller, path, if_match, body.into()).await
}

/// Note that the patient did not come
///
/// A `scheduled` or `confirmed` visit becomes `no_show` and frees its slot; not before it starts.
#[utoipa::path(
    post, path = "/appointments/{appointment_id}/no_show", tag = "Appointments",
    responses((status = 200, description = "The visit after it.", body = Appointment)),
    extensions(
        ("x-permission" = json!("schedule_appointments")),
        ("x-problems" = json!(["invalid_transition", "version_mismatch"])),
    ),
)]
async fn no_show_appointment(
    state: State<App>,
    caller: Caller,
    path: Path<1>,
    if_match: IfMatch,
) -> Answer {
    act(state, caller, path, if_match, Transition::NoShow).await
}

async fn act(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([appointment_id]): Path<1>,
    IfMatch(expected): IfMatch,
    transition: Transition,
) -> Answer {
    let service = &app.services.appointments;
    let appointment = service
        .take_action(&actor, appointment_id.get(), &expected, transition)
        .await?;
    found::<_, Appointment>(appointment)
}
