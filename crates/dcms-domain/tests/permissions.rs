//! The permission matrix, against the table of the HTTP contract.

use dcms_domain::access::{Actor, MATRIX, Permission, Role, Roles};
use dcms_domain::shared::{IdSource, UserId};
use dcms_domain::testing::CountingIds;

/// Typed from the contract: `x` may, `own` may where the thing is their own, `-` may not.
const CONTRACT: &str = "
                         admin manager doctor receptionist
ManageUsers              x     -       -      -
ChangeClinic             x     x       -      -
ReadClinic               x     x       x      x
ChangePatients           x     x       x      x
DeletePatients           x     x       -      -
ScheduleAppointments     x     x       own    x
TreatAppointments        x     x       own    -
Overbook                 x     x       own    -
Bill                     x     x       -      x
ReadBilling              x     x       x      x
Reverse                  x     x       -      -
";

/// What the contract does not restrict: everybody may.
const UNRESTRICTED: [Permission; 3] = [
    Permission::UseOwnAccount,
    Permission::ReadPatients,
    Permission::ReadAppointments,
];

fn actor(ids: &CountingIds, roles: &[Role]) -> Actor {
    Actor {
        user_id: ids.next_id().into(),
        session_id: ids.next_id().into(),
        roles: roles.iter().copied().collect(),
    }
}

/// What the actor may, asked in each way there is.
fn cell(ids: &CountingIds, actor: &Actor, permission: Permission) -> &'static str {
    let somebody_else: UserId = ids.next_id().into();
    let always = actor.require(permission).is_ok();
    let for_others = actor.require_for(permission, somebody_else).is_ok();
    let for_own = actor.require_for(permission, actor.user_id).is_ok();
    let for_some = actor.require_some(permission).is_ok();
    match (always, for_others, for_own, for_some) {
        (true, true, true, true) => "x",
        (false, false, true, true) => "own",
        (false, false, false, false) => "-",
        answers => panic!("{permission:?}: {answers:?} contradict each other"),
    }
}

#[test]
fn each_role_may_what_the_contract_says() {
    let ids = CountingIds::default();
    let mut lines = CONTRACT.trim().lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, Role::ALL.map(Role::as_str));
    let mut seen = Vec::from(UNRESTRICTED);
    for line in lines {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (permission, _) = MATRIX
            .into_iter()
            .find(|(permission, _)| format!("{permission:?}") == cells[0])
            .unwrap();
        for (role, expected) in Role::ALL.into_iter().zip(&cells[1..]) {
            let actor = actor(&ids, &[role]);
            let actual = cell(&ids, &actor, permission);
            assert_eq!(actual, *expected, "{permission:?} {role}");
        }
        seen.push(permission);
    }
    // No permission is left out, none has two rows.
    let mut rows = MATRIX.map(|(permission, _)| format!("{permission:?}"));
    let mut seen: Vec<String> = seen.iter().map(|seen| format!("{seen:?}")).collect();
    rows.sort();
    seen.sort();
    assert_eq!(seen, rows);
}

#[test]
fn everybody_may_what_the_contract_leaves_open() {
    let ids = CountingIds::default();
    for permission in UNRESTRICTED {
        for role in Role::ALL {
            assert_eq!(cell(&ids, &actor(&ids, &[role]), permission), "x");
        }
    }
}

#[test]
fn the_best_of_several_roles_counts() {
    let ids = CountingIds::default();
    let both = actor(&ids, &[Role::Doctor, Role::Receptionist]);
    assert_eq!(cell(&ids, &both, Permission::ScheduleAppointments), "x");
    assert_eq!(cell(&ids, &both, Permission::TreatAppointments), "own");
    assert_eq!(cell(&ids, &both, Permission::Bill), "x");
    assert_eq!(cell(&ids, &both, Permission::Reverse), "-");
}

#[test]
fn nobody_may_anything_without_a_role() {
    let ids = CountingIds::default();
    for (permission, _) in MATRIX {
        assert_eq!(cell(&ids, &actor(&ids, &[]), permission), "-");
    }
}

#[test]
fn a_set_of_roles_holds_what_was_put_in() {
    let roles = Roles::from_iter([Role::Receptionist, Role::Admin, Role::Admin]);
    assert!(!roles.is_empty());
    assert!(Roles::default().is_empty());
    let listed: Vec<Role> = roles.iter().collect();
    assert_eq!(listed, [Role::Admin, Role::Receptionist]);
    for role in Role::ALL {
        assert_eq!(roles.contains(role), listed.contains(&role));
        assert_eq!(Role::from_name(role.as_str()), Some(role));
    }
    assert_eq!(Role::from_name("root"), None);
}
