//! What handlers take from a request besides its body. Whatever is wrong with it becomes a problem;
//! axum's own rejections never reach a client.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt::Display;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{AUTHORIZATION, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use dcms_domain::access::{Actor, Origin};
use dcms_domain::identity::Secret;
use dcms_domain::shared::{Expected, Version};
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use crate::problem::{Code, Problem};
use crate::wire::Id;

/// Who acts: put into the request by [`contract::enforce`](crate::contract::enforce), which lets
/// nobody pass unknown but to public operations.
pub(crate) struct Caller(pub(crate) Actor);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get()
            .cloned()
            .map(Self)
            .ok_or_else(|| Problem::of(Code::Unauthenticated))
    }
}

/// Where the request comes from.
pub(crate) struct Source(pub(crate) Origin);

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().cloned().unwrap_or_default()))
    }
}

/// The token of a request that needs one.
pub(crate) struct Bearer(pub(crate) Secret);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        bearer_token(&parts.headers)
            .map(Self)
            .ok_or_else(|| Problem::of(Code::Unauthenticated))
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| Secret::new(token.trim().to_owned()))
}

/// The ids of the path, in its order.
pub(crate) struct Path<const COUNT: usize>(pub(crate) [Id; COUNT]);

impl<const COUNT: usize, S: Sync + Send> FromRequestParts<S> for Path<COUNT> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::malformed("The path must be UTF-8."))?;
        let ids: Vec<Id> = params
            .iter()
            .map(|(name, value)| {
                Id::parse(value).ok_or_else(|| {
                    let detail = format!("{name} in the path must be a UUID in hyphenated form.");
                    Problem::malformed(detail)
                })
            })
            .collect::<Result<_, _>>()?;
        // A path with another number of ids than its handler takes is no resource of ours.
        let ids = ids.try_into().map_err(|_| Problem::of(Code::NotFound))?;
        Ok(Self(ids))
    }
}

/// The query's parameters besides those of [`Paging`](crate::paging::Paging). Their names were
/// checked by [`contract::enforce`](crate::contract::enforce).
pub(crate) struct Query<Params>(pub(crate) Params);

impl<Params: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<Params> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query_of(&parts.uri).map(Self)
    }
}

/// What a query says, to whoever takes the parameters of this type.
pub(crate) fn query_of<Params: DeserializeOwned>(uri: &Uri) -> Result<Params, Problem> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(params)| params)
        .map_err(|rejection| {
            // "name: must be …", which the rejection tells in words of its own.
            let cause = rejection.source().map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            let (name, must) = cause.split_once(": ").unwrap_or_default();
            wrong_parameter(name, must)
        })
}

fn wrong_parameter(name: &str, must: impl Display) -> Problem {
    Problem::malformed(format!("The query parameter {name} {must}."))
}

/// All values of a query parameter that may come more than once.
pub(crate) fn values_of<Value: DeserializeOwned>(
    parts: &Parts,
    name: &str,
) -> Result<Vec<Value>, Problem> {
    let pairs: Vec<(String, String)> = query_of(&parts.uri)?;
    pairs
        .into_iter()
        .filter(|(given, _)| given == name)
        .map(|(_, value)| {
            let value: StringDeserializer<serde::de::value::Error> = value.into_deserializer();
            Value::deserialize(value).map_err(|must| wrong_parameter(name, must))
        })
        .collect()
}

/// The versions that the client agreed to change: those of `If-Match`, any without it.
pub(crate) struct IfMatch(pub(crate) Expected);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(expected(&parts.headers)))
    }
}

fn expected(headers: &HeaderMap) -> Expected {
    let mut values = headers.get_all(IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Expected::Any;
    }
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    if values.iter().any(|value| value.trim() == "*") {
        return Expected::Any;
    }
    // A weak tag, or one that was never given here, matches nothing.
    let versions = values
        .iter()
        .flat_map(|value| value.split(','))
        .filter_map(|tag| version_of(tag.trim()))
        .collect();
    Expected::OneOf(versions)
}

/// The strong entity tag of a version.
pub(crate) fn entity_tag(version: Version) -> String {
    format!("\"{}\"", version.get())
}

fn version_of(tag: &str) -> Option<Version> {
    let number = tag.strip_prefix('"')?.strip_suffix('"')?;
    let version = Version::new(number.parse().ok()?);
    // "+3" and "03" are the number 3, but not tags of it.
    (entity_tag(version) == tag).then_some(version)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn expected_of(values: &[&'static str]) -> Expected {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_static(value));
        }
        expected(&headers)
    }

    fn one_of(versions: &[i64]) -> Expected {
        Expected::OneOf(versions.iter().copied().map(Version::new).collect())
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

    #[test]
    fn if_match_lists_strong_tags_over_any_number_of_headers() {
        assert_eq!(expected_of(&[]), Expected::Any);
        assert_eq!(expected_of(&["*"]), Expected::Any);
        assert_eq!(expected_of(&["\"3\""]), one_of(&[3]));
        assert_eq!(expected_of(&["\"3\", \"4\"", "\"9\""]), one_of(&[3, 4, 9]));
    }

    #[test]
    fn if_match_with_nothing_that_was_given_here_matches_nothing() {
        for value in [
            "W/\"3\"",
            "3",
            "\"03\"",
            "\"+3\"",
            "\"x\"",
            "\"3",
            "",
            "\"3\"\"4\"",
        ] {
            assert_eq!(expected_of(&[value]), one_of(&[]), "{value}");
        }
    }
}
