use super::stage::{Must, Stage, all_at_once, assert_violates, changed, let_others_go_on};
use crate::access::Role;
use crate::identity::User;
use crate::store::{
    AnsweredRequest, IdempotencyKey, KeptAnswer, KeyedRequest, Rule, Store, StoreError,
};

fn key(key: &str) -> IdempotencyKey {
    IdempotencyKey::parse(key).expect("a key")
}

fn answered(stage: &Stage<'_>, user: &User, name: &str, minutes: i64) -> AnsweredRequest {
    AnsweredRequest {
        request: KeyedRequest {
            key: key(name),
            fingerprint: [7; 32],
        },
        user_id: user.user_id,
        patient_id: None,
        answered_at: stage.at(minutes),
        answer: KeptAnswer {
            status: 200,
            location: None,
            entity_tag: None,
            body: Vec::new(),
        },
    }
}

/// Claims the key and keeps the answer.
async fn keep(stage: &Stage<'_>, answered: &AnsweredRequest) -> Result<(), StoreError> {
    let request = &answered.request;
    stage
        .write(async |work| {
            let answers = work.idempotency();
            answers.claim(&request.key, answered.answered_at).await?;
            answers.keep(answered).await
        })
        .await
}

async fn found(stage: &Stage<'_>, name: &str, since: i64) -> Option<AnsweredRequest> {
    let mut work = stage.store.begin().await.must();
    let claimed = work.idempotency().claim(&key(name), stage.at(since)).await;
    claimed.must()
}

/// It comes back whole, until it is too old.
pub async fn an_answer_is_kept_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Receptionist).await;
    let bare = answered(&stage, &user, "bare", 5);
    let longest_key = "~".repeat(255);
    let full = AnsweredRequest {
        patient_id: Some(stage.id()),
        answer: KeptAnswer {
            status: 201,
            location: Some("/there".to_owned()),
            entity_tag: Some("\"1\"".to_owned()),
            body: vec![0, 255, b'{'],
        },
        ..answered(&stage, &user, &longest_key, 5)
    };
    for answered in [&bare, &full] {
        keep(&stage, answered).await.must();
        let name = answered.request.key.as_str();
        assert_eq!(found(&stage, name, 4).await.as_ref(), Some(answered));
        assert_eq!(found(&stage, name, 5).await, None);
        assert_eq!(found(&stage, &name[1..], 4).await, None);
    }
}

/// What is kept later takes the place of what was kept before.
pub async fn an_answer_takes_the_place_of_an_older_one(store: &dyn Store) {
    let stage = Stage::new(store);
    let anna = stage.saved_user("anna", Role::Receptionist).await;
    let berta = stage.saved_user("berta", Role::Receptionist).await;
    let older = answered(&stage, &anna, "key", 5);
    keep(&stage, &older).await.must();
    let newer = changed(&answered(&stage, &berta, "key", 9), |newer| {
        newer.request.fingerprint = [8; 32];
        newer.patient_id = Some(stage.id());
        newer.answer.status = 204;
        newer.answer.body = vec![1];
        newer.answer.location = Some("/there".to_owned());
        newer.answer.entity_tag = Some("\"2\"".to_owned());
    });
    keep(&stage, &newer).await.must();
    assert_eq!(found(&stage, "key", 0).await, Some(newer));
}

/// An answer has to be one of success, of a known user.
pub async fn an_answer_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Receptionist).await;
    let fine = answered(&stage, &user, "key", 5);
    let wrong: [fn(&mut AnsweredRequest); 6] = [
        |it| it.answer.status = 199,
        |it| it.answer.status = 300,
        |it| it.answer.location = Some(String::new()),
        |it| it.answer.location = Some("x".repeat(2001)),
        |it| it.answer.entity_tag = Some("x".to_owned()),
        |it| it.answer.entity_tag = Some("x".repeat(101)),
    ];
    for change in wrong {
        let wrong = changed(&fine, change);
        assert_violates(keep(&stage, &wrong).await, Rule::ValueRefused);
    }
    let of_nobody = changed(&fine, |it| it.user_id = stage.id());
    assert_violates(keep(&stage, &of_nobody).await, Rule::UserUnknown);
    keep(&stage, &fine).await.must();
}

/// Of two who claim a key at once, the second sees what the first kept.
pub async fn claimants_of_a_key_take_turns(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Receptionist).await;
    let mine = answered(&stage, &user, "key", 5);
    let claim = async || {
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        let answers = work.idempotency();
                        let before = answers.claim(&mine.request.key, stage.at(0)).await?;
                        let_others_go_on().await;
                        if before.is_none() {
                            work.idempotency().keep(&mine).await?;
                        }
                        Ok(before)
                    })
                    .await
            })
            .await
            .must()
    };
    let claims = vec![
        Box::pin(claim()) as _,
        Box::pin(claim()) as _,
        Box::pin(claim()) as _,
    ];
    let before: Vec<Option<AnsweredRequest>> = all_at_once(claims).await;
    assert_eq!(before.iter().filter(|before| before.is_none()).count(), 1);
    for before in before.into_iter().flatten() {
        assert_eq!(before, mine);
    }
}

/// Answers about one patient go, all others stay.
pub async fn answers_about_a_patient_are_forgotten(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Receptionist).await;
    let (patient, other) = (stage.id(), stage.id());
    for (name, about) in [("1", Some(patient)), ("2", Some(other)), ("3", None)] {
        let about = changed(&answered(&stage, &user, name, 5), |it| {
            it.patient_id = about;
        });
        keep(&stage, &about).await.must();
    }
    let forgotten = stage
        .write(async |work| work.idempotency().forget_patient(patient).await)
        .await;
    forgotten.must();
    assert_eq!(found(&stage, "1", 0).await, None);
    assert!(found(&stage, "2", 0).await.is_some());
    assert!(found(&stage, "3", 0).await.is_some());
}

/// The oldest go first, a few at a time, also outside a unit of work.
pub async fn old_answers_are_forgotten(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.saved_user("anna", Role::Receptionist).await;
    for (name, minutes) in [("third", 7), ("first", 5), ("second", 6)] {
        let answered = answered(&stage, &user, name, minutes);
        keep(&stage, &answered).await.must();
    }
    let mut connection = stage.connect().await;
    for (until, limit, forgotten, left) in [
        (4, 10, 0, &["first", "second", "third"][..]),
        (6, 1, 1, &["second", "third"]),
        (6, 10, 1, &["third"]),
        (6, 10, 0, &["third"]),
    ] {
        let answers = connection.idempotency();
        let count = answers.forget_until(stage.at(until), limit).await.must();
        assert_eq!(count, forgotten, "until {until}");
        for name in ["first", "second", "third"] {
            let is_left = found(&stage, name, 0).await.is_some();
            assert_eq!(is_left, left.contains(&name), "{name} until {until}");
        }
    }
}
