//! Where the server meets whoever is out there: headers, other origins, slow and large requests, TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcms_http::{Draining, EdgeConfig};
use dcms_server::connections::Transport;
use dcms_server::tls::{Tls, TlsFiles};
use dcms_system::SystemIds;
use dcms_tests::{Answer, Client, Server};
use reqwest::Method;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const API_POLICY: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Opens another door to the same clinic; the address it is at.
pub(crate) async fn door(server: &Server, edge: EdgeConfig, transport: Transport) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    door_at(listener, server, edge, transport)
}

pub(crate) fn door_at(
    listener: TcpListener,
    server: &Server,
    edge: EdgeConfig,
    transport: Transport,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let draining = Draining::default();
    let router = dcms_http::router(
        Arc::clone(server.services()),
        Arc::clone(server.store()) as _,
        Arc::new(SystemIds),
        draining.clone(),
        server.live().clone(),
        edge,
    );
    // It is open until the test is over.
    let never = std::future::pending();
    tokio::spawn(dcms_server::serve::run(
        listener, router, draining, never, transport,
    ));
    address
}

fn assert_protected(answer: &Answer, policy: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("content-security-policy", policy),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}: {answer:?}");
    }
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
}

#[tokio::test]
async fn every_answer_keeps_browsers_and_caches_in_check() {
    let server = Server::start().await;
    let (admin, nobody) = (server.admin(), server.anonymous());
    let patient = format!("/api/v1/patients/{}", server.patient().await);
    let read = admin.get(&patient).await;
    let again = admin
        .request(Method::GET, &patient)
        .header("if-none-match", read.header("etag").unwrap());
    let refused = json!({"first_name": ""});
    for (answer, status) in [
        (read, 200),
        (Answer::of(again).await, 304),
        (admin.delete(&patient).await, 204),
        (admin.get(&patient).await, 404),
        (admin.post("/api/v1/patients", &refused).await, 422),
        (nobody.get(&patient).await, 401),
        (nobody.get("/nowhere").await, 404),
        (admin.delete("/api/v1/patients").await, 405),
        (nobody.get("/health").await, 200),
        (nobody.get("/api/v1/openapi.json").await, 200),
        (nobody.get("/docs/nothing.js").await, 404),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_protected(&answer, API_POLICY);
        assert_eq!(answer.header("strict-transport-security"), None);
    }
}

#[tokio::test]
async fn the_documentation_loads_nothing_but_its_own() {
    let server = Server::start().await;
    for path in ["/docs", "/docs/index.html", "/docs/swagger-ui-bundle.js"] {
        let answer = server.anonymous().get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_protected(&answer, &policy);
    }
}

/// What a browser asks before a page of that origin may change a patient.
async fn ask_in_advance(client: &Client, origin: &str) -> Answer {
    let request = client
        .request(Method::OPTIONS, "/api/v1/patients")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    Answer::of(request).await
}

async fn ask_from(client: &Client, origin: &str, path: &str) -> Answer {
    Answer::of(client.request(Method::GET, path).header("origin", origin)).await
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    let names = answer
        .headers
        .keys()
        .map(reqwest::header::HeaderName::as_str);
    names
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[tokio::test]
async fn pages_of_other_origins_stay_outside() {
    let server = Server::start().await;
    let origin = "https://desk.example.org";
    let asked = ask_in_advance(&server.anonymous(), origin).await;
    asked.assert_problem(405, "method_not_allowed");
    let read = ask_from(server.admin(), origin, "/api/v1/patients").await;
    assert_eq!(read.status, 200);
    for answer in [asked, read] {
        assert_eq!(cors_headers(&answer), [""; 0], "{answer:?}");
    }
}

#[tokio::test]
async fn pages_of_configured_origins_come_in_and_others_do_not() {
    let server = Server::start().await;
    let edge = EdgeConfig {
        cors_origins: "https://desk.example.org,http://localhost:5173"
            .parse()
            .unwrap(),
        ..EdgeConfig::default()
    };
    let address = door(&server, edge, Transport::default()).await;
    let client = Client::anonymous(address).with_token(server.admin().token().unwrap());
    let allowed = |answer: &Answer| {
        let origin = answer.header("access-control-allow-origin");
        origin.map(str::to_owned)
    };
    for origin in ["https://desk.example.org", "http://localhost:5173"] {
        let asked = ask_in_advance(&client, origin).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        assert_eq!(allowed(&asked).as_deref(), Some(origin));
        assert_protected(&asked, API_POLICY);
        let methods = asked.header("access-control-allow-methods").unwrap();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(
                methods.split(',').any(|allowed| allowed == method),
                "{methods}"
            );
        }
        let headers = asked.header("access-control-allow-headers").unwrap();
        for name in [
            "authorization",
            "content-type",
            "if-match",
            "if-none-match",
            "idempotency-key",
            "x-request-id",
        ] {
            assert!(
                headers.split(',').any(|allowed| allowed == name),
                "{headers}"
            );
        }
        // Problems can be read by the page as well.
        let read = ask_from(&client, origin, "/api/v1/patients").await;
        assert_eq!(read.status, 200);
        let refused = ask_from(&Client::anonymous(address), origin, "/api/v1/patients").await;
        refused.assert_problem(401, "unauthenticated");
        for answer in [read, refused] {
            assert_eq!(allowed(&answer).as_deref(), Some(origin));
            let exposed = answer.header("access-control-expose-headers").unwrap();
            for name in [
                "etag",
                "location",
                "retry-after",
                "x-request-id",
                "idempotency-replayed",
            ] {
                assert!(exposed.split(',').any(|shown| shown == name), "{exposed}");
            }
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
    }
    for origin in [
        "https://desk.example.org.evil.example",
        "http://desk.example.org",
        "null",
    ] {
        for answer in [
            ask_in_advance(&client, origin).await,
            ask_from(&client, origin, "/api/v1/patients").await,
        ] {
            assert_eq!(allowed(&answer), None, "{origin}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn tls_in_front_is_told_to_browsers_when_a_trusted_proxy_says_so() {
    let server = Server::start().await;
    let edge = EdgeConfig {
        trusted_proxies: "127.0.0.0/8".parse().unwrap(),
        ..EdgeConfig::default()
    };
    let behind_proxy = Client::anonymous(door(&server, edge, Transport::default()).await);
    for (client, protocol, is_told) in [
        (&behind_proxy, "https", true),
        (&behind_proxy, "http", false),
        (&server.anonymous(), "https", false),
    ] {
        let request = client
            .request(Method::GET, "/api/v1/patients")
            .header("x-forwarded-proto", protocol);
        let answer = Answer::of(request).await;
        let header = answer.header("strict-transport-security");
        assert_eq!(header.is_some(), is_told, "{protocol}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let server = Server::start().await;
    let admin = server.admin();
    let long = "x".repeat(17_000);
    let answer = admin.get(&format!("/api/v1/patients?query={long}")).await;
    answer.assert_problem(400, "malformed_request");

    let deep = format!("{}1{}", "[".repeat(17), "]".repeat(17));
    let body = format!(r#"{{"first_name": "A", "last_name": {deep}}}"#);
    let request = admin
        .request(Method::POST, "/api/v1/patients")
        .header("content-type", "application/json");
    let answer = Answer::of(request.body(body)).await;
    answer.assert_problem(400, "malformed_request");
    assert!(answer.text("/detail").contains("deeper"), "{answer:?}");

    for (path, bytes) in [("/auth/login", 64 << 10), ("/patients", 256 << 10)] {
        let body = json!({"username": "x".repeat(bytes)});
        let answer = admin.post(&format!("/api/v1{path}"), &body).await;
        answer.assert_problem(413, "payload_too_large");
        assert!(
            answer.text("/detail").contains(&bytes.to_string()),
            "{answer:?}"
        );
    }
}

/// All that comes back for these bytes, until the server hangs up.
async fn told<Stream>(mut stream: Stream, bytes: &[u8]) -> String
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A connection that is reset ends too.
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert!(ended.is_ok(), "the server waits for more");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_large_or_does_not_end_is_not_waited_for() {
    let server = Server::start().await;
    let transport = Transport {
        header_timeout: Duration::from_millis(300),
        ..Transport::default()
    };
    let address = door(&server, EdgeConfig::default(), transport).await;
    let connect = || async { TcpStream::connect(address).await.unwrap() };
    for unfinished in [
        "",
        "GET /hea",
        "GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ",
    ] {
        assert_eq!(told(connect().await, unfinished.as_bytes()).await, "");
    }
    // One that is done in time is served, and the connection closed when nothing follows.
    let answer = told(connect().await, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let long = format!("GET /health HTTP/1.1\r\nx-long: {}", "x".repeat(64 << 10));
    let refused = told(connect().await, long.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_not_waited_for() {
    let server = Server::start().await;
    let edge = EdgeConfig {
        body_timeout: Duration::from_millis(300),
        ..EdgeConfig::default()
    };
    let address = door(&server, edge, Transport::default()).await;
    for unfinished in [
        "content-length: 100\r\n\r\n{",
        "transfer-encoding: chunked\r\n\r\n",
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let head =
            "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let answer = told(stream, format!("{head}{unfinished}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("\"malformed_request\""), "{answer}");
        assert!(answer.contains("did not arrive"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_asks_and_never_listens_is_left() {
    let server = Server::start().await;
    let transport = Transport {
        write_timeout: Duration::from_millis(300),
        ..Transport::default()
    };
    let address = door(&server, EdgeConfig::default(), transport).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let asking = async { while stream.write_all(&ask).await.is_ok() {} };
    let left = tokio::time::timeout(Duration::from_secs(20), asking).await;
    assert!(
        left.is_ok(),
        "the server waits for a client that never listens"
    );
}

/// Writes a new certificate for `localhost`; what a client trusts that knows it.
fn write_certificate(files: &TlsFiles) -> TlsConnector {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session shows no certificate again.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

fn files_in(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

async fn connect(
    trusting: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    trusting.connect(name, stream).await
}

const LAST_REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn tls_is_served_with_whatever_certificate_is_there() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    let first = write_certificate(&files);
    let edge = EdgeConfig {
        serves_tls: true,
        ..EdgeConfig::default()
    };
    let transport = Transport {
        tls: Some(Tls::load(files.clone()).unwrap()),
        header_timeout: Duration::from_secs(5),
        ..Transport::default()
    };
    let address = door(&server, edge, transport).await;
    let stream = connect(&first, address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = told(stream, LAST_REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let told_to_stay = "strict-transport-security: max-age=31536000";
    assert!(answer.contains(told_to_stay), "{answer}");
    // Who speaks plain HTTP gets no answer in it, and who does not speak at all is not waited for.
    for plain in [LAST_REQUEST, b""] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(plain).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(ended.is_ok() && !answer.starts_with(b"HTTP"), "{answer:?}");
    }

    let second = write_certificate(&files);
    let deadline = Instant::now() + Duration::from_secs(20);
    let renewed = loop {
        match connect(&second, address).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "still the old one: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let answer = told(renewed, LAST_REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(connect(&first, address).await.is_err());
}
