use super::stage::{Must, Stage, changed, password};
use crate::access::Role;
use crate::appointments::{Appointment, Status};
use crate::calendar::{Booking, SlotDoctor, Stretch};
use crate::clinic::{Doctor, Room};
use crate::identity::User;
use crate::patients::Patient;
use crate::shared::{PatientId, RoomId, UserId, Version};
use crate::store::Store;

async fn slot_doctors(stage: &Stage<'_>, among: Option<Vec<UserId>>) -> Vec<SlotDoctor> {
    let mut connection = stage.connect().await;
    connection.calendar().slot_doctors(among).await.must()
}

/// Active users with the role, in the order they were made, with their usual rooms; those of them
/// who are named, once each.
pub async fn doctors_to_offer_are_active_and_have_their_rooms(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = stage.saved_room("Room 1").await;
    let first = stage.saved_user("c", Role::Doctor).await;
    let manager = stage.saved_user("manager", Role::Manager).await;
    let disabled = changed(&stage.user("disabled", Role::Doctor), |user| {
        user.is_active = false;
    });
    stage
        .write(async |work| work.users().insert(&disabled, &password("secret")).await)
        .await
        .must();
    let second = stage.saved_user("a", Role::Doctor).await;
    let settings = Doctor {
        doctor_id: second.user_id,
        display_name: second.display_name.clone(),
        usual_room_id: Some(room.room_id),
        version: Version::FIRST,
    };
    stage
        .write(async |work| work.clinic().update_doctor(&settings, stage.at(0)).await)
        .await
        .must();
    let offered = |user: &User, usual_room_id| SlotDoctor {
        doctor_id: user.user_id,
        usual_room_id,
    };
    let both = [offered(&first, None), offered(&second, Some(room.room_id))];
    assert_eq!(slot_doctors(&stage, None).await, both);
    let (first, second) = (first.user_id, second.user_id);
    let named = vec![
        second,
        manager.user_id,
        disabled.user_id,
        stage.id(),
        second,
    ];
    assert_eq!(slot_doctors(&stage, Some(named)).await, both[1..]);
    assert_eq!(slot_doctors(&stage, Some(vec![second, first])).await, both);
    assert_eq!(slot_doctors(&stage, Some(Vec::new())).await, []);
}

/// Active rooms, of the kind if one is asked for: by their position, then in the order they were
/// made.
pub async fn rooms_to_offer_are_active_and_in_order(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = |name, position, kind: Option<&str>, is_active| {
        changed(&stage.room(name), |room| {
            room.position = position;
            room.kind = kind.map(str::to_owned);
            room.is_active = is_active;
        })
    };
    let rooms = [
        room("Last", 2, Some("surgery"), true),
        room("Third", 1, Some("Surgery"), true),
        room("Closed", 0, Some("surgery"), false),
        room("Second", 0, Some("surgery"), true),
        room("Fourth", 1, None, true),
    ];
    for room in &rooms {
        stage
            .write(async |work| work.clinic().insert_room(room).await)
            .await
            .must();
    }
    let found = async |kind: Option<&str>| {
        let mut connection = stage.connect().await;
        let kind = kind.map(str::to_owned);
        connection.calendar().slot_rooms(kind).await.must()
    };
    let ids = |places: &[usize]| -> Vec<RoomId> {
        places.iter().map(|place| rooms[*place].room_id).collect()
    };
    assert_eq!(found(None).await, ids(&[3, 1, 4, 0]));
    assert_eq!(found(Some("surgery")).await, ids(&[3, 0]));
    assert_eq!(found(Some("x-ray")).await, []);
}

fn booking_of(visit: &Appointment) -> Booking {
    Booking {
        doctor_id: visit.doctor_id,
        patient_id: visit.patient_id,
        room_id: visit.room_id,
        slot: visit.slot,
        room_free_at: visit.room_free_at,
    }
}

/// The starts of what is found from minute 0 to minute 60, each once.
async fn found(
    stage: &Stage<'_>,
    doctors: &[UserId],
    rooms: &[RoomId],
    patient: Option<PatientId>,
) -> Vec<Booking> {
    let mut connection = stage.connect().await;
    let hour: Stretch = stage.at(0)..stage.at(60);
    let mut found = connection
        .calendar()
        .bookings(doctors, rooms, patient, &hour)
        .await
        .must();
    found.sort_by_key(|booking| booking.slot.starts_at());
    found.dedup();
    found
}

struct Cast {
    doctor: User,
    other: User,
    room: Room,
    patients: Vec<Patient>,
}

async fn cast(stage: &Stage<'_>) -> Cast {
    let mut patients = Vec::new();
    for name in ["Anna", "Berta", "Carla", "Dora", "Emma"] {
        patients.push(stage.saved_patient(name, "Meyer").await);
    }
    Cast {
        doctor: stage.saved_user("doctor1", Role::Doctor).await,
        other: stage.saved_user("doctor2", Role::Doctor).await,
        room: stage.saved_room("Room 1").await,
        patients,
    }
}

/// What overlaps the stretch is found, wherever it begins and ends, by its doctor, its room or its
/// patient; what frees its slot is not.
pub async fn bookings_are_found_by_doctor_room_and_patient(store: &dyn Store) {
    let stage = Stage::new(store);
    let cast = cast(&stage).await;
    let visit = |patient: usize, doctor, from, to| {
        stage.visit(&cast.patients[patient], doctor, stage.slot(from, to))
    };
    let long_before = visit(0, &cast.doctor, 1 - 24 * 60, 1);
    let inside = visit(1, &cast.doctor, 10, 20);
    let cancelled = changed(&visit(1, &cast.doctor, 30, 40), |visit| {
        visit.status = Status::Cancelled;
        visit.cancel_reason = Some("Ill".to_owned());
    });
    let until_after = visit(1, &cast.doctor, 59, 120);
    let after = visit(0, &cast.doctor, 120, 130);
    let before = visit(2, &cast.other, -30, 0);
    let in_room = changed(&visit(2, &cast.other, 20, 30), |visit| {
        visit.room_id = Some(cast.room.room_id);
    });
    let from_the_end = visit(2, &cast.other, 60, 90);
    for visit in [
        &long_before,
        &inside,
        &cancelled,
        &until_after,
        &after,
        &before,
        &in_room,
        &from_the_end,
    ] {
        stage.book(visit).await.must();
    }
    let doctor = [cast.doctor.user_id];
    let room = [cast.room.room_id];
    let [long_before, inside, until_after, in_room] =
        [&long_before, &inside, &until_after, &in_room].map(booking_of);
    let of_doctor = [long_before, inside, until_after];
    assert_eq!(found(&stage, &doctor, &[], None).await, of_doctor);
    assert_eq!(found(&stage, &[], &room, None).await, [in_room]);
    let patient = Some(cast.patients[1].patient_id);
    assert_eq!(
        found(&stage, &[], &[], patient).await,
        [inside, until_after]
    );
    let all = [long_before, inside, in_room, until_after];
    assert_eq!(found(&stage, &doctor, &room, patient).await, all);
    assert_eq!(found(&stage, &[], &[], None).await, []);
}

/// A visit that is over before the stretch is found while its room is cleaned up.
pub async fn bookings_include_rooms_that_are_cleaned_up(store: &dyn Store) {
    let stage = Stage::new(store);
    let cast = cast(&stage).await;
    let visit = changed(
        &stage.visit(
            &cast.patients[0],
            &cast.doctor,
            stage.slot(-239 - 24 * 60, -239),
        ),
        |visit| {
            visit.room_id = Some(cast.room.room_id);
            visit.room_free_at = stage.at(1);
        },
    );
    stage.book(&visit).await.must();
    let expected = [booking_of(&visit)];
    let room = [cast.room.room_id];
    assert_eq!(found(&stage, &[], &room, None).await, expected);
}
