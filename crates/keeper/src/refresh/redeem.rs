//! Spending a refresh token or a code upstream, or acquiring a token set with neither: one exchange, and what it means.

use std::time::Duration;

use jeton_core::keep::attempt::Act;
use jeton_core::keep::provider::{
    ErrorClass, OutboundRequest, Reply, RequestValues, Step, StepFailure, StepOutcome, TokenReply,
};
use jeton_core::time::Timestamp;
use zeroize::Zeroizing;

use crate::definitions::ConnectionDef;
use crate::outbound::exchange::{ExchangeOutcome, Outbound};

/// What an exchange brought.
#[derive(Debug)]
pub(crate) enum RedeemOutcome {
    /// A token set; `sent_at` is the instant before the request was sent.
    Tokens { reply: Box<TokenReply>, sent_at: Timestamp },
    /// None, and why.
    Failed(RedeemFailure),
}

/// Why there is no token set.
#[derive(Debug)]
pub(crate) struct RedeemFailure {
    pub(crate) class: ErrorClass,
    pub(crate) code: String,
    pub(crate) status: Option<u16>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// A 2xx reply that could not be read.
    pub(crate) unread: Option<Zeroizing<Vec<u8>>>,
}

/// The step of the provider file that an act goes through.
pub(crate) fn step_of(act: Act) -> Step {
    match act {
        Act::Acquire => Step::Acquire,
        Act::Connect => Step::Exchange,
        Act::Redeem | Act::Orphan | Act::Visit => Step::Refresh,
    }
}

/// How long a claimed request may take, by the clock that counts suspension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedeemLimits {
    /// Nothing is written from then on.
    pub(crate) write_until: Duration,
    /// The reply is not waited for any longer: from then on others may judge the attempt.
    pub(crate) lease_until: Duration,
}

impl RedeemLimits {
    /// A request that may be written as long as its lease runs.
    pub(crate) fn of_lease(lease_until: Duration) -> Self {
        Self { write_until: lease_until, lease_until }
    }
}

/// Sends `request` once, within `limits`. `recheck` runs when the connection is ready, before a byte of the request is
/// written; what it objects to is not sent.
pub(crate) async fn redeem(
    outbound: &Outbound,
    def: &ConnectionDef,
    act: Act,
    request: OutboundRequest,
    values: &RequestValues,
    limits: RedeemLimits,
    recheck: impl Future<Output = Result<(), String>>,
) -> RedeemOutcome {
    let host = request.url.host_str().unwrap_or_default().to_owned();
    let what = if act == Act::Connect { "exchange of a code started" } else { "refresh started" };
    tracing::info!(connection = %def.name, host, act = act.as_str(), "{what}");
    let sent_at = outbound.node.clock.now();
    let spends = match act {
        Act::Redeem => def.spends(),
        Act::Connect => def.definition.spends(Step::Exchange),
        Act::Acquire | Act::Orphan | Act::Visit => false,
    };
    let left = limits.lease_until.saturating_sub(outbound.node.clock.uptime());
    let timeout = outbound.node.settings.redeem_timeout.min(left);
    match outbound.exchange(request, timeout, limits.write_until, recheck).await {
        ExchangeOutcome::Replied(reply) => read(def, act, reply, values, sent_at),
        ExchangeOutcome::NotSent(why) => RedeemOutcome::Failed(not_sent(&why)),
        ExchangeOutcome::Broken(why) => RedeemOutcome::Failed(broken(&why, spends)),
    }
}

fn read(
    def: &ConnectionDef,
    act: Act,
    reply: Reply,
    values: &RequestValues,
    sent_at: Timestamp,
) -> RedeemOutcome {
    match def.definition.read(step_of(act), &reply, sent_at, values) {
        StepOutcome::Tokens(tokens) => RedeemOutcome::Tokens { reply: tokens, sent_at },
        StepOutcome::Failed(failure) => RedeemOutcome::Failed(refused(failure, reply)),
        StepOutcome::Introspection(_) | StepOutcome::Done => RedeemOutcome::Failed(RedeemFailure {
            class: ErrorClass::Unknown,
            code: "not_a_token_step".to_owned(),
            status: Some(reply.status),
            message: "the provider file reads no token set from this step".to_owned(),
            retry_after: None,
            unread: Some(reply.body),
        }),
    }
}

fn refused(failure: StepFailure, reply: Reply) -> RedeemFailure {
    RedeemFailure {
        class: failure.class,
        code: failure.code,
        status: Some(failure.status),
        message: failure.message,
        retry_after: failure.retry_after,
        unread: failure.keep_reply.then_some(reply.body),
    }
}

fn not_sent(why: &str) -> RedeemFailure {
    RedeemFailure {
        class: ErrorClass::Transient,
        code: "not_sent".to_owned(),
        status: None,
        message: format!("nothing was sent: {why}"),
        retry_after: None,
        unread: None,
    }
}

fn broken(why: &str, spends: bool) -> RedeemFailure {
    let (class, code) =
        if spends { (ErrorClass::Ambiguous, "no_reply") } else { (ErrorClass::Transient, "no_reply") };
    RedeemFailure {
        class,
        code: code.to_owned(),
        status: None,
        message: format!("the request was sent and no whole reply came: {why}"),
        retry_after: None,
        unread: None,
    }
}
