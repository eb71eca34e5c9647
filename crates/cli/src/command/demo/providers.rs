//! The connections of the demo, each at an emulated provider of its own that behaves differently.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_emulator::{Behaviour, Emulator, Fault, FaultKind, SeededEntropy, Settings};
use parking_lot::Mutex;
use serde::Serialize;

/// How long access tokens live.
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(30);

/// The client id at every provider.
pub(super) const CLIENT_ID: &str = "demo";

const CLIENT_SECRET: &str = "demo-secret";

/// How connections of the demo differ from the defaults, for people who compare them with their own.
pub(super) const DEVIATIONS: [&str; 2] = [
    "not the defaults: flaky ambiguous_5xx = false, unknown_hold = 2s; lossy",
    "reuse_grace = 20s; doomed confirm_dead = 3s; margins of 8 to 15 s.",
];

/// How many answers are planned: more than two days of a connection that refreshes twice a minute. Later requests are
/// answered as the standard says.
const PLANNED: usize = 8_192;

/// How often a fault happens in a row.
fn one_or_two(random: &SeededEntropy) -> usize {
    if random.between(0, 2) == 0 { 1 } else { 2 }
}

/// A connection of the demo and how its provider behaves.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// How its provider behaves, in 17 characters: what is free beside the table in 80 columns.
    pub(super) about: &'static str,
    /// The policy of the connection, as the settings file has it.
    pub(super) policy: &'static str,
    /// The client secret in the settings of the connection.
    pub(super) client_secret: &'static str,
    /// Whether its user revokes the grant while the demo runs.
    pub(super) is_doomed: bool,
    /// How long its provider takes for a success, in milliseconds.
    delay: (u64, u64),
    /// How its provider fails before the next success: at most twice, which is harmless as long as the old token lives.
    failures: fn(&SeededEntropy) -> Vec<FaultKind>,
    /// For how long the provider accepts a used refresh token again.
    reuse_grace: Duration,
}

impl Scenario {
    const HEALTHY: Self = Self {
        name: "calm",
        about: "answers at once",
        policy: "{}",
        client_secret: CLIENT_SECRET,
        is_doomed: false,
        delay: (20, 120),
        failures: |_| Vec::new(),
        reuse_grace: Duration::ZERO,
    };

    /// The answers to the requests to come. The first request succeeds, so that callers have a token to start with.
    fn plan(&self, random: &SeededEntropy) -> Vec<Fault> {
        let success = || {
            let delay = random.between(self.delay.0, self.delay.1);
            Fault::none().slow_before(Duration::from_millis(delay))
        };
        let mut faults = vec![success()];
        while faults.len() < PLANNED {
            faults.extend((self.failures)(random).into_iter().map(Fault::new));
            faults.push(success());
        }
        faults
    }
}

/// In the order of the table. Margins differ, so that refreshes do not all happen at once.
pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario::HEALTHY,
    Scenario {
        name: "slow",
        about: "takes 2 to 4 s",
        policy: r#"{ margin = "10s" }"#,
        delay: (2_000, 4_000),
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "flaky",
        about: "5xx, or hangs up",
        policy: r#"{ margin = "13s", ambiguous_5xx = false, unknown_hold = "2s" }"#,
        failures: |random| match random.between(0, 6) {
            0 | 1 => vec![FaultKind::CutBefore],
            2 | 3 => vec![FaultKind::FailBefore { status: 503 }],
            _ => vec![FaultKind::FailBefore { status: 500 }, FaultKind::FailBefore { status: 502 }],
        },
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "lossy",
        about: "loses its replies",
        policy: r#"{ margin = "8s", reuse_grace = "20s" }"#,
        failures: |random| vec![FaultKind::LoseReply; one_or_two(random)],
        reuse_grace: Duration::from_secs(20),
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "limited",
        about: "429, Retry-After",
        policy: r#"{ margin = "15s" }"#,
        failures: |random| vec![FaultKind::RateLimited { retry_after_secs: 3 }; one_or_two(random)],
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "doomed",
        about: "user revokes it",
        policy: r#"{ confirm_dead = "3s" }"#,
        is_doomed: true,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "wrong-client",
        about: "wrong secret",
        client_secret: "not-the-secret",
        ..Scenario::HEALTHY
    },
];

/// How the calls for one connection ended, or those for all.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct CallCounts {
    /// Got a token that the API accepted.
    pub(super) served: u64,
    /// Were refused with the reason, for a connection that can have no token.
    pub(super) refused: u64,
    /// Got no token though the connection could have one.
    pub(super) errors: u64,
    /// Got a token that should have been alive and was not.
    pub(super) dead: u64,
    /// Got a token whose grant had just been revoked: nobody can know before trying.
    pub(super) revoked: u64,
    /// The first error or dead token, in words.
    #[serde(skip)]
    pub(super) first_problem: Option<String>,
}

impl CallCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.refused += other.refused;
        self.errors += other.errors;
        self.dead += other.dead;
        self.revoked += other.revoked;
        self.first_problem = self.first_problem.take().or_else(|| other.first_problem.clone());
    }
}

/// A connection, and its provider.
#[derive(Debug)]
pub(super) struct DemoConnection {
    pub(super) scenario: &'static Scenario,
    pub(super) emulator: Emulator,
    /// The first refresh token of its grant.
    pub(super) refresh: Secret,
    /// How the calls of its callers ended.
    pub(super) calls: Mutex<CallCounts>,
    /// Cleared before the grant is revoked, so that no caller can learn of it sooner.
    can_have_token: AtomicBool,
}

impl DemoConnection {
    /// Starts the provider and creates a grant there.
    async fn start(scenario: &'static Scenario, seed: u64) -> io::Result<Self> {
        let settings = Settings {
            access_ttl: TOKEN_LIFE,
            reuse_grace: scenario.reuse_grace,
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            seed,
            ..Settings::default()
        };
        let emulator = Emulator::start(settings).await?;
        emulator.set_behaviour(Behaviour::from_queue(scenario.plan(&SeededEntropy::new(seed))));
        let refresh = emulator.mint(1).remove(0);
        let can_have_token = AtomicBool::new(scenario.client_secret == CLIENT_SECRET);
        Ok(Self { scenario, emulator, refresh, calls: Mutex::default(), can_have_token })
    }

    /// Whether there can be a token for it now: if so, a caller who gets none counts as an error.
    pub(super) fn can_have_token(&self) -> bool {
        self.can_have_token.load(Ordering::Acquire)
    }

    /// Revokes the grant, as its user may at any time.
    pub(super) fn revoke(&self) {
        self.can_have_token.store(false, Ordering::Release);
        self.emulator.revoke_grant(self.refresh.reveal());
    }
}

/// Starts every provider. Their behaviour follows from `seed`.
///
/// # Errors
/// No port is free.
pub(super) async fn start_all(seed: u64) -> io::Result<Vec<Arc<DemoConnection>>> {
    let mut connections = Vec::with_capacity(SCENARIOS.len());
    for (number, scenario) in (0..).zip(&SCENARIOS) {
        connections.push(Arc::new(DemoConnection::start(scenario, seed.wrapping_add(number)).await?));
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_provider_answers_first_and_never_fails_more_than_twice_in_a_row(seed: u64) {
            for scenario in &SCENARIOS {
                let faults = scenario.plan(&SeededEntropy::new(seed));
                prop_assert_eq!(faults[0].kind, FaultKind::None);
                let good = |run: &[Fault]| run.iter().any(|fault| fault.kind == FaultKind::None);
                prop_assert!(faults.windows(3).all(good), "{}", scenario.name);
                // A request that was cut is answered the next time.
                let answered = |pair: &[Fault]| pair[0].kind != FaultKind::CutBefore || good(&pair[1..]);
                prop_assert!(faults.windows(2).all(answered), "{}", scenario.name);
                prop_assert_eq!(faults, scenario.plan(&SeededEntropy::new(seed)));
            }
        }
    }
}
