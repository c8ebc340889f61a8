//! All routes, and what stands before them.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use dcms_domain::Services;
use dcms_domain::shared::IdSource;
use dcms_domain::store::Store;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::contract::{self, contract_of};
use crate::operations::Draining;
use crate::{
    appointments, audit, billing, catalog, clinic, docs, identity, middleware, openapi, operations,
    patients, rehearsal,
};

/// The path under which the API lives.
pub(crate) const BASE_PATH: &str = "/api/v1";

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) services: Arc<Services>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) draining: Draining,
}

/// The operations, each with its route.
pub(crate) fn operations() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .merge(identity::routes())
        .merge(clinic::routes())
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
/// the names of requests.
pub fn router(
    services: Arc<Services>,
    store: Arc<dyn Store>,
    ids: Arc<dyn IdSource>,
    draining: Draining,
) -> Router {
    let rehearsing = App {
        services: Arc::new(services.rehearsal()),
        store: Arc::clone(&store),
        draining: draining.clone(),
    };
    let app = App {
        services,
        store,
        draining,
    };
    let (routes, document) = operations().split_for_parts();
    let contract = Arc::new(contract_of(&openapi::complete(document)));
    let rehearsal = routes.clone().with_state(rehearsing);
    routes
        .with_state(app.clone())
        .route_layer(from_fn_with_state(rehearsal, rehearsal::complete_faults))
        .route_layer(from_fn_with_state((app, contract), contract::enforce))
        .merge(docs::assets())
        .layer(from_fn_with_state(ids, middleware::answer))
        .layer(CompressionLayer::new())
}
