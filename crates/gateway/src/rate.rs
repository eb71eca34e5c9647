//! APIs that asked for fewer calls, and until when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::time::Clock;
use parking_lot::Mutex;

/// The longest wait that is obeyed: a wrong `Retry-After` must not block a connection for a week.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// The connections whose API answered 429 with `Retry-After`.
#[derive(Debug)]
pub(crate) struct RateLimits {
    clock: Arc<dyn Clock>,
    /// By name, until when, in uptime.
    until: Mutex<HashMap<String, Duration>>,
}

impl RateLimits {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, until: Mutex::default() }
    }

    /// Remembers that the API asked callers to wait this long.
    pub(crate) fn remember(&self, connection: &str, wait: Duration) {
        let until = self.clock.uptime() + wait.min(MAX_WAIT);
        let mut all = self.until.lock();
        let known = all.entry(connection.to_owned()).or_default();
        *known = until.max(*known);
    }

    /// How long callers still have to wait.
    pub(crate) fn wait(&self, connection: &str) -> Option<Duration> {
        let now = self.clock.uptime();
        let mut all = self.until.lock();
        let left = all.get(connection)?.saturating_sub(now);
        if left.is_zero() {
            all.remove(connection);
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::ManualClock;

    use super::*;

    #[test]
    fn a_wait_ends_in_time_and_concerns_its_connection_alone() {
        let clock = Arc::new(ManualClock::default());
        let limits = RateLimits::new(Arc::clone(&clock) as Arc<dyn Clock>);
        limits.remember("acme", Duration::from_secs(30));
        limits.remember("acme", Duration::from_secs(10));
        assert_eq!(limits.wait("acme"), Some(Duration::from_secs(30)), "the longer wait counts");
        assert_eq!(limits.wait("other"), None);
        clock.advance(Duration::from_secs(30));
        assert_eq!(limits.wait("acme"), None);
        limits.remember("acme", Duration::from_hours(1_000));
        assert_eq!(limits.wait("acme"), Some(MAX_WAIT));
    }
}
