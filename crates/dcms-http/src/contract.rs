//! What the OpenAPI document says of an operation, held before its handler runs: who may call it,
//! which query parameters it takes, whether it takes a body, and how large one. An operation is closed unless
//! the document opens it.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use dcms_domain::audit::{Entity, Subject};
use percent_encoding::percent_decode;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr, Schema};
use uuid::Uuid;

use crate::extract::{Bearer, Source};
use crate::json::{self, BodyLimit};
use crate::openapi::{body_limit_of, operations_of};
use crate::permissions::is_public;
use crate::problem::Problem;
use crate::router::App;

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// The operations that exist, by path template and method.
pub(crate) type Contract = HashMap<String, HashMap<Method, Terms>>;

/// What an operation asks of a request.
pub(crate) struct Terms {
    is_public: bool,
    query: Vec<QueryParameter>,
    /// None when it takes no body.
    body: Option<BodyLimit>,
}

/// A query parameter that an operation takes.
struct QueryParameter {
    name: String,
    /// It may come more than once: the document says that it is an array.
    is_list: bool,
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
        is_public: is_public(operation),
        query: parameters
            .filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(parameter),
                RefOr::Ref(_) => None,
            })
            .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
            .map(|parameter| QueryParameter {
                name: parameter.name.clone(),
                is_list: matches!(parameter.schema, Some(RefOr::T(Schema::Array(_)))),
            })
            .collect(),
        body: operation
            .request_body
            .as_ref()
            .map(|_| body_limit_of(operation)),
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
        &Method::HEAD => Method::GET,
        other => other.clone(),
    };
    let terms = contract
        .get(path.as_str())
        .and_then(|methods| methods.get(&method));
    let Some(terms) = terms else {
        // The path exists, the method does not; what follows says so.
        return Ok(next.run(request).await);
    };
    let mut asks = None;
    if !terms.is_public {
        let Bearer(token) = request.extract_parts().await?;
        let Source(origin) = request
            .extract_parts()
            .await
            .unwrap_or_else(|never| match never {});
        let actor = app.services.identity.authenticate(&token, &origin).await?;
        request.extensions_mut().insert(actor.clone());
        let ids: RawPathParams = request
            .extract_parts()
            .await
            .map_err(|_| Problem::malformed("The path must be UTF-8."))?;
        asks = Some((
            actor,
            format!("{method} {}", path.as_str()),
            subject_of(&ids),
        ));
    }
    check_query(request.uri().query().unwrap_or_default(), &terms.query)?;
    if let Some(limit) = terms.body {
        request.extensions_mut().insert(limit);
    } else if !method.is_safe() {
        // Whoever sends something wants it heeded: to take effect without it would look like that.
        json::require_nothing(mem::take(request.body_mut()), app.body_timeout).await?;
    }
    let response = next.run(request).await;
    if let Some((actor, operation, subject)) = asks
        && response.extensions().get().is_some_and(Problem::is_refusal)
    {
        let audit = &app.services.audit;
        audit.note_refusal(&actor, &operation, subject);
    }
    Ok(response)
}

/// What a path is about: the thing that its first id names.
fn subject_of(ids: &RawPathParams) -> Option<Subject> {
    let (name, value) = ids.iter().next()?;
    let entity = Entity::from_name(name.strip_suffix("_id")?)?;
    let id = Uuid::parse_str(value).ok()?;
    Some(Subject {
        entity,
        id: Some(id),
        patient_id: (entity == Entity::Patient).then(|| id.into()),
    })
}

fn check_query(query: &str, allowed: &[QueryParameter]) -> Result<(), Problem> {
    if query.len() > MAX_QUERY_BYTES {
        let detail = format!("A query must have at most {MAX_QUERY_BYTES} bytes.");
        return Err(Problem::malformed(detail));
    }
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        let Some(parameter) = allowed.iter().find(|parameter| parameter.name == name) else {
            let name: String = name.chars().take(64).collect();
            let detail = format!("There is no query parameter {name:?} here.");
            return Err(Problem::malformed(detail));
        };
        if value.contains(char::is_control) {
            let detail = format!("The query parameter {name} must not have control characters.");
            return Err(Problem::malformed(detail));
        }
        if seen.contains(&name) && !parameter.is_list {
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
    use super::*;

    fn parameter(name: &str, is_list: bool) -> QueryParameter {
        QueryParameter {
            name: name.to_owned(),
            is_list,
        }
    }

    #[test]
    fn only_known_parameters_are_taken_once_each_without_control_characters() {
        let allowed = [
            parameter("query", false),
            parameter("limit", false),
            parameter("doctor_id", true),
        ];
        for query in [
            "",
            "&",
            "query=a+b&limit=3",
            "query=%C3%A9",
            "%71uery=x",
            "query",
            "doctor_id=1&limit=3&doctor_id=2",
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
        assert!(check_query(&longest, &[parameter("query", false)]).is_ok());
        assert!(check_query(&format!("{longest}x"), &[parameter("query", false)]).is_err());
    }
}
