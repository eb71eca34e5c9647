//! The exchange of a code: checked, recorded, sent once, and what came of it.
//!
//! It goes the way of a refresh. Everything that can fail with nothing spent comes first; a spill slot is reserved; the
//! attempt is on record before the code is sent; the code is never sent twice; the reply is durable before anybody is
//! told. What the code is exchanged at was checked before: the host of a captured variable must be the provider's.

use std::sync::Arc;

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, ConnectionName, GrantId};
use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::{Generation, SealedTokens};
use jeton_core::keep::consent::{AnsweredBy, Consent, verifier_context};
use jeton_core::keep::due;
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, Connect, ConnectAnswer, ConsentKey, FailExchange,
};
use jeton_core::keep::provider::{CallbackParams, OutboundRequest, RequestValues, Step, TokenReply, Vars};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use super::error::ConsentError;
use super::progress::{self, ConsentStatus, renews};
use super::reread;
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::Memory;
use crate::node::Node;
use crate::outbound::exchange::Outbound;
use crate::refresh::introspect;
use crate::refresh::redeem::{RedeemFailure, RedeemLimits, RedeemOutcome, redeem};
use crate::refresh::store_writer::{self, Ack, StoreWriter};
use crate::spill::slots::SpillSlot;
use crate::spill::store_write::StoreWrite;
use crate::store_access::StoreAccess;
use crate::token_crypto::{ClearTokens, seal_tokens};
use crate::token_metadata::TokenMetadata;

/// The longest code of a provider's error that is kept and shown.
const LONGEST_CODE: usize = 64;

/// A connection that a person's consent has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consented {
    /// The connection.
    pub name: ConnectionName,
    /// The generation that it brought.
    pub generation: Generation,
    /// When its access token dies.
    pub expires_at: Option<Timestamp>,
    /// Whether the connection can be kept alive beyond that.
    pub renews: bool,
}

/// Exchanges codes for grants.
#[derive(Debug)]
pub(crate) struct CodeExchange {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) writer: Arc<StoreWriter>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

impl CodeExchange {
    /// Takes the answer of a provider to its end.
    pub(super) async fn run(
        &self,
        def: &ConnectionDef,
        consent: &Consent,
        answered_by: AnsweredBy,
        params: CallbackParams,
    ) -> Result<Consented, ConsentError> {
        let answer = Answer { parts: self, def, consent, answered_by };
        let (request, values) = match answer.check(&params) {
            Ok(fit) => fit,
            Err(refused) => return Err(answer.refuse(refused).await?),
        };
        let _permit = def.permits.acquire().await.map_err(|_| TokenError::ShuttingDown)?;
        let slot = self.writer.reserve().await?;
        if self.lifecycle.is_closing() {
            // WaiterPermit for a turn takes a while.
            return Err(TokenError::ShuttingDown.into());
        }
        let now = self.node.clock.now();
        let attempt = AttemptId::generate(now, &*self.node.entropy);
        let grant = GrantId::generate(now, &*self.node.entropy);
        // Ack before the record, so that our idea of the lease ends no later than the store's.
        let limits = RedeemLimits::of_lease(self.node.clock.uptime() + self.node.settings.lease);
        let lease_ttl = self.node.settings.lease;
        answer.consume(CallbackAction::Exchange { attempt, grant, node: self.node.id, lease_ttl }).await?;
        let captured = values.captured.clone();
        // A code is spent once whatever becomes of the connection meanwhile: there is nothing to check again.
        let recheck = std::future::ready(Ok(()));
        match redeem(&self.outbound, def, Act::Connect, request, &values, limits, recheck).await {
            RedeemOutcome::Tokens { reply, sent_at } => {
                let by = Some(Actor::Consent(consent.id));
                let bought = ExchangedCode { attempt, grant, sent_at, captured, by };
                answer.connect(&reply, bought, slot).await
            }
            RedeemOutcome::Failed(refusal) => match refusal.unread {
                Some(ref body) => {
                    let kept = reread::seal(&self.node, attempt, &values.captured, body);
                    Err(answer.unread(attempt, refusal, kept, slot).await)
                }
                None => Err(answer.failed(attempt, refusal).await),
            },
        }
    }
}

/// An answer that a provider sent back.
struct Answer<'a> {
    parts: &'a CodeExchange,
    def: &'a ConnectionDef,
    consent: &'a Consent,
    answered_by: AnsweredBy,
}

/// What a code bought.
pub(super) struct ExchangedCode {
    pub(super) attempt: AttemptId,
    pub(super) grant: GrantId,
    pub(super) sent_at: Timestamp,
    pub(super) captured: Vars,
    /// Who consented; absent where this process reads by itself what it kept.
    pub(super) by: Option<Actor>,
}

/// The grant that a reply brought, to be stored. Whatever generation is in the way by then, it is sealed anew for the one
/// after that.
pub(super) fn grant(
    parts: &CodeExchange,
    def: &ConnectionDef,
    reply: &TokenReply,
    bought: &ExchangedCode,
    access_expires_at: Option<Timestamp>,
) -> (ClearTokens, Connect) {
    let extras = TokenMetadata { vars: bought.captured.clone(), ..TokenMetadata::default() };
    let opened = ClearTokens {
        access: Some(reply.access.clone()),
        refresh: reply.refresh.clone(),
        extras: Some(extras.after(reply).to_text()),
    };
    let known = parts.memory.known(&def.name);
    let generation = known.map(|known| known.row.generation).unwrap_or_default();
    let (name, next, sent_at) = (&def.name, generation.next(), bought.sent_at);
    let tokens = SealedTokens {
        access_expires_at,
        refresh_expires_at: reply.refresh_expires_at,
        ..seal_tokens(&parts.node.sealer, &*parts.node.entropy, name, next, &opened, sent_at)
    };
    let connect = Connect {
        connection: name.clone(),
        provider: def.provider.clone(),
        grant: bought.grant,
        generation,
        due_at: due::due_at(&tokens, &def.timing, sent_at, 0.0),
        tokens: Some(tokens),
        single_use: def.spends(),
        attempt: bought.attempt,
        node: parts.node.id,
        by: bought.by.clone(),
    };
    (opened, connect)
}

impl Answer<'_> {
    /// Checks everything that can be checked before the code is spent, and makes the request that spends it.
    fn check(&self, params: &CallbackParams) -> Result<(OutboundRequest, RequestValues), ConsentError> {
        let name = || self.def.name.clone();
        let foreign = |message: String| ConsentError::Foreign { name: name(), message };
        let definition = &self.def.definition;
        definition.check_issuer(params).map_err(|error| foreign(error.to_string()))?;
        if let Some(error) = params.get("error") {
            return Err(ConsentError::Denied { name: name(), code: plain(error) });
        }
        let captured = definition.capture(params).map_err(|error| foreign(error.to_string()))?;
        let failed = |code: &str, message: String| ConsentError::Failed {
            name: name(),
            code: code.to_owned(),
            message,
        };
        let code = params.get("code").filter(|code| !code.is_empty());
        let code = code.ok_or_else(|| failed("no_code", "the answer brings no code".to_owned()))?;
        let values = RequestValues {
            code: Some(Secret::new(code.as_str())),
            code_verifier: self.verifier(),
            captured,
            ..RequestValues::default()
        };
        let request = definition.request(Step::Exchange, &values);
        let request = request.map_err(|error| failed("not_sent", error.to_string()))?;
        Ok((request, values))
    }

    fn verifier(&self) -> Option<Secret> {
        let id = self.consent.id.to_string();
        let sealed = self.consent.authorization.as_ref()?.verifier.as_ref()?;
        let opened = self.parts.node.sealer.open(sealed, verifier_context(&id)).ok()?;
        std::str::from_utf8(&opened).ok().map(Secret::new)
    }

    /// Ends the consent because of `refused`, which is the answer.
    async fn refuse(&self, refused: ConsentError) -> Result<ConsentError, ConsentError> {
        let code = match &refused {
            ConsentError::Denied { code, .. } | ConsentError::Failed { code, .. } => code.clone(),
            _ => "foreign".to_owned(),
        };
        tracing::warn!(connection = %self.def.name, code, reason = %refused, "a consent came to nothing");
        let (parts, now) = (self.parts, self.parts.node.clock.now());
        let then = CallbackAction::Refuse {
            attempt: AttemptId::generate(now, &*parts.node.entropy),
            grant: GrantId::generate(now, &*parts.node.entropy),
            node: parts.node.id,
            code,
            message: refused.to_string(),
        };
        self.consume(then).await?;
        Ok(refused)
    }

    /// Uses the state up: from here on, nobody else can bring this answer.
    async fn consume(&self, then: CallbackAction) -> Result<(), ConsentError> {
        let state =
            self.consent.authorization.as_ref().map(|asked| asked.state).ok_or(ConsentError::UnknownState)?;
        let order = Callback { state, answered_by: self.answered_by, action: then };
        let store = &self.parts.store.ports.consents;
        match self.parts.store.with_retry(|| store.record_callback(order.clone())).await? {
            CallbackAnswer::Taken => Ok(()),
            CallbackAnswer::Unknown => Err(ConsentError::UnknownState),
            CallbackAnswer::Refused(unfit) => {
                let found =
                    self.parts.store.with_retry(|| store.find_consent(ConsentKey::State(state))).await?;
                let found = found.ok_or(ConsentError::UnknownState)?;
                let ConsentStatus { connection, progress, .. } = progress::of(&self.parts.node, found).await;
                Err(ConsentError::of_unfit(connection, unfit, progress))
            }
        }
    }

    /// Stores what the code bought as the grant of the connection.
    async fn connect(
        &self,
        reply: &TokenReply,
        bought: ExchangedCode,
        mut slot: SpillSlot<'_>,
    ) -> Result<Consented, ConsentError> {
        let (parts, def) = (self.parts, self.def);
        for warning in &reply.warnings {
            tracing::warn!(connection = %def.name, warning, "the token reply is strange");
        }
        let mut expires_at = reply.expires_at;
        let (opened, connect) = grant(parts, def, reply, &bought, expires_at);
        let mut write = StoreWrite::Connect(connect);
        if reply.ask_introspection && store_writer::spill_first(&mut slot, &write).await {
            match introspect::expiry(&parts.outbound, def, &opened).await {
                Ok(at) => {
                    expires_at = Some(at);
                    write = StoreWrite::Connect(grant(parts, def, reply, &bought, expires_at).1);
                }
                Err(why) => {
                    tracing::warn!(connection = %def.name, why, "the life of an access token is not known");
                }
            }
        }
        // What ends this without an answer of the store leaves the write in its slot.
        let kept = |error: TokenError| ConsentError::Kept { name: def.name.clone(), message: cause(error) };
        let taken = parts.writer.write(&write, slot).await.map_err(kept)?;
        self.report(taken, expires_at, renews(def, reply.refresh.is_some()))
    }

    fn report(
        &self,
        taken: Ack,
        expires_at: Option<Timestamp>,
        renews: bool,
    ) -> Result<Consented, ConsentError> {
        let name = self.def.name.clone();
        match taken {
            Ack::Connect(ConnectAnswer::Connected { generation }) => {
                tracing::info!(connection = %name, generation = generation.0, "connected by consent");
                if !renews {
                    tracing::warn!(connection = %name, "the provider gave no refresh token");
                }
                Ok(Consented { name, generation, expires_at, renews })
            }
            Ack::Connect(ConnectAnswer::HeldBy { connection }) => Err(ConsentError::Failed {
                message: store_writer::held_by(&connection),
                code: store_writer::HELD_BY.to_owned(),
                name,
            }),
            Ack::Connect(ConnectAnswer::Superseded) => Err(ConsentError::Failed {
                message: store_writer::superseded(&name),
                code: store_writer::SUPERSEDED.to_owned(),
                name,
            }),
            other => {
                tracing::error!(connection = %name, ?other, "the store gave a grant an answer that it cannot get");
                Err(ConsentError::Unknown {
                    name,
                    message: "the store did not say what became of it".to_owned(),
                })
            }
        }
    }

    /// Keeps a reply that may hold the grant and cannot be read, sealed, until the provider file is mended.
    async fn unread(
        &self,
        attempt: AttemptId,
        refusal: RedeemFailure,
        kept_reply: Vec<u8>,
        slot: SpillSlot<'_>,
    ) -> ConsentError {
        let name = self.def.name.clone();
        let message = format!(
            "{}; that answer is kept sealed, and is read again once the file of the provider `{}` is mended and jeton \
             started anew",
            refusal.message.trim_end_matches('.'),
            self.def.provider
        );
        let (code, status) = (&refusal.code, refusal.status.unwrap_or_default());
        tracing::error!(
            connection = %name, %attempt, code, status, reason = %message,
            "the answer to the exchange of a code cannot be read"
        );
        let fail = FailExchange {
            connection: name.clone(),
            attempt,
            unknown: true,
            code: refusal.code,
            http_status: refusal.status,
            message: message.clone(),
            kept_reply: Some(kept_reply),
        };
        if let Err(error) = self.parts.writer.write(&StoreWrite::FailExchange(fail), slot).await {
            tracing::error!(connection = %name, %attempt, %error, "that answer waits in its spill slot");
        }
        ConsentError::Unknown { name, message }
    }

    /// Records that the exchange failed. The connection keeps the grant that it has.
    async fn failed(&self, attempt: AttemptId, refusal: RedeemFailure) -> ConsentError {
        let name = self.def.name.clone();
        let unknown = refusal.class.may_have_spent();
        let (code, class, reason) = (&refusal.code, refusal.class.as_str(), &refusal.message);
        let status = refusal.status.unwrap_or_default();
        tracing::warn!(connection = %name, %attempt, code, class, status, reason, "the exchange of a code failed");
        let fail = FailExchange {
            connection: name.clone(),
            attempt,
            unknown,
            code: refusal.code.clone(),
            http_status: refusal.status,
            message: refusal.message.clone(),
            kept_reply: None,
        };
        let store = &self.parts.store.ports.consents;
        if let Err(error) = self.parts.store.with_retry(|| store.fail_exchange(fail.clone())).await {
            // The attempt stays open and lapses: the log then says what is true, that its outcome is not on record.
            tracing::error!(connection = %name, %attempt, %error, "the failure of an exchange could not be recorded");
        }
        if unknown {
            ConsentError::Unknown { name, message: refusal.message }
        } else {
            ConsentError::Failed { name, code: refusal.code, message: refusal.message }
        }
    }
}

/// What the store says, without the advice for those who have spent nothing.
fn cause(error: TokenError) -> String {
    match error {
        TokenError::Store { message } => message,
        other => other.to_string(),
    }
}

/// A provider's error code as it may be shown: it came through a browser, where anybody could have changed it.
fn plain(code: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    code.chars().take(LONGEST_CODE).map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_code_of_a_callback_is_cut_to_what_a_code_can_be() {
        assert_eq!(plain("access_denied"), "access_denied");
        assert_eq!(plain("<b>call 0800</b>"), "_b_call_0800__b_");
        assert_eq!(plain(&"x".repeat(500)).len(), LONGEST_CODE);
    }
}
