//! The emulated provider, an installation, and its processes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jeton_core::keep::connection::Condition;
use jeton_emulator::{EmulatedGrantId, Emulator, SeededEntropy, Settings};
use jeton_testkit::{Client, ServerProcess, TestInstallation};
use serde::Serialize;

use super::log::AttemptLog;
use crate::proof;
use crate::refresh_log::{self, Attempt};
use crate::setup;

/// How the provider of a run treats the second use of a refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SoakProvider {
    /// It kills the grant.
    #[default]
    Strict,
    /// It forgives it for a while.
    Grace,
    /// It kills the grant, and answers with a 400 that says nothing.
    Bare,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoakPlan {
    pub(super) provider: SoakProvider,
    pub(super) seed: u64,
    /// How many rounds; without it, as long as `length`.
    pub(super) rounds: Option<u32>,
    pub(super) length: Option<Duration>,
    pub(super) connections: u16,
    pub(super) processes: u8,
    /// How long an access token lives.
    pub(super) life: Duration,
}

impl SoakPlan {
    pub(super) fn name(&self) -> String {
        let provider = match self.provider {
            SoakProvider::Strict => "strict",
            SoakProvider::Grace => "grace",
            SoakProvider::Bare => "bare",
        };
        format!("soak, seed {}, {provider}", self.seed)
    }
}

/// About how often each connection is refreshed.
const EVERY: Duration = Duration::from_secs(4);
/// How long the provider forgives, where it does.
const GRACE: Duration = Duration::from_mins(2);
/// How long a token with an unknown outcome is left alone.
const UNKNOWN_HOLD: Duration = Duration::from_secs(1);
/// How long after a refusal the token is sent once more.
const CONFIRM_DEAD: Duration = Duration::from_secs(2);
/// The lease of a claim, and how long a redeem may take: a pause outlives the first within a round.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const REDEEM_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that runs.
pub(super) struct Environment {
    pub(super) emulator: Arc<Emulator>,
    provider: SoakProvider,
    installation: TestInstallation,
    processes: Vec<ServerProcess>,
    names: Vec<String>,
    /// Which connection each grant was given to.
    pub(super) owners: HashMap<EmulatedGrantId, String>,
    log: AttemptLog,
}

impl Environment {
    /// Starts the provider, connects everything and starts the processes.
    pub(super) async fn start(plan: &SoakPlan) -> Result<Self> {
        let reuse_grace = if plan.provider == SoakProvider::Grace { GRACE } else { Duration::ZERO };
        let settings = Settings {
            access_ttl: plan.life,
            reuse_grace,
            bare_refusals: plan.provider == SoakProvider::Bare,
            seed: plan.seed,
            ..Settings::default()
        };
        let emulator = Emulator::start(settings).await?;
        let mut installation = TestInstallation::new()?;
        installation.set("keeper", "lease", seconds(LEASE))?;
        installation.set("keeper", "redeem_timeout", seconds(REDEEM_TIMEOUT))?;
        installation.set("keeper", "cooldown", "200ms")?;
        let names: Vec<String> = (1..=plan.connections).map(|number| format!("soak-{number}")).collect();
        for name in &names {
            let connection = setup::connection(&emulator)
                .with_policy("margin", &seconds(margin(plan.life)))
                .with_policy("unknown_hold", &seconds(UNKNOWN_HOLD))
                .with_policy("confirm_dead", &seconds(CONFIRM_DEAD))
                .with_policy("reuse_grace", &seconds(reuse_grace));
            installation.add_connection(name, connection)?;
        }
        let mut environment = Self {
            emulator: Arc::new(emulator),
            provider: plan.provider,
            installation,
            processes: Vec::new(),
            names,
            owners: HashMap::new(),
            log: AttemptLog::default(),
        };
        for name in environment.names.clone() {
            environment.connect(&name).await?;
        }
        for _ in 0..plan.processes {
            environment.processes.push(setup::serve(&environment.installation).await?);
        }
        Ok(environment)
    }

    /// Gives a connection a grant fresh from the provider.
    async fn connect(&mut self, name: &str) -> Result<()> {
        let token = self.emulator.mint(1).remove(0);
        let grant = self.emulator.grant_of(token.reveal()).context("a minted token has a grant")?;
        self.owners.insert(grant, name.to_owned());
        setup::connect(&self.installation, name, &token).await
    }

    /// Gives new grants to the connections whose grant is dead; returns their names.
    pub(super) async fn reconnect_the_dead(&mut self) -> Result<Vec<String>> {
        let connections = refresh_log::connections(&self.installation).await?;
        self.log.add_newest(refresh_log::newest(&self.installation, None).await?)?;
        let mut dead = self.killed();
        if self.provider == SoakProvider::Bare {
            // What such a provider refuses must come to its end by itself: it never says that the grant is dead.
            let unsettled = [Condition::Interrupted, Condition::Refreshing];
            dead.retain(|name| {
                connections.iter().all(|it| it.name != *name || !unsettled.contains(&it.condition))
            });
        }
        let needing = connections.into_iter().filter(|connection| connection.condition == Condition::Dead);
        dead.extend(needing.map(|connection| connection.name));
        dead.sort();
        dead.dedup();
        for name in &dead {
            self.connect(name).await?;
        }
        Ok(dead)
    }

    /// The connections with no grant that lives at the provider.
    fn killed(&self) -> Vec<String> {
        let grants = self.emulator.grants();
        let living = grants.iter().filter(|grant| grant.is_alive());
        let with_grant: Vec<&String> = living.filter_map(|grant| self.owners.get(&grant.id)).collect();
        self.names.iter().filter(|name| !with_grant.contains(name)).cloned().collect()
    }

    /// One of the processes.
    pub(super) fn pick(&mut self, random: &SeededEntropy) -> (usize, &mut ServerProcess) {
        let count = u64::try_from(self.processes.len()).expect("a few processes");
        let index = usize::try_from(random.between(0, count)).expect("below the count");
        (index, &mut self.processes[index])
    }

    /// Starts a process in the place of one that has ended.
    pub(super) async fn replace(&mut self, index: usize) -> Result<()> {
        self.processes[index] = setup::serve(&self.installation).await?;
        Ok(())
    }

    /// The names of the connections, and a client for each process.
    pub(super) fn targets(&self) -> (Vec<String>, Vec<Client>) {
        (self.names.clone(), self.processes.iter().map(ServerProcess::client).collect())
    }

    /// Asks all processes to end, and waits until they have.
    pub(super) async fn end_processes(&mut self) -> Result<()> {
        for mut process in self.processes.drain(..) {
            proof::end(&mut process).await?;
        }
        Ok(())
    }

    /// The whole refresh log.
    pub(super) async fn attempts(&mut self) -> Result<Vec<Attempt>> {
        // Of each connection, because an early attempt may have been closed late.
        for name in &self.names {
            self.log.add(refresh_log::newest(&self.installation, Some(name)).await?);
        }
        Ok(std::mem::take(&mut self.log).attempts())
    }
}

/// How long before its expiry an access token is refreshed, so that something is always due.
fn margin(life: Duration) -> Duration {
    life.saturating_sub(EVERY).max(Duration::from_secs(1))
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
