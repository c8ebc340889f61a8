use super::stage::{Must, Stage, all_of, assert_conflict, assert_violates, changed, page_of};
use crate::access::Role;
use crate::appointments::PlannedService;
use crate::catalog::{Service, ServiceFilter};
use crate::shared::{Cents, PageRequest, Quantity, UserId};
use crate::store::{Rule, Store, StoreError};

async fn insert(stage: &Stage<'_>, service: &Service) -> Result<(), StoreError> {
    stage
        .write(async |work| work.services().insert(service).await)
        .await
}

async fn update(stage: &Stage<'_>, service: &Service) -> Result<(), StoreError> {
    stage
        .write(async |work| work.services().update(service).await)
        .await
}

async fn delete(stage: &Stage<'_>, service: &Service) -> Result<(), StoreError> {
    stage
        .write(async |work| work.services().delete(service).await)
        .await
}

async fn stored(stage: &Stage<'_>, service: &Service) -> Option<Service> {
    let mut connection = stage.connect().await;
    connection.services().get(service.service_id).await.must()
}

async fn two_doctors(stage: &Stage<'_>) -> Vec<UserId> {
    let first = stage.saved_user("doctor1", Role::Doctor).await;
    let second = stage.saved_user("doctor2", Role::Doctor).await;
    vec![first.user_id, second.user_id]
}

/// What was stored comes back, alone or with others.
pub async fn a_service_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let filling = stage.saved_service("F1", "Filling").await;
    let doctors = two_doctors(&stage).await;
    let crown = changed(&stage.service("C1", "Crown"), |service| {
        service.current_price = Cents::MAX_AMOUNT;
        service.default_duration_minutes = None;
        service.is_active = false;
        service.buffer_minutes = 240;
        service.room_kind = Some("surgery".into());
        service.doctor_ids.clone_from(&doctors);
    });
    insert(&stage, &crown).await.must();
    assert_eq!(stored(&stage, &crown).await.as_ref(), Some(&crown));

    let wanted = [
        crown.service_id,
        stage.id(),
        filling.service_id,
        crown.service_id,
    ];
    let mut connection = stage.connect().await;
    let mut known = connection.services().get_many(&wanted).await.must();
    known.sort_by_key(|service| service.service_id);
    assert_eq!(known, [filling, crown]);
    assert_eq!(connection.services().get_many(&[]).await.must(), []);
    assert_eq!(connection.services().get(stage.id()).await.must(), None);
}

/// An update replaces everything, if the version before it is stored.
pub async fn a_changed_service_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let service = stage.saved_service("F1", "Filling").await;
    let doctors = two_doctors(&stage).await;
    let next = changed(&service, |service| {
        service.code = "F2".into();
        service.name = "Large filling".into();
        service.current_price = Cents::ZERO;
        service.default_duration_minutes = None;
        service.is_active = false;
        service.buffer_minutes = 10;
        service.room_kind = Some("surgery".into());
        service.doctor_ids = doctors[..1].to_vec();
        service.version = service.version.next();
        service.updated_at = stage.at(5);
    });
    update(&stage, &next).await.must();
    assert_eq!(stored(&stage, &service).await.as_ref(), Some(&next));
    assert_conflict(update(&stage, &next).await);
    for doctor_ids in [doctors.clone(), doctors[1..].to_vec(), Vec::new()] {
        let mut last = stored(&stage, &service).await.expect("it is stored");
        last.doctor_ids = doctor_ids;
        last.version = last.version.next();
        update(&stage, &last).await.must();
        assert_eq!(stored(&stage, &service).await.as_ref(), Some(&last));
    }
    let nobody = changed(
        &stored(&stage, &service).await.expect("it is stored"),
        |service| {
            service.doctor_ids = vec![stage.id()];
            service.version = service.version.next();
        },
    );
    assert_violates(update(&stage, &nobody).await, Rule::UserUnknown);
    let unknown = changed(&next, |service| service.service_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
}

/// Two services do not share a code, however it is capitalised, nor an id.
pub async fn a_service_code_belongs_to_one_service(store: &dyn Store) {
    let stage = Stage::new(store);
    stage.saved_service("Fü1", "Filling").await;
    let crown = stage.saved_service("C1", "Crown").await;
    let same_code = stage.service("FÜ1", "Another");
    assert_violates(insert(&stage, &same_code).await, Rule::ServiceCodeTaken);
    let renamed = changed(&crown, |service| {
        service.code = "fü1".into();
        service.version = service.version.next();
    });
    assert_violates(update(&stage, &renamed).await, Rule::ServiceCodeTaken);
    let same_id = changed(&crown, |service| service.code = "C2".into());
    assert_violates(insert(&stage, &same_id).await, Rule::IdentifierTaken);
}

/// The store refuses what no service would write.
pub async fn a_service_of_the_wrong_form_is_refused(store: &dyn Store) {
    let stage = Stage::new(store);
    let fine = stage.service("F1", "Filling");
    let wrong: [fn(&mut Service); 9] = [
        |service| service.buffer_minutes = -1,
        |service| service.buffer_minutes = 241,
        |service| service.room_kind = Some(String::new()),
        |service| service.room_kind = Some("x".repeat(51)),
        |service| service.code = String::new(),
        |service| service.name = "x".repeat(201),
        |service| service.current_price = Cents::new(-1),
        |service| service.current_price = Cents::new(Cents::MAX_AMOUNT.get() + 1),
        |service| service.default_duration_minutes = Some(1441),
    ];
    for change in wrong {
        let service = changed(&fine, change);
        assert_violates(insert(&stage, &service).await, Rule::ValueRefused);
    }
}

/// A service goes in the version given, and never when it was planned or charged.
pub async fn a_service_is_deleted_unless_it_was_used(store: &dyn Store) {
    let stage = Stage::new(store);
    let unused = stage.saved_service("U1", "Unused").await;
    let outdated = changed(&unused, |service| service.version = service.version.next());
    assert_conflict(delete(&stage, &outdated).await);
    delete(&stage, &unused).await.must();
    assert_eq!(stored(&stage, &unused).await, None);
    assert_conflict(delete(&stage, &unused).await);

    let patient = stage.saved_patient("Anna", "Meyer").await;
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let planned = stage.saved_service("P1", "Planned").await;
    let mut visit = stage.visit(&patient, &doctor, stage.slot(0, 30));
    visit.services.push(PlannedService {
        service_id: planned.service_id,
        quantity: Quantity::ONE,
        unit_price: Some(Cents::new(8_000)),
    });
    stage.book(&visit).await.must();
    let charged = stage.saved_service("C1", "Charged").await;
    let line = changed(&stage.line(100, 1), |line| {
        line.service_id = Some(charged.service_id);
    });
    stage
        .save_draft(&stage.draft(&patient, vec![line]))
        .await
        .must();
    for service in [planned, charged] {
        assert_violates(delete(&stage, &service).await, Rule::StillInUse);
        assert_eq!(stored(&stage, &service).await, Some(service));
    }
}

/// Any part of code or name finds a service, without case and accents; active ones can be told
/// apart.
pub async fn services_are_found_by_part_of_code_or_name(store: &dyn Store) {
    let stage = Stage::new(store);
    let filling = stage.saved_service("FILL1", "Füllung 100%, klein").await;
    let crown = changed(&stage.service("CRN_1", "Krone"), |service| {
        service.is_active = false;
    });
    insert(&stage, &crown).await.must();
    let both = [filling.clone(), crown.clone()];
    let none: &[Service] = &[];
    for (query, active, expected) in [
        (None, None, &both[..]),
        (None, Some(true), &both[..1]),
        (None, Some(false), &both[1..]),
        (Some("fill"), None, &both[..1]),
        (Some("FULLUNG"), None, &both[..1]),
        (Some("ll1 fül"), None, &both[..1]),
        (Some("röhne"), None, none),
        (Some("rön"), None, &both[1..]),
        (Some("1"), None, &both[..]),
        (Some("fill"), Some(false), none),
        (Some("100%"), None, &both[..1]),
        (Some("n_1"), None, &both[1..]),
        (Some("l_1"), None, none),
        (Some("%"), None, &both[..1]),
    ] {
        let filter = ServiceFilter {
            query: query.map(str::to_owned),
            active,
        };
        let mut connection = stage.connect().await;
        let page = connection
            .services()
            .list(&filter, PageRequest::first())
            .await;
        assert_eq!(all_of(page), expected, "{filter:?}");
    }
}

/// Pages hold services in the order they were made, each once, while others are added.
pub async fn services_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let early = stage.service("0", "Early");
    let mut expected = Vec::new();
    for code in ["3", "2", "1"] {
        expected.push(stage.saved_service(code, "Service").await);
    }
    let filter = ServiceFilter::default();
    let mut connection = stage.connect().await;
    let first = connection.services().list(&filter, page_of(2, None)).await;
    let first = first.must();
    assert_eq!(first.items, expected[..2]);
    insert(&stage, &early).await.must();
    expected.push(stage.saved_service("4", "Late").await);
    let second = connection
        .services()
        .list(&filter, page_of(2, first.next))
        .await;
    assert_eq!(all_of(second), expected[2..]);
}
