//! How an error becomes an HTTP response: problem details (RFC 9457).
//!
//! The keeper states facts alone, because programs that use it as a library have no commands. Its errors get status, title
//! and cure here, for the gateway and the command line too.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jeton_core::id::ConnectionName;
use jeton_core::keep::consent::Progress;
use jeton_core::problem::Problem;
use jeton_core::time::whole_seconds;
use jeton_issuer::{AccessError, TokenCommandError};
use jeton_keeper::{ConsentError, GRANT_HELD, GRANT_SUPERSEDED, TokenError};
use serde_json::Value;

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
        Self(Box::new(token_problem(&error).for_callers()))
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<TokenCommandError> for ApiError {
    fn from(error: TokenCommandError) -> Self {
        Self(Box::new(error.problem().for_callers()))
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
    #[error("invalid body: {0}")]
    Value(&'static str),
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
    #[error(
        "the head of the request is too large: request line and headers may have {bytes} bytes and {lines} lines; send less, such \
         as fewer cookies, or see `server.max_header_bytes` and `server.max_headers`"
    )]
    HeadTooLarge { bytes: usize, lines: usize },
    #[error(
        "the request is not HTTP that can be read: its line, its version or a header is broken; escape spaces and `<`, `>` and \
         `\"` in the URL, and write each header as `Name: value`"
    )]
    UnreadableHead,
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
            Self::Query(_)
            | Self::Value(_)
            | Self::NotJson { .. }
            | Self::IncompleteBody
            | Self::UnreadableHead => (400, "BAD_REQUEST", "The request cannot be read"),
            Self::InvalidBody(_) => (422, "UNPROCESSABLE_BODY", "The body does not fit"),
            Self::NotJsonContentType => (415, "UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON"),
            Self::BodyTooLarge { .. } => (413, "PAYLOAD_TOO_LARGE", "The body is too large"),
            Self::BodyTooSlow(_) => (408, "REQUEST_TIMEOUT", "The body arrives too slowly"),
            Self::HeadTooLarge { .. } => (431, "HEADERS_TOO_LARGE", "The headers are too large"),
            Self::UnknownLink => (404, "UNKNOWN_LINK", "Unknown consent link"),
            Self::UnknownServiceToken => (404, "UNKNOWN_SERVICE_TOKEN", "Unknown service token"),
            Self::UnknownUrl => (404, "NOT_FOUND", "Unknown URL"),
            Self::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED", "Method not allowed"),
            Self::Internal => (500, "INTERNAL", "Internal error"),
        };
        Problem::new(status, code, title, self.to_string())
    }
}

/// The problem document of an error.
pub fn token_problem(error: &TokenError) -> Problem {
    let (status, title) = match error {
        TokenError::UnknownConnection { .. } => (404, "Unknown connection"),
        TokenError::NotConnected { .. } => (424, "The connection has no grant"),
        TokenError::Dead { .. } => (424, "A person must consent again"),
        TokenError::Interrupted { .. } => (503, "The outcome of a refresh is unknown"),
        TokenError::Paused { .. } => (409, "The connection is paused"),
        TokenError::OnHold(_) | TokenError::RolledBack { .. } => (503, "The installation is on hold"),
        TokenError::Failed { .. } => (503, "The refresh failed"),
        TokenError::CoolingDown { .. } => (503, "The connection pauses after a failure"),
        TokenError::ProviderUnavailable { .. } => (503, "The provider does not answer"),
        TokenError::WaitTimeout { .. } => (504, "The refresh takes too long"),
        TokenError::RejectedAgain { .. } => (409, "The API rejects a token that was just refreshed"),
        TokenError::Busy { .. } => (503, "A limit is reached"),
        TokenError::Store { .. } => (503, "The store is not available"),
        TokenError::Definition { .. } | TokenError::GrantUnusable { .. } => {
            (500, "The settings of the connection do not fit")
        }
        TokenError::GrantRefused { .. } | TokenError::GrantHeld { .. } => {
            (422, "The grant cannot be taken over")
        }
        TokenError::ShuttingDown => (503, "Shutting down"),
    };
    let mut problem = Problem::new(status, error.code(), title, token_message(error));
    if let Some(after) = error.retry_after() {
        problem = problem.with("retry_after", whole_seconds(after));
    }
    if let Some(words) = error.provider_message() {
        problem = problem.with("provider_message", words);
    }
    match error {
        TokenError::Failed { class, code, .. } => {
            problem.with("class", class.as_str()).with("provider_code", code.as_str())
        }
        TokenError::Interrupted { attempt, .. } => problem.with("attempt", attempt.to_string()),
        _ => problem,
    }
}

/// The cure of what passes by itself.
const NOBODY_IS_NEEDED: &str = "while `jeton serve` runs, nobody needs to do anything";

/// The error of a refresh or a token in one sentence, with what to do.
pub fn token_message(error: &TokenError) -> String {
    let said =
        error.provider_message().map(|words| format!("; {}", provider_says(words))).unwrap_or_default();
    let cure = match error {
        TokenError::UnknownConnection { name, .. } => {
            format!("define it under [connections.{name}] in jeton.toml, and restart `jeton serve`")
        }
        TokenError::NotConnected { name } => format!("run `jeton connect {name}`"),
        TokenError::Dead { name, .. } => format!("a person must consent again: `jeton connect {name}`"),
        TokenError::Interrupted { endpoint: Some(_), .. } => {
            format!("`jeton serve` goes on once the token endpoint answers; {NOBODY_IS_NEEDED}")
        }
        TokenError::Interrupted { until: Some(until), .. } => {
            format!("`jeton serve` goes on at {until}, or when its reply comes to light; {NOBODY_IS_NEEDED}")
        }
        TokenError::Interrupted { name, until: None, .. } => format!(
            "look at `jeton logs`, then `jeton refresh --connection {name} --force` sends it once more, or `jeton \
             connect {name}` replaces the grant"
        ),
        TokenError::Paused { name } => format!("`jeton resume {name}` goes on"),
        TokenError::OnHold(_) => "if the original no longer runs, `jeton adopt` takes it over".to_owned(),
        TokenError::RolledBack { .. } => {
            "put the newer database back, or `jeton adopt` goes on with this one, and what \
                                          was spent since must be connected again"
                .to_owned()
        }
        TokenError::GrantUnusable { name, .. } => format!("`jeton connect {name}` replaces the grant"),
        TokenError::GrantHeld { by, .. } => {
            format!("use that connection, or `jeton disconnect {by}` first")
        }
        TokenError::ProviderUnavailable { .. } => NOBODY_IS_NEEDED.to_owned(),
        _ => return format!("{error}{said}"),
    };
    format!("{error}{said}; {cure}")
}

/// What the provider said in its own words, as a part of a sentence.
pub fn provider_says(words: &str) -> String {
    format!("the provider says: {words:?}")
}

/// The error of a consent in one sentence, with what to do.
pub fn consent_message(error: &ConsentError) -> String {
    let said = match error {
        ConsentError::Denied { provider_message: Some(words), .. }
        | ConsentError::Failed { provider_message: Some(words), .. } => format!("{}; ", provider_says(words)),
        _ => String::new(),
    };
    let again = |name: &ConnectionName| format!("begin again with `jeton connect {name}`");
    let cure = match error {
        ConsentError::UnknownLink => "ask for a new one with `jeton connect NAME`".to_owned(),
        ConsentError::UsedLink { name } | ConsentError::LateLink { name } => {
            format!("ask for a new one with `jeton connect {name}`")
        }
        ConsentError::NoState => "begin with `jeton connect NAME`".to_owned(),
        ConsentError::UnknownState => "begin again with `jeton connect NAME`".to_owned(),
        ConsentError::UsedAnswer { progress: Progress::Done { .. }, .. } => return error.to_string(),
        ConsentError::UsedAnswer { progress: Progress::Exchanging, .. } => {
            "`jeton status` says when it is done".to_owned()
        }
        ConsentError::AnotherBrowser => {
            "go on there, or begin again with `jeton connect NAME` and open the link here".to_owned()
        }
        ConsentError::ForTerminal { name } => {
            format!(
                "copy the address of this page into the terminal where `jeton connect {name} --code` runs"
            )
        }
        ConsentError::Stateless { .. } => {
            "paste the whole address that the browser ended on, with its `code` and its `state`".to_owned()
        }
        ConsentError::Redefined { name, .. } => {
            format!("restart `jeton serve` where its definition was changed, and {}", again(name))
        }
        ConsentError::Denied { name, .. } => format!("to ask again, `jeton connect {name}`"),
        ConsentError::Failed { code, .. } if code == GRANT_HELD => {
            "use that connection, or `jeton disconnect` it first".to_owned()
        }
        ConsentError::Failed { code, .. } if code == GRANT_SUPERSEDED => {
            "`jeton status` shows how it stands".to_owned()
        }
        ConsentError::Kept { name, .. } => {
            format!("do not begin again, and wait until `jeton status` shows `{name}` as live")
        }
        ConsentError::Slow { .. } => "`jeton status` says when it is done".to_owned(),
        ConsentError::Keeper(error) => return token_message(error),
        ConsentError::UsedAnswer { name, .. }
        | ConsentError::LateAnswer { name }
        | ConsentError::Foreign { name, .. }
        | ConsentError::Failed { name, .. }
        | ConsentError::Unknown { name, .. }
        | ConsentError::Defect { name } => again(name),
    };
    format!("{error}; {said}{cure}")
}

#[cfg(test)]
mod tests {
    use jeton_core::id::AttemptId;
    use jeton_core::keep::provider::ErrorClass;
    use jeton_core::keep::unavailable::{EndpointFailure, UnavailableEndpoint};
    use jeton_core::time::Timestamp;

    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_and_only_where_waiting_helps() {
        let failed = TokenError::Failed {
            name: "acme".parse().unwrap(),
            class: ErrorClass::RateLimited,
            code: "rate_limited".to_owned(),
            message: "the provider limits the rate".to_owned(),
            provider_message: None,
            retry_after: Some(Duration::from_millis(1_200)),
        };
        let response = ApiError::from(failed).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(!response.headers().contains_key("www-authenticate"));

        let response = ApiError::from(TokenError::OnHold(jeton_keeper::Hold::Copied)).into_response();
        assert!(!response.headers().contains_key("retry-after"));
    }

    #[test]
    fn what_passes_by_itself_asks_nobody_for_anything_and_what_does_not_never_says_that_it_does() {
        let name: ConnectionName = "acme".parse().unwrap();
        let attempt = AttemptId::from_bytes([7; 16]);
        let endpoint = || {
            Box::new(UnavailableEndpoint {
                client: Some("id".to_owned()),
                server: "auth.example.com".to_owned(),
                since: Timestamp::from_secs(60),
                next_trial: Timestamp::from_secs(120),
                last_failure: EndpointFailure {
                    message: "the provider answered with HTTP 503".to_owned(),
                    provider_message: Some("Under maintenance.".to_owned()),
                    ..EndpointFailure::default()
                },
            })
        };
        let unavailable = TokenError::ProviderUnavailable {
            name: name.clone(),
            endpoint: endpoint(),
            retry_after: Duration::from_secs(9),
        };
        let text = "no token for `acme`: the token endpoint at `auth.example.com` for the client `id` has not answered since \
                    1970-01-01T00:01:00Z (the provider answered with HTTP 503); the next trial is due in 9 s; the provider \
                    says: \"Under maintenance.\"; while `jeton serve` runs, nobody needs to do anything";
        assert_eq!(token_message(&unavailable), text);
        assert!(!token_message(&unavailable.without_provider_message()).contains("maintenance"));
        let interrupted = |until, endpoint| {
            token_message(&TokenError::Interrupted { name: name.clone(), attempt, until, endpoint })
        };
        let until = Some(Timestamp::from_secs(60));
        for passes in [interrupted(until, None), interrupted(until, Some(endpoint()))] {
            assert!(
                passes.contains("`jeton serve` goes on") && passes.ends_with(NOBODY_IS_NEEDED),
                "{passes}"
            );
            assert!(!passes.contains("--force"), "{passes}");
        }
        let down = interrupted(until, Some(endpoint()));
        assert!(down.contains("auth.example.com") && !down.contains("at 1970-01-01T00:01:00Z"), "{down}");
        let asks = interrupted(None, None);
        assert!(asks.contains("`jeton refresh --connection acme --force`"), "{asks}");
        assert!(!asks.contains("nobody") && !asks.contains("goes on"), "{asks}");
    }

    #[test]
    fn what_only_a_person_can_mend_names_the_command() {
        let name: ConnectionName = "acme".parse().unwrap();
        let named = |error: TokenError| token_problem(&error).detail;
        assert!(named(TokenError::NotConnected { name: name.clone() }).ends_with("run `jeton connect acme`"));
        let (code, words) = ("invalid_grant".to_owned(), Some("The account is closed.".to_owned()));
        let dead = named(TokenError::Dead { name: name.clone(), code, provider_message: words });
        assert!(dead.contains("(invalid_grant); the provider says: \"The account is closed.\"; "), "{dead}");
        assert!(dead.ends_with("`jeton connect acme`"), "{dead}");
        assert!(named(TokenError::Paused { name: name.clone() }).contains("`jeton resume acme`"));
        assert!(named(TokenError::OnHold(jeton_keeper::Hold::Copied)).contains("`jeton adopt`"));
        let by = "other".parse().unwrap();
        assert!(named(TokenError::GrantHeld { name: name.clone(), by }).contains("`jeton disconnect other`"));
        let message = "it does not open".to_owned();
        assert!(
            named(TokenError::GrantUnusable { name: name.clone(), message }).contains("`jeton connect acme`")
        );
        assert!(consent_message(&ConsentError::LateLink { name }).contains("`jeton connect acme`"));
    }
}
