//! How many statements a request costs. A process of its own: which spans and events are on is
//! settled once for all threads, so tests that run beside it could turn them off.

use std::io::Write;
use std::sync::{Arc, Mutex};

use dcms_tests::{Client, Server};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The statements of requests since the last time, without those of background work.
    fn statements(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().expect("nobody panicked"));
        let text = String::from_utf8(bytes).expect("text");
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events
            .filter(|event| event["target"] == "sqlx::query")
            .filter(|event| event["span"]["name"] == "request")
            .map(|event| event["fields"]["summary"].to_string())
            .collect()
    }
}

async fn read(client: &Client, path: &str) {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// One statement for the thing itself, and one for the zone when a day is meant; none for the
/// session, and none for the audit log.
#[tokio::test]
async fn a_read_asks_for_what_it_shows_and_nothing_else() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new("info,sqlx::query=debug"))
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let admin = server.admin();
    let doctor = server.user("doctor").await.user_id;
    let patient = server.patient().await;
    let body = json!({
        "patient_id": patient,
        "doctor_id": doctor,
        "starts_at": "2030-01-07T09:00:00Z",
        "ends_at": "2030-01-07T10:00:00Z",
    });
    let visit = admin
        .create("/api/v1/appointments", &body, "appointment_id")
        .await;
    let body = json!({"patient_id": patient, "items": []});
    let invoice = admin.create("/api/v1/invoices", &body, "invoice_id").await;

    let reads = [
        (format!("/patients/{patient}"), 1),
        ("/patients?query=anna".to_owned(), 1),
        (format!("/appointments/{visit}"), 1),
        (
            format!("/appointments?doctor_id={doctor}&date=2030-01-07"),
            2,
        ),
        (format!("/invoices/{invoice}"), 1),
        ("/services?query=x".to_owned(), 1),
        ("/clinic".to_owned(), 1),
    ];
    for (path, expected) in reads {
        let path = format!("/api/v1{path}");
        // On a machine that is so busy that a second passes between two reads, the session has to
        // be looked up again: then another pair tells.
        let mut statements = Vec::new();
        for _ in 0..10 {
            read(admin, &path).await;
            log.statements();
            read(admin, &path).await;
            statements = log.statements();
            if statements.len() == expected {
                break;
            }
        }
        assert_eq!(statements.len(), expected, "{path}: {statements:#?}");
    }
}
