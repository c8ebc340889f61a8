use dcms_domain::appointments::{BookAppointment, ServiceRequest};
use dcms_domain::billing::{
    BillingError, DraftInvoice, Invoice, InvoiceChanges, InvoiceQuery, InvoiceStatus, ItemChanges,
    NewItem,
};
use dcms_domain::catalog::ServiceChanges;
use dcms_domain::shared::{Bound, Cents, Change, IdSource, InvoiceId, PageRequest, WindowRequest};
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated};

fn charge(clinic: &Clinic, qty: i64) -> NewItem {
    NewItem {
        service_id: Some(clinic.service.service_id),
        description: None,
        unit_price: None,
        qty,
    }
}

fn free_line(description: &str, price: i64) -> NewItem {
    NewItem {
        service_id: None,
        description: Some(description.to_owned()),
        unit_price: Some(Cents::new(price)),
        qty: 1,
    }
}

fn draft_of(clinic: &Clinic, items: Vec<NewItem>) -> DraftInvoice {
    DraftInvoice {
        patient_id: clinic.patient.patient_id,
        appointment_id: None,
        from_appointment: false,
        items,
    }
}

async fn draft(clinic: &Clinic, command: DraftInvoice) -> Result<Invoice, BillingError> {
    clinic
        .services
        .billing
        .draft(&clinic.receptionist, command)
        .await
}

async fn stored(clinic: &Clinic, id: InvoiceId) -> Invoice {
    clinic
        .services
        .billing
        .invoice(&clinic.doctor, id)
        .await
        .unwrap()
}

#[test]
fn all_faults_of_a_draft_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let nothing = clinic.ids.next_id();
        let faulty = DraftInvoice {
            patient_id: nothing.into(),
            appointment_id: None,
            from_appointment: true,
            items: vec![
                NewItem {
                    service_id: Some(nothing.into()),
                    ..charge(&clinic, 0)
                },
                NewItem {
                    description: Some("Own words".to_owned()),
                    unit_price: Some(Cents::ZERO),
                    ..charge(&clinic, 1)
                },
                NewItem {
                    service_id: None,
                    ..charge(&clinic, 10_001)
                },
                free_line("Too cheap", -1),
            ],
        };
        assert_eq!(
            faults(draft(&clinic, faulty).await),
            [
                "/appointment_id required",
                "/patient_id unknown",
                "/items/0/qty out_of_range",
                "/items/0/service_id unknown",
                "/items/1/description conflicting",
                "/items/1/unit_price_cents conflicting",
                "/items/2/qty out_of_range",
                "/items/2/description required",
                "/items/2/unit_price_cents required",
                "/items/3/unit_price_cents out_of_range",
            ]
        );
    });
}

#[test]
fn a_draft_has_the_lines_and_their_sum() {
    block_on(async {
        let clinic = Clinic::open().await;
        let lines = vec![charge(&clinic, 2), free_line(" Toothbrush ", 350)];
        let invoice = draft(&clinic, draft_of(&clinic, lines)).await.unwrap();
        assert_eq!(invoice.status(), InvoiceStatus::Draft);
        assert_eq!(invoice.total, Cents::new(16_350));
        assert_eq!(invoice.balance(), Ok(Cents::new(16_350)));
        let told: Vec<(&str, i64)> = invoice
            .items
            .iter()
            .map(|item| (item.description_snapshot.as_str(), item.line_total.get()))
            .collect();
        assert_eq!(told, [("Filling", 16_000), ("Toothbrush", 350)]);
        assert_eq!(stored(&clinic, invoice.invoice_id).await, invoice);
    });
}

#[test]
fn a_visit_of_the_patient_lends_its_services() {
    block_on(async {
        let clinic = Clinic::open().await;
        let planned = ServiceRequest {
            service_id: clinic.service.service_id,
            qty: 3,
        };
        let visit = BookAppointment {
            services: vec![planned],
            ..clinic.visit_in(60)
        };
        let visits = &clinic.services.appointments;
        let visit = visits.book(&clinic.receptionist, visit).await.unwrap();
        let from_visit = DraftInvoice {
            appointment_id: Some(visit.appointment_id),
            from_appointment: true,
            ..draft_of(&clinic, vec![free_line("Toothbrush", 350)])
        };
        let invoice = draft(&clinic, from_visit.clone()).await.unwrap();
        assert_eq!(invoice.total, Cents::new(24_350));
        assert_eq!(invoice.items[0].service_id, Some(clinic.service.service_id));
        assert_eq!(invoice.appointment_id, Some(visit.appointment_id));

        let without_lines = DraftInvoice {
            from_appointment: false,
            ..from_visit.clone()
        };
        let invoice = draft(&clinic, without_lines).await.unwrap();
        assert_eq!(invoice.items.len(), 1);

        let other = clinic.register("Berta", "Schulz").await.patient_id;
        let of_other = DraftInvoice {
            patient_id: other,
            ..from_visit
        };
        assert_eq!(
            faults(draft(&clinic, of_other).await),
            ["/appointment_id unknown"]
        );
    });
}

#[test]
fn catalog_changes_never_reach_a_line() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (catalog, manager) = (&clinic.services.catalog, &clinic.manager);
        let drafted = draft(&clinic, draft_of(&clinic, vec![charge(&clinic, 1)]))
            .await
            .unwrap();
        let billing = &clinic.services.billing;
        let issued = draft(&clinic, draft_of(&clinic, vec![charge(&clinic, 1)]))
            .await
            .unwrap();
        let issued = billing
            .issue(manager, issued.invoice_id, &ANY)
            .await
            .unwrap();

        let dearer = ServiceChanges {
            name: Change::Set("Golden filling".to_owned()),
            current_price: Change::Set(Cents::new(99_900)),
            ..ServiceChanges::default()
        };
        let id = clinic.service.service_id;
        catalog.change(manager, id, &ANY, dearer).await.unwrap();
        assert_eq!(stored(&clinic, drafted.invoice_id).await, drafted);
        assert_eq!(stored(&clinic, issued.invoice_id).await, issued);

        // A line that is added now has today's name and price; the one before keeps its own.
        let both = billing
            .add_item(manager, drafted.invoice_id, &ANY, charge(&clinic, 1))
            .await;
        let both = both.unwrap();
        assert_eq!(both.items[0], drafted.items[0]);
        assert_eq!(both.items[1].description_snapshot, "Golden filling");
        assert_eq!(both.total, Cents::new(8_000 + 99_900));
    });
}

#[test]
fn a_service_that_is_not_offered_any_more_is_not_charged() {
    block_on(async {
        let clinic = Clinic::open().await;
        let inactive = ServiceChanges {
            is_active: Change::Set(false),
            ..ServiceChanges::default()
        };
        let catalog = &clinic.services.catalog;
        let id = clinic.service.service_id;
        catalog
            .change(&clinic.admin, id, &ANY, inactive)
            .await
            .unwrap();
        let refused = draft(&clinic, draft_of(&clinic, vec![charge(&clinic, 1)])).await;
        assert_eq!(faults(refused), ["/items/0/service_id not_available"]);
        let invoice = clinic.drafted(&[]).await.invoice_id;
        let billing = &clinic.services.billing;
        let refused = billing
            .add_item(&clinic.admin, invoice, &ANY, charge(&clinic, 1))
            .await;
        assert_eq!(faults(refused), ["/service_id not_available"]);
    });
}

#[test]
fn lines_of_a_draft_are_added_changed_and_removed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, desk) = (&clinic.services.billing, &clinic.receptionist);
        let id = clinic.drafted(&[100]).await.invoice_id;
        let invoice = billing
            .add_item(desk, id, &ANY, free_line("Second", 50))
            .await
            .unwrap();
        assert_eq!(invoice.total, Cents::new(150));
        let [first, second] = [0, 1].map(|line: usize| invoice.items[line].invoice_item_id);

        let changes = ItemChanges {
            description: Change::Set("Other".to_owned()),
            unit_price: Change::Set(Cents::new(7)),
            qty: Change::Set(3),
        };
        let invoice = billing
            .change_item(desk, id, second, &ANY, changes)
            .await
            .unwrap();
        assert_eq!(invoice.total, Cents::new(121));
        assert_eq!(invoice.items[1].description_snapshot, "Other");
        let faulty = ItemChanges {
            description: Change::Clear,
            unit_price: Change::Set(Cents::new(Cents::MAX_AMOUNT.get() + 1)),
            qty: Change::Set(0),
        };
        assert_eq!(
            faults(
                billing
                    .change_item(desk, id, second, &ANY, faulty.clone())
                    .await
            ),
            [
                "/description required",
                "/unit_price_cents out_of_range",
                "/qty out_of_range",
            ]
        );
        let refused = billing
            .change_item(desk, id, second, &outdated(), faulty)
            .await;
        assert_mismatch(refused);

        let invoice = billing.remove_item(desk, id, first, &ANY).await.unwrap();
        assert_eq!(invoice.total, Cents::new(21));
        assert_not_found(billing.remove_item(desk, id, first, &ANY).await);
        let same = ItemChanges::default();
        assert_not_found(billing.change_item(desk, id, first, &ANY, same).await);
        assert_eq!(stored(&clinic, id).await, invoice);
    });
}

#[test]
fn a_draft_is_changed_and_null_clears() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, desk) = (&clinic.services.billing, &clinic.receptionist);
        let visit = clinic.booked_in(60).await.appointment_id;
        let id = clinic.drafted(&[100]).await.invoice_id;
        let changes = InvoiceChanges {
            appointment_id: Change::Set(visit),
            items: Change::Set(vec![charge(&clinic, 1), free_line("Second", 50)]),
        };
        let after = billing.change_draft(desk, id, &ANY, changes).await.unwrap();
        assert_eq!(after.appointment_id, Some(visit));
        assert_eq!(after.total, Cents::new(8_050));
        let cleared = InvoiceChanges {
            appointment_id: Change::Clear,
            items: Change::Clear,
        };
        let cleared = billing.change_draft(desk, id, &ANY, cleared).await.unwrap();
        assert_eq!((cleared.appointment_id, cleared.items.len()), (None, 0));
        assert_eq!(cleared.total, Cents::ZERO);

        let faulty = InvoiceChanges {
            appointment_id: Change::Set(clinic.ids.next_id().into()),
            items: Change::Set(vec![free_line("", 1)]),
        };
        let refused = billing
            .change_draft(desk, id, &outdated(), faulty.clone())
            .await;
        assert_mismatch(refused);
        let refused = billing.change_draft(desk, id, &ANY, faulty).await;
        assert_eq!(
            faults(refused),
            ["/appointment_id unknown", "/items/0/description required"]
        );
        assert_eq!(stored(&clinic, id).await, cleared);
    });
}

#[test]
fn an_invoice_has_at_most_two_hundred_lines() {
    block_on(async {
        let clinic = Clinic::open().await;
        let full = clinic.drafted(&[1; 200]).await;
        let billing = &clinic.services.billing;
        let refused = billing.add_item(&clinic.admin, full.invoice_id, &ANY, free_line("One", 1));
        assert_eq!(faults(refused.await), ["/items too_long"]);
        let lines = vec![free_line("One", 1); 201];
        let refused = draft(&clinic, draft_of(&clinic, lines)).await;
        assert_eq!(faults(refused), ["/items too_long"]);
    });
}

#[test]
fn numbers_are_given_at_issue_without_a_gap() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, desk) = (&clinic.services.billing, &clinic.receptionist);
        let number = |invoice: &Invoice| invoice.issue.as_ref().unwrap().number.to_string();
        let first = clinic.issued(&[100]).await;
        assert_eq!(number(&first), "INV-000001");

        let empty = clinic.drafted(&[]).await.invoice_id;
        let refused = billing.issue(desk, empty, &ANY).await;
        assert!(
            matches!(refused, Err(BillingError::InvoiceEmpty)),
            "{refused:?}"
        );
        let refused = billing.issue(desk, first.invoice_id, &ANY).await;
        assert!(matches!(refused, Err(BillingError::InvoiceNotDraft)));
        let draft = clinic.drafted(&[100]).await.invoice_id;
        billing.delete_draft(desk, draft, &ANY).await.unwrap();

        assert_eq!(number(&clinic.issued(&[100]).await), "INV-000002");
        assert_eq!(number(&clinic.issued(&[100]).await), "INV-000003");
    });
}

#[test]
fn an_issued_invoice_is_frozen() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, desk) = (&clinic.services.billing, &clinic.receptionist);
        let issued = clinic.issued(&[100]).await;
        let (id, line) = (issued.invoice_id, issued.items[0].invoice_item_id);
        let refusals = [
            billing
                .change_draft(desk, id, &ANY, InvoiceChanges::default())
                .await
                .err(),
            billing
                .add_item(desk, id, &ANY, free_line("More", 1))
                .await
                .err(),
            billing
                .change_item(desk, id, line, &ANY, ItemChanges::default())
                .await
                .err(),
            billing.remove_item(desk, id, line, &ANY).await.err(),
            billing.delete_draft(desk, id, &ANY).await.err(),
            billing.issue(desk, id, &ANY).await.err(),
        ];
        for refused in refusals {
            assert!(
                matches!(refused, Some(BillingError::InvoiceNotDraft)),
                "{refused:?}"
            );
        }
        assert_eq!(stored(&clinic, id).await, issued);
    });
}

#[test]
fn voiding_needs_a_reason_keeps_the_number_and_ends_there() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, manager) = (&clinic.services.billing, &clinic.manager);
        let issued = clinic.issued(&[100]).await;
        let id = issued.invoice_id;
        let refused = billing.void(manager, id, &ANY, "").await;
        assert_eq!(faults(refused), ["/reason required"]);
        assert_mismatch(billing.void(manager, id, &outdated(), "").await);
        let voided = billing.void(manager, id, &ANY, " Mistake ").await.unwrap();
        assert_eq!(voided.status(), InvoiceStatus::Void);
        assert_eq!(voided.issue, issued.issue);
        assert_eq!(voided.voiding.as_ref().unwrap().reason, "Mistake");
        assert_eq!(voided.balance(), Ok(Cents::ZERO));
        let refused = billing.void(manager, id, &ANY, "Again").await;
        let from = InvoiceStatus::Void;
        assert!(matches!(refused, Err(BillingError::NotVoidable { from: told }) if told == from));
        let refused = billing.issue(manager, id, &ANY).await;
        assert!(matches!(refused, Err(BillingError::InvoiceNotDraft)));

        let draft = clinic.drafted(&[100]).await.invoice_id;
        let voided = billing.void(manager, draft, &ANY, "Mistake").await.unwrap();
        assert_eq!((voided.status(), voided.issue), (InvoiceStatus::Void, None));
    });
}

#[test]
fn a_draft_is_deleted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, desk) = (&clinic.services.billing, &clinic.receptionist);
        let id = clinic.drafted(&[100]).await.invoice_id;
        assert_mismatch(billing.delete_draft(desk, id, &outdated()).await);
        billing.delete_draft(desk, id, &ANY).await.unwrap();
        assert_not_found(billing.invoice(desk, id).await);
        assert_not_found(billing.delete_draft(desk, id, &ANY).await);
    });
}

#[test]
fn invoices_are_listed_by_the_day_of_issue() {
    block_on(async {
        let clinic = Clinic::open().await;
        let issued_later = clinic.drafted(&[100]).await.invoice_id;
        let draft = clinic.drafted(&[100]).await.invoice_id;
        clinic.clock.advance(chrono::TimeDelta::days(1));
        let billing = &clinic.services.billing;
        billing
            .issue(&clinic.manager, issued_later, &ANY)
            .await
            .unwrap();
        let listed = async |query: InvoiceQuery| {
            let page = billing
                .invoices(&clinic.doctor, query, PageRequest::first())
                .await;
            let invoices = page.unwrap().items.into_iter();
            invoices
                .map(|invoice| invoice.invoice_id)
                .collect::<Vec<_>>()
        };
        let any = InvoiceQuery::default();
        let since_today = WindowRequest {
            from: Some(Bound::StartOf("2026-03-03".parse().unwrap())),
            ..WindowRequest::default()
        };
        let query = InvoiceQuery {
            window: since_today,
            ..any
        };
        assert_eq!(listed(query).await, [issued_later]);
        let query = InvoiceQuery {
            status: Some(InvoiceStatus::Draft),
            ..any
        };
        assert_eq!(listed(query).await, [draft]);
        let query = InvoiceQuery {
            patient_id: Some(clinic.register("Berta", "Schulz").await.patient_id),
            ..any
        };
        assert_eq!(listed(query).await, []);
    });
}
