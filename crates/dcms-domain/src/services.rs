//! All services over the same ports.

use std::sync::Arc;

use crate::appointments::AppointmentService;
use crate::audit::AuditService;
use crate::billing::BillingService;
use crate::calendar::CalendarService;
use crate::catalog::CatalogService;
use crate::clinic::ClinicService;
use crate::identity::{IdentityService, IdentitySettings, PasswordHasher, TokenSource};
use crate::patients::PatientService;
use crate::shared::Ports;
use crate::store::{Rehearsal, Store};

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
    /// The service catalog.
    pub catalog: CatalogService,
    /// Invoices, payments and refunds.
    pub billing: BillingService,
    /// The audit log.
    pub audit: AuditService,
    ingredients: Ingredients,
}

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
            catalog: CatalogService::new(ports.clone()),
            billing: BillingService::new(ports.clone()),
            audit: AuditService::new(ports),
            ingredients,
        }
    }
}
