//! How a vault is made: where its tokens are kept, its providers and its connections.

use std::collections::BTreeMap;
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
use jeton_keeper::{KeySource, Ports, Settings};
use url::Url;

use crate::error::OpenError;
#[cfg(feature = "postgres")]
use crate::place::Postgres;
use crate::place::{Home, Place};
use crate::vault::Vault;

/// Refreshes at once in one process, each with 2 MiB on the disk. A program has fewer connections than a server.
const SPILL_SLOTS: usize = 4;

/// A connection as a program defines it: a provider, and what that provider needs.
#[derive(Clone, Debug)]
pub struct Connection {
    provider: String,
    setup: Setup,
    emulated_at: Option<String>,
}

impl Connection {
    /// A connection at the provider of that name, such as `google`; `oauth2` is any server that follows RFC 6749.
    pub fn at(provider: impl Into<String>) -> Self {
        Self { provider: provider.into(), setup: Setup::default(), emulated_at: None }
    }

    /// Sets a variable of the provider, such as `token_url`.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.setup.vars.insert(name.into(), value.into());
        self
    }

    /// Our own credentials at the provider.
    #[must_use]
    pub fn client(mut self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.setup.client = Client { id: Some(id.into()), secret: Some(secret.into()), ..self.setup.client };
        self
    }

    /// Our id at the provider, for a public client that has no secret (RFC 6749, section 2.1).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.setup.client.id = Some(id.into());
        self
    }

    /// Where callbacks of our client come in, for providers that want to be told with each refresh.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.setup.client.redirect_uri = Some(uri.into());
        self
    }

    /// Settings of `policy` that differ from the provider's file, such as `reuse_grace`.
    #[must_use]
    pub fn policy(mut self, policy: PolicyOverrides) -> Self {
        self.setup.policy = policy;
        self
    }

    /// Keeps the connection at an emulated provider of this machine, such as `jeton provider emulate` plays.
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
                // What is no URL at all is refused by the same rule as one that leads elsewhere.
                let base = Url::parse(&base)
                    .unwrap_or_else(|_| Url::parse("about:blank").expect("the text is a URL"));
                definition.emulated_at(base)
            }
        });
        defined.map_err(|error| wrong(&error.field, error.problem))
    }
}

/// Makes a [`Vault`]. What is wrong with what it is given is told by [`Builder::open`].
pub struct Builder {
    place: Place,
    data_dir: Option<PathBuf>,
    key: Option<KeySource>,
    files: Vec<(String, String)>,
    connections: Vec<(String, Connection)>,
    settings: Settings,
    adopt: bool,
    clock: Option<Arc<dyn Clock>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("place", &self.place)
            .field("data_dir", &self.data_dir)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault whose tokens are in this process alone, and gone with it. While it is open, a folder of 8 MiB among the
    /// temporary files holds what a crash of the program must not tear apart.
    pub fn in_memory() -> Builder {
        Builder::new(Place::Memory)
    }

    /// A vault on one file, which any number of processes of this machine may share. The file is made when it is
    /// missing, mode 0600, and its tokens are sealed with a key of its own. For the key and for replies that could not
    /// be stored, a folder is made beside it: `tokens.json.d` for `tokens.json`.
    pub fn on_file(path: impl AsRef<Path>) -> Builder {
        Builder::new(Place::File(path.as_ref().to_owned()))
    }

    /// A vault on a SQLite database, which any number of processes of this machine may share: also a `jeton` server, if
    /// its `data_dir` is the folder of the database. The database and its key are made when they are missing.
    #[cfg(feature = "sqlite")]
    pub fn on_sqlite(path: impl AsRef<Path>) -> Builder {
        Builder::new(Place::Sqlite(path.as_ref().to_owned()))
    }

    /// A vault on a PostgreSQL database, which any number of machines may share: also a `jeton` server. The tables are made
    /// when they are missing.
    ///
    /// `data_dir` is a folder of this machine that holds the key, and replies that could not be stored. It is made when it is
    /// missing, and a new one joins the database by itself. Processes of one machine may share it, machines must not; they
    /// all need the same key, by a copy of the file `key` or by [`Builder::key`].
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
        Builder::new(Place::Postgres { database: database.into(), data_dir: data_dir.into() })
    }
}

impl Builder {
    fn new(place: Place) -> Self {
        Self {
            place,
            data_dir: None,
            key: None,
            files: Vec::new(),
            connections: Vec::new(),
            settings: Settings { spill_slots: SPILL_SLOTS, ..Settings::default() },
            adopt: false,
            clock: None,
        }
    }

    /// Defines a connection. A later one takes the place of an earlier one of the same name.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>, connection: Connection) -> Self {
        self.connections.push((name.into(), connection));
        self
    }

    /// Adds a provider by the text of its file. `file` is what errors call it. A provider of the same name is replaced.
    #[must_use]
    pub fn provider_file(mut self, file: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((file.into(), text.into()));
        self
    }

    /// How long a caller waits for a refresh under way, unless its [`TokenRequest`](crate::TokenRequest) says otherwise: 30 s.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// How long nothing is tried after a failed attempt: 5 s. [`Vault::refresh`] tries all the same.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.cooldown = cooldown;
        self
    }

    /// All times and limits at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Where the key and replies that could not be stored are kept, instead of beside the tokens. All processes that
    /// share the tokens must share it too.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Where the sealing key comes from, instead of the file `key` of the data directory.
    #[must_use]
    pub fn key(mut self, key: KeySource) -> Self {
        self.key = Some(key);
        self
    }

    /// Takes a copied or restored store over: without this, it serves what lives and spends nothing. Only if the
    /// original no longer runs: two owners would spend a refresh token twice.
    #[must_use]
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Another clock than that of this machine, and of the database, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Opens the vault. Nothing is sent to anybody.
    ///
    /// # Errors
    /// In one sentence with the cure: a connection or a provider file that is wrong, a store that cannot be opened, a
    /// key that is missing or is not the right one.
    pub async fn open(self) -> Result<Vault, OpenError> {
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let (data_dir, temporary) = self.place.data_dir(self.data_dir)?;
        let key = match self.key {
            Some(key) => key,
            None if matches!(self.place, Place::Memory) => {
                KeySource::Text(KeyRing::generate(&*entropy).to_text())
            }
            None => KeySource::File(data_dir.join("key")),
        };
        let store = self.place.store(self.clock.as_ref()).await?;
        let definitions = definitions(self.files, self.connections)?;
        let home = Home { data_dir: &data_dir, key: &key, clock: &*clock, entropy: &*entropy };
        let installation = self.place.installation(&*store, home, self.adopt).await?;
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
