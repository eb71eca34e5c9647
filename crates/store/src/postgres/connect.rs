//! Connecting: to the first host of the URL that answers in time and can be written to.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Connect;
use jeton_core::keep::ports::StoreError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::address::{Address, port};
use super::tls;

/// A connection that must be driven.
pub(super) type ConnectionTask = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What connects.
#[derive(Clone)]
pub(super) struct Connector {
    /// In the order of the URL.
    hosts: Vec<Config>,
    first: Arc<Mutex<FirstHost>>,
    tls: MakeRustlsConnect,
}

/// The host that is tried first: the one that let us in last, so that silent ones do not use up the time of whoever waits.
struct FirstHost {
    number: usize,
    since: Instant,
}

impl Connector {
    pub(super) fn of(address: &Address) -> Result<Self, StoreError> {
        let count = address.config.get_hosts().len();
        let hosts = (0..count).map(|number| alone(&address.config, number)).collect();
        let first = FirstHost { number: 0, since: Instant::now() };
        Ok(Self { hosts, first: Arc::new(Mutex::new(first)), tls: tls::connector(address)? })
    }

    /// The session that was opened then turned out to be of no use: its host is not the first one any more.
    pub(super) fn skip_host(&self, opened: Instant) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // Once, whoever else finds out the same.
        if first.since <= opened {
            *first = FirstHost { number: (first.number + 1) % self.hosts.len(), since: Instant::now() };
        }
    }

    fn begin_with(&self, number: usize) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.number != number {
            *first = FirstHost { number, since: Instant::now() };
        }
    }

    /// Tries one host after the other, from the one that let us in last. Where none answers in time it begins anew, for as long
    /// as its caller waits; where one refuses and none lets us in, its refusal is the answer: the one that tells most.
    ///
    /// A host that cannot be written to refuses: a standby may be behind the primary, and one that was read would look like a
    /// store that went back in time.
    pub(super) async fn open(&self) -> Result<(Client, ConnectionTask), Error> {
        loop {
            let mut refused: Option<Error> = None;
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).number;
            for number in (0..self.hosts.len()).map(|ahead| (first + ahead) % self.hosts.len()) {
                let host = &self.hosts[number];
                match timeout(limit(host), host.connect(self.tls.clone())).await {
                    Ok(Ok(opened)) => {
                        self.begin_with(number);
                        return Ok(opened);
                    }
                    Ok(Err(error)) => {
                        refused = refused.filter(|before| tells(before) >= tells(&error)).or(Some(error));
                    }
                    // Who comes next does not wait for it again.
                    Err(_) => self.begin_with((number + 1) % self.hosts.len()),
                }
            }
            if let Some(error) = refused {
                return Err(error);
            }
        }
    }
}

/// How much a refusal tells: a server that says why tells more than a standby, and that more than a host where nobody listens.
fn tells(error: &Error) -> u8 {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        None => 2,
        Some(io::ErrorKind::PermissionDenied) => 1,
        Some(_) => 0,
    }
}

/// How long a host may take in all, from its name to the first answer: to connect to each of two addresses, and as long again
/// to let us in.
fn limit(host: &Config) -> Duration {
    host.get_connect_timeout().map_or(Duration::MAX, |limit| limit.saturating_mul(3))
}

/// The address of one of several hosts, with everything else that is said of all of them.
fn alone(config: &Config, number: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(database) = config.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    match config.get_hosts().get(number) {
        Some(Host::Tcp(host)) => drop(one.host(host)),
        Some(Host::Unix(folder)) => drop(one.host_path(folder)),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(number) {
        one.hostaddr(*address);
    }
    if let Some(limit) = config.get_connect_timeout() {
        one.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.port(port(config, number))
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts())
        .clone()
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = self.open().await?;
            let driver = TaskTracker::new().spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the store ended");
                }
            });
            Ok((client, driver))
        })
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::secret::Secret;

    use super::super::PostgresOptions;
    use super::*;

    fn address(url: &str) -> Result<Address, StoreError> {
        Address::of(&PostgresOptions::new(Secret::new(url)))
    }

    fn hosts(address: &Address) -> Vec<Config> {
        Connector::of(address).unwrap().hosts
    }

    #[test]
    fn what_is_said_of_all_hosts_is_said_of_each() {
        let everything = "connect_timeout=7&tcp_user_timeout=8&keepalives=1&keepalives_idle=9&keepalives_interval=10\
             &keepalives_retries=11&channel_binding=require&application_name=a&options=-c%20b%3Dc&load_balance_hosts=random\
             &sslnegotiation=direct&sslmode=require";
        let one = address(&format!("postgres://u:p@one:1/d?{everything}")).unwrap();
        assert_eq!(hosts(&one), std::slice::from_ref(&one.config));
        let two = address(&format!("postgres://u:p@one:1,two:2/d?{everything}")).unwrap();
        let other = address(&format!("postgres://u:p@two:2/d?{everything}")).unwrap();
        assert_eq!(hosts(&two), [hosts(&one), hosts(&other)].concat());
        let by_number = "postgres://u@one:1,two:5433/d?hostaddr=127.0.0.1,127.0.0.2";
        let other = address("postgres://u@two:5433/d?hostaddr=127.0.0.2").unwrap();
        assert_eq!(hosts(&address(by_number).unwrap())[1], other.config);
    }
}
