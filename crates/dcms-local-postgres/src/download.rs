//! Fetches PostgreSQL for a machine that has none.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Relocatable builds with all of contrib; a release has a checksum beside each archive.
const RELEASES: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";
/// The newest known release of each major version; the first is for new data.
const VERSIONS: [(u32, &str); 4] = [
    (17, "17.9.0"),
    (18, "18.3.0"),
    (16, "16.13.0"),
    (15, "15.17.0"),
];
const LARGEST_ARCHIVE_IN_BYTES: u64 = 200 * 1024 * 1024;

/// Where archives come from, and where they are unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) releases: String,
    pub(crate) cache: Option<PathBuf>,
}

impl Source {
    pub(crate) fn of_this_machine() -> Self {
        Self {
            releases: RELEASES.to_owned(),
            cache: default_cache_directory(),
        }
    }

    /// The directory of programs of the wanted major version (or any), downloaded when needed.
    /// The error says what failed, on one line.
    pub(crate) fn directory(&self, wanted_major: Option<u32>) -> Result<PathBuf, String> {
        let cache = self
            .cache
            .as_deref()
            .ok_or("HOME is not set, so there is no place for it")?;
        let (version, name) = version_and_name(wanted_major)?;
        let unpacked = cache.join(&name);
        if !unpacked.exists() {
            let url = format!("{}/{version}/{name}.tar.gz", self.releases);
            let archive = fetch_verified(&url)?;
            unpack(&archive, &name, &unpacked)
                .map_err(|error| format!("{}: {error}", unpacked.display()))?;
        }
        Ok(unpacked.join("bin"))
    }
}

/// The release to download, and the name of its archive and of the directory in it.
pub(crate) fn version_and_name(
    wanted_major: Option<u32>,
) -> Result<(&'static str, String), &'static str> {
    let (_, version) = VERSIONS
        .iter()
        .find(|(major, _)| wanted_major.is_none_or(|wanted| wanted == *major))
        .ok_or("there is no build of that version")?;
    let target = target().ok_or("there is no build for this kind of machine")?;
    Ok((version, format!("postgresql-{version}-{target}")))
}

fn default_cache_directory() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        // Another account runs it, who cannot enter root's home.
        return Some(PathBuf::from("/var/cache/dcms"));
    }
    let home = env::home_dir().filter(|home| home.is_absolute());
    if cfg!(target_os = "macos") {
        return Some(home?.join("Library/Caches/dcms"));
    }
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute())
        .or_else(|| Some(home?.join(".cache")))
        .map(|directory| directory.join("dcms"))
}

fn target() -> Option<&'static str> {
    let musl = cfg!(target_env = "musl");
    match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") if musl => Some("x86_64-unknown-linux-musl"),
        ("linux", "aarch64") if musl => Some("aarch64-unknown-linux-musl"),
        ("linux", "x86_64") => Some("x86_64-unknown-linux-gnu"),
        ("linux", "aarch64") => Some("aarch64-unknown-linux-gnu"),
        ("macos", "x86_64") => Some("x86_64-apple-darwin"),
        ("macos", "aarch64") => Some("aarch64-apple-darwin"),
        _ => None,
    }
}

fn fetch_verified(url: &str) -> Result<Vec<u8>, String> {
    // A machine without network shall hear so in seconds; a slow one may take its time.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(3)))
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(Some(Duration::from_secs(10)))
        .timeout_recv_body(Some(Duration::from_mins(5)))
        .build()
        .into();
    let fetch = |url: &str| -> Result<Vec<u8>, String> {
        let mut response = agent
            .get(url)
            .call()
            .map_err(|error| format!("{url}: {error}"))?;
        response
            .body_mut()
            .with_config()
            .limit(LARGEST_ARCHIVE_IN_BYTES)
            .read_to_vec()
            .map_err(|error| format!("{url}: {error}"))
    };
    let checksum_file = fetch(&format!("{url}.sha256"))?;
    tracing::info!(url, "downloading PostgreSQL");
    let archive = fetch(url)?;
    let expected = String::from_utf8_lossy(&checksum_file);
    let expected = expected.split_whitespace().next().unwrap_or_default();
    let actual = format!("{:x}", Sha256::digest(&archive));
    if expected.eq_ignore_ascii_case(&actual) {
        Ok(archive)
    } else {
        Err(format!("{url}: its checksum is wrong"))
    }
}

/// Unpacks the directory `name` of the archive as `destination`, which then is complete or absent.
fn unpack(archive: &[u8], name: &str, destination: &Path) -> io::Result<()> {
    let cache = destination.parent().unwrap_or(destination);
    fs::create_dir_all(cache)?;
    let unfinished = tempfile::tempdir_in(cache)?;
    unpack_tar(flate2::read::GzDecoder::new(archive), unfinished.path())?;
    let directory = unfinished.path().join(name);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(cache, fs::Permissions::from_mode(0o755))?;
    }
    match fs::rename(directory, destination) {
        // Somebody else was faster.
        Err(_) if destination.is_dir() => Ok(()),
        result => result,
    }
}

fn unpack_tar(reader: impl Read, directory: &Path) -> io::Result<()> {
    tar::Archive::new(reader).unpack(directory)
}
