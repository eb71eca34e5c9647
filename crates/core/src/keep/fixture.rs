//! Rows to try the rules on.

use crate::entropy::SystemEntropy;
use crate::id::{AttemptId, Generation, GrantId, NodeId, Revision};
use crate::seal::Fingerprint;
use crate::time::Timestamp;

use super::attempt::{Act, Attempt, Trigger};
use super::claim::Claim;
use super::connection::{Connection, GrantState, Lease, SealedTokens};
use super::due::{AfterHold, RecoveryPolicy, RefreshTiming};

use std::time::Duration;

pub(super) const TIMING: RefreshTiming = RefreshTiming {
    margin: None,
    earliest: None,
    refresh_idle_ttl: None,
    idle_keepalive: None,
    visit: Duration::from_hours(12),
};

pub(super) const POLICY: RecoveryPolicy = RecoveryPolicy {
    hold: Duration::from_mins(1),
    reuse_grace: Duration::ZERO,
    after_hold: AfterHold::Resend,
    confirm_dead: None,
};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + seconds)
}

pub(super) fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 16])
}

pub(super) fn attempt_id() -> AttemptId {
    AttemptId::generate(at(0), &SystemEntropy)
}

/// A token set obtained at 0 that lives for `life` seconds.
pub(super) fn tokens(life: i64) -> SealedTokens {
    SealedTokens {
        access: Some(vec![1]),
        refresh: Some(vec![2]),
        extras: None,
        access_fingerprint: Some(fingerprint(1)),
        refresh_fingerprint: Some(fingerprint(2)),
        obtained_at: at(0),
        access_expires_at: Some(at(life)),
        refresh_expires_at: None,
        scope: None,
    }
}

/// A living connection of generation 3 whose token set lives for an hour.
pub(super) fn live() -> Connection {
    Connection {
        name: "acme".parse().unwrap(),
        provider: "oauth2".parse().unwrap(),
        grant: GrantId::generate(at(0), &SystemEntropy),
        state: GrantState::Live,
        state_code: None,
        paused: false,
        generation: Generation(3),
        revision: Revision(7),
        tokens: Some(tokens(3600)),
        refresh_trigger: Some(Trigger::Automatic),
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
        created_at: at(0),
    }
}

pub(super) fn claim(row: &Connection) -> Claim {
    Claim {
        connection: row.name.clone(),
        attempt: attempt_id(),
        node: NodeId::generate(at(0), &SystemEntropy),
        trigger: Trigger::Automatic,
        asked_by: None,
        act: Act::Redeem,
        generation: row.generation,
        spends: Some(fingerprint(2)),
        lease_ttl: Duration::from_secs(45),
        through_cooldown: false,
        recovers: None,
    }
}

pub(super) fn leased(mut row: Connection, attempt: AttemptId, until: Timestamp) -> Connection {
    row.lease = Some(Lease { attempt, node: NodeId::generate(at(0), &SystemEntropy), until });
    row.open_attempt = Some(attempt);
    row
}

/// A redeem that began at 0 and whose lease lapses at 45.
pub(super) fn redeem() -> Attempt {
    let row = live();
    let node = NodeId::generate(at(0), &SystemEntropy);
    Attempt {
        fingerprint: Some(fingerprint(2)),
        lease_until: Some(at(45)),
        ..Attempt::begin(attempt_id(), node, row.name, row.provider, row.generation, at(0))
    }
}
