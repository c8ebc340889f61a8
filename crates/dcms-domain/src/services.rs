//! All services over the same ports.

use std::sync::Arc;

use crate::appointments::AppointmentService;
use crate::billing::BillingService;
use crate::catalog::CatalogService;
use crate::clinic::ClinicService;
use crate::identity::{IdentityService, PasswordHasher, Secret, TokenSource};
use crate::patients::PatientService;
use crate::shared::Ports;

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
    /// The service catalog.
    pub catalog: CatalogService,
    /// Invoices, payments and refunds.
    pub billing: BillingService,
}

impl Services {
    /// All services over these ports. See [`IdentityService::new`] for `refused_passwords`.
    #[must_use]
    pub fn new(
        ports: &Ports,
        hasher: Arc<dyn PasswordHasher>,
        tokens: Arc<dyn TokenSource>,
        refused_passwords: Vec<Secret>,
    ) -> Self {
        Self {
            identity: IdentityService::new(ports.clone(), hasher, tokens, refused_passwords),
            clinic: ClinicService::new(ports.clone()),
            patients: PatientService::new(ports.clone()),
            appointments: AppointmentService::new(ports.clone()),
            catalog: CatalogService::new(ports.clone()),
            billing: BillingService::new(ports.clone()),
        }
    }
}
