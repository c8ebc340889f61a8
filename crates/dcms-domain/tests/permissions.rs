//! The permission matrix, against the table of the HTTP contract.

use dcms_domain::access::{Actor, Forbidden, MATRIX, Origin, Permission, Role, Roles};
use dcms_domain::shared::{IdSource, UserId};
use dcms_domain::testing::CountingIds;

/// Typed from the contract: `x` may, `own` may where the thing is their own, `-` may not. Behind the
/// roles: with a password that somebody else has set, and for an admin who acts as somebody else.
const CONTRACT: &str = "
                         admin manager doctor receptionist first impersonated
UseOwnAccount            x     x       x      x            x     x
ChangeOwnPassword        x     x       x      x            x     -
ManageOwnSessions        x     x       x      x            -     -
ManageUsers              x     -       -      -            -     -
ReadAudit                x     -       -      -            -     x
ReadAccesses             x     x       -      -            -     x
ReadClinic               x     x       x      x            -     x
ChangeClinic             x     x       -      -            -     -
ReadPatients             x     x       x      x            -     x
ChangePatients           x     x       x      x            -     x
DeletePatients           x     x       -      -            -     x
ExportPatients           x     x       -      -            -     x
AnonymizePatients        x     -       -      -            -     -
ReadAppointments         x     x       x      x            -     x
ScheduleAppointments     x     x       own    x            -     x
TreatAppointments        x     x       own    -            -     x
Overbook                 x     x       own    -            -     x
ReadBilling              x     x       x      x            -     x
Bill                     x     x       -      x            -     -
Reverse                  x     x       -      -            -     -
";

fn actor(ids: &CountingIds, roles: &[Role]) -> Actor {
    Actor {
        user_id: ids.next_id().into(),
        session_id: ids.next_id().into(),
        roles: roles.iter().copied().collect(),
        must_change_password: false,
        impersonator_id: None,
        origin: Origin::default(),
    }
}

/// Somebody else has set the actor's password.
fn first(actor: Actor) -> Actor {
    Actor {
        must_change_password: true,
        ..actor
    }
}

/// An admin acts as the actor.
fn impersonated(ids: &CountingIds, actor: Actor) -> Actor {
    Actor {
        impersonator_id: Some(ids.next_id().into()),
        ..actor
    }
}

/// What the actor may, asked in each way there is. What they may not, they may not for `reason`.
fn cell(
    ids: &CountingIds,
    actor: &Actor,
    permission: Permission,
    reason: Forbidden,
) -> &'static str {
    let somebody_else: UserId = ids.next_id().into();
    let answers = [
        actor.require(permission),
        actor.require_for(permission, somebody_else),
        actor.require_for(permission, actor.user_id),
        actor.require_some(permission),
    ];
    for answer in answers {
        assert!(
            matches!(answer, Ok(())) || answer == Err(reason),
            "{permission:?}: {answer:?}"
        );
    }
    match answers.map(|answer| answer.is_ok()) {
        [true, true, true, true] => "x",
        [false, false, true, true] => "own",
        [false, false, false, false] => "-",
        answers => panic!("{permission:?}: {answers:?} contradict each other"),
    }
}

#[test]
fn each_role_may_what_the_contract_says() {
    let ids = CountingIds::default();
    let mut lines = CONTRACT.trim().lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header[..4], Role::ALL.map(Role::as_str));
    assert_eq!(header[4..], ["first", "impersonated"]);
    let mut seen = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let row = MATRIX
            .into_iter()
            .find(|row| format!("{:?}", row.permission) == cells[0])
            .unwrap();
        let permission = row.permission;
        assert_eq!(*permission.row(), row);
        let mut actual: Vec<&str> = Role::ALL
            .into_iter()
            .map(|role| cell(&ids, &actor(&ids, &[role]), permission, Forbidden::Role))
            .collect();
        // An admin may everything that the other two columns do not forbid.
        let admin = actor(&ids, &[Role::Admin]);
        let reason = Forbidden::PasswordChangeRequired;
        actual.push(cell(&ids, &first(admin.clone()), permission, reason));
        let admin = impersonated(&ids, admin);
        actual.push(cell(&ids, &admin, permission, Forbidden::Impersonated));
        assert_eq!(actual, cells[1..], "{permission:?}");
        seen.push(format!("{permission:?}"));
    }
    // No permission is left out, none has two rows.
    let mut rows: Vec<String> = MATRIX
        .iter()
        .map(|row| format!("{:?}", row.permission))
        .collect();
    rows.sort();
    seen.sort();
    assert_eq!(seen, rows);
    rows.dedup();
    assert_eq!(rows.len(), MATRIX.len());
}

#[test]
fn each_permission_is_told_in_words_of_its_own() {
    let mut words: Vec<&str> = MATRIX.iter().map(|row| row.what).collect();
    assert!(words.iter().all(|words| !words.trim().is_empty()));
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), MATRIX.len());
}

#[test]
fn neither_the_first_password_nor_impersonation_adds_to_what_the_roles_allow() {
    let ids = CountingIds::default();
    for row in MATRIX {
        for role in Role::ALL {
            let allowed = actor(&ids, &[role]).require_some(row.permission);
            for restricted in [
                first(actor(&ids, &[role])),
                impersonated(&ids, actor(&ids, &[role])),
            ] {
                let answer = restricted.require_some(row.permission);
                assert!(answer.is_err() || allowed.is_ok(), "{row:?} {role}");
            }
        }
    }
}

#[test]
fn the_password_comes_before_everything_else_that_is_forbidden() {
    let ids = CountingIds::default();
    let actor = impersonated(&ids, first(actor(&ids, &[Role::Receptionist])));
    for (permission, expected) in [
        (Permission::Reverse, Err(Forbidden::PasswordChangeRequired)),
        (Permission::ChangeOwnPassword, Err(Forbidden::Impersonated)),
        (Permission::UseOwnAccount, Ok(())),
    ] {
        assert_eq!(actor.require(permission), expected, "{permission:?}");
    }
}

#[test]
fn the_best_of_several_roles_counts() {
    let ids = CountingIds::default();
    let both = actor(&ids, &[Role::Doctor, Role::Receptionist]);
    let cell = |permission| cell(&ids, &both, permission, Forbidden::Role);
    assert_eq!(cell(Permission::ScheduleAppointments), "x");
    assert_eq!(cell(Permission::TreatAppointments), "own");
    assert_eq!(cell(Permission::Bill), "x");
    assert_eq!(cell(Permission::Reverse), "-");
}

#[test]
fn nobody_may_anything_without_a_role() {
    let ids = CountingIds::default();
    for row in MATRIX {
        let nobody = actor(&ids, &[]);
        assert_eq!(cell(&ids, &nobody, row.permission, Forbidden::Role), "-");
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
