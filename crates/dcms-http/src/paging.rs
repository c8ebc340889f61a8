//! Pages of lists: `limit`, and a cursor that nobody but this server reads.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use dcms_domain::appointments::{AppointmentKey, HistoryKey};
use dcms_domain::calendar::{ClosureKey, SlotKey, TimeOffKey};
use dcms_domain::clinic::RoomKey;
use dcms_domain::patients::PatientKey;
use dcms_domain::shared::{
    AuditId, ContactId, InvoiceId, PageLimit, PageRequest, PaymentId, ServiceId, SessionId, UserId,
    Version, is_sane_instant,
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::extract::query_of;
use crate::problem::Problem;
use crate::wire::number_in_query;

/// Which page of a list is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// The most items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    #[serde(default, deserialize_with = "number_in_query")]
    limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// A page of a list whose place is told by `Key`.
pub(crate) struct Paging<Key>(pub(crate) PageRequest<Key>);

impl<Key: Cursor, S: Sync> FromRequestParts<S> for Paging<Key> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let params: PageParams = query_of(&parts.uri)?;
        let limit = match params.limit {
            None => PageLimit::default(),
            Some(limit) => PageLimit::new(limit).ok_or_else(|| {
                Problem::malformed(format!("limit must lie between 1 and {}", PageLimit::MAX))
            })?,
        };
        let after = place_of(params.cursor.as_deref())?;
        Ok(Self(PageRequest { limit, after }))
    }
}

/// The place that a page starts behind.
pub(crate) fn place_of<Key: Cursor>(cursor: Option<&str>) -> Result<Option<Key>, Problem> {
    let place = cursor.map(|cursor| {
        Key::decode(cursor)
            .ok_or_else(|| Problem::malformed("cursor must be the next_cursor of the page before"))
    });
    place.transpose()
}

/// The key of a list's last item, as bytes that a client gives back.
pub(crate) trait Cursor: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_bytes())
    }

    fn decode(text: &str) -> Option<Self> {
        Self::from_bytes(&URL_SAFE_NO_PAD.decode(text).ok()?)
    }
}

macro_rules! id_cursors {
    ($($id:ty),+) => {$(
        impl Cursor for $id {
            fn to_bytes(&self) -> Vec<u8> {
                Uuid::from(*self).into_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self::from)
            }
        }
    )+};
}

id_cursors!(
    AuditId, ContactId, InvoiceId, PaymentId, ServiceId, SessionId, UserId
);

impl Cursor for PatientKey {
    fn to_bytes(&self) -> Vec<u8> {
        let id = Uuid::from(self.patient_id);
        [self.rank.to_be_bytes().as_slice(), id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rank, id) = bytes.split_first_chunk()?;
        Some(Self {
            rank: i32::from_be_bytes(*rank),
            patient_id: Uuid::from_slice(id).ok()?.into(),
        })
    }
}

impl Cursor for RoomKey {
    fn to_bytes(&self) -> Vec<u8> {
        let id = Uuid::from(self.room_id);
        [self.position.to_be_bytes().as_slice(), id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (position, id) = bytes.split_first_chunk()?;
        Some(Self {
            position: i32::from_be_bytes(*position),
            room_id: Uuid::from_slice(id).ok()?.into(),
        })
    }
}

/// Cursors of what is sorted by when it ends on the wall clock.
macro_rules! ending_cursors {
    ($($key:ident.$id:ident),+) => {$(
        impl Cursor for $key {
            fn to_bytes(&self) -> Vec<u8> {
                let until = self.until.and_utc().timestamp_micros().to_be_bytes();
                let id = Uuid::from(self.$id);
                [until.as_slice(), id.as_bytes()].concat()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let (until, id) = bytes.split_first_chunk()?;
                let until = DateTime::from_timestamp_micros(i64::from_be_bytes(*until))?;
                Some(Self {
                    until: Some(until).filter(|until| is_sane_instant(*until))?.naive_utc(),
                    $id: Uuid::from_slice(id).ok()?.into(),
                })
            }
        }
    )+};
}

ending_cursors!(ClosureKey.closure_id, TimeOffKey.time_off_id);

/// Cursors of what is sorted by the instant that it starts at.
macro_rules! starting_cursors {
    ($($key:ident.$id:ident),+) => {$(
        impl Cursor for $key {
            fn to_bytes(&self) -> Vec<u8> {
                let starts_at = self.starts_at.timestamp_micros().to_be_bytes();
                let id = Uuid::from(self.$id);
                [starts_at.as_slice(), id.as_bytes()].concat()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let (starts_at, id) = bytes.split_first_chunk()?;
                let starts_at = DateTime::from_timestamp_micros(i64::from_be_bytes(*starts_at))?;
                Some(Self {
                    starts_at: Some(starts_at).filter(|instant| is_sane_instant(*instant))?,
                    $id: Uuid::from_slice(id).ok()?.into(),
                })
            }
        }
    )+};
}

starting_cursors!(AppointmentKey.appointment_id, SlotKey.doctor_id);

impl Cursor for HistoryKey {
    fn to_bytes(&self) -> Vec<u8> {
        let id = Uuid::from(self.appointment_id);
        [self.version.get().to_be_bytes().as_slice(), id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, id) = bytes.split_first_chunk()?;
        Some(Self {
            appointment_id: Uuid::from_slice(id).ok()?.into(),
            version: Version::new(i64::from_be_bytes(*version)),
        })
    }
}
