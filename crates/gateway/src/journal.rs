//! The access log: one line a call, when its last byte has gone, whatever became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use tokio::time::Instant;

/// What is not known, or may not be said.
const NOTHING: &str = "-";

/// Methods that may be said; any other is free text of the caller.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The longest segment of a path that is said whatever it holds.
const SHORT: usize = 20;

/// How many segments of a path are said at most.
const SEGMENTS: usize = 16;

/// A path as the log has it. A segment may be a secret, such as a token that some API wants there: what does not look like
/// a word or a number is left out.
fn shown(path: &str) -> String {
    let mut shown = String::new();
    for (index, segment) in path.split('/').skip(1).enumerate() {
        if index == SEGMENTS {
            return shown + "/...";
        }
        shown.push('/');
        shown.push_str(if is_plain(segment) { segment } else { "*" });
    }
    shown
}

fn is_plain(segment: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.');
    let is_short = segment.len() <= SHORT
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    is_short || (segment.len() <= 3 * SHORT && segment.bytes().all(is_word))
}

/// The line of one call; it is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    started: Instant,
    pub(crate) service: Option<String>,
    pub(crate) connection: Option<String>,
    method: Method,
    /// The path below the API's base, without its query.
    pub(crate) path: Option<String>,
    /// Absent where the caller left before there was an answer.
    pub(crate) status: Option<StatusCode>,
    /// The code of an answer of the gateway itself.
    pub(crate) error: Option<&'static str>,
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) retried: bool,
    /// The answer went to its end.
    pub(crate) whole: bool,
}

impl Entry {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            started: Instant::now(),
            service: None,
            connection: None,
            method,
            path: None,
            status: None,
            error: None,
            received: Arc::default(),
            sent: Arc::default(),
            retried: false,
            whole: false,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
        let method = self.method.as_str();
        tracing::info!(
            service = said(&self.service),
            connection = said(&self.connection),
            method = if METHODS.contains(&method) { method } else { NOTHING },
            path = self.path.as_deref().map_or_else(|| NOTHING.to_owned(), shown),
            status = self.status.map_or(0, |status| status.as_u16()),
            error = self.error.unwrap_or(NOTHING),
            bytes_in = self.received.load(Ordering::Relaxed),
            bytes_out = self.sent.load(Ordering::Relaxed),
            ms = self.started.elapsed().as_millis(),
            retried = self.retried,
            whole = self.whole,
            "call"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_numbers_of_a_path_are_said_and_the_rest_is_not() {
        for (path, said) in [
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
            assert_eq!(shown(path), said, "{path}");
        }
        assert_eq!(shown(&"/a".repeat(1_000)), format!("{}/...", "/a".repeat(16)));
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_breaks_a_line_or_is_long_and_mixed(path in "(/(\\PC|[ -~\n\r\t]){0,40}){1,4}") {
            let said = shown(&path);
            prop_assert!(said.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", said);
            let mixed = |segment: &str| segment.len() > SHORT && segment.bytes().any(|byte| byte.is_ascii_digit());
            prop_assert!(!said.split('/').any(mixed), "{}", said);
        }
    }
}
