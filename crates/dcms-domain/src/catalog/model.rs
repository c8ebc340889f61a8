use crate::shared::{
    Cents, Change, FaultCode, Faults, Instant, MAX_SLOT_HOURS, ServiceId, Version, single_line_text,
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
}

impl Service {
    /// Cleans the service, gives it the duration, and notes what is wrong with it.
    pub(super) fn check(&mut self, duration_minutes: Option<i64>, faults: &mut Faults) {
        self.code = single_line_text(&self.code, 32, "/code", faults);
        self.name = single_line_text(&self.name, 200, "/name", faults);
        check_price(self.current_price, "/current_price_cents", faults);
        let longest = MAX_SLOT_HOURS * 60;
        self.default_duration_minutes = duration_minutes.and_then(|minutes| {
            let bounded = i32::try_from(minutes)
                .ok()
                .filter(|minutes| (1..=longest).contains(&i64::from(*minutes)));
            if bounded.is_none() {
                let detail = format!("must lie between 1 and {longest}");
                faults.add("/default_duration_minutes", FaultCode::OutOfRange, detail);
            }
            bounded
        });
    }

    /// The service after the changes.
    pub(super) fn changed(mut self, changes: ServiceChanges, now: Instant) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        self.code = changes.code.apply_required(self.code, "/code", &mut faults);
        self.name = changes.name.apply_required(self.name, "/name", &mut faults);
        self.current_price = changes.current_price.apply_required(
            self.current_price,
            "/current_price_cents",
            &mut faults,
        );
        self.is_active =
            changes
                .is_active
                .apply_required(self.is_active, "/is_active", &mut faults);
        let duration = changes
            .default_duration_minutes
            .apply(self.default_duration_minutes.map(i64::from));
        self.check(duration, &mut faults);
        self.version = self.version.next();
        self.updated_at = now;
        faults.into_result().map(|()| self)
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
