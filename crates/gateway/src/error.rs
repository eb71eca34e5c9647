//! Errors of the gateway itself, and the answers that they make.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jeton_core::keep::provider::BodyError;
use jeton_core::problem::Problem;
use jeton_core::time::whole_seconds;
use jeton_issuer::AccessError;
use jeton_keeper::{DialError, TokenError};
use jeton_server::token_problem;
use serde_json::Value;

/// The header that only answers of the gateway itself have.
pub(crate) const ERROR_HEADER: HeaderName = HeaderName::from_static("x-jeton-error");

/// The `Retry-After` where a refresh failed and nothing else is known: nothing is tried sooner.
const COOLDOWN: Duration = Duration::from_secs(5);

/// The `Retry-After` where too many tunnels are open.
const TUNNEL_WAIT: Duration = Duration::from_secs(10);

/// What `Allow` says of the gateway, which forwards any other method too but CONNECT and TRACE.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a call was not made, or has no answer. No message repeats what the caller sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the path is not accepted: {0}")]
    Path(&'static str),
    #[error("the request cannot be forwarded: {0}")]
    Head(&'static str),
    #[error("the method cannot be forwarded: CONNECT and TRACE concern one connection alone")]
    Method,
    #[error("this alias accepts {method} only")]
    AliasMethod { method: &'static str, allowed: &'static str },
    #[error(
        "the body is too large: the provider takes the token in the body, which may have {limit} bytes then, as long as \
         memory is left; see `gateway.replay_body` and `gateway.replay_memory`"
    )]
    BodyTooLarge { limit: usize },
    #[error("the body is too large: this alias takes {limit} bytes; see `gateway.replay_body`")]
    AliasBodyTooLarge { limit: usize },
    #[error(
        "the body cannot carry the token: the provider takes the token in the body, which must be a JSON object or a form \
         then; send it with its `Content-Type`"
    )]
    BodyKind,
    #[error("the body did not arrive whole; send it again")]
    BodyBroken,
    #[error("nothing of the body arrived for {} s; send it again", .0.as_secs())]
    BodyTooSlow(Duration),
    #[error("the API could not be reached: {0}")]
    Unreachable(String),
    #[error("the API gave no whole answer: {0}")]
    Broken(String),
    #[error("the API could not be reached in time: {0}; see `gateway.connect_timeout`")]
    ConnectTimeout(String),
    #[error("the API {what} within {} s; see `gateway.{setting}`", .limit.as_secs_f32())]
    TooSlow { what: &'static str, limit: Duration, setting: &'static str },
    #[error("too many WebSockets are open; see `gateway.tunnels`")]
    TooManyTunnels,
    #[error(
        "the API asked for fewer calls, and is not called before the time in `retry_after`; see `rate_limit_reach`"
    )]
    RateLimited(Duration),
    #[error(
        "the calls of this connection are more than the API allows, and waiting for a turn would take longer than \
         `gateway.rate_wait`; call again after the time in `retry_after`"
    )]
    TooManyCalls(Duration),
    #[error("the request failed by a bug of jeton, which is logged; other requests are not affected")]
    Internal,
}

impl ProxyError {
    fn problem(&self) -> Problem {
        // Each code has a page under `docs/errors/`.
        let (status, code, title) = match self {
            Self::Path(_) | Self::Head(_) | Self::BodyBroken => {
                (400, "BAD_REQUEST", "The request cannot be forwarded")
            }
            Self::Method | Self::AliasMethod { .. } => (405, "METHOD_NOT_ALLOWED", "Method not allowed"),
            Self::BodyTooLarge { .. } | Self::AliasBodyTooLarge { .. } => {
                (413, "PAYLOAD_TOO_LARGE", "The body is too large")
            }
            Self::BodyKind => (415, "UNSUPPORTED_MEDIA_TYPE", "The body cannot carry the token"),
            Self::BodyTooSlow(_) => (408, "REQUEST_TIMEOUT", "The body arrives too slowly"),
            Self::Unreachable(_) => (502, "UPSTREAM_UNREACHABLE", "The API cannot be reached"),
            Self::Broken(_) => (502, "UPSTREAM_BROKEN", "The API gave no whole answer"),
            Self::ConnectTimeout(_) | Self::TooSlow { .. } => {
                (504, "UPSTREAM_TIMEOUT", "The API takes too long")
            }
            Self::TooManyTunnels => (503, "BUSY", "Too much at once"),
            Self::RateLimited(_) => (429, "UPSTREAM_RATE_LIMITED", "The API asked for fewer calls"),
            Self::TooManyCalls(_) => (429, "CALL_RATE_EXCEEDED", "The API allows fewer calls"),
            Self::Internal => (500, "INTERNAL", "Internal error"),
        };
        let problem = Problem::new(status, code, title, self.to_string());
        match self {
            Self::RateLimited(wait) | Self::TooManyCalls(wait) => {
                problem.with("retry_after", whole_seconds(*wait))
            }
            Self::Method => problem.with("allow", FORWARDED_METHODS),
            Self::AliasMethod { allowed, .. } => problem.with("allow", *allowed),
            Self::TooManyTunnels => problem.with("retry_after", whole_seconds(TUNNEL_WAIT)),
            _ => problem,
        }
    }
}

/// The member of a problem that says what is wrong with each field of a body.
pub(crate) const FIELDS: &str = "errors";

/// The member of a problem that says where a body is not JSON.
pub(crate) const JSON_ERROR: &str = "json_error";

/// The status of a missing or wrong key where an amoCRM gateway is replaced; no other error has it.
const INVALID_KEY: u16 = 401;

/// An error as an answer of the gateway itself.
#[derive(Clone, Debug)]
pub(crate) struct ErrorResponse(pub(crate) Box<Problem>);

impl ErrorResponse {
    /// Adds a member to the problem.
    pub(crate) fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Self(Box::new(self.0.with(name, value)))
    }

    /// The same error as clients of an amoCRM gateway know it.
    pub(crate) fn with_invalid_key(mut self) -> Self {
        self.0.status = INVALID_KEY;
        self
    }

    /// The answer that those clients know, if this is that error.
    pub(crate) fn invalid_key(&self) -> Option<Response> {
        (self.0.status == INVALID_KEY).then(jeton_server::invalid_key)
    }

    /// Sets the headers that every such answer has, whatever its body.
    pub(crate) fn set_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.0.code));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.0.members.get("retry_after").and_then(Value::as_u64) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.0.members.get("allow").and_then(Value::as_str)
            && let Ok(methods) = HeaderValue::from_str(methods)
        {
            headers.insert(header::ALLOW, methods);
        }
        // The rest of a request that was not read whole would be taken for the next one.
        if self.0.status < 500 && self.0.code == "BAD_REQUEST" {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<DialError> for ProxyError {
    fn from(error: DialError) -> Self {
        let why = error.to_string();
        if error.is_timeout() { Self::ConnectTimeout(why) } else { Self::Unreachable(why) }
    }
}

impl From<ProxyError> for ErrorResponse {
    fn from(error: ProxyError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<BodyError> for ErrorResponse {
    fn from(error: BodyError) -> Self {
        let text = error.to_string();
        let problem = match error {
            BodyError::NotJson { .. } => {
                Problem::new(400, "BAD_REQUEST", "The request cannot be read", text.clone())
                    .with(JSON_ERROR, text)
            }
            BodyError::Fields(fields) => {
                let problem = Problem::new(422, "UNPROCESSABLE_BODY", "The body does not fit", text);
                problem.with(
                    FIELDS,
                    fields
                        .into_iter()
                        .map(|(field, why)| (field, why.into()))
                        .collect::<serde_json::Map<_, _>>(),
                )
            }
            BodyError::Template(_) => {
                tracing::error!("{text}; mend `body` of the alias, or `fields`");
                Problem::new(500, "INTERNAL", "Internal error", text)
            }
        };
        Self(Box::new(problem))
    }
}

impl From<AccessError> for ErrorResponse {
    fn from(error: AccessError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<TokenError> for ErrorResponse {
    fn from(error: TokenError) -> Self {
        let problem = token_problem(&error).for_callers();
        let unknown = matches!(error, TokenError::Failed { retry_after: None, .. });
        Self(Box::new(if unknown { problem.with("retry_after", whole_seconds(COOLDOWN)) } else { problem }))
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = self.invalid_key().unwrap_or_else(|| {
            let mut response = (self.status(), Json(&*self.0)).into_response();
            let problem = HeaderValue::from_static("application/problem+json");
            response.headers_mut().insert(header::CONTENT_TYPE, problem);
            response
        });
        self.set_headers(&mut response);
        response
    }
}
