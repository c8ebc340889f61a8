use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use dcms_domain::calendar as model;
use dcms_domain::shared::{Page, WindowRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Query, values_of};
use crate::paging::place_of;
use crate::problem::Problem;
use crate::respond::{Answer, ok};
use crate::router::App;
use crate::wire::{Bound, Day, Id, Instant, List, RoomWish, Weekday, number_in_query};

/// The most slots of a page.
const MAX_LIMIT: u32 = 10_000;
/// The slots of a page when nobody says how many.
const DEFAULT_LIMIT: u32 = 2_000;

type FreeSlotList = List<FreeSlot>;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_free_slots))
        .routes(routes!(next_free_slots))
}

/// A slot that can be booked, unless somebody is faster.
#[derive(Serialize, ToSchema)]
struct FreeSlot {
    doctor_id: Id,
    /// The room that is free, if one was asked for: the doctor's usual one, else the first.
    room_id: Option<Id>,
    /// The first moment that belongs to it.
    starts_at: Instant,
    /// The first moment that no longer belongs to it.
    ends_at: Instant,
}

impl From<model::FreeSlot> for FreeSlot {
    fn from(free: model::FreeSlot) -> Self {
        Self {
            doctor_id: Id::of(free.doctor_id),
            room_id: free.room_id.map(Id::of),
            starts_at: Instant(free.slot.starts_at()),
            ends_at: Instant(free.slot.ends_at()),
        }
    }
}

/// Which slots are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SlotWish {
    /// What the visit is for: says how long it takes, who performs it, which kind of room it needs,
    /// and how long that is cleaned up afterwards.
    service_id: Option<Id>,
    /// How long it takes; when absent, as long as the service, else as the clinic's settings say.
    #[param(minimum = 1, maximum = 1440)]
    #[serde(default, deserialize_with = "number_in_query")]
    duration_minutes: Option<i64>,
    /// Only when this room is free, or `any` that fits. Rooms do not matter when absent.
    room_id: Option<RoomWish>,
    /// Only when this patient is not elsewhere.
    patient_id: Option<Id>,
    /// The first time of the day that it may start at, by the clinic's clock: `HH:MM`. Later than
    /// `time_to`, it means from then on past midnight.
    time_from: Option<String>,
    /// The first time of the day that it may not start at any more: `HH:MM`, `24:00` included.
    time_to: Option<String>,
}

/// What of the slots that are wanted can be given more than once.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct SlotChoices {
    /// Only those of these doctors; may be repeated. Anybody who performs the service when absent.
    /// Who does not, or is no active doctor, has no slots.
    #[param(required = false)]
    doctor_id: Vec<Id>,
    /// Only those that start on these days of the week, by the clinic's clock; may be repeated.
    #[param(required = false)]
    weekday: Vec<Weekday>,
}

impl<S: Sync> FromRequestParts<S> for SlotChoices {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            doctor_id: values_of(parts, "doctor_id")?,
            weekday: values_of(parts, "weekday")?,
        })
    }
}

/// Where they are looked for, and how many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SlotWindow {
    /// Only those that do not start before it. Needed, unless `date` is given.
    from: Option<Bound>,
    /// Only those that do not end after it: at most 62 days of the clinic after `from`. Needed,
    /// unless `date` is given.
    to: Option<Bound>,
    /// Only those that lie in this day of the clinic.
    date: Option<Day>,
    /// The most items of a page.
    #[param(minimum = 1, maximum = 10_000, default = 2_000)]
    #[serde(default, deserialize_with = "number_in_query")]
    limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// From when on they are looked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SearchStart {
    /// Only those that do not start before it; now when absent.
    from: Option<Bound>,
}

fn wish_of(wish: SlotWish, choices: SlotChoices) -> model::SlotWish {
    let weekdays = choices.weekday.into_iter().map(|weekday| weekday.0);
    model::SlotWish {
        doctor_ids: choices.doctor_id.into_iter().map(Id::get).collect(),
        service_id: wish.service_id.map(Id::get),
        duration_minutes: wish.duration_minutes,
        room: wish.room_id.map_or(model::RoomWish::None, |room| room.0),
        patient_id: wish.patient_id.map(Id::get),
        weekdays: weekdays.collect(),
        time_from: wish.time_from,
        time_to: wish.time_to,
    }
}

/// Find free slots
///
/// Every slot on the clinic's grid that can be booked, earlier ones first: inside the clinic's
/// hours and the doctor's, outside closures and time off, with the doctor, the room and the patient
/// free, and within the smallest and the largest notice. One slot of each doctor at each start.
/// Needs a window of at most 62 days. A service, room or patient that does not exist or cannot be
/// booked is `validation_failed`.
#[utoipa::path(
    get, path = "/availability", tag = "Appointments",
    params(SlotChoices, SlotWish, SlotWindow),
    responses((status = 200, description = "A page of slots.", body = FreeSlotList)),
    extensions(
        ("x-permission" = json!("read_appointments")),
        ("x-problems" = json!(["validation_failed"])),
    ),
)]
async fn list_free_slots(
    State(app): State<App>,
    Caller(actor): Caller,
    choices: SlotChoices,
    Query(wish): Query<SlotWish>,
    Query(window): Query<SlotWindow>,
) -> Answer {
    let limit = window.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = format!("limit must lie between 1 and {MAX_LIMIT}");
        return Err(Problem::malformed(detail));
    }
    let after = place_of(window.cursor.as_deref())?;
    let request = WindowRequest {
        from: window.from.map(|bound| bound.0),
        to: window.to.map(|bound| bound.0),
        day: window.date.map(|day| day.0),
    };
    let wish = wish_of(wish, choices);
    let service = &app.services.availability;
    let page = service
        .free_slots(&actor, &wish, request, limit as usize, after)
        .await?;
    Ok(ok(List::of(page, FreeSlot::from)))
}

/// Find the next free slot of each doctor
///
/// The first of the slots that `GET /availability` offers, of each doctor who has one before the
/// largest notice ends; earlier ones first. There is no next page.
#[utoipa::path(
    get, path = "/availability/next", tag = "Appointments",
    params(SlotChoices, SlotWish, SearchStart),
    responses((status = 200, description = "A slot of each doctor.", body = FreeSlotList)),
    extensions(
        ("x-permission" = json!("read_appointments")),
        ("x-problems" = json!(["validation_failed"])),
    ),
)]
async fn next_free_slots(
    State(app): State<App>,
    Caller(actor): Caller,
    choices: SlotChoices,
    Query(wish): Query<SlotWish>,
    Query(start): Query<SearchStart>,
) -> Answer {
    let wish = wish_of(wish, choices);
    let from = start.from.map(|bound| bound.0);
    let service = &app.services.availability;
    let items = service.next_free_slots(&actor, &wish, from).await?;
    let page = Page::<_, model::SlotKey> { items, next: None };
    Ok(ok(List::of(page, FreeSlot::from)))
}
