use super::stage::{Must, Stage, all_of, changed, page_of};
use crate::access::Role;
use crate::appointments::{Appointment, AppointmentFilter, DeskVisit, Status};
use crate::clinic::Room;
use crate::identity::User;
use crate::patients::{ContactType, Patient};
use crate::shared::{Cents, PageRequest, TimeWindow};
use crate::store::Store;

/// A day on which Anna comes twice and Berta once.
struct Day {
    anna: Patient,
    berta: Patient,
    first_doctor: User,
    second_doctor: User,
    room: Room,
    first: Appointment,
    of_berta: Appointment,
    second: Appointment,
    filter: AppointmentFilter,
}

impl Day {
    async fn on(stage: &Stage<'_>) -> Self {
        let anna = stage.saved_patient("Anna", "Meyer").await;
        let berta = stage.saved_patient("Berta", "Schulz").await;
        let first_doctor = stage.saved_user("doctor1", Role::Doctor).await;
        let second_doctor = stage.saved_user("doctor2", Role::Doctor).await;
        let room = stage.saved_room("Room 1").await;
        let first = stage.visit(&anna, &first_doctor, stage.slot(0, 30));
        let first = changed(&first, |it| it.room_id = Some(room.room_id));
        let of_berta = stage.visit(&berta, &second_doctor, stage.slot(0, 30));
        let second = stage.visit(&anna, &second_doctor, stage.slot(60, 90));
        for visit in [&first, &of_berta, &second] {
            stage.book(visit).await.must();
        }
        let window = TimeWindow {
            from: Some(stage.at(0)),
            to: Some(stage.at(90)),
        };
        Self {
            anna,
            berta,
            first_doctor,
            second_doctor,
            room,
            first,
            of_berta,
            second,
            filter: AppointmentFilter {
                window,
                ..AppointmentFilter::default()
            },
        }
    }

    /// Anna has a primary phone, Berta two that are not.
    async fn with_contacts(&self, stage: &Stage<'_>) {
        for value in ["030 1", "030 2"] {
            let kind = ContactType::Phone;
            stage.saved_contact(&self.berta, kind, value).await;
        }
        for (kind, value, is_primary) in [
            (ContactType::Phone, "030 3", false),
            (ContactType::Phone, "030 4", true),
            (ContactType::Email, "anna@example.org", true),
        ] {
            let contact = stage.contact(&self.anna, kind, value);
            let contact = changed(&contact, |it| it.is_primary = is_primary);
            stage.save_contact(&contact).await.must();
        }
    }

    /// Anna owes 30 of 100 and 7; nothing of a draft or of what is void.
    async fn with_invoices(&self, stage: &Stage<'_>) {
        let issued = async |total| {
            let draft = stage.saved_draft(&self.anna, total).await;
            stage.issued(draft).await
        };
        stage.paid(&issued(100).await, 70, &self.first_doctor).await;
        issued(7).await;
        stage.saved_draft(&self.anna, 1_000).await;
        let void = issued(10_000).await.voided("Mistake", stage.at(2)).must();
        stage
            .write(async |work| work.invoices().save_voiding(&void).await)
            .await
            .must();
    }

    /// Anna was booked before, and never came.
    async fn with_the_past(&self, stage: &Stage<'_>) {
        for (days, status) in [
            (366, Status::NoShow),
            (365, Status::NoShow),
            (10, Status::NoShow),
            (5, Status::Cancelled),
        ] {
            let from = -days * 24 * 60;
            let visit = stage.visit(&self.anna, &self.first_doctor, stage.slot(from, from + 30));
            let visit = changed(&visit, |it| {
                it.status = status;
                it.cancel_reason = (status == Status::Cancelled).then(|| "Ill".to_owned());
            });
            stage.book(&visit).await.must();
        }
    }
}

/// A visit around which nothing is.
fn bare(appointment: &Appointment, patient: &Patient, doctor: &User) -> DeskVisit {
    DeskVisit {
        appointment: appointment.clone(),
        register_number: patient.register_number,
        first_name: patient.first_name.clone(),
        last_name: patient.last_name.clone(),
        birthday: patient.birthday,
        phone: None,
        doctor_name: doctor.display_name.clone(),
        room_name: None,
        balance: Cents::ZERO,
        is_first: true,
        no_shows: 0,
    }
}

/// The names around a visit, the phone to call, what is owed, and what was before.
pub async fn the_front_desk_sees_what_is_around_a_visit(store: &dyn Store) {
    let stage = Stage::new(store);
    let day = Day::on(&stage).await;
    let room_name = Some("Room 1".to_owned());
    let seen = async || {
        let mut connection = stage.connect().await;
        let visits = connection.appointments();
        all_of(
            visits
                .list_for_desk(&day.filter, PageRequest::first())
                .await,
        )
    };
    let mut expected = [
        bare(&day.first, &day.anna, &day.first_doctor),
        bare(&day.of_berta, &day.berta, &day.second_doctor),
        bare(&day.second, &day.anna, &day.second_doctor),
    ];
    expected[0].room_name = room_name;
    expected[2].is_first = false;
    assert_eq!(seen().await, expected);

    day.with_contacts(&stage).await;
    for (visit, phone) in expected.iter_mut().zip(["030 4", "030 1", "030 4"]) {
        visit.phone = Some(phone.to_owned());
    }
    assert_eq!(seen().await, expected);

    day.with_invoices(&stage).await;
    expected[0].balance = Cents::new(37);
    expected[2].balance = Cents::new(37);
    assert_eq!(seen().await, expected);

    day.with_the_past(&stage).await;
    expected[0].no_shows = 2;
    // One hour later, what was 365 days before the first is too old.
    expected[2].no_shows = 1;
    assert_eq!(seen().await, expected);
}

/// The same visits in the same pages.
pub async fn the_front_desk_finds_what_a_list_finds(store: &dyn Store) {
    let stage = Stage::new(store);
    let day = Day::on(&stage).await;
    day.with_the_past(&stage).await;
    let mut connection = stage.connect().await;
    for (filter, expected) in [
        (day.filter, 3),
        (
            AppointmentFilter {
                doctor_id: Some(day.second_doctor.user_id),
                ..day.filter
            },
            2,
        ),
        (
            AppointmentFilter {
                patient_id: Some(day.anna.patient_id),
                status: Some(Status::NoShow),
                ..AppointmentFilter::default()
            },
            3,
        ),
        (
            AppointmentFilter {
                room_id: Some(day.room.room_id),
                ..day.filter
            },
            1,
        ),
        (AppointmentFilter::default(), 7),
    ] {
        let (mut after, mut found) = (None, 0);
        loop {
            let list = connection.appointments();
            let plain = list.list(&filter, page_of(1, after)).await.must();
            let desk = list.list_for_desk(&filter, page_of(1, after)).await.must();
            let visits = desk.items.into_iter().map(|visit| visit.appointment);
            assert_eq!(visits.collect::<Vec<_>>(), plain.items);
            assert_eq!(desk.next, plain.next);
            found += plain.items.len();
            after = plain.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
}
