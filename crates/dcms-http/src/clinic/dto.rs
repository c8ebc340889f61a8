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
    created_at: Instant,
    updated_at: Instant,
}

impl From<model::Room> for Room {
    fn from(room: model::Room) -> Self {
        Self {
            room_id: Id::of(room.room_id),
            name: room.name,
            is_active: room.is_active,
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
}

impl From<CreateRoom> for model::CreateRoom {
    fn from(body: CreateRoom) -> Self {
        Self {
            name: body.name,
            is_active: body.is_active.unwrap_or(true),
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
}

impl From<ChangeRoom> for model::RoomChanges {
    fn from(body: ChangeRoom) -> Self {
        Self {
            name: body.name.0,
            is_active: body.is_active.0,
        }
    }
}

/// An active user who treats patients.
#[derive(Serialize, ToSchema)]
pub(super) struct Doctor {
    /// The id of the user.
    doctor_id: Id,
    /// What others call them.
    display_name: String,
}

impl From<model::Doctor> for Doctor {
    fn from(doctor: model::Doctor) -> Self {
        Self {
            doctor_id: Id::of(doctor.doctor_id),
            display_name: doctor.display_name,
        }
    }
}

request_bodies!(ChangeClinic, CreateRoom, ChangeRoom);
