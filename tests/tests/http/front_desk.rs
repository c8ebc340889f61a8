//! The front desk's day: `GET /appointments?date=`.

use dcms_tests::Answer;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{
    Clinic, assert_members, booking, items, pay, texts, texts_of_pages, url, with,
};

const VISITS: &str = "/api/v1/appointments";

async fn day(clinic: &Clinic, query: &[(&str, &str)]) -> Answer {
    clinic.desk.get(&url(VISITS, query)).await
}

async fn execute(clinic: &Clinic, statement: &str) {
    let mut connection = PgConnection::connect(clinic.server.database_url())
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn named(clinic: &Clinic, first_name: &str, birthday: &str) -> String {
    let body = json!({"first_name": first_name, "last_name": "Grünwald", "birthday": birthday});
    clinic
        .desk
        .create("/api/v1/patients", &body, "patient_id")
        .await
}

#[tokio::test]
async fn a_day_tells_all_that_the_desk_asks_for() {
    let clinic = Clinic::open().await;
    let zoe = named(&clinic, "Zoë", "1990-05-06").await;
    let contacts = format!("/api/v1/patients/{zoe}/contacts");
    for (value, is_primary) in [("030 111", false), ("030 222", true)] {
        let body = json!({"type": "phone", "value": value, "is_primary": is_primary});
        clinic.desk.create(&contacts, &body, "contact_id").await;
    }
    let room = clinic.server.room("Room 7").await;
    let doctor = &clinic.doctor.user_id;
    let body = booking(&zoe, doctor, "2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z");
    let body = with(body, &json!({"room_id": room, "notes": "Afraid"}));
    let id = crate::support::book(&clinic.desk, &body).await;
    let crown = json!([{"description": "Crown", "unit_price_cents": 10_000, "qty": 1}]);
    for is_paid in [true, false] {
        let invoice = crate::support::draft(&clinic.desk, &zoe, &crown).await;
        let issued = clinic.desk.act(&format!("{invoice}/issue")).await;
        assert_eq!(issued.status, 200, "{issued:?}");
        if is_paid {
            pay(&clinic.desk, &invoice, 3_700).await;
        }
    }
    crate::support::draft(&clinic.desk, &zoe, &crown).await;
    // Waited 12 minutes, sat in the chair for 28.
    execute(
        &clinic,
        &format!(
            "UPDATE appointments SET status = 'completed', arrived_at = '2030-05-06T08:50:00Z',
                seated_at = '2030-05-06T09:02:30Z', completed_at = '2030-05-06T09:31:00Z'
            WHERE appointment_id = '{id}'"
        ),
    )
    .await;

    let answer = day(&clinic, &[("date", "2030-05-06")]).await;
    let [item] = items(&answer) else {
        panic!("one visit: {answer:?}");
    };
    let patient = clinic.desk.get(&format!("/api/v1/patients/{zoe}")).await;
    let doctor = clinic.desk.get("/api/v1/auth/me").await;
    assert_eq!(doctor.status, 200, "{doctor:?}");
    let front_desk = &item["front_desk"];
    assert_eq!(
        front_desk["patient"],
        json!({
            "first_name": "Zoë", "last_name": "Grünwald", "age": 40, "birthday": "1990-05-06",
            "register_number": patient.text("/register_number"), "phone": "030 222",
        })
    );
    assert_eq!(front_desk["room_name"], "Room 7");
    assert_eq!(front_desk["balance_cents"], 16_300);
    assert_eq!(front_desk["waiting_minutes"], 12);
    assert_eq!(front_desk["chair_minutes"], 28);
    assert_eq!(
        front_desk["flags"],
        json!({"first_visit": true, "birthday": true, "no_shows_in_a_year": 0})
    );
    let doctors = clinic.desk.get("/api/v1/doctors").await;
    assert_eq!(
        front_desk["doctor_name"],
        items(&doctors)[0]["display_name"]
    );

    // Besides, the item is the visit.
    let mut visit = item.clone();
    visit.as_object_mut().unwrap().remove("front_desk");
    assert_eq!(visit, clinic.desk.get(&format!("{VISITS}/{id}")).await.body);
    // Without a day nobody asked for it.
    let all = clinic.desk.get(VISITS).await;
    assert_eq!(items(&all), [visit]);
}

/// Who is archived by now, and of whom little is known.
#[tokio::test]
async fn what_is_not_known_is_null() {
    let clinic = Clinic::open().await;
    let id = clinic
        .visit("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z")
        .await;
    let archived = clinic
        .desk
        .act(&format!("/api/v1/patients/{}/archive", clinic.patient))
        .await;
    assert_eq!(archived.status, 200, "{archived:?}");
    let answer = day(&clinic, &[("date", "2030-05-06")]).await;
    assert_eq!(texts(&answer, "appointment_id"), [id]);
    let front_desk = &items(&answer)[0]["front_desk"];
    assert_members(
        front_desk,
        &[
            "patient",
            "doctor_name",
            "room_name",
            "balance_cents",
            "waiting_minutes",
            "chair_minutes",
            "flags",
        ],
    );
    for unknown in [
        "/patient/phone",
        "/room_name",
        "/waiting_minutes",
        "/chair_minutes",
    ] {
        assert_eq!(front_desk.pointer(unknown), Some(&Value::Null), "{unknown}");
    }
    assert_eq!(front_desk["balance_cents"], 0);
    assert_eq!(
        front_desk["patient"]["first_name"],
        archived.text("/first_name")
    );
}

#[tokio::test]
async fn visits_before_are_told_in_flags() {
    let clinic = Clinic::open().await;
    for (at, action) in [
        ("2029-05-05", "no_show"),
        ("2029-05-06", "no_show"),
        ("2029-12-01", "no_show"),
        ("2030-01-01", "cancelled"),
    ] {
        let id = clinic
            .visit(&format!("{at}T09:00:00Z"), &format!("{at}T09:30:00Z"))
            .await;
        let reason = if action == "cancelled" {
            "'Ill'"
        } else {
            "NULL"
        };
        let statement = format!(
            "UPDATE appointments SET status = '{action}', cancel_reason = {reason}
            WHERE appointment_id = '{id}'"
        );
        execute(&clinic, &statement).await;
    }
    clinic
        .visit("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z")
        .await;
    clinic
        .visit("2030-05-06T10:00:00Z", "2030-05-06T10:30:00Z")
        .await;
    let answer = day(&clinic, &[("date", "2030-05-06")]).await;
    let flags = |index: usize| items(&answer)[index]["front_desk"]["flags"].clone();
    // What was 365 days before is counted, and nothing older: that of the second is an hour too old.
    let first = json!({"first_visit": true, "birthday": false, "no_shows_in_a_year": 2});
    assert_eq!(flags(0), first);
    let second = json!({"first_visit": false, "no_shows_in_a_year": 1});
    assert_eq!(flags(1), with(first, &second));
}

#[tokio::test]
async fn a_day_is_filtered_and_comes_in_pages() {
    let clinic = Clinic::open().await;
    let other = clinic.server.user("doctor").await.user_id;
    let room = clinic.server.room("Room 1").await;
    let mut ids = Vec::new();
    for hour in 9..14 {
        let patient = clinic.server.patient().await;
        let doctor = if hour % 2 == 0 {
            &other
        } else {
            &clinic.doctor.user_id
        };
        let (from, to) = (
            format!("2030-05-06T{hour:02}:00:00Z"),
            format!("2030-05-06T{hour:02}:30:00Z"),
        );
        let mut body = booking(&patient, doctor, &from, &to);
        if hour == 10 {
            body = with(body, &json!({"room_id": room}));
        }
        ids.push(crate::support::book(&clinic.desk, &body).await);
    }
    let confirmed = clinic
        .desk
        .act(&format!("{VISITS}/{}/confirm", ids[3]))
        .await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let date = ("date", "2030-05-06");
    for (filter, expected) in [
        (("doctor_id", other.as_str()), vec![&ids[1], &ids[3]]),
        (("room_id", room.as_str()), vec![&ids[1]]),
        (("status", "confirmed"), vec![&ids[3]]),
        (
            ("from", "2030-05-06T11:00:00Z"),
            vec![&ids[2], &ids[3], &ids[4]],
        ),
    ] {
        let answer = day(&clinic, &[date, filter]).await;
        assert_eq!(
            texts(&answer, "appointment_id").iter().collect::<Vec<_>>(),
            expected
        );
        assert!(
            items(&answer)
                .iter()
                .all(|item| item["front_desk"].is_object())
        );
    }
    let path = url(VISITS, &[date]);
    let paged = texts_of_pages(&clinic.desk, &path, 2, "appointment_id", async || {}).await;
    assert_eq!(paged, ids);
}

/// A day of 23 hours, from 23:00 to 22:00 UTC, on which somebody is born.
#[tokio::test]
async fn the_day_is_the_clinics_also_when_clocks_change() {
    let clinic = Clinic::open().await;
    let manager = clinic.server.user("manager").await;
    let zone = json!({"time_zone": "Europe/Berlin"});
    let changed = manager.patch("/api/v1/clinic", &zone).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let patient = named(&clinic, "Ida", "2000-03-31").await;
    let mut ids = Vec::new();
    for from in ["30T22:30", "30T23:00", "31T21:30", "31T22:00"] {
        let starts_at = format!("2030-03-{from}:00Z");
        let ends_at = starts_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let ends_at = (ends_at + chrono::TimeDelta::minutes(30)).to_rfc3339();
        let body = booking(&patient, &clinic.doctor.user_id, &starts_at, &ends_at);
        ids.push(crate::support::book(&clinic.desk, &body).await);
    }
    let answer = day(&clinic, &[("date", "2030-03-31")]).await;
    assert_eq!(texts(&answer, "appointment_id"), ids[1..3]);
    for item in items(&answer) {
        assert_eq!(item["front_desk"]["patient"]["age"], 30);
        assert_eq!(item["front_desk"]["flags"]["birthday"], true);
    }
    let before = day(&clinic, &[("date", "2030-03-30")]).await;
    assert_eq!(texts(&before, "appointment_id"), ids[..1]);
    assert_eq!(items(&before)[0]["front_desk"]["patient"]["age"], 29);
}
