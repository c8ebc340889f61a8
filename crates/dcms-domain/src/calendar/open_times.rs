use chrono::NaiveDate;

use super::stretches::{Stretch, difference, intersection, merged};
use super::wall_clock::{Segment, WallClock};
use super::{Obstacle, Timetable, WeeklyInterval, WeeklyPlan};
use crate::shared::{TimeSlot, UserId};

/// Shows when one doctor after the other is open to visits, during the same window.
pub(super) struct OpenTimes<'timetable> {
    timetable: &'timetable Timetable,
    clock: WallClock,
    clinic: Vec<Stretch>,
}

impl Timetable {
    /// The moments of the window at which the doctor may be booked: the clinic's hours ∩ the
    /// doctor's, less closures and time off. Sorted, and apart from each other. The window has to
    /// lie in years that are [believed](crate::shared::is_sane_instant).
    #[must_use]
    pub fn open_times(&self, doctor_id: UserId, window: &Stretch) -> Vec<Stretch> {
        OpenTimes::new(self, window).of(doctor_id)
    }

    /// What the plans put in the way of a visit to the doctor, each once. Nothing does if and only
    /// if the slot lies within one of the doctor's [open times](Self::open_times).
    ///
    /// Outside the clinic's hours, doctors' hours are in the way only on days on which the doctor
    /// has some of their own.
    #[must_use]
    pub fn obstacles(&self, doctor_id: UserId, slot: TimeSlot) -> Vec<Obstacle> {
        let slot = slot.starts_at()..slot.ends_at();
        let times = OpenTimes::new(self, &slot);
        let slot = [slot];
        let closed = difference(&slot, &times.clinic);
        let away = difference(&slot, &times.doctors_hours(doctor_id));
        let away = difference(&away, &times.left_to_the_clinic(doctor_id));
        let parts = |stretches: Vec<Stretch>| stretches.into_iter().filter_map(part_of_visit);
        let mut obstacles: Vec<Obstacle> = parts(closed).map(Obstacle::ClinicHours).collect();
        obstacles.extend(parts(away).map(Obstacle::DoctorHours));
        let closures = self
            .closures
            .iter()
            .filter(|closure| !times.clock.moments(closure.span).is_empty())
            .map(|closure| Obstacle::Closure(closure.closure_id));
        let time_off = self
            .time_off
            .iter()
            .filter(|time_off| time_off.doctor_id == doctor_id)
            .filter(|time_off| !times.clock.moments(time_off.span).is_empty())
            .map(|time_off| Obstacle::TimeOff(time_off.time_off_id));
        obstacles.extend(closures.chain(time_off));
        obstacles
    }

    fn doctors_plans(&self, doctor_id: UserId) -> &[WeeklyPlan] {
        self.doctors.get(&doctor_id).map_or(&[], Vec::as_slice)
    }
}

impl<'timetable> OpenTimes<'timetable> {
    pub(super) fn new(timetable: &'timetable Timetable, window: &Stretch) -> Self {
        let clock = WallClock::new(timetable.zone, window);
        let clinic = clock.moments_of_hours(|day| hours_on(&timetable.clinic, day));
        Self {
            timetable,
            clock,
            clinic,
        }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        self.clock.segments()
    }

    pub(super) fn of(&self, doctor_id: UserId) -> Vec<Stretch> {
        let hours = intersection(&self.clinic, &self.doctors_hours(doctor_id));
        let closures = self.timetable.closures.iter().map(|closure| closure.span);
        let time_off = self
            .timetable
            .time_off
            .iter()
            .filter(|time_off| time_off.doctor_id == doctor_id)
            .map(|time_off| time_off.span);
        let nobody_there = closures
            .chain(time_off)
            .flat_map(|span| self.clock.moments(span))
            .collect();
        difference(&hours, &merged(nobody_there))
    }

    fn doctors_hours(&self, doctor_id: UserId) -> Vec<Stretch> {
        let plans = self.timetable.doctors_plans(doctor_id);
        self.clock.moments_of_hours(|day| {
            hours_on(plans, day).or_else(|| hours_on(&self.timetable.clinic, day))
        })
    }

    /// The moments outside the clinic's hours on days on which the doctor has no hours of their
    /// own: that nobody is there then is the clinic's doing alone.
    fn left_to_the_clinic(&self, doctor_id: UserId) -> Vec<Stretch> {
        let plans = self.timetable.doctors_plans(doctor_id);
        let days_without_hours = self
            .clock
            .moments_of_hours(|day| hours_on(plans, day).map(|_| &[] as &[_]));
        difference(&days_without_hours, &self.clinic)
    }
}

/// Part of a slot is one itself, unless it is empty.
fn part_of_visit(stretch: Stretch) -> Option<TimeSlot> {
    TimeSlot::new(stretch.start, stretch.end).ok()
}

/// The hours that open on the day, if any are set.
fn hours_on(plans: &[WeeklyPlan], day: NaiveDate) -> Option<&[WeeklyInterval]> {
    let valid = plans.partition_point(|plan| plan.valid_from <= day);
    plans[..valid].last()?.intervals.as_deref()
}
