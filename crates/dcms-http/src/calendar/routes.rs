use axum::extract::State;
use dcms_domain::calendar::{ClosureKey, TimeOffKey};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{ChangeHours, Closure, CreateClosure, CreateTimeOff, DayWindow, Hours, TimeOff};
use crate::appointments::WithConflicts;
use crate::extract::{Caller, IfMatch, Path, Query};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type ChangedClosure = WithConflicts<Closure>;
type ChangedHours = WithConflicts<Hours>;
type ChangedTimeOff = WithConflicts<TimeOff>;
type ClosureList = List<Closure>;
type TimeOffList = List<TimeOff>;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_hours, change_hours))
        .routes(routes!(list_closures, create_closure))
        .routes(routes!(read_closure, delete_closure))
        .routes(routes!(read_doctor_hours, change_doctor_hours))
        .routes(routes!(list_time_off, create_time_off))
        .routes(routes!(read_time_off, delete_time_off))
}

/// Read the clinic's hours
///
/// All plans, those of the past and of the future included.
#[utoipa::path(
    get, path = "/clinic/hours", tag = "Clinic",
    responses((status = 200, description = "The hours.", body = Hours)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_hours(State(app): State<App>, Caller(actor): Caller) -> Answer {
    let hours = app.services.calendar.hours(&actor, None).await?;
    found::<_, Hours>(hours)
}

/// Change the clinic's hours
///
/// From a day on, until they are changed again; before that day they stay what they were. Times
/// are what the clinic's clock shows: one that does not exist on a day never comes, one that exists
/// twice counts both times.
#[utoipa::path(
    put, path = "/clinic/hours", tag = "Clinic",
    request_body = ChangeHours,
    responses((status = 200, description = "The changed hours, and the visits in conflict with them.", body = ChangedHours)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn change_hours(
    State(app): State<App>,
    Caller(actor): Caller,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeHours>,
) -> Answer {
    let service = &app.services.calendar;
    let hours = service
        .change_hours(&actor, None, &expected, body.into())
        .await?;
    found::<_, ChangedHours>(hours)
}

/// List closures
///
/// Those that end earlier first.
#[utoipa::path(
    get, path = "/clinic/closures", tag = "Clinic",
    params(DayWindow, PageParams),
    responses((status = 200, description = "A page of closures.", body = ClosureList)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn list_closures(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(window): Query<DayWindow>,
    Paging(page): Paging<ClosureKey>,
) -> Answer {
    let service = &app.services.calendar;
    let page = service.closures(&actor, window.into(), page).await?;
    Ok(ok(List::of(page, Closure::from)))
}

/// Close the clinic for a while
///
/// Visits that are booked stay where they are; those in conflict are told.
#[utoipa::path(
    post, path = "/clinic/closures", tag = "Clinic",
    request_body = CreateClosure,
    responses((status = 201, description = "The closure was made.", body = ChangedClosure)),
    extensions(("x-permission" = json!("change_clinic"))),
)]
async fn create_closure(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<CreateClosure>,
) -> Answer {
    let closure = app.services.calendar.close(&actor, body.into()).await?;
    let location = format!("{BASE_PATH}/clinic/closures/{}", closure.thing.closure_id);
    Ok(created(location, None, ChangedClosure::from(closure)))
}

/// Read a closure
#[utoipa::path(
    get, path = "/clinic/closures/{closure_id}", tag = "Clinic",
    responses((status = 200, description = "The closure.", body = Closure)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_closure(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([closure_id]): Path<1>,
) -> Answer {
    let service = &app.services.calendar;
    let closure = service.closure(&actor, closure_id.get()).await?;
    Ok(ok(Closure::from(closure)))
}

/// Take a closure back
#[utoipa::path(
    delete, path = "/clinic/closures/{closure_id}", tag = "Clinic",
    responses((status = 204, description = "The closure is gone.")),
    extensions(("x-permission" = json!("change_clinic"))),
)]
async fn delete_closure(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([closure_id]): Path<1>,
) -> Answer {
    let service = &app.services.calendar;
    service.reopen(&actor, closure_id.get()).await?;
    Ok(nothing())
}

/// Read a doctor's hours
///
/// Those that they have of their own: all plans, those of the past and of the future included.
#[utoipa::path(
    get, path = "/doctors/{doctor_id}/hours", tag = "Clinic",
    responses((status = 200, description = "The hours.", body = Hours)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_doctor_hours(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
) -> Answer {
    let service = &app.services.calendar;
    let hours = service.hours(&actor, Some(doctor_id.get())).await?;
    found::<_, Hours>(hours)
}

/// Change a doctor's hours
///
/// From a day on, until they are changed again; before that day they stay what they were. A doctor
/// is there when the clinic is open as well.
#[utoipa::path(
    put, path = "/doctors/{doctor_id}/hours", tag = "Clinic",
    request_body = ChangeHours,
    responses((status = 200, description = "The changed hours, and the visits in conflict with them.", body = ChangedHours)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn change_doctor_hours(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeHours>,
) -> Answer {
    let service = &app.services.calendar;
    let hours = service
        .change_hours(&actor, Some(doctor_id.get()), &expected, body.into())
        .await?;
    found::<_, ChangedHours>(hours)
}

/// List a doctor's time off
///
/// What ends earlier first.
#[utoipa::path(
    get, path = "/doctors/{doctor_id}/time_off", tag = "Clinic",
    params(DayWindow, PageParams),
    responses((status = 200, description = "A page of time off.", body = TimeOffList)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn list_time_off(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
    Query(window): Query<DayWindow>,
    Paging(page): Paging<TimeOffKey>,
) -> Answer {
    let service = &app.services.calendar;
    let page = service
        .time_off(&actor, doctor_id.get(), window.into(), page)
        .await?;
    Ok(ok(List::of(page, TimeOff::from)))
}

/// Give a doctor time off
///
/// Visits that are booked stay where they are; those in conflict are told.
#[utoipa::path(
    post, path = "/doctors/{doctor_id}/time_off", tag = "Clinic",
    request_body = CreateTimeOff,
    responses((status = 201, description = "The time off was given.", body = ChangedTimeOff)),
    extensions(("x-permission" = json!("change_clinic"))),
)]
async fn create_time_off(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
    Json(body): Json<CreateTimeOff>,
) -> Answer {
    let service = &app.services.calendar;
    let command = body.of(doctor_id.get());
    let time_off = service.grant_time_off(&actor, command).await?;
    let location = format!(
        "{BASE_PATH}/doctors/{doctor_id}/time_off/{}",
        time_off.thing.time_off_id
    );
    Ok(created(location, None, ChangedTimeOff::from(time_off)))
}

/// Read a doctor's time off
#[utoipa::path(
    get, path = "/doctors/{doctor_id}/time_off/{time_off_id}", tag = "Clinic",
    responses((status = 200, description = "The time off.", body = TimeOff)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_time_off(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id, time_off_id]): Path<2>,
) -> Answer {
    let service = &app.services.calendar;
    let time_off = service
        .one_time_off(&actor, doctor_id.get(), time_off_id.get())
        .await?;
    Ok(ok(TimeOff::from(time_off)))
}

/// Take time off back
#[utoipa::path(
    delete, path = "/doctors/{doctor_id}/time_off/{time_off_id}", tag = "Clinic",
    responses((status = 204, description = "The time off is gone.")),
    extensions(("x-permission" = json!("change_clinic"))),
)]
async fn delete_time_off(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id, time_off_id]): Path<2>,
) -> Answer {
    let service = &app.services.calendar;
    service
        .take_back_time_off(&actor, doctor_id.get(), time_off_id.get())
        .await?;
    Ok(nothing())
}
