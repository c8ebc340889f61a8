use async_trait::async_trait;

use super::{Connection, hold};
use crate::shared::{Instant, PatientId, is_sane_instant};
use crate::store::{AnsweredRequest, IdempotencyKey, IdempotencyRepository, Rule, StoreError};

fn is_well_formed(answered: &AnsweredRequest) -> bool {
    let is_of_length = |text: &Option<String>, min: usize, max: usize| {
        text.as_ref()
            .is_none_or(|text| (min..=max).contains(&text.chars().count()))
    };
    is_sane_instant(answered.answered_at)
        && (200..=299).contains(&answered.answer.status)
        && is_of_length(&answered.answer.location, 1, 2000)
        && is_of_length(&answered.answer.entity_tag, 2, 100)
}

#[async_trait]
impl IdempotencyRepository for Connection {
    async fn claim(
        &mut self,
        key: &IdempotencyKey,
        since: Instant,
    ) -> Result<Option<AnsweredRequest>, StoreError> {
        // Nobody has to wait: of two that keep something the second meets a conflict.
        let state = self.read()?;
        let answered = state.answers.get(key);
        Ok(answered.filter(|it| it.answered_at > since).cloned())
    }

    async fn keep(&mut self, answered: &AnsweredRequest) -> Result<(), StoreError> {
        self.write(|state| {
            hold(Rule::ValueRefused, is_well_formed(answered))?;
            hold(
                Rule::UserUnknown,
                state.users.contains_key(&answered.user_id),
            )?;
            let key = answered.request.key.clone();
            state.answers.insert(key, answered.clone());
            Ok(())
        })
    }

    async fn forget_patient(&mut self, patient_id: PatientId) -> Result<(), StoreError> {
        self.write(|state| {
            state
                .answers
                .retain(|_, answered| answered.patient_id != Some(patient_id));
            Ok(())
        })
    }

    async fn forget_until(&mut self, until: Instant, limit: u32) -> Result<u32, StoreError> {
        self.write_at_once(|state| {
            let expired = |it: &&AnsweredRequest| it.answered_at <= until;
            let mut expired: Vec<_> = state.answers.values().filter(expired).collect();
            expired.sort_by_key(|answered| answered.answered_at);
            let keys = expired.into_iter().map(|it| it.request.key.clone());
            let keys: Vec<IdempotencyKey> = keys.take(limit as usize).collect();
            for key in &keys {
                state.answers.remove(key);
            }
            u32::try_from(keys.len()).unwrap_or(limit)
        })
    }
}
