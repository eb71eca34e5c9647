//! Folds repeated warnings: the first is logged, then a count once a minute. A disk that is full, or a caller that never stops, must
//! not fill the log, which may be on that disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The target of the counts.
pub(super) const TARGET: &str = "jeton_cli::repeats";

/// What is never a repetition: a person must act on each.
const CRITICAL: &str = "CRITICAL";

/// How many messages are distinguished by what they are about; more are counted by their text alone.
const MAX_DISTINCT: usize = 1_000;

/// How many messages are counted at all. More are logged each time.
const MAX_COUNTED: usize = 2 * MAX_DISTINCT;

/// The warnings and errors since the last count. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<Message, u64>>>);

/// Two events with equal values say the same again. An error of another attempt is another error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Message {
    target: &'static str,
    text: String,
    connection: Option<String>,
    /// A token endpoint and its client.
    server: Option<String>,
    client: Option<String>,
    code: Option<String>,
    attempt: Option<String>,
    /// A background task warns when a failure begins, and not with each run: that is no repetition.
    is_of_task: bool,
}

impl Repeats {
    /// Logs how often each message was held back since the last call. What was not repeated since then is forgotten.
    pub(super) fn report(&self) {
        let mut repeated = Vec::new();
        self.0.lock().retain(|message, count| {
            let held_back = std::mem::take(count);
            if held_back > 0 {
                repeated.push((message.clone(), held_back));
            }
            held_back > 0
        });
        for (message, times) in repeated {
            let Message { target, text, connection, server, client, code, attempt, .. } = message;
            tracing::warn!(
                target: TARGET,
                part = target, connection, server, client, code, attempt, times,
                "\"{text}\" {times} more times in the last minute"
            );
        }
    }

    /// Whether this is the first of its kind; others are counted.
    fn is_first(&self, message: Message) -> bool {
        let mut counts = self.0.lock();
        let key = if counts.contains_key(&message) || counts.len() < MAX_DISTINCT {
            message
        } else {
            Message { target: message.target, text: message.text, ..Message::default() }
        };
        if let Some(count) = counts.get_mut(&key) {
            *count += 1;
            return false;
        }
        if counts.len() < MAX_COUNTED {
            counts.insert(key, 0);
        }
        true
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let mut message = Message { target: metadata.target(), ..Message::default() };
        event.record(&mut message);
        if *metadata.level() == Level::WARN {
            message.attempt = None;
        }
        message.is_of_task || message.text.starts_with(CRITICAL) || self.is_first(message)
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.text),
            "connection" => self.connection = Some(value.to_owned()),
            "server" => self.server = Some(value.to_owned()),
            "client" => self.client = Some(value.to_owned()),
            "task" => self.is_of_task = true,
            "code" => self.code = Some(value.to_owned()),
            "attempt" => self.attempt = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if ["message", "connection", "server", "client", "task", "code", "attempt"].contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::CapturedLog;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is logged while `act` runs behind `repeats`, a line for each event.
    fn logged(repeats: &Repeats, act: impl FnOnce()) -> Vec<String> {
        let log = CapturedLog::default();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).without_time().with_writer(log.clone());
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(repeats.clone()).with(lines),
            act,
        );
        log.text().lines().map(str::to_owned).collect()
    }

    fn full_disk(calls: u64) {
        tracing::warn!(calls, error = %format!("full {calls}"), "a batch of the store failed");
    }

    #[test]
    fn a_repeated_warning_is_logged_once_and_then_counted_each_minute() {
        let repeats = Repeats::default();
        let lines = logged(&repeats, || (0..1_435).for_each(full_disk));
        assert_eq!(lines.len(), 1, "{lines:?}");
        let lines = logged(&repeats, || repeats.report());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("\"a batch of the store failed\" 1434 more times in the last minute"),
            "{lines:?}"
        );
        // It lasts: only counts are logged. Then it is over, and the next one is news.
        assert_eq!(logged(&repeats, || full_disk(1)), [""; 0]);
        assert_eq!(logged(&repeats, || repeats.report()).len(), 1);
        assert_eq!(logged(&repeats, || repeats.report()), [""; 0]);
        assert_eq!(logged(&repeats, || full_disk(1)).len(), 1);
    }

    #[test]
    fn what_is_about_something_else_is_no_repetition() {
        let repeats = Repeats::default();
        let lines = logged(&repeats, || {
            for connection in ["acme", "bank", "acme"] {
                for code in ["http_503", "invalid_client", "http_503"] {
                    tracing::warn!(%connection, code, status = 400, "refresh failed");
                }
            }
        });
        assert_eq!(lines.len(), 4, "{lines:?}");
        let lines = logged(&repeats, || {
            for (server, client) in [("one", "a"), ("two", "a"), ("one", "b"), ("two", "a")] {
                tracing::warn!(server, client, "the token endpoint is unavailable");
            }
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        let counts = logged(&repeats, || repeats.report());
        assert!(counts.iter().any(|line| line.contains("connection=\"acme\"") && line.contains("times=3")));
    }

    #[test]
    fn no_critical_line_and_no_other_attempt_of_an_error_is_held_back() {
        let repeats = Repeats::default();
        let lines = logged(&repeats, || {
            for attempt in [1, 1, 2] {
                tracing::error!(connection = "acme", attempt, "CRITICAL: refresh token revoked");
                tracing::error!(connection = "acme", attempt, "a spilled write is not taken yet");
                tracing::info!("request");
            }
        });
        assert_eq!(lines.iter().filter(|line| line.contains("CRITICAL")).count(), 3, "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.contains("spilled")).count(), 2, "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.contains("request")).count(), 3, "{lines:?}");
    }

    #[test]
    fn a_background_task_that_fails_again_after_a_good_run_is_logged_again() {
        let lines = logged(&Repeats::default(), || {
            for _ in 0..2 {
                tracing::warn!(task = "heartbeat", "a background task failed, and is tried again");
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn a_flood_of_different_warnings_takes_bounded_memory_and_few_lines() {
        let repeats = Repeats::default();
        let lines = logged(&repeats, || {
            for connection in 0..5_000 {
                tracing::warn!(connection, "no attempt could be made");
            }
        });
        assert_eq!(lines.len(), MAX_DISTINCT + 1);
        let texts = logged(&repeats, || (0..5_000).for_each(|text| tracing::warn!("text {text}")));
        assert_eq!(texts.len(), 5_000, "each of them is news");
        assert_eq!(repeats.0.lock().len(), MAX_COUNTED);
    }
}
