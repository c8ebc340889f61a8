use uuid::Uuid;

use super::{Closure, Schedule, TimeOff, WallSpan, WeeklyPlan};
use crate::audit::{AuditValue, Audited, Entity, Subject};

impl Audited for Schedule {
    fn subject(&self) -> Subject {
        // The clinic's needs no id.
        self.doctor_id
            .map_or(Subject::list(Entity::Hours), |doctor_id| {
                Subject::new(Entity::Hours, doctor_id)
            })
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            doctor_id: _,
            plans,
            version: _,
        } = self;
        vec![("plans", AuditValue::list(plans.iter().map(plan_value)))]
    }
}

fn plan_value(plan: &WeeklyPlan) -> AuditValue {
    let intervals = match &plan.intervals {
        None => AuditValue::Nothing,
        Some(intervals) => AuditValue::List(
            intervals
                .iter()
                .map(|interval| {
                    let (opens, closes) = interval.times();
                    AuditValue::Text(format!("{} {opens}-{closes}", interval.weekday))
                })
                .collect(),
        ),
    };
    AuditValue::Record(vec![
        ("valid_from".into(), plan.valid_from.into()),
        ("intervals".into(), intervals),
    ])
}

impl Audited for Closure {
    fn subject(&self) -> Subject {
        Subject::new(Entity::Closure, self.closure_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            closure_id: _,
            span,
            reason,
            created_at: _,
        } = self;
        let [from, until] = span_fields(*span);
        vec![from, until, ("reason", reason.into())]
    }
}

impl Audited for TimeOff {
    fn subject(&self) -> Subject {
        Subject::new(Entity::TimeOff, self.time_off_id)
    }

    fn fields(&self) -> Vec<(&'static str, AuditValue)> {
        let Self {
            time_off_id: _,
            doctor_id,
            span,
            reason,
            created_at: _,
        } = self;
        let [from, until] = span_fields(*span);
        let doctor_id = Uuid::from(*doctor_id).into();
        vec![
            ("doctor_id", doctor_id),
            from,
            until,
            ("reason", reason.as_ref().into()),
        ]
    }
}

fn span_fields(span: WallSpan) -> [(&'static str, AuditValue); 2] {
    let text = |reading: chrono::NaiveDateTime| {
        AuditValue::Text(reading.format("%Y-%m-%dT%H:%M").to_string())
    };
    [("from", text(span.from)), ("until", text(span.until))]
}
