//! The small nouns that every context speaks: ids, money, time, text, pages, versions.

mod error;
mod ids;
mod money;
mod paging;
mod ports;
mod text;
mod time;
mod validation;
mod version;

pub use error::CommonError;
pub(crate) use error::context_error;
pub use ids::{
    AppointmentId, AuditId, ClosureId, ContactId, InvoiceId, InvoiceItemId, PatientId, PaymentId,
    RefundId, RoomId, ServiceId, SessionId, TimeOffId, UserId,
};
pub use money::{Cents, MoneyOverflow, Quantity};
pub use paging::{Page, PageLimit, PageRequest};
pub use ports::{Clock, IdSource, Ports};
pub(crate) use text::search_text;
pub use text::{
    REDACTED, email_address, folded_text, multi_line_text, phone_number, single_line_text,
};
pub use time::{
    Bound, EARLIEST_YEAR, Instant, LATEST_YEAR, MAX_SLOT_HOURS, TimeSlot, TimeSlotError,
    TimeWindow, WindowRequest, clinic_day, is_sane_day, is_sane_instant,
};
pub(crate) use validation::bounded_number;
pub use validation::{Change, Fault, FaultCode, Faults, MAX_FAULTS};
pub(crate) use version::in_version;
pub use version::{Expected, Version, Versioned};
