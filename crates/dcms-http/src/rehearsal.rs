//! All faults of a body at once, also when parts of it are missing.
//!
//! A body with gaps (a required field that is missing, a name that is none of the known) cannot
//! become a command, so no service can say what else is wrong with it. Here the gaps are filled with
//! what no service accepts where that is possible, and the request is rehearsed: over services that
//! refuse whatever the real ones refuse and never keep anything.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dcms_domain::access::{Actor, Origin};
use tower::ServiceExt as _;

use crate::json::BodyLimit;
use crate::problem::Problem;

/// Completes the faults of a body with gaps.
pub(crate) async fn complete_faults(
    State(rehearsal): State<Router>,
    request: Request,
    next: Next,
) -> Response {
    // Nobody rehearses unknown: a public operation has no service to ask who acts.
    let Some(actor) = request.extensions().get::<Actor>().cloned() else {
        return next.run(request).await;
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let origin = request.extensions().get::<Origin>().cloned();
    let conditions: Vec<_> = request
        .headers()
        .get_all(IF_MATCH)
        .iter()
        .cloned()
        .collect();

    let mut response = next.run(request).await;
    let gaps = response.extensions().get::<Problem>();
    let Some(body) = gaps.and_then(Problem::filled_body) else {
        return response;
    };
    let mut filled = Request::new(Body::from(body.to_string()));
    *filled.method_mut() = method;
    *filled.uri_mut() = uri;
    filled.extensions_mut().insert(actor);
    // Filling gaps may have made the body longer; what it may be was held when it was read.
    filled.extensions_mut().insert(BodyLimit::NONE);
    if let Some(origin) = origin {
        filled.extensions_mut().insert(origin);
    }
    let headers = filled.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        axum::http::HeaderValue::from_static("application/json"),
    );
    for condition in conditions {
        headers.append(IF_MATCH, condition);
    }
    let Ok(mut rehearsed) = rehearsal.oneshot(filled).await;
    let found = rehearsed.extensions_mut().remove::<Problem>();
    match (response.extensions_mut().remove::<Problem>(), found) {
        (Some(gaps), Some(found)) => gaps.completed_by(found).into_response(),
        (Some(gaps), None) => gaps.into_response(),
        (None, _) => response,
    }
}
