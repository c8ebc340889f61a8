use std::ops::RangeInclusive;

use chrono::{TimeDelta, Weekday, WeekdaySet};

use super::commands::{closing_minute, minute_of_day};
use super::{
    Booking, FreeSlot, MINUTES_PER_DAY, SlotDoctor, SlotSearch, Stretch, TimeOfDay, Timetable,
    starts_within_notice,
};
use crate::access::{Actor, Permission};
use crate::catalog::{Service, available_service};
use crate::clinic::ClinicSettings;
use crate::shared::{
    Bound, CommonError, FaultCode, Faults, Instant, MAX_SLOT_HOURS, Page, PatientId, Ports, RoomId,
    ServiceId, TimeWindow, UserId, WindowRequest,
};
use crate::store::{Repositories, StoreError};

/// The longest window that is searched at once, in days as the clinic's clock counts them.
pub const MAX_WINDOW_DAYS: i64 = 62;

/// How many days are searched first for the next slot; then four times as many, and so on.
const FIRST_SEARCH_DAYS: i64 = 7;

/// Tells when a patient can be seen, by whom, and where.
pub struct AvailabilityService {
    ports: Ports,
}

/// Where a visit is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoomWish {
    /// That can be settled later.
    #[default]
    None,
    /// In any room that fits.
    Any,
    /// In that room.
    One(RoomId),
}

/// Which slots are wanted, as callers write it.
#[derive(Debug, Clone, Default)]
pub struct SlotWish {
    /// Only those of these doctors; of whoever performs the service when nobody is named.
    pub doctor_ids: Vec<UserId>,
    /// What the visit is for.
    pub service_id: Option<ServiceId>,
    /// How long it takes, 1 to 1,440 minutes; what the service takes when absent, else what the
    /// clinic's settings say.
    pub duration_minutes: Option<i64>,
    /// Where.
    pub room: RoomWish,
    /// Who comes, if that is known: they cannot be elsewhere.
    pub patient_id: Option<PatientId>,
    /// The days of the week it may start on; any when empty.
    pub weekdays: Vec<Weekday>,
    /// The first time of the day that it may start at: `HH:MM`.
    pub time_from: Option<String>,
    /// The first time of the day that it may not start at any more: `HH:MM`.
    pub time_to: Option<String>,
}

/// The place of a slot in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    /// When it starts.
    pub starts_at: Instant,
    /// Whose it is.
    pub doctor_id: UserId,
}

impl From<&FreeSlot> for SlotKey {
    fn from(free: &FreeSlot) -> Self {
        Self {
            starts_at: free.slot.starts_at(),
            doctor_id: free.doctor_id,
        }
    }
}

impl AvailabilityService {
    /// A service over these ports.
    #[must_use]
    pub const fn new(ports: Ports) -> Self {
        Self { ports }
    }

    /// At most `limit` of the free slots on the grid that lie in the window and come after that
    /// key: by their start, then in the order in which the doctors were made. The window needs both
    /// ends, at most [`MAX_WINDOW_DAYS`] apart.
    ///
    /// # Errors
    /// Faults, which name what the query has: the service, the room and the patient have to exist
    /// and be bookable.
    pub async fn free_slots(
        &self,
        actor: &Actor,
        wish: &SlotWish,
        window: WindowRequest,
        limit: usize,
        after: Option<SlotKey>,
    ) -> Result<Page<FreeSlot, SlotKey>, CommonError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let mut faults = Faults::new();
        let settings = connection.clinic().settings().await?;
        let window = search_window(window.resolve(settings.time_zone), &settings, &mut faults);
        let now = self.ports.clock.now();
        let wanted = Wanted::of(&mut *connection, wish, &settings, now, &mut faults).await?;
        faults.into_result()?;
        let asked_from = after.map_or(window.start, |after| after.starts_at.max(window.start));
        let window = wanted.within_notice(asked_from..window.end);
        if window.is_empty() {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        }
        let plans = wanted
            .plans(&mut *connection, &wanted.doctors, &window)
            .await?;
        let search = wanted.search(&plans, &wanted.doctors, window);
        let mut items: Vec<FreeSlot> = (search.free_slots())
            .filter(|free| after.is_none_or(|after| SlotKey::from(free) > after))
            .take(limit.saturating_add(1))
            .collect();
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(SlotKey::from);
        Ok(Page { items, next })
    }

    /// The first free slot of each doctor who has one before the largest notice ends, not before
    /// `from`; earlier ones first.
    ///
    /// # Errors
    /// As [`free_slots`](Self::free_slots).
    pub async fn next_free_slots(
        &self,
        actor: &Actor,
        wish: &SlotWish,
        from: Option<Bound>,
    ) -> Result<Vec<FreeSlot>, CommonError> {
        actor.require(Permission::ReadAppointments)?;
        let mut connection = self.ports.store.connect().await?;
        let mut faults = Faults::new();
        let settings = connection.clinic().settings().await?;
        let request = WindowRequest {
            from,
            ..WindowRequest::default()
        };
        let now = self.ports.clock.now();
        let from = request.resolve(settings.time_zone).from.unwrap_or(now);
        let wanted = Wanted::of(&mut *connection, wish, &settings, now, &mut faults).await?;
        faults.into_result()?;
        let mut rest = wanted.within_notice(from..Instant::MAX_UTC);
        let mut waiting = wanted.doctors.clone();
        let mut found = Vec::new();
        let mut days = FIRST_SEARCH_DAYS;
        while !rest.is_empty() && !waiting.is_empty() {
            let window = rest.start..rest.end.min(rest.start + TimeDelta::days(days));
            // A slot may begin in this window and end in the next one.
            rest.start = if window.end == rest.end {
                rest.end
            } else {
                window.end - wanted.length
            };
            days *= 4;
            let plans = wanted.plans(&mut *connection, &waiting, &window).await?;
            let first = wanted.search(&plans, &waiting, window).first_free_slots();
            waiting.retain(|doctor| first.iter().all(|slot| slot.doctor_id != doctor.doctor_id));
            found.extend(first);
        }
        found.sort_by_key(|slot| SlotKey::from(slot));
        Ok(found)
    }
}

/// What matters to a stretch of time.
struct Plans {
    timetable: Timetable,
    bookings: Vec<Booking>,
}

/// What is wanted, when all of it is known.
struct Wanted {
    doctors: Vec<SlotDoctor>,
    rooms: Option<Vec<RoomId>>,
    patient_id: Option<PatientId>,
    starts: RangeInclusive<Instant>,
    length: TimeDelta,
    buffer: TimeDelta,
    grid_minutes: i32,
    weekdays: WeekdaySet,
    time_of_day: Option<TimeOfDay>,
}

impl Wanted {
    /// Looks up who and what could be booked; notes what cannot.
    async fn of(
        repositories: &mut dyn Repositories,
        wish: &SlotWish,
        settings: &ClinicSettings,
        now: Instant,
        faults: &mut Faults,
    ) -> Result<Self, StoreError> {
        let service = match wish.service_id {
            None => None,
            Some(service_id) => {
                let known = repositories.services().get(service_id).await?;
                available_service(known.as_slice(), service_id, "/service_id", faults).cloned()
            }
        };
        check_patient(repositories, wish.patient_id, faults).await?;
        let among = performers(&wish.doctor_ids, service.as_ref());
        let weekdays = wish.weekdays.iter().copied().collect();
        Ok(Self {
            doctors: repositories.calendar().slot_doctors(among).await?,
            rooms: rooms(repositories, wish.room, service.as_ref(), faults).await?,
            patient_id: wish.patient_id,
            starts: starts_within_notice(
                now,
                TimeDelta::minutes(settings.smallest_notice_minutes.into()),
                TimeDelta::days(settings.largest_notice_days.into()),
            ),
            length: length(wish.duration_minutes, service.as_ref(), settings, faults),
            buffer: TimeDelta::minutes(service.map_or(0, |service| service.buffer_minutes.into())),
            grid_minutes: settings.slot_grid_minutes,
            weekdays: if wish.weekdays.is_empty() {
                WeekdaySet::ALL
            } else {
                weekdays
            },
            time_of_day: time_of_day(wish, faults),
        })
    }

    /// The part of the window that slots can lie in.
    fn within_notice(&self, window: Stretch) -> Stretch {
        window.start.max(*self.starts.start())..window.end.min(*self.starts.end() + self.length)
    }

    async fn plans(
        &self,
        repositories: &mut dyn Repositories,
        doctors: &[SlotDoctor],
        window: &Stretch,
    ) -> Result<Plans, StoreError> {
        let doctor_ids: Vec<UserId> = doctors.iter().map(|doctor| doctor.doctor_id).collect();
        let room_ids = self.rooms.as_deref().unwrap_or_default();
        let taken = window.start..window.end + self.buffer;
        let calendar = repositories.calendar();
        Ok(Plans {
            timetable: calendar.timetable(&doctor_ids, window).await?,
            bookings: calendar
                .bookings(&doctor_ids, room_ids, self.patient_id, &taken)
                .await?,
        })
    }

    fn search<'plans>(
        &'plans self,
        plans: &'plans Plans,
        doctors: &'plans [SlotDoctor],
        window: Stretch,
    ) -> SlotSearch<'plans> {
        SlotSearch {
            timetable: &plans.timetable,
            bookings: &plans.bookings,
            doctors,
            rooms: self.rooms.as_deref(),
            patient_id: self.patient_id,
            window,
            starts: self.starts.clone(),
            length: self.length,
            buffer: self.buffer,
            grid_minutes: self.grid_minutes,
            weekdays: self.weekdays,
            time_of_day: self.time_of_day,
        }
    }
}

/// The window between both ends; empty, and a fault, when it is not one that is searched.
fn search_window(window: TimeWindow, settings: &ClinicSettings, faults: &mut Faults) -> Stretch {
    let (Some(from), Some(to)) = (window.from, window.to) else {
        for (pointer, end) in [("/from", window.from), ("/to", window.to)] {
            if end.is_none() {
                faults.add(pointer, FaultCode::Required, "must be given, or else date");
            }
        }
        return Instant::UNIX_EPOCH..Instant::UNIX_EPOCH;
    };
    let reading = |moment: Instant| moment.with_timezone(&settings.time_zone).naive_local();
    if reading(to) - reading(from) > TimeDelta::days(MAX_WINDOW_DAYS) {
        let detail = format!("must be at most {MAX_WINDOW_DAYS} days after from");
        faults.add("/to", FaultCode::OutOfRange, detail);
    }
    from..to
}

/// Those who may treat; nobody in particular when that is left open.
fn performers(wished: &[UserId], service: Option<&Service>) -> Option<Vec<UserId>> {
    let named = service.map_or(&[][..], |service| &service.doctor_ids);
    match (wished, named) {
        ([], []) => None,
        ([], named) => Some(named.to_vec()),
        (wished, []) => Some(wished.to_vec()),
        (wished, named) => {
            let both = wished.iter().filter(|doctor_id| named.contains(doctor_id));
            Some(both.copied().collect())
        }
    }
}

async fn check_patient(
    repositories: &mut dyn Repositories,
    patient_id: Option<PatientId>,
    faults: &mut Faults,
) -> Result<(), StoreError> {
    let Some(patient_id) = patient_id else {
        return Ok(());
    };
    let code = match repositories.patients().get(patient_id).await? {
        None => FaultCode::Unknown,
        Some(patient) if patient.archived_at.is_some() => FaultCode::NotAvailable,
        Some(_) => return Ok(()),
    };
    let detail = "must be a patient who is not archived";
    faults.add("/patient_id", code, detail);
    Ok(())
}

/// The rooms to choose from, preferred ones first; none that would not be accepted.
async fn rooms(
    repositories: &mut dyn Repositories,
    wish: RoomWish,
    service: Option<&Service>,
    faults: &mut Faults,
) -> Result<Option<Vec<RoomId>>, StoreError> {
    let kind = service.and_then(|service| service.room_kind.clone());
    match wish {
        RoomWish::None => Ok(None),
        RoomWish::Any => Ok(Some(repositories.calendar().slot_rooms(kind).await?)),
        RoomWish::One(room_id) => {
            let room = repositories.clinic().room(room_id).await?;
            let code = match room {
                None => FaultCode::Unknown,
                Some(room) if !room.is_active || (kind.is_some() && kind != room.kind) => {
                    FaultCode::NotAvailable
                }
                Some(_) => return Ok(Some(vec![room_id])),
            };
            let detail = "must be an active room of the kind that the service needs";
            faults.add("/room_id", code, detail);
            Ok(None)
        }
    }
}

fn length(
    wished: Option<i64>,
    service: Option<&Service>,
    settings: &ClinicSettings,
    faults: &mut Faults,
) -> TimeDelta {
    let longest = MAX_SLOT_HOURS * 60;
    let usual = service
        .and_then(|service| service.default_duration_minutes)
        .unwrap_or(settings.default_slot_minutes);
    let minutes = wished.unwrap_or(usual.into());
    if !(1..=longest).contains(&minutes) {
        let detail = format!("must lie between 1 and {longest}");
        faults.add("/duration_minutes", FaultCode::OutOfRange, detail);
    }
    TimeDelta::minutes(minutes.clamp(1, longest))
}

fn time_of_day(wish: &SlotWish, faults: &mut Faults) -> Option<TimeOfDay> {
    if wish.time_from.is_none() && wish.time_to.is_none() {
        return None;
    }
    let from_minute = match &wish.time_from {
        None => 0,
        Some(time) => minute_of_day(time, "/time_from", faults)?,
    };
    let until_minute = match &wish.time_to {
        None => MINUTES_PER_DAY,
        Some(time) => closing_minute(time, "/time_to", faults)?,
    };
    if from_minute == until_minute {
        let detail = "must be another time than time_from";
        faults.add("/time_to", FaultCode::OutOfRange, detail);
    }
    Some(TimeOfDay {
        from_minute,
        until_minute,
    })
}
