//! Who acts, and what each role may do: one table, asked by every service method.

use std::fmt;
use std::net::IpAddr;

use crate::shared::{SessionId, UserId};

/// What somebody is in the clinic. A user has one role or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Keeps the users.
    Admin,
    /// Runs the clinic.
    Manager,
    /// Treats patients.
    Doctor,
    /// Runs the front desk.
    Receptionist,
}

impl Role {
    /// Every role, in the order of the permission matrix's columns.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Manager, Self::Doctor, Self::Receptionist];

    /// The role's name for clients and stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Doctor => "doctor",
            Self::Receptionist => "receptionist",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles([bool; Role::ALL.len()]);

impl Roles {
    /// Whether the role is in the set.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0[role as usize]
    }

    /// Whether no role is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .into_iter()
            .filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<Iter: IntoIterator<Item = Role>>(roles: Iter) -> Self {
        let mut set = Self::default();
        for role in roles {
            set.0[role as usize] = true;
        }
        set
    }
}

/// What can be done, as rows of the permission matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// One's own account: who am I, log out.
    UseOwnAccount,
    /// One's own password: change.
    ChangeOwnPassword,
    /// One's own sessions: list, end, refresh.
    ManageOwnSessions,
    /// Users, and the sessions of others.
    ManageUsers,
    /// The audit log: read.
    ReadAudit,
    /// Who looked at a patient's record: read.
    ReadAccesses,
    /// Clinic settings, rooms, doctors and the service catalog: read.
    ReadClinic,
    /// The same: change.
    ChangeClinic,
    /// Patients and their contacts: read.
    ReadPatients,
    /// Patients and their contacts: create, change, archive.
    ChangePatients,
    /// Patients: delete.
    DeletePatients,
    /// Everything held about a patient: take out as a document.
    ExportPatients,
    /// Patients: anonymize.
    AnonymizePatients,
    /// Appointments: read.
    ReadAppointments,
    /// Appointments: book, reschedule, change, confirm, arrive, cancel, mark as no-show.
    ScheduleAppointments,
    /// Appointments: start, complete.
    TreatAppointments,
    /// Appointments: book outside the hours, with a reason.
    Overbook,
    /// Invoices and payments: read.
    ReadBilling,
    /// Invoices: draft, issue. Payments: record.
    Bill,
    /// Invoices: void. Payments: refund.
    Reverse,
}

/// What a role's cell of the matrix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Not at all.
    Never,
    /// Only what is the actor's own.
    Own,
    /// Always.
    Always,
}

use Grant::{Always, Never, Own};

/// A row of the permission matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What can be done.
    pub permission: Permission,
    /// It in the words of the documentation.
    pub what: &'static str,
    /// What each role is granted, in the order of [`Role::ALL`].
    pub grants: [Grant; 4],
    /// Whether it can be done with a password that somebody else has set.
    pub before_password_change: bool,
    /// Whether an admin who acts as somebody else can do it.
    pub impersonated: bool,
}

const fn row(
    permission: Permission,
    what: &'static str,
    grants: [Grant; 4],
    [before_password_change, impersonated]: [bool; 2],
) -> Row {
    Row {
        permission,
        what,
        grants,
        before_password_change,
        impersonated,
    }
}

/// The permission matrix. Behind the roles: whether it can be done with a password that somebody
/// else has set, and by an admin who acts as somebody else.
#[rustfmt::skip]
pub const MATRIX: [Row; 20] = {
    use Permission as P;
    const YES: bool = true;
    const NO: bool = false;
    [
    //                                                                                          admin   manager doctor  receptionist
    row(P::UseOwnAccount,        "one's own account: read, log out",                           [Always, Always, Always, Always], [YES, YES]),
    row(P::ChangeOwnPassword,    "one's own password: change",                                 [Always, Always, Always, Always], [YES, NO ]),
    row(P::ManageOwnSessions,    "one's own sessions: list, end, refresh",                     [Always, Always, Always, Always], [NO,  NO ]),
    row(P::ManageUsers,          "users, sessions of others, impersonation",                   [Always, Never,  Never,  Never ], [NO,  NO ]),
    row(P::ReadAudit,            "audit log: read, export",                                    [Always, Never,  Never,  Never ], [NO,  YES]),
    row(P::ReadAccesses,         "who looked at a patient's record: read",                     [Always, Always, Never,  Never ], [NO,  YES]),
    row(P::ReadClinic,           "clinic settings, hours, rooms, doctors, services: read",     [Always, Always, Always, Always], [NO,  YES]),
    row(P::ChangeClinic,         "clinic settings, hours, rooms, doctors, services: change",   [Always, Always, Never,  Never ], [NO,  NO ]),
    row(P::ReadPatients,         "patients, contacts: read",                                   [Always, Always, Always, Always], [NO,  YES]),
    row(P::ChangePatients,       "patients, contacts: create, change, archive",                [Always, Always, Always, Always], [NO,  YES]),
    row(P::DeletePatients,       "patients: delete (only without history)",                    [Always, Always, Never,  Never ], [NO,  YES]),
    row(P::ExportPatients,       "patients: export everything held about one",                 [Always, Always, Never,  Never ], [NO,  YES]),
    row(P::AnonymizePatients,    "patients: anonymize",                                        [Always, Never,  Never,  Never ], [NO,  NO ]),
    row(P::ReadAppointments,     "appointments: read",                                         [Always, Always, Always, Always], [NO,  YES]),
    row(P::ScheduleAppointments, "appointments: book, change, reschedule, confirm, arrive, cancel, no_show",
                                                                                               [Always, Always, Own,    Always], [NO,  YES]),
    row(P::TreatAppointments,    "appointments: start, complete",                              [Always, Always, Own,    Never ], [NO,  YES]),
    row(P::Overbook,             "appointments: overbook (with a reason)",                     [Always, Always, Own,    Never ], [NO,  YES]),
    row(P::ReadBilling,          "invoices, payments: read",                                   [Always, Always, Always, Always], [NO,  YES]),
    row(P::Bill,                 "invoices: draft, issue; payments: record",                   [Always, Always, Never,  Always], [NO,  NO ]),
    row(P::Reverse,              "invoices: void; payments: refund",                           [Always, Always, Never,  Never ], [NO,  NO ]),
    ]
};

impl Permission {
    /// The permission's name for clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UseOwnAccount => "use_own_account",
            Self::ChangeOwnPassword => "change_own_password",
            Self::ManageOwnSessions => "manage_own_sessions",
            Self::ManageUsers => "manage_users",
            Self::ReadAudit => "read_audit",
            Self::ReadAccesses => "read_accesses",
            Self::ReadClinic => "read_clinic",
            Self::ChangeClinic => "change_clinic",
            Self::ReadPatients => "read_patients",
            Self::ChangePatients => "change_patients",
            Self::DeletePatients => "delete_patients",
            Self::ExportPatients => "export_patients",
            Self::AnonymizePatients => "anonymize_patients",
            Self::ReadAppointments => "read_appointments",
            Self::ScheduleAppointments => "schedule_appointments",
            Self::TreatAppointments => "treat_appointments",
            Self::Overbook => "overbook",
            Self::ReadBilling => "read_billing",
            Self::Bill => "bill",
            Self::Reverse => "reverse",
        }
    }

    /// The permission of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut permissions = MATRIX.iter().map(|row| row.permission);
        permissions.find(|permission| permission.as_str() == name)
    }

    /// The permission's row of the matrix.
    #[must_use]
    pub fn row(self) -> &'static Row {
        static ROWS: [Row; MATRIX.len()] = MATRIX;
        ROWS.iter()
            .find(|row| row.permission == self)
            .unwrap_or_else(|| unreachable!("{self:?} has no row"))
    }
}

/// Why the actor may not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// None of the roles allows it.
    #[error("the actor's roles do not allow this")]
    Role,
    /// Somebody else has set the password: it has to be changed first.
    #[error("the password has to be changed first")]
    PasswordChangeRequired,
    /// It is not for an admin who acts as somebody else.
    #[error("this cannot be done while acting as somebody else")]
    Impersonated,
}

/// Where a request comes from: what the audit log and the list of sessions say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The client's address; none at the console.
    pub address: Option<IpAddr>,
    /// What the client says it is, in at most 200 characters.
    pub agent: Option<String>,
    /// The name of the request.
    pub request_id: Option<String>,
}

/// Who asks: a user in one of their sessions, with the roles they have right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// The session the request came with.
    pub session_id: SessionId,
    /// The user's roles.
    pub roles: Roles,
    /// Whether somebody else has set the user's password, so that it has to be changed first.
    pub must_change_password: bool,
    /// The admin who acts as the user.
    pub impersonator_id: Option<UserId>,
    /// Where the request came from.
    pub origin: Origin,
}

impl Actor {
    /// What the actor's best role is granted.
    fn grant(&self, permission: Permission) -> Result<Grant, Forbidden> {
        let row = permission.row();
        if self.must_change_password && !row.before_password_change {
            return Err(Forbidden::PasswordChangeRequired);
        }
        if self.impersonator_id.is_some() && !row.impersonated {
            return Err(Forbidden::Impersonated);
        }
        let grants = self.roles.iter().map(|role| row.grants[role as usize]);
        Ok(grants.max().unwrap_or(Never))
    }

    /// Asks the matrix for something that has no owner.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it always.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        match self.grant(permission)? {
            Always => Ok(()),
            Own | Never => Err(Forbidden::Role),
        }
    }

    /// Asks the matrix for something that belongs to `owner`.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it, or may only do it to their own and
    /// `owner` is somebody else.
    pub fn require_for(&self, permission: Permission, owner: UserId) -> Result<(), Forbidden> {
        match self.grant(permission)? {
            Always => Ok(()),
            Own if owner == self.user_id => Ok(()),
            Own | Never => Err(Forbidden::Role),
        }
    }

    /// Asks the matrix before it is known to whom the thing belongs: refuses only those who may
    /// not do it to anything.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it even to their own.
    pub fn require_some(&self, permission: Permission) -> Result<(), Forbidden> {
        match self.grant(permission)? {
            Always | Own => Ok(()),
            Never => Err(Forbidden::Role),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
