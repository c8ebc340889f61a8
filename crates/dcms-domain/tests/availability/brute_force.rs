//! The rules, minute by minute as the clock on the wall shows them. It knows nothing of how the
//! real answer is found.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Weekday};
use dcms_domain::calendar::{
    FreeSlot, Obstacle, SlotSearch, Timetable, WallSpan, WeeklyInterval, WeeklyPlan,
};
use dcms_domain::shared::{Instant, TimeSlot, UserId};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// A minute with what the clock on the wall shows when it begins.
struct Minute {
    begins: Instant,
    shown: NaiveDateTime,
    /// As it is seen from today, and from yesterday: past midnight.
    seen_from: [Seen; 2],
}

/// A minute as it is seen from a day.
#[derive(Clone, Copy)]
struct Seen {
    day: NaiveDate,
    weekday: Weekday,
    minutes_since_midnight: u16,
}

impl Minute {
    fn new(timetable: &Timetable, begins: Instant) -> Self {
        let shown = begins.with_timezone(&timetable.zone).naive_local();
        assert_eq!(shown.second(), 0, "offsets are whole minutes here");
        let today = Seen {
            day: shown.date(),
            weekday: shown.weekday(),
            minutes_since_midnight: u16::try_from(shown.hour() * 60 + shown.minute()).unwrap(),
        };
        let yesterday = Seen {
            day: today.day - Days::new(1),
            weekday: today.weekday.pred(),
            minutes_since_midnight: today.minutes_since_midnight + 1440,
        };
        Self {
            begins,
            shown,
            seen_from: [today, yesterday],
        }
    }

    fn slot(&self) -> TimeSlot {
        TimeSlot::new(self.begins, self.begins + MINUTE).unwrap()
    }

    fn is_in(&self, span: WallSpan) -> bool {
        span.from <= self.shown && self.shown < span.until
    }
}

/// The hours that are set for the day. "Valid from a date on": the last plan that has begun.
fn hours_of(plans: &[WeeklyPlan], day: NaiveDate) -> Option<&[WeeklyInterval]> {
    let plan = plans.iter().rev().find(|plan| plan.valid_from <= day)?;
    plan.intervals.as_deref()
}

/// Whether hours that open on the day are on. Where none are set, all of the day is.
fn are_on(hours: Option<&[WeeklyInterval]>, seen: Seen) -> bool {
    let minute = seen.minutes_since_midnight;
    match hours {
        None => minute < 1440,
        Some(intervals) => intervals.iter().any(|interval| {
            interval.opens_minute <= minute
                && minute < interval.closes_minute
                && interval.weekday == seen.weekday
        }),
    }
}

fn clinic_is_open(timetable: &Timetable, minute: &Minute) -> bool {
    (minute.seen_from.into_iter()).any(|seen| are_on(hours_of(&timetable.clinic, seen.day), seen))
}

/// "Their own weekly plan with validity, else the clinic's."
fn doctor_works(timetable: &Timetable, own: &[WeeklyPlan], minute: &Minute) -> bool {
    minute.seen_from.into_iter().any(|seen| {
        let hours = hours_of(own, seen.day).or_else(|| hours_of(&timetable.clinic, seen.day));
        are_on(hours, seen)
    })
}

/// What is in the way of the minute.
fn in_the_way(
    timetable: &Timetable,
    doctor_id: UserId,
    minute: &Minute,
) -> impl Iterator<Item = Obstacle> {
    let is_open = clinic_is_open(timetable, minute);
    let clinic_hours = (!is_open).then_some(Obstacle::ClinicHours(minute.slot()));
    let doctor_hours = std::iter::once_with(move || {
        let own = timetable
            .doctors
            .get(&doctor_id)
            .map_or(&[][..], Vec::as_slice);
        let is_clinics_doing = !is_open && hours_of(own, minute.shown.date()).is_none();
        let is_away = !doctor_works(timetable, own, minute) && !is_clinics_doing;
        is_away.then_some(Obstacle::DoctorHours(minute.slot()))
    });
    let closures = (timetable.closures.iter())
        .filter(|closure| minute.is_in(closure.span))
        .map(|closure| Obstacle::Closure(closure.closure_id));
    let time_off = (timetable.time_off.iter())
        .filter(move |time_off| time_off.doctor_id == doctor_id && minute.is_in(time_off.span))
        .map(|time_off| Obstacle::TimeOff(time_off.time_off_id));
    (clinic_hours.into_iter())
        .chain(doctor_hours.flatten())
        .chain(closures)
        .chain(time_off)
}

/// What is in the way of a slot that begins and ends with minutes.
pub(crate) fn obstacles(timetable: &Timetable, doctor_id: UserId, slot: TimeSlot) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for minute in minutes(timetable, slot.starts_at(), slot.ends_at()) {
        for obstacle in in_the_way(timetable, doctor_id, &minute) {
            match found
                .iter_mut()
                .find_map(|earlier| joined(earlier, obstacle))
            {
                Some((earlier, longer)) => *earlier = longer,
                None => found.push(obstacle),
            }
        }
    }
    found
}

/// The obstacle with the minute that follows it, or as it is when it says nothing of minutes.
fn joined(earlier: &mut Obstacle, next: Obstacle) -> Option<(&mut Obstacle, Obstacle)> {
    let both = |one: TimeSlot, other: TimeSlot| {
        let is_next = one.ends_at() == other.starts_at();
        is_next.then(|| TimeSlot::new(one.starts_at(), other.ends_at()).unwrap())
    };
    let longer = match (*earlier, next) {
        (Obstacle::ClinicHours(one), Obstacle::ClinicHours(other)) => {
            Obstacle::ClinicHours(both(one, other)?)
        }
        (Obstacle::DoctorHours(one), Obstacle::DoctorHours(other)) => {
            Obstacle::DoctorHours(both(one, other)?)
        }
        (one, other) if one == other => one,
        _ => return None,
    };
    Some((earlier, longer))
}

/// The whole minutes that begin between two instants.
fn minutes(timetable: &Timetable, from: Instant, until: Instant) -> Vec<Minute> {
    let second = i64::from(from.timestamp_subsec_nanos() > 0) + from.timestamp();
    let first = second + (-second).rem_euclid(60);
    let mut minutes = Vec::new();
    let mut begins = DateTime::from_timestamp(first, 0).unwrap();
    while begins < until {
        minutes.push(Minute::new(timetable, begins));
        begins += MINUTE;
    }
    minutes
}

/// Every slot on the grid that can be booked.
pub(crate) fn free_slots(search: &SlotSearch<'_>) -> Vec<FreeSlot> {
    let timetable = search.timetable;
    let minutes = minutes(
        timetable,
        search.window.start,
        search.window.end + search.buffer,
    );
    let length = usize::try_from(search.length.num_minutes()).unwrap();
    let buffer = usize::try_from(search.buffer.num_minutes()).unwrap();
    let is_taken = |minute: &Minute, from: Instant, until: Instant| {
        from < minute.begins + MINUTE && minute.begins < until
    };
    let doctors_free: Vec<Vec<bool>> = (search.doctors.iter())
        .map(|doctor| {
            let is_free = |minute: &Minute| {
                minute.begins + MINUTE <= search.window.end
                    && !search.bookings.iter().any(|booking| {
                        let is_ours = booking.doctor_id == doctor.doctor_id
                            || search.patient_id == Some(booking.patient_id);
                        let slot = booking.slot;
                        is_ours && is_taken(minute, slot.starts_at(), slot.ends_at())
                    })
                    && in_the_way(timetable, doctor.doctor_id, minute)
                        .next()
                        .is_none()
            };
            minutes.iter().map(is_free).collect()
        })
        .collect();
    let rooms_free: Vec<Vec<bool>> = (search.rooms.unwrap_or_default().iter())
        .map(|room_id| {
            let is_free = |minute: &Minute| {
                !search.bookings.iter().any(|booking| {
                    booking.room_id == Some(*room_id)
                        && is_taken(minute, booking.slot.starts_at(), booking.room_free_at)
                })
            };
            minutes.iter().map(is_free).collect()
        })
        .collect();
    let all_free = |free: &[bool], start: usize, length: usize| {
        free.get(start..start + length)
            .is_some_and(|free| free.iter().all(|is_free| *is_free))
    };
    let mut slots = Vec::new();
    for (start, minute) in minutes.iter().enumerate() {
        let [today, _] = minute.seen_from;
        let since_midnight = today.minutes_since_midnight;
        let is_wanted = i32::from(since_midnight) % search.grid_minutes == 0
            && search.starts.contains(&minute.begins)
            && search.weekdays.contains(today.weekday)
            && search.time_of_day.is_none_or(|times| {
                let (from, until) = (times.from_minute, times.until_minute);
                if from <= until {
                    from <= since_midnight && since_midnight < until
                } else {
                    from <= since_midnight || since_midnight < until
                }
            });
        if !is_wanted {
            continue;
        }
        for (doctor, free) in search.doctors.iter().zip(&doctors_free) {
            if !all_free(free, start, length) {
                continue;
            }
            let mut room_id = None;
            if let Some(rooms) = search.rooms {
                let fits = |room: &usize| all_free(&rooms_free[*room], start, length + buffer);
                let usual =
                    (0..rooms.len()).find(|room| Some(rooms[*room]) == doctor.usual_room_id);
                let Some(room) = usual.filter(fits).or((0..rooms.len()).find(fits)) else {
                    continue;
                };
                room_id = Some(rooms[room]);
            }
            slots.push(FreeSlot {
                doctor_id: doctor.doctor_id,
                room_id,
                slot: TimeSlot::new(minute.begins, minute.begins + search.length).unwrap(),
            });
        }
    }
    slots
}
