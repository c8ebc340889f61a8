//! What the OpenAPI document says of an operation, held before its handler runs: who may call it,
//! which query parameters it takes, and how large a body. An operation is closed unless the document opens it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use dcms_domain::identity::Secret;
use percent_encoding::percent_decode;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use crate::json::BodyLimit;
use crate::openapi::{body_limit_of, operations_of};
use crate::problem::{Code, Problem};
use crate::router::App;

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// The operations that exist, by path template and method.
pub(crate) type Contract = HashMap<String, HashMap<Method, Terms>>;

/// What an operation asks of a request.
pub(crate) struct Terms {
    is_public: bool,
    query: Vec<String>,
    body: BodyLimit,
}

/// The terms of every operation of the document.
pub(crate) fn contract_of(document: &OpenApi) -> Contract {
    let mut contract = Contract::new();
    for (method, path, operation) in operations_of(document) {
        let methods = contract.entry(path.to_owned()).or_default();
        methods.insert(method, terms_of(operation));
    }
    contract
}

fn terms_of(operation: &Operation) -> Terms {
    let parameters = operation.parameters.iter().flatten();
    Terms {
        is_public: operation.security.as_ref().is_some_and(Vec::is_empty),
        query: parameters
            .filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(parameter),
                RefOr::Ref(_) => None,
            })
            .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
            .map(|parameter| parameter.name.clone())
            .collect(),
        body: body_limit_of(operation),
    }
}

/// Lets a request through to its handler when the terms of its operation are met.
pub(crate) async fn enforce(
    State((app, contract)): State<(App, Arc<Contract>)>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let method = match request.method() {
        &Method::HEAD => &Method::GET,
        other => other,
    };
    let terms = contract
        .get(path.as_str())
        .and_then(|methods| methods.get(method));
    let Some(terms) = terms else {
        // The path exists, the method does not; what follows says so.
        return Ok(next.run(request).await);
    };
    if !terms.is_public {
        let token =
            bearer_token(request.headers()).ok_or_else(|| Problem::of(Code::Unauthenticated))?;
        let actor = app.services.identity.authenticate(&token).await?;
        request.extensions_mut().insert(actor);
    }
    check_query(request.uri().query().unwrap_or_default(), &terms.query)?;
    request.extensions_mut().insert(terms.body);
    Ok(next.run(request).await)
}

fn bearer_token(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::new(token.trim().to_owned()))
}

fn check_query(query: &str, allowed: &[String]) -> Result<(), Problem> {
    if query.len() > MAX_QUERY_BYTES {
        let detail = format!("A query must have at most {MAX_QUERY_BYTES} bytes.");
        return Err(Problem::malformed(detail));
    }
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if !allowed.contains(&name) {
            let name: String = name.chars().take(64).collect();
            let detail = format!("There is no query parameter {name:?} here.");
            return Err(Problem::malformed(detail));
        }
        if value.contains(char::is_control) {
            let detail = format!("The query parameter {name} must not have control characters.");
            return Err(Problem::malformed(detail));
        }
        if seen.contains(&name) {
            let detail = format!("The query parameter {name} is given twice.");
            return Err(Problem::malformed(detail));
        }
        seen.push(name);
    }
    Ok(())
}

fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8()
        .map(String::from)
        .map_err(|_| Problem::malformed("The query must be UTF-8."))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_known_parameters_are_taken_once_each_without_control_characters() {
        let allowed = ["query".to_owned(), "limit".to_owned()];
        for query in [
            "",
            "&",
            "query=a+b&limit=3",
            "query=%C3%A9",
            "%71uery=x",
            "query",
        ] {
            assert!(check_query(query, &allowed).is_ok(), "{query}");
        }
        for query in [
            "other=1",
            "limit=1&limit=1",
            "limit=1&%6Cimit=2",
            "query=%00",
            "query=a%0Ab",
            "query=%FF",
            "=",
        ] {
            assert!(check_query(query, &allowed).is_err(), "{query}");
        }
    }

    #[test]
    fn a_query_has_an_end() {
        let longest = format!("query={}", "x".repeat(MAX_QUERY_BYTES - "query=".len()));
        assert!(check_query(&longest, &["query".to_owned()]).is_ok());
        assert!(check_query(&format!("{longest}x"), &["query".to_owned()]).is_err());
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        let token = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            bearer_token(&headers).map(|token| token.expose().to_owned())
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bEARER  abc").as_deref(), Some("abc"));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("abc"), None);
    }
}
