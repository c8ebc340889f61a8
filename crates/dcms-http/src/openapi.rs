//! The OpenAPI document. Handlers say what is theirs: path, body, success, and the problems that
//! only they have (`x-problems`), and what they ask the permission matrix for (`x-permission`), or
//! that they are public (`security()`). What follows from an operation's form is added here, once for
//! all: identity and who may, parameters of the path, preconditions, common problems, headers and
//! examples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::Value;
use utoipa::openapi::content::Content;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{
    Info, License, OpenApi, Ref, RefOr, Required, Response as Documented, Schema,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::examples::{self, Examples};
use crate::json::{BodyLimit, MERGE_PATCH_JSON};
use crate::permissions::{allowed_to, permission_of, refusals_of};
use crate::problem::{Code, FaultMember, PROBLEM_JSON, Problem, ProblemBody};
use crate::respond::Answer;
use crate::router::{App, operations};
use crate::wire::{Bound, Id, RoomWish};

/// Where the document is, below the base path.
pub(crate) const DOCUMENT_PATH: &str = "/openapi.json";

/// The extension in which a handler names the problems that only it has.
const PROBLEMS: &str = "x-problems";

/// The extension in which an operation says how large its body may be; a handler says so only where
/// it is not the default.
const MAX_BODY_BYTES: &str = "x-max-body-bytes";

/// The schemas of resources that count their changes: an answer that is one has an `ETag`.
const VERSIONED: [&str; 15] = [
    "Appointment",
    "ChangedHours",
    "ChangedClinic",
    "ChangedRoom",
    "ChangedUser",
    "Clinic",
    "Contact",
    "Doctor",
    "Hours",
    "Invoice",
    "Patient",
    "Payment",
    "Room",
    "Service",
    "User",
];

/// An answer whose `ETag` is that of the part it was made for.
const VERSIONED_BY_PART: &str = "RecordedPayment";

const BEARER: &str = "bearer";

const DESCRIPTION: &str = "\
A dental clinic's day: users, patients, appointments, the service catalog, invoices and payments.

Log in at `POST /api/v1/auth/login` and send the token as `Authorization: Bearer …`. Every answer \
has an `X-Request-Id`: the caller's, when it sent one of 1 to 128 characters of `A-Z a-z 0-9 . _ -`, \
else a fresh one. Whatever is not done is answered with `application/problem+json`; its `code` \
tells why. A path that does not exist is `404 not_found`, a method that a path does not have \
`405 method_not_allowed`. An unknown field or query parameter, one that is given \
twice, and an id in a path that is no UUID are refused with `400 malformed_request`. A field that is required and missing or null is a fault of \
`422 validation_failed`, and so is a name that is none of the known in a body; in a query it is \
`400 malformed_request`. An operation that takes no body but changes something refuses any, but for \
`{}`, with `400 malformed_request`. A body has at most as many bytes as `x-max-body-bytes` of its operation \
says, nests at most 16 deep, and has to arrive within 15 seconds (else `400 malformed_request`); a \
query has at most 16 KiB, a page 200 items, all headers together 64 KiB, which have to arrive within \
10 seconds (else the connection is closed). A request takes at most 30 seconds.

The examples of requests are accepted as they stand once their ids are replaced by those of things \
that exist: `x-example-ids` tells which id stands for what.";

/// The document of this build.
#[must_use]
pub fn openapi() -> OpenApi {
    complete(operations().into_openapi())
}

/// The document of this build as JSON, as it is served and committed.
///
/// # Errors
/// None that a document of this build can have: it is made of text, numbers and lists.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    // By way of a value, which sorts its members: utoipa keeps extensions in no order.
    let document = serde_json::to_value(openapi())?;
    serde_json::to_string_pretty(&document).map(|json| json + "\n")
}

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_openapi))
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", tag = "Operations", security(),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)),
)]
async fn read_openapi() -> Answer {
    static DOCUMENT: LazyLock<Result<String, String>> =
        LazyLock::new(|| openapi_json().map_err(|error| error.to_string()));
    let json = DOCUMENT.as_deref().map_err(Problem::unexpected)?;
    Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(json))
        .map_err(|error| Problem::unexpected(error.to_string()))
}

/// How large the body of an operation may be.
pub(crate) fn body_limit_of(operation: &Operation) -> BodyLimit {
    let extensions = operation.extensions.as_ref();
    extensions
        .and_then(|extensions| extensions.get(MAX_BODY_BYTES)?.as_u64())
        .and_then(|bytes| usize::try_from(bytes).ok())
        .map(BodyLimit)
        .unwrap_or_default()
}

/// Every operation of a document.
pub(crate) fn operations_of(
    document: &OpenApi,
) -> impl Iterator<Item = (Method, &str, &Operation)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let PathItem {
            get,
            put,
            post,
            delete,
            patch,
            ..
        } = item;
        [
            (Method::GET, get),
            (Method::PUT, put),
            (Method::POST, post),
            (Method::DELETE, delete),
            (Method::PATCH, patch),
        ]
        .into_iter()
        .filter_map(move |(method, operation)| Some((method, path.as_str(), operation.as_ref()?)))
    })
}

/// The document with all that follows from what the handlers said.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = info();
    document.tags = Some(tags());
    document.servers = None;
    let mut components = document.components.take().unwrap_or_default();
    let shared = [
        (ProblemBody::name(), ProblemBody::schema()),
        (FaultMember::name(), FaultMember::schema()),
        (Id::name(), Id::schema()),
        (Bound::name(), Bound::schema()),
        (RoomWish::name(), RoomWish::schema()),
    ];
    for (name, schema) in shared {
        components.schemas.insert(name.into_owned(), schema);
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The `access_token` of a log-in."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    components
        .schemas
        .values_mut()
        .for_each(require_what_is_always_there);
    let examples = Examples::of(&components.schemas);
    let mut problems = BTreeMap::new();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
            (Method::PATCH, &mut item.patch),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                let codes = complete_operation(&method, path, operation, &examples);
                refer_to_problems(operation, &codes, &mut problems);
            }
        }
    }
    components.responses.extend(problems);
    document.components = Some(components);
    document.extensions = Some(Extensions::from_iter([(
        "x-example-ids",
        examples::ids_as_json(),
    )]));
    document
}

/// Answers show every field, null or not. Bodies of requests, which refuse what they do not know,
/// and problems say themselves what is required.
fn require_what_is_always_there(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema
        && object.additional_properties.is_none()
    {
        object.required = object.properties.keys().cloned().collect();
    }
}

fn info() -> Info {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let mut info = Info::new("DCMS", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    info.license = Some(license);
    info
}

fn tags() -> Vec<Tag> {
    [
        ("Identity", "Logging in and one's own account."),
        ("Users", "Users and the sessions of others: for admins."),
        ("Clinic", "The clinic's settings, rooms and doctors."),
        ("Patients", "Patients and how to reach them."),
        (
            "Appointments",
            "Visits: booked, moved, and brought through the day.",
        ),
        (
            "Services",
            "The procedures that can be planned and charged.",
        ),
        ("Invoices", "What patients are charged."),
        ("Payments", "What was paid, and what went back."),
        ("Audit", "Who did what, to whose record, from where."),
        ("Operations", "For whoever runs the server."),
    ]
    .into_iter()
    .map(|(name, description)| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    })
    .collect()
}

/// Adds what follows from an operation's form, and answers all problems it can end in.
fn complete_operation(
    method: &Method,
    path: &str,
    operation: &mut Operation,
    examples: &Examples,
) -> BTreeSet<Code> {
    let mut problems = problems_of_its_own(operation);
    let permission = permission_of(operation);
    let takes_body = operation.request_body.is_some();
    // Every operation refuses query parameters that it does not have.
    problems.insert(Code::MalformedRequest);
    if let Some(permission) = permission {
        let bearer = SecurityRequirement::new::<_, [&str; 0], _>(BEARER, []);
        operation.security = Some(vec![bearer]);
        problems.insert(Code::Unauthenticated);
        problems.extend(refusals_of(permission.row()));
        add_paragraph(operation, &allowed_to(permission.row()));
    }
    if takes_body {
        problems.extend([
            Code::PayloadTooLarge,
            Code::UnsupportedMediaType,
            Code::ValidationFailed,
        ]);
    } else if !method.is_safe() {
        // It refuses a body, which has to be read for that.
        problems.insert(Code::PayloadTooLarge);
    }
    if permission.is_some() || takes_body {
        // It works with the database.
        problems.extend([Code::InternalError, Code::Unavailable]);
    }
    let ids: Vec<Parameter> = ids_in(path).map(path_parameter).collect();
    if !ids.is_empty() {
        problems.insert(Code::NotFound);
    }
    let parameters = operation.parameters.get_or_insert_default();
    parameters.splice(0..0, ids.into_iter().map(RefOr::T));
    if problems.contains(&Code::VersionMismatch) {
        let description = "The `ETag` of a version that may be changed, several of them, or `*`. \
                           Without it, whatever version is there.";
        parameters.push(RefOr::T(header_parameter("If-Match", description)));
    }
    if problems.contains(&Code::IdempotencyKeyReused) {
        let description = "A name for the request, of 1 to 255 visible ASCII characters. When the \
                           same request is sent again with it within 24 hours, it has no effect \
                           and is answered as the first time. Only what was done is remembered, \
                           not what was refused.";
        parameters.push(RefOr::T(header_parameter("Idempotency-Key", description)));
        add_replay_header(operation);
    }
    let is_versioned_read = complete_successes(method, operation, examples);
    let parameters = operation.parameters.get_or_insert_default();
    if is_versioned_read {
        let description = "The `ETag` of a version that is known; when it is still there, the \
                           answer is `304`.";
        parameters.push(RefOr::T(header_parameter("If-None-Match", description)));
    }
    for parameter in parameters {
        if let RefOr::T(parameter) = parameter {
            let example = examples.of_parameter(parameter);
            *parameter = ParameterBuilder::from(parameter.clone())
                .example(example)
                .build();
        }
    }
    complete_request(method, operation, examples);
    problems
}

fn problems_of_its_own(operation: &mut Operation) -> BTreeSet<Code> {
    let mut extensions = operation.extensions.take().unwrap_or_default();
    let names = extensions.remove(PROBLEMS);
    operation.extensions = Some(extensions).filter(|rest| !rest.is_empty());
    let names = names
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    names
        .filter_map(Value::as_str)
        .map(|name| Code::from_name(name).unwrap_or_else(|| unreachable!("no problem {name}")))
        .collect()
}

fn add_paragraph(operation: &mut Operation, paragraph: &str) {
    let said = operation.description.take();
    let said = said.filter(|description| !description.is_empty());
    operation.description = Some(match said {
        Some(description) => format!("{description}\n\n{paragraph}"),
        None => paragraph.to_owned(),
    });
}

fn ids_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Parameter {
    let thing = name.trim_end_matches("_id").replace('_', " ");
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(format!("The id of the {thing}.")))
        .schema(Some(Ref::from_schema_name(Id::name())))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn header_parameter(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build()
}

fn add_header(response: &mut Documented, name: &str, description: &str, schema: ObjectBuilder) {
    let header = HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description));
    response
        .headers
        .entry(name.to_owned())
        .or_insert_with(|| RefOr::T(header.build()));
}

fn add_request_id(response: &mut Documented) {
    add_header(response, "X-Request-Id", "The name of the request.", text());
}

fn add_replay_header(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let description = "`true` when this is the answer that was given before.";
            add_header(response, "Idempotency-Replayed", description, text());
        }
    }
}

/// Completes the answers of success, and tells whether they are reads of a versioned resource.
fn complete_successes(method: &Method, operation: &mut Operation, examples: &Examples) -> bool {
    let mut is_versioned_read = false;
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        add_request_id(response);
        if status == "201" {
            add_header(response, "Location", "Where it can be found.", text());
        }
        for content in response.content.values_mut() {
            let RefOr::T(content) = content else { continue };
            let name = content
                .schema
                .as_ref()
                .and_then(name_of)
                .unwrap_or_default();
            content.example = examples.of_answer(content.schema.as_ref());
            if VERSIONED.contains(&name) || name == VERSIONED_BY_PART {
                is_versioned_read = method == Method::GET;
                let headers = &mut response.headers;
                let header = HeaderBuilder::new()
                    .schema(Some(text()))
                    .description(Some("The version, for `If-Match`."));
                headers.insert("ETag".to_owned(), RefOr::T(header.build()));
            }
        }
    }
    if is_versioned_read {
        let mut unmodified = ResponseBuilder::new()
            .description("The version that `If-None-Match` names is still there.")
            .build();
        add_request_id(&mut unmodified);
        add_header(&mut unmodified, "ETag", "The version.", text());
        let responses = &mut operation.responses.responses;
        responses.insert("304".to_owned(), RefOr::T(unmodified));
    }
    is_versioned_read
}

fn name_of(schema: &RefOr<Schema>) -> Option<&str> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next(),
        RefOr::T(_) => None,
    }
}

fn complete_request(method: &Method, operation: &mut Operation, examples: &Examples) {
    let BodyLimit(max_bytes) = body_limit_of(operation);
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    let extensions = operation.extensions.get_or_insert_default();
    extensions.insert(MAX_BODY_BYTES.to_owned(), max_bytes.into());
    body.required = Some(Required::True);
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example = examples.of_request(content.schema.as_ref());
        }
    }
    if method == Method::PATCH
        && let Some(content) = body.content.get("application/json").cloned()
    {
        body.content.insert(MERGE_PATCH_JSON.to_owned(), content);
    }
}

/// Lists the problems an operation can end in, one answer a status; operations that have the same
/// codes share it.
fn refer_to_problems(
    operation: &mut Operation,
    codes: &BTreeSet<Code>,
    shared: &mut BTreeMap<String, RefOr<Documented>>,
) {
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        let name = names.join(".");
        let responses = &mut operation.responses.responses;
        let reference = RefOr::Ref(Ref::from_response_name(&name));
        responses.insert(status.as_str().to_owned(), reference);
        let answer = || RefOr::T(problem_answer(status, &codes));
        shared.entry(name).or_insert_with(answer);
    }
}

fn problem_answer(status: StatusCode, codes: &[Code]) -> Documented {
    let line = |code: &Code| format!("`{}`: {}.", code.as_str(), code.title());
    let description: Vec<String> = codes.iter().map(line).collect();
    let mut content = Content::new(Some(Ref::from_schema_name(ProblemBody::name())));
    for code in codes {
        let example = ExampleBuilder::new()
            .summary(code.title())
            .value(Some(Problem::example(*code)));
        let name = code.as_str().to_owned();
        content.examples.insert(name, RefOr::T(example.build()));
    }
    let mut response = ResponseBuilder::new()
        .description(description.join(" "))
        .content(PROBLEM_JSON, content)
        .build();
    add_request_id(&mut response);
    if status == StatusCode::UNAUTHORIZED {
        add_header(&mut response, "WWW-Authenticate", "`Bearer`.", text());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer);
        let description = "In how many seconds to try again.";
        add_header(&mut response, "Retry-After", description, seconds);
    }
    response
}
