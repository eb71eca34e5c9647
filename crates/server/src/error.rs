//! How an error becomes an HTTP response: problem details (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jeton_core::problem::Problem;
use jeton_issuer::{AccessError, TokenCommandError};
use jeton_keeper::TokenError;
use serde_json::Value;

use crate::keeper_errors::token_problem;

/// An error response, with `Retry-After` where waiting helps.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

impl ApiError {
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// The same error with another status, for callers that understand only a few.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status.as_u16();
        self
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self(Box::new(token_problem(&error)))
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<TokenCommandError> for ApiError {
    fn from(error: TokenCommandError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.members.get("retry_after").and_then(Value::as_u64);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A request that the server rejects by itself. No text repeats what the caller sent, which may be a misplaced token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("invalid query: {0}")]
    Query(&'static str),
    #[error("invalid JSON at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the body did not arrive completely; send it again")]
    IncompleteBody,
    #[error("unexpected body: this URL takes {0}")]
    InvalidBody(&'static str),
    #[error("the body is not declared as JSON; send `Content-Type: application/json`")]
    NotJsonContentType,
    #[error("the body is larger than {limit} bytes, the most that this URL takes")]
    BodyTooLarge { limit: usize },
    #[error("the body took longer than {} s to arrive; send it again", .0.as_secs())]
    BodyTooSlow(Duration),
    #[error(
        "unknown ticket: no consent link of the last 7 days has it; create a link with `jeton connect NAME`"
    )]
    UnknownLink,
    #[error("no service token has this id; `jeton service-token list` shows all of them")]
    UnknownServiceToken,
    #[error("unknown URL; see /openapi.json")]
    UnknownUrl,
    #[error("this URL does not support the method; the header `Allow` lists those it does")]
    MethodNotAllowed,
    #[error("jeton failed to handle this request: a bug, which the log describes; please report it")]
    Internal,
}

impl RequestError {
    pub(crate) fn problem(self) -> Problem {
        let (status, code, title) = match self {
            Self::Query(_) | Self::NotJson { .. } | Self::IncompleteBody => {
                (400, "BAD_REQUEST", "The request cannot be read")
            }
            Self::InvalidBody(_) => (422, "UNPROCESSABLE_BODY", "The body does not fit"),
            Self::NotJsonContentType => (415, "UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON"),
            Self::BodyTooLarge { .. } => (413, "PAYLOAD_TOO_LARGE", "The body is too large"),
            Self::BodyTooSlow(_) => (408, "REQUEST_TIMEOUT", "The body arrives too slowly"),
            Self::UnknownLink => (404, "UNKNOWN_LINK", "Unknown consent link"),
            Self::UnknownServiceToken => (404, "UNKNOWN_SERVICE_TOKEN", "Unknown service token"),
            Self::UnknownUrl => (404, "NOT_FOUND", "Unknown URL"),
            Self::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED", "Method not allowed"),
            Self::Internal => (500, "INTERNAL", "Internal error"),
        };
        Problem::new(status, code, title, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::keep::provider::ErrorClass;

    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_and_only_where_waiting_helps() {
        let failed = TokenError::Failed {
            name: "acme".parse().unwrap(),
            class: ErrorClass::RateLimited,
            code: "rate_limited".to_owned(),
            message: "the provider limits the rate".to_owned(),
            retry_after: Some(Duration::from_millis(1_200)),
        };
        let response = ApiError::from(failed).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(!response.headers().contains_key("www-authenticate"));

        let response = ApiError::from(TokenError::OnHold).into_response();
        assert!(!response.headers().contains_key("retry-after"));
    }
}
