//! What whoever runs the server asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::Problem;
use crate::respond::{Answer, ok};
use crate::router::App;

/// Whether the server is about to stop; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on `/ready` answers 503, so that no new requests are sent here. What is sent
    /// anyway is still served.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// Ask whether the process lives
///
/// Never touches the database.
#[utoipa::path(
    get, path = "/health", tag = "Operations", security(),
    responses((status = 200, description = "It lives.", body = Health)),
)]
async fn health() -> Answer {
    Ok(ok(Health { status: "ok" }))
}

/// Ask whether requests can be served
///
/// They can while the database can be reached, exactly this build's migrations are applied, and
/// the server is not about to stop. Otherwise `reason` says why not.
#[utoipa::path(
    get, path = "/ready", tag = "Operations", security(),
    responses((status = 200, description = "They can.", body = Health)),
    extensions(("x-problems" = json!(["unavailable"]))),
)]
async fn ready(State(app): State<App>) -> Answer {
    if app.draining.has_begun() {
        let detail = "The server is about to stop.".to_owned();
        return Err(Problem::not_ready("draining", detail));
    }
    app.store.check_ready().await?;
    Ok(ok(Health { status: "ok" }))
}
