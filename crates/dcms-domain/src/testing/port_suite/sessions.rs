use super::stage::{Must, Stage, all_of, assert_violates, changed, page_of, token_hash};
use crate::access::{Role, Roles};
use crate::identity::{LiveAt, LiveSession, Session, User};
use crate::shared::{PageRequest, SessionId};
use crate::store::{Rule, Store, StoreError};

async fn insert(stage: &Stage<'_>, session: &Session, token: u8) -> Result<(), StoreError> {
    stage
        .write(async |work| work.sessions().insert(session, token_hash(token)).await)
        .await
}

/// The moment after that many minutes, for sessions that live idle for half an hour.
fn minute(stage: &Stage<'_>, minutes: i64) -> LiveAt {
    LiveAt {
        now: stage.at(minutes),
        seen_after: stage.at(minutes - 30),
    }
}

/// The ids of the sessions that are live in the first minute.
async fn live(stage: &Stage<'_>) -> Vec<SessionId> {
    let mut connection = stage.connect().await;
    let page = connection
        .sessions()
        .list_live(None, minute(stage, 0), PageRequest::first())
        .await;
    all_of(page).iter().map(|live| live.session_id).collect()
}

/// A token leads to the session and to its user as they are now, also when the session is over.
pub async fn a_session_is_found_by_its_token(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let session = stage.saved_session(&user, 1).await;
    let mut connection = stage.connect().await;
    let expected = LiveSession {
        session_id: session.session_id,
        user_id: user.user_id,
        roles: user.roles,
        must_change_password: false,
        impersonator_id: None,
        may_act: true,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
    };
    let found = connection.sessions().find_by_token(token_hash(1)).await;
    assert_eq!(found.must(), Some(expected));
    let unknown = connection.sessions().find_by_token(token_hash(2)).await;
    assert_eq!(unknown.must(), None);

    let next = changed(&user, |user| {
        user.roles = Roles::from_iter([Role::Manager]);
        user.is_active = false;
        user.must_change_password = true;
        user.version = user.version.next();
    });
    stage
        .write(async |work| work.users().update(&next).await)
        .await
        .must();
    let found = connection.sessions().find_by_token(token_hash(1)).await;
    let found = found.must().expect("the session is still there");
    assert_eq!(found.roles, next.roles);
    assert!(found.must_change_password);
    assert!(!found.may_act);
}

/// Many tokens are looked up at once; those of no session that counts are left out.
pub async fn sessions_are_found_by_their_tokens(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let first = stage.saved_session(&user, 1).await;
    let second = stage.saved_session(&user, 2).await;
    let revoked = stage.saved_session(&user, 3).await;
    stage
        .write(async |work| {
            work.sessions()
                .revoke(revoked.session_id, None, minute(&stage, 1))
                .await
        })
        .await
        .must();
    let mut connection = stage.connect().await;
    let tokens = [1, 2, 3, 4].map(token_hash);
    let found = connection.sessions().find_by_tokens(&tokens).await.must();
    let mut found: Vec<_> = found
        .into_iter()
        .map(|(token, session)| (token, session.session_id))
        .collect();
    found.sort_by_key(|(_, session_id)| *session_id);
    let expected = [
        (token_hash(1), first.session_id),
        (token_hash(2), second.session_id),
    ];
    assert_eq!(found, expected);
    assert_eq!(connection.sessions().find_by_tokens(&[]).await.must(), []);
}

/// Who acts as somebody else may do so as long as they are an active admin.
pub async fn an_impersonator_has_to_stay_an_active_admin(store: &dyn Store) {
    let stage = Stage::new(store);
    let admin = stage.saved_user("anna", Role::Admin).await;
    let user = stage.saved_user("berta", Role::Doctor).await;
    let session = changed(&stage.session(&user), |session| {
        session.impersonator_id = Some(admin.user_id);
    });
    insert(&stage, &session, 1).await.must();
    let nobody = changed(&stage.session(&user), |session| {
        session.impersonator_id = Some(stage.id());
    });
    assert_violates(insert(&stage, &nobody, 2).await, Rule::UserUnknown);
    let oneself = changed(&stage.session(&user), |session| {
        session.impersonator_id = Some(user.user_id);
    });
    assert_violates(insert(&stage, &oneself, 3).await, Rule::ValueRefused);

    let demoted = changed(&admin, |admin| {
        admin.roles = Roles::from_iter([Role::Manager]);
        admin.version = admin.version.next();
    });
    let disabled = changed(&admin, |admin| {
        admin.is_active = false;
        admin.version = demoted.version.next();
    });
    for (change, may_act) in [
        (None, true),
        (Some(&demoted), false),
        (Some(&disabled), false),
    ] {
        if let Some(admin) = change {
            stage
                .write(async |work| work.users().update(admin).await)
                .await
                .must();
        }
        let mut connection = stage.connect().await;
        let found = connection.sessions().find_by_token(token_hash(1)).await;
        let found = found.must().expect("the session is there");
        assert_eq!(found.impersonator_id, Some(admin.user_id));
        assert_eq!(found.may_act, may_act);
    }
}

/// A session has a user, and an id and a token of its own.
pub async fn a_session_is_of_a_known_user_and_new(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let session = changed(&stage.session(&user), |session| {
        session.device_name = Some("Front desk".to_owned());
    });
    insert(&stage, &session, 1).await.must();

    let nobodys = changed(&stage.session(&user), |session| {
        session.user_id = stage.id();
    });
    assert_violates(insert(&stage, &nobodys, 2).await, Rule::UserUnknown);
    assert_violates(insert(&stage, &session, 3).await, Rule::IdentifierTaken);
    let same_token = stage.session(&user);
    assert_violates(insert(&stage, &same_token, 1).await, Rule::IdentifierTaken);
    let over_at_once = changed(&stage.session(&user), |session| {
        session.expires_at = session.created_at;
    });
    assert_violates(insert(&stage, &over_at_once, 4).await, Rule::ValueRefused);
}

/// Rotation gives another token and marks the session as seen; the old token is worth nothing, and
/// known for what it was.
pub async fn a_rotated_session_has_another_token(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let session = stage.saved_session(&user, 1).await;
    stage.saved_session(&user, 9).await;
    let rotate = async |old: u8, new: u8| {
        stage
            .write(async |work| {
                let (old, new) = (token_hash(old), token_hash(new));
                work.sessions()
                    .rotate(session.session_id, old, new, minute(&stage, 20))
                    .await
            })
            .await
    };
    let expected = changed(&session, |session| session.last_seen_at = stage.at(20));
    assert_eq!(rotate(1, 2).await.must(), Some(expected.clone()));

    let mut connection = stage.connect().await;
    let sessions = connection.sessions();
    let old = sessions.find_by_token(token_hash(1)).await;
    assert_eq!(old.must(), None);
    let new = sessions.find_by_token(token_hash(2)).await;
    let new = new.must().expect("the new token counts");
    assert_eq!(new.session_id, session.session_id);
    assert_eq!(new.last_seen_at, stage.at(20));
    let retired = sessions.find_by_retired_token(token_hash(1)).await;
    assert_eq!(retired.must(), Some(expected));
    for never_retired in [2, 3] {
        let found = sessions
            .find_by_retired_token(token_hash(never_retired))
            .await;
        assert_eq!(found.must(), None);
    }
    assert_eq!(rotate(1, 3).await.must(), None);
    assert_violates(rotate(2, 9).await, Rule::IdentifierTaken);
}

/// A session that is over, revoked or unknown stays what it is.
pub async fn a_dead_session_is_not_rotated(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let expired = stage.saved_session(&user, 1).await;
    let revoked = stage.saved_session(&user, 2).await;
    stage
        .write(async |work| {
            work.sessions()
                .revoke(revoked.session_id, None, minute(&stage, 1))
                .await
        })
        .await
        .must();
    let expired_only = LiveAt {
        now: stage.at(60),
        seen_after: stage.at(-1),
    };
    for (session_id, old, live) in [
        (expired.session_id, 1, expired_only),
        (expired.session_id, 1, minute(&stage, 30)),
        (revoked.session_id, 2, minute(&stage, 2)),
        (stage.id(), 1, minute(&stage, 2)),
    ] {
        let rotated = stage
            .write(async |work| {
                work.sessions()
                    .rotate(session_id, token_hash(old), token_hash(3), live)
                    .await
            })
            .await;
        assert_eq!(rotated.must(), None);
    }
}

/// Live sessions are listed in the order of log-in, of one user or of all, page by page.
pub async fn live_sessions_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Doctor).await;
    let berta = stage.saved_user("berta", Role::Doctor).await;
    let first = stage.saved_session(&anna, 1).await;
    let second = stage.saved_session(&berta, 2).await;
    let third = stage.saved_session(&anna, 3).await;
    let short = changed(&stage.session(&anna), |session| {
        session.expires_at = stage.at(10);
    });
    insert(&stage, &short, 4).await.must();
    let revoked = stage.saved_session(&anna, 5).await;
    stage
        .write(async |work| {
            work.sessions()
                .revoke(revoked.session_id, None, minute(&stage, 1))
                .await
        })
        .await
        .must();

    let mut connection = stage.connect().await;
    let sessions = connection.sessions();
    let before = sessions
        .list_live(Some(anna.user_id), minute(&stage, 9), PageRequest::first())
        .await;
    assert_eq!(all_of(before), [first.clone(), third.clone(), short]);
    let of_anna = sessions
        .list_live(Some(anna.user_id), minute(&stage, 10), PageRequest::first())
        .await;
    assert_eq!(all_of(of_anna), [first.clone(), third.clone()]);

    let page = sessions
        .list_live(None, minute(&stage, 10), page_of(2, None))
        .await;
    let page = page.must();
    assert_eq!(page.items, [first, second.clone()]);
    assert_eq!(page.next, Some(second.session_id));
    let page = sessions
        .list_live(None, minute(&stage, 10), page_of(2, page.next))
        .await;
    assert_eq!(all_of(page), [third]);
    let idle = sessions
        .list_live(None, minute(&stage, 30), PageRequest::first())
        .await;
    assert_eq!(all_of(idle), []);
}

/// Only a live session is revoked, and only that of the user named.
pub async fn a_session_is_revoked_once(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Doctor).await;
    let berta = stage.saved_user("berta", Role::Doctor).await;
    let session = stage.saved_session(&anna, 1).await;
    let other = stage.saved_session(&berta, 2).await;
    let id = session.session_id;
    for (session_id, user_id, minutes, expected) in [
        (id, Some(berta.user_id), 1, false),
        (stage.id(), None, 1, false),
        (id, None, 60, false),
        (id, Some(anna.user_id), 1, true),
        (id, Some(anna.user_id), 1, false),
        (other.session_id, None, 1, true),
    ] {
        let revoked = stage
            .write(async |work| {
                work.sessions()
                    .revoke(session_id, user_id, minute(&stage, minutes))
                    .await
            })
            .await;
        let revoked = revoked.must().map(|session| session.session_id);
        let expected = expected.then_some(session_id);
        assert_eq!(revoked, expected, "{user_id:?} at {minutes}");
    }
    let mut connection = stage.connect().await;
    let found = connection.sessions().find_by_token(token_hash(1)).await;
    assert_eq!(found.must(), None);
    assert_eq!(live(&stage).await, []);
}

/// All of a user's sessions end, but the one to keep and those of others.
pub async fn all_sessions_of_a_user_end_but_one(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Doctor).await;
    let berta = stage.saved_user("berta", Role::Doctor).await;
    let kept = stage.saved_session(&anna, 1).await.session_id;
    stage.saved_session(&anna, 2).await;
    stage.saved_session(&anna, 3).await;
    let of_berta = stage.saved_session(&berta, 4).await.session_id;
    let acted = changed(&stage.session(&berta), |session| {
        session.impersonator_id = Some(anna.user_id);
    });
    insert(&stage, &acted, 5).await.must();
    for (keep, expected) in [(Some(kept), vec![kept, of_berta]), (None, vec![of_berta])] {
        stage
            .write(async |work| {
                work.sessions()
                    .revoke_all(anna.user_id, keep, stage.at(1))
                    .await
            })
            .await
            .must();
        assert_eq!(live(&stage).await, expected);
    }
}

/// The sessions in which somebody acts as another end, and no others.
pub async fn impersonations_by_a_user_end(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Admin).await;
    let berta = stage.saved_user("berta", Role::Admin).await;
    let own = stage.saved_session(&anna, 1).await.session_id;
    let by = |user: &User, of: &User| {
        changed(&stage.session(of), |session| {
            session.impersonator_id = Some(user.user_id);
        })
    };
    let (by_anna, by_berta) = (by(&anna, &berta), by(&berta, &anna));
    insert(&stage, &by_anna, 2).await.must();
    insert(&stage, &by_berta, 3).await.must();
    stage
        .write(async |work| {
            let sessions = work.sessions();
            sessions
                .revoke_impersonations_by(anna.user_id, stage.at(1))
                .await
        })
        .await
        .must();
    assert_eq!(live(&stage).await, [own, by_berta.session_id]);
}

/// The oldest sessions of a user end until the number to keep is left; those of others and those
/// of an impersonator stay.
pub async fn the_oldest_sessions_of_a_user_end(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Admin).await;
    let berta = stage.saved_user("berta", Role::Doctor).await;
    let acted = changed(&stage.session(&berta), |session| {
        session.impersonator_id = Some(anna.user_id);
    });
    insert(&stage, &acted, 1).await.must();
    let of_anna = stage.saved_session(&anna, 2).await.session_id;
    stage.saved_session(&berta, 3).await;
    let later = stage.saved_session(&berta, 4).await.session_id;
    let latest = stage.saved_session(&berta, 5).await.session_id;
    let end = async |keep| {
        stage
            .write(async |work| {
                let live = minute(&stage, 1);
                work.sessions()
                    .revoke_oldest(berta.user_id, keep, live)
                    .await
            })
            .await
            .must();
    };
    end(2).await;
    let left = [acted.session_id, of_anna, later, latest];
    assert_eq!(live(&stage).await, left);
    end(2).await;
    assert_eq!(live(&stage).await, left);
    end(0).await;
    assert_eq!(live(&stage).await, [acted.session_id, of_anna]);
}

/// When a session was last seen only moves on.
pub async fn sessions_are_marked_as_seen(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let first = stage.saved_session(&user, 1).await.session_id;
    let second = stage.saved_session(&user, 2).await.session_id;
    for seen in [
        vec![(first, stage.at(5)), (second, stage.at(7))],
        vec![(first, stage.at(4)), (stage.id(), stage.at(9))],
        Vec::new(),
    ] {
        stage
            .write(async |work| work.sessions().mark_seen(&seen).await)
            .await
            .must();
    }
    let mut connection = stage.connect().await;
    for (token, minutes) in [(1, 5), (2, 7)] {
        let found = connection.sessions().find_by_token(token_hash(token)).await;
        let found = found.must().expect("the session is there");
        assert_eq!(found.last_seen_at, stage.at(minutes));
    }
}

/// Sessions that expired long ago are forgotten, a few at a time, with the tokens they had.
pub async fn expired_sessions_are_forgotten(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let rotated = stage.saved_session(&user, 1).await;
    stage
        .write(async |work| {
            let (old, new) = (token_hash(1), token_hash(2));
            work.sessions()
                .rotate(rotated.session_id, old, new, minute(&stage, 1))
                .await
        })
        .await
        .must();
    let longer = changed(&stage.session(&user), |session| {
        session.expires_at = stage.at(90);
    });
    insert(&stage, &longer, 3).await.must();
    for (before, limit, forgotten, left) in [
        (60, 10, 0, vec![2, 3]),
        (61, 0, 0, vec![2, 3]),
        (61, 10, 1, vec![3]),
        (91, 1, 1, vec![]),
    ] {
        let answer = stage
            .write(async |work| {
                let sessions = work.sessions();
                sessions.forget_expired(stage.at(before), limit).await
            })
            .await;
        assert_eq!(answer.must(), forgotten, "before {before}");
        let mut connection = stage.connect().await;
        let tokens = [2, 3].map(token_hash);
        let found = connection.sessions().find_by_tokens(&tokens).await.must();
        assert_eq!(found.len(), left.len(), "before {before}");
        assert!(
            found
                .iter()
                .all(|(token, _)| left.iter().any(|left| token_hash(*left) == *token))
        );
    }
    let mut connection = stage.connect().await;
    let retired = connection.sessions().find_by_retired_token(token_hash(1));
    assert_eq!(retired.await.must(), None);
}
