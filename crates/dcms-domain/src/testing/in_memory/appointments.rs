use async_trait::async_trait;
use uuid::Uuid;

use super::{Connection, State, forms, hold, page, stored_before};
use crate::access::Role;
use crate::appointments::{
    Appointment, AppointmentFilter, AppointmentKey, AppointmentRepository, ComingVisit,
    ConflictScope, DeskVisit, NO_SHOWS_COUNTED, Parties, PartiesStanding, Standing, Status,
    VersionCause,
};
use crate::patients::ContactType;
use crate::shared::{AppointmentId, Cents, Instant, Page, PageRequest, PatientId};
use crate::store::{Rule, StoreError};

type Clash = fn(&Appointment, &Appointment) -> bool;

/// What is in one place at a time, in the order in which it is told.
const EXCLUSIVE: [(Rule, Clash); 3] = [
    (Rule::DoctorDoubleBooked, |one, other| {
        one.doctor_id == other.doctor_id && one.slot.overlaps(&other.slot)
    }),
    (Rule::RoomDoubleBooked, |one, other| {
        one.room_id.is_some()
            && one.room_id == other.room_id
            && one.slot.starts_at() < other.room_free_at
            && other.slot.starts_at() < one.room_free_at
    }),
    (Rule::PatientDoubleBooked, |one, other| {
        one.patient_id == other.patient_id && one.slot.overlaps(&other.slot)
    }),
];

impl State {
    fn check_visit(&self, visit: &Appointment) -> Result<(), StoreError> {
        forms::check(&[visit])?;
        for (rule, clash) in EXCLUSIVE {
            let is_taken = visit.status.occupies_slot()
                && self.appointments.values().any(|other| {
                    other.appointment_id != visit.appointment_id
                        && other.status.occupies_slot()
                        && clash(visit, other)
                });
            hold(rule, !is_taken)?;
        }
        hold(
            Rule::PatientUnknown,
            self.patients.contains_key(&visit.patient_id),
        )?;
        hold(
            Rule::DoctorUnknown,
            self.users.contains_key(&visit.doctor_id),
        )?;
        hold(
            Rule::RoomUnknown,
            visit
                .room_id
                .is_none_or(|room_id| self.rooms.contains_key(&room_id)),
        )?;
        let mut planned = visit.services.iter();
        hold(
            Rule::ServiceUnknown,
            planned.all(|planned| self.services.contains_key(&planned.service_id)),
        )?;
        self.check_patient_known(visit.patient_id)
    }
}

impl State {
    fn coming_visit(&self, visit: &Appointment) -> ComingVisit {
        let since = |id: Uuid| self.not_available_since.get(&id).copied();
        ComingVisit {
            appointment: visit.clone(),
            doctor_not_available_since: since(visit.doctor_id.into()),
            room_not_available_since: visit.room_id.map(Uuid::from).and_then(since),
        }
    }
}

impl State {
    fn desk_visit(&self, visit: &Appointment) -> Option<DeskVisit> {
        let patient_id = visit.patient_id;
        let patient = self.patients.get(&patient_id)?;
        let (doctor, _) = self.users.get(&visit.doctor_id)?;
        let room = visit.room_id.and_then(|room_id| self.rooms.get(&room_id));
        let phones = self.contacts.values().filter(|contact| {
            contact.patient_id == patient_id && contact.contact_type == ContactType::Phone
        });
        let phone = phones.min_by_key(|phone| (!phone.is_primary, phone.contact_id));
        let owed = self
            .invoices
            .values()
            .filter(|invoice| invoice.patient_id == patient_id && invoice.issue.is_some())
            .filter_map(|invoice| invoice.balance().ok());
        let starts_at = visit.slot.starts_at();
        let earlier = |other: &&Appointment| {
            other.patient_id == patient_id && other.slot.starts_at() < starts_at
        };
        let earlier = self.appointments.values().filter(earlier);
        let missed = earlier.clone().filter(|other| {
            other.status == Status::NoShow && other.slot.starts_at() >= starts_at - NO_SHOWS_COUNTED
        });
        Some(DeskVisit {
            appointment: visit.clone(),
            register_number: patient.register_number,
            first_name: patient.first_name.clone(),
            last_name: patient.last_name.clone(),
            birthday: patient.birthday,
            phone: phone.map(|phone| phone.value.clone()),
            doctor_name: doctor.display_name.clone(),
            room_name: room.map(|room| room.name.clone()),
            balance: Cents::new(owed.map(Cents::get).fold(0, i64::saturating_add)),
            is_first: !earlier.clone().any(|other| other.status.occupies_slot()),
            no_shows: u32::try_from(missed.count()).unwrap_or(u32::MAX),
        })
    }
}

fn standing<Found>(found: Option<Found>, is_available: impl FnOnce(Found) -> bool) -> Standing {
    match found.map(is_available) {
        None => Standing::Unknown,
        Some(false) => Standing::NotAvailable,
        Some(true) => Standing::Available,
    }
}

fn matches(visit: &Appointment, filter: &AppointmentFilter) -> bool {
    filter
        .doctor_id
        .is_none_or(|wanted| wanted == visit.doctor_id)
        && filter
            .patient_id
            .is_none_or(|wanted| wanted == visit.patient_id)
        && filter
            .room_id
            .is_none_or(|wanted| Some(wanted) == visit.room_id)
        && filter.status.is_none_or(|wanted| wanted == visit.status)
        && filter.window.overlaps(visit.slot)
}

fn place(key: AppointmentKey) -> (Instant, AppointmentId) {
    (key.starts_at, key.appointment_id)
}

#[async_trait]
impl AppointmentRepository for Connection {
    async fn standing(&mut self, parties: Parties) -> Result<PartiesStanding, StoreError> {
        let state = self.read()?;
        Ok(PartiesStanding {
            patient: standing(state.patients.get(&parties.patient_id), |patient| {
                patient.archived_at.is_none()
            }),
            doctor: standing(state.users.get(&parties.doctor_id), |(user, _)| {
                user.is_active && user.roles.contains(Role::Doctor)
            }),
            room: parties.room_id.map_or(Standing::Available, |room_id| {
                standing(state.rooms.get(&room_id), |room| room.is_active)
            }),
            room_kind: parties
                .room_id
                .and_then(|room_id| state.rooms.get(&room_id)?.kind.clone()),
        })
    }

    async fn list_for_desk(
        &mut self,
        filter: &AppointmentFilter,
        request: PageRequest<AppointmentKey>,
    ) -> Result<Page<DeskVisit, AppointmentKey>, StoreError> {
        let Page { items, next } = self.list(filter, request).await?;
        let state = self.read()?;
        let visits: Option<_> = items.iter().map(|visit| state.desk_visit(visit)).collect();
        let items = visits.ok_or(StoreError::Violated(Rule::PatientUnknown))?;
        Ok(Page { items, next })
    }

    async fn coming(
        &mut self,
        scope: &ConflictScope,
        now: Instant,
        request: PageRequest<AppointmentKey>,
    ) -> Result<Page<ComingVisit, AppointmentKey>, StoreError> {
        let state = self.read()?;
        let filter = AppointmentFilter {
            doctor_id: scope.doctor_id,
            room_id: scope.room_id,
            window: scope.window,
            ..AppointmentFilter::default()
        };
        let mut found: Vec<ComingVisit> = state
            .appointments
            .values()
            .filter(|visit| visit.may_conflict(now) && matches(visit, &filter))
            .map(|visit| state.coming_visit(visit))
            .collect();
        let key = |visit: &ComingVisit| AppointmentKey::from(&visit.appointment);
        found.sort_by_key(|visit| place(key(visit)));
        Ok(page(
            found.into_iter(),
            &request,
            |visit, after| place(key(visit)) > place(*after),
            key,
        ))
    }

    async fn book(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let id = appointment.appointment_id;
            hold(Rule::IdentifierTaken, !state.appointments.contains_key(&id))?;
            state.check_visit(appointment)?;
            state.appointments.insert(id, appointment.clone());
            state.add_to_history(appointment, cause)
        })
    }

    async fn get(
        &mut self,
        appointment_id: AppointmentId,
    ) -> Result<Option<Appointment>, StoreError> {
        Ok(self.read()?.appointments.get(&appointment_id).cloned())
    }

    async fn lock_of_patient(
        &mut self,
        patient_id: PatientId,
    ) -> Result<Vec<Appointment>, StoreError> {
        // Whoever commits second meets a conflict anyway.
        let state = self.read()?;
        let visits = state.appointments.values();
        let theirs = visits.filter(|visit| visit.patient_id == patient_id);
        Ok(theirs.cloned().collect())
    }

    async fn hold_calendar(&mut self) -> Result<(), StoreError> {
        // Whoever commits second meets a conflict anyway.
        self.read().map(|_| ())
    }

    async fn update(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError> {
        self.write(|state| {
            let id = appointment.appointment_id;
            *stored_before(&mut state.appointments, &id, appointment)? = appointment.clone();
            state.check_visit(appointment)?;
            state.add_to_history(appointment, cause)
        })
    }

    async fn list(
        &mut self,
        filter: &AppointmentFilter,
        request: PageRequest<AppointmentKey>,
    ) -> Result<Page<Appointment, AppointmentKey>, StoreError> {
        let state = self.read()?;
        let mut found: Vec<Appointment> = state
            .appointments
            .values()
            .filter(|visit| matches(visit, filter))
            .cloned()
            .collect();
        found.sort_by_key(|visit| place(visit.into()));
        Ok(page(
            found.into_iter(),
            &request,
            |visit, after| place(visit.into()) > place(*after),
            |visit| visit.into(),
        ))
    }
}
