//! Finds the programs of PostgreSQL on this machine.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::LocalPostgresError;
use crate::account::Account;
use crate::download;

const OLDEST_MAJOR: u32 = 15;
const EXTENSIONS: [&str; 3] = ["btree_gist", "pg_trgm", "unaccent"];

/// Where PostgreSQL may be.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// `DCMS_PG_BIN`: used, or the reason to fail.
    pub(crate) configured: Option<PathBuf>,
    /// Directories of programs, the most wanted first.
    pub(crate) directories: Vec<PathBuf>,
    /// Where downloads come from and go to.
    pub(crate) download: download::Source,
}

impl Search {
    pub(crate) fn of_this_machine() -> Self {
        let mut directories = versions_in("/usr/lib/postgresql", "", "bin");
        directories.extend(versions_in("/usr", "pgsql-", "bin"));
        directories.extend(versions_in("/usr/libexec", "postgresql", ""));
        for homebrew in ["/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew"] {
            directories.extend(versions_in(
                &format!("{homebrew}/opt"),
                "postgresql@",
                "bin",
            ));
        }
        let postgres_app = "/Applications/Postgres.app/Contents/Versions";
        directories.extend(versions_in(postgres_app, "", "bin"));
        if let Some(path) = env::var_os("PATH") {
            directories.extend(env::split_paths(&path).filter(|directory| directory.is_absolute()));
        }
        Self {
            configured: env::var_os("DCMS_PG_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            directories,
            download: download::Source::of_this_machine(),
        }
    }

    /// The programs of the major version that wrote `data`, or of the first suitable version.
    ///
    /// Only a directory with all programs of one version and the extensions that DCMS needs is
    /// taken; it is tried as the account that will run it.
    pub(crate) fn find(
        &self,
        account: &Account,
        data: &Path,
    ) -> Result<Binaries, LocalPostgresError> {
        let wanted = major_that_wrote(data);
        if let Some(directory) = &self.configured {
            return examine(directory, account, wanted).map_err(|problem| {
                LocalPostgresError::ConfiguredBinaries {
                    directory: directory.clone(),
                    problem,
                }
            });
        }
        let installed = self
            .directories
            .iter()
            .find_map(|directory| examine(directory, account, wanted).ok());
        if let Some(binaries) = installed {
            return Ok(binaries);
        }
        self.download
            .directory(wanted)
            .and_then(|directory| examine(&directory, account, wanted))
            .map_err(|download| match wanted {
                None => LocalPostgresError::NotInstalled { download },
                Some(major) => LocalPostgresError::MajorVersionNotInstalled {
                    data: data.to_owned(),
                    major,
                    download,
                },
            })
    }
}

/// The programs of one version of PostgreSQL.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) directory: PathBuf,
}

/// `parent/prefixN/suffix` for every N there is, the highest first.
fn versions_in(parent: &str, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(suffix)))
        })
        .collect();
    found.sort_by_key(|(number, _)| Reverse(*number));
    found.into_iter().map(|(_, directory)| directory).collect()
}

fn major_that_wrote(data: &Path) -> Option<u32> {
    let version = fs::read_to_string(data.join("PG_VERSION")).ok()?;
    version.trim().parse().ok()
}

/// Whether the programs in `directory` can be used; if not, why.
fn examine(directory: &Path, account: &Account, wanted: Option<u32>) -> Result<Binaries, String> {
    for program in ["initdb", "pg_ctl", "postgres"] {
        if !directory.join(program).is_file() {
            return Err(format!("it has no program {program}"));
        }
    }
    // `initdb --show` creates nothing. It runs the `postgres` beside it and insists on its version.
    let output = account
        .command(directory.join("initdb"), Path::new("/"))
        .args(["--show", "--pgdata=/nonexistent"])
        .output()
        .map_err(|error| format!("initdb does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("initdb does not run: {}", last_line(&text)));
    }
    let settings: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();

    let version = settings.get("VERSION").copied().unwrap_or_default();
    let digits = version.split(|character: char| !character.is_ascii_digit());
    let major: Option<u32> = digits
        .into_iter()
        .next()
        .and_then(|major| major.parse().ok());
    match (major, wanted) {
        (Some(major), Some(wanted)) if major == wanted => {}
        (Some(major), None) if major >= OLDEST_MAJOR => {}
        (_, Some(wanted)) => {
            return Err(format!(
                "it is version {version}, the data is of version {wanted}"
            ));
        }
        (_, None) => {
            return Err(format!(
                "it is version {version}, older than {OLDEST_MAJOR}"
            ));
        }
    }
    if let Some(share) = settings.get("share_path") {
        for extension in EXTENSIONS {
            let control = Path::new(share).join(format!("extension/{extension}.control"));
            if !control.is_file() {
                return Err(format!(
                    "it has no extension {extension}: install postgresql-contrib"
                ));
            }
        }
    }
    Ok(Binaries {
        directory: directory.to_owned(),
    })
}

/// The last line that says something.
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").trim().to_owned()
}
