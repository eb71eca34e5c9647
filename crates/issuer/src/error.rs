//! Why a caller is refused, and why a command about service tokens fails.

use std::time::Duration;

use jeton_core::access::{API_KEY_SERVICE, RotateRefusal, ServiceName, ServiceTokenId};
use jeton_core::keep::ports::StoreError;
use jeton_core::problem::Problem;
use jeton_core::time::whole_seconds;

/// Why a caller is refused. No text repeats its credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The request carries no credential.
    #[error("X-SERVICE-TOKEN header is required.")]
    Missing,
    /// The credential is unknown, has expired or was revoked; the caller does not learn which.
    #[error("Invalid service token.")]
    Invalid,
    /// Two credentials that differ: a proxy may have checked one, and jeton would check the other.
    #[error(
        "the request carries credentials that differ; send one, in X-SERVICE-TOKEN, in X-API-KEY or as Authorization: Bearer"
    )]
    Conflicting,
    /// Its scopes do not grant this.
    #[error("the service `{service}` lacks the scope {missing}; use a token that has it, or create one")]
    Insufficient {
        /// The caller's service.
        service: ServiceName,
        /// The scope that would grant it.
        missing: String,
    },
    /// The credential is valid, but of another service than the one that was demanded.
    #[error(
        "the credential is that of the service `{service}`, which is not accepted here; send that of the demanded service"
    )]
    WrongService {
        /// The service of the credential.
        service: ServiceName,
    },
    /// The credential is not valid, as many before it from the same address. A valid one would be accepted.
    #[error(
        "too many wrong credentials come from this address; send a valid one, which is accepted at once, or wait before the next try"
    )]
    TooManyFailures {
        /// When the next one is in order.
        retry_after: Duration,
    },
    /// The store has been silent for so long that a revocation may have gone unnoticed.
    #[error(
        "service tokens cannot be checked: the store does not answer; retry in a moment, or use the API key, which needs no \
         store"
    )]
    Unavailable,
}

impl AccessError {
    /// The stable code, which has its page under `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "SERVICE_TOKEN_REQUIRED",
            Self::Invalid => "SERVICE_TOKEN_INVALID",
            Self::Conflicting => "CONFLICTING_CREDENTIALS",
            Self::Insufficient { .. } => "SCOPE_INSUFFICIENT",
            Self::WrongService { .. } => "WRONG_SERVICE",
            Self::TooManyFailures { .. } => "TOO_MANY_WRONG_CREDENTIALS",
            Self::Unavailable => "STORE_UNAVAILABLE",
        }
    }

    /// The error as callers see it. For a missing, an invalid and a wrong token it also has `error.code`, `error.detail` and
    /// `error.message`, which clients of older gateways read.
    pub fn problem(&self) -> Problem {
        let (status, title) = match self {
            Self::Missing => (403, "A service token is needed"),
            Self::Invalid => (403, "The service token is not valid"),
            Self::Conflicting => (400, "Conflicting credentials"),
            Self::Insufficient { .. } => (403, "A scope is missing"),
            Self::WrongService { .. } => (403, "Another service is demanded here"),
            Self::TooManyFailures { .. } => (429, "Too many wrong credentials"),
            Self::Unavailable => (503, "The store is not available"),
        };
        let problem = Problem::new(status, self.code(), title, self.to_string());
        match self {
            Self::Missing | Self::Invalid => problem.with("error", self.old_body()),
            Self::Insufficient { service, missing } => {
                problem.with("service", service.as_str()).with("missing_scope", missing.as_str())
            }
            Self::WrongService { service } => {
                problem.with("service", service.as_str()).with("error", self.old_body())
            }
            Self::TooManyFailures { retry_after } => problem.with("retry_after", whole_seconds(*retry_after)),
            Self::Unavailable => problem.with("retry_after", 1),
            Self::Conflicting => problem,
        }
    }
}

impl AccessError {
    /// The error as clients of older gateways read it.
    fn old_body(&self) -> serde_json::Map<String, serde_json::Value> {
        let text = self.to_string();
        let members = [("code", self.code().to_owned()), ("detail", text.clone()), ("message", text)];
        members.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
    }
}

/// Why a command about service tokens failed. Nothing was changed, except perhaps where the store failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenCommandError {
    /// There is no such token.
    #[error("there is no service token `{id}`; look for it in the list of service tokens")]
    Unknown {
        /// The id that was given.
        id: ServiceTokenId,
    },
    /// It cannot be rotated.
    #[error("the service token `{id}` cannot be rotated: {}", reason(.refusal))]
    NotRotatable {
        /// The token.
        id: ServiceTokenId,
        /// Why.
        refusal: RotateRefusal,
    },
    /// Another token, revoked or not, has this hash.
    #[error("the hash is that of the service token `{id}`; generate another raw token")]
    HashTaken {
        /// That token.
        id: ServiceTokenId,
    },
    /// The name is that of the API key.
    #[error("the service name `{API_KEY_SERVICE}` is reserved for the API key; choose another")]
    ReservedName,
    /// The notes are too long.
    #[error("the notes are longer than {max} characters; shorten them")]
    NotesTooLong {
        /// The most characters they may have.
        max: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn reason(refusal: &RotateRefusal) -> String {
    match refusal {
        RotateRefusal::Ended(status) => {
            format!("it is {status}; create a new one")
        }
        RotateRefusal::Rotated(successor) => {
            format!("it was rotated before; rotate its successor `{successor}`")
        }
    }
}

impl TokenCommandError {
    /// The error as callers see it.
    pub fn problem(&self) -> Problem {
        let (status, code, title) = match self {
            Self::Unknown { .. } => (404, "UNKNOWN_SERVICE_TOKEN", "Unknown service token"),
            Self::NotRotatable { .. } | Self::HashTaken { .. } | Self::ReservedName => {
                (409, "SERVICE_TOKEN_CONFLICT", "The service tokens do not allow it")
            }
            Self::NotesTooLong { .. } => (422, "UNPROCESSABLE_BODY", "The body does not fit"),
            Self::Store(_) => (503, "STORE_UNAVAILABLE", "The store is not available"),
        };
        let problem = Problem::new(status, code, title, self.to_string());
        if matches!(self, Self::Store(_)) { problem.with("retry_after", 1) } else { problem }
    }
}
