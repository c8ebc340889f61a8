use std::sync::{Arc, Barrier};
use std::thread;

use chrono::TimeDelta;
use dcms_domain::access::{Role, Roles};
use dcms_domain::identity::{
    CreateUser, IdentityError, LoggedIn, PasswordHasher, Secret, Session, User, UserChanges,
};
use dcms_domain::shared::{Change, Clock, Page, PageRequest, SessionId, UserId, Version};
use dcms_domain::store::{Rule, Store};
use dcms_domain::testing::{Clinic, FakeHasher, PASSWORD};
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn new_user(username: &str, roles: &[Role]) -> CreateUser {
    CreateUser {
        username: username.to_owned(),
        display_name: "Somebody".to_owned(),
        roles: roles.iter().copied().collect(),
        is_active: true,
        password: secret(PASSWORD),
    }
}

fn roles(roles: &[Role]) -> UserChanges {
    UserChanges {
        roles: Change::Set(roles.iter().copied().collect()),
        ..UserChanges::default()
    }
}

fn disabled() -> UserChanges {
    UserChanges {
        is_active: Change::Set(false),
        ..UserChanges::default()
    }
}

async fn change(clinic: &Clinic, id: UserId, changes: UserChanges) -> Result<User, IdentityError> {
    let identity = &clinic.services.identity;
    identity.change_user(&clinic.admin, id, &ANY, changes).await
}

async fn is_live(clinic: &Clinic, token: &Secret) -> bool {
    match clinic.services.identity.authenticate(token).await {
        Ok(_) => true,
        Err(IdentityError::Unauthenticated) => false,
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

fn ids(page: &Page<Session, SessionId>) -> Vec<SessionId> {
    page.items
        .iter()
        .map(|session| session.session_id)
        .collect()
}

#[test]
fn all_faults_of_a_user_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let command = CreateUser {
            username: "with space".to_owned(),
            display_name: " \t ".to_owned(),
            roles: Roles::default(),
            is_active: true,
            password: secret("short"),
        };
        let refused = clinic.services.identity.create_user(&clinic.admin, command);
        assert_eq!(
            faults(refused.await),
            [
                "/username invalid_characters",
                "/display_name required",
                "/roles required",
                "/password too_short",
            ]
        );
        let changes = UserChanges {
            username: Change::Set("x".repeat(65)),
            display_name: Change::Clear,
            roles: Change::Clear,
            is_active: Change::Clear,
        };
        assert_eq!(
            faults(change(&clinic, clinic.doctor.user_id, changes).await),
            [
                "/display_name required",
                "/roles required",
                "/is_active required",
                "/username too_long",
            ]
        );
    });
}

#[test]
fn passwords_have_a_length_and_are_no_published_default() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (identity, admin) = (&clinic.services.identity, &clinic.admin);
        let id = clinic.doctor.user_id;
        for (password, expected) in [
            ("x".repeat(11), Some("/new_password too_short")),
            ("ä".repeat(12), None),
            ("x".repeat(128), None),
            ("x".repeat(129), Some("/new_password too_long")),
            (
                "published default".to_owned(),
                Some("/new_password not_available"),
            ),
        ] {
            let new = secret(&password);
            let outcome = identity.reset_password(admin, id, &new).await;
            let own_outcome = match expected {
                None => {
                    outcome.unwrap();
                    continue;
                }
                Some(expected) => {
                    assert_eq!(faults(outcome), [expected]);
                    let current = secret(PASSWORD);
                    identity
                        .change_password(&clinic.doctor, &current, &new)
                        .await
                }
            };
            assert_eq!(faults(own_outcome), [expected.unwrap()]);
        }
        let mut user = new_user("new", &[Role::Doctor]);
        user.password = secret("published default");
        let refused = identity.create_user(admin, user).await;
        assert_eq!(faults(refused), ["/password not_available"]);
        let refused = identity
            .create_admin_from_console("new".to_owned(), secret("published default"))
            .await;
        assert_eq!(faults(refused), ["/password not_available"]);
    });
}

#[test]
fn a_published_default_does_not_log_in_even_when_it_is_the_password() {
    block_on(async {
        let clinic = Clinic::open().await;
        let default = secret("published default");
        let hash = FakeHasher.hash(&default).await.unwrap();
        let mut work = clinic.store.begin().await.unwrap();
        let id = clinic.doctor.user_id;
        work.users().set_password(id, &hash).await.unwrap();
        work.commit().await.unwrap();
        let refused = clinic.log_in("doctor1", default.expose()).await;
        assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
    });
}

#[test]
fn a_username_belongs_to_one_user() {
    block_on(async {
        let clinic = Clinic::open().await;
        let taken = new_user("DOCTOR1", &[Role::Doctor]);
        let refused = clinic
            .services
            .identity
            .create_user(&clinic.admin, taken)
            .await;
        assert_eq!(violated(refused), Rule::UsernameTaken);
        let changes = UserChanges {
            username: Change::Set("Manager".to_owned()),
            ..UserChanges::default()
        };
        let refused = change(&clinic, clinic.doctor.user_id, changes).await;
        assert_eq!(violated(refused), Rule::UsernameTaken);
    });
}

#[test]
fn only_the_right_password_of_an_active_user_logs_in() {
    block_on(async {
        let clinic = Clinic::open().await;
        let LoggedIn {
            access_token,
            session,
            user,
        } = clinic.log_in(" Doctor1 ", PASSWORD).await.unwrap();
        assert_eq!(user.user_id, clinic.doctor.user_id);
        assert_eq!(session.user_id, user.user_id);
        assert_eq!(
            session.expires_at - session.created_at,
            TimeDelta::hours(12)
        );
        let actor = clinic
            .services
            .identity
            .authenticate(&access_token)
            .await
            .unwrap();
        assert_eq!(actor.session_id, session.session_id);
        assert_eq!(actor.roles, user.roles);

        change(&clinic, clinic.other_doctor.user_id, disabled())
            .await
            .unwrap();
        for (username, password) in [
            ("doctor1", "wrong password"),
            ("doctor1", ""),
            ("nobody", PASSWORD),
            ("doc\0tor1", PASSWORD),
            ("", PASSWORD),
            ("doctor2", PASSWORD),
        ] {
            let refused = clinic.log_in(username, password).await;
            let is_so = matches!(refused, Err(IdentityError::InvalidCredentials));
            assert!(is_so, "{username:?}: {refused:?}");
        }
    });
}

#[test]
fn a_session_counts_until_its_last_moment() {
    block_on(async {
        let clinic = Clinic::open().await;
        let token = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        clinic
            .clock
            .advance(TimeDelta::hours(12) - TimeDelta::microseconds(1));
        assert!(is_live(&clinic, &token).await);
        clinic.clock.advance(TimeDelta::microseconds(1));
        assert!(!is_live(&clinic, &token).await);
        assert!(!is_live(&clinic, &secret("no token at all")).await);
    });
}

#[test]
fn a_changed_role_counts_from_the_next_request_on() {
    block_on(async {
        let clinic = Clinic::open().await;
        let token = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let id = clinic.doctor.user_id;
        change(&clinic, id, roles(&[Role::Receptionist]))
            .await
            .unwrap();
        let actor = clinic.services.identity.authenticate(&token).await.unwrap();
        assert_eq!(actor.roles, Roles::from_iter([Role::Receptionist]));
    });
}

#[test]
fn disabling_a_user_ends_their_sessions_for_good() {
    block_on(async {
        let clinic = Clinic::open().await;
        let token = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let others = clinic
            .log_in("doctor2", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let id = clinic.doctor.user_id;
        change(&clinic, id, disabled()).await.unwrap();
        assert!(!is_live(&clinic, &token).await);
        assert!(is_live(&clinic, &others).await);
        let enabled = UserChanges {
            is_active: Change::Set(true),
            ..UserChanges::default()
        };
        change(&clinic, id, enabled).await.unwrap();
        assert!(!is_live(&clinic, &token).await);
        clinic.log_in("doctor1", PASSWORD).await.unwrap();
    });
}

#[test]
fn a_session_that_outlived_the_disabling_of_its_user_does_not_count() {
    block_on(async {
        let clinic = Clinic::open().await;
        let token = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        // As when somebody logs in at the moment they are disabled.
        let mut work = clinic.store.begin().await.unwrap();
        let id = clinic.doctor.user_id;
        let mut user = work.users().get(id).await.unwrap().unwrap();
        user.is_active = false;
        user.version = user.version.next();
        work.users().update(&user).await.unwrap();
        work.commit().await.unwrap();
        assert!(!is_live(&clinic, &token).await);
    });
}

#[test]
fn a_refreshed_session_has_another_token_and_a_full_life() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let old = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let actor = identity.authenticate(&old.access_token).await.unwrap();
        clinic.clock.advance(TimeDelta::hours(11));
        let new = identity.refresh(&actor).await.unwrap();
        assert_eq!(new.session.session_id, old.session.session_id);
        assert_eq!(
            new.session.expires_at,
            clinic.clock.now() + TimeDelta::hours(12)
        );
        assert!(!is_live(&clinic, &old.access_token).await);
        assert!(is_live(&clinic, &new.access_token).await);

        identity.log_out(&actor).await.unwrap();
        assert!(!is_live(&clinic, &new.access_token).await);
        let refused = identity.refresh(&actor).await;
        assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
    });
}

#[test]
fn changing_the_password_ends_the_other_sessions() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let this = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let other = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let of_somebody = clinic
            .log_in("doctor2", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let actor = identity.authenticate(&this).await.unwrap();
        let (current, new) = (secret(PASSWORD), secret("another secret"));

        let refused = identity.change_password(&actor, &new, &new).await;
        assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        assert!(is_live(&clinic, &other).await);

        identity
            .change_password(&actor, &current, &new)
            .await
            .unwrap();
        assert!(is_live(&clinic, &this).await);
        assert!(!is_live(&clinic, &other).await);
        assert!(is_live(&clinic, &of_somebody).await);
        assert!(clinic.log_in("doctor1", PASSWORD).await.is_err());
        clinic.log_in("doctor1", "another secret").await.unwrap();
    });
}

#[test]
fn resetting_a_password_ends_all_sessions_of_the_user() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let token = clinic
            .log_in("doctor1", PASSWORD)
            .await
            .unwrap()
            .access_token;
        let new = secret("another secret");
        let id = clinic.doctor.user_id;
        identity
            .reset_password(&clinic.admin, id, &new)
            .await
            .unwrap();
        assert!(!is_live(&clinic, &token).await);
        assert!(clinic.log_in("doctor1", PASSWORD).await.is_err());
        clinic.log_in("doctor1", "another secret").await.unwrap();
        let nobody = clinic.patient.patient_id;
        let nobody = uuid::Uuid::from(nobody).into();
        assert_not_found(identity.reset_password(&clinic.admin, nobody, &new).await);
    });
}

#[test]
fn everybody_sees_and_ends_their_own_sessions_and_no_others() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let second = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let page = identity
            .own_sessions(&clinic.doctor, PageRequest::first())
            .await;
        let own = [clinic.doctor.session_id, second.session.session_id];
        assert_eq!(ids(&page.unwrap()), own);

        let foreign = clinic.other_doctor.session_id;
        assert_not_found(identity.revoke_own_session(&clinic.doctor, foreign).await);
        let id = second.session.session_id;
        identity
            .revoke_own_session(&clinic.doctor, id)
            .await
            .unwrap();
        assert!(!is_live(&clinic, &second.access_token).await);
        assert_not_found(identity.revoke_own_session(&clinic.doctor, id).await);
        let page = identity
            .own_sessions(&clinic.doctor, PageRequest::first())
            .await;
        assert_eq!(ids(&page.unwrap()), own[..1]);
    });
}

#[test]
fn admins_see_and_end_the_sessions_of_all() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (identity, admin) = (&clinic.services.identity, &clinic.admin);
        let all = identity
            .sessions(admin, None, PageRequest::first())
            .await
            .unwrap();
        assert_eq!(all.items.len(), 5);
        let doctor = Some(clinic.doctor.user_id);
        let of_doctor = identity.sessions(admin, doctor, PageRequest::first()).await;
        assert_eq!(ids(&of_doctor.unwrap()), [clinic.doctor.session_id]);

        let id = clinic.manager.session_id;
        identity.revoke_session(admin, id).await.unwrap();
        assert_not_found(identity.revoke_session(admin, id).await);
        clinic.log_in("doctor1", PASSWORD).await.unwrap();
        identity
            .revoke_sessions_of(admin, clinic.doctor.user_id)
            .await
            .unwrap();
        let left = identity.sessions(admin, None, PageRequest::first()).await;
        let expected = [&clinic.admin, &clinic.other_doctor, &clinic.receptionist];
        assert_eq!(ids(&left.unwrap()), expected.map(|actor| actor.session_id));
        let nobody = uuid::Uuid::from(clinic.patient.patient_id).into();
        assert_not_found(identity.revoke_sessions_of(admin, nobody).await);
    });
}

#[test]
fn the_last_active_admin_stays() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.admin.user_id;
        for changes in [disabled(), roles(&[Role::Manager])] {
            let refused = change(&clinic, id, changes).await;
            assert!(
                matches!(refused, Err(IdentityError::LastAdmin)),
                "{refused:?}"
            );
        }
        let renamed = UserChanges {
            display_name: Change::Set("The boss".to_owned()),
            roles: Change::Set(Roles::from_iter([Role::Admin, Role::Doctor])),
            ..UserChanges::default()
        };
        change(&clinic, id, renamed).await.unwrap();

        let mut second = new_user("second", &[Role::Admin]);
        second.is_active = false;
        let second = clinic
            .services
            .identity
            .create_user(&clinic.admin, second)
            .await;
        let refused = change(&clinic, id, roles(&[Role::Manager])).await;
        assert!(matches!(refused, Err(IdentityError::LastAdmin)));
        let enabled = UserChanges {
            is_active: Change::Set(true),
            ..UserChanges::default()
        };
        change(&clinic, second.unwrap().user_id, enabled)
            .await
            .unwrap();
        change(&clinic, id, roles(&[Role::Manager])).await.unwrap();
    });
}

#[test]
fn two_admins_who_demote_each_other_at_once_do_not_both_succeed() {
    for _ in 0..20 {
        let clinic = Arc::new(block_on(Clinic::open()));
        let second = new_user("second", &[Role::Admin]);
        let second = block_on(clinic.services.identity.create_user(&clinic.admin, second));
        let start = Arc::new(Barrier::new(2));
        let demote = |id: UserId| {
            let (clinic, start) = (Arc::clone(&clinic), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                block_on(change(&clinic, id, roles(&[Role::Manager])))
            })
        };
        let threads = [
            demote(clinic.admin.user_id),
            demote(second.unwrap().user_id),
        ];
        let outcomes = threads.map(|thread| thread.join().unwrap());
        let refused = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Err(IdentityError::LastAdmin)));
        assert_eq!(refused.count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}

#[test]
fn a_stale_version_is_told_before_anything_else() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let faulty = UserChanges {
            username: Change::Clear,
            ..roles(&[])
        };
        let id = clinic.admin.user_id;
        let refused = identity
            .change_user(&clinic.admin, id, &outdated(), faulty)
            .await;
        assert_mismatch(refused);
        let user = identity.user(&clinic.admin, id).await.unwrap();
        assert_eq!(user.version, Version::FIRST);
        let nobody = uuid::Uuid::from(clinic.patient.patient_id).into();
        assert_not_found(change(&clinic, nobody, UserChanges::default()).await);
        assert_not_found(identity.user(&clinic.admin, nobody).await);
    });
}

#[test]
fn an_admin_can_be_made_from_the_console() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let made = identity
            .create_admin_from_console("root".to_owned(), secret(PASSWORD))
            .await
            .unwrap();
        assert_eq!(made.roles, Roles::from_iter([Role::Admin]));
        assert!(made.is_active);
        clinic.log_in("ROOT", PASSWORD).await.unwrap();
        let users = identity.users(&clinic.admin, PageRequest::first()).await;
        assert_eq!(users.unwrap().items.last(), Some(&made));
    });
}

#[test]
fn me_is_the_user_the_session_and_the_clinic() {
    block_on(async {
        let clinic = Clinic::open().await;
        let me = clinic.services.identity.me(&clinic.doctor).await.unwrap();
        assert_eq!(me.user.username, "doctor1");
        assert_eq!(me.session_id, clinic.doctor.session_id);
        assert_eq!(me.clinic_name, "Dental clinic");
    });
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", secret("hunter2"));
    assert!(!shown.contains("hunter2"), "{shown}");
    let hash = block_on(FakeHasher.hash(&secret("hunter2"))).unwrap();
    let shown = format!("{hash:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
