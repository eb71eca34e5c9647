//! What the tests have in common: a home with one connection to an emulated provider.

use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{CommandOutput, ConnectionSettings, TestInstallation};
use tokio::time::{Instant, sleep};

/// Longer than any command may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A home whose connection `acme` is defined at an emulator.
pub(crate) struct Fixture {
    pub(crate) home: TestInstallation,
    pub(crate) emulator: Emulator,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let emulator = Emulator::start(settings).await.unwrap();
        let mut home = TestInstallation::new().unwrap();
        home.add_connection("acme", connection(&emulator)).unwrap();
        Self { home, emulator }
    }

    /// A fixture whose connection is connected; and the refresh token that it was connected with.
    pub(crate) async fn connected() -> (Self, Secret) {
        let fixture = Self::new().await;
        let token = fixture.connect("acme").await;
        (fixture, token)
    }

    /// Connects a connection with a new grant of the emulator.
    pub(crate) async fn connect(&self, name: &str) -> Secret {
        let token = self.emulator.mint(1).remove(0);
        let connect = self.home.command(["connect", name, "--refresh-token-stdin"]).unwrap();
        connect.stdin(&format!("{}\n", token.reveal())).run(PATIENCE).await.unwrap().success().unwrap();
        token
    }

    /// Runs the binary to its end.
    pub(crate) async fn run<const N: usize>(&self, arguments: [&str; N]) -> CommandOutput {
        run(&self.home, arguments).await
    }

    /// How many refresh tokens the provider has accepted.
    pub(crate) fn spent(&self) -> u64 {
        self.emulator.stats().accepted
    }
}

/// The definition of a connection at an emulator, whose refusals are confirmed at once.
pub(crate) fn connection(emulator: &Emulator) -> ConnectionSettings {
    ConnectionSettings::oauth2(&emulator.token_url(), &emulator.api_base(), "emulated", "emulated-secret")
        .with_policy("confirm_dead", "0s")
}

/// Runs the binary to its end.
pub(crate) async fn run<const N: usize>(home: &TestInstallation, arguments: [&str; N]) -> CommandOutput {
    home.command(arguments).unwrap().run(PATIENCE).await.unwrap()
}

/// The one sentence of a run that failed with this exit code, and that wrote nothing to standard output. Warnings and
/// log lines may stand before it.
pub(crate) fn error_line(finished: &CommandOutput, code: i32) -> String {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert_eq!(finished.stdout, "", "{finished:?}");
    let (said, last) =
        finished.stderr.trim_end().rsplit_once('\n').unwrap_or(("", finished.stderr.trim_end()));
    assert!(!said.contains("error: "), "more than one sentence: {finished:?}");
    last.strip_prefix("error: ").unwrap_or_else(|| panic!("{finished:?}")).to_owned()
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "this did not come about: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
