//! Many at once. In these databases a deadlock would last for a minute, which no test waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use dcms_domain::appointments::{Appointment, AppointmentError, AppointmentQuery, Transition};
use dcms_domain::billing::{BillingError, PaymentMethod, RecordPayment};
use dcms_domain::shared::{Cents, Change, CommonError, Expected, PageRequest};
use dcms_domain::store::{Rule, StoreError};
use tokio::task::JoinSet;

use crate::support::{Clinic, done, in_time};

/// The rule that a booking or a move was refused by.
fn refused_by(error: &AppointmentError) -> Option<Rule> {
    match error {
        AppointmentError::Common(CommonError::Store(StoreError::Violated(rule))) => Some(*rule),
        _ => None,
    }
}

/// Splits what took place from the rules that the others were refused by; anything else is wrong.
fn outcomes(results: Vec<Result<Appointment, AppointmentError>>) -> (Vec<Appointment>, Vec<Rule>) {
    let mut taken_place = Vec::new();
    let mut refused = Vec::new();
    for result in results {
        match result {
            Ok(appointment) => taken_place.push(appointment),
            Err(error) => match refused_by(&error) {
                Some(rule) => refused.push(rule),
                None => panic!("neither done nor refused: {error:?}"),
            },
        }
    }
    (taken_place, refused)
}

/// All that takes place, none of it overlapping.
async fn assert_no_overlap(clinic: &Clinic) {
    let visits = clinic
        .services
        .appointments
        .appointments(
            &clinic.admin,
            AppointmentQuery::default(),
            PageRequest::first(),
        )
        .await;
    for pair in done(visits).items.windows(2) {
        assert!(!pair[0].slot.overlaps(&pair[1].slot), "{pair:?}");
    }
}

#[tokio::test]
async fn one_of_48_gets_a_slot() {
    let clinic = Clinic::open().await;
    let mut clients = JoinSet::new();
    for number in 0..48 {
        let patient = clinic.register("Patient", &format!("No{number}")).await;
        let clinic = Arc::clone(&clinic);
        clients.spawn(async move {
            let visit = clinic.visit_in(60, &patient);
            clinic
                .services
                .appointments
                .book(&clinic.admin, visit)
                .await
        });
    }
    let (booked, refused) = outcomes(in_time(clients.join_all()).await);
    assert_eq!(booked.len(), 1);
    assert_eq!(refused, [Rule::DoctorDoubleBooked; 47]);
}

#[tokio::test]
async fn a_chain_of_overlapping_slots_is_filled_without_overlap() {
    let clinic = Clinic::open().await;
    let mut clients = JoinSet::new();
    for number in 0..32 {
        let patient = clinic.register("Patient", &format!("No{number}")).await;
        let clinic = Arc::clone(&clinic);
        clients.spawn(async move {
            let visit = clinic.visit_in(60 + 20 * number, &patient);
            clinic
                .services
                .appointments
                .book(&clinic.admin, visit)
                .await
        });
    }
    let (booked, refused) = outcomes(in_time(clients.join_all()).await);
    // Of three neighbours at least one is booked, and of two at most one.
    assert!((11..=16).contains(&booked.len()), "{}", booked.len());
    assert_eq!(booked.len() + refused.len(), 32);
    assert_no_overlap(&clinic).await;
}

#[tokio::test]
async fn moves_and_bookings_that_cross_each_other_take_turns() {
    let clinic = Clinic::open().await;
    let mut visits = Vec::new();
    for number in 0..8 {
        let patient = clinic.register("Patient", &format!("No{number}")).await;
        let visit = clinic.visit_in(60 * number, &patient);
        visits.push(done(
            clinic
                .services
                .appointments
                .book(&clinic.admin, visit)
                .await,
        ));
    }
    let latecomer = clinic.register("Late", "Comer").await;
    for round in 0..4 {
        let target = 600 + 60 * round;
        let mut clients = JoinSet::new();
        let act = |clients: &mut JoinSet<_>, visit: &Appointment, transition: Transition| {
            let clinic = Arc::clone(&clinic);
            let id = visit.appointment_id;
            clients.spawn(async move {
                clinic
                    .services
                    .appointments
                    .take_action(&clinic.admin, id, &Expected::Any, transition)
                    .await
            });
        };
        let to = |minutes| Transition::Reschedule {
            starts_at: clinic.minutes_from_now(minutes),
            ends_at: Some(clinic.minutes_from_now(minutes + 30)),
            doctor_id: None,
            room_id: Change::Keep,
            overbook_reason: None,
            reason: None,
        };
        // Everybody wants the one free slot: those who move there, and those who book it.
        for visit in &visits {
            act(&mut clients, visit, to(target));
        }
        for _ in 0..8 {
            let visit = clinic.visit_in(target, &latecomer);
            let clinic = Arc::clone(&clinic);
            clients.spawn(async move {
                clinic
                    .services
                    .appointments
                    .book(&clinic.admin, visit)
                    .await
            });
        }
        let (there, refused) = outcomes(in_time(clients.join_all()).await);
        assert_eq!(there.len(), 1);
        assert_eq!(refused, [Rule::DoctorDoubleBooked; 15]);
    }
    assert_no_overlap(&clinic).await;
}

#[tokio::test]
async fn visits_that_want_each_others_place_stay() {
    let clinic = Clinic::open().await;
    let patient = clinic.register("Anna", "Meyer").await;
    let mut visits = Vec::new();
    for number in 0..8 {
        let visit = clinic.visit_in(30 * number, &patient);
        visits.push(done(
            clinic
                .services
                .appointments
                .book(&clinic.admin, visit)
                .await,
        ));
    }
    let mut clients = JoinSet::new();
    for (visit, other) in visits.iter().zip(visits.iter().rev()) {
        let (clinic, visit, slot) = (Arc::clone(&clinic), visit.clone(), other.slot);
        clients.spawn(async move {
            clinic
                .services
                .appointments
                .take_action(
                    &clinic.admin,
                    visit.appointment_id,
                    &Expected::Any,
                    Transition::Reschedule {
                        starts_at: slot.starts_at(),
                        ends_at: Some(slot.ends_at()),
                        doctor_id: None,
                        room_id: Change::Keep,
                        overbook_reason: None,
                        reason: None,
                    },
                )
                .await
        });
    }
    // Meanwhile their places are touched, but not given up.
    for visit in &visits {
        let (clinic, id) = (Arc::clone(&clinic), visit.appointment_id);
        clients.spawn(async move {
            clinic
                .services
                .appointments
                .take_action(&clinic.admin, id, &Expected::Any, Transition::Confirm)
                .await
        });
    }
    let (confirmed, refused) = outcomes(in_time(clients.join_all()).await);
    assert_eq!(confirmed.len(), 8);
    assert_eq!(refused, [Rule::DoctorDoubleBooked; 8]);
    assert_no_overlap(&clinic).await;
}

#[tokio::test]
async fn three_of_32_payments_of_300_fit_into_1000() {
    let clinic = Clinic::open().await;
    let patient = clinic.register("Anna", "Meyer").await;
    let invoice = clinic.issued(&patient, 1000).await;
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        let (clinic, id) = (Arc::clone(&clinic), invoice.invoice_id);
        clients.spawn(async move {
            let payment = RecordPayment {
                amount: Cents::new(300),
                method: PaymentMethod::Cash,
                paid_at: None,
                reference: None,
            };
            clinic
                .services
                .billing
                .record_payment(&clinic.admin, id, &Expected::Any, payment)
                .await
        });
    }
    let results = in_time(clients.join_all()).await;
    let (paid, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 3);
    for refusal in refused {
        assert!(
            matches!(
                refusal,
                Err(BillingError::PaymentExceedsBalance { balance }) if balance == Cents::new(100)
            ),
            "{refusal:?}"
        );
    }
    let billing = &clinic.services.billing;
    let invoice = done(billing.invoice(&clinic.admin, invoice.invoice_id).await);
    assert_eq!(invoice.paid, Cents::new(900));
}

/// 24 are issued, and 12 more are called off before somebody tries.
#[tokio::test]
async fn issuers_leave_no_number_out() {
    let clinic = Clinic::open().await;
    let patient = clinic.register("Anna", "Meyer").await;
    let mut clients = JoinSet::new();
    for number in 0..36 {
        let draft = clinic.draft(&patient, 100).await.invoice_id;
        let clinic = Arc::clone(&clinic);
        clients.spawn(async move {
            let (billing, admin) = (&clinic.services.billing, &clinic.admin);
            if number % 3 == 0 {
                done(billing.void(admin, draft, &Expected::Any, "Slip").await);
                let late = billing.issue(admin, draft, &Expected::Any).await;
                assert!(matches!(late, Err(BillingError::InvoiceNotDraft)));
                return None;
            }
            let issued = done(billing.issue(admin, draft, &Expected::Any).await);
            issued.issue.map(|issue| issue.number.to_string())
        });
    }
    let numbers = in_time(clients.join_all()).await.into_iter().flatten();
    let numbers: BTreeSet<String> = numbers.collect();
    let expected: BTreeSet<String> = (1..=24).map(|number| format!("INV-{number:06}")).collect();
    assert_eq!(numbers, expected);
}
