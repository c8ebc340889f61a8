//! Request bodies: strict JSON, held against the schema that the OpenAPI document publishes.
//!
//! The schema decides what is a malformed request (another type, an unknown field) and what a
//! fault of validation (a field that is missing or null, a name that is none of the known), so that
//! the document cannot promise what the server does not do. Decoding comes after and only converts.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use dcms_domain::shared::{FaultCode, MAX_FAULTS};
use futures_util::StreamExt as _;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::problem::{Code, FaultMember, Problem};
use crate::router::App;
use crate::wire;

/// How many bytes a request's body may have: put into the request by
/// [`contract::enforce`](crate::contract::enforce).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyLimit(pub(crate) usize);

impl BodyLimit {
    /// For bodies that were made here.
    pub(crate) const NONE: Self = Self(usize::MAX);
}

impl Default for BodyLimit {
    /// Enough for every body but those with long notes or many lines, whose operations say so.
    fn default() -> Self {
        Self(64 * 1024)
    }
}

/// How deep arrays and objects may lie in each other: more than any body needs, and little enough
/// for whatever walks through them.
const MAX_DEPTH: usize = 16;

/// The content type of a merge patch, which `PATCH` takes besides plain JSON.
pub(crate) const MERGE_PATCH_JSON: &str = "application/merge-patch+json";

/// A body that a request may carry. Implemented by [`request_bodies!`].
pub(crate) trait RequestBody: DeserializeOwned {
    fn schema() -> &'static BodySchema;
}

/// Makes types request bodies; each keeps its published schema at hand.
macro_rules! request_bodies {
    ($($body:ty),+ $(,)?) => {$(
        impl $crate::json::RequestBody for $body {
            fn schema() -> &'static $crate::json::BodySchema {
                static SCHEMA: std::sync::LazyLock<$crate::json::BodySchema> =
                    std::sync::LazyLock::new($crate::json::BodySchema::of::<$body>);
                &SCHEMA
            }
        }
    )+};
}
pub(crate) use request_bodies;

/// A request's JSON body.
pub(crate) struct Json<Content>(pub(crate) Content);

impl<Content: RequestBody> FromRequest<App> for Json<Content> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = read_json(request, app.body_timeout).await?;
        decode(&bytes).map(Self)
    }
}

/// What a body may say to an operation that takes none: clients that send an object with every
/// request send an empty one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

request_bodies!(Nothing);

/// Refuses a body that says something, for an operation that would not listen.
pub(crate) async fn require_nothing(body: Body, timeout: Duration) -> Result<(), Problem> {
    let bytes = read(body, BodyLimit::default(), timeout).await?;
    if !bytes.is_empty() {
        let Nothing {} = decode(&bytes)?;
    }
    Ok(())
}

/// The bytes of a request's body, which says that it is JSON.
pub(crate) async fn read_json(request: Request, timeout: Duration) -> Result<Vec<u8>, Problem> {
    require_json(request.method(), request.headers())?;
    let limit = request.extensions().get().copied().unwrap_or_default();
    read(request.into_body(), limit, timeout).await
}

fn require_json(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .unwrap_or_default();
    let accepted = essence.eq_ignore_ascii_case("application/json")
        || (method == Method::PATCH && essence.eq_ignore_ascii_case(MERGE_PATCH_JSON));
    if accepted {
        return Ok(());
    }
    let also = if method == Method::PATCH {
        format!(" or {MERGE_PATCH_JSON}")
    } else {
        String::new()
    };
    let detail = format!("The Content-Type must be application/json{also}.");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

async fn read(body: Body, limit: BodyLimit, timeout: Duration) -> Result<Vec<u8>, Problem> {
    let BodyLimit(max_bytes) = limit;
    let mut bytes = Vec::new();
    let mut is_too_large = false;
    let arrival = async {
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::malformed("The body ended before its end."))?;
            // A client that is still sending may never see an answer given now: the rest is read,
            // for as long as a body may take, and forgotten.
            is_too_large |= bytes.len() + chunk.len() > max_bytes;
            if is_too_large {
                bytes = Vec::new();
            } else {
                bytes.extend_from_slice(&chunk);
            }
        }
        Ok(())
    };
    let arrived = tokio::time::timeout(timeout, arrival).await;
    if is_too_large {
        let detail = format!("The body must have at most {max_bytes} bytes.");
        return Err(Problem::new(Code::PayloadTooLarge, detail));
    }
    arrived.unwrap_or_else(|_| {
        let seconds = timeout.as_secs_f64();
        let detail = format!("The body did not arrive within {seconds} seconds.");
        Err(Problem::malformed(detail))
    })?;
    Ok(bytes)
}

/// What a body says.
pub(crate) fn decode<Content: RequestBody>(bytes: &[u8]) -> Result<Content, Problem> {
    let StrictValue(value) = serde_json::from_slice(bytes)
        .map_err(|error| Problem::malformed(format!("The body must be JSON: {error}")))?;
    let gaps = Content::schema().check(&value)?;
    if !gaps.is_empty() {
        return Err(Problem::incomplete(gaps, value));
    }
    serde_json::from_value(value)
        .map_err(|error| Problem::malformed(format!("The body cannot be understood: {error}")))
}

/// A JSON value of which no object names a member twice, and nothing lies too deep.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictVisitor {
            depth_left: MAX_DEPTH,
        }
        .deserialize(deserializer)
        .map(Self)
    }
}

#[derive(Clone, Copy)]
struct StrictVisitor {
    depth_left: usize,
}

impl StrictVisitor {
    /// For what lies in an array or object.
    fn below<E: de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1);
        depth_left
            .map(|depth_left| Self { depth_left })
            .ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
    }
}

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(below)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("an object names a member twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A place in a body that is empty or says nothing known, and what could stand there.
pub(crate) struct Gap {
    pub(crate) fault: FaultMember,
    filler: Value,
}

/// Fills the gaps of a body, so that the rest of it can be looked at.
pub(crate) fn filled(mut body: Value, gaps: &[Gap]) -> Value {
    for gap in gaps {
        let (parent, name) = gap.fault.pointer.rsplit_once('/').unwrap_or_default();
        match body.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                members.insert(name.to_owned(), gap.filler.clone());
            }
            Some(Value::Array(items)) => {
                if let Some(item) = name
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get_mut(index))
                {
                    *item = gap.filler.clone();
                }
            }
            _ => {}
        }
    }
    body
}

/// The published schema of a body, with the schemas it refers to.
pub(crate) struct BodySchema {
    root: Value,
    referred: HashMap<String, Value>,
}

impl BodySchema {
    /// The schema of a type.
    pub(crate) fn of<Content: ToSchema>() -> Self {
        let mut referred = Vec::new();
        Content::schemas(&mut referred);
        // A schema is made of strings, numbers and lists: writing it cannot fail.
        let json = |schema| serde_json::to_value(schema).unwrap_or_default();
        Self {
            root: json(Content::schema()),
            referred: referred
                .into_iter()
                .map(|(name, schema)| (format!("#/components/schemas/{name}"), json(schema)))
                .collect(),
        }
    }

    fn check(&self, value: &Value) -> Result<Vec<Gap>, Problem> {
        let mut gaps = Vec::new();
        self.check_value(value, &self.root, "", &mut gaps)?;
        gaps.truncate(MAX_FAULTS);
        Ok(gaps)
    }

    /// Notes gaps below `pointer`; fails when the value is not even of the schema's form.
    fn check_value(
        &self,
        value: &Value,
        schema: &Value,
        pointer: &str,
        gaps: &mut Vec<Gap>,
    ) -> Result<(), Problem> {
        let schema = self.resolve(schema, value);
        let type_of_value = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !types_of(schema).any(|allowed| allowed == type_of_value) {
            let types: Vec<&str> = types_of(schema).collect();
            let must = format!("must be of type {}", types.join(" or "));
            return Err(misfit(pointer, &must));
        }
        match value {
            Value::Object(members) => self.check_members(members, schema, pointer, gaps),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                self.check_value(item, &schema["items"], &format!("{pointer}/{index}"), gaps)
            }),
            Value::String(text) => check_text(text, schema, pointer, gaps),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn check_members(
        &self,
        members: &Map<String, Value>,
        schema: &Value,
        pointer: &str,
        gaps: &mut Vec<Gap>,
    ) -> Result<(), Problem> {
        let is_required = |name: &str| {
            let required = schema["required"].as_array();
            required.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            let pointer = format!("{pointer}/{name}");
            let must = match members.get(name) {
                None if is_required(name) => "must be given",
                Some(Value::Null) if !self.is_nullable(property) => "must not be null",
                None => continue,
                Some(value) => {
                    self.check_value(value, property, &pointer, gaps)?;
                    continue;
                }
            };
            gaps.push(Gap {
                fault: FaultMember {
                    pointer,
                    code: FaultCode::Required.as_str(),
                    detail: must.to_owned(),
                },
                filler: self.filler(property),
            });
        }
        let is_unknown = |name: &&String| schema["properties"].get(name.as_str()).is_none();
        match members.keys().find(is_unknown) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(misfit(pointer, &format!("has no member {name:?}")))
            }
        }
    }

    /// A value of the schema's form. Where it can, it is one that no service accepts.
    fn filler(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema, &Value::Bool(true));
        if let Some(name) = schema["enum"].get(0) {
            return name.clone();
        }
        match (types_of(schema).next(), schema["format"].as_str()) {
            (Some("string"), Some("uuid")) => uuid::Uuid::nil().to_string().into(),
            (Some("string"), Some("date-time")) => "1800-01-01T00:00:00Z".into(),
            (Some("string"), Some("date")) => "1800-01-01".into(),
            (Some("string"), _) => "".into(),
            (Some("integer"), _) => i64::MIN.into(),
            (Some("boolean"), _) => false.into(),
            (Some("array"), _) => Value::Array(Vec::new()),
            _ => Value::Null,
        }
    }

    fn is_nullable(&self, schema: &Value) -> bool {
        types_of(self.resolve(schema, &Value::Null)).any(|allowed| allowed == "null")
    }

    /// The schema itself, behind a reference, or behind the choice between null and another.
    fn resolve<'schema>(&'schema self, schema: &'schema Value, value: &Value) -> &'schema Value {
        if let Some(name) = schema["$ref"].as_str() {
            return self.referred.get(name).unwrap_or(&Value::Null);
        }
        let Some(choices) = schema["oneOf"].as_array() else {
            return schema;
        };
        let fits = |choice: &&Value| (choice["type"] == "null") == value.is_null();
        choices
            .iter()
            .find(fits)
            .map_or(&Value::Null, |choice| self.resolve(choice, value))
    }
}

fn types_of(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str();
    let several = schema["type"].as_array().into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str))
}

fn check_text(
    text: &str,
    schema: &Value,
    pointer: &str,
    gaps: &mut Vec<Gap>,
) -> Result<(), Problem> {
    let (well_formed, must) = match schema["format"].as_str() {
        Some("uuid") => (
            wire::Id::parse(text).is_some(),
            "must be a UUID in hyphenated form",
        ),
        Some("date-time") => (
            wire::Instant::parse(text).is_some(),
            "must be an instant with an offset, such as 2026-03-29T09:00:00+02:00",
        ),
        Some("date") => (
            wire::Day::parse(text).is_some(),
            "must be a day as YYYY-MM-DD",
        ),
        _ => (true, ""),
    };
    if !well_formed {
        return Err(misfit(pointer, must));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.iter().any(|name| name == text)
    {
        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        gaps.push(Gap {
            fault: FaultMember {
                pointer: pointer.to_owned(),
                code: FaultCode::Unknown.as_str(),
                detail: format!("must be one of {}", names.join(", ")),
            },
            filler: names.first().copied().into(),
        });
    }
    Ok(())
}

fn misfit(pointer: &str, must: &str) -> Problem {
    let place = if pointer.is_empty() {
        "The body"
    } else {
        pointer
    };
    Problem::malformed(format!("{place} {must}."))
}

#[cfg(test)]
mod tests;
