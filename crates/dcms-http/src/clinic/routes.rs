use axum::extract::State;
use dcms_domain::clinic::RoomKey;
use dcms_domain::shared::UserId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{ChangeClinic, ChangeDoctor, ChangeRoom, Clinic, CreateRoom, Doctor, Room};
use crate::appointments::WithConflicts;
use crate::extract::{Caller, IfMatch, Path};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type ChangedClinic = WithConflicts<Clinic>;
type ChangedRoom = WithConflicts<Room>;
type DoctorList = List<Doctor>;
type RoomList = List<Room>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_clinic, change_clinic))
        .routes(routes!(list_rooms, create_room))
        .routes(routes!(read_room, change_room, delete_room))
        .routes(routes!(list_doctors))
        .routes(routes!(read_doctor, change_doctor))
}

/// Read the clinic's settings
#[utoipa::path(
    get, path = "/clinic", tag = "Clinic",
    responses((status = 200, description = "The settings.", body = Clinic)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_clinic(State(app): State<App>, Caller(actor): Caller) -> Answer {
    let settings = app.services.clinic.settings(&actor).await?;
    found::<_, Clinic>(settings)
}

/// Change the clinic's settings
///
/// The currency cannot change any more once an invoice was issued: `in_use`.
#[utoipa::path(
    patch, path = "/clinic", tag = "Clinic",
    request_body = ChangeClinic,
    responses((status = 200, description = "The changed settings.", body = ChangedClinic)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["in_use", "version_mismatch"])),
    ),
)]
async fn change_clinic(
    State(app): State<App>,
    Caller(actor): Caller,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeClinic>,
) -> Answer {
    let service = &app.services.clinic;
    let settings = service
        .change_settings(&actor, &expected, body.into())
        .await?;
    found::<_, ChangedClinic>(settings)
}

/// List rooms
///
/// By their position, then in the order they were made.
#[utoipa::path(
    get, path = "/rooms", tag = "Clinic",
    params(PageParams),
    responses((status = 200, description = "A page of rooms.", body = RoomList)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn list_rooms(
    State(app): State<App>,
    Caller(actor): Caller,
    Paging(page): Paging<RoomKey>,
) -> Answer {
    let page = app.services.clinic.rooms(&actor, page).await?;
    Ok(ok(List::of(page, Room::from)))
}

/// Make a room
#[utoipa::path(
    post, path = "/rooms", tag = "Clinic",
    request_body = CreateRoom,
    responses((status = 201, description = "The room was made.", body = Room)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["already_exists"])),
    ),
)]
async fn create_room(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<CreateRoom>,
) -> Answer {
    let room = app.services.clinic.create_room(&actor, body.into()).await?;
    let location = format!("{BASE_PATH}/rooms/{}", room.room_id);
    Ok(created(location, Some(room.version), Room::from(room)))
}

/// Read a room
#[utoipa::path(
    get, path = "/rooms/{room_id}", tag = "Clinic",
    responses((status = 200, description = "The room.", body = Room)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_room(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([room_id]): Path<1>,
) -> Answer {
    let room = app.services.clinic.room(&actor, room_id.get()).await?;
    found::<_, Room>(room)
}

/// Change a room
///
/// Visits in a room that is deactivated stay there; those that are coming are told.
#[utoipa::path(
    patch, path = "/rooms/{room_id}", tag = "Clinic",
    request_body = ChangeRoom,
    responses((status = 200, description = "The changed room.", body = ChangedRoom)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["already_exists", "version_mismatch"])),
    ),
)]
async fn change_room(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([room_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeRoom>,
) -> Answer {
    let service = &app.services.clinic;
    let room = service
        .change_room(&actor, room_id.get(), &expected, body.into())
        .await?;
    found::<_, ChangedRoom>(room)
}

/// Delete a room
///
/// Only one that was never booked and is nobody's usual one; deactivate others instead.
#[utoipa::path(
    delete, path = "/rooms/{room_id}", tag = "Clinic",
    responses((status = 204, description = "The room is gone.")),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["in_use", "version_mismatch"])),
    ),
)]
async fn delete_room(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([room_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let service = &app.services.clinic;
    service
        .delete_room(&actor, room_id.get(), &expected)
        .await?;
    Ok(nothing())
}

/// List doctors
///
/// The active users with the role, in the order they were made.
#[utoipa::path(
    get, path = "/doctors", tag = "Clinic",
    params(PageParams),
    responses((status = 200, description = "A page of doctors.", body = DoctorList)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn list_doctors(
    State(app): State<App>,
    Caller(actor): Caller,
    Paging(page): Paging<UserId>,
) -> Answer {
    let page = app.services.clinic.doctors(&actor, page).await?;
    Ok(ok(List::of(page, Doctor::from)))
}

/// Read a doctor
///
/// A user with the role, active or not.
#[utoipa::path(
    get, path = "/doctors/{doctor_id}", tag = "Clinic",
    responses((status = 200, description = "The doctor.", body = Doctor)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_doctor(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
) -> Answer {
    let service = &app.services.clinic;
    let doctor = service.doctor(&actor, doctor_id.get()).await?;
    found::<_, Doctor>(doctor)
}

/// Change a doctor
///
/// What they have as a doctor; the rest is changed with the user.
#[utoipa::path(
    patch, path = "/doctors/{doctor_id}", tag = "Clinic",
    request_body = ChangeDoctor,
    responses((status = 200, description = "The changed doctor.", body = Doctor)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["version_mismatch"])),
    ),
)]
async fn change_doctor(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([doctor_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeDoctor>,
) -> Answer {
    let service = &app.services.clinic;
    let doctor = service
        .change_doctor(&actor, doctor_id.get(), &expected, body.into())
        .await?;
    found::<_, Doctor>(doctor)
}
