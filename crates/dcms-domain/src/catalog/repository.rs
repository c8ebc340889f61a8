use async_trait::async_trait;

use super::{Service, ServiceFilter};
use crate::shared::{Page, PageRequest, ServiceId};
use crate::store::StoreError;

/// Keeps the service catalog.
///
/// `update` stores what was raised by one version, `delete` removes what is in the version given;
/// when another one is stored, they answer [`StoreError::Conflict`].
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ServiceRepository: Send {
    /// Adds a service.
    async fn insert(&mut self, service: &Service) -> Result<(), StoreError>;

    /// The service of that id.
    async fn get(&mut self, service_id: ServiceId) -> Result<Option<Service>, StoreError>;

    /// Those of the services that exist, in no particular order.
    async fn get_many(&mut self, service_ids: &[ServiceId]) -> Result<Vec<Service>, StoreError>;

    /// Stores a changed service.
    async fn update(&mut self, service: &Service) -> Result<(), StoreError>;

    /// Deletes a service that was never planned or charged, else refuses with
    /// [`Rule::StillInUse`](crate::store::Rule::StillInUse).
    async fn delete(&mut self, service: &Service) -> Result<(), StoreError>;

    /// The services that match, in the order they were made.
    async fn list(
        &mut self,
        filter: &ServiceFilter,
        page: PageRequest<ServiceId>,
    ) -> Result<Page<Service, ServiceId>, StoreError>;
}
