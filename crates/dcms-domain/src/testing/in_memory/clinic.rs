use async_trait::async_trait;

use super::{Connection, State, forms, hold, page, same_text, stored_before, stored_in_version};
use crate::access::Role;
use crate::clinic::{ClinicRepository, ClinicSettings, Doctor, Room, RoomKey};
use crate::identity::User;
use crate::shared::{Instant, Page, PageRequest, RoomId, UserId, Version};
use crate::store::{Rule, StoreError};

impl State {
    fn check_room_name_free(&self, room: &Room) -> Result<(), StoreError> {
        let is_taken = self
            .rooms
            .values()
            .any(|other| other.room_id != room.room_id && same_text(&other.name, &room.name));
        hold(Rule::RoomNameTaken, !is_taken)
    }

    fn as_doctor(&self, user: &User) -> Doctor {
        let (usual_room_id, version) = self
            .doctors
            .get(&user.user_id)
            .copied()
            .unwrap_or((None, Version::NEVER_CHANGED));
        Doctor {
            doctor_id: user.user_id,
            display_name: user.display_name.clone(),
            usual_room_id,
            version,
        }
    }
}

#[async_trait]
impl ClinicRepository for Connection {
    async fn settings(&mut self) -> Result<ClinicSettings, StoreError> {
        Ok(self.read()?.settings.clone())
    }

    async fn update_settings(&mut self, settings: &ClinicSettings) -> Result<(), StoreError> {
        self.write(|state| {
            if state.settings.version != settings.version.previous() {
                return Err(StoreError::Conflict);
            }
            forms::check(&[settings])?;
            state.settings = settings.clone();
            Ok(())
        })
    }

    async fn insert_room(&mut self, room: &Room) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[room])?;
            hold(
                Rule::IdentifierTaken,
                !state.rooms.contains_key(&room.room_id),
            )?;
            state.check_room_name_free(room)?;
            state.rooms.insert(room.room_id, room.clone());
            state.note_room(room);
            Ok(())
        })
    }

    async fn room(&mut self, room_id: RoomId) -> Result<Option<Room>, StoreError> {
        Ok(self.read()?.rooms.get(&room_id).cloned())
    }

    async fn update_room(&mut self, room: &Room) -> Result<(), StoreError> {
        self.write(|state| {
            *stored_before(&mut state.rooms, &room.room_id, room)? = room.clone();
            forms::check(&[room])?;
            state.note_room(room);
            state.check_room_name_free(room)
        })
    }

    async fn delete_room(&mut self, room: &Room) -> Result<(), StoreError> {
        self.write(|state| {
            stored_in_version(&state.rooms, &room.room_id, room)?;
            let mut visits = state.appointments.values();
            let is_used = visits.any(|visit| visit.room_id == Some(room.room_id));
            hold(Rule::StillInUse, !is_used)?;
            let mut usual_rooms = state.doctors.values().map(|(usual_room, _)| *usual_room);
            let is_usual = usual_rooms.any(|usual_room| usual_room == Some(room.room_id));
            hold(Rule::StillInUse, !is_usual)?;
            state.rooms.remove(&room.room_id);
            Ok(())
        })
    }

    async fn rooms(
        &mut self,
        request: PageRequest<RoomKey>,
    ) -> Result<Page<Room, RoomKey>, StoreError> {
        let state = self.read()?;
        let mut rooms: Vec<Room> = state.rooms.values().cloned().collect();
        rooms.sort_by_key(|room| RoomKey::from(room));
        Ok(page(
            rooms.into_iter(),
            &request,
            |room, after| RoomKey::from(room) > *after,
            |room| RoomKey::from(room),
        ))
    }

    async fn doctor(&mut self, doctor_id: UserId) -> Result<Option<Doctor>, StoreError> {
        let state = self.read()?;
        let doctor = state
            .users
            .get(&doctor_id)
            .filter(|(user, _)| user.roles.contains(Role::Doctor))
            .map(|(user, _)| state.as_doctor(user));
        Ok(doctor)
    }

    async fn doctors_among(&mut self, user_ids: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let state = self.read()?;
        let doctors = state
            .users
            .values()
            .filter(|(user, _)| user_ids.contains(&user.user_id))
            .filter(|(user, _)| user.roles.contains(Role::Doctor));
        Ok(doctors.map(|(user, _)| user.user_id).collect())
    }

    async fn update_doctor(&mut self, doctor: &Doctor, _: Instant) -> Result<(), StoreError> {
        self.write(|state| {
            let doctor_id = doctor.doctor_id;
            let stored = state.doctors.get(&doctor_id);
            let version = stored.map_or(Version::NEVER_CHANGED, |(_, version)| *version);
            if version != doctor.version.previous() {
                return Err(StoreError::Conflict);
            }
            hold(Rule::UserUnknown, state.users.contains_key(&doctor_id))?;
            let usual_room = doctor.usual_room_id;
            let is_known = usual_room.is_none_or(|room_id| state.rooms.contains_key(&room_id));
            hold(Rule::RoomUnknown, is_known)?;
            let stored = (usual_room, doctor.version);
            state.doctors.insert(doctor_id, stored);
            Ok(())
        })
    }

    async fn doctors(
        &mut self,
        request: PageRequest<UserId>,
    ) -> Result<Page<Doctor, UserId>, StoreError> {
        let state = self.read()?;
        let doctors = state
            .users
            .values()
            .filter(|(user, _)| user.is_active && user.roles.contains(Role::Doctor))
            .map(|(user, _)| state.as_doctor(user));
        Ok(page(
            doctors,
            &request,
            |doctor, after| doctor.doctor_id > *after,
            |doctor| doctor.doctor_id,
        ))
    }
}
