//! What an outage looks like from outside.

use serde::Serialize;

/// How a provider that is down treats a token request. But for the last one, the provider itself never gets the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutageKind {
    /// Its port is closed.
    Refused,
    /// Its name is not resolved.
    NoName,
    /// Connections are reset before anything is read.
    ResetBefore,
    /// The TLS handshake ends with a fatal alert.
    TlsAlert,
    /// Its certificate is of an authority that nobody trusts.
    WrongCertificate,
    /// The request is read, and the connection reset.
    ResetAfter,
    /// The request is read and never answered.
    Hang,
    /// 500 with a JSON error of no standard.
    ServerError,
    /// 502 with an HTML page.
    BadGateway,
    /// 503 with nothing.
    Unavailable,
    /// 503 with `Retry-After`.
    UnavailableFor,
    /// 200 with an HTML page.
    HtmlPage,
    /// 429 with `Retry-After`.
    RateLimited,
    /// The provider answers, and its reply is lost on the way.
    LostReply,
}

/// The record of TLS 1.2 that holds the fatal alert `handshake_failure` (RFC 8446, sections 5.1 and 6).
pub(super) const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We are back soon.</body></html>";

impl OutageKind {
    /// Whether the client cannot know that its token was not spent.
    pub(super) fn leaves_unknown(self) -> bool {
        matches!(
            self,
            Self::ResetBefore
                | Self::ResetAfter
                | Self::Hang
                | Self::ServerError
                | Self::Unavailable
                | Self::HtmlPage
                | Self::LostReply
        )
    }

    /// How long its replies ask to wait, in seconds, where they ask for `asked`.
    pub(super) fn retry_after(self, asked: u64) -> Option<u64> {
        matches!(self, Self::UnavailableFor | Self::RateLimited).then_some(asked)
    }

    /// The reply of a provider that is down this way, where it is one.
    pub(super) fn reply(self, asked: u64) -> Option<String> {
        let (status, media_type, body) = match self {
            Self::ServerError => ("500 Internal Server Error", "application/json", r#"{"message":"oops"}"#),
            Self::BadGateway => ("502 Bad Gateway", "text/html", PAGE),
            Self::Unavailable | Self::UnavailableFor => ("503 Service Unavailable", "text/plain", ""),
            Self::HtmlPage => ("200 OK", "text/html", PAGE),
            Self::RateLimited => {
                ("429 Too Many Requests", "application/json", r#"{"message":"too many requests"}"#)
            }
            Self::Refused
            | Self::NoName
            | Self::ResetBefore
            | Self::TlsAlert
            | Self::WrongCertificate
            | Self::ResetAfter
            | Self::Hang
            | Self::LostReply => return None,
        };
        let wait = self.retry_after(asked).map(|seconds| format!("Retry-After: {seconds}\r\n"));
        let wait = wait.unwrap_or_default();
        Some(format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n{wait}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }
}
