use std::convert::Infallible;

use serde_json::json;

use super::*;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be decoded matters")]
struct Order {
    id: wire::Id,
    at: wire::Instant,
    day: Option<wire::Day>,
    gender: wire::Gender,
    count: i64,
    lines: Option<Vec<Line>>,
    #[serde(default)]
    #[schema(value_type = String)]
    name: wire::Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: wire::Patch<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be decoded matters")]
struct Line {
    qty: i64,
}

request_bodies!(Order);

fn good() -> Value {
    json!({
        "id": "0198f000-0000-7000-8000-000000000001",
        "at": "2026-03-29T09:00:00+02:00",
        "gender": "other",
        "count": 3,
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut order = good();
    order[field] = value;
    order
}

/// The status and code of the refusal, with pointers and codes of its faults.
fn refusal(body: &str) -> (u16, Vec<(String, String)>) {
    let problem = decode::<Order>(body.as_bytes()).expect_err(body);
    let example = problem.into_body("");
    let body = serde_json::to_value(example).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let faults = body["errors"].as_array().into_iter().flatten();
    let faults = faults.map(|fault| (text(&fault["pointer"]), text(&fault["code"])));
    let status = u16::try_from(body["status"].as_u64().unwrap()).unwrap();
    (status, faults.collect())
}

#[test]
fn a_body_of_the_schema_is_taken() {
    for order in [
        good(),
        with("day", Value::Null),
        with("day", json!("2026-02-28")),
        with(
            "lines",
            json!([{"qty": 1}, {"qty": -9_223_372_036_854_775_808_i64}]),
        ),
        with("name", json!("")),
        with("note", Value::Null),
    ] {
        let taken = decode::<Order>(order.to_string().as_bytes());
        assert!(taken.is_ok(), "{order}");
    }
}

#[test]
fn a_patch_tells_absent_from_null_from_a_value() {
    use dcms_domain::shared::Change;

    let note = |order: Value| {
        let order = decode::<Order>(order.to_string().as_bytes()).unwrap();
        order.note.0
    };
    assert_eq!(note(good()), Change::Keep);
    assert_eq!(note(with("note", Value::Null)), Change::Clear);
    assert_eq!(note(with("note", json!("x"))), Change::Set("x".to_owned()));
}

#[test]
fn what_is_not_of_the_form_is_malformed() {
    let nested = "[".repeat(20_000);
    let good = good().to_string();
    let mut bodies = vec![
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        nested,
        format!("{good}x"),
        good.replacen('{', "{\"count\": 3, ", 1),
        good.replace("other", "\\ud800"),
        good.replace("other", "other\u{0}"),
        good.replacen(":3", ":3.0", 1),
        good.replacen(":3", ":1e999", 1),
        good.replacen(":3", ":9223372036854775808", 1),
    ];
    for order in [
        with("extra", json!(1)),
        with("count", json!("3")),
        with("count", json!(true)),
        with("id", json!("0198f000000070008000000000000001")),
        with("id", json!("{0198f000-0000-7000-8000-000000000001}")),
        with("at", json!("2026-03-29T09:00:00")),
        with("at", json!("2026-03-29 09:00:00+02:00")),
        with("at", json!("294276-12-31T23:59:59Z")),
        with("at", json!("infinity")),
        with("day", json!("2026-02-29")),
        with("day", json!("+2026-2-9")),
        with("lines", json!({"qty": 1})),
        with("lines", json!([[1]])),
        with("lines", json!([{"qty": 1, "extra": 1}])),
        with("name", json!(["x"])),
    ] {
        bodies.push(order.to_string());
    }
    for body in bodies {
        assert_eq!(refusal(&body), (400, vec![]), "{body:.100}");
    }
}

#[test]
fn everything_missing_null_or_unnamed_is_a_fault_all_at_once() {
    let fault = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    assert_eq!(
        refusal("{}"),
        (
            422,
            vec![
                fault("/at", "required"),
                fault("/count", "required"),
                fault("/gender", "required"),
                fault("/id", "required"),
            ]
        )
    );
    let order = json!({
        "id": null,
        "at": "2026-03-29T09:00:00+02:00",
        "gender": "none",
        "count": 3,
        "lines": [{"qty": 1}, {}],
        "name": null,
    });
    assert_eq!(
        refusal(&order.to_string()),
        (
            422,
            vec![
                fault("/gender", "unknown"),
                fault("/id", "required"),
                fault("/lines/1/qty", "required"),
                fault("/name", "required"),
            ]
        )
    );
}

#[test]
fn an_instant_is_cut_to_the_microsecond_and_written_in_utc() {
    let written = |text: &str| serde_json::to_value(wire::Instant::parse(text).unwrap()).unwrap();
    assert_eq!(written("2026-03-29T09:00:00+02:00"), "2026-03-29T07:00:00Z");
    let fine = "2026-03-29T09:00:00.1234567Z";
    assert_eq!(written(fine), "2026-03-29T09:00:00.123456Z");
}

#[test]
fn patch_takes_a_merge_patch_and_nothing_takes_a_form() {
    let verdict = |method: &Method, content_type: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        require_json(method, &headers).is_ok()
    };
    assert!(verdict(&Method::POST, "application/json"));
    assert!(verdict(&Method::POST, "Application/JSON; charset=utf-8"));
    assert!(verdict(&Method::PATCH, MERGE_PATCH_JSON));
    assert!(!verdict(&Method::POST, MERGE_PATCH_JSON));
    assert!(!verdict(&Method::POST, "application/x-www-form-urlencoded"));
    assert!(!verdict(&Method::POST, "application/jsonp"));
    assert!(require_json(&Method::POST, &HeaderMap::new()).is_err());
}

#[test]
fn sixteen_levels_are_read_and_no_more() {
    let nested = |open: &str, close: &str, depth: usize| {
        let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        serde_json::from_str::<StrictValue>(&text).map(|StrictValue(value)| value)
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(nested(open, close, MAX_DEPTH).is_ok());
        let error = nested(open, close, MAX_DEPTH + 1).unwrap_err();
        assert!(error.to_string().contains("deeper than 16"), "{error}");
    }
    // An array of many is not deep.
    let wide = vec![json!([[]]); 1000];
    assert!(serde_json::from_value::<StrictValue>(wide.into()).is_ok());
}

fn chunks(bytes: usize) -> impl futures_util::Stream<Item = Result<Vec<u8>, Infallible>> {
    let whole = vec![b'x'; bytes];
    let parts: Vec<_> = whole.chunks(60_000).map(<[u8]>::to_vec).collect();
    futures_util::stream::iter(parts.into_iter().map(Ok))
}

async fn read_chunks(
    chunks: impl futures_util::Stream<Item = Result<Vec<u8>, Infallible>> + Send + 'static,
    timeout: Duration,
) -> Result<usize, u16> {
    let body = Body::from_stream(chunks);
    let read = read(body, BodyLimit(100_000), timeout).await;
    read.map(|bytes| bytes.len())
        .map_err(|problem| problem.into_body("").status())
}

#[tokio::test]
async fn a_body_of_the_limit_is_read_and_one_byte_more_refused() {
    let in_time = Duration::from_mins(1);
    assert_eq!(read_chunks(chunks(100_000), in_time).await, Ok(100_000));
    for bytes in [100_001, 300_000] {
        assert_eq!(read_chunks(chunks(bytes), in_time).await, Err(413));
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_the_callers_fault() {
    let at_once = Duration::from_millis(1);
    for (bytes, status) in [(0, 400), (50_000, 400), (100_001, 413)] {
        let stalled = chunks(bytes).chain(futures_util::stream::pending());
        assert_eq!(read_chunks(stalled, at_once).await, Err(status));
    }
}
