//! Every method of every service asks the permission matrix before anything else.

use std::fmt::Write;
use std::pin::Pin;

use chrono::NaiveDate;
use dcms_domain::access::{Actor, Forbidden};
use dcms_domain::appointments::{AppointmentChanges, AppointmentQuery, Transition};
use dcms_domain::audit::AuditQuery;
use dcms_domain::billing::{
    DraftInvoice, InvoiceChanges, InvoiceQuery, ItemChanges, NewItem, PaymentMethod, PaymentQuery,
    RecordPayment, RecordRefund,
};
use dcms_domain::calendar::{ChangeHours, CreateClosure, CreateTimeOff, DayWindow, SpanRequest};
use dcms_domain::catalog::{CreateService, ServiceChanges, ServiceFilter};
use dcms_domain::clinic::{ClinicChanges, CreateRoom, DoctorChanges, RoomChanges};
use dcms_domain::identity::{CreateUser, Secret, UserChanges};
use dcms_domain::patients::{
    ContactChanges, ContactType, CreateContact, Gender, PatientChanges, PatientDetails,
    PatientFilter,
};
use dcms_domain::shared::{AppointmentId, Cents, Change, IdSource, PageRequest, UserId};
use dcms_domain::testing::Clinic;
use pollster::block_on;
use uuid::Uuid;

use crate::{ANY, Fails, forbidden};

/// Typed from the contract: `x` may, `own` only where the appointment's doctor is the actor, `-`
/// may not. Behind the roles: an admin with a password that somebody else has set, and an admin as
/// whom another one acts.
const CONTRACT: &str = "
                        admin manager doctor receptionist first impersonated
me                      x     x       x      x            x     x
refresh                 x     x       x      x            -     -
change_password         x     x       x      x            x     -
own_sessions            x     x       x      x            -     -
revoke_own_session      x     x       x      x            -     -
log_out                 x     x       x      x            x     x
sessions                x     -       -      -            -     -
revoke_session          x     -       -      -            -     -
revoke_sessions_of      x     -       -      -            -     -
impersonate             x     -       -      -            -     -
users                   x     -       -      -            -     -
user                    x     -       -      -            -     -
create_user             x     -       -      -            -     -
change_user             x     -       -      -            -     -
reset_password          x     -       -      -            -     -
settings                x     x       x      x            -     x
change_settings         x     x       -      -            -     -
rooms                   x     x       x      x            -     x
room                    x     x       x      x            -     x
create_room             x     x       -      -            -     -
change_room             x     x       -      -            -     -
delete_room             x     x       -      -            -     -
doctors                 x     x       x      x            -     x
doctor                  x     x       x      x            -     x
change_doctor           x     x       -      -            -     -
hours                   x     x       x      x            -     x
hours_of_doctor         x     x       x      x            -     x
change_hours            x     x       -      -            -     -
change_hours_of_doctor  x     x       -      -            -     -
closures                x     x       x      x            -     x
closure                 x     x       x      x            -     x
close                   x     x       -      -            -     -
reopen                  x     x       -      -            -     -
time_off                x     x       x      x            -     x
one_time_off            x     x       x      x            -     x
grant_time_off          x     x       -      -            -     -
take_back_time_off      x     x       -      -            -     -
services                x     x       x      x            -     x
service                 x     x       x      x            -     x
create_service          x     x       -      -            -     -
change_service          x     x       -      -            -     -
delete_service          x     x       -      -            -     -
patients                x     x       x      x            -     x
patient                 x     x       x      x            -     x
register                x     x       x      x            -     x
change_patient          x     x       x      x            -     x
archive                 x     x       x      x            -     x
restore                 x     x       x      x            -     x
delete_patient          x     x       -      -            -     x
export                  x     x       -      -            -     x
anonymize               x     -       -      -            -     -
contacts                x     x       x      x            -     x
add_contact             x     x       x      x            -     x
change_contact          x     x       x      x            -     x
delete_contact          x     x       x      x            -     x
appointments            x     x       x      x            -     x
appointment             x     x       x      x            -     x
book                    x     x       own    x            -     x
overbook                x     x       own    -            -     x
change_appointment      x     x       own    x            -     x
reschedule              x     x       own    x            -     x
confirm                 x     x       own    x            -     x
arrive                  x     x       own    x            -     x
cancel                  x     x       own    x            -     x
no_show                 x     x       own    x            -     x
start                   x     x       own    -            -     x
complete                x     x       own    -            -     x
draft                   x     x       -      x            -     -
invoice                 x     x       x      x            -     x
invoices                x     x       x      x            -     x
change_draft            x     x       -      x            -     -
add_item                x     x       -      x            -     -
change_item             x     x       -      x            -     -
remove_item             x     x       -      x            -     -
delete_draft            x     x       -      x            -     -
issue                   x     x       -      x            -     -
void                    x     x       -      -            -     -
record_payment          x     x       -      x            -     -
payment                 x     x       x      x            -     x
payments                x     x       x      x            -     x
payments_of_invoice     x     x       x      x            -     x
record_refund           x     x       -      -            -     -
audit_entries           x     -       -      -            -     x
audit_export            x     -       -      -            -     x
accesses                x     x       -      -            -     x
";

/// Who asks, and whose appointment it is about.
pub(crate) struct Question<'clinic> {
    pub(crate) clinic: &'clinic Clinic,
    pub(crate) actor: &'clinic Actor,
    pub(crate) doctor_id: UserId,
    pub(crate) appointment_id: AppointmentId,
}

impl Question<'_> {
    /// Nothing there has this id.
    fn no<Id: From<Uuid>>(&self) -> Id {
        self.clinic.ids.next_id().into()
    }
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Forbidden(Forbidden),
    Failed,
}

fn answer<Value>(outcome: Result<Value, impl Fails>) -> Answer {
    match outcome {
        Ok(_) => Answer::Done,
        Err(failure) => forbidden(&failure).map_or(Answer::Failed, Answer::Forbidden),
    }
}

pub(crate) type Ask = for<'question> fn(
    &'question Question<'question>,
) -> Pin<Box<dyn Future<Output = Answer> + 'question>>;

/// A question of the form `context.method(actor, …)`.
macro_rules! questions {
    ($($name:ident: |$with:ident| $context:ident.$method:ident($($argument:expr),* $(,)?);)+) => {
        [$((stringify!($name), {
            let ask: Ask = |$with| Box::pin(async move {
                let service = &$with.clinic.services.$context;
                answer(service.$method($with.actor, $($argument),*).await)
            });
            ask
        })),+]
    };
}

fn secret() -> Secret {
    Secret::new("another secret".to_owned())
}

fn item() -> NewItem {
    NewItem {
        service_id: None,
        description: None,
        unit_price: None,
        qty: 1,
    }
}

fn transition(name: &str, with: &Question<'_>) -> Transition {
    match name {
        "confirm" => Transition::Confirm,
        "arrive" => Transition::Arrive,
        "start" => Transition::Start,
        "complete" => Transition::Complete,
        "no_show" => Transition::NoShow,
        "cancel" => Transition::Cancel {
            reason: "Ill".to_owned(),
        },
        _ => Transition::Reschedule {
            starts_at: with.clinic.minutes_from_now(600),
            ends_at: Some(with.clinic.minutes_from_now(630)),
            doctor_id: None,
            room_id: Change::Keep,
            overbook_reason: None,
            reason: None,
        },
    }
}

fn booking(
    with: &Question<'_>,
    overbook_reason: Option<&str>,
) -> dcms_domain::appointments::BookAppointment {
    dcms_domain::appointments::BookAppointment {
        doctor_id: with.doctor_id,
        overbook_reason: overbook_reason.map(str::to_owned),
        ..with.clinic.visit_in(900)
    }
}

pub(crate) type Questions = Vec<(&'static str, Ask)>;

fn identity_questions() -> Questions {
    Vec::from(questions! {
        me: |with| identity.me();
        refresh: |with| identity.refresh(&secret());
        change_password: |with| identity.change_password(&Secret::new("not my password".to_owned()), &secret());
        own_sessions: |with| identity.own_sessions(PageRequest::first());
        revoke_own_session: |with| identity.revoke_own_session(with.no());
        log_out: |with| identity.log_out();
        sessions: |with| identity.sessions(None, PageRequest::first());
        revoke_session: |with| identity.revoke_session(with.no());
        revoke_sessions_of: |with| identity.revoke_sessions_of(with.no(), &ANY);
        impersonate: |with| identity.impersonate(with.no(), "They asked me to");
        users: |with| identity.users(PageRequest::first());
        user: |with| identity.user(with.no());
        create_user: |with| identity.create_user(CreateUser {
            username: String::new(),
            display_name: String::new(),
            roles: with.actor.roles,
            is_active: true,
            password: secret(),
        });
        change_user: |with| identity.change_user(with.no(), &ANY, UserChanges::default());
        reset_password: |with| identity.reset_password(with.no(), &ANY, &secret());
    })
}

fn clinic_questions() -> Questions {
    Vec::from(questions! {
        settings: |with| clinic.settings();
        change_settings: |with| clinic.change_settings(&ANY, ClinicChanges::default());
        rooms: |with| clinic.rooms(PageRequest::first());
        room: |with| clinic.room(with.no());
        create_room: |with| clinic.create_room(CreateRoom {
            name: String::new(),
            is_active: true,
            kind: None,
            position: 0,
        });
        change_room: |with| clinic.change_room(with.no(), &ANY, RoomChanges::default());
        delete_room: |with| clinic.delete_room(with.no(), &ANY);
        doctors: |with| clinic.doctors(PageRequest::first());
        doctor: |with| clinic.doctor(with.no());
        change_doctor: |with| clinic.change_doctor(with.no(), &ANY, DoctorChanges::default());
    })
}

fn span() -> SpanRequest {
    SpanRequest {
        starts_on: NaiveDate::MIN,
        starts_at_time: None,
        ends_on: None,
        ends_at_time: None,
    }
}

fn hours() -> ChangeHours {
    ChangeHours {
        valid_from: Some(NaiveDate::MIN),
        intervals: None,
    }
}

fn calendar_questions() -> Questions {
    Vec::from(questions! {
        hours: |with| calendar.hours(None);
        hours_of_doctor: |with| calendar.hours(Some(with.no()));
        change_hours: |with| calendar.change_hours(None, &ANY, hours());
        change_hours_of_doctor: |with| calendar.change_hours(Some(with.no()), &ANY, hours());
        closures: |with| calendar.closures(DayWindow::default(), PageRequest::first());
        closure: |with| calendar.closure(with.no());
        close: |with| calendar.close(CreateClosure { span: span(), reason: String::new() });
        reopen: |with| calendar.reopen(with.no());
        time_off: |with| calendar.time_off(
            with.no(), DayWindow::default(), PageRequest::first(),
        );
        one_time_off: |with| calendar.one_time_off(with.no(), with.no());
        grant_time_off: |with| calendar.grant_time_off(CreateTimeOff {
            doctor_id: with.no(),
            span: span(),
            reason: None,
        });
        take_back_time_off: |with| calendar.take_back_time_off(with.no(), with.no());
    })
}

fn catalog_questions() -> Questions {
    Vec::from(questions! {
        services: |with| catalog.services(ServiceFilter::default(), PageRequest::first());
        service: |with| catalog.service(with.no());
        create_service: |with| catalog.create(CreateService {
            code: String::new(),
            name: String::new(),
            current_price: Cents::ZERO,
            default_duration_minutes: None,
            is_active: true,
            buffer_minutes: 0,
            room_kind: None,
            doctor_ids: Vec::new(),
        });
        change_service: |with| catalog.change(with.no(), &ANY, ServiceChanges::default());
        delete_service: |with| catalog.delete(with.no(), &ANY);
    })
}

fn patient_questions() -> Questions {
    Vec::from(questions! {
        patients: |with| patients.patients(PatientFilter::default(), PageRequest::first());
        patient: |with| patients.patient(with.no());
        register: |with| patients.register(PatientDetails {
            first_name: String::new(),
            last_name: String::new(),
            birthday: None,
            gender: Gender::Unknown,
            notes: None,
        });
        change_patient: |with| patients.change(with.no(), &ANY, PatientChanges::default());
        archive: |with| patients.archive(with.no(), &ANY);
        restore: |with| patients.restore(with.no(), &ANY);
        delete_patient: |with| patients.delete(with.no(), &ANY);
        export: |with| patients.export(with.no());
        anonymize: |with| patients.anonymize(with.no(), &ANY, "");
        contacts: |with| patients.contacts(with.no(), PageRequest::first());
        add_contact: |with| patients.add_contact(with.no(), CreateContact {
            contact_type: ContactType::Phone,
            value: String::new(),
            label: None,
            is_primary: false,
        });
        change_contact: |with| patients.change_contact(
            with.no(), with.no(), &ANY, ContactChanges::default(),
        );
        delete_contact: |with| patients.delete_contact(with.no(), with.no(), &ANY);
    })
}

fn appointment_questions() -> Questions {
    Vec::from(questions! {
        appointments: |with| appointments.appointments(
            AppointmentQuery::default(), PageRequest::first(),
        );
        appointment: |with| appointments.appointment(with.no());
        book: |with| appointments.book(booking(with, None));
        overbook: |with| appointments.book(booking(with, Some("Pain")));
        change_appointment: |with| appointments.change(
            with.appointment_id, &ANY, AppointmentChanges::default(),
        );
        reschedule: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("reschedule", with),
        );
        confirm: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("confirm", with),
        );
        arrive: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("arrive", with),
        );
        cancel: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("cancel", with),
        );
        no_show: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("no_show", with),
        );
        start: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("start", with),
        );
        complete: |with| appointments.take_action(
            with.appointment_id, &ANY, transition("complete", with),
        );
    })
}

fn billing_questions() -> Questions {
    Vec::from(questions! {
        draft: |with| billing.draft(DraftInvoice {
            patient_id: with.no(),
            appointment_id: None,
            from_appointment: false,
            items: Vec::new(),
        });
        invoice: |with| billing.invoice(with.no());
        invoices: |with| billing.invoices(InvoiceQuery::default(), PageRequest::first());
        change_draft: |with| billing.change_draft(with.no(), &ANY, InvoiceChanges::default());
        add_item: |with| billing.add_item(with.no(), &ANY, item());
        change_item: |with| billing.change_item(
            with.no(), with.no(), &ANY, ItemChanges::default(),
        );
        remove_item: |with| billing.remove_item(with.no(), with.no(), &ANY);
        delete_draft: |with| billing.delete_draft(with.no(), &ANY);
        issue: |with| billing.issue(with.no(), &ANY);
        void: |with| billing.void(with.no(), &ANY, "Mistake");
        record_payment: |with| billing.record_payment(with.no(), &ANY, RecordPayment {
            amount: Cents::ZERO,
            method: PaymentMethod::Cash,
            paid_at: None,
            reference: None,
        });
        payment: |with| billing.payment(with.no());
        payments: |with| billing.payments(PaymentQuery::default(), PageRequest::first());
        payments_of_invoice: |with| billing.payments_of_invoice(with.no(), PageRequest::first());
        record_refund: |with| billing.record_refund(with.no(), &ANY, RecordRefund {
            amount: Cents::ZERO,
            reason: String::new(),
        });
    })
}

fn audit_questions() -> Questions {
    Vec::from(questions! {
        audit_entries: |with| audit.entries(AuditQuery::default(), PageRequest::first());
        audit_export: |with| audit.export(AuditQuery::default(), PageRequest::first());
        accesses: |with| audit.accesses(with.no(), PageRequest::first());
    })
}

pub(crate) fn questions() -> Questions {
    [
        identity_questions(),
        clinic_questions(),
        calendar_questions(),
        catalog_questions(),
        patient_questions(),
        appointment_questions(),
        billing_questions(),
        audit_questions(),
    ]
    .concat()
}

#[test]
fn each_role_may_do_what_the_contract_says() {
    let clinic = block_on(Clinic::open());
    let own = block_on(clinic.booked_in(0)).appointment_id;
    let of_others = dcms_domain::appointments::BookAppointment {
        doctor_id: clinic.other_doctor.user_id,
        ..clinic.visit_in(60)
    };
    let appointments = &clinic.services.appointments;
    let of_others = block_on(appointments.book(&clinic.admin, of_others)).unwrap();
    let first = Actor {
        must_change_password: true,
        ..clinic.admin.clone()
    };
    let impersonated = Actor {
        impersonator_id: Some(clinic.manager.user_id),
        ..clinic.admin.clone()
    };
    let mut table = CONTRACT.lines().take(2).collect::<Vec<_>>().join("\n") + "\n";
    for (name, ask) in questions() {
        write!(table, "{name:<24}").unwrap();
        for (actor, reason, width) in [
            (&clinic.admin, Forbidden::Role, 6),
            (&clinic.manager, Forbidden::Role, 8),
            (&clinic.doctor, Forbidden::Role, 7),
            (&clinic.receptionist, Forbidden::Role, 13),
            (&first, Forbidden::PasswordChangeRequired, 6),
            (&impersonated, Forbidden::Impersonated, 12),
        ] {
            let is_forbidden = |doctor_id, appointment_id| {
                let fork = clinic.fork();
                let question = Question {
                    clinic: &fork,
                    actor,
                    doctor_id,
                    appointment_id,
                };
                match block_on(ask(&question)) {
                    Answer::Forbidden(actual) => {
                        assert_eq!(actual, reason, "{name}");
                        true
                    }
                    Answer::Done | Answer::Failed => false,
                }
            };
            let on_own = is_forbidden(clinic.doctor.user_id, own);
            let not_own = is_forbidden(of_others.doctor_id, of_others.appointment_id);
            let cell = match (on_own, not_own) {
                (false, false) => "x",
                (false, true) => "own",
                (true, true) => "-",
                (true, false) => "only of others",
            };
            write!(table, "{cell:<width$}").unwrap();
        }
        while table.ends_with(' ') {
            table.pop();
        }
        table.push('\n');
    }
    println!("{table}");
    assert_eq!(table, CONTRACT);
}
