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
    /// One's own account: who am I, password, own sessions.
    UseOwnAccount,
    /// Users, and the sessions of others.
    ManageUsers,
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

/// The permission matrix: a row a permission, a column a role, in the order of [`Role::ALL`].
#[rustfmt::skip]
pub const MATRIX: [(Permission, [Grant; 4]); 14] = [
    //                                  admin   manager doctor  receptionist
    (Permission::UseOwnAccount,        [Always, Always, Always, Always]),
    (Permission::ManageUsers,          [Always, Never,  Never,  Never ]),
    (Permission::ReadClinic,           [Always, Always, Always, Always]),
    (Permission::ChangeClinic,         [Always, Always, Never,  Never ]),
    (Permission::ReadPatients,         [Always, Always, Always, Always]),
    (Permission::ChangePatients,       [Always, Always, Always, Always]),
    (Permission::DeletePatients,       [Always, Always, Never,  Never ]),
    (Permission::ReadAppointments,     [Always, Always, Always, Always]),
    (Permission::ScheduleAppointments, [Always, Always, Own,    Always]),
    (Permission::TreatAppointments,    [Always, Always, Own,    Never ]),
    (Permission::Overbook,             [Always, Always, Own,    Never ]),
    (Permission::ReadBilling,          [Always, Always, Always, Always]),
    (Permission::Bill,                 [Always, Always, Never,  Always]),
    (Permission::Reverse,              [Always, Always, Never,  Never ]),
];

/// The actor's roles do not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor's roles do not allow this")]
pub struct Forbidden;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// The session the request came with.
    pub session_id: SessionId,
    /// The user's roles.
    pub roles: Roles,
}

impl Actor {
    /// What the actor's best role is granted.
    #[must_use]
    pub fn grant(&self, permission: Permission) -> Grant {
        let Some((_, row)) = MATRIX
            .iter()
            .find(|(candidate, _)| *candidate == permission)
        else {
            return Never;
        };
        self.roles
            .iter()
            .map(|role| row[role as usize])
            .max()
            .unwrap_or(Never)
    }

    /// Asks the matrix for something that has no owner.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it always.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        match self.grant(permission) {
            Always => Ok(()),
            Own | Never => Err(Forbidden),
        }
    }

    /// Asks the matrix for something that belongs to `owner`.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it, or may only do it to their own and
    /// `owner` is somebody else.
    pub fn require_for(&self, permission: Permission, owner: UserId) -> Result<(), Forbidden> {
        match self.grant(permission) {
            Always => Ok(()),
            Own if owner == self.user_id => Ok(()),
            Own | Never => Err(Forbidden),
        }
    }

    /// Asks the matrix before it is known to whom the thing belongs: refuses only those who may
    /// not do it to anything.
    ///
    /// # Errors
    /// [`Forbidden`] when no role of the actor may do it even to their own.
    pub fn require_some(&self, permission: Permission) -> Result<(), Forbidden> {
        match self.grant(permission) {
            Always | Own => Ok(()),
            Never => Err(Forbidden),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
