use iso_currency::Currency;

use super::stage::{
    Must, Stage, all_at_once, all_of, assert_conflict, assert_violates, changed, let_others_go_on,
    page_of,
};
use crate::access::Role;
use crate::billing::{Invoice, InvoiceFilter, InvoiceNumber, InvoiceStatus, Issue};
use crate::shared::{Cents, PageRequest, TimeWindow};
use crate::store::{Rule, Store, StoreError};

async fn update(stage: &Stage<'_>, draft: &Invoice) -> Result<(), StoreError> {
    stage
        .write(async |work| work.invoices().update_draft(draft).await)
        .await
}

async fn delete(stage: &Stage<'_>, draft: &Invoice) -> Result<(), StoreError> {
    stage
        .write(async |work| work.invoices().delete_draft(draft).await)
        .await
}

async fn void(stage: &Stage<'_>, invoice: &Invoice) -> Result<(), StoreError> {
    stage
        .write(async |work| work.invoices().save_voiding(invoice).await)
        .await
}

async fn stored(stage: &Stage<'_>, invoice: &Invoice) -> Option<Invoice> {
    let mut connection = stage.connect().await;
    connection.invoices().get(invoice.invoice_id).await.must()
}

/// What was stored comes back, with the lines in their order; a lock answers the same.
pub async fn a_draft_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let service = stage.saved_service("1", "First").await;
    let visit = stage.visit(&patient, &doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let charged = changed(&stage.line(250, 3), |line| {
        line.service_id = Some(service.service_id);
    });
    let lines = vec![
        stage.line(0, 1),
        charged,
        stage.line(1_000_000_000_000, 10_000),
    ];
    let mut full = stage.draft(&patient, lines);
    full.items.rotate_left(1);
    full.appointment_id = Some(visit.appointment_id);
    full.currency = Currency::JPY;
    stage.save_draft(&full).await.must();
    let empty = stage.draft(&patient, Vec::new());
    stage.save_draft(&empty).await.must();

    assert_eq!(stored(&stage, &full).await.as_ref(), Some(&full));
    assert_eq!(stored(&stage, &empty).await.as_ref(), Some(&empty));
    let mut work = store.begin().await.must();
    let locked = work.invoices().lock(full.invoice_id).await.must();
    assert_eq!(locked.as_ref(), Some(&full));
    assert_eq!(work.invoices().lock(stage.id()).await.must(), None);
    assert_eq!(work.invoices().get(stage.id()).await.must(), None);
}

type Spoil<'stage> = &'stage dyn Fn(&mut Invoice);

/// Everything an invoice names exists, and the visit is the same patient's.
pub async fn a_draft_refers_to_what_exists(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let visit = stage.visit(&other, &doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let wrong: [(Spoil<'_>, Rule); 4] = [
        (&|draft| draft.patient_id = stage.id(), Rule::PatientUnknown),
        (
            &|draft| draft.appointment_id = Some(stage.id()),
            Rule::AppointmentUnknown,
        ),
        (
            &|draft| draft.appointment_id = Some(visit.appointment_id),
            Rule::AppointmentUnknown,
        ),
        (
            &|draft| draft.items[0].service_id = Some(stage.id()),
            Rule::ServiceUnknown,
        ),
    ];
    for (change, rule) in wrong {
        let draft = changed(&stage.draft(&patient, vec![stage.line(100, 1)]), change);
        assert_violates(stage.save_draft(&draft).await, rule);
        assert_eq!(stored(&stage, &draft).await, None);
    }
    let fine = stage.saved_draft(&patient, 100).await;
    for (change, rule) in wrong.into_iter().skip(1) {
        let draft = changed(&fine, |draft| {
            draft.version = draft.version.next();
            change(draft);
        });
        assert_violates(update(&stage, &draft).await, rule);
        assert_eq!(stored(&stage, &fine).await.as_ref(), Some(&fine));
    }
}

/// An invoice and a line have ids of their own.
pub async fn ids_of_invoices_and_lines_are_given_once(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let draft = stage.saved_draft(&patient, 100).await;
    let same_id = changed(&draft, |draft| draft.items = vec![stage.line(100, 1)]);
    assert_violates(stage.save_draft(&same_id).await, Rule::IdentifierTaken);
    let same_line = stage.draft(&patient, draft.items);
    assert_violates(stage.save_draft(&same_line).await, Rule::IdentifierTaken);
}

/// Lines are added, changed, removed and moved, and the visit comes and goes, if the version
/// before is stored.
pub async fn a_changed_draft_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let doctor = stage.saved_user("doctor", Role::Doctor).await;
    let visit = stage.visit(&patient, &doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let [first, second, third] = [1, 20, 300].map(|price| stage.line(price, 2));
    let mut draft = stage.draft(&patient, vec![first.clone(), second.clone()]);
    stage.save_draft(&draft).await.must();

    let dearer = changed(&first, |line| {
        line.description_snapshot = "Dearer".into();
        line.unit_price_snapshot = Cents::new(4_000);
        line.line_total = Cents::new(8_000);
    });
    for (lines, appointment_id) in [
        (
            vec![first.clone(), second.clone(), third.clone()],
            Some(visit.appointment_id),
        ),
        (
            vec![third.clone(), first.clone(), second],
            Some(visit.appointment_id),
        ),
        (vec![dearer, third], None),
        (Vec::new(), None),
        (vec![first], None),
    ] {
        draft.appointment_id = appointment_id;
        draft = draft.with_items(lines, stage.at(5)).must();
        update(&stage, &draft).await.must();
        assert_eq!(stored(&stage, &draft).await.as_ref(), Some(&draft));
    }
    assert_conflict(update(&stage, &draft).await);
    let unknown = changed(&draft, |draft| draft.invoice_id = stage.id());
    assert_conflict(update(&stage, &unknown).await);
}

/// A draft goes in the version given.
pub async fn a_draft_is_deleted(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let draft = stage.saved_draft(&patient, 100).await;
    let outdated = changed(&draft, |draft| draft.version = draft.version.next());
    assert_conflict(delete(&stage, &outdated).await);
    delete(&stage, &draft).await.must();
    assert_eq!(stored(&stage, &draft).await, None);
    assert_conflict(delete(&stage, &draft).await);
}

/// An issue is stored under its number and counted, and leaves no trace when it is dropped.
pub async fn an_issued_invoice_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let draft = stage.saved_draft(&patient, 100).await;
    let last_number = async || {
        stage
            .write(async |work| work.invoices().lock_numbering().await)
            .await
            .must()
    };
    assert_eq!(last_number().await, 0);
    let number = InvoiceNumber::of_sequence(1);
    let issued = draft
        .clone()
        .issued(number, Currency::CHF, stage.at(5))
        .must();
    {
        let mut work = store.begin().await.must();
        work.invoices().lock_numbering().await.must();
        work.invoices().save_issue(&issued, 1).await.must();
    }
    assert_eq!(last_number().await, 0);
    assert_eq!(stored(&stage, &draft).await.as_ref(), Some(&draft));

    let save = async || {
        stage
            .write(async |work| {
                work.invoices().lock_numbering().await?;
                work.invoices().save_issue(&issued, 1).await
            })
            .await
    };
    save().await.must();
    assert_eq!(last_number().await, 1);
    assert_eq!(stored(&stage, &draft).await.as_ref(), Some(&issued));
    assert_conflict(save().await);
    assert_eq!(last_number().await, 1);
}

/// Two invoices do not share a number.
pub async fn an_invoice_number_belongs_to_one_invoice(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
    let number = issued.issue.expect("it was issued").number;
    let draft = stage.saved_draft(&patient, 100).await;
    let same_number = draft.issued(number, Currency::EUR, stage.at(5)).must();
    let outcome = stage
        .write(async |work| {
            work.invoices().lock_numbering().await?;
            work.invoices().save_issue(&same_number, 2).await
        })
        .await;
    assert_violates(outcome, Rule::InvoiceNumberTaken);
}

/// Those who issue at once get numbers without a gap.
pub async fn issuers_take_turns(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let mut drafts = Vec::new();
    for _ in 0..4 {
        drafts.push(stage.saved_draft(&patient, 100).await);
    }
    let issue = async |draft: &Invoice| {
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        let sequence = work.invoices().lock_numbering().await? + 1;
                        let_others_go_on().await;
                        let number = InvoiceNumber::of_sequence(sequence);
                        let invoice = draft.clone().issued(number, Currency::EUR, stage.at(1));
                        work.invoices()
                            .save_issue(&invoice.must(), sequence)
                            .await?;
                        Ok(sequence)
                    })
                    .await
            })
            .await
            .must()
    };
    let issue = &issue;
    let sequences = all_at_once(
        drafts
            .iter()
            .map(|draft| Box::pin(issue(draft)) as _)
            .collect(),
    );
    let mut sequences: Vec<i64> = sequences.await;
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

/// Once issued or void, an invoice keeps its lines and stays.
pub async fn an_issued_invoice_is_frozen(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
    let draft = stage.saved_draft(&patient, 100).await;
    let voided = draft.voided("Mistake", stage.at(5)).must();
    void(&stage, &voided).await.must();
    for invoice in [issued, voided] {
        let more = changed(&invoice, |invoice| {
            invoice.items.push(stage.line(50, 1));
            invoice.total = Cents::new(150);
            invoice.version = invoice.version.next();
        });
        assert_violates(update(&stage, &more).await, Rule::InvoiceFrozen);
        let less = changed(&more, |invoice| {
            invoice.items.clear();
            invoice.total = Cents::ZERO;
        });
        assert_violates(update(&stage, &less).await, Rule::InvoiceFrozen);
        assert_violates(delete(&stage, &invoice).await, Rule::InvoiceFrozen);
        let renumbered = changed(&invoice, |invoice| {
            invoice.issue = Some(Issue {
                at: stage.at(9),
                number: InvoiceNumber::of_sequence(99),
            });
            invoice.version = invoice.version.next();
        });
        let outcome = stage
            .write(async |work| {
                work.invoices().lock_numbering().await?;
                work.invoices().save_issue(&renumbered, 99).await
            })
            .await;
        assert_violates(outcome, Rule::InvoiceFrozen);
        assert_eq!(stored(&stage, &invoice).await, Some(invoice));
    }
}

/// Drafts and issued invoices are voided, once, and not when something was paid.
pub async fn an_invoice_is_voided_once(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let user = stage.saved_user("anna", Role::Manager).await;
    let draft = stage.saved_draft(&patient, 100).await;
    let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
    for invoice in [draft, issued] {
        let voided = invoice.voided("Mistake", stage.at(5)).must();
        void(&stage, &voided).await.must();
        assert_eq!(stored(&stage, &voided).await.as_ref(), Some(&voided));
        assert_conflict(void(&stage, &voided).await);
        let again = changed(&voided, |invoice| {
            invoice.version = invoice.version.next();
            invoice.voiding.as_mut().expect("it is void").reason = "Other".into();
        });
        assert_violates(void(&stage, &again).await, Rule::InvoiceFrozen);
    }
    let issued = stage.issued(stage.saved_draft(&patient, 100).await).await;
    let mut voided = issued.clone().voided("Mistake", stage.at(5)).must();
    let (_, paid) = stage.paid(&issued, 40, &user).await;
    voided.version = paid.version.next();
    voided.paid = paid.paid;
    assert_violates(void(&stage, &voided).await, Rule::PaidBeyondTotal);
    assert_eq!(stored(&stage, &issued).await, Some(paid));
}

/// A total that is not the sum of the lines is refused, at commit at the latest.
pub async fn a_total_is_the_sum_of_its_lines(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let wrong = changed(&stage.draft(&patient, vec![stage.line(100, 1)]), |draft| {
        draft.total = Cents::new(99);
    });
    assert_violates(stage.save_draft(&wrong).await, Rule::SumsDisagree);
    assert_eq!(stored(&stage, &wrong).await, None);
    let draft = stage.saved_draft(&patient, 100).await;
    let wrong = changed(&draft, |draft| {
        draft.total = Cents::new(101);
        draft.version = draft.version.next();
    });
    assert_violates(update(&stage, &wrong).await, Rule::SumsDisagree);
    assert_eq!(stored(&stage, &draft).await, Some(draft));
}

/// Each filter leaves out what it should; issued invoices count by their issue, drafts by when
/// they were made.
pub async fn invoices_are_listed_by_patient_status_and_window(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let other = stage.saved_patient("Berta", "Schulz").await;
    let user = stage.saved_user("anna", Role::Manager).await;
    let draft = stage.saved_draft(&patient, 100).await;
    let void_draft = stage.saved_draft(&patient, 100).await;
    let void_draft = void_draft.voided("Mistake", stage.at(5)).must();
    void(&stage, &void_draft).await.must();
    let mut issued = Vec::new();
    for _ in 0..3 {
        let draft = stage.saved_draft(&other, 100).await;
        issued.push(stage.issued(draft).await);
    }
    let (_, part_paid) = stage.paid(&issued[1], 40, &user).await;
    let (_, paid) = stage.paid(&issued[2], 100, &user).await;
    let issued = issued.swap_remove(0);
    let free = stage.draft(&other, vec![stage.line(0, 1)]);
    stage.save_draft(&free).await.must();
    let free = stage.issued(free).await;

    let listed = async |filter: InvoiceFilter| {
        let mut connection = stage.connect().await;
        all_of(
            connection
                .invoices()
                .list(&filter, PageRequest::first())
                .await,
        )
    };
    let any = InvoiceFilter::default();
    let all = [&draft, &void_draft, &issued, &part_paid, &paid, &free].map(Clone::clone);
    assert_eq!(listed(any).await, all);
    let of_patient = InvoiceFilter {
        patient_id: Some(patient.patient_id),
        ..any
    };
    assert_eq!(listed(of_patient).await, all[..2]);
    for (status, expected) in [
        (InvoiceStatus::Draft, &all[..1]),
        (InvoiceStatus::Void, &all[1..2]),
        (InvoiceStatus::Issued, &all[2..3]),
        (InvoiceStatus::PartiallyPaid, &all[3..4]),
        (InvoiceStatus::Paid, &all[4..]),
    ] {
        let filter = InvoiceFilter {
            status: Some(status),
            ..any
        };
        assert_eq!(listed(filter).await, expected, "{status:?}");
    }
    // Drafts were made at minute 0, invoices issued at minute 1.
    for (from, to, expected) in [
        (Some(0), Some(1), &all[..2]),
        (Some(1), None, &all[2..]),
        (None, Some(0), &all[..0]),
        (None, Some(1), &all[..2]),
        (Some(2), None, &all[..0]),
        (Some(1), Some(1), &all[..0]),
        (Some(5), Some(0), &all[..0]),
    ] {
        let filter = InvoiceFilter {
            window: TimeWindow {
                from: from.map(|minute| stage.at(minute)),
                to: to.map(|minute| stage.at(minute)),
            },
            ..any
        };
        assert_eq!(listed(filter).await, expected, "{from:?} {to:?}");
    }
}

/// Pages hold invoices in the order they were drafted, each once, while others are added.
pub async fn invoices_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let early = stage.draft(&patient, Vec::new());
    let mut expected = Vec::new();
    for total in [3, 2, 1] {
        expected.push(stage.saved_draft(&patient, total).await);
    }
    let any = InvoiceFilter::default();
    let mut connection = stage.connect().await;
    let first = connection.invoices().list(&any, page_of(2, None)).await;
    let first = first.must();
    assert_eq!(first.items, expected[..2]);
    stage.save_draft(&early).await.must();
    expected.push(stage.saved_draft(&patient, 4).await);
    let second = connection
        .invoices()
        .list(&any, page_of(2, first.next))
        .await;
    assert_eq!(all_of(second), expected[2..]);
}
