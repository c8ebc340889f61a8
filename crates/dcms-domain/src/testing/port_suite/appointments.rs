use super::stage::{
    Must, Stage, all_at_once, all_of, assert_conflict, assert_violates, by_their_doctor, changed,
    let_others_go_on, page_of, password,
};
use crate::access::Role;
use crate::appointments::Standing::{Available, NotAvailable, Unknown};
use crate::appointments::{
    Action, Appointment, AppointmentFilter, AppointmentKey, ComingVisit, ConflictScope,
    HistoryAction, Parties, PartiesStanding, PlannedService, Status,
};
use crate::calendar::Obstacle;
use crate::identity::User;
use crate::patients::Patient;
use crate::shared::{Cents, Page, PageRequest, Quantity, TimeSlot, TimeWindow};
use crate::store::{Rule, Store, StoreError};

struct People {
    anna: Patient,
    berta: Patient,
    first_doctor: User,
    second_doctor: User,
}

async fn people(stage: &Stage<'_>) -> People {
    People {
        anna: stage.saved_patient("Anna", "Meyer").await,
        berta: stage.saved_patient("Berta", "Schulz").await,
        first_doctor: stage.saved_user("doctor1", Role::Doctor).await,
        second_doctor: stage.saved_user("doctor2", Role::Doctor).await,
    }
}

async fn update(stage: &Stage<'_>, visit: &Appointment) -> Result<(), StoreError> {
    let change = by_their_doctor(visit, HistoryAction::Change);
    stage
        .write(async |work| {
            work.appointments().hold_calendar().await?;
            work.appointments().update(visit, &change).await
        })
        .await
}

async fn stored(stage: &Stage<'_>, visit: &Appointment) -> Option<Appointment> {
    let mut connection = stage.connect().await;
    let visit = connection.appointments().get(visit.appointment_id).await;
    visit.must()
}

/// The visit one version later.
fn next(visit: &Appointment, change: impl FnOnce(&mut Appointment)) -> Appointment {
    changed(visit, |visit| {
        visit.version = visit.version.next();
        change(visit);
    })
}

/// Puts the visit there, without a buffer.
fn move_to(visit: &mut Appointment, slot: TimeSlot) {
    visit.slot = slot;
    visit.room_free_at = slot.ends_at();
}

/// Who and what can be booked, cannot be booked, or does not exist.
pub async fn the_standing_of_parties_is_known(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let manager = stage.saved_user("manager", Role::Manager).await;
    let disabled = changed(&stage.user("disabled", Role::Doctor), |user| {
        user.is_active = false;
    });
    let archived = Patient {
        archived_at: Some(stage.at(0)),
        ..stage.patient("Carla", "Kurz").await
    };
    let room = stage.saved_room("Open").await;
    let closed = changed(&stage.room("Closed"), |room| {
        room.is_active = false;
        room.kind = Some("surgery".to_owned());
    });
    stage
        .write(async |work| {
            work.users().insert(&disabled, &password("secret")).await?;
            work.patients().insert(&archived).await?;
            work.clinic().insert_room(&closed).await
        })
        .await
        .must();

    let fine = (people.anna.patient_id, people.first_doctor.user_id);
    for (patient_id, doctor_id, room_id, expected) in [
        (fine.0, fine.1, None, [Available, Available, Available]),
        (
            fine.0,
            fine.1,
            Some(room.room_id),
            [Available, Available, Available],
        ),
        (
            archived.patient_id,
            fine.1,
            None,
            [NotAvailable, Available, Available],
        ),
        (
            fine.0,
            manager.user_id,
            None,
            [Available, NotAvailable, Available],
        ),
        (
            fine.0,
            disabled.user_id,
            None,
            [Available, NotAvailable, Available],
        ),
        (
            fine.0,
            fine.1,
            Some(closed.room_id),
            [Available, Available, NotAvailable],
        ),
        (
            stage.id(),
            stage.id(),
            Some(stage.id()),
            [Unknown, Unknown, Unknown],
        ),
    ] {
        let parties = Parties {
            patient_id,
            doctor_id,
            room_id,
        };
        let mut connection = stage.connect().await;
        let standing = connection.appointments().standing(parties).await.must();
        let [patient, doctor, room] = expected;
        let expected = PartiesStanding {
            patient,
            doctor,
            room,
            room_kind: (room_id == Some(closed.room_id)).then(|| "surgery".to_owned()),
        };
        assert_eq!(standing, expected);
    }
}

/// What was stored comes back, with the planned services in their order.
pub async fn a_visit_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let bare = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    stage.book(&bare).await.must();
    let room = stage.saved_room("Room 1").await;
    let first = stage.saved_service("1", "First").await.service_id;
    let second = stage.saved_service("2", "Second").await.service_id;
    let planned = |service_id, quantity| PlannedService {
        service_id,
        quantity: Quantity::new(quantity).expect("within bounds"),
        unit_price: Some(Cents::new(8_000)),
    };
    let late = stage.at(5) + chrono::TimeDelta::microseconds(1);
    let late_part = TimeSlot::new(late, stage.at(6)).must();
    let full = Appointment {
        room_id: Some(room.room_id),
        notes: Some("Two\nlines".to_owned()),
        services: vec![
            planned(second, 2),
            planned(first, 1),
            PlannedService {
                unit_price: None,
                ..planned(second, 10_000)
            },
        ],
        overbook_reason: Some("Pain".to_owned()),
        accepted_obstacles: vec![
            Obstacle::ClinicHours(late_part),
            Obstacle::DoctorHours(stage.slot(10, 24 * 60)),
            Obstacle::Closure(stage.id()),
            Obstacle::TimeOff(stage.id()),
            Obstacle::DoctorNotAvailable(late),
            Obstacle::RoomNotAvailable(stage.at(0)),
        ],
        // The longest there is.
        room_free_at: stage.at(28 * 60),
        ..stage.visit(&people.berta, &people.second_doctor, stage.slot(0, 24 * 60))
    };
    stage.book(&full).await.must();
    assert_eq!(stored(&stage, &bare).await.as_ref(), Some(&bare));
    assert_eq!(stored(&stage, &full).await.as_ref(), Some(&full));
    let unknown = changed(&bare, |visit| visit.appointment_id = stage.id());
    assert_eq!(stored(&stage, &unknown).await, None);
}

/// Slots that only touch are both free; any moment in common is too much.
pub async fn a_doctor_is_in_one_place_at_a_time(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let booked = stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90));
    stage.book(&booked).await.must();
    for (from, to) in [
        (60, 90),
        (61, 89),
        (59, 91),
        (60, 70),
        (80, 90),
        (50, 61),
        (89, 100),
        (50, 90),
        (60, 100),
    ] {
        let visit = stage.visit(&people.berta, &people.first_doctor, stage.slot(from, to));
        assert_violates(stage.book(&visit).await, Rule::DoctorDoubleBooked);
        assert_eq!(stored(&stage, &visit).await, None);
    }
    for (from, to) in [(30, 60), (90, 120), (0, 10)] {
        let visit = stage.visit(&people.berta, &people.first_doctor, stage.slot(from, to));
        stage.book(&visit).await.must();
    }
    let with_another = stage.visit(&people.berta, &people.second_doctor, stage.slot(60, 90));
    stage.book(&with_another).await.must();
}

/// A room is taken like a doctor; visits without one are in nobody's way.
pub async fn a_room_holds_one_visit_at_a_time(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let other_room = stage.saved_room("Room 2").await;
    let visit_in = |patient, doctor, room_id, from, to| Appointment {
        room_id,
        ..stage.visit(patient, doctor, stage.slot(from, to))
    };
    let (anna, berta) = (&people.anna, &people.berta);
    let (first, second) = (&people.first_doctor, &people.second_doctor);
    let booked = visit_in(anna, first, Some(room.room_id), 60, 90);
    stage.book(&booked).await.must();
    let same_time = visit_in(berta, second, Some(room.room_id), 60, 90);
    assert_violates(stage.book(&same_time).await, Rule::RoomDoubleBooked);
    let in_part = visit_in(berta, second, Some(room.room_id), 89, 100);
    assert_violates(stage.book(&in_part).await, Rule::RoomDoubleBooked);
    let behind = visit_in(berta, second, Some(room.room_id), 90, 100);
    stage.book(&behind).await.must();
    let elsewhere = visit_in(berta, second, Some(other_room.room_id), 60, 70);
    stage.book(&elsewhere).await.must();
    let nowhere = visit_in(berta, second, None, 70, 80);
    stage.book(&nowhere).await.must();
    let nowhere_too = visit_in(anna, first, None, 30, 40);
    stage.book(&nowhere_too).await.must();
}

/// While a room is cleaned up, it is taken; the doctor and the patient are free.
pub async fn a_room_is_taken_until_it_is_clean(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let visit_in = |patient, doctor, from, to, buffer| Appointment {
        room_id: Some(room.room_id),
        room_free_at: stage.at(to + buffer),
        ..stage.visit(patient, doctor, stage.slot(from, to))
    };
    let (anna, berta) = (&people.anna, &people.berta);
    let (first, second) = (&people.first_doctor, &people.second_doctor);
    let booked = visit_in(anna, first, 60, 90, 15);
    stage.book(&booked).await.must();
    for (from, to, buffer) in [(90, 100, 0), (104, 110, 0), (40, 59, 2), (0, 30, 240)] {
        let refused = stage.book(&visit_in(berta, second, from, to, buffer)).await;
        assert_violates(refused, Rule::RoomDoubleBooked);
    }
    let behind = visit_in(berta, second, 105, 110, 0);
    stage.book(&behind).await.must();
    let elsewhere = stage.visit(anna, first, stage.slot(90, 105));
    stage.book(&elsewhere).await.must();
    let before = visit_in(berta, second, 40, 50, 10);
    stage.book(&before).await.must();
    let longer = next(&before, |visit| visit.room_free_at = stage.at(61));
    assert_violates(update(&stage, &longer).await, Rule::RoomDoubleBooked);

    // The longest visit with the longest buffer is in the way a day later.
    let longest = visit_in(anna, first, 10_000, 10_000 + 24 * 60, 240);
    stage.book(&longest).await.must();
    let next_day = visit_in(berta, second, 10_000 + 28 * 60 - 1, 10_000 + 28 * 60, 0);
    assert_violates(stage.book(&next_day).await, Rule::RoomDoubleBooked);
    let too_long = visit_in(berta, second, 20_000, 20_030, 241);
    assert_violates(stage.book(&too_long).await, Rule::ValueRefused);
}

/// Nobody is seated before they came, or done before they were seated.
pub async fn the_times_of_a_visit_are_in_order(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let visit = stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90));
    stage.book(&visit).await.must();
    for [arrived, seated, completed] in [
        [Some(2), Some(1), None],
        [None, Some(2), Some(1)],
        [Some(2), None, Some(1)],
    ] {
        let odd = next(&visit, |visit| {
            visit.arrived_at = arrived.map(|minute| stage.at(minute));
            visit.seated_at = seated.map(|minute| stage.at(minute));
            visit.completed_at = completed.map(|minute| stage.at(minute));
        });
        assert_violates(update(&stage, &odd).await, Rule::ValueRefused);
    }
}

/// A patient is taken like a doctor.
pub async fn a_patient_is_in_one_place_at_a_time(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let booked = stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90));
    stage.book(&booked).await.must();
    let elsewhere = stage.visit(&people.anna, &people.second_doctor, stage.slot(89, 100));
    assert_violates(stage.book(&elsewhere).await, Rule::PatientDoubleBooked);
    let behind = stage.visit(&people.anna, &people.second_doctor, stage.slot(90, 100));
    stage.book(&behind).await.must();
}

/// When several are taken, the doctor is told first, then the room, then the patient.
pub async fn the_first_that_is_taken_is_told(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let booked = Appointment {
        room_id: Some(room.room_id),
        ..stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90))
    };
    stage.book(&booked).await.must();
    let all = changed(&booked, |visit| visit.appointment_id = stage.id());
    assert_violates(stage.book(&all).await, Rule::DoctorDoubleBooked);
    let room_and_patient = changed(&all, |visit| {
        visit.doctor_id = people.second_doctor.user_id;
    });
    assert_violates(stage.book(&room_and_patient).await, Rule::RoomDoubleBooked);
}

/// A cancelled visit and a no-show let others have the slot, and do not get it back from them.
pub async fn a_visit_that_does_not_take_place_frees_its_slot(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    for (minute, status) in [(0, Status::Cancelled), (60, Status::NoShow)] {
        let slot = stage.slot(minute, minute + 30);
        let visit = stage.visit(&people.anna, &people.first_doctor, slot);
        stage.book(&visit).await.must();
        let over = next(&visit, |visit| {
            visit.status = status;
            visit.cancel_reason = (status == Status::Cancelled).then(|| "Ill".to_owned());
        });
        update(&stage, &over).await.must();
        let other = stage.visit(&people.anna, &people.first_doctor, slot);
        stage.book(&other).await.must();

        let back = next(&over, |visit| {
            visit.status = Status::Arrived;
            visit.cancel_reason = None;
        });
        assert_violates(update(&stage, &back).await, Rule::DoctorDoubleBooked);
        assert_eq!(stored(&stage, &visit).await.as_ref(), Some(&over));
        // It is in nobody's way, so it can still be changed.
        let noted = next(&over, |visit| visit.notes = Some("Called".into()));
        update(&stage, &noted).await.must();
    }
    for (minute, status) in [
        (120, Status::Scheduled),
        (180, Status::Confirmed),
        (240, Status::Arrived),
        (300, Status::InChair),
        (360, Status::Completed),
    ] {
        let slot = stage.slot(minute, minute + 30);
        let visit = stage.visit(&people.anna, &people.first_doctor, slot);
        stage.book(&visit).await.must();
        update(&stage, &next(&visit, |visit| visit.status = status))
            .await
            .must();
        let other = stage.visit(&people.anna, &people.first_doctor, slot);
        assert_violates(stage.book(&other).await, Rule::DoctorDoubleBooked);
    }
}

/// An update replaces everything, planned services included, if the version before is stored.
pub async fn a_changed_visit_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let service = stage.saved_service("1", "First").await;
    let visit = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let planned = PlannedService {
        service_id: service.service_id,
        quantity: Quantity::ONE,
        unit_price: Some(Cents::new(8_000)),
    };
    let moved = next(&visit, |visit| {
        visit.doctor_id = people.second_doctor.user_id;
        visit.room_id = Some(room.room_id);
        move_to(visit, stage.slot(40, 100));
        visit.status = Status::Confirmed;
        visit.notes = Some("Notes".to_owned());
        visit.services = vec![planned, planned];
        visit.room_free_at = stage.at(115);
        visit.arrived_at = Some(stage.at(1));
        visit.seated_at = Some(stage.at(1));
        visit.completed_at = Some(stage.at(2));
        visit.overbook_reason = Some("Pain".to_owned());
        visit.accepted_obstacles = vec![Obstacle::RoomNotAvailable(stage.at(0))];
        visit.updated_at = stage.at(5);
    });
    update(&stage, &moved).await.must();
    assert_eq!(stored(&stage, &visit).await.as_ref(), Some(&moved));
    assert_conflict(update(&stage, &moved).await);

    let cleared = next(&moved, |visit| {
        visit.room_id = None;
        visit.room_free_at = visit.slot.ends_at();
        visit.completed_at = None;
        visit.notes = None;
        visit.accepted_obstacles.clear();
        visit.services.truncate(1);
        visit.services[0].unit_price = Some(Cents::new(9_000));
        visit.status = Status::Cancelled;
        visit.cancel_reason = Some("Ill".to_owned());
    });
    update(&stage, &cleared).await.must();
    assert_eq!(stored(&stage, &visit).await.as_ref(), Some(&cleared));
    let unknown = next(&cleared, |visit| visit.appointment_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
}

/// A visit moves over its own slot, but not over that of another; then it stays where it was.
pub async fn a_visit_is_moved_only_to_a_free_slot(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let first = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let second = stage.visit(&people.berta, &people.first_doctor, stage.slot(60, 90));
    stage.book(&first).await.must();
    stage.book(&second).await.must();
    let a_little = next(&first, |visit| move_to(visit, stage.slot(10, 60)));
    update(&stage, &a_little).await.must();
    let too_far = next(&a_little, |visit| move_to(visit, stage.slot(10, 61)));
    assert_violates(update(&stage, &too_far).await, Rule::DoctorDoubleBooked);
    assert_eq!(stored(&stage, &first).await.as_ref(), Some(&a_little));

    let elsewhere = stage.visit(&people.anna, &people.second_doctor, stage.slot(90, 120));
    stage.book(&elsewhere).await.must();
    let onto_own = next(&a_little, |visit| move_to(visit, stage.slot(90, 100)));
    assert_violates(update(&stage, &onto_own).await, Rule::PatientDoubleBooked);
}

/// Everything a visit names exists.
pub async fn a_visit_refers_to_what_exists(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let fine = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let planned = PlannedService {
        service_id: stage.id(),
        quantity: Quantity::ONE,
        unit_price: Some(Cents::new(8_000)),
    };
    let wrong = [
        (
            changed(&fine, |visit| visit.patient_id = stage.id()),
            Rule::PatientUnknown,
        ),
        (
            changed(&fine, |visit| visit.doctor_id = stage.id()),
            Rule::DoctorUnknown,
        ),
        (
            changed(&fine, |visit| visit.room_id = Some(stage.id())),
            Rule::RoomUnknown,
        ),
        (
            changed(&fine, |visit| visit.services.push(planned)),
            Rule::ServiceUnknown,
        ),
    ];
    for (visit, rule) in wrong {
        assert_violates(stage.book(&visit).await, rule);
        assert_eq!(stored(&stage, &visit).await, None);
    }
    stage.book(&fine).await.must();
    let wrong = [
        (
            next(&fine, |visit| visit.doctor_id = stage.id()),
            Rule::DoctorUnknown,
        ),
        (
            next(&fine, |visit| visit.room_id = Some(stage.id())),
            Rule::RoomUnknown,
        ),
        (
            next(&fine, |visit| visit.services.push(planned)),
            Rule::ServiceUnknown,
        ),
    ];
    for (visit, rule) in wrong {
        assert_violates(update(&stage, &visit).await, rule);
        assert_eq!(stored(&stage, &fine).await.as_ref(), Some(&fine));
    }
}

/// The store refuses what no service would write.
pub async fn a_visit_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let fine = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let wrong: [fn(&mut Appointment); 4] = [
        |visit| visit.notes = Some(String::new()),
        |visit| visit.overbook_reason = Some("x".repeat(501)),
        |visit| visit.status = Status::Cancelled,
        |visit| visit.cancel_reason = Some("Not cancelled".to_owned()),
    ];
    for change in wrong {
        let visit = changed(&fine, change);
        assert_violates(stage.book(&visit).await, Rule::ValueRefused);
    }
}

/// Of several who book one slot at once, one gets it and the others are told why not.
pub async fn one_of_many_gets_a_slot(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let mut visits = Vec::new();
    for name in ["A", "B", "C", "D"] {
        let patient = stage.saved_patient(name, "Meyer").await;
        visits.push(stage.visit(&patient, &people.first_doctor, stage.slot(0, 30)));
    }
    let book = async |visit: &Appointment| {
        let booked = by_their_doctor(visit, HistoryAction::Book);
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        work.appointments().book(visit, &booked).await?;
                        let_others_go_on().await;
                        Ok(())
                    })
                    .await
            })
            .await
    };
    let (book, mut won) = (&book, 0);
    let outcomes = all_at_once(
        visits
            .iter()
            .map(|visit| Box::pin(book(visit)) as _)
            .collect(),
    );
    for outcome in outcomes.await {
        match outcome {
            Ok(()) => won += 1,
            refused => assert_violates(refused, Rule::DoctorDoubleBooked),
        }
    }
    assert_eq!(won, 1);
}

/// Of two who move to one free slot at once, one gets it and the other stays.
pub async fn one_of_two_who_move_gets_a_slot(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let first = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let second = stage.visit(&people.berta, &people.first_doctor, stage.slot(30, 60));
    stage.book(&first).await.must();
    stage.book(&second).await.must();
    let move_there = async |visit: &Appointment| {
        let moved = next(visit, |visit| move_to(visit, stage.slot(60, 90)));
        let change = by_their_doctor(visit, HistoryAction::Taken(Action::Reschedule));
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        work.appointments().hold_calendar().await?;
                        let_others_go_on().await;
                        work.appointments().update(&moved, &change).await
                    })
                    .await
            })
            .await
    };
    let outcomes = all_at_once(vec![
        Box::pin(move_there(&first)) as _,
        Box::pin(move_there(&second)) as _,
    ]);
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for refused in lost {
        assert_violates(refused, Rule::DoctorDoubleBooked);
    }
}

/// Those that are booked and not over, in their order, with who and what cannot be booked any more.
pub async fn coming_visits_are_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let closed = changed(&stage.room("Closed"), |room| room.is_active = false);
    let disabled = changed(&stage.user("disabled", Role::Doctor), |user| {
        user.is_active = false;
    });
    stage
        .write(async |work| {
            work.users().insert(&disabled, &password("secret")).await?;
            work.clinic().insert_room(&closed).await
        })
        .await
        .must();
    let (anna, doctor) = (&people.anna, &people.first_doctor);
    let in_room = |room_id, from| Appointment {
        room_id: Some(room_id),
        ..stage.visit(anna, doctor, stage.slot(from, from + 10))
    };
    let over = stage.visit(anna, doctor, stage.slot(0, 60));
    let under_way = stage.visit(anna, doctor, stage.slot(60, 61));
    let without_doctor = stage.visit(anna, &disabled, stage.slot(70, 80));
    let without_room = in_room(closed.room_id, 80);
    let confirmed = in_room(room.room_id, 90);
    for visit in [
        &confirmed,
        &over,
        &under_way,
        &without_room,
        &without_doctor,
    ] {
        stage.book(visit).await.must();
    }
    let confirmed = next(&confirmed, |visit| visit.status = Status::Confirmed);
    update(&stage, &confirmed).await.must();
    for (minute, status) in [
        (100, Status::Arrived),
        (110, Status::InChair),
        (120, Status::Completed),
        (130, Status::Cancelled),
        (140, Status::NoShow),
    ] {
        book_with_status(&stage, &in_room(room.room_id, minute), status).await;
    }

    let coming = |appointment: &Appointment| ComingVisit {
        appointment: appointment.clone(),
        doctor_not_available_since: None,
        room_not_available_since: None,
    };
    let all = [
        coming(&under_way),
        ComingVisit {
            doctor_not_available_since: Some(disabled.updated_at),
            ..coming(&without_doctor)
        },
        ComingVisit {
            room_not_available_since: Some(closed.updated_at),
            ..coming(&without_room)
        },
        coming(&confirmed),
    ];
    let window = |from, to| ConflictScope {
        window: TimeWindow {
            from: Some(stage.at(from)),
            to: Some(stage.at(to)),
        },
        ..ConflictScope::default()
    };
    let any = ConflictScope::default();
    let of_disabled = ConflictScope {
        doctor_id: Some(disabled.user_id),
        ..any
    };
    let in_closed = ConflictScope {
        room_id: Some(closed.room_id),
        ..any
    };
    for (scope, expected) in [
        (any, &all[..]),
        (of_disabled, &all[1..2]),
        (in_closed, &all[2..3]),
        (window(0, 1_000), &all),
        (window(61, 90), &all[1..3]),
        (window(79, 80), &all[1..2]),
        (window(90, 80), &[]),
    ] {
        assert_eq!(
            coming_in(&stage, &scope, PageRequest::first()).await.items,
            expected
        );
    }
    let first = coming_in(&stage, &any, page_of(2, None)).await;
    assert_eq!(first.items, all[..2]);
    let second = coming_in(&stage, &any, page_of(2, first.next)).await;
    assert_eq!(second.items, all[2..]);
    assert_eq!(second.next, None);
}

async fn book_with_status(stage: &Stage<'_>, visit: &Appointment, status: Status) {
    stage.book(visit).await.must();
    let later = next(visit, |visit| {
        visit.status = status;
        visit.cancel_reason = (status == Status::Cancelled).then(|| "Ill".to_owned());
    });
    update(stage, &later).await.must();
}

async fn coming_in(
    stage: &Stage<'_>,
    scope: &ConflictScope,
    page: PageRequest<AppointmentKey>,
) -> Page<ComingVisit, AppointmentKey> {
    let mut connection = stage.connect().await;
    let now = stage.at(60);
    connection
        .appointments()
        .coming(scope, now, page)
        .await
        .must()
}

async fn listed(stage: &Stage<'_>, filter: AppointmentFilter) -> Vec<Appointment> {
    let mut connection = stage.connect().await;
    let page = connection
        .appointments()
        .list(&filter, PageRequest::first())
        .await;
    all_of(page)
}

/// Each filter leaves out what it should, alone and with others.
pub async fn visits_are_listed_by_party_and_status(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let service = stage.saved_service("1", "First").await;
    let mut first = stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90));
    first.room_id = Some(room.room_id);
    first.services.push(PlannedService {
        service_id: service.service_id,
        quantity: Quantity::ONE,
        unit_price: Some(Cents::new(8_000)),
    });
    let second = stage.visit(&people.berta, &people.first_doctor, stage.slot(0, 30));
    let third = stage.visit(&people.anna, &people.second_doctor, stage.slot(0, 30));
    for visit in [&first, &second, &third] {
        stage.book(visit).await.must();
    }
    let third = next(&third, |visit| visit.status = Status::Confirmed);
    update(&stage, &third).await.must();

    let any = AppointmentFilter::default();
    let of = |doctor: &User| AppointmentFilter {
        doctor_id: Some(doctor.user_id),
        ..any
    };
    let all = [second.clone(), third.clone(), first.clone()];
    assert_eq!(listed(&stage, any).await, all);
    let filter = of(&people.first_doctor);
    assert_eq!(
        listed(&stage, filter).await,
        [second.clone(), first.clone()]
    );
    let filter = AppointmentFilter {
        patient_id: Some(people.anna.patient_id),
        ..any
    };
    assert_eq!(listed(&stage, filter).await, [third.clone(), first.clone()]);
    let filter = AppointmentFilter {
        room_id: Some(room.room_id),
        ..any
    };
    assert_eq!(listed(&stage, filter).await, [first]);
    let filter = AppointmentFilter {
        status: Some(Status::Confirmed),
        ..any
    };
    assert_eq!(listed(&stage, filter).await, [third]);
    let filter = AppointmentFilter {
        patient_id: Some(people.berta.patient_id),
        ..of(&people.second_doctor)
    };
    assert_eq!(listed(&stage, filter).await, []);
}

/// A window finds every visit that has a moment in common with it; one that holds no moment finds
/// none.
pub async fn visits_are_listed_by_window(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let first = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let second = stage.visit(&people.anna, &people.first_doctor, stage.slot(30, 60));
    stage.book(&first).await.must();
    stage.book(&second).await.must();
    for (from, to, expected) in [
        (None, None, vec![&first, &second]),
        (Some(-10), Some(0), vec![]),
        (Some(-10), Some(1), vec![&first]),
        (Some(29), Some(30), vec![&first]),
        (Some(29), Some(31), vec![&first, &second]),
        (Some(30), Some(31), vec![&second]),
        (Some(60), Some(90), vec![]),
        (Some(10), Some(11), vec![&first]),
        (Some(30), None, vec![&second]),
        (None, Some(30), vec![&first]),
        (Some(10), Some(10), vec![]),
        (Some(20), Some(10), vec![]),
    ] {
        let filter = AppointmentFilter {
            window: TimeWindow {
                from: from.map(|minute| stage.at(minute)),
                to: to.map(|minute| stage.at(minute)),
            },
            ..AppointmentFilter::default()
        };
        let found = listed(&stage, filter).await;
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            expected,
            "{from:?} {to:?}"
        );
    }
}

/// Pages hold earlier visits first, those that start together by their ids, each once, while
/// others are added.
pub async fn visits_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let late = stage.visit(&people.anna, &people.first_doctor, stage.slot(60, 90));
    let first = stage.visit(&people.anna, &people.first_doctor, stage.slot(0, 30));
    let second = stage.visit(&people.berta, &people.second_doctor, stage.slot(0, 30));
    for visit in [&late, &second, &first] {
        stage.book(visit).await.must();
    }
    let any = AppointmentFilter::default();
    let mut connection = stage.connect().await;
    let page = connection.appointments().list(&any, page_of(1, None)).await;
    let page = page.must();
    assert_eq!(page.items, [first]);

    let before = stage.visit(&people.anna, &people.first_doctor, stage.slot(-30, 0));
    let between = stage.visit(&people.anna, &people.first_doctor, stage.slot(30, 60));
    for visit in [&before, &between] {
        stage.book(visit).await.must();
    }
    let page = connection
        .appointments()
        .list(&any, page_of(2, page.next))
        .await;
    let page = page.must();
    assert_eq!(page.items, [second, between]);
    let page = connection
        .appointments()
        .list(&any, page_of(2, page.next))
        .await;
    assert_eq!(all_of(page), [late]);
}
