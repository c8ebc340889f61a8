//! What each operation asks of the permission matrix, and the page that tells it.

use std::fmt::Write as _;

use dcms_domain::access::{Grant, MATRIX, Permission, Role, Row};
use utoipa::openapi::path::Operation;

use crate::openapi::{openapi, operations_of};
use crate::problem::Code;

/// The extension in which a handler names what its service asks the permission matrix for.
const PERMISSION: &str = "x-permission";

const INTRODUCTION: &str = "\
# Permissions

Who may do what. This page is printed by `cargo xtask permissions` from the permission matrix in
`crates/dcms-domain/src/access.rs`, which every service asks, and from the operations of the API,
each of which names the permission that its service asks for. Somebody who has several roles may do
what any of them may.

`yes`: always. `own`: only where the appointment is the doctor's own. `-`: not at all. The last two
columns take away from what the roles allow: with a password that somebody else has set and that was
not changed yet, and in a session in which an admin acts as somebody else.
";

/// What an operation asks of its caller; nothing when it is public.
///
/// # Panics
/// When it is neither public nor names its permission, or both: no document is made of that.
pub(crate) fn permission_of(operation: &Operation) -> Option<Permission> {
    let extensions = operation.extensions.as_ref();
    let name = extensions.and_then(|extensions| extensions.get(PERMISSION)?.as_str());
    match (is_public(operation), name) {
        (true, None) => None,
        (false, Some(name)) => {
            let permission = Permission::from_name(name);
            Some(permission.unwrap_or_else(|| panic!("there is no permission {name}")))
        }
        (is_public, name) => {
            let id = operation.operation_id.as_deref().unwrap_or_default();
            panic!("{id} is public: {is_public}, and asks for the permission {name:?}")
        }
    }
}

/// Whether an operation needs no log-in.
pub(crate) fn is_public(operation: &Operation) -> bool {
    operation.security.as_ref().is_some_and(Vec::is_empty)
}

/// The refusals that an operation with this row can end in.
pub(crate) fn refusals_of(row: &Row) -> impl Iterator<Item = Code> {
    let is_for_all = row.impersonated && row.grants.iter().all(|grant| *grant == Grant::Always);
    let forbidden = (!is_for_all).then_some(Code::Forbidden);
    let change_first = (!row.before_password_change).then_some(Code::PasswordChangeRequired);
    forbidden.into_iter().chain(change_first)
}

/// Who may do it, in a line.
pub(crate) fn allowed_to(row: &Row) -> String {
    let with = |wanted: Grant, mark: &str| {
        let cells = Role::ALL.into_iter().zip(row.grants);
        let roles = cells.filter(|(_, grant)| *grant == wanted);
        let names: Vec<String> = roles.map(|(role, _)| format!("{role}{mark}")).collect();
        names.join(", ")
    };
    let groups = [with(Grant::Always, ""), with(Grant::Own, " (own)")];
    let groups: Vec<String> = groups
        .into_iter()
        .filter(|group| !group.is_empty())
        .collect();
    format!("Allowed to: {}.", groups.join("; "))
}

/// The permission matrix and the permission of every operation, as a page in Markdown.
#[must_use]
pub fn permissions_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for line in matrix().into_iter().chain(operations()) {
        // Writing to a text cannot fail.
        let _ = writeln!(page, "{line}");
    }
    page
}

fn matrix() -> Vec<String> {
    let roles = Role::ALL.map(Role::as_str).join(" | ");
    let mut lines = vec![
        "\n## The matrix\n".to_owned(),
        format!(
            "| permission | what | {roles} | before the password is changed | while acting as somebody else |"
        ),
        format!("|{}", " --- |".repeat(Role::ALL.len() + 4)),
    ];
    let flag = |may: bool| if may { "yes" } else { "-" };
    lines.extend(MATRIX.iter().map(|row| {
        let cell = |grant: Grant| match grant {
            Grant::Never => "-",
            Grant::Own => "own",
            Grant::Always => "yes",
        };
        format!(
            "| `{}` | {} | {} | {} | {} |",
            row.permission.as_str(),
            row.what,
            row.grants.map(cell).join(" | "),
            flag(row.before_password_change),
            flag(row.impersonated),
        )
    }));
    lines
}

fn operations() -> Vec<String> {
    let mut lines = vec![
        "\n## The operations\n".to_owned(),
        "| operation | permission |".to_owned(),
        "| --- | --- |".to_owned(),
    ];
    lines.extend(operations_of(&openapi()).map(|(method, path, operation)| {
        let permission = match permission_of(operation) {
            Some(permission) => format!("`{}`", permission.as_str()),
            None => "public".to_owned(),
        };
        format!("| `{method} {path}` | {permission} |")
    }));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use utoipa::openapi::extensions::Extensions;
    use utoipa::openapi::path::OperationBuilder;
    use utoipa::openapi::security::SecurityRequirement;

    use super::*;

    fn operation(is_public: bool, permission: Option<&str>) -> Operation {
        let mut operation = OperationBuilder::new().build();
        operation.security = is_public.then(Vec::<SecurityRequirement>::new);
        operation.extensions = permission.map(|name| {
            let name = Value::from(name);
            Extensions::from_iter([(PERMISSION.to_owned(), name)])
        });
        operation
    }

    #[test]
    fn an_operation_is_public_or_names_its_permission() {
        assert_eq!(permission_of(&operation(true, None)), None);
        let reads = operation(false, Some("read_patients"));
        assert_eq!(permission_of(&reads), Some(Permission::ReadPatients));
    }

    #[test]
    #[should_panic(expected = "is public: false, and asks for the permission None")]
    fn an_operation_without_a_permission_makes_no_document() {
        permission_of(&operation(false, None));
    }

    #[test]
    #[should_panic(expected = "is public: true, and asks for the permission Some")]
    fn a_public_operation_asks_for_nothing() {
        permission_of(&operation(true, Some("read_patients")));
    }

    #[test]
    #[should_panic(expected = "there is no permission read_minds")]
    fn an_operation_cannot_ask_for_what_the_matrix_lacks() {
        permission_of(&operation(false, Some("read_minds")));
    }

    #[test]
    fn who_may_is_said_in_a_line() {
        let line = |permission: Permission| allowed_to(permission.row());
        assert_eq!(line(Permission::ManageUsers), "Allowed to: admin.");
        assert_eq!(
            line(Permission::TreatAppointments),
            "Allowed to: admin, manager; doctor (own)."
        );
    }

    #[test]
    fn the_committed_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == permissions_page(),
            "docs/permissions.md is stale; run: cargo xtask permissions"
        );
    }
}
