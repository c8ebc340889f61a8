//! What is configured of the edge: where the API meets whoever is out there.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, Uri};
use tower_http::cors::CorsLayer;

use crate::appointments::LAST_EVENT_ID;
use crate::idempotency::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use crate::middleware::X_REQUEST_ID;
use crate::origin::TrustedProxies;

/// For how long a browser may remember what pages of another origin may do here.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

/// How requests are met before anything looks at what they ask.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Whose word is taken on where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// Pages of which origins may call the API from a browser.
    pub cors_origins: CorsOrigins,
    /// Whether the server speaks TLS itself.
    pub serves_tls: bool,
    /// How long a request's body may take to arrive. Less than the 30 seconds that a request may
    /// take at all, so that a slow client is told that it is slow.
    pub body_timeout: Duration,
    /// How long a stream of events is silent at most: shorter than proxies wait for a word.
    pub heartbeat_period: Duration,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            trusted_proxies: TrustedProxies::default(),
            cors_origins: CorsOrigins::default(),
            serves_tls: false,
            body_timeout: Duration::from_secs(15),
            heartbeat_period: Duration::from_secs(15),
        }
    }
}

/// Origins of pages, exactly as browsers send them. None by default. Parsed from a list with
/// commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsOrigins(Vec<HeaderValue>);

impl CorsOrigins {
    /// What lets the pages of these origins in; nothing when there are none.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_origin(self.0.clone())
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                LAST_EVENT_ID,
                X_REQUEST_ID,
                IDEMPOTENCY_KEY,
            ])
            .expose_headers([
                ETAG,
                LOCATION,
                RETRY_AFTER,
                X_REQUEST_ID,
                IDEMPOTENCY_REPLAYED,
            ])
            .max_age(CORS_MAX_AGE);
        Some(layer)
    }
}

impl FromStr for CorsOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let origin = |part: &str| {
            is_origin(part)
                .then(|| HeaderValue::from_str(part).ok())
                .flatten()
                .ok_or_else(|| {
                    format!(
                        "{part:?} is no origin as browsers send it, such as https://desk.example.org"
                    )
                })
        };
        parts
            .filter(|part| !part.is_empty())
            .map(origin)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Whether a browser would send this as the `Origin` of a page: a scheme, a host in lower case, and
/// a port unless it is the scheme's own. What no browser sends would never let anybody in.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    let own_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let is_bare = uri
        .path_and_query()
        .is_none_or(|rest| rest == &PathAndQuery::from_static("/"));
    is_bare
        && text == format!("{scheme}://{authority}")
        && !text.contains(['@', '*'])
        && !text.contains(|character: char| character.is_ascii_uppercase())
        && authority.port_u16() != Some(own_port)
        && !authority.as_str().ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for origin in [
            "https://desk.example.org",
            "http://localhost:5173",
            "http://127.0.0.1:3000",
            "https://[2001:db8::1]:8443",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "*",
            "null",
            "desk.example.org",
            "https://desk.example.org/",
            "https://desk.example.org/app",
            "https://desk.example.org?x",
            "https://Desk.example.org",
            "HTTPS://desk.example.org",
            "https://desk.example.org:443",
            "http://desk.example.org:80",
            "https://desk.example.org:",
            "https://user@desk.example.org",
            "https://*.example.org",
            "ftp://desk.example.org",
            "file://",
            "https://",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }

    #[test]
    fn a_list_of_origins_may_be_empty_and_has_no_wrong_one() {
        let parse = str::parse::<CorsOrigins>;
        assert_eq!(parse("").unwrap(), CorsOrigins::default());
        assert!(parse("").unwrap().layer().is_none());
        let two = parse("https://a.example, https://b.example,").unwrap();
        assert_eq!(two.0.len(), 2);
        let error = parse("https://a.example,*").unwrap_err();
        assert!(error.contains("\"*\""), "{error}");
    }
}
