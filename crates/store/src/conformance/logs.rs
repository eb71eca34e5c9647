//! The refresh log, and what makes a store the store of one installation.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::id::{AttemptId, InstanceId};
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::Generation;
use jeton_core::keep::ports::{AttemptFilter, Connect, FailureEffect, Identity, StoreError};

use super::stand::{COOLDOWN, LEASE, Stand, Told, failure, provider};

async fn ids(stand: &Stand, filter: AttemptFilter) -> Result<Vec<AttemptId>, StoreError> {
    Ok(stand.store.list_attempts(&filter, 100).await?.iter().map(|attempt| attempt.id).collect())
}

/// Lists are bounded; the last id leads on.
pub async fn attempts_are_listed_newest_first_page_by_page(stand: &Stand) -> Told {
    let mut made = Vec::new();
    for number in 1..=5 {
        let connect = stand.connect(&format!("acme-{number}"), number, Generation(0));
        made.push(connect.attempt);
        stand.store.connect(connect).await?;
    }
    made.reverse();
    let mut seen = Vec::new();
    let mut filter = AttemptFilter::default();
    loop {
        let page = stand.store.list_attempts(&filter, 2).await?;
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        seen.extend(page.iter().map(|attempt| attempt.id));
    }
    assert_eq!(seen, made);
    Ok(())
}

/// Each field narrows, and together they narrow further.
pub async fn attempts_are_filtered_by_every_field(stand: &Stand) -> Told {
    let first = stand.connect("acme", 1, Generation(0));
    stand.store.connect(first.clone()).await?;
    let second = Connect { provider: provider("other"), ..stand.connect("beta", 2, Generation(0)) };
    stand.store.connect(second.clone()).await?;
    stand.clock.step(Duration::from_secs(10));
    let row = stand.find("acme").await?;
    let failed = stand.won(Claim { trigger: Trigger::Rejected, ..stand.claim(&row) }).await?;
    stand.store.fail(failure(&failed, FailureEffect::Retry, "not_sent")).await?;
    let all = AttemptFilter::default;
    let (first, second, failed) = (first.attempt, second.attempt, failed.attempt);
    let connection = Some(row.name.clone());
    assert_eq!(ids(stand, AttemptFilter { connection: connection.clone(), ..all() }).await?, [failed, first]);
    assert_eq!(ids(stand, AttemptFilter { provider: Some(provider("other")), ..all() }).await?, [second]);
    let status = Some(AttemptStatus::Success);
    assert_eq!(ids(stand, AttemptFilter { status, ..all() }).await?, [second, first]);
    assert_eq!(ids(stand, AttemptFilter { status, connection, ..all() }).await?, [first]);
    assert_eq!(ids(stand, AttemptFilter { failed_only: true, ..all() }).await?, [failed]);
    assert_eq!(ids(stand, AttemptFilter { trigger: Some(Trigger::Rejected), ..all() }).await?, [failed]);
    assert_eq!(ids(stand, AttemptFilter { since: Some(stand.now()), ..all() }).await?, [failed]);
    assert_eq!(ids(stand, AttemptFilter { before: Some(failed), ..all() }).await?, [second, first]);
    Ok(())
}

/// A crash is listed among the failures before anyone has recovered it.
pub async fn an_attempt_whose_lease_lapsed_counts_as_failed(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    let failed = || AttemptFilter { failed_only: true, ..AttemptFilter::default() };
    assert!(ids(stand, failed()).await?.is_empty());
    stand.clock.step(LEASE.max(COOLDOWN));
    assert_eq!(ids(stand, failed()).await?, [claim.attempt]);
    Ok(())
}

fn identity(number: u8) -> Identity {
    Identity { instance: InstanceId::from_bytes([number; 16]), key_check: vec![number; 40] }
}

/// Two processes that start at the same time agree.
pub async fn a_new_store_takes_one_identity_and_keeps_it(stand: &Stand) -> Told {
    assert_eq!(stand.store.identity().await?, None);
    assert_eq!(stand.store.initialise(identity(1)).await?, identity(1));
    assert_eq!(stand.another_process().await.initialise(identity(2)).await?, identity(1));
    assert_eq!(stand.store.identity().await?, Some(identity(1)));
    Ok(())
}

/// The key check value is about the key, not about the installation.
pub async fn adopting_changes_the_instance_alone(stand: &Stand) -> Told {
    let instance = identity(2).instance;
    let refused = stand.store.adopt(instance).await.expect_err("a new store belongs to nobody");
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    stand.store.initialise(identity(1)).await?;
    stand.store.adopt(instance).await?;
    assert_eq!(stand.store.identity().await?, Some(Identity { instance, ..identity(1) }));
    Ok(())
}

/// The first API key is made by whoever starts first.
pub async fn the_first_value_of_a_setting_stays(stand: &Stand) -> Told {
    assert_eq!(stand.store.find_setting("api-key").await?, None);
    assert_eq!(stand.store.insert_setting("api-key", vec![1]).await?, [1]);
    assert_eq!(stand.another_process().await.insert_setting("api-key", vec![2]).await?, [1]);
    assert_eq!(stand.store.find_setting("api-key").await?, Some(vec![1]));
    assert_eq!(stand.store.find_setting("other").await?, None);
    Ok(())
}

/// What was answered is durable, to the last field.
pub async fn what_is_written_is_there_after_opening_again(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let late = stand.won(Claim { trigger: Trigger::Rejected, ..stand.claim(&row) }).await?;
    stand.clock.step(LEASE);
    let recovery = stand.won(Claim { recovers: Some(late.attempt), ..stand.claim(&row) }).await?;
    stand.store.commit(stand.commit(&late, 2)).await?;
    stand.store.commit(stand.commit(&recovery, 3)).await?;
    let rejected = super::stand::access_print(2);
    let rejection = jeton_core::keep::rejection::Rejection {
        connection: row.name.clone(),
        fingerprint: rejected,
        helped_before: false,
    };
    stand.store.reject(rejection).await?;
    let row = stand.find("acme").await?;
    assert!(row.backoff.is_some() && row.orphans.len() == 1);
    let claim = stand.won(stand.claim(&row)).await?;
    let row = stand.find("acme").await?;
    let again = stand.another_process().await;
    assert_eq!(again.find(&row.name).await?, Some(row));
    assert_eq!(again.find_attempt(claim.attempt).await?, Some(stand.attempt(claim.attempt).await?));
    assert_eq!(again.revision().await?, stand.store.revision().await?);
    Ok(())
}
