use async_trait::async_trait;

use super::search::folded;
use super::{Connection, State, forms, hold, page, same_text, stored_before, stored_in_version};
use crate::catalog::{Service, ServiceFilter, ServiceRepository};
use crate::shared::{Page, PageRequest, ServiceId};
use crate::store::{Rule, StoreError};

impl State {
    fn check_code_free(&self, service: &Service) -> Result<(), StoreError> {
        let is_taken = self.services.values().any(|other| {
            other.service_id != service.service_id && same_text(&other.code, &service.code)
        });
        hold(Rule::ServiceCodeTaken, !is_taken)
    }

    fn check_performers(&self, service: &Service) -> Result<(), StoreError> {
        let mut doctors = service.doctor_ids.iter();
        hold(
            Rule::UserUnknown,
            doctors.all(|doctor_id| self.users.contains_key(doctor_id)),
        )
    }

    fn is_planned_or_charged(&self, service_id: ServiceId) -> bool {
        let mut planned = self.appointments.values().flat_map(|visit| &visit.services);
        let mut charged = self.invoices.values().flat_map(|invoice| &invoice.items);
        planned.any(|planned| planned.service_id == service_id)
            || charged.any(|item| item.service_id == Some(service_id))
    }
}

fn matches(service: &Service, filter: &ServiceFilter) -> bool {
    let text = folded(&format!("{} {}", service.code, service.name));
    filter
        .active
        .is_none_or(|wanted| wanted == service.is_active)
        && filter
            .query
            .as_ref()
            .is_none_or(|query| text.contains(&folded(query)))
}

#[async_trait]
impl ServiceRepository for Connection {
    async fn insert(&mut self, service: &Service) -> Result<(), StoreError> {
        self.write(|state| {
            forms::check(&[service])?;
            hold(
                Rule::IdentifierTaken,
                !state.services.contains_key(&service.service_id),
            )?;
            state.check_code_free(service)?;
            state.check_performers(service)?;
            state.services.insert(service.service_id, service.clone());
            Ok(())
        })
    }

    async fn get(&mut self, service_id: ServiceId) -> Result<Option<Service>, StoreError> {
        Ok(self.read()?.services.get(&service_id).cloned())
    }

    async fn get_many(&mut self, service_ids: &[ServiceId]) -> Result<Vec<Service>, StoreError> {
        let state = self.read()?;
        Ok(state
            .services
            .values()
            .filter(|service| service_ids.contains(&service.service_id))
            .cloned()
            .collect())
    }

    async fn update(&mut self, service: &Service) -> Result<(), StoreError> {
        self.write(|state| {
            *stored_before(&mut state.services, &service.service_id, service)? = service.clone();
            forms::check(&[service])?;
            state.check_code_free(service)?;
            state.check_performers(service)
        })
    }

    async fn delete(&mut self, service: &Service) -> Result<(), StoreError> {
        self.write(|state| {
            let service_id = service.service_id;
            stored_in_version(&state.services, &service_id, service)?;
            hold(Rule::StillInUse, !state.is_planned_or_charged(service_id))?;
            state.services.remove(&service_id);
            Ok(())
        })
    }

    async fn list(
        &mut self,
        filter: &ServiceFilter,
        request: PageRequest<ServiceId>,
    ) -> Result<Page<Service, ServiceId>, StoreError> {
        let state = self.read()?;
        let found = state
            .services
            .values()
            .filter(|service| matches(service, filter));
        Ok(page(
            found.cloned(),
            &request,
            |service, after| service.service_id > *after,
            |service| service.service_id,
        ))
    }
}
