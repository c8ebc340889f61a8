//! A clinic's day, from the first log-in to a paid invoice.

use dcms_tests::Server;
use serde_json::json;

#[tokio::test]
async fn a_patient_is_registered_booked_treated_invoiced_and_pays_in_two_parts() {
    let server = Server::start().await;
    let manager = server.user("manager").await;
    let desk = server.user("receptionist").await;
    let doctor = server.user("doctor").await;
    let crown = json!({"code": "D2740", "name": "Crown", "current_price_cents": 45_000});
    let crown = manager
        .create("/api/v1/services", &crown, "service_id")
        .await;
    let room = manager
        .create("/api/v1/rooms", &json!({"name": "Room 1"}), "room_id")
        .await;

    // The front desk registers a patient and books a visit.
    let zoe = json!({"first_name": "Zoë", "last_name": "Grünwald", "birthday": "1990-05-17"});
    let zoe = desk.create("/api/v1/patients", &zoe, "patient_id").await;
    let visit = json!({
        "patient_id": zoe, "doctor_id": doctor.user_id, "room_id": room,
        "starts_at": "2030-01-07T09:00:00+01:00", "ends_at": "2030-01-07T09:30:00+01:00",
        "services": [{"service_id": crown, "qty": 2}],
    });
    let visit_id = desk
        .create("/api/v1/appointments", &visit, "appointment_id")
        .await;

    // Nobody can book over it.
    let other = json!({
        "patient_id": server.patient().await, "doctor_id": doctor.user_id,
        "starts_at": "2030-01-07T09:15:00+01:00", "ends_at": "2030-01-07T09:45:00+01:00",
    });
    let refused = desk.post("/api/v1/appointments", &other).await;
    refused.assert_problem(409, "appointment_overlap");
    assert_eq!(refused.text("/resource"), "doctor");

    // The visit moves through its day.
    let steps = [
        (&desk, "confirm", "confirmed"),
        (&desk, "arrive", "arrived"),
        (&doctor, "start", "in_chair"),
        (&doctor, "complete", "completed"),
    ];
    for (who, action, status) in steps {
        let path = format!("/api/v1/appointments/{visit_id}/{action}");
        let answer = who.act(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text("/status"), status);
    }

    // It is invoiced from the catalog, and issued.
    let draft = json!({"patient_id": zoe, "appointment_id": visit_id, "from_appointment": true});
    let draft = desk.post("/api/v1/invoices", &draft).await;
    assert_eq!(draft.status, 201, "{draft:?}");
    assert_eq!(draft.text("/status"), "draft");
    assert_eq!(draft.number("/total_cents"), 90_000);
    let invoice = format!("/api/v1/invoices/{}", draft.text("/invoice_id"));
    let issued = desk.act(&format!("{invoice}/issue")).await;
    assert_eq!(issued.text("/status"), "issued");
    assert_ne!(issued.text("/invoice_number"), "");

    // Two part payments pay it.
    let payments = format!("{invoice}/payments");
    let first = json!({"amount_cents": 40_000, "method": "cash"});
    let first = desk.post(&payments, &first).await;
    assert_eq!(first.text("/invoice/status"), "partially_paid");
    let second = json!({"amount_cents": 50_000, "method": "card"});
    let second = desk.post(&payments, &second).await;
    assert_eq!(second.text("/invoice/status"), "paid");

    let seen = doctor.get(&invoice).await;
    assert_eq!(seen.text("/status"), "paid");
    assert_eq!(seen.number("/paid_cents"), 90_000);
    assert_eq!(seen.number("/balance_cents"), 0);
}
