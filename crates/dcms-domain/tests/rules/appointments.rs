use chrono::TimeDelta;
use dcms_domain::access::Role;
use dcms_domain::appointments::{
    Action, Appointment, AppointmentChanges, AppointmentError, AppointmentQuery, BookAppointment,
    ServiceRequest, Status, Transition,
};
use dcms_domain::catalog::ServiceChanges;
use dcms_domain::clinic::{ClinicChanges, CreateRoom, RoomChanges};
use dcms_domain::identity::UserChanges;
use dcms_domain::shared::{Change, Clock, IdSource, PageRequest, WindowRequest};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_forbidden, assert_mismatch, assert_not_found, faults, outdated, violated};

async fn book(clinic: &Clinic, visit: BookAppointment) -> Result<Appointment, AppointmentError> {
    clinic
        .services
        .appointments
        .book(&clinic.receptionist, visit)
        .await
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

async fn stored(clinic: &Clinic, visit: &Appointment) -> Appointment {
    let visits = &clinic.services.appointments;
    let found = visits
        .appointment(&clinic.doctor, visit.appointment_id)
        .await;
    found.unwrap()
}

fn cancel() -> Transition {
    Transition::Cancel {
        reason: "Ill".to_owned(),
    }
}

fn move_to(clinic: &Clinic, minutes: i64) -> Transition {
    Transition::Reschedule {
        starts_at: clinic.minutes_from_now(minutes),
        ends_at: Some(clinic.minutes_from_now(minutes + 30)),
        doctor_id: None,
        room_id: Change::Keep,
        overbook_reason: None,
        reason: None,
    }
}

fn planned(clinic: &Clinic, qty: i64) -> ServiceRequest {
    ServiceRequest {
        service_id: clinic.service.service_id,
        qty,
    }
}

#[test]
fn all_faults_of_a_booking_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let nothing = clinic.ids.next_id();
        let faulty = BookAppointment {
            patient_id: nothing.into(),
            doctor_id: nothing.into(),
            room_id: Some(nothing.into()),
            starts_at: clinic.minutes_from_now(60),
            ends_at: Some(clinic.minutes_from_now(60)),
            notes: Some(String::new()),
            services: vec![
                ServiceRequest {
                    service_id: nothing.into(),
                    qty: 1,
                },
                planned(&clinic, 0),
                planned(&clinic, 10_001),
            ],
            overbook_reason: Some("x".repeat(501)),
        };
        let refused = clinic
            .services
            .appointments
            .book(&clinic.manager, faulty)
            .await;
        assert_eq!(
            faults(refused),
            [
                "/services/0/service_id unknown",
                "/services/1/qty out_of_range",
                "/services/2/qty out_of_range",
                "/notes required",
                "/overbook_reason too_long",
                "/patient_id unknown",
                "/doctor_id unknown",
                "/room_id unknown",
                "/ends_at out_of_range",
            ]
        );
    });
}

#[test]
fn a_booked_visit_is_what_was_asked_for() {
    block_on(async {
        let clinic = Clinic::open().await;
        let asked = BookAppointment {
            notes: Some(" Afraid \n".to_owned()),
            services: vec![planned(&clinic, 2), planned(&clinic, 1)],
            ..clinic.visit_in(60)
        };
        let visit = book(&clinic, asked.clone()).await.unwrap();
        assert_eq!(visit.status, Status::Scheduled);
        assert_eq!(visit.slot.starts_at(), asked.starts_at);
        assert_eq!(Some(visit.slot.ends_at()), asked.ends_at);
        assert_eq!(visit.notes.as_deref(), Some("Afraid"));
        let quantities: Vec<i32> = visit
            .services
            .iter()
            .map(|planned| planned.quantity.get())
            .collect();
        assert_eq!(quantities, [2, 1]);
        assert_eq!(stored(&clinic, &visit).await, visit);
    });
}

#[test]
fn a_visit_takes_at_most_a_day_and_fifty_services() {
    block_on(async {
        let clinic = Clinic::open().await;
        let long = BookAppointment {
            ends_at: Some(clinic.minutes_from_now(60 + 24 * 60)),
            services: vec![planned(&clinic, 1); 50],
            ..clinic.visit_in(60)
        };
        let too_long = BookAppointment {
            ends_at: long.ends_at.map(|end| end + TimeDelta::microseconds(1)),
            services: vec![planned(&clinic, 1); 51],
            ..long.clone()
        };
        let refused = book(&clinic, too_long).await;
        assert_eq!(
            faults(refused),
            ["/services too_long", "/ends_at out_of_range"]
        );
        book(&clinic, long).await.unwrap();
        let too_early = BookAppointment {
            starts_at: chrono::DateTime::UNIX_EPOCH - TimeDelta::days(40_000),
            ..clinic.visit_in(60)
        };
        let refused = book(&clinic, too_early).await;
        assert_eq!(faults(refused), ["/starts_at out_of_range"]);
    });
}

#[test]
fn only_what_takes_bookings_is_booked() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = || BookAppointment {
            services: vec![planned(&clinic, 1)],
            ..clinic.visit_in(60)
        };
        let not_a_doctor = BookAppointment {
            doctor_id: clinic.manager.user_id,
            ..visit()
        };
        assert_eq!(
            faults(book(&clinic, not_a_doctor).await),
            ["/doctor_id not_available"]
        );

        let (services, admin) = (&clinic.services, &clinic.admin);
        let patient = clinic.patient.patient_id;
        services
            .patients
            .archive(admin, patient, &ANY)
            .await
            .unwrap();
        assert_eq!(
            faults(book(&clinic, visit()).await),
            ["/patient_id not_available"]
        );
        let disabled = UserChanges {
            is_active: Change::Set(false),
            ..UserChanges::default()
        };
        let doctor = clinic.doctor.user_id;
        services
            .identity
            .change_user(admin, doctor, &ANY, disabled)
            .await
            .unwrap();
        let closed = RoomChanges {
            is_active: Change::Set(false),
            ..RoomChanges::default()
        };
        let room = clinic.room.room_id;
        services
            .clinic
            .change_room(admin, room, &ANY, closed)
            .await
            .unwrap();
        let inactive = ServiceChanges {
            is_active: Change::Set(false),
            ..ServiceChanges::default()
        };
        let service = clinic.service.service_id;
        services
            .catalog
            .change(admin, service, &ANY, inactive)
            .await
            .unwrap();
        assert_eq!(
            faults(book(&clinic, visit()).await),
            [
                "/services/0/service_id not_available",
                "/patient_id not_available",
                "/doctor_id not_available",
                "/room_id not_available",
            ]
        );
    });
}

#[test]
fn doctor_room_and_patient_are_in_one_place_at_a_time() {
    block_on(async {
        let clinic = Clinic::open().await;
        let other_patient = clinic.register("Berta", "Schulz").await.patient_id;
        let other_doctor = clinic.other_doctor.user_id;
        clinic.booked_in(60).await;
        let visit = clinic.visit_in(75);
        for (expected, taken) in [
            (
                Rule::DoctorDoubleBooked,
                BookAppointment {
                    room_id: None,
                    patient_id: other_patient,
                    ..visit.clone()
                },
            ),
            (
                Rule::RoomDoubleBooked,
                BookAppointment {
                    doctor_id: other_doctor,
                    patient_id: other_patient,
                    ..visit.clone()
                },
            ),
            (
                Rule::PatientDoubleBooked,
                BookAppointment {
                    doctor_id: other_doctor,
                    room_id: None,
                    ..visit.clone()
                },
            ),
        ] {
            assert_eq!(violated(book(&clinic, taken).await), expected);
        }
        let elsewhere = BookAppointment {
            doctor_id: other_doctor,
            patient_id: other_patient,
            room_id: None,
            ..visit
        };
        book(&clinic, elsewhere).await.unwrap();
        // Half open: one may start when another ends.
        clinic.booked_in(90).await;
        clinic.booked_in(30).await;
    });
}

#[test]
fn a_doctor_keeps_only_their_own_calendar() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, doctor) = (&clinic.services.appointments, &clinic.doctor);
        let other_doctor = clinic.other_doctor.user_id;
        let of_other = BookAppointment {
            doctor_id: other_doctor,
            room_id: None,
            ..clinic.visit_in(600)
        };
        assert_forbidden(visits.book(doctor, of_other.clone()).await);
        let own = visits.book(doctor, clinic.visit_in(60)).await.unwrap();
        let foreign = book(&clinic, of_other).await.unwrap().appointment_id;
        assert_forbidden(visits.take_action(doctor, foreign, &ANY, cancel()).await);
        let changes = AppointmentChanges::default();
        assert_forbidden(visits.change(doctor, foreign, &ANY, changes).await);

        let give_away = Transition::Reschedule {
            starts_at: clinic.minutes_from_now(120),
            ends_at: Some(clinic.minutes_from_now(150)),
            doctor_id: Some(other_doctor),
            room_id: Change::Clear,
            overbook_reason: None,
            reason: None,
        };
        let id = own.appointment_id;
        let refused = visits
            .take_action(doctor, id, &ANY, give_away.clone())
            .await;
        assert_forbidden(refused);
        let moved = visits
            .take_action(doctor, id, &ANY, move_to(&clinic, 120))
            .await;
        assert_eq!(moved.unwrap().doctor_id, doctor.user_id);
        let given = take(&clinic, &own, give_away).await.unwrap();
        assert_eq!((given.doctor_id, given.room_id), (other_doctor, None));
        assert_forbidden(visits.take_action(doctor, id, &ANY, cancel()).await);
    });
}

#[test]
fn the_desk_neither_treats_nor_overbooks() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, desk) = (&clinic.services.appointments, &clinic.receptionist);
        let overbooked = BookAppointment {
            overbook_reason: Some(" Pain ".to_owned()),
            ..clinic.visit_in(60)
        };
        assert_forbidden(visits.book(desk, overbooked.clone()).await);
        assert_forbidden(visits.book(&clinic.other_doctor, overbooked.clone()).await);
        let booked = visits.book(&clinic.doctor, overbooked).await.unwrap();
        assert_eq!(booked.overbook_reason.as_deref(), Some("Pain"));

        let id = booked.appointment_id;
        visits
            .take_action(desk, id, &ANY, Transition::Arrive)
            .await
            .unwrap();
        assert_forbidden(visits.take_action(desk, id, &ANY, Transition::Start).await);
        let other = &clinic.other_doctor;
        assert_forbidden(visits.take_action(other, id, &ANY, Transition::Start).await);
        let doctor = &clinic.doctor;
        visits
            .take_action(doctor, id, &ANY, Transition::Start)
            .await
            .unwrap();
        assert_forbidden(
            visits
                .take_action(desk, id, &ANY, Transition::Complete)
                .await,
        );
        let completed = visits
            .take_action(doctor, id, &ANY, Transition::Complete)
            .await;
        assert_eq!(completed.unwrap().status, Status::Completed);
    });
}

#[test]
fn a_refused_action_tells_what_is_allowed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        for (now, expected) in [
            (
                60 * 60 - 1,
                vec![
                    Action::Confirm,
                    Action::Arrive,
                    Action::Cancel,
                    Action::Reschedule,
                ],
            ),
            (
                60 * 60,
                vec![
                    Action::Confirm,
                    Action::Arrive,
                    Action::Cancel,
                    Action::NoShow,
                    Action::Reschedule,
                ],
            ),
        ] {
            let clinic = clinic.fork();
            clinic.clock.advance(TimeDelta::seconds(now));
            let refused = take(&clinic, &visit, Transition::Complete).await;
            let Err(AppointmentError::InvalidTransition { from, allowed }) = refused else {
                panic!("expected a refusal, got {refused:?}");
            };
            assert_eq!((from, allowed), (Status::Scheduled, expected));
            assert_eq!(stored(&clinic, &visit).await, visit);
        }
        let refused = take(&clinic, &visit, Transition::NoShow).await;
        assert!(matches!(
            refused,
            Err(AppointmentError::InvalidTransition { .. })
        ));
    });
}

#[test]
fn a_visit_is_cancelled_with_a_reason_and_frees_its_slot() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        let without = Transition::Cancel {
            reason: "  ".to_owned(),
        };
        assert_eq!(
            faults(take(&clinic, &visit, without).await),
            ["/reason required"]
        );
        let cancelled = take(&clinic, &visit, cancel()).await.unwrap();
        assert_eq!(cancelled.status, Status::Cancelled);
        assert_eq!(cancelled.cancel_reason.as_deref(), Some("Ill"));
        assert_eq!(cancelled.version, visit.version.next());
        clinic.booked_in(60).await;
    });
}

#[test]
fn a_no_show_who_comes_takes_the_slot_again_if_it_is_free() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(0).await;
        take(&clinic, &visit, Transition::NoShow).await.unwrap();
        let late = clinic.fork();
        let arrived = take(&late, &visit, Transition::Arrive).await.unwrap();
        assert_eq!(arrived.status, Status::Arrived);
        assert_eq!(
            violated(book(&late, late.visit_in(0)).await),
            Rule::DoctorDoubleBooked
        );

        let other = clinic.register("Berta", "Schulz").await.patient_id;
        let instead = BookAppointment {
            patient_id: other,
            ..clinic.visit_in(15)
        };
        book(&clinic, instead).await.unwrap();
        let refused = take(&clinic, &visit, Transition::Arrive).await;
        assert_eq!(violated(refused), Rule::DoctorDoubleBooked);
        assert_eq!(stored(&clinic, &visit).await.status, Status::NoShow);
    });
}

#[test]
fn a_no_show_comes_back_only_to_whom_takes_bookings() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(0).await;
        take(&clinic, &visit, Transition::NoShow).await.unwrap();
        let patients = &clinic.services.patients;
        let id = clinic.patient.patient_id;
        patients.archive(&clinic.admin, id, &ANY).await.unwrap();
        let refused = take(&clinic, &visit, Transition::Arrive).await;
        assert_eq!(faults(refused), ["/patient_id not_available"]);
    });
}

#[test]
fn a_rescheduled_visit_is_scheduled_again() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        take(&clinic, &visit, Transition::Confirm).await.unwrap();
        let moved = take(&clinic, &visit, move_to(&clinic, 75)).await.unwrap();
        assert_eq!(moved.status, Status::Scheduled);
        assert_eq!(moved.slot.starts_at(), clinic.minutes_from_now(75));
        assert_eq!(stored(&clinic, &visit).await, moved);
        // What it left is free.
        let other = clinic.register("Berta", "Schulz").await.patient_id;
        let before = BookAppointment {
            patient_id: other,
            ends_at: Some(clinic.minutes_from_now(75)),
            ..clinic.visit_in(60)
        };
        book(&clinic, before).await.unwrap();
    });
}

#[test]
fn a_failed_reschedule_leaves_the_old_slot() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        clinic.booked_in(120).await;
        let refused = take(&clinic, &visit, move_to(&clinic, 135)).await;
        assert_eq!(violated(refused), Rule::DoctorDoubleBooked);
        let nowhere = Transition::Reschedule {
            starts_at: clinic.minutes_from_now(300),
            ends_at: Some(clinic.minutes_from_now(270)),
            doctor_id: Some(clinic.manager.user_id),
            room_id: Change::Set(clinic.ids.next_id().into()),
            overbook_reason: None,
            reason: None,
        };
        assert_eq!(
            faults(take(&clinic, &visit, nowhere).await),
            [
                "/ends_at out_of_range",
                "/doctor_id not_available",
                "/room_id unknown"
            ]
        );
        assert_eq!(stored(&clinic, &visit).await, visit);
        // And the old slot is still taken.
        assert_eq!(
            violated(book(&clinic, clinic.visit_in(60)).await),
            Rule::DoctorDoubleBooked
        );
    });
}

#[test]
fn notes_room_and_services_change_and_null_clears() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, desk) = (&clinic.services.appointments, &clinic.receptionist);
        let visit = clinic.booked_in(60).await;
        let id = visit.appointment_id;
        let change =
            async |changes: AppointmentChanges| visits.change(desk, id, &ANY, changes).await;
        let after = change(AppointmentChanges {
            notes: Change::Set("Afraid".to_owned()),
            room_id: Change::Clear,
            services: Change::Set(vec![planned(&clinic, 3)]),
            reason: Some("Moved".to_owned()),
        });
        let after = after.await.unwrap();
        assert_eq!(
            (after.notes.as_deref(), after.room_id),
            (Some("Afraid"), None)
        );
        assert_eq!(after.services.len(), 1);
        assert_eq!((after.slot, after.status), (visit.slot, visit.status));
        let cleared = change(AppointmentChanges {
            notes: Change::Clear,
            services: Change::Clear,
            ..AppointmentChanges::default()
        });
        let cleared = cleared.await.unwrap();
        assert_eq!(
            (cleared.notes.as_deref(), cleared.services.len()),
            (None, 0)
        );
        assert_eq!(stored(&clinic, &visit).await, cleared);

        let nothing = clinic.ids.next_id();
        let faulty = AppointmentChanges {
            notes: Change::Set("\u{0}".to_owned()),
            room_id: Change::Set(nothing.into()),
            services: Change::Set(vec![ServiceRequest {
                service_id: nothing.into(),
                qty: 1,
            }]),
            reason: Some(" ".to_owned()),
        };
        assert_mismatch(visits.change(desk, id, &outdated(), faulty.clone()).await);
        assert_eq!(
            faults(change(faulty).await),
            [
                "/notes invalid_characters",
                "/services/0/service_id unknown",
                "/room_id unknown",
                "/reason required",
            ]
        );
    });
}

#[test]
fn a_visit_does_not_move_into_a_taken_room() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (visits, desk) = (&clinic.services.appointments, &clinic.receptionist);
        let visit = clinic.booked_in(60).await;
        let second = CreateRoom {
            name: "Room 2".to_owned(),
            is_active: true,
            kind: None,
            position: 0,
        };
        let second = clinic
            .services
            .clinic
            .create_room(&clinic.admin, second)
            .await
            .unwrap();
        let neighbour = BookAppointment {
            patient_id: clinic.register("Berta", "Schulz").await.patient_id,
            doctor_id: clinic.other_doctor.user_id,
            room_id: Some(second.room_id),
            ..clinic.visit_in(60)
        };
        book(&clinic, neighbour).await.unwrap();
        let into = AppointmentChanges {
            room_id: Change::Set(second.room_id),
            ..AppointmentChanges::default()
        };
        let refused = visits.change(desk, visit.appointment_id, &ANY, into).await;
        assert_eq!(violated(refused), Rule::RoomDoubleBooked);
        assert_eq!(stored(&clinic, &visit).await, visit);
    });
}

#[test]
fn a_stale_version_is_told_before_anything_else() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visits = &clinic.services.appointments;
        let id = clinic.booked_in(60).await.appointment_id;
        let refused = visits
            .take_action(&clinic.manager, id, &outdated(), Transition::Complete)
            .await;
        assert_mismatch(refused);
        let nothing = clinic.ids.next_id().into();
        assert_not_found(visits.appointment(&clinic.doctor, nothing).await);
        assert_not_found(
            visits
                .take_action(&clinic.doctor, nothing, &ANY, cancel())
                .await,
        );
        let changes = AppointmentChanges::default();
        assert_not_found(visits.change(&clinic.doctor, nothing, &ANY, changes).await);
    });
}

#[test]
fn a_day_is_the_clinics() {
    block_on(async {
        let clinic = Clinic::open().await;
        let in_auckland = ClinicChanges {
            time_zone: Change::Set("Pacific/Auckland".to_owned()),
            ..ClinicChanges::default()
        };
        let settings = &clinic.services.clinic;
        settings
            .change_settings(&clinic.admin, &ANY, in_auckland)
            .await
            .unwrap();
        // It is Monday, 22:00, in Auckland; midnight is two hours away.
        let monday = clinic.booked_in(60).await;
        let over_midnight = clinic.booked_in(105).await;
        let tuesday = clinic.booked_in(135).await;
        let of_day = async |day: &str| {
            let query = AppointmentQuery {
                window: WindowRequest {
                    day: Some(day.parse().unwrap()),
                    ..WindowRequest::default()
                },
                ..AppointmentQuery::default()
            };
            let visits = &clinic.services.appointments;
            let page = visits
                .appointments(&clinic.doctor, query, PageRequest::first())
                .await;
            page.unwrap().items
        };
        assert_eq!(of_day("2026-03-02").await, [monday, over_midnight.clone()]);
        assert_eq!(of_day("2026-03-03").await, [over_midnight, tuesday]);
        assert_eq!(of_day("2026-03-04").await, []);
        assert_eq!(clinic.clock.now().to_rfc3339(), "2026-03-02T09:00:00+00:00");
    });
}

#[test]
fn a_user_who_is_no_doctor_any_more_keeps_their_visits_but_gets_none() {
    block_on(async {
        let clinic = Clinic::open().await;
        let visit = clinic.booked_in(60).await;
        let no_doctor = UserChanges {
            roles: Change::Set([Role::Manager].into_iter().collect()),
            ..UserChanges::default()
        };
        let id = clinic.doctor.user_id;
        let identity = &clinic.services.identity;
        identity
            .change_user(&clinic.admin, id, &ANY, no_doctor)
            .await
            .unwrap();
        take(&clinic, &visit, Transition::Confirm).await.unwrap();
        let refused = take(&clinic, &visit, move_to(&clinic, 120)).await;
        assert_eq!(faults(refused), ["/doctor_id not_available"]);
        take(&clinic, &visit, Transition::Arrive).await.unwrap();
    });
}
