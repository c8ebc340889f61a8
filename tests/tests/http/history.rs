//! What was done to a visit: by whom, when and why.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::support::{Clinic, NOBODY, book, items, with};

const VISITS: &str = "/api/v1/appointments";

#[tokio::test]
async fn every_change_is_in_the_history_with_who_made_it_and_why() {
    let clinic = Clinic::open().await;
    let (server, desk, doctor) = (&clinic.server, &clinic.desk, &clinic.doctor);
    let other = server.user("doctor").await;
    let room = server.room("Surgery 1").await;
    let overbooked = with(
        clinic.booking("2026-12-01T09:00:00Z", "2026-12-01T09:30:00Z"),
        &json!({"overbook_reason": "In pain"}),
    );
    let visit = format!("{VISITS}/{}", book(doctor, &overbooked).await);
    let admin_as_desk = server.act_as(&desk.user_id).await;
    let changes = [
        (
            desk,
            "",
            json!({"notes": "Bring X-rays", "reason": "Asked for it"}),
        ),
        (
            desk,
            "/reschedule",
            json!({
                "starts_at": "2026-12-02T09:00:00Z", "ends_at": "2026-12-02T10:00:00Z",
                "doctor_id": other.user_id, "room_id": room, "reason": "Late",
            }),
        ),
        (desk, "/confirm", Value::Null),
        (&admin_as_desk, "/arrive", Value::Null),
        (desk, "/cancel", json!({"reason": "Had to leave"})),
    ];
    for (who, path, body) in changes {
        let path_of = format!("{visit}{path}");
        let answer = match path {
            "" => who.patch(&path_of, &body).await,
            _ if body.is_null() => who.act(&path_of).await,
            _ => who.post(&path_of, &body).await,
        };
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    let history = desk.get(&format!("{visit}/history")).await;
    let history = items(&history);
    let column = |name: &str| -> Vec<&Value> { history.iter().map(|item| &item[name]).collect() };
    assert_eq!(
        column("action"),
        [
            "book",
            "change",
            "reschedule",
            "confirm",
            "arrive",
            "cancel"
        ]
    );
    assert_eq!(column("version"), [1, 2, 3, 4, 5, 6]);
    let (desk_id, doctor_id) = (&*desk.user_id, &*doctor.user_id);
    assert_eq!(
        column("user_id"),
        [doctor_id, desk_id, desk_id, desk_id, desk_id, desk_id]
    );
    let nobody = Value::Null;
    let admin = json!(server.admin().user_id);
    let impersonators = [&nobody, &nobody, &nobody, &nobody, &admin, &nobody];
    assert_eq!(column("impersonator_id"), impersonators);
    assert_eq!(
        json!(column("reason")),
        json!([
            "In pain",
            "Asked for it",
            "Late",
            null,
            null,
            "Had to leave"
        ])
    );
    assert_eq!(
        json!(column("overbook_reason")),
        json!(["In pain", "In pain", null, null, null, null])
    );
    let other = &*other.user_id;
    assert_eq!(
        column("doctor_id"),
        [doctor_id, doctor_id, other, other, other, other]
    );
    assert_eq!(column("room_id")[1..3], [&nobody, &json!(room)]);
    assert_eq!(
        column("status"),
        [
            "scheduled",
            "scheduled",
            "scheduled",
            "confirmed",
            "arrived",
            "cancelled"
        ]
    );
    assert_eq!(column("starts_at")[1], "2026-12-01T09:00:00Z");
    assert_eq!(column("ends_at")[2], "2026-12-02T10:00:00Z");
    let times = column("changed_at");
    assert!(times.is_sorted_by_key(|time| time.as_str()), "{times:?}");
}

#[tokio::test]
async fn a_history_comes_in_pages_and_is_a_look_at_the_record() {
    let clinic = Clinic::open().await;
    let id = clinic
        .visit("2026-12-01T09:00:00Z", "2026-12-01T09:30:00Z")
        .await;
    let visit = format!("{VISITS}/{id}");
    for notes in ["One", "Two"] {
        let answer = clinic.desk.patch(&visit, &json!({"notes": notes})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut path = format!("{visit}/history?limit=1");
    let mut versions = Vec::new();
    loop {
        let page = clinic.desk.get(&path).await;
        versions.extend(items(&page).iter().map(|item| item["version"].clone()));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("{visit}/history?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(versions, [1, 2, 3]);
    let looks = clinic
        .server
        .audit(&format!("action=read&entity=appointment&entity_id={id}"))
        .await;
    assert_eq!(looks.len(), 3);

    let nothing = clinic.desk.get(&format!("{VISITS}/{NOBODY}/history")).await;
    nothing.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_change_that_is_refused_is_in_no_history() {
    let clinic = Clinic::open().await;
    let (from, to) = ("2026-12-01T09:00:00Z", "2026-12-01T09:30:00Z");
    let visit = format!("{VISITS}/{}", clinic.visit(from, to).await);
    let again = clinic.desk.post(VISITS, &clinic.booking(from, to)).await;
    again.assert_problem(409, "appointment_overlap");
    let complete = clinic.doctor.act(&format!("{visit}/complete")).await;
    complete.assert_problem(409, "invalid_transition");
    let history = clinic.desk.get(&format!("{visit}/history")).await;
    assert_eq!(items(&history).len(), 1);
    let mut connection = PgConnection::connect(clinic.server.database_url())
        .await
        .unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM appointment_history")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn the_history_of_an_anonymized_patient_gives_no_reasons() {
    let clinic = Clinic::open().await;
    let visit = with(
        clinic.booking("2026-12-01T09:00:00Z", "2026-12-01T09:30:00Z"),
        &json!({"overbook_reason": "Anna is in Oldtown for a day"}),
    );
    let visit = book(clinic.server.admin(), &visit).await;
    let visit = format!("{VISITS}/{visit}");
    let reason = json!({"reason": "Anna moved to Oldtown"});
    let cancelled = clinic.desk.post(&format!("{visit}/cancel"), &reason).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let admin = clinic.server.admin();
    let patient = format!("/api/v1/patients/{}", clinic.patient);
    let export = admin.get(&format!("{patient}/export")).await;
    let told = &export.body["appointment_history"][1]["reason"];
    assert_eq!(told, "Anna moved to Oldtown", "{export:?}");

    let asked = json!({"reason": "Asked to be forgotten"});
    let anonymized = admin.post(&format!("{patient}/anonymize"), &asked).await;
    assert_eq!(anonymized.status, 200, "{anonymized:?}");
    let history = admin.get(&format!("{visit}/history")).await;
    let told: Vec<_> = items(&history)
        .iter()
        .map(|item| (&item["action"], &item["reason"], &item["overbook_reason"]))
        .collect();
    let expected = json!([
        ["book", "redacted", "redacted"],
        ["cancel", "redacted", "redacted"],
        ["anonymize", null, "redacted"],
    ]);
    assert_eq!(json!(told), expected);
    let export = admin.get(&format!("{patient}/export")).await;
    assert!(!export.body.to_string().contains("Oldtown"), "{export:?}");
}
