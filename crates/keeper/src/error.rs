//! Why a caller gets no token.

use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName, Revision};
use jeton_core::keep::ports::StoreError;
use jeton_core::keep::provider::ErrorClass;
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_core::time::{Timestamp, whole_seconds};

use crate::memory::high_water::Hold;

/// Why a caller gets no token. The texts are facts, and hold no secret; who shows them says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No definition has this name.
    #[error("there is no connection `{name}`{}", nearest(.near))]
    UnknownConnection {
        /// The name that was asked for.
        name: String,
        /// Names that are near it.
        near: Vec<String>,
    },
    /// It is defined, and nothing is connected yet.
    #[error("`{name}` is defined but not connected")]
    NotConnected {
        /// The connection.
        name: ConnectionName,
    },
    /// The grant is dead.
    #[error("the grant of `{name}` is dead ({code})")]
    Dead {
        /// The connection.
        name: ConnectionName,
        /// Why it is dead, such as `invalid_grant` or `interrupted`.
        code: String,
        /// What the provider said in its own words, for whoever may operate the connection.
        provider_message: Option<String>,
    },
    /// The outcome of an attempt is unknown: the connection goes on at `until`, once the provider answers again, or waits for a
    /// person.
    #[error(
        "attempt {attempt} of `{name}` was interrupted after its refresh token was sent, and the provider may have \
         spent it{}", describe(.endpoint.as_deref())
    )]
    Interrupted {
        /// The connection.
        name: ConnectionName,
        /// The attempt.
        attempt: AttemptId,
        /// When policy will go on by itself, if it will.
        until: Option<Timestamp>,
        /// The token endpoint does not answer: what is sent next is a trial of any connection, and then this one goes on.
        endpoint: Option<Box<UnavailableEndpoint>>,
    },
    /// An operator paused it.
    #[error("`{name}` is paused and its token has died")]
    Paused {
        /// The connection.
        name: ConnectionName,
    },
    /// The database or the data directory may be a copy, and nothing is spent until a person says so.
    #[error("this installation is on hold because {0}")]
    OnHold(Hold),
    /// A backup was put in place of the database, and nothing is spent until a person says so.
    #[error("{}", Hold::RolledBack { found: *found, seen: *seen })]
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
        /// What the provider said in its own words, for whoever may operate the connection.
        provider_message: Option<String>,
        /// When the next attempt may be made.
        retry_after: Option<Duration>,
    },
    /// The last attempt failed, and nothing is sent for a while.
    #[error("`{name}` cools down after a failure ({code}): the next refresh is tried in {} s", whole_seconds(*.retry_after))]
    CoolingDown {
        /// The connection.
        name: ConnectionName,
        /// The code of that failure.
        code: String,
        /// What the provider said in its own words, for whoever may operate the connection.
        provider_message: Option<String>,
        /// How long still.
        retry_after: Duration,
    },
    /// The token endpoint is down, and the current token is dead.
    #[error("no token for `{name}`: {endpoint}; the next trial is due in {} s", whole_seconds(*.retry_after))]
    ProviderUnavailable {
        /// The connection.
        name: ConnectionName,
        /// The token endpoint, since when it does not answer, and why.
        endpoint: Box<UnavailableEndpoint>,
        /// How long until the provider is tried again.
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
    /// The stored grant does not fit the definition, or does not open: only a new one helps.
    #[error("`{name}` cannot be used as it is defined: {message}")]
    GrantUnusable {
        /// The connection.
        name: ConnectionName,
        /// What is wrong.
        message: String,
    },
    /// A grant that was given to be taken over belongs to another connection.
    #[error(
        "nothing was changed on `{name}`: `{by}` holds this refresh token already, and two owners would spend it twice"
    )]
    GrantHeld {
        /// The connection.
        name: ConnectionName,
        /// The one that holds it.
        by: ConnectionName,
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

fn describe(endpoint: Option<&UnavailableEndpoint>) -> String {
    endpoint.map(|endpoint| format!("; {endpoint}")).unwrap_or_default()
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
            Self::OnHold(_) | Self::RolledBack { .. } => "ON_HOLD",
            Self::Failed { .. } => "REFRESH_FAILED",
            Self::CoolingDown { .. } => "COOLING_DOWN",
            Self::ProviderUnavailable { .. } => "PROVIDER_UNAVAILABLE",
            Self::WaitTimeout { .. } => "WAIT_TIMEOUT",
            Self::RejectedAgain { .. } => "REJECTED_AGAIN",
            Self::Busy { .. } => "BUSY",
            Self::Store { .. } => "STORE_UNAVAILABLE",
            Self::Definition { .. } | Self::GrantUnusable { .. } => "DEFINITION_UNUSABLE",
            Self::GrantRefused { .. } | Self::GrantHeld { .. } => "GRANT_REFUSED",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// The connection that it is about, where that exists.
    pub fn connection(&self) -> Option<&ConnectionName> {
        match self {
            Self::NotConnected { name }
            | Self::Dead { name, .. }
            | Self::Interrupted { name, .. }
            | Self::Paused { name }
            | Self::Failed { name, .. }
            | Self::CoolingDown { name, .. }
            | Self::ProviderUnavailable { name, .. }
            | Self::WaitTimeout { name, .. }
            | Self::RejectedAgain { name, .. }
            | Self::Definition { name, .. }
            | Self::GrantUnusable { name, .. }
            | Self::GrantHeld { name, .. }
            | Self::GrantRefused { name, .. } => Some(name),
            Self::UnknownConnection { .. }
            | Self::OnHold(_)
            | Self::RolledBack { .. }
            | Self::Busy { .. }
            | Self::Store { .. }
            | Self::ShuttingDown => None,
        }
    }

    /// What the provider said in its own words. No text of an error has it, because it is not for every caller.
    pub fn provider_message(&self) -> Option<&str> {
        match self {
            Self::Dead { provider_message, .. }
            | Self::Failed { provider_message, .. }
            | Self::CoolingDown { provider_message, .. } => provider_message.as_deref(),
            Self::ProviderUnavailable { endpoint, .. }
            | Self::Interrupted { endpoint: Some(endpoint), .. } => {
                endpoint.last_failure.provider_message.as_deref()
            }
            _ => None,
        }
    }

    /// The same without [the provider's words](Self::provider_message).
    #[must_use]
    pub fn without_provider_message(mut self) -> Self {
        match &mut self {
            Self::Dead { provider_message, .. }
            | Self::Failed { provider_message, .. }
            | Self::CoolingDown { provider_message, .. } => *provider_message = None,
            Self::ProviderUnavailable { endpoint, .. }
            | Self::Interrupted { endpoint: Some(endpoint), .. } => {
                endpoint.last_failure.provider_message = None;
            }
            _ => {}
        }
        self
    }

    /// How long a caller should wait before it asks again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { retry_after, .. } => *retry_after,
            Self::CoolingDown { retry_after, .. }
            | Self::ProviderUnavailable { retry_after, .. }
            | Self::RejectedAgain { retry_after, .. } => Some(*retry_after),
            Self::Busy { .. } | Self::Store { .. } | Self::ShuttingDown | Self::WaitTimeout { .. } => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}
