//! Where the database is, read from its URL.

use std::path::PathBuf;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::secret::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::options::PostgresOptions;
use crate::migration::Migration;

/// How long connecting to one address may take, unless the URL says otherwise: a packet that is lost is sent again within it.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// What the session of a connection is told, in the form of `set_config`. Together they bound how long a transaction
/// lasts whose process died.
pub(super) const SESSION: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("statement_timeout", "5s"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "5s"),
];

/// How much of TLS is asked for; the names and their meaning are those of libpq's `sslmode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// No TLS.
    Disable,
    /// TLS if the server has it, whoever it is.
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS, and the certificate of the server is signed by one that we trust.
    VerifyCa,
    /// As `VerifyCa`, and the certificate is made out to the name in the URL.
    VerifyFull,
}

impl Encryption {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// The address of a database.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) encryption: Encryption,
    /// PEM file of the certificates to trust; absent for those that the web and the operating system trust.
    pub(super) root_certificates: Option<PathBuf>,
    /// The URL without its password, for people.
    pub(super) shown: String,
    /// Whether a pooler of transactions stands between.
    pub(super) pooler: bool,
    /// The schema that is wanted there.
    pub(super) schema: &'static [Migration],
}

impl Address {
    /// Reads the URL.
    ///
    /// # Errors
    /// One sentence for a URL that cannot be read. It holds no password.
    pub(super) fn of(options: &PostgresOptions) -> Result<Self, StoreError> {
        let (url, tls) = take_tls_out(&options.url)?;
        let mut config: Config = url.reveal().parse().map_err(|error: tokio_postgres::Error| {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            unreadable(&why)
        })?;
        if config.get_hosts().is_empty() {
            return Err(unreadable("it names no host"));
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if ![0, hosts].contains(&addresses) || ![0, 1, hosts].contains(&config.get_ports().len()) {
            return Err(unreadable(
                "it does not name one port for all hosts or one for each, and one hostaddr for each or none",
            ));
        }
        let (mut encryption, mut root_certificates) = (Encryption::Prefer, None);
        for (key, value) in tls {
            if key == "sslmode" {
                encryption = Encryption::parse(&value).ok_or_else(|| {
                    unreadable(&format!(
                        "sslmode {value:?} is none of disable, prefer, require, verify-ca and verify-full"
                    ))
                })?;
            } else if value != "system" {
                root_certificates = Some(PathBuf::from(value));
            }
        }
        if encryption == Encryption::Require && root_certificates.is_some() {
            // As libpq has it: who names the certificates to trust wants them looked at.
            encryption = Encryption::VerifyCa;
        }
        config.ssl_mode(match encryption {
            Encryption::Disable => SslMode::Disable,
            Encryption::Prefer => SslMode::Prefer,
            Encryption::Require | Encryption::VerifyCa | Encryption::VerifyFull => SslMode::Require,
        });
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(unreadable(
                "target_session_attrs=read-only asks for a server that the store cannot be",
            ));
        }
        // Each new session is asked whether it can write: a standby may be behind, and what it shows is no store.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name(&options.application_name);
        }
        config.tcp_user_timeout(UNACKNOWLEDGED).keepalives_idle(Duration::from_secs(30));
        if !options.pooler {
            let given = config.get_options().map(str::to_owned);
            let ours = SESSION.iter().map(|(name, value)| format!("-c {name}={value}"));
            config.options(given.into_iter().chain(ours).collect::<Vec<_>>().join(" "));
        }
        let shown = shown(&config);
        let schema = options.migrations;
        Ok(Self { config, encryption, root_certificates, shown, pooler: options.pooler, schema })
    }

    /// The name of the database, as the server understands the URL.
    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("(the default)")
    }

    /// Who logs in.
    pub(super) fn user(&self) -> &str {
        self.config.get_user().unwrap_or("(the user of this process)")
    }
}

fn unreadable(why: &str) -> StoreError {
    StoreError::Refused(format!(
        "store.url is not the URL of a PostgreSQL database ({why}): write it as \
         postgres://user:password@host:5432/database?sslmode=verify-full"
    ))
}

/// The settings of TLS, which the driver does not know in full, and the URL without them.
fn take_tls_out(url: &Secret) -> Result<(Secret, Vec<(String, String)>), StoreError> {
    let text = url.reveal();
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(unreadable("it does not begin with postgres://"));
    }
    let Some((place, query)) = text.split_once('?') else { return Ok((url.clone(), Vec::new())) };
    let is_tls = |pair: &&str| pair.starts_with("sslmode=") || pair.starts_with("sslrootcert=");
    let (tls, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_tls);
    let tls = tls.into_iter().filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), decoded(value)))
    });
    let rest = rest.join("&");
    let rest = if rest.is_empty() { place.to_owned() } else { format!("{place}?{rest}") };
    Ok((Secret::new(rest), tls.collect()))
}

/// Undoes the percent-encoding of RFC 3986, section 2.1.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let code = pair.filter(|_| *first == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The port of a host of the URL: one port may stand for all of them.
pub(super) fn port(config: &Config, number: usize) -> u16 {
    let ports = config.get_ports();
    ports.get(number).or(ports.first()).copied().unwrap_or(5432)
}

fn shown(config: &Config) -> String {
    let mut hosts = Vec::new();
    let mut folder = None;
    for (number, host) in config.get_hosts().iter().enumerate() {
        let port = port(config, number);
        match host {
            Host::Tcp(host) if host.contains(':') => hosts.push(format!("[{host}]:{port}")),
            Host::Tcp(host) => hosts.push(format!("{host}:{port}")),
            Host::Unix(path) => folder = Some(format!("?host={}&port={port}", path.display())),
        }
    }
    let user = config.get_user().map_or(String::new(), |user| format!("{user}@"));
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{user}{}/{database}{}", hosts.join(","), folder.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<Address, String> {
        Address::of(&PostgresOptions::new(Secret::new(url))).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let address =
            address("postgres://jeton:hush%20hush@db.example:6432/keep?sslmode=verify-full").unwrap();
        assert_eq!(address.shown, "postgres://jeton@db.example:6432/keep");
        assert_eq!(address.encryption, Encryption::VerifyFull);
        assert_eq!((address.database(), address.user()), ("keep", "jeton"));
    }

    #[test]
    fn a_folder_of_sockets_may_be_the_host() {
        let address = address("postgres://jeton@/keep?host=/run/postgresql&port=5433").unwrap();
        assert_eq!(address.shown, "postgres://jeton@/keep?host=/run/postgresql&port=5433");
        assert_eq!(address.encryption, Encryption::Prefer);
    }

    #[test]
    fn naming_the_certificates_to_trust_means_looking_at_them() {
        let address =
            address("postgres://a@b/c?sslmode=require&sslrootcert=%2Fetc%2Froot.pem&connect_timeout=2")
                .unwrap();
        assert_eq!(address.encryption, Encryption::VerifyCa);
        assert_eq!(address.root_certificates, Some("/etc/root.pem".into()));
        assert_eq!(address.config.get_connect_timeout(), Some(&Duration::from_secs(2)));
    }

    #[test]
    fn what_is_no_url_is_refused_in_one_sentence_without_its_secret() {
        for (url, why) in [
            ("mysql://u:hushhush@h/d", "it does not begin with postgres://"),
            ("postgres://u:hushhush@h:port/d", "port"),
            ("postgres://u:hushhush@h/d?sslmode=maybe", "sslmode \"maybe\" is none of"),
            ("postgres://u:hushhush@h/d?colour=red", "colour"),
            ("postgres://u:hushhush@h,i/d?hostaddr=127.0.0.1", "one hostaddr for each or none"),
            ("postgres://u:hushhush@h/d?hostaddr=127.0.0.1,127.0.0.2", "one hostaddr for each or none"),
            ("postgres://u:hushhush@h,i,j/d?port=1,2", "one port for all hosts or one for each"),
            ("postgres://u:hushhush@h:1,i:2/d?port=3", "one port for all hosts or one for each"),
            (
                "postgres://u:hushhush@h/d?target_session_attrs=read-only",
                "asks for a server that the store cannot be",
            ),
            ("postgres:///d?password=hushhush", "it names no host"),
        ] {
            let text = address(url).err().expect(url);
            assert!(text.contains("store.url is not the URL") && text.contains("write it as"), "{text}");
            assert!(text.contains(why), "{url}: {text}");
            assert!(!text.contains("hushhush") && !text.contains('\n'), "{text}");
        }
    }
}
