//! When a token set must be refreshed, and what becomes of an attempt whose outcome is not known.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::time::Timestamp;

use super::attempt::Attempt;
use super::connection::SealedTokens;

/// The longest margin that is kept before an access token dies, unless the provider asks for more.
pub const LONGEST_MARGIN: Duration = Duration::from_mins(5);

/// The longest that is kept before a refresh token dies.
const LONGEST_REFRESH_MARGIN: Duration = Duration::from_hours(24);

/// The shortest time between two refreshes that nobody asks for: a provider that gives tokens with no life at all must
/// not be asked without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause before a refresh token with an unknown outcome is sent again.
const LONGEST_RECOVERY_PAUSE: Duration = Duration::from_mins(15);

/// The shortest and the longest pause before a refused refresh token is sent once more, unless policy says another: long
/// enough for what passes by itself, short enough that whoever must consent again hears of it soon.
const CONFIRMATION_PAUSE: RangeInclusive<Duration> = Duration::from_mins(2)..=Duration::from_mins(15);

/// Servers count in whole seconds: that much after its expiry an access token has expired for them too.
const SURELY_EXPIRED: Duration = Duration::from_secs(1);

/// How many attempts of a chain of recoveries are read, counted from the last. With 15 minutes between two sends that is
/// more than two days.
pub const LONGEST_CHAIN: usize = 256;

/// The code of a recovery that the token endpoint answered with a refusal, for the first time: the refusal is confirmed by one
/// more send.
pub const RECOVERY_REFUSED: &str = "recovery_refused";

/// What the provider and the settings say about timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshTiming {
    /// How long before its expiry an access token is refreshed; by default the smaller of 5 minutes and a fifth of
    /// its life.
    pub margin: Option<Duration>,
    /// The provider refuses to refresh sooner than this long before the expiry.
    pub earliest: Option<Duration>,
    /// A refresh token that is not used for this long dies.
    pub refresh_idle_ttl: Option<Duration>,
    /// Refresh at least this often, needed or not, so that the grant is not thought to be abandoned.
    pub idle_keepalive: Option<Duration>,
    /// Every connection is looked at this often.
    pub visit: Duration,
}

/// How long before its expiry an access token that lives for `life` is refreshed.
pub fn margin(life: Duration, timing: &RefreshTiming) -> Duration {
    let usual = LONGEST_MARGIN.min(life / 5);
    // A margin as long as the life would refresh for ever.
    let margin = timing.margin.unwrap_or(usual).min(life / 5 * 4);
    timing.earliest.map_or(margin, |earliest| margin.min(earliest))
}

/// When the token set must be refreshed; absent when nothing asks for it.
pub fn refresh_at(tokens: &SealedTokens, timing: &RefreshTiming) -> Option<Timestamp> {
    if tokens.access.is_none() {
        return Some(tokens.obtained_at);
    }
    let access =
        tokens.access_expires_at.map(|expiry| expiry - margin(expiry.since(tokens.obtained_at), timing));
    if tokens.refresh.is_none() {
        // Nothing but its own expiry can be done about a token that was acquired.
        return access;
    }
    // An expiry that was over before this very set was obtained is wrong: believing it would refresh for ever.
    let hard = tokens
        .refresh_expires_at
        .filter(|expiry| *expiry > tokens.obtained_at)
        .map(|expiry| expiry - LONGEST_REFRESH_MARGIN.min(expiry.since(tokens.obtained_at) / 10));
    let idle =
        timing.refresh_idle_ttl.map(|ttl| tokens.obtained_at + ttl - LONGEST_REFRESH_MARGIN.min(ttl / 10));
    let keepalive = timing.idle_keepalive.map(|every| tokens.obtained_at + every);
    let wanted = [access, hard, idle, keepalive].into_iter().flatten().min()?;
    match (tokens.access_expires_at, timing.earliest) {
        (Some(expiry), Some(earliest)) => Some(wanted.max(expiry - earliest)),
        _ => Some(wanted),
    }
}

/// When the keeper must look at a connection next: before the refresh is needed, and at every visit.
///
/// `jitter` in `[0, 1)` moves the refresh earlier by up to a quarter of its margin, so that token sets that were issued
/// together are not refreshed together for ever.
pub fn due_at(
    tokens: &SealedTokens,
    timing: &RefreshTiming,
    visited_at: Timestamp,
    jitter: f64,
) -> Timestamp {
    let visit = visited_at + timing.visit;
    let Some(refresh) = refresh_at(tokens, timing) else { return visit };
    let life = tokens.access_expires_at.map_or(LONGEST_MARGIN * 5, |expiry| expiry.since(tokens.obtained_at));
    let early = (margin(life, timing) / 4).mul_f64(jitter.clamp(0.0, 1.0));
    let soonest = match &tokens.access {
        Some(_) => tokens.obtained_at + SHORTEST_INTERVAL,
        None => tokens.obtained_at,
    };
    let earliest = match (tokens.access_expires_at, timing.earliest) {
        (Some(expiry), Some(earliest)) => soonest.max(expiry - earliest),
        _ => soonest,
    };
    visit.min((refresh - early).max(earliest))
}

/// Whether a look at `now` must refresh. It allows for the jitter that [`due_at`] subtracted.
pub fn is_due(tokens: &SealedTokens, timing: &RefreshTiming, now: Timestamp) -> bool {
    due_at(tokens, &RefreshTiming { visit: Duration::MAX, ..*timing }, now, 1.0) <= now
}

/// Until when the provider refuses to refresh: absent where it does not, where that time has come, and where the access
/// token is absent or has no known expiry.
pub fn too_early_until(tokens: &SealedTokens, timing: &RefreshTiming, now: Timestamp) -> Option<Timestamp> {
    let expiry = tokens.access_expires_at.filter(|_| tokens.access.is_some())?;
    Some(expiry - timing.earliest?).filter(|until| now < *until)
}

/// What policy says about attempts whose outcome is not known, and about refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPolicy {
    /// How long to wait before the token is sent once more: a late reply may still come.
    pub hold: Duration,
    /// How long after its use the provider still accepts a refresh token again.
    pub reuse_grace: Duration,
    /// What follows the hold.
    pub after_hold: AfterHold,
    /// How long after a refusal the refresh token is sent once more, before the grant is taken for dead; absent to wait for
    /// the expiry of the access token, between 2 and 15 minutes.
    pub confirm_dead: Option<Duration>,
}

impl RecoveryPolicy {
    /// How long to wait before the refresh token is sent again that was sent `sends` times without a known outcome: the hold,
    /// doubled with each send, up to 15 minutes.
    pub fn pause(&self, sends: usize) -> Duration {
        let doublings = u32::try_from(sends.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        self.hold.saturating_mul(1 << doublings).min(LONGEST_RECOVERY_PAUSE.max(self.hold))
    }

    /// How long after the first refusal the refresh token is sent once more, before the grant is taken for dead. `access_left`
    /// is the rest of the access token's life: some providers refuse to refresh while it lives, in the words of a dead grant.
    pub fn confirmation_pause(&self, access_left: Duration) -> Duration {
        let (shortest, longest) = CONFIRMATION_PAUSE.into_inner();
        self.confirm_dead.unwrap_or_else(|| (access_left + SURELY_EXPIRED).clamp(shortest, longest))
    }
}

/// What follows the hold of an attempt whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHold {
    /// Send the refresh token again, with growing pauses, until the outcome is known.
    Resend,
    /// Get a new token set with no refresh token.
    Acquire,
    /// Ask a person.
    Ask,
}

/// What to do about an attempt whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Wait until then.
    Wait(Timestamp),
    /// Do the same again: it spends nothing.
    Again,
    /// Send the refresh token again before then: inside its grace the provider accepts it again.
    InGrace(Timestamp),
    /// Send the refresh token again. If that outcome is not known either, it is sent again after a longer pause: a token that
    /// was spent has no living successor, so that sending it again loses nothing.
    Resend,
    /// Get a new token set with no refresh token.
    Acquire,
    /// Only a person can help.
    Ask,
}

/// What to do at `now` about an attempt whose outcome is not known. `chain` is that attempt, the one that it was to
/// recover, and so on back to the one that began it, or to the last that is read ([`LONGEST_CHAIN`]). Where that one is not the
/// first, the grace of the first is over.
pub fn recovery(chain: &[Attempt], policy: &RecoveryPolicy, now: Timestamp) -> Recovery {
    let sends: Vec<_> = chain.iter().filter(|attempt| attempt.fingerprint.is_some()).collect();
    // What never sent a refresh token that can be used up can simply be done again.
    let (Some(last), Some(first)) = (sends.first(), sends.last()) else { return Recovery::Again };
    // The attempt is recorded before its token is sent, so the grace runs at least until then.
    let grace = if chain.len() < LONGEST_CHAIN { policy.reuse_grace } else { Duration::ZERO };
    let grace_ends = first.started_at + grace;
    if now < grace_ends {
        return Recovery::InGrace(grace_ends);
    }
    match policy.after_hold {
        AfterHold::Acquire => Recovery::Acquire,
        AfterHold::Ask => Recovery::Ask,
        AfterHold::Resend => {
            // An attempt whose recovery could not be sent was closed by it, and has been unknown for longer than that.
            let known = [last.completed_at, last.lease_until].into_iter().flatten().min();
            let known = known.unwrap_or(last.started_at);
            let pause = if last.code.as_deref() == Some(RECOVERY_REFUSED) {
                let access_left = last.old_expires_at.map_or(Duration::ZERO, |expiry| expiry.since(known));
                policy.confirmation_pause(access_left)
            } else {
                policy.pause(sends.iter().filter(|send| send.started_at >= grace_ends).count())
            };
            let until = known + pause;
            if now < until { Recovery::Wait(until) } else { Recovery::Resend }
        }
    }
}

/// When no reply to the last send of `chain` is expected any more: what [`recovery`] waits for beyond that is the growth of its
/// pauses, which a provider that has come back makes pointless. `None` where a refusal waits for its confirmation.
pub fn hold_ends(chain: &[Attempt], policy: &RecoveryPolicy) -> Option<Timestamp> {
    let last = chain.iter().find(|attempt| attempt.fingerprint.is_some())?;
    let known = [last.completed_at, last.lease_until].into_iter().flatten().min();
    let refused = last.code.as_deref() == Some(RECOVERY_REFUSED);
    (!refused).then(|| known.unwrap_or(last.started_at) + policy.pause(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::attempt::{Act, AttemptStatus};
    use super::super::fixture::{POLICY, TIMING, at, redeem, tokens};
    use super::*;

    #[test]
    fn the_margin_is_five_minutes_or_a_fifth_of_a_short_life() {
        assert_eq!(refresh_at(&tokens(86_400), &TIMING), Some(at(86_100)));
        assert_eq!(refresh_at(&tokens(60), &TIMING), Some(at(48)));
    }

    #[test]
    fn a_provider_that_refuses_early_refreshes_is_not_asked_early() {
        let timing = RefreshTiming { earliest: Some(Duration::from_secs(30)), ..TIMING };
        assert_eq!(refresh_at(&tokens(600), &timing), Some(at(570)));
        assert_eq!(due_at(&tokens(600), &timing, at(0), 0.99), at(570));
    }

    #[test]
    fn a_refresh_token_that_would_die_idle_is_used_before() {
        let idle = RefreshTiming { refresh_idle_ttl: Some(Duration::from_secs(1000)), ..TIMING };
        assert_eq!(refresh_at(&tokens(86_400), &idle), Some(at(900)));
        let keepalive = RefreshTiming { idle_keepalive: Some(Duration::from_secs(500)), ..TIMING };
        assert_eq!(refresh_at(&tokens(86_400), &keepalive), Some(at(500)));
        let hard = SealedTokens { refresh_expires_at: Some(at(2000)), ..tokens(86_400) };
        assert_eq!(refresh_at(&hard, &TIMING), Some(at(1800)));
    }

    #[test]
    fn a_token_without_expiry_is_only_visited() {
        let tokens = SealedTokens { access_expires_at: None, ..tokens(0) };
        assert_eq!(refresh_at(&tokens, &TIMING), None);
        assert_eq!(due_at(&tokens, &TIMING, at(5), 0.5), at(5) + TIMING.visit);
        assert!(!is_due(&tokens, &TIMING, at(1_000_000)));
    }

    #[test]
    fn a_token_that_is_issued_expired_is_not_refreshed_without_a_pause() {
        assert_eq!(due_at(&tokens(0), &TIMING, at(0), 0.9), at(1));
        assert_eq!(due_at(&tokens(-60), &TIMING, at(0), 0.0), at(1));
    }

    #[test]
    fn a_refresh_token_that_was_taken_over_alone_is_due_at_once() {
        let tokens = SealedTokens { access: None, access_expires_at: None, ..tokens(0) };
        assert!(is_due(&tokens, &TIMING, at(0)));
    }

    #[test]
    fn an_unknown_outcome_is_held_then_resent_again_and_again_with_growing_pauses() {
        let open = redeem();
        let chain = [open.clone()];
        assert_eq!(recovery(&chain, &POLICY, at(50)), Recovery::Wait(at(105)));
        assert_eq!(recovery(&chain, &POLICY, at(105)), Recovery::Resend);
        let resent = |from, completed| Attempt {
            recovers: Some(open.id),
            started_at: at(from),
            completed_at: Some(at(completed)),
            lease_until: Some(at(from + 45)),
            ..redeem()
        };
        let mut chain = vec![open.clone()];
        let mut last = 105;
        for pause in [120, 240, 480, 900, 900, 900] {
            chain.insert(0, resent(last + 1, last + 2));
            last += 2 + pause;
            assert_eq!(recovery(&chain, &POLICY, at(last - 1)), Recovery::Wait(at(last)));
            assert_eq!(recovery(&chain, &POLICY, at(last)), Recovery::Resend);
        }
        let told = Attempt { status: AttemptStatus::Interrupted, completed_at: Some(at(3)), ..redeem() };
        assert_eq!(recovery(&[told], &POLICY, at(4)), Recovery::Wait(at(63)));
    }

    #[test]
    fn the_hold_of_the_last_send_ends_long_before_its_grown_pause_unless_it_was_refused() {
        let open = redeem();
        let last = Attempt {
            recovers: Some(open.id),
            started_at: at(1_000),
            completed_at: Some(at(1_001)),
            lease_until: Some(at(1_045)),
            ..redeem()
        };
        let mut chain = vec![last, redeem(), redeem(), open];
        assert_eq!(recovery(&chain, &POLICY, at(1_061)), Recovery::Wait(at(1_481)));
        assert_eq!(hold_ends(&chain, &POLICY), Some(at(1_061)));
        chain[0].code = Some(RECOVERY_REFUSED.to_owned());
        assert_eq!(hold_ends(&chain, &POLICY), None);
        assert_eq!(
            hold_ends(&[redeem()], &POLICY),
            Some(at(105)),
            "after a crash, once the lease has lapsed"
        );
    }

    #[test]
    fn inside_the_grace_of_the_first_send_the_same_token_is_sent_at_once() {
        let policy = RecoveryPolicy { reuse_grace: Duration::from_secs(100), ..POLICY };
        let open = redeem();
        assert_eq!(recovery(std::slice::from_ref(&open), &policy, at(99)), Recovery::InGrace(at(100)));
        let later = Attempt { recovers: Some(open.id), started_at: at(90), ..redeem() };
        let chain = [later, open];
        assert_eq!(recovery(&chain, &policy, at(99)), Recovery::InGrace(at(100)));
        let held = Recovery::Wait(at(105));
        assert_eq!(recovery(&chain, &policy, at(100)), held, "the grace is the first send's");
    }

    #[test]
    fn a_refused_recovery_is_confirmed_after_two_minutes_however_many_sends_there_were() {
        let open = redeem();
        let refused = Attempt {
            recovers: Some(open.id),
            started_at: at(1_000),
            completed_at: Some(at(1_001)),
            lease_until: Some(at(1_045)),
            code: Some(RECOVERY_REFUSED.to_owned()),
            ..redeem()
        };
        let chain = [refused, redeem(), redeem(), redeem(), open];
        assert_eq!(recovery(&chain, &POLICY, at(1_120)), Recovery::Wait(at(1_121)));
        assert_eq!(recovery(&chain, &POLICY, at(1_121)), Recovery::Resend);
        let at_once = RecoveryPolicy { confirm_dead: Some(Duration::ZERO), ..POLICY };
        assert_eq!(recovery(&chain, &at_once, at(1_001)), Recovery::Resend);
        let [mut refused, ..] = chain;
        refused.old_expires_at = Some(at(1_301));
        assert_eq!(recovery(&[refused], &POLICY, at(1_301)), Recovery::Wait(at(1_302)), "it lives till then");
    }

    #[test]
    fn a_refusal_is_confirmed_when_the_access_token_has_expired_within_bounds() {
        let pause = |left| POLICY.confirmation_pause(Duration::from_secs(left)).as_secs();
        assert_eq!((pause(0), pause(119), pause(120), pause(300)), (120, 120, 121, 301));
        assert_eq!((pause(899), pause(900), pause(86_400)), (900, 900, 900));
        let policy = RecoveryPolicy { confirm_dead: Some(Duration::from_secs(7)), ..POLICY };
        assert_eq!(policy.confirmation_pause(Duration::from_hours(9)), Duration::from_secs(7));
    }

    #[test]
    fn a_chain_that_was_not_read_to_its_beginning_has_no_grace_left() {
        let policy = RecoveryPolicy { reuse_grace: Duration::from_hours(24 * 30), ..POLICY };
        let link = |index: i64| Attempt { started_at: at(1_000 + index), ..redeem() };
        let mut chain: Vec<_> = (0..).map(link).take(LONGEST_CHAIN).collect();
        chain.reverse();
        assert!(matches!(recovery(&chain[1..], &policy, at(9_000)), Recovery::InGrace(_)));
        assert_eq!(recovery(&chain, &policy, at(9_000)), Recovery::Resend);
    }

    #[test]
    fn a_provider_that_refreshes_late_is_too_early_asked_until_then() {
        let timing = RefreshTiming { earliest: Some(Duration::from_secs(30)), ..TIMING };
        assert_eq!(too_early_until(&tokens(600), &timing, at(569)), Some(at(570)));
        assert_eq!(too_early_until(&tokens(600), &timing, at(570)), None);
        assert_eq!(too_early_until(&tokens(600), &TIMING, at(0)), None);
        let refresh_alone = SealedTokens { access: None, ..tokens(600) };
        assert_eq!(too_early_until(&refresh_alone, &timing, at(0)), None, "there is nothing to go on with");
    }

    #[test]
    fn what_spends_nothing_is_done_again_and_policy_may_acquire_or_ask() {
        let acquire = Attempt { act: Act::Acquire, fingerprint: None, ..redeem() };
        assert_eq!(recovery(&[acquire], &POLICY, at(46)), Recovery::Again);
        let open = redeem();
        let ask = RecoveryPolicy { after_hold: AfterHold::Ask, ..POLICY };
        assert_eq!(recovery(std::slice::from_ref(&open), &ask, at(46)), Recovery::Ask);
        let acquire = RecoveryPolicy { after_hold: AfterHold::Acquire, ..POLICY };
        assert_eq!(recovery(&[open], &acquire, at(46)), Recovery::Acquire);
    }

    #[test]
    fn an_interrupted_acquiring_does_not_make_a_token_of_unknown_outcome_fresh_again() {
        let open = redeem();
        let acquire = Attempt { act: Act::Acquire, fingerprint: None, recovers: Some(open.id), ..redeem() };
        let chain = [acquire, open];
        let policy = RecoveryPolicy { after_hold: AfterHold::Acquire, ..POLICY };
        assert_eq!(recovery(&chain, &policy, at(999)), Recovery::Acquire);
        assert_eq!(recovery(&chain, &POLICY, at(50)), Recovery::Wait(at(105)));
    }

    proptest! {
        #[test]
        fn a_token_is_due_before_it_dies_and_never_before_it_is_issued(
            life in 1i64..10_000_000,
            jitter in 0.0f64..1.0,
            margin in prop::option::of(0u64..1_000_000),
        ) {
            let timing = RefreshTiming { margin: margin.map(Duration::from_secs), visit: Duration::from_secs(1 << 40), ..TIMING };
            let due = due_at(&tokens(life), &timing, at(0), jitter);
            prop_assert!(due >= at(0));
            prop_assert!(due <= at(life));
            prop_assert!(is_due(&tokens(life), &timing, due), "a look at the due time finds it due");
        }
    }
}
