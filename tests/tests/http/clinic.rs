//! The clinic's settings, its rooms and its doctors.

use dcms_tests::Server;
use serde_json::{Value, json};

use crate::support::NOBODY;
use crate::world::World;

const CLINIC: &str = "/api/v1/clinic";
const ROOMS: &str = "/api/v1/rooms";

#[tokio::test]
async fn settings_are_changed_and_read() {
    let server = Server::start().await;
    let wanted = json!({
        "clinic_name": "Lindenhof",
        "time_zone": "Europe/Berlin",
        "address": "Lindenstraße 12\n10969 Berlin",
        "phone": "+49 30 5550100",
        "email": "desk@lindenhof.example",
        "currency": "CHF",
        "default_slot_minutes": 20,
    });
    let changed = server.admin().patch(CLINIC, &wanted).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&changed.body[name], value, "{name}");
    }
    let mut expected = server.admin().get(CLINIC).await.body;
    // Its zone was changed.
    expected["conflicts"] = json!([]);
    expected["more_conflicts"] = json!(false);
    assert_eq!(changed.body, expected);
    let me = server.admin().get("/api/v1/auth/me").await;
    assert_eq!(me.text("/clinic_name"), "Lindenhof");
}

#[tokio::test]
async fn null_clears_what_may_be_absent_and_nothing_else() {
    let server = Server::start().await;
    let full = json!({"address": "Here 1", "phone": "030 123", "email": "a@example.org"});
    assert_eq!(server.admin().patch(CLINIC, &full).await.status, 200);
    for name in ["address", "phone", "email"] {
        let mut expected = server.admin().get(CLINIC).await.body;
        let answer = server.admin().patch(CLINIC, &json!({name: null})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        expected[name] = Value::Null;
        assert_eq!(answer.body, expected);
    }
    let nulls = json!({
        "clinic_name": null, "time_zone": null, "currency": null, "default_slot_minutes": null,
    });
    let answer = server.admin().patch(CLINIC, &nulls).await;
    answer.assert_faults(&[
        "/clinic_name",
        "/currency",
        "/default_slot_minutes",
        "/time_zone",
    ]);
}

#[tokio::test]
async fn every_fault_of_the_settings_is_said_at_once() {
    let server = Server::start().await;
    let before = server.admin().get(CLINIC).await.body;
    let wanted = json!({
        "clinic_name": "",
        "time_zone": "Berlin",
        "address": "",
        "phone": "call me",
        "email": "nobody",
        "currency": "euro",
        "default_slot_minutes": 4,
    });
    let answer = server.admin().patch(CLINIC, &wanted).await;
    answer.assert_faults(&[
        "/address",
        "/clinic_name",
        "/currency",
        "/default_slot_minutes",
        "/email",
        "/phone",
        "/time_zone",
    ]);
    assert_eq!(server.admin().get(CLINIC).await.body, before);
}

#[tokio::test]
async fn the_currency_is_frozen_once_an_invoice_is_issued() {
    let server = Server::start().await;
    let mut world = World::new(&server, "currency", server.admin());
    let draft = world.resolve("/api/v1/invoices/{draft}").await;
    // A draft does not freeze it, and is issued in the currency that holds then.
    let dollars = json!({"currency": "USD"});
    assert_eq!(server.admin().patch(CLINIC, &dollars).await.status, 200);
    let issued = server.admin().act(&format!("{draft}/issue")).await;
    assert_eq!(issued.text("/currency"), "USD");

    let francs = json!({"currency": "CHF", "clinic_name": "Other"});
    let answer = server.admin().patch(CLINIC, &francs).await;
    answer.assert_problem(409, "in_use");
    let clinic = server.admin().get(CLINIC).await;
    assert_eq!(clinic.text("/currency"), "USD");
    assert_ne!(clinic.text("/clinic_name"), "Other");
    // The same currency is no change, and the rest still may change.
    let same = json!({"currency": "USD", "clinic_name": "Other"});
    assert_eq!(server.admin().patch(CLINIC, &same).await.status, 200);
}

#[tokio::test]
async fn a_room_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    let made = server
        .admin()
        .post(ROOMS, &json!({"name": " Room 1 "}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.text("/name"), "Room 1");
    assert_eq!(made.body["is_active"], json!(true));
    let path = format!("{ROOMS}/{}", made.text("/room_id"));
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(server.admin().get(&path).await.body, made.body);

    let wanted = json!({"name": "Surgery", "is_active": false});
    let changed = server.admin().patch(&path, &wanted).await;
    assert_eq!(changed.text("/name"), "Surgery");
    assert_eq!(changed.body["is_active"], json!(false));
    let read = server.admin().get(&path).await;
    let list = server.admin().get(ROOMS).await;
    assert_eq!(list.body["items"], json!([read.body]));

    assert_eq!(server.admin().delete(&path).await.status, 204);
    let list = server.admin().get(ROOMS).await;
    assert_eq!(list.body, json!({"items": [], "next_cursor": null}));
    for missing in [path.as_str(), &format!("{ROOMS}/{NOBODY}")] {
        let admin = server.admin();
        let answers = [
            admin.get(missing).await,
            admin.patch(missing, &wanted).await,
            admin.delete(missing).await,
        ];
        for answer in answers {
            answer.assert_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn the_name_of_a_room_is_taken_whatever_its_case() {
    let server = Server::start().await;
    server.room("Room 1").await;
    let other = server.room("Room 2").await;
    let name = json!({"name": "ROOM 1"});
    let answers = [
        server.admin().post(ROOMS, &name).await,
        server
            .admin()
            .patch(&format!("{ROOMS}/{other}"), &name)
            .await,
    ];
    for answer in answers {
        answer.assert_problem(409, "already_exists");
        assert_eq!(answer.text("/field"), "name");
    }
    let faults = server.admin().post(ROOMS, &json!({"name": "\t"})).await;
    faults.assert_faults(&["/name"]);
}

#[tokio::test]
async fn a_room_that_was_booked_stays() {
    let server = Server::start().await;
    let doctor = server.user("doctor").await;
    let room = server.room("Room 1").await;
    let visit = json!({
        "patient_id": server.patient().await,
        "doctor_id": doctor.user_id,
        "room_id": room,
        "starts_at": "2026-03-02T09:00:00Z",
        "ends_at": "2026-03-02T10:00:00Z",
    });
    let visit = server
        .admin()
        .create("/api/v1/appointments", &visit, "appointment_id")
        .await;
    let path = format!("{ROOMS}/{room}");
    let refused = server.admin().delete(&path).await;
    refused.assert_problem(409, "in_use");
    // Also when the visit was called off: its history still names the room.
    let cancel = format!("/api/v1/appointments/{visit}/cancel");
    let answer = server
        .admin()
        .post(&cancel, &json!({"reason": "Ill"}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = server.admin().delete(&path).await;
    refused.assert_problem(409, "in_use");
    assert_eq!(server.admin().get(&path).await.status, 200);
}

#[tokio::test]
async fn doctors_are_the_active_users_with_the_role() {
    let server = Server::start().await;
    let first = server.make_user("first", &["doctor"]).await;
    let second = server.make_user("second", &["manager", "doctor"]).await;
    server.make_user("third", &["receptionist"]).await;
    let disabled = server.make_user("fourth", &["doctor"]).await;
    let path = format!("/api/v1/admin/users/{disabled}");
    let disable = json!({"is_active": false});
    assert_eq!(server.admin().patch(&path, &disable).await.status, 200);
    let doctors = server.admin().get("/api/v1/doctors").await;
    let expected = json!([
        {"doctor_id": first, "display_name": "The first", "usual_room_id": null},
        {"doctor_id": second, "display_name": "The second", "usual_room_id": null},
    ]);
    assert_eq!(
        doctors.body,
        json!({"items": expected, "next_cursor": null})
    );
}
