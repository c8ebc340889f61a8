//! The document to browse, without anything from the network.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::Config;

use crate::openapi::DOCUMENT_PATH;
use crate::problem::{Code, Problem};
use crate::respond::Answer;
use crate::router::{App, BASE_PATH};

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let document = format!("{BASE_PATH}{DOCUMENT_PATH}");
    // Without this the page would ask a public service whether the document is valid.
    Arc::new(Config::from(document).validator_url("none"))
});

/// What the page may load: its own files, the document and the API beside it, the pictures that its
/// style sheet holds itself, and by its hash the one style that its logo brings along.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; \
     style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; \
     img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(docs))
}

/// The files that the page is made of. Not part of the API.
pub(crate) fn assets() -> Router {
    Router::new()
        .route("/docs/", get(|| file(Path(String::new()))))
        .route("/docs/{*file}", get(file))
}

/// Browse this document
#[utoipa::path(
    get, path = "/docs", tag = "Operations", security(),
    responses((
        status = 303, description = "The page is at `/docs/`.",
        headers(("Location" = String, description = "`/docs/`")),
    )),
)]
async fn docs() -> Redirect {
    Redirect::to("/docs/")
}

async fn file(Path(path): Path<String>) -> Answer {
    match utoipa_swagger_ui::serve(&path, CONFIG.clone()) {
        Ok(Some(file)) => {
            let mut response = file.bytes.into_owned().into_response();
            let headers = response.headers_mut();
            let charset = if file.content_type.starts_with("text/") {
                "; charset=utf-8"
            } else {
                ""
            };
            let content_type = HeaderValue::try_from(file.content_type + charset)
                .map_err(|error| Problem::unexpected(error.to_string()))?;
            headers.insert(CONTENT_TYPE, content_type);
            headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
            Ok(response)
        }
        Ok(None) => Err(Problem::of(Code::NotFound)),
        Err(error) => Err(Problem::unexpected(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_the_logo_have_the_style_it_brings() {
        let style = ".logo_small_svg__cls-2{fill:#fff}.logo_small_svg__cls-3{fill:#85ea2d}";
        let script = utoipa_swagger_ui::serve("swagger-ui-standalone-preset.js", CONFIG.clone());
        let script = script.unwrap().unwrap().bytes.into_owned();
        assert!(String::from_utf8(script).unwrap().contains(style));
        let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(style)));
        assert!(CONTENT_POLICY.to_str().unwrap().contains(&hash), "{hash}");
    }
}
