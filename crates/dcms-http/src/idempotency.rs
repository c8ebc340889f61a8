//! Requests that name themselves with an `Idempotency-Key`, so that they can be sent again.
//!
//! A handler takes [`KeyedJson`] in the place of `Json`, does what it does inside of
//! [`Keyed::answer`], and names the problem `idempotency_key_reused`; the header parameter and the
//! header of a replay follow from it in the document.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use dcms_domain::Answered;
use dcms_domain::access::Actor;
use dcms_domain::store::{IdempotencyKey, KeptAnswer, KeyedRequest};
use sha2::{Digest, Sha256};

use crate::json::{RequestBody, decode, read_json};
use crate::problem::{Code, Problem};
use crate::respond::Answer;
use crate::router::App;

/// The header in which a request names itself.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer that was given before.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A JSON body, and the name of the request when it has one.
pub(crate) struct KeyedJson<Content>(pub(crate) Content, pub(crate) Keyed);

impl<Content: RequestBody> FromRequest<App> for KeyedJson<Content> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let key = key_in(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let bytes = read_json(request, app.body_timeout).await?;
        let keyed = key.map(|key| KeyedRequest {
            key,
            fingerprint: fingerprint(&method, &path, &bytes),
        });
        Ok(Self(decode(&bytes)?, Keyed(keyed)))
    }
}

fn key_in(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(IdempotencyKey::parse);
    let key = key.filter(|_| values.next().is_none());
    let why = "Idempotency-Key must be given once, with 1 to 255 visible ASCII characters.";
    key.map(Some).ok_or_else(|| Problem::malformed(why))
}

/// A digest of all that a request asks for. Neither a method nor a path has a line break, so no two
/// requests are written in the same way.
fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(format!("{method}\n{path}\n"));
    digest.update(body);
    digest.finalize().into()
}

/// What is known of a request that may come again.
pub(crate) struct Keyed(Option<KeyedRequest>);

impl Keyed {
    /// The answer of `effect`, which calls one service of the `App` that it is given; when the
    /// request names itself and was answered before, the same answer again.
    pub(crate) async fn answer<Work>(
        self,
        app: App,
        actor: &Actor,
        effect: impl Fn(App) -> Work + Send + Sync,
    ) -> Answer
    where
        Work: Future<Output = Answer> + Send,
    {
        let Some(request) = self.0 else {
            return effect(app).await;
        };
        let services = Arc::clone(&app.services);
        let kept_answer = |services| {
            let work = effect(App {
                services,
                ..app.clone()
            });
            async { to_be_kept(work.await?).await }
        };
        match services.once(actor, &request, kept_answer).await? {
            Answered::First(kept) => as_it_was(kept),
            Answered::Again(kept) => {
                let replayed = [(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"))];
                Ok((replayed, as_it_was(kept)?).into_response())
            }
            Answered::Reused => Err(Problem::of(Code::IdempotencyKeyReused)),
        }
    }
}

async fn to_be_kept(answer: Response) -> Result<KeptAnswer, Problem> {
    let (parts, body) = answer.into_parts();
    let header = |name| {
        let value: Option<&HeaderValue> = parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let body = to_bytes(body, usize::MAX).await;
    Ok(KeptAnswer {
        status: parts.status.as_u16(),
        location: header(LOCATION),
        entity_tag: header(ETAG),
        body: body
            .map_err(|error| Problem::unexpected(error.to_string()))?
            .into(),
    })
}

fn as_it_was(kept: KeptAnswer) -> Answer {
    let unexpected = |error: axum::http::Error| Problem::unexpected(error.to_string());
    let status = StatusCode::from_u16(kept.status).map_err(|error| unexpected(error.into()))?;
    let mut answer = Response::builder().status(status);
    for (name, value) in [(LOCATION, kept.location), (ETAG, kept.entity_tag)] {
        if let Some(value) = value {
            answer = answer.header(name, value);
        }
    }
    if !kept.body.is_empty() {
        answer = answer.header(CONTENT_TYPE, "application/json");
    }
    answer.body(Body::from(kept.body)).map_err(unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_method_path_or_body_is_another_request() {
        let one = fingerprint(&Method::POST, "/a", b"x");
        assert_eq!(one, fingerprint(&Method::POST, "/a", b"x"));
        for other in [
            fingerprint(&Method::PUT, "/a", b"x"),
            fingerprint(&Method::POST, "/b", b"x"),
            fingerprint(&Method::POST, "/a", b"y"),
            fingerprint(&Method::POST, "/", b"a\nx"),
            fingerprint(&Method::POST, "/a", b""),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_key_is_given_once_and_visible() {
        let key_of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key_in(&headers).map(|key| key.map(|key| key.as_str().to_owned()))
        };
        assert_eq!(key_of(&[]).unwrap(), None);
        let longest = "~".repeat(255);
        for key in ["a", "!\"#,;=\\", &longest] {
            assert_eq!(key_of(&[key.as_bytes()]).unwrap().as_deref(), Some(key));
        }
        let too_long = "a".repeat(256);
        for wrong in [
            &b""[..],
            b"a b",
            b"a\tb",
            "\u{e9}".as_bytes(),
            too_long.as_bytes(),
        ] {
            assert!(key_of(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(key_of(&[b"a", b"a"]).is_err());
    }
}
