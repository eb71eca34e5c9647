//! A gateway in this process, with a real vault, store and provider; the API is played by the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response};
use jeton_core::access::{ServiceTokenId, TokenHash};
use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::provider::{
    Catalogue, Client as ProviderClient, Definition, DurationText, PolicyOverrides, Provider, Setup,
};
use jeton_core::secret::Secret;
use jeton_core::time::SystemClock;
use jeton_emulator::Emulator;
use jeton_gateway::{ConnectionAlias, Gateway, Settings};
use jeton_issuer::{Access, Environment, NewToken};
use jeton_keeper::{Grant, Installation, KeySource, Ports, Vault};
use jeton_server::{Limits, RequestIds, TrustedProxies, serve};
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_testkit::{Client, Reply, TestApi};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::stores::Database;

pub(crate) const API_KEY: &str = "the-key-of-this-fixture-0123456789";

/// What a fixture is made of.
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) emulated: jeton_emulator::Settings,
    pub(crate) provider: Arc<Provider>,
    /// Instead of the emulator's own.
    pub(crate) token_url: Option<String>,
    /// Variables besides `token_url` and `api_base`.
    pub(crate) vars: Vec<(&'static str, String)>,
    pub(crate) aliases: Vec<ConnectionAlias>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            limits: Limits::default(),
            emulated: jeton_emulator::Settings::default(),
            provider: Arc::clone(Catalogue::builtin().get("oauth2").unwrap()),
            token_url: None,
            vars: Vec::new(),
            aliases: Vec::new(),
        }
    }
}

/// A running gateway, its vault and its provider. The connection is `acme`.
pub(crate) struct Fixture {
    pub(crate) emulator: Emulator,
    pub(crate) vault: Vault,
    pub(crate) access: Access,
    pub(crate) gateway: Gateway,
    server: Served,
    pub(crate) refresh_token: Secret,
    _database: Database,
    _home: TempDir,
}

impl Fixture {
    /// A gateway to the API at `base`, with the connection `acme` connected.
    pub(crate) async fn new(base: &str) -> Self {
        Self::with_options(base, Options::default()).await
    }

    /// The same, to an API that answers each call with what it received.
    pub(crate) async fn with_echo() -> (TestApi, Self) {
        let api = echo_api().await;
        let fixture = Self::new(&api.base_url()).await;
        (api, fixture)
    }

    pub(crate) async fn with_settings(base: &str, settings: Settings) -> Self {
        Self::with_options(base, Options { settings, ..Options::default() }).await
    }

    pub(crate) async fn with_options(base: &str, options: Options) -> Self {
        let emulator = Emulator::start(options.emulated.clone()).await.unwrap();
        Self::with_emulator(emulator, base, options).await
    }

    /// A gateway to the API of its own emulated provider.
    pub(crate) async fn with_emulated_api(options: Options) -> Self {
        let emulator = Emulator::start(options.emulated.clone()).await.unwrap();
        let base = emulator.api_base();
        Self::with_emulator(emulator, &base, options).await
    }

    pub(crate) async fn with_emulator(emulator: Emulator, base: &str, options: Options) -> Self {
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
        let definition = definition(&emulator, base, &options);
        let definitions = BTreeMap::from([
            ("acme".parse().unwrap(), definition.clone()),
            ("acne".parse().unwrap(), definition),
        ]);
        let settings = jeton_keeper::Settings {
            spill_slots: 2,
            outbound: options.settings.outbound.clone(),
            ..jeton_keeper::Settings::default()
        };
        let vault = Vault::open(ports, installation, definitions, settings, clock.clone(), entropy.clone())
            .await
            .unwrap();
        let access = Access::open(
            store.shared(),
            Environment::with_api_key(TokenHash::of(API_KEY.as_bytes())),
            jeton_issuer::Settings::default(),
            clock.clone(),
            entropy,
        );
        let access = access.await.unwrap();
        let gateway = Gateway::new(
            vault.clone(),
            access.clone(),
            options.aliases,
            options.settings,
            clock,
            Arc::new(SystemEntropy),
        );
        let server = Served::start(gateway.router(), options.limits).await;
        let refresh_token = emulator.mint(1).remove(0);
        let grant = Grant { refresh: Some(refresh_token.clone()), ..Grant::default() };
        vault.connect("acme", grant, &operator()).await.unwrap();
        Self { emulator, vault, access, gateway, server, refresh_token, _database: database, _home: home }
    }

    /// A client with the right key.
    pub(crate) fn client(&self) -> Client {
        self.client_without_key().with_header("x-api-key", API_KEY)
    }

    /// A client with no key.
    pub(crate) fn client_without_key(&self) -> Client {
        Client::new(&format!("http://{}", self.server.address))
    }

    /// `GET` a path of the connection `acme` with the right key.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.client().get(&format!("/api/v1/proxy/acme{path}")).await.unwrap()
    }

    /// Sends bytes as they are, and reads until the gateway closes.
    pub(crate) async fn send_raw(&self, bytes: impl AsRef<[u8]>) -> String {
        self.client_without_key().send_raw(bytes).await.unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Opens a connection to the gateway, and sends the beginning of a request.
    pub(crate) async fn open(&self, text: impl AsRef<str>) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address).await.unwrap();
        send(&mut stream, text.as_ref()).await;
        stream
    }

    /// A client with a new service token that has these scopes.
    pub(crate) async fn service(&self, name: &str, scopes: &str) -> Client {
        let (_, raw) = self.create_token(name, scopes, None).await;
        self.client_without_key().with_header("x-service-token", raw.reveal())
    }

    /// A new service token that may call everything, and its raw text.
    pub(crate) async fn service_token(&self, life: Option<Duration>) -> (ServiceTokenId, Secret) {
        self.create_token("bot1", "proxy:*", life).await
    }

    async fn create_token(
        &self,
        name: &str,
        scopes: &str,
        life: Option<Duration>,
    ) -> (ServiceTokenId, Secret) {
        let (service, scopes) = (name.parse().unwrap(), scopes.parse().unwrap());
        let new = NewToken { service, scopes: Some(scopes), notes: None, life, hash: None };
        let issued = self.access.create(new, &operator()).await.unwrap();
        (issued.token.id, issued.raw.unwrap())
    }

    /// The access token that is stored now.
    pub(crate) async fn access_token(&self) -> Secret {
        self.vault.token("acme", jeton_keeper::TokenRequest::default()).await.unwrap().access
    }
}

fn definition(emulator: &Emulator, base: &str, options: &Options) -> Definition {
    let token_url = options.token_url.clone().unwrap_or_else(|| emulator.token_url());
    let own = [("token_url", token_url), ("api_base", base.to_owned())];
    let known = |name: &str| options.provider.vars().any(|var| var.name() == name);
    let vars = own.into_iter().chain(options.vars.clone()).filter(|(name, _)| known(name));
    let setup = Setup {
        vars: vars.map(|(name, value)| (name.to_owned(), Secret::from(value))).collect(),
        client: ProviderClient {
            id: Some("emulated".to_owned()),
            secret: Some("emulated-secret".into()),
            redirect_uri: Some("https://jeton.example.com/oauth/callback".to_owned()),
        },
        // A refusal is confirmed at once.
        policy: PolicyOverrides {
            confirm_dead: Some(DurationText(Duration::ZERO)),
            ..PolicyOverrides::default()
        },
        ..Setup::default()
    };
    options.provider.define(setup).unwrap()
}

/// A provider whose refresh tokens are good for one use; `api` is what its file says of its API.
pub(crate) fn own_provider(api: &str) -> Arc<Provider> {
    let text = format!(
        r#"
name = "acme"
title = "Acme"
[vars.token_url]
[vars.api_base]
[client]
auth = "post"
[refresh]
url = "${{token_url}}"
form = {{ grant_type = "refresh_token", refresh_token = "${{refresh}}" }}
spends = ["refresh"]
[take]
expires = {{ path = "expires_in", as = "s" }}
[policy]
rotation = "single_use"
{api}
"#
    );
    Arc::new(Provider::from_toml("acme.toml", &text).unwrap())
}

/// Where the gateway is served, until this is dropped.
struct Served {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Served {
    /// Serves a router as `jeton serve` does.
    async fn start(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let limits = Limits { drain: Duration::ZERO, ..limits };
        let ids = RequestIds::new(&SystemEntropy);
        TaskTracker::new().spawn(serve(listener, router, limits, TrustedProxies::default(), ids, stopped));
        Self { address, _stop: stop.drop_guard() }
    }
}

/// An API that answers each call with what it received.
pub(crate) async fn echo_api() -> TestApi {
    TestApi::answering(|request| {
        let header =
            |(name, value): (&HeaderName, &HeaderValue)| json!([name.as_str(), value.to_str().unwrap()]);
        let echo = json!({
            "method": request.method.as_str(),
            "uri": request.uri.to_string(),
            "headers": request.headers.iter().map(header).collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&request.body),
        });
        json_response(200, &echo)
    })
    .await
}

/// An answer in JSON.
pub(crate) fn json_response(status: u16, body: &Value) -> Response<Body> {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.body(Body::from(body.to_string())).unwrap()
}

/// The head of a request as it is sent; `headers` are lines that end with CRLF.
pub(crate) fn raw_head(request: &str, key: &str, headers: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: jeton\r\nX-API-KEY: {key}\r\n{headers}\r\n")
}

/// Reads the head of a request or of an answer.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Sends text; the other side may have closed the connection, which the test finds out when it reads.
pub(crate) async fn send(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
}

/// The code of an error of the gateway itself, whose format is checked.
pub(crate) fn error_code(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    let problem = reply.json().unwrap();
    assert_eq!(problem["status"], status);
    let code = problem["code"].as_str().unwrap().to_owned();
    assert_eq!(reply.headers["x-jeton-error"], code);
    code
}

/// The actor of what tests do on purpose.
pub(crate) fn operator() -> Actor {
    Actor::Service("operator".parse().unwrap())
}
