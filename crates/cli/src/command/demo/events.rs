//! What happens, in words.

use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::Generation;
use jeton_core::time::Timestamp;

/// How something is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventLevel {
    /// As it should be.
    Good,
    /// Trouble that is being dealt with.
    Trouble,
    /// The end of something.
    Bad,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) connection: String,
    /// In a word or three.
    pub(super) short: String,
    /// In a sentence.
    pub(super) long: String,
    pub(super) level: EventLevel,
}

impl Event {
    /// What an attempt that has come to its status means; nothing where nothing happened that is worth a word.
    pub(super) fn of(attempt: &Attempt) -> Option<Self> {
        let (level, short, long) = match (attempt.act, attempt.status) {
            (Act::Visit, _) | (_, AttemptStatus::Running | AttemptStatus::Skipped) => return None,
            // So every connection of the demo begins.
            (Act::Connect, AttemptStatus::Success) if attempt.generation == Generation::default() => {
                return None;
            }
            (Act::Connect, AttemptStatus::Success) => connected(),
            (_, AttemptStatus::Success) => refreshed(attempt),
            (_, AttemptStatus::Failed) => failed(attempt),
            (_, AttemptStatus::Interrupted) => unknown(attempt),
        };
        Some(Self {
            at: attempt.completed_at.unwrap_or(attempt.started_at),
            connection: attempt.connection.to_string(),
            short,
            long,
            level,
        })
    }

    /// Its user has revoked a grant at its provider.
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

type Said = (EventLevel, String, String);

fn say(level: EventLevel, short: &str, long: String) -> Said {
    (level, short.to_owned(), long)
}

fn connected() -> Said {
    say(EventLevel::Good, "connected", "a person connected it anew".to_owned())
}

fn refreshed(attempt: &Attempt) -> Said {
    let at = attempt.completed_at.unwrap_or(attempt.started_at);
    let took = at.since(attempt.started_at);
    let took = format!("{}.{} s", took.as_secs(), took.subsec_millis() / 100);
    if attempt.recovers.is_some() {
        return say(EventLevel::Good, "recovered", "the same token sent once more, and answered".to_owned());
    }
    let long = match (attempt.trigger, attempt.old_expires_at) {
        (Trigger::Manual | Trigger::Forced, _) => format!("refreshed in {took}, because a person asked"),
        (Trigger::Rejected, _) => format!("refreshed in {took}, because the API refused its token"),
        (_, None) => format!("its first token, in {took}"),
        (_, Some(old)) if at < old => {
            format!("refreshed in {took}, {} s before the old token died", old.since(at).as_secs())
        }
        (_, Some(_)) => format!("refreshed in {took}, after the old token had died"),
    };
    say(EventLevel::Good, "refreshed", long)
}

fn failed(attempt: &Attempt) -> Said {
    let code = attempt.code.as_deref().unwrap_or("failed");
    match (code, attempt.http_status) {
        ("invalid_grant", _) => say(
            EventLevel::Bad,
            "invalid_grant",
            "invalid_grant: dead until a person consents again".to_owned(),
        ),
        ("interrupted", _) => {
            say(EventLevel::Bad, "grant is dead", "it died of a refresh whose reply never came".to_owned())
        }
        ("invalid_client", _) => {
            let long = "invalid_client: our secret is refused; the grant is kept".to_owned();
            say(EventLevel::Bad, "invalid_client", long)
        }
        (_, Some(429)) => say(
            EventLevel::Trouble,
            "429: waits",
            "429: nothing was spent; waits as Retry-After says".to_owned(),
        ),
        (_, Some(status @ 500..=599)) => {
            let long = format!("{status} before acceptance: nothing spent, tried again");
            say(EventLevel::Trouble, &format!("{status}: tries again"), long)
        }
        ("not_sent", _) => {
            let long = "not reached: nothing was spent, tried again".to_owned();
            say(EventLevel::Trouble, "not reached", long)
        }
        (code, _) => {
            let message = attempt.message.as_deref().unwrap_or("no reason was given");
            say(EventLevel::Trouble, code, format!("{code}: {message}"))
        }
    }
}

fn unknown(attempt: &Attempt) -> Said {
    let long = match attempt.recovers {
        None => "sent, no reply: spent or not? Its policy decides",
        Some(_) => "sent once more, and again there was no reply",
    };
    say(EventLevel::Trouble, "no reply: spent?", long.to_owned())
}
