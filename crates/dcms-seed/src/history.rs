//! A past month and a coming fortnight of visits, and what became of them.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, Weekday};
use dcms_domain::appointments::{Appointment, BookAppointment, ServiceRequest, Transition};
use dcms_domain::billing::{
    DraftInvoice, Invoice, NewItem, PaymentMethod, RecordPayment, RecordRefund,
};
use dcms_domain::shared::{Cents, Expected, Instant};
use rand::Rng as _;

use crate::{Seeding, ZONE, start_of};

/// When a doctor's visits start, in minutes after midnight, and how long they take. In summer and in
/// winter they lie outside 09:00 to 16:00 UTC, which stays free.
const SLOTS: [(u32, i64); 3] = [(8 * 60 + 30, 30), (9 * 60, 45), EVENING];
const EVENING: (u32, i64) = (18 * 60, 30);

const METHODS: [PaymentMethod; 4] = [
    PaymentMethod::Card,
    PaymentMethod::Cash,
    PaymentMethod::BankTransfer,
    PaymentMethod::Insurance,
];

impl Seeding {
    /// Books every working day and takes each visit as far as its day allows.
    pub(crate) async fn visits(&mut self) -> anyhow::Result<()> {
        let first = self.today - Days::new(30);
        let mut visit = 0;
        for day in first.iter_days().take(30 + 1 + 14) {
            // Today always has visits, so that a developer has something to look at on a Sunday.
            if is_weekend(day) && day != self.today {
                continue;
            }
            for slot in SLOTS {
                let is_closed = is_new_years_eve(day) && slot == EVENING;
                for doctor in 0..self.doctors.len() {
                    if !is_closed {
                        self.visit(visit, day, doctor, slot).await?;
                    }
                    visit += 1;
                }
            }
        }
        Ok(())
    }

    async fn visit(
        &mut self,
        number: usize,
        day: NaiveDate,
        doctor: usize,
        (minute, minutes): (u32, i64),
    ) -> anyhow::Result<()> {
        let starts_at = local(day, minute)?;
        let booked_at = start_of(day)?.min(start_of(self.today)?) - TimeDelta::days(10);
        self.clock.set(booked_at);
        let service = self.catalog[self.random.random_range(0..self.catalog.len())];
        let command = BookAppointment {
            patient_id: self.patients[number % self.patients.len()],
            doctor_id: self.doctors[doctor],
            room_id: Some(self.rooms[doctor]),
            starts_at,
            ends_at: Some(starts_at + TimeDelta::minutes(minutes)),
            notes: None,
            services: vec![ServiceRequest {
                service_id: service,
                qty: self.random.random_range(1..=2),
            }],
            overbook_reason: is_weekend(day).then(|| "Emergency service".to_owned()),
        };
        let appointment = self
            .services
            .appointments
            .book(&self.admin, command)
            .await?;
        match day.cmp(&self.today) {
            Ordering::Less => self.past_visit(number, &appointment).await,
            Ordering::Equal => self.visit_of_today(number, &appointment).await,
            Ordering::Greater => self.coming_visit(number, &appointment).await,
        }
    }

    async fn past_visit(&mut self, number: usize, visit: &Appointment) -> anyhow::Result<()> {
        let starts_at = visit.slot.starts_at();
        match number % 12 {
            3 => {
                self.clock.set(starts_at - TimeDelta::days(1));
                self.act(visit, vec![cancelled()]).await
            }
            7 => {
                self.clock.set(starts_at + TimeDelta::minutes(20));
                self.act(visit, vec![Transition::NoShow]).await
            }
            _ => {
                self.clock.set(starts_at);
                self.act(visit, treated()).await?;
                self.clock.set(visit.slot.ends_at());
                self.bill(number, visit).await
            }
        }
    }

    /// Today's visits stand where a morning would have them, whatever the time is.
    async fn visit_of_today(&mut self, number: usize, visit: &Appointment) -> anyhow::Result<()> {
        self.clock.set(start_of(self.today)?);
        // Every day has as many numbers, so this is the place of the visit in its day.
        let steps = match number % (SLOTS.len() * self.doctors.len()) {
            0..3 => treated(),
            3 => vec![Transition::Arrive, Transition::Start],
            4 | 5 => vec![Transition::Confirm, Transition::Arrive],
            6 | 7 => vec![Transition::Confirm],
            _ => Vec::new(),
        };
        self.act(visit, steps).await
    }

    async fn coming_visit(&mut self, number: usize, visit: &Appointment) -> anyhow::Result<()> {
        self.clock.set(start_of(self.today)?);
        let steps = match number % 6 {
            0 => vec![Transition::Confirm],
            1 if number % 4 == 1 => vec![cancelled()],
            _ => Vec::new(),
        };
        self.act(visit, steps).await
    }

    async fn act(&self, visit: &Appointment, steps: Vec<Transition>) -> anyhow::Result<()> {
        for step in steps {
            self.services
                .appointments
                .take_action(&self.admin, visit.appointment_id, &Expected::Any, step)
                .await?;
        }
        Ok(())
    }

    /// Invoices in every status, with payments and refunds.
    async fn bill(&mut self, number: usize, visit: &Appointment) -> anyhow::Result<()> {
        let invoice = self.drafted(visit).await?;
        if number % 15 == 1 {
            return Ok(());
        }
        let billing = &self.services.billing;
        let id = invoice.invoice_id;
        let invoice = billing.issue(&self.admin, id, &Expected::Any).await?;
        match number % 10 {
            2 => {
                billing
                    .void(&self.admin, id, &Expected::Any, "Charged twice")
                    .await?;
            }
            4 => {}
            5 | 6 => self.pay(number, &invoice, invoice.total.get() / 2).await?,
            _ => self.pay(number, &invoice, invoice.total.get()).await?,
        }
        Ok(())
    }

    async fn drafted(&self, visit: &Appointment) -> anyhow::Result<Invoice> {
        let command = DraftInvoice {
            patient_id: visit.patient_id,
            appointment_id: Some(visit.appointment_id),
            from_appointment: true,
            items: vec![NewItem {
                service_id: None,
                description: Some("Consumables".to_owned()),
                unit_price: Some(Cents::new(450)),
                qty: 1,
            }],
        };
        Ok(self.services.billing.draft(&self.admin, command).await?)
    }

    async fn pay(&self, number: usize, invoice: &Invoice, amount: i64) -> anyhow::Result<()> {
        let command = RecordPayment {
            amount: Cents::new(amount),
            method: METHODS[number % METHODS.len()],
            paid_at: None,
            reference: None,
        };
        let billing = &self.services.billing;
        let (payment, _) = billing
            .record_payment(&self.admin, invoice.invoice_id, &Expected::Any, command)
            .await?;
        if number.is_multiple_of(40) {
            let command = RecordRefund {
                amount: Cents::new(amount / 4),
                reason: "Goodwill".to_owned(),
            };
            billing
                .record_refund(&self.admin, payment.payment_id, &Expected::Any, command)
                .await?;
        }
        Ok(())
    }
}

fn is_weekend(day: NaiveDate) -> bool {
    matches!(day.weekday(), Weekday::Sat | Weekday::Sun)
}

/// On which [the clinic closes early](Seeding::calendar).
fn is_new_years_eve(day: NaiveDate) -> bool {
    (day.month(), day.day()) == (12, 31)
}

fn treated() -> Vec<Transition> {
    vec![Transition::Arrive, Transition::Start, Transition::Complete]
}

fn cancelled() -> Transition {
    Transition::Cancel {
        reason: "Patient called".to_owned(),
    }
}

/// A time of the clinic's day. Office hours exist once on every day.
fn local(day: NaiveDate, minute: u32) -> anyhow::Result<Instant> {
    let time = NaiveTime::MIN + TimeDelta::minutes(i64::from(minute));
    let local = day.and_time(time).and_local_timezone(ZONE).single();
    local
        .map(|local| DateTime::to_utc(&local))
        .ok_or_else(|| anyhow::anyhow!("{time} does not exist once on {day}"))
}
