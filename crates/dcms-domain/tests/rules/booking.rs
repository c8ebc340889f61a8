//! What visits are held against besides each other: notice, hours, who performs what where.

use chrono::{TimeDelta, Weekday};
use dcms_domain::appointments::{
    Action, Appointment, AppointmentChanges, AppointmentConflict, AppointmentError,
    BookAppointment, ServiceRequest, Status, Transition,
};
use dcms_domain::calendar::{
    ChangeHours, CreateClosure, CreateTimeOff, IntervalRequest, Obstacle, SpanRequest,
};
use dcms_domain::catalog::ServiceChanges;
use dcms_domain::clinic::{ClinicChanges, RoomChanges};
use dcms_domain::identity::UserChanges;
use dcms_domain::shared::{
    Cents, Change, ClosureId, PageRequest, TimeOffId, TimeSlot, UserId, WindowRequest,
};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_forbidden, assert_not_found, faults, outdated, violated};

async fn book(clinic: &Clinic, visit: BookAppointment) -> Result<Appointment, AppointmentError> {
    let visits = &clinic.services.appointments;
    visits.book(&clinic.manager, visit).await
}

async fn take(
    clinic: &Clinic,
    visit: &Appointment,
    transition: Transition,
) -> Result<Appointment, AppointmentError> {
    let visits = &clinic.services.appointments;
    visits
        .take_action(&clinic.manager, visit.appointment_id, &ANY, transition)
        .await
}

fn move_in(clinic: &Clinic, minutes: i64, overbook_reason: Option<&str>) -> Transition {
    Transition::Reschedule {
        starts_at: clinic.minutes_from_now(minutes),
        ends_at: None,
        doctor_id: None,
        room_id: Change::Keep,
        overbook_reason: overbook_reason.map(str::to_owned),
        reason: None,
    }
}

fn planned(clinic: &Clinic, qty: i64) -> ServiceRequest {
    ServiceRequest {
        service_id: clinic.service.service_id,
        qty,
    }
}

async fn change_service(clinic: &Clinic, changes: ServiceChanges) {
    let (catalog, id) = (&clinic.services.catalog, clinic.service.service_id);
    catalog
        .change(&clinic.manager, id, &ANY, changes)
        .await
        .unwrap();
}

async fn change_settings(clinic: &Clinic, changes: ClinicChanges) {
    let settings = &clinic.services.clinic;
    settings
        .change_settings(&clinic.manager, &ANY, changes)
        .await
        .unwrap();
}

/// The clinic is open on Mondays, or the doctor works then.
async fn open_on_mondays(clinic: &Clinic, doctor_id: Option<UserId>, opens: &str, closes: &str) {
    let hours = ChangeHours {
        valid_from: None,
        intervals: Some(vec![IntervalRequest {
            weekday: Weekday::Mon,
            opens_at: opens.to_owned(),
            closes_at: closes.to_owned(),
        }]),
    };
    let calendar = &clinic.services.calendar;
    calendar
        .change_hours(&clinic.manager, doctor_id, &ANY, hours)
        .await
        .unwrap();
}

/// Today, between these times.
fn today(from: &str, to: &str) -> SpanRequest {
    SpanRequest {
        starts_on: "2026-03-02".parse().unwrap(),
        starts_at_time: Some(from.to_owned()),
        ends_on: None,
        ends_at_time: Some(to.to_owned()),
    }
}

async fn close(clinic: &Clinic, from: &str, to: &str) -> ClosureId {
    let closure = CreateClosure {
        span: today(from, to),
        reason: "Strike".to_owned(),
    };
    let calendar = &clinic.services.calendar;
    let closed = calendar.close(&clinic.manager, closure).await.unwrap();
    closed.thing.closure_id
}

async fn give_time_off(clinic: &Clinic, from: &str, to: &str) -> TimeOffId {
    let time_off = CreateTimeOff {
        doctor_id: clinic.doctor.user_id,
        span: today(from, to),
        reason: None,
    };
    let calendar = &clinic.services.calendar;
    let granted = calendar.grant_time_off(&clinic.manager, time_off).await;
    granted.unwrap().thing.time_off_id
}

#[track_caller]
fn obstacles(result: Result<Appointment, AppointmentError>) -> Vec<Obstacle> {
    match result {
        Err(AppointmentError::OutsideWorkingHours { obstacles }) => obstacles,
        other => panic!("expected obstacles, got {other:?}"),
    }
}

async fn conflicts(clinic: &Clinic) -> Vec<AppointmentConflict> {
    let visits = &clinic.services.appointments;
    let page = visits
        .conflicts(
            &clinic.receptionist,
            WindowRequest::default(),
            PageRequest::first(),
        )
        .await;
    page.unwrap().items
}

#[test]
fn the_length_follows_from_what_is_planned() {
    block_on(async {
        let clinic = Clinic::open().await;
        let without_end = |minutes, services| BookAppointment {
            ends_at: None,
            services,
            ..clinic.visit_in(minutes)
        };
        let usual = book(&clinic, without_end(60, vec![])).await.unwrap();
        assert_eq!(usual.slot.length(), TimeDelta::minutes(30));
        let services = vec![planned(&clinic, 2), planned(&clinic, 1)];
        let long = book(&clinic, without_end(120, services)).await.unwrap();
        assert_eq!(long.slot.length(), TimeDelta::minutes(90));
        let too_long = without_end(600, vec![planned(&clinic, 49)]);
        assert_eq!(
            faults(book(&clinic, too_long).await),
            ["/ends_at out_of_range"]
        );
        let moved = take(&clinic, &long, move_in(&clinic, 300, None)).await;
        assert_eq!(moved.unwrap().slot.length(), TimeDelta::minutes(90));

        change_service(
            &clinic,
            ServiceChanges {
                default_duration_minutes: Change::Clear,
                ..ServiceChanges::default()
            },
        )
        .await;
        change_settings(
            &clinic,
            ClinicChanges {
                default_slot_minutes: Change::Set(45),
                ..ClinicChanges::default()
            },
        )
        .await;
        let unknown = without_end(900, vec![planned(&clinic, 3)]);
        let unknown = book(&clinic, unknown).await.unwrap();
        assert_eq!(unknown.slot.length(), TimeDelta::minutes(45));
    });
}

#[test]
fn what_was_told_of_prices_stays_and_is_charged() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visits = &clinic.services.appointments;
        let visit = BookAppointment {
            services: vec![planned(&clinic, 1)],
            ..clinic.visit_in(60)
        };
        let visit = book(&clinic, visit).await.unwrap();
        let dearer = ServiceChanges {
            current_price: Change::Set(Cents::new(9_000)),
            ..ServiceChanges::default()
        };
        change_service(&clinic, dearer).await;
        let prices = |visit: &Appointment| {
            let planned = visit.services.iter();
            planned
                .map(|planned| planned.unit_price.map(Cents::get))
                .collect::<Vec<_>>()
        };
        let change = async |services| {
            let changes = AppointmentChanges {
                services,
                ..AppointmentChanges::default()
            };
            let id = visit.appointment_id;
            let answer = visits.change(&clinic.manager, id, &ANY, changes).await;
            answer.unwrap()
        };
        let more = change(Change::Set(vec![planned(&clinic, 2)])).await;
        assert_eq!(prices(&more), [Some(8_000)]);
        let draft = dcms_domain::billing::DraftInvoice {
            patient_id: clinic.patient.patient_id,
            appointment_id: Some(visit.appointment_id),
            from_appointment: true,
            items: vec![],
        };
        let billing = &clinic.services.billing;
        let invoice = billing.draft(&clinic.manager, draft).await.unwrap();
        assert_eq!(invoice.total, Cents::new(16_000));
        change(Change::Clear).await;
        let anew = change(Change::Set(vec![planned(&clinic, 1)])).await;
        assert_eq!(prices(&anew), [Some(9_000)]);
    });
}

#[test]
fn a_buffer_keeps_the_room_until_the_patient_came() {
    block_on(async {
        let clinic = Clinic::open().await;
        let buffer = |minutes| ServiceChanges {
            buffer_minutes: Change::Set(minutes),
            ..ServiceChanges::default()
        };
        change_service(&clinic, buffer(15)).await;
        let visit = BookAppointment {
            services: vec![planned(&clinic, 2)],
            ..clinic.visit_in(60)
        };
        let visit = book(&clinic, visit).await.unwrap();
        assert_eq!(visit.room_free_at, clinic.minutes_from_now(105));
        let behind = |minutes| BookAppointment {
            doctor_id: clinic.other_doctor.user_id,
            ..clinic.visit_in(minutes)
        };
        let refused = book(&clinic, behind(90)).await;
        assert_eq!(violated(refused), Rule::RoomDoubleBooked);
        book(&clinic, behind(105)).await.unwrap();

        change_service(&clinic, buffer(20)).await;
        let visits = &clinic.services.appointments;
        let plan = async |visit: &Appointment, qty| {
            let changes = AppointmentChanges {
                services: Change::Set(vec![planned(&clinic, qty)]),
                ..AppointmentChanges::default()
            };
            let id = visit.appointment_id;
            visits.change(&clinic.manager, id, &ANY, changes).await
        };
        assert_eq!(violated(plan(&visit, 1).await), Rule::RoomDoubleBooked);
        let elsewhere = take(&clinic, &visit, move_in(&clinic, 200, None)).await;
        let elsewhere = elsewhere.unwrap();
        assert_eq!(elsewhere.room_free_at, clinic.minutes_from_now(250));
        take(&clinic, &visit, Transition::Arrive).await.unwrap();
        change_service(&clinic, buffer(60)).await;
        let treated = plan(&visit, 1).await.unwrap();
        assert_eq!(treated.room_free_at, clinic.minutes_from_now(250));
    });
}

#[test]
fn doctors_and_rooms_have_to_fit_what_is_planned() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visits = &clinic.services.appointments;
        let (doctor, other) = (clinic.doctor.user_id, clinic.other_doctor.user_id);
        let visit = BookAppointment {
            services: vec![planned(&clinic, 1)],
            ..clinic.visit_in(60)
        };
        let booked = book(&clinic, visit.clone()).await.unwrap();
        change_service(
            &clinic,
            ServiceChanges {
                room_kind: Change::Set("surgery".to_owned()),
                doctor_ids: Change::Set(vec![other]),
                ..ServiceChanges::default()
            },
        )
        .await;
        let later = BookAppointment {
            services: visit.services.clone(),
            ..clinic.visit_in(600)
        };
        assert_eq!(
            faults(book(&clinic, later.clone()).await),
            [
                "/services/0/service_id not_available",
                "/room_id not_available"
            ]
        );
        // What stays need not fit.
        let moved = take(&clinic, &booked, move_in(&clinic, 120, None)).await;
        moved.unwrap();
        let changes = AppointmentChanges {
            services: Change::Set(visit.services.clone()),
            ..AppointmentChanges::default()
        };
        let id = booked.appointment_id;
        assert_eq!(
            faults(visits.change(&clinic.manager, id, &ANY, changes).await),
            [
                "/services/0/service_id not_available",
                "/room_id not_available"
            ]
        );
        let room = clinic.room.room_id;
        let without_room = AppointmentChanges {
            room_id: Change::Clear,
            ..AppointmentChanges::default()
        };
        let answer = visits.change(&clinic.manager, id, &ANY, without_room).await;
        answer.unwrap();
        let back = AppointmentChanges {
            room_id: Change::Set(room),
            ..AppointmentChanges::default()
        };
        let refused = visits.change(&clinic.manager, id, &ANY, back.clone()).await;
        assert_eq!(faults(refused), ["/room_id not_available"]);
        let hand_over = |doctor_id, room_id| Transition::Reschedule {
            starts_at: clinic.minutes_from_now(180),
            ends_at: None,
            doctor_id: Some(doctor_id),
            room_id,
            overbook_reason: None,
            reason: None,
        };
        let handed = take(&clinic, &booked, hand_over(other, Change::Keep)).await;
        assert_eq!(handed.unwrap().doctor_id, other);
        assert_eq!(
            faults(take(&clinic, &booked, hand_over(doctor, Change::Set(room))).await),
            ["/doctor_id not_available", "/room_id not_available"]
        );

        let surgery = RoomChanges {
            kind: Change::Set("surgery".to_owned()),
            ..RoomChanges::default()
        };
        let rooms = &clinic.services.clinic;
        rooms
            .change_room(&clinic.manager, room, &ANY, surgery)
            .await
            .unwrap();
        let fitting = BookAppointment {
            doctor_id: other,
            ..later
        };
        book(&clinic, fitting).await.unwrap();
        let answer = visits.change(&clinic.manager, id, &ANY, back).await;
        assert_eq!(answer.unwrap().room_id, Some(room));
    });
}

#[test]
fn notice_has_bounds() {
    block_on(async {
        let clinic = Clinic::open().await;
        let day = 24 * 60;
        book(&clinic, clinic.visit_in(-30)).await.unwrap();
        let last = book(&clinic, clinic.visit_in(731 * day)).await.unwrap();
        let refused = book(&clinic, clinic.visit_in(731 * day + 1)).await;
        assert_eq!(faults(refused), ["/starts_at out_of_range"]);
        change_settings(
            &clinic,
            ClinicChanges {
                smallest_notice_minutes: Change::Set(60),
                largest_notice_days: Change::Set(10),
                ..ClinicChanges::default()
            },
        )
        .await;
        for minutes in [59, 10 * day + 1] {
            let refused = book(&clinic, clinic.visit_in(minutes)).await;
            assert_eq!(faults(refused), ["/starts_at out_of_range"]);
            let refused = take(&clinic, &last, move_in(&clinic, minutes, None)).await;
            assert_eq!(faults(refused), ["/starts_at out_of_range"]);
        }
        let urgent = BookAppointment {
            overbook_reason: Some("Pain".to_owned()),
            ..clinic.visit_in(30)
        };
        assert_eq!(
            faults(book(&clinic, urgent).await),
            ["/starts_at out_of_range"]
        );
        book(&clinic, clinic.visit_in(60)).await.unwrap();
        let moved = take(&clinic, &last, move_in(&clinic, 10 * day, None)).await;
        moved.unwrap();
    });
}

#[test]
fn what_is_in_the_way_is_told_and_overbooking_lifts_it() {
    block_on(async {
        let clinic = Clinic::open().await;
        open_on_mondays(&clinic, None, "09:00", "17:00").await;
        open_on_mondays(&clinic, Some(clinic.doctor.user_id), "10:00", "16:00").await;
        let closure = Obstacle::Closure(close(&clinic, "12:00", "13:00").await);
        let time_off = Obstacle::TimeOff(give_time_off(&clinic, "14:00", "15:00").await);
        // It is 9:00.
        let part = |from, to| {
            let (from, to) = (clinic.minutes_from_now(from), clinic.minutes_from_now(to));
            TimeSlot::new(from, to).unwrap()
        };
        for (minutes, expected) in [
            (30, vec![Obstacle::DoctorHours(part(30, 60))]),
            (45, vec![Obstacle::DoctorHours(part(45, 60))]),
            (175, vec![closure]),
            (310, vec![time_off]),
            (
                470,
                vec![
                    Obstacle::ClinicHours(part(480, 500)),
                    Obstacle::DoctorHours(part(470, 500)),
                ],
            ),
        ] {
            let clinic = clinic.fork();
            let visit = clinic.visit_in(minutes);
            assert_eq!(obstacles(book(&clinic, visit.clone()).await), expected);
            let elsewhere = clinic.booked_in(240).await;
            let refused = take(&clinic, &elsewhere, move_in(&clinic, minutes, None)).await;
            assert_eq!(obstacles(refused), expected);

            let overbooked = BookAppointment {
                overbook_reason: Some("Pain".to_owned()),
                ..visit
            };
            let booked = book(&clinic, overbooked.clone()).await.unwrap();
            assert_eq!(booked.accepted_obstacles, expected);
            assert_eq!(conflicts(&clinic).await, []);
            // Never the places that are taken.
            let refused = book(&clinic, overbooked).await;
            assert_eq!(violated(refused), Rule::DoctorDoubleBooked);
            let onto = move_in(&clinic, minutes, Some("Pain"));
            let refused = take(&clinic, &elsewhere, onto.clone()).await;
            assert_eq!(violated(refused), Rule::DoctorDoubleBooked);

            let cancel = Transition::Cancel {
                reason: "Ill".to_owned(),
            };
            take(&clinic, &booked, cancel).await.unwrap();
            let moved = take(&clinic, &elsewhere, onto).await.unwrap();
            assert_eq!(moved.accepted_obstacles, expected);
            assert_eq!(moved.overbook_reason.as_deref(), Some("Pain"));
            // A move starts anew.
            let back = take(&clinic, &moved, move_in(&clinic, 240, None))
                .await
                .unwrap();
            assert_eq!(back.accepted_obstacles, []);
            assert_eq!(back.overbook_reason, None);
        }
        book(&clinic, clinic.visit_in(390)).await.unwrap();
    });
}

#[test]
fn overbooking_a_move_is_for_those_who_may() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, visit) = (&clinic.services.appointments, clinic.booked_in(60).await);
        let id = visit.appointment_id;
        let moved = move_in(&clinic, 120, Some("Pain"));
        let desk = &clinic.receptionist;
        assert_forbidden(visits.take_action(desk, id, &ANY, moved.clone()).await);
        let own = visits.take_action(&clinic.doctor, id, &ANY, moved).await;
        assert_eq!(own.unwrap().overbook_reason.as_deref(), Some("Pain"));
        let faulty = Transition::Reschedule {
            starts_at: clinic.minutes_from_now(180),
            ends_at: None,
            doctor_id: None,
            room_id: Change::Keep,
            overbook_reason: Some(String::new()),
            reason: Some("x".repeat(501)),
        };
        assert_eq!(
            faults(take(&clinic, &visit, faulty).await),
            ["/overbook_reason required", "/reason too_long"]
        );
    });
}

#[test]
fn a_visit_is_in_conflict_until_it_is_moved_cancelled_or_accepted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, manager) = (&clinic.services.appointments, &clinic.manager);
        let visit = clinic.booked_in(120).await;
        let id = visit.appointment_id;
        let accept = async |clinic: &Clinic| {
            let visits = &clinic.services.appointments;
            visits
                .accept_conflict(&clinic.manager, id, &ANY, "Agreed by phone")
                .await
        };
        let refused = accept(&clinic).await;
        let Err(AppointmentError::InvalidTransition { from, allowed }) = refused else {
            panic!("expected a refusal, got {refused:?}");
        };
        assert_eq!(from, Status::Scheduled);
        assert!(allowed.contains(&Action::Reschedule));
        assert_eq!(conflicts(&clinic).await, []);

        let closure = Obstacle::Closure(close(&clinic, "11:00", "12:00").await);
        let in_conflict = |visit: &Appointment, obstacles: &[Obstacle]| AppointmentConflict {
            appointment: visit.clone(),
            obstacles: obstacles.to_vec(),
        };
        assert_eq!(conflicts(&clinic).await, [in_conflict(&visit, &[closure])]);
        for end in [
            move_in(&clinic, 300, None),
            Transition::Cancel {
                reason: "Closed".to_owned(),
            },
            Transition::Arrive,
        ] {
            let clinic = clinic.fork();
            take(&clinic, &visit, end).await.unwrap();
            assert_eq!(conflicts(&clinic).await, []);
        }
        let over = clinic.fork();
        over.clock.set(visit.slot.ends_at());
        assert_eq!(conflicts(&over).await, []);
        let refused = accept(&over).await;
        assert!(matches!(
            refused,
            Err(AppointmentError::InvalidTransition { .. })
        ));

        let desk = &clinic.receptionist;
        assert_forbidden(visits.accept_conflict(desk, id, &ANY, "x").await);
        let other = &clinic.other_doctor;
        assert_forbidden(visits.accept_conflict(other, id, &ANY, "x").await);
        let stale = visits.accept_conflict(manager, id, &outdated(), "x").await;
        crate::assert_mismatch(stale);
        let nothing = dcms_domain::shared::IdSource::next_id(&*clinic.ids).into();
        assert_not_found(visits.accept_conflict(manager, nothing, &ANY, "x").await);
        let refused = visits.accept_conflict(manager, id, &ANY, " ").await;
        assert_eq!(faults(refused), ["/reason required"]);
        let accepted = accept(&clinic).await.unwrap();
        assert_eq!(accepted.accepted_obstacles, [closure]);
        assert_eq!(accepted.overbook_reason.as_deref(), Some("Agreed by phone"));
        assert_eq!(accepted.version, visit.version.next());
        assert_eq!(conflicts(&clinic).await, []);

        // What comes later puts it in conflict again, and only that is told.
        let disabled = UserChanges {
            is_active: Change::Set(false),
            ..UserChanges::default()
        };
        let identity = &clinic.services.identity;
        let doctor = clinic.doctor.user_id;
        identity
            .change_user(&clinic.admin, doctor, &ANY, disabled)
            .await
            .unwrap();
        let closed = RoomChanges {
            is_active: Change::Set(false),
            ..RoomChanges::default()
        };
        let room = &clinic.room;
        let rooms = &clinic.services.clinic;
        rooms
            .change_room(manager, room.room_id, &ANY, closed)
            .await
            .unwrap();
        let new = [
            Obstacle::DoctorNotAvailable(clinic.minutes_from_now(0)),
            Obstacle::RoomNotAvailable(clinic.minutes_from_now(0)),
        ];
        assert_eq!(conflicts(&clinic).await, [in_conflict(&accepted, &new)]);
        let accepted = accept(&clinic).await.unwrap();
        assert_eq!(accepted.accepted_obstacles, [closure, new[0], new[1]]);
        assert_eq!(conflicts(&clinic).await, []);
    });
}

/// What is accepted of hours is the part of the visit that lay outside them.
#[test]
fn hours_that_get_worse_put_an_accepted_visit_in_conflict_again() {
    block_on(async {
        let clinic = Clinic::open().await;
        let doctor = clinic.doctor.user_id;
        // It is 9:00.
        let visit = clinic.booked_in(60).await;
        let at = |minutes| clinic.minutes_from_now(minutes);
        for (doctor_id, kind) in [
            (None, Obstacle::ClinicHours as fn(_) -> _),
            (Some(doctor), Obstacle::DoctorHours),
        ] {
            let clinic = clinic.fork();
            let visits = &clinic.services.appointments;
            let accept = async || {
                visits
                    .accept_conflict(&clinic.manager, visit.appointment_id, &ANY, "Agreed")
                    .await
                    .unwrap()
            };
            let unaccepted = async || {
                let found = conflicts(&clinic).await;
                let obstacles = found.into_iter().flat_map(|conflict| conflict.obstacles);
                obstacles.collect::<Vec<_>>()
            };
            let part = |from, to| kind(TimeSlot::new(at(from), at(to)).unwrap());
            open_on_mondays(&clinic, doctor_id, "10:15", "17:00").await;
            assert_eq!(unaccepted().await, [part(60, 75)]);
            accept().await;
            // As bad as it was, or better.
            for opens_at in ["10:15", "10:14", "09:00"] {
                open_on_mondays(&clinic, doctor_id, opens_at, "17:00").await;
                assert_eq!(unaccepted().await, []);
            }
            // Another part of it, of the same length.
            open_on_mondays(&clinic, doctor_id, "09:00", "10:15").await;
            assert_eq!(unaccepted().await, [part(75, 90)]);
            open_on_mondays(&clinic, doctor_id, "10:16", "17:00").await;
            assert_eq!(unaccepted().await, [part(60, 76)]);
            let accepted = accept().await;
            assert_eq!(accepted.accepted_obstacles, [part(60, 76)]);
            assert_eq!(unaccepted().await, []);
            open_on_mondays(&clinic, doctor_id, "14:00", "17:00").await;
            assert_eq!(unaccepted().await, [part(60, 90)]);
        }
    });
}

/// Who accepts a visit of a doctor who is gone accepts that this doctor is gone now.
#[test]
fn a_doctor_who_goes_again_puts_an_accepted_visit_in_conflict_again() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        let set_active = async |is_active| {
            let changes = UserChanges {
                is_active: Change::Set(is_active),
                ..UserChanges::default()
            };
            let identity = &clinic.services.identity;
            let doctor = clinic.doctor.user_id;
            let answer = identity.change_user(&clinic.admin, doctor, &ANY, changes);
            let conflicts = answer.await.unwrap().conflicts;
            conflicts.map_or(0, |conflicts| conflicts.visits.len())
        };
        for _ in 0..2 {
            assert_eq!(set_active(false).await, 1);
            let visits = &clinic.services.appointments;
            let accepted = visits
                .accept_conflict(&clinic.manager, visit.appointment_id, &ANY, "Returns")
                .await;
            assert_eq!(accepted.unwrap().accepted_obstacles.len(), 1);
            // Whatever else becomes of the doctor is not what was asked about.
            clinic.clock.set(clinic.minutes_from_now(1));
            let renamed = UserChanges {
                display_name: Change::Set("Dr. Weiss-Mayer".to_owned()),
                ..UserChanges::default()
            };
            let identity = &clinic.services.identity;
            let doctor = clinic.doctor.user_id;
            identity
                .change_user(&clinic.admin, doctor, &ANY, renamed)
                .await
                .unwrap();
            assert_eq!(conflicts(&clinic).await, []);
            assert_eq!(set_active(true).await, 0);
            assert_eq!(conflicts(&clinic).await, []);
        }
    });
}

#[test]
fn conflicts_come_in_pages_also_far_from_each_other() {
    block_on(async {
        let clinic = Clinic::open().await;
        // More than a batch of the store, of which the first and the last are in conflict.
        for number in 0..202 {
            clinic.booked_in(60 + number * 30).await;
        }
        let visits = &clinic.services.appointments;
        let calendar = &clinic.services.calendar;
        let last = clinic.minutes_from_now(60 + 201 * 30);
        for starts_at in [clinic.minutes_from_now(60), last] {
            let time = |minutes| {
                let time = starts_at + TimeDelta::minutes(minutes);
                Some(time.format("%H:%M").to_string())
            };
            let closure = CreateClosure {
                span: SpanRequest {
                    starts_on: starts_at.date_naive(),
                    starts_at_time: time(0),
                    ends_on: None,
                    ends_at_time: time(30),
                },
                reason: "Strike".to_owned(),
            };
            calendar.close(&clinic.manager, closure).await.unwrap();
        }
        let mut page = PageRequest {
            limit: dcms_domain::shared::PageLimit::new(1).unwrap(),
            after: None,
        };
        let mut starts = Vec::new();
        loop {
            let window = WindowRequest::default();
            let found = visits
                .conflicts(&clinic.doctor, window, page)
                .await
                .unwrap();
            let conflicts = found.items.iter();
            starts.extend(conflicts.map(|conflict| conflict.appointment.slot.starts_at()));
            page.after = found.next;
            if page.after.is_none() {
                break;
            }
        }
        assert_eq!(starts, [clinic.minutes_from_now(60), last]);
    });
}

#[test]
fn the_times_of_the_day_are_kept_in_their_order() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        let came = clinic.minutes_from_now(55);
        clinic.clock.set(came);
        let arrived = take(&clinic, &visit, Transition::Arrive).await.unwrap();
        assert_eq!((arrived.arrived_at, arrived.seated_at), (Some(came), None));
        // A clock is set back.
        clinic.clock.set(came - TimeDelta::minutes(5));
        let seated = take(&clinic, &visit, Transition::Start).await.unwrap();
        assert_eq!(seated.seated_at, Some(came));
        clinic.clock.set(came + TimeDelta::minutes(40));
        let done = take(&clinic, &visit, Transition::Complete).await.unwrap();
        assert_eq!(
            (done.arrived_at, done.seated_at, done.completed_at),
            (Some(came), Some(came), Some(came + TimeDelta::minutes(40)))
        );
    });
}
