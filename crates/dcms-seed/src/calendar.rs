//! Hours, a closure, time off, and where doctors usually treat.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use dcms_domain::calendar::{
    ChangeHours, CreateClosure, CreateTimeOff, IntervalRequest, SpanRequest,
};
use dcms_domain::clinic::DoctorChanges;
use dcms_domain::shared::{Change, Expected, UserId};

use crate::{Seeding, opening_day};

const WORKDAYS: [Weekday; 5] = [
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
    Weekday::Thu,
    Weekday::Fri,
];

impl Seeding {
    /// The clinic's hours, and what is different for some doctors.
    pub(crate) async fn calendar(&mut self) -> anyhow::Result<()> {
        let [first, second, third] = self.doctors[..] else {
            anyhow::bail!("the seed has plans for three doctors");
        };
        let saturday = (Weekday::Sat, "09:00", "13:00");
        self.hours(None, "08:00", "18:30", Some(saturday)).await?;
        let saturday = (Weekday::Sat, "09:00", "12:00");
        self.hours(Some(first), "08:00", "18:30", Some(saturday))
            .await?;
        self.hours(Some(second), "08:30", "18:30", None).await?;
        for (doctor_id, room_id) in [first, second, third].into_iter().zip(self.rooms.clone()) {
            let changes = DoctorChanges {
                usual_room_id: Change::Set(room_id),
            };
            self.services
                .clinic
                .change_doctor(&self.admin, doctor_id, &Expected::Any, changes)
                .await?;
        }
        self.closure().await?;
        self.time_off(first, self.saturday_after_next(), None, "Congress")
            .await?;
        let last_holiday = self.today - Days::new(60);
        let until = last_holiday + Days::new(9);
        self.time_off(third, last_holiday, Some(until), "Holiday")
            .await
    }

    async fn hours(
        &self,
        doctor_id: Option<UserId>,
        opens_at: &str,
        closes_at: &str,
        besides: Option<(Weekday, &str, &str)>,
    ) -> anyhow::Result<()> {
        let workdays = WORKDAYS.map(|weekday| (weekday, opens_at, closes_at));
        let intervals = workdays
            .into_iter()
            .chain(besides)
            .map(|(weekday, opens_at, closes_at)| IntervalRequest {
                weekday,
                opens_at: opens_at.to_owned(),
                closes_at: closes_at.to_owned(),
            })
            .collect();
        let command = ChangeHours {
            valid_from: Some(opening_day(self.today)),
            intervals: Some(intervals),
        };
        self.services
            .calendar
            .change_hours(&self.admin, doctor_id, &Expected::Any, command)
            .await?;
        Ok(())
    }

    async fn closure(&self) -> anyhow::Result<()> {
        let command = CreateClosure {
            span: SpanRequest {
                starts_on: NaiveDate::from_ymd_opt(self.today.year(), 12, 31).unwrap_or(self.today),
                starts_at_time: Some("17:00".to_owned()),
                ends_on: None,
                ends_at_time: None,
            },
            reason: "New Year's Eve".to_owned(),
        };
        self.services.calendar.close(&self.admin, command).await?;
        Ok(())
    }

    async fn time_off(
        &self,
        doctor_id: UserId,
        starts_on: NaiveDate,
        ends_on: Option<NaiveDate>,
        reason: &str,
    ) -> anyhow::Result<()> {
        let command = CreateTimeOff {
            doctor_id,
            span: SpanRequest {
                starts_on,
                starts_at_time: None,
                ends_on,
                ends_at_time: None,
            },
            reason: Some(reason.to_owned()),
        };
        self.services
            .calendar
            .grant_time_off(&self.admin, command)
            .await?;
        Ok(())
    }

    fn saturday_after_next(&self) -> NaiveDate {
        let days = 7 + (5 + 7 - u64::from(self.today.weekday().num_days_from_monday())) % 7;
        self.today + Days::new(days)
    }
}
