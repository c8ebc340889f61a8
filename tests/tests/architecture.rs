//! Which crate may know which, and what lies at the top of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// What each crate of the workspace may know of the others, when it is built.
const ARROWS: [(&str, &[&str]); 9] = [
    ("dcms-domain", &[]),
    ("dcms-http", &["dcms-domain"]),
    ("dcms-postgres", &["dcms-domain"]),
    ("dcms-system", &["dcms-domain"]),
    ("dcms-local-postgres", &[]),
    ("dcms-seed", &["dcms-domain", "dcms-system"]),
    (
        "dcms-server",
        &[
            "dcms-domain",
            "dcms-http",
            "dcms-local-postgres",
            "dcms-postgres",
            "dcms-seed",
            "dcms-system",
        ],
    ),
    ("xtask", &["dcms-local-postgres"]),
    (
        "dcms-tests",
        &[
            "dcms-domain",
            "dcms-http",
            "dcms-local-postgres",
            "dcms-postgres",
            "dcms-seed",
            "dcms-server",
            "dcms-system",
        ],
    ),
];

/// What the tests of any crate may know besides: the domain's fakes, and a PostgreSQL to try out.
const FOR_TESTS: [&str; 2] = ["dcms-domain", "dcms-local-postgres"];

/// What the domain has nothing to do with.
const NOT_IN_THE_DOMAIN: [&str; 4] = ["tokio", "sqlx", "axum", "serde"];

/// Everything that lies at the top, besides files whose names start with a dot, and `target`.
const TOP_LEVEL: [&str; 16] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docker",
    "docs",
    "migrations",
    "rust-toolchain.toml",
    "tests",
    "xtask",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .expect("cargo metadata")
}

#[test]
fn crates_know_only_what_lies_below_them() {
    let metadata = metadata();
    let members: BTreeMap<&str, _> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(members.keys().copied().collect::<BTreeSet<_>>(), known);

    for (name, allowed) in ARROWS {
        for dependency in &members[name].dependencies {
            let other = dependency.name.as_str();
            let is_for_tests =
                dependency.kind == DependencyKind::Development && FOR_TESTS.contains(&other);
            assert!(
                !members.contains_key(other) || allowed.contains(&other) || is_for_tests,
                "{name} must not know {other}"
            );
        }
    }
}

#[test]
fn the_domain_depends_on_nothing_of_the_outside_world() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("the resolved graph");
    let domain = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name == "dcms-domain")
        .expect("dcms-domain");
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let mut reached = BTreeSet::new();
    let mut to_visit = vec![&domain.id];
    while let Some(id) = to_visit.pop() {
        if !reached.insert(id) {
            continue;
        }
        let node = resolve
            .nodes
            .iter()
            .find(|node| node.id == *id)
            .expect("a node");
        let is_linked = |dependency: &&cargo_metadata::NodeDep| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind == DependencyKind::Normal)
        };
        to_visit.extend(
            node.deps
                .iter()
                .filter(is_linked)
                .map(|dependency| &dependency.pkg),
        );
    }
    let reached: BTreeSet<&str> = reached.into_iter().map(|id| names[id]).collect();
    // The walk went somewhere.
    assert!(
        reached.contains("chrono") && reached.len() > 10,
        "{reached:?}"
    );
    for outside in NOT_IN_THE_DOMAIN {
        let found: Vec<&&str> = reached
            .iter()
            .filter(|name| **name == outside || name.starts_with(&format!("{outside}-")))
            .collect();
        assert!(found.is_empty(), "dcms-domain reaches {found:?}");
    }
}

#[test]
fn the_top_level_holds_what_a_newcomer_expects_and_no_more() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let found: BTreeSet<String> = fs::read_dir(root)
        .expect("the root")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let expected: BTreeSet<String> = TOP_LEVEL.map(str::to_owned).into();
    assert_eq!(found, expected);
}
