use async_trait::async_trait;

use super::{ClinicSettings, Doctor, Room, RoomKey};
use crate::shared::{Instant, Page, PageRequest, RoomId, UserId};
use crate::store::StoreError;

/// Keeps the clinic's settings and rooms, and knows its doctors.
///
/// Updates store what was raised by one version, deletes remove what is in the version given; when
/// another one is stored, they answer [`StoreError::Conflict`].
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ClinicRepository: Send {
    /// The settings.
    async fn settings(&mut self) -> Result<ClinicSettings, StoreError>;

    /// Stores changed settings.
    async fn update_settings(&mut self, settings: &ClinicSettings) -> Result<(), StoreError>;

    /// Adds a room.
    async fn insert_room(&mut self, room: &Room) -> Result<(), StoreError>;

    /// The room of that id.
    async fn room(&mut self, room_id: RoomId) -> Result<Option<Room>, StoreError>;

    /// Stores a changed room.
    async fn update_room(&mut self, room: &Room) -> Result<(), StoreError>;

    /// Deletes a room that no appointment and no doctor refers to, else refuses with
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse).
    async fn delete_room(&mut self, room: &Room) -> Result<(), StoreError>;

    /// Rooms by their position, then in the order they were made.
    async fn rooms(
        &mut self,
        page: PageRequest<RoomKey>,
    ) -> Result<Page<Room, RoomKey>, StoreError>;

    /// The user of that id who has the role, active or not.
    async fn doctor(&mut self, doctor_id: UserId) -> Result<Option<Doctor>, StoreError>;

    /// Those of the users who have the role, active or not, in no particular order.
    async fn doctors_among(&mut self, user_ids: &[UserId]) -> Result<Vec<UserId>, StoreError>;

    /// Stores what a user has as a doctor.
    async fn update_doctor(&mut self, doctor: &Doctor, at: Instant) -> Result<(), StoreError>;

    /// Active users with the role, in the order they were made.
    async fn doctors(
        &mut self,
        page: PageRequest<UserId>,
    ) -> Result<Page<Doctor, UserId>, StoreError>;
}
