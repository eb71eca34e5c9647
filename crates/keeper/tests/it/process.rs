//! One process: a vault, and the store that it has to itself.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{AttemptFilter, OperatorCommand};
use jeton_keeper::{Connected, Grant, RefreshMode, Refreshed, Token, TokenError, TokenRequest, Vault};
use tokio::time::{Instant, sleep};

use crate::fixture::PATIENCE;
use crate::store_probe::StoreProbe;
use crate::stores::Kept;

/// Who orders what people order.
pub(crate) fn operator() -> Actor {
    Actor::Service("operator".parse().expect("a usable name"))
}

/// A vault with a store of its own on the database.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) vault: Vault,
    pub(crate) store: Kept,
    pub(crate) probe: Arc<StoreProbe>,
}

impl Process {
    pub(crate) async fn token(&self, name: &str) -> Result<Token, TokenError> {
        self.vault.token(name, TokenRequest::default()).await
    }

    /// A token, for a caller who waits no longer than `wait`.
    pub(crate) async fn token_within(&self, name: &str, wait: Duration) -> Result<Token, TokenError> {
        self.vault.token(name, TokenRequest { wait: Some(wait), ..TokenRequest::default() }).await
    }

    pub(crate) async fn token_for(&self, name: &str, min_ttl: Duration) -> Result<Token, TokenError> {
        self.vault.token(name, TokenRequest { min_ttl: Some(min_ttl), ..TokenRequest::default() }).await
    }

    pub(crate) async fn reject(&self, name: &str, token: &Token) -> Result<Token, TokenError> {
        self.vault.reject(name, token.fingerprint, TokenRequest::default()).await
    }

    pub(crate) async fn force(&self, name: &str) -> Result<Refreshed, TokenError> {
        self.vault.refresh(name, RefreshMode::ForcedByPerson, &operator()).await
    }

    pub(crate) async fn connect(&self, name: &str, grant: Grant) -> Connected {
        self.try_connect(name, grant).await.expect("the grant is taken over")
    }

    pub(crate) async fn try_connect(&self, name: &str, grant: Grant) -> Result<Connected, TokenError> {
        self.vault.connect(name, grant, &operator()).await
    }

    pub(crate) async fn administer(&self, name: &str, act: OperatorCommand) -> Result<(), TokenError> {
        self.vault.administer(name, act, &operator()).await
    }

    /// The row as this process's store has it, whatever its vault remembers.
    pub(crate) async fn row(&self, name: &str) -> Connection {
        let name = name.parse().expect("a usable name");
        self.store.find(&name).await.expect("the store answers").expect("it is connected")
    }

    /// The attempts of a connection that went upstream or ought to have, oldest first.
    pub(crate) async fn attempts(&self, name: &str) -> Vec<Attempt> {
        use jeton_core::keep::attempt::Act;
        let filter = AttemptFilter {
            connection: Some(name.parse().expect("a usable name")),
            ..AttemptFilter::default()
        };
        let mut attempts = self.vault.attempts(&filter, 1_000).await.expect("the store answers");
        attempts.retain(|attempt| !matches!(attempt.act, Act::Connect));
        attempts.reverse();
        attempts
    }

    pub(crate) async fn last_attempt(&self, name: &str) -> Attempt {
        self.attempts(name).await.pop().expect("there was an attempt")
    }

    pub(crate) async fn until_generation(&self, name: &str, generation: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.row(name).await.generation.0 < generation {
            assert!(Instant::now() < deadline, "{name} did not reach generation {generation}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
