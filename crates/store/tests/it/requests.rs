//! The shortest way to say each call.

use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, GrantId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::{Generation, SealedTokens};
use jeton_core::keep::ports::{Commit, Connect};
use jeton_core::seal::Fingerprint;
use jeton_core::time::{Clock as _, SystemClock, Timestamp};

pub(crate) fn tokens(number: u8) -> SealedTokens {
    SealedTokens {
        access: Some(vec![number; 64]),
        refresh: Some(vec![number; 64]),
        extras: None,
        access_fingerprint: None,
        refresh_fingerprint: Some(Fingerprint::from_bytes([number; 16])),
        obtained_at: Timestamp::from_secs(1_795_249_800),
        access_expires_at: None,
        refresh_expires_at: None,
    }
}

fn attempt_id() -> AttemptId {
    AttemptId::generate(SystemClock.now(), &SystemEntropy)
}

pub(crate) fn connect(name: &str, number: u8) -> Connect {
    Connect {
        connection: name.parse().unwrap(),
        provider: "strict".parse().unwrap(),
        grant: GrantId::from_bytes([1; 16]),
        generation: Generation(0),
        tokens: Some(tokens(number)),
        single_use: true,
        due_at: SystemClock.now(),
        attempt: attempt_id(),
        node: NodeId::from_bytes([1; 16]),
        by: None,
    }
}

pub(crate) fn claim(name: &str, number: u8) -> Claim {
    Claim {
        connection: name.parse().unwrap(),
        attempt: attempt_id(),
        node: NodeId::from_bytes([1; 16]),
        trigger: Trigger::Automatic,
        act: Act::Redeem,
        generation: Generation(1),
        spends: tokens(number).refresh_fingerprint,
        lease_ttl: Duration::from_secs(45),
        through_cooldown: false,
        recovers: None,
    }
}

pub(crate) fn commit(claim: &Claim, number: u8) -> Commit {
    Commit {
        connection: claim.connection.clone(),
        attempt: claim.attempt,
        generation: claim.generation,
        replaces: claim.spends,
        tokens: tokens(number),
        due_at: None,
        orphan: None,
        message: None,
    }
}
