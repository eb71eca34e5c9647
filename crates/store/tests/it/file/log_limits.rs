//! The refresh log of a file stays short, and keeps what somebody may still ask for.

use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, Generation, OperationId};
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog as _, ConnectionStore as _, Fail, FailureEffect, OperatorCommand, Skip,
};
use jeton_core::time::{Clock as _, SystemClock};
use jeton_store::FileStore;

use super::fixture::{claim_of, open, refresh, row};
use crate::requests::connect;

/// On a disk in memory where there is one: this is about sizes, and not about durability.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn visit(store: &FileStore) {
    let generation = row(store).await.generation;
    let skip = Skip {
        connection: "acme".parse().unwrap(),
        attempt: AttemptId::generate(SystemClock.now(), &SystemEntropy),
        generation,
        trigger: Trigger::Automatic,
        asked_by: None,
        node: claim_of(&row(store).await).node,
        message: "Token doesn't need refresh yet".into(),
        due_at: SystemClock.now() + Duration::from_hours(1),
    };
    store.skip(skip).await.unwrap();
}

async fn logged(store: &FileStore) -> usize {
    store.list_attempts(&AttemptFilter::default(), 10_000).await.unwrap().len()
}

#[tokio::test]
async fn the_file_does_not_grow_over_a_thousand_refreshes() {
    let folder = quick_folder();
    let path = folder.path().join("tokens.json");
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let mut sizes = Vec::new();
    for _ in 0..5 {
        for _ in 0..200 {
            refresh(&store).await;
        }
        for act in [OperatorCommand::Pause, OperatorCommand::Resume].repeat(40) {
            let operation = OperationId::generate(SystemClock.now(), &SystemEntropy);
            let by = Actor::CommandLine("root@web-1".to_owned());
            store.administer(&"acme".parse().unwrap(), act, operation, &by).await.unwrap();
        }
        sizes.push(std::fs::metadata(&path).unwrap().len());
    }
    assert_eq!(row(&store).await.generation, Generation(1001));
    // One row of the log is the one that brought the token set.
    assert!(logged(&store).await <= 51);
    let (first, last) = (sizes[0], sizes[4]);
    assert!(last < 64 * 1024 && last.abs_diff(first) < 1024, "{sizes:?}");
}

#[tokio::test]
async fn an_attempt_of_unknown_outcome_and_those_it_was_to_recover_are_never_forgotten() {
    let folder = quick_folder();
    let store = open(&folder.path().join("tokens.json"));
    store.connect(connect("acme", 1)).await.unwrap();
    let mut chain = Vec::new();
    for _ in 0..3 {
        let lease_ttl = Duration::from_millis(1);
        let claim = Claim { lease_ttl, through_cooldown: true, ..claim_of(&row(&store).await) };
        store.claim(claim.clone()).await.unwrap();
        store.fail(failure(&claim, FailureEffect::Unknown)).await.unwrap();
        chain.push(claim.attempt);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..150 {
        visit(&store).await;
    }
    assert_eq!(row(&store).await.open_attempt, chain.last().copied());
    for attempt in chain {
        let kept = store.find_attempt(attempt).await.unwrap().unwrap();
        assert_eq!(kept.status, AttemptStatus::Interrupted);
        assert_eq!(store.find_kept_reply(attempt).await.unwrap(), Some(vec![7; 32]));
    }
    assert!(logged(&store).await <= 60);
}

#[tokio::test]
async fn a_failure_that_a_sleeper_brings_after_its_attempt_was_forgotten_is_taken() {
    let folder = quick_folder();
    let store = open(&folder.path().join("tokens.json"));
    store.connect(connect("acme", 1)).await.unwrap();
    let claim = Claim { lease_ttl: Duration::from_millis(1), ..claim_of(&row(&store).await) };
    store.claim(claim.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    // While the process sleeps, others go on.
    for _ in 0..80 {
        refresh(&store).await;
    }
    assert_eq!(store.find_attempt(claim.attempt).await.unwrap(), None);
    let before = row(&store).await;
    store.fail(failure(&claim, FailureEffect::Retry)).await.unwrap();
    assert_eq!(row(&store).await, before);
    // One that was never there is not taken for one that was forgotten.
    let unheard_of = Claim { attempt: AttemptId::generate(SystemClock.now(), &SystemEntropy), ..claim };
    store.fail(failure(&unheard_of, FailureEffect::Retry)).await.unwrap_err();
}

fn failure(claim: &Claim, effect: FailureEffect) -> Fail {
    Fail {
        connection: claim.connection.clone(),
        attempt: claim.attempt,
        generation: claim.generation,
        effect,
        code: "ambiguous".into(),
        http_status: None,
        message: "Nobody knows.".into(),
        provider_message: None,
        cooldown: Duration::ZERO,
        due_in: None,
        kept_reply: (effect == FailureEffect::Unknown).then(|| vec![7; 32]),
    }
}
