use super::stage::{Must, Stage, all_of, changed, page_of};
use crate::access::Role;
use crate::audit::{AuditAction, AuditEntry, AuditFilter, AuditValue, Entity, FieldChange};
use crate::shared::{AuditId, PageRequest, PatientId, TimeWindow};
use crate::store::{Store, StoreError};

async fn append(stage: &Stage<'_>, entries: &[AuditEntry]) -> Result<(), StoreError> {
    stage
        .write(async |work| work.audit().append(entries).await)
        .await
}

/// The ids of the entries that match, without those of the tests' own units of work.
async fn matching(stage: &Stage<'_>, filter: AuditFilter) -> Vec<AuditId> {
    let mut connection = stage.connect().await;
    let page = connection.audit().list(&filter, PageRequest::first()).await;
    let of_the_test = all_of(page)
        .into_iter()
        .filter(|entry| entry.actor_id.is_some());
    of_the_test.map(|entry| entry.audit_id).collect()
}

fn full_entry(stage: &Stage<'_>, patient_ids: Vec<PatientId>) -> AuditEntry {
    let list = AuditValue::List(vec![
        AuditValue::Number(3),
        AuditValue::Record(vec![("qty".into(), AuditValue::Number(-1))]),
    ]);
    AuditEntry {
        actor_id: Some(stage.id()),
        impersonator_id: Some(stage.id()),
        session_id: Some(stage.id()),
        address: Some("2001:db8::7".parse().expect("an address")),
        request_id: Some("a-request".to_owned()),
        action: AuditAction::Reschedule,
        entity: Entity::Appointment,
        entity_id: Some(stage.id()),
        patient_ids,
        changes: vec![
            FieldChange {
                field: "is_active".into(),
                before: AuditValue::Flag(true),
                after: AuditValue::Nothing,
            },
            FieldChange {
                field: "notes".into(),
                before: AuditValue::Nothing,
                after: AuditValue::Text("Ünï\"c\"ode".to_owned()),
            },
            FieldChange {
                field: "services".into(),
                before: AuditValue::List(Vec::new()),
                after: list,
            },
        ],
        ..stage.entry()
    }
}

/// What was noted comes back whole, the latest first.
pub async fn entries_come_back_latest_first(store: &dyn Store) {
    let stage = Stage::new(store);
    let first = full_entry(&stage, vec![stage.id(), stage.id()]);
    let second = changed(&full_entry(&stage, Vec::new()), |entry| {
        entry.changes.clear();
        entry.address = Some("192.0.2.1".parse().expect("an address"));
    });
    append(&stage, &[first.clone(), second.clone()])
        .await
        .must();
    let third = full_entry(&stage, vec![stage.id()]);
    let mut work = store.begin().await.must();
    work.audit().append(&[]).await.must();
    work.commit(&third).await.must();

    let mut connection = stage.connect().await;
    let everything = AuditFilter::default();
    let page = connection
        .audit()
        .list(&everything, page_of(1, None))
        .await
        .must();
    assert_eq!(page.items, std::slice::from_ref(&third));
    assert_eq!(page.next, Some(third.audit_id));
    let page = connection
        .audit()
        .list(&everything, page_of(9, page.next))
        .await;
    let of_the_test = all_of(page)
        .into_iter()
        .filter(|entry| entry.actor_id.is_some());
    assert_eq!(of_the_test.collect::<Vec<_>>(), [second, first.clone()]);

    // Whoever does not know whether it was appended may append it again.
    let other = changed(&first, |entry| entry.action = AuditAction::Delete);
    append(&stage, std::slice::from_ref(&other)).await.must();
    let of_its_actor = AuditFilter {
        actor_id: first.actor_id,
        ..AuditFilter::default()
    };
    let page = connection
        .audit()
        .list(&of_its_actor, PageRequest::first())
        .await;
    assert_eq!(all_of(page), [first]);
}

/// Only what was committed is noted.
pub async fn an_entry_stands_and_falls_with_its_change(store: &dyn Store) {
    let stage = Stage::new(store);
    let user = stage.user("anna", Role::Admin);
    let entry = full_entry(&stage, Vec::new());
    {
        let mut work = store.begin().await.must();
        work.audit()
            .append(std::slice::from_ref(&entry))
            .await
            .must();
    }
    assert_eq!(matching(&stage, AuditFilter::default()).await, []);
    let mut work = store.begin().await.must();
    work.users()
        .insert(&user, &super::stage::password("secret"))
        .await
        .must();
    work.commit(&entry).await.must();
    let found = matching(&stage, AuditFilter::default()).await;
    assert_eq!(found, [entry.audit_id]);
}

/// Each filter narrows.
pub async fn entries_are_found_by_what_they_are_about(store: &dyn Store) {
    let stage = Stage::new(store);
    let (anna, berta): (PatientId, PatientId) = (stage.id(), stage.id());
    let one = full_entry(&stage, vec![anna, berta]);
    let other = changed(&full_entry(&stage, vec![berta]), |entry| {
        entry.action = AuditAction::Read;
        entry.entity = Entity::Patient;
        entry.at = stage.at(10);
    });
    append(&stage, &[one.clone(), other.clone()]).await.must();
    let all = AuditFilter::default;
    let (first, second) = (one.audit_id, other.audit_id);
    for (filter, expected) in [
        (all(), vec![second, first]),
        (
            AuditFilter {
                actor_id: one.actor_id,
                ..all()
            },
            vec![first],
        ),
        (
            AuditFilter {
                entity: Some(Entity::Patient),
                ..all()
            },
            vec![second],
        ),
        (
            AuditFilter {
                entity_id: other.entity_id,
                ..all()
            },
            vec![second],
        ),
        (
            AuditFilter {
                action: Some(AuditAction::Reschedule),
                ..all()
            },
            vec![first],
        ),
        (
            AuditFilter {
                patient_id: Some(anna),
                ..all()
            },
            vec![first],
        ),
        (
            AuditFilter {
                patient_id: Some(berta),
                ..all()
            },
            vec![second, first],
        ),
        (
            AuditFilter {
                patient_id: Some(stage.id()),
                ..all()
            },
            vec![],
        ),
        (within(Some(10), None, &stage), vec![second]),
        (within(None, Some(10), &stage), vec![first]),
        (within(Some(0), Some(11), &stage), vec![second, first]),
    ] {
        assert_eq!(
            matching(&stage, filter.clone()).await,
            expected,
            "{filter:?}"
        );
    }
}

fn within(from: Option<i64>, to: Option<i64>, stage: &Stage<'_>) -> AuditFilter {
    AuditFilter {
        window: TimeWindow {
            from: from.map(|minutes| stage.at(minutes)),
            to: to.map(|minutes| stage.at(minutes)),
        },
        ..AuditFilter::default()
    }
}
