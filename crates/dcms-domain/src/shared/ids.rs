//! A type for each kind of id, so that a room's id cannot stand where a patient's belongs.

use std::fmt;

use uuid::Uuid;

macro_rules! id_types {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )+};
}

id_types! {
    /// Somebody who can log in. A doctor is a user with the role.
    UserId;
    /// One log-in of one user on one device.
    SessionId;
    /// A treatment room; where the chair is.
    RoomId;
    /// A patient.
    PatientId;
    /// A phone number or e-mail address of a patient.
    ContactId;
    /// A visit that was booked.
    AppointmentId;
    /// A time at which the clinic is closed.
    ClosureId;
    /// A time at which a doctor is not there.
    TimeOffId;
    /// An entry of the catalog: a procedure that can be planned and charged.
    ServiceId;
    /// An invoice, draft or not.
    InvoiceId;
    /// A line of an invoice.
    InvoiceItemId;
    /// Money that came in for an invoice.
    PaymentId;
    /// Money of one payment that went back.
    RefundId;
    /// A line of the audit log. Later ones sort behind earlier ones.
    AuditId;
}
