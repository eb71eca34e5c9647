//! A jeton server in this process, with an emulated provider.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::access::{ServiceTokenId, TokenHash};
use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::ChangeFeed;
use jeton_core::keep::provider::{
    Catalogue, Client as ProviderClient, Definition, DurationText, PolicyOverrides, Setup,
};
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
use jeton_emulator::Emulator;
use jeton_issuer::{Access, Environment, NewToken};
use jeton_keeper::{Grant, Installation, KeySource, Ports, Settings, Vault};
use jeton_server::{AppState, Limits, RequestIds, TrustedProxies, ignore_trailing_slash, router, serve};
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_store::{SqliteOptions, SqliteStore};
use jeton_testkit::Client;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stores::{Database, Kept};

pub(crate) const API_KEY: &str = "the-key-of-this-server-0123456789";

/// A provider, a database and a directory, in which servers start.
pub(crate) struct TestEnv {
    pub(crate) home: TempDir,
    pub(crate) emulator: Emulator,
    database: Database,
}

impl TestEnv {
    pub(crate) async fn new() -> Self {
        let emulator = Emulator::start(jeton_emulator::Settings::default()).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let database = Database::new(home.path().join("jeton.sqlite")).await;
        Self { home, emulator, database }
    }

    fn definition(&self) -> Definition {
        let vars = [("token_url", self.emulator.token_url()), ("api_base", self.emulator.api_base())];
        let setup = Setup {
            vars: vars.map(|(name, value)| (name.to_owned(), Secret::from(value))).into(),
            client: ProviderClient {
                id: Some("emulated".to_owned()),
                secret: Some("emulated-secret".into()),
                redirect_uri: None,
            },
            // A refusal is confirmed at once.
            policy: PolicyOverrides {
                confirm_dead: Some(DurationText(Duration::ZERO)),
                ..PolicyOverrides::default()
            },
            ..Setup::default()
        };
        Catalogue::builtin().get("oauth2").unwrap().define(setup).unwrap()
    }

    /// A feed that cannot be read: its database is gone.
    pub(crate) fn broken_feed(&self) -> Arc<dyn ChangeFeed> {
        let file = self.home.path().join("gone.sqlite");
        let store = SqliteStore::open(&file, SqliteOptions::new(Arc::new(SystemClock))).unwrap();
        std::fs::remove_file(file).unwrap();
        Arc::new(store)
    }

    /// The data directory of a server.
    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A vault on the database of this environment.
    pub(crate) async fn vault(
        &self,
        data_dir: &Path,
        feed: Option<Arc<dyn ChangeFeed>>,
        names: &[&str],
    ) -> Vault {
        let definitions = names.iter().map(|name| (name.parse().unwrap(), self.definition())).collect();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = open_store(&self.database, &clock).await;
        let settings = Settings { spill_slots: 2, ..Settings::default() };
        vault_on(&store, self.home.path(), data_dir, feed, definitions, clock, settings).await
    }

    /// An environment, and a server in it with `names` defined.
    pub(crate) async fn start(names: &[&str]) -> (Self, TestServer) {
        let env = Self::new().await;
        let server = env.serve(names, Limits::default()).await;
        (env, server)
    }

    /// The same with `acme` defined and connected.
    pub(crate) async fn start_connected() -> (Self, TestServer) {
        let (env, server) = Self::start(&["acme"]).await;
        server.connect(&env, "acme").await;
        (env, server)
    }

    /// A server with `names` defined.
    pub(crate) async fn serve(&self, names: &[&str], limits: Limits) -> TestServer {
        let vault = self.vault(&self.data_dir("data"), None, names).await;
        TestServer::open(vault, self.access().await, limits).await
    }

    /// Service tokens in the database of this environment.
    pub(crate) async fn access(&self) -> Access {
        access_of(&self.database, Arc::new(SystemClock)).await
    }
}

/// Service tokens in a database, and the API key.
pub(crate) async fn access_of(database: &Database, clock: Arc<dyn Clock>) -> Access {
    let store = open_store(database, &clock).await.shared();
    let environment = Environment::with_api_key(TokenHash::of(API_KEY.as_bytes()));
    let settings = jeton_issuer::Settings::default();
    Access::open(store, environment, settings, clock, Arc::new(SystemEntropy)).await.unwrap()
}

pub(crate) async fn open_store(database: &Database, clock: &Arc<dyn Clock>) -> Kept {
    database.open(Arc::clone(clock), Arc::new(NoSqliteHooks)).await
}

/// A vault on an open store.
pub(crate) async fn vault_on(
    store: &Kept,
    home: &Path,
    data_dir: &Path,
    feed: Option<Arc<dyn ChangeFeed>>,
    definitions: BTreeMap<ConnectionName, Definition>,
    clock: Arc<dyn Clock>,
    settings: Settings,
) -> Vault {
    let key = KeySource::File(home.join("jeton.key"));
    let entropy = Arc::new(SystemEntropy);
    let installation = Installation::open(&**store, data_dir, &key, &*clock, &*entropy).await.unwrap();
    let ports = Ports {
        connections: store.shared(),
        feed: feed.unwrap_or_else(|| store.shared()),
        log: store.shared(),
        consents: store.shared(),
    };
    Vault::open(ports, installation, definitions, settings, clock, entropy).await.unwrap()
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) vault: Vault,
    pub(crate) access: Access,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl TestServer {
    pub(crate) async fn open(vault: Vault, access: Access, limits: Limits) -> Self {
        Self::open_as(vault, access, limits, None).await
    }

    /// A server in the place of an amoCRM gateway, with this connection in the place of its own.
    pub(crate) async fn open_as(
        vault: Vault,
        access: Access,
        limits: Limits,
        old_gateway: Option<ConnectionName>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (storage, is_old) = ("the-store".to_owned(), old_gateway.is_some());
        let router = router(AppState { vault: vault.clone(), access: access.clone(), storage, old_gateway });
        let router = if is_old { ignore_trailing_slash(router) } else { router };
        let stop = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let shutdown = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            let ids = RequestIds::new(&SystemEntropy);
            tell.send(serve(listener, router, limits, TrustedProxies::default(), ids, shutdown).await)
        });
        Self { vault, access, address, stop, ended }
    }

    /// A client with the API key.
    pub(crate) fn client(&self) -> Client {
        self.anonymous().with_header("x-api-key", API_KEY)
    }

    /// A new service token that has these scopes: its id and its text.
    pub(crate) async fn create_token(&self, name: &str, scopes: &str) -> (ServiceTokenId, Secret) {
        let (service, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
        let new = NewToken { service, scopes: Some(scopes), notes: None, life: None, hash: None };
        let issued = self.access.create(new, &operator()).await.unwrap();
        (issued.token.id, issued.raw.unwrap())
    }

    /// A client with such a token.
    pub(crate) async fn service(&self, name: &str, scopes: &str) -> Client {
        let (_, raw) = self.create_token(name, scopes).await;
        self.anonymous().with_header("x-service-token", raw.reveal())
    }

    /// A client with the scope `admin`.
    pub(crate) async fn admin(&self) -> Client {
        self.service("operator", "admin").await
    }

    /// A client without credentials.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    /// Connects `name` with a grant of the provider; gives its refresh token.
    pub(crate) async fn connect(&self, env: &TestEnv, name: &str) -> Secret {
        let refresh = env.emulator.mint(1).remove(0);
        let grant = Grant { refresh: Some(refresh.clone()), ..Grant::default() };
        self.vault.connect(name, grant, &operator()).await.unwrap();
        refresh
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        self.anonymous().send_raw(bytes).await.unwrap()
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has stopped.
    pub(crate) async fn ended(self) -> io::Result<()> {
        self.ended.await.unwrap()
    }
}

/// Who acts in tests.
pub(crate) fn operator() -> Actor {
    Actor::CommandLine("operator@test".into())
}
