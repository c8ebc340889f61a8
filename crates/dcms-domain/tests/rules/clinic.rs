use chrono_tz::Tz;
use dcms_domain::access::Role;
use dcms_domain::appointments::Transition;
use dcms_domain::clinic::{ClinicChanges, ClinicError, CreateRoom, RoomChanges};
use dcms_domain::identity::UserChanges;
use dcms_domain::shared::{Change, Expected, PageRequest};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use iso_currency::Currency;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

fn text(text: &str) -> Change<String> {
    Change::Set(text.to_owned())
}

fn room(name: &str) -> CreateRoom {
    CreateRoom {
        name: name.to_owned(),
        is_active: true,
        kind: None,
        position: 0,
    }
}

#[test]
fn all_faults_of_the_settings_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let changes = ClinicChanges {
            clinic_name: Change::Clear,
            time_zone: text("Mars/Olympus"),
            address: text("with\u{7}bell"),
            phone: text("call me"),
            email: text("nobody"),
            currency: text("XYZZY"),
            default_slot_minutes: Change::Set(481),
            slot_grid_minutes: Change::Set(7),
            smallest_notice_minutes: Change::Set(-1),
            largest_notice_days: Change::Clear,
        };
        let refused = clinic
            .services
            .clinic
            .change_settings(&clinic.manager, &ANY, changes)
            .await;
        assert_eq!(
            faults(refused),
            [
                "/clinic_name required",
                "/time_zone unknown",
                "/currency unknown",
                "/address invalid_characters",
                "/phone invalid_format",
                "/email invalid_format",
                "/default_slot_minutes out_of_range",
                "/smallest_notice_minutes out_of_range",
                "/largest_notice_days required",
                "/slot_grid_minutes out_of_range",
            ]
        );
    });
}

#[test]
fn settings_change_and_null_clears() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (service, manager) = (&clinic.services.clinic, &clinic.manager);
        let changes = ClinicChanges {
            clinic_name: text("  Zähne  "),
            time_zone: text("Europe/Berlin"),
            address: text("Street 1\nTown"),
            phone: text("+49 30 1234"),
            email: text("desk@example.org"),
            currency: text("CHF"),
            default_slot_minutes: Change::Set(5),
            slot_grid_minutes: Change::Set(15),
            smallest_notice_minutes: Change::Set(60),
            largest_notice_days: Change::Set(365),
        };
        let first = service.settings(manager).await.unwrap();
        let after = service
            .change_settings(manager, &ANY, changes)
            .await
            .unwrap()
            .thing;
        assert_eq!(after.clinic_name, "Zähne");
        assert_eq!(after.time_zone, Tz::Europe__Berlin);
        assert_eq!(after.currency, Currency::CHF);
        let rules = (after.slot_grid_minutes, after.smallest_notice_minutes);
        assert_eq!((rules, after.largest_notice_days), ((15, 60), 365));
        assert_eq!(after.address.as_deref(), Some("Street 1\nTown"));
        assert_eq!(after.version, first.version.next());
        assert_eq!(service.settings(manager).await.unwrap(), after);

        let cleared = ClinicChanges {
            address: Change::Clear,
            phone: Change::Clear,
            ..ClinicChanges::default()
        };
        let expected = Expected::OneOf(vec![first.version, after.version]);
        let cleared = service
            .change_settings(manager, &expected, cleared)
            .await
            .unwrap()
            .thing;
        assert_eq!((cleared.address, cleared.phone), (None, None));
        assert_eq!(cleared.email.as_deref(), Some("desk@example.org"));
        let faulty = ClinicChanges {
            clinic_name: Change::Clear,
            ..ClinicChanges::default()
        };
        let refused = service.change_settings(manager, &outdated(), faulty).await;
        assert_mismatch(refused);
    });
}

#[test]
fn the_currency_is_frozen_once_an_invoice_is_issued() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (service, manager) = (&clinic.services.clinic, &clinic.manager);
        let currency = |code: &str| ClinicChanges {
            currency: text(code),
            ..ClinicChanges::default()
        };
        let draft = clinic.drafted(&[100]).await;
        assert_eq!(draft.currency, Currency::EUR);
        service
            .change_settings(manager, &ANY, currency("CHF"))
            .await
            .unwrap();
        let billing = &clinic.services.billing;
        let issued = billing
            .issue(manager, draft.invoice_id, &ANY)
            .await
            .unwrap();
        assert_eq!(issued.currency, Currency::CHF);

        let refused = service
            .change_settings(manager, &ANY, currency("EUR"))
            .await;
        assert!(
            matches!(refused, Err(ClinicError::CurrencyFrozen)),
            "{refused:?}"
        );
        let same = ClinicChanges {
            clinic_name: text("Renamed"),
            ..currency("CHF")
        };
        let after = service.change_settings(manager, &ANY, same).await.unwrap();
        assert_eq!(after.thing.clinic_name, "Renamed");
        // A void invoice was issued all the same.
        billing
            .void(manager, issued.invoice_id, &ANY, "Mistake")
            .await
            .unwrap();
        let refused = service
            .change_settings(manager, &ANY, currency("EUR"))
            .await;
        assert!(matches!(refused, Err(ClinicError::CurrencyFrozen)));
    });
}

#[test]
fn a_room_name_belongs_to_one_room() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (service, manager) = (&clinic.services.clinic, &clinic.manager);
        let refused = service.create_room(manager, room("")).await;
        assert_eq!(faults(refused), ["/name required"]);
        let refused = service.create_room(manager, room("ROOM 1")).await;
        assert_eq!(violated(refused), Rule::RoomNameTaken);
        let second = service.create_room(manager, room("Room 2")).await.unwrap();
        let renamed = RoomChanges {
            name: text("room 1"),
            ..RoomChanges::default()
        };
        let refused = service
            .change_room(manager, second.room_id, &ANY, renamed)
            .await;
        assert_eq!(violated(refused), Rule::RoomNameTaken);
        let rooms = service.rooms(manager, PageRequest::first()).await.unwrap();
        assert_eq!(rooms.items, [clinic.room.clone(), second]);
    });
}

#[test]
fn a_room_changes_and_tells_all_faults() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (service, manager) = (&clinic.services.clinic, &clinic.manager);
        let id = clinic.room.room_id;
        let faulty = RoomChanges {
            name: Change::Set("x".repeat(101)),
            is_active: Change::Clear,
            kind: text(""),
            position: Change::Set(10_001),
        };
        let refused = service.change_room(manager, id, &ANY, faulty.clone()).await;
        let expected = [
            "/is_active required",
            "/name too_long",
            "/kind required",
            "/position out_of_range",
        ];
        assert_eq!(faults(refused), expected);
        assert_mismatch(service.change_room(manager, id, &outdated(), faulty).await);
        let closed = RoomChanges {
            is_active: Change::Set(false),
            ..RoomChanges::default()
        };
        let changed = service.change_room(manager, id, &ANY, closed).await;
        let after = changed.unwrap().thing;
        assert_eq!((after.name.as_str(), after.is_active), ("Room 1", false));
        assert_eq!(service.room(manager, id).await.unwrap(), after);
    });
}

#[test]
fn a_room_that_was_ever_booked_is_not_deleted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (service, manager) = (&clinic.services.clinic, &clinic.manager);
        let unused = service.create_room(manager, room("Unused")).await.unwrap();
        let id = unused.room_id;
        assert_mismatch(service.delete_room(manager, id, &outdated()).await);
        service.delete_room(manager, id, &ANY).await.unwrap();
        assert_not_found(service.room(manager, id).await);
        assert_not_found(service.delete_room(manager, id, &ANY).await);

        let visit = clinic.booked_in(60).await;
        let cancel = Transition::Cancel {
            reason: "Ill".to_owned(),
        };
        let visits = &clinic.services.appointments;
        visits
            .take_action(manager, visit.appointment_id, &ANY, cancel)
            .await
            .unwrap();
        let refused = service
            .delete_room(manager, clinic.room.room_id, &ANY)
            .await;
        assert_eq!(violated(refused), Rule::StillInUse);
    });
}

#[test]
fn doctors_are_the_active_users_with_the_role() {
    block_on(async {
        let clinic = Clinic::open().await;
        let service = &clinic.services.clinic;
        let names = async || {
            let page = service
                .doctors(&clinic.receptionist, PageRequest::first())
                .await;
            let doctors = page.unwrap().items.into_iter();
            doctors
                .map(|doctor| doctor.display_name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["The doctor1", "The doctor2"]);
        let disabled = UserChanges {
            is_active: Change::Set(false),
            ..UserChanges::default()
        };
        let promoted = UserChanges {
            roles: Change::Set([Role::Manager, Role::Doctor].into_iter().collect()),
            ..UserChanges::default()
        };
        let identity = &clinic.services.identity;
        for (id, changes) in [
            (clinic.doctor.user_id, disabled),
            (clinic.manager.user_id, promoted),
        ] {
            identity
                .change_user(&clinic.admin, id, &ANY, changes)
                .await
                .unwrap();
        }
        assert_eq!(names().await, ["The manager", "The doctor2"]);
    });
}
