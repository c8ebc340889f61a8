//! What is logged. A process of its own: which spans are on is settled once for all threads, so
//! tests that run beside it without a subscriber could turn them off.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use dcms_domain::Services;
use dcms_domain::shared::Ports;
use dcms_domain::store::StoreError;
use dcms_domain::testing::{
    CountingIds, FakeHasher, FakeTokens, FrozenClock, MockStore, identity_settings,
};
use dcms_http::{Draining, EdgeConfig, router};
use serde_json::Value;
use tower::ServiceExt as _;

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

#[tokio::test]
async fn an_error_is_logged_once_with_its_causes_and_its_request() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let fails = || Err(StoreError::Unexpected("disk full".into()));
    let store = Arc::new(MockStore::new(|_| {}).on_begin(fails));
    let ids = Arc::new(CountingIds::default());
    let ports = Ports {
        store: store.clone(),
        clock: Arc::new(FrozenClock::default()),
        ids: ids.clone(),
        access_log: Arc::default(),
    };
    let tokens = Arc::new(FakeTokens::default());
    let services = Services::new(&ports, Arc::new(FakeHasher), tokens, identity_settings());
    let router = router(
        Arc::new(services),
        store,
        ids,
        Draining::default(),
        dcms_http::LiveEvents::default(),
        EdgeConfig::default(),
    );

    let request = Request::get("/api/v1/patients/0198f000-0000-7000-8000-000000000001?query=meyer")
        .header("authorization", "Bearer any")
        .header("x-request-id", "mine-1")
        .body(Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = logged
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{logged}");
    assert_eq!(lines[0]["level"], "ERROR");
    assert_eq!(lines[0]["fields"]["request_id"], "mine-1");
    let causes = lines[0]["fields"]["causes"].as_str().unwrap();
    assert!(causes.ends_with("the store failed: disk full"), "{causes}");
    assert_eq!(lines[0]["span"]["route"], "/api/v1/patients/{patient_id}");
    for private in ["meyer", "0198f000"] {
        assert!(!logged.contains(private), "{logged}");
    }
}
