use super::stage::{Must, Stage, assert_violates, password};
use crate::access::Role;
use crate::store::{Rule, Store};

/// A store that was just made can be worked with.
pub async fn a_fresh_store_is_ready(store: &dyn Store) {
    assert_eq!(store.check_ready().await, Ok(()));
}

/// What was done in a unit of work is gone when it is dropped.
pub async fn a_dropped_unit_of_work_leaves_nothing(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.user("anna", Role::Admin);
    let room = stage.room("Room 1");
    {
        let mut work = store.begin().await.must();
        work.users().insert(&user, &password("secret")).await.must();
        work.clinic().insert_room(&room).await.must();
    }
    let mut connection = stage.connect().await;
    assert_eq!(connection.users().get(user.user_id).await.must(), None);
    assert_eq!(connection.clinic().room(room.room_id).await.must(), None);
}

/// A change is seen inside its unit of work at once, outside only when it is committed.
pub async fn a_unit_of_work_sees_its_own_changes_and_others_do_not(store: &dyn Store) {
    let stage = Stage::new(store);
    let room = stage.room("Room 1");
    let mut connection = stage.connect().await;
    let mut work = store.begin().await.must();
    work.clinic().insert_room(&room).await.must();

    let inside = work.clinic().room(room.room_id).await.must();
    assert_eq!(inside.as_ref(), Some(&room));
    assert_eq!(connection.clinic().room(room.room_id).await.must(), None);

    work.commit(&stage.entry()).await.must();
    let outside = connection.clinic().room(room.room_id).await.must();
    assert_eq!(outside.as_ref(), Some(&room));
}

/// A violation takes everything with it that the unit of work did before.
pub async fn a_refused_unit_of_work_leaves_nothing(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_room("Room 1").await;
    let (fine, same_name) = (stage.room("Room 2"), stage.room("Room 1"));
    let outcome = stage
        .write(async |work| {
            work.clinic().insert_room(&fine).await?;
            work.clinic().insert_room(&same_name).await
        })
        .await;
    assert_violates(outcome, Rule::RoomNameTaken);
    let mut connection = stage.connect().await;
    assert_eq!(connection.clinic().room(fine.room_id).await.must(), None);
}
