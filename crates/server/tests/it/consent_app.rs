//! Consents: a browser, an emulated provider, and a jeton server between them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Catalogue, Definition, Emulation, Setup};
use jeton_core::secret::Secret;
use jeton_core::time::Clock;
use jeton_emulator::Emulator;
use jeton_keeper::Settings;
use jeton_server::Limits;
use jeton_testkit::{Client, OffsetClock, Reply};
use serde_json::Value;
use tempfile::TempDir;
use url::form_urlencoded::{self, Serializer};

use crate::app::{TestServer, access_of, open_store, operator, vault_on};
use crate::stores::{Database, Kept};

/// The public URL of the server; a proxy removes its path.
const PUBLIC: &str = "https://jeton.example.com/tokens";

/// The origin of its pages.
pub(crate) const ORIGIN: &str = "https://jeton.example.com";

/// An emulated provider, and a database in which servers with one connection `acme` start.
pub(crate) struct ConsentEnv {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Arc<OffsetClock>,
    /// The connection as it is defined for the real provider.
    pub(crate) real: Definition,
    definition: Definition,
    home: TempDir,
    database: Database,
}

/// A server that runs in an environment.
pub(crate) struct ConsentApp {
    env: Arc<ConsentEnv>,
    pub(crate) server: TestServer,
    pub(crate) store: Kept,
}

impl Deref for ConsentApp {
    type Target = ConsentEnv;

    fn deref(&self) -> &ConsentEnv {
        &self.env
    }
}

/// What a browser brings back from the provider.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    /// The browser's cookie: `name=value`.
    pub(crate) cookie: String,
    pub(crate) params: BTreeMap<String, String>,
}

impl Callback {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.params.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.params.remove(name);
        self
    }

    pub(crate) fn path(&self) -> String {
        let query = Serializer::new(String::new()).extend_pairs(&self.params).finish();
        format!("/oauth/callback?{query}")
    }
}

impl ConsentEnv {
    /// An environment whose connection has these variables.
    pub(crate) async fn with(provider: &str, vars: &[(&str, &str)]) -> Arc<Self> {
        let provider = Arc::clone(Catalogue::builtin().get(provider).unwrap());
        let mut setup = provider.example().unwrap();
        setup.client.redirect_uri = Some(format!("{PUBLIC}/oauth/callback"));
        setup.vars.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))));
        let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
        let settings = jeton_emulator::Settings::for_provider(emulation, Duration::from_mins(1));
        let emulator = Emulator::start(settings).await.unwrap();
        // What is captured at consent is not in the settings of anybody who has not consented yet.
        let captured =
            |name: &String| provider.vars().any(|var| var.name() == name && var.capture().is_some());
        let own =
            Setup { vars: setup.vars.into_iter().filter(|(name, _)| !captured(name)).collect(), ..setup };
        let at = emulator.base_url().parse().unwrap();
        let real = provider.define(own).unwrap();
        let definition = real.clone().emulated_at(at).unwrap();
        let home = tempfile::tempdir().unwrap();
        let database = Database::new(home.path().join("jeton.sqlite")).await;
        Arc::new(Self { emulator, clock: Arc::default(), real, definition, home, database })
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Starts a server; others may have run before.
    pub(crate) async fn open(self: &Arc<Self>, settings: Settings) -> ConsentApp {
        let definitions = BTreeMap::from([("acme".parse().unwrap(), self.definition.clone())]);
        self.open_defining(settings, definitions).await
    }

    pub(crate) async fn open_defining(
        self: &Arc<Self>,
        settings: Settings,
        definitions: BTreeMap<ConnectionName, Definition>,
    ) -> ConsentApp {
        let (home, clock) = (self.home.path(), self.clock.clone() as Arc<dyn Clock>);
        let store = open_store(&self.database, &clock).await;
        let vault = vault_on(&store, home, &self.data_dir(), None, definitions, clock, settings).await;
        let access = access_of(&self.database, self.clock.clone()).await;
        let server = TestServer::open(vault, access, Limits::default()).await;
        ConsentApp { env: Arc::clone(self), server, store }
    }
}

/// The settings of most tests.
pub(crate) fn default_settings() -> Settings {
    Settings { spill_slots: 2, ..Settings::default() }
}

impl ConsentApp {
    pub(crate) async fn of(provider: &str) -> Self {
        Self::with(provider, &[]).await
    }

    /// A server whose connection has these variables.
    pub(crate) async fn with(provider: &str, vars: &[(&str, &str)]) -> Self {
        ConsentEnv::with(provider, vars).await.open(default_settings()).await
    }

    /// The environment, in which another server may start.
    pub(crate) fn env(&self) -> &Arc<ConsentEnv> {
        &self.env
    }

    /// A new link, as its path on the server.
    pub(crate) async fn link(&self) -> String {
        let link = self.server.vault.invite("acme", &operator()).await.unwrap().link;
        link.reveal().strip_prefix(PUBLIC).unwrap().to_owned()
    }

    /// A person opens a link, and presses the button on its page.
    pub(crate) async fn open(&self, link: &str) -> Reply {
        self.server.anonymous().with_header("origin", ORIGIN).post_form(link, &[]).await.unwrap()
    }

    /// A browser opens a new link, and the person consents at the provider.
    pub(crate) async fn consent(&self) -> Callback {
        let opened = self.open(&self.link().await).await;
        self.consent_at_provider(&provider_url(&opened), set_cookie(&opened)).await
    }

    /// The person consents on a page of the provider, in a browser that was given that cookie.
    pub(crate) async fn consent_at_provider(&self, there: &str, set_cookie: &str) -> Callback {
        let cookie = set_cookie.split(';').next().unwrap().to_owned();
        let path = there.strip_prefix(&self.emulator.base_url()).unwrap();
        let given = Client::new(&self.emulator.base_url()).get(path).await.unwrap();
        assert_eq!(given.status, 302, "{}", given.text());
        let back = given.headers["location"].to_str().unwrap();
        let (_, query) = back.split_once('?').unwrap();
        Callback { cookie, params: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// The browser brings the answer, and shows the result.
    pub(crate) async fn call_back(&self, callback: &Callback) -> Reply {
        self.call_back_with_cookie(&callback.cookie, callback).await
    }

    pub(crate) async fn call_back_with_cookie(&self, cookie: &str, callback: &Callback) -> Reply {
        let reply = self.send_callback(cookie, callback).await;
        if reply.status != 303 {
            return reply;
        }
        self.server.anonymous().get(&result_path(&reply)).await.unwrap()
    }

    /// The browser brings the answer, and stays where that leads.
    pub(crate) async fn send_callback(&self, cookie: &str, callback: &Callback) -> Reply {
        self.server.anonymous().with_header("cookie", cookie).get(&callback.path()).await.unwrap()
    }

    /// Where the latest consent stands.
    pub(crate) async fn progress(&self) -> Value {
        let all = self.server.client().get_json("/oauth/status").await.unwrap();
        all["items"][0]["consent"].clone()
    }

    /// The condition of the connection.
    pub(crate) async fn condition(&self) -> Value {
        self.server.client().get_json("/api/v1/connections/acme").await.unwrap()["condition"].clone()
    }
}

/// Where the callback sends the browser, as its path on the server.
pub(crate) fn result_path(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.text());
    let location = reply.headers["location"].to_str().unwrap();
    assert!(location.starts_with("result?consent="), "{location}");
    format!("/oauth/{location}")
}

/// Where a page sends a browser by itself.
pub(crate) fn provider_url(reply: &Reply) -> String {
    page(reply, 200, "Continue at the provider");
    let refresh = reply.headers["refresh"].to_str().unwrap();
    let url = refresh.strip_prefix("0; url=").unwrap().to_owned();
    let link = format!("href=\"{}\"", url.replace('&', "&#38;"));
    assert!(
        reply.text().contains(&link),
        "where no browser goes on by itself, the person does: {}",
        reply.text()
    );
    url
}

pub(crate) fn set_cookie(reply: &Reply) -> &str {
    reply.headers["set-cookie"].to_str().unwrap()
}

/// The text of a page as a person reads it. Checks status, title and headers.
pub(crate) fn page(reply: &Reply, status: u16, title: &str) -> String {
    let html = reply.text();
    assert_eq!(reply.status, status, "{html}");
    assert!(html.contains(&format!("<h1>{title}</h1>")), "{title}: {html}");
    // The page with the button leads to itself, and tells itself alone where it was pressed.
    let asks = html.contains("<form");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", if asks { "same-origin" } else { "no-referrer" }),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(reply.headers[name], value, "{name}");
    }
    let policy = reply.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let action = if asks { "; form-action 'self'; " } else { "; form-action 'none'; " };
    assert!(policy.contains(action), "{policy}");
    assert!(!policy.contains("unsafe") && !html.contains("<script"), "{policy}");
    let (_, rest) = html.split_once("<p>").unwrap();
    let (sentence, _) = rest.split_once("</p>").unwrap();
    let plain = sentence.replace("<code>", "`").replace("</code>", "`").replace("&#39;", "'");
    plain.replace("&#34;", "\"").replace("&quot;", "\"")
}
