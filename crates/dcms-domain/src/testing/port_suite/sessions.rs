use super::stage::{Must, Stage, all_of, assert_violates, changed, page_of, token_hash};
use crate::access::{Actor, Role, Roles};
use crate::identity::{LiveSession, Session};
use crate::shared::{PageRequest, SessionId};
use crate::store::{Rule, Store, StoreError};

async fn insert(stage: &Stage<'_>, session: &Session, token: u8) -> Result<(), StoreError> {
    stage
        .write(async |work| work.sessions().insert(session, token_hash(token)).await)
        .await
}

/// The ids of the sessions that are live in the first minute.
async fn live(stage: &Stage<'_>) -> Vec<SessionId> {
    let mut connection = stage.connect().await;
    let page = connection
        .sessions()
        .list_live(None, stage.at(0), PageRequest::first())
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
        actor: Actor {
            user_id: user.user_id,
            session_id: session.session_id,
            roles: user.roles,
        },
        expires_at: session.expires_at,
        user_is_active: true,
    };
    let found = connection.sessions().find_by_token(token_hash(1)).await;
    assert_eq!(found.must(), Some(expected));
    let unknown = connection.sessions().find_by_token(token_hash(2)).await;
    assert_eq!(unknown.must(), None);

    let next = changed(&user, |user| {
        user.roles = Roles::from_iter([Role::Manager]);
        user.is_active = false;
        user.version = user.version.next();
    });
    stage
        .write(async |work| work.users().update(&next).await)
        .await
        .must();
    let found = connection.sessions().find_by_token(token_hash(1)).await;
    let found = found.must().expect("the session is still there");
    assert_eq!(found.actor.roles, next.roles);
    assert!(!found.user_is_active);
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

/// Rotation gives another token and end; the old token is worth nothing.
pub async fn a_rotated_session_has_another_token(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Doctor).await;
    let session = stage.saved_session(&user, 1).await;
    stage.saved_session(&user, 9).await;
    let rotated = stage
        .write(async |work| {
            let (now, end) = (stage.at(30), stage.at(90));
            work.sessions()
                .rotate(session.session_id, token_hash(2), now, end)
                .await
        })
        .await
        .must();
    let expected = changed(&session, |session| session.expires_at = stage.at(90));
    assert_eq!(rotated, Some(expected));

    let mut connection = stage.connect().await;
    let old = connection.sessions().find_by_token(token_hash(1)).await;
    assert_eq!(old.must(), None);
    let new = connection.sessions().find_by_token(token_hash(2)).await;
    let new = new.must().expect("the new token counts");
    assert_eq!(new.actor.session_id, session.session_id);
    assert_eq!(new.expires_at, stage.at(90));

    let outcome = stage
        .write(async |work| {
            let (now, end) = (stage.at(30), stage.at(90));
            work.sessions()
                .rotate(session.session_id, token_hash(9), now, end)
                .await
        })
        .await;
    assert_violates(outcome, Rule::IdentifierTaken);
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
                .revoke(revoked.session_id, None, stage.at(1))
                .await
        })
        .await
        .must();
    for (session_id, minute) in [
        (expired.session_id, 60),
        (revoked.session_id, 2),
        (stage.id(), 2),
    ] {
        let rotated = stage
            .write(async |work| {
                let (now, end) = (stage.at(minute), stage.at(200));
                work.sessions()
                    .rotate(session_id, token_hash(3), now, end)
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
                .revoke(revoked.session_id, None, stage.at(1))
                .await
        })
        .await
        .must();

    let mut connection = stage.connect().await;
    let sessions = connection.sessions();
    let before = sessions
        .list_live(Some(anna.user_id), stage.at(9), PageRequest::first())
        .await;
    assert_eq!(all_of(before), [first.clone(), third.clone(), short]);
    let of_anna = sessions
        .list_live(Some(anna.user_id), stage.at(10), PageRequest::first())
        .await;
    assert_eq!(all_of(of_anna), [first.clone(), third.clone()]);

    let page = sessions
        .list_live(None, stage.at(10), page_of(2, None))
        .await;
    let page = page.must();
    assert_eq!(page.items, [first, second.clone()]);
    assert_eq!(page.next, Some(second.session_id));
    let page = sessions
        .list_live(None, stage.at(10), page_of(2, page.next))
        .await;
    assert_eq!(all_of(page), [third]);
}

/// Only a live session is revoked, and only that of the user named.
pub async fn a_session_is_revoked_once(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Doctor).await;
    let berta = stage.saved_user("berta", Role::Doctor).await;
    let session = stage.saved_session(&anna, 1).await;
    let other = stage.saved_session(&berta, 2).await;
    let id = session.session_id;
    for (session_id, user_id, minute, expected) in [
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
                    .revoke(session_id, user_id, stage.at(minute))
                    .await
            })
            .await;
        assert_eq!(revoked.must(), expected, "{user_id:?} at {minute}");
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
