//! How much callers may send, how long they may take, and how many there may be.

use std::time::Duration;

/// Limits for one caller or for all together. Besides, a body of the API has at most 64 KiB that arrive within 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most open connections. For one more, an idle one is closed: first those without a valid credential, the longest
    /// idle one first. While none is idle, more wait.
    pub connections: usize,
    /// The most bytes of request line and headers together (else 431).
    pub header_bytes: usize,
    /// The most header lines (else 431).
    pub header_lines: usize,
    /// The time for request line and headers to arrive; also how long an idle connection stays open.
    pub header_time: Duration,
    /// How long a caller may read nothing of an answer.
    pub write_timeout: Duration,
    /// How long shutdown waits for running requests.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 * 1024,
            header_lines: 256,
            header_time: Duration::from_secs(30),
            write_timeout: Duration::from_mins(2),
            drain: Duration::from_secs(45),
        }
    }
}
