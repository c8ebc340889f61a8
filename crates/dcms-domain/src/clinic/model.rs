use chrono_tz::Tz;
use iso_currency::Currency;

use crate::shared::{
    Change, CommonError, FaultCode, Faults, Instant, RoomId, UserId, Version, bounded_number,
    context_error, email_address, multi_line_text, phone_number, single_line_text,
};

/// The clinic. There is exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicSettings {
    /// What patients know it as.
    pub clinic_name: String,
    /// The zone its days and hours are in.
    pub time_zone: Tz,
    /// Where it is.
    pub address: Option<String>,
    /// Its phone number.
    pub phone: Option<String>,
    /// Its e-mail address.
    pub email: Option<String>,
    /// What it charges in. Frozen once an invoice was issued.
    pub currency: Currency,
    /// How long a visit takes when nobody says, in minutes.
    pub default_slot_minutes: i32,
    /// Visits are offered at times of day that are multiples of these minutes; a divisor of 60.
    pub slot_grid_minutes: i32,
    /// How far ahead of its start a visit has to be booked; 0 if even later will do.
    pub smallest_notice_minutes: i32,
    /// How far ahead of its start a visit may be booked.
    pub largest_notice_days: i32,
    /// Counts the changes.
    pub version: Version,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// Changes to the clinic's settings, as callers write them.
#[derive(Debug, Clone, Default)]
pub struct ClinicChanges {
    /// What patients know it as.
    pub clinic_name: Change<String>,
    /// An IANA name such as `Europe/Berlin`.
    pub time_zone: Change<String>,
    /// Where it is.
    pub address: Change<String>,
    /// Its phone number.
    pub phone: Change<String>,
    /// Its e-mail address.
    pub email: Change<String>,
    /// An ISO 4217 code such as `EUR`.
    pub currency: Change<String>,
    /// 5 to 480 minutes.
    pub default_slot_minutes: Change<i64>,
    /// A divisor of 60.
    pub slot_grid_minutes: Change<i64>,
    /// 0 to 43,200.
    pub smallest_notice_minutes: Change<i64>,
    /// 1 to 3,650.
    pub largest_notice_days: Change<i64>,
}

impl ClinicSettings {
    /// The settings after the changes.
    pub(super) fn changed(mut self, changes: ClinicChanges, now: Instant) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let name =
            changes
                .clinic_name
                .apply_required(self.clinic_name, "/clinic_name", &mut faults);
        self.clinic_name = single_line_text(&name, 200, "/clinic_name", &mut faults);
        let zone = changes.time_zone.apply_required(
            self.time_zone.name().to_owned(),
            "/time_zone",
            &mut faults,
        );
        match zone.parse() {
            Ok(zone) => self.time_zone = zone,
            Err(_) => faults.add(
                "/time_zone",
                FaultCode::Unknown,
                "must be an IANA time zone such as Europe/Berlin",
            ),
        }
        let code = changes.currency.apply_required(
            self.currency.code().to_owned(),
            "/currency",
            &mut faults,
        );
        match Currency::from_code(&code) {
            Some(currency) => self.currency = currency,
            None => faults.add(
                "/currency",
                FaultCode::Unknown,
                "must be an ISO 4217 code such as EUR",
            ),
        }
        self.address = changes
            .address
            .map(|address| multi_line_text(&address, 500, "/address", &mut faults))
            .apply(self.address);
        self.phone = changes
            .phone
            .map(|phone| phone_number(&phone, "/phone", &mut faults))
            .apply(self.phone);
        self.email = changes
            .email
            .map(|email| email_address(&email, "/email", &mut faults))
            .apply(self.email);
        let mut number = |change: Change<i64>, current, bounds, pointer| {
            let number = change.apply_required(i64::from(current), pointer, &mut faults);
            bounded_number(number, bounds, pointer, &mut faults).unwrap_or(current)
        };
        self.default_slot_minutes = number(
            changes.default_slot_minutes,
            self.default_slot_minutes,
            5..=480,
            "/default_slot_minutes",
        );
        let grid = number(
            changes.slot_grid_minutes,
            self.slot_grid_minutes,
            1..=60,
            "/slot_grid_minutes",
        );
        self.smallest_notice_minutes = number(
            changes.smallest_notice_minutes,
            self.smallest_notice_minutes,
            0..=43_200,
            "/smallest_notice_minutes",
        );
        self.largest_notice_days = number(
            changes.largest_notice_days,
            self.largest_notice_days,
            1..=3_650,
            "/largest_notice_days",
        );
        if 60 % grid == 0 {
            self.slot_grid_minutes = grid;
        } else {
            let detail = "must divide an hour: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60";
            faults.add("/slot_grid_minutes", FaultCode::OutOfRange, detail);
        }
        self.version = self.version.next();
        self.updated_at = now;
        faults.into_result().map(|()| self)
    }
}

/// A treatment room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its id.
    pub room_id: RoomId,
    /// Its name; unique, blind to case.
    pub name: String,
    /// Whether visits may be booked into it.
    pub is_active: bool,
    /// What it is equipped for: services name the kind that they need.
    pub kind: Option<String>,
    /// Its place among the rooms; those with the same place follow in the order they were made.
    pub position: i32,
    /// Counts the changes.
    pub version: Version,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl Room {
    /// Cleans the room, gives it the position, and notes what is wrong with it.
    pub(super) fn check(&mut self, position: i64, faults: &mut Faults) {
        self.name = single_line_text(&self.name, 100, "/name", faults);
        self.kind = self
            .kind
            .take()
            .map(|kind| single_line_text(&kind, 50, "/kind", faults));
        if let Some(position) = bounded_number(position, 0..=10_000, "/position", faults) {
            self.position = position;
        }
    }

    /// The room after the changes.
    pub(super) fn changed(mut self, changes: RoomChanges, now: Instant) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        self.name = changes.name.apply_required(self.name, "/name", &mut faults);
        self.is_active =
            changes
                .is_active
                .apply_required(self.is_active, "/is_active", &mut faults);
        self.kind = changes.kind.apply(self.kind);
        let position =
            changes
                .position
                .apply_required(i64::from(self.position), "/position", &mut faults);
        self.check(position, &mut faults);
        self.version = self.version.next();
        self.updated_at = now;
        faults.into_result().map(|()| self)
    }
}

/// A room to be made.
#[derive(Debug, Clone)]
pub struct CreateRoom {
    /// Its name.
    pub name: String,
    /// Whether visits may be booked into it.
    pub is_active: bool,
    /// What it is equipped for.
    pub kind: Option<String>,
    /// Its place among the rooms: 0 to 10,000.
    pub position: i64,
}

/// Changes to a room.
#[derive(Debug, Clone, Default)]
pub struct RoomChanges {
    /// Its name.
    pub name: Change<String>,
    /// Whether visits may be booked into it.
    pub is_active: Change<bool>,
    /// What it is equipped for.
    pub kind: Change<String>,
    /// Its place among the rooms: 0 to 10,000.
    pub position: Change<i64>,
}

/// The place of a room in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomKey {
    /// Its place among the rooms.
    pub position: i32,
    /// Its id.
    pub room_id: RoomId,
}

impl From<&Room> for RoomKey {
    fn from(room: &Room) -> Self {
        Self {
            position: room.position,
            room_id: room.room_id,
        }
    }
}

/// A user who treats patients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// The user.
    pub doctor_id: UserId,
    /// What others call them.
    pub display_name: String,
    /// Where they usually treat.
    pub usual_room_id: Option<RoomId>,
    /// Counts the changes of what they have as a doctor, from 0.
    pub version: Version,
}

/// Changes to what a user has as a doctor.
#[derive(Debug, Clone, Default)]
pub struct DoctorChanges {
    /// Where they usually treat.
    pub usual_room_id: Change<RoomId>,
}

/// What can go wrong with the clinic's own data.
#[derive(Debug, thiserror::Error)]
pub enum ClinicError {
    /// What any context can fail with.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// An invoice was issued in the currency there is.
    #[error("the currency is fixed once an invoice was issued")]
    CurrencyFrozen,
}

context_error!(ClinicError);
