//! A provider, a clock that tests move, and vaults on both.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jeton::{Builder, Connection, Secret, Vault};
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::OffsetClock;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The connection that most tests are about.
pub(crate) const ACME: &str = "acme";

/// A provider and its clock.
pub(crate) struct Fixture {
    pub(crate) provider: Emulator,
    pub(crate) clock: Arc<OffsetClock>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let clock = Arc::new(OffsetClock::default());
        let provider = Emulator::start_with_clock(settings, clock.clone()).await.unwrap();
        Self { provider, clock }
    }

    /// A connection at the provider.
    pub(crate) fn acme(&self) -> Connection {
        Connection::at("oauth2")
            .var("token_url", self.provider.token_url())
            .var("api_base", self.provider.api_base())
            .client("emulated", "emulated-secret")
    }

    /// The connection `acme` at a provider of its own file; `api` is what that says of its API.
    pub(crate) fn own_provider(&self, hosts: &str, api: &str) -> Builder {
        let file = format!(
            r#"
name = "own"
title = "Our own"
hosts = {hosts}
[client]
auth = "post"
[refresh]
url = "{}"
form = {{ grant_type = "refresh_token", refresh_token = "${{refresh}}" }}
[policy]
rotation = "single_use"
{api}
"#,
            self.provider.token_url()
        );
        let own = Connection::at("own").client("emulated", "emulated-secret");
        Vault::in_memory().provider_file("own.toml", file).connection(ACME, own)
    }

    /// The vault of `builder`, with the connection `acme` and the clock of the fixture.
    pub(crate) async fn vault(&self, builder: Builder) -> Vault {
        builder.clock(self.clock.clone()).connection(ACME, self.acme()).open().await.unwrap()
    }

    /// A vault in memory with a grant whose first token has yet to be fetched.
    pub(crate) async fn connected(&self) -> Vault {
        self.connected_on(Vault::in_memory()).await
    }

    /// The vault of `builder`, with such a grant.
    pub(crate) async fn connected_on(&self, builder: Builder) -> Vault {
        let vault = self.vault(builder).await;
        vault.connect(ACME, self.refresh_token()).await.unwrap();
        vault
    }

    pub(crate) fn refresh_token(&self) -> Secret {
        self.provider.mint(1).remove(0)
    }

    /// How many token requests have arrived.
    pub(crate) fn requests(&self) -> usize {
        self.provider.records().len()
    }

    /// Every refresh token was presented once, and none at the same time as itself.
    pub(crate) fn assert_spent_once(&self) {
        let records = self.provider.records();
        let mut presented: Vec<_> = records.iter().filter_map(|record| record.presented.as_ref()).collect();
        let all = presented.len();
        presented.sort();
        presented.dedup();
        assert_eq!(presented.len(), all, "{records:#?}");
        let stats = self.provider.stats();
        assert_eq!((stats.overlaps, stats.reuse_kills, stats.invalid_grant), (0, 0, 0), "{stats:?}");
    }

    /// Waits until the provider has accepted `count` tokens.
    pub(crate) async fn until_accepted(&self, count: u64) {
        let begun = Instant::now();
        while self.provider.stats().accepted < count {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", self.provider.stats());
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A path for a token file, and its temporary folder.
pub(crate) fn token_file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    (folder, path)
}

/// Runs another test in a process of its own, with these variables.
pub(crate) fn spawn_test<const N: usize>(name: &str, variables: [(&str, &str); N]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored"]).envs(variables).stdout(Stdio::null()).spawn().unwrap()
}

/// A variable that [`spawn_test`] set.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).expect("the parent sets it")
}
