//! The vault: what a program calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::audit::Actor;
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::secret::Secret;
use jeton_keeper::{Connected, Grant, RefreshMode, Refreshed, Status, Token, TokenError, TokenRequest};
use tempfile::TempDir;

use crate::error::NoToken;

/// Returns live tokens, and refreshes them. Cheap to clone; clones share everything.
///
/// It needs a tokio runtime. A refresh runs in a task of its own: it goes on when its caller is cancelled, and ends with the
/// runtime. So call [`Vault::close`] before your program ends.
#[derive(Clone, Debug)]
pub struct Vault {
    keeper: jeton_keeper::Vault,
    started: Arc<AtomicBool>,
    /// The folder of a vault in memory, which is deleted with the last clone.
    _temporary: Option<Arc<TempDir>>,
}

impl Vault {
    pub(crate) fn new(keeper: jeton_keeper::Vault, temporary: Option<TempDir>) -> Self {
        Self { keeper, started: Arc::default(), _temporary: temporary.map(Arc::new) }
    }

    /// A live access token. It comes from memory while it is live for another half a minute, or another tenth of its lifetime
    /// if that is less; else from a refresh that all callers share.
    ///
    /// # Errors
    /// The refresh failed or took too long, and the current token has expired. [`NoToken`] says which, and what to do.
    pub async fn token(&self, name: &str) -> Result<Token, NoToken> {
        self.token_with(name, TokenRequest::default()).await
    }

    /// The same, with how long the token must be live, or how long to wait for it.
    pub async fn token_with(&self, name: &str, request: TokenRequest) -> Result<Token, NoToken> {
        Ok(self.keeper.token(name, request).await?)
    }

    /// Replaces a token that the API rejected before it expired: by a newer one, if there is one, else by one refresh for all
    /// callers that report the same token.
    ///
    /// # Errors
    /// As [`Vault::token`]; and [`TokenError::RejectedAgain`] where the token of such a refresh was rejected too. Then refreshing
    /// does not help, and nothing is sent for a minute, doubling up to an hour.
    pub async fn reject(&self, name: &str, rejected: &Token) -> Result<Token, NoToken> {
        self.reject_with(name, rejected, TokenRequest::default()).await
    }

    /// The same, with how long to wait.
    pub async fn reject_with(
        &self,
        name: &str,
        rejected: &Token,
        request: TokenRequest,
    ) -> Result<Token, NoToken> {
        Ok(self.keeper.reject(name, rejected.fingerprint, request).await?)
    }

    /// Stores a refresh token, in place of the grant that the connection has. Nothing is sent to the provider.
    ///
    /// # Errors
    /// [`TokenError::GrantRefused`] for a refresh token that was already spent, or that another connection has: most providers
    /// revoke a grant whose refresh token is sent twice.
    pub async fn connect(&self, name: &str, refresh_token: impl Into<Secret>) -> Result<Connected, NoToken> {
        self.take_over(name, Grant { refresh: Some(refresh_token.into()), ..Grant::default() }).await
    }

    /// Stores a refresh token, unless the connection has a grant already. It is for programs that have their first refresh token
    /// in their settings, and start with the same one each time. Where the grant has died, a refresh token that the connection
    /// has never had takes its place; the one that died changes nothing.
    ///
    /// # Errors
    /// As [`Vault::connect`].
    pub async fn seed(&self, name: &str, refresh_token: impl Into<Secret>) -> Result<Connected, NoToken> {
        let grant = Grant { refresh: Some(refresh_token.into()), ..Grant::default() };
        Ok(self.keeper.seed(name, grant, &this_program()).await?)
    }

    /// Stores a grant that another program obtained, with an access token that may still be live. A provider that needs no
    /// refresh token takes an empty [`Grant`].
    pub async fn take_over(&self, name: &str, grant: Grant) -> Result<Connected, NoToken> {
        Ok(self.keeper.connect(name, grant, &this_program()).await?)
    }

    /// Refreshes now: also where nothing is due, during a cool-down, and where the outcome of the last attempt is unknown. It is
    /// for a person who decides so.
    pub async fn refresh(&self, name: &str) -> Result<Refreshed, NoToken> {
        Ok(self.keeper.refresh(name, RefreshMode::ForcedByPerson, &this_program()).await?)
    }

    /// Refreshes nothing for this connection until [`Vault::resume`]; callers get the current token as long as it is live.
    pub async fn pause(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Pause, &this_program()).await?)
    }

    /// Ends [`Vault::pause`].
    pub async fn resume(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Resume, &this_program()).await?)
    }

    /// Deletes the grant of a connection with its tokens.
    pub async fn disconnect(&self, name: &str) -> Result<(), NoToken> {
        Ok(self.keeper.administer(name, OperatorCommand::Disconnect, &this_program()).await?)
    }

    /// The state of a connection. This never waits for a refresh.
    pub async fn status(&self, name: &str) -> Result<Status, NoToken> {
        Ok(self.keeper.status(name).await?)
    }

    /// Starts to refresh every connection ahead of time, in tasks of its own, until [`Vault::close`]. A second call does nothing;
    /// after an error it may be called again.
    ///
    /// # Errors
    /// [`TokenError::Store`] when the store cannot be read.
    pub async fn run(&self) -> Result<(), NoToken> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.keeper.start().await.map_err(|error| {
            self.started.store(false, Ordering::SeqCst);
            TokenError::Store { message: error.to_string() }.into()
        })
    }

    /// Starts no more refreshes, and waits for those under way, for at most [`drain`](crate::Settings::drain). A program that
    /// ends without this leaves it to the next process to find out their outcome.
    pub async fn close(&self) {
        self.keeper.drain().await;
    }

    /// The keeper that this is built on: for the log of refreshes, for consents, and for servers.
    pub fn keeper(&self) -> &jeton_keeper::Vault {
        &self.keeper
    }
}

/// How the audit log names this program, for other programs may use the same database.
fn this_program() -> Actor {
    let file = std::env::current_exe().unwrap_or_default();
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned());
    Actor::Program(name.unwrap_or_else(|| "unknown".to_owned()))
}
