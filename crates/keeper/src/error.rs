//! Why a caller gets no token.

use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::keep::provider::ErrorClass;
use jeton_core::problem::Problem;
use jeton_core::time::{Timestamp, whole_seconds};

use crate::memory::high_water::Hold;

/// Why a caller gets no token. Every text says what to do; none holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No definition has this name.
    #[error("there is no connection `{name}`{}; define it under [connections.{name}] in jeton.toml", nearest(.near))]
    UnknownConnection {
        /// The name that was asked for.
        name: String,
        /// Names that are near it.
        near: Vec<String>,
    },
    /// It is defined, and nothing is connected yet.
    #[error("`{name}` is defined but not connected; run `jeton connect {name}`")]
    NotConnected {
        /// The connection.
        name: ConnectionName,
    },
    /// The grant is dead.
    #[error("the grant of `{name}` is dead ({code}); a person must consent again: `jeton connect {name}`")]
    Dead {
        /// The connection.
        name: ConnectionName,
        /// Why it is dead, such as `invalid_grant` or `interrupted`.
        code: String,
    },
    /// The outcome of an attempt is not known, and only a person can go on.
    #[error(
        "attempt {attempt} of `{name}` was interrupted after its refresh token was sent, and the provider may have \
         spent it; look at `jeton logs`, then `jeton refresh --connection {name} --force` sends it once more, or \
         `jeton connect {name}` replaces the grant"
    )]
    Interrupted {
        /// The connection.
        name: ConnectionName,
        /// The attempt.
        attempt: AttemptId,
        /// When policy will go on by itself, if it will.
        until: Option<Timestamp>,
    },
    /// An operator paused it.
    #[error("`{name}` is paused and its token has died; `jeton resume {name}` goes on")]
    Paused {
        /// The connection.
        name: ConnectionName,
    },
    /// The database was copied or restored, and nothing is spent until a person says so.
    #[error(
        "this installation is on hold because its database was copied or restored; if the original no longer runs, \
         `jeton adopt` takes it over"
    )]
    OnHold,
    /// A backup was put in place of the database, and nothing is spent until a person says so.
    #[error(
        "{}; put the newer database back, or `jeton adopt` goes on with this one, and what was spent since must be \
         connected again", Hold::RolledBack { found: *found, seen: *seen }
    )]
    RolledBack {
        /// Where the store is.
        found: Revision,
        /// Where it had been.
        seen: Revision,
    },
    /// The refresh failed, and the current token is dead.
    #[error("`{name}` could not be refreshed: {message}")]
    Failed {
        /// The connection.
        name: ConnectionName,
        /// What kind of failure it was.
        class: ErrorClass,
        /// Its stable code.
        code: String,
        /// One sentence.
        message: String,
        /// When the next attempt may be made.
        retry_after: Option<Duration>,
    },
    /// The last attempt failed a moment ago.
    #[error("`{name}` failed a moment ago ({code}) and cools down")]
    CoolingDown {
        /// The connection.
        name: ConnectionName,
        /// The code of that failure.
        code: String,
        /// How long still.
        retry_after: Duration,
    },
    /// Waiting took longer than the caller allowed.
    #[error("`{name}` is being refreshed, and that took longer than {} ms", .waited.as_millis())]
    WaitTimeout {
        /// The connection.
        name: ConnectionName,
        /// How long the caller waited.
        waited: Duration,
    },
    /// Refreshing did not cure the rejection.
    #[error(
        "the API refused a token of `{name}` that had just been refreshed for the same reason, so refreshing does not \
         help; check the permissions of the grant"
    )]
    RejectedAgain {
        /// The connection.
        name: ConnectionName,
        /// How long nothing is spent for rejections.
        retry_after: Duration,
    },
    /// Too many callers wait, or every spill slot is taken.
    #[error("too many {what} at once; try again in a moment")]
    Busy {
        /// What there is too much of.
        what: &'static str,
    },
    /// The store does not answer, so that nothing may be spent.
    #[error("{message}; nothing is spent until the store can record it")]
    Store {
        /// What the store says.
        message: String,
    },
    /// What is stored or defined does not fit: a key, a provider, a template.
    #[error("`{name}` cannot be used as it is defined: {message}")]
    Definition {
        /// The connection.
        name: ConnectionName,
        /// One sentence with the cure.
        message: String,
    },
    /// A grant that was given to be taken over cannot be taken.
    #[error("nothing was changed on `{name}`: {message}")]
    GrantRefused {
        /// The connection.
        name: ConnectionName,
        /// One sentence with the cure.
        message: String,
    },
    /// The process shuts down.
    #[error("jeton is shutting down; ask another node or again in a moment")]
    ShuttingDown,
}

fn nearest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!(" (did you mean {}?)", names.join(", ")),
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Store { message: error.to_string() }
    }
}

impl TokenError {
    /// The stable code, which has its page under `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownConnection { .. } => "UNKNOWN_CONNECTION",
            Self::NotConnected { .. } => "NOT_CONNECTED",
            Self::Dead { .. } => "REAUTHORIZATION_REQUIRED",
            Self::Interrupted { .. } => "INTERRUPTED",
            Self::Paused { .. } => "PAUSED",
            Self::OnHold | Self::RolledBack { .. } => "ON_HOLD",
            Self::Failed { .. } => "REFRESH_FAILED",
            Self::CoolingDown { .. } => "COOLING_DOWN",
            Self::WaitTimeout { .. } => "WAIT_TIMEOUT",
            Self::RejectedAgain { .. } => "REJECTED_AGAIN",
            Self::Busy { .. } => "BUSY",
            Self::Store { .. } => "STORE_UNAVAILABLE",
            Self::Definition { .. } => "DEFINITION_UNUSABLE",
            Self::GrantRefused { .. } => "GRANT_REFUSED",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// How long a caller should wait before it asks again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { retry_after, .. } => *retry_after,
            Self::CoolingDown { retry_after, .. } | Self::RejectedAgain { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Busy { .. } | Self::Store { .. } | Self::ShuttingDown | Self::WaitTimeout { .. } => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// The error as it leaves the process.
    pub fn problem(&self) -> Problem {
        let (status, title) = match self {
            Self::UnknownConnection { .. } => (404, "Unknown connection"),
            Self::NotConnected { .. } => (424, "Nothing is connected"),
            Self::Dead { .. } => (424, "A person must consent again"),
            Self::Interrupted { .. } => (503, "The outcome of a refresh is not known"),
            Self::Paused { .. } => (409, "The connection is paused"),
            Self::OnHold | Self::RolledBack { .. } => (503, "The installation is on hold"),
            Self::Failed { .. } => (503, "The refresh failed"),
            Self::CoolingDown { .. } => (503, "The connection cools down after a failure"),
            Self::WaitTimeout { .. } => (504, "The refresh takes longer than the caller waits"),
            Self::RejectedAgain { .. } => (409, "Refreshing does not cure the rejection"),
            Self::Busy { .. } => (503, "Too much at once"),
            Self::Store { .. } => (503, "The store is not available"),
            Self::Definition { .. } => (500, "The connection cannot be used as it is defined"),
            Self::GrantRefused { .. } => (422, "The grant cannot be taken over"),
            Self::ShuttingDown => (503, "Shutting down"),
        };
        let mut problem = Problem::new(status, self.code(), title, self.to_string());
        if let Some(after) = self.retry_after() {
            problem = problem.with("retry_after", whole_seconds(after));
        }
        match self {
            Self::Failed { class, code, .. } => {
                problem.with("class", class.as_str()).with("provider_code", code.as_str())
            }
            Self::Interrupted { attempt, .. } => problem.with("attempt", attempt.to_string()),
            _ => problem,
        }
    }
}
