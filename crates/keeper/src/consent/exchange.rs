//! The exchange of a code for a grant.
//!
//! It takes the path of a refresh ([`Spender`]). What the code is exchanged at is checked before: the host of a captured
//! variable must be the provider's.

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, ConnectionName, Generation, GrantId};
use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::consent::{AnsweredBy, Consent, verifier_context};
use jeton_core::keep::due;
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, Connect, ConnectAnswer, ConsentKey, FailExchange,
};
use jeton_core::keep::provider::{CallbackParams, OutboundRequest, RequestValues, Step};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use super::error::ConsentError;
use super::progress::{self, ConsentStatus, renews};
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::refresh::spend::{
    ReceivedTokens, Recorded, RedeemFailure, SpendOutcome, SpendRequest, SpendTarget, Spender, StoredTokens,
};
use crate::refresh::store_writer::{self, StoreAnswer};
use crate::spill::store_write::StoreWrite;
use crate::token_crypto::seal_tokens;
use crate::token_metadata::{TokenMetadata, asked_scope};

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

/// Takes the answer of a provider to its end.
pub(super) async fn run(
    spender: &Spender,
    def: &ConnectionDef,
    consent: &Consent,
    answered_by: AnsweredBy,
    params: CallbackParams,
) -> Result<Consented, ConsentError> {
    let answer = Answer { spender, def, consent, answered_by };
    let (request, values) = match answer.check(&params) {
        Ok(fit) => fit,
        Err(refused) => return Err(answer.refuse(refused).await?),
    };
    // A person waits, and the code lives for a moment: it is sent though the provider may be down.
    let turn = spender.take_turn(def, true, async { Ok(()) }).await?;
    let (node, attempt) = (&spender.node, turn.attempt);
    let grant = GrantId::generate(node.clock.now(), &*node.entropy);
    let lease_ttl = node.settings.lease;
    let at = answer.consume(CallbackAction::Exchange { attempt, grant, node: node.id, lease_ttl }).await?;
    let recorded = Recorded::now(node, at);
    let target = NewGrant {
        spender,
        def,
        attempt,
        grant,
        by: Some(Actor::Consent(consent.id)),
        what: "the exchange of a code",
    };
    let scope = asked_scope(&def.definition);
    let metadata = TokenMetadata { vars: values.captured.clone(), scope, ..TokenMetadata::default() };
    let sent = SpendRequest { act: Act::Connect, request, values };
    // A code is spent once whatever becomes of the connection meanwhile: there is nothing to check again.
    match turn.spend(sent, recorded, metadata, async { Ok(()) }, &target).await {
        SpendOutcome::Tokens { received, stored } => {
            // What ends this without an answer of the store leaves the grant in its spill slot.
            let stored = stored
                .map_err(|error| ConsentError::Kept { name: def.name.clone(), message: cause(error) })?;
            let shown = stored.access_expires_at.map(|expiry| node.clock.shown(expiry));
            let stored = StoredTokens { access_expires_at: shown, ..stored };
            report(def, stored, renews(def, received.reply.refresh.is_some()))
        }
        SpendOutcome::Failed { failure, recorded } => {
            if let Err(error) = recorded {
                tracing::error!(connection = %def.name, %attempt, %error, "the failure waits in its spill slot");
            }
            let (name, message) = (def.name.clone(), target.failure_message(&failure));
            Err(if failure.is_unknown() {
                ConsentError::Unknown { name, message }
            } else {
                ConsentError::Failed {
                    name,
                    code: failure.code,
                    message,
                    provider_message: failure.provider_message,
                }
            })
        }
    }
}

/// An answer that a provider sent back.
struct Answer<'a> {
    spender: &'a Spender,
    def: &'a ConnectionDef,
    consent: &'a Consent,
    answered_by: AnsweredBy,
}

/// A new grant: where the result of an exchange goes, or of the first use of a refresh token.
pub(crate) struct NewGrant<'a> {
    pub(crate) spender: &'a Spender,
    pub(crate) def: &'a ConnectionDef,
    pub(crate) attempt: AttemptId,
    pub(crate) grant: GrantId,
    /// Who gives it; absent where this process reads by itself what it kept.
    pub(crate) by: Option<Actor>,
    /// What is sent, for the log.
    pub(crate) what: &'static str,
}

impl NewGrant<'_> {
    /// What people are told of a failure.
    pub(crate) fn failure_message(&self, failure: &RedeemFailure) -> String {
        if failure.unread.is_none() {
            return failure.message.clone();
        }
        format!(
            "{}; that answer is kept sealed, and is read again once the file of the provider `{}` is mended and jeton \
             started anew",
            failure.message.trim_end_matches('.'),
            self.def.provider
        )
    }
}

impl SpendTarget for NewGrant<'_> {
    /// Whatever generation is in the way by the time that it is stored, the grant is sealed anew for the one after that.
    fn token_write(&self, received: &ReceivedTokens, expires_at: Option<Timestamp>) -> StoreWrite {
        let (spender, name) = (self.spender, &self.def.name);
        let known = spender.memory.known(name);
        let generation = known.map(|known| known.row.generation).unwrap_or_default();
        let (node, clear, sent_at) = (&spender.node, received.clear_tokens(), received.sent_at);
        let tokens = SealedTokens {
            access_expires_at: expires_at.or(received.reply.expires_at),
            refresh_expires_at: received.reply.refresh_expires_at,
            scope: received.scope(),
            ..seal_tokens(&node.sealer, &*node.entropy, name, generation.next(), &clear, sent_at)
        };
        StoreWrite::Connect(Connect {
            connection: name.clone(),
            provider: self.def.provider.clone(),
            grant: self.grant,
            generation,
            due_at: due::due_at(&tokens, &self.def.timing, sent_at, 0.0),
            tokens: Some(tokens),
            single_use: self.def.spends(),
            attempt: self.attempt,
            node: node.id,
            by: self.by.clone(),
        })
    }

    fn failure_write(&self, failure: &RedeemFailure, kept_reply: Option<Vec<u8>>) -> StoreWrite {
        StoreWrite::FailExchange(FailExchange {
            connection: self.def.name.clone(),
            attempt: self.attempt,
            unknown: failure.is_unknown(),
            code: failure.code.clone(),
            http_status: failure.status,
            message: self.failure_message(failure),
            provider_message: failure.provider_message.clone(),
            kept_reply,
        })
    }

    fn log_failure(&self, failure: &RedeemFailure) {
        let (name, attempt, code) = (&self.def.name, self.attempt, &failure.code);
        let (class, status) = (failure.class.as_str(), failure.status.unwrap_or_default());
        let (reason, provider_message) = (self.failure_message(failure), failure.provider_message.as_deref());
        if failure.unread.is_some() {
            tracing::error!(
                connection = %name, %attempt, code, class, status, reason, provider_message,
                "the answer to {} cannot be read", self.what
            );
        } else {
            tracing::warn!(
                connection = %name, %attempt, code, class, status, reason, provider_message,
                "{} failed", self.what
            );
        }
    }
}

impl Answer<'_> {
    /// Checks everything that can be checked before the code is spent, and makes the request that spends it.
    fn check(&self, params: &CallbackParams) -> Result<(OutboundRequest, RequestValues), ConsentError> {
        let name = || self.def.name.clone();
        let foreign = |message: String| ConsentError::Foreign { name: name(), message };
        let definition = &self.def.definition;
        definition.check_issuer(params).map_err(|error| foreign(error.to_string()))?;
        if let Some(error) = params.get("error") {
            let provider_message = definition.callback_message(params);
            return Err(ConsentError::Denied { name: name(), code: plain(error), provider_message });
        }
        let captured = definition.capture(params).map_err(|error| foreign(error.to_string()))?;
        let failed = |code: &str, message: String| ConsentError::Failed {
            name: name(),
            code: code.to_owned(),
            message,
            provider_message: None,
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
        let opened = self.spender.node.sealer.open(sealed, verifier_context(&id)).ok()?;
        std::str::from_utf8(&opened).ok().map(Secret::new)
    }

    /// Ends the consent because of `refused`, which is the answer.
    async fn refuse(&self, refused: ConsentError) -> Result<ConsentError, ConsentError> {
        let code = match &refused {
            ConsentError::Denied { code, .. } | ConsentError::Failed { code, .. } => code.clone(),
            _ => "foreign".to_owned(),
        };
        let provider_message = match &refused {
            ConsentError::Denied { provider_message, .. } => provider_message.clone(),
            _ => None,
        };
        tracing::warn!(
            connection = %self.def.name, code, reason = %refused, provider_message, "a consent came to nothing"
        );
        let node = &self.spender.node;
        let now = node.clock.now();
        let then = CallbackAction::Refuse {
            attempt: AttemptId::generate(now, &*node.entropy),
            grant: GrantId::generate(now, &*node.entropy),
            node: node.id,
            code,
            message: refused.to_string(),
            provider_message,
        };
        self.consume(then).await?;
        Ok(refused)
    }

    /// Uses the state up: from here on, nobody else can bring this answer. Tells when that was, by the clock of the store.
    async fn consume(&self, then: CallbackAction) -> Result<Timestamp, ConsentError> {
        let state =
            self.consent.authorization.as_ref().map(|asked| asked.state).ok_or(ConsentError::UnknownState)?;
        let order = Callback { state, answered_by: self.answered_by, action: then };
        let store = &self.spender.store.ports.consents;
        match self.spender.store.with_retry(|| store.record_callback(order.clone())).await? {
            CallbackAnswer::Taken { at } => Ok(at),
            CallbackAnswer::Unknown => Err(ConsentError::UnknownState),
            CallbackAnswer::Refused(refusal) => {
                let found =
                    self.spender.store.with_retry(|| store.find_consent(ConsentKey::State(state))).await?;
                let found = found.ok_or(ConsentError::UnknownState)?;
                let ConsentStatus { connection, progress, .. } =
                    progress::of(&self.spender.node, found).await;
                Err(ConsentError::of_refusal(connection, refusal, progress))
            }
        }
    }
}

fn report(
    def: &ConnectionDef,
    StoredTokens { answer, access_expires_at: expires_at }: StoredTokens,
    renews: bool,
) -> Result<Consented, ConsentError> {
    let name = def.name.clone();
    match answer {
        StoreAnswer::Connect(ConnectAnswer::Connected { generation }) => {
            tracing::info!(connection = %name, generation = generation.0, "connected by consent");
            if !renews {
                tracing::warn!(connection = %name, "the provider gave no refresh token");
            }
            Ok(Consented { name, generation, expires_at, renews })
        }
        StoreAnswer::Connect(ConnectAnswer::HeldBy { connection }) => Err(ConsentError::Failed {
            message: store_writer::held_by(&connection),
            code: store_writer::GRANT_HELD.to_owned(),
            provider_message: None,
            name,
        }),
        StoreAnswer::Connect(ConnectAnswer::Superseded) => Err(ConsentError::Failed {
            message: store_writer::superseded(&name),
            code: store_writer::GRANT_SUPERSEDED.to_owned(),
            provider_message: None,
            name,
        }),
        other => {
            tracing::error!(connection = %name, ?other, "the store gave a grant an answer that it cannot get");
            Err(ConsentError::Unknown { name, message: "the store did not say what became of it".to_owned() })
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
