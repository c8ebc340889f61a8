//! All routes, and what stands before them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use dcms_domain::Services;
use dcms_domain::shared::IdSource;
use dcms_domain::store::Store;
use tower::util::option_layer;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::contract::{self, contract_of};
use crate::edge::EdgeConfig;
use crate::live::LiveEvents;
use crate::operations::Draining;
use crate::{
    appointments, audit, billing, calendar, catalog, clinic, docs, identity, middleware, openapi,
    operations, patients, rehearsal,
};

/// The path under which the API lives.
pub(crate) const BASE_PATH: &str = "/api/v1";

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) services: Arc<Services>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) draining: Draining,
    /// How long a request's body may take to arrive.
    pub(crate) body_timeout: Duration,
    pub(crate) live: LiveEvents,
    /// How long a stream may be silent.
    pub(crate) heartbeat_period: Duration,
}

/// The operations, each with its route.
pub(crate) fn operations() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .merge(identity::routes())
        .merge(clinic::routes())
        .merge(calendar::routes())
        .merge(patients::routes())
        .merge(appointments::routes())
        .merge(catalog::routes())
        .merge(billing::routes())
        .merge(audit::routes())
        .merge(openapi::routes());
    OpenApiRouter::new()
        .merge(operations::routes())
        .merge(docs::routes())
        .nest(BASE_PATH, api)
}

/// The whole API as a router, ready to be served. `store` is asked for readiness only, `ids` for
/// the names of requests; streams tell what `live` is told; `edge` says how requests are met.
pub fn router(
    services: Arc<Services>,
    store: Arc<dyn Store>,
    ids: Arc<dyn IdSource>,
    draining: Draining,
    live: LiveEvents,
    edge: EdgeConfig,
) -> Router {
    let body_timeout = edge.body_timeout;
    let heartbeat_period = edge.heartbeat_period;
    let rehearsing = App {
        services: Arc::new(services.rehearsal()),
        store: Arc::clone(&store),
        draining: draining.clone(),
        body_timeout,
        live: live.clone(),
        heartbeat_period,
    };
    let app = App {
        services,
        store,
        draining,
        body_timeout,
        live,
        heartbeat_period,
    };
    let (routes, document) = operations().split_for_parts();
    let contract = Arc::new(contract_of(&openapi::complete(document)));
    let rehearsal = routes.clone().with_state(rehearsing);
    let routes = routes
        .with_state(app.clone())
        .route_layer(from_fn_with_state(rehearsal, rehearsal::complete_faults))
        .route_layer(from_fn_with_state((app, contract), contract::enforce))
        .merge(docs::assets());
    at_the_edge(routes, ids, edge)
}

/// Puts before the routes what every request meets first, and every answer last.
pub(crate) fn at_the_edge(routes: Router, ids: Arc<dyn IdSource>, edge: EdgeConfig) -> Router {
    // Answers of a browser's question in advance have a name too, and problems can be read by the
    // pages that may: hence the order.
    routes
        .layer(from_fn(middleware::settle))
        .layer(option_layer(edge.cors_origins.layer()))
        .layer(from_fn_with_state(
            (ids, Arc::new(edge)),
            middleware::answer,
        ))
        .layer(CompressionLayer::new())
}
