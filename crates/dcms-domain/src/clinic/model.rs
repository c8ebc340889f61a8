use chrono_tz::Tz;
use iso_currency::Currency;

use crate::shared::{
    Change, CommonError, FaultCode, Faults, Instant, RoomId, UserId, Version, context_error,
    email_address, multi_line_text, phone_number, single_line_text,
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
        let minutes = changes.default_slot_minutes.apply_required(
            i64::from(self.default_slot_minutes),
            "/default_slot_minutes",
            &mut faults,
        );
        match i32::try_from(minutes)
            .ok()
            .filter(|minutes| (5..=480).contains(minutes))
        {
            Some(minutes) => self.default_slot_minutes = minutes,
            None => faults.add(
                "/default_slot_minutes",
                FaultCode::OutOfRange,
                "must lie between 5 and 480",
            ),
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
    /// Counts the changes.
    pub version: Version,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

impl Room {
    /// Cleans the name and notes what is wrong with it.
    pub(super) fn check(&mut self, faults: &mut Faults) {
        self.name = single_line_text(&self.name, 100, "/name", faults);
    }
}

/// A room to be made.
#[derive(Debug, Clone)]
pub struct CreateRoom {
    /// Its name.
    pub name: String,
    /// Whether visits may be booked into it.
    pub is_active: bool,
}

/// Changes to a room.
#[derive(Debug, Clone, Default)]
pub struct RoomChanges {
    /// Its name.
    pub name: Change<String>,
    /// Whether visits may be booked into it.
    pub is_active: Change<bool>,
}

/// An active user who treats patients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// The user.
    pub doctor_id: UserId,
    /// What others call them.
    pub display_name: String,
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
