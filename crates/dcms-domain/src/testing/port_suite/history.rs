use super::stage::{
    Must, Stage, all_of, assert_conflict, assert_violates, by_their_doctor, changed, page_of,
};
use crate::access::Role;
use crate::appointments::{
    Action, Appointment, AppointmentEvent, AppointmentVersion, HistoryAction, HistoryKey,
    HistoryOf, Position, Status, VersionCause, Whereabouts,
};
use crate::identity::User;
use crate::patients::Patient;
use crate::shared::{PageRequest, UserId};
use crate::store::{Rule, Store, StoreError};

struct People {
    anna: Patient,
    doctor: User,
    other_doctor: User,
}

async fn people(stage: &Stage<'_>) -> People {
    People {
        anna: stage.saved_patient("Anna", "Meyer").await,
        doctor: stage.saved_user("doctor1", Role::Doctor).await,
        other_doctor: stage.saved_user("doctor2", Role::Doctor).await,
    }
}

async fn update(
    stage: &Stage<'_>,
    visit: &Appointment,
    cause: &VersionCause,
) -> Result<(), StoreError> {
    stage
        .write(async |work| {
            work.appointments().hold_calendar().await?;
            work.appointments().update(visit, cause).await
        })
        .await
}

/// The visit one version and a minute later.
fn next(
    stage: &Stage<'_>,
    visit: &Appointment,
    change: impl FnOnce(&mut Appointment),
) -> Appointment {
    changed(visit, |visit| {
        visit.version = visit.version.next();
        visit.updated_at = stage.at(visit.version.get());
        change(visit);
    })
}

async fn history(stage: &Stage<'_>, of: HistoryOf) -> Vec<AppointmentVersion> {
    let mut connection = stage.connect().await;
    let page = connection.history().list(of, PageRequest::first()).await;
    all_of(page)
}

/// What the history is to tell of a visit that was just written.
fn version(visit: &Appointment, cause: &VersionCause) -> AppointmentVersion {
    AppointmentVersion {
        appointment_id: visit.appointment_id,
        version: visit.version,
        action: cause.action,
        user_id: Some(cause.user_id),
        impersonator_id: cause.impersonator_id,
        reason: cause.reason.clone(),
        overbook_reason: visit.overbook_reason.clone(),
        doctor_id: visit.doctor_id,
        room_id: visit.room_id,
        slot: visit.slot,
        status: visit.status,
        changed_at: visit.updated_at,
    }
}

/// Each version tells what the visit was since, whatever was done.
pub async fn every_version_of_a_visit_is_kept(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let room = stage.saved_room("Room 1").await;
    let mut visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    let booked = VersionCause {
        impersonator_id: Some(people.other_doctor.user_id),
        reason: Some("No other day".to_owned()),
        ..by_their_doctor(&visit, HistoryAction::Book)
    };
    stage
        .write(async |work| work.appointments().book(&visit, &booked).await)
        .await
        .must();
    let mut expected = vec![version(&visit, &booked)];
    for (minutes, action) in (30..).zip(HistoryAction::ALL) {
        visit = next(&stage, &visit, |visit| {
            visit.slot = stage.slot(minutes, minutes + 30);
            visit.room_free_at = visit.slot.ends_at();
            visit.doctor_id = people.other_doctor.user_id;
            visit.room_id = Some(room.room_id).filter(|_| minutes % 2 == 0);
            visit.status = Status::ALL[usize::try_from(minutes % 5).must()];
        });
        let cause = by_their_doctor(&visit, action);
        update(&stage, &visit, &cause).await.must();
        expected.push(version(&visit, &cause));
    }
    let of = HistoryOf::Appointment(visit.appointment_id);
    assert_eq!(history(&stage, of).await, expected);
    let of = HistoryOf::Patient(people.anna.patient_id);
    assert_eq!(history(&stage, of).await, expected);
    let nothing = HistoryOf::Appointment(stage.id());
    assert_eq!(history(&stage, nothing).await, []);
    let nobody = HistoryOf::Patient(stage.id());
    assert_eq!(history(&stage, nobody).await, []);
}

/// Pages hold the versions of a patient's visits, one visit after the other, and nobody else's.
pub async fn a_history_comes_in_pages(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let berta = stage.saved_patient("Berta", "Schulz").await;
    let mut expected = Vec::new();
    for (patient, from) in [(&people.anna, 0), (&berta, 30), (&people.anna, 60)] {
        let visit = stage.visit(patient, &people.doctor, stage.slot(from, from + 30));
        stage.book(&visit).await.must();
        let confirmed = next(&stage, &visit, |visit| visit.status = Status::Confirmed);
        let cause = by_their_doctor(&visit, HistoryAction::Taken(Action::Confirm));
        update(&stage, &confirmed, &cause).await.must();
        if patient.patient_id == people.anna.patient_id {
            expected.push(version(
                &visit,
                &by_their_doctor(&visit, HistoryAction::Book),
            ));
            expected.push(version(&confirmed, &cause));
        }
    }
    let of = HistoryOf::Patient(people.anna.patient_id);
    let (mut after, mut found) = (None, Vec::new());
    for is_last in [false, true] {
        let mut connection = stage.connect().await;
        let page = connection.history().list(of, page_of(2, after)).await;
        let page = page.must();
        assert_eq!(page.items.len(), 2);
        assert_eq!(page.next.is_none(), is_last);
        let last = page.items.last().map(HistoryKey::from);
        assert!(page.next.is_none() || page.next == last);
        after = page.next;
        found.extend(page.items);
    }
    assert_eq!(found, expected);
}

/// Whoever changes a visit, or acts as who does, is a user; a reason is neither empty nor endless.
pub async fn a_change_is_by_known_users(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let later = stage.visit(&people.anna, &people.doctor, stage.slot(30, 60));
    let confirmed = next(&stage, &visit, |visit| visit.status = Status::Confirmed);
    let fine = by_their_doctor(&visit, HistoryAction::Change);
    let nobody: UserId = stage.id();
    let with = |reason: String| VersionCause {
        reason: Some(reason),
        ..fine.clone()
    };
    let by_nobody = VersionCause {
        user_id: nobody,
        ..fine.clone()
    };
    let as_somebody_by_nobody = VersionCause {
        impersonator_id: Some(nobody),
        ..fine.clone()
    };
    let wrong = [
        (by_nobody, Rule::UserUnknown),
        (as_somebody_by_nobody, Rule::UserUnknown),
        (with(String::new()), Rule::ValueRefused),
        (with("x".repeat(501)), Rule::ValueRefused),
    ];
    for (cause, rule) in wrong {
        assert_violates(update(&stage, &confirmed, &cause).await, rule);
        let refused = stage
            .write(async |work| work.appointments().book(&later, &cause).await)
            .await;
        assert_violates(refused, rule);
    }
}

/// Only what was done is told.
pub async fn a_change_that_is_refused_leaves_no_trace(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let same_time = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    assert_violates(stage.book(&same_time).await, Rule::DoctorDoubleBooked);
    let cause = by_their_doctor(&visit, HistoryAction::Change);
    let too_new = changed(&visit, |visit| visit.version = visit.version.next().next());
    assert_conflict(update(&stage, &too_new, &cause).await);
    let of = HistoryOf::Patient(people.anna.patient_id);
    assert_eq!(history(&stage, of).await.len(), 1);
}

async fn positions_assigned(stage: &Stage<'_>) -> Position {
    let mut connection = stage.connect().await;
    connection.history().assign_positions().await.must();
    connection.history().last_position().await.must()
}

async fn events_after(stage: &Stage<'_>, position: Position, limit: u16) -> Vec<AppointmentEvent> {
    let mut connection = stage.connect().await;
    let events = connection.history().events_after(position, limit).await;
    events.must()
}

/// Each change is told once, where the visit was and where it is, in an order that stays.
pub async fn changes_are_told_in_their_order(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let start = positions_assigned(&stage).await;
    assert_eq!(events_after(&stage, start, 10).await, []);

    let visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let moved = next(&stage, &visit, |visit| {
        visit.slot = stage.slot(60, 90);
        visit.room_free_at = visit.slot.ends_at();
        visit.doctor_id = people.other_doctor.user_id;
    });
    let cause = by_their_doctor(&visit, HistoryAction::Taken(Action::Reschedule));
    update(&stage, &moved, &cause).await.must();
    assert_eq!(events_after(&stage, start, 10).await, []);

    let last = positions_assigned(&stage).await;
    let told = events_after(&stage, start, 10).await;
    let whereabouts = |visit: &Appointment| Whereabouts {
        doctor_id: visit.doctor_id,
        slot: visit.slot,
    };
    let event =
        |position, before: Option<&Appointment>, after: &Appointment, action| AppointmentEvent {
            position,
            appointment_id: after.appointment_id,
            version: after.version,
            action,
            before: before.map(whereabouts),
            after: whereabouts(after),
        };
    let first = told.first().expect("something is told").position;
    assert!(start < first && first < last);
    let expected = [
        event(first, None, &visit, HistoryAction::Book),
        event(last, Some(&visit), &moved, cause.action),
    ];
    assert_eq!(told, expected);
    assert_eq!(events_after(&stage, start, 1).await, expected[..1]);
    assert_eq!(events_after(&stage, first, 10).await, expected[1..]);
    assert_eq!(events_after(&stage, last, 10).await, []);

    // Positions stay, and what comes later is behind.
    let again = next(&stage, &moved, |visit| {
        visit.notes = Some("Late".to_owned());
    });
    let cause = by_their_doctor(&again, HistoryAction::Change);
    update(&stage, &again, &cause).await.must();
    assert!(positions_assigned(&stage).await > last);
    assert_eq!(events_after(&stage, start, 2).await, expected);
    let told = events_after(&stage, last, 10).await;
    let expected = event(told[0].position, Some(&moved), &again, cause.action);
    assert_eq!(told, [expected]);
}

/// The versions of a visit come in their order, in its history and among what is told, even where
/// the clock of whoever made the later one was behind.
pub async fn a_later_version_comes_later_whatever_the_clocks_say(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let start = positions_assigned(&stage).await;
    let visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    stage.book(&visit).await.must();
    let booked = version(&visit, &by_their_doctor(&visit, HistoryAction::Book));
    let confirmed = next(&stage, &visit, |visit| {
        visit.status = Status::Confirmed;
        visit.updated_at = stage.at(-60);
    });
    let cause = by_their_doctor(&visit, HistoryAction::Taken(Action::Confirm));
    update(&stage, &confirmed, &cause).await.must();
    let confirmed = version(&confirmed, &cause);
    assert!(confirmed.changed_at < booked.changed_at);

    positions_assigned(&stage).await;
    let told = events_after(&stage, start, 10).await;
    let told: Vec<_> = told.iter().map(|event| event.version).collect();
    assert_eq!(told, [booked.version, confirmed.version]);
    let of = HistoryOf::Appointment(visit.appointment_id);
    assert_eq!(history(&stage, of).await, [booked, confirmed]);
}

/// What may still be taken back has no position; it gets one behind all that were given meanwhile.
pub async fn a_change_is_told_when_it_is_committed(store: &dyn Store) {
    let stage = Stage::new(store);
    let people = people(&stage).await;
    let start = positions_assigned(&stage).await;
    let visit = stage.visit(&people.anna, &people.doctor, stage.slot(0, 30));
    let booked = by_their_doctor(&visit, HistoryAction::Book);
    let mut work = store.begin().await.must();
    work.appointments().book(&visit, &booked).await.must();
    assert_eq!(positions_assigned(&stage).await, start);
    drop(work);
    assert_eq!(positions_assigned(&stage).await, start);

    stage.book(&visit).await.must();
    assert!(positions_assigned(&stage).await > start);
}
