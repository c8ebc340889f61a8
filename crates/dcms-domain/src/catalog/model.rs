use crate::shared::{
    Cents, Change, FaultCode, Faults, Instant, ServiceId, UserId, Version, bounded_number,
    single_line_text,
};

/// A procedure that the clinic offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub service_id: ServiceId,
    /// Its short name; unique, blind to case.
    pub code: String,
    /// What it is called on invoices.
    pub name: String,
    /// What one costs today; invoices keep the price of the day it was added.
    pub current_price: Cents,
    /// How long it usually takes, in minutes.
    pub default_duration_minutes: Option<i32>,
    /// Whether it may be planned and charged.
    pub is_active: bool,
    /// How long the room stays taken when the visit is over, in minutes.
    pub buffer_minutes: i32,
    /// The kind of room that it takes; nothing when any will do.
    pub room_kind: Option<String>,
    /// Who performs it, each once, in the order of their ids; nobody named means everybody.
    pub doctor_ids: Vec<UserId>,
    /// Counts the changes.
    pub version: Version,
    /// When it was made.
    pub created_at: Instant,
    /// When it was last changed.
    pub updated_at: Instant,
}

/// A service to be made.
#[derive(Debug, Clone)]
pub struct CreateService {
    /// Its short name.
    pub code: String,
    /// What it is called on invoices.
    pub name: String,
    /// What one costs.
    pub current_price: Cents,
    /// How long it usually takes, in minutes: 1 to 1,440.
    pub default_duration_minutes: Option<i64>,
    /// Whether it may be planned and charged.
    pub is_active: bool,
    /// How long the room stays taken when the visit is over, in minutes: 0 to 240.
    pub buffer_minutes: i64,
    /// The kind of room that it takes.
    pub room_kind: Option<String>,
    /// Who performs it; nobody named means everybody.
    pub doctor_ids: Vec<UserId>,
}

/// Changes to a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceChanges {
    /// Its short name.
    pub code: Change<String>,
    /// What it is called on invoices.
    pub name: Change<String>,
    /// What one costs.
    pub current_price: Change<Cents>,
    /// How long it usually takes, in minutes: 1 to 1,440.
    pub default_duration_minutes: Change<i64>,
    /// Whether it may be planned and charged.
    pub is_active: Change<bool>,
    /// How long the room stays taken when the visit is over, in minutes: 0 to 240.
    pub buffer_minutes: Change<i64>,
    /// The kind of room that it takes.
    pub room_kind: Change<String>,
    /// Who performs it; nobody named means everybody.
    pub doctor_ids: Change<Vec<UserId>>,
}

/// The numbers of a service, as callers write them.
pub(super) struct Minutes {
    pub(super) default_duration: Option<i64>,
    pub(super) buffer: i64,
}

impl Service {
    /// Cleans the service, gives it the minutes, and notes what is wrong with it.
    pub(super) fn check(&mut self, minutes: &Minutes, faults: &mut Faults) {
        self.code = single_line_text(&self.code, 32, "/code", faults);
        self.name = single_line_text(&self.name, 200, "/name", faults);
        check_price(self.current_price, "/current_price_cents", faults);
        self.default_duration_minutes = minutes.default_duration.and_then(|minutes| {
            bounded_number(minutes, 1..=1_440, "/default_duration_minutes", faults)
        });
        if let Some(buffer) = bounded_number(minutes.buffer, 0..=240, "/buffer_minutes", faults) {
            self.buffer_minutes = buffer;
        }
        self.room_kind = self
            .room_kind
            .take()
            .map(|kind| single_line_text(&kind, 50, "/room_kind", faults));
    }

    /// The service after the changes, but for those who perform it.
    pub(super) fn changed(
        mut self,
        changes: ServiceChanges,
        now: Instant,
        faults: &mut Faults,
    ) -> Self {
        self.code = changes.code.apply_required(self.code, "/code", faults);
        self.name = changes.name.apply_required(self.name, "/name", faults);
        self.current_price = changes.current_price.apply_required(
            self.current_price,
            "/current_price_cents",
            faults,
        );
        self.is_active = changes
            .is_active
            .apply_required(self.is_active, "/is_active", faults);
        self.room_kind = changes.room_kind.apply(self.room_kind);
        let default_duration = changes
            .default_duration_minutes
            .apply(self.default_duration_minutes.map(i64::from));
        let buffer = changes.buffer_minutes.apply_required(
            i64::from(self.buffer_minutes),
            "/buffer_minutes",
            faults,
        );
        let minutes = Minutes {
            default_duration,
            buffer,
        };
        self.check(&minutes, faults);
        self.version = self.version.next();
        self.updated_at = now;
        self
    }
}

/// Notes a price that is negative or beyond belief.
pub(crate) fn check_price(price: Cents, pointer: &str, faults: &mut Faults) {
    if !(Cents::ZERO..=Cents::MAX_AMOUNT).contains(&price) {
        let detail = format!("must lie between 0 and {}", Cents::MAX_AMOUNT);
        faults.add(pointer, FaultCode::OutOfRange, detail);
    }
}

/// Notes a service that does not exist or is not offered any more, else gives it back.
pub(crate) fn available_service<'known>(
    known: &'known [Service],
    service_id: ServiceId,
    pointer: &str,
    faults: &mut Faults,
) -> Option<&'known Service> {
    let service = known
        .iter()
        .find(|service| service.service_id == service_id);
    match service {
        None => faults.add(
            pointer,
            FaultCode::Unknown,
            "must be a service of the catalog",
        ),
        Some(service) if !service.is_active => {
            faults.add(
                pointer,
                FaultCode::NotAvailable,
                "must be an active service",
            );
        }
        Some(_) => {}
    }
    service
}

/// Which services are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFilter {
    /// Any part of the code or the name, blind to case and accents.
    pub query: Option<String>,
    /// Only active ones, or only inactive ones.
    pub active: Option<bool>,
}
