//! Every write of every service, and what its ports answer when all goes well.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use chrono::TimeDelta;
use chrono_tz::Tz;
use dcms_domain::Services;
use dcms_domain::access::{Origin, Role, Roles};
use dcms_domain::appointments::{
    Appointment, AppointmentChanges, BookAppointment, ComingVisit, PartiesStanding, ServiceRequest,
    Standing, Status, Transition,
};
use dcms_domain::billing::{
    DraftInvoice, InvoiceChanges, ItemChanges, NewItem, PaymentMethod, RecordPayment, RecordRefund,
};
use dcms_domain::calendar::{
    ChangeHours, Closure, CreateClosure, CreateTimeOff, Timetable, WallSpan,
};
use dcms_domain::catalog::{CreateService, ServiceChanges};
use dcms_domain::clinic::{ClinicChanges, CreateRoom, DoctorChanges, RoomChanges};
use dcms_domain::identity::throttle::{Counted, Subject, SubjectKind};
use dcms_domain::identity::{CreateUser, IdentityError, LogIn, PasswordHash, Secret, UserChanges};
use dcms_domain::patients::{
    ContactChanges, CreateContact, Gender, PatientChanges, PatientDetails, RegisterNumber,
};
use dcms_domain::shared::{Cents, Change, Clock as _, Expected, Page};
use dcms_domain::store::{IdempotencyKey, KeptAnswer, KeyedRequest};
use dcms_domain::testing::{FrozenClock, MockRepositories, PASSWORD};

use uuid::Uuid;

use crate::samples::{Samples, one_day};
use crate::{Answers, Call, Write, outcome};

const ANY: Expected = Expected::Any;

const AVAILABLE: PartiesStanding = PartiesStanding {
    patient: Standing::Available,
    doctor: Standing::Available,
    room: Standing::Available,
    room_kind: None,
};

fn secret() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

fn text(text: &str) -> Change<String> {
    Change::Set(text.to_owned())
}

fn item() -> NewItem {
    NewItem {
        service_id: Some(Samples::get().service.service_id),
        description: None,
        unit_price: None,
        qty: 2,
    }
}

fn add_user(ports: &mut MockRepositories, answers: Answers) {
    read_settings(ports, answers);
    ports
        .users
        .expect_insert()
        .returning(|_, _| answers.with(()));
}

/// A user and the clinic's name are read for the rules of passwords; then the user is held, changed
/// and given another password, and their sessions end.
fn set_password(ports: &mut MockRepositories, answers: Answers) {
    let Samples { user, password, .. } = Samples::get();
    read_settings(ports, answers);
    ports
        .users
        .expect_get()
        .returning(|_| answers.with(Some(user.clone())));
    ports
        .users
        .expect_lock()
        .returning(|_| answers.with(Some((user.clone(), password.clone()))));
    ports.users.expect_update().returning(|_| answers.with(()));
    ports
        .users
        .expect_set_password()
        .returning(|_, _| answers.with(()));
    ports
        .sessions
        .expect_revoke_all()
        .returning(|_, _, _| answers.with(()));
}

fn change_user(ports: &mut MockRepositories, answers: Answers) {
    let Samples { user, actor, .. } = Samples::get();
    ports
        .users
        .expect_lock_active_admins()
        .returning(|| answers.with(vec![actor.user_id]));
    ports
        .users
        .expect_get()
        .returning(|_| answers.with(Some(user.clone())));
    ports.users.expect_update().returning(|_| answers.with(()));
}

fn find_doctor(ports: &mut MockRepositories, answers: Answers) {
    let doctor = &Samples::get().doctor;
    ports
        .clinic
        .expect_doctor()
        .returning(|_| answers.with(Some(doctor.clone())));
}

/// Visits are kept from being booked, the clinic's zone is read, and nobody comes.
fn hold_plans(ports: &mut MockRepositories, answers: Answers) {
    read_settings(ports, answers);
    ports
        .calendar
        .expect_hold_plans()
        .returning(|| answers.with(()));
    ports.appointments.expect_coming().returning(|_, _, _| {
        answers.with(Page {
            items: Vec::new(),
            next: None,
        })
    });
}

fn change_hours(ports: &mut MockRepositories, answers: Answers) {
    let hours = &Samples::get().hours;
    hold_plans(ports, answers);
    ports
        .calendar
        .expect_schedule()
        .returning(|_| answers.with(hours.clone()));
    ports
        .calendar
        .expect_replace_plans()
        .returning(|_, _, _| answers.with(()));
}

fn no_hours() -> ChangeHours {
    ChangeHours {
        valid_from: None,
        intervals: Some(Vec::new()),
    }
}

pub(crate) fn in_time() -> Counted {
    let blocked_until = FrozenClock::default().now();
    Counted::InTime { blocked_until }
}

/// A try is counted, and cleared when it succeeds.
fn count_tries(
    ports: &mut MockRepositories,
    answers: Answers,
    counted: fn(&Subject) -> Option<Counted>,
) {
    ports
        .throttle
        .expect_count()
        .returning(move |subject, _| answers.with(counted(subject)));
    ports
        .throttle
        .expect_clear()
        .returning(|_| answers.with(()));
    ports
        .throttle
        .expect_remember()
        .returning(|_| answers.with(()));
}

/// A user is found by name, held, and gets a session.
fn open_session(ports: &mut MockRepositories, answers: Answers, password: &'static PasswordHash) {
    let user = &Samples::get().user;
    ports
        .users
        .expect_find_by_username()
        .returning(move |_| answers.with(Some((user.clone(), password.clone()))));
    ports
        .users
        .expect_lock()
        .returning(move |_| answers.with(Some((user.clone(), password.clone()))));
    ports
        .sessions
        .expect_revoke_oldest()
        .returning(|_, _, _| answers.with(()));
    ports
        .sessions
        .expect_insert()
        .returning(|_, _| answers.with(()));
}

pub(crate) fn log_in<'services>(
    services: &'services Services,
    _: &'static Samples,
) -> Call<'services> {
    Box::pin(async {
        let attempt = LogIn {
            username: "manager".to_owned(),
            password: secret(),
            device_name: None,
        };
        let origin = Origin {
            address: Some([192, 0, 2, 7].into()),
            ..Origin::default()
        };
        outcome(services.identity.log_in(&attempt, &origin)).await
    })
}

fn revoke(ports: &mut MockRepositories, answers: Answers) {
    let session = &Samples::get().session;
    ports
        .sessions
        .expect_revoke()
        .returning(|_, _, _| answers.with(Some(session.clone())));
}

fn update_patient(ports: &mut MockRepositories, answers: Answers) {
    let patient = &Samples::get().patient;
    ports
        .patients
        .expect_get()
        .returning(|_| answers.with(Some(patient.clone())));
    ports
        .patients
        .expect_hold()
        .returning(|_| answers.with(Some(patient.clone())));
    ports
        .patients
        .expect_lock()
        .returning(|_| answers.with(Some(patient.clone())));
    ports
        .patients
        .expect_update()
        .returning(|_| answers.with(()));
}

fn lock_draft(ports: &mut MockRepositories, answers: Answers) {
    let draft = &Samples::get().draft;
    ports
        .invoices
        .expect_lock()
        .returning(|_| answers.with(Some(draft.clone())));
}

fn know_services(ports: &mut MockRepositories, answers: Answers) {
    let service = &Samples::get().service;
    ports
        .services
        .expect_get_many()
        .returning(|_| answers.with(vec![service.clone()]));
}

fn edit_draft(ports: &mut MockRepositories, answers: Answers) {
    lock_draft(ports, answers);
    know_services(ports, answers);
    let visit = &Samples::get().visit;
    ports
        .appointments
        .expect_get()
        .returning(|_| answers.with(Some(visit.clone())));
    ports
        .invoices
        .expect_update_draft()
        .returning(|_| answers.with(()));
}

fn list_record(ports: &mut MockRepositories, answers: Answers) {
    fn last<Item, Key>(item: &Item) -> Page<Item, Key>
    where
        Item: Clone,
    {
        Page {
            items: vec![item.clone()],
            next: None,
        }
    }
    let Samples {
        contact,
        visit,
        paid,
        payment,
        ..
    } = Samples::get();
    ports
        .patients
        .expect_contacts()
        .returning(|_, _| answers.with(last(contact)));
    ports
        .appointments
        .expect_list()
        .returning(|_, _| answers.with(last(visit)));
    ports
        .invoices
        .expect_list()
        .returning(|_, _| answers.with(last(paid)));
    ports
        .payments
        .expect_list()
        .returning(|_, _| answers.with(last(payment)));
}

fn book_visit(ports: &mut MockRepositories, answers: Answers) {
    ports
        .appointments
        .expect_standing()
        .returning(|_| answers.with(AVAILABLE));
    know_services(ports, answers);
    read_settings(ports, answers);
    read_timetable(ports, answers, &[]);
    ports
        .appointments
        .expect_book()
        .returning(|_, _| answers.with(()));
}

fn read_timetable(ports: &mut MockRepositories, answers: Answers, closures: &'static [Closure]) {
    ports.calendar.expect_timetable().returning(|_, _| {
        answers.with(Timetable {
            zone: Tz::UTC,
            clinic: Vec::new(),
            doctors: HashMap::new(),
            closures: closures.to_vec(),
            time_off: Vec::new(),
        })
    });
}

/// The visit of the samples, held against all that a move is held against, and stored.
fn settle_visit(ports: &mut MockRepositories, answers: Answers, closures: &'static [Closure]) {
    let visits = &mut ports.appointments;
    visits
        .expect_get()
        .returning(|_| answers.with(Some(Samples::get().visit.clone())));
    visits
        .expect_standing()
        .returning(|_| answers.with(AVAILABLE));
    visits.expect_hold_calendar().returning(|| answers.with(()));
    visits.expect_update().returning(|_, _| answers.with(()));
    read_settings(ports, answers);
    read_timetable(ports, answers, closures);
}

/// The day of the visit of the samples.
static CLOSURE: LazyLock<Closure> = LazyLock::new(|| {
    let visit = &Samples::get().visit;
    let from = visit.slot.starts_at().naive_utc();
    Closure {
        closure_id: Uuid::nil().into(),
        span: WallSpan {
            from,
            until: from + TimeDelta::days(1),
        },
        reason: "Strike".to_owned(),
        created_at: visit.created_at,
    }
});

fn booking() -> BookAppointment {
    let with = Samples::get();
    BookAppointment {
        services: vec![ServiceRequest {
            service_id: with.service.service_id,
            qty: 1,
        }],
        ..with.booking.clone()
    }
}

/// A visit long over, with notes.
fn old_visit() -> Appointment {
    Appointment {
        status: Status::Completed,
        notes: Some("Notes".to_owned()),
        ..Samples::get().visit.clone()
    }
}

fn read_settings(ports: &mut MockRepositories, answers: Answers) {
    let settings = &Samples::get().settings;
    ports
        .clinic
        .expect_settings()
        .returning(|| answers.with(settings.clone()));
}

pub(crate) const WRITES: [Write; 56] = [
    Write {
        name: "log in",
        script: |ports, answers| {
            count_tries(ports, answers, |subject| match subject.kind() {
                SubjectKind::Pair => None,
                SubjectKind::Account | SubjectKind::Address => Some(in_time()),
            });
            ports
                .throttle
                .expect_take_back()
                .withf(|subject, _| subject.kind() == SubjectKind::Address)
                .returning(|_, _| answers.with(()));
            open_session(ports, answers, &Samples::get().password);
        },
        call: log_in,
    },
    Write {
        name: "log in from a known address with a password that is weakly hashed",
        script: |ports, answers| {
            count_tries(ports, answers, |subject| {
                assert_eq!(subject.kind(), SubjectKind::Pair);
                Some(in_time())
            });
            ports
                .users
                .expect_set_password()
                .returning(|_, _| answers.with(()));
            open_session(ports, answers, &Samples::get().weak_password);
        },
        call: log_in,
    },
    Write {
        name: "log out",
        script: revoke,
        call: |services, with| Box::pin(outcome(services.identity.log_out(&with.actor))),
    },
    Write {
        name: "forget sessions",
        script: |ports, answers| {
            ports
                .sessions
                .expect_forget_expired()
                .returning(|_, _| answers.with(1));
        },
        call: |services, _| Box::pin(outcome(services.identity.forget_expired_sessions())),
    },
    Write {
        name: "refresh a session",
        script: |ports, answers| {
            let Samples { user, session, .. } = Samples::get();
            ports
                .users
                .expect_get()
                .returning(|_| answers.with(Some(user.clone())));
            ports
                .sessions
                .expect_rotate()
                .returning(|_, _, _, _| answers.with(Some(session.clone())));
        },
        call: |services, with| {
            Box::pin(async {
                let current = secret();
                outcome(services.identity.refresh(&with.actor, &current)).await
            })
        },
    },
    Write {
        name: "end the session of a token that was replaced",
        script: |ports, answers| {
            let session = &Samples::get().session;
            let sessions = &mut ports.sessions;
            sessions
                .expect_find_by_token()
                .returning(|_| answers.with(None));
            sessions
                .expect_find_by_retired_token()
                .returning(|_| answers.with(Some(session.clone())));
            revoke(ports, answers);
        },
        call: |services, _| {
            Box::pin(async {
                let (token, origin) = (secret(), Origin::default());
                let refused = services.identity.authenticate(&token, &origin).await;
                outcome(async {
                    match refused {
                        Err(IdentityError::Unauthenticated) => Ok(()),
                        refused => refused.map(|actor| panic!("{actor:?} came in")),
                    }
                })
                .await
            })
        },
    },
    Write {
        name: "change a password",
        script: |ports, answers| {
            let Samples { user, password, .. } = Samples::get();
            ports
                .users
                .expect_password()
                .returning(|_| answers.with(Some(password.clone())));
            ports
                .users
                .expect_find_by_username()
                .returning(|_| answers.with(Some((user.clone(), password.clone()))));
            count_tries(ports, answers, |_| None);
            set_password(ports, answers);
        },
        call: |services, with| {
            Box::pin(async {
                let current = secret();
                let identity = &services.identity;
                let new = Secret::new("another quiet battery".to_owned());
                outcome(identity.change_password(&with.actor, &current, &new)).await
            })
        },
    },
    Write {
        name: "reset a password",
        script: |ports, answers| {
            set_password(ports, answers);
            ports
                .throttle
                .expect_clear()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            Box::pin(async {
                let (actor, id, new) = (&with.actor, with.user.user_id, secret());
                outcome(services.identity.reset_password(actor, id, &ANY, &new)).await
            })
        },
    },
    Write {
        name: "revoke an own session",
        script: revoke,
        call: |services, with| {
            let id = with.session.session_id;
            Box::pin(outcome(
                services.identity.revoke_own_session(&with.actor, id),
            ))
        },
    },
    Write {
        name: "revoke a session",
        script: revoke,
        call: |services, with| {
            let id = with.session.session_id;
            Box::pin(outcome(services.identity.revoke_session(&with.actor, id)))
        },
    },
    Write {
        name: "revoke the sessions of a user",
        script: |ports, answers| {
            let user = &Samples::get().user;
            ports
                .users
                .expect_get()
                .returning(|_| answers.with(Some(user.clone())));
            ports
                .sessions
                .expect_revoke_all()
                .returning(|_, _, _| answers.with(()));
        },
        call: |services, with| {
            let id = with.user.user_id;
            let identity = &services.identity;
            Box::pin(outcome(identity.revoke_sessions_of(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "act as a user",
        script: |ports, answers| {
            let user = &Samples::get().user;
            ports
                .users
                .expect_get()
                .returning(|_| answers.with(Some(user.clone())));
            ports
                .sessions
                .expect_insert()
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let (actor, id) = (&with.actor, with.user.user_id);
            let identity = &services.identity;
            Box::pin(outcome(identity.impersonate(actor, id, "They asked me to")))
        },
    },
    Write {
        name: "create a user",
        script: add_user,
        call: |services, with| {
            let user = CreateUser {
                username: "new".to_owned(),
                display_name: "New".to_owned(),
                roles: with.user.roles,
                is_active: true,
                password: secret(),
            };
            Box::pin(outcome(services.identity.create_user(&with.actor, user)))
        },
    },
    Write {
        name: "create an admin from the console",
        script: add_user,
        call: |services, _| {
            let name = "new".to_owned();
            Box::pin(outcome(
                services.identity.create_admin_from_console(name, secret()),
            ))
        },
    },
    Write {
        name: "disable a user",
        script: |ports, answers| {
            change_user(ports, answers);
            ports
                .sessions
                .expect_revoke_all()
                .returning(|_, _, _| answers.with(()));
        },
        call: |services, with| {
            let changes = UserChanges {
                is_active: Change::Set(false),
                ..UserChanges::default()
            };
            let (actor, id) = (&with.actor, with.user.user_id);
            let identity = &services.identity;
            Box::pin(outcome(identity.change_user(actor, id, &ANY, changes)))
        },
    },
    Write {
        name: "change the roles of a user",
        script: |ports, answers| {
            change_user(ports, answers);
            ports
                .sessions
                .expect_revoke_impersonations_by()
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let changes = UserChanges {
                roles: Change::Set(Roles::from_iter([Role::Doctor])),
                ..UserChanges::default()
            };
            let (actor, id) = (&with.actor, with.user.user_id);
            let identity = &services.identity;
            Box::pin(outcome(identity.change_user(actor, id, &ANY, changes)))
        },
    },
    Write {
        name: "change the settings",
        script: |ports, answers| {
            read_settings(ports, answers);
            ports
                .invoices
                .expect_lock_numbering()
                .returning(|| answers.with(0));
            ports
                .clinic
                .expect_update_settings()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let changes = ClinicChanges {
                currency: text("CHF"),
                ..ClinicChanges::default()
            };
            Box::pin(outcome(services.clinic.change_settings(
                &with.actor,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "create a room",
        script: |ports, answers| {
            ports
                .clinic
                .expect_insert_room()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let room = CreateRoom {
                name: "New".to_owned(),
                is_active: true,
                kind: None,
                position: 0,
            };
            Box::pin(outcome(services.clinic.create_room(&with.actor, room)))
        },
    },
    Write {
        name: "change a room",
        script: |ports, answers| {
            let room = &Samples::get().room;
            ports
                .clinic
                .expect_room()
                .returning(|_| answers.with(Some(room.clone())));
            ports
                .clinic
                .expect_update_room()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let changes = RoomChanges {
                name: text("Other"),
                ..RoomChanges::default()
            };
            let id = with.room.room_id;
            Box::pin(outcome(services.clinic.change_room(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "delete a room",
        script: |ports, answers| {
            let room = &Samples::get().room;
            ports
                .clinic
                .expect_room()
                .returning(|_| answers.with(Some(room.clone())));
            ports
                .clinic
                .expect_delete_room()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.room.room_id;
            Box::pin(outcome(services.clinic.delete_room(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "change a doctor",
        script: |ports, answers| {
            let Samples { doctor, room, .. } = Samples::get();
            find_doctor(ports, answers);
            ports
                .clinic
                .expect_room()
                .returning(|_| answers.with(Some(room.clone())));
            ports
                .clinic
                .expect_update_doctor()
                .withf(|changed, _| changed.doctor_id == doctor.doctor_id)
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let changes = DoctorChanges {
                usual_room_id: Change::Set(with.room.room_id),
            };
            let id = with.doctor.doctor_id;
            Box::pin(outcome(services.clinic.change_doctor(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "change the clinic's hours",
        script: change_hours,
        call: |services, with| {
            Box::pin(outcome(services.calendar.change_hours(
                &with.actor,
                None,
                &ANY,
                no_hours(),
            )))
        },
    },
    Write {
        name: "change a doctor's hours",
        script: |ports, answers| {
            find_doctor(ports, answers);
            change_hours(ports, answers);
        },
        call: |services, with| {
            let id = Some(with.doctor.doctor_id);
            Box::pin(outcome(services.calendar.change_hours(
                &with.actor,
                id,
                &ANY,
                no_hours(),
            )))
        },
    },
    Write {
        name: "close the clinic",
        script: |ports, answers| {
            hold_plans(ports, answers);
            ports
                .calendar
                .expect_insert_closure()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let closure = CreateClosure {
                span: one_day(),
                reason: "Holiday".to_owned(),
            };
            Box::pin(outcome(services.calendar.close(&with.actor, closure)))
        },
    },
    Write {
        name: "take a closure back",
        script: |ports, answers| {
            let closure = &Samples::get().closure;
            ports
                .calendar
                .expect_closure()
                .returning(|_| answers.with(Some(closure.clone())));
            ports
                .calendar
                .expect_delete_closure()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.closure.closure_id;
            Box::pin(outcome(services.calendar.reopen(&with.actor, id)))
        },
    },
    Write {
        name: "give time off",
        script: |ports, answers| {
            find_doctor(ports, answers);
            hold_plans(ports, answers);
            ports
                .calendar
                .expect_insert_time_off()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let time_off = CreateTimeOff {
                doctor_id: with.doctor.doctor_id,
                span: one_day(),
                reason: None,
            };
            let calendar = &services.calendar;
            Box::pin(outcome(calendar.grant_time_off(&with.actor, time_off)))
        },
    },
    Write {
        name: "take time off back",
        script: |ports, answers| {
            let time_off = &Samples::get().time_off;
            ports
                .calendar
                .expect_time_off()
                .returning(|_| answers.with(Some(time_off.clone())));
            ports
                .calendar
                .expect_delete_time_off()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let (doctor, id) = (with.doctor.doctor_id, with.time_off.time_off_id);
            let calendar = &services.calendar;
            Box::pin(outcome(calendar.take_back_time_off(
                &with.actor,
                doctor,
                id,
            )))
        },
    },
    Write {
        name: "register a patient",
        script: |ports, answers| {
            ports
                .patients
                .expect_next_register_number()
                .returning(|| answers.with(RegisterNumber::new(7)));
            ports
                .patients
                .expect_insert()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let details = PatientDetails {
                first_name: "New".to_owned(),
                last_name: "New".to_owned(),
                birthday: None,
                gender: Gender::Unknown,
                notes: None,
            };
            Box::pin(outcome(services.patients.register(&with.actor, details)))
        },
    },
    Write {
        name: "change a patient",
        script: update_patient,
        call: |services, with| {
            let changes = PatientChanges {
                first_name: text("Other"),
                ..PatientChanges::default()
            };
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.change(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "archive a patient",
        script: update_patient,
        call: |services, with| {
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.archive(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "restore a patient",
        script: |ports, answers| {
            let mut patient = Samples::get().patient.clone();
            patient.archived_at = Some(patient.created_at);
            ports
                .patients
                .expect_get()
                .returning(move |_| answers.with(Some(patient.clone())));
            ports
                .patients
                .expect_update()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.restore(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "export a patient",
        script: |ports, answers| {
            update_patient(ports, answers);
            list_record(ports, answers);
            let empty = || Page {
                items: Vec::new(),
                next: None,
            };
            ports
                .payments
                .expect_refunds_of_patient()
                .returning(move |_, _| answers.with(empty()));
            ports.audit.expect_list().returning(|_, _| {
                answers.with(Page {
                    items: Vec::new(),
                    next: None,
                })
            });
            ports.history.expect_list().returning(|_, _| {
                answers.with(Page {
                    items: Vec::new(),
                    next: None,
                })
            });
        },
        call: |services, with| {
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.export(&with.actor, id)))
        },
    },
    Write {
        name: "anonymize a patient",
        script: |ports, answers| {
            update_patient(ports, answers);
            list_record(ports, answers);
            ports
                .invoices
                .expect_lock_of_patient()
                .returning(|_| answers.with(Vec::new()));
            let appointments = &mut ports.appointments;
            appointments
                .expect_lock_of_patient()
                .returning(|_| answers.with(vec![old_visit()]));
            appointments
                .expect_update()
                .returning(|_, _| answers.with(()));
            ports
                .patients
                .expect_delete_contact()
                .returning(|_| answers.with(()));
            ports
                .payments
                .expect_redact()
                .returning(|_| answers.with(()));
            ports
                .history
                .expect_redact()
                .returning(|_| answers.with(()));
            ports.audit.expect_redact().returning(|_| answers.with(()));
            ports
                .idempotency
                .expect_forget_patient()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let (actor, id) = (&with.actor, with.patient.patient_id);
            let patients = &services.patients;
            Box::pin(outcome(patients.anonymize(actor, id, &ANY, "They asked")))
        },
    },
    Write {
        name: "delete a patient",
        script: |ports, answers| {
            update_patient(ports, answers);
            ports
                .patients
                .expect_delete()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.delete(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "add a primary contact",
        script: |ports, answers| {
            update_patient(ports, answers);
            ports
                .patients
                .expect_demote_primary_contact()
                .returning(|_, _| answers.with(()));
            ports
                .patients
                .expect_insert_contact()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let contact = CreateContact {
                contact_type: with.contact.contact_type,
                value: "030 5678".to_owned(),
                label: None,
                is_primary: true,
            };
            let id = with.patient.patient_id;
            Box::pin(outcome(services.patients.add_contact(
                &with.actor,
                id,
                contact,
            )))
        },
    },
    Write {
        name: "make a contact primary",
        script: |ports, answers| {
            let contact = &Samples::get().contact;
            ports
                .patients
                .expect_contact()
                .returning(|_, _| answers.with(Some(contact.clone())));
            ports
                .patients
                .expect_demote_primary_contact()
                .returning(|_, _| answers.with(()));
            ports
                .patients
                .expect_update_contact()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let changes = ContactChanges {
                is_primary: Change::Set(true),
                ..ContactChanges::default()
            };
            let (patient, contact) = (with.patient.patient_id, with.contact.contact_id);
            let patients = &services.patients;
            Box::pin(outcome(patients.change_contact(
                &with.actor,
                patient,
                contact,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "delete a contact",
        script: |ports, answers| {
            let contact = &Samples::get().contact;
            ports
                .patients
                .expect_contact()
                .returning(|_, _| answers.with(Some(contact.clone())));
            ports
                .patients
                .expect_delete_contact()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let (patient, contact) = (with.patient.patient_id, with.contact.contact_id);
            let patients = &services.patients;
            Box::pin(outcome(patients.delete_contact(
                &with.actor,
                patient,
                contact,
                &ANY,
            )))
        },
    },
    Write {
        name: "book a visit",
        script: book_visit,
        call: |services, with| {
            let actor = &with.actor;
            Box::pin(outcome(services.appointments.book(actor, booking())))
        },
    },
    Write {
        name: "book a visit by a request that names itself",
        script: |ports, answers| {
            let idempotency = &mut ports.idempotency;
            idempotency
                .expect_claim()
                .returning(|_, _| answers.with(None));
            idempotency.expect_keep().returning(|_| answers.with(()));
            book_visit(ports, answers);
        },
        call: |services, with| {
            let book = move |services: Arc<Services>| async move {
                let booked = services.appointments.book(&with.actor, booking()).await;
                booked.map(|visit| KeptAnswer {
                    status: 201,
                    location: None,
                    entity_tag: None,
                    body: visit.appointment_id.to_string().into_bytes(),
                })
            };
            Box::pin(outcome(async move {
                let request = KeyedRequest {
                    key: IdempotencyKey::parse("a-key").unwrap(),
                    fingerprint: [0; 32],
                };
                services.once(&with.actor, &request, book).await
            }))
        },
    },
    Write {
        name: "change a visit",
        script: |ports, answers| {
            let mut visit = Samples::get().visit.clone();
            visit.room_id = None;
            ports
                .appointments
                .expect_get()
                .returning(move |_| answers.with(Some(visit.clone())));
            ports
                .appointments
                .expect_standing()
                .returning(|_| answers.with(AVAILABLE));
            ports
                .appointments
                .expect_hold_calendar()
                .returning(|| answers.with(()));
            ports
                .appointments
                .expect_update()
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let changes = AppointmentChanges {
                room_id: Change::Set(with.room.room_id),
                ..AppointmentChanges::default()
            };
            let id = with.visit.appointment_id;
            Box::pin(outcome(services.appointments.change(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "move a visit",
        script: |ports, answers| settle_visit(ports, answers, &[]),
        call: |services, with| {
            let id = with.visit.appointment_id;
            let moved = Transition::Reschedule {
                starts_at: with.visit.slot.ends_at(),
                ends_at: None,
                doctor_id: None,
                room_id: Change::Keep,
                overbook_reason: None,
                reason: Some("Asked for it".to_owned()),
            };
            let visits = &services.appointments;
            Box::pin(outcome(visits.take_action(&with.actor, id, &ANY, moved)))
        },
    },
    Write {
        name: "accept what is in the way of a visit",
        script: |ports, answers| {
            settle_visit(ports, answers, std::slice::from_ref(&*CLOSURE));
            ports
                .appointments
                .expect_coming()
                .returning(move |_, _, _| {
                    let visit = ComingVisit {
                        appointment: Samples::get().visit.clone(),
                        doctor_not_available_since: None,
                        room_not_available_since: None,
                    };
                    answers.with(Page {
                        items: vec![visit],
                        next: None,
                    })
                });
        },
        call: |services, with| {
            let id = with.visit.appointment_id;
            let visits = &services.appointments;
            Box::pin(outcome(visits.accept_conflict(
                &with.actor,
                id,
                &ANY,
                "Agreed",
            )))
        },
    },
    Write {
        name: "bring a no-show back",
        script: |ports, answers| {
            let mut visit = Samples::get().visit.clone();
            visit.status = Status::NoShow;
            ports
                .appointments
                .expect_get()
                .returning(move |_| answers.with(Some(visit.clone())));
            ports
                .appointments
                .expect_standing()
                .returning(|_| answers.with(AVAILABLE));
            ports
                .appointments
                .expect_hold_calendar()
                .returning(|| answers.with(()));
            ports
                .appointments
                .expect_update()
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let id = with.visit.appointment_id;
            let visits = &services.appointments;
            Box::pin(outcome(visits.take_action(
                &with.actor,
                id,
                &ANY,
                Transition::Arrive,
            )))
        },
    },
    Write {
        name: "create a service",
        script: |ports, answers| {
            ports
                .services
                .expect_insert()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let service = CreateService {
                code: "NEW".to_owned(),
                name: "New".to_owned(),
                current_price: Cents::ZERO,
                default_duration_minutes: None,
                is_active: true,
                buffer_minutes: 0,
                room_kind: None,
                doctor_ids: Vec::new(),
            };
            Box::pin(outcome(services.catalog.create(&with.actor, service)))
        },
    },
    Write {
        name: "change a service",
        script: |ports, answers| {
            let service = &Samples::get().service;
            ports
                .services
                .expect_get()
                .returning(|_| answers.with(Some(service.clone())));
            ports
                .services
                .expect_update()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let changes = ServiceChanges {
                name: text("Other"),
                ..ServiceChanges::default()
            };
            let id = with.service.service_id;
            Box::pin(outcome(services.catalog.change(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "delete a service",
        script: |ports, answers| {
            let service = &Samples::get().service;
            ports
                .services
                .expect_get()
                .returning(|_| answers.with(Some(service.clone())));
            ports
                .services
                .expect_delete()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.service.service_id;
            Box::pin(outcome(services.catalog.delete(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "draft an invoice",
        script: |ports, answers| {
            update_patient(ports, answers);
            edit_draft(ports, answers);
            read_settings(ports, answers);
            ports
                .invoices
                .expect_insert()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let draft = DraftInvoice {
                patient_id: with.patient.patient_id,
                appointment_id: Some(with.visit.appointment_id),
                from_appointment: true,
                items: vec![item()],
            };
            Box::pin(outcome(services.billing.draft(&with.actor, draft)))
        },
    },
    Write {
        name: "change a draft",
        script: edit_draft,
        call: |services, with| {
            let changes = InvoiceChanges {
                appointment_id: Change::Set(with.visit.appointment_id),
                items: Change::Set(vec![item()]),
            };
            let id = with.draft.invoice_id;
            Box::pin(outcome(services.billing.change_draft(
                &with.actor,
                id,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "add a line",
        script: edit_draft,
        call: |services, with| {
            let id = with.draft.invoice_id;
            Box::pin(outcome(services.billing.add_item(
                &with.actor,
                id,
                &ANY,
                item(),
            )))
        },
    },
    Write {
        name: "change a line",
        script: edit_draft,
        call: |services, with| {
            let (id, line) = (with.draft.invoice_id, with.draft.items[0].invoice_item_id);
            let changes = ItemChanges {
                qty: Change::Set(3),
                ..ItemChanges::default()
            };
            let billing = &services.billing;
            Box::pin(outcome(billing.change_item(
                &with.actor,
                id,
                line,
                &ANY,
                changes,
            )))
        },
    },
    Write {
        name: "remove a line",
        script: edit_draft,
        call: |services, with| {
            let (id, line) = (with.draft.invoice_id, with.draft.items[0].invoice_item_id);
            Box::pin(outcome(services.billing.remove_item(
                &with.actor,
                id,
                line,
                &ANY,
            )))
        },
    },
    Write {
        name: "delete a draft",
        script: |ports, answers| {
            lock_draft(ports, answers);
            ports
                .invoices
                .expect_delete_draft()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.draft.invoice_id;
            Box::pin(outcome(services.billing.delete_draft(
                &with.actor,
                id,
                &ANY,
            )))
        },
    },
    Write {
        name: "issue an invoice",
        script: |ports, answers| {
            lock_draft(ports, answers);
            ports
                .invoices
                .expect_lock_numbering()
                .returning(|| answers.with(41));
            read_settings(ports, answers);
            ports
                .invoices
                .expect_save_issue()
                .withf(|invoice, sequence| *sequence == 42 && invoice.issue.is_some())
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let id = with.draft.invoice_id;
            Box::pin(outcome(services.billing.issue(&with.actor, id, &ANY)))
        },
    },
    Write {
        name: "void an invoice",
        script: |ports, answers| {
            let issued = &Samples::get().issued;
            ports
                .invoices
                .expect_lock()
                .returning(|_| answers.with(Some(issued.clone())));
            ports
                .invoices
                .expect_save_voiding()
                .returning(|_| answers.with(()));
        },
        call: |services, with| {
            let id = with.issued.invoice_id;
            Box::pin(outcome(services.billing.void(
                &with.actor,
                id,
                &ANY,
                "Mistake",
            )))
        },
    },
    Write {
        name: "record a payment",
        script: |ports, answers| {
            let issued = &Samples::get().issued;
            ports
                .invoices
                .expect_lock()
                .returning(|_| answers.with(Some(issued.clone())));
            ports
                .payments
                .expect_record()
                .returning(|_, _| answers.with(()));
        },
        call: |services, with| {
            let payment = RecordPayment {
                amount: Cents::new(1),
                method: PaymentMethod::Card,
                paid_at: None,
                reference: None,
            };
            let id = with.issued.invoice_id;
            Box::pin(outcome(services.billing.record_payment(
                &with.actor,
                id,
                &ANY,
                payment,
            )))
        },
    },
    Write {
        name: "record a refund",
        script: |ports, answers| {
            let Samples { paid, payment, .. } = Samples::get();
            ports
                .invoices
                .expect_lock_of_payment()
                .returning(|_| answers.with(Some(paid.clone())));
            ports
                .payments
                .expect_get()
                .returning(|_| answers.with(Some(payment.clone())));
            ports
                .payments
                .expect_record_refund()
                .returning(|_, _, _| answers.with(()));
        },
        call: |services, with| {
            let refund = RecordRefund {
                amount: Cents::new(1),
                reason: "Too much".to_owned(),
            };
            let id = with.payment.payment_id;
            Box::pin(outcome(services.billing.record_refund(
                &with.actor,
                id,
                &ANY,
                refund,
            )))
        },
    },
];
