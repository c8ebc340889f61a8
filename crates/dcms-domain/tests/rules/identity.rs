use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use Answer::{In, Wait, Wrong};
use async_trait::async_trait;
use chrono::TimeDelta;
use dcms_domain::access::{Actor, Forbidden, Origin, Role, Roles};
use dcms_domain::audit::{AuditAction, AuditValue, Entity};
use dcms_domain::clinic::ClinicChanges;
use dcms_domain::identity::session_cache::TICK;
use dcms_domain::identity::{
    CreateUser, IdentityError, IdentityService, LiveSession, LogIn, LoggedIn, PasswordHash,
    PasswordHasher, Secret, Session, SessionLifetime, User, UserChanges,
};
use dcms_domain::shared::{
    Change, Clock, CommonError, Expected, Instant, Page, PageLimit, PageRequest, Ports, SessionId,
    UserId, Version,
};
use dcms_domain::store::{NotReady, Repositories, Rule, Store, StoreError, UnitOfWork};
use dcms_domain::testing::{
    Clinic, FakeHasher, InMemoryStore, MockStore, PASSWORD, identity_settings,
};
use pollster::block_on;

use crate::audit::{OtherTokens, entries_of};
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
    let answer = identity.change_user(&clinic.admin, id, &ANY, changes).await;
    answer.map(|changed| changed.thing)
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

/// What all ways to set a password of `doctor1` say of this one.
async fn faults_of_password(clinic: &Clinic, password: &str) -> [Vec<String>; 4] {
    let (identity, admin) = (&clinic.services.identity, &clinic.admin);
    let id = clinic.doctor.user_id;
    let (current, new) = (secret(PASSWORD), secret(password));
    // The name is taken, but that is not found out before the password is judged.
    let mut created = new_user("doctor1", &[Role::Doctor]);
    created.password = new.clone();
    let console = identity.create_admin_from_console("doctor1".to_owned(), new.clone());
    [
        faults(identity.create_user(admin, created).await),
        faults(console.await),
        faults(identity.reset_password(admin, id, &ANY, &new).await),
        faults(
            identity
                .change_password(&clinic.doctor, &current, &new)
                .await,
        ),
    ]
}

#[track_caller]
fn assert_refused(found: &[Vec<String>; 4], codes: &[&str], password: &str) {
    let pointers = ["/password", "/password", "/new_password", "/new_password"];
    for (faults, pointer) in found.iter().zip(pointers) {
        let expected: Vec<String> = codes
            .iter()
            .map(|code| format!("{pointer} {code}"))
            .collect();
        assert_eq!(*faults, expected, "{password}");
    }
}

#[test]
fn passwords_that_are_easily_guessed_are_refused_wherever_they_are_set() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (short, long) = ("x".repeat(11), "x".repeat(129));
        let named = format!("doctor1 of the dental clinic{long}");
        let table: [(&str, &[&str]); 12] = [
            ("", &["too_short"]),
            (&short, &["too_short"]),
            (&long, &["too_long"]),
            ("published default", &["not_available"]),
            ("password1234", &["not_available"]),
            ("PassWord1234", &["not_available"]),
            ("it is doctor1 again", &["conflicting"]),
            ("DOCTOR1DOCTOR1", &["conflicting"]),
            ("my Dental Clinic", &["conflicting"]),
            ("dentalclinic2026", &["conflicting"]),
            ("doctor1", &["too_short", "conflicting"]),
            (&named, &["too_long", "conflicting", "conflicting"]),
        ];
        for (password, codes) in table {
            let found = faults_of_password(&clinic, password).await;
            assert_refused(&found, codes, password);
        }
        clinic.log_in("doctor1", PASSWORD).await.unwrap();

        let renamed = ClinicChanges {
            clinic_name: Change::Set("Lindenhof".to_owned()),
            ..ClinicChanges::default()
        };
        let settings = &clinic.services.clinic;
        let renamed = settings.change_settings(&clinic.admin, &ANY, renamed).await;
        renamed.unwrap();
        let found = faults_of_password(&clinic, "under the lindenhof").await;
        assert_refused(&found, &["conflicting"], "the new name");
    });
}

#[test]
fn passwords_that_are_long_and_rare_are_taken_wherever_they_are_set() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (identity, admin) = (&clinic.services.identity, &clinic.admin);
        let mut current = secret(PASSWORD);
        let long = "x".repeat(128);
        let passwords = [
            "ää ää ää ää ",
            &long,
            "my dental practice",
            "it is doctor2 again",
        ];
        for (count, password) in passwords.into_iter().enumerate() {
            let new = secret(password);
            let changed = identity.change_password(&clinic.doctor, &current, &new);
            changed.await.unwrap();
            clinic.log_in("doctor1", password).await.unwrap();
            let id = clinic.other_doctor.user_id;
            if !password.contains("doctor2") {
                let reset = identity.reset_password(admin, id, &ANY, &new).await;
                reset.unwrap();
                clinic.log_in("doctor2", password).await.unwrap();
            }
            let username = format!("user{count}");
            let mut user = new_user(&username, &[Role::Doctor]);
            user.password = new.clone();
            identity.create_user(admin, user).await.unwrap();
            clinic.log_in(&username, password).await.unwrap();
            let username = format!("console{count}");
            let made = identity.create_admin_from_console(username.clone(), new.clone());
            made.await.unwrap();
            clinic.log_in(&username, password).await.unwrap();
            current = new;
        }
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
        let identity = &clinic.services.identity;
        let token = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let token = token.access_token;
        for _ in 0..3 {
            clinic
                .clock
                .advance(TimeDelta::minutes(30) - TimeDelta::microseconds(1));
            assert!(is_live(&clinic, &token).await);
            // That it was used counts, here at once and elsewhere from the next tick on.
            identity.confirm_sessions(&*clinic.store).await.unwrap();
        }
        clinic.clock.advance(TimeDelta::minutes(30));
        assert!(!is_live(&clinic, &token).await);
        assert!(!is_live(&clinic, &secret("no token at all")).await);
    });
}

#[test]
fn a_session_that_is_known_here_was_left_when_it_is_idle() {
    block_on(async {
        let mut clinic = Clinic::open().await;
        let lifetime = SessionLifetime {
            idle: TimeDelta::milliseconds(500),
            ..SessionLifetime::default()
        };
        crate::audit::watch_with(&mut clinic, lifetime);
        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        assert!(is_live(&clinic, &logged_in.access_token).await);
        clinic.clock.advance(TimeDelta::milliseconds(499));
        assert!(is_live(&clinic, &logged_in.access_token).await);
        clinic.clock.advance(TimeDelta::milliseconds(500));
        assert!(!is_live(&clinic, &logged_in.access_token).await);
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
    for is_known in [false, true] {
        block_on(async {
            let clinic = Clinic::open().await;
            let token = clinic
                .log_in("doctor1", PASSWORD)
                .await
                .unwrap()
                .access_token;
            if is_known {
                assert!(is_live(&clinic, &token).await);
            }
            // As when somebody logs in at the moment they are disabled.
            let mut work = clinic.store.begin().await.unwrap();
            let id = clinic.doctor.user_id;
            let mut user = work.users().get(id).await.unwrap().unwrap();
            user.is_active = false;
            user.version = user.version.next();
            work.users().update(&user).await.unwrap();
            work.commit(&entry(&clinic)).await.unwrap();
            let identity = &clinic.services.identity;
            identity.confirm_sessions(&*clinic.store).await.unwrap();
            assert!(!is_live(&clinic, &token).await, "{is_known}");
        });
    }
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

        let wrong = secret("not my password");
        let refused = identity.change_password(&actor, &wrong, &new).await;
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

const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "198.51.100.9";

/// What a log-in is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    In,
    Wrong,
    Wait(u32),
}

async fn answer(clinic: &Clinic, username: &str, password: &str, from: &str) -> Answer {
    let attempt = LogIn {
        username: username.to_owned(),
        password: secret(password),
        device_name: None,
    };
    let origin = Origin {
        address: Some(from.parse().unwrap()),
        ..Origin::default()
    };
    match clinic.services.identity.log_in(&attempt, &origin).await {
        Ok(_) => In,
        Err(IdentityError::InvalidCredentials) => Wrong,
        Err(IdentityError::Throttled {
            retry_after_seconds,
        }) => Wait(retry_after_seconds),
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

/// An address that nothing else comes from.
fn some_address(number: u32) -> String {
    format!("203.0.{}.{}", number / 256, number % 256)
}

fn pass(clinic: &Clinic, seconds: u32) {
    clinic.clock.advance(TimeDelta::seconds(seconds.into()));
}

/// Tries wrong passwords without a pause until it has to wait that long, and tells how many were
/// looked at.
async fn attack(clinic: &Clinic, username: &str, from: &str, until: Answer) -> usize {
    let mut looked_at = 0;
    for _ in 0..1_000 {
        match answer(clinic, username, "wrong password", from).await {
            Wrong => looked_at += 1,
            Wait(seconds) if Wait(seconds) == until => return looked_at,
            Wait(seconds) => pass(clinic, seconds),
            In => panic!("a wrong password was right"),
        }
    }
    panic!("nobody had to wait");
}

#[test]
fn tries_on_an_account_are_slowed_down_wherever_they_come_from() {
    block_on(async {
        let clinic = Clinic::open().await;
        let mut count = 0;
        let mut elsewhere = || {
            count += 1;
            some_address(count)
        };
        for _ in 0..6 {
            let answered = answer(&clinic, "doctor1", "wrong password", &elsewhere()).await;
            assert_eq!(answered, Wrong);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            // What is not looked at is answered alike, and does not lengthen the wait.
            for password in ["wrong password", PASSWORD, PASSWORD] {
                let answered = answer(&clinic, " Doctor1 ", password, &elsewhere()).await;
                assert_eq!(answered, Wait(seconds));
            }
            pass(&clinic, seconds);
            clinic.clock.advance(TimeDelta::microseconds(-1));
            let early = answer(&clinic, "doctor1", PASSWORD, &elsewhere()).await;
            assert_eq!(early, Wait(1));
            clinic.clock.advance(TimeDelta::microseconds(1));
            let in_time = answer(&clinic, "doctor1", "wrong password", &elsewhere()).await;
            assert_eq!(in_time, Wrong);
        }
        let other = answer(&clinic, "doctor2", PASSWORD, &elsewhere()).await;
        assert_eq!(other, In);
    });
}

#[test]
fn tries_from_an_address_are_slowed_down_whatever_name_they_come_with() {
    block_on(async {
        let clinic = Clinic::open().await;
        let mut count = 0;
        let mut another = || {
            count += 1;
            format!("user{count}")
        };
        for _ in 0..21 {
            let answered = answer(&clinic, &another(), "wrong password", ELSEWHERE).await;
            assert_eq!(answered, Wrong);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            for (username, password) in [(&*another(), "wrong password"), ("doctor1", PASSWORD)] {
                let answered = answer(&clinic, username, password, ELSEWHERE).await;
                assert_eq!(answered, Wait(seconds));
            }
            pass(&clinic, seconds);
            let answered = answer(&clinic, &another(), "wrong password", ELSEWHERE).await;
            assert_eq!(answered, Wrong);
        }
        assert_eq!(answer(&clinic, "doctor1", PASSWORD, HOME).await, In);
    });
}

#[test]
fn where_somebody_logged_in_before_attacks_from_elsewhere_are_not_felt() {
    block_on(async {
        let clinic = Clinic::open().await;
        assert_eq!(answer(&clinic, "doctor1", PASSWORD, HOME).await, In);
        attack(&clinic, "doctor1", ELSEWHERE, Wait(60)).await;
        let from_another = answer(&clinic, "doctor1", PASSWORD, &some_address(1)).await;
        assert_eq!(from_another, Wait(60));
        assert_eq!(answer(&clinic, "doctor1", PASSWORD, HOME).await, In);
    });
}

#[test]
fn where_somebody_logged_in_before_the_right_password_works_for_a_while_under_attack() {
    let clinic = block_on(Clinic::open());
    for (tries, answers_to_wrong, answer_to_right) in [
        (0, Wrong, In),
        (5, Wrong, In),
        (6, Wait(2), In),
        (20, Wait(60), In),
        (50, Wait(60), In),
        (51, Wait(60), Wait(60)),
        (200, Wait(60), Wait(60)),
    ] {
        block_on(async {
            let attacked = || async {
                let clinic = clinic.fork();
                assert_eq!(answer(&clinic, "doctor1", PASSWORD, HOME).await, In);
                for _ in 0..tries {
                    answer(&clinic, "doctor1", "wrong password", HOME).await;
                }
                clinic
            };
            let clinic = attacked().await;
            let answered = answer(&clinic, "doctor1", "wrong password", HOME).await;
            assert_eq!(answered, answers_to_wrong, "{tries}");

            let clinic = attacked().await;
            let answered = answer(&clinic, "doctor1", PASSWORD, HOME).await;
            assert_eq!(answered, answer_to_right, "{tries}");
            // Others who come from there are not concerned, and in the end it works for them, too.
            assert_eq!(answer(&clinic, "doctor2", PASSWORD, HOME).await, In);
            pass(&clinic, 60);
            assert_eq!(answer(&clinic, "doctor1", PASSWORD, HOME).await, In);
        });
    }
}

#[test]
fn a_reset_by_an_admin_ends_the_wait_of_the_account() {
    block_on(async {
        let clinic = Clinic::open().await;
        for (username, number) in [("doctor1", 1), ("doctor2", 2)] {
            attack(&clinic, username, &some_address(number), Wait(8)).await;
        }
        let new = secret("another secret");
        let id = clinic.doctor.user_id;
        let identity = &clinic.services.identity;
        let reset = identity.reset_password(&clinic.admin, id, &ANY, &new).await;
        reset.unwrap();
        assert_eq!(answer(&clinic, "doctor1", new.expose(), HOME).await, In);
        assert_eq!(answer(&clinic, "doctor2", PASSWORD, HOME).await, Wait(8));
    });
}

#[test]
fn after_the_wait_the_right_password_works_and_all_is_forgotten() {
    block_on(async {
        let clinic = Clinic::open().await;
        for number in 1..4 {
            let elsewhere = some_address(number);
            let looked_at = attack(&clinic, "doctor1", &elsewhere, Wait(4)).await;
            assert_eq!(looked_at, 8, "{number}");
            pass(&clinic, 4);
            let at_home = some_address(100 + number);
            assert_eq!(answer(&clinic, "doctor1", PASSWORD, &at_home).await, In);
        }
    });
}

#[test]
fn an_account_that_cannot_log_in_is_slowed_down_like_one_that_can() {
    let clinic = block_on(Clinic::open());
    let changed = change(&clinic, clinic.other_doctor.user_id, disabled());
    block_on(changed).unwrap();
    let answers = |username: &str, from: fn(u32) -> String| {
        let clinic = clinic.fork();
        block_on(async {
            let mut answers = Vec::new();
            for count in 0..60 {
                let answered = answer(&clinic, username, "wrong password", &from(count)).await;
                answers.push(answered);
                // Every other time they are patient.
                if let (Wait(seconds), 0) = (answered, count % 2) {
                    pass(&clinic, seconds);
                }
            }
            answers
        })
    };
    for from in [|_| ELSEWHERE.to_owned(), some_address] {
        let expected = answers("doctor1", from);
        assert!(expected.contains(&Wrong) && expected.contains(&Wait(60)));
        for username in ["nobody", "doctor2", "doc\0tor1", "", "with space"] {
            assert_eq!(answers(username, from), expected, "{username:?}");
        }
    }
}

async fn stored_password(clinic: &Clinic, id: UserId) -> PasswordHash {
    let mut connection = clinic.store.connect().await.unwrap();
    connection.users().password(id).await.unwrap().unwrap()
}

async fn store_password(clinic: &Clinic, id: UserId, hash: &PasswordHash) {
    let mut work = clinic.store.begin().await.unwrap();
    work.users().set_password(id, hash).await.unwrap();
    work.commit(&entry(clinic)).await.unwrap();
}

#[test]
fn a_weak_hash_is_replaced_when_its_password_is_known() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (id, disabled_id) = (clinic.doctor.user_id, clinic.other_doctor.user_id);
        let earlier = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        change(&clinic, disabled_id, disabled()).await.unwrap();
        let weak = PasswordHash::new(format!("$argon2id$weak${PASSWORD}"));
        store_password(&clinic, id, &weak).await;
        store_password(&clinic, disabled_id, &weak).await;
        let before = clinic.services.identity.user(&clinic.admin, id).await;

        for (username, password) in [("doctor1", "wrong password"), ("doctor2", PASSWORD)] {
            let refused = clinic.log_in(username, password).await;
            assert!(matches!(refused, Err(IdentityError::InvalidCredentials)));
        }
        assert_eq!(stored_password(&clinic, id).await, weak);
        assert_eq!(stored_password(&clinic, disabled_id).await, weak);

        let strong = FakeHasher.hash(&secret(PASSWORD)).await.unwrap();
        for _ in 0..2 {
            let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
            assert_eq!(stored_password(&clinic, id).await, strong);
            assert_eq!(logged_in.user, *before.as_ref().unwrap());
            assert!(is_live(&clinic, &logged_in.access_token).await);
        }
        assert!(is_live(&clinic, &earlier.access_token).await);
    });
}

#[test]
fn one_password_in_two_unicode_forms_is_one_password() {
    let composed = "caf\u{e9} cr\u{e8}me br\u{fb}l\u{e9}e";
    let decomposed = "cafe\u{301} cre\u{300}me bru\u{302}le\u{301}e";
    let other = "another secret";
    let clinic = block_on(Clinic::open());
    for (set, typed) in [(composed, decomposed), (decomposed, composed)] {
        block_on(async {
            let clinic = clinic.fork();
            let identity = &clinic.services.identity;
            let mut user = new_user("zo\u{eb}", &[Role::Doctor]);
            user.password = secret(set);
            let user = identity.create_user(&clinic.admin, user).await.unwrap();
            let logged_in = clinic.log_in("zoe\u{308}", typed).await.unwrap();
            let zoe = actor(&clinic, &logged_in).await;
            let (set, typed, other) = (secret(set), secret(typed), secret(other));
            identity
                .change_password(&zoe, &typed, &other)
                .await
                .unwrap();
            identity.change_password(&zoe, &other, &set).await.unwrap();
            clinic.log_in("zo\u{eb}", typed.expose()).await.unwrap();
            let (id, admin) = (user.user_id, &clinic.admin);
            identity
                .reset_password(admin, id, &ANY, &other)
                .await
                .unwrap();
            identity
                .reset_password(admin, id, &ANY, &set)
                .await
                .unwrap();
            clinic.log_in("zo\u{eb}", typed.expose()).await.unwrap();
        });
    }
}

/// The clinic's store, which counts how often it is asked and can be away.
struct Watched {
    store: Arc<InMemoryStore>,
    connections: AtomicUsize,
    is_away: AtomicBool,
}

impl Watched {
    fn of(clinic: &Clinic) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(&clinic.store),
            connections: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
        })
    }

    /// How many connections and units of work there were since this was last asked.
    fn connections(&self) -> usize {
        self.connections.swap(0, Ordering::Relaxed)
    }

    fn go_away(&self) {
        self.is_away.store(true, Ordering::Relaxed);
    }

    fn come_back(&self) {
        self.is_away.store(false, Ordering::Relaxed);
    }

    fn ask(&self) -> Result<(), StoreError> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Watched {
    async fn connect(&self) -> Result<Box<dyn Repositories>, StoreError> {
        self.ask()?;
        self.store.connect().await
    }

    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        self.ask()?;
        self.store.begin().await
    }

    async fn check_ready(&self) -> Result<(), NotReady> {
        self.store.check_ready().await
    }

    async fn wait_before_retry(&self, attempt: u32) {
        self.store.wait_before_retry(attempt).await;
    }
}

/// Another instance of the program over the clinic's store.
fn instance(clinic: &Clinic, store: &Arc<Watched>) -> IdentityService {
    let ports = Ports {
        store: Arc::clone(store) as _,
        clock: Arc::clone(&clinic.clock) as _,
        ids: Arc::clone(&clinic.ids) as _,
        access_log: Arc::default(),
    };
    let (hasher, tokens) = (Arc::new(FakeHasher), Arc::new(OtherTokens::default()));
    IdentityService::new(ports, hasher, tokens, identity_settings())
}

/// In what roles the token's owner acts there, when it counts.
async fn roles_there(identity: &IdentityService, token: &Secret) -> Option<Roles> {
    match identity.authenticate(token, &Origin::default()).await {
        Ok(actor) => Some(actor.roles),
        Err(IdentityError::Unauthenticated) => None,
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

/// Two sessions of a doctor, and one in which an admin acts as them.
struct Scene {
    clinic: Clinic,
    second_admin: Actor,
    doctor: LoggedIn,
    other: LoggedIn,
    acting: LoggedIn,
}

impl Scene {
    async fn open() -> Self {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        let second = new_user("second", &[Role::Admin]);
        let second = identity.create_user(&clinic.admin, second).await.unwrap();
        let id = clinic.doctor.user_id;
        Self {
            second_admin: Actor {
                user_id: second.user_id,
                ..clinic.admin.clone()
            },
            doctor: clinic.log_in("doctor1", PASSWORD).await.unwrap(),
            other: clinic.log_in("doctor1", PASSWORD).await.unwrap(),
            acting: identity
                .impersonate(&clinic.admin, id, "A reason")
                .await
                .unwrap(),
            clinic,
        }
    }

    /// The doctor in the first session.
    fn actor(&self) -> Actor {
        Actor {
            session_id: self.doctor.session.session_id,
            ..self.clinic.doctor.clone()
        }
    }

    /// Changes a user as the second admin.
    fn change(&self, identity: &IdentityService, id: UserId, changes: UserChanges) {
        let outcome = identity.change_user(&self.second_admin, id, &ANY, changes);
        block_on(outcome).unwrap();
    }

    /// In what role each of the three sessions counts there.
    fn seen_by(&self, identity: &IdentityService) -> [Option<Roles>; 3] {
        [&self.doctor, &self.other, &self.acting]
            .map(|session| block_on(roles_there(identity, &session.access_token)))
    }
}

type Deed = fn(&Scene, &IdentityService);

const DOCTOR: Option<Role> = Some(Role::Doctor);
const RECEPTIONIST: Option<Role> = Some(Role::Receptionist);

/// What can be done, and in what role the sessions of the scene count after it.
const DEEDS: [(&str, Deed, [Option<Role>; 3]); 13] = [
    ("nothing", |_, _| (), [DOCTOR, DOCTOR, DOCTOR]),
    (
        "an own session is revoked",
        |scene, identity| {
            let id = scene.other.session.session_id;
            block_on(identity.revoke_own_session(&scene.actor(), id)).unwrap();
        },
        [DOCTOR, None, DOCTOR],
    ),
    (
        "they log out",
        |scene, identity| block_on(identity.log_out(&scene.actor())).unwrap(),
        [None, DOCTOR, DOCTOR],
    ),
    (
        "a session is revoked by an admin",
        |scene, identity| {
            let id = scene.acting.session.session_id;
            block_on(identity.revoke_session(&scene.second_admin, id)).unwrap();
        },
        [DOCTOR, DOCTOR, None],
    ),
    (
        "all sessions are revoked by an admin",
        |scene, identity| {
            let id = scene.doctor.user.user_id;
            let admin = &scene.second_admin;
            block_on(identity.revoke_sessions_of(admin, id, &ANY)).unwrap();
        },
        [None; 3],
    ),
    (
        "they are disabled",
        |scene, identity| scene.change(identity, scene.doctor.user.user_id, disabled()),
        [None; 3],
    ),
    (
        "they have another role",
        |scene, identity| {
            let changes = roles(&[Role::Receptionist]);
            scene.change(identity, scene.doctor.user.user_id, changes);
        },
        [RECEPTIONIST; 3],
    ),
    (
        "the admin who acts as them is demoted",
        |scene, identity| {
            let id = scene.clinic.admin.user_id;
            scene.change(identity, id, roles(&[Role::Manager]));
        },
        [DOCTOR, DOCTOR, None],
    ),
    (
        "the admin who acts as them is demoted for a moment",
        |scene, identity| {
            let id = scene.clinic.admin.user_id;
            scene.change(identity, id, roles(&[Role::Manager]));
            scene.change(identity, id, roles(&[Role::Admin]));
        },
        [DOCTOR, DOCTOR, None],
    ),
    (
        "the admin who acts as them is disabled",
        |scene, identity| scene.change(identity, scene.clinic.admin.user_id, disabled()),
        [DOCTOR, DOCTOR, None],
    ),
    (
        "they change their password",
        |scene, identity| {
            let (current, new) = (secret(PASSWORD), secret("another secret"));
            block_on(identity.change_password(&scene.actor(), &current, &new)).unwrap();
        },
        [DOCTOR, None, None],
    ),
    (
        "their password is reset",
        |scene, identity| {
            let (id, new) = (scene.doctor.user.user_id, secret("another secret"));
            let admin = &scene.second_admin;
            block_on(identity.reset_password(admin, id, &ANY, &new)).unwrap();
        },
        [None; 3],
    ),
    (
        "their session is refreshed",
        |scene, identity| {
            let token = &scene.other.access_token;
            let actor = Actor {
                session_id: scene.other.session.session_id,
                ..scene.actor()
            };
            let new = block_on(identity.refresh(&actor, token)).unwrap();
            let roles = block_on(roles_there(identity, &new.access_token));
            assert_eq!(roles, Some(actor.roles));
        },
        [DOCTOR, None, DOCTOR],
    ),
];

fn as_roles(expected: [Option<Role>; 3]) -> [Option<Roles>; 3] {
    expected.map(|role| role.map(|role| Roles::from_iter([role])))
}

#[test]
fn what_is_changed_here_counts_from_the_very_next_request_on() {
    for (what, deed, expected) in DEEDS {
        let scene = block_on(Scene::open());
        let store = Watched::of(&scene.clinic);
        let here = instance(&scene.clinic, &store);
        assert_eq!(scene.seen_by(&here), as_roles([DOCTOR; 3]));
        assert_eq!(store.connections(), 3);
        assert_eq!(scene.seen_by(&here), as_roles([DOCTOR; 3]));
        assert_eq!(store.connections(), 0, "they are known");
        deed(&scene, &here);
        assert_eq!(scene.seen_by(&here), as_roles(expected), "{what}");
    }
}

#[test]
fn what_is_changed_elsewhere_counts_within_a_second_though_nobody_tells() {
    for (what, deed, expected) in DEEDS {
        let scene = block_on(Scene::open());
        let clock = &scene.clinic.clock;
        let here = instance(&scene.clinic, &Watched::of(&scene.clinic));
        let elsewhere = instance(&scene.clinic, &Watched::of(&scene.clinic));
        assert_eq!(scene.seen_by(&here), as_roles([DOCTOR; 3]));
        deed(&scene, &elsewhere);
        // Requests that keep coming do not make the trust last.
        for _ in 0..10 {
            scene.seen_by(&here);
            clock.advance(TimeDelta::milliseconds(100));
        }
        assert_eq!(scene.seen_by(&here), as_roles(expected), "{what}");
    }
}

#[test]
fn what_is_changed_elsewhere_counts_as_soon_as_sessions_are_confirmed() {
    for (what, deed, expected) in DEEDS {
        let scene = block_on(Scene::open());
        let store = Watched::of(&scene.clinic);
        let here = instance(&scene.clinic, &store);
        let elsewhere = instance(&scene.clinic, &Watched::of(&scene.clinic));
        assert_eq!(scene.seen_by(&here), as_roles([DOCTOR; 3]));
        deed(&scene, &elsewhere);
        block_on(here.confirm_sessions(&*scene.clinic.store)).unwrap();
        assert_eq!(scene.seen_by(&here), as_roles(expected), "{what}");
    }
}

/// What the store says of a doctor who comes while it is away: nobody may come in.
#[track_caller]
fn assert_away(outcome: Result<Actor, IdentityError>) {
    let failure = outcome.expect_err("nobody comes in");
    let is_so = matches!(
        failure,
        IdentityError::Common(CommonError::Store(StoreError::Unavailable(_)))
    );
    assert!(is_so, "{failure:?}");
}

#[test]
fn while_the_store_is_away_known_sessions_count_for_less_than_a_second_and_then_nobody() {
    block_on(async {
        let clinic = Clinic::open().await;
        let store = Watched::of(&clinic);
        let here = instance(&clinic, &store);
        let known = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let (token, origin) = (known.access_token, Origin::default());
        let known = here.authenticate(&token, &origin).await.unwrap();
        let unknown = clinic.log_in("doctor2", PASSWORD).await.unwrap();

        store.go_away();
        clinic.clock.advance(TimeDelta::milliseconds(800));
        here.confirm_sessions(&*store).await.unwrap_err();
        assert_eq!(here.authenticate(&token, &origin).await.unwrap(), known);
        assert_away(here.authenticate(&unknown.access_token, &origin).await);
        for milliseconds in [200, 300, 1_000, 60_000] {
            clinic.clock.advance(TimeDelta::milliseconds(milliseconds));
            assert_away(here.authenticate(&token, &origin).await);
            assert_away(here.authenticate(&secret("no token"), &origin).await);
            if here.confirm_sessions(&*store).await.is_ok() {
                // Nothing was in use any more, so nothing was asked.
                assert_away(here.authenticate(&token, &origin).await);
            }
        }
        store.come_back();
        assert_eq!(here.authenticate(&token, &origin).await.unwrap(), known);
    });
}

#[test]
fn a_store_that_fails_while_it_is_asked_about_a_session_lets_nobody_in() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let clinic = block_on(Clinic::open());
    let found = LiveSession {
        session_id: clinic.doctor.session_id,
        user_id: clinic.doctor.user_id,
        roles: clinic.doctor.roles,
        must_change_password: false,
        impersonator_id: None,
        may_act: true,
        last_seen_at: clinic.clock.now(),
        expires_at: clinic.minutes_from_now(60),
    };
    let broken = Arc::clone(&is_broken);
    let answer = move || {
        if broken.load(Ordering::Relaxed) {
            return Err(StoreError::Unexpected("broken".into()));
        }
        Ok(found)
    };
    let store = Arc::new(MockStore::new(move |ports| {
        let sessions = &mut ports.sessions;
        let (one, many) = (answer.clone(), answer.clone());
        sessions
            .expect_find_by_token()
            .returning(move |_| one().map(Some));
        sessions
            .expect_find_by_tokens()
            .returning(move |tokens| many().map(|found| vec![(tokens[0], found)]));
    }));
    let ports = Ports {
        store: Arc::clone(&store) as _,
        clock: Arc::clone(&clinic.clock) as _,
        ids: Arc::clone(&clinic.ids) as _,
        access_log: Arc::default(),
    };
    let (hasher, tokens) = (Arc::new(FakeHasher), Arc::new(OtherTokens::default()));
    let here = IdentityService::new(ports, hasher, tokens, identity_settings());
    let come = || block_on(here.authenticate(&secret("a token"), &Origin::default()));
    come().unwrap();
    clinic.clock.advance(TimeDelta::milliseconds(500));
    block_on(here.confirm_sessions(&*store)).unwrap();
    is_broken.store(true, Ordering::Relaxed);
    clinic.clock.advance(TimeDelta::milliseconds(500));
    let failure = block_on(here.confirm_sessions(&*store)).unwrap_err();
    assert!(matches!(failure, StoreError::Unexpected(_)));
    come().unwrap();
    clinic.clock.advance(TimeDelta::milliseconds(500));
    let failure = come().unwrap_err();
    let is_so = matches!(
        failure,
        IdentityError::Common(CommonError::Store(StoreError::Unexpected(_)))
    );
    assert!(is_so, "{failure:?}");
    is_broken.store(false, Ordering::Relaxed);
    come().unwrap();
}

async fn last_seen_at(clinic: &Clinic, session_id: SessionId) -> Instant {
    let page = PageRequest {
        limit: PageLimit::new(200).unwrap(),
        after: None,
    };
    let identity = &clinic.services.identity;
    let sessions = identity.sessions(&clinic.admin, None, page).await.unwrap();
    let mut sessions = sessions.items.into_iter();
    let session = sessions.find(|session| session.session_id == session_id);
    session.unwrap().last_seen_at
}

#[test]
fn sessions_that_are_confirmed_take_no_question_a_request_and_one_write_a_minute() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (of_requests, of_ticks) = (Watched::of(&clinic), Watched::of(&clinic));
        let here = instance(&clinic, &of_requests);
        // While nobody comes nothing is asked.
        here.confirm_sessions(&*of_ticks).await.unwrap();
        assert_eq!(of_ticks.connections(), 0);

        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let (token, id) = (&logged_in.access_token, logged_in.session.session_id);
        let mut written = vec![last_seen_at(&clinic, id).await];
        let start = clinic.clock.now();
        assert!(roles_there(&here, token).await.is_some());
        assert_eq!(of_requests.connections(), 1);
        let ticks = 1_000;
        for _ in 0..ticks {
            for _ in 0..3 {
                clinic.clock.advance(TICK / 3);
                assert!(roles_there(&here, token).await.is_some());
            }
            here.confirm_sessions(&*of_ticks).await.unwrap();
            let seen_at = last_seen_at(&clinic, id).await;
            if written.last() != Some(&seen_at) {
                assert_eq!(seen_at, clinic.clock.now());
                written.push(seen_at);
            }
        }
        assert_eq!(of_requests.connections(), 0);
        assert!(written.is_sorted());
        assert!(
            written
                .windows(2)
                .all(|two| two[1] - two[0] >= TimeDelta::minutes(1))
        );
        // 1000 ticks are five minutes, so it was written each minute.
        assert_eq!(clinic.clock.now() - start, TimeDelta::minutes(5));
        assert_eq!(written.len(), 1 + 5);
        assert_eq!(of_ticks.connections(), ticks + 5);
    });
}

#[test]
fn the_last_use_is_written_when_a_session_is_left_and_nothing_is_asked_any_more() {
    block_on(async {
        let clinic = Clinic::open().await;
        let store = Watched::of(&clinic);
        let here = instance(&clinic, &store);
        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let id = logged_in.session.session_id;
        clinic.clock.advance(TimeDelta::seconds(30));
        assert!(roles_there(&here, &logged_in.access_token).await.is_some());
        let last_use = clinic.clock.now();
        clinic.clock.advance(TimeDelta::seconds(59));
        here.confirm_sessions(&*store).await.unwrap();
        assert!(last_seen_at(&clinic, id).await < last_use);
        clinic.clock.advance(TimeDelta::seconds(1));
        here.confirm_sessions(&*store).await.unwrap();
        assert_eq!(last_seen_at(&clinic, id).await, last_use);
        store.connections();
        here.confirm_sessions(&*store).await.unwrap();
        here.write_all_seen(&*store).await.unwrap();
        assert_eq!(store.connections(), 0);
    });
}

#[test]
fn at_the_end_every_use_is_written_and_none_is_lost_to_a_store_that_is_away() {
    block_on(async {
        let clinic = Clinic::open().await;
        let store = Watched::of(&clinic);
        let here = instance(&clinic, &store);
        let mut uses = Vec::new();
        for username in ["doctor1", "doctor2"] {
            let logged_in = clinic.log_in(username, PASSWORD).await.unwrap();
            clinic.clock.advance(TimeDelta::seconds(1));
            assert!(roles_there(&here, &logged_in.access_token).await.is_some());
            uses.push((logged_in.session.session_id, clinic.clock.now()));
        }
        store.go_away();
        here.write_all_seen(&*store).await.unwrap_err();
        store.come_back();
        for (id, used_at) in &uses {
            assert!(last_seen_at(&clinic, *id).await < *used_at);
        }
        here.write_all_seen(&*store).await.unwrap();
        for (id, used_at) in &uses {
            assert_eq!(last_seen_at(&clinic, *id).await, *used_at);
        }
        store.connections();
        here.write_all_seen(&*store).await.unwrap();
        assert_eq!(
            store.connections(),
            0,
            "what is written is not written again"
        );
    });
}

#[test]
fn sessions_are_forgotten_a_month_after_they_expired() {
    block_on(async {
        let clinic = Clinic::open().await;
        let identity = &clinic.services.identity;
        // What the fixture opened ends a moment before.
        let moment = TimeDelta::microseconds(1);
        clinic.clock.advance(moment);
        let logged_in = clinic.log_in("doctor1", PASSWORD).await.unwrap();
        let month_later = logged_in.session.expires_at + TimeDelta::days(30);
        let before = entries_of(&clinic.store).await;
        let forget = async || identity.forget_expired_sessions().await.unwrap();
        clinic.clock.set(month_later - moment);
        assert_eq!(forget().await, 0);
        assert_eq!(entries_of(&clinic.store).await, before);

        clinic.clock.set(month_later);
        assert!(forget().await > 1);
        clinic.clock.set(month_later + moment);
        assert_eq!(forget().await, 1);
        assert_eq!(forget().await, 0);
        let entries = entries_of(&clinic.store).await;
        assert_eq!(entries.len(), before.len() + 2);
        let entry = entries.last().unwrap();
        assert_eq!(
            (entry.action, entry.entity, entry.actor_id),
            (AuditAction::Delete, Entity::Session, None)
        );
        assert_eq!(entry.changes[0].after, AuditValue::Number(1));
    });
}
