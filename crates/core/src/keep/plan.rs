//! What to do next for a connection: a pure decision over its row, its policy and what was asked for.

use std::time::Duration;

use crate::id::{AttemptId, Generation};
use crate::seal::Fingerprint;
use crate::time::Timestamp;

use super::attempt::{Act, Attempt};
use super::connection::{Connection, GrantState};
use super::due::{self, Recovery, RecoveryPolicy, RefreshTiming};

/// The most of its life that a caller may ask a token to have left, in percent: more could never be satisfied for long.
const MOST_OF_LIFE_PERCENT: u32 = 80;

/// What would satisfy whoever asked for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// That the token set is not due, and no attempt is open.
    NotDue,
    /// A token set later than this one.
    Beyond(Generation),
    /// An access token that lives for `ttl`, or one that was issued after `asked_at`, however short its life, or any that
    /// lives while the provider refuses to refresh it.
    Living {
        /// How long it must live.
        ttl: Duration,
        /// When it was asked for.
        asked_at: Timestamp,
    },
    /// Another access token than this one, which the API refused.
    Other(Fingerprint),
}

impl Goal {
    /// Whether the row as it is satisfies the goal.
    pub fn is_satisfied_by(self, row: &Connection, timing: &RefreshTiming, now: Timestamp) -> bool {
        let Some(tokens) = row.tokens.as_ref().filter(|tokens| tokens.access.is_some()) else { return false };
        match self {
            // An attempt whose outcome is not known is settled while the token still lives.
            Self::NotDue => row.open_attempt.is_none() && !due::is_due(tokens, timing, now),
            Self::Beyond(generation) => row.generation > generation,
            Self::Living { ttl, asked_at } => {
                // While the provider refuses to refresh, nobody can have a better token than the one that lives.
                let is_best = || due::too_early_until(tokens, timing, now).is_some();
                row.refreshed_since(asked_at)
                    || row.lives(now, capped(ttl, row))
                    || (row.lives(now, Duration::ZERO) && is_best())
            }
            Self::Other(refused) => {
                tokens.access_fingerprint != Some(refused) && row.lives(now, Duration::ZERO)
            }
        }
    }

    /// Whether the row has the very access token that the goal is to be rid of.
    pub fn refuses(self, row: &Connection) -> bool {
        let held = row.tokens.as_ref().and_then(|tokens| tokens.access_fingerprint);
        matches!(self, Self::Other(refused) if held == Some(refused))
    }
}

/// What is left of `ttl` when it is capped at [`MOST_OF_LIFE_PERCENT`] of the life of the token set.
fn capped(ttl: Duration, row: &Connection) -> Duration {
    let life =
        row.tokens.as_ref().and_then(|tokens| Some(tokens.access_expires_at?.since(tokens.obtained_at)));
    life.map_or(ttl, |life| ttl.min(life * MOST_OF_LIFE_PERCENT / 100))
}

/// When a token set is acquired with no refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquirePolicy {
    /// Never: the provider has no `acquire` step.
    Never,
    /// Where there is no refresh token to redeem.
    WithoutGrant,
    /// There, and in place of a grant that is dead.
    WhenDead,
}

/// Whether somebody forces a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Nobody does.
    No,
    /// A service decided to send a token with an unknown outcome.
    ByService,
    /// A person decided so, and to send a token before the provider allows it, or of a dead grant.
    ByPerson,
}

/// What the connection is able to do and may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The provider has a `refresh` step.
    pub can_redeem: bool,
    /// When a token set is acquired with no refresh token.
    pub acquire: AcquirePolicy,
    /// The refresh token was refused as dead a moment ago, in this very refresh.
    pub refused_as_dead: bool,
    /// Whether somebody forces it.
    pub force: Force,
    /// The provider refuses to refresh before then, see [`due::too_early_until`].
    pub too_early_until: Option<Timestamp>,
}

/// What is known of an attempt whose outcome is not known.
#[derive(Clone, Copy, Debug)]
pub struct InterruptedAttempt<'a> {
    /// The open attempt.
    pub open: AttemptId,
    /// The open attempt, the one that it was to recover, and so on back to the one that began it.
    pub chain: &'a [Attempt],
    /// The policy.
    pub policy: RecoveryPolicy,
    /// The pauses need not grow any further: the provider is tried, or has come back since the last send.
    pub early: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Claim, and do this.
    Do {
        /// What to do upstream.
        act: Act,
        /// The attempt that it recovers.
        recovers: Option<AttemptId>,
        /// It may only be sent before then.
        before: Option<Timestamp>,
    },
    /// An interrupted attempt holds until then.
    Hold {
        /// The attempt.
        attempt: AttemptId,
        /// Until when.
        until: Timestamp,
    },
    /// An interrupted attempt needs a person.
    AskAbout {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The provider refuses to refresh before then, whoever asks.
    TooEarly {
        /// When it no longer does.
        until: Timestamp,
    },
    /// The grant is dead and a person must consent again.
    Dead,
    /// Nothing is connected.
    NotConnected,
    /// An operator paused it.
    Paused,
}

/// What to do next for a row whose goal is not satisfied yet.
pub fn next(
    row: &Connection,
    capabilities: Capabilities,
    interrupted: Option<InterruptedAttempt<'_>>,
    now: Timestamp,
) -> Plan {
    if row.paused {
        return Plan::Paused;
    }
    match interrupted {
        Some(interrupted) => recover(row, capabilities, interrupted, now),
        None => match (fresh(row, capabilities), capabilities.too_early_until) {
            (Ok(Act::Redeem), Some(until)) if capabilities.force != Force::ByPerson => {
                Plan::TooEarly { until }
            }
            (Ok(act), _) => Plan::Do { act, recovers: None, before: None },
            (Err(plan), _) => plan,
        },
    }
}

fn recover(
    row: &Connection,
    capabilities: Capabilities,
    interrupted: InterruptedAttempt<'_>,
    now: Timestamp,
) -> Plan {
    let attempt = interrupted.open;
    let again = |before| {
        let act = |act| Plan::Do { act, recovers: Some(attempt), before };
        fresh(row, capabilities).map_or_else(|plan| plan, act)
    };
    match due::recovery(interrupted.chain, &interrupted.policy, now) {
        Recovery::Again | Recovery::Resend => again(None),
        Recovery::InGrace(_) | Recovery::Wait(_) | Recovery::Ask if capabilities.force != Force::No => {
            again(None)
        }
        Recovery::InGrace(until) => again(Some(until)),
        Recovery::Acquire => Plan::Do { act: Act::Acquire, recovers: Some(attempt), before: None },
        Recovery::Wait(until) => {
            let hold = due::hold_ends(interrupted.chain, &interrupted.policy).filter(|_| interrupted.early);
            let until = hold.map_or(until, |hold| hold.min(until));
            if now < until { Plan::Hold { attempt, until } } else { again(None) }
        }
        Recovery::Ask => Plan::AskAbout { attempt },
    }
}

/// The act for a row with no open attempt, or why there is none.
fn fresh(row: &Connection, capabilities: Capabilities) -> Result<Act, Plan> {
    let has_refresh = row.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_some());
    let redeems = capabilities.can_redeem && has_refresh;
    if capabilities.refused_as_dead || row.state == GrantState::Dead {
        if row.usable_orphan().is_some() {
            return Ok(Act::Orphan);
        }
        if capabilities.acquire == AcquirePolicy::WhenDead {
            return Ok(Act::Acquire);
        }
        // A person may have it sent once more: providers and their files are wrong at times.
        let by_person = capabilities.force == Force::ByPerson && !capabilities.refused_as_dead;
        return if redeems && by_person { Ok(Act::Redeem) } else { Err(Plan::Dead) };
    }
    if redeems && row.state != GrantState::None {
        return Ok(Act::Redeem);
    }
    if capabilities.acquire != AcquirePolicy::Never && !row.is_given_up() {
        return Ok(Act::Acquire);
    }
    Err(if row.state == GrantState::None { Plan::NotConnected } else { Plan::Dead })
}

#[cfg(test)]
mod tests {
    use super::super::connection::OrphanReply;
    use super::super::due::AfterHold;
    use super::super::fixture::{POLICY, TIMING, at, attempt_id, fingerprint, live, redeem, tokens};
    use super::*;

    const REDEEMS: Capabilities = Capabilities {
        can_redeem: true,
        acquire: AcquirePolicy::Never,
        refused_as_dead: false,
        force: Force::No,
        too_early_until: None,
    };

    fn act(act: Act) -> Plan {
        Plan::Do { act, recovers: None, before: None }
    }

    #[test]
    fn a_wish_for_life_is_capped_at_four_fifths_of_it() {
        let row = live();
        let goal = |ttl| Goal::Living { ttl: Duration::from_secs(ttl), asked_at: at(1) };
        assert!(goal(2800).is_satisfied_by(&row, &TIMING, at(600)));
        assert!(!goal(3000).is_satisfied_by(&row, &TIMING, at(800)));
        assert!(goal(9999).is_satisfied_by(&row, &TIMING, at(600)), "nobody can have more than 80 % of it");
    }

    #[test]
    fn nobody_is_sent_to_a_provider_that_refuses_to_refresh_yet_but_by_a_person() {
        let timing = RefreshTiming { earliest: Some(Duration::from_secs(30)), ..TIMING };
        let row = live();
        let longer = Goal::Living { ttl: Duration::from_mins(1), asked_at: at(1) };
        assert!(longer.is_satisfied_by(&row, &timing, at(3_569)), "no better one can be had");
        assert!(!longer.is_satisfied_by(&row, &timing, at(3_570)), "now it can");
        assert!(!longer.is_satisfied_by(&row, &TIMING, at(3_569)));
        let early = Capabilities { too_early_until: Some(at(3_570)), ..REDEEMS };
        assert_eq!(next(&row, early, None, at(0)), Plan::TooEarly { until: at(3_570) });
        let person = Capabilities { force: Force::ByPerson, ..early };
        assert_eq!(next(&row, person, None, at(0)), act(Act::Redeem));
        // What acquires spends nothing, and what is dead or not connected has its own answer.
        let acquires = Capabilities { can_redeem: false, acquire: AcquirePolicy::WithoutGrant, ..early };
        assert_eq!(next(&row, acquires, None, at(0)), act(Act::Acquire));
        let dead = Connection { state: GrantState::Dead, ..live() };
        assert_eq!(next(&dead, early, None, at(0)), Plan::Dead);
        // A recovery is not asked for: it settles what was sent before.
        let open = redeem();
        let interrupted = Some(InterruptedAttempt {
            open: open.id,
            chain: std::slice::from_ref(&open),
            policy: POLICY,
            early: false,
        });
        let resend = Plan::Do { act: Act::Redeem, recovers: Some(open.id), before: None };
        assert_eq!(next(&row, early, interrupted, at(105)), resend);
    }

    #[test]
    fn a_person_may_have_the_token_of_a_dead_grant_sent_once_more() {
        let dead = Connection { state: GrantState::Dead, ..live() };
        let person = Capabilities { force: Force::ByPerson, ..REDEEMS };
        assert_eq!(next(&dead, REDEEMS, None, at(0)), Plan::Dead);
        assert_eq!(next(&dead, person, None, at(0)), act(Act::Redeem));
        let refused = Capabilities { refused_as_dead: true, ..person };
        assert_eq!(next(&dead, refused, None, at(0)), Plan::Dead, "not twice in one refresh");
        let acquires = Capabilities { acquire: AcquirePolicy::WhenDead, ..person };
        assert_eq!(next(&dead, acquires, None, at(0)), act(Act::Acquire));
    }

    #[test]
    fn a_set_issued_after_the_request_satisfies_it_however_short_its_life() {
        let row = Connection { tokens: Some(tokens(2)), ..live() };
        let goal = Goal::Living { ttl: Duration::from_mins(1), asked_at: at(0) };
        assert!(goal.is_satisfied_by(&row, &TIMING, at(1)));
        let later = Goal::Living { ttl: Duration::from_mins(1), asked_at: at(1) };
        assert!(!later.is_satisfied_by(&row, &TIMING, at(2)), "one that was there before does not");
    }

    #[test]
    fn a_rejected_token_is_satisfied_by_any_other_living_one() {
        let row = live();
        assert!(Goal::Other(fingerprint(9)).is_satisfied_by(&row, &TIMING, at(1)));
        assert!(!Goal::Other(fingerprint(1)).is_satisfied_by(&row, &TIMING, at(1)));
        assert!(Goal::Other(fingerprint(1)).refuses(&row) && !Goal::Other(fingerprint(9)).refuses(&row));
        assert!(!Goal::NotDue.refuses(&row));
        assert!(Goal::Beyond(Generation(2)).is_satisfied_by(&row, &TIMING, at(1)));
        assert!(!Goal::Beyond(Generation(3)).is_satisfied_by(&row, &TIMING, at(1)));
    }

    #[test]
    fn an_orphan_reply_of_the_same_grant_is_used_before_the_grant_is_given_up() {
        let mut row = live();
        let refused = Capabilities { refused_as_dead: true, ..REDEEMS };
        assert_eq!(next(&row, refused, None, at(0)), Plan::Dead);
        let orphan = OrphanReply {
            attempt: attempt_id(),
            grant: row.grant,
            generation: Generation(3),
            tokens: tokens(60),
        };
        row.orphans = vec![orphan.clone()];
        assert_eq!(next(&row, refused, None, at(0)), act(Act::Orphan));
        row.orphans = vec![OrphanReply { grant: live().grant, ..orphan }];
        assert_eq!(
            next(&row, refused, None, at(0)),
            Plan::Dead,
            "an orphan reply of another grant is not used"
        );
    }

    #[test]
    fn a_dead_grant_is_acquired_anew_where_that_can_be_done() {
        let row = Connection { state: GrantState::Dead, ..live() };
        assert_eq!(next(&row, REDEEMS, None, at(0)), Plan::Dead);
        let acquires = Capabilities { acquire: AcquirePolicy::WhenDead, ..REDEEMS };
        assert_eq!(next(&row, acquires, None, at(0)), act(Act::Acquire));
        let none = Connection { state: GrantState::None, tokens: None, due_at: Some(at(0)), ..live() };
        assert_eq!(next(&none, acquires, None, at(0)), act(Act::Acquire));
        assert_eq!(next(&none, REDEEMS, None, at(0)), Plan::NotConnected);
        let given_up = Connection { due_at: None, ..none };
        assert_eq!(next(&given_up, acquires, None, at(0)), Plan::NotConnected, "somebody disconnected it");
        let paused = Connection { paused: true, ..live() };
        assert_eq!(next(&paused, acquires, None, at(0)), Plan::Paused);
    }

    #[test]
    fn a_person_may_decide_what_policy_would_hold() {
        let open = redeem();
        let interrupted = Some(InterruptedAttempt {
            open: open.id,
            chain: std::slice::from_ref(&open),
            policy: POLICY,
            early: false,
        });
        let hold = Plan::Hold { attempt: open.id, until: at(105) };
        assert_eq!(next(&live(), REDEEMS, interrupted, at(50)), hold);
        let person = Capabilities { force: Force::ByPerson, ..REDEEMS };
        let resend = Plan::Do { act: Act::Redeem, recovers: Some(open.id), before: None };
        assert_eq!(next(&live(), person, interrupted, at(50)), resend);
        assert_eq!(next(&live(), REDEEMS, interrupted, at(200)), resend);
    }

    #[test]
    fn a_provider_that_came_back_is_not_kept_waiting_by_grown_pauses_but_by_the_hold() {
        let open = redeem();
        let second =
            Attempt { recovers: Some(open.id), started_at: at(200), lease_until: Some(at(245)), ..redeem() };
        let chain = [second, open];
        let interrupted =
            |early| Some(InterruptedAttempt { open: chain[0].id, chain: &chain, policy: POLICY, early });
        let held = |until| Plan::Hold { attempt: chain[0].id, until: at(until) };
        assert_eq!(next(&live(), REDEEMS, interrupted(false), at(310)), held(365));
        assert_eq!(next(&live(), REDEEMS, interrupted(true), at(304)), held(305));
        let resend = Plan::Do { act: Act::Redeem, recovers: Some(chain[0].id), before: None };
        assert_eq!(next(&live(), REDEEMS, interrupted(true), at(310)), resend);
        let policy = RecoveryPolicy { reuse_grace: Duration::from_secs(400), ..POLICY };
        let graceful = InterruptedAttempt { open: chain[0].id, chain: &chain, policy, early: true };
        let in_grace = Plan::Do { act: Act::Redeem, recovers: Some(chain[0].id), before: Some(at(400)) };
        assert_eq!(next(&live(), REDEEMS, Some(graceful), at(310)), in_grace);
    }

    #[test]
    fn the_leave_that_a_grace_gives_ends_with_the_grace_unless_a_person_decides() {
        let open = redeem();
        let grace = Duration::from_secs(100);
        let policy = RecoveryPolicy { reuse_grace: grace, after_hold: AfterHold::Ask, ..POLICY };
        let interrupted = Some(InterruptedAttempt {
            open: open.id,
            chain: std::slice::from_ref(&open),
            policy,
            early: false,
        });
        let resend = |before| Plan::Do { act: Act::Redeem, recovers: Some(open.id), before };
        assert_eq!(next(&live(), REDEEMS, interrupted, at(50)), resend(Some(at(100))));
        let person = Capabilities { force: Force::ByPerson, ..REDEEMS };
        assert_eq!(next(&live(), person, interrupted, at(50)), resend(None));
    }
}
