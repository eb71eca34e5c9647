//! The course of a consent, apart from how a database stores it. Who may open and answer is decided by core
//! ([`jeton_core::keep::consent`]).

use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{Connection, Generation};
use jeton_core::keep::consent::{self, Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, ConsentStart, ConsentStartAnswer, FailExchange, StoreError,
};
use jeton_core::time::Timestamp;

/// How long consents are remembered after their links have lapsed.
pub(crate) const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// What an opening comes to when nothing is to be written.
pub(crate) fn stays(
    consent: Option<&Consent>,
    opening: &ConsentStart,
    now: Timestamp,
) -> Option<ConsentStartAnswer> {
    let Some(consent) = consent else { return Some(ConsentStartAnswer::Unknown) };
    match &consent.authorization {
        // The same order again, after an unknown COMMIT.
        Some(asked) if asked.state == opening.state => {
            Some(ConsentStartAnswer::Started { until: asked.until })
        }
        _ => consent::opens(consent, now).err().map(ConsentStartAnswer::Closed),
    }
}

/// What an answer of a provider comes to when nothing is to be written.
pub(crate) fn unfit(
    consent: Option<&Consent>,
    callback: &Callback,
    now: Timestamp,
) -> Option<CallbackAnswer> {
    let Some(consent) = consent else { return Some(CallbackAnswer::Unknown) };
    match (&consent.outcome, &callback.action) {
        // The same order again.
        (Some(ConsentOutcome::Exchange(done)), CallbackAction::Exchange { attempt, .. })
            if done == attempt =>
        {
            Some(CallbackAnswer::Taken)
        }
        (
            Some(ConsentOutcome::Refused { code, message }),
            CallbackAction::Refuse { code: again, message: words, .. },
        ) if code == again && message == words => Some(CallbackAnswer::Taken),
        _ => consent::takes(consent, callback.answered_by, now).err().map(CallbackAnswer::Refused),
    }
}

/// The attempt that an answer of a provider opens, or the one that came to nothing. `row` is the connection, where there is
/// one.
pub(crate) fn attempt(
    consent: Consent,
    then: &CallbackAction,
    row: Option<Connection>,
    now: Timestamp,
) -> Attempt {
    let (CallbackAction::Exchange { attempt, node, .. } | CallbackAction::Refuse { attempt, node, .. }) =
        then;
    let open = Attempt {
        id: *attempt,
        connection: consent.connection,
        provider: consent.provider,
        trigger: Trigger::Manual,
        act: Act::Connect,
        status: AttemptStatus::Running,
        node: *node,
        generation: row.as_ref().map_or(Generation(0), |row| row.generation),
        new_generation: None,
        fingerprint: None,
        recovers: None,
        started_at: now,
        completed_at: None,
        lease_until: None,
        code: None,
        http_status: None,
        message: None,
        old_expires_at: row.and_then(|row| row.tokens?.access_expires_at),
        new_expires_at: None,
    };
    match then {
        CallbackAction::Exchange { lease_ttl, .. } => Attempt { lease_until: Some(now + *lease_ttl), ..open },
        CallbackAction::Refuse { code, message, .. } => Attempt {
            status: AttemptStatus::Failed,
            completed_at: Some(now),
            code: Some(code.clone()),
            message: Some(message.clone()),
            ..open
        },
    }
}

/// Puts a failure into the attempt; answers whether it is to be written.
pub(crate) fn fail(attempt: &mut Attempt, fail: &FailExchange, now: Timestamp) -> bool {
    if attempt.status != AttemptStatus::Running {
        return false;
    }
    attempt.status = if fail.unknown { AttemptStatus::Interrupted } else { AttemptStatus::Failed };
    attempt.completed_at = Some(now);
    attempt.code = Some(fail.code.clone());
    attempt.http_status = fail.http_status;
    attempt.message = Some(fail.message.clone());
    true
}

/// An exchange failed whose attempt is not in the log.
pub(crate) fn no_attempt(attempt: AttemptId) -> StoreError {
    let (what, row) = ("is not there, though a code was exchanged by it".into(), attempt.to_string());
    StoreError::Inconsistent { table: "attempts", column: "id", row, what }
}
