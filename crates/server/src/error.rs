//! What the state themselves refuse, before the keeper is asked.

use std::time::Duration;

use jeton_core::problem::Problem;

use crate::response::ApiError;

/// A request that does not reach the keeper. No text repeats what the caller sent: it may be a token in a wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the query cannot be read: {0}")]
    Query(&'static str),
    #[error("the body is not JSON: it breaks off or goes wrong at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the body did not arrive whole; send it again")]
    IncompleteBody,
    #[error("the body does not fit this door, which takes {0}")]
    InvalidBody(&'static str),
    #[error("the body is not marked as JSON; send it with `Content-Type: application/json`")]
    NotJsonContentType,
    #[error("the body is larger than the {limit} bytes that this door takes")]
    BodyTooLarge { limit: usize },
    #[error("the body took longer than {} s to arrive", .0.as_secs())]
    BodyTooSlow(Duration),
    #[error(
        "no link has this ticket, or it was forgotten a week after its end; ask for a new one with `jeton connect NAME`"
    )]
    UnknownLink,
    #[error("no service token has this id; `jeton service-token list` shows those there are")]
    UnknownServiceToken,
    #[error("no door has this URL; a connection's name is one path segment, and no URL ends in `/`")]
    UnknownUrl,
    #[error("this URL has no such method; the header Allow lists those it has")]
    MethodNotAllowed,
    #[error("this request met a defect of jeton, which has logged it; the process goes on")]
    Internal,
}

impl RequestError {
    /// The stable code, which has its page under `docs/errors/`.
    fn code(self) -> &'static str {
        match self {
            Self::Query(_) | Self::NotJson { .. } | Self::IncompleteBody => "BAD_REQUEST",
            Self::InvalidBody(_) => "UNPROCESSABLE_BODY",
            Self::NotJsonContentType => "UNSUPPORTED_MEDIA_TYPE",
            Self::BodyTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::BodyTooSlow(_) => "REQUEST_TIMEOUT",
            Self::UnknownLink => "UNKNOWN_LINK",
            Self::UnknownServiceToken => "UNKNOWN_SERVICE_TOKEN",
            Self::UnknownUrl => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Internal => "INTERNAL",
        }
    }

    pub(crate) fn problem(self) -> Problem {
        let (status, title) = match self {
            Self::Query(_) | Self::NotJson { .. } | Self::IncompleteBody => {
                (400, "The request cannot be read")
            }
            Self::InvalidBody(_) => (422, "The body does not fit"),
            Self::NotJsonContentType => (415, "The body is not marked as JSON"),
            Self::BodyTooLarge { .. } => (413, "The body is too large"),
            Self::BodyTooSlow(_) => (408, "The body arrives too slowly"),
            Self::UnknownLink => (404, "Unknown link"),
            Self::UnknownServiceToken => (404, "Unknown service token"),
            Self::UnknownUrl => (404, "No such URL"),
            Self::MethodNotAllowed => (405, "No such method"),
            Self::Internal => (500, "A defect of jeton"),
        };
        Problem::new(status, self.code(), title, self.to_string())
    }
}

/// Answers a path that leads nowhere.
pub(crate) async fn unknown_url() -> ApiError {
    RequestError::UnknownUrl.into()
}

/// Answers a method that a URL does not have.
pub(crate) async fn method_not_allowed() -> ApiError {
    RequestError::MethodNotAllowed.into()
}
