//! What the doors themselves refuse, before the keeper is asked.

use std::time::Duration;

use jeton_core::problem::Problem;

use crate::answer::Refusal;

/// A request that does not reach the keeper. No text repeats what the caller sent: it may be a token in a wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the query cannot be read: {0}")]
    Query(&'static str),
    #[error("the body is not JSON: it breaks off or goes wrong at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the body did not arrive whole; send it again")]
    BodyBroken,
    #[error("the body does not fit this door, which takes {0}")]
    BodyMisfit(&'static str),
    #[error("the body is not marked as JSON; send it with `Content-Type: application/json`")]
    NotMarkedAsJson,
    #[error("the body is larger than the {limit} bytes that this door takes")]
    BodyTooLarge { limit: usize },
    #[error("the body took longer than {} s to arrive", .0.as_secs())]
    BodyTooSlow(Duration),
    #[error(
        "no link has this ticket, or it was forgotten a week after its end; ask for a new one with `jeton connect NAME`"
    )]
    UnknownLink,
    #[error("no service token has this id; `jeton service-token list` shows those there are")]
    NoSuchToken,
    #[error("no door has this URL; a connection's name is one path segment, and no URL ends in `/`")]
    NoSuchUrl,
    #[error("this URL has no such method; the header Allow lists those it has")]
    NoSuchMethod,
    #[error("this request met a defect of jeton, which has logged it; the process goes on")]
    Defect,
}

impl Fault {
    /// The stable code, which has its page under `docs/errors/`.
    fn code(self) -> &'static str {
        match self {
            Self::Query(_) | Self::NotJson { .. } | Self::BodyBroken => "BAD_REQUEST",
            Self::BodyMisfit(_) => "UNPROCESSABLE_BODY",
            Self::NotMarkedAsJson => "UNSUPPORTED_MEDIA_TYPE",
            Self::BodyTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::BodyTooSlow(_) => "REQUEST_TIMEOUT",
            Self::UnknownLink => "UNKNOWN_LINK",
            Self::NoSuchToken => "UNKNOWN_SERVICE_TOKEN",
            Self::NoSuchUrl => "NOT_FOUND",
            Self::NoSuchMethod => "METHOD_NOT_ALLOWED",
            Self::Defect => "INTERNAL",
        }
    }

    pub(crate) fn problem(self) -> Problem {
        let (status, title) = match self {
            Self::Query(_) | Self::NotJson { .. } | Self::BodyBroken => (400, "The request cannot be read"),
            Self::BodyMisfit(_) => (422, "The body does not fit"),
            Self::NotMarkedAsJson => (415, "The body is not marked as JSON"),
            Self::BodyTooLarge { .. } => (413, "The body is too large"),
            Self::BodyTooSlow(_) => (408, "The body arrives too slowly"),
            Self::UnknownLink => (404, "Unknown link"),
            Self::NoSuchToken => (404, "Unknown service token"),
            Self::NoSuchUrl => (404, "No such URL"),
            Self::NoSuchMethod => (405, "No such method"),
            Self::Defect => (500, "A defect of jeton"),
        };
        Problem::new(status, self.code(), title, self.to_string())
    }
}

/// Answers a path that leads nowhere.
pub(crate) async fn no_such_url() -> Refusal {
    Fault::NoSuchUrl.into()
}

/// Answers a method that a URL does not have.
pub(crate) async fn no_such_method() -> Refusal {
    Fault::NoSuchMethod.into()
}
