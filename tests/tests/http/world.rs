//! Things to act on, made when a path or a body names them in braces.

use std::collections::HashMap;

use chrono::TimeDelta;
use dcms_domain::shared::Clock as _;
use dcms_system::SystemClock;
use dcms_tests::{Client, PASSWORD, Server};
use serde_json::{Value, json};

/// The year in which visits take place: long ago, so that all of their actions can be taken.
const YEAR: i32 = 2020;

/// What paths and bodies name, as far as it was named: `{patient}`, `{arrived}` and so on.
pub(crate) struct World<'server> {
    server: &'server Server,
    /// Sets the names of this world apart from those of others on the same server.
    name: String,
    doctor: String,
    made: u32,
    values: HashMap<String, String>,
}

impl<'server> World<'server> {
    /// Nothing yet. The visits are with that doctor.
    pub(crate) fn new(server: &'server Server, name: &str, doctor: &Client) -> Self {
        Self {
            server,
            name: name.to_owned(),
            doctor: doctor.user_id.clone(),
            made: 0,
            values: HashMap::new(),
        }
    }

    /// Forgets what was made, so that the next names mean fresh things.
    pub(crate) fn forget(&mut self) {
        self.values.clear();
    }

    /// Lets a name stand for that value, until everything is forgotten.
    pub(crate) fn name(&mut self, name: &str, value: String) {
        self.values.insert(name.to_owned(), value);
    }

    /// The text with an id in place of each name.
    pub(crate) async fn resolve(&mut self, text: &str) -> String {
        let mut resolved = text.to_owned();
        for name in names_in(text) {
            if !self.values.contains_key(name) {
                let value = self.make(name).await;
                self.values.insert(name.to_owned(), value);
            }
            resolved = resolved.replace(&format!("{{{name}}}"), &self.values[name]);
        }
        resolved
    }

    /// A time that no other visit of this world has.
    fn next_slot(&mut self) -> Value {
        self.made += 1;
        let (day, hour) = (self.made / 24, self.made % 24);
        let (month, day) = (1 + day / 28, 1 + day % 28);
        json!({
            "starts_at": format!("{YEAR}-{month:02}-{day:02}T{hour:02}:00:00Z"),
            "ends_at": format!("{YEAR}-{month:02}-{day:02}T{hour:02}:30:00Z"),
        })
    }

    async fn make(&mut self, name: &str) -> String {
        self.made += 1;
        let unique = format!("{}-{}", self.name, self.made);
        let admin = self.server.admin();
        match name {
            "unique" => unique,
            "password" => PASSWORD.to_owned(),
            "doctor" => self.doctor.clone(),
            "starts_at" | "ends_at" => {
                let slot = self.next_slot();
                for name in ["starts_at", "ends_at"] {
                    let time = slot[name].as_str().unwrap().to_owned();
                    self.values.insert(name.to_owned(), time);
                }
                self.values[name].clone()
            }
            "user" => self.server.user("receptionist").await.user_id,
            "session" => {
                let somebody = self.server.user("receptionist").await;
                somebody.get("/api/v1/auth/me").await.text("/session_id")
            }
            "room" => self.server.room(&unique).await,
            "closure" => {
                let body = json!({"starts_on": "2100-01-02", "reason": "Holiday"});
                let path = "/api/v1/clinic/closures";
                admin.create(path, &body, "closure_id").await
            }
            "time_off" => {
                let path = format!("/api/v1/doctors/{}/time_off", self.doctor);
                let body = json!({"starts_on": "2100-01-02"});
                admin.create(&path, &body, "time_off_id").await
            }
            "service" => self.server.service(&unique, 1000).await,
            "patient" => self.server.patient().await,
            "contact" => {
                let path = format!("/api/v1/patients/{}/contacts", self.patient().await);
                let body = json!({"type": "phone", "value": "+49 30 1234567"});
                admin.create(&path, &body, "contact_id").await
            }
            "scheduled" => self.visit(&[]).await,
            "arrived" => self.visit(&["arrive"]).await,
            "in_chair" => self.visit(&["arrive", "start"]).await,
            "in_conflict" => self.visit_in_conflict(&unique).await,
            "visit_of_patient" => {
                let patient = self.patient().await;
                self.visit_of(&patient).await
            }
            "draft" => {
                let patient = self.patient().await;
                let draft = self.draft_of(&patient).await;
                let item = draft["items"][0]["invoice_item_id"].as_str().unwrap();
                self.values.insert("item".to_owned(), item.to_owned());
                draft["invoice_id"].as_str().unwrap().to_owned()
            }
            "issued" => self.issued().await,
            "payment" => {
                let path = format!("/api/v1/invoices/{}/payments", self.issued().await);
                let body = json!({"amount_cents": 500, "method": "cash"});
                admin.create(&path, &body, "payment/payment_id").await
            }
            other => panic!("nothing is known of {other}"),
        }
    }

    /// The one that is called `{patient}`.
    async fn patient(&mut self) -> String {
        if let Some(patient) = self.values.get("patient") {
            return patient.clone();
        }
        let patient = self.server.patient().await;
        self.values.insert("patient".to_owned(), patient.clone());
        patient
    }

    async fn visit(&mut self, actions: &[&str]) -> String {
        let patient = self.server.patient().await;
        let id = self.visit_of(&patient).await;
        for action in actions {
            let path = format!("/api/v1/appointments/{id}/{action}");
            let answer = self.server.admin().act(&path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        id
    }

    /// A coming visit whose room was closed.
    async fn visit_in_conflict(&mut self, room_name: &str) -> String {
        self.made += 1;
        let admin = self.server.admin();
        let room = self.server.room(room_name).await;
        let starts_at =
            SystemClock.now() + TimeDelta::days(30) + TimeDelta::hours(self.made.into());
        let body = json!({
            "patient_id": self.server.patient().await, "doctor_id": self.doctor, "room_id": room,
            "starts_at": starts_at.to_rfc3339(), "overbook_reason": "Whatever the hours are",
        });
        let visit = admin
            .create("/api/v1/appointments", &body, "appointment_id")
            .await;
        let path = format!("/api/v1/rooms/{room}");
        let closed = admin.patch(&path, &json!({"is_active": false})).await;
        assert_eq!(closed.status, 200, "{closed:?}");
        visit
    }

    async fn visit_of(&mut self, patient: &str) -> String {
        let mut body = self.next_slot();
        body["patient_id"] = json!(patient);
        body["doctor_id"] = json!(self.doctor);
        self.server
            .admin()
            .create("/api/v1/appointments", &body, "appointment_id")
            .await
    }

    async fn draft_of(&self, patient: &str) -> Value {
        let item = json!({"description": "Crown", "unit_price_cents": 60_000, "qty": 1});
        let body = json!({"patient_id": patient, "items": [item]});
        let answer = self.server.admin().post("/api/v1/invoices", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    }

    async fn issued(&self) -> String {
        let draft = self.draft_of(&self.server.patient().await).await;
        let id = draft["invoice_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/invoices/{id}/issue");
        let answer = self.server.admin().act(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        id
    }
}

/// The names in braces, in their order. A body's own braces are none: they hold quotes.
pub(crate) fn names_in(text: &str) -> Vec<&str> {
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .filter(|name| !name.is_empty())
        .filter(is_name)
        .collect()
}
