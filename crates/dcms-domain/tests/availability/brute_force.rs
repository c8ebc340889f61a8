//! The rules, minute by minute as the clock on the wall shows them. It knows nothing of how the
//! real answer is found.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use dcms_domain::calendar::{FreeSlot, Obstacle, SlotSearch, Timetable, WeeklyPlan};
use dcms_domain::shared::{Instant, TimeSlot, UserId};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// A minute of a day with what the clock on the wall shows when it begins.
#[derive(Clone, Copy)]
struct Minute {
    begins: Instant,
    shown: NaiveDateTime,
}

/// Whether hours are set for the day.
fn are_set(plans: &[WeeklyPlan], day: NaiveDate) -> bool {
    plan_of(plans, day).is_some_and(|plan| plan.intervals.is_some())
}

/// "Valid from a date on": the last one that has begun.
fn plan_of(plans: &[WeeklyPlan], day: NaiveDate) -> Option<&WeeklyPlan> {
    plans.iter().rev().find(|plan| plan.valid_from <= day)
}

/// Whether hours that open on the day are on at the time shown. Where none are set, all of the day
/// is.
fn are_on(plans: &[WeeklyPlan], day: NaiveDate, shown: NaiveDateTime) -> bool {
    let Some(intervals) = plan_of(plans, day).and_then(|plan| plan.intervals.as_ref()) else {
        return shown.date() == day;
    };
    let days_later = shown.date().signed_duration_since(day).num_days();
    let minute = days_later * 1440 + i64::from(shown.hour() * 60 + shown.minute());
    intervals.iter().any(|interval| {
        interval.weekday == day.weekday()
            && i64::from(interval.opens_minute) <= minute
            && minute < i64::from(interval.closes_minute)
    })
}

/// The days whose hours can be on: today's, and yesterday's past midnight.
fn days_of(shown: NaiveDateTime) -> [NaiveDate; 2] {
    [shown.date(), shown.date() - Days::new(1)]
}

fn clinic_is_open(timetable: &Timetable, shown: NaiveDateTime) -> bool {
    (days_of(shown).into_iter()).any(|day| are_on(&timetable.clinic, day, shown))
}

fn own_plans(timetable: &Timetable, doctor_id: UserId) -> &[WeeklyPlan] {
    timetable.doctors.get(&doctor_id).map_or(&[], Vec::as_slice)
}

/// "Their own weekly plan with validity, else the clinic's."
fn doctor_works(timetable: &Timetable, doctor_id: UserId, shown: NaiveDateTime) -> bool {
    let own = own_plans(timetable, doctor_id);
    days_of(shown).into_iter().any(|day| {
        if are_set(own, day) {
            are_on(own, day, shown)
        } else {
            are_on(&timetable.clinic, day, shown)
        }
    })
}

/// What is in the way of the minute.
fn in_the_way(timetable: &Timetable, doctor_id: UserId, shown: NaiveDateTime) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let is_open = clinic_is_open(timetable, shown);
    if !is_open {
        found.push(Obstacle::ClinicHours);
    }
    let own = own_plans(timetable, doctor_id);
    let is_clinics_doing = !is_open && !are_set(own, shown.date());
    if !doctor_works(timetable, doctor_id, shown) && !is_clinics_doing {
        found.push(Obstacle::DoctorHours);
    }
    for closure in &timetable.closures {
        if closure.span.from <= shown && shown < closure.span.until {
            found.push(Obstacle::Closure(closure.closure_id));
        }
    }
    for time_off in &timetable.time_off {
        let is_theirs = time_off.doctor_id == doctor_id;
        if is_theirs && time_off.span.from <= shown && shown < time_off.span.until {
            found.push(Obstacle::TimeOff(time_off.time_off_id));
        }
    }
    found
}

/// What is in the way of a slot that begins and ends with minutes.
pub(crate) fn obstacles(timetable: &Timetable, doctor_id: UserId, slot: TimeSlot) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for minute in minutes(timetable, slot.starts_at(), slot.ends_at()) {
        for obstacle in in_the_way(timetable, doctor_id, minute.shown) {
            if !found.contains(&obstacle) {
                found.push(obstacle);
            }
        }
    }
    found
}

/// The whole minutes that begin between two instants.
fn minutes(timetable: &Timetable, from: Instant, until: Instant) -> Vec<Minute> {
    let second = i64::from(from.timestamp_subsec_nanos() > 0) + from.timestamp();
    let first = second + (-second).rem_euclid(60);
    let mut minutes = Vec::new();
    let mut begins = DateTime::from_timestamp(first, 0).unwrap();
    while begins < until {
        let shown = begins.with_timezone(&timetable.zone).naive_local();
        assert_eq!(shown.second(), 0, "offsets are whole minutes here");
        minutes.push(Minute { begins, shown });
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
                    && in_the_way(timetable, doctor.doctor_id, minute.shown).is_empty()
            };
            minutes.iter().map(is_free).collect()
        })
        .collect();
    let rooms_free: Vec<Vec<bool>> = (search.rooms.unwrap_or_default().iter())
        .map(|room_id| {
            let is_free = |minute: &Minute| {
                !search.bookings.iter().any(|booking| {
                    let until = booking.room_free_at.unwrap_or(booking.slot.ends_at());
                    booking.room_id == Some(*room_id)
                        && is_taken(minute, booking.slot.starts_at(), until)
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
        let since_midnight = minute.shown.hour() * 60 + minute.shown.minute();
        let is_wanted = since_midnight % u32::from(search.grid_minutes) == 0
            && search.starts.contains(&minute.begins)
            && search.weekdays.contains(minute.shown.weekday())
            && search.time_of_day.is_none_or(|times| {
                let (from, until): (u32, u32) =
                    (times.from_minute.into(), times.until_minute.into());
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
