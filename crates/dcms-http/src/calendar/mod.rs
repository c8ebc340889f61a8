//! Hours, closures and time off, and which slots are free.

mod availability;
mod dto;
mod routes;

use utoipa_axum::router::OpenApiRouter;

use crate::router::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    routes::routes().merge(availability::routes())
}
