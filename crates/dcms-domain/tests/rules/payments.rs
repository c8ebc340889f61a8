use std::sync::{Arc, Barrier};
use std::thread;

use chrono::TimeDelta;
use dcms_domain::billing::{
    BillingError, Invoice, InvoiceStatus, Payment, PaymentMethod, PaymentQuery, RecordPayment,
    RecordRefund,
};
use dcms_domain::shared::{
    Cents, Clock, IdSource, InvoiceId, PageRequest, PaymentId, WindowRequest,
};
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated};

fn payment(amount: i64) -> RecordPayment {
    RecordPayment {
        amount: Cents::new(amount),
        method: PaymentMethod::Cash,
        paid_at: None,
        reference: None,
    }
}

async fn pay(
    clinic: &Clinic,
    id: InvoiceId,
    payment: RecordPayment,
) -> Result<(Payment, Invoice), BillingError> {
    let billing = &clinic.services.billing;
    billing
        .record_payment(&clinic.receptionist, id, &ANY, payment)
        .await
}

async fn pay_back(clinic: &Clinic, id: PaymentId, amount: i64) -> Result<Invoice, BillingError> {
    let refund = RecordRefund {
        amount: Cents::new(amount),
        reason: "Too much".to_owned(),
    };
    let billing = &clinic.services.billing;
    let refunded = billing
        .record_refund(&clinic.manager, id, &ANY, refund)
        .await;
    refunded.map(|(_, invoice)| invoice)
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
fn the_paid_states_follow_from_the_sums() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[600, 400]).await.invoice_id;
        let (first, invoice) = pay(&clinic, id, payment(300)).await.unwrap();
        assert_eq!(invoice.status(), InvoiceStatus::PartiallyPaid);
        assert_eq!(invoice.balance(), Ok(Cents::new(700)));
        assert_eq!(first.recorded_by, clinic.receptionist.user_id);
        let (_, invoice) = pay(&clinic, id, payment(700)).await.unwrap();
        assert_eq!(invoice.status(), InvoiceStatus::Paid);
        assert_eq!(stored(&clinic, id).await, invoice);

        let invoice = pay_back(&clinic, first.payment_id, 300).await.unwrap();
        assert_eq!(invoice.status(), InvoiceStatus::PartiallyPaid);
        assert_eq!(invoice.paid, Cents::new(700));
        assert_eq!(stored(&clinic, id).await, invoice);
    });
}

#[test]
fn nobody_pays_more_than_is_owed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        pay(&clinic, id, payment(300)).await.unwrap();
        let refused = pay(&clinic, id, payment(701)).await;
        let Err(BillingError::PaymentExceedsBalance { balance }) = refused else {
            panic!("expected a refusal, got {refused:?}");
        };
        assert_eq!(balance, Cents::new(700));
        pay(&clinic, id, payment(700)).await.unwrap();
        let refused = pay(&clinic, id, payment(1)).await;
        assert!(matches!(refused, Err(BillingError::InvoiceNotPayable)));
    });
}

#[test]
fn drafts_and_void_invoices_take_no_payment() {
    block_on(async {
        let clinic = Clinic::open().await;
        let draft = clinic.drafted(&[1000]).await.invoice_id;
        let void = clinic.issued(&[1000]).await.invoice_id;
        let billing = &clinic.services.billing;
        billing
            .void(&clinic.manager, void, &ANY, "Mistake")
            .await
            .unwrap();
        let free = clinic.issued(&[0]).await.invoice_id;
        for id in [draft, void, free] {
            let refused = pay(&clinic, id, payment(1)).await;
            assert!(
                matches!(refused, Err(BillingError::InvoiceNotPayable)),
                "{refused:?}"
            );
        }
        let nothing = clinic.ids.next_id().into();
        assert_not_found(pay(&clinic, nothing, payment(1)).await);
    });
}

#[test]
fn amounts_are_positive_and_believable() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (paid, _) = pay(&clinic, id, payment(500)).await.unwrap();
        for amount in [0, -1, i64::MIN, i64::MAX, Cents::MAX_AMOUNT.get() + 1] {
            let refused = pay(&clinic, id, payment(amount)).await;
            assert_eq!(faults(refused), ["/amount_cents out_of_range"]);
            let refused = pay_back(&clinic, paid.payment_id, amount).await;
            assert_eq!(faults(refused), ["/amount_cents out_of_range"]);
        }
        assert_eq!(stored(&clinic, id).await.paid, Cents::new(500));
    });
}

#[test]
fn money_does_not_come_in_from_the_future() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let now = clinic.clock.now();
        let faulty = RecordPayment {
            paid_at: Some(now + TimeDelta::microseconds(1)),
            reference: Some("x".repeat(201)),
            ..payment(100)
        };
        assert_eq!(
            faults(pay(&clinic, id, faulty).await),
            ["/paid_at out_of_range", "/reference too_long"]
        );
        let long_ago = RecordPayment {
            paid_at: Some(now - TimeDelta::days(365 * 200)),
            ..payment(100)
        };
        assert_eq!(
            faults(pay(&clinic, id, long_ago).await),
            ["/paid_at out_of_range"]
        );
        let yesterday = RecordPayment {
            paid_at: Some(now - TimeDelta::days(1)),
            reference: Some(" Slip 7 ".to_owned()),
            ..payment(100)
        };
        let (paid, _) = pay(&clinic, id, yesterday).await.unwrap();
        assert_eq!(paid.paid_at, now - TimeDelta::days(1));
        assert_eq!(paid.reference.as_deref(), Some("Slip 7"));
        let (paid, _) = pay(&clinic, id, payment(100)).await.unwrap();
        assert_eq!(paid.paid_at, now);
    });
}

#[test]
fn refunds_of_a_payment_never_exceed_it() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (first, _) = pay(&clinic, id, payment(100)).await.unwrap();
        pay(&clinic, id, payment(900)).await.unwrap();
        pay_back(&clinic, first.payment_id, 60).await.unwrap();
        let refused = pay_back(&clinic, first.payment_id, 60).await;
        assert!(
            matches!(refused, Err(BillingError::RefundExceedsPayment)),
            "{refused:?}"
        );
        let invoice = pay_back(&clinic, first.payment_id, 40).await.unwrap();
        assert_eq!(invoice.paid, Cents::new(900));
        let refused = pay_back(&clinic, first.payment_id, 1).await;
        assert!(matches!(refused, Err(BillingError::RefundExceedsPayment)));
        let billing = &clinic.services.billing;
        let first = billing
            .payment(&clinic.doctor, first.payment_id)
            .await
            .unwrap();
        assert_eq!(
            (first.amount, first.refunded),
            (Cents::new(100), Cents::new(100))
        );
        assert_not_found(pay_back(&clinic, clinic.ids.next_id().into(), 1).await);
    });
}

#[test]
fn a_refund_has_a_reason() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (paid, _) = pay(&clinic, id, payment(100)).await.unwrap();
        let refund = RecordRefund {
            amount: Cents::new(1),
            reason: "\n".to_owned(),
        };
        let billing = &clinic.services.billing;
        let refused = billing
            .record_refund(&clinic.manager, paid.payment_id, &ANY, refund)
            .await;
        assert_eq!(faults(refused), ["/reason required"]);
    });
}

#[test]
fn only_an_invoice_without_net_payments_is_voided() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, manager) = (&clinic.services.billing, &clinic.manager);
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (part, _) = pay(&clinic, id, payment(100)).await.unwrap();
        let refused = billing.void(manager, id, &ANY, "Mistake").await;
        let Err(BillingError::NotVoidable { from }) = refused else {
            panic!("expected a refusal, got {refused:?}");
        };
        assert_eq!(from, InvoiceStatus::PartiallyPaid);
        let (rest, _) = pay(&clinic, id, payment(900)).await.unwrap();
        let refused = billing.void(manager, id, &ANY, "Mistake").await;
        assert!(matches!(refused, Err(BillingError::NotVoidable { .. })));

        pay_back(&clinic, part.payment_id, 100).await.unwrap();
        pay_back(&clinic, rest.payment_id, 900).await.unwrap();
        let voided = billing.void(manager, id, &ANY, "Mistake").await.unwrap();
        assert_eq!(voided.status(), InvoiceStatus::Void);
        let refused = pay_back(&clinic, part.payment_id, 1).await;
        assert!(matches!(refused, Err(BillingError::RefundExceedsPayment)));
    });
}

#[test]
fn all_faults_of_a_payment_or_refund_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let faulty = RecordPayment {
            paid_at: Some(clinic.minutes_from_now(1)),
            reference: Some(String::new()),
            ..payment(0)
        };
        assert_eq!(
            faults(pay(&clinic, id, faulty).await),
            [
                "/amount_cents out_of_range",
                "/paid_at out_of_range",
                "/reference required"
            ]
        );
        let (paid, _) = pay(&clinic, id, payment(100)).await.unwrap();
        let faulty = RecordRefund {
            amount: Cents::new(-1),
            reason: "x".repeat(501),
        };
        let billing = &clinic.services.billing;
        let refused = billing
            .record_refund(&clinic.manager, paid.payment_id, &ANY, faulty)
            .await;
        assert_eq!(
            faults(refused),
            ["/amount_cents out_of_range", "/reason too_long"]
        );
    });
}

#[test]
fn a_stale_version_is_told_before_anything_else() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, manager) = (&clinic.services.billing, &clinic.manager);
        let draft = clinic.drafted(&[1000]).await.invoice_id;
        let refused = billing
            .record_payment(manager, draft, &outdated(), payment(0))
            .await;
        assert_mismatch(refused);
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (paid, _) = pay(&clinic, id, payment(100)).await.unwrap();
        let faulty = RecordRefund {
            amount: Cents::new(101),
            reason: String::new(),
        };
        let id = paid.payment_id;
        assert_mismatch(
            billing
                .record_refund(manager, id, &outdated(), faulty)
                .await,
        );
    });
}

#[test]
fn equal_payments_are_two_payments() {
    block_on(async {
        let clinic = Clinic::open().await;
        let id = clinic.issued(&[1000]).await.invoice_id;
        let (first, _) = pay(&clinic, id, payment(200)).await.unwrap();
        let (second, invoice) = pay(&clinic, id, payment(200)).await.unwrap();
        assert_eq!(invoice.paid, Cents::new(400));
        let (billing, doctor) = (&clinic.services.billing, &clinic.doctor);
        let listed = billing
            .payments_of_invoice(doctor, id, PageRequest::first())
            .await;
        assert_eq!(listed.unwrap().items, [first, second]);
    });
}

#[test]
fn payments_are_listed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (billing, doctor) = (&clinic.services.billing, &clinic.doctor);
        let id = clinic.issued(&[1000]).await.invoice_id;
        let by_card = RecordPayment {
            method: PaymentMethod::Card,
            ..payment(100)
        };
        let (today, _) = pay(&clinic, id, by_card).await.unwrap();
        clinic.clock.advance(TimeDelta::days(1));
        let (tomorrow, _) = pay(&clinic, id, payment(100)).await.unwrap();
        let of_day = |day: &str| PaymentQuery {
            method: None,
            window: WindowRequest {
                day: Some(day.parse().unwrap()),
                ..WindowRequest::default()
            },
        };
        let cards = PaymentQuery {
            method: Some(PaymentMethod::Card),
            window: WindowRequest::default(),
        };
        for (query, expected) in [
            (of_day("2026-03-02"), &today),
            (of_day("2026-03-03"), &tomorrow),
            (cards, &today),
        ] {
            let listed = billing.payments(doctor, query, PageRequest::first()).await;
            assert_eq!(listed.unwrap().items, std::slice::from_ref(expected));
        }
        let unpaid = clinic.issued(&[1]).await.invoice_id;
        let none = billing
            .payments_of_invoice(doctor, unpaid, PageRequest::first())
            .await;
        assert_eq!(none.unwrap().items, []);
        let nothing = clinic.ids.next_id();
        let refused = billing.payments_of_invoice(doctor, nothing.into(), PageRequest::first());
        assert_not_found(refused.await);
        assert_not_found(billing.payment(doctor, nothing.into()).await);
    });
}

#[test]
fn of_many_who_pay_at_once_as_many_succeed_as_is_owed() {
    let clinic = Arc::new(block_on(Clinic::open()));
    let id = block_on(clinic.issued(&[1000])).invoice_id;
    let start = Arc::new(Barrier::new(16));
    let payers: Vec<_> = (0..16)
        .map(|_| {
            let (clinic, start) = (Arc::clone(&clinic), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                block_on(pay(&clinic, id, payment(300)))
            })
        })
        .collect();
    let mut paid = 0;
    for payer in payers {
        match payer.join().unwrap() {
            Ok(_) => paid += 1,
            Err(BillingError::PaymentExceedsBalance { balance }) => {
                assert_eq!(balance, Cents::new(100));
            }
            Err(error) => panic!("unexpected: {error:?}"),
        }
    }
    assert_eq!(paid, 3);
    assert_eq!(block_on(stored(&clinic, id)).paid, Cents::new(900));
}
