use async_trait::async_trait;

use super::{Connection, State, forms, hold, page, same_text, stored_before, stored_in_version};
use crate::access::Role;
use crate::clinic::{ClinicRepository, ClinicSettings, Doctor, Room};
use crate::shared::{Page, PageRequest, RoomId, UserId};
use crate::store::{Rule, StoreError};

impl State {
    fn check_room_name_free(&self, room: &Room) -> Result<(), StoreError> {
        let is_taken = self
            .rooms
            .values()
            .any(|other| other.room_id != room.room_id && same_text(&other.name, &room.name));
        hold(Rule::RoomNameTaken, !is_taken)
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
            state.check_room_name_free(room)
        })
    }

    async fn delete_room(&mut self, room: &Room) -> Result<(), StoreError> {
        self.write(|state| {
            stored_in_version(&state.rooms, &room.room_id, room)?;
            let mut visits = state.appointments.values();
            let is_used = visits.any(|visit| visit.room_id == Some(room.room_id));
            hold(Rule::StillInUse, !is_used)?;
            state.rooms.remove(&room.room_id);
            Ok(())
        })
    }

    async fn rooms(
        &mut self,
        request: PageRequest<RoomId>,
    ) -> Result<Page<Room, RoomId>, StoreError> {
        let state = self.read()?;
        Ok(page(
            state.rooms.values().cloned(),
            &request,
            |room, after| room.room_id > *after,
            |room| room.room_id,
        ))
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
            .map(|(user, _)| Doctor {
                doctor_id: user.user_id,
                display_name: user.display_name.clone(),
            });
        Ok(page(
            doctors,
            &request,
            |doctor, after| doctor.doctor_id > *after,
            |doctor| doctor.doctor_id,
        ))
    }
}
