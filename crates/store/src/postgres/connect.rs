//! Connecting: to the first host of the URL that can be written to. The hosts are tried one after the other, and the addresses
//! of one host are raced. The driver connects to one address at a time, so that each failure is known with its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use jeton_core::address_race::{NEXT_ADDRESS_DELAY, race};
use jeton_core::keep::ports::StoreError;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::address::{Address, CONNECT_TIMEOUT, port};
use super::tls;

/// A connection that must be driven.
pub(super) type ConnectionTask = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The addresses that did not let us in, in the order in which they were tried, with what each failed with; `None` if it did not
/// answer in time. A name that leads to no address stands for itself.
#[derive(Debug)]
pub struct ConnectError(pub(super) Vec<(String, Option<AddressError>)>);

/// What one address failed with.
#[derive(Debug)]
pub(super) enum AddressError {
    /// The name has no address: the resolver says why.
    Unknown(String),
    /// The driver says so.
    Driver(Error),
}

/// What connects.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    /// How long all hosts together may take.
    patience: Duration,
    /// Whether connections take turns at which host and address they begin with: those of the URL are equal, or what came first
    /// was of no use, being silent, or another database.
    takes_turns: Arc<AtomicBool>,
    turn: Arc<AtomicUsize>,
}

impl Connector {
    pub(super) fn of(address: &Address, patience: Duration) -> Result<Self, StoreError> {
        let config = address.config.clone();
        let takes_turns = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Ok(Self {
            config,
            tls: tls::connector(address)?,
            patience,
            takes_turns: Arc::new(AtomicBool::new(takes_turns)),
            turn: Arc::default(),
        })
    }

    /// The host that let us in turned out to be of no use: from now on the others have their turn.
    pub(super) fn take_turns(&self) {
        self.takes_turns.store(true, Ordering::Relaxed);
    }

    /// Connects to the first host that can be written to.
    ///
    /// # Errors
    /// None let us in in time.
    pub(super) async fn open(&self) -> Result<(Client, ConnectionTask), ConnectError> {
        let deadline = Instant::now() + self.patience;
        let takes_turns = self.takes_turns.load(Ordering::Relaxed);
        let turn = if takes_turns { self.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let count = self.config.get_hosts().len();
        let mut failed = Vec::new();
        for place in 0..count {
            let connected = self.open_host((turn + place) % count, turn / count, deadline).await;
            match connected {
                Ok(connected) => return Ok(connected),
                Err(ConnectError(tried)) => failed.extend(tried),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(ConnectError(failed))
    }

    /// Connects to one host of the URL, and begins with the address of this turn.
    async fn open_host(
        &self,
        number: usize,
        turn: usize,
        deadline: Instant,
    ) -> Result<(Client, ConnectionTask), ConnectError> {
        let (host, port) = (&self.config.get_hosts()[number], port(&self.config, number));
        // To connect, and as long again to be let in.
        let limit = self.config.get_connect_timeout().map_or(CONNECT_TIMEOUT, |limit| *limit) * 2;
        let within = deadline.min(Instant::now() + limit);
        let mut addresses = match (host, self.config.get_hostaddrs().get(number)) {
            (_, Some(ip)) => vec![SocketAddr::new(*ip, port)],
            (Host::Tcp(name), None) => resolve(name, port, within).await?,
            (Host::Unix(folder), None) => {
                let socket = folder.join(format!(".s.PGSQL.{port}")).display().to_string();
                let connected = timeout_at(within, self.connect(host, port, None)).await;
                let connected = connected.map_or(Err(None), |connected| connected.map_err(Some));
                return connected.map_err(|error| self.failed([(socket, error)]));
            }
        };
        let first = turn % addresses.len().max(1);
        addresses.rotate_left(first);
        self.race_addresses(host, port, &addresses, deadline.min(within + later(addresses.len()))).await
    }

    /// Connects to the address of a host that lets us in first.
    async fn race_addresses(
        &self,
        host: &Host,
        port: u16,
        addresses: &[SocketAddr],
        within: Instant,
    ) -> Result<(Client, ConnectionTask), ConnectError> {
        let connect = |address| self.connect(host, port, Some(address));
        let raced = race(addresses, connect, || sleep(NEXT_ADDRESS_DELAY), sleep_until(within)).await;
        raced.map_err(|tried| self.failed(tried))
    }

    /// What became of the addresses of one host.
    fn failed<A: ToString>(&self, tried: impl IntoIterator<Item = (A, Option<Error>)>) -> ConnectError {
        let tried = tried.into_iter();
        let tried: Vec<_> =
            tried.map(|(at, error)| (at.to_string(), error.map(AddressError::Driver))).collect();
        if tried.iter().any(|(_, error)| error.is_none()) {
            self.take_turns();
        }
        ConnectError(tried)
    }

    /// Connects to one address, and sees that it can be written to.
    async fn connect(
        &self,
        host: &Host,
        port: u16,
        address: Option<SocketAddr>,
    ) -> Result<(Client, ConnectionTask), Error> {
        let mut config = without_hosts(&self.config);
        match host {
            // TLS compares the name with the certificate.
            Host::Tcp(name) => config.host(name),
            Host::Unix(folder) => config.host_path(folder),
        };
        config.port(port);
        if let Some(address) = address {
            config.hostaddr(address.ip());
        }
        config.connect(self.tls.clone()).await
    }
}

/// How long after the first the last of so many addresses is tried.
fn later(addresses: usize) -> Duration {
    NEXT_ADDRESS_DELAY.saturating_mul(u32::try_from(addresses.saturating_sub(1)).unwrap_or(u32::MAX))
}

async fn resolve(name: &str, port: u16, within: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |why| Err(ConnectError(vec![(format!("{name}:{port}"), why)]));
    match timeout_at(within, lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => failed(Some(AddressError::Unknown(error.to_string()))),
        Err(_) => failed(None),
    }
}

/// The settings of every connection. The driver cannot forget the hosts of a URL.
fn without_hosts(config: &Config) -> Config {
    let mut copy = Config::new();
    if let Some(user) = config.get_user() {
        copy.user(user);
    }
    if let Some(password) = config.get_password() {
        copy.password(password);
    }
    if let Some(database) = config.get_dbname() {
        copy.dbname(database);
    }
    if let Some(options) = config.get_options() {
        copy.options(options);
    }
    if let Some(name) = config.get_application_name() {
        copy.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        copy.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        copy.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        copy.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        copy.keepalives_retries(retries);
    }
    copy.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    copy
}

impl Manager for Connector {
    type Type = Client;
    type Error = ConnectError;

    async fn create(&self) -> Result<Client, ConnectError> {
        // Boxed, because hardly any caller needs it, and each future that holds one would grow by it.
        let (client, connection) = Box::pin(self.open()).await?;
        TaskTracker::new().spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the store ended");
            }
        });
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<ConnectError> {
        if client.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::secret::Secret;
    use jeton_testkit::{PgCluster, SilentListener};
    use tokio_postgres::config::SslNegotiation;

    use super::super::options::PostgresOptions;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn connector(url: &str) -> Connector {
        let address = Address::of(&PostgresOptions::new(Secret::new(url))).unwrap();
        Connector::of(&address, LONG).unwrap()
    }

    async fn race(
        connector: &Connector,
        addresses: &[SocketAddr],
        limit: Duration,
    ) -> Result<Client, String> {
        let (host, port) = (Host::Tcp("db.test".into()), addresses[0].port());
        match connector.race_addresses(&host, port, addresses, Instant::now() + limit).await {
            Ok((client, _)) => Ok(client),
            Err(ConnectError(tried)) => {
                Err(tried.iter().map(|(at, error)| format!("{at} {error:?};")).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_address_behind_silent_ones_lets_us_in_long_before_they_are_given_up() {
        let cluster = PgCluster::shared().unwrap();
        let url = format!("{}?connect_timeout=20", cluster.tcp_url("postgres"));
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), cluster.port());
        let silent = ["127.0.0.2", "127.0.0.3"].map(at);
        let held = silent.map(|address| SilentListener::bind_at(address).unwrap());
        let begun = Instant::now();
        let connector = connector(&url);
        race(&connector, &[silent[0], silent[1], at("127.0.0.1")], LONG).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= NEXT_ADDRESS_DELAY * 2 && took < LONG / 2, "{took:?}");
        assert!(!connector.takes_turns.load(Ordering::Relaxed), "the host was of use");

        let failed = race(&connector, &silent, Duration::from_millis(600)).await.unwrap_err();
        assert_eq!(failed, format!("{} None; {} None;", silent[0], silent[1]));
        assert!(connector.takes_turns.load(Ordering::Relaxed), "others begin from now on");
        drop(held);
        let failed = race(&connector, &silent, LONG).await.unwrap_err();
        assert_eq!(failed.matches("ConnectionRefused").count(), 2, "{failed}");
    }

    /// A URL that sets everything that the driver takes, on one host.
    const FULL: &str = "postgres://me:hush@db.test:6543/keep?application_name=a&options=-c%20x%3Dy&connect_timeout=7\
        &tcp_user_timeout=8&keepalives=0&keepalives_idle=9&keepalives_interval=10&keepalives_retries=11&sslmode=require\
        &sslnegotiation=direct&target_session_attrs=read-write&channel_binding=require&load_balance_hosts=random";

    #[test]
    fn what_the_url_says_holds_for_each_address() {
        let all: Config = FULL.parse().unwrap();
        let mut one = without_hosts(&all);
        assert!(one.get_hosts().is_empty() && one.get_ports().is_empty());
        one.host("db.test").port(6543);
        assert_eq!(format!("{one:?}"), format!("{all:?}"));
        let unseen = |config: &Config| {
            (
                config.get_password().map(<[u8]>::to_vec),
                config.get_ssl_negotiation(),
                config.get_tcp_user_timeout().copied(),
            )
        };
        let set = (Some(b"hush".to_vec()), SslNegotiation::Direct, Some(Duration::from_secs(8)));
        assert_eq!([unseen(&one), unseen(&all)], [set.clone(), set]);
    }
}
