#![expect(
    clippy::struct_field_names,
    reason = "fields are called what they are called on the wire"
)]

use dcms_domain::clinic as model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::json::request_bodies;
use crate::wire::{Id, Instant, Patch};

/// The clinic's settings.
#[derive(Serialize, ToSchema)]
pub(super) struct Clinic {
    clinic_name: String,
    /// The IANA name of the zone that its days and hours are in.
    time_zone: String,
    address: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    /// The ISO 4217 code of what it charges in.
    currency: String,
    /// How long a visit takes when nobody says, in minutes.
    default_slot_minutes: i32,
    /// Slots that are offered start at multiples of these minutes.
    slot_grid_minutes: i32,
    /// How far ahead of its start a visit has to be booked; 0 when it may be entered later.
    smallest_notice_minutes: i32,
    /// How far ahead of its start a visit may be booked.
    largest_notice_days: i32,
}

impl From<model::ClinicSettings> for Clinic {
    fn from(settings: model::ClinicSettings) -> Self {
        Self {
            clinic_name: settings.clinic_name,
            time_zone: settings.time_zone.name().to_owned(),
            address: settings.address,
            phone: settings.phone,
            email: settings.email,
            currency: settings.currency.code().to_owned(),
            default_slot_minutes: settings.default_slot_minutes,
            slot_grid_minutes: settings.slot_grid_minutes,
            smallest_notice_minutes: settings.smallest_notice_minutes,
            largest_notice_days: settings.largest_notice_days,
        }
    }
}

/// Changes to the clinic's settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeClinic {
    /// 1 to 200 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    clinic_name: Patch<String>,
    /// An IANA name such as `Europe/Berlin`.
    #[serde(default)]
    #[schema(value_type = String)]
    time_zone: Patch<String>,
    /// At most 500 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    address: Patch<String>,
    /// 3 to 20 digits, with `+ ( ) - . /` and spaces between.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    phone: Patch<String>,
    /// An e-mail address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Patch<String>,
    /// An ISO 4217 code such as `EUR`; fixed once an invoice was issued.
    #[serde(default)]
    #[schema(value_type = String)]
    currency: Patch<String>,
    /// 5 to 480.
    #[serde(default)]
    #[schema(value_type = i64)]
    default_slot_minutes: Patch<i64>,
    /// 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60.
    #[serde(default)]
    #[schema(value_type = i64)]
    slot_grid_minutes: Patch<i64>,
    /// 0 to 43,200.
    #[serde(default)]
    #[schema(value_type = i64)]
    smallest_notice_minutes: Patch<i64>,
    /// 1 to 3,650.
    #[serde(default)]
    #[schema(value_type = i64)]
    largest_notice_days: Patch<i64>,
}

impl From<ChangeClinic> for model::ClinicChanges {
    fn from(body: ChangeClinic) -> Self {
        Self {
            clinic_name: body.clinic_name.0,
            time_zone: body.time_zone.0,
            address: body.address.0,
            phone: body.phone.0,
            email: body.email.0,
            currency: body.currency.0,
            default_slot_minutes: body.default_slot_minutes.0,
            slot_grid_minutes: body.slot_grid_minutes.0,
            smallest_notice_minutes: body.smallest_notice_minutes.0,
            largest_notice_days: body.largest_notice_days.0,
        }
    }
}

/// A treatment room.
#[derive(Serialize, ToSchema)]
pub(super) struct Room {
    room_id: Id,
    name: String,
    /// Whether visits may be booked into it.
    is_active: bool,
    /// What it is equipped for: services name the kind of room that they need.
    kind: Option<String>,
    /// Its place among the rooms.
    position: i32,
    created_at: Instant,
    updated_at: Instant,
}

impl From<model::Room> for Room {
    fn from(room: model::Room) -> Self {
        Self {
            room_id: Id::of(room.room_id),
            name: room.name,
            is_active: room.is_active,
            kind: room.kind,
            position: room.position,
            created_at: Instant(room.created_at),
            updated_at: Instant(room.updated_at),
        }
    }
}

/// A room to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRoom {
    /// 1 to 100 characters; unique, blind to case.
    name: String,
    /// `true` when absent.
    is_active: Option<bool>,
    /// 1 to 50 characters.
    kind: Option<String>,
    /// 0 to 10,000; 0 when absent.
    position: Option<i64>,
}

impl From<CreateRoom> for model::CreateRoom {
    fn from(body: CreateRoom) -> Self {
        Self {
            name: body.name,
            is_active: body.is_active.unwrap_or(true),
            kind: body.kind,
            position: body.position.unwrap_or(0),
        }
    }
}

/// Changes to a room.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRoom {
    /// 1 to 100 characters; unique, blind to case.
    #[serde(default)]
    #[schema(value_type = String)]
    name: Patch<String>,
    /// Whether visits may be booked into it.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Patch<bool>,
    /// 1 to 50 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    kind: Patch<String>,
    /// 0 to 10,000.
    #[serde(default)]
    #[schema(value_type = i64)]
    position: Patch<i64>,
}

impl From<ChangeRoom> for model::RoomChanges {
    fn from(body: ChangeRoom) -> Self {
        Self {
            name: body.name.0,
            is_active: body.is_active.0,
            kind: body.kind.0,
            position: body.position.0,
        }
    }
}

/// A user who treats patients.
#[derive(Serialize, ToSchema)]
pub(super) struct Doctor {
    /// The id of the user.
    doctor_id: Id,
    /// What others call them.
    display_name: String,
    /// Where they usually treat.
    usual_room_id: Option<Id>,
}

impl From<model::Doctor> for Doctor {
    fn from(doctor: model::Doctor) -> Self {
        Self {
            doctor_id: Id::of(doctor.doctor_id),
            display_name: doctor.display_name,
            usual_room_id: doctor.usual_room_id.map(Id::of),
        }
    }
}

/// Changes to what a user has as a doctor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeDoctor {
    /// An active room.
    #[serde(default)]
    #[schema(value_type = Option<Id>)]
    usual_room_id: Patch<Id>,
}

impl From<ChangeDoctor> for model::DoctorChanges {
    fn from(body: ChangeDoctor) -> Self {
        Self {
            usual_room_id: body.usual_room_id.0.map(Id::get),
        }
    }
}

request_bodies!(ChangeClinic, CreateRoom, ChangeRoom, ChangeDoctor);
