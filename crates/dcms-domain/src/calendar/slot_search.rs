use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, TimeDelta, WeekdaySet};

use super::Timetable;
use super::open_times::OpenTimes;
use super::stretches::{Stretch, difference, merged};
use super::wall_clock::Segment;
use crate::shared::{Instant, PatientId, RoomId, TimeSlot, UserId};

const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_DAY: i64 = 24 * 60 * SECONDS_PER_MINUTE;

/// A visit that takes its doctor, its room and its patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    /// Who treats.
    pub doctor_id: UserId,
    /// Who comes.
    pub patient_id: PatientId,
    /// Where, if that is settled.
    pub room_id: Option<RoomId>,
    /// When.
    pub slot: TimeSlot,
    /// Until when the room is taken: not before the visit ends.
    pub room_free_at: Instant,
}

/// A doctor to look for slots of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotDoctor {
    /// The doctor.
    pub doctor_id: UserId,
    /// The room that is taken first, if it is one of those that fit.
    pub usual_room_id: Option<RoomId>,
}

/// Times of a day that the clock on the wall shows: half open, in minutes after midnight. They go
/// past midnight when they start later than they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    /// The first minute that belongs to it.
    pub from_minute: u16,
    /// The first that no longer belongs to it.
    pub until_minute: u16,
}

impl TimeOfDay {
    fn contains(self, minute: i64) -> bool {
        let from = i64::from(self.from_minute);
        let until = i64::from(self.until_minute);
        if from <= until {
            (from..until).contains(&minute)
        } else {
            minute >= from || minute < until
        }
    }
}

/// What is looked for when somebody asks when a patient can be seen.
#[derive(Debug, Clone)]
pub struct SlotSearch<'plans> {
    /// When doctors may be booked, as far as it matters to the window.
    pub timetable: &'plans Timetable,
    /// The visits that take a doctor, a room or the patient during the window, and during the
    /// buffer after it.
    pub bookings: &'plans [Booking],
    /// Who may treat. Of slots that start together, those of earlier ones come first.
    pub doctors: &'plans [SlotDoctor],
    /// Where it may be; of those that are free, the first is taken. `None`: without a room.
    pub rooms: Option<&'plans [RoomId]>,
    /// Who comes, if that is known.
    pub patient_id: Option<PatientId>,
    /// A slot lies inside of it as a whole. In years that are
    /// [believed](crate::shared::is_sane_instant).
    pub window: Stretch,
    /// A slot starts at one of these moments; see [`starts_within_notice`].
    pub starts: RangeInclusive<Instant>,
    /// How long the visit takes.
    pub length: TimeDelta,
    /// How long its room stays taken afterwards.
    pub buffer: TimeDelta,
    /// The minutes that the wall clock shows at the start are a multiple of this: 1 to 60.
    pub grid_minutes: i32,
    /// The days of the week it may start on, by the wall clock.
    pub weekdays: WeekdaySet,
    /// The times of the day it may start at.
    pub time_of_day: Option<TimeOfDay>,
}

/// A slot that can be booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSlot {
    /// Who treats.
    pub doctor_id: UserId,
    /// Where, if a room was asked for.
    pub room_id: Option<RoomId>,
    /// When.
    pub slot: TimeSlot,
}

/// The starts that are neither too soon nor too late for who books now.
#[must_use]
pub fn starts_within_notice(
    now: Instant,
    smallest: TimeDelta,
    largest: TimeDelta,
) -> RangeInclusive<Instant> {
    now + smallest..=now + largest
}

impl<'plans> SlotSearch<'plans> {
    /// The slots on the grid that can be booked, ordered by start, then by doctor. Each is worked
    /// out when it is asked for.
    pub fn free_slots(&self) -> impl Iterator<Item = FreeSlot> {
        let mut starts = self.starts_of_doctors();
        let mut rooms = self.rooms.map(|rooms| FreeRooms::new(self, rooms));
        let mut next: BinaryHeap<_> = (starts.iter_mut().enumerate())
            .filter_map(|(index, starts)| Some(Reverse((starts.next()?, index))))
            .collect();
        std::iter::from_fn(move || {
            loop {
                let Reverse((second, index)) = next.pop()?;
                next.extend(starts[index].next().map(|second| Reverse((second, index))));
                let slot = self.slot(second, self.doctors[index], rooms.as_mut());
                if slot.is_some() {
                    return slot;
                }
            }
        })
    }

    /// The first of the [`free_slots`](Self::free_slots) of each doctor who has one, in the order
    /// of the doctors.
    #[must_use]
    pub fn first_free_slots(&self) -> Vec<FreeSlot> {
        let mut rooms = self.rooms.map(|rooms| FreeRooms::new(self, rooms));
        (self.doctors.iter().zip(self.starts_of_doctors()))
            .filter_map(|(doctor, mut starts)| {
                starts.find_map(|second| self.slot(second, *doctor, rooms.as_mut()))
            })
            .collect()
    }

    /// The starts, as seconds of the epoch, at which a doctor and the patient are free.
    fn starts_of_doctors(&self) -> Vec<impl Iterator<Item = i64> + use<'plans>> {
        let times = OpenTimes::new(self.timetable, &self.window);
        let mut taken: HashMap<UserId, Vec<Stretch>> = HashMap::new();
        let mut taken_by_patient = Vec::new();
        for booking in self.bookings {
            let stretch = booking.slot.starts_at()..booking.slot.ends_at();
            if self.patient_id == Some(booking.patient_id) {
                taken_by_patient.push(stretch.clone());
            }
            taken.entry(booking.doctor_id).or_default().push(stretch);
        }
        let taken_by_patient = merged(taken_by_patient);
        (self.doctors.iter())
            .map(|SlotDoctor { doctor_id, .. }| {
                let taken = merged(taken.get(doctor_id).cloned().unwrap_or_default());
                let free = difference(&times.of(*doctor_id), &taken);
                let free = difference(&free, &taken_by_patient);
                self.starts_within(&free, times.segments())
            })
            .collect()
    }

    /// The starts on the grid of slots that lie in one of the stretches.
    fn starts_within(
        &self,
        free: &[Stretch],
        segments: &[Segment],
    ) -> impl Iterator<Item = i64> + use<'plans> {
        let mut runs = Vec::new();
        for segment in segments {
            for stretch in free {
                let first = (stretch.start)
                    .max(*self.starts.start())
                    .max(segment.stretch.start);
                let last = (stretch.end - self.length).min(*self.starts.end());
                let end = (last.timestamp() + 1).min(first_second_from(segment.stretch.end));
                let first = first_second_from(first);
                if first < end {
                    runs.push((first..end, segment.offset.num_seconds()));
                }
            }
        }
        let step = i64::from(self.grid_minutes) * SECONDS_PER_MINUTE;
        let (weekdays, time_of_day) = (self.weekdays, self.time_of_day);
        runs.into_iter().flat_map(move |(seconds, offset)| {
            // The grid divides the hour, so it has a line at every midnight of the wall clock.
            let first = seconds.start + (-(seconds.start + offset)).rem_euclid(step);
            std::iter::successors(Some(first), move |second| Some(second + step))
                .take_while(move |second| *second < seconds.end)
                .filter(move |second| may_start_at(second + offset, weekdays, time_of_day))
        })
    }

    /// The slot that starts at the second, if there is a room for it.
    fn slot(
        &self,
        second: i64,
        doctor: SlotDoctor,
        rooms: Option<&mut FreeRooms<'_>>,
    ) -> Option<FreeSlot> {
        let start = DateTime::from_timestamp(second, 0)?;
        let slot = TimeSlot::new(start, start + self.length).ok()?;
        let room_id = match rooms {
            None => None,
            Some(rooms) => Some(rooms.first(slot, doctor.usual_room_id)?),
        };
        Some(FreeSlot {
            doctor_id: doctor.doctor_id,
            room_id,
            slot,
        })
    }
}

/// The first whole second that is not before the moment.
fn first_second_from(moment: Instant) -> i64 {
    moment.timestamp() + i64::from(moment.timestamp_subsec_nanos() > 0)
}

/// Whether a visit may start when the wall clock shows that many seconds since 1970.
fn may_start_at(reading: i64, weekdays: WeekdaySet, time_of_day: Option<TimeOfDay>) -> bool {
    let minute = reading.rem_euclid(SECONDS_PER_DAY) / SECONDS_PER_MINUTE;
    let weekday = DateTime::from_timestamp(reading, 0).map(|reading| reading.weekday());
    weekday.is_some_and(|weekday| weekdays.contains(weekday))
        && time_of_day.is_none_or(|times| times.contains(minute))
}

/// Tells the first room that is free.
struct FreeRooms<'plans> {
    rooms: &'plans [RoomId],
    buffer: TimeDelta,
    taken: HashMap<RoomId, Vec<Stretch>>,
    /// What was told last: the doctors who are free then ask for the same start.
    last: Option<(TimeSlot, Option<RoomId>)>,
}

impl<'plans> FreeRooms<'plans> {
    fn new(search: &SlotSearch<'plans>, rooms: &'plans [RoomId]) -> Self {
        let mut taken: HashMap<RoomId, Vec<Stretch>> = HashMap::new();
        for booking in search.bookings {
            if let Some(room_id) = booking.room_id {
                let end = booking.room_free_at;
                let stretch = booking.slot.starts_at()..end;
                taken.entry(room_id).or_default().push(stretch);
            }
        }
        Self {
            rooms,
            buffer: search.buffer,
            taken: (taken.into_iter())
                .map(|(room_id, taken)| (room_id, merged(taken)))
                .collect(),
            last: None,
        }
    }

    fn first(&mut self, slot: TimeSlot, usual: Option<RoomId>) -> Option<RoomId> {
        if let Some(usual) = usual.filter(|usual| self.rooms.contains(usual))
            && self.is_free(usual, slot)
        {
            return Some(usual);
        }
        if let Some((_, room)) = self.last.filter(|(last, _)| *last == slot) {
            return room;
        }
        let room = (self.rooms.iter().copied()).find(|room| self.is_free(*room, slot));
        self.last = Some((slot, room));
        room
    }

    fn is_free(&self, room_id: RoomId, slot: TimeSlot) -> bool {
        let taken = self.taken.get(&room_id).map_or(&[][..], Vec::as_slice);
        let next = taken.partition_point(|taken| taken.end <= slot.starts_at());
        (taken.get(next)).is_none_or(|taken| taken.start >= slot.ends_at() + self.buffer)
    }
}
