//! What every answer has in common, whatever the handler does: an id, a span, the headers that keep
//! browsers and caches in check, a bound on its time, and a problem's form when it is no success.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dcms_domain::access::Origin;
use dcms_domain::shared::IdSource;
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::edge::EdgeConfig;
use crate::origin::{came_over_tls, origin_of};
use crate::problem::{Code, Problem};

/// The header that names a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a page may load that an answer is mistaken for: nothing, and nobody may frame it.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// For a year no browser that came over TLS comes without it, here or below this host.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Names the request, notes where it comes from, and gives its answer the headers that all have.
pub(crate) async fn answer(
    State((ids, edge)): State<(Arc<dyn IdSource>, Arc<EdgeConfig>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers(), &*ids);
    let name = request_id.to_str().unwrap_or_default();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        route = route_of(&request),
        request_id = name,
        status = Empty,
        duration_ms = Empty,
    );
    let origin = origin_of(&request, name, &edge.trusted_proxies);
    let is_tls = edge.serves_tls || came_over_tls(&request, &edge.trusted_proxies);
    request.extensions_mut().insert(origin);
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("status", response.status().as_u16());
    span.record("duration_ms", started.elapsed().as_secs_f64() * 1000.0);
    span.in_scope(|| tracing::debug!("answered"));
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request_id);
    protect(headers, is_tls);
    response
}

fn protect(headers: &mut HeaderMap, is_tls: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers are about patients, money and tokens: nobody on the way keeps them.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The page that shows the document has a policy of its own.
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(CONTENT_POLICY);
    if is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
}

/// Bounds the time of what follows, makes a problem of what is no success, and leaves out a body
/// that the client has already.
pub(crate) async fn settle(request: Request, next: Next) -> Response {
    let conditional = condition(&request);
    let origin = request.extensions().get::<Origin>();
    let request_id = origin.and_then(|origin| origin.request_id.clone());
    let response = watched(next.run(request), REQUEST_TIMEOUT).await;
    let response = with_problem_body(response, &request_id.unwrap_or_default());
    if conditional.is_some_and(|tags| is_unmodified(&response, &tags)) {
        return not_modified(response);
    }
    response
}

/// The route's template; a path itself may name people.
fn route_of(request: &Request) -> &str {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
}

/// The caller's id when it is a sane one, else a fresh one.
fn request_id(headers: &HeaderMap, ids: &dyn IdSource) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=128).contains(&bytes.len()) && bytes.iter().all(allowed)
    };
    headers
        .get(X_REQUEST_ID)
        .filter(is_sane)
        .cloned()
        .or_else(|| HeaderValue::try_from(ids.next_id().hyphenated().to_string()).ok())
        // A UUID is always a header value.
        .unwrap_or(HeaderValue::from_static("unknown"))
}

/// The answer, unless it takes too long or panics.
async fn watched(answer: impl Future<Output = Response>, timeout: Duration) -> Response {
    let caught = AssertUnwindSafe(answer).catch_unwind();
    match tokio::time::timeout(timeout, caught).await {
        Ok(Ok(response)) => response,
        // Only the place of a panic is logged: what it says may be anything.
        Ok(Err(_)) => Problem::of(Code::InternalError).into_response(),
        Err(_) => Problem::new(Code::Unavailable, "The request took too long.").into_response(),
    }
}

/// Whatever is no success leaves as a problem, also what axum refused on its own.
fn with_problem_body(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if status.is_client_error() || status.is_server_error() => {
            Problem::of(Code::of_status(status))
        }
        None => return response,
    };
    problem.log(request_id);
    let mut rendered = problem.render(request_id);
    if let Some(allow) = response.headers_mut().remove(ALLOW) {
        rendered.headers_mut().insert(ALLOW, allow);
    }
    rendered
}

/// The tags of a `GET` that wants its answer only when it has another one.
fn condition(request: &Request) -> Option<String> {
    let is_read = matches!(request.method(), &Method::GET | &Method::HEAD);
    let tags = request.headers().get(IF_NONE_MATCH).filter(|_| is_read)?;
    tags.to_str().ok().map(str::to_owned)
}

fn is_unmodified(response: &Response, tags: &str) -> bool {
    let current = response
        .headers()
        .get(ETAG)
        .and_then(|tag| tag.to_str().ok());
    let same = |tag: &str| Some(tag.strip_prefix("W/").unwrap_or(tag)) == current;
    response.status() == StatusCode::OK
        && current.is_some()
        && (tags.trim() == "*" || tags.split(',').map(str::trim).any(same))
}

fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    (parts.status, parts.headers).into_response()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    struct Nil;

    impl IdSource for Nil {
        fn next_id(&self) -> Uuid {
            Uuid::nil()
        }
    }

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        request_id(&headers, &Nil).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let longest = "a".repeat(128);
        for sane in ["a", "0198-f.b_C", &longest] {
            assert_eq!(id_for(sane), sane);
        }
        let too_long = "a".repeat(129);
        for other in ["", "a b", "a\"b", "<script>", &too_long] {
            assert_eq!(id_for(other), Uuid::nil().to_string(), "{other}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_is_unavailable() {
        let response = watched(std::future::pending(), Duration::ZERO).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let response = watched(async { panic!("on purpose") }, REQUEST_TIMEOUT).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
