//! The server's certificate: read from its files, and read again when they change.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Where the certificate and its key are, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and after it those that lead to one that clients know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    fn read(&self) -> anyhow::Result<Pem> {
        let read = |path: &Path, variable: &str| {
            std::fs::read(path)
                .with_context(|| format!("cannot read {variable} {}", path.display()))
        };
        Ok(Pem {
            certificate: read(&self.certificate, "TLS_CERT")?,
            key: read(&self.key, "TLS_KEY")?,
        })
    }

    fn certified(&self, pem: &Pem) -> anyhow::Result<CertifiedKey> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.certificate)
            .collect::<Result<_, _>>()
            .with_context(|| format!("TLS_CERT {certificate} is not PEM"))?;
        anyhow::ensure!(
            !chain.is_empty(),
            "TLS_CERT {certificate} has no certificate in PEM"
        );
        // What the parser says of a key may show parts of it.
        let private_key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|_| anyhow::anyhow!("TLS_KEY {key} has no private key in PEM"))?;
        CertifiedKey::from_der(chain, private_key, &ring::default_provider())
            .with_context(|| format!("TLS_CERT {certificate} and TLS_KEY {key} do not fit"))
    }
}

/// What stands in the files.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// TLS with the certificate of these files.
pub struct Tls {
    files: TlsFiles,
    /// What the files held when they were last looked at, or why they could not be read.
    seen: Result<Pem, String>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One line that names the file that is missing or wrong.
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let pem = files.read()?;
        let current = Arc::new(Current(RwLock::new(Arc::new(files.certified(&pem)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // The order of our suites counts, not that of an old client.
        config.ignore_client_order = true;
        Ok(Self {
            files,
            seen: Ok(pem),
            current,
            config: Arc::new(config),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Puts a new certificate in the place of the old one whenever the files have one. Files that
    /// are missing or wrong are told of once, and the certificate before them stays.
    pub(crate) async fn follow_files(mut self) -> Infallible {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            match self.look_again().await {
                None => {}
                Some(Ok(())) => tracing::info!("serving with the new TLS certificate"),
                Some(Err(error)) => {
                    tracing::error!(
                        error,
                        "the new TLS certificate is not usable; the old stays"
                    );
                }
            }
        }
    }

    /// Nothing when the files are as they were; else whether what they hold now is served.
    async fn look_again(&mut self) -> Option<Result<(), String>> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read()).await;
        let found = read
            .map_err(anyhow::Error::from)
            .flatten()
            .map_err(|error| format!("{error:#}"));
        if found == self.seen {
            return None;
        }
        let certified = match &found {
            Ok(pem) => self.files.certified(pem),
            Err(error) => Err(anyhow::anyhow!(error.clone())),
        };
        self.seen = found;
        let replaced = certified.map(|certified| self.current.replace(certified));
        Some(replaced.map_err(|error| format!("{error:#}")))
    }
}

/// The certificate that connections get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A certificate and its key as PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn files_with(certificate: &str, key: &str) -> (TempDir, TlsFiles) {
        let folder = TempDir::new().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        (folder, files)
    }

    #[test]
    fn a_wrong_file_is_named_and_shows_nothing_of_the_key() {
        let (certificate, key) = made();
        let (_, key_of_another) = made();
        for (certificate, key, words) in [
            ("", key.as_str(), "TLS_CERT"),
            (&key, &key, "TLS_CERT"),
            (&certificate, "", "TLS_KEY"),
            (&certificate, &certificate, "TLS_KEY"),
            (&certificate, &key[..key.len() / 2], "TLS_KEY"),
            (&certificate, &key_of_another, "do not fit"),
        ] {
            let (_folder, files) = files_with(certificate, key);
            let error = format!("{:#}", Tls::load(files).err().unwrap());
            assert!(error.contains(words), "{error}");
            let body = key_of_another.lines().chain(key.lines());
            for line in body.filter(|line| !line.is_empty() && !line.starts_with('-')) {
                assert!(!error.contains(line), "{error}");
            }
        }
        let (_folder, mut files) = files_with(&certificate, &key);
        files.key.set_extension("gone");
        let error = format!("{:#}", Tls::load(files).err().unwrap());
        assert!(
            error.contains("TLS_KEY") && error.contains("key.gone"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_broken_pair_is_told_once_and_a_good_one_taken() {
        let (certificate, key) = made();
        let (_folder, files) = files_with(&certificate, &key);
        let mut tls = Tls::load(files.clone()).unwrap();
        let served = |tls: &Tls| Arc::clone(&tls.current.0.read().unwrap());
        let first = served(&tls);
        assert_eq!(tls.look_again().await, None);

        let (new_certificate, new_key) = made();
        std::fs::write(&files.certificate, &new_certificate).unwrap();
        assert!(matches!(tls.look_again().await, Some(Err(_))));
        assert_eq!(tls.look_again().await, None);
        std::fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.look_again().await, Some(Err(_))));
        assert_eq!(tls.look_again().await, None);
        assert!(Arc::ptr_eq(&served(&tls), &first));

        std::fs::write(&files.key, &new_key).unwrap();
        assert_eq!(tls.look_again().await, Some(Ok(())));
        assert_ne!(served(&tls).cert, first.cert);
    }
}
