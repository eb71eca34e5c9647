//! One provider, one database file, one data directory, and any number of processes on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::connection::{access_context, refresh_context};
use jeton_core::keep::provider::{Catalogue, Client, Definition, DurationText, PolicyOverrides, Setup};
use jeton_core::seal::{KeyRing, Sealer};
use jeton_core::secret::Secret;
use jeton_core::time::Clock as _;
use jeton_emulator::{Emulator, RequestRecord};
use jeton_keeper::{Grant, Installation, InstallationError, KeySource, Ports, Settings, Vault};
use jeton_store::sqlite::faults::{NoSqliteHooks, SqliteHooks};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::store_probe::StoreProbe;
use crate::stores::{Database, Kept};
use jeton_testkit::{OffsetClock, RightClock};

/// The one connection that most tests are about.
pub(crate) const ACME: &str = "acme";

/// How a fixture is made.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) emulator: jeton_emulator::Settings,
    pub(crate) settings: Settings,
    pub(crate) policy: PolicyOverrides,
    pub(crate) names: Vec<String>,
    /// Instead of the emulator's own.
    pub(crate) token_url: Option<String>,
    /// The token endpoints of connections that have another one.
    pub(crate) other_urls: BTreeMap<String, String>,
    /// The file of a provider, instead of `oauth2`.
    pub(crate) provider: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            emulator: jeton_emulator::Settings::default(),
            settings: short_settings(),
            policy: PolicyOverrides::default(),
            names: vec![ACME.to_owned()],
            token_url: None,
            other_urls: BTreeMap::new(),
            provider: None,
        }
    }
}

/// Everything as in earnest, but in a hurry.
pub(crate) fn short_settings() -> Settings {
    Settings {
        lease: Duration::from_secs(4),
        redeem_timeout: Duration::from_secs(3),
        claim_wait: Duration::from_secs(1),
        wait: Duration::from_secs(5),
        poll: Duration::from_millis(10),
        cooldown: Duration::from_millis(300),
        spill_slots: 3,
        drain: Duration::from_secs(5),
        ..Settings::default()
    }
}

/// A policy that waits this long before it acts on an unknown outcome.
pub(crate) fn holding(hold: Duration) -> PolicyOverrides {
    PolicyOverrides { unknown_hold: Some(DurationText(hold)), ..PolicyOverrides::default() }
}

/// A policy that confirms a refusal this long after it.
pub(crate) fn confirming(pause: Duration) -> PolicyOverrides {
    PolicyOverrides { confirm_dead: Some(DurationText(pause)), ..PolicyOverrides::default() }
}

/// `actual` is `pause`, lengthened by a quarter at most.
#[track_caller]
pub(crate) fn assert_spread(actual: Duration, pause: Duration) {
    assert!(actual >= pause && actual <= pause + pause / 4, "{actual:?} instead of {pause:?}");
}

/// A policy that counts on a grace of the provider.
pub(crate) fn graceful(grace: Duration) -> PolicyOverrides {
    PolicyOverrides { reuse_grace: Some(DurationText(grace)), ..PolicyOverrides::default() }
}

/// `count` names: `c0`, `c1` and so on.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("c{index}")).collect()
}

/// One provider, one database, one data directory.
pub(crate) struct Fixture {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Arc<OffsetClock>,
    pub(crate) home: TempDir,
    pub(crate) database: Database,
    pub(crate) options: Options,
}

/// What stands in a process, but is not the vault itself.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) database: Database,
    pub(crate) data_dir: PathBuf,
    pub(crate) key: PathBuf,
}

impl Fixture {
    pub(crate) async fn start(options: Options) -> Self {
        let clock = Arc::new(OffsetClock::default());
        let provider_clock = Arc::new(RightClock(Arc::clone(&clock)));
        let emulator = Emulator::start_with_clock(options.emulator.clone(), provider_clock)
            .await
            .expect("a port is free on loopback");
        let home = tempfile::tempdir().expect("there is room for a temporary folder");
        let database = Database::new(home.path().join("jeton.db")).await;
        Self { emulator, clock, home, database, options }
    }

    /// A fixture as it usually is, with one process.
    pub(crate) async fn usual() -> (Self, Process) {
        Self::with(Options::default()).await
    }

    /// A fixture of that options, with one process.
    pub(crate) async fn with(options: Options) -> (Self, Process) {
        let fixture = Self::start(options).await;
        let process = fixture.process().await;
        (fixture, process)
    }

    pub(crate) fn place(&self) -> Place {
        let home = self.home.path();
        Place {
            database: self.database.clone(),
            data_dir: home.join("data"),
            key: home.join("data").join("key"),
        }
    }

    /// One more process.
    pub(crate) async fn process(&self) -> Process {
        self.process_with(self.options.settings.clone(), Arc::new(NoSqliteHooks)).await
    }

    pub(crate) async fn process_with(&self, settings: Settings, hooks: Arc<dyn SqliteHooks>) -> Process {
        self.process_at(&self.place(), settings, hooks).await.expect("the installation is in order")
    }

    pub(crate) async fn process_at(
        &self,
        place: &Place,
        settings: Settings,
        hooks: Arc<dyn SqliteHooks>,
    ) -> Result<Process, InstallationError> {
        let store = self.store_at(place, hooks).await;
        let key = KeySource::File(place.key.clone());
        let installation =
            Installation::open(&*store, &place.data_dir, &key, &*self.clock, &SystemEntropy).await?;
        Ok(self.process_of(store, installation, settings).await)
    }

    pub(crate) async fn store_at(&self, place: &Place, hooks: Arc<dyn SqliteHooks>) -> Kept {
        place.database.open(Arc::clone(&self.clock) as _, hooks).await
    }

    pub(crate) async fn process_of(
        &self,
        store: Kept,
        installation: Installation,
        settings: Settings,
    ) -> Process {
        self.process_by(store, installation, settings, Arc::clone(&self.clock)).await
    }

    /// A process on a machine whose clock is not that of the store.
    pub(crate) async fn process_by(
        &self,
        store: Kept,
        installation: Installation,
        settings: Settings,
        clock: Arc<OffsetClock>,
    ) -> Process {
        let probe = Arc::new(StoreProbe::new(store.clone()));
        let ports = Ports {
            connections: Arc::clone(&probe) as _,
            feed: Arc::clone(&probe) as _,
            log: store.shared(),
            consents: Arc::clone(&probe) as _,
        };
        let vault =
            Vault::open(ports, installation, self.definitions(), settings, clock, Arc::new(SystemEntropy))
                .await
                .expect("the vault opens");
        vault.make_spill_slots().expect("there is room for them");
        Process { vault, store, probe }
    }

    fn definitions(&self) -> BTreeMap<jeton_core::id::ConnectionName, Definition> {
        let define = |name: &String| {
            let other = self.options.other_urls.get(name).cloned();
            (name.parse().expect("a usable name"), self.definition_at(other))
        };
        self.options.names.iter().map(define).collect()
    }

    pub(crate) fn definition(&self) -> Definition {
        self.definition_at(None)
    }

    fn definition_at(&self, other_url: Option<String>) -> Definition {
        let token_url = other_url.or_else(|| self.options.token_url.clone());
        let token_url = token_url.unwrap_or_else(|| self.emulator.token_url());
        let client = Client {
            id: Some(self.options.emulator.client_id.clone()),
            secret: Some(self.options.emulator.client_secret.clone()),
            redirect_uri: Some("https://jeton.example.com/oauth/callback".to_owned()),
        };
        let vars = BTreeMap::from([("token_url".to_owned(), Secret::new(token_url))]);
        let setup = Setup { vars, client, policy: self.options.policy.clone(), ..Setup::default() };
        let mut catalogue = Catalogue::builtin();
        let name = self.options.provider.map_or("oauth2".to_owned(), |text| {
            catalogue.add_file("own.toml", text).expect("the file is right").to_string()
        });
        let provider = catalogue.get(&name).expect("it is in the catalogue");
        provider.define(setup).expect("the connection is defined rightly")
    }

    /// A new grant whose access token has died.
    pub(crate) fn expired_grant(&self) -> Grant {
        Grant {
            refresh: Some(self.emulator.mint(1).remove(0)),
            access: Some(Secret::new("an-access-token-that-died")),
            access_expires_at: Some(self.clock.now() - Duration::from_mins(1)),
            refresh_expires_at: None,
        }
    }

    /// A new grant with an access token that lives for `life`.
    pub(crate) fn living_grant(&self, life: Duration) -> Grant {
        Grant {
            access: Some(Secret::new("an-access-token-that-lives")),
            access_expires_at: Some(self.clock.now() + life),
            ..self.expired_grant()
        }
    }

    /// What opens what the keeper has sealed.
    pub(crate) async fn sealer(&self, process: &Process) -> Sealer {
        let text = std::fs::read_to_string(self.place().key).expect("the key file is there");
        let ring = KeyRing::parse(&text).expect("it holds a key");
        let identity = process.store.identity().await.expect("the store answers").expect("it was founded");
        Sealer::open_with(ring, &identity.key_check).expect("the key is the right one")
    }

    /// The refresh token that the row holds, opened.
    pub(crate) async fn held_refresh(&self, process: &Process, name: &str) -> Option<Secret> {
        let sealer = self.sealer(process).await;
        let row = process.row(name).await;
        let held = row.tokens.as_ref()?.refresh.as_deref()?;
        let opened = sealer.open(held, refresh_context(&row.name, row.generation)).expect("it opens");
        Some(Secret::new(std::str::from_utf8(&opened).expect("a token is text")))
    }

    /// The access token that the row holds, opened.
    pub(crate) async fn held_access(&self, process: &Process, name: &str) -> Option<Secret> {
        let sealer = self.sealer(process).await;
        let row = process.row(name).await;
        let held = row.tokens.as_ref()?.access.as_deref()?;
        let opened = sealer.open(held, access_context(&row.name, row.generation)).expect("it opens");
        Some(Secret::new(std::str::from_utf8(&opened).expect("a token is text")))
    }

    /// How many token requests have arrived.
    pub(crate) fn requests(&self) -> usize {
        self.emulator.records().len()
    }

    /// Waits until a request is under way.
    pub(crate) async fn until_a_request_is_under_way(&self) {
        eventually("a request is under way", || self.emulator.stats().in_flight > 0).await;
    }

    /// Waits until the first request has arrived.
    pub(crate) async fn until_a_request_is_under_way_or_over(&self) {
        eventually("a request has arrived", || self.requests() > 0).await;
    }

    /// Waits until a token has been accepted whose reply is not there yet.
    pub(crate) async fn until_accepted(&self, count: u64) {
        eventually("a token is accepted", || self.emulator.stats().accepted >= count).await;
    }

    /// Every refresh token was presented at most once, and none was refused as spent.
    pub(crate) fn assert_spent_once(&self) {
        let records = self.emulator.records();
        let mut presented: Vec<&String> =
            records.iter().filter_map(|record| record.presented.as_ref()).collect();
        let all = presented.len();
        presented.sort();
        presented.dedup();
        assert_eq!(presented.len(), all, "a refresh token was presented twice: {records:#?}");
        let stats = self.emulator.stats();
        assert_eq!((stats.overlaps, stats.reuse_kills, stats.invalid_grant), (0, 0, 0), "{stats:?}");
    }

    pub(crate) fn last_record(&self) -> RequestRecord {
        self.emulator.records().pop().expect("a request was made")
    }
}

/// How long anything may take that must happen by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, or fails saying what did not come about.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "this did not come about in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
