//! Which credentials are accepted, from memory and from the store.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::access::{Permission, TokenHash};
use tokio::time::{Instant, sleep};

use crate::fixture::{API_KEY, Fixture, new_token, operator, start_sync};

const INVALID: Result<String, &str> = Err("SERVICE_TOKEN_INVALID");

#[tokio::test]
async fn a_token_is_checked_from_memory_and_has_its_scopes() {
    let (_fixture, process) = Fixture::with_process().await;
    let (token, raw) = process.create(new_token("bot1")).await;
    let before = process.reads();
    let caller = process.access.verify(raw.as_bytes()).await.unwrap();
    assert_eq!((caller.service().as_str(), caller.token()), ("bot1", Some(token.id)));
    assert!(
        caller.require(&Permission::Token("acme")).is_ok() && caller.require(&Permission::Admin).is_err()
    );
    assert_eq!(process.service_of(API_KEY).await, Ok("api-key".into()));
    assert_eq!(process.service_of("nine").await, Ok("bot9".into()));
    assert_eq!(process.reads(), before, "the store is not read");
}

#[tokio::test]
async fn a_token_that_another_process_created_is_accepted_at_once() {
    let (_fixture, one, two) = Fixture::with_processes().await;
    let (_, raw) = one.create(new_token("bot1")).await;
    let before = two.reads();
    assert_eq!(two.service_of(&raw).await, Ok("bot1".into()));
    assert_eq!(two.service_of(&raw).await, Ok("bot1".into()));
    assert_eq!(two.reads() - before, 1, "one read, and then it is in memory");
}

#[tokio::test]
async fn a_revocation_takes_effect_at_once_here_and_within_five_seconds_elsewhere() {
    let (_fixture, one, two) = Fixture::with_processes().await;
    let (token, raw) = one.create(new_token("bot1")).await;
    assert_eq!(two.service_of(&raw).await, Ok("bot1".into()));
    start_sync(&two.access);
    // The first sync is over, so that the revocation waits for the next.
    sleep(Duration::from_millis(100)).await;
    one.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(one.service_of(&raw).await, INVALID);
    let begun = Instant::now();
    while two.service_of(&raw).await != INVALID {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is still accepted");
        sleep(Duration::from_millis(50)).await;
    }
    two.access.drain().await;
}

#[tokio::test]
async fn a_token_is_accepted_until_it_expires() {
    let (fixture, process) = Fixture::with_process().await;
    let life = Some(Duration::from_hours(1));
    let (_, raw) = process.create(jeton_issuer::NewToken { life, ..new_token("bot1") }).await;
    fixture.clock.advance(Duration::from_mins(59));
    assert_eq!(process.service_of(&raw).await, Ok("bot1".into()));
    fixture.clock.advance(Duration::from_mins(2));
    assert_eq!(process.service_of(&raw).await, INVALID);
}

#[tokio::test]
async fn a_row_takes_precedence_over_the_environment_also_when_it_is_revoked() {
    let (fixture, process) = Fixture::with_process().await;
    let hash = Some(TokenHash::of(b"nine"));
    let (token, raw) = process.create(jeton_issuer::NewToken { hash, ..new_token("bot1") }).await;
    assert_eq!(raw, "", "its holder has the text already");
    assert_eq!(process.service_of("nine").await, Ok("bot1".into()));
    process.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(process.service_of("nine").await, INVALID);
    assert_eq!(fixture.process().await.service_of("nine").await, INVALID, "in every process that starts");
}

#[tokio::test]
async fn malformed_tokens_cost_no_read_and_a_flood_of_wrong_ones_costs_few() {
    let (_fixture, process) = Fixture::with_process().await;
    let before = process.reads();
    for wrong in ["jts_", "jts_wrong", &format!("jts_{}", "0".repeat(45)), &format!("jts_{}", "0".repeat(46))]
    {
        assert_eq!(process.service_of(wrong).await, INVALID);
    }
    assert_eq!(process.reads(), before);
    let begun = Instant::now();
    let wrong: Vec<String> = (0..2_000).map(|number| format!("wrong-{number}")).collect();
    let answers = join_all(wrong.iter().map(|raw| process.service_of(raw))).await;
    assert!(answers.iter().all(|answer| *answer == INVALID));
    let most = 3 + usize::try_from(begun.elapsed().as_millis() / 20).unwrap();
    assert!(process.reads() - before <= most, "{} reads", process.reads() - before);
}

#[tokio::test]
async fn a_use_is_written_once_a_minute_and_the_caller_never_waits_for_it() {
    let (fixture, process) = Fixture::with_process().await;
    let (token, raw) = process.create(new_token("bot1")).await;
    process.store.hangs.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(process.service_of(&raw).await, Ok("bot1".into()));
    start_sync(&process.access);
    // Now the use is being written to a store that hangs.
    sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(process.service_of(&raw).await, Ok("bot1".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let last_used = async || process.access.list(None, 10).await.unwrap()[0].last_used_at;
    assert_eq!(last_used().await, None);
    process.store.hangs.store(false, std::sync::atomic::Ordering::SeqCst);
    process.access.drain().await;
    let first = last_used().await.expect("what could not be written is written in the end");
    assert!(first >= token.created_at);

    let again = fixture.process().await;
    fixture.clock.advance(Duration::from_secs(50));
    again.service_of(&raw).await.unwrap();
    start_sync(&again.access);
    again.access.drain().await;
    assert_eq!(last_used().await, Some(first));
    let later = fixture.process().await;
    fixture.clock.advance(Duration::from_secs(15));
    later.service_of(&raw).await.unwrap();
    start_sync(&later.access);
    later.access.drain().await;
    assert!(last_used().await.unwrap() > first);
}
