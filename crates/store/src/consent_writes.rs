//! The steps of a consent, each one transaction. Who may open a link and answer is decided by core
//! ([`jeton_core::keep::consent`]).

use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::Generation;
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::{self, AuthorizationRequest, Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, ConsentKey, ConsentStart, ConsentStartAnswer, FailExchange,
    Invite, StoreError,
};
use jeton_core::time::Timestamp;

use crate::grant_writes::place_grant;
use crate::write_tx::WriteTx;

/// How long consents are remembered after their links have lapsed.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// Makes a link; answers until when it can be opened.
pub(crate) async fn invite<T: WriteTx>(tx: &mut T, invite: &Invite) -> Result<Timestamp, T::Error> {
    if let Some(made) = tx.find_consent(ConsentKey::Id(invite.id)).await? {
        return Ok(made.link_until);
    }
    let now = tx.now();
    tx.forget_consents(now - REMEMBERED).await?;
    let consent = Consent {
        id: invite.id,
        connection: invite.connection.clone(),
        provider: invite.provider.clone(),
        ticket: invite.ticket,
        created_at: now,
        link_until: now + invite.life,
        authorization: None,
        outcome: None,
    };
    tx.write_consent(&consent).await?;
    tx.write_audit_row(invite.to_audit_row(now)).await?;
    Ok(consent.link_until)
}

/// Opens a link.
pub(crate) async fn start<T: WriteTx>(
    tx: &mut T,
    start: &ConsentStart,
) -> Result<ConsentStartAnswer, T::Error> {
    let Some(consent) = tx.find_consent(ConsentKey::Ticket(start.ticket)).await? else {
        return Ok(ConsentStartAnswer::Unknown);
    };
    if let Some(asked) = consent.authorization.as_ref().filter(|asked| asked.state == start.state) {
        // The same request again, after an unknown COMMIT.
        return Ok(ConsentStartAnswer::Started { until: asked.until });
    }
    let now = tx.now();
    if let Err(closed) = consent::opens(&consent, now) {
        return Ok(ConsentStartAnswer::Closed(closed));
    }
    let asked = AuthorizationRequest {
        state: start.state,
        browser: start.browser,
        verifier: Some(start.verifier.clone()),
        at: now,
        until: now + start.life,
    };
    let until = asked.until;
    tx.write_consent(&Consent { authorization: Some(asked), ..consent }).await?;
    Ok(ConsentStartAnswer::Started { until })
}

/// Uses the state of a consent up, wipes its verifier, and records what follows.
pub(crate) async fn record_callback<T: WriteTx>(
    tx: &mut T,
    callback: &Callback,
) -> Result<CallbackAnswer, T::Error> {
    let Some(mut consent) = tx.find_consent(ConsentKey::State(callback.state)).await? else {
        return Ok(CallbackAnswer::Unknown);
    };
    let outcome = match &callback.action {
        CallbackAction::Exchange { attempt, .. } => ConsentOutcome::Exchange(*attempt),
        CallbackAction::Refuse { code, message, provider_message, .. } => ConsentOutcome::Refused {
            code: code.clone(),
            message: message.clone(),
            provider_message: provider_message.clone(),
        },
    };
    if consent.outcome.as_ref() == Some(&outcome) {
        // The same request again.
        let begun = tx.attempt(callback.action.attempt()).await?.map(|(attempt, _)| attempt.started_at);
        return Ok(CallbackAnswer::Taken { at: begun.unwrap_or(tx.now()) });
    }
    if let Err(refusal) = consent::takes(&consent, callback.answered_by, tx.now()) {
        return Ok(CallbackAnswer::Refused(refusal));
    }
    consent.outcome = Some(outcome);
    if let Some(asked) = &mut consent.authorization {
        asked.verifier = None;
    }
    tx.write_consent(&consent).await?;
    let row = tx.find(&consent.connection).await?;
    let grant = match &callback.action {
        CallbackAction::Exchange { grant, .. } => {
            place_grant(tx, *grant, row.as_ref().map(|row| row.grant)).await?
        }
        CallbackAction::Refuse { grant, .. } => *grant,
    };
    let attempt = callback_attempt(consent, &callback.action, row, tx.now());
    tx.write_attempt(&attempt, grant).await?;
    Ok(CallbackAnswer::Taken { at: tx.now() })
}

/// Records that the exchange of a code failed, unless it has an outcome already.
pub(crate) async fn fail_exchange<T: WriteTx>(tx: &mut T, fail: &FailExchange) -> Result<(), T::Error> {
    let found = tx.attempt(fail.attempt).await?;
    let (mut attempt, grant) = found.ok_or_else(|| StoreError::Inconsistent {
        table: "attempts",
        column: "id",
        row: fail.attempt.to_string(),
        what: "is not there, though a code was exchanged by it".into(),
    })?;
    if attempt.status != AttemptStatus::Running {
        return Ok(());
    }
    attempt.status = if fail.unknown { AttemptStatus::Interrupted } else { AttemptStatus::Failed };
    attempt.completed_at = Some(tx.now());
    attempt.code = Some(fail.code.clone());
    attempt.http_status = fail.http_status;
    attempt.message = Some(fail.message.clone());
    attempt.provider_message.clone_from(&fail.provider_message);
    tx.write_attempt(&attempt, grant).await?;
    if let Some(reply) = &fail.kept_reply {
        tx.keep_reply(attempt.id, &attempt.connection, reply).await?;
    }
    Ok(())
}

/// The attempt that an answer of a provider opens, or the one that came to nothing. `row` is the connection, where there is
/// one.
fn callback_attempt(
    consent: Consent,
    then: &CallbackAction,
    row: Option<Connection>,
    now: Timestamp,
) -> Attempt {
    let (CallbackAction::Exchange { attempt, node, .. } | CallbackAction::Refuse { attempt, node, .. }) =
        then;
    let generation = row.as_ref().map_or(Generation(0), |row| row.generation);
    let open = Attempt {
        trigger: Trigger::Manual,
        asked_by: Some(Actor::Consent(consent.id)),
        act: Act::Connect,
        old_expires_at: row.and_then(|row| row.tokens?.access_expires_at),
        ..Attempt::begin(*attempt, *node, consent.connection, consent.provider, generation, now)
    };
    match then {
        CallbackAction::Exchange { lease_ttl, .. } => Attempt { lease_until: Some(now + *lease_ttl), ..open },
        CallbackAction::Refuse { code, message, provider_message, .. } => Attempt {
            status: AttemptStatus::Failed,
            completed_at: Some(now),
            code: Some(code.clone()),
            message: Some(message.clone()),
            provider_message: provider_message.clone(),
            ..open
        },
    }
}
