//! The way in for a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::audit::Actor;
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::Condition;
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::secret::Secret;
use jeton_keeper::{Connected, Grant, Refreshed, Status, Token, TokenError, TokenRequest};
use tempfile::TempDir;

use crate::error::NoToken;

/// Gives living tokens, and keeps them alive. Cheap to clone; all clones are one vault.
///
/// It needs a tokio runtime. A refresh that is under way belongs to no caller: it goes on when its caller goes away, and
/// ends with the runtime. Programs therefore end with [`Vault::close`].
#[derive(Clone, Debug)]
pub struct Vault {
    keeper: jeton_keeper::Vault,
    runs: Arc<AtomicBool>,
    /// The folder of a vault in memory, which goes with the last clone.
    _temporary: Option<Arc<TempDir>>,
}

impl Vault {
    pub(crate) fn new(keeper: jeton_keeper::Vault, temporary: Option<TempDir>) -> Self {
        Self { keeper, runs: Arc::default(), _temporary: temporary.map(Arc::new) }
    }

    /// A living access token: from memory while it lives long enough (for half a minute or a tenth of its life,
    /// whichever is less), else from one refresh that all who ask share.
    ///
    /// # Errors
    /// The refresh failed or took too long, and the current token is dead; [`NoToken`] says which, and what to do.
    pub async fn token(&self, name: &str) -> Result<Token, NoToken> {
        self.token_with(name, TokenRequest::default()).await
    }

    /// The same for a caller who says how long the token must live, or how long to wait for it.
    pub async fn token_with(&self, name: &str, request: TokenRequest) -> Result<Token, NoToken> {
        Ok(self.keeper.token(name, request).await?)
    }

    /// The API refused this token, though it had not expired: gives a newer one, if there is one, else refreshes, once
    /// for all who say the same.
    ///
    /// # Errors
    /// As [`Vault::token`]; and [`TokenError::RejectedAgain`] where a token fresh from such a refresh was refused again: then
    /// refreshing does not help, and nothing is sent for a minute, doubling up to an hour.
    pub async fn reject(&self, name: &str, refused: &Token) -> Result<Token, NoToken> {
        self.reject_with(name, refused, TokenRequest::default()).await
    }

    /// The same for a caller who says how long to wait.
    pub async fn reject_with(
        &self,
        name: &str,
        refused: &Token,
        request: TokenRequest,
    ) -> Result<Token, NoToken> {
        Ok(self.keeper.reject(name, refused.fingerprint, request).await?)
    }

    /// Gives a connection a refresh token, in place of the grant that it has. Nothing is sent.
    ///
    /// # Errors
    /// [`TokenError::GrantRefused`] for one that this store has seen spent, or that another connection holds: sending it
    /// again would end the grant at most providers.
    pub async fn connect(&self, name: &str, refresh_token: impl Into<Secret>) -> Result<Connected, NoToken> {
        self.take_over(name, Grant { refresh: Some(refresh_token.into()), ..Grant::default() }).await
    }

    /// Gives a connection its first refresh token, unless it has one: for programs that are given one with their
    /// settings and start again and again with the same.
    pub async fn seed(&self, name: &str, refresh_token: impl Into<Secret>) -> Result<Connected, NoToken> {
        if self.is_connected(name).await? {
            return Ok(Connected::Unchanged);
        }
        match self.connect(name, refresh_token).await {
            // Another process was quicker, and may have spent it by now.
            Err(error) if matches!(error.why(), TokenError::GrantRefused { .. }) => {
                if self.is_connected(name).await? { Ok(Connected::Unchanged) } else { Err(error) }
            }
            connected => connected,
        }
    }

    async fn is_connected(&self, name: &str) -> Result<bool, NoToken> {
        Ok(self.status(name).await?.condition != Condition::Pending)
    }

    /// Takes a grant over that may have a living access token, or makes a connection whose provider needs no refresh
    /// token to begin with.
    pub async fn take_over(&self, name: &str, grant: Grant) -> Result<Connected, NoToken> {
        Ok(self.keeper.connect(name, grant, &this_program()).await?)
    }

    /// Refreshes now, though nothing is due, through a cool-down, and though the outcome of the last attempt is not
    /// known: for a person who insists.
    pub async fn refresh(&self, name: &str) -> Result<Refreshed, NoToken> {
        Ok(self.keeper.refresh(name, Trigger::Forced).await?)
    }

    /// Spends nothing for this connection until [`Vault::resume`]; the current token is given as long as it lives.
    pub async fn pause(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Pause, &this_program()).await?)
    }

    /// Goes on after [`Vault::pause`].
    pub async fn resume(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Resume, &this_program()).await?)
    }

    /// Gives the grant of a connection up: its tokens are wiped.
    pub async fn disconnect(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Disconnect, &this_program()).await?)
    }

    /// How a connection stands. It never waits for a refresh under way.
    pub async fn status(&self, name: &str) -> Result<Status, NoToken> {
        Ok(self.keeper.status(name).await?)
    }

    /// Begins to refresh every connection ahead of time, in tasks of its own, until [`Vault::close`]. Beginning twice is
    /// beginning once; a beginning that failed may be tried again.
    ///
    /// # Errors
    /// [`TokenError::Store`] when the store cannot be read.
    pub async fn run(&self) -> Result<(), NoToken> {
        if self.runs.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let started = self.keeper.start().await;
        started.map_err(|error| {
            self.runs.store(false, Ordering::SeqCst);
            TokenError::Store { message: error.to_string() }.into()
        })
    }

    /// Begins no more refreshes, and waits for those under way: for at most [`drain`](crate::Settings::drain). Whoever
    /// ends without this leaves it to the next process to find out what became of them.
    pub async fn close(&self) {
        self.keeper.drain().await;
    }

    /// The keeper behind this: for the log of refreshes, for consents, and for servers built on the same vault.
    pub fn keeper(&self) -> &jeton_keeper::Vault {
        &self.keeper
    }
}

/// As the record of a database names it, which other programs may work on too.
fn this_program() -> Actor {
    let file = std::env::current_exe().unwrap_or_default();
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned());
    Actor::Program(name.unwrap_or_else(|| "unknown".to_owned()))
}
