//! Describes what happened to connections: refresh attempts, and the grant that a user revokes.

use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
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
            (_, AttemptStatus::Success) => refreshed(attempt),
            (_, AttemptStatus::Failed) => failed(attempt),
            (_, AttemptStatus::Interrupted) => {
                let long = match attempt.recovers {
                    None => "sent, no reply: it is sent again after a pause",
                    Some(_) => "sent again, and again no reply",
                };
                describe(EventLevel::Trouble, "no reply: spent?", long)
            }
        };
        let at = attempt.completed_at.unwrap_or(attempt.started_at);
        Some(Self { at, connection: attempt.connection.to_string(), short, long, level })
    }

    /// A user has revoked the grant of a connection.
    pub(super) fn revoked(connection: &str, at: Timestamp) -> Self {
        let long = "its user revokes the grant; jeton cannot know yet";
        let (level, short, long) = describe(EventLevel::Trouble, "grant revoked", long);
        Self { at, connection: connection.to_owned(), short, long, level }
    }
}

/// The level, the short text and the long one.
type Description = (EventLevel, String, String);

fn describe(level: EventLevel, short: impl Into<String>, long: impl Into<String>) -> Description {
    (level, short.into(), long.into())
}

fn refreshed(attempt: &Attempt) -> Description {
    if attempt.recovers.is_some() {
        return describe(EventLevel::Good, "recovered", "the same token sent again, and answered");
    }
    let at = attempt.completed_at.unwrap_or(attempt.started_at);
    let took = format!("{:.1} s", at.since(attempt.started_at).as_secs_f64());
    let long = match (attempt.trigger, attempt.old_expires_at) {
        (Trigger::Manual | Trigger::Forced, _) => format!("refreshed in {took}, because a person asked"),
        (Trigger::Rejected, _) => format!("refreshed in {took}, because the API rejected its token"),
        (_, None) => format!("its first token, in {took}"),
        (_, Some(old)) if at < old => {
            format!("refreshed in {took}, {} s before the old token expires", old.since(at).as_secs())
        }
        (_, Some(_)) => format!("refreshed in {took}, after the old token had expired"),
    };
    describe(EventLevel::Good, "refreshed", long)
}

fn failed(attempt: &Attempt) -> Description {
    use EventLevel::{Bad, Trouble};
    match (attempt.code.as_deref().unwrap_or("failed"), attempt.http_status) {
        (code @ "invalid_grant", _) => {
            describe(Bad, code, "invalid_grant: dead until a person consents again")
        }
        ("interrupted", _) => {
            describe(Bad, "grant is dead", "a refresh got no reply, and the token was spent")
        }
        (code @ "invalid_client", _) => {
            describe(Bad, code, "invalid_client: our secret is refused; the grant is kept")
        }
        (_, Some(429)) => {
            describe(Trouble, "429: waits", "429: nothing was spent; waits as Retry-After says")
        }
        (_, Some(status @ 500..=599)) => {
            let long =
                format!("{status}: nothing was spent, says its policy (ambiguous_5xx = false); tried again");
            describe(Trouble, format!("{status}: tries again"), long)
        }
        ("not_sent", _) => describe(Trouble, "not reached", "not reached: nothing was spent, tried again"),
        (code, _) => {
            let message = attempt.message.as_deref().unwrap_or("no reason was given");
            describe(Trouble, code, format!("{code}: {message}"))
        }
    }
}
