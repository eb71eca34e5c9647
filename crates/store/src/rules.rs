//! What each write does to a row, apart from how a database stores it.
//!
//! Who may claim and what a rejection means is decided by core ([`jeton_core::keep::claim::answer`],
//! [`jeton_core::keep::rejection::answer`]); this is what follows once it is decided.

use std::time::Duration;

use jeton_core::id::{AttemptId, Generation, GrantId, ProviderName, Revision};
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::{Connection, GrantState, Lease, OrphanReply, SealedTokens};
use jeton_core::keep::ports::{Commit, Connect, Fail, FailureEffect, OperatorCommand};
use jeton_core::keep::rejection::backoff_after_commit;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

/// Code of an attempt that was given up as of unknown outcome by its recovery.
pub(crate) const INTERRUPTED: &str = "interrupted";
/// Code of an attempt that lost its connection to a new grant, to a disconnect or to a reply that came late.
pub(crate) const SUPERSEDED: &str = "superseded";
/// Code of an attempt whose reply is kept as an orphan reply.
pub(crate) const ORPHAN: &str = "stray";
/// Code of an attempt that found the generation moved and had spent nothing.
pub(crate) const MOVED: &str = "moved";

/// How long a silent node is remembered.
pub(crate) const NODES_REMEMBERED: Duration = Duration::from_hours(24);

/// The setting that keeps the grant that was given its place last.
pub(crate) const LAST_GRANT: &str = "last_grant";

/// An attempt that must be closed as interrupted, and the code it gets unless it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) attempt: AttemptId,
    pub(crate) code: &'static str,
}

fn supersede(row: &mut Connection, by: AttemptId) -> Option<Closing> {
    row.lease = None;
    row.open_attempt.take().filter(|open| *open != by).map(|attempt| Closing { attempt, code: SUPERSEDED })
}

/// The claim is won: the lease is given and the attempt opened. Answers the attempt that is recovered.
///
/// The connection is due again when the lease lapses, so that an attempt whose process died is found, however far
/// away the next refresh was. A dead grant that is redeemed once more is in doubt again: it lives, refused once.
pub(crate) fn take_lease(row: &mut Connection, claim: &Claim, until: Timestamp) -> Option<Closing> {
    if row.state == GrantState::Dead && claim.act == Act::Redeem {
        row.state = GrantState::Live;
    }
    row.lease = Some(Lease { attempt: claim.attempt, node: claim.node, until });
    row.due_at = Some(row.due_at.map_or(until, |due| due.min(until)));
    row.open_attempt.replace(claim.attempt).map(|attempt| Closing { attempt, code: INTERRUPTED })
}

/// Whether the row is still the one that the attempt began from: its generation *and* its refresh token.
pub(crate) fn is_as_claimed(row: &Connection, commit: &Commit) -> bool {
    row.generation == commit.generation && refresh_of(row.tokens.as_ref()) == commit.replaces
}

/// The new token set takes its place. Answers an attempt that this one came before: its recovery, still under way.
pub(crate) fn commit(row: &mut Connection, commit: Commit, trigger: Option<Trigger>) -> Option<Closing> {
    row.generation = row.generation.next();
    row.tokens = Some(commit.tokens);
    row.state = GrantState::Live;
    row.state_code = None;
    row.refresh_trigger = trigger;
    row.backoff = trigger.and_then(|trigger| backoff_after_commit(row.backoff, trigger));
    row.due_at = commit.due_at;
    row.cooling_until = None;
    row.failures = 0;
    row.failing_since = None;
    row.last_error = None;
    row.provider_message = None;
    row.orphans.retain(|orphan| Some(orphan.attempt) != commit.orphan);
    supersede(row, commit.attempt)
}

/// The reply came too late and is kept beside the connection; an attempt that used an orphan reply brought nothing new.
pub(crate) fn keep_orphan(row: &mut Connection, commit: Commit, grant: GrantId) {
    give_back(row, commit.attempt);
    if commit.orphan.is_none() && row.orphans.iter().all(|orphan| orphan.attempt != commit.attempt) {
        let generation = commit.generation.next();
        row.orphans.push(OrphanReply { attempt: commit.attempt, grant, generation, tokens: commit.tokens });
        row.orphans.sort_by_key(|orphan| orphan.attempt);
    }
}

/// The attempt is over, whatever the row has become meanwhile.
pub(crate) fn give_back(row: &mut Connection, attempt: AttemptId) {
    row.lease = row.lease.filter(|lease| lease.attempt != attempt);
    row.open_attempt = row.open_attempt.filter(|open| *open != attempt);
}

/// Whether a failure concerns the row, or only its own entry in the log.
///
/// It does while the attempt has the lease, and later only to say at last what became of the open attempt.
pub(crate) fn failure_counts(row: &Connection, fail: &Fail) -> bool {
    let leased = row.lease.is_some_and(|lease| lease.attempt == fail.attempt);
    row.generation == fail.generation
        && row.open_attempt == Some(fail.attempt)
        && (leased || fail.effect != FailureEffect::Unknown)
}

/// The failure as the row shows it. `reopens` is the attempt that the failed one was to recover: when the recovery has
/// spent nothing, it is as unknown as before whether that one did. `trigger` is what asked for the attempt.
pub(crate) fn fail(
    row: &mut Connection,
    fail: &Fail,
    reopens: Option<AttemptId>,
    trigger: Trigger,
    now: Timestamp,
) {
    row.lease = None;
    if row.failures == 0 {
        row.failing_since = Some(now);
    }
    row.failures = row.failures.saturating_add(1);
    row.last_error = Some(fail.code.clone());
    row.provider_message.clone_from(&fail.provider_message);
    let cooling = (!fail.cooldown.is_zero()).then(|| now + fail.cooldown);
    // A person may try during a pause. A failure of that try does not end the pause.
    row.cooling_until = cooling.max(row.cooling_until.filter(|until| *until > now));
    row.due_at = fail.due_in.map(|due_in| (now + due_in).max(row.cooling_until.unwrap_or(now)));
    if fail.effect != FailureEffect::Unknown {
        row.open_attempt = reopens;
    }
    // What failed to replace a dead grant does not bring it back to life.
    let stays_dead = row.state == GrantState::Dead;
    if let FailureEffect::State(state) = fail.effect
        && !stays_dead
    {
        row.state = state;
        row.state_code = Some(fail.code.clone());
        if state == GrantState::Dead {
            row.open_attempt = None;
            row.due_at = None;
        }
        if state != GrantState::Suspended && trigger == Trigger::Rejected {
            end_access(row, now);
        }
    }
}

/// The API refused the access token, and the provider the grant that could have cured it: so the token is dead.
fn end_access(row: &mut Connection, now: Timestamp) {
    if let Some(tokens) = &mut row.tokens {
        tokens.access_expires_at = Some(tokens.access_expires_at.map_or(now, |expiry| expiry.min(now)));
    }
}

/// The nearest attempt, along a chain of recoveries that begins at `recovers`, of which it is still not known whether
/// it spent the refresh token. `look` answers the status of an attempt, and which one it was to recover.
pub(crate) fn still_unknown<E>(
    recovers: Option<AttemptId>,
    mut look: impl FnMut(AttemptId) -> Result<Option<(AttemptStatus, Option<AttemptId>)>, E>,
) -> Result<Option<AttemptId>, E> {
    let mut next = recovers;
    // Ids are made by the clocks of many machines, and their order says nothing about who recovers whom; the links do.
    let mut seen = Vec::new();
    while let Some(attempt) = next.filter(|attempt| !seen.contains(attempt)) {
        seen.push(attempt);
        next = match look(attempt)? {
            Some((AttemptStatus::Running | AttemptStatus::Interrupted, _)) => return Ok(Some(attempt)),
            Some((AttemptStatus::Failed, before)) => before,
            _ => None,
        };
    }
    Ok(None)
}

/// The status of a failed attempt in the log.
pub(crate) fn failed_status(effect: FailureEffect) -> AttemptStatus {
    match effect {
        FailureEffect::Unknown => AttemptStatus::Interrupted,
        FailureEffect::Retry | FailureEffect::State(_) => AttemptStatus::Failed,
    }
}

/// The row of a connection that was not there.
pub(crate) fn first_row(connect: &Connect, now: Timestamp) -> Connection {
    Connection {
        name: connect.connection.clone(),
        provider: connect.provider.clone(),
        grant: connect.grant,
        state: GrantState::None,
        state_code: None,
        paused: false,
        generation: Generation(0),
        revision: Revision(0),
        tokens: None,
        refresh_trigger: None,
        lease: None,
        open_attempt: None,
        due_at: None,
        cooling_until: None,
        failures: 0,
        failing_since: None,
        last_error: None,
        provider_message: None,
        backoff: None,
        orphans: Vec::new(),
        created_at: now,
    }
}

/// Whether the row has already what `connect` brings: the same refresh token, or, when it brings none, a grant of
/// the same provider that works.
///
/// A process that begins by itself finds a row when another process, or a person, came before it, and changes nothing.
pub(crate) fn has_already(row: &Connection, connect: &Connect) -> bool {
    let begins_by_itself = connect.tokens.is_none() && connect.by.is_none();
    match &connect.tokens {
        None if begins_by_itself => true,
        None => works_at(row, &connect.provider) && row.tokens.is_some(),
        Some(new) => new.refresh_fingerprint.is_some_and(|refresh| holds(row, &connect.provider, refresh)),
    }
}

/// Whether the row holds that refresh token of that provider, and its grant works.
pub(crate) fn holds(row: &Connection, provider: &ProviderName, refresh: Fingerprint) -> bool {
    works_at(row, provider) && refresh_of(row.tokens.as_ref()) == Some(refresh)
}

fn works_at(row: &Connection, provider: &ProviderName) -> bool {
    matches!(row.state, GrantState::Live | GrantState::Suspended) && row.provider == *provider
}

/// The grant takes its place. Answers the attempt that was under way on the old one.
///
/// With no tokens to put in, what the row held of another provider or of a dead grant goes, so that a row with no
/// grant has no tokens either.
pub(crate) fn connect(row: &mut Connection, connect: Connect, now: Timestamp) -> Option<Closing> {
    row.provider = connect.provider;
    row.grant = connect.grant;
    if connect.tokens.is_some() || row.tokens.is_some() {
        row.generation = row.generation.next();
    }
    let brings_tokens = connect.tokens.is_some();
    let held = refresh_of(row.tokens.as_ref());
    let sending = row
        .lease
        .filter(|lease| lease.until > now && held.is_some() && held == refresh_of(connect.tokens.as_ref()));
    row.state = if brings_tokens { GrantState::Live } else { GrantState::None };
    row.due_at = Some(if brings_tokens { connect.due_at } else { connect.due_at.min(now) });
    row.tokens = connect.tokens;
    forget_troubles(row);
    // The very refresh token that it brings is being sent: whoever sends it has the lease until that is over.
    if sending.is_some() { None } else { supersede(row, connect.attempt) }
}

fn refresh_of(tokens: Option<&SealedTokens>) -> Option<Fingerprint> {
    tokens.and_then(|tokens| tokens.refresh_fingerprint)
}

fn forget_troubles(row: &mut Connection) {
    row.state_code = None;
    row.refresh_trigger = None;
    row.cooling_until = None;
    row.failures = 0;
    row.failing_since = None;
    row.last_error = None;
    row.provider_message = None;
    row.backoff = None;
}

/// What an operator ordered; `given_up_as` names the grant that takes the place of one that is given up. Answers the attempt that was under way on a grant that is given up.
pub(crate) fn administer(
    row: &mut Connection,
    act: OperatorCommand,
    given_up_as: GrantId,
    now: Timestamp,
) -> Option<Closing> {
    match act {
        OperatorCommand::Pause => row.paused = true,
        OperatorCommand::Resume => {
            row.paused = false;
            row.cooling_until = None;
            if row.state != GrantState::Dead {
                // A dead grant is not looked at again, whoever asks: a person must connect it anew.
                row.due_at = Some(now);
            }
        }
        OperatorCommand::Disconnect => {
            row.generation = row.generation.next();
            // So that a reply that is still under way belongs to no grant of this row.
            row.grant = given_up_as;
            row.state = GrantState::None;
            row.tokens = None;
            row.orphans.clear();
            row.due_at = None;
            forget_troubles(row);
            let lease = row.lease.map(|lease| lease.attempt);
            let open = row.open_attempt.take().or(lease);
            row.lease = None;
            return open.map(|attempt| Closing { attempt, code: SUPERSEDED });
        }
    }
    None
}

/// How the log shows an attempt whose reply came too late: the reply is kept; one that merely used an orphan reply spent
/// nothing and brought nothing.
pub(crate) fn late_status(act: Act, used_orphan: bool) -> (AttemptStatus, &'static str) {
    if used_orphan || act == Act::Orphan {
        (AttemptStatus::Failed, MOVED)
    } else {
        (AttemptStatus::Success, ORPHAN)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    /// The answer for a log in which each attempt has this status and recovers that one.
    fn answer(log: &[(u8, AttemptStatus, Option<u8>)], recovers: u8) -> Option<AttemptId> {
        let id = |number: u8| AttemptId::from_bytes([number; 16]);
        let log: BTreeMap<_, _> =
            log.iter().map(|(number, status, before)| (id(*number), (*status, before.map(id)))).collect();
        let Ok(found) = still_unknown(Some(id(recovers)), |id| Ok::<_, Infallible>(log.get(&id).copied()));
        found
    }

    #[test]
    fn an_attempt_of_unknown_outcome_is_found_whatever_clocks_made_the_ids_of_its_recoveries() {
        use AttemptStatus::{Failed, Interrupted};
        let unknown = Some(AttemptId::from_bytes([5; 16]));
        assert_eq!(answer(&[(5, Interrupted, None), (7, Failed, Some(5))], 7), unknown);
        // The recovery was made where the clock is behind.
        assert_eq!(answer(&[(5, Interrupted, None), (3, Failed, Some(5))], 3), unknown);
        assert_eq!(answer(&[(5, Interrupted, None), (3, Failed, Some(5)), (9, Failed, Some(3))], 9), unknown);
    }

    #[test]
    fn a_chain_that_goes_in_a_circle_ends() {
        use AttemptStatus::Failed;
        assert_eq!(answer(&[(3, Failed, Some(5)), (5, Failed, Some(3))], 5), None);
        assert_eq!(answer(&[(3, Failed, Some(3))], 3), None);
    }
}
