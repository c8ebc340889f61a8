//! Who runs PostgreSQL, and the directory that belongs to them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::LocalPostgresError;

/// Where root's data goes, unless told otherwise: PostgreSQL runs as another user there, and that
/// user may not enter root's home.
pub(crate) const DATA_DIRECTORY_OF_ROOT: &str = "/var/lib/dcms";

/// The user that PostgreSQL runs as: the present one, or, as PostgreSQL refuses to run as root,
/// another one.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    instead_of_root: Option<(u32, u32)>,
}

impl Account {
    /// The account for a directory that exists or will be made. Root runs an existing one as its
    /// owner, so that the owner can use it again later.
    fn for_directory(directory: &Path) -> Result<Self, LocalPostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self {
                instead_of_root: None,
            });
        }
        let owner = fs::metadata(directory)
            .ok()
            .filter(|metadata| metadata.uid() != 0)
            .map(|metadata| (metadata.uid(), metadata.gid()));
        owner
            .or_else(|| look_up("postgres"))
            .or_else(|| look_up("nobody"))
            .map(|ids| Self {
                instead_of_root: Some(ids),
            })
            .ok_or(LocalPostgresError::NoUnprivilegedUser)
    }

    /// A command that runs as this account, outside the terminal's process group (Ctrl-C ends the
    /// server, which then ends PostgreSQL in good order) and without `PG*` of the caller.
    pub(crate) fn command(&self, program: impl AsRef<Path>, directory: &Path) -> Command {
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        // English messages; and on macOS PostgreSQL refuses to start without a locale it knows.
        command.env("LC_ALL", "C");
        command
            .current_dir(directory)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some((user, group)) = self.instead_of_root {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a directory that only this account may enter; one that exists is left as it is.
    pub(crate) fn create_private_directory(&self, directory: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => self.take_over(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn take_over(&self, path: &Path) -> io::Result<()> {
        match self.instead_of_root {
            Some((user, group)) => std::os::unix::fs::lchown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    pub(crate) fn owns(&self, path: &Path) -> bool {
        let user = self
            .instead_of_root
            .map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
    }

    /// Opens a file of this account for reading and appending, making it when it is not there.
    /// Never through a symbolic link: root must not write where this account points it.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        if let Some((user, group)) = self.instead_of_root {
            std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
        }
        Ok(file)
    }

    /// Replaces a file of this account at once, never through a symbolic link.
    pub(crate) fn replace_file(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        remove_file(&unfinished)?;
        self.open_file(&unfinished)?.write_all(contents)?;
        fs::rename(unfinished, path)
    }

    fn can_enter(&self, directory: &Path) -> bool {
        self.command("/bin/sh", directory)
            .args(["-c", ":"])
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn look_up(user: &str) -> Option<(u32, u32)> {
    // `id` also knows the users that are not in /etc/passwd: macOS, LDAP.
    let ask = |option| {
        let output = Command::new("id").args([option, user]).output().ok()?;
        let number = String::from_utf8(output.stdout).ok()?;
        number.trim().parse().ok()
    };
    Some((ask("-u")?, ask("-g")?))
}

/// The directory in `data_dir` that holds everything of PostgreSQL, made when it is not there, and
/// the account that owns it.
///
/// For root, when that account cannot enter `data_dir`, it is a symbolic link to a directory in
/// `for_the_unreachable`.
pub(crate) fn postgres_directory(
    data_dir: &Path,
    for_the_unreachable: &Path,
) -> Result<(PathBuf, Account), LocalPostgresError> {
    create_public_directory(data_dir).map_err(LocalPostgresError::directory(data_dir))?;
    let directory = data_dir.join("postgres");
    let account = Account::for_directory(&directory)?;
    if !directory.exists() && account.instead_of_root.is_some() && !account.can_enter(data_dir) {
        link_elsewhere(&directory, for_the_unreachable, &account)?;
    }
    private_directory(&directory, &account)
}

fn private_directory(
    directory: &Path,
    account: &Account,
) -> Result<(PathBuf, Account), LocalPostgresError> {
    account
        .create_private_directory(directory)
        .and_then(|()| directory.canonicalize())
        .and_then(|resolved| {
            // Root may have died between making it and giving it away.
            if fs::metadata(&resolved)?.uid() == 0 {
                account.take_over(&resolved)?;
            }
            Ok((resolved, account.clone()))
        })
        .map_err(LocalPostgresError::directory(directory))
}

fn create_public_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    if rustix::process::geteuid().is_root() {
        // Whatever root's umask, another account has to pass.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn link_elsewhere(
    link: &Path,
    elsewhere: &Path,
    account: &Account,
) -> Result<(), LocalPostgresError> {
    let create = || {
        create_public_directory(elsewhere)?;
        // A new name each time: who deletes the data directory must not meet the old data again.
        let target = tempfile::Builder::new()
            .prefix("postgres-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(elsewhere)?;
        account.take_over(target.path())?;
        match std::os::unix::fs::symlink(target.path(), link) {
            Ok(()) => {
                tracing::warn!(
                    link = %link.display(),
                    directory = %target.path().display(),
                    "PostgreSQL's user cannot enter the data directory; its files are kept elsewhere"
                );
                let _ = target.keep();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    create().map_err(LocalPostgresError::directory(elsewhere))
}

/// Deletes a file that may be absent.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
