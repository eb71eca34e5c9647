//! Who takes part: one connection for each temper, each at a provider of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, SeededEntropy, Settings, Temper};

use super::weather::Weather;

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
pub(super) enum Illness {
    /// Its user revokes the grant while the demo runs.
    Revoked,
    /// It was given a wrong client secret.
    WrongClient,
}

/// A connection of the demo and how its provider behaves.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    /// What its provider does, in a few words.
    pub(super) about: &'static str,
    /// The policy of the connection, as it stands in the settings file.
    pub(super) policy: &'static str,
    illness: Option<Illness>,
    weather: Weather,
    /// For how long the provider accepts a used refresh token again.
    reuse_grace: Duration,
}

impl Role {
    const HEALTHY: Self = Self {
        name: "calm",
        about: "answers at once",
        policy: "{}",
        illness: None,
        weather: Weather::Calm,
        reuse_grace: Duration::ZERO,
    };
}

/// The parts, in the order of the table. Margins differ, so that refreshes do not all come at one time.
pub(super) const ROLES: [Role; 7] = [
    Role::HEALTHY,
    Role {
        name: "slow",
        about: "takes 2 to 4 s to answer",
        policy: r#"{ margin = "10s" }"#,
        weather: Weather::Slow,
        ..Role::HEALTHY
    },
    Role {
        name: "flaky",
        about: "fails with 5xx, or just hangs up",
        policy: r#"{ margin = "13s", ambiguous_5xx = false, unknown_hold = "2s" }"#,
        weather: Weather::Flaky,
        ..Role::HEALTHY
    },
    Role {
        name: "lossy",
        about: "spends the token, loses the reply",
        policy: r#"{ margin = "8s", reuse_grace = "20s" }"#,
        weather: Weather::Lossy,
        reuse_grace: Duration::from_secs(20),
        ..Role::HEALTHY
    },
    Role {
        name: "limited",
        about: "answers 429 and asks for patience",
        policy: r#"{ margin = "15s" }"#,
        weather: Weather::Limited,
        ..Role::HEALTHY
    },
    Role {
        name: "doomed",
        about: "its user revokes the grant",
        illness: Some(Illness::Revoked),
        ..Role::HEALTHY
    },
    Role {
        name: "wrong-client",
        about: "was given a wrong client secret",
        illness: Some(Illness::WrongClient),
        ..Role::HEALTHY
    },
];

/// A role, and the provider that plays against it.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) role: &'static Role,
    pub(super) name: ConnectionName,
    pub(super) emulator: Emulator,
    /// The first refresh token of its grant.
    pub(super) refresh: Secret,
    /// Set before the grant is ended, so that no caller is told of it sooner.
    revoked: AtomicBool,
}

impl Player {
    /// Starts the provider of a role and lets it give a grant.
    async fn enter(role: &'static Role, seed: u64) -> io::Result<Self> {
        let settings = Settings {
            access_ttl: LIFE,
            reuse_grace: role.reuse_grace,
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            seed,
            ..Settings::default()
        };
        let emulator = Emulator::start(settings).await?;
        emulator.set_temper(Temper::next(role.weather.moods(&SeededEntropy::new(seed))));
        let refresh = emulator.mint(1).remove(0);
        let name = role.name.parse().map_err(io::Error::other)?;
        Ok(Self { role, name, emulator, refresh, revoked: AtomicBool::new(false) })
    }

    /// What the connection believes its client secret to be.
    pub(super) fn client_secret(&self) -> &'static str {
        if self.role.illness == Some(Illness::WrongClient) { WRONG_SECRET } else { CLIENT_SECRET }
    }

    /// Whether its user will revoke the grant.
    pub(super) fn is_doomed(&self) -> bool {
        self.role.illness == Some(Illness::Revoked)
    }

    /// Whether any keeper could get a token for it now: then a caller who gets none has met an error.
    pub(super) fn could_give(&self) -> bool {
        match self.role.illness {
            Some(Illness::WrongClient) => false,
            Some(Illness::Revoked) => !self.revoked.load(Ordering::Acquire),
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
pub(super) async fn enter(seed: u64) -> io::Result<Vec<Player>> {
    let mut players = Vec::with_capacity(ROLES.len());
    for (number, role) in (0..).zip(&ROLES) {
        players.push(Player::enter(role, seed.wrapping_add(number)).await?);
    }
    Ok(players)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revoked_grant_is_known_as_such_from_then_on() {
        let players = enter(7).await.unwrap();
        let doomed = players.iter().find(|player| player.is_doomed()).unwrap();
        assert!(doomed.could_give());
        doomed.revoke();
        assert!(!doomed.could_give());
        assert!(!doomed.emulator.grants()[0].is_alive());
        assert_eq!(players.iter().filter(|player| player.could_give()).count(), ROLES.len() - 2);
    }
}
