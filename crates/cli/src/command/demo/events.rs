//! Describes refresh attempts as events.

use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::Generation;
use jeton_core::time::Timestamp;

/// How an event is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventLevel {
    /// As expected.
    Good,
    /// A failure that is retried.
    Trouble,
    /// A failure that needs a person.
    Bad,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) connection: String,
    /// In at most three words.
    pub(super) short: String,
    /// In a sentence.
    pub(super) long: String,
    pub(super) level: EventLevel,
}

impl Event {
    /// The event of an attempt; none for one that changed nothing.
    pub(super) fn of(attempt: &Attempt) -> Option<Self> {
        let (level, short, long) = match (attempt.act, attempt.status) {
            (Act::Visit, _) | (_, AttemptStatus::Running | AttemptStatus::Skipped) => return None,
            // Every connection of the demo starts with it.
            (Act::Connect, AttemptStatus::Success) if attempt.generation == Generation::default() => {
                return None;
            }
            (Act::Connect, AttemptStatus::Success) => connected(),
            (_, AttemptStatus::Success) => refreshed(attempt),
            (_, AttemptStatus::Failed) => failed(attempt),
            (_, AttemptStatus::Interrupted) => no_reply(attempt),
        };
        Some(Self {
            at: attempt.completed_at.unwrap_or(attempt.started_at),
            connection: attempt.connection.to_string(),
            short,
            long,
            level,
        })
    }

    /// A user has revoked the grant of a connection.
    pub(super) fn revoked(connection: &str, at: Timestamp) -> Self {
        Self {
            at,
            connection: connection.to_owned(),
            short: "grant revoked".to_owned(),
            long: "its user revokes the grant; jeton cannot know yet".to_owned(),
            level: EventLevel::Trouble,
        }
    }
}

/// The level, the short text and the long one.
type Description = (EventLevel, String, String);

fn describe(level: EventLevel, short: &str, long: String) -> Description {
    (level, short.to_owned(), long)
}

fn connected() -> Description {
    describe(EventLevel::Good, "connected", "a person connected it again".to_owned())
}

fn refreshed(attempt: &Attempt) -> Description {
    let at = attempt.completed_at.unwrap_or(attempt.started_at);
    let took = at.since(attempt.started_at);
    let took = format!("{}.{} s", took.as_secs(), took.subsec_millis() / 100);
    if attempt.recovers.is_some() {
        return describe(EventLevel::Good, "recovered", "the same token sent again, and answered".to_owned());
    }
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
    let code = attempt.code.as_deref().unwrap_or("failed");
    match (code, attempt.http_status) {
        ("invalid_grant", _) => describe(
            EventLevel::Bad,
            "invalid_grant",
            "invalid_grant: dead until a person consents again".to_owned(),
        ),
        ("interrupted", _) => describe(
            EventLevel::Bad,
            "grant is dead",
            "a refresh got no reply, and the token was spent".to_owned(),
        ),
        ("invalid_client", _) => {
            let long = "invalid_client: our secret is refused; the grant is kept".to_owned();
            describe(EventLevel::Bad, "invalid_client", long)
        }
        (_, Some(429)) => describe(
            EventLevel::Trouble,
            "429: waits",
            "429: nothing was spent; waits as Retry-After says".to_owned(),
        ),
        (_, Some(status @ 500..=599)) => {
            let long =
                format!("{status}: nothing was spent, says its policy (ambiguous_5xx = false); tried again");
            describe(EventLevel::Trouble, &format!("{status}: tries again"), long)
        }
        ("not_sent", _) => {
            let long = "not reached: nothing was spent, tried again".to_owned();
            describe(EventLevel::Trouble, "not reached", long)
        }
        (code, _) => {
            let message = attempt.message.as_deref().unwrap_or("no reason was given");
            describe(EventLevel::Trouble, code, format!("{code}: {message}"))
        }
    }
}

fn no_reply(attempt: &Attempt) -> Description {
    let long = match attempt.recovers {
        None => "sent, no reply: it is sent again after a pause",
        Some(_) => "sent again, and again no reply",
    };
    describe(EventLevel::Trouble, "no reply: spent?", long.to_owned())
}
