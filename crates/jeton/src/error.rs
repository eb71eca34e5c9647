//! Why a vault does not open, and why a caller gets no token.

use std::fmt;
use std::time::Duration;

use jeton_core::id::InvalidName;
use jeton_core::keep::ports::StoreError;
use jeton_core::keep::provider::FileError;
use jeton_keeper::{InstallationError, TokenError, VaultError};

/// Why a vault does not open. Nothing was sent and nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings of a connection do not fit its provider.
    #[error("the connection `{name}`: {field}: {problem}")]
    Connection {
        /// The connection.
        name: String,
        /// The setting, such as `vars.token_url`.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The name of a connection cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The text of a provider file is wrong.
    #[error(transparent)]
    ProviderFile(#[from] FileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Store, data directory and key do not match, or cannot be used.
    #[error(transparent)]
    Installation(InstallationError),
    /// The data directory belongs to a store that is gone or empty.
    #[error("{0}; put the store back or name the right one, or begin anew without it by `Builder::adopt`")]
    StoreLost(InstallationError),
    /// A variable of the environment names a proxy that cannot be used.
    #[error(
        "{variable}: {problem}; correct the variable, or leave proxies to the program by `Builder::ignore_environment`"
    )]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// What is wrong, without the URL, which may hold a password.
        problem: String,
    },
    /// The vault cannot start.
    #[error(transparent)]
    Keeper(#[from] VaultError),
    /// No temporary folder can be made.
    #[error(
        "no temporary folder can be made ({0}); free some space, or set TMPDIR to a folder that can be written"
    )]
    Temporary(std::io::Error),
}

impl From<InstallationError> for OpenError {
    fn from(error: InstallationError) -> Self {
        match error {
            lost @ InstallationError::StoreLost { .. } => Self::StoreLost(lost),
            error => Self::Installation(error),
        }
    }
}

/// Why a caller gets no token. The message says what to do, and has no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken(TokenError);

impl NoToken {
    /// The error to match on.
    pub fn why(&self) -> &TokenError {
        &self.0
    }

    /// A stable code, such as `REAUTHORIZATION_REQUIRED`.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }

    /// How long to wait before the next try, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }
}

impl From<TokenError> for NoToken {
    fn from(error: TokenError) -> Self {
        Self(error)
    }
}

impl std::error::Error for NoToken {}

impl fmt::Display for NoToken {
    /// What the keeper says, and what a program does about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cure = match &self.0 {
            TokenError::UnknownConnection { .. } => "define it with `Builder::connection`",
            TokenError::NotConnected { .. } => "give `Vault::connect` a refresh token",
            TokenError::Dead { .. } => {
                "a person must consent again, and `Vault::connect` takes the new refresh token"
            }
            TokenError::Interrupted { until: None, .. } => {
                "`Vault::refresh` sends it once more, and `Vault::connect` replaces the grant"
            }
            TokenError::Interrupted { .. } => "ask again later, and the refresh goes on",
            TokenError::Paused { .. } => "resume it where it was paused",
            TokenError::OnHold(_) | TokenError::RolledBack { .. } => {
                "if the original is no longer used, `Builder::adopt` takes this store over"
            }
            TokenError::GrantUnusable { .. } => "`Vault::connect` replaces the grant",
            TokenError::GrantHeld { .. } => "use that connection",
            error => return write!(f, "{error}"),
        };
        write!(f, "{}; {cure}", self.0)
    }
}
