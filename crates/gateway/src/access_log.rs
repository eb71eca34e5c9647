//! The access log: one line for each call, written when its last byte has been sent, however it ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use jeton_server::{ACCESS_LOG, RequestId};
use tokio::time::Instant;

use crate::error::ErrorResponse;

/// Stands for what is not known, or must not be logged.
const UNKNOWN: &str = "-";

/// Methods that are logged; any other is free text of the caller.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Up to this length a segment of a path is logged with letters and digits mixed.
const SHORT: usize = 20;

/// How many segments of a path are logged at most.
const MAX_SEGMENTS: usize = 16;

/// A path as it is logged. A segment may be a secret, such as a token that some API wants there: what does not look like a
/// word or a number becomes `*`.
fn redact_path(path: &str) -> String {
    let mut redacted = String::new();
    for (index, segment) in path.split('/').skip(1).enumerate() {
        if index == MAX_SEGMENTS {
            return redacted + "/...";
        }
        redacted.push('/');
        redacted.push_str(if is_plain(segment) { segment } else { "*" });
    }
    redacted
}

fn is_plain(segment: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.');
    let is_short = segment.len() <= SHORT
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    is_short || (segment.len() <= 3 * SHORT && segment.bytes().all(is_word))
}

/// The line of one call, which is written when this is dropped.
#[derive(Debug)]
pub(crate) struct AccessLogEntry {
    started: Instant,
    /// Where the call comes from.
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: Option<RequestId>,
    /// The trace that the call belongs to.
    pub(crate) trace_id: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) connection: Option<String>,
    method: Method,
    /// The path below the API's base, without its query; of an alias the path at jeton.
    pub(crate) path: Option<String>,
    /// The path below the API's base that an alias stands for.
    pub(crate) upstream: Option<String>,
    /// `None` where the caller left before there was an answer.
    pub(crate) status: Option<StatusCode>,
    /// The code of an error of the gateway itself.
    pub(crate) error: Option<&'static str>,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) retried: bool,
    /// The answer was sent to its end.
    pub(crate) whole: bool,
    /// Writes no line: another entry goes on with the call.
    silent: bool,
}

impl AccessLogEntry {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            started: Instant::now(),
            client: None,
            request_id: None,
            trace_id: None,
            service: None,
            connection: None,
            method,
            path: None,
            upstream: None,
            status: None,
            error: None,
            received: Arc::default(),
            sent: Arc::default(),
            retried: false,
            whole: false,
            silent: false,
        }
    }

    /// An entry for the answer of an API that is read here and goes no further: it writes no line.
    pub(crate) fn silent(&self) -> Self {
        let mut silent = Self::new(self.method.clone());
        silent.silent = true;
        silent
    }

    /// Ends the call with an answer of `size` bytes that was made here.
    pub(crate) fn answer(mut self, status: StatusCode, size: usize) {
        self.status = Some(status);
        self.sent = Arc::new(AtomicU64::new(size as u64));
        self.whole = true;
    }

    /// Ends the call with an error of the gateway itself.
    pub(crate) fn fail(mut self, error: impl Into<ErrorResponse>) -> ErrorResponse {
        let error = error.into();
        self.status = Some(error.status());
        self.error = Some(error.0.code);
        self.whole = true;
        error
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let path = |path: &Option<String>| path.as_deref().map_or_else(|| UNKNOWN.to_owned(), redact_path);
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let method = self.method.as_str();
        tracing::info!(
            target: ACCESS_LOG,
            service = known(&self.service),
            connection = known(&self.connection),
            method = if METHODS.contains(&method) { method } else { UNKNOWN },
            path = path(&self.path),
            status = self.status.map_or(0, |status| status.as_u16()),
            error = self.error.unwrap_or(UNKNOWN),
            client = self.client.map(tracing::field::display),
            request_id = self.request_id.as_ref().map_or(UNKNOWN, RequestId::as_str),
            trace_id = self.trace_id.as_deref().unwrap_or(UNKNOWN),
            bytes_in = self.received.load(Ordering::Relaxed),
            bytes_out = self.sent.load(Ordering::Relaxed),
            ms = self.started.elapsed().as_millis(),
            retried = self.retried,
            whole = self.whole,
            upstream = path(&self.upstream),
            "call"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_numbers_of_a_path_are_logged_and_the_rest_is_not() {
        for (path, logged) in [
            ("/api/v4/leads/123456", "/api/v4/leads/123456"),
            ("/", "/"),
            (
                "/transactions_by_counterparty_of_the_month/x.json",
                "/transactions_by_counterparty_of_the_month/x.json",
            ),
            ("/bot123456:AAF-Zk2mPq/sendMessage", "/*/sendMessage"),
            ("/v1/sk_live_4eC39HqLyjWDarjtT1zdp7dc/x", "/v1/*/x"),
            ("/a%0Ab/c;token=x/d%20e", "/*/*/*"),
        ] {
            assert_eq!(redact_path(path), logged, "{path}");
        }
        assert_eq!(redact_path(&"/a".repeat(1_000)), format!("{}/...", "/a".repeat(16)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_logged_breaks_a_line_or_is_long_and_mixed(path in "(/(\\PC|[ -~\n\r\t]){0,40}){1,4}") {
            let logged = redact_path(&path);
            prop_assert!(logged.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", logged);
            let mixed = |segment: &str| segment.len() > SHORT && segment.bytes().any(|byte| byte.is_ascii_digit());
            prop_assert!(!logged.split('/').any(mixed), "{}", logged);
        }
    }
}
