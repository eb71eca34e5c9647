//! Who comes in, from memory and from the store.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::access::{Permission, TokenHash};
use tokio::time::{Instant, sleep};

use crate::scene::{API_KEY, Scene, operator, wanted};

const INVALID: Result<String, &str> = Err("SERVICE_TOKEN_INVALID");

#[tokio::test]
async fn a_token_comes_in_from_memory_and_by_its_scopes() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let (token, raw) = process.create(wanted("bot1")).await;
    let before = process.looks();
    let caller = process.access.verify(raw.as_bytes()).await.unwrap();
    assert_eq!((caller.service().as_str(), caller.token()), ("bot1", Some(token.id)));
    assert!(
        caller.require(&Permission::Token("acme")).is_ok() && caller.require(&Permission::Admin).is_err()
    );
    assert_eq!(process.admits(API_KEY).await, Ok("api-key".into()));
    assert_eq!(process.admits("nine").await, Ok("bot9".into()));
    assert_eq!(process.looks(), before, "the store is not asked");
}

#[tokio::test]
async fn a_token_that_another_process_made_comes_in_at_once() {
    let scene = Scene::new().await;
    let (one, two) = (scene.process().await, scene.process().await);
    let (_, raw) = one.create(wanted("bot1")).await;
    let before = two.looks();
    assert_eq!(two.admits(&raw).await, Ok("bot1".into()));
    assert_eq!(two.admits(&raw).await, Ok("bot1".into()));
    assert_eq!(two.looks() - before, 1, "one look, and then it is in memory");
}

#[tokio::test]
async fn a_revocation_counts_at_once_here_and_within_five_seconds_elsewhere() {
    let scene = Scene::new().await;
    let (one, two) = (scene.process().await, scene.process().await);
    let (token, raw) = one.create(wanted("bot1")).await;
    assert_eq!(two.admits(&raw).await, Ok("bot1".into()));
    two.access.start();
    one.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(one.admits(&raw).await, INVALID);
    let begun = Instant::now();
    while two.admits(&raw).await != INVALID {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is still let in");
        sleep(Duration::from_millis(50)).await;
    }
    two.access.drain().await;
}

#[tokio::test]
async fn a_token_is_let_in_until_its_instant() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let life = Some(Duration::from_hours(1));
    let (_, raw) = process.create(jeton_issuer::NewToken { life, ..wanted("bot1") }).await;
    scene.clock.pass(Duration::from_mins(59));
    assert_eq!(process.admits(&raw).await, Ok("bot1".into()));
    scene.clock.pass(Duration::from_mins(2));
    assert_eq!(process.admits(&raw).await, INVALID);
}

#[tokio::test]
async fn a_row_comes_before_the_environment_and_a_revoked_one_beats_it() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let hash = Some(TokenHash::of(b"nine"));
    let (token, raw) = process.create(jeton_issuer::NewToken { hash, ..wanted("bot1") }).await;
    assert_eq!(raw, "", "its holder has the text already");
    assert_eq!(process.admits("nine").await, Ok("bot1".into()));
    process.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(process.admits("nine").await, INVALID);
    assert_eq!(scene.process().await.admits("nine").await, INVALID, "for every process that starts");
}

#[tokio::test]
async fn what_cannot_exist_costs_no_look_and_a_flood_of_wrong_tokens_costs_few() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let before = process.looks();
    for wrong in ["jts_", "jts_wrong", &format!("jts_{}", "0".repeat(45)), &format!("jts_{}", "0".repeat(46))]
    {
        assert_eq!(process.admits(wrong).await, INVALID);
    }
    assert_eq!(process.looks(), before);
    let begun = Instant::now();
    let wrong: Vec<String> = (0..2_000).map(|number| format!("wrong-{number}")).collect();
    let answers = join_all(wrong.iter().map(|raw| process.admits(raw))).await;
    assert!(answers.iter().all(|answer| *answer == INVALID));
    let most = 3 + usize::try_from(begun.elapsed().as_millis() / 20).unwrap();
    assert!(process.looks() - before <= most, "{} looks", process.looks() - before);
}

#[tokio::test]
async fn a_use_is_written_once_a_minute_and_its_caller_never_waits_for_that() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let (token, raw) = process.create(wanted("bot1")).await;
    process.line.stuck.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(process.admits(&raw).await, Ok("bot1".into()));
    process.access.start();
    // Now the use is on its way to a store that does not take it.
    sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(process.admits(&raw).await, Ok("bot1".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let last_used = async || process.access.tokens(None, 10).await.unwrap()[0].last_used_at;
    assert_eq!(last_used().await, None);
    process.line.stuck.store(false, std::sync::atomic::Ordering::SeqCst);
    process.access.drain().await;
    let first = last_used().await.expect("what could not be written is written in the end");
    assert!(first >= token.created_at);

    let again = scene.process().await;
    scene.clock.pass(Duration::from_secs(50));
    again.admits(&raw).await.unwrap();
    again.access.start();
    again.access.drain().await;
    assert_eq!(last_used().await, Some(first));
    let later = scene.process().await;
    scene.clock.pass(Duration::from_secs(15));
    later.admits(&raw).await.unwrap();
    later.access.start();
    later.access.drain().await;
    assert!(last_used().await.unwrap() > first);
}
