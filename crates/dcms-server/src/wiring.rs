use std::sync::Arc;

use dcms_domain::Services;
use dcms_domain::identity::{IdentitySettings, PasswordPolicy, Secret, SessionLifetime};
use dcms_domain::shared::Ports;
use dcms_domain::store::Store;
use dcms_seed::DEV_PASSWORD;
use dcms_system::{Argon2Hasher, CommonPasswordList, SystemClock, SystemIds, SystemTokens};

use crate::config::Environment;

/// The services over a store and this machine.
///
/// # Errors
/// When the machine gives no random numbers.
pub fn services(
    store: Arc<dyn Store>,
    env: Environment,
    session_lifetime: SessionLifetime,
) -> anyhow::Result<Services> {
    let ports = Ports {
        store,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        access_log: Arc::default(),
    };
    let published = match env {
        Environment::Dev => Vec::new(),
        Environment::Prod => vec![Secret::new(DEV_PASSWORD.to_owned())],
    };
    let passwords = PasswordPolicy::new(Arc::new(CommonPasswordList), &published);
    let settings = IdentitySettings {
        passwords,
        session_lifetime,
    };
    let hasher = Arc::new(Argon2Hasher::new()?);
    Ok(Services::new(
        &ports,
        hasher,
        Arc::new(SystemTokens),
        settings,
    ))
}
