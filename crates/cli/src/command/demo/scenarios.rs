//! The connections of the demo, each at an emulated provider of its own that behaves differently.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::secret::Secret;
use jeton_emulator::{Behaviour, Emulator, SeededEntropy, Settings};

use super::faults::FaultPattern;

/// How long access tokens live.
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(30);

/// The client id at every provider.
pub(super) const CLIENT_ID: &str = "demo";

const CLIENT_SECRET: &str = "demo-secret";

/// The secret that one client is given instead.
const WRONG_SECRET: &str = "not-the-secret";

/// How connections of the demo differ from the defaults, for people who compare them with their own.
pub(super) const DEVIATIONS: &str =
    "flaky sets ambiguous_5xx = false; lossy's provider has 20 s of reuse_grace.";

/// What is wrong with a connection that no refresh can cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// Its user revokes the grant while the demo runs.
    Revoked,
    /// Its client secret is wrong.
    WrongClient,
}

/// A connection of the demo and how its provider behaves.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// How its provider behaves, in a few words.
    pub(super) about: &'static str,
    /// The policy of the connection, as the settings file has it.
    pub(super) policy: &'static str,
    defect: Option<Defect>,
    faults: FaultPattern,
    /// For how long the provider accepts a used refresh token again.
    reuse_grace: Duration,
}

impl Scenario {
    const HEALTHY: Self = Self {
        name: "calm",
        about: "answers at once",
        policy: "{}",
        defect: None,
        faults: FaultPattern::None,
        reuse_grace: Duration::ZERO,
    };
}

/// In the order of the table. Margins differ, so that refreshes do not all happen at once.
pub(super) const SCENARIOS: [Scenario; 7] = [
    Scenario::HEALTHY,
    Scenario {
        name: "slow",
        about: "takes 2 to 4 s to answer",
        policy: r#"{ margin = "10s" }"#,
        faults: FaultPattern::Slow,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "flaky",
        about: "fails with 5xx, or just hangs up",
        policy: r#"{ margin = "13s", ambiguous_5xx = false, unknown_hold = "2s" }"#,
        faults: FaultPattern::Flaky,
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "lossy",
        about: "accepts the token, loses the reply",
        policy: r#"{ margin = "8s", reuse_grace = "20s" }"#,
        faults: FaultPattern::Lossy,
        reuse_grace: Duration::from_secs(20),
        ..Scenario::HEALTHY
    },
    Scenario {
        name: "limited",
        about: "answers 429 with Retry-After",
        policy: r#"{ margin = "15s" }"#,
        faults: FaultPattern::Limited,
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
        about: "has a wrong client secret",
        defect: Some(Defect::WrongClient),
        ..Scenario::HEALTHY
    },
];

/// A connection, and its provider.
#[derive(Debug)]
pub(super) struct DemoConnection {
    pub(super) scenario: &'static Scenario,
    pub(super) name: ConnectionName,
    pub(super) emulator: Emulator,
    /// The first refresh token of its grant.
    pub(super) refresh: Secret,
    /// Set before the grant is revoked, so that no caller can learn of it sooner.
    revoked: AtomicBool,
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
        emulator.set_behaviour(Behaviour::from_queue(scenario.faults.plan(&SeededEntropy::new(seed))));
        let refresh = emulator.mint(1).remove(0);
        let name = scenario.name.parse().map_err(io::Error::other)?;
        Ok(Self { scenario, name, emulator, refresh, revoked: AtomicBool::new(false) })
    }

    /// The client secret in the settings of the connection.
    pub(super) fn client_secret(&self) -> &'static str {
        if self.scenario.defect == Some(Defect::WrongClient) { WRONG_SECRET } else { CLIENT_SECRET }
    }

    /// Whether its user will revoke the grant.
    pub(super) fn is_doomed(&self) -> bool {
        self.scenario.defect == Some(Defect::Revoked)
    }

    /// Whether there can be a token for it now: if so, a caller who gets none counts as an error.
    pub(super) fn can_have_token(&self) -> bool {
        match self.scenario.defect {
            Some(Defect::WrongClient) => false,
            Some(Defect::Revoked) => !self.revoked.load(Ordering::Acquire),
            None => true,
        }
    }

    /// Revokes the grant, as its user may at any time.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.emulator.revoke_grant(self.refresh.reveal());
    }
}

/// Starts every provider. Their behaviour follows from `seed`.
///
/// # Errors
/// No port is free.
pub(super) async fn start_all(seed: u64) -> io::Result<Vec<DemoConnection>> {
    let mut connections = Vec::with_capacity(SCENARIOS.len());
    for (number, scenario) in (0..).zip(&SCENARIOS) {
        connections.push(DemoConnection::start(scenario, seed.wrapping_add(number)).await?);
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_can_have_no_token_after_its_grant_is_revoked() {
        let connections = start_all(7).await.unwrap();
        let doomed = connections.iter().find(|connection| connection.is_doomed()).unwrap();
        assert!(doomed.can_have_token());
        doomed.revoke();
        assert!(!doomed.can_have_token());
        assert!(!doomed.emulator.grants()[0].is_alive());
        assert_eq!(
            connections.iter().filter(|connection| connection.can_have_token()).count(),
            SCENARIOS.len() - 2
        );
    }
}
