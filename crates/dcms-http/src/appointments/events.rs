//! Changes of visits as they happen: server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, Sse};
use dcms_domain::access::{Actor, Permission};
use dcms_domain::appointments as model;
use dcms_domain::appointments::{AppointmentEvent, Position, Watch};
use dcms_domain::identity::{IdentityError, Secret};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::extract::{Bearer, Caller, Query};
use crate::problem::{Code, Problem};
use crate::respond::Answer;
use crate::router::App;
use crate::wire::{Day, HistoryAction, Id};

/// How often it is asked whether the session still counts, and whether the server goes on.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// How many changes are read at once for who comes back.
const PAGE: u16 = 200;

/// How long who is sent away waits before they come back, at least and at most.
const RETRY: std::ops::Range<u64> = 500..3_000;

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which changes are told.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventFilter {
    /// Only those of visits to this doctor, before the change or after it.
    doctor_id: Option<Id>,
    /// Only those of visits that overlap this day of the clinic, before the change or after it.
    date: Option<Day>,
}

/// What is told of a change.
#[derive(Serialize)]
struct Told {
    appointment_id: Id,
    version: i64,
    action: HistoryAction,
}

/// The last event that the client has; none when it starts.
pub(super) struct LastEventId(Option<Position>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(LAST_EVENT_ID).iter();
        let id = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().ok().and_then(position_of),
            (Some(_), Some(_)) => None,
        };
        let problem = || Problem::malformed("Last-Event-ID must be the id of an event.");
        id.map(|id| Self(Some(id))).ok_or_else(problem)
    }
}

fn position_of(id: &str) -> Option<Position> {
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    id.parse().ok().filter(|_| is_number).map(Position::new)
}

/// Watch the calendar
///
/// Server-sent events: `appointment` for each change of a visit, in the order of the changes, with
/// `{"appointment_id", "version", "action"}` as data and an id from which a client that comes back with
/// `Last-Event-ID` goes on without a gap. Without that header a stream starts with `ready`: what is read
/// after it is as new as the events that follow. With it, a stream starts with the changes since; or with
/// `reset`, which stands for `ready`, when the id is unknown, so everything has to be read again. `resume`
/// is the last event of a stream that the client is to open again. Comments come while nothing changes.
/// The stream ends when the session does.
#[utoipa::path(
    get, path = "/appointments/events", tag = "Appointments",
    params(
        EventFilter,
        ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that the client has, when it comes back."),
    ),
    responses((status = 200, description = "The changes, as they happen.", body = String, content_type = "text/event-stream")),
    extensions(
        ("x-permission" = json!("read_appointments")),
        ("x-problems" = json!(["unavailable"])),
    ),
)]
pub(super) async fn watch_appointments(
    State(app): State<App>,
    Caller(actor): Caller,
    Bearer(token): Bearer,
    LastEventId(last): LastEventId,
    Query(filter): Query<EventFilter>,
) -> Answer {
    if app.draining.has_begun() {
        let detail = "The server is about to stop.";
        return Err(Problem::new(Code::Unavailable, detail));
    }
    let query = model::WatchQuery {
        doctor_id: filter.doctor_id.map(Id::get),
        day: filter.date.map(|day| day.0),
    };
    let watch = app.services.appointments.watch(&actor, query).await?;
    let (live, told) = app.live.subscribe().await;
    let (from, greeting) = match last {
        None => (told, Some("ready")),
        Some(last) if last <= told => (last, None),
        // Another instance may have told more than this one until now.
        Some(last) if last <= app.services.appointments.last_position(&actor).await? => {
            (last, None)
        }
        Some(_) => (told, Some("reset")),
    };
    let now = Instant::now();
    let mut events = Events {
        app,
        actor,
        token,
        watch,
        position: from,
        read_up_to: told,
        page: VecDeque::new(),
        live,
        next_check: now + CHECK_PERIOD,
        last_sent: now,
        has_ended: false,
    };
    let greeting = greeting.map(|name| events.sent(Event::default().event(name).data("{}")));
    let rest = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let all = futures_util::StreamExt::chain(stream::iter(greeting.map(Ok)), rest);
    let mut response = Sse::new(all).into_response();
    let x_accel_buffering = HeaderName::from_static("x-accel-buffering");
    // A proxy that gathers answers before it passes them on would gather this one for ever.
    response
        .headers_mut()
        .insert(x_accel_buffering, HeaderValue::from_static("no"));
    Ok(response)
}

/// A stream, from when its answer began.
struct Events {
    app: App,
    actor: Actor,
    token: Secret,
    watch: Watch,
    /// Everything up to here was told, or does not concern who watches.
    position: Position,
    /// What lies up to here has to be read; what lies behind is told live.
    read_up_to: Position,
    /// What was read.
    page: VecDeque<AppointmentEvent>,
    live: broadcast::Receiver<Arc<AppointmentEvent>>,
    next_check: Instant,
    last_sent: Instant,
    has_ended: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Event> {
        while !self.has_ended {
            let now = Instant::now();
            if now >= self.next_check {
                self.next_check = now + CHECK_PERIOD;
                match self.standing().await {
                    Standing::GoesOn => {}
                    Standing::HasToResume => return Some(self.resume()),
                    Standing::IsOver => return None,
                }
            }
            if let Some(event) = self.page.pop_front() {
                if let Some(told) = self.tell(&event) {
                    return Some(told);
                }
            } else if self.position < self.read_up_to {
                if self.read().await.is_err() {
                    return Some(self.resume());
                }
            } else if now >= self.next_heartbeat() {
                // With the position, for there may be much since that does not concern who watches.
                return Some(self.sent(Event::default().comment("")));
            } else {
                let next_look = self.next_check.min(self.next_heartbeat());
                tokio::select! {
                    change = self.live.recv() => match change {
                        Ok(event) => if let Some(told) = self.tell(&event) {
                            return Some(told);
                        },
                        // Too slow, or nobody tells any more.
                        Err(_) => return Some(self.resume()),
                    },
                    () = sleep_until(next_look) => {}
                }
            }
        }
        None
    }

    fn next_heartbeat(&self) -> Instant {
        self.last_sent + self.app.heartbeat_period
    }

    async fn standing(&mut self) -> Standing {
        if self.app.draining.has_begun() {
            return Standing::HasToResume;
        }
        let identity = &self.app.services.identity;
        match identity.authenticate_again(&self.token, &self.actor).await {
            Ok(actor) if actor.require(Permission::ReadAppointments).is_ok() => Standing::GoesOn,
            Ok(_) | Err(IdentityError::Unauthenticated) => Standing::IsOver,
            // Nobody knows. Who comes back when the store does is asked who they are again.
            Err(_) => Standing::HasToResume,
        }
    }

    async fn read(&mut self) -> Result<(), model::AppointmentError> {
        let appointments = &self.app.services.appointments;
        let events = appointments.events_after(&self.actor, self.position, PAGE);
        let events = events.await?;
        if events.is_empty() {
            self.position = self.read_up_to;
        }
        self.page = events.into();
        Ok(())
    }

    /// The change as it is sent, unless it was or does not concern who watches.
    fn tell(&mut self, event: &AppointmentEvent) -> Option<Event> {
        if event.position <= self.position {
            return None;
        }
        self.position = event.position;
        if !self.watch.concerns(event) {
            return None;
        }
        let told = Told {
            appointment_id: Id::of(event.appointment_id),
            version: event.version.get(),
            action: HistoryAction(event.action),
        };
        // Ids, a number and a name always have a form as JSON.
        let event = Event::default().event("appointment").json_data(told).ok()?;
        Some(self.sent(event))
    }

    /// The last event: the client is to come back. Not all at the same moment.
    fn resume(&mut self) -> Event {
        self.has_ended = true;
        let spread =
            Uuid::from(self.actor.session_id).as_u128() % u128::from(RETRY.end - RETRY.start);
        let retry = RETRY.start + u64::try_from(spread).unwrap_or_default();
        let event = Event::default().event("resume").data("{}");
        self.sent(event.retry(Duration::from_millis(retry)))
    }

    fn sent(&mut self, event: Event) -> Event {
        self.last_sent = Instant::now();
        event.id(self.position.get().to_string())
    }
}

enum Standing {
    GoesOn,
    HasToResume,
    IsOver,
}
