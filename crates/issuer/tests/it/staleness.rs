//! The store is down.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::access::TokenHash;
use jeton_issuer::NewToken;
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{API_KEY, Fixture, Process, new_token, operator, start_sync};

const UNAVAILABLE: Result<String, &str> = Err("STORE_UNAVAILABLE");

#[tokio::test]
async fn tokens_of_the_store_are_accepted_for_five_minutes_and_those_of_the_environment_without_end() {
    let (fixture, process) = Fixture::with_process().await;
    let (_, raw) = process.create(new_token("bot1")).await;
    let (revoked, old) = process.create(new_token("bot2")).await;
    process.access.revoke(revoked.id, &operator()).await.unwrap();
    process.store.down.store(true, Ordering::SeqCst);

    fixture.clock.advance(Duration::from_mins(4));
    assert_eq!(process.service_of(&raw).await, Ok("bot1".into()));
    assert_eq!(process.service_of("nobodys").await, UNAVAILABLE, "whether it is wrong is not known");
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(process.service_of(&raw).await, UNAVAILABLE);
    let problem = process.access.verify(raw.as_bytes()).await.unwrap_err().problem();
    assert_eq!((problem.status, &problem.members["retry_after"]), (503, &1.into()));
    assert!(
        !problem.detail.contains("the store is down"),
        "the message of the store is for the log alone: {}",
        problem.detail
    );
    for (credential, service) in [(API_KEY, "api-key"), ("nine", "bot9")] {
        assert_eq!(process.service_of(credential).await, Ok(service.into()));
    }
    assert_eq!(
        process.service_of(&old).await,
        Err("SERVICE_TOKEN_INVALID"),
        "what was revoked stays revoked"
    );

    process.store.down.store(false, Ordering::SeqCst);
    assert_eq!(process.service_of(&raw).await, Ok("bot1".into()), "the first that asks reads again");
}

#[tokio::test]
async fn a_token_revoked_while_the_store_was_down_is_refused_when_it_is_back() {
    let (fixture, one, two) = Fixture::with_processes().await;
    let (token, raw) = one.create(new_token("bot1")).await;
    assert_eq!(two.service_of(&raw).await, Ok("bot1".into()));
    two.store.down.store(true, Ordering::SeqCst);
    one.access.revoke(token.id, &operator()).await.unwrap();
    fixture.clock.advance(Duration::from_mins(6));
    assert_eq!(two.service_of(&raw).await, UNAVAILABLE);
    two.store.down.store(false, Ordering::SeqCst);
    assert_eq!(two.service_of(&raw).await, Err("SERVICE_TOKEN_INVALID"));
}

/// Whether a long call of this caller ends.
async fn ends(process: &Process, raw: &str) -> bool {
    let caller = process.access.verify(raw.as_bytes()).await.unwrap();
    let access = process.access.clone();
    // Longer than until it is checked again.
    timeout(Duration::from_secs(4), async move { access.wait_until_refused(&caller).await }).await.is_ok()
}

#[tokio::test]
async fn a_long_call_ends_with_its_token_in_every_process() {
    let (_fixture, one, two) = Fixture::with_processes().await;
    start_sync(&two.access);
    let (token, raw) = one.create(new_token("bot1")).await;
    assert_eq!(two.service_of(&raw).await, Ok("bot1".into()));
    let callers = [one.access.verify(raw.as_bytes()).await, two.access.verify(raw.as_bytes()).await];
    let [here, there] = callers.map(Result::unwrap);
    let now = tokio::join!(ends(&one, &raw), ends(&one, API_KEY));
    assert_eq!(now, (false, false), "it goes on while nothing is wrong");
    one.access.revoke(token.id, &operator()).await.unwrap();
    for (access, caller) in [(&one.access, here), (&two.access, there)] {
        timeout(Duration::from_mins(1), access.wait_until_refused(&caller)).await.expect("it ends");
    }
    two.access.drain().await;
}

#[tokio::test]
async fn a_long_call_ends_when_its_token_expires_or_could_not_be_checked_for_too_long() {
    let (fixture, process) = Fixture::with_process().await;
    let (_, short) =
        process.create(NewToken { life: Some(Duration::from_mins(1)), ..new_token("bot1") }).await;
    let (_, long) = process.create(new_token("bot2")).await;
    let [short, long, key] = [
        process.access.verify(short.as_bytes()).await.unwrap(),
        process.access.verify(long.as_bytes()).await.unwrap(),
        process.access.verify(API_KEY.as_bytes()).await.unwrap(),
    ];
    fixture.clock.advance(Duration::from_secs(61));
    timeout(Duration::from_mins(1), process.access.wait_until_refused(&short)).await.expect("it has expired");
    process.store.down.store(true, Ordering::SeqCst);
    assert!(
        timeout(Duration::from_secs(3), process.access.wait_until_refused(&long)).await.is_err(),
        "the store is down"
    );
    fixture.clock.advance(Duration::from_mins(5));
    timeout(Duration::from_mins(1), process.access.wait_until_refused(&long))
        .await
        .expect("nobody can check it any more");
    assert!(
        timeout(Duration::from_secs(3), process.access.wait_until_refused(&key)).await.is_err(),
        "the environment needs no store"
    );
}

#[tokio::test]
async fn a_hash_of_the_environment_is_refused_elsewhere_once_a_revocation_is_noticed() {
    let (_fixture, one, two) = Fixture::with_processes().await;
    start_sync(&two.access);
    assert_eq!(two.service_of("nine").await, Ok("bot9".into()), "it is one of the environment");
    let (token, _) = one.create(NewToken { hash: Some(TokenHash::of(b"nine")), ..new_token("bot9") }).await;
    one.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(one.service_of("nine").await, Err("SERVICE_TOKEN_INVALID"), "here at once");
    let (begun, mut refused) = (Instant::now(), false);
    while !refused && begun.elapsed() < Duration::from_mins(1) {
        refused = two.service_of("nine").await == Err("SERVICE_TOKEN_INVALID");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(refused, "elsewhere too, though nobody presented it");
    two.access.drain().await;
}
