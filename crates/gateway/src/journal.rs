//! The access log: one line a call, when its last byte has gone, whatever became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use tokio::time::Instant;

/// What is not known, or may not be said.
const NOTHING: &str = "-";

/// Methods that may be said; any other is free text of the caller.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

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
            path = said(&self.path),
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
