//! Answers that carry a resource: its version as `ETag`, its place as `Location`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{ETAG, LOCATION};
use axum::response::{IntoResponse, Response};
use dcms_domain::shared::{Version, Versioned};
use serde::Serialize;

use crate::extract::entity_tag;
use crate::problem::Problem;

/// What a handler answers.
pub(crate) type Answer = Result<Response, Problem>;

/// `200` with a whole resource and its version.
pub(crate) fn found<Model, Resource>(model: Model) -> Answer
where
    Model: Versioned,
    Resource: TryFrom<Model, Error: Into<Problem>> + Serialize,
{
    let tag = entity_tag(model.version());
    let resource = Resource::try_from(model).map_err(Into::into)?;
    Ok(([(ETAG, tag)], Json(resource)).into_response())
}

/// `201` with whatever was made, the place it can be found at, and the version it has there.
pub(crate) fn created(
    location: String,
    version: Option<Version>,
    body: impl Serialize,
) -> Response {
    let tag = version.map(|version| [(ETAG, entity_tag(version))]);
    (StatusCode::CREATED, [(LOCATION, location)], tag, Json(body)).into_response()
}

/// `200` with anything that has no version of its own.
pub(crate) fn ok(body: impl Serialize) -> Response {
    Json(body).into_response()
}

/// `204`.
pub(crate) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
