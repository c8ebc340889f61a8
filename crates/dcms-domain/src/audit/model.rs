use std::borrow::Cow;
use std::net::IpAddr;

use chrono::{NaiveDate, SecondsFormat};
use uuid::Uuid;

use crate::access::{Actor, Origin};
use crate::shared::{
    AuditId, Cents, Instant, PatientId, Ports, SessionId, TimeWindow, UserId, WindowRequest,
};

macro_rules! names {
    ($(#[$doc:meta])+ $name:ident { $($(#[$variant_doc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])+ $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name for clients and stores.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }
    };
}

names! {
    /// What was done.
    AuditAction {
        /// Made.
        Create = "create",
        /// Changed.
        Change = "change",
        /// Put into the archive.
        Archive = "archive",
        /// Taken out of the archive.
        Restore = "restore",
        /// Deleted.
        Delete = "delete",
        /// One record was read.
        Read = "read",
        /// A page of a list was read.
        List = "list",
        /// Taken out of the system as a document.
        Export = "export",
        /// Stripped of what identifies a person.
        Anonymize = "anonymize",
        /// Logged in.
        LogIn = "log_in",
        /// Tried to log in, in vain.
        LogInFailed = "log_in_failed",
        /// Logged out.
        LogOut = "log_out",
        /// A session got another token.
        Refresh = "refresh",
        /// A token came back after it was replaced: the session was ended.
        TokenReused = "token_reused",
        /// A user chose another password.
        ChangePassword = "change_password",
        /// An admin gave a user another password.
        ResetPassword = "reset_password",
        /// Sessions were ended.
        Revoke = "revoke",
        /// An admin began to act as somebody else.
        Impersonate = "impersonate",
        /// Something was asked for that the roles do not allow.
        Refuse = "refuse",
        /// Entries were lost before they could be written.
        Lose = "lose",
        /// A visit was moved.
        Reschedule = "reschedule",
        /// What stands in the way of a visit was accepted.
        AcceptConflict = "accept_conflict",
        /// A visit was confirmed.
        Confirm = "confirm",
        /// A patient arrived.
        Arrive = "arrive",
        /// A treatment began.
        Start = "start",
        /// A treatment ended.
        Complete = "complete",
        /// A visit was called off.
        Cancel = "cancel",
        /// A patient did not come.
        NoShow = "no_show",
        /// An invoice was sent out.
        Issue = "issue",
        /// An invoice was called off.
        Void = "void",
    }
}

names! {
    /// What it was done to.
    Entity {
        /// A user.
        User = "user",
        /// A session.
        Session = "session",
        /// The clinic and its settings.
        Clinic = "clinic",
        /// A room.
        Room = "room",
        /// What a user has as a doctor.
        Doctor = "doctor",
        /// The hours of the clinic, or those of a doctor.
        Hours = "hours",
        /// A time at which the clinic is closed.
        Closure = "closure",
        /// A time at which a doctor is not there.
        TimeOff = "time_off",
        /// A patient.
        Patient = "patient",
        /// A contact of a patient.
        Contact = "contact",
        /// An appointment.
        Appointment = "appointment",
        /// A service of the catalog.
        Service = "service",
        /// An invoice.
        Invoice = "invoice",
        /// A payment.
        Payment = "payment",
        /// A refund.
        Refund = "refund",
        /// The audit log itself.
        AuditLog = "audit_log",
        /// An operation of the API, where nothing else is known.
        Operation = "operation",
    }
}

/// A value of a field, as the audit log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditValue {
    /// Nothing was there.
    Nothing,
    /// A text, a day, an instant, an id.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Several values in their order.
    List(Vec<AuditValue>),
    /// Several named values.
    Record(Vec<(Cow<'static, str>, AuditValue)>),
}

impl AuditValue {
    /// Several values in their order; nothing when there is none.
    pub(crate) fn list(values: impl Iterator<Item = Self>) -> Self {
        let values: Vec<Self> = values.collect();
        if values.is_empty() {
            Self::Nothing
        } else {
            Self::List(values)
        }
    }
}

/// What became of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name.
    pub field: Cow<'static, str>,
    /// What it was.
    pub before: AuditValue,
    /// What it is.
    pub after: AuditValue,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The kind of thing.
    pub entity: Entity,
    /// Which one; none for a list.
    pub id: Option<Uuid>,
    /// The patient whose record it is part of.
    pub patient_id: Option<PatientId>,
}

impl Subject {
    /// A thing that is no part of a patient's record.
    pub(crate) fn new(entity: Entity, id: impl Into<Uuid>) -> Self {
        Self {
            entity,
            id: Some(id.into()),
            patient_id: None,
        }
    }

    /// Things of a kind.
    pub(crate) const fn list(entity: Entity) -> Self {
        Self {
            entity,
            id: None,
            patient_id: None,
        }
    }

    /// The same, as a part of a patient's record.
    pub(crate) const fn of(mut self, patient_id: PatientId) -> Self {
        self.patient_id = Some(patient_id);
        self
    }
}

/// What the audit log tells of a thing: its fields without secrets.
pub(crate) trait Audited {
    /// Which thing it is.
    fn subject(&self) -> Subject;

    /// Its fields, without those that only say that it changed.
    fn fields(&self) -> Vec<(&'static str, AuditValue)>;
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub audit_id: AuditId,
    /// When it was done.
    pub at: Instant,
    /// Who did it; nobody at the console, or when it is not known.
    pub actor_id: Option<UserId>,
    /// The admin who acted as them.
    pub impersonator_id: Option<UserId>,
    /// The session it was done in.
    pub session_id: Option<SessionId>,
    /// The address it came from.
    pub address: Option<IpAddr>,
    /// The request it came with.
    pub request_id: Option<String>,
    /// What was done.
    pub action: AuditAction,
    /// To what.
    pub entity: Entity,
    /// To which one.
    pub entity_id: Option<Uuid>,
    /// The patients whose records it is about.
    pub patient_ids: Vec<PatientId>,
    /// What became of the fields.
    pub changes: Vec<FieldChange>,
}

impl AuditEntry {
    /// An entry about something that was done by nobody who is known.
    #[must_use]
    pub const fn unattributed(
        audit_id: AuditId,
        at: Instant,
        action: AuditAction,
        entity: Entity,
    ) -> Self {
        Self {
            audit_id,
            at,
            actor_id: None,
            impersonator_id: None,
            session_id: None,
            address: None,
            request_id: None,
            action,
            entity,
            entity_id: None,
            patient_ids: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The same, with another thing that is worth knowing.
    #[must_use]
    pub(crate) fn with(mut self, field: &'static str, value: impl Into<AuditValue>) -> Self {
        self.changes.push(FieldChange {
            field: field.into(),
            before: AuditValue::Nothing,
            after: value.into(),
        });
        self
    }

    /// The same, about the records of these patients.
    #[must_use]
    pub(crate) fn about(mut self, patient_ids: Vec<PatientId>) -> Self {
        self.patient_ids = patient_ids;
        self
    }
}

impl Ports {
    /// An entry about something that nobody with a session did.
    pub(crate) fn audit_anonymous(
        &self,
        origin: &Origin,
        action: AuditAction,
        subject: Subject,
    ) -> AuditEntry {
        let audit_id = self.ids.next_id().into();
        AuditEntry {
            address: origin.address,
            request_id: origin.request_id.clone(),
            entity_id: subject.id,
            patient_ids: subject.patient_id.into_iter().collect(),
            ..AuditEntry::unattributed(audit_id, self.clock.now(), action, subject.entity)
        }
    }

    /// An entry about something that changed no field.
    pub(crate) fn audit(&self, actor: &Actor, action: AuditAction, subject: Subject) -> AuditEntry {
        AuditEntry {
            actor_id: Some(actor.user_id),
            impersonator_id: actor.impersonator_id,
            session_id: Some(actor.session_id),
            ..self.audit_anonymous(&actor.origin, action, subject)
        }
    }

    /// Notes that something of a record was read.
    pub(crate) fn note_read(&self, actor: &Actor, subject: Subject) {
        self.access_log
            .note(self.audit(actor, AuditAction::Read, subject));
    }

    /// Notes that a page of things of these patients was read.
    pub(crate) fn note_list(
        &self,
        actor: &Actor,
        entity: Entity,
        patient_ids: impl Iterator<Item = PatientId>,
    ) {
        let entry = self.audit(actor, AuditAction::List, Subject::list(entity));
        self.access_log.note(entry.about(patients_of(patient_ids)));
    }

    /// An entry about a thing that was made.
    pub(crate) fn audit_created(&self, actor: &Actor, after: &impl Audited) -> AuditEntry {
        AuditEntry {
            changes: created(after),
            ..self.audit(actor, AuditAction::Create, after.subject())
        }
    }

    /// An entry about a thing that was changed.
    pub(crate) fn audit_changed<Thing: Audited>(
        &self,
        actor: &Actor,
        action: AuditAction,
        before: &Thing,
        after: &Thing,
    ) -> AuditEntry {
        AuditEntry {
            changes: difference(before, after),
            ..self.audit(actor, action, after.subject())
        }
    }

    /// An entry about a thing that was deleted.
    pub(crate) fn audit_deleted(&self, actor: &Actor, before: &impl Audited) -> AuditEntry {
        let changes = before
            .fields()
            .into_iter()
            .map(|(field, value)| FieldChange {
                field: field.into(),
                before: value,
                after: AuditValue::Nothing,
            });
        AuditEntry {
            changes: changes.filter(is_change).collect(),
            ..self.audit(actor, AuditAction::Delete, before.subject())
        }
    }
}

pub(crate) fn created(after: &impl Audited) -> Vec<FieldChange> {
    let changes = after
        .fields()
        .into_iter()
        .map(|(field, value)| FieldChange {
            field: field.into(),
            before: AuditValue::Nothing,
            after: value,
        });
    changes.filter(is_change).collect()
}

fn difference<Thing: Audited>(before: &Thing, after: &Thing) -> Vec<FieldChange> {
    let pairs = before.fields().into_iter().zip(after.fields());
    let changes = pairs.map(|((field, before), (_, after))| FieldChange {
        field: field.into(),
        before,
        after,
    });
    changes.filter(is_change).collect()
}

fn is_change(change: &FieldChange) -> bool {
    change.before != change.after
}

/// Each patient once, in the order of their ids.
pub(crate) fn patients_of(ids: impl Iterator<Item = PatientId>) -> Vec<PatientId> {
    let mut ids: Vec<PatientId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl From<&str> for AuditValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AuditValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for AuditValue {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for AuditValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for AuditValue {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for AuditValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Cents> for AuditValue {
    fn from(amount: Cents) -> Self {
        Self::Number(amount.get())
    }
}

impl From<Instant> for AuditValue {
    fn from(instant: Instant) -> Self {
        Self::Text(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl From<NaiveDate> for AuditValue {
    fn from(day: NaiveDate) -> Self {
        Self::Text(day.to_string())
    }
}

impl From<Uuid> for AuditValue {
    fn from(id: Uuid) -> Self {
        Self::Text(id.to_string())
    }
}

impl<Value: Into<AuditValue>> From<Option<Value>> for AuditValue {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// Which entries are wanted; those that match everything that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By whom.
    pub actor_id: Option<UserId>,
    /// To what.
    pub entity: Option<Entity>,
    /// To which one.
    pub entity_id: Option<Uuid>,
    /// What was done.
    pub action: Option<AuditAction>,
    /// About whose record.
    pub patient_id: Option<PatientId>,
    /// When.
    pub window: TimeWindow,
}

/// Which entries a caller wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// By whom.
    pub actor_id: Option<UserId>,
    /// To what.
    pub entity: Option<Entity>,
    /// To which one.
    pub entity_id: Option<Uuid>,
    /// What was done.
    pub action: Option<AuditAction>,
    /// When.
    pub window: WindowRequest,
}
