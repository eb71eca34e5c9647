//! The provider, the home, and the processes that live in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jeton_emulator::{EmulatedGrantId, Emulator, SeededEntropy, Settings};
use jeton_testkit::{Client, ConnectionSettings, ServerProcess, TestInstallation};

use super::attempts::{Attempt, Log, PAGE};
use super::script::Act;
use super::status;

/// About how often each connection is refreshed.
const EVERY: Duration = Duration::from_secs(4);
/// How long the provider forgives, where it does.
const GRACE: Duration = Duration::from_mins(2);
/// How long a token of unknown fate is left alone.
const UNKNOWN_HOLD: Duration = Duration::from_secs(1);
/// The lease of a claim, and how long a redeem may take: a pause outlives the first within a round.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const REDEEM_TIMEOUT: Duration = Duration::from_secs(2);

const READY: Duration = Duration::from_secs(30);
const SHORT_RUN: Duration = Duration::from_secs(30);

/// Everything an act plays with.
pub(super) struct Scene {
    pub(super) emulator: Arc<Emulator>,
    home: TestInstallation,
    processes: Vec<ServerProcess>,
    names: Vec<String>,
    grace: bool,
    /// Which connection each grant was given to.
    pub(super) owners: HashMap<EmulatedGrantId, String>,
    log: Log,
}

impl Scene {
    /// Starts the provider, connects everything and starts the processes.
    pub(super) async fn set(act: &Act) -> Result<Self> {
        let reuse_grace = if act.grace { GRACE } else { Duration::ZERO };
        let settings = Settings { access_ttl: act.life, reuse_grace, seed: act.seed, ..Settings::default() };
        let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let emulator = Emulator::start(settings).await.context("starting the emulator")?;
        let mut home = TestInstallation::new()?;
        home.set("keeper", "lease", seconds(LEASE))?;
        home.set("keeper", "redeem_timeout", seconds(REDEEM_TIMEOUT))?;
        home.set("keeper", "cooldown", "200ms")?;
        let names: Vec<String> = (1..=act.connections).map(|number| format!("soak-{number}")).collect();
        for name in &names {
            let connection =
                ConnectionSettings::oauth2(&emulator.token_url(), &emulator.api_base(), &id, secret.reveal())
                    .with_policy("margin", &seconds(margin(act.life)))
                    .with_policy("unknown_hold", &seconds(UNKNOWN_HOLD))
                    .with_policy("reuse_grace", &seconds(reuse_grace));
            home.add_connection(name, connection)?;
        }
        let mut scene = Self {
            emulator: Arc::new(emulator),
            home,
            processes: Vec::new(),
            names,
            grace: act.grace,
            owners: HashMap::new(),
            log: Log::default(),
        };
        for name in scene.names.clone() {
            scene.connect(&name).await?;
        }
        for _ in 0..act.processes {
            let process = scene.start_process().await?;
            scene.processes.push(process);
        }
        Ok(scene)
    }

    /// Gives a connection a grant fresh from the provider.
    async fn connect(&mut self, name: &str) -> Result<()> {
        let token = self.emulator.mint(1).remove(0);
        let grant = self.emulator.grant_of(token.reveal()).context("a minted token has a grant")?;
        self.owners.insert(grant, name.to_owned());
        let command = self.home.command(["connect", name, "--refresh-token-stdin"])?.stdin(token.reveal());
        command.run(SHORT_RUN).await?.success().with_context(|| format!("connecting {name}"))?;
        Ok(())
    }

    /// Gives new grants to the connections that have none that works; answers their names.
    pub(super) async fn reconnect_the_dead(&mut self) -> Result<Vec<String>> {
        let mut dead = self.killed();
        dead.extend(self.asking().await?);
        dead.sort();
        dead.dedup();
        for name in &dead {
            self.connect(name).await?;
        }
        Ok(dead)
    }

    /// The connections with no grant that lives at the provider.
    pub(super) fn killed(&self) -> Vec<String> {
        let grants = self.emulator.grants();
        let living = grants.iter().filter(|grant| grant.is_alive());
        let kept: Vec<&String> = living.filter_map(|grant| self.owners.get(&grant.id)).collect();
        self.names.iter().filter(|name| !kept.contains(name)).cloned().collect()
    }

    /// The connections for which jeton asks a person.
    pub(super) async fn asking(&mut self) -> Result<Vec<String>> {
        let printed = self.home.command(["--json", "status"])?.run(SHORT_RUN).await?.json()?;
        self.look_at_log().await?;
        let asking =
            status::read(printed)?.into_iter().filter(|connection| connection.asks(&self.log, self.grace));
        Ok(asking.map(|connection| connection.name).collect())
    }

    async fn start_process(&self) -> Result<ServerProcess> {
        let mut process = self.home.command(["serve"])?.serve()?;
        process.wait_until_ready(READY).await?;
        Ok(process)
    }

    /// One of the processes.
    pub(super) fn pick(&mut self, random: &SeededEntropy) -> (usize, &mut ServerProcess) {
        let count = u64::try_from(self.processes.len()).expect("a few processes");
        let place = usize::try_from(random.between(0, count)).expect("below the count");
        (place, &mut self.processes[place])
    }

    /// Starts a process in the place of one that has ended.
    pub(super) async fn replace(&mut self, place: usize) -> Result<()> {
        self.processes[place] = self.start_process().await?;
        Ok(())
    }

    /// The names of the connections, and a client for each process.
    pub(super) fn doors(&self) -> (Vec<String>, Vec<Client>) {
        (self.names.clone(), self.processes.iter().map(ServerProcess::client).collect())
    }

    /// Asks all processes to end, and waits until they have.
    pub(super) async fn end_processes(&mut self) -> Result<()> {
        for process in &self.processes {
            process.terminate()?;
        }
        for mut process in self.processes.drain(..) {
            let status = process.wait(Duration::from_mins(1)).await?;
            anyhow::ensure!(
                status.success(),
                "a process ended with {status} after SIGTERM\n{}",
                process.output()?
            );
        }
        Ok(())
    }

    /// The whole refresh log.
    pub(super) async fn attempts(&mut self) -> Result<Vec<Attempt>> {
        // Of each connection, because an early attempt may have been closed late.
        for name in self.names.clone() {
            let page = PAGE.to_string();
            let command = self.home.command(["--json", "logs", "--lines", &page, "--connection", &name])?;
            self.log.take_over(command.run(SHORT_RUN).await?.json()?)?;
        }
        Ok(std::mem::take(&mut self.log).attempts())
    }

    async fn look_at_log(&mut self) -> Result<()> {
        let page = PAGE.to_string();
        let command = self.home.command(["--json", "logs", "--lines", &page])?;
        self.log.take(command.run(SHORT_RUN).await?.json()?)
    }
}

/// How long before its death an access token is refreshed, so that something is always due.
fn margin(life: Duration) -> Duration {
    life.saturating_sub(EVERY).max(Duration::from_secs(1))
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
