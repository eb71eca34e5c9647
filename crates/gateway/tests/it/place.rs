//! One gateway in this process, with everything real but the API behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jeton_core::access::{Scopes, ServiceTokenId, TokenHash};
use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::provider::{Catalogue, Client as ProviderClient, Definition, Provider, Setup};
use jeton_core::secret::Secret;
use jeton_core::time::SystemClock;
use jeton_emulator::Emulator;
use jeton_gateway::{AliasOf, Gateway, Settings};
use jeton_issuer::{Access, Environment, NewToken};
use jeton_keeper::{Grant, Installation, KeySource, Ports, Vault};
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_testkit::{Client, Reply};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::stores::Database;

pub(crate) const API_KEY: &str = "the-key-of-this-place-0123456789";

/// What a place is built of.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) emulated: jeton_emulator::Settings,
    pub(crate) provider: Arc<Provider>,
    /// Instead of the emulator's own.
    pub(crate) token_url: Option<String>,
    /// Variables besides `token_url` and `api_base`.
    pub(crate) vars: Vec<(&'static str, String)>,
    /// Services by their raw token, with their scopes.
    pub(crate) services: Vec<(&'static str, &'static str, Vec<&'static str>)>,
    pub(crate) aliases: Vec<AliasOf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            emulated: jeton_emulator::Settings::default(),
            provider: Arc::clone(Catalogue::builtin().get("oauth2").unwrap()),
            token_url: None,
            vars: Vec::new(),
            services: Vec::new(),
            aliases: Vec::new(),
        }
    }
}

/// A running gateway, its vault and its provider. The connection is `acme`.
pub(crate) struct Place {
    pub(crate) emulator: Emulator,
    pub(crate) vault: Vault,
    pub(crate) access: Access,
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) refresh_token: Secret,
    _database: Database,
    _home: TempDir,
}

impl Place {
    /// A gateway to the API at `base`, with the connection `acme` connected.
    pub(crate) async fn at(base: &str) -> Self {
        Self::built(base, Plan::default()).await
    }

    pub(crate) async fn built(base: &str, plan: Plan) -> Self {
        let emulator = Emulator::start(plan.emulated.clone()).await.unwrap();
        Self::around(emulator, base, plan).await
    }

    /// A gateway to the API of its own emulated provider.
    pub(crate) async fn emulated(plan: Plan) -> Self {
        let emulator = Emulator::start(plan.emulated.clone()).await.unwrap();
        let base = emulator.api_base();
        Self::around(emulator, &base, plan).await
    }

    pub(crate) async fn around(emulator: Emulator, base: &str, plan: Plan) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let database = Database::new(home.path().join("jeton.sqlite")).await;
        let store = database.open(clock.clone(), Arc::new(NoSqliteHooks)).await;
        let key = KeySource::File(home.path().join("jeton.key"));
        let data = home.path().join("data");
        let installation = Installation::open(&*store, &data, &key, &*clock, &*entropy).await.unwrap();
        let ports = Ports {
            connections: store.shared(),
            feed: store.shared(),
            log: store.shared(),
            consents: store.shared(),
        };
        let definition = definition(&emulator, base, &plan);
        let definitions = BTreeMap::from([
            ("acme".parse().unwrap(), definition.clone()),
            ("acne".parse().unwrap(), definition),
        ]);
        let settings = jeton_keeper::Settings {
            spill_slots: 2,
            roots: plan.settings.roots.clone(),
            ..jeton_keeper::Settings::default()
        };
        let vault = Vault::open(ports, installation, definitions, settings, clock.clone(), entropy.clone())
            .await
            .unwrap();
        let access = Access::open(
            store.shared(),
            environment(&plan),
            jeton_issuer::Settings::default(),
            clock.clone(),
            entropy,
        );
        let access = access.await.unwrap();
        let gateway = Gateway::new(vault.clone(), access.clone(), plan.aliases, plan.settings, clock);
        let address = listen(gateway.router()).await;
        let refresh_token = emulator.mint(1).remove(0);
        let grant = Grant { refresh: Some(refresh_token.clone()), ..Grant::default() };
        vault.connect("acme", grant, &operator()).await.unwrap();
        Self { emulator, vault, access, gateway, address, refresh_token, _database: database, _home: home }
    }

    /// A client with the right key.
    pub(crate) fn client(&self) -> Client {
        self.stranger().with_header("x-api-key", API_KEY)
    }

    /// A client with no key.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    /// Sends bytes as they are, and reads until the gateway closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    /// A service token of the store that may call everything, and its raw text.
    pub(crate) async fn service_token(&self, life: Option<Duration>) -> (ServiceTokenId, Secret) {
        let (service, scopes) = ("bot1".parse().unwrap(), "proxy:*".parse().unwrap());
        let new = NewToken { service, scopes, notes: None, life, hash: None };
        let issued = self.access.create(new, &operator()).await.unwrap();
        (issued.token.id, issued.raw.unwrap())
    }

    /// The access token that is stored now.
    pub(crate) async fn access_token(&self) -> Secret {
        self.vault.token("acme", jeton_keeper::TokenRequest::default()).await.unwrap().access
    }
}

fn definition(emulator: &Emulator, base: &str, plan: &Plan) -> Definition {
    let token_url = plan.token_url.clone().unwrap_or_else(|| emulator.token_url());
    let own = [("token_url", token_url), ("api_base", base.to_owned())];
    let known = |name: &str| plan.provider.vars().any(|var| var.name() == name);
    let vars = own.into_iter().chain(plan.vars.clone()).filter(|(name, _)| known(name));
    let setup = Setup {
        vars: vars.map(|(name, value)| (name.to_owned(), Secret::from(value))).collect(),
        client: ProviderClient {
            id: Some("emulated".to_owned()),
            secret: Some("emulated-secret".into()),
            redirect_uri: Some("https://jeton.example.com/oauth/callback".to_owned()),
        },
        ..Setup::default()
    };
    plan.provider.define(setup).unwrap()
}

fn environment(plan: &Plan) -> Environment {
    let key = Environment::with_api_key(TokenHash::of(API_KEY.as_bytes()));
    plan.services.iter().fold(key, |environment, (name, raw, scopes)| {
        let scopes = Scopes::new(scopes.iter().map(|scope| scope.parse().unwrap())).unwrap();
        environment.and(name.parse().unwrap(), TokenHash::of(raw.as_bytes()), scopes)
    })
}

/// Serves a router the way `jeton serve` does.
async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let inner = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            inner.spawn(async move {
                let mut protocol = http1::Builder::new();
                protocol.max_header_size(16 * 1024).max_buf_size(16 * 1024);
                drop(protocol.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
            });
        }
    });
    address
}

/// The code of an answer of the gateway itself; its shape is checked.
pub(crate) fn refusal(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    let problem = reply.json().unwrap();
    assert_eq!(problem["status"], status);
    let code = problem["code"].as_str().unwrap().to_owned();
    assert_eq!(reply.headers["x-jeton-error"], code);
    code
}

/// Who orders what is ordered here.
pub(crate) fn operator() -> Actor {
    Actor::Service("operator".parse().unwrap())
}
