use chrono_tz::Tz;
use iso_currency::Currency;

use super::stage::{
    Must, Stage, all_of, assert_conflict, assert_violates, changed, page_of, password,
};
use crate::access::{Role, Roles};
use crate::clinic::{ClinicSettings, Doctor, Room, RoomKey};
use crate::identity::User;
use crate::shared::{PageRequest, Version};
use crate::store::{Rule, Store, StoreError};

async fn insert(stage: &Stage<'_>, room: &Room) -> Result<(), StoreError> {
    stage
        .write(async |work| work.clinic().insert_room(room).await)
        .await
}

async fn update(stage: &Stage<'_>, room: &Room) -> Result<(), StoreError> {
    stage
        .write(async |work| work.clinic().update_room(room).await)
        .await
}

async fn delete(stage: &Stage<'_>, room: &Room) -> Result<(), StoreError> {
    stage
        .write(async |work| work.clinic().delete_room(room).await)
        .await
}

async fn stored(stage: &Stage<'_>, room: &Room) -> Option<Room> {
    let mut connection = stage.connect().await;
    connection.clinic().room(room.room_id).await.must()
}

/// There are settings from the start; an update replaces them, if the version before is stored.
pub async fn the_settings_are_there_and_change(store: &dyn Store) {
    let stage = Stage::new(store);
    let settings = stage.connect().await.clinic().settings().await.must();
    assert_eq!(settings.version, Version::FIRST);
    assert_eq!(settings.time_zone, Tz::UTC);

    let next = ClinicSettings {
        clinic_name: "Zähne & Co.".to_owned(),
        time_zone: Tz::Australia__Lord_Howe,
        address: Some("Street 1\nTown".to_owned()),
        phone: Some("+49 30 1234".to_owned()),
        email: Some("desk@example.org".to_owned()),
        currency: Currency::AUD,
        default_slot_minutes: 15,
        slot_grid_minutes: 12,
        smallest_notice_minutes: 60,
        largest_notice_days: 90,
        version: settings.version.next(),
        updated_at: stage.at(0),
    };
    let save = async |settings: &ClinicSettings| {
        stage
            .write(async |work| work.clinic().update_settings(settings).await)
            .await
    };
    save(&next).await.must();
    let stored = stage.connect().await.clinic().settings().await.must();
    assert_eq!(stored, next);
    assert_conflict(save(&next).await);

    let cleared = changed(&next, |settings| {
        settings.address = None;
        settings.phone = None;
        settings.email = None;
        settings.version = settings.version.next();
    });
    save(&cleared).await.must();
    let stored = stage.connect().await.clinic().settings().await.must();
    assert_eq!(stored, cleared);

    let wrong: [fn(&mut ClinicSettings); 6] = [
        |settings| settings.default_slot_minutes = 4,
        |settings| settings.slot_grid_minutes = 7,
        |settings| settings.slot_grid_minutes = 0,
        |settings| settings.smallest_notice_minutes = -1,
        |settings| settings.largest_notice_days = 0,
        |settings| settings.largest_notice_days = 3_651,
    ];
    for change in wrong {
        let wrong = changed(&cleared, |settings| {
            change(settings);
            settings.version = settings.version.next();
        });
        assert_violates(save(&wrong).await, Rule::ValueRefused);
    }
}

/// What was stored comes back; an update replaces it, if the version before is stored.
pub async fn a_room_is_stored_and_changed(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = stage.saved_room("Room 1").await;
    assert_eq!(stored(&stage, &room).await.as_ref(), Some(&room));
    let next = changed(&room, |room| {
        room.name = "Room 2".into();
        room.is_active = false;
        room.kind = Some("surgery".into());
        room.position = 7;
        room.version = room.version.next();
        room.updated_at = stage.at(5);
    });
    update(&stage, &next).await.must();
    assert_eq!(stored(&stage, &room).await.as_ref(), Some(&next));
    assert_conflict(update(&stage, &next).await);
    let unknown = changed(&next, |room| room.room_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
    assert_eq!(stored(&stage, &unknown).await, None);
}

/// Two rooms do not share a name, however it is capitalised.
pub async fn a_room_name_belongs_to_one_room(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_room("Süd").await;
    let other = stage.saved_room("Nord").await;
    let same_name = stage.room("SÜD");
    assert_violates(insert(&stage, &same_name).await, Rule::RoomNameTaken);
    let renamed = changed(&other, |room| {
        room.name = "süd".into();
        room.version = room.version.next();
    });
    assert_violates(update(&stage, &renamed).await, Rule::RoomNameTaken);
    let same_id = changed(&other, |room| room.name = "West".into());
    assert_violates(insert(&stage, &same_id).await, Rule::IdentifierTaken);
}

/// The store refuses what no service would write.
pub async fn a_room_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let wrong: [fn(&mut Room); 6] = [
        |room| room.name = String::new(),
        |room| room.name = "x".repeat(101),
        |room| room.kind = Some(String::new()),
        |room| room.kind = Some("x".repeat(51)),
        |room| room.position = -1,
        |room| room.position = 10_001,
    ];
    for change in wrong {
        let room = changed(&stage.room("Room"), change);
        assert_violates(insert(&stage, &room).await, Rule::ValueRefused);
    }
}

/// A room goes in the version given, and never when a visit, even a cancelled one, was in it, nor
/// when it is somebody's usual one.
pub async fn a_room_is_deleted_unless_it_was_booked(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = stage.saved_room("Room 1").await;
    let outdated = changed(&room, |room| room.version = room.version.next());
    assert_conflict(delete(&stage, &outdated).await);
    delete(&stage, &room).await.must();
    assert_eq!(stored(&stage, &room).await, None);
    assert_conflict(delete(&stage, &room).await);

    let booked = stage.saved_room("Room 1").await;
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let mut visit = stage.visit(&patient, &doctor, stage.slot(0, 30));
    visit.room_id = Some(booked.room_id);
    stage.book(&visit).await.must();
    assert_violates(delete(&stage, &booked).await, Rule::StillInUse);
    assert_eq!(stored(&stage, &booked).await, Some(booked));

    let usual = stage.saved_room("Room 2").await;
    let doctor = as_doctor(&doctor, Some(&usual), Version::FIRST);
    update_doctor(&stage, &doctor).await.must();
    assert_violates(delete(&stage, &usual).await, Rule::StillInUse);
}

/// Pages hold rooms by their position, then in the order they were made, each once, while others
/// are added.
pub async fn rooms_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let early = stage.room("Early");
    let last = changed(&stage.room("Last"), |room| room.position = 1);
    insert(&stage, &last).await.must();
    let mut expected = Vec::new();
    for name in ["C", "B", "A"] {
        expected.push(stage.saved_room(name).await);
    }
    let mut connection = stage.connect().await;
    let first = connection.clinic().rooms(page_of(2, None)).await.must();
    assert_eq!(first.items, expected[..2]);
    assert_eq!(first.next, Some(RoomKey::from(&expected[1])));
    insert(&stage, &early).await.must();
    expected.push(stage.saved_room("Late").await);
    expected.push(last);
    let second = connection.clinic().rooms(page_of(4, first.next)).await;
    assert_eq!(all_of(second), expected[2..]);
}

/// Doctors are the active users with the role, in the order they were made, page by page.
pub async fn doctors_are_active_users_with_the_role(store: &dyn Store) {
    let stage = Stage::new(store);
    let first = stage.saved_user("c", Role::Doctor).await;
    stage.saved_user("manager", Role::Manager).await;
    let disabled = changed(&stage.user("disabled", Role::Doctor), |user| {
        user.is_active = false;
    });
    let with_more_roles = changed(&stage.user("a", Role::Doctor), |user| {
        user.roles = Roles::from_iter([Role::Doctor, Role::Admin]);
    });
    for user in [&disabled, &with_more_roles] {
        stage
            .write(async |work| work.users().insert(user, &password("secret")).await)
            .await
            .must();
    }
    let doctor = |user: &User| as_doctor(user, None, Version::NEVER_CHANGED);
    let mut connection = stage.connect().await;
    let all = connection.clinic().doctors(PageRequest::first()).await;
    assert_eq!(all_of(all), [doctor(&first), doctor(&with_more_roles)]);
    let page = connection.clinic().doctors(page_of(1, None)).await.must();
    assert_eq!(page.items, [doctor(&first)]);
    let page = connection.clinic().doctors(page_of(1, page.next)).await;
    assert_eq!(all_of(page), [doctor(&with_more_roles)]);
}

fn as_doctor(user: &User, usual_room: Option<&Room>, version: Version) -> Doctor {
    Doctor {
        doctor_id: user.user_id,
        display_name: user.display_name.clone(),
        usual_room_id: usual_room.map(|room| room.room_id),
        version,
    }
}

async fn update_doctor(stage: &Stage<'_>, doctor: &Doctor) -> Result<(), StoreError> {
    stage
        .write(async |work| work.clinic().update_doctor(doctor, stage.at(0)).await)
        .await
}

/// What a user has as a doctor is stored, if the version before is; users with the role are found,
/// active or not, and others are not.
pub async fn a_doctor_is_found_and_changed(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = stage.saved_room("Room 1").await;
    let manager = stage.saved_user("manager", Role::Manager).await;
    let user = changed(&stage.user("doctor", Role::Doctor), |user| {
        user.is_active = false;
    });
    stage
        .write(async |work| work.users().insert(&user, &password("secret")).await)
        .await
        .must();
    let found = async |user_id| {
        let mut connection = stage.connect().await;
        connection.clinic().doctor(user_id).await.must()
    };
    let unchanged = as_doctor(&user, None, Version::NEVER_CHANGED);
    assert_eq!(found(user.user_id).await.as_ref(), Some(&unchanged));
    for user_id in [manager.user_id, stage.id()] {
        assert_eq!(found(user_id).await, None);
    }
    let mut connection = stage.connect().await;
    let asked = [stage.id(), user.user_id, manager.user_id, user.user_id];
    let doctors = connection.clinic().doctors_among(&asked).await.must();
    assert_eq!(doctors, [user.user_id]);

    let first = as_doctor(&user, Some(&room), Version::FIRST);
    update_doctor(&stage, &first).await.must();
    assert_eq!(found(user.user_id).await.as_ref(), Some(&first));
    assert_conflict(update_doctor(&stage, &first).await);
    let second = as_doctor(&user, None, Version::FIRST.next());
    update_doctor(&stage, &second).await.must();
    assert_eq!(found(user.user_id).await.as_ref(), Some(&second));

    let nowhere = changed(&second, |doctor| {
        doctor.usual_room_id = Some(stage.id());
        doctor.version = doctor.version.next();
    });
    assert_violates(update_doctor(&stage, &nowhere).await, Rule::RoomUnknown);
}
