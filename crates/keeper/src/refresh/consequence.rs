//! What a failed token request means for its connection: by the class of the failure, and by what was refused before.

use std::time::Duration;

use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::due::{AfterHold, RECOVERY_REFUSED};
use jeton_core::keep::pause;
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::FailureEffect;
use jeton_core::keep::provider::ErrorClass;

use super::spend::RedeemFailure;
use crate::definitions::ConnectionDef;

/// The longest that automatic attempts are apart after failures.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// The longest that callers wait for the next attempt where the provider could not answer: it may be back at any moment.
const LONGEST_COOLDOWN: Duration = Duration::from_mins(1);

/// The longest pause after a refusal that nothing explains: only a person can do something about it, and asking less often
/// loses nothing.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_mins(15);

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
    /// The refusal is confirmed at once, by one more send.
    Confirm,
}

/// What a failure means for its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consequence {
    pub(super) effect: FailureEffect,
    pub(super) code: String,
    /// One sentence for people.
    pub(super) message: String,
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

    /// Whether the provider has refused the grant, and is asked once more before it is taken for dead.
    pub(super) fn is_to_be_confirmed(&self) -> bool {
        self.effect == FailureEffect::State(GrantState::Live) || self.code == RECOVERY_REFUSED
    }

    fn spread(self, jitter: f64) -> Self {
        Self {
            cooldown: pause::spread(self.cooldown, jitter),
            due_in: self.due_in.map(|due_in| pause::spread(due_in, jitter)),
            ..self
        }
    }
}

/// Under which circumstances an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// How long nothing is tried after an ordinary failure.
    pub(super) pause: Duration,
    /// How many failures in a row there were before.
    pub(super) failures: u32,
    /// How often the refresh token was sent before without a known outcome; absent where the attempt recovers nothing.
    pub(super) resends: Option<usize>,
    /// The provider has refused this refresh token before, see [`jeton_core::keep::refusal::is_confirmed`].
    pub(super) refused_before: bool,
    /// What was attempted.
    pub(super) act: Act,
    /// An orphan reply lies beside the connection.
    pub(super) has_orphan: bool,
    /// The rest of the access token's life.
    pub(super) access_left: Duration,
    /// Lengthens every pause, between 0 and 1.
    pub(super) jitter: f64,
}

/// What `refusal` means for its connection.
pub(super) fn of(refusal: &RedeemFailure, def: &ConnectionDef, circumstances: Circumstances) -> Consequence {
    before_jitter(refusal, def, circumstances).spread(circumstances.jitter)
}

fn before_jitter(refusal: &RedeemFailure, def: &ConnectionDef, circumstances: Circumstances) -> Consequence {
    let Circumstances { pause, failures, resends, act, has_orphan, access_left, .. } = circumstances;
    // A provider that asks for no wait at all is not asked without one.
    let asked = refusal.retry_after.map(|asked| asked.max(pause));
    let retry = |cooldown: Duration, due_in: Duration| Consequence {
        effect: FailureEffect::Retry,
        code: refusal.code.clone(),
        message: refusal.message.clone(),
        cooldown,
        due_in: Some(due_in.max(cooldown)),
        next: FollowUp::GiveUp,
    };
    let grown = |first, longest| asked.unwrap_or_else(|| pause::grown(first, failures, longest));
    // The outcome stays unknown, and the token is sent again after that.
    let unknown = |wait: Duration| Consequence {
        effect: FailureEffect::Unknown,
        cooldown: asked.unwrap_or(Duration::ZERO),
        due_in: Some(asked.map_or(wait, |asked| asked.max(wait))),
        next: FollowUp::Resolve,
        ..retry(Duration::ZERO, Duration::ZERO)
    };
    let bad_client = || retry(asked.unwrap_or(BAD_CLIENT_PAUSE), grown(BAD_CLIENT_PAUSE, LONGEST_BACKOFF));
    match refusal.class {
        // Nothing was granted that could be dead: our own credentials were refused.
        ErrorClass::DeadGrant if act == Act::Acquire => bad_client(),
        ErrorClass::DeadGrant if has_orphan => {
            Consequence { next: FollowUp::UseOrphan, ..retry(Duration::ZERO, Duration::ZERO) }
        }
        ErrorClass::DeadGrant if def.acquiring() == AcquirePolicy::WhenDead => {
            Consequence { next: FollowUp::Acquire, ..retry(Duration::ZERO, Duration::ZERO) }
        }
        ErrorClass::DeadGrant | ErrorClass::Unknown if is_refused(refusal, resends.is_some()) => {
            let wait = def.recovery.confirmation_pause(access_left);
            let wait = asked.map_or(wait, |asked| asked.max(wait));
            refused(retry(wait, wait), refusal, def, circumstances)
        }
        // It says nothing of the send before, and the next one need not be far.
        ErrorClass::TooEarly if resends.is_some() => Consequence {
            next: FollowUp::GiveUp,
            ..unknown(def.recovery.pause(resends.unwrap_or_default() + 1))
        },
        ErrorClass::BadClient => bad_client(),
        ErrorClass::Suspended => Consequence {
            effect: FailureEffect::State(GrantState::Suspended),
            ..retry(asked.unwrap_or(BAD_CLIENT_PAUSE), SUSPENDED_PAUSE)
        },
        ErrorClass::RateLimited => {
            let wait = asked.unwrap_or(RATE_LIMIT_PAUSE);
            retry(wait, wait)
        }
        ErrorClass::TooEarly | ErrorClass::Transient => {
            retry(grown(pause, LONGEST_COOLDOWN), grown(pause, LONGEST_BACKOFF))
        }
        ErrorClass::DeadGrant | ErrorClass::Unknown => {
            let wait = grown(pause, LONGEST_REFUSED_PAUSE);
            retry(wait, wait)
        }
        ErrorClass::Ambiguous => unknown(def.recovery.pause(resends.unwrap_or_default() + 1)),
    }
}

/// What a refusal of the grant means that is confirmed after the pauses of `again`, unless it is the second one.
fn refused(
    again: Consequence,
    refusal: &RedeemFailure,
    def: &ConnectionDef,
    circumstances: Circumstances,
) -> Consequence {
    let recovery = circumstances.resends.is_some();
    if circumstances.refused_before || refusal.is_final {
        return dead(refusal, recovery);
    }
    // Whether the send before was accepted stays as unknown as it was, and that may be for a person to decide about.
    let asks = recovery && def.recovery.after_hold == AfterHold::Ask;
    let follows = if asks {
        "whether the refresh token is sent once more is for a person to decide"
    } else {
        "the refresh token is sent once more before the grant is taken for dead"
    };
    let message = format!("{}; {follows}", refusal.message);
    let next = if again.cooldown.is_zero() && !asks { FollowUp::Confirm } else { FollowUp::GiveUp };
    if recovery {
        let due_in = again.due_in.filter(|_| !asks);
        let (effect, code) = (FailureEffect::Unknown, RECOVERY_REFUSED.to_owned());
        Consequence { effect, code, message, due_in, next, ..again }
    } else {
        Consequence { effect: FailureEffect::State(GrantState::Live), message, next, ..again }
    }
}

/// The grant is dead.
fn dead(refusal: &RedeemFailure, recovery: bool) -> Consequence {
    Consequence {
        effect: FailureEffect::State(GrantState::Dead),
        code: if recovery { "interrupted".to_owned() } else { refusal.code.clone() },
        message: refusal.message.clone(),
        cooldown: Duration::ZERO,
        due_in: None,
        next: FollowUp::GiveUp,
    }
}

/// Whether the token endpoint itself said no to the grant. To a recovery any answer of its own says so: the token was
/// accepted before.
fn is_refused(refusal: &RedeemFailure, recovery: bool) -> bool {
    let answered = refusal.status.is_some_and(|status| matches!(status, 200..=299 | 400..=499));
    refusal.class == ErrorClass::DeadGrant || (recovery && answered)
}
