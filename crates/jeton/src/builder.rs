//! Builds a vault: its store, its providers and its connections.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::{Entropy, SystemEntropy};
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Catalogue, Client, Definition, PolicyOverrides, Setup};
use jeton_core::seal::KeyRing;
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
use jeton_keeper::{KeySource, NoProxy, Ports, Proxy, Settings};
use url::Url;

use crate::error::OpenError;
#[cfg(feature = "postgres")]
use crate::storage::Postgres;
use crate::storage::{Opening, Storage};
use crate::vault::Vault;

/// How many refreshes a process makes at once, each with 2 MiB of disk: a program has fewer connections than a server.
const SPILL_SLOTS: usize = 4;

/// A connection as your program defines it: a provider, and what that provider needs.
#[derive(Clone, Debug)]
pub struct Connection {
    provider: String,
    setup: Setup,
    emulated_at: Option<String>,
}

impl Connection {
    /// A connection to a provider by its name, such as `google`; `oauth2` is any server that follows RFC 6749.
    pub fn at(provider: impl Into<String>) -> Self {
        Self { provider: provider.into(), setup: Setup::default(), emulated_at: None }
    }

    /// Sets a variable of the provider, such as `token_url`.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.setup.vars.insert(name.into(), value.into());
        self
    }

    /// Your client id and client secret at the provider.
    #[must_use]
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.setup.client = Client { id: Some(id.into()), secret: Some(secret.into()), ..self.setup.client };
        self
    }

    /// Your client id at the provider, for a public client without a secret (RFC 6749, section 2.1).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.setup.client.id = Some(id.into());
        self
    }

    /// The redirect URI of your client, for providers that require it in each refresh.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.setup.client.redirect_uri = Some(uri.into());
        self
    }

    /// Settings that replace those of the provider's policy, such as `reuse_grace`.
    #[must_use]
    pub fn policy(mut self, policy: PolicyOverrides) -> Self {
        self.setup.policy = policy;
        self
    }

    /// Uses an emulated provider on this machine, such as one of `jeton provider emulate`, in place of the real one.
    #[must_use]
    pub fn emulated_at(mut self, base: impl Into<String>) -> Self {
        self.emulated_at = Some(base.into());
        self
    }

    fn define(self, name: &str, catalogue: &Catalogue) -> Result<Definition, OpenError> {
        let wrong = |field: &str, problem: String| OpenError::Connection {
            name: name.to_owned(),
            field: field.to_owned(),
            problem,
        };
        let provider =
            catalogue.get(&self.provider).map_err(|unknown| wrong("provider", unknown.to_string()))?;
        let defined = provider.define(self.setup).and_then(|definition| match self.emulated_at {
            None => Ok(definition),
            Some(base) => {
                // Text that is not a URL is rejected by the same rule as the URL of another machine.
                let base = Url::parse(&base)
                    .unwrap_or_else(|_| Url::parse("about:blank").expect("the text is a URL"));
                definition.emulated_at(base)
            }
        });
        defined.map_err(|error| wrong(&error.field, error.problem))
    }
}

/// Builds a [`Vault`]. [`Builder::open`] checks everything that it was given.
pub struct Builder {
    storage: Storage,
    data_dir: Option<PathBuf>,
    key: Option<KeySource>,
    files: Vec<(String, String)>,
    connections: Vec<(String, Connection)>,
    settings: Settings,
    adopt: bool,
    bound_to_machine: bool,
    mark_dir: Option<PathBuf>,
    reads_environment: bool,
    clock: Option<Arc<dyn Clock>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("storage", &self.storage)
            .field("data_dir", &self.data_dir)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault whose tokens are in this process alone, and are lost when it ends. While it is open, it uses a temporary folder
    /// of 8 MiB.
    pub fn in_memory() -> Builder {
        Builder::new(Storage::Memory)
    }

    /// A vault on one file, which any number of processes of this machine may share. The file is created when it is missing,
    /// with mode 0600, and its tokens are encrypted. A folder beside it, `tokens.json.d` for `tokens.json`, has the key, and
    /// replies of the provider that could not be stored yet.
    pub fn on_file(path: impl AsRef<Path>) -> Builder {
        Builder::new(Storage::File(path.as_ref().to_owned()))
    }

    /// A vault on a SQLite database, which any number of processes of this machine may share. A `jeton` server can use the same
    /// database, if its `data_dir` is the folder of the database. Database and key are created when they are missing.
    #[cfg(feature = "sqlite")]
    pub fn on_sqlite(path: impl AsRef<Path>) -> Builder {
        Builder::new(Storage::Sqlite(path.as_ref().to_owned()))
    }

    /// A vault on a PostgreSQL database, which any number of machines may share. A `jeton` server can use the same database.
    /// Tables are created when they are missing.
    ///
    /// `data_dir` is a folder of this machine that has the key, and replies of the provider that could not be stored yet. It is
    /// created when it is missing. Processes of one machine may share it; machines must not. All of them need the same key, as
    /// a copy of the file `key` or by [`Builder::key`].
    ///
    /// ```no_run
    /// use jeton::{Connection, KeySource, Vault};
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// let vault = Vault::on_postgres("postgres://jeton:password@db.example.com/jeton?sslmode=verify-full", "jeton-data")
    ///     .key(KeySource::Text(std::env::var("JETON__KEY")?.into()))
    ///     .connection("crm", Connection::at("amocrm").var("domain", "acme.amocrm.com").client("id", "secret"))
    ///     .open()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "postgres")]
    pub fn on_postgres(database: impl Into<Postgres>, data_dir: impl Into<PathBuf>) -> Builder {
        Builder::new(Storage::Postgres { database: database.into(), data_dir: data_dir.into() })
    }
}

impl Builder {
    fn new(storage: Storage) -> Self {
        Self {
            storage,
            data_dir: None,
            key: None,
            files: Vec::new(),
            connections: Vec::new(),
            settings: Settings { spill_slots: SPILL_SLOTS, ..Settings::default() },
            adopt: false,
            bound_to_machine: true,
            mark_dir: None,
            reads_environment: true,
            clock: None,
        }
    }

    /// Defines a connection, in place of an earlier one of the same name.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>, connection: Connection) -> Self {
        self.connections.push((name.into(), connection));
        self
    }

    /// Adds a provider by the text of its file, in place of one of the same name. Errors use `file` as its name.
    #[must_use]
    pub fn provider_file(mut self, file: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((file.into(), text.into()));
        self
    }

    /// How long a caller waits for a refresh, unless its [`TokenRequest`](crate::TokenRequest) says otherwise: 30 s by default.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// How long nothing is sent after a failed attempt: 5 s by default. [`Vault::refresh`] does not wait for it.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.cooldown = cooldown;
        self
    }

    /// Replaces all times and limits at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The folder for the key, and for replies that could not be stored yet, instead of one beside the store. All processes
    /// that share the store must share it too.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Where the encryption key comes from, instead of the file `key` of the data directory.
    #[must_use]
    pub fn key(mut self, key: KeySource) -> Self {
        self.key = Some(key);
        self
    }

    /// Takes over a copied or restored store, or begins anew where the store is gone. Without this, the vault returns tokens that are still live and refreshes nothing.
    /// Do so only if the original is no longer used: two owners would spend a refresh token twice.
    #[must_use]
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Whether the data directory belongs to the machine on which something was spent last, by its `/etc/machine-id`: yes, unless
    /// this says no. On another machine the vault returns tokens that are still live and refreshes nothing until
    /// [`Builder::adopt`], because the disk may be a copy. In containers the id says nothing and is not compared.
    #[must_use]
    pub fn bound_to_machine(mut self, bound: bool) -> Self {
        self.bound_to_machine = bound;
        self
    }

    /// A folder outside the data directory, at best on another disk, where the vault marks how far its store had come. By it a
    /// disk is noticed that was cloned on this machine or rolled back to a snapshot. There is none unless this names one.
    #[must_use]
    pub fn mark_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.mark_dir = Some(folder.into());
        self
    }

    /// Reads no proxy from the environment: token endpoints are reached as [`Settings::outbound`] says. A proxy there goes before
    /// the environment in any case.
    #[must_use]
    pub fn ignore_environment(mut self) -> Self {
        self.reads_environment = false;
        self
    }

    /// Replaces the clock of this machine and of the database, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Opens the vault. Nothing is sent to a provider.
    ///
    /// # Errors
    /// A connection or a provider file is wrong, the store cannot be opened, or the key is missing or wrong. The message is one
    /// sentence that says what to do.
    pub async fn open(mut self) -> Result<Vault, OpenError> {
        if self.reads_environment && self.settings.outbound.proxy.is_none() {
            self.settings.outbound.proxy = proxy_of_environment(|name| env::var(name).ok())?;
        }
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let (data_dir, temporary) = self.storage.data_dir(self.data_dir)?;
        let key = match self.key {
            Some(key) => key,
            None if matches!(self.storage, Storage::Memory) => {
                KeySource::Text(KeyRing::generate(&*entropy).to_text())
            }
            None => KeySource::File(data_dir.join("key")),
        };
        let store = self.storage.store(&data_dir, self.clock.as_ref(), self.adopt).await?;
        let definitions = definitions(self.files, self.connections)?;
        let host = self.storage.host(self.bound_to_machine, self.mark_dir);
        let opening = Opening {
            store: &*store,
            data_dir: &data_dir,
            key: &key,
            clock: &*clock,
            entropy: &*entropy,
            host,
        };
        let installation = self.storage.installation(&opening, self.adopt).await?;
        let ports = Ports {
            connections: store.clone(),
            feed: store.clone(),
            log: store.clone(),
            consents: store.clone(),
        };
        let keeper =
            jeton_keeper::Vault::open(ports, installation, definitions, self.settings, clock, entropy)
                .await?;
        Ok(Vault::new(keeper, temporary))
    }
}

/// The proxy that the variables name, if any.
fn proxy_of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, OpenError> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let text = variable(name)?.trim().to_owned();
            (!text.is_empty()).then_some((*name, text))
        })
    };
    let Some((name, url)) = first(&Proxy::VARIABLES) else { return Ok(None) };
    let bypass =
        first(&NoProxy::VARIABLES).map(|(_, listed)| NoProxy::of_variable(&listed)).unwrap_or_default();
    Proxy::parse(&url, bypass).map(Some).map_err(|problem| OpenError::Proxy { variable: name, problem })
}

fn definitions(
    files: Vec<(String, String)>,
    connections: Vec<(String, Connection)>,
) -> Result<BTreeMap<ConnectionName, Definition>, OpenError> {
    let mut catalogue = Catalogue::builtin();
    for (file, text) in files {
        catalogue.add_file(&file, &text)?;
    }
    let define = |(name, connection): (String, Connection)| {
        let definition = connection.define(&name, &catalogue)?;
        Ok((name.parse::<ConnectionName>()?, definition))
    };
    connections.into_iter().map(define).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<Option<Proxy>, OpenError> {
        let found = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        };
        proxy_of_environment(found)
    }

    #[test]
    fn the_proxy_of_the_environment_is_used_and_one_that_cannot_be_used_is_named_without_its_password() {
        let url = "http://me:hush@proxy.test:3128";
        for name in Proxy::VARIABLES {
            let found = proxy(&[(name, url), ("HTTP_PROXY", "http://other.test")]).unwrap().unwrap();
            assert_eq!(found.shown(), "http://proxy.test:3128", "{name}");
        }
        let both = proxy(&[
            ("ALL_PROXY", "http://second.test"),
            ("HTTPS_PROXY", " "),
            ("no_proxy", "a.test, *.b.test"),
        ]);
        let bypass = NoProxy::of_variable("a.test *.b.test");
        assert_eq!(both.unwrap(), Some(Proxy::parse("http://second.test", bypass).unwrap()));
        assert!(proxy(&[]).unwrap().is_none() && proxy(&[("HTTP_PROXY", url)]).unwrap().is_none());
        let refused = proxy(&[("ALL_PROXY", "socks5://me:hush@proxy.test")]).unwrap_err().to_string();
        assert!(refused.starts_with("ALL_PROXY: a proxy of the kind `socks5`"), "{refused}");
        assert!(refused.contains("`Builder::ignore_environment`") && !refused.contains("hush"), "{refused}");
    }
}
