//! Which APIs asked for fewer calls, and until when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jeton_core::time::Clock;

/// The longest that an API's word is taken for: a wrong `Retry-After` must not end a connection for a week.
const LONGEST: Duration = Duration::from_hours(1);

/// The connections whose API answered 429 with `Retry-After`.
#[derive(Debug)]
pub(crate) struct Rates {
    clock: Arc<dyn Clock>,
    /// By name, until when, on the clock that counts suspension.
    until: Mutex<HashMap<String, Duration>>,
}

impl Rates {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, until: Mutex::default() }
    }

    /// The API asked to wait this long.
    pub(crate) fn remember(&self, connection: &str, wait: Duration) {
        let until = self.clock.uptime() + wait.min(LONGEST);
        let mut all = self.until.lock().expect("no panic happens under this lock");
        let known = all.entry(connection.to_owned()).or_default();
        *known = until.max(*known);
    }

    /// How long still, if the API asked to wait.
    pub(crate) fn wait(&self, connection: &str) -> Option<Duration> {
        let now = self.clock.uptime();
        let mut all = self.until.lock().expect("no panic happens under this lock");
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
    fn a_wait_ends_when_it_is_over_and_concerns_its_connection_alone() {
        let clock = Arc::new(ManualClock::default());
        let rates = Rates::new(Arc::clone(&clock) as Arc<dyn Clock>);
        rates.remember("acme", Duration::from_secs(30));
        rates.remember("acme", Duration::from_secs(10));
        assert_eq!(rates.wait("acme"), Some(Duration::from_secs(30)), "the longer word counts");
        assert_eq!(rates.wait("other"), None);
        clock.advance(Duration::from_secs(30));
        assert_eq!(rates.wait("acme"), None);
        rates.remember("acme", Duration::from_hours(1_000));
        assert_eq!(rates.wait("acme"), Some(LONGEST));
    }
}
