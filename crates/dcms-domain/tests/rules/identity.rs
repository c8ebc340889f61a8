use std::sync::{Arc, Barrier};
use std::thread;

use chrono::TimeDelta;
use dcms_domain::access::{Actor, Forbidden, Origin, Role, Roles};
use dcms_domain::identity::{
    CreateUser, IdentityError, LoggedIn, PasswordHasher, Secret, Session, SessionLifetime, User,
    UserChanges,
};
use dcms_domain::shared::{
    Change, Clock, Expected, Page, PageLimit, PageRequest, SessionId, UserId, Version,
};
use dcms_domain::store::{Rule, Store};
use dcms_domain::testing::{Clinic, FakeHasher, PASSWORD};
use pollster::block_on;

use crate::{
    ANY, assert_forbidden_because, assert_mismatch, assert_not_found, entry, faults, outdated,
    violated,
};

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
    let identity = &clinic.services.identity;
    match identity.authenticate(token, &Origin::default()).await {
        Ok(_) => true,
        Err(IdentityError::Unauthenticated) => false,
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

async fn actor(clinic: &Clinic, logged_in: &LoggedIn) -> Actor {
    let (token, origin) = (&logged_in.access_token, Origin::default());
    let identity = &clinic.services.identity;
    identity.authenticate(token, &origin).await.unwrap()
}

/// Uses the session now, as far as the store is told.
async fn use_session(clinic: &Clinic, session_id: SessionId) {
    let mut work = clinic.store.begin().await.unwrap();
    let seen = [(session_id, clinic.clock.now())];
    work.sessions().mark_seen(&seen).await.unwrap();
    work.commit(&entry(clinic)).await.unwrap();
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
            let outcome = identity.reset_password(admin, id, &ANY, &new).await;
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
        work.commit(&entry(&clinic)).await.unwrap();
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
        let origin = Origin {
            address: Some([192, 0, 2, 7].into()),
            agent: Some("A browser".to_owned()),
            request_id: Some("request-7".to_owned()),
        };
        let actor = clinic
            .services
            .identity
            .authenticate(&access_token, &origin)
            .await
            .unwrap();
        assert_eq!(actor.user_id, user.user_id);
        assert_eq!(actor.origin, origin);
        assert!(!actor.must_change_password);
        assert_eq!(actor.impersonator_id, None);
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
fn an_idle_session_counts_until_its_last_moment() {
    block_on(async {
        let clinic = Clinic::open().await;
        let LoggedIn {
            access_token,
            session,
            ..
        } = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        for _ in 0..3 {
            clinic
                .clock
                .advance(TimeDelta::minutes(30) - TimeDelta::microseconds(1));
            assert!(is_live(&clinic, &access_token).await);
            use_session(&clinic, session.session_id).await;
        }
        clinic
            .clock
            .advance(TimeDelta::minutes(30) - TimeDelta::microseconds(1));
        assert!(is_live(&clinic, &access_token).await);
        clinic.clock.advance(TimeDelta::microseconds(1));
        assert!(!is_live(&clinic, &access_token).await);
        assert!(!is_live(&clinic, &secret("no token at all")).await);
    });
}

#[test]
fn an_idle_session_is_neither_listed_nor_refreshed_nor_ended() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let doctor = actor(&clinic, &logged_in).await;
        clinic.clock.advance(TimeDelta::minutes(30));
        let own = identity.own_sessions(&doctor, PageRequest::first()).await;
        assert_eq!(ids(&own.unwrap()), []);
        let refused = identity.refresh(&doctor, &logged_in.access_token).await;
        assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
        assert_not_found(identity.log_out(&doctor).await);
    });
}

#[test]
fn a_session_counts_until_its_last_moment_however_much_it_is_used() {
    block_on(async {
        let clinic = Clinic::open().await;
        let LoggedIn {
            access_token,
            session,
            ..
        } = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let last_moment = session.expires_at - TimeDelta::microseconds(1);
        clinic.clock.set(last_moment);
        use_session(&clinic, session.session_id).await;
        assert!(is_live(&clinic, &access_token).await);
        clinic.clock.advance(TimeDelta::microseconds(1));
        assert!(!is_live(&clinic, &access_token).await);
    });
}

#[test]
fn how_long_a_session_lives_can_be_configured() {
    block_on(async {
        let mut clinic = Clinic::open().await;
        let lifetime = SessionLifetime {
            idle: TimeDelta::minutes(5),
            absolute: TimeDelta::minutes(8),
        };
        crate::audit::watch_with(&mut clinic, lifetime);
        let LoggedIn {
            access_token,
            session,
            ..
        } = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        assert_eq!(session.expires_at, clinic.minutes_from_now(8));
        clinic.clock.advance(TimeDelta::minutes(4));
        use_session(&clinic, session.session_id).await;
        clinic
            .clock
            .advance(TimeDelta::minutes(4) - TimeDelta::microseconds(1));
        assert!(is_live(&clinic, &access_token).await);
        clinic.clock.advance(TimeDelta::microseconds(1));
        assert!(!is_live(&clinic, &access_token).await);
        let token = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        clinic.clock.advance(TimeDelta::minutes(5));
        assert!(!is_live(&clinic, &token.access_token).await);
    });
}

#[test]
fn the_oldest_of_too_many_sessions_ends() {
    block_on(async {
        let clinic = Clinic::open().await;
        // The fixture opened one of the fifty.
        let mut sessions = Vec::new();
        for _ in 0..49 {
            sessions.push(clinic.log_in("doctor1", PASSWORD).await.unwrap());
        }
        let of_doctor = || async {
            let page = PageRequest {
                limit: PageLimit::new(200).unwrap(),
                after: None,
            };
            let id = Some(clinic.doctor.user_id);
            let identity = &clinic.services.identity;
            ids(&identity.sessions(&clinic.admin, id, page).await.unwrap())
        };
        let mut expected = vec![clinic.doctor.session_id];
        expected.extend(sessions.iter().map(|one| one.session.session_id));
        assert_eq!(expected.len(), 50);
        assert_eq!(of_doctor().await, expected);

        for oldest in 0..2 {
            let latest = clinic.log_in("doctor1", PASSWORD).await.unwrap();
            expected.remove(0);
            expected.push(latest.session.session_id);
            assert_eq!(of_doctor().await, expected, "{oldest}");
        }
        assert!(!is_live(&clinic, &sessions[0].access_token).await);
        assert!(is_live(&clinic, &sessions[1].access_token).await);
        let other = clinic.other_doctor.user_id;
        let identity = &clinic.services.identity;
        let others = identity
            .sessions(&clinic.admin, Some(other), PageRequest::first())
            .await;
        assert_eq!(ids(&others.unwrap()), [clinic.other_doctor.session_id]);

        // An admin who acts as them neither counts nor ends.
        let impersonation = identity
            .impersonate(&clinic.admin, clinic.doctor.user_id, "A test")
            .await
            .unwrap();
        expected.push(impersonation.session.session_id);
        assert_eq!(of_doctor().await, expected);
        clinic.log_in("doctor1", PASSWORD).await.unwrap();
        assert!(is_live(&clinic, &impersonation.access_token).await);
        assert_eq!(of_doctor().await.len(), 51);
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
        let identity = &clinic.services.identity;
        let actor = identity.authenticate(&token, &Origin::default()).await;
        let actor = actor.unwrap();
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
        work.commit(&entry(&clinic)).await.unwrap();
        assert!(!is_live(&clinic, &token).await);
    });
}

#[test]
fn a_refreshed_session_has_another_token_and_the_same_end() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let mut current = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let doctor = actor(&clinic, &current).await;
        let end = current.session.expires_at;
        while clinic.minutes_from_now(29) < end {
            clinic.clock.advance(TimeDelta::minutes(29));
            let new = identity.refresh(&doctor, &current.access_token).await;
            let new = new.unwrap();
            assert_ne!(new.access_token, current.access_token);
            assert_eq!(new.session.session_id, current.session.session_id);
            assert_eq!(new.session.last_seen_at, clinic.clock.now());
            assert_eq!(new.session.expires_at, end);
            assert_eq!(new.user, current.user);
            assert!(is_live(&clinic, &new.access_token).await);
            current = new;
        }
        clinic.clock.set(end);
        assert!(!is_live(&clinic, &current.access_token).await);
        let refused = identity.refresh(&doctor, &current.access_token).await;
        assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
    });
}

#[test]
fn a_session_that_was_left_is_not_refreshed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let doctor = actor(&clinic, &logged_in).await;
        identity.log_out(&doctor).await.unwrap();
        assert!(!is_live(&clinic, &logged_in.access_token).await);
        let refused = identity.refresh(&doctor, &logged_in.access_token).await;
        assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
        assert_not_found(identity.log_out(&doctor).await);
    });
}

#[test]
fn only_the_current_token_of_a_session_refreshes_it() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let first = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let other = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let doctor = actor(&clinic, &first).await;
        let second = identity.refresh(&doctor, &first.access_token).await;
        let second = second.unwrap();
        for wrong in [
            &first.access_token,
            &other.access_token,
            &secret("no token at all"),
        ] {
            let refused = identity.refresh(&doctor, wrong).await;
            assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
        }
        assert!(is_live(&clinic, &second.access_token).await);
        assert!(is_live(&clinic, &other.access_token).await);
    });
}

#[test]
fn a_token_that_comes_back_after_it_was_replaced_ends_its_session_for_good() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        // Whether it was replaced once or twice does not matter.
        for replacements in [1, 2] {
            let first = clinic.log_in("doctor1", PASSWORD).await.unwrap();
            let other = clinic.log_in("doctor1", PASSWORD).await.unwrap();
            let doctor = actor(&clinic, &first).await;
            let mut latest = first.clone();
            for _ in 0..replacements {
                let new = identity.refresh(&doctor, &latest.access_token).await;
                latest = new.unwrap();
            }
            assert!(is_live(&clinic, &latest.access_token).await);
            assert!(!is_live(&clinic, &first.access_token).await);
            assert!(!is_live(&clinic, &latest.access_token).await);
            assert!(!is_live(&clinic, &first.access_token).await);
            assert!(!is_live(&clinic, &latest.access_token).await);
            let refused = identity.refresh(&doctor, &latest.access_token).await;
            assert!(matches!(refused, Err(IdentityError::Unauthenticated)));
            assert!(is_live(&clinic, &other.access_token).await);
            let id = Some(clinic.doctor.user_id);
            let live = identity
                .sessions(&clinic.admin, id, PageRequest::first())
                .await;
            assert!(!ids(&live.unwrap()).contains(&doctor.session_id));
        }
    });
}

/// A user whose password an admin has just set, logged in.
async fn newcomer(clinic: &Clinic) -> (Actor, LoggedIn) {
    let mut user = new_user("new", &[Role::Admin, Role::Doctor]);
    user.password = secret("chosen by an admin");
    let identity = &clinic.services.identity;
    let user = identity.create_user(&clinic.admin, user).await.unwrap();
    assert!(user.must_change_password);
    let logged_in = clinic.log_in("new", "chosen by an admin").await.unwrap();
    assert_eq!(logged_in.user, user);
    (actor(clinic, &logged_in).await, logged_in)
}

#[test]
fn a_password_that_somebody_else_has_set_is_changed_before_anything_else() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let (newcomer, logged_in) = newcomer(&clinic).await;
        assert!(newcomer.must_change_password);
        assert!(
            identity
                .me(&newcomer)
                .await
                .unwrap()
                .user
                .must_change_password
        );
        let reason = Forbidden::PasswordChangeRequired;
        let id = clinic.patient.patient_id;
        assert_forbidden_because(
            reason,
            clinic.services.patients.patient(&newcomer, id).await,
        );
        assert_forbidden_because(
            reason,
            identity.users(&newcomer, PageRequest::first()).await,
        );
        let refreshed = identity.refresh(&newcomer, &logged_in.access_token).await;
        assert_forbidden_because(reason, refreshed);
        // Another log-in does not help.
        let again = clinic.log_in("new", "chosen by an admin").await.unwrap();
        assert!(actor(&clinic, &again).await.must_change_password);

        let (set, chosen) = (secret("chosen by an admin"), secret("their own choice"));
        let refused = identity.change_password(&newcomer, &chosen, &set).await;
        assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        assert!(actor(&clinic, &logged_in).await.must_change_password);

        identity
            .change_password(&newcomer, &set, &chosen)
            .await
            .unwrap();
        let newcomer = actor(&clinic, &logged_in).await;
        assert!(!newcomer.must_change_password);
        assert!(
            !identity
                .me(&newcomer)
                .await
                .unwrap()
                .user
                .must_change_password
        );
        clinic
            .services
            .patients
            .patient(&newcomer, id)
            .await
            .unwrap();
        let again = clinic.log_in("new", "their own choice").await.unwrap();
        assert!(!actor(&clinic, &again).await.must_change_password);
    });
}

#[test]
fn who_has_to_change_their_password_can_log_out() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (newcomer, logged_in) = newcomer(&clinic).await;
        clinic.services.identity.log_out(&newcomer).await.unwrap();
        assert!(!is_live(&clinic, &logged_in.access_token).await);
    });
}

#[test]
fn a_reset_password_has_to_be_changed_unless_it_is_ones_own() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let new = secret("another secret");
        for (username, target, expected) in [
            ("doctor1", &clinic.doctor, true),
            ("admin", &clinic.admin, false),
        ] {
            let id = target.user_id;
            identity
                .reset_password(&clinic.admin, id, &ANY, &new)
                .await
                .unwrap();
            let logged_in = clinic.log_in(username, new.expose()).await.unwrap();
            assert_eq!(logged_in.user.must_change_password, expected);
            let actor = actor(&clinic, &logged_in).await;
            assert_eq!(actor.must_change_password, expected, "{username}");
        }
    });
}

#[test]
fn a_password_is_reset_in_the_version_that_is_expected() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let (id, new) = (clinic.doctor.user_id, secret("another secret"));
        let before = identity.user(&clinic.admin, id).await.unwrap();
        let refused = identity
            .reset_password(&clinic.admin, id, &outdated(), &new)
            .await;
        assert_mismatch(refused);
        assert_mismatch(
            identity
                .revoke_sessions_of(&clinic.admin, id, &outdated())
                .await,
        );
        assert_eq!(identity.user(&clinic.admin, id).await.unwrap(), before);
        let live = identity
            .sessions(&clinic.admin, Some(id), PageRequest::first())
            .await;
        assert_eq!(ids(&live.unwrap()), [clinic.doctor.session_id]);
        clinic.log_in("doctor1", PASSWORD).await.unwrap();

        let current = Expected::OneOf(vec![before.version]);
        identity
            .reset_password(&clinic.admin, id, &current, &new)
            .await
            .unwrap();
        let after = identity.user(&clinic.admin, id).await.unwrap();
        assert_eq!(after.version, before.version.next());
        assert!(after.must_change_password);
        let refused = identity
            .reset_password(&clinic.admin, id, &current, &new)
            .await;
        assert_mismatch(refused);
    });
}

#[test]
fn an_admin_acts_as_somebody_else_for_a_reason_and_a_quarter_of_an_hour() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (identity, admin) = (&clinic.services.identity, &clinic.admin);
        let id = clinic.doctor.user_id;
        for (reason, expected) in [
            (String::new(), "/reason required"),
            (" \t ".to_owned(), "/reason required"),
            ("x".repeat(501), "/reason too_long"),
        ] {
            assert_eq!(
                faults(identity.impersonate(admin, id, &reason).await),
                [expected]
            );
        }
        let logged_in = identity.impersonate(admin, id, "x").await.unwrap();
        let session = &logged_in.session;
        assert_eq!(session.user_id, id);
        assert_eq!(session.impersonator_id, Some(admin.user_id));
        assert_eq!(session.expires_at, clinic.minutes_from_now(15));
        assert_eq!(logged_in.user.user_id, id);
        let impersonated = actor(&clinic, &logged_in).await;
        let expected = Actor {
            session_id: session.session_id,
            impersonator_id: Some(admin.user_id),
            ..clinic.doctor.clone()
        };
        assert_eq!(impersonated, expected);

        let me = identity.me(&impersonated).await.unwrap();
        assert_eq!(me.user.user_id, id);
        assert_eq!(me.session_id, session.session_id);
        assert_eq!(me.impersonator.unwrap().user_id, admin.user_id);
        assert!(identity.me(admin).await.unwrap().impersonator.is_none());

        clinic
            .clock
            .advance(TimeDelta::minutes(15) - TimeDelta::microseconds(1));
        assert!(is_live(&clinic, &logged_in.access_token).await);
        clinic.clock.advance(TimeDelta::microseconds(1));
        assert!(!is_live(&clinic, &logged_in.access_token).await);
    });
}

#[test]
fn nobody_acts_as_themselves_as_a_disabled_user_or_as_nobody() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (identity, admin) = (&clinic.services.identity, &clinic.admin);
        change(&clinic, clinic.doctor.user_id, disabled())
            .await
            .unwrap();
        for id in [admin.user_id, clinic.doctor.user_id] {
            let refused = identity.impersonate(admin, id, "A reason").await;
            let is_so = matches!(refused, Err(IdentityError::NotImpersonable));
            assert!(is_so, "{refused:?}");
        }
        let nobody = uuid::Uuid::from(clinic.patient.patient_id).into();
        assert_not_found(identity.impersonate(admin, nobody, "A reason").await);
        let all = identity.sessions(admin, None, PageRequest::first()).await;
        let impersonated = |session: &Session| session.impersonator_id.is_some();
        assert!(!all.unwrap().items.iter().any(impersonated));
    });
}

#[test]
fn who_acts_as_somebody_else_has_their_rights_without_passwords_users_and_money() {
    block_on(async {
        let clinic = Clinic::open().await;
        let services = &clinic.services;
        let identity = &services.identity;
        let second = new_user("second", &[Role::Admin]);
        let second = identity.create_user(&clinic.admin, second).await.unwrap();
        let logged_in = identity
            .impersonate(&clinic.admin, second.user_id, "A reason")
            .await
            .unwrap();
        let actor = actor(&clinic, &logged_in).await;
        // That the other has to change their password does not concern the admin.
        assert!(!actor.must_change_password);
        let id = clinic.patient.patient_id;
        services.patients.archive(&actor, id, &ANY).await.unwrap();

        let reason = Forbidden::Impersonated;
        let (current, new) = (secret(PASSWORD), secret("another secret"));
        let changed = identity.change_password(&actor, &current, &new).await;
        assert_forbidden_because(reason, changed);
        let other = clinic.doctor.user_id;
        let reset = identity.reset_password(&actor, other, &ANY, &new).await;
        assert_forbidden_because(reason, reset);
        assert_forbidden_because(reason, identity.users(&actor, PageRequest::first()).await);
        assert_forbidden_because(reason, identity.impersonate(&actor, other, "More").await);
        let refreshed = identity.refresh(&actor, &logged_in.access_token).await;
        assert_forbidden_because(reason, refreshed);
        let draft = clinic.drafted(&[100]).await.invoice_id;
        assert_forbidden_because(reason, services.billing.issue(&actor, draft, &ANY).await);
        let issued = clinic.issued(&[100]).await.invoice_id;
        let voided = services.billing.void(&actor, issued, &ANY, "Mistake").await;
        assert_forbidden_because(reason, voided);

        identity.log_out(&actor).await.unwrap();
        assert!(!is_live(&clinic, &logged_in.access_token).await);
    });
}

#[test]
fn impersonation_ends_with_what_allowed_it() {
    let clinic = block_on(Clinic::open());
    let identity = &clinic.services.identity;
    let second = block_on(identity.create_user(&clinic.admin, new_user("second", &[Role::Admin])));
    let second = second.unwrap().user_id;
    let (admin, doctor) = (clinic.admin.user_id, clinic.doctor.user_id);
    for (what, id, changes) in [
        ("the admin is demoted", admin, roles(&[Role::Manager])),
        ("the admin is disabled", admin, disabled()),
        ("the user is disabled", doctor, disabled()),
    ] {
        block_on(async {
            let clinic = clinic.fork();
            let identity = &clinic.services.identity;
            let impersonation = identity
                .impersonate(&clinic.admin, doctor, "A reason")
                .await;
            let token = impersonation.unwrap().access_token;
            assert!(is_live(&clinic, &token).await, "{what}");
            // Somebody has to stay an admin.
            let second = Actor {
                user_id: second,
                ..clinic.admin.clone()
            };
            identity
                .change_user(&second, id, &ANY, changes)
                .await
                .unwrap();
            assert!(!is_live(&clinic, &token).await, "{what}");
        });
    }
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
        let actor = identity
            .authenticate(&this, &Origin::default())
            .await
            .unwrap();
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
            .reset_password(&clinic.admin, id, &ANY, &new)
            .await
            .unwrap();
        assert!(!is_live(&clinic, &token).await);
        assert!(clinic.log_in("doctor1", PASSWORD).await.is_err());
        clinic.log_in("doctor1", "another secret").await.unwrap();
        let nobody = clinic.patient.patient_id;
        let nobody = uuid::Uuid::from(nobody).into();
        assert_not_found(
            identity
                .reset_password(&clinic.admin, nobody, &ANY, &new)
                .await,
        );
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
            .revoke_sessions_of(admin, clinic.doctor.user_id, &ANY)
            .await
            .unwrap();
        let left = identity.sessions(admin, None, PageRequest::first()).await;
        let expected = [&clinic.admin, &clinic.other_doctor, &clinic.receptionist];
        assert_eq!(ids(&left.unwrap()), expected.map(|actor| actor.session_id));
        let nobody = uuid::Uuid::from(clinic.patient.patient_id).into();
        assert_not_found(identity.revoke_sessions_of(admin, nobody, &ANY).await);
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
        assert!(!made.must_change_password);
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
