//! What many clients do at once. The database of these tests never breaks a deadlock by itself, so
//! whatever would wait for that exceeds the deadline.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use dcms_tests::{Answer, Client, Server, fresh_database};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::invoices::sequence;
use crate::support::{
    Clinic, SERVED_AT_A_TIME, assert_unchanged, book, booking, etag, items, pay, soon,
    until_waiting, url, with,
};

const VISITS: &str = "/api/v1/appointments";

/// A server on a database that leaves deadlocks alone.
async fn start() -> Server {
    let database = fresh_database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query(
        "DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''1h''', current_database());
        END $$",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let server = Server::start_on(database.url()).await;
    server.look_far_ahead().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let timeout: String = sqlx::query_scalar("SHOW deadlock_timeout")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(timeout, "1h");
    server
}

/// Sends all requests at once; their answers in order, none of which is the server's fault.
///
/// The database keeps everybody from changing the table until as many as the server lets in at a
/// time want to; then all of them do, at the same moment.
async fn at_once(server: &Server, table: &str, requests: Vec<RequestBuilder>) -> Vec<Answer> {
    let crowd = requests.len().min(SERVED_AT_A_TIME);
    let mut gate = PgConnection::connect(server.database_url()).await.unwrap();
    let mut gate = gate.begin().await.unwrap();
    let close = format!("LOCK TABLE {table} IN EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(close))
        .execute(&mut *gate)
        .await
        .unwrap();
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| tokio::spawn(Answer::of(request)))
        .collect();
    until_waiting(&mut gate, crowd).await;
    gate.commit().await.unwrap();
    let answers = soon(join_all(tasks)).await;
    let answers: Vec<Answer> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer"))
        .collect();
    for answer in &answers {
        assert!(!answer.status.is_server_error(), "{answer:?}");
    }
    answers
}

fn post(client: &Client, path: &str, body: &Value) -> RequestBuilder {
    client.request(Method::POST, path).json(body)
}

fn act(client: &Client, path: &str) -> RequestBuilder {
    client.request(Method::POST, path)
}

/// How many have this status; all others must be this problem.
fn count(answers: &[Answer], status: u16, problem: u16, code: &str) -> usize {
    let (done, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == status);
    for answer in refused {
        answer.assert_problem(problem, code);
    }
    done.len()
}

fn instant(body: &Value, field: &str) -> DateTime<Utc> {
    body[field].as_str().unwrap().parse().unwrap()
}

fn overlap(one: &Value, other: &Value) -> bool {
    instant(one, "starts_at") < instant(other, "ends_at")
        && instant(other, "starts_at") < instant(one, "ends_at")
}

/// A slot of so many minutes, so many minutes into a day.
fn slot(day: &str, minutes: i64, length: i64) -> Value {
    let start: DateTime<Utc> = format!("{day}T00:00:00Z").parse().unwrap();
    let at = |minutes| (start + TimeDelta::minutes(minutes)).to_rfc3339();
    json!({"starts_at": at(minutes), "ends_at": at(minutes + length)})
}

/// Fails when any two visits that take place have a doctor, a room or a patient in common at a time.
async fn assert_nothing_double_booked(client: &Client) {
    let list = client.get(&url(VISITS, &[("limit", "200")])).await;
    assert_eq!(
        list.body["next_cursor"],
        Value::Null,
        "more visits than are looked at"
    );
    let takes_place =
        |visit: &&Value| visit["status"] != "cancelled" && visit["status"] != "no_show";
    let visits: Vec<&Value> = items(&list).iter().filter(takes_place).collect();
    for (index, one) in visits.iter().enumerate() {
        for other in &visits[index + 1..] {
            let shared = ["doctor_id", "room_id", "patient_id"]
                .iter()
                .any(|party| one[party] == other[party] && !one[party].is_null());
            assert!(!shared || !overlap(one, other), "{one} and {other}");
        }
    }
}

const CLIENTS: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn of_48_clients_at_one_slot_one_gets_it() {
    let server = start().await;
    let admin = server.admin();
    // One after the other: so many first log-ins at once from one address are too many.
    let mut doctors = Vec::new();
    for _ in 0..CLIENTS {
        doctors.push(server.user("doctor").await);
    }
    let patients = join_all((0..CLIENTS).map(|_| server.patient())).await;
    let room = server.room("Room 1").await;
    for (day, resource) in ["doctor", "room", "patient"].into_iter().enumerate() {
        let slot = slot(&format!("2030-01-{:02}", day + 1), 540, 30);
        let requests = (0..CLIENTS).map(|index| {
            let mut body = with(
                slot.clone(),
                &json!({"doctor_id": doctors[index].user_id, "patient_id": patients[index]}),
            );
            // All have this one in common, and nothing else.
            match resource {
                "doctor" => body["doctor_id"] = json!(doctors[0].user_id),
                "room" => body["room_id"] = json!(room),
                _ => body["patient_id"] = json!(patients[0]),
            }
            post(admin, VISITS, &body)
        });
        let answers = at_once(&server, "appointments", requests.collect()).await;
        assert_eq!(
            count(&answers, 201, 409, "appointment_overlap"),
            1,
            "{resource}"
        );
        for answer in answers.iter().filter(|answer| answer.status == 409) {
            assert_eq!(answer.text("/resource"), resource);
        }
    }
    let list = admin.get(VISITS).await;
    assert_eq!(items(&list).len(), 3);
}

/// One visit, and one answer for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn of_16_requests_of_one_name_one_has_an_effect() {
    let clinic = Clinic::on(start().await).await;
    let body = clinic.booking("2030-05-06T09:00:00Z", "2030-05-06T09:30:00Z");
    let path = "/api/v1/appointments";
    let book = || post(&clinic.desk, path, &body).header("idempotency-key", "booking-1");
    let requests = std::iter::repeat_with(book).take(16).collect();
    let answers = at_once(&clinic.server, "appointments", requests).await;
    let is_replayed = |answer: &&Answer| answer.header("idempotency-replayed") == Some("true");
    assert_eq!(answers.iter().filter(is_replayed).count(), 15);
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.header("location"), answers[0].header("location"));
        assert_eq!(answer.header("etag"), answers[0].header("etag"));
    }
    let visits = clinic.desk.get(path).await;
    assert_eq!(items(&visits), [answers[0].body.clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_chain_of_overlapping_slots_nobody_is_refused_for_nothing() {
    let clinic = Clinic::on(start().await).await;
    let patients = join_all((0..32).map(|_| clinic.server.patient())).await;
    for day in ["2030-01-01", "2030-01-02", "2030-01-03"] {
        let bodies: Vec<Value> = (0..32)
            .zip(&patients)
            .map(|(index, patient)| {
                let parties = json!({"patient_id": patient, "doctor_id": clinic.doctor.user_id});
                with(slot(day, index * 15, 25), &parties)
            })
            .collect();
        let requests = bodies.iter().map(|body| post(&clinic.desk, VISITS, body));
        let answers = at_once(&clinic.server, "appointments", requests.collect()).await;
        let booked = count(&answers, 201, 409, "appointment_overlap");
        assert!(
            (11..=16).contains(&booked),
            "{booked} of a chain of 32 do not fit or leave room"
        );
        for (body, answer) in bodies.iter().zip(&answers) {
            let in_the_way = bodies.iter().zip(&answers).any(|(other, answer)| {
                answer.status == 201 && other != body && overlap(other, body)
            });
            assert_eq!(answer.status == 409, in_the_way, "{answer:?}");
        }
    }
    assert_nothing_double_booked(&clinic.desk).await;
}

/// Reschedules each visit to its slot, all at once; the answers. Whoever is refused stays.
async fn move_all(clinic: &Clinic, moves: &[(String, Value)]) -> Vec<Answer> {
    let client = &clinic.desk;
    let paths: Vec<String> = moves
        .iter()
        .map(|(id, _)| format!("{VISITS}/{id}"))
        .collect();
    let before = join_all(paths.iter().map(|path| client.get(path))).await;
    let requests = paths
        .iter()
        .zip(moves)
        .map(|(path, (_, slot))| post(client, &format!("{path}/reschedule"), slot));
    let answers = at_once(&clinic.server, "appointments", requests.collect()).await;
    count(&answers, 200, 409, "appointment_overlap");
    for ((path, before), answer) in paths.iter().zip(&before).zip(&answers) {
        let now = if answer.status == 200 { answer } else { before };
        assert_unchanged(client, path, now).await;
    }
    assert_nothing_double_booked(client).await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn two_visits_that_swap_slots_are_both_in_each_others_way() {
    let clinic = Clinic::on(start().await).await;
    let mut moves = Vec::new();
    for pair in 0..16 {
        let doctor = clinic.server.user("doctor").await.user_id;
        let day = format!("2030-01-{:02}", pair + 1);
        for (from, to) in [(540, 600), (600, 540)] {
            let parties = json!({"patient_id": clinic.server.patient().await, "doctor_id": doctor});
            let visit = book(&clinic.desk, &with(slot(&day, from, 60), &parties)).await;
            moves.push((visit, slot(&day, to, 60)));
        }
    }
    for answer in move_all(&clinic, &moves).await {
        answer.assert_problem(409, "appointment_overlap");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_visits_that_move_to_overlapping_slots_one_arrives() {
    let clinic = Clinic::on(start().await).await;
    let mut moves = Vec::new();
    for pair in 0..12 {
        let doctor = clinic.server.user("doctor").await.user_id;
        let day = format!("2030-01-{:02}", pair + 1);
        for (from, to) in [(540, 840), (600, 870)] {
            let parties = json!({"patient_id": clinic.server.patient().await, "doctor_id": doctor});
            let visit = book(&clinic.desk, &with(slot(&day, from, 60), &parties)).await;
            moves.push((visit, slot(&day, to, 60)));
        }
    }
    let answers = move_all(&clinic, &moves).await;
    for pair in answers.chunks(2) {
        assert_eq!(count(pair, 200, 409, "appointment_overlap"), 1, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_that_cross_each_other_on_different_resources_do_not_wait_for_each_other() {
    let clinic = Clinic::on(start().await).await;
    let rooms = [
        clinic.server.room("Room 1").await,
        clinic.server.room("Room 2").await,
    ];
    let doctors = [
        clinic.server.user("doctor").await.user_id,
        clinic.server.user("doctor").await.user_id,
    ];
    let mut moves = Vec::new();
    for pair in 0..12 {
        let day = format!("2030-01-{:02}", pair + 1);
        for (index, other) in [(0, 1), (1, 0)] {
            let parties = json!({
                "patient_id": clinic.server.patient().await,
                "doctor_id": doctors[index], "room_id": rooms[index],
            });
            let visit = book(&clinic.desk, &with(slot(&day, 540, 60), &parties)).await;
            // Each one's doctor meets the other one's room.
            let target = json!({"doctor_id": doctors[index], "room_id": rooms[other]});
            moves.push((
                visit,
                with(
                    slot(&day, 600 + 30 * i64::try_from(index).unwrap(), 60),
                    &target,
                ),
            ));
        }
        // And a third one wants both.
        let parties = json!({"patient_id": clinic.server.patient().await, "doctor_id": clinic.doctor.user_id});
        let visit = book(&clinic.desk, &with(slot(&day, 1200, 60), &parties)).await;
        let target = json!({"doctor_id": doctors[0], "room_id": rooms[0]});
        moves.push((visit, with(slot(&day, 615, 60), &target)));
    }
    for _ in 0..3 {
        let answers = move_all(&clinic, &moves).await;
        assert!(answers.iter().any(|answer| answer.status == 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_and_bookings_for_the_same_slots_do_not_deadlock() {
    let clinic = Clinic::on(start().await).await;
    let mut requests = Vec::new();
    for number in 0..10 {
        let patients = [clinic.server.patient().await, clinic.server.patient().await];
        let parties = |index: usize| json!({"patient_id": patients[index], "doctor_id": clinic.doctor.user_id});
        let visit = with(slot("2030-01-01", number * 60, 30), &parties(0));
        let visit = book(&clinic.desk, &visit).await;
        // One moves half over the next one's slot, another is booked over both.
        let path = format!("{VISITS}/{visit}/reschedule");
        requests.push(post(
            &clinic.desk,
            &path,
            &slot("2030-01-01", number * 60 + 40, 30),
        ));
        let booking = with(slot("2030-01-01", number * 60 + 20, 30), &parties(1));
        requests.push(post(&clinic.desk, VISITS, &booking));
    }
    for answer in at_once(&clinic.server, "appointments", requests).await {
        if !answer.status.is_success() {
            answer.assert_problem(409, "appointment_overlap");
        }
    }
    assert_nothing_double_booked(&clinic.desk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_all_and_whoever_books_the_slot_do_not_both_get_it() {
    let clinic = Clinic::on(start().await).await;
    let mut requests = Vec::new();
    for day in 1..=12 {
        let (from, to) = (
            format!("2020-01-{day:02}T09:00:00Z"),
            format!("2020-01-{day:02}T09:30:00Z"),
        );
        let late = clinic.visit(&from, &to).await;
        let path = format!("{VISITS}/{late}");
        assert_eq!(
            clinic.desk.act(&format!("{path}/no_show")).await.status,
            200
        );
        requests.push(act(&clinic.desk, &format!("{path}/arrive")));
        let other = booking(
            &clinic.server.patient().await,
            &clinic.doctor.user_id,
            &from,
            &to,
        );
        requests.push(post(&clinic.desk, VISITS, &other));
    }
    let answers = at_once(&clinic.server, "appointments", requests).await;
    for pair in answers.chunks(2) {
        let won = pair
            .iter()
            .filter(|answer| answer.status.is_success())
            .count();
        assert_eq!(won, 1, "{pair:?}");
        for answer in pair.iter().filter(|answer| !answer.status.is_success()) {
            answer.assert_problem(409, "appointment_overlap");
        }
    }
    assert_nothing_double_booked(&clinic.desk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_payments_of_300_on_1000_three_are_taken() {
    let clinic = Clinic::on(start().await).await;
    let invoice = clinic.issued(1000).await;
    let path = format!("{invoice}/payments");
    let cash = json!({"amount_cents": 300, "method": "cash"});
    let answers = at_once(
        &clinic.server,
        "invoices",
        (0..32).map(|_| post(&clinic.desk, &path, &cash)).collect(),
    )
    .await;
    assert_eq!(count(&answers, 201, 422, "payment_exceeds_balance"), 3);
    let now = clinic.desk.get(&invoice).await;
    assert_eq!(now.number("/paid_cents"), 900);
    assert_eq!(now.number("/balance_cents"), 100);
    assert_eq!(now.text("/status"), "partially_paid");
    assert_eq!(items(&clinic.desk.get(&path).await).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_refunds_of_300_of_1000_three_are_given() {
    let clinic = Clinic::on(start().await).await;
    let invoice = clinic.issued(1000).await;
    let payment = pay(&clinic.desk, &invoice, 1000).await;
    let (admin, path) = (clinic.server.admin(), format!("{payment}/refunds"));
    let back = json!({"amount_cents": 300, "reason": "Overcharged"});
    let answers = at_once(
        &clinic.server,
        "invoices",
        (0..32).map(|_| post(admin, &path, &back)).collect(),
    )
    .await;
    assert_eq!(count(&answers, 201, 422, "refund_exceeds_payment"), 3);
    let now = admin.get(&invoice).await;
    assert_eq!(now.number("/paid_cents"), 100);
    assert_eq!(now.text("/status"), "partially_paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_and_refunds_of_one_invoice_take_turns() {
    let clinic = Clinic::on(start().await).await;
    let (admin, invoice) = (clinic.server.admin(), clinic.issued(1000).await);
    let mut payments = Vec::new();
    for _ in 0..2 {
        payments.push(pay(&clinic.desk, &invoice, 500).await);
    }
    let back = json!({"amount_cents": 100, "reason": "Overcharged"});
    let cash = json!({"amount_cents": 100, "method": "cash"});
    let mut requests = Vec::new();
    for number in 0..16 {
        requests.push(post(
            admin,
            &format!("{}/refunds", payments[number % 2]),
            &back,
        ));
        requests.push(post(admin, &format!("{invoice}/payments"), &cash));
    }
    let answers = at_once(&clinic.server, "invoices", requests).await;
    let (mut paid, mut refunded) = (1000, 0);
    for answer in &answers {
        match (answer.status.as_u16(), answer.body.get("refund")) {
            (201, Some(_)) => refunded += 100,
            (201, None) => paid += 100,
            // The balance may be nothing at the moment.
            _ => answer.assert_problem(
                answer.status.as_u16(),
                if answer.status == 409 {
                    "invoice_not_payable"
                } else {
                    "refund_exceeds_payment"
                },
            ),
        }
    }
    assert_eq!(
        refunded, 1000,
        "each payment of 500 goes back in five parts"
    );
    let now = admin.get(&invoice).await;
    assert_eq!(now.number("/paid_cents"), paid - refunded);
    let list = admin.get(&format!("{invoice}/payments")).await;
    let sum: i64 = items(&list)
        .iter()
        .map(|item| item["amount_cents"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, paid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_paid_or_void_never_both() {
    let clinic = Clinic::on(start().await).await;
    let admin = clinic.server.admin();
    let invoices = join_all((0..12).map(|_| clinic.issued(1000))).await;
    let mut requests = Vec::new();
    for invoice in &invoices {
        let cash = json!({"amount_cents": 1000, "method": "cash"});
        requests.push(post(admin, &format!("{invoice}/payments"), &cash));
        requests.push(post(
            admin,
            &format!("{invoice}/void"),
            &json!({"reason": "Wrong patient"}),
        ));
    }
    let answers = at_once(&clinic.server, "invoices", requests).await;
    for (invoice, pair) in invoices.iter().zip(answers.chunks(2)) {
        let now = admin.get(invoice).await;
        if pair[0].status == 201 {
            pair[1].assert_problem(409, "invalid_transition");
            assert_eq!(now.text("/status"), "paid");
        } else {
            pair[0].assert_problem(409, "invoice_not_payable");
            assert_eq!(pair[1].status, 200, "{pair:?}");
            assert_eq!(now.text("/status"), "void");
            assert_eq!(now.number("/paid_cents"), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_issued_or_deleted_never_both() {
    let clinic = Clinic::on(start().await).await;
    let drafts = join_all((0..12).map(|_| clinic.draft(1000))).await;
    let requests = drafts.iter().flat_map(|draft| {
        let issue = act(&clinic.desk, &format!("{draft}/issue"));
        [issue, clinic.desk.request(Method::DELETE, draft)]
    });
    let answers = at_once(&clinic.server, "invoices", requests.collect()).await;
    let mut numbers = BTreeSet::new();
    for (draft, pair) in drafts.iter().zip(answers.chunks(2)) {
        let now = clinic.desk.get(draft).await;
        if pair[0].status == 200 {
            pair[1].assert_problem(409, "invoice_not_draft");
            assert_eq!(now.text("/status"), "issued");
            numbers.insert(sequence(&now));
        } else {
            pair[0].assert_problem(404, "not_found");
            assert_eq!(pair[1].status, 204, "{pair:?}");
            now.assert_problem(404, "not_found");
        }
    }
    let issued = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(numbers, (1..=i64::try_from(issued).unwrap()).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_24_issuers_at_once_have_no_gaps() {
    let clinic = Clinic::on(start().await).await;
    let drafts = join_all((0..24).map(|_| clinic.draft(1000))).await;
    let empty = json!({"patient_id": clinic.patient, "items": []});
    let mut requests = Vec::new();
    for draft in &drafts {
        requests.push(act(&clinic.desk, &format!("{draft}/issue")));
        let empty = clinic
            .desk
            .create("/api/v1/invoices", &empty, "invoice_id")
            .await;
        requests.push(act(
            &clinic.desk,
            &format!("/api/v1/invoices/{empty}/issue"),
        ));
    }
    let answers = at_once(&clinic.server, "invoices", requests).await;
    assert_eq!(count(&answers, 200, 422, "invoice_empty"), 24);
    let issued = answers.iter().filter(|answer| answer.status == 200);
    let numbers: BTreeSet<i64> = issued.map(sequence).collect();
    assert_eq!(numbers, (1..=24).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn issuing_one_draft_twice_at_once_gives_one_number() {
    let clinic = Clinic::on(start().await).await;
    let path = format!("{}/issue", clinic.draft(1000).await);
    let answers = at_once(
        &clinic.server,
        "invoices",
        (0..8).map(|_| act(&clinic.desk, &path)).collect(),
    )
    .await;
    assert_eq!(count(&answers, 200, 409, "invoice_not_draft"), 1);
    let next = clinic.desk.get(&clinic.issued(1000).await).await;
    assert_eq!(sequence(&next), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_primary_contacts_made_at_once_one_remains() {
    let server = start().await;
    let admin = server.admin();
    for _ in 0..8 {
        let contacts = format!("/api/v1/patients/{}/contacts", server.patient().await);
        let requests = (0..2).map(|number| {
            let value = format!("030 1234{number}");
            post(
                admin,
                &contacts,
                &json!({"type": "phone", "value": value, "is_primary": true}),
            )
        });
        for answer in at_once(&server, "patient_contacts", requests.collect()).await {
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        let list = admin.get(&contacts).await;
        let primary = |item: &&Value| item["is_primary"] == true;
        assert_eq!(items(&list).iter().filter(primary).count(), 1, "{list:?}");
        assert_eq!(items(&list).len(), 2, "{list:?}");
    }
}

/// Sixteen changes of one resource at once, each to a value of its own.
fn changes(
    client: &Client,
    path: &str,
    tag: Option<&str>,
    change: impl Fn(i64) -> Value,
) -> Vec<RequestBuilder> {
    let request = |number| {
        let request = client.request(Method::PATCH, path).json(&change(number));
        match tag {
            Some(tag) => request.header("if-match", tag),
            None => request,
        }
    };
    (1..=16).map(request).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_at_once_all_count_and_of_those_with_the_same_if_match_one() {
    let clinic = Clinic::on(start().await).await;
    let server = &clinic.server;
    let admin = server.admin();
    let visit = clinic
        .visit("2030-01-07T09:00:00Z", "2030-01-07T09:30:00Z")
        .await;
    let notes: fn(i64) -> Value = |number| json!({"notes": format!("Note {number}")});
    let price: fn(i64) -> Value = |number| json!({"current_price_cents": number});
    let name: fn(i64) -> Value = |number| json!({"name": format!("Room {number}")});
    let line: fn(i64) -> Value =
        |number| json!({"items": [{"description": "Line", "unit_price_cents": number, "qty": 1}]});
    let minutes: fn(i64) -> Value = |number| json!({"default_slot_minutes": number + 10});
    let resources = [
        (
            "patients",
            format!("/api/v1/patients/{}", clinic.patient),
            notes,
        ),
        ("appointments", format!("{VISITS}/{visit}"), notes),
        (
            "services",
            format!("/api/v1/services/{}", server.service("F1", 100).await),
            price,
        ),
        (
            "rooms",
            format!("/api/v1/rooms/{}", server.room("Room").await),
            name,
        ),
        ("invoices", clinic.draft(100).await, line),
        ("clinic_settings", "/api/v1/clinic".to_owned(), minutes),
    ];
    for (table, path, change) in resources {
        let answers = at_once(server, table, changes(admin, &path, None, change)).await;
        assert_eq!(count(&answers, 200, 412, "version_mismatch"), 16, "{path}");
        // Each was a version of its own, and one of them is what remains.
        let tags: BTreeSet<String> = answers.iter().map(etag).collect();
        assert_eq!(tags.len(), 16, "{path}: {tags:?}");
        let now = admin.get(&path).await;
        assert!(
            answers.iter().any(|answer| answer.body == now.body),
            "{path}: {now:?}"
        );

        let answers = at_once(
            server,
            table,
            changes(admin, &path, Some(&etag(&now)), change),
        )
        .await;
        assert_eq!(count(&answers, 200, 412, "version_mismatch"), 1, "{path}");
        let winner = answers.iter().find(|answer| answer.status == 200).unwrap();
        assert_unchanged(admin, &path, winner).await;
    }
}
