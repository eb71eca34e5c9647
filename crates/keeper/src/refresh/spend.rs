//! The one path by which a refresh token or a code is spent.
//!
//! Everything that can fail with nothing spent comes first. A [`Turn`] is taken: a permit of the provider and a spill slot, so
//! that the reply is durable whatever becomes of the store. Then the caller records its attempt, by a claim or by the
//! callback of a consent, and [`Turn::spend`] sends the request once and stores the result. No layer sends it again.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::Act;
use jeton_core::keep::breaker::{EndpointVerdict, RequestResult};
use jeton_core::keep::provider::{
    ErrorClass, OutboundRequest, Reply, RequestValues, SentAt, Step, StepFailure, StepOutcome, TokenReply,
};
use jeton_core::keep::unavailable::EndpointFailure;
use jeton_core::time::Timestamp;
use zeroize::Zeroizing;

use super::store_writer::{StoreAnswer, StoreWriter, spill_first};
use super::{introspect, kept_reply};
use crate::definitions::{ConnectionDef, step_of};
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::Memory;
use crate::node::Node;
use crate::outbound::discovery::{Discovery, FIRST_RETRY};
use crate::outbound::exchange::{ExchangeOutcome, Outbound};
use crate::outbound::limiter::{RequestPermit, Unavailable};
use crate::spill::slots::SpillSlot;
use crate::spill::store_write::StoreWrite;
use crate::store_access::StoreAccess;
use crate::token_crypto::ClearTokens;
use crate::token_metadata::TokenMetadata;

/// Spends refresh tokens and codes.
#[derive(Debug)]
pub(crate) struct Spender {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) writer: Arc<StoreWriter>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) discovery: Discovery,
}

/// Leave to spend at a provider, and a place for the reply.
pub(crate) struct Turn<'a> {
    spender: &'a Spender,
    def: &'a ConnectionDef,
    permit: RequestPermit<'a>,
    slot: SpillSlot<'a>,
    /// The attempt that is recorded for it.
    pub(crate) attempt: AttemptId,
    /// When the lease of the attempt begins, by the clock that counts suspension. It is read before the attempt is on
    /// record, so that our lease ends no later than the store's.
    pub(crate) claimed_at: Duration,
    /// Nothing is written from then on. The lease ends there, or earlier where the provider's grace does.
    pub(crate) write_until: Duration,
}

/// When an attempt was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    at: Timestamp,
    answered: Duration,
}

impl Recorded {
    /// At that instant of the store, which has just answered so.
    pub(crate) fn now(node: &Node, at: Timestamp) -> Self {
        Self { at, answered: node.clock.uptime() }
    }

    /// The present instant by the clock of the store, and no later: no clock that was set meanwhile has a part in it.
    fn instant(self, node: &Node) -> Timestamp {
        self.at + node.clock.uptime().saturating_sub(self.answered)
    }
}

/// What is sent.
pub(crate) struct SpendRequest {
    pub(crate) act: Act,
    pub(crate) request: OutboundRequest,
    pub(crate) values: RequestValues,
}

/// Where a result goes: it makes the writes for the store, all with the id of the attempt.
pub(crate) trait SpendTarget {
    /// The write that stores a token set. `expires_at` is what an introspection said besides the reply.
    fn token_write(&self, received: &ReceivedTokens, expires_at: Option<Timestamp>) -> StoreWrite;

    /// The write that records a failure, with the sealed reply if it could not be read.
    fn failure_write(&self, failure: &RedeemFailure, kept_reply: Option<Vec<u8>>) -> StoreWrite;

    /// Tells people of a failure, before it is recorded.
    fn log_failure(&self, failure: &RedeemFailure);
}

/// A token set that a provider gave.
#[derive(Debug)]
pub(crate) struct ReceivedTokens {
    pub(crate) reply: Box<TokenReply>,
    /// The instant before the request was sent, by the clock of the store.
    pub(crate) sent_at: Timestamp,
    /// What was known besides the tokens before the reply.
    pub(crate) metadata: TokenMetadata,
    /// One sentence for the refresh log.
    pub(crate) message: Option<String>,
}

impl ReceivedTokens {
    pub(crate) fn new(reply: Box<TokenReply>, sent_at: Timestamp, metadata: TokenMetadata) -> Self {
        let message = reply.warnings.first().cloned();
        Self { reply, sent_at, metadata, message }
    }

    /// The scopes that the token set is good for.
    pub(crate) fn scope(&self) -> Option<String> {
        self.metadata.clone().after(&self.reply).scope
    }

    /// Warns of a grant that lacks scopes that were asked for, when they become known, and not again with every refresh.
    fn warn_of_missing_scopes(&self, def: &ConnectionDef) {
        let Some(scope) = self.scope().filter(|scope| Some(scope) != self.metadata.scope.as_ref()) else {
            return;
        };
        let missing = def.definition.missing_scopes(&scope);
        if !missing.is_empty() {
            let missing = missing.join(" ");
            tracing::warn!(connection = %def.name, scope, missing, "the provider granted fewer scopes than were asked for");
        }
    }

    /// The secrets of the token set that the reply makes of the one before it.
    pub(crate) fn clear_tokens(&self) -> ClearTokens {
        ClearTokens {
            access: Some(self.reply.access.clone()),
            refresh: self.reply.refresh.clone(),
            extras: Some(self.metadata.clone().after(&self.reply).to_text()),
        }
    }
}

/// What the store answered to a token set.
#[derive(Debug)]
pub(crate) struct StoredTokens {
    pub(crate) answer: StoreAnswer,
    pub(crate) access_expires_at: Option<Timestamp>,
}

/// How a spend ended. What the store did not answer lies in its spill slot.
pub(crate) enum SpendOutcome {
    /// The provider gave a token set.
    Tokens { received: ReceivedTokens, stored: Result<StoredTokens, TokenError> },
    /// It gave none.
    Failed { failure: RedeemFailure, recorded: Result<(), TokenError> },
}

/// Why there is no token set.
#[derive(Debug)]
pub(crate) struct RedeemFailure {
    pub(crate) class: ErrorClass,
    pub(crate) code: String,
    pub(crate) status: Option<u16>,
    pub(crate) message: String,
    /// See [`StepFailure::provider_message`].
    pub(crate) provider_message: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The provider file says that it ends the grant for certain.
    pub(crate) is_final: bool,
    /// Nothing was sent, for a reason of this process or its machine.
    pub(crate) is_ours: bool,
    /// The body of a 2xx reply that could not be read, or what came of it.
    pub(crate) unread: Option<Zeroizing<Vec<u8>>>,
}

impl RedeemFailure {
    fn without_reply(class: ErrorClass, code: &str, message: String) -> Self {
        Self {
            class,
            code: code.to_owned(),
            status: None,
            message,
            provider_message: None,
            retry_after: None,
            is_final: false,
            is_ours: false,
            unread: None,
        }
    }

    /// What it says of the token endpoint.
    fn of_endpoint(&self) -> EndpointFailure {
        EndpointFailure {
            code: self.code.clone(),
            http_status: self.status,
            message: self.message.clone(),
            provider_message: self.provider_message.clone(),
        }
    }

    /// Whether what was sent may have been spent.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unread.is_some() || self.class.may_have_spent()
    }
}

impl Spender {
    /// Sees to it that the metadata of its issuer is known, where a connection needs any.
    ///
    /// # Errors
    /// [`TokenError::Failed`], where nothing is known; nothing was sent to a token endpoint.
    pub(crate) async fn discover(&self, def: &ConnectionDef) -> Result<(), TokenError> {
        self.discovery.ensure(&def.definition).await.map_err(|message| TokenError::Failed {
            name: def.name.clone(),
            class: ErrorClass::Transient,
            code: "discovery".to_owned(),
            message,
            provider_message: None,
            retry_after: Some(FIRST_RETRY),
        })
    }

    /// Waits for a turn. `check` runs once the provider has a permit: waiting for that takes a while. What goes `regardless` is
    /// sent though the provider is down.
    ///
    /// # Errors
    /// What `check` says; the provider is down, no spill slot is free, or this process ends.
    pub(crate) async fn take_turn<'a>(
        &'a self,
        def: &'a ConnectionDef,
        regardless: bool,
        check: impl Future<Output = Result<(), TokenError>>,
    ) -> Result<Turn<'a>, TokenError> {
        let entered = tokio::select! {
            entered = def.limiter.enter(&def.name, regardless) => entered,
            () = self.lifecycle.closed() => return Err(TokenError::ShuttingDown),
        };
        let mut permit = entered.map_err(|down| provider_unavailable(def, down))?;
        check.await?;
        let slot = self.writer.reserve_for(&mut permit).await?;
        if self.lifecycle.is_closing() {
            return Err(TokenError::ShuttingDown);
        }
        let attempt = AttemptId::generate(self.node.clock.now(), &*self.node.entropy);
        let claimed_at = self.node.clock.uptime();
        let write_until = claimed_at + self.node.settings.lease;
        Ok(Turn { spender: self, def, permit, slot, attempt, claimed_at, write_until })
    }

    /// Stores a token set. Where the reply does not say how long it lives, the provider is asked, once the set is durable.
    pub(crate) async fn store_tokens(
        &self,
        def: &ConnectionDef,
        received: &mut ReceivedTokens,
        mut slot: SpillSlot<'_>,
        target: &impl SpendTarget,
    ) -> Result<StoredTokens, TokenError> {
        for warning in &received.reply.warnings {
            tracing::warn!(connection = %def.name, warning, "the token reply is strange");
        }
        received.warn_of_missing_scopes(def);
        let mut write = target.token_write(received, None);
        if received.reply.ask_introspection && spill_first(&mut slot, &write).await {
            let introspected = introspect::expiry(&self.outbound, def, &received.clear_tokens()).await;
            if let Err(why) = &introspected {
                tracing::warn!(connection = %def.name, why, "the life of an access token is not known");
                received.message = Some(why.clone());
            }
            write = target.token_write(received, introspected.ok());
        }
        let access_expires_at = write.access_expires_at();
        Ok(StoredTokens { answer: self.writer.write(&write, slot).await?, access_expires_at })
    }
}

impl Turn<'_> {
    /// Sends the request once and stores the result. What it brings is as old as the time since `recorded` says. `recheck` runs when the connection to the provider is ready, before a
    /// byte of the request is written; what it objects to is not sent.
    pub(crate) async fn spend(
        mut self,
        sent: SpendRequest,
        recorded: Recorded,
        metadata: TokenMetadata,
        recheck: impl Future<Output = Result<(), String>>,
        target: &impl SpendTarget,
    ) -> SpendOutcome {
        let (spender, def) = (self.spender, self.def);
        let sent_at = recorded.instant(&spender.node);
        let captured = sent.values.captured.clone();
        let redeemed = self.redeem(sent, sent_at, recheck).await;
        let failure = redeemed.as_ref().err();
        self.permit.end(result_of(failure), failure.map(RedeemFailure::of_endpoint));
        match redeemed {
            Ok(reply) => {
                let mut received = ReceivedTokens::new(reply, sent_at, metadata);
                let stored = spender.store_tokens(def, &mut received, self.slot, target).await;
                SpendOutcome::Tokens { received, stored }
            }
            Err(failure) => {
                let kept_reply = failure
                    .unread
                    .as_ref()
                    .map(|body| kept_reply::seal(&spender.node, self.attempt, &captured, body));
                target.log_failure(&failure);
                let write = target.failure_write(&failure, kept_reply);
                let recorded = spender.writer.write(&write, self.slot).await.map(|_| ());
                SpendOutcome::Failed { failure, recorded }
            }
        }
    }

    /// Stores the token set of an orphan reply: nobody is called.
    pub(super) async fn store(self, write: &StoreWrite) -> Result<StoredTokens, TokenError> {
        let answer = self.spender.writer.write(write, self.slot).await?;
        Ok(StoredTokens { answer, access_expires_at: write.access_expires_at() })
    }

    async fn redeem(
        &self,
        SpendRequest { act, request, values }: SpendRequest,
        sent_at: Timestamp,
        recheck: impl Future<Output = Result<(), String>>,
    ) -> Result<Box<TokenReply>, RedeemFailure> {
        let (node, def) = (&self.spender.node, self.def);
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let what = if act == Act::Connect { "exchange of a code started" } else { "refresh started" };
        tracing::info!(connection = %def.name, host, act = act.as_str(), "{what}");
        let spends = match act {
            Act::Redeem => def.spends(),
            Act::Connect => def.definition.spends(Step::Exchange),
            Act::Acquire | Act::Orphan | Act::Visit => false,
        };
        // The reply is not waited for beyond the lease: from then on others may judge the attempt.
        let left = (self.claimed_at + node.settings.lease).saturating_sub(node.clock.uptime());
        let timeout = node.settings.redeem_timeout.min(left);
        match self.spender.outbound.exchange(request, timeout, self.write_until, recheck).await {
            ExchangeOutcome::Replied(reply) => {
                let sent_at = SentAt { instant: sent_at, civil: node.clock.shown(sent_at) };
                read(def, act, reply, &values, sent_at)
            }
            ExchangeOutcome::NotSent { why, is_ours } => {
                let message = format!("nothing was sent: {why}");
                let failure = RedeemFailure::without_reply(ErrorClass::Transient, "not_sent", message);
                Err(RedeemFailure { is_ours, ..failure })
            }
            ExchangeOutcome::Broken { why, received } => {
                let class = if spends { ErrorClass::Ambiguous } else { ErrorClass::Transient };
                let message = format!("the request was sent and no whole reply came: {why}");
                let failure = RedeemFailure::without_reply(class, kept_reply::BROKEN_OFF, message);
                let status = received.as_ref().map(|(status, _)| *status);
                let accepted = received
                    .filter(|(status, body)| spends && (200..=299).contains(status) && !body.is_empty());
                Err(RedeemFailure { status, unread: accepted.map(|(_, body)| body), ..failure })
            }
        }
    }
}

/// The error of a request that is not sent because the provider is down.
pub(crate) fn provider_unavailable(
    def: &ConnectionDef,
    Unavailable { endpoint, retry_after }: Unavailable,
) -> TokenError {
    TokenError::ProviderUnavailable { name: def.name.clone(), endpoint: Box::new(endpoint), retry_after }
}

/// What a request says of its token endpoint. One that was not sent for a reason of ours says nothing.
fn result_of(failure: Option<&RedeemFailure>) -> RequestResult<'_> {
    let Some(failure) = failure else {
        return RequestResult { verdict: EndpointVerdict::Answered, code: "", retry_after: None };
    };
    let verdict = if failure.is_ours {
        EndpointVerdict::Unclear
    } else {
        EndpointVerdict::of_failure(failure.class, failure.status)
    };
    RequestResult { verdict, code: &failure.code, retry_after: failure.retry_after }
}

fn read(
    def: &ConnectionDef,
    act: Act,
    reply: Reply,
    values: &RequestValues,
    sent_at: SentAt,
) -> Result<Box<TokenReply>, RedeemFailure> {
    match def.definition.read(step_of(act), &reply, sent_at, values) {
        StepOutcome::Tokens(tokens) => Ok(tokens),
        StepOutcome::Failed(failure) => {
            for warning in &reply.warnings {
                tracing::warn!(connection = %def.name, warning, "the reply is strange");
            }
            Err(refused(failure, reply))
        }
        StepOutcome::Introspection(_) | StepOutcome::Done => {
            let message = "the provider file reads no token set from this step".to_owned();
            let failure = RedeemFailure::without_reply(ErrorClass::Unknown, "not_a_token_step", message);
            Err(RedeemFailure { status: Some(reply.status), unread: Some(reply.body), ..failure })
        }
    }
}

fn refused(failure: StepFailure, reply: Reply) -> RedeemFailure {
    RedeemFailure {
        class: failure.class,
        code: failure.code,
        status: Some(failure.status),
        message: failure.message,
        provider_message: failure.provider_message,
        retry_after: failure.retry_after,
        is_final: failure.is_final,
        is_ours: false,
        unread: failure.keep_reply.then_some(reply.body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_not_sent_for_a_reason_of_ours_says_nothing_about_the_endpoint() {
        let not_sent = |is_ours| RedeemFailure {
            is_ours,
            ..RedeemFailure::without_reply(ErrorClass::Transient, "not_sent", "nothing was sent".to_owned())
        };
        assert_eq!(result_of(Some(&not_sent(false))).verdict, EndpointVerdict::Down);
        assert_eq!(result_of(Some(&not_sent(true))).verdict, EndpointVerdict::Unclear);
        assert_eq!(result_of(None).verdict, EndpointVerdict::Answered);
    }
}
