//! Why somebody is not let in, and why an order about service tokens is not carried out.

use jeton_core::access::{API_KEY_SERVICE, RotateRefusal, ServiceName, ServiceTokenId};
use jeton_core::keep::ports::StoreError;
use jeton_core::problem::Problem;

/// Why somebody is not let in, or not so far. No text repeats what was presented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Nothing was presented.
    #[error("X-SERVICE-TOKEN header is required.")]
    Missing,
    /// What was presented is unknown, has expired or was revoked. Which of these is nobody's business.
    #[error("Invalid service token.")]
    Invalid,
    /// Two credentials that differ: a proxy may have checked one, and we would check the other.
    #[error(
        "the request carries credentials that differ; send one, in X-SERVICE-TOKEN, in X-API-KEY or as Authorization: Bearer"
    )]
    Conflicting,
    /// Its scopes do not reach so far.
    #[error(
        "the service `{service}` lacks the scope {missing}; `jeton service-token create NAME --scope ...` makes a token that has it"
    )]
    Insufficient {
        /// Who asked.
        service: ServiceName,
        /// The scope that would do.
        missing: String,
    },
    /// The credential is that of another service than the one that was demanded.
    #[error(
        "the credential is good, and of the service `{service}`, which is not the one that is let in here"
    )]
    WrongService {
        /// Whose it is.
        service: ServiceName,
    },
    /// The store could not be asked for so long that a revocation may have gone unnoticed.
    #[error(
        "service tokens cannot be checked while the store does not answer; what the environment lets in is let in all the \
         same"
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
            Self::Unavailable => "STORE_UNAVAILABLE",
        }
    }

    /// The error as it leaves the process. That of a missing and of an invalid token also carries `error.code` and
    /// `error.detail`, which clients of older gateways read.
    pub fn problem(&self) -> Problem {
        let (status, title) = match self {
            Self::Missing => (403, "A service token is needed"),
            Self::Invalid => (403, "The service token is not valid"),
            Self::Conflicting => (400, "Credentials that differ"),
            Self::Insufficient { .. } => (403, "A scope is missing"),
            Self::WrongService { .. } => (403, "Another service is let in here"),
            Self::Unavailable => (503, "The store is not available"),
        };
        let problem = Problem::new(status, self.code(), title, self.to_string());
        match self {
            Self::Missing | Self::Invalid => {
                let error = [("code", self.code().to_owned()), ("detail", self.to_string())];
                problem.with(
                    "error",
                    serde_json::Map::from_iter(error.map(|(name, text)| (name.to_owned(), text.into()))),
                )
            }
            Self::Insufficient { service, missing } => {
                problem.with("service", service.as_str()).with("missing_scope", missing.as_str())
            }
            Self::WrongService { service } => problem.with("service", service.as_str()),
            Self::Unavailable => problem.with("retry_after", 1),
            Self::Conflicting => problem,
        }
    }
}

/// Why an order about service tokens was not carried out. Nothing was changed, unless the store says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such token.
    #[error("there is no service token {id}; `jeton service-token list` shows those there are")]
    Unknown {
        /// The id that was given.
        id: ServiceTokenId,
    },
    /// It cannot be rotated any more.
    #[error("the service token {id} {}", why(.over))]
    Over {
        /// The token.
        id: ServiceTokenId,
        /// Why.
        over: RotateRefusal,
    },
    /// The hash that was given belongs to a token already.
    #[error("the service token {id} has this hash already, revoked or not; make a new raw token")]
    Taken {
        /// That token.
        id: ServiceTokenId,
    },
    /// The name is that of the API key.
    #[error("the service name `{API_KEY_SERVICE}` is that of the API key; give the token another")]
    Reserved,
    /// The notes are too long.
    #[error("the notes are longer than {most} characters; shorten them")]
    LongNotes {
        /// How long they may be.
        most: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn why(over: &RotateRefusal) -> String {
    match over {
        RotateRefusal::Ended(standing) => {
            format!("is {standing} and cannot be rotated; `jeton service-token create` makes a new one")
        }
        RotateRefusal::Rotated(successor) => {
            format!("was rotated before; its successor is {successor}: rotate that one")
        }
    }
}

impl OrderError {
    /// The error as it leaves the process.
    pub fn problem(&self) -> Problem {
        let (status, code, title) = match self {
            Self::Unknown { .. } => (404, "UNKNOWN_SERVICE_TOKEN", "Unknown service token"),
            Self::Over { .. } | Self::Taken { .. } | Self::Reserved => {
                (409, "SERVICE_TOKEN_CONFLICT", "The service tokens do not allow it")
            }
            Self::LongNotes { .. } => (422, "UNPROCESSABLE_BODY", "The body does not fit"),
            Self::Store(_) => (503, "STORE_UNAVAILABLE", "The store is not available"),
        };
        let problem = Problem::new(status, code, title, self.to_string());
        if matches!(self, Self::Store(_)) { problem.with("retry_after", 1) } else { problem }
    }
}
