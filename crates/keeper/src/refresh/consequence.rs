//! What a failed token request means for its connection: by the class of the failure alone.

use std::time::Duration;

use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::due::RECOVERY_REFUSED;
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::FailureEffect;
use jeton_core::keep::provider::ErrorClass;

use super::spend::RedeemFailure;
use crate::definitions::ConnectionDef;

/// The longest that automatic attempts are apart after failures.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// How long nobody tries after a refusal of our credentials: it fails every connection of the client alike, and
/// some providers block a whole address for it.
const BAD_CLIENT_PAUSE: Duration = Duration::from_mins(1);

/// How long a suspended account is left alone.
const SUSPENDED_PAUSE: Duration = Duration::from_hours(1);

/// How long a rate limit is obeyed that does not say how long.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(30);

/// How the refresh goes on after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowUp {
    /// It does not.
    GiveUp,
    /// An orphan reply may still hold a living token.
    UseOrphan,
    /// A new token set is acquired.
    Acquire,
    /// The outcome is not known; the plan for interrupted attempts decides.
    Resolve,
}

/// What a failure means for its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consequence {
    pub(super) effect: FailureEffect,
    pub(super) code: String,
    /// How long nothing is tried now.
    pub(super) cooldown: Duration,
    /// How long until the keeper tries by itself; absent when only a person can help.
    pub(super) due_in: Option<Duration>,
    pub(super) next: FollowUp,
}

impl Consequence {
    pub(super) fn is_dead(&self) -> bool {
        self.effect == FailureEffect::State(GrantState::Dead)
    }
}

/// An interrupted attempt, as far as its recovery must know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    /// How often the refresh token was sent before, without a known outcome.
    pub(super) sends: usize,
    /// A refusal now is the second one, or a person decided to send the token: the grant is dead.
    pub(super) confirms: bool,
}

/// Under which circumstances an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// How long nothing is tried after an ordinary failure.
    pub(super) pause: Duration,
    /// How many failures in a row there were before.
    pub(super) failures: u32,
    /// What the attempt was to recover, where it sent a refresh token again.
    pub(super) recovered: Option<Recovered>,
    /// What was attempted.
    pub(super) act: Act,
    /// An orphan reply lies beside the connection.
    pub(super) has_orphan: bool,
}

/// What `refusal` means for its connection.
pub(super) fn of(refusal: &RedeemFailure, def: &ConnectionDef, circumstances: Circumstances) -> Consequence {
    let Circumstances { pause, failures, recovered, act, has_orphan } = circumstances;
    // A provider that asks for no wait at all is not asked without one.
    let asked = refusal.retry_after.map(|asked| asked.max(pause));
    let retry = |cooldown: Duration, due_in: Duration| Consequence {
        effect: FailureEffect::Retry,
        code: refusal.code.clone(),
        cooldown,
        due_in: Some(due_in.max(cooldown)),
        next: FollowUp::GiveUp,
    };
    let grown = backoff(pause, failures);
    // The outcome stays unknown, and the token is sent again after that.
    let unknown = |wait: Duration| Consequence {
        effect: FailureEffect::Unknown,
        code: refusal.code.clone(),
        cooldown: asked.unwrap_or(Duration::ZERO),
        due_in: Some(asked.map_or(wait, |asked| asked.max(wait))),
        next: FollowUp::Resolve,
    };
    let sends = recovered.map_or(0, |recovered| recovered.sends);
    match refusal.class {
        // Nothing was granted that could be dead: our own credentials were refused.
        ErrorClass::DeadGrant if act == Act::Acquire => {
            retry(asked.unwrap_or(BAD_CLIENT_PAUSE), backoff(BAD_CLIENT_PAUSE, failures))
        }
        ErrorClass::DeadGrant if has_orphan => {
            Consequence { next: FollowUp::UseOrphan, ..retry(Duration::ZERO, Duration::ZERO) }
        }
        ErrorClass::DeadGrant if def.acquiring() == AcquirePolicy::WhenDead => {
            Consequence { next: FollowUp::Acquire, ..retry(Duration::ZERO, Duration::ZERO) }
        }
        ErrorClass::DeadGrant | ErrorClass::Unknown
            if recovered.is_some_and(|recovered| !recovered.confirms) && answered(refusal) =>
        {
            let wait = def.recovery.confirmation_pause();
            Consequence {
                code: RECOVERY_REFUSED.to_owned(),
                cooldown: asked.unwrap_or(wait),
                next: FollowUp::GiveUp,
                ..unknown(wait)
            }
        }
        ErrorClass::Unknown if recovered.is_some() && answered(refusal) => dead("interrupted"),
        ErrorClass::DeadGrant => dead(if recovered.is_some() { "interrupted" } else { &refusal.code }),
        // It says nothing of the send before, and the next one need not be far.
        ErrorClass::TooEarly if recovered.is_some() => {
            Consequence { next: FollowUp::GiveUp, ..unknown(def.recovery.pause(sends + 1)) }
        }
        ErrorClass::BadClient => {
            retry(asked.unwrap_or(BAD_CLIENT_PAUSE), backoff(BAD_CLIENT_PAUSE, failures))
        }
        ErrorClass::Suspended => Consequence {
            effect: FailureEffect::State(GrantState::Suspended),
            ..retry(asked.unwrap_or(BAD_CLIENT_PAUSE), SUSPENDED_PAUSE)
        },
        ErrorClass::RateLimited => {
            let wait = asked.unwrap_or(RATE_LIMIT_PAUSE);
            retry(wait, wait)
        }
        ErrorClass::TooEarly | ErrorClass::Transient | ErrorClass::Unknown => {
            retry(asked.unwrap_or(pause), asked.unwrap_or(grown))
        }
        ErrorClass::Ambiguous => unknown(def.recovery.pause(sends + 1)),
    }
}

/// The grant is dead of `code`.
fn dead(code: &str) -> Consequence {
    Consequence {
        effect: FailureEffect::State(GrantState::Dead),
        code: code.to_owned(),
        cooldown: Duration::ZERO,
        due_in: None,
        next: FollowUp::GiveUp,
    }
}

/// Whether the token endpoint itself said no to what was sent.
fn answered(refusal: &RedeemFailure) -> bool {
    refusal.class == ErrorClass::DeadGrant
        || refusal.status.is_some_and(|status| matches!(status, 200..=299 | 400..=499))
}

/// `first`, doubled with every failure in a row, up to [`LONGEST_BACKOFF`].
fn backoff(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(LONGEST_BACKOFF.max(first))
}
