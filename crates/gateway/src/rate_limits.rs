//! APIs that asked for fewer calls (429): which calls wait, and until when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::RateLimitReach;
use jeton_core::time::Clock;
use parking_lot::Mutex;

/// The most routes of one connection that wait at once. Beyond that, the one whose wait ends first is forgotten.
const MAX_ROUTES: usize = 256;

/// A call as far as a limit concerns it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitedCall<'c> {
    pub(crate) connection: &'c str,
    pub(crate) service: &'c str,
    pub(crate) method: &'c str,
    /// Without the query.
    pub(crate) path: &'c str,
}

/// A route of an API that a service has to wait for.
#[derive(Debug)]
struct LimitedRoute {
    service: String,
    method: String,
    path: String,
    /// In uptime.
    until: Duration,
}

impl LimitedRoute {
    fn is_of(&self, call: LimitedCall<'_>) -> bool {
        self.path == call.path && self.method == call.method && self.service == call.service
    }
}

#[derive(Debug, Default)]
struct ConnectionLimits {
    /// Until when every call waits, in uptime.
    all_until: Duration,
    routes: Vec<LimitedRoute>,
}

/// The 429 answers with `Retry-After` that still hold.
#[derive(Debug)]
pub(crate) struct RateLimits {
    clock: Arc<dyn Clock>,
    by_connection: Mutex<HashMap<String, ConnectionLimits>>,
}

impl RateLimits {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, by_connection: Mutex::default() }
    }

    /// Remembers that the API asked for this wait in answer to a call.
    pub(crate) fn remember(&self, call: LimitedCall<'_>, reach: RateLimitReach, wait: Duration) {
        let now = self.clock.uptime();
        let until = now + wait;
        if reach == RateLimitReach::None {
            return;
        }
        let mut all = self.by_connection.lock();
        let limits = all.entry(call.connection.to_owned()).or_default();
        limits.routes.retain(|route| route.until > now);
        match limits.routes.iter_mut().find(|route| route.is_of(call)) {
            _ if reach == RateLimitReach::Connection => limits.all_until = limits.all_until.max(until),
            Some(route) => route.until = route.until.max(until),
            None => {
                if limits.routes.len() >= MAX_ROUTES {
                    let first = (0..limits.routes.len()).min_by_key(|index| limits.routes[*index].until);
                    first.map(|index| limits.routes.swap_remove(index));
                }
                let [service, method, path] = [call.service, call.method, call.path].map(str::to_owned);
                limits.routes.push(LimitedRoute { service, method, path, until });
            }
        }
    }

    /// How long a call still has to wait.
    pub(crate) fn wait(&self, call: LimitedCall<'_>) -> Option<Duration> {
        let mut all = self.by_connection.lock();
        let limits = all.get_mut(call.connection)?;
        let now = self.clock.uptime();
        limits.routes.retain(|route| route.until > now);
        if limits.all_until <= now && limits.routes.is_empty() {
            all.remove(call.connection);
            return None;
        }
        let route = limits.routes.iter().find(|route| route.is_of(call)).map(|route| route.until);
        let left = limits.all_until.max(route.unwrap_or_default()).saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Forgets what the API of a connection asked for.
    pub(crate) fn clear(&self, connection: &str) {
        self.by_connection.lock().remove(connection);
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::ManualClock;

    use super::*;

    const SEARCH: LimitedCall<'_> =
        LimitedCall { connection: "acme", service: "a", method: "GET", path: "/search" };

    fn limits() -> (Arc<ManualClock>, RateLimits) {
        let clock = Arc::new(ManualClock::default());
        (Arc::clone(&clock), RateLimits::new(clock))
    }

    #[test]
    fn a_wait_ends_in_time_and_the_longer_one_counts() {
        let (clock, limits) = limits();
        for seconds in [30, 10] {
            limits.remember(SEARCH, RateLimitReach::Route, Duration::from_secs(seconds));
        }
        assert_eq!(limits.wait(SEARCH), Some(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(30));
        assert_eq!(limits.wait(SEARCH), None);
        assert!(limits.by_connection.lock().is_empty(), "what is over is forgotten");
    }

    #[test]
    fn a_limit_reaches_as_far_as_it_is_said_to() {
        let others = [
            LimitedCall { service: "b", ..SEARCH },
            LimitedCall { method: "POST", ..SEARCH },
            LimitedCall { path: "/pay", ..SEARCH },
        ];
        let elsewhere = LimitedCall { connection: "other", ..SEARCH };
        for (reach, own, others_wait) in [
            (RateLimitReach::Route, true, false),
            (RateLimitReach::Connection, true, true),
            (RateLimitReach::None, false, false),
        ] {
            let (_, limits) = limits();
            limits.remember(SEARCH, reach, Duration::from_secs(30));
            assert_eq!(limits.wait(SEARCH).is_some(), own, "{reach}");
            for other in others {
                assert_eq!(limits.wait(other).is_some(), others_wait, "{reach}: {other:?}");
            }
            assert_eq!(limits.wait(elsewhere), None, "{reach}");
            limits.clear("acme");
            assert_eq!(limits.wait(SEARCH), None, "{reach}");
        }
    }

    #[test]
    fn there_are_never_more_routes_than_the_limit() {
        let (_, limits) = limits();
        let paths: Vec<String> = (0..1_000).map(|number| format!("/{number}")).collect();
        for path in &paths {
            let call = LimitedCall { path, ..SEARCH };
            limits.remember(call, RateLimitReach::Route, Duration::from_secs(30));
            assert!(limits.wait(call).is_some());
        }
        assert_eq!(limits.by_connection.lock()["acme"].routes.len(), MAX_ROUTES);
    }
}
