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

use super::draft::Draft;
use super::image::Image;
use super::{Home, Kept};
use crate::consents::{self, REMEMBERED};
use crate::desk::Desk as _;

fn find(image: &Image, key: ConsentKey) -> Option<&Consent> {
    match key {
        ConsentKey::Id(id) => image.consents.get(&id),
        ConsentKey::Ticket(ticket) => image.consents.values().find(|consent| consent.ticket == ticket),
        ConsentKey::State(state) => image
            .consents
            .values()
            .find(|consent| consent.asked.as_ref().is_some_and(|asked| asked.state == state)),
    }
}

fn with_attempt(image: &Image, consent: &Consent) -> FoundConsent {
    let attempt = match consent.ending {
        Some(ConsentOutcome::Exchange(attempt)) => image.attempts.get(&attempt),
        _ => None,
    };
    FoundConsent { consent: consent.clone(), attempt: attempt.map(|entry| entry.attempt.clone()) }
}

fn invite(draft: &Draft<'_>, invite: Invite) -> Timestamp {
    if let Some(made) = draft.image().consents.get(&invite.id) {
        return made.link_until;
    }
    let (now, mut image) = (draft.now(), draft.change());
    image.consents.retain(|_, consent| consent.link_until >= now - REMEMBERED);
    let link_until = now + invite.life;
    let consent = Consent {
        id: invite.id,
        connection: invite.connection,
        provider: invite.provider,
        ticket: invite.ticket,
        created_at: now,
        link_until,
        asked: None,
        ending: None,
    };
    image.consents.insert(consent.id, consent);
    link_until
}

fn open(draft: &Draft<'_>, opening: ConsentStart) -> ConsentStartAnswer {
    let (now, found) = (draft.now(), find(&draft.image(), ConsentKey::Ticket(opening.ticket)).cloned());
    if let Some(answer) = consents::stays(found.as_ref(), &opening, now) {
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
        draft.change().consents.insert(consent.id, Consent { asked: Some(asked), ..consent });
    }
    ConsentStartAnswer::Started { until }
}

fn record_callback(draft: &Draft<'_>, callback: &Callback) -> Result<CallbackAnswer, StoreError> {
    let (now, found) = (draft.now(), find(&draft.image(), ConsentKey::State(callback.state)).cloned());
    if let Some(answer) = consents::unfit(found.as_ref(), callback, now) {
        return Ok(answer);
    }
    let Some(mut consent) = found else { return Ok(CallbackAnswer::Unknown) };
    consent.ending = Some(match &callback.then {
        CallbackAction::Exchange { attempt, .. } => ConsentOutcome::Exchange(*attempt),
        CallbackAction::Refuse { code, message, .. } => {
            ConsentOutcome::Refused { code: code.clone(), message: message.clone() }
        }
    });
    if let Some(asked) = &mut consent.asked {
        asked.verifier = None;
    }
    draft.change().consents.insert(consent.id, consent.clone());
    let row = draft.find(&consent.connection)?;
    let attempt = consents::attempt(consent, &callback.then, row, now);
    draft.write(&attempt, callback.then.grant())?;
    Ok(CallbackAnswer::Taken)
}

fn fail_exchange(draft: &Draft<'_>, order: &FailExchange) -> Result<(), StoreError> {
    let found = draft.attempt(order.attempt)?;
    let (mut attempt, grant) = found.ok_or_else(|| consents::no_attempt(order.attempt))?;
    if consents::fail(&mut attempt, order, draft.now()) {
        draft.write(&attempt, grant)?;
        if let Some(reply) = &order.kept_reply {
            draft.keep_reply(attempt.id, &attempt.connection, reply)?;
        }
    }
    Ok(())
}

#[async_trait]
impl<H: Home> ConsentStore for Kept<H> {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |draft| Ok(invite(draft, order))).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.write(move |draft| Ok(open(draft, opening))).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.write(move |draft| record_callback(draft, &callback)).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.write(move |draft| fail_exchange(draft, &fail)).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        self.read(move |image, _| find(image, key).map(|consent| with_attempt(image, consent))).await
    }

    async fn latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let after = after.cloned();
        let latest = move |image: &Image, _| {
            // Ids sort by time: the last of each connection takes the place of those before it.
            let by_name: BTreeMap<_, _> =
                image.consents.values().map(|consent| (&consent.connection, consent)).collect();
            let wanted =
                by_name.into_iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
            wanted.take(limit).map(|(_, consent)| with_attempt(image, consent)).collect()
        };
        self.read(latest).await
    }
}
