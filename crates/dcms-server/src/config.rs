//! What can be configured: by flags or by the environment, in that order.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::TimeDelta;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use dcms_domain::identity::SessionLifetime;
use dcms_http::{CorsOrigins, EdgeConfig, TrustedProxies};

use crate::tls::TlsFiles;

/// The configuration of every command.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// `dev` seeds an empty database and allows its published password; `prod` does neither.
    #[arg(long, env = "ENV", value_enum, default_value_t = Environment::Prod, global = true)]
    pub env: Environment,

    /// The address to serve on.
    #[arg(
        long,
        env = "BIND_ADDR",
        default_value = "127.0.0.1:8080",
        global = true
    )]
    pub bind_addr: SocketAddr,

    /// The server's certificate chain as a PEM file, read again when it changes. Set with
    /// `TLS_KEY`.
    #[arg(long, env = "TLS_CERT", value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,

    /// The private key of `TLS_CERT` as a PEM file.
    #[arg(long, env = "TLS_KEY", value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,

    /// The proxies in front, as addresses and networks with commas between them: what they say in
    /// X-Forwarded-For and X-Forwarded-Proto is believed.
    #[arg(
        long,
        env = "TRUSTED_PROXIES",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub trusted_proxies: TrustedProxies,

    /// Whether the network is private, so that plain HTTP may be served on addresses other than
    /// loopback.
    #[arg(long, env = "PRIVATE_NETWORK", value_parser = BoolishValueParser::new(), global = true)]
    pub private_network: bool,

    /// The origins, with commas between them, whose pages may call the API from a browser, such as
    /// `https://desk.example.org`.
    #[arg(
        long,
        env = "CORS_ORIGINS",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    pub cors_origins: CorsOrigins,

    /// After how many minutes a session ends that is not used.
    #[arg(
        long,
        env = "SESSION_IDLE_MINUTES",
        default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(5..=1440),
        global = true
    )]
    pub session_idle_minutes: u16,

    /// After how many hours a session ends, however much it is used.
    #[arg(
        long,
        env = "SESSION_HOURS",
        default_value_t = 12,
        value_parser = clap::value_parser!(u16).range(1..=168),
        global = true
    )]
    pub session_hours: u16,

    /// A PostgreSQL that runs elsewhere. Without it, one is managed in the data directory.
    // Hidden, because a URL may hold a password and `--help` prints the environment's values.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// The same PostgreSQL as its owner, who migrates [default: `DATABASE_URL` does].
    #[arg(
        long,
        env = "OWNER_DATABASE_URL",
        hide_env_values = true,
        global = true
    )]
    pub owner_database_url: Option<String>,

    /// Where the managed PostgreSQL keeps its data [default: the platform's data directory].
    #[arg(long, env = "DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// What the program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// By a developer.
    Dev,
    /// By a clinic.
    Prod,
}

impl Config {
    /// Nothing, when this is a developer's run.
    ///
    /// # Errors
    /// One line that says so, when it is not.
    pub fn require_dev(&self, command: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.env == Environment::Dev,
            "{command} destroys or makes up data and runs only with ENV=dev; ENV is prod"
        );
        Ok(())
    }

    /// How long sessions live.
    #[must_use]
    pub fn session_lifetime(&self) -> SessionLifetime {
        SessionLifetime {
            idle: TimeDelta::minutes(self.session_idle_minutes.into()),
            absolute: TimeDelta::hours(self.session_hours.into()),
        }
    }

    /// How requests are met.
    #[must_use]
    pub fn edge(&self) -> EdgeConfig {
        EdgeConfig {
            trusted_proxies: self.trusted_proxies.clone(),
            cors_origins: self.cors_origins.clone(),
            serves_tls: self.tls_cert.is_some(),
            ..EdgeConfig::default()
        }
    }

    /// The files of the server's certificate, when it speaks TLS.
    ///
    /// # Errors
    /// One line that names what is missing when only one of them is set.
    pub fn tls_files(&self) -> anyhow::Result<Option<TlsFiles>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (None, None) => Ok(None),
            (Some(_), None) => {
                anyhow::bail!("TLS_CERT is set without TLS_KEY; set both or neither")
            }
            (None, Some(_)) => {
                anyhow::bail!("TLS_KEY is set without TLS_CERT; set both or neither")
            }
        }
    }

    /// To whom besides this machine plain HTTP is spoken, where a proxy stands in front.
    #[must_use]
    pub fn plain_http_peers(&self) -> Option<TrustedProxies> {
        let is_behind_proxy = !self.private_network && !self.trusted_proxies.is_empty();
        is_behind_proxy.then(|| self.trusted_proxies.clone())
    }

    /// Nothing, unless patients' records would cross a network in the clear.
    ///
    /// # Errors
    /// One line that says what to do, when they would.
    pub fn require_private_or_tls(&self) -> anyhow::Result<()> {
        let address = self.bind_addr;
        let speaks_tls = self.tls_cert.is_some() || self.tls_key.is_some();
        let is_private = address.ip().to_canonical().is_loopback()
            || self.private_network
            || !self.trusted_proxies.is_empty();
        anyhow::ensure!(
            speaks_tls || is_private,
            "BIND_ADDR {address} would serve plain HTTP to a network; set TLS_CERT and TLS_KEY, or \
             TRUSTED_PROXIES to the proxy that stands in front, or PRIVATE_NETWORK=true"
        );
        Ok(())
    }
}
