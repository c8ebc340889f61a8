use super::stage::{
    Must, Stage, all_at_once, all_of, assert_conflict, assert_violates, changed, let_others_go_on,
    page_of, password,
};
use crate::access::{Role, Roles};
use crate::identity::User;
use crate::shared::{PageRequest, UserId};
use crate::store::{Rule, Store, StoreError};

async fn update(stage: &Stage<'_>, user: &User) -> Result<(), StoreError> {
    stage
        .write(async |work| work.users().update(user).await)
        .await
}

async fn insert(stage: &Stage<'_>, user: &User) -> Result<(), StoreError> {
    stage
        .write(async |work| work.users().insert(user, &password("secret")).await)
        .await
}

/// What was stored comes back: by id, and by name blind to case, with the password.
pub async fn a_user_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = changed(&stage.user("Anna.Öz", Role::Doctor), |user| {
        user.roles = Roles::from_iter([Role::Admin, Role::Doctor]);
        user.is_active = false;
    });
    insert(&stage, &user).await.must();

    let mut connection = stage.connect().await;
    let users = connection.users();
    assert_eq!(users.get(user.user_id).await.must().as_ref(), Some(&user));
    assert_eq!(users.get(stage.id()).await.must(), None);
    let found = Some((user.clone(), password("secret")));
    assert_eq!(users.find_by_username("Anna.Öz").await.must(), found);
    assert_eq!(users.find_by_username("aNNA.öZ").await.must(), found);
    assert_eq!(users.find_by_username("anna").await.must(), None);
    assert_eq!(users.find_by_username("anna%").await.must(), None);
    let stored = users.password(user.user_id).await.must();
    assert_eq!(stored, Some(password("secret")));
    assert_eq!(users.password(stage.id()).await.must(), None);
}

/// An update replaces everything, if the version before it is stored.
pub async fn a_changed_user_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let next = changed(&user, |user| {
        user.username = "berta".into();
        user.display_name = "Berta".into();
        user.roles = Roles::from_iter([Role::Manager, Role::Receptionist]);
        user.is_active = false;
        user.version = user.version.next();
        user.updated_at = stage.at(5);
    });
    update(&stage, &next).await.must();
    let stored = stage.connect().await.users().get(user.user_id).await;
    assert_eq!(stored.must().as_ref(), Some(&next));

    assert_conflict(update(&stage, &next).await);
    let unknown = changed(&next, |user| user.user_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
}

/// Two users do not share a name, however it is capitalised.
pub async fn a_username_belongs_to_one_user(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_user("anna", Role::Admin).await;
    let other = stage.saved_user("Öz", Role::Admin).await;
    for taken in ["anna", "ANNA", "öz"] {
        let user = stage.user(taken, Role::Doctor);
        assert_violates(insert(&stage, &user).await, Rule::UsernameTaken);
    }
    let renamed = changed(&other, |user| {
        user.username = "Anna".into();
        user.version = user.version.next();
    });
    assert_violates(update(&stage, &renamed).await, Rule::UsernameTaken);
    let recapitalised = changed(&renamed, |user| user.username = "öZ".into());
    update(&stage, &recapitalised).await.must();
}

/// An id is one user's.
pub async fn a_user_id_is_given_once(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Admin).await;
    let berta = changed(&anna, |user| user.username = "berta".into());
    assert_violates(insert(&stage, &berta).await, Rule::IdentifierTaken);
}

/// The store refuses what no service would write.
pub async fn a_user_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let fine = stage.user("anna", Role::Admin);
    let wrong: [fn(&mut User); 5] = [
        |user| user.username = String::new(),
        |user| user.username = "with space".into(),
        |user| user.username = "x".repeat(65),
        |user| user.display_name = "with\0nul".into(),
        |user| user.roles = Roles::default(),
    ];
    for change in wrong {
        let user = changed(&fine, change);
        assert_violates(insert(&stage, &user).await, Rule::ValueRefused);
    }
    insert(&stage, &fine).await.must();
    for change in wrong {
        let user = changed(&fine, |user| {
            user.version = user.version.next();
            change(user);
        });
        assert_violates(update(&stage, &user).await, Rule::ValueRefused);
    }
}

/// Another password takes the place of the old one; the version stays.
pub async fn a_password_is_replaced(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Admin).await;
    let other = stage.saved_user("berta", Role::Admin).await;
    stage
        .write(async |work| {
            work.users()
                .set_password(user.user_id, &password("another"))
                .await
        })
        .await
        .must();
    let mut connection = stage.connect().await;
    let users = connection.users();
    let stored = users.password(user.user_id).await.must();
    assert_eq!(stored, Some(password("another")));
    assert_eq!(users.get(user.user_id).await.must(), Some(user));
    let untouched = users.password(other.user_id).await.must();
    assert_eq!(untouched, Some(password("secret")));
}

/// Pages hold users in the order they were made, each once, while others are added.
pub async fn users_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let early_id: UserId = stage.id();
    let mut expected = Vec::new();
    for name in ["c", "b", "a"] {
        expected.push(stage.saved_user(name, Role::Admin).await);
    }
    let mut connection = stage.connect().await;
    let first = connection.users().list(page_of(2, None)).await.must();
    assert_eq!(first.items, expected[..2]);
    assert_eq!(first.next, Some(expected[1].user_id));

    let early = changed(&stage.user("early", Role::Admin), |user| {
        user.user_id = early_id;
    });
    insert(&stage, &early).await.must();
    expected.push(stage.saved_user("late", Role::Admin).await);
    let second = connection.users().list(page_of(2, first.next)).await.must();
    assert_eq!(second.items, expected[2..]);
    assert_eq!(second.next, None);
}

/// The active admins are told in the order of their ids.
pub async fn active_admins_are_known(store: &dyn Store) {
    let stage = Stage::new(store);
    let first = stage.saved_user("b", Role::Admin).await;
    let second = stage.saved_user("a", Role::Admin).await;
    stage.saved_user("manager", Role::Manager).await;
    let disabled = changed(&stage.user("disabled", Role::Admin), |user| {
        user.is_active = false;
    });
    insert(&stage, &disabled).await.must();
    let admins = stage
        .write(async |work| work.users().lock_active_admins().await)
        .await
        .must();
    assert_eq!(admins, [first.user_id, second.user_id]);
}

/// Of two admins who demote each other at once, one stays.
pub async fn admins_who_demote_each_other_take_turns(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Admin).await;
    let berta = stage.saved_user("berta", Role::Admin).await;
    let demote = async |user: &User| {
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        let admins = work.users().lock_active_admins().await?;
                        let_others_go_on().await;
                        if admins == [user.user_id] {
                            return Ok(false);
                        }
                        let demoted = changed(user, |user| {
                            user.roles = Roles::from_iter([Role::Doctor]);
                            user.version = user.version.next();
                        });
                        work.users().update(&demoted).await?;
                        Ok(true)
                    })
                    .await
            })
            .await
            .must()
    };
    let demoted = all_at_once(vec![Box::pin(demote(&anna)), Box::pin(demote(&berta))]).await;
    assert_eq!(demoted.iter().filter(|done| **done).count(), 1);
    let mut connection = stage.connect().await;
    let users = all_of(connection.users().list(PageRequest::first()).await);
    let admins = users.iter().filter(|user| user.roles.contains(Role::Admin));
    assert_eq!(admins.count(), 1);
}
