//! What the front desk is told of a visit: ages, birthdays, and how long patients wait.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

use chrono::{NaiveDate, TimeDelta};
use dcms_domain::appointments::{Appointment, AppointmentQuery, DeskVisit, FrontDesk, Transition};
use dcms_domain::audit::{AuditAction, AuditFilter, Entity};
use dcms_domain::patients::PatientChanges;
use dcms_domain::shared::{Change, Clock as _, Expected, PageRequest};
use dcms_domain::store::Store as _;
use dcms_domain::testing::Clinic;
use pollster::block_on;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

async fn desk(clinic: &Clinic, visit: &Appointment) -> FrontDesk {
    let day = visit.slot.starts_at().date_naive();
    let query = AppointmentQuery::default();
    let visits = &clinic.services.appointments;
    let desk = visits.front_desk(&clinic.receptionist, day, query, PageRequest::first());
    desk.await.unwrap()
}

/// The only visit of its day.
async fn shown(clinic: &Clinic, visit: &Appointment) -> DeskVisit {
    let desk = desk(clinic, visit).await;
    let [shown] = desk.visits.items.try_into().unwrap();
    shown
}

async fn take(clinic: &Clinic, visit: &Appointment, transition: Transition) {
    let (visits, id) = (&clinic.services.appointments, visit.appointment_id);
    let taken = visits.take_action(&clinic.manager, id, &Expected::Any, transition);
    taken.await.unwrap();
}

#[test]
fn ages_rise_on_birthdays_and_on_1_march_for_who_was_born_on_29_february() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        for (birthday, on, age, has_birthday) in [
            ("1987-06-05", "2030-06-04", Some(42), false),
            ("1987-06-05", "2030-06-05", Some(43), true),
            ("1987-06-05", "2030-06-06", Some(43), false),
            ("2000-02-29", "2027-02-28", Some(26), false),
            ("2000-02-29", "2027-03-01", Some(27), true),
            ("2000-02-29", "2027-03-02", Some(27), false),
            ("2000-02-29", "2028-02-28", Some(27), false),
            ("2000-02-29", "2028-02-29", Some(28), true),
            ("2000-02-29", "2028-03-01", Some(28), false),
            ("2026-01-01", "2026-01-01", Some(0), false),
            ("2026-01-02", "2026-01-01", None, false),
        ] {
            let changes = PatientChanges {
                birthday: Change::Set(day(birthday)),
                ..PatientChanges::default()
            };
            let (patients, id) = (&clinic.services.patients, clinic.patient.patient_id);
            let changing = patients.change(&clinic.admin, id, &Expected::Any, changes);
            changing.await.unwrap();
            let shown = shown(&clinic, &visit).await;
            let found = (shown.age_on(day(on)), shown.has_birthday_on(day(on)));
            assert_eq!(found, (age, has_birthday), "{birthday} on {on}");
        }
    });
}

#[test]
fn nobody_knows_the_age_of_who_has_no_birthday() {
    block_on(async {
        let clinic = Clinic::open().await;
        let shown = shown(&clinic, &clinic.booked_in(60).await).await;
        let on = day("2030-01-01");
        assert_eq!((shown.age_on(on), shown.has_birthday_on(on)), (None, false));
    });
}

/// By now and when it is over: how long the patient waited and how long they were treated.
#[test]
fn waiting_and_treatment_last_until_they_are_over() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        let minutes = async || {
            let desk = desk(&clinic, &visit).await;
            assert_eq!(desk.now, clinic.clock.now());
            let shown = &desk.visits.items[0];
            let in_minutes = |time: TimeDelta| time.num_minutes();
            (
                shown.waiting(desk.now).map(in_minutes),
                shown.in_chair(desk.now).map(in_minutes),
            )
        };
        assert_eq!(minutes().await, (None, None));
        take(&clinic, &visit, Transition::Arrive).await;
        assert_eq!(minutes().await, (Some(0), None));
        clinic.clock.advance(TimeDelta::seconds(12 * 60 + 59));
        assert_eq!(minutes().await, (Some(12), None));
        take(&clinic, &visit, Transition::Start).await;
        clinic.clock.advance(TimeDelta::minutes(25));
        assert_eq!(minutes().await, (Some(12), Some(25)));
        take(&clinic, &visit, Transition::Complete).await;
        clinic.clock.advance(TimeDelta::minutes(99));
        assert_eq!(minutes().await, (Some(12), Some(25)));
    });
}

#[test]
fn nobody_knows_how_long_waited_who_left() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        take(&clinic, &visit, Transition::Arrive).await;
        let reason = "Left".to_owned();
        take(&clinic, &visit, Transition::Cancel { reason }).await;
        let shown = shown(&clinic, &visit).await;
        let now = clinic.clock.now();
        assert_eq!((shown.waiting(now), shown.in_chair(now)), (None, None));
    });
}

#[test]
fn whose_visits_were_shown_is_noted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        clinic.services.audit.write_down_accesses().await.unwrap();
        desk(&clinic, &visit).await;
        clinic.services.audit.write_down_accesses().await.unwrap();
        let filter = AuditFilter {
            action: Some(AuditAction::List),
            entity: Some(Entity::Appointment),
            ..AuditFilter::default()
        };
        let mut connection = clinic.store.connect().await.unwrap();
        let noted = connection.audit().list(&filter, PageRequest::first()).await;
        let [noted] = noted.unwrap().items.try_into().unwrap();
        assert_eq!(noted.actor_id, Some(clinic.receptionist.user_id));
        assert_eq!(noted.patient_ids, [clinic.patient.patient_id]);
    });
}
