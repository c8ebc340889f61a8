//! All services over the same ports.

use std::sync::Arc;

use crate::access::Actor;
use crate::appointments::AppointmentService;
use crate::audit::{AuditService, Entity, Subject};
use crate::billing::BillingService;
use crate::calendar::{AvailabilityService, CalendarService};
use crate::catalog::CatalogService;
use crate::clinic::ClinicService;
use crate::identity::{IdentityService, IdentitySettings, PasswordHasher, TokenSource};
use crate::patients::PatientService;
use crate::shared::Ports;
use crate::store::{
    ANSWERS_KEPT, AnsweredRequest, KeptAnswer, KeyedRequest, Once, Progress, Rehearsal, Store,
    StoreError, retry_conflicts,
};

/// One service a context: what a program that offers the whole clinic holds.
pub struct Services {
    /// Users, passwords and sessions.
    pub identity: IdentityService,
    /// The clinic's settings, rooms and doctors.
    pub clinic: ClinicService,
    /// Patients and their contacts.
    pub patients: PatientService,
    /// Visits.
    pub appointments: AppointmentService,
    /// Hours, closures and time off.
    pub calendar: CalendarService,
    /// Which slots are free.
    pub availability: AvailabilityService,
    /// The service catalog.
    pub catalog: CatalogService,
    /// Invoices, payments and refunds.
    pub billing: BillingService,
    /// The audit log.
    pub audit: AuditService,
    ingredients: Ingredients,
}

/// What comes of a request that names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It had its effect now.
    First(KeptAnswer),
    /// It had its effect before, and this was the answer.
    Again(KeptAnswer),
    /// Another request has that name, or another user's.
    Reused,
}

/// How many answers are forgotten in one statement: few enough that nobody waits for it.
const FORGOTTEN_AT_ONCE: u32 = 1000;

/// What the services were made of, to make others of it.
#[derive(Clone)]
struct Ingredients {
    ports: Ports,
    hasher: Arc<dyn PasswordHasher>,
    tokens: Arc<dyn TokenSource>,
    settings: IdentitySettings,
}

impl Services {
    /// All services over these ports.
    #[must_use]
    pub fn new(
        ports: &Ports,
        hasher: Arc<dyn PasswordHasher>,
        tokens: Arc<dyn TokenSource>,
        settings: IdentitySettings,
    ) -> Self {
        Self::of(Ingredients {
            ports: ports.clone(),
            hasher,
            tokens,
            settings,
        })
    }

    /// The same services, which refuse what these refuse and never keep anything: for telling
    /// everything that is wrong with a command that is known to be incomplete.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let store = Arc::clone(&self.ingredients.ports.store);
        self.over(Arc::new(Rehearsal::of(store)))
    }

    /// The same services over another way to the same records.
    #[must_use]
    pub fn over(&self, store: Arc<dyn Store>) -> Self {
        let mut ingredients = self.ingredients.clone();
        ingredients.ports.store = store;
        Self::of(ingredients)
    }

    /// Does what a request that names itself asks for, unless it was done before: then answers what
    /// was answered that time, for [24 hours](ANSWERS_KEPT), however things stand by now. Of several
    /// at once one has the effect, and the others wait for its answer. The answer is kept in the unit
    /// of work that has the effect, so there is never one without the other; where nothing was
    /// committed, because it was refused or nothing had to be changed, nothing is kept.
    ///
    /// `effect` calls one method of the services it is given, which has one unit of work, and
    /// renders its outcome. It may be called again when somebody else's change got in the way. What
    /// the method asks before it begins (who may act at all) is asked every time.
    ///
    /// # Errors
    /// Those of the effect, and what the store refuses.
    pub async fn once<Failure, Work>(
        &self,
        actor: &Actor,
        request: &KeyedRequest,
        effect: impl Fn(Arc<Self>) -> Work + Send + Sync,
    ) -> Result<Answered, Failure>
    where
        Failure: From<StoreError> + Send,
        Work: Future<Output = Result<KeptAnswer, Failure>> + Send,
    {
        let store = &self.ingredients.ports.store;
        let effect = &effect;
        retry_conflicts(&**store, || self.try_once(actor, request, effect)).await?
    }

    /// A failure of the effect has met its conflicts already; outside of it are those of the commit.
    async fn try_once<Failure, Work>(
        &self,
        actor: &Actor,
        request: &KeyedRequest,
        effect: impl Fn(Arc<Self>) -> Work + Send + Sync,
    ) -> Result<Result<Answered, Failure>, StoreError>
    where
        Failure: Send,
        Work: Future<Output = Result<KeptAnswer, Failure>> + Send,
    {
        let ports = &self.ingredients.ports;
        let now = ports.clock.now();
        let once = Once::over(Arc::clone(&ports.store), request.key.clone(), now);
        let once = Arc::new(once);
        let outcome = effect(Arc::new(self.over(Arc::clone(&once) as _))).await;
        match (once.progress(), outcome) {
            (Progress::AnsweredBefore(before), _) => {
                if before.user_id != actor.user_id || before.request != *request {
                    return Ok(Ok(Answered::Reused));
                }
                if let Some(patient_id) = before.patient_id {
                    ports.note_read(
                        actor,
                        Subject::new(Entity::Patient, patient_id).of(patient_id),
                    );
                }
                Ok(Ok(Answered::Again(before.answer)))
            }
            (Progress::Decided(mut work, entry), Ok(answer)) => {
                let answered = AnsweredRequest {
                    request: request.clone(),
                    user_id: actor.user_id,
                    patient_id: entry.patient_ids.first().copied(),
                    answered_at: now,
                    answer,
                };
                work.idempotency().keep(&answered).await?;
                work.commit(&entry).await?;
                Ok(Ok(Answered::First(answered.answer)))
            }
            (Progress::NothingDecided, Ok(answer)) => Ok(Ok(Answered::First(answer))),
            (_, Err(failure)) => Ok(Err(failure)),
        }
    }

    /// Forgets the answers that nobody can ask for any more: what is done by itself from time to
    /// time. Answers how many.
    ///
    /// # Errors
    /// When the store does not answer. What was forgotten until then stays forgotten.
    pub async fn forget_expired_answers(&self) -> Result<u64, StoreError> {
        let ports = &self.ingredients.ports;
        let until = ports.clock.now() - ANSWERS_KEPT;
        let mut connection = ports.store.connect().await?;
        let mut forgotten = 0;
        loop {
            let answers = connection.idempotency();
            let count = answers.forget_until(until, FORGOTTEN_AT_ONCE).await?;
            forgotten += u64::from(count);
            if count < FORGOTTEN_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }

    fn of(ingredients: Ingredients) -> Self {
        let Ingredients {
            ports,
            hasher,
            tokens,
            settings,
        } = ingredients.clone();
        Self {
            identity: IdentityService::new(ports.clone(), hasher, tokens, settings),
            clinic: ClinicService::new(ports.clone()),
            patients: PatientService::new(ports.clone()),
            appointments: AppointmentService::new(ports.clone()),
            calendar: CalendarService::new(ports.clone()),
            availability: AvailabilityService::new(ports.clone()),
            catalog: CatalogService::new(ports.clone()),
            billing: BillingService::new(ports.clone()),
            audit: AuditService::new(ports),
            ingredients,
        }
    }
}
