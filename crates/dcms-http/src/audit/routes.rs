use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse as _;
use dcms_domain::audit::AuditQuery;
use dcms_domain::shared::{AuditId, Page};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::csv;
use super::dto::{Access, AuditEntry, AuditFilter};
use crate::extract::{Caller, Path, Query};
use crate::paging::{Cursor as _, PageParams, Paging};
use crate::problem::Problem;
use crate::respond::{Answer, ok};
use crate::router::{App, BASE_PATH};
use crate::wire::List;

type AuditList = List<AuditEntry>;
type AccessList = List<Access>;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_audit_entries))
        .routes(routes!(list_accesses))
}

/// Read the audit log
///
/// The latest entries first. With `Accept: text/csv` a page is a table; its `Link` header with
/// `rel="next"` leads to the next page. Reading is an entry itself.
#[utoipa::path(
    get, path = "/admin/audit", tag = "Audit",
    params(AuditFilter, PageParams),
    responses((status = 200, description = "A page of entries.", content(
        (AuditList = "application/json"), (String = "text/csv"),
    ))),
    extensions(("x-permission" = json!("read_audit"))),
)]
async fn list_audit_entries(
    State(app): State<App>,
    Caller(actor): Caller,
    uri: Uri,
    headers: HeaderMap,
    Query(filter): Query<AuditFilter>,
    Paging(page): Paging<AuditId>,
) -> Answer {
    let (audit, query) = (&app.services.audit, AuditQuery::from(filter));
    if csv::is_wanted(&headers) {
        let page = audit.export(&actor, query, page).await?;
        return table(&uri, page);
    }
    let page = audit.entries(&actor, query, page).await?;
    Ok(ok(List::of(page, AuditEntry::from)))
}

fn table(uri: &Uri, page: Page<dcms_domain::audit::AuditEntry, AuditId>) -> Answer {
    let next = page.next.map(|next| [(LINK, link_to_next(uri, next))]);
    let entries: Vec<AuditEntry> = page.items.into_iter().map(AuditEntry::from).collect();
    let table = csv::table(&entries).map_err(|error| Problem::unexpected(error.to_string()))?;
    Ok(([(CONTENT_TYPE, csv::TEXT_CSV)], next, table).into_response())
}

/// The same query, from behind `last` on.
fn link_to_next(uri: &Uri, last: AuditId) -> String {
    let others = uri.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = utf8_percent_encode(&last.encode(), NON_ALPHANUMERIC).to_string();
    let mut query: Vec<String> = others.map(str::to_owned).collect();
    query.push(format!("cursor={cursor}"));
    format!(
        "<{BASE_PATH}/admin/audit?{}>; rel=\"next\"",
        query.join("&")
    )
}

/// List who looked at a patient's record
///
/// Or changed it; the latest first.
#[utoipa::path(
    get, path = "/patients/{patient_id}/accesses", tag = "Audit",
    params(PageParams),
    responses((status = 200, description = "A page of accesses.", body = AccessList)),
    extensions(("x-permission" = json!("read_accesses"))),
)]
async fn list_accesses(
    State(app): State<App>,
    Caller(actor): Caller,
    Path([patient_id]): Path<1>,
    Paging(page): Paging<AuditId>,
) -> Answer {
    let audit = &app.services.audit;
    let page = audit.accesses(&actor, patient_id.get(), page).await?;
    Ok(ok(List::of(page, Access::from)))
}
