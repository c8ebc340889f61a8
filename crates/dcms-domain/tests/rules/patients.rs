use chrono::NaiveDate;
use dcms_domain::patients::{
    Gender, PatientChanges, PatientDetails, PatientFilter, RegisterNumber,
};
use dcms_domain::shared::{Change, Clock, PageRequest};
use dcms_domain::store::Rule;
use dcms_domain::testing::Clinic;
use pollster::block_on;

use crate::{ANY, assert_mismatch, assert_not_found, faults, outdated, violated};

fn details() -> PatientDetails {
    PatientDetails {
        first_name: "Berta".to_owned(),
        last_name: "Schulz".to_owned(),
        birthday: None,
        gender: Gender::Female,
        notes: None,
    }
}

#[test]
fn all_faults_of_a_patient_are_told_at_once() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, desk) = (&clinic.services.patients, &clinic.receptionist);
        let faulty = PatientDetails {
            first_name: String::new(),
            last_name: "x\u{0}y".to_owned(),
            birthday: NaiveDate::from_ymd_opt(1899, 12, 31),
            gender: Gender::Unknown,
            notes: Some("x".repeat(10_001)),
        };
        assert_eq!(
            faults(patients.register(desk, faulty).await),
            [
                "/first_name required",
                "/last_name invalid_characters",
                "/birthday out_of_range",
                "/notes too_long",
            ]
        );
        let faulty = PatientChanges {
            first_name: Change::Clear,
            last_name: Change::Set("x".repeat(101)),
            birthday: Change::Set(NaiveDate::MAX),
            gender: Change::Clear,
            notes: Change::Set(" ".to_owned()),
        };
        let id = clinic.patient.patient_id;
        let refused = patients.change(desk, id, &ANY, faulty.clone()).await;
        assert_eq!(
            faults(refused),
            [
                "/first_name required",
                "/gender required",
                "/last_name too_long",
                "/birthday out_of_range",
                "/notes required",
            ]
        );
        assert_mismatch(patients.change(desk, id, &outdated(), faulty).await);
    });
}

#[test]
fn nobody_is_born_after_tomorrow() {
    block_on(async {
        let clinic = Clinic::open().await;
        let today = clinic.clock.now().date_naive();
        for (day, is_accepted) in [
            (NaiveDate::from_ymd_opt(1900, 1, 1), true),
            (Some(today), true),
            // It may be tomorrow already where the clinic is.
            (today.succ_opt(), true),
            (today.succ_opt().and_then(|day| day.succ_opt()), false),
        ] {
            let born = PatientDetails {
                birthday: day,
                ..details()
            };
            let registered = clinic
                .services
                .patients
                .register(&clinic.doctor, born)
                .await;
            assert_eq!(registered.is_ok(), is_accepted, "{day:?}");
        }
    });
}

#[test]
fn text_is_trimmed_and_composed() {
    block_on(async {
        let clinic = Clinic::open().await;
        let typed = PatientDetails {
            first_name: "  Zoe\u{308} ".to_owned(),
            notes: Some("\n two\nlines \n".to_owned()),
            ..details()
        };
        let patient = clinic
            .services
            .patients
            .register(&clinic.doctor, typed)
            .await
            .unwrap();
        assert_eq!(patient.first_name, "Zo\u{eb}");
        assert_eq!(patient.notes.as_deref(), Some("two\nlines"));
    });
}

#[test]
fn each_patient_has_a_number_of_their_own_for_ever() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, manager) = (&clinic.services.patients, &clinic.manager);
        let second = patients.register(manager, details()).await.unwrap();
        assert!(second.register_number > clinic.patient.register_number);
        patients
            .delete(manager, second.patient_id, &ANY)
            .await
            .unwrap();
        let third = patients.register(manager, details()).await.unwrap();
        assert!(third.register_number > second.register_number);
        let changes = PatientChanges {
            last_name: Change::Set("Other".to_owned()),
            ..PatientChanges::default()
        };
        let renamed = patients
            .change(manager, third.patient_id, &ANY, changes)
            .await
            .unwrap();
        assert_eq!(renamed.register_number, third.register_number);
        assert_eq!(renamed.last_name, "Other");
    });
}

#[test]
fn register_numbers_are_printed_without_truncation_and_read_back() {
    for (number, printed) in [
        (1, "P000001"),
        (999_999, "P999999"),
        (1_000_000, "P1000000"),
        (i64::MAX, "P9223372036854775807"),
    ] {
        let number = RegisterNumber::new(number);
        assert_eq!(number.to_string(), printed);
        assert_eq!(RegisterNumber::parse(printed), Some(number));
    }
    let fortytwo = Some(RegisterNumber::new(42));
    for typed in ["42", "p42", "P42", "P000042", "000042"] {
        assert_eq!(RegisterNumber::parse(typed), fortytwo, "{typed}");
    }
    for typed in [
        "",
        "P",
        "PP42",
        "42P",
        "-42",
        "+42",
        "4 2",
        "Meyer",
        "9223372036854775808",
    ] {
        assert_eq!(RegisterNumber::parse(typed), None, "{typed}");
    }
}

#[test]
fn null_clears_and_absent_leaves() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, desk) = (&clinic.services.patients, &clinic.receptionist);
        let full = PatientDetails {
            birthday: NaiveDate::from_ymd_opt(2000, 2, 29),
            notes: Some("Notes".to_owned()),
            ..details()
        };
        let full = patients.register(desk, full).await.unwrap();
        let changes = PatientChanges {
            birthday: Change::Clear,
            ..PatientChanges::default()
        };
        let after = patients
            .change(desk, full.patient_id, &ANY, changes)
            .await
            .unwrap();
        assert_eq!(after.birthday, None);
        assert_eq!(after.notes, full.notes);
        assert_eq!(
            patients.patient(desk, full.patient_id).await.unwrap(),
            after
        );
    });
}

#[test]
fn archiving_twice_changes_nothing() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, desk) = (&clinic.services.patients, &clinic.receptionist);
        let id = clinic.patient.patient_id;
        let unchanged = patients.restore(desk, id, &ANY).await.unwrap();
        assert_eq!(unchanged, clinic.patient);

        let archived = patients.archive(desk, id, &ANY).await.unwrap();
        assert_eq!(archived.archived_at, Some(clinic.clock.now()));
        assert_eq!(archived.version, clinic.patient.version.next());
        clinic.clock.advance(chrono::TimeDelta::hours(1));
        let again = patients.archive(desk, id, &ANY).await.unwrap();
        assert_eq!(again, archived);
        assert_eq!(patients.patient(desk, id).await.unwrap(), archived);

        let restored = patients.restore(desk, id, &ANY).await.unwrap();
        assert_eq!(restored.archived_at, None);
        assert_eq!(restored.version, archived.version.next());
        assert_mismatch(patients.archive(desk, id, &outdated()).await);
        assert_mismatch(patients.restore(desk, id, &outdated()).await);
    });
}

#[test]
fn only_a_patient_without_history_is_deleted() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, manager) = (&clinic.services.patients, &clinic.manager);
        let fresh = clinic.register("Berta", "Schulz").await.patient_id;
        assert_mismatch(patients.delete(manager, fresh, &outdated()).await);
        patients.delete(manager, fresh, &ANY).await.unwrap();
        assert_not_found(patients.patient(manager, fresh).await);
        assert_not_found(patients.delete(manager, fresh, &ANY).await);

        clinic.booked_in(60).await;
        let id = clinic.patient.patient_id;
        assert_eq!(
            violated(patients.delete(manager, id, &ANY).await),
            Rule::StillInUse
        );
    });
}

#[test]
fn patients_are_looked_for() {
    block_on(async {
        let clinic = Clinic::open().await;
        let (patients, desk) = (&clinic.services.patients, &clinic.receptionist);
        let berta = clinic.register("Berta", "Schulz").await;
        let filter = |query: &str| PatientFilter {
            query: Some(query.to_owned()),
            archived: None,
        };
        let found = async |query: &str| {
            let page = patients
                .patients(desk, filter(query), PageRequest::first())
                .await;
            page.unwrap().items
        };
        assert_eq!(found(" schul ").await, std::slice::from_ref(&berta));
        assert_eq!(found("  ").await, [clinic.patient.clone(), berta]);
        let long = "x".repeat(201);
        let refused = patients
            .patients(desk, filter(&long), PageRequest::first())
            .await;
        assert_eq!(faults(refused), ["/query too_long"]);
    });
}
