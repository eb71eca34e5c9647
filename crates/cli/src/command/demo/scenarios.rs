//! Who takes part: one connection for each temper, each at a provider of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::secret::Secret;
use jeton_emulator::{Behaviour, Emulator, SeededEntropy, Settings};

use super::faults::Faults;

/// How long access tokens live: short enough to watch.
pub(super) const LIFE: Duration = Duration::from_secs(30);

/// What our client is called at every provider.
pub(super) const CLIENT_ID: &str = "demo";

/// Its secret there.
const CLIENT_SECRET: &str = "demo-secret";

/// What one client believes its secret to be.
const WRONG_SECRET: &str = "not-the-secret";

/// What is wrong with a connection, beyond what a keeper can cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// Its user revokes the grant while the demo runs.
    Revoked,
    /// It was given a wrong client secret.
    WrongClient,
}

/// A connection of the demo and how its provider behaves.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What its provider does, in a few words.
    pub(super) about: &'static str,
    /// The policy of the connection, as it stands in the settings file.
    pub(super) policy: &'static str,
    defect: Option<Defect>,
    faults: Faults,
    /// For how long the provider accepts a used refresh token again.
    reuse_grace: Duration,
}

impl Scenario {
    const HEALTHY: Self = Self {
        name: "calm",
        about: "answers at once",
        policy: "{}",
        defect: None,
        faults: Faults::Calm,
        reuse_grace: Duration::ZERO,
    };
}

/// The parts, in the order of the table. Margins differ, so that refreshes do not all come at one time.
pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario::HEALTHY,
    Scenario {
        name: "slow",
        about: "takes 2 to 4 s to answer",
        policy: r#"{ margin = "10s" }"#,
        faults: Faults::Slow,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "flaky",
        about: "fails with 5xx, or just hangs up",
        policy: r#"{ margin = "13s", ambiguous_5xx = false, unknown_hold = "2s" }"#,
        faults: Faults::Flaky,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "lossy",
        about: "spends the token, loses the reply",
        policy: r#"{ margin = "8s", reuse_grace = "20s" }"#,
        faults: Faults::Lossy,
        reuse_grace: Duration::from_secs(20),
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "limited",
        about: "answers 429 and asks for patience",
        policy: r#"{ margin = "15s" }"#,
        faults: Faults::Limited,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "doomed",
        about: "its user revokes the grant",
        defect: Some(Defect::Revoked),
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "wrong-client",
        about: "was given a wrong client secret",
        defect: Some(Defect::WrongClient),
        ..Scenario::HEALTHY
    },
];

/// A scenario, and the provider that plays against it.
#[derive(Debug)]
pub(super) struct DemoConnection {
    pub(super) scenario: &'static Scenario,
    pub(super) name: ConnectionName,
    pub(super) emulator: Emulator,
    /// The first refresh token of its grant.
    pub(super) refresh: Secret,
    /// Set before the grant is ended, so that no caller is told of it sooner.
    revoked: AtomicBool,
}

impl DemoConnection {
    /// Starts the provider of a scenario and lets it give a grant.
    async fn enter(scenario: &'static Scenario, seed: u64) -> io::Result<Self> {
        let settings = Settings {
            access_ttl: LIFE,
            reuse_grace: scenario.reuse_grace,
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            seed,
            ..Settings::default()
        };
        let emulator = Emulator::start(settings).await?;
        emulator.set_behaviour(Behaviour::from_queue(scenario.faults.moods(&SeededEntropy::new(seed))));
        let refresh = emulator.mint(1).remove(0);
        let name = scenario.name.parse().map_err(io::Error::other)?;
        Ok(Self { scenario, name, emulator, refresh, revoked: AtomicBool::new(false) })
    }

    /// What the connection believes its client secret to be.
    pub(super) fn client_secret(&self) -> &'static str {
        if self.scenario.defect == Some(Defect::WrongClient) { WRONG_SECRET } else { CLIENT_SECRET }
    }

    /// Whether its user will revoke the grant.
    pub(super) fn is_doomed(&self) -> bool {
        self.scenario.defect == Some(Defect::Revoked)
    }

    /// Whether any keeper could get a token for it now: then a caller who gets none has met an error.
    pub(super) fn could_give(&self) -> bool {
        match self.scenario.defect {
            Some(Defect::WrongClient) => false,
            Some(Defect::Revoked) => !self.revoked.load(Ordering::Acquire),
            None => true,
        }
    }

    /// Ends the grant, as its user may at any time.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.emulator.revoke_grant(self.refresh.reveal());
    }
}

/// Starts every provider. What they do follows from `seed`.
///
/// # Errors
/// No port is free.
pub(super) async fn enter(seed: u64) -> io::Result<Vec<DemoConnection>> {
    let mut connections = Vec::with_capacity(SCENARIOS.len());
    for (number, scenario) in (0..).zip(&SCENARIOS) {
        connections.push(DemoConnection::enter(scenario, seed.wrapping_add(number)).await?);
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revoked_grant_is_known_as_such_from_then_on() {
        let connections = enter(7).await.unwrap();
        let doomed = connections.iter().find(|connection| connection.is_doomed()).unwrap();
        assert!(doomed.could_give());
        doomed.revoke();
        assert!(!doomed.could_give());
        assert!(!doomed.emulator.grants()[0].is_alive());
        assert_eq!(
            connections.iter().filter(|connection| connection.could_give()).count(),
            SCENARIOS.len() - 2
        );
    }
}
