use axum::extract::State;
use dcms_domain::shared::ServiceId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{ChangeService, CreateService, Service, ServiceFilter};
use crate::extract::{Caller, IfMatch, Path, Query};
use crate::json::Json;
use crate::paging::{PageParams, Paging};
use crate::respond::{Answer, created, found, nothing, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type ServiceList = List<Service>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_services, create_service))
        .routes(routes!(read_service, change_service, delete_service))
}

/// Make a service
#[utoipa::path(
    post, path = "/services", tag = "Services",
    request_body = CreateService,
    responses((status = 201, description = "The service was made.", body = Service)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["already_exists"])),
    ),
)]
async fn create_service(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(body): Json<CreateService>,
) -> Answer {
    let service = app.services.catalog.create(&actor, body.into()).await?;
    let location = format!("{BASE_PATH}/services/{}", service.service_id);
    Ok(created(
        location,
        Some(service.version),
        Service::from(service),
    ))
}

/// Find services
///
/// In the order they were made.
#[utoipa::path(
    get, path = "/services", tag = "Services",
    params(ServiceFilter, PageParams),
    responses((status = 200, description = "A page of services.", body = ServiceList)),
    extensions(
        ("x-permission" = json!("read_clinic")),
        ("x-problems" = json!(["validation_failed"])),
    ),
)]
async fn list_services(
    State(app): State<App>,
    Caller(actor): Caller,
    Query(filter): Query<ServiceFilter>,
    Paging(page): Paging<ServiceId>,
) -> Answer {
    let catalog = &app.services.catalog;
    let page = catalog.services(&actor, filter.into(), page).await?;
    Ok(ok(List::of(page, Service::from)))
}

/// Read a service
#[utoipa::path(
    get, path = "/services/{service_id}", tag = "Services",
    responses((status = 200, description = "The service.", body = Service)),
    extensions(("x-permission" = json!("read_clinic"))),
)]
async fn read_service(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([service_id]): Path<1>,
) -> Answer {
    let service = app
        .services
        .catalog
        .service(&actor, service_id.get())
        .await?;
    found::<_, Service>(service)
}

/// Change a service
///
/// Invoices that have it keep the name and the price they took.
#[utoipa::path(
    patch, path = "/services/{service_id}", tag = "Services",
    request_body = ChangeService,
    responses((status = 200, description = "The changed service.", body = Service)),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["already_exists", "version_mismatch"])),
    ),
)]
async fn change_service(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([service_id]): Path<1>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeService>,
) -> Answer {
    let catalog = &app.services.catalog;
    let service = catalog
        .change(&actor, service_id.get(), &expected, body.into())
        .await?;
    found::<_, Service>(service)
}

/// Delete a service
///
/// Only one that was never planned or charged; deactivate others instead.
#[utoipa::path(
    delete, path = "/services/{service_id}", tag = "Services",
    responses((status = 204, description = "The service is gone.")),
    extensions(
        ("x-permission" = json!("change_clinic")),
        ("x-problems" = json!(["in_use", "version_mismatch"])),
    ),
)]
async fn delete_service(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([service_id]): Path<1>,
    IfMatch(expected): IfMatch,
) -> Answer {
    let catalog = &app.services.catalog;
    catalog.delete(&actor, service_id.get(), &expected).await?;
    Ok(nothing())
}
