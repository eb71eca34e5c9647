//! The refresh log, and what makes a store the store of one installation.

use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, Generation, InstanceId};
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::ports::{AttemptFilter, Connect, FailureEffect, Identity, StoreError};

use super::fixture::{COOLDOWN, Fixture, LEASE, TestResult, failure, operator, provider};

async fn ids(fixture: &Fixture, filter: AttemptFilter) -> Result<Vec<AttemptId>, StoreError> {
    Ok(fixture.store.list_attempts(&filter, 100).await?.iter().map(|attempt| attempt.id).collect())
}

/// Lists are bounded; the last id leads on.
pub async fn attempts_are_listed_newest_first_page_by_page(fixture: &Fixture) -> TestResult {
    let mut made = Vec::new();
    for number in 1..=5 {
        let connect = fixture.connect(&format!("acme-{number}"), number, Generation(0));
        made.push(connect.attempt);
        fixture.store.connect(connect).await?;
    }
    made.reverse();
    let mut seen = Vec::new();
    let mut filter = AttemptFilter::default();
    loop {
        let page = fixture.store.list_attempts(&filter, 2).await?;
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        seen.extend(page.iter().map(|attempt| attempt.id));
    }
    assert_eq!(seen, made);
    Ok(())
}

/// Each field narrows, and together they narrow further.
pub async fn attempts_are_filtered_by_every_field(fixture: &Fixture) -> TestResult {
    let first = fixture.connect("acme", 1, Generation(0));
    fixture.store.connect(first.clone()).await?;
    let second = Connect { provider: provider("other"), ..fixture.connect("beta", 2, Generation(0)) };
    fixture.store.connect(second.clone()).await?;
    fixture.clock.step(Duration::from_secs(10));
    let row = fixture.find("acme").await?;
    let failed = fixture.won(Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) }).await?;
    fixture.store.fail(failure(&failed, FailureEffect::Retry, "not_sent")).await?;
    let all = AttemptFilter::default;
    let (first, second, failed) = (first.attempt, second.attempt, failed.attempt);
    let connection = Some(row.name.clone());
    assert_eq!(
        ids(fixture, AttemptFilter { connection: connection.clone(), ..all() }).await?,
        [failed, first]
    );
    assert_eq!(ids(fixture, AttemptFilter { provider: Some(provider("other")), ..all() }).await?, [second]);
    let status = Some(AttemptStatus::Success);
    assert_eq!(ids(fixture, AttemptFilter { status, ..all() }).await?, [second, first]);
    assert_eq!(ids(fixture, AttemptFilter { status, connection, ..all() }).await?, [first]);
    assert_eq!(ids(fixture, AttemptFilter { failed_only: true, ..all() }).await?, [failed]);
    assert_eq!(ids(fixture, AttemptFilter { trigger: Some(Trigger::Rejected), ..all() }).await?, [failed]);
    assert_eq!(ids(fixture, AttemptFilter { since: Some(fixture.now()), ..all() }).await?, [failed]);
    assert_eq!(ids(fixture, AttemptFilter { before: Some(failed), ..all() }).await?, [second, first]);
    Ok(())
}

/// A crash is listed among the failures before anyone has recovered it.
pub async fn an_attempt_whose_lease_lapsed_counts_as_failed(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    let failed = || AttemptFilter { failed_only: true, ..AttemptFilter::default() };
    assert!(ids(fixture, failed()).await?.is_empty());
    fixture.clock.step(LEASE.max(COOLDOWN));
    assert_eq!(ids(fixture, failed()).await?, [claim.attempt]);
    Ok(())
}

/// Who asked stays with the attempt whatever becomes of it; the words of the provider come with its failure and go with the
/// success after it.
pub async fn who_asked_and_what_the_provider_said_are_on_record(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    assert_eq!(row.tokens.as_ref().and_then(|tokens| tokens.scope.as_deref()), Some("read write-1"));
    let connected = &fixture.store.list_attempts(&AttemptFilter::default(), 1).await?[0];
    assert_eq!(connected.asked_by, Some(operator()), "whoever connects asks for the first token set");
    let asked_by = Actor::parse("shell:root@web-1");
    let claim = fixture.won(Claim { asked_by: asked_by.clone(), ..fixture.claim(&row) }).await?;
    assert_eq!(fixture.attempt(claim.attempt).await?.asked_by, asked_by);
    let fail = failure(&claim, FailureEffect::Retry, "invalid_request");
    fixture.store.fail(fail.clone()).await?;
    let failed = fixture.attempt(claim.attempt).await?;
    assert_eq!((&failed.asked_by, &failed.provider_message), (&asked_by, &fail.provider_message));
    let row = fixture.find("acme").await?;
    assert_eq!(row.provider_message.as_deref(), Some("the account is closed"));

    fixture.clock.step(COOLDOWN);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let row = fixture.another_process().await.find(&row.name).await?.expect("it is connected");
    assert_eq!(row.provider_message, None, "a success ends it");
    assert_eq!(row.tokens.and_then(|tokens| tokens.scope).as_deref(), Some("read write-2"));
    let brought = fixture.attempt(claim.attempt).await?;
    assert_eq!((brought.asked_by, brought.provider_message), (None, None), "nobody asked");
    Ok(())
}

fn identity(number: u8) -> Identity {
    Identity { instance: InstanceId::from_bytes([number; 16]), key_check: vec![number; 40] }
}

/// Two processes that start at the same time agree.
pub async fn a_new_store_takes_one_identity_and_keeps_it(fixture: &Fixture) -> TestResult {
    assert_eq!(fixture.store.identity().await?, None);
    assert_eq!(fixture.store.initialise(identity(1)).await?, identity(1));
    assert_eq!(fixture.another_process().await.initialise(identity(2)).await?, identity(1));
    assert_eq!(fixture.store.identity().await?, Some(identity(1)));
    Ok(())
}

/// The key check value is about the key, not about the installation.
pub async fn adopting_changes_the_instance_alone(fixture: &Fixture) -> TestResult {
    let instance = identity(2).instance;
    let refused = fixture.store.adopt(instance).await.expect_err("a new store belongs to nobody");
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    fixture.store.initialise(identity(1)).await?;
    fixture.store.adopt(instance).await?;
    assert_eq!(fixture.store.identity().await?, Some(Identity { instance, ..identity(1) }));
    Ok(())
}

/// The first API key is made by whoever starts first.
pub async fn the_first_value_of_a_setting_stays(fixture: &Fixture) -> TestResult {
    assert_eq!(fixture.store.find_setting("api-key").await?, None);
    assert_eq!(fixture.store.insert_setting("api-key", vec![1]).await?, [1]);
    assert_eq!(fixture.another_process().await.insert_setting("api-key", vec![2]).await?, [1]);
    assert_eq!(fixture.store.find_setting("api-key").await?, Some(vec![1]));
    assert_eq!(fixture.store.find_setting("other").await?, None);
    Ok(())
}

/// What was answered is durable, to the last field.
pub async fn what_is_written_is_there_after_opening_again(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let late = fixture.won(Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) }).await?;
    fixture.clock.step(LEASE);
    let recovery = fixture.won(Claim { recovers: Some(late.attempt), ..fixture.claim(&row) }).await?;
    fixture.store.commit(fixture.commit(&late, 2)).await?;
    fixture.store.commit(fixture.commit(&recovery, 3)).await?;
    let rejected = super::fixture::access_print(2);
    let rejection = jeton_core::keep::rejection::Rejection {
        connection: row.name.clone(),
        fingerprint: rejected,
        helped_before: false,
    };
    fixture.store.reject(rejection).await?;
    let row = fixture.find("acme").await?;
    assert!(row.backoff.is_some() && row.orphans.len() == 1);
    let claim = fixture.won(fixture.claim(&row)).await?;
    let row = fixture.find("acme").await?;
    let again = fixture.another_process().await;
    assert_eq!(again.find(&row.name).await?, Some(row));
    assert_eq!(again.find_attempt(claim.attempt).await?, Some(fixture.attempt(claim.attempt).await?));
    assert_eq!(again.revision().await?, fixture.store.revision().await?);
    Ok(())
}
