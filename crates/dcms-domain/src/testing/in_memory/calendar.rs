use async_trait::async_trait;

use super::{Connection, State, forms, hold, page};
use crate::access::Role;
use crate::calendar::{
    Booking, CalendarRepository, Closure, ClosureKey, Schedule, SlotDoctor, Stretch, TimeOff,
    TimeOffKey, Timetable, WallWindow, WeeklyInterval, WeeklyPlan, plan_days_during,
    readings_during,
};
use crate::clinic::RoomKey;
use crate::shared::{
    ClosureId, Instant, Page, PageRequest, PatientId, RoomId, TimeOffId, UserId, Version,
};
use crate::store::{Rule, StoreError};

impl State {
    /// The plans of a schedule that can matter to the stretch.
    fn plans_in(&self, doctor_id: Option<UserId>, stretch: &Stretch) -> Vec<WeeklyPlan> {
        let plans = self
            .schedules
            .get(&doctor_id)
            .map_or(&[][..], |schedule| &schedule.plans);
        let (first_day, last_day) = plan_days_during(stretch);
        let begun = plans.partition_point(|plan| plan.valid_from <= first_day);
        let valid = plans[begun.saturating_sub(1)..].iter();
        valid
            .filter(|plan| plan.valid_from <= last_day)
            .cloned()
            .collect()
    }
}

/// Whether no minute of the week belongs to two of the intervals.
fn are_apart(intervals: &[WeeklyInterval]) -> bool {
    intervals.iter().enumerate().all(|(index, interval)| {
        let mut earlier = intervals[..index].iter();
        !earlier.any(|earlier| earlier.overlaps(interval))
    })
}

#[async_trait]
impl CalendarRepository for Connection {
    async fn timetable(
        &mut self,
        doctor_ids: &[UserId],
        stretch: &Stretch,
    ) -> Result<Timetable, StoreError> {
        let state = self.read()?;
        let readings = readings_during(stretch);
        let window = WallWindow {
            from: Some(readings.from),
            to: Some(readings.until),
        };
        Ok(Timetable {
            zone: state.settings.time_zone,
            clinic: state.plans_in(None, stretch),
            doctors: doctor_ids
                .iter()
                .map(|doctor_id| (*doctor_id, state.plans_in(Some(*doctor_id), stretch)))
                .filter(|(_, plans)| !plans.is_empty())
                .collect(),
            closures: state
                .closures
                .values()
                .filter(|closure| window.overlaps(closure.span))
                .cloned()
                .collect(),
            time_off: state
                .time_off
                .values()
                .filter(|time_off| doctor_ids.contains(&time_off.doctor_id))
                .filter(|time_off| window.overlaps(time_off.span))
                .cloned()
                .collect(),
        })
    }

    async fn slot_doctors(
        &mut self,
        among: Option<Vec<UserId>>,
    ) -> Result<Vec<SlotDoctor>, StoreError> {
        let state = self.read()?;
        let active = state.users.values().map(|(user, _)| user);
        Ok(active
            .filter(|user| user.is_active && user.roles.contains(Role::Doctor))
            .map(|user| user.user_id)
            .filter(|id| among.as_ref().is_none_or(|among| among.contains(id)))
            .map(|doctor_id| SlotDoctor {
                doctor_id,
                usual_room_id: state.doctors.get(&doctor_id).and_then(|(room, _)| *room),
            })
            .collect())
    }

    async fn slot_rooms(&mut self, kind: Option<String>) -> Result<Vec<RoomId>, StoreError> {
        let state = self.read()?;
        let mut rooms: Vec<RoomKey> = (state.rooms.values())
            .filter(|room| room.is_active && (kind.is_none() || room.kind == kind))
            .map(RoomKey::from)
            .collect();
        rooms.sort_unstable();
        Ok(rooms.into_iter().map(|room| room.room_id).collect())
    }

    async fn bookings(
        &mut self,
        doctor_ids: &[UserId],
        room_ids: &[RoomId],
        patient_id: Option<PatientId>,
        stretch: &Stretch,
    ) -> Result<Vec<Booking>, StoreError> {
        let state = self.read()?;
        Ok((state.appointments.values())
            .filter(|visit| visit.status.occupies_slot())
            .filter(|visit| {
                visit.slot.starts_at() < stretch.end && stretch.start < visit.room_free_at
            })
            .filter(|visit| {
                doctor_ids.contains(&visit.doctor_id)
                    || visit
                        .room_id
                        .is_some_and(|room_id| room_ids.contains(&room_id))
                    || patient_id == Some(visit.patient_id)
            })
            .map(|visit| Booking {
                doctor_id: visit.doctor_id,
                patient_id: visit.patient_id,
                room_id: visit.room_id,
                slot: visit.slot,
                room_free_at: visit.room_free_at,
            })
            .collect())
    }

    async fn hold_plans(&mut self) -> Result<(), StoreError> {
        // Whoever commits second meets a conflict anyway.
        self.read().map(|_| ())
    }

    async fn schedule(&mut self, doctor_id: Option<UserId>) -> Result<Schedule, StoreError> {
        let stored = self.read()?.schedules.get(&doctor_id).cloned();
        Ok(stored.unwrap_or(Schedule {
            doctor_id,
            plans: Vec::new(),
            version: Version::NEVER_CHANGED,
        }))
    }

    async fn replace_plans(
        &mut self,
        schedule: &Schedule,
        plan: &WeeklyPlan,
        _: Instant,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let doctor_id = schedule.doctor_id;
            let stored = state.schedules.get(&doctor_id);
            let version = stored.map_or(Version::NEVER_CHANGED, |stored| stored.version);
            if version != schedule.version.previous() {
                return Err(StoreError::Conflict);
            }
            let is_known = doctor_id.is_none_or(|doctor_id| state.users.contains_key(&doctor_id));
            hold(Rule::UserUnknown, is_known)?;
            forms::check(&[plan])?;
            let intervals = plan.intervals.as_deref().unwrap_or_default();
            hold(Rule::HoursOverlap, are_apart(intervals))?;
            let stored = state.schedules.entry(doctor_id).or_insert(Schedule {
                doctor_id,
                plans: Vec::new(),
                version,
            });
            stored.version = schedule.version;
            stored
                .plans
                .retain(|kept| kept.valid_from < plan.valid_from);
            stored.plans.push(in_order(plan));
            Ok(())
        })
    }

    async fn insert_closure(&mut self, closure: &Closure) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[closure])?;
            let id = closure.closure_id;
            hold(Rule::IdentifierTaken, !state.closures.contains_key(&id))?;
            state.closures.insert(id, closure.clone());
            Ok(())
        })
    }

    async fn closure(&mut self, closure_id: ClosureId) -> Result<Option<Closure>, StoreError> {
        Ok(self.read()?.closures.get(&closure_id).cloned())
    }

    async fn delete_closure(&mut self, closure_id: ClosureId) -> Result<(), StoreError> {
        self.write(|state| {
            let removed = state.closures.remove(&closure_id);
            removed.map(|_| ()).ok_or(StoreError::Conflict)
        })
    }

    async fn closures(
        &mut self,
        window: WallWindow,
        request: PageRequest<ClosureKey>,
    ) -> Result<Page<Closure, ClosureKey>, StoreError> {
        let state = self.read()?;
        let mut found: Vec<Closure> = state
            .closures
            .values()
            .filter(|closure| window.overlaps(closure.span))
            .cloned()
            .collect();
        found.sort_by_key(|closure| ClosureKey::from(closure));
        Ok(page(
            found.into_iter(),
            &request,
            |closure, after| ClosureKey::from(closure) > *after,
            |closure| closure.into(),
        ))
    }

    async fn insert_time_off(&mut self, time_off: &TimeOff) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[time_off])?;
            let id = time_off.time_off_id;
            hold(Rule::IdentifierTaken, !state.time_off.contains_key(&id))?;
            let is_known = state.users.contains_key(&time_off.doctor_id);
            hold(Rule::UserUnknown, is_known)?;
            state.time_off.insert(id, time_off.clone());
            Ok(())
        })
    }

    async fn time_off(&mut self, time_off_id: TimeOffId) -> Result<Option<TimeOff>, StoreError> {
        Ok(self.read()?.time_off.get(&time_off_id).cloned())
    }

    async fn delete_time_off(&mut self, time_off_id: TimeOffId) -> Result<(), StoreError> {
        self.write(|state| {
            let removed = state.time_off.remove(&time_off_id);
            removed.map(|_| ()).ok_or(StoreError::Conflict)
        })
    }

    async fn time_off_of(
        &mut self,
        doctor_id: UserId,
        window: WallWindow,
        request: PageRequest<TimeOffKey>,
    ) -> Result<Page<TimeOff, TimeOffKey>, StoreError> {
        let state = self.read()?;
        let mut found: Vec<TimeOff> = state
            .time_off
            .values()
            .filter(|time_off| time_off.doctor_id == doctor_id)
            .filter(|time_off| window.overlaps(time_off.span))
            .cloned()
            .collect();
        found.sort_by_key(|time_off| TimeOffKey::from(time_off));
        Ok(page(
            found.into_iter(),
            &request,
            |time_off, after| TimeOffKey::from(time_off) > *after,
            |time_off| time_off.into(),
        ))
    }
}

/// The plan with its intervals in the order of the week.
fn in_order(plan: &WeeklyPlan) -> WeeklyPlan {
    let mut plan = plan.clone();
    if let Some(intervals) = &mut plan.intervals {
        intervals.sort_by_key(|interval| interval.place_in_the_week());
    }
    plan
}
