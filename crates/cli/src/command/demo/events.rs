//! Describes what happened to connections: refresh attempts, and the grant that a user revokes.

use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus};
use jeton_core::time::Timestamp;
use serde::Serialize;

/// How an event is to be read.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventLevel {
    /// As expected.
    Good,
    /// A failure that is retried.
    Trouble,
    /// A failure that needs a person.
    Bad,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) connection: String,
    /// In at most three words.
    #[serde(rename = "event")]
    pub(super) short: String,
    /// In a sentence.
    #[serde(rename = "text")]
    pub(super) long: String,
    #[serde(rename = "tone")]
    pub(super) level: EventLevel,
}

impl Event {
    /// The event of an attempt; none for one that changed nothing.
    pub(super) fn of(attempt: &Attempt) -> Option<Self> {
        let (level, short, long) = match (attempt.act, attempt.status) {
            // Every connection of the demo starts with a connect.
            (Act::Visit | Act::Connect, _) | (_, AttemptStatus::Running | AttemptStatus::Skipped) => {
                return None;
            }
            (_, AttemptStatus::Success) => describe_success(attempt),
            (_, AttemptStatus::Failed | AttemptStatus::Interrupted) => describe_failure(attempt),
        };
        let at = attempt.completed_at.unwrap_or(attempt.started_at);
        Some(Self { at, connection: attempt.connection.to_string(), short, long, level })
    }

    /// A user has revoked the grant of a connection.
    pub(super) fn revoked(connection: &str, at: Timestamp) -> Self {
        let long = "its user revokes the grant; jeton cannot know yet";
        Self {
            at,
            connection: connection.to_owned(),
            short: "grant revoked".to_owned(),
            long: long.to_owned(),
            level: EventLevel::Trouble,
        }
    }
}

/// The level, the short text and the long one.
type Description = (EventLevel, String, String);

fn describe_success(attempt: &Attempt) -> Description {
    let at = attempt.completed_at.unwrap_or(attempt.started_at);
    let took = format!("{:.1} s", at.since(attempt.started_at).as_secs_f64());
    let (short, long) = match attempt.old_expires_at {
        _ if attempt.recovers.is_some() => {
            ("recovered", "the same token sent again, and answered".to_owned())
        }
        None => ("refreshed", format!("its first token, in {took}")),
        Some(old) if at < old => {
            let left = old.since(at).as_secs();
            ("refreshed", format!("refreshed in {took}, {left} s before the old token expires"))
        }
        Some(_) => ("refreshed", format!("refreshed in {took}, after the old token had expired")),
    };
    (EventLevel::Good, short.to_owned(), long)
}

/// The reason is the one that `jeton logs` tells.
fn describe_failure(attempt: &Attempt) -> Description {
    let code = attempt.code.as_deref().unwrap_or("failed");
    let level = match code {
        "invalid_grant" | "invalid_client" | "interrupted" => EventLevel::Bad,
        _ => EventLevel::Trouble,
    };
    let short = match attempt.http_status {
        Some(status @ (429 | 500..)) => format!("HTTP {status}"),
        _ => code.to_owned(),
    };
    (level, short, attempt.message.clone().unwrap_or_else(|| code.to_owned()))
}
