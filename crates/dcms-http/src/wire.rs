//! How single values look on the wire. The domain knows nothing of JSON, so ids, instants, days and
//! names get their form here.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat};
use dcms_domain::access::Role as RoleModel;
use dcms_domain::appointments::{HistoryAction as HistoryActionModel, Status};
use dcms_domain::audit::{AuditAction as AuditActionModel, Entity as EntityModel};
use dcms_domain::billing::{InvoiceStatus as InvoiceStatusModel, PaymentMethod as MethodModel};
use dcms_domain::calendar::RoomWish as RoomWishModel;
use dcms_domain::patients::{ContactType as ContactTypeModel, Gender as GenderModel};
use dcms_domain::shared::{
    Bound as BoundModel, Change, Instant as InstantModel, Page, WindowRequest,
};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::paging::Cursor;

/// Reads text with `parse` and says what it should have been.
fn deserialize_text<'de, D: Deserializer<'de>, Value>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<Value>,
) -> Result<Value, D::Error> {
    struct Text<Parse>(&'static str, Parse);

    impl<Value, Parse: Fn(&str) -> Option<Value>> Visitor<'_> for Text<Parse> {
        type Value = Value;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
            (self.1)(text).ok_or_else(|| E::custom(format_args!("must be {}", self.0)))
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}

/// A number of a query, in which everything is text.
pub(crate) fn number_in_query<'de, D: Deserializer<'de>, Number: FromStr>(
    deserializer: D,
) -> Result<Option<Number>, D::Error> {
    deserialize_text(deserializer, "a whole number in range", |text| {
        text.parse().ok().map(Some)
    })
}

/// A flag of a query, in which everything is text.
pub(crate) fn flag_in_query<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    deserialize_text(deserializer, "true or false", |text| {
        text.parse().ok().map(Some)
    })
}

fn text_schema(description: &str, format: Option<KnownFormat>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(format.map(SchemaFormat::KnownFormat))
        .description(Some(description))
        .into()
}

/// Any id: a UUID in its hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(Uuid);

impl Id {
    pub(crate) fn of(id: impl Into<Uuid>) -> Self {
        Self(id.into())
    }

    pub(crate) fn get<Domain: From<Uuid>>(self) -> Domain {
        self.0.into()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        // Braces, a urn: prefix and no hyphens at all are UUIDs to the parser, not to clients.
        Uuid::try_parse(text)
            .ok()
            .filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH)
            .map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a UUID in hyphenated form", Self::parse)
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        text_schema("A UUID in hyphenated form.", Some(KnownFormat::Uuid))
    }
}

impl ToSchema for Id {}

/// A moment: RFC 3339 with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) InstantModel);

impl Instant {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The parser also takes a space for the T.
        text.get(10..11).filter(|separator| *separator == "T")?;
        let parsed = DateTime::parse_from_rfc3339(text).ok()?;
        // What is finer than a microsecond is cut off: nothing behind keeps it.
        DateTime::from_timestamp_micros(parsed.timestamp_micros()).map(Self)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an instant with an offset, such as 2026-03-29T09:00:00+02:00";
        deserialize_text(deserializer, expected, Self::parse)
    }
}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        let description = "A moment as RFC 3339, always with an offset, to the microsecond. Answers use UTC (`Z`).";
        text_schema(description, Some(KnownFormat::DateTime))
    }
}

impl ToSchema for Instant {}

/// A day of the calendar: `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day(pub(crate) NaiveDate);

impl Day {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The parser also takes signs, spaces and fewer digits.
        let well_formed = text.len() == 10
            && text.bytes().enumerate().all(|(index, byte)| match index {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !well_formed {
            return None;
        }
        text.parse().ok().map(Self)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a day as YYYY-MM-DD", Self::parse)
    }
}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        text_schema("A day as `YYYY-MM-DD`.", Some(KnownFormat::Date))
    }
}

impl ToSchema for Day {}

/// An end of a window: a moment, or a day of the clinic that stands for its first moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound(pub(crate) BoundModel);

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a day as YYYY-MM-DD or an instant with an offset; in a query, a plus sign is written %2B";
        deserialize_text(deserializer, expected, |text| {
            let day = Day::parse(text).map(|day| BoundModel::StartOf(day.0));
            let instant = || Instant::parse(text).map(|instant| BoundModel::At(instant.0));
            day.or_else(instant).map(Self)
        })
    }
}

impl PartialSchema for Bound {
    fn schema() -> RefOr<Schema> {
        let description = "A moment as RFC 3339 with an offset, or a day of the clinic as `YYYY-MM-DD`, which means its first moment.";
        text_schema(description, None)
    }
}

impl ToSchema for Bound {}

/// A room, or any that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomWish(pub(crate) RoomWishModel);

impl<'de> Deserialize<'de> for RoomWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a UUID in hyphenated form, or any";
        deserialize_text(deserializer, expected, |text| match text {
            "any" => Some(Self(RoomWishModel::Any)),
            text => Id::parse(text).map(|id| Self(RoomWishModel::One(id.get()))),
        })
    }
}

impl PartialSchema for RoomWish {
    fn schema() -> RefOr<Schema> {
        text_schema("The UUID of a room, or `any`.", None)
    }
}

impl ToSchema for RoomWish {}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weekday(pub(crate) chrono::Weekday);

/// The days of the week, as they are called on the wire.
const WEEKDAYS: [(chrono::Weekday, &str); 7] = [
    (chrono::Weekday::Mon, "monday"),
    (chrono::Weekday::Tue, "tuesday"),
    (chrono::Weekday::Wed, "wednesday"),
    (chrono::Weekday::Thu, "thursday"),
    (chrono::Weekday::Fri, "friday"),
    (chrono::Weekday::Sat, "saturday"),
    (chrono::Weekday::Sun, "sunday"),
];

impl Serialize for Weekday {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (_, name) = WEEKDAYS[self.0.num_days_from_monday() as usize];
        serializer.serialize_str(name)
    }
}

impl<'de> Deserialize<'de> for Weekday {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(
            deserializer,
            "a day of the week: monday to sunday",
            |text| {
                let named = WEEKDAYS.into_iter().find(|(_, name)| *name == text);
                named.map(|(weekday, _)| Self(weekday))
            },
        )
    }
}

impl PartialSchema for Weekday {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A day of the week."))
            .enum_values(Some(WEEKDAYS.map(|(_, name)| name)))
            .into()
    }
}

impl ToSchema for Weekday {}

/// A field of a merge patch: absent leaves, null clears, a value sets.
#[derive(Debug)]
pub(crate) struct Patch<Value>(pub(crate) Change<Value>);

impl<Value> Default for Patch<Value> {
    fn default() -> Self {
        Self(Change::Keep)
    }
}

impl<'de, Value: Deserialize<'de>> Deserialize<'de> for Patch<Value> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(Self(value.map_or(Change::Clear, Change::Set)))
    }
}

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct List<Item> {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

impl<Item: ToSchema> PartialSchema for List<Item> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new()
            .items(Ref::from_schema_name(Item::name()))
            .description(Some("The items, in the list's order."));
        let next_cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(
                "What to send as `cursor` for the next page; null when this is the last.",
            ));
        ObjectBuilder::new()
            .description(Some("One page of a list."))
            .property("items", items)
            .property("next_cursor", next_cursor)
            .into()
    }
}

impl<Item: ToSchema> ToSchema for List<Item> {
    fn name() -> Cow<'static, str> {
        format!("{}List", Item::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Item::name().into_owned(), Item::schema()));
        Item::schemas(schemas);
    }
}

impl<Item> List<Item> {
    pub(crate) fn of<Model, Key: Cursor>(
        page: Page<Model, Key>,
        item: impl FnMut(Model) -> Item,
    ) -> Self {
        Self {
            items: page.items.into_iter().map(item).collect(),
            next_cursor: page.next.map(|key| key.encode()),
        }
    }

    /// The same, where an item may not have a form on the wire.
    pub(crate) fn try_of<Model, Key: Cursor, Failure>(
        page: Page<Model, Key>,
        item: impl FnMut(Model) -> Result<Item, Failure>,
    ) -> Result<Self, Failure> {
        let items: Result<_, Failure> = page.items.into_iter().map(item).collect();
        Ok(Self {
            items: items?,
            next_cursor: page.next.map(|key| key.encode()),
        })
    }
}

/// The window between two bounds, each of which may be absent.
pub(crate) fn window_of(from: Option<Bound>, to: Option<Bound>) -> WindowRequest {
    WindowRequest {
        from: from.map(|bound| bound.0),
        to: to.map(|bound| bound.0),
        day: None,
    }
}

/// Names of a domain's enum, as text.
macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident($model:ty), $expected:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $model);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer, $expected, |name| {
                    <$model>::from_name(name).map(Self)
                })
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(concat!($($doc),+).trim()))
                    .enum_values(Some(<$model>::ALL.iter().copied().map(<$model>::as_str)))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

names! {
    /// What somebody is in the clinic.
    Role(RoleModel), "a role: admin, manager, doctor or receptionist";
    /// A patient's gender, as far as the clinic knows it.
    Gender(GenderModel), "a gender: female, male, other or unknown";
    /// How a contact reaches the patient.
    ContactType(ContactTypeModel), "a type of contact: phone or email";
    /// Where a visit stands.
    AppointmentStatus(Status), "a status of appointments";
    /// Where an invoice stands.
    InvoiceStatus(InvoiceStatusModel), "a status of invoices";
    /// What was done, as the audit log tells it.
    AuditAction(AuditActionModel), "an action of the audit log";
    /// What it was done to.
    AuditEntity(EntityModel), "an entity of the audit log";
    /// What was done to a visit.
    HistoryAction(HistoryActionModel), "what was done to a visit";
    /// How money came in.
    PaymentMethod(MethodModel), "a method of payment: cash, card, bank_transfer, insurance or other";
}
