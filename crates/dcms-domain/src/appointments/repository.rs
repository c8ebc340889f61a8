use async_trait::async_trait;

use super::{
    Appointment, AppointmentKey, ComingVisit, ConflictScope, DeskVisit, Parties, PartiesStanding,
    Status, VersionCause,
};
use crate::shared::{
    AppointmentId, Instant, Page, PageRequest, PatientId, RoomId, TimeWindow, UserId,
};
use crate::store::StoreError;

/// Keeps appointments. Never lets a doctor, a room or a patient be in two places at a time, and
/// keeps the visits of anonymized patients as they are:
/// [`Rule::PatientAnonymized`](crate::store::Rule::PatientAnonymized). Each version that it stores
/// is in the history too.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait AppointmentRepository: Send {
    /// Whether all parties of a visit can be booked. They stay as they are until the unit of work
    /// ends, and so do hours, closures and time off: to be called before these are read.
    async fn standing(&mut self, parties: Parties) -> Result<PartiesStanding, StoreError>;

    /// Adds a visit if its slot is free, else refuses with
    /// [`Rule::DoctorDoubleBooked`](crate::store::Rule::DoctorDoubleBooked),
    /// [`RoomDoubleBooked`](crate::store::Rule::RoomDoubleBooked) or
    /// [`PatientDoubleBooked`](crate::store::Rule::PatientDoubleBooked), the first that is true.
    /// Any number of clients may try the same slot at once.
    async fn book(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError>;

    /// The appointment of that id.
    async fn get(
        &mut self,
        appointment_id: AppointmentId,
    ) -> Result<Option<Appointment>, StoreError>;

    /// All visits of a patient, held against change until the unit of work ends. To be called with
    /// the patient [locked](crate::patients::PatientRepository::lock), so that none comes.
    async fn lock_of_patient(
        &mut self,
        patient_id: PatientId,
    ) -> Result<Vec<Appointment>, StoreError>;

    /// Keeps everybody else from claiming slots until the unit of work ends. To be called before
    /// an [`update`](Self::update) that claims one, so that two that cross each other take turns.
    async fn hold_calendar(&mut self) -> Result<(), StoreError>;

    /// Stores an appointment whose version was raised by one, planned services included; when the
    /// stored one is not the version before, answers [`StoreError::Conflict`]. Refuses a slot that
    /// is taken like [`book`](Self::book).
    async fn update(
        &mut self,
        appointment: &Appointment,
        cause: &VersionCause,
    ) -> Result<(), StoreError>;

    /// The appointments that match, earlier ones first.
    async fn list(
        &mut self,
        filter: &AppointmentFilter,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<Appointment, AppointmentKey>, StoreError>;

    /// The same, with what the front desk wants to know of each.
    async fn list_for_desk(
        &mut self,
        filter: &AppointmentFilter,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<DeskVisit, AppointmentKey>, StoreError>;

    /// The visits in the scope that [may be in conflict](Appointment::may_conflict), earlier ones
    /// first.
    async fn coming(
        &mut self,
        scope: &ConflictScope,
        now: Instant,
        page: PageRequest<AppointmentKey>,
    ) -> Result<Page<ComingVisit, AppointmentKey>, StoreError>;
}

/// Which appointments are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppointmentFilter {
    /// Of this doctor.
    pub doctor_id: Option<UserId>,
    /// Of this patient.
    pub patient_id: Option<PatientId>,
    /// In this room.
    pub room_id: Option<RoomId>,
    /// In this status.
    pub status: Option<Status>,
    /// That overlap this window.
    pub window: TimeWindow,
}
