//! How many lines of the access log are written.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use jeton_server::ACCESS_LOG;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The statuses from here on are failures: of the caller, of jeton, or of the API behind the gateway.
const FIRST_FAILURE: u64 = 400;

/// Which requests have a line in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// Every request.
    #[default]
    All,
    /// Those that failed, and one in so many of the others.
    Sampled(u64),
    /// Those that failed.
    Failed,
    /// None.
    Off,
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.strip_prefix("1/").map(str::parse::<u64>);
        match (text, share) {
            ("all", _) | (_, Some(Ok(1))) => Ok(Self::All),
            ("failed", _) => Ok(Self::Failed),
            ("off", _) => Ok(Self::Off),
            (_, Some(Ok(one_in))) if one_in > 0 => Ok(Self::Sampled(one_in)),
            _ => {
                let text: String = text.chars().take(40).collect();
                Err(format!("`{text}` is none of `all`, `failed`, `off` and a share such as `1/100`"))
            }
        }
    }
}

/// Holds lines of the access log back.
#[derive(Debug, Default)]
pub(super) struct AccessLogFilter {
    log: AccessLog,
    seen: AtomicU64,
}

impl AccessLogFilter {
    pub(super) fn new(log: AccessLog) -> Self {
        Self { log, seen: AtomicU64::new(0) }
    }
}

impl<S: Subscriber> Layer<S> for AccessLogFilter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if self.log == AccessLog::All || event.metadata().target() != ACCESS_LOG {
            return true;
        }
        let mut status = Status(0);
        event.record(&mut status);
        // Of a call whose caller left before its answer there is no status.
        let failed = status.0 == 0 || status.0 >= FIRST_FAILURE;
        match self.log {
            AccessLog::All => true,
            AccessLog::Sampled(one_in) => {
                failed || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in)
            }
            AccessLog::Failed => failed,
            AccessLog::Off => false,
        }
    }
}

/// The field `status` of a line.
struct Status(u64);

impl Visit for Status {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.0 = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use jeton_testkit::CapturedLog;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The statuses that are logged of 200 good requests, one that failed, and a line of another part.
    fn logged(setting: &str) -> (usize, bool, bool) {
        let log = CapturedLog::default();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).without_time().with_writer(log.clone());
        let filter = AccessLogFilter::new(setting.parse().unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(lines), || {
            for _ in 0..200 {
                tracing::info!(target: ACCESS_LOG, status = 200u16, "request");
            }
            tracing::info!(target: ACCESS_LOG, status = 503u16, "request");
            tracing::info!(status = 200u16, "something else");
        });
        let text = log.text();
        let good = text.lines().filter(|line| line.contains("request status=200")).count();
        (good, text.contains("status=503"), text.contains("something else"))
    }

    #[test]
    fn a_share_of_the_access_log_keeps_every_failure_and_all_other_lines() {
        assert_eq!(logged("all"), (200, true, true));
        assert_eq!(logged("1/100"), (2, true, true));
        assert_eq!(logged("failed"), (0, true, true));
        assert_eq!(logged("off"), (0, false, true));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for wrong in ["", "some", "1/0", "2/3", "1/x", "10%"] {
            let refused = wrong.parse::<AccessLog>().unwrap_err();
            assert!(refused.contains("`1/100`"), "{refused}");
        }
    }
}
