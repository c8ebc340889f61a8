//! The clinic over HTTP.
//!
//! - [`router`] makes the routes; each context has its own in `routes`, with the bodies it takes
//!   and gives in `dto`. A handler takes apart a request, calls one service, and writes its answer.
//! - `contract`: what the OpenAPI document says of an operation is held before its handler runs.
//! - `extract`, `json`, `paging`: what handlers take from a request.
//! - `respond`, `problem`: what they answer, and the one answer to whatever goes wrong.
//! - `wire`: how ids, instants, days and names look; the domain knows nothing of JSON.
//! - `openapi`, `examples`, `docs`: the document, and the page to browse it.
//! - `permissions`: what each operation asks of the permission matrix, and the page that tells it.
//! - `rehearsal`: all faults at once, also when parts of a body are missing.
//! - `live`: the changes of visits on their way to the streams that tell of them.
//! - `middleware`: what every answer has in common; `edge` and `origin`: what is configured of it.

mod appointments;
mod audit;
mod billing;
mod calendar;
mod catalog;
mod clinic;
mod contract;
mod docs;
mod edge;
mod examples;
mod extract;
mod idempotency;
mod identity;
mod json;
mod live;
mod middleware;
mod openapi;
mod operations;
mod origin;
mod paging;
mod patients;
mod permissions;
mod problem;
mod rehearsal;
mod respond;
mod router;
mod wire;

pub use edge::{CorsOrigins, EdgeConfig};
pub use live::LiveEvents;
pub use openapi::{openapi, openapi_json};
pub use operations::Draining;
pub use origin::TrustedProxies;
pub use permissions::permissions_page;
pub use router::router;

#[cfg(test)]
mod tests;
