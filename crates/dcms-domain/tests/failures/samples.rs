use std::sync::LazyLock;

use chrono::NaiveDate;
use dcms_domain::access::Actor;
use dcms_domain::appointments::{Appointment, BookAppointment};
use dcms_domain::billing::{Invoice, Payment, PaymentMethod, RecordPayment};
use dcms_domain::calendar::{
    Closure, CreateClosure, CreateTimeOff, Schedule, SpanRequest, TimeOff,
};
use dcms_domain::catalog::Service;
use dcms_domain::clinic::{ClinicSettings, Doctor, Room};
use dcms_domain::identity::{PasswordHash, PasswordHasher, Secret, Session, User};
use dcms_domain::patients::{Contact, ContactType, CreateContact, Patient};
use dcms_domain::shared::{Cents, Expected};
use dcms_domain::testing::{Clinic, FakeHasher, PASSWORD};
use pollster::block_on;

/// What the ports answer: taken from a clinic that works.
pub(crate) struct Samples {
    pub(crate) actor: Actor,
    pub(crate) user: User,
    pub(crate) password: PasswordHash,
    pub(crate) weak_password: PasswordHash,
    pub(crate) session: Session,
    pub(crate) settings: ClinicSettings,
    pub(crate) room: Room,
    pub(crate) doctor: Doctor,
    pub(crate) hours: Schedule,
    pub(crate) closure: Closure,
    pub(crate) time_off: TimeOff,
    pub(crate) patient: Patient,
    pub(crate) contact: Contact,
    pub(crate) service: Service,
    pub(crate) booking: BookAppointment,
    pub(crate) visit: Appointment,
    pub(crate) draft: Invoice,
    pub(crate) issued: Invoice,
    pub(crate) paid: Invoice,
    pub(crate) payment: Payment,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| block_on(samples()));

impl Samples {
    pub(crate) fn get() -> &'static Self {
        &SAMPLES
    }
}

/// A day on which nobody is booked.
pub(crate) fn one_day() -> SpanRequest {
    SpanRequest {
        starts_on: NaiveDate::from_ymd_opt(2020, 1, 6).unwrap(),
        starts_at_time: None,
        ends_on: None,
        ends_at_time: None,
    }
}

async fn samples() -> Samples {
    let clinic = Clinic::open().await;
    let (services, admin) = (&clinic.services, &clinic.admin);
    let session = clinic.log_in("manager", PASSWORD).await.unwrap().session;
    let contact = CreateContact {
        contact_type: ContactType::Phone,
        value: "030 1234".to_owned(),
        label: None,
        is_primary: false,
    };
    let contact = services
        .patients
        .add_contact(admin, clinic.patient.patient_id, contact)
        .await;
    let closure = CreateClosure {
        span: one_day(),
        reason: "Holiday".to_owned(),
    };
    let closure = services.calendar.close(admin, closure).await;
    let time_off = CreateTimeOff {
        doctor_id: clinic.doctor.user_id,
        span: one_day(),
        reason: None,
    };
    let time_off = services.calendar.grant_time_off(admin, time_off).await;
    let issued = clinic.issued(&[100]).await;
    let payment = RecordPayment {
        amount: Cents::new(40),
        method: PaymentMethod::Cash,
        paid_at: None,
        reference: None,
    };
    let payment = services
        .billing
        .record_payment(admin, issued.invoice_id, &Expected::Any, payment)
        .await;
    let (payment, paid) = payment.unwrap();
    Samples {
        actor: admin.clone(),
        user: services
            .identity
            .user(admin, clinic.manager.user_id)
            .await
            .unwrap(),
        password: FakeHasher
            .hash(&Secret::new(PASSWORD.to_owned()))
            .await
            .unwrap(),
        weak_password: PasswordHash::new(format!("$argon2id$weak${PASSWORD}")),
        session,
        settings: services.clinic.settings(admin).await.unwrap(),
        doctor: services
            .clinic
            .doctor(admin, clinic.doctor.user_id)
            .await
            .unwrap(),
        hours: services.calendar.hours(admin, None).await.unwrap(),
        closure: closure.unwrap().thing,
        time_off: time_off.unwrap().thing,
        contact: contact.unwrap(),
        booking: clinic.visit_in(120),
        visit: clinic.booked_in(60).await,
        draft: clinic.drafted(&[100]).await,
        issued,
        paid,
        payment,
        room: clinic.room.clone(),
        patient: clinic.patient.clone(),
        service: clinic.service.clone(),
    }
}
