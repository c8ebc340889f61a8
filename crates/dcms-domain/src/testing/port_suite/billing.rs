use super::stage::{
    Must, Stage, all_at_once, all_of, assert_conflict, assert_violates, changed, let_others_go_on,
    page_of,
};
use crate::access::Role;
use crate::billing::{Invoice, Payment, PaymentFilter, PaymentMethod};
use crate::identity::User;
use crate::shared::{Cents, PageRequest, TimeWindow};
use crate::store::{Rule, Store};

/// An issued invoice of 1000, and who takes payments.
async fn open_invoice(stage: &Stage<'_>) -> (Invoice, User) {
    let patient = stage.saved_patient("Anna", "Meyer").await;
    let user = stage.saved_user("anna", Role::Receptionist).await;
    let draft = stage.saved_draft(&patient, 1000).await;
    (stage.issued(draft).await, user)
}

async fn stored(stage: &Stage<'_>, invoice: &Invoice) -> Option<Invoice> {
    let mut connection = stage.connect().await;
    connection.invoices().get(invoice.invoice_id).await.must()
}

async fn stored_payment(stage: &Stage<'_>, payment: &Payment) -> Option<Payment> {
    let mut connection = stage.connect().await;
    connection.payments().get(payment.payment_id).await.must()
}

/// A payment comes back, counts for its invoice, and leads to it.
pub async fn a_payment_is_stored_and_found(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (first, after_first) = stage.paid(&invoice, 400, &user).await;
    assert_eq!(stored_payment(&stage, &first).await.as_ref(), Some(&first));
    assert_eq!(stored(&stage, &invoice).await.as_ref(), Some(&after_first));

    let second = changed(&stage.payment(&invoice, 600, &user), |payment| {
        payment.method = PaymentMethod::BankTransfer;
        payment.paid_at = stage.at(-500);
        payment.reference = Some("Slip 7".to_owned());
    });
    let after = after_first.paid_by(Cents::new(600), stage.at(4)).must();
    stage.pay(&second, &after).await.must();
    assert_eq!(
        stored_payment(&stage, &second).await.as_ref(),
        Some(&second)
    );
    assert_eq!(stored(&stage, &invoice).await.as_ref(), Some(&after));

    let mut work = store.begin().await.must();
    let of_payment = work.invoices().lock_of_payment(second.payment_id).await;
    assert_eq!(of_payment.must().as_ref(), Some(&after));
    let unknown = work.invoices().lock_of_payment(stage.id()).await;
    assert_eq!(unknown.must(), None);
    assert_eq!(work.payments().get(stage.id()).await.must(), None);
}

/// A payment that was decided on an older version of the invoice is a conflict.
pub async fn a_stale_invoice_takes_no_payment(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (_, after) = stage.paid(&invoice, 400, &user).await;
    let late = stage.payment(&invoice, 400, &user);
    assert_conflict(stage.pay(&late, &after).await);
    assert_eq!(stored_payment(&stage, &late).await, None);
    assert_eq!(stored(&stage, &invoice).await, Some(after));
}

/// Nobody pays more than is owed, nor on a draft or a void invoice.
pub async fn nothing_is_paid_beyond_the_total(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let patient = stage.saved_patient("Berta", "Schulz").await;
    let draft = stage.saved_draft(&patient, 1000).await;
    let void = stage.issued(stage.saved_draft(&patient, 1000).await).await;
    let void = void.voided("Mistake", stage.at(2)).must();
    stage
        .write(async |work| work.invoices().save_voiding(&void).await)
        .await
        .must();
    for (before, amount) in [(invoice, 1001), (draft, 100), (void, 100)] {
        let payment = stage.payment(&before, amount, &user);
        let after = changed(&before, |invoice| {
            invoice.paid = payment.amount;
            invoice.version = invoice.version.next();
        });
        assert_violates(stage.pay(&payment, &after).await, Rule::PaidBeyondTotal);
        assert_eq!(stored_payment(&stage, &payment).await, None);
        assert_eq!(stored(&stage, &before).await, Some(before));
    }
}

/// What an invoice says was paid is what its payments come to, at commit at the latest.
pub async fn what_was_paid_is_the_sum_of_payments(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let payment = stage.payment(&invoice, 400, &user);
    for wrong in [399, 401, 0] {
        let after = changed(&invoice, |invoice| {
            invoice.paid = Cents::new(wrong);
            invoice.version = invoice.version.next();
        });
        assert_violates(stage.pay(&payment, &after).await, Rule::SumsDisagree);
        assert_eq!(stored(&stage, &invoice).await.as_ref(), Some(&invoice));
    }
}

/// A payment has an id of its own, a user who took it, and an amount.
pub async fn a_payment_is_recorded_once_by_a_known_user(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (payment, after) = stage.paid(&invoice, 400, &user).await;
    let again = after.clone().paid_by(Cents::new(400), stage.at(3)).must();
    assert_violates(stage.pay(&payment, &again).await, Rule::IdentifierTaken);
    let by_nobody = changed(&stage.payment(&invoice, 400, &user), |payment| {
        payment.recorded_by = stage.id();
    });
    assert_violates(stage.pay(&by_nobody, &again).await, Rule::UserUnknown);
    let nothing = stage.payment(&invoice, 0, &user);
    let unchanged = changed(&after, |invoice| invoice.version = invoice.version.next());
    assert_violates(stage.pay(&nothing, &unchanged).await, Rule::ValueRefused);
}

/// Of four who pay 300 on 1000 at once, three do.
pub async fn payers_take_turns(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let pay = async || {
        stage
            .take_turns(async || {
                stage
                    .write(async |work| {
                        let locked = work.invoices().lock(invoice.invoice_id).await?;
                        let_others_go_on().await;
                        let locked = locked.expect("the invoice is there");
                        let payment = stage.payment(&locked, 300, &user);
                        let Ok(after) = locked.paid_by(payment.amount, stage.at(3)) else {
                            return Ok(false);
                        };
                        work.payments().record(&payment, &after).await?;
                        Ok(true)
                    })
                    .await
            })
            .await
            .must()
    };
    let pay = &pay;
    let paid = all_at_once((0..4).map(|_| Box::pin(pay()) as _).collect()).await;
    assert_eq!(paid.iter().filter(|paid| **paid).count(), 3);
    let after = stored(&stage, &invoice)
        .await
        .expect("the invoice is there");
    assert_eq!(after.paid, Cents::new(900));
}

/// A refund counts for its payment and its invoice.
pub async fn a_refund_is_stored(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (mut payment, mut invoice) = stage.paid(&invoice, 400, &user).await;
    for amount in [150, 250] {
        let refund = stage.refund(&payment, amount, &user);
        let (before, before_invoice) = (payment.clone(), invoice.clone());
        payment = payment.refunded_by(refund.amount).must();
        invoice = invoice.refunded_by(refund.amount, stage.at(3)).must();
        stage.pay_back(&refund, &payment, &invoice).await.must();
        assert_eq!(
            stored_payment(&stage, &payment).await.as_ref(),
            Some(&payment)
        );
        assert_eq!(stored(&stage, &invoice).await.as_ref(), Some(&invoice));

        let again = stage.refund(&payment, amount, &user);
        let stale_payment = before.refunded_by(refund.amount).must();
        let next_invoice = changed(&invoice, |invoice| invoice.version = invoice.version.next());
        assert_conflict(stage.pay_back(&again, &stale_payment, &next_invoice).await);
        let next_payment = changed(&payment, |payment| payment.version = payment.version.next());
        let stale_invoice = changed(&before_invoice, |invoice| {
            invoice.version = invoice.version.next();
        });
        assert_conflict(stage.pay_back(&again, &next_payment, &stale_invoice).await);
    }
    assert_eq!(invoice.paid, Cents::ZERO);
}

/// No payment gives back more than came in, even when the invoice has enough.
pub async fn refunds_do_not_exceed_their_payment(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (payment, invoice) = stage.paid(&invoice, 400, &user).await;
    let (_, invoice) = stage.paid(&invoice, 600, &user).await;
    let refund = stage.refund(&payment, 500, &user);
    let too_much = changed(&payment, |payment| {
        payment.refunded = refund.amount;
        payment.version = payment.version.next();
    });
    let after = invoice
        .clone()
        .refunded_by(refund.amount, stage.at(3))
        .must();
    let outcome = stage.pay_back(&refund, &too_much, &after).await;
    assert_violates(outcome, Rule::RefundBeyondPayment);
    assert_eq!(stored_payment(&stage, &payment).await, Some(payment));
    assert_eq!(stored(&stage, &invoice).await, Some(invoice));
}

/// A refund is what its payment and its invoice say went back, and has a user who gave it.
pub async fn refunds_agree_with_the_sums(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let (payment, invoice) = stage.paid(&invoice, 400, &user).await;
    let refunded = |amount: i64| {
        let amount = Cents::new(amount);
        let payment = payment.clone().refunded_by(amount).must();
        let invoice = invoice.clone().refunded_by(amount, stage.at(3)).must();
        (payment, invoice)
    };
    let (payment_100, invoice_100) = refunded(100);
    let (_, invoice_90) = refunded(90);
    let small = stage.refund(&payment, 90, &user);
    let right = stage.refund(&payment, 100, &user);
    for (refund, invoice) in [(&small, &invoice_100), (&right, &invoice_90)] {
        let outcome = stage.pay_back(refund, &payment_100, invoice).await;
        assert_violates(outcome, Rule::SumsDisagree);
    }
    let by_nobody = changed(&right, |refund| refund.recorded_by = stage.id());
    let outcome = stage.pay_back(&by_nobody, &payment_100, &invoice_100).await;
    assert_violates(outcome, Rule::UserUnknown);
    stage
        .pay_back(&right, &payment_100, &invoice_100)
        .await
        .must();

    let payment = payment_100.refunded_by(Cents::new(100)).must();
    let invoice = invoice_100.refunded_by(Cents::new(100), stage.at(3)).must();
    let outcome = stage.pay_back(&right, &payment, &invoice).await;
    assert_violates(outcome, Rule::IdentifierTaken);
}

/// Each filter leaves out what it should; payments count by when the money came in.
pub async fn payments_are_listed_by_invoice_method_and_window(store: &dyn Store) {
    let stage = Stage::new(store);
    let (invoice, user) = open_invoice(&stage).await;
    let patient = stage.saved_patient("Berta", "Schulz").await;
    let other = stage.issued(stage.saved_draft(&patient, 1000).await).await;
    let mut all = Vec::new();
    let mut sums = [invoice, other];
    for (of, method, minute) in [
        (0, PaymentMethod::Cash, 30),
        (1, PaymentMethod::Card, 20),
        (0, PaymentMethod::Card, 10),
    ] {
        let payment = changed(&stage.payment(&sums[of], 100, &user), |payment| {
            payment.method = method;
            payment.paid_at = stage.at(minute);
        });
        sums[of] = sums[of].clone().paid_by(payment.amount, stage.at(2)).must();
        stage.pay(&payment, &sums[of]).await.must();
        all.push(payment);
    }
    let listed = async |filter: PaymentFilter| {
        let mut connection = stage.connect().await;
        all_of(
            connection
                .payments()
                .list(&filter, PageRequest::first())
                .await,
        )
    };
    let any = PaymentFilter::default();
    assert_eq!(listed(any).await, all);
    let of_invoice = PaymentFilter {
        invoice_id: Some(sums[0].invoice_id),
        ..any
    };
    assert_eq!(listed(of_invoice).await, [all[0].clone(), all[2].clone()]);
    let by_card = PaymentFilter {
        method: Some(PaymentMethod::Card),
        ..any
    };
    assert_eq!(listed(by_card).await, all[1..]);
    for (from, to, expected) in [
        (Some(10), Some(20), &all[2..]),
        (Some(20), None, &all[..2]),
        (None, Some(30), &all[1..]),
        (Some(31), None, &all[..0]),
        (Some(20), Some(20), &all[..0]),
        (Some(30), Some(10), &all[..0]),
    ] {
        let filter = PaymentFilter {
            window: TimeWindow {
                from: from.map(|minute| stage.at(minute)),
                to: to.map(|minute| stage.at(minute)),
            },
            ..any
        };
        assert_eq!(listed(filter).await, expected, "{from:?} {to:?}");
    }
}

/// Pages hold payments in the order they were recorded, each once, while others are added.
pub async fn payments_come_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let (mut invoice, user) = open_invoice(&stage).await;
    let early = stage.payment(&invoice, 100, &user);
    let mut expected = Vec::new();
    for amount in [3, 2, 1] {
        let (payment, after) = stage.paid(&invoice, amount, &user).await;
        expected.push(payment);
        invoice = after;
    }
    let any = PaymentFilter::default();
    let mut connection = stage.connect().await;
    let first = connection.payments().list(&any, page_of(2, None)).await;
    let first = first.must();
    assert_eq!(first.items, expected[..2]);
    let after = invoice.paid_by(early.amount, stage.at(3)).must();
    stage.pay(&early, &after).await.must();
    let (late, _) = stage.paid(&after, 4, &user).await;
    expected.push(late);
    let second = connection
        .payments()
        .list(&any, page_of(2, first.next))
        .await;
    assert_eq!(all_of(second), expected[2..]);
}
