//! The booking of visits against a model of a few lines, step by step.
//!
//! The model is written from the HTTP contract: which action leads where, that a doctor, a room and
//! a patient are in one place at a time, and that a refused step changes nothing.

use std::sync::LazyLock;

use chrono::TimeDelta;
use dcms_domain::appointments::{
    Appointment, AppointmentError, AppointmentQuery, BookAppointment, Transition,
};
use dcms_domain::shared::{
    AppointmentId, Change, CommonError, Expected, Instant, PageRequest, PatientId, RoomId, UserId,
};
use dcms_domain::store::{Rule, StoreError};
use dcms_domain::testing::Clinic;
use pollster::block_on;
use proptest::prelude::{BoxedStrategy, Just, Strategy};
use proptest::{option, prop_oneof};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Times are in half hours since the test began; a visit takes one or two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    doctor: usize,
    room: Option<usize>,
    patient: usize,
    from: i64,
    to: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Visit {
    place: Place,
    status: &'static str,
}

const ACTIONS: [&str; 6] = [
    "confirm", "arrive", "start", "complete", "cancel", "no_show",
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Book(Place),
    Take(usize, &'static str),
    Reschedule(usize, Place),
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    NotAllowed,
    Taken(&'static str),
}

#[derive(Debug, Clone)]
struct Model {
    now: i64,
    visits: Vec<Visit>,
    outcome: Outcome,
}

fn after(status: &str, action: &str) -> Option<&'static str> {
    Some(match (status, action) {
        ("scheduled", "confirm") => "confirmed",
        ("scheduled" | "confirmed" | "no_show", "arrive") => "arrived",
        ("scheduled" | "confirmed" | "arrived", "cancel") => "cancelled",
        ("scheduled" | "confirmed", "no_show") => "no_show",
        ("scheduled" | "confirmed", "reschedule") => "scheduled",
        ("arrived", "start") => "in_chair",
        ("in_chair", "complete") => "completed",
        _ => return None,
    })
}

impl Model {
    fn taken(&self, ours: Place, except: Option<usize>) -> Option<&'static str> {
        let others: Vec<Place> = self
            .visits
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != except)
            .filter(|(_, visit)| !["cancelled", "no_show"].contains(&visit.status))
            .map(|(_, visit)| visit.place)
            .filter(|theirs| {
                (ours.from..ours.to).any(|time| (theirs.from..theirs.to).contains(&time))
            })
            .collect();
        if others.iter().any(|theirs| theirs.doctor == ours.doctor) {
            Some("doctor")
        } else if others
            .iter()
            .any(|theirs| ours.room.is_some() && theirs.room == ours.room)
        {
            Some("room")
        } else if others.iter().any(|theirs| theirs.patient == ours.patient) {
            Some("patient")
        } else {
            None
        }
    }

    fn change(&mut self, index: usize, action: &str, place: Place) -> Outcome {
        let visit = &self.visits[index];
        let Some(status) = after(visit.status, action) else {
            return Outcome::NotAllowed;
        };
        if action == "no_show" && self.now < visit.place.from {
            return Outcome::NotAllowed;
        }
        let frees = ["cancelled", "no_show"].contains(&status);
        if let Some(resource) = self.taken(place, Some(index)).filter(|_| !frees) {
            return Outcome::Taken(resource);
        }
        self.visits[index] = Visit { place, status };
        Outcome::Done
    }
}

fn place() -> impl Strategy<Value = Place> {
    let parties = (0..2_usize, option::of(0..2_usize), 0..2_usize);
    (parties, 0..4_i64, 1..=2_i64).prop_map(|((doctor, room, patient), from, length)| Place {
        doctor,
        room,
        patient,
        from,
        to: from + length,
    })
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let empty = Self {
            now: 0,
            visits: Vec::new(),
            outcome: Outcome::Done,
        };
        Just(empty).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        if state.visits.is_empty() {
            return place().prop_map(Step::Book).boxed();
        }
        let index = 0..state.visits.len();
        prop_oneof![
            3 => place().prop_map(Step::Book),
            6 => (index.clone(), proptest::sample::select(&ACTIONS[..]))
                .prop_map(|(index, action)| Step::Take(index, action)),
            2 => (index, place()).prop_map(|(index, place)| Step::Reschedule(index, place)),
            1 => Just(Step::Wait),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Book(_) | Step::Wait => true,
            Step::Take(index, _) | Step::Reschedule(index, _) => *index < state.visits.len(),
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.outcome = match *step {
            Step::Wait => {
                state.now += 1;
                Outcome::Done
            }
            Step::Book(place) => {
                if let Some(resource) = state.taken(place, None) {
                    Outcome::Taken(resource)
                } else {
                    state.visits.push(Visit {
                        place,
                        status: "scheduled",
                    });
                    Outcome::Done
                }
            }
            Step::Take(index, action) => {
                let place = state.visits[index].place;
                state.change(index, action, place)
            }
            Step::Reschedule(index, place) => {
                let patient = state.visits[index].place.patient;
                state.change(index, "reschedule", Place { patient, ..place })
            }
        };
        state
    }
}

/// The clinic that every case starts from, with two of everything.
struct Start {
    clinic: Clinic,
    doctors: [UserId; 2],
    rooms: [RoomId; 2],
    patients: [PatientId; 2],
}

static START: LazyLock<Start> = LazyLock::new(|| {
    block_on(async {
        let clinic = Clinic::open().await;
        let room = dcms_domain::clinic::CreateRoom {
            name: "Room 2".to_owned(),
            is_active: true,
            kind: None,
            position: 0,
        };
        let room = clinic
            .services
            .clinic
            .create_room(&clinic.admin, room)
            .await;
        let patient = clinic.register("Berta", "Schulz").await;
        Start {
            doctors: [clinic.doctor.user_id, clinic.other_doctor.user_id],
            rooms: [clinic.room.room_id, room.unwrap().room_id],
            patients: [clinic.patient.patient_id, patient.patient_id],
            clinic,
        }
    })
});

struct Booking {
    clinic: Clinic,
    booked: Vec<AppointmentId>,
}

fn at(half_hours: i64) -> Instant {
    START.clinic.minutes_from_now(30 * half_hours)
}

fn transition(step: Step) -> Transition {
    match step {
        Step::Take(_, "confirm") => Transition::Confirm,
        Step::Take(_, "arrive") => Transition::Arrive,
        Step::Take(_, "start") => Transition::Start,
        Step::Take(_, "complete") => Transition::Complete,
        Step::Take(_, "no_show") => Transition::NoShow,
        Step::Take(..) => Transition::Cancel {
            reason: "Ill".to_owned(),
        },
        Step::Reschedule(_, place) => Transition::Reschedule {
            starts_at: at(place.from),
            ends_at: Some(at(place.to)),
            doctor_id: Some(START.doctors[place.doctor]),
            room_id: place
                .room
                .map_or(Change::Clear, |room| Change::Set(START.rooms[room])),
            overbook_reason: None,
            reason: None,
        },
        Step::Book(_) | Step::Wait => unreachable!("these are no transitions"),
    }
}

impl Booking {
    async fn book(&mut self, place: Place) -> Result<(), AppointmentError> {
        let booked = self
            .clinic
            .services
            .appointments
            .book(
                &self.clinic.manager,
                BookAppointment {
                    patient_id: START.patients[place.patient],
                    doctor_id: START.doctors[place.doctor],
                    room_id: place.room.map(|room| START.rooms[room]),
                    starts_at: at(place.from),
                    ends_at: Some(at(place.to)),
                    notes: None,
                    services: Vec::new(),
                    overbook_reason: None,
                },
            )
            .await?;
        self.booked.push(booked.appointment_id);
        Ok(())
    }

    async fn take(&self, index: usize, transition: Transition) -> Result<(), AppointmentError> {
        let (id, any) = (self.booked[index], Expected::Any);
        let visits = &self.clinic.services.appointments;
        visits
            .take_action(&self.clinic.manager, id, &any, transition)
            .await
            .map(|_| ())
    }

    async fn stored(&self) -> Vec<Appointment> {
        let all = AppointmentQuery::default();
        let visits = &self.clinic.services.appointments;
        visits
            .appointments(&self.clinic.manager, all, PageRequest::first())
            .await
            .unwrap()
            .items
    }
}

fn outcome(result: Result<(), AppointmentError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(AppointmentError::InvalidTransition { .. }) => Outcome::NotAllowed,
        Err(AppointmentError::Common(CommonError::Store(StoreError::Violated(rule)))) => {
            Outcome::Taken(match rule {
                Rule::DoctorDoubleBooked => "doctor",
                Rule::RoomDoubleBooked => "room",
                Rule::PatientDoubleBooked => "patient",
                rule => panic!("unexpected: {rule:?}"),
            })
        }
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

impl StateMachineTest for Booking {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self {
            clinic: START.clinic.fork(),
            booked: Vec::new(),
        }
    }

    fn apply(mut state: Self, model: &Model, step: Step) -> Self {
        let result = match step {
            Step::Wait => {
                state.clinic.clock.advance(TimeDelta::minutes(30));
                Ok(())
            }
            Step::Book(place) => block_on(state.book(place)),
            Step::Take(index, _) | Step::Reschedule(index, _) => {
                block_on(state.take(index, transition(step)))
            }
        };
        assert_eq!(outcome(result), model.outcome);
        state
    }

    fn check_invariants(state: &Self, model: &Model) {
        let stored = block_on(state.stored());
        assert_eq!(stored.len(), model.visits.len());
        for (id, expected) in state.booked.iter().zip(&model.visits) {
            let visit = stored
                .iter()
                .find(|visit| visit.appointment_id == *id)
                .unwrap();
            let place = expected.place;
            assert_eq!(visit.status.as_str(), expected.status);
            assert_eq!(visit.slot.starts_at(), at(place.from));
            assert_eq!(visit.slot.ends_at(), at(place.to));
            assert_eq!(visit.doctor_id, START.doctors[place.doctor]);
            assert_eq!(visit.room_id, place.room.map(|room| START.rooms[room]));
            assert_eq!(visit.patient_id, START.patients[place.patient]);
        }
    }
}

prop_state_machine! {
    #![proptest_config(crate::ten_thousand_cases())]

    #[test]
    fn bookings_follow_the_model(sequential 1..10 => Booking);
}
