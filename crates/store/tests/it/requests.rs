//! The shortest way to say each call, and what a refusal or a failure must leave.

use std::time::Duration;

use jeton_core::audit::AuditFilter;
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, Generation, GrantId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::ports::{Commit, Connect, ConnectAnswer, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::{Clock as _, SystemClock, Timestamp};
use jeton_store::ServerStore;

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
        scope: None,
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
        asked_by: None,
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

/// Why something was refused, in one sentence.
pub(crate) fn refusal<T>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Refused(text)) => {
            assert!(!text.contains('\n'), "one sentence: {text}");
            text
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// The next commit fails on purpose, and the one after it does not.
pub(crate) async fn assert_fails_once_and_writes_nothing(store: &dyn ServerStore) {
    let order = connect("acme", 1);
    let error = store.connect(order.clone()).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("broken on purpose"));
    assert_eq!(store.find(&order.connection).await.unwrap(), None);
    assert_eq!(
        store.list_audit_rows(AuditFilter::default(), 10).await.unwrap(),
        [],
        "the act is not in the audit log without its work"
    );
    assert_eq!(store.connect(order).await.unwrap(), ConnectAnswer::Connected { generation: Generation(1) });
    assert_eq!(store.list_audit_rows(AuditFilter::default(), 10).await.unwrap().len(), 1);
}
