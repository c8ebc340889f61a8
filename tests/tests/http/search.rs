//! Finding patients.

use dcms_tests::{Client, Server};
use serde_json::json;

use crate::support::{texts, texts_of_pages, url};

const PATIENTS: &str = "/api/v1/patients";

/// First name, last name, phone, e-mail; empty is none.
const PEOPLE: [(&str, &str, &str, &str); 9] = [
    (
        "Zoë",
        "Grünwald",
        "+49 (30) 765-4321",
        "Zoe.Gruenwald@example.org",
    ),
    ("Jürgen", "Müller", "", ""),
    ("Anna", "Muller", "089/1112223", ""),
    ("Anne-Marie", "O'Neill", "", "oneill@example.com"),
    ("Łukasz", "Żółć", "", ""),
    ("Björn", "Schneider", "", ""),
    ("Half", "50% Off", "", ""),
    ("Snake", "Lower_Case", "", ""),
    ("Xaver", "Back\\Slash", "", ""),
];

/// Registers all of [`PEOPLE`].
async fn people(server: &Server) {
    for (first_name, last_name, phone, email) in PEOPLE {
        let body = json!({"first_name": first_name, "last_name": last_name});
        let id = register(server.admin(), &body).await;
        for (kind, value) in [("phone", phone), ("email", email)] {
            if !value.is_empty() {
                let body = json!({"type": kind, "value": value, "is_primary": true});
                let path = format!("{PATIENTS}/{id}/contacts");
                server.admin().create(&path, &body, "contact_id").await;
            }
        }
    }
}

async fn register(client: &Client, body: &serde_json::Value) -> String {
    client.create(PATIENTS, body, "patient_id").await
}

/// The first names of those who are found, best first.
async fn found(client: &Client, query: &str) -> Vec<String> {
    let list = client.get(&url(PATIENTS, &[("query", query)])).await;
    texts(&list, "first_name")
}

#[tokio::test]
async fn any_part_of_a_name_finds_with_or_without_case_and_accents() {
    let server = Server::start().await;
    people(&server).await;
    let cases: &[(&str, &[&str])] = &[
        // Parts: the whole, the start, the middle, the end, few letters.
        ("Grünwald", &["Zoë"]),
        ("Grünw", &["Zoë"]),
        ("ünwal", &["Zoë"]),
        ("wald", &["Zoë"]),
        ("zo", &["Zoë", "Łukasz"]),
        ("xa", &["Xaver"]),
        ("x", &["Xaver"]),
        ("Anne-Marie", &["Anne-Marie"]),
        ("O'Neill", &["Anne-Marie"]),
        // Several words, in any order, each of them part of the name.
        ("Zoë Grünwald", &["Zoë"]),
        ("grün zo", &["Zoë"]),
        ("  anne   neill ", &["Anne-Marie"]),
        // Case and accents that are missing, on either side; Unicode's other form of them.
        ("ZOË GRÜNWALD", &["Zoë"]),
        ("zoe grunwald", &["Zoë"]),
        ("zoe\u{308}", &["Zoë"]),
        ("muller", &["Jürgen", "Anna"]),
        ("Müller", &["Jürgen", "Anna"]),
        ("Jürgen Muller", &["Jürgen"]),
        ("bjorn", &["Björn"]),
        ("lukasz zolc", &["Łukasz"]),
        // Nobody.
        ("Brzęczyszczykiewicz", &[]),
        ("Anna Grünwald-Hohenstein", &[]),
    ];
    for (query, wanted) in cases {
        assert_eq!(found(server.admin(), query).await, *wanted, "{query}");
    }
}

#[tokio::test]
async fn a_slip_is_forgiven() {
    let server = Server::start().await;
    people(&server).await;
    let cases = [
        ("Grünwalt", "Zoë"),
        ("grunvald", "Zoë"),
        ("zoe grunwalt", "Zoë"),
        ("Schnieder", "Björn"),
        ("Schneidr", "Björn"),
        ("Jurgn Müller", "Jürgen"),
        ("Muler", "Jürgen"),
    ];
    for (query, wanted) in cases {
        let found = found(server.admin(), query).await;
        assert_eq!(
            found.first().map(String::as_str),
            Some(wanted),
            "{query}: {found:?}"
        );
    }
}

#[tokio::test]
async fn phone_and_email_find_however_they_are_written() {
    let server = Server::start().await;
    people(&server).await;
    let cases = [
        ("+49 (30) 765-4321", "Zoë"),
        ("+49307654321", "Zoë"),
        ("49 30 765 43 21", "Zoë"),
        ("(30) 7654321", "Zoë"),
        ("30.765.43.21", "Zoë"),
        ("7654", "Zoë"),
        ("0891112223", "Anna"),
        ("089 / 111 22 23", "Anna"),
        ("Zoe.Gruenwald@example.org", "Zoë"),
        ("zoe.gruenwald@EXAMPLE.ORG", "Zoë"),
        ("gruenwald@exam", "Zoë"),
        ("oneill@", "Anne-Marie"),
        ("example.com", "Anne-Marie"),
    ];
    for (query, wanted) in cases {
        assert_eq!(found(server.admin(), query).await, [wanted], "{query}");
    }
    assert_eq!(
        found(server.admin(), "+49 30 999 9999").await,
        [] as [&str; 0]
    );
}

#[tokio::test]
async fn the_register_number_finds_its_patient() {
    let server = Server::start().await;
    people(&server).await;
    let everybody = server.admin().get(PATIENTS).await;
    let numbers = texts(&everybody, "register_number");
    for (number, (first_name, ..)) in numbers.iter().zip(PEOPLE) {
        assert_eq!(
            found(server.admin(), number).await,
            [first_name],
            "{number}"
        );
        let lower = number.to_lowercase();
        assert_eq!(found(server.admin(), &lower).await, [first_name], "{lower}");
    }
}

#[tokio::test]
async fn wildcards_are_plain_text() {
    let server = Server::start().await;
    people(&server).await;
    // Each with the one person who may be found, and whether they must be.
    let cases = [
        ("50% off", "Half", true),
        ("50%", "Half", true),
        ("Lower_Case", "Snake", true),
        ("Back\\Slash", "Xaver", true),
        ("%", "Half", false),
        ("%%%", "Half", false),
        ("_", "Snake", false),
        ("\\", "Xaver", false),
        ("Gr_nwald%", "Zoë", false),
        ("G%d", "", false),
        ("B%n", "", false),
        ("gruenwald%example", "", false),
        ("oneill_example", "", false),
        ("oneill.example", "", false),
        ("[a-z]+", "", false),
        (".*", "", false),
        ("zoe | muller", "", false),
        ("zoe:*", "Zoë", false),
        ("!zoe", "Zoë", false),
        ("x' OR true --", "", false),
    ];
    for (query, whom, must) in cases {
        let found = found(server.admin(), query).await;
        assert!(
            found == [whom] || (!must && found.is_empty()),
            "{query}: {found:?}"
        );
    }
}

#[tokio::test]
async fn better_matches_come_first() {
    let server = Server::start().await;
    // Registered worst first, so that the order is not that of registration.
    let names = ["Grünwalder", "Neugrünwald", "Grünwalt", "Grünwald"];
    for name in names {
        register(
            server.admin(),
            &json!({"first_name": name, "last_name": "Xu"}),
        )
        .await;
    }
    let found = found(server.admin(), "grunwald").await;
    let place = |name: &str| {
        let place = found.iter().position(|found| found == name);
        place.unwrap_or_else(|| panic!("{name} was not found: {found:?}"))
    };
    assert!(place("Grünwald") < place("Neugrünwald"), "{found:?}");
    assert!(place("Neugrünwald") < place("Grünwalt"), "{found:?}");
    assert!(place("Grünwalder") < place("Grünwalt"), "{found:?}");
}

#[tokio::test]
async fn blank_finds_everybody_in_the_order_of_registration() {
    let server = Server::start().await;
    people(&server).await;
    let everybody = PEOPLE.map(|(first_name, ..)| first_name);
    for query in ["", "  "] {
        assert_eq!(found(server.admin(), query).await, everybody);
    }
    let list = server.admin().get(PATIENTS).await;
    assert_eq!(texts(&list, "first_name"), everybody);
}

#[tokio::test]
async fn who_is_archived_is_found_when_asked_for() {
    let server = Server::start().await;
    let admin = server.admin();
    for name in ["Here", "Gone"] {
        let id = register(admin, &json!({"first_name": name, "last_name": "Grünwald"})).await;
        if name == "Gone" {
            let archived = admin.act(&format!("{PATIENTS}/{id}/archive")).await;
            assert_eq!(archived.status, 200, "{archived:?}");
        }
    }
    for query in ["", "grunwald"] {
        let found = async |archived| {
            let list = url(PATIENTS, &[("query", query), ("archived", archived)]);
            texts(&admin.get(&list).await, "first_name")
        };
        assert_eq!(found("true").await, ["Gone"]);
        assert_eq!(found("false").await, ["Here"]);
    }
    let answer = admin.get(&format!("{PATIENTS}?archived=maybe")).await;
    answer.assert_problem(400, "malformed_request");
}

#[tokio::test]
async fn pages_neither_repeat_nor_miss_anybody_while_others_are_added() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut wanted = Vec::new();
    for number in 0..7 {
        let name = format!("Grün {number}");
        register(admin, &json!({"first_name": name, "last_name": "Wald"})).await;
        wanted.push(name);
    }
    for path in [
        PATIENTS.to_owned(),
        url(PATIENTS, &[("query", "grun wald")]),
    ] {
        let add = async || {
            register(
                admin,
                &json!({"first_name": "Grün new", "last_name": "Wald"}),
            )
            .await;
        };
        let mut found = texts_of_pages(admin, &path, 3, "first_name", add).await;
        found.retain(|name| name != "Grün new");
        assert_eq!(found, wanted, "{path}");
    }
}

#[tokio::test]
async fn pages_of_a_search_are_the_whole_in_its_order() {
    let server = Server::start().await;
    people(&server).await;
    for query in ["", "e", "muller", "gruenwald"] {
        let path = url(PATIENTS, &[("query", query)]);
        let whole = texts(&server.admin().get(&path).await, "patient_id");
        for limit in [1, 2, 200] {
            let pages = texts_of_pages(server.admin(), &path, limit, "patient_id", async || {});
            assert_eq!(pages.await, whole, "{query}, {limit}");
        }
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused() {
    let server = Server::start().await;
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "cursor=x",
        "cursor=AAAA",
    ] {
        let answer = server.admin().get(&format!("{PATIENTS}?{query}")).await;
        answer.assert_problem(400, "malformed_request");
    }
    let long = "x".repeat(10_000);
    let answer = server
        .admin()
        .get(&format!("{PATIENTS}?query={long}"))
        .await;
    answer.assert_faults(&["/query"]);
}
