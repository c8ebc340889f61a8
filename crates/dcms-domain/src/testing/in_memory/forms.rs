//! The forms that values have to have: the CHECK constraints of the database.

use chrono::TimeDelta;

use super::hold;
use crate::appointments::{Appointment, MAX_PLANNED_SERVICES, Status, VersionCause};
use crate::billing::{Invoice, MAX_INVOICE_LINES, Payment, Refund};
use crate::calendar::{Closure, MINUTES_PER_DAY, TimeOff, WallSpan, WeeklyPlan};
use crate::catalog::Service;
use crate::clinic::{ClinicSettings, Room};
use crate::identity::{PasswordHash, Session, User};
use crate::patients::{Contact, Patient};
use crate::shared::{Cents, Instant, Version, is_sane_day, is_sane_instant};
use crate::store::{Rule, StoreError};

pub(super) trait Formed {
    fn is_well_formed(&self) -> bool;
}

pub(super) fn check(values: &[&dyn Formed]) -> Result<(), StoreError> {
    hold(
        Rule::ValueRefused,
        values.iter().all(|value| value.is_well_formed()),
    )
}

fn text(value: &str, max: usize) -> bool {
    (1..=max).contains(&value.chars().count()) && !value.contains('\0')
}

fn optional(value: Option<&String>, max: usize) -> bool {
    value.is_none_or(|value| text(value, max))
}

fn versioned(version: Version, instants: &[Instant]) -> bool {
    version >= Version::FIRST && instants.iter().copied().all(is_sane_instant)
}

fn price(price: Cents) -> bool {
    (Cents::ZERO..=Cents::MAX_AMOUNT).contains(&price)
}

fn amount(amount: Cents) -> bool {
    amount > Cents::ZERO && price(amount)
}

impl Formed for User {
    fn is_well_formed(&self) -> bool {
        text(&self.username, 64)
            && !self.username.contains(char::is_whitespace)
            && text(&self.display_name, 100)
            && !self.roles.is_empty()
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for PasswordHash {
    fn is_well_formed(&self) -> bool {
        self.as_str().starts_with("$argon2id$") && !self.as_str().contains('\0')
    }
}

impl Formed for Session {
    fn is_well_formed(&self) -> bool {
        optional(self.device_name.as_ref(), 100)
            && is_sane_instant(self.created_at)
            && is_sane_instant(self.expires_at)
            && self.expires_at > self.created_at
            && is_sane_instant(self.last_seen_at)
            && optional(self.agent.as_ref(), 200)
            && self.impersonator_id != Some(self.user_id)
    }
}

impl Formed for ClinicSettings {
    fn is_well_formed(&self) -> bool {
        text(&self.clinic_name, 200)
            && optional(self.address.as_ref(), 500)
            && optional(self.phone.as_ref(), 40)
            && optional(self.email.as_ref(), 254)
            && (5..=480).contains(&self.default_slot_minutes)
            && (1..=60).contains(&self.slot_grid_minutes)
            && 60 % self.slot_grid_minutes == 0
            && (0..=43_200).contains(&self.smallest_notice_minutes)
            && (1..=3_650).contains(&self.largest_notice_days)
            && versioned(self.version, &[self.updated_at])
    }
}

impl Formed for Room {
    fn is_well_formed(&self) -> bool {
        text(&self.name, 100)
            && optional(self.kind.as_ref(), 50)
            && (0..=10_000).contains(&self.position)
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for WeeklyPlan {
    fn is_well_formed(&self) -> bool {
        let mut intervals = self.intervals.iter().flatten();
        is_sane_day(self.valid_from)
            && intervals.all(|interval| {
                let (opens, closes) = (interval.opens_minute, interval.closes_minute);
                opens < MINUTES_PER_DAY && opens < closes && closes - opens <= MINUTES_PER_DAY
            })
    }
}

fn span(span: WallSpan) -> bool {
    is_sane_day(span.from.date()) && is_sane_day(span.until.date()) && span.from < span.until
}

impl Formed for Closure {
    fn is_well_formed(&self) -> bool {
        span(self.span) && text(&self.reason, 500) && is_sane_instant(self.created_at)
    }
}

impl Formed for TimeOff {
    fn is_well_formed(&self) -> bool {
        span(self.span) && optional(self.reason.as_ref(), 500) && is_sane_instant(self.created_at)
    }
}

impl Formed for Patient {
    fn is_well_formed(&self) -> bool {
        self.register_number.get() > 0
            && text(&self.first_name, 100)
            && text(&self.last_name, 100)
            && self.birthday.is_none_or(is_sane_day)
            && optional(self.notes.as_ref(), 10_000)
            && self.archived_at.is_none_or(is_sane_instant)
            && self.anonymized_at.is_none_or(is_sane_instant)
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for Contact {
    fn is_well_formed(&self) -> bool {
        text(&self.value, 254)
            && optional(self.label.as_ref(), 100)
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

fn times_in_order(times: &[Option<Instant>]) -> bool {
    let known: Vec<Instant> = times.iter().copied().flatten().collect();
    known.is_sorted() && known.into_iter().all(is_sane_instant)
}

impl Formed for Appointment {
    fn is_well_formed(&self) -> bool {
        optional(self.notes.as_ref(), 10_000)
            && optional(self.overbook_reason.as_ref(), 500)
            && optional(self.cancel_reason.as_ref(), 500)
            && self.cancel_reason.is_some() == (self.status == Status::Cancelled)
            && self.services.len() <= MAX_PLANNED_SERVICES
            && self
                .services
                .iter()
                .all(|planned| planned.unit_price.is_none_or(price))
            && (TimeDelta::zero()..=TimeDelta::hours(4)).contains(&self.buffer())
            && times_in_order(&[self.arrived_at, self.seated_at, self.completed_at])
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for VersionCause {
    fn is_well_formed(&self) -> bool {
        optional(self.reason.as_ref(), 500)
    }
}

impl Formed for Service {
    fn is_well_formed(&self) -> bool {
        text(&self.code, 32)
            && text(&self.name, 200)
            && price(self.current_price)
            && self
                .default_duration_minutes
                .is_none_or(|minutes| (1..=1440).contains(&minutes))
            && (0..=240).contains(&self.buffer_minutes)
            && optional(self.room_kind.as_ref(), 50)
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for Invoice {
    fn is_well_formed(&self) -> bool {
        self.total >= Cents::ZERO
            && self.items.len() <= MAX_INVOICE_LINES
            && self.items.iter().all(|item| {
                text(&item.description_snapshot, 200) && price(item.unit_price_snapshot)
            })
            && self
                .issue
                .as_ref()
                .is_none_or(|issue| text(issue.number.as_str(), 64) && is_sane_instant(issue.at))
            && self
                .voiding
                .as_ref()
                .is_none_or(|voiding| text(&voiding.reason, 500) && is_sane_instant(voiding.at))
            && versioned(self.version, &[self.created_at, self.updated_at])
    }
}

impl Formed for Payment {
    fn is_well_formed(&self) -> bool {
        amount(self.amount)
            && optional(self.reference.as_ref(), 200)
            && is_sane_instant(self.paid_at)
            && versioned(self.version, &[self.created_at])
    }
}

impl Formed for Refund {
    fn is_well_formed(&self) -> bool {
        amount(self.amount) && text(&self.reason, 500) && is_sane_instant(self.created_at)
    }
}
