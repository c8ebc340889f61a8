use dcms_domain::catalog::{CreateService, ServiceChanges, ServiceFilter};
use dcms_domain::shared::{Cents, Change, PageRequest};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

fn crown() -> CreateService {
    CreateService {
        code: "CRN1".to_owned(),
        name: "Crown".to_owned(),
        current_price: Cents::new(50_000),
        default_duration_minutes: None,
        is_active: true,
        buffer_minutes: 0,
        room_kind: None,
        doctor_ids: Vec::new(),
    }
}

#[test]
fn all_faults_of_a_service_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, manager) = (&clinic.services.catalog, &clinic.manager);
        let faulty = CreateService {
            code: "x".repeat(33),
            name: "with\nline".to_owned(),
            current_price: Cents::new(-1),
            default_duration_minutes: Some(0),
            is_active: true,
            buffer_minutes: 0,
            room_kind: None,
            doctor_ids: Vec::new(),
        };
        assert_eq!(
            faults(catalog.create(manager, faulty).await),
            [
                "/code too_long",
                "/name invalid_characters",
                "/current_price_cents out_of_range",
                "/default_duration_minutes out_of_range",
            ]
        );
        let faulty = ServiceChanges {
            code: Change::Clear,
            name: Change::Set(String::new()),
            current_price: Change::Set(Cents::new(i64::MAX)),
            default_duration_minutes: Change::Set(i64::MAX),
            is_active: Change::Clear,
            buffer_minutes: Change::Set(241),
            room_kind: Change::Set(String::new()),
            doctor_ids: Change::Set(vec![clinic.doctor.user_id, manager.user_id]),
        };
        let id = clinic.service.service_id;
        let refused = catalog.change(manager, id, &ANY, faulty.clone()).await;
        assert_eq!(
            faults(refused),
            [
                "/code required",
                "/is_active required",
                "/name required",
                "/current_price_cents out_of_range",
                "/default_duration_minutes out_of_range",
                "/buffer_minutes out_of_range",
                "/room_kind required",
                "/doctor_ids/1 unknown",
            ]
        );
        assert_mismatch(catalog.change(manager, id, &outdated(), faulty).await);
    });
}

#[test]
fn a_service_code_belongs_to_one_service() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, manager) = (&clinic.services.catalog, &clinic.manager);
        let mut taken = crown();
        taken.code = "fill1".to_owned();
        let refused = catalog.create(manager, taken).await;
        assert_eq!(violated(refused), Rule::ServiceCodeTaken);
        let crown = catalog.create(manager, crown()).await.unwrap();
        let renamed = ServiceChanges {
            code: Change::Set("Fill1".to_owned()),
            ..ServiceChanges::default()
        };
        let refused = catalog
            .change(manager, crown.service_id, &ANY, renamed)
            .await;
        assert_eq!(violated(refused), Rule::ServiceCodeTaken);
    });
}

#[test]
fn a_service_changes_and_null_clears() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, manager) = (&clinic.services.catalog, &clinic.manager);
        let id = clinic.service.service_id;
        let changes = ServiceChanges {
            current_price: Change::Set(Cents::ZERO),
            default_duration_minutes: Change::Clear,
            ..ServiceChanges::default()
        };
        let after = catalog.change(manager, id, &ANY, changes).await.unwrap();
        assert_eq!(after.current_price, Cents::ZERO);
        assert_eq!(after.default_duration_minutes, None);
        assert_eq!(after.name, clinic.service.name);
        assert_eq!(after.version, clinic.service.version.next());
        assert_eq!(catalog.service(manager, id).await.unwrap(), after);
    });
}

#[test]
fn a_service_that_was_ever_used_is_deactivated_not_deleted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, manager) = (&clinic.services.catalog, &clinic.manager);
        let unused = catalog.create(manager, crown()).await.unwrap().service_id;
        assert_mismatch(catalog.delete(manager, unused, &outdated()).await);
        catalog.delete(manager, unused, &ANY).await.unwrap();
        assert_not_found(catalog.service(manager, unused).await);
        assert_not_found(catalog.delete(manager, unused, &ANY).await);

        let id = clinic.service.service_id;
        let mut visit = clinic.visit_in(60);
        visit.services = vec![dcms_domain::appointments::ServiceRequest {
            service_id: id,
            qty: 1,
        }];
        clinic
            .services
            .appointments
            .book(manager, visit)
            .await
            .unwrap();
        assert_eq!(
            violated(catalog.delete(manager, id, &ANY).await),
            Rule::StillInUse
        );
        let inactive = ServiceChanges {
            is_active: Change::Set(false),
            ..ServiceChanges::default()
        };
        catalog.change(manager, id, &ANY, inactive).await.unwrap();
        let active = ServiceFilter {
            active: Some(true),
            ..ServiceFilter::default()
        };
        let listed = catalog
            .services(manager, active, PageRequest::first())
            .await;
        assert_eq!(listed.unwrap().items, []);
    });
}

#[test]
fn a_blank_query_finds_everything_and_a_long_one_is_refused() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, doctor) = (&clinic.services.catalog, &clinic.doctor);
        let filter = |query: &str| ServiceFilter {
            query: Some(query.to_owned()),
            active: None,
        };
        for query in ["  ", " fill ", "ILLI"] {
            let found = catalog
                .services(doctor, filter(query), PageRequest::first())
                .await;
            assert_eq!(
                found.unwrap().items,
                std::slice::from_ref(&clinic.service),
                "{query:?}"
            );
        }
        for (query, fault) in [
            ("x".repeat(201), "/query too_long"),
            ("nul\0".to_owned(), "/query invalid_characters"),
        ] {
            let refused = catalog
                .services(doctor, filter(&query), PageRequest::first())
                .await;
            assert_eq!(faults(refused), [fault]);
        }
    });
}
