//! Who may spend a refresh token now: the rule of the claim.

use std::time::Duration;

use crate::audit::Actor;
use crate::id::{AttemptId, ConnectionName, Generation, NodeId};
use crate::seal::Fingerprint;
use crate::time::Timestamp;

use super::attempt::{Act, Trigger};
use super::connection::{Connection, GrantState};

/// Asks for the lease of a connection. The id of the attempt is also the operation id: a claim that is sent again
/// finds its own lease and gets the first answer again.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The connection.
    pub connection: ConnectionName,
    /// The attempt to be opened.
    pub attempt: AttemptId,
    /// The process that asks.
    pub node: NodeId,
    /// What asked for the refresh.
    pub trigger: Trigger,
    /// Who asked for the refresh; absent where the process began it by itself.
    pub asked_by: Option<Actor>,
    /// What it will do upstream.
    pub act: Act,
    /// The generation that the claimer saw.
    pub generation: Generation,
    /// Names the refresh token that will be spent; absent when the act spends none.
    pub spends: Option<Fingerprint>,
    /// How long the lease shall run.
    pub lease_ttl: Duration,
    /// Go on though the connection cools down after a failure, or its grant is dead: a person asked for it.
    pub through_cooldown: bool,
    /// The interrupted attempt whose recovery this claim is; it must be the one that is open.
    pub recovers: Option<AttemptId>,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The lease is ours; the open attempt is recorded. `until` is by the clock of the store.
    Won {
        /// When the lease lapses.
        until: Timestamp,
    },
    /// Somebody redeems now.
    Held {
        /// When their lease lapses at the latest.
        until: Timestamp,
    },
    /// Somebody refreshed, connected or disconnected meanwhile: look again and spend nothing.
    Moved {
        /// The generation now.
        generation: Generation,
    },
    /// The last attempt failed a moment ago.
    CoolingDown {
        /// When the next may be made.
        until: Timestamp,
    },
    /// The outcome of an earlier attempt is not known; policy decides, and claims again with `recovers`.
    Interrupted {
        /// That attempt.
        attempt: AttemptId,
    },
    /// There is no such connection, it is paused, or its grant is dead.
    Closed,
}

/// What the store answers to `claim`, given the row and the instant by the store's clock.
///
/// Both stores follow this one rule; a store that decides in one statement must decide alike.
pub fn answer(row: Option<&Connection>, claim: &Claim, now: Timestamp) -> ClaimAnswer {
    let Some(row) = row else { return ClaimAnswer::Closed };
    if let Some(lease) = row.lease.filter(|lease| lease.attempt == claim.attempt) {
        return ClaimAnswer::Won { until: lease.until };
    }
    if row.generation != claim.generation {
        return ClaimAnswer::Moved { generation: row.generation };
    }
    if let Some(lease) = row.live_lease(now) {
        return ClaimAnswer::Held { until: lease.until };
    }
    if row.paused || !may_try(row, claim) {
        return ClaimAnswer::Closed;
    }
    if let Some(open) = row.open_attempt.filter(|open| Some(*open) != claim.recovers) {
        return ClaimAnswer::Interrupted { attempt: open };
    }
    if claim.recovers.is_some() && row.open_attempt.is_none() {
        // The attempt to be recovered was settled meanwhile, without a new generation: its outcome is known now.
        return ClaimAnswer::Moved { generation: row.generation };
    }
    match row.cooling_until {
        Some(until) if now < until && !claim.through_cooldown => ClaimAnswer::CoolingDown { until },
        _ => ClaimAnswer::Won { until: now + claim.lease_ttl },
    }
}

/// A dead grant is redeemed again by a person alone, but acquiring needs no grant, and an orphan reply may still be usable.
fn may_try(row: &Connection, claim: &Claim) -> bool {
    match claim.act {
        Act::Acquire | Act::Connect => true,
        Act::Orphan => row.usable_orphan().is_some(),
        Act::Redeem | Act::Visit => match row.state {
            GrantState::Live | GrantState::Suspended => true,
            GrantState::Dead => claim.through_cooldown,
            GrantState::None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, attempt_id, claim, leased, live};
    use super::*;

    #[test]
    fn a_free_living_connection_is_won_for_the_length_of_the_lease() {
        let row = live();
        assert_eq!(answer(Some(&row), &claim(&row), at(0)), ClaimAnswer::Won { until: at(45) });
    }

    #[test]
    fn a_claim_sent_again_finds_its_own_lease() {
        let row = live();
        let claim = claim(&row);
        let row = leased(row, claim.attempt, at(45));
        assert_eq!(answer(Some(&row), &claim, at(10)), ClaimAnswer::Won { until: at(45) });
    }

    #[test]
    fn a_running_lease_holds_and_a_lapsed_one_leaves_an_interrupted_attempt() {
        let open = attempt_id();
        let row = leased(live(), open, at(45));
        assert_eq!(answer(Some(&row), &claim(&row), at(44)), ClaimAnswer::Held { until: at(45) });
        assert_eq!(answer(Some(&row), &claim(&row), at(45)), ClaimAnswer::Interrupted { attempt: open });
    }

    #[test]
    fn only_the_attempt_that_is_open_can_be_recovered() {
        let open = attempt_id();
        let row = leased(live(), open, at(45));
        let recovery = Claim { recovers: Some(open), ..claim(&row) };
        assert_eq!(answer(Some(&row), &recovery, at(60)), ClaimAnswer::Won { until: at(105) });
        let other = Claim { recovers: Some(attempt_id()), ..claim(&row) };
        assert_eq!(answer(Some(&row), &other, at(60)), ClaimAnswer::Interrupted { attempt: open });
        let settled = live();
        assert_eq!(
            answer(Some(&settled), &recovery, at(60)),
            ClaimAnswer::Moved { generation: settled.generation }
        );
    }

    #[test]
    fn a_claimer_who_saw_an_older_generation_spends_nothing() {
        let row = live();
        let stale = Claim { generation: Generation(2), ..claim(&row) };
        assert_eq!(answer(Some(&row), &stale, at(0)), ClaimAnswer::Moved { generation: Generation(3) });
    }

    #[test]
    fn cooling_down_stops_everyone_but_a_person() {
        let row = Connection { cooling_until: Some(at(5)), ..live() };
        assert_eq!(answer(Some(&row), &claim(&row), at(4)), ClaimAnswer::CoolingDown { until: at(5) });
        let person = Claim { through_cooldown: true, ..claim(&row) };
        assert!(matches!(answer(Some(&row), &person, at(4)), ClaimAnswer::Won { .. }));
        assert!(matches!(answer(Some(&row), &claim(&row), at(5)), ClaimAnswer::Won { .. }));
    }

    #[test]
    fn nothing_is_redeemed_for_what_is_absent_paused_or_dead() {
        let row = live();
        assert_eq!(answer(None, &claim(&row), at(0)), ClaimAnswer::Closed);
        let paused = Connection { paused: true, ..live() };
        assert_eq!(answer(Some(&paused), &claim(&paused), at(0)), ClaimAnswer::Closed);
        let dead = Connection { state: GrantState::Dead, ..live() };
        assert_eq!(answer(Some(&dead), &claim(&dead), at(0)), ClaimAnswer::Closed);
        let person = Claim { through_cooldown: true, ..claim(&dead) };
        assert!(matches!(answer(Some(&dead), &person, at(0)), ClaimAnswer::Won { .. }));
        let acquire = Claim { act: Act::Acquire, ..claim(&dead) };
        assert!(matches!(answer(Some(&dead), &acquire, at(0)), ClaimAnswer::Won { .. }));
    }
}
