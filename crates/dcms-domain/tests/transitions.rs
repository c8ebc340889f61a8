//! The whole grid of a visit's statuses and actions, against the table of the HTTP contract.

#![expect(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::fmt::Write;

use chrono::TimeDelta;
use dcms_domain::appointments::{Action, Appointment, AppointmentError, Status, Transition};
use dcms_domain::shared::{Change, Clock, Faults, IdSource, Instant, TimeSlot, Version};
use dcms_domain::testing::{CountingIds, FrozenClock};

fn visit(status: Status) -> Appointment {
    let ids = CountingIds::default();
    let now = FrozenClock::default().now();
    Appointment {
        appointment_id: ids.next_id().into(),
        patient_id: ids.next_id().into(),
        doctor_id: ids.next_id().into(),
        room_id: None,
        slot: TimeSlot::new(now, now + TimeDelta::minutes(30)).unwrap(),
        room_free_at: now + TimeDelta::minutes(30),
        status,
        arrived_at: None,
        seated_at: None,
        completed_at: None,
        notes: None,
        services: Vec::new(),
        overbook_reason: None,
        accepted_obstacles: Vec::new(),
        cancel_reason: None,
        version: Version::FIRST,
        created_at: now,
        updated_at: now,
    }
}

fn transition(action: Action, visit: &Appointment) -> Transition {
    match action {
        Action::Confirm => Transition::Confirm,
        Action::Arrive => Transition::Arrive,
        Action::Start => Transition::Start,
        Action::Complete => Transition::Complete,
        Action::Cancel => Transition::Cancel {
            reason: "Ill".to_owned(),
        },
        Action::NoShow => Transition::NoShow,
        Action::Reschedule => Transition::Reschedule {
            starts_at: visit.slot.starts_at() + TimeDelta::hours(1),
            ends_at: None,
            doctor_id: None,
            room_id: Change::Keep,
            overbook_reason: None,
            reason: None,
        },
    }
}

/// A row a status, a column an action: where it leads, or `-` when it is refused.
fn grid(now: impl Fn(&Appointment) -> Instant) -> String {
    let mut grid = format!("{:<11}", "from");
    for action in Action::ALL {
        write!(grid, "{:<11}", action.as_str()).unwrap();
    }
    for status in Status::ALL {
        write!(grid, "\n{:<11}", status.as_str()).unwrap();
        for action in Action::ALL {
            let visit = visit(status);
            let now = now(&visit);
            let allowed = visit.allowed_actions(now);
            let mut faults = Faults::new();
            let transition = transition(action, &visit);
            let cell = match visit.clone().after(transition, now, &mut faults) {
                Ok(next) => {
                    assert_eq!(faults, Faults::new());
                    assert_eq!(next.version, visit.version.next());
                    next.status.as_str()
                }
                Err(AppointmentError::InvalidTransition {
                    from,
                    allowed: told,
                }) => {
                    assert_eq!((from, &told), (status, &allowed));
                    "-"
                }
                Err(error) => panic!("{status:?} {action:?}: {error}"),
            };
            assert_eq!(
                allowed.contains(&action),
                cell != "-",
                "{status:?} {action:?}"
            );
            write!(grid, "{cell:<11}").unwrap();
        }
    }
    grid.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn every_action_leads_where_the_contract_says() {
    let grid = grid(|visit| visit.slot.starts_at());
    println!("{grid}");
    assert_eq!(
        grid,
        "\
from       confirm    arrive     start      complete   cancel     no_show    reschedule
scheduled  confirmed  arrived    -          -          cancelled  no_show    scheduled
confirmed  -          arrived    -          -          cancelled  no_show    scheduled
arrived    -          -          in_chair   -          cancelled  -          -
in_chair   -          -          -          completed  -          -          -
completed  -          -          -          -          -          -          -
cancelled  -          -          -          -          -          -          -
no_show    -          arrived    -          -          -          -          -
"
    );
}

#[test]
fn nobody_is_a_no_show_before_the_visit_starts() {
    let before = grid(|visit| visit.slot.starts_at() - TimeDelta::microseconds(1));
    let after = grid(|visit| visit.slot.starts_at());
    // `no_show` is the sixth column; nothing else depends on the time.
    let column = 11 * 6..11 * 7;
    for (before, after) in before.lines().zip(after.lines()).skip(1) {
        let pad = |line: &str| format!("{line:<88}");
        let (before, mut after) = (pad(before), pad(after));
        after.replace_range(column.clone(), &format!("{:<11}", "-"));
        assert_eq!(before, after);
    }
}

#[test]
fn only_cancelled_visits_and_no_shows_free_their_slot() {
    let free: Vec<&str> = Status::ALL
        .into_iter()
        .filter(|status| !status.occupies_slot())
        .map(Status::as_str)
        .collect();
    assert_eq!(free, ["cancelled", "no_show"]);
}

#[test]
fn names_lead_back_to_statuses() {
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.as_str()), Some(status));
    }
    assert_eq!(Status::from_name("Scheduled"), None);
}
