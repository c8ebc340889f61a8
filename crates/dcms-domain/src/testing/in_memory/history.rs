use std::collections::HashMap;

use async_trait::async_trait;

use super::{Connection, State, forms, hold, page};
use crate::appointments::{
    Appointment, AppointmentEvent, AppointmentVersion, HistoryKey, HistoryOf, HistoryRepository,
    Position, VersionCause, Whereabouts,
};
use crate::shared::{Page, PageRequest, PatientId, REDACTED};
use crate::store::{Rule, StoreError};

impl State {
    pub(super) fn add_to_history(
        &mut self,
        visit: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError> {
        forms::check(&[cause])?;
        let actors = [Some(cause.user_id), cause.impersonator_id];
        let mut actors = actors.iter().flatten();
        let known = actors.all(|user_id| self.users.contains_key(user_id));
        hold(Rule::UserUnknown, known)?;
        let version = AppointmentVersion {
            appointment_id: visit.appointment_id,
            version: visit.version,
            action: cause.action,
            user_id: Some(cause.user_id),
            impersonator_id: cause.impersonator_id,
            reason: cause.reason.clone(),
            overbook_reason: visit.overbook_reason.clone(),
            doctor_id: visit.doctor_id,
            room_id: visit.room_id,
            slot: visit.slot,
            status: visit.status,
            changed_at: visit.updated_at,
        };
        self.history
            .insert(HistoryKey::from(&version), (version, None));
        Ok(())
    }

    fn is_of_patient(&self, version: &AppointmentVersion, patient_id: PatientId) -> bool {
        self.appointments
            .get(&version.appointment_id)
            .is_some_and(|visit| visit.patient_id == patient_id)
    }

    fn last_position(&self) -> Position {
        let positions = self.history.values().filter_map(|(_, position)| *position);
        positions.max().unwrap_or(Position::START)
    }

    fn assign_positions(&mut self) {
        let mut last = self.last_position();
        let waiting = self.history.values_mut();
        let mut waiting: Vec<_> = waiting.filter(|(_, position)| position.is_none()).collect();
        waiting.sort_by_key(|(version, _)| HistoryKey::from(version));
        let mut latest = HashMap::new();
        let mut waiting: Vec<_> = (waiting.into_iter())
            .map(|(version, position)| {
                let latest = latest
                    .entry(version.appointment_id)
                    .or_insert(version.changed_at);
                *latest = version.changed_at.max(*latest);
                ((*latest, HistoryKey::from(&*version)), position)
            })
            .collect();
        waiting.sort_by_key(|(place, _)| *place);
        for (_, position) in waiting {
            last = Position::new(last.get() + 1);
            *position = Some(last);
        }
    }

    fn event(&self, version: &AppointmentVersion, position: Position) -> AppointmentEvent {
        let before = HistoryKey {
            appointment_id: version.appointment_id,
            version: version.version.previous(),
        };
        AppointmentEvent {
            position,
            appointment_id: version.appointment_id,
            version: version.version,
            action: version.action,
            before: self
                .history
                .get(&before)
                .map(|(before, _)| whereabouts(before)),
            after: whereabouts(version),
        }
    }
}

fn whereabouts(version: &AppointmentVersion) -> Whereabouts {
    Whereabouts {
        doctor_id: version.doctor_id,
        slot: version.slot,
    }
}

#[async_trait]
impl HistoryRepository for Connection {
    async fn list(
        &mut self,
        of: HistoryOf,
        request: PageRequest<HistoryKey>,
    ) -> Result<Page<AppointmentVersion, HistoryKey>, StoreError> {
        let state = self.read()?;
        let versions = state.history.values().map(|(version, _)| version);
        let wanted = versions.filter(|version| match of {
            HistoryOf::Appointment(appointment_id) => version.appointment_id == appointment_id,
            HistoryOf::Patient(patient_id) => state.is_of_patient(version, patient_id),
        });
        Ok(page(
            wanted.cloned(),
            &request,
            |version, after| HistoryKey::from(version) > *after,
            |version| version.into(),
        ))
    }

    async fn redact(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        self.write(|state| {
            if state.check_patient_known(patient_id).is_err() {
                let before = state.clone();
                for (version, _) in state.history.values_mut() {
                    if before.is_of_patient(version, patient_id) {
                        for words in [&mut version.reason, &mut version.overbook_reason] {
                            *words = words.as_ref().map(|_| REDACTED.to_owned());
                        }
                    }
                }
            }
            Ok(())
        })
    }

    async fn assign_positions(&mut self) -> Result<(), StoreError> {
        self.write_at_once(State::assign_positions)
    }

    async fn last_position(&mut self) -> Result<Position, StoreError> {
        Ok(self.read()?.last_position())
    }

    async fn events_after(
        &mut self,
        position: Position,
        limit: u16,
    ) -> Result<Vec<AppointmentEvent>, StoreError> {
        let state = self.read()?;
        let versions = state.history.values();
        let mut events: Vec<_> = versions
            .filter_map(|(version, position)| Some(state.event(version, (*position)?)))
            .filter(|event| event.position > position)
            .collect();
        events.sort_by_key(|event| event.position);
        events.truncate(limit.into());
        Ok(events)
    }
}
