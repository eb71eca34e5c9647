//! The port `ConsentStore`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jeton_core::id::ConnectionName;
use jeton_core::keep::consent::{AuthorizationRequest, Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, ConsentKey, ConsentStart, ConsentStartAnswer, ConsentStore,
    FailExchange, FoundConsent, Invite, StoreError,
};
use jeton_core::time::Timestamp;

use super::snapshot::Snapshot;
use super::transaction::Transaction;
use super::{InMemory, Persistence};
use crate::consent_rules::{self, REMEMBERED};
use crate::write_tx::WriteTx as _;

fn find(snapshot: &Snapshot, key: ConsentKey) -> Option<&Consent> {
    match key {
        ConsentKey::Id(id) => snapshot.consents.get(&id),
        ConsentKey::Ticket(ticket) => snapshot.consents.values().find(|consent| consent.ticket == ticket),
        ConsentKey::State(state) => snapshot
            .consents
            .values()
            .find(|consent| consent.authorization.as_ref().is_some_and(|asked| asked.state == state)),
    }
}

fn with_attempt(snapshot: &Snapshot, consent: &Consent) -> FoundConsent {
    let attempt = match consent.outcome {
        Some(ConsentOutcome::Exchange(attempt)) => snapshot.attempts.get(&attempt),
        _ => None,
    };
    FoundConsent { consent: consent.clone(), attempt: attempt.map(|entry| entry.attempt.clone()) }
}

fn invite(tx: &Transaction<'_>, invite: Invite) -> Timestamp {
    if let Some(made) = tx.snapshot().consents.get(&invite.id) {
        return made.link_until;
    }
    let (now, mut snapshot) = (tx.now(), tx.change());
    snapshot.consents.retain(|_, consent| consent.link_until >= now - REMEMBERED);
    let link_until = now + invite.life;
    let consent = Consent {
        id: invite.id,
        connection: invite.connection,
        provider: invite.provider,
        ticket: invite.ticket,
        created_at: now,
        link_until,
        authorization: None,
        outcome: None,
    };
    snapshot.consents.insert(consent.id, consent);
    link_until
}

fn open(tx: &Transaction<'_>, opening: ConsentStart) -> ConsentStartAnswer {
    let (now, found) = (tx.now(), find(&tx.snapshot(), ConsentKey::Ticket(opening.ticket)).cloned());
    if let Some(answer) = consent_rules::stays(found.as_ref(), &opening, now) {
        return answer;
    }
    let until = now + opening.life;
    let asked = AuthorizationRequest {
        state: opening.state,
        browser: opening.browser,
        verifier: Some(opening.verifier),
        at: now,
        until,
    };
    if let Some(consent) = found {
        tx.change().consents.insert(consent.id, Consent { authorization: Some(asked), ..consent });
    }
    ConsentStartAnswer::Started { until }
}

fn record_callback(tx: &Transaction<'_>, callback: &Callback) -> Result<CallbackAnswer, StoreError> {
    let (now, found) = (tx.now(), find(&tx.snapshot(), ConsentKey::State(callback.state)).cloned());
    if let Some(answer) = consent_rules::unfit(found.as_ref(), callback, now) {
        return Ok(answer);
    }
    let Some(mut consent) = found else { return Ok(CallbackAnswer::Unknown) };
    consent.outcome = Some(match &callback.action {
        CallbackAction::Exchange { attempt, .. } => ConsentOutcome::Exchange(*attempt),
        CallbackAction::Refuse { code, message, .. } => {
            ConsentOutcome::Refused { code: code.clone(), message: message.clone() }
        }
    });
    if let Some(asked) = &mut consent.authorization {
        asked.verifier = None;
    }
    tx.change().consents.insert(consent.id, consent.clone());
    let row = tx.find(&consent.connection)?;
    let attempt = consent_rules::attempt(consent, &callback.action, row, now);
    tx.write(&attempt, callback.action.grant())?;
    Ok(CallbackAnswer::Taken)
}

fn fail_exchange(tx: &Transaction<'_>, order: &FailExchange) -> Result<(), StoreError> {
    let found = tx.attempt(order.attempt)?;
    let (mut attempt, grant) = found.ok_or_else(|| consent_rules::no_attempt(order.attempt))?;
    if consent_rules::fail(&mut attempt, order, tx.now()) {
        tx.write(&attempt, grant)?;
        if let Some(reply) = &order.kept_reply {
            tx.keep_reply(attempt.id, &attempt.connection, reply)?;
        }
    }
    Ok(())
}

#[async_trait]
impl<P: Persistence> ConsentStore for InMemory<P> {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |tx| Ok(invite(tx, order))).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.write(move |tx| Ok(open(tx, opening))).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.write(move |tx| record_callback(tx, &callback)).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.write(move |tx| fail_exchange(tx, &fail)).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        self.read(move |snapshot, _| find(snapshot, key).map(|consent| with_attempt(snapshot, consent))).await
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let after = after.cloned();
        let latest = move |snapshot: &Snapshot, _| {
            // Ids sort by time: the last of each connection takes the place of those before it.
            let by_name: BTreeMap<_, _> =
                snapshot.consents.values().map(|consent| (&consent.connection, consent)).collect();
            let wanted =
                by_name.into_iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
            wanted.take(limit).map(|(_, consent)| with_attempt(snapshot, consent)).collect()
        };
        self.read(latest).await
    }
}
