//! The store is away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::access::TokenHash;
use jeton_issuer::NewToken;
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{API_KEY, Scene, operator, wanted};

const AWAY: Result<String, &str> = Err("STORE_UNAVAILABLE");

#[tokio::test]
async fn tokens_of_the_store_are_let_in_for_five_minutes_and_the_environment_for_good() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let (_, raw) = process.create(wanted("bot1")).await;
    let (revoked, old) = process.create(wanted("bot2")).await;
    process.access.revoke(revoked.id, &operator()).await.unwrap();
    process.line.cut.store(true, Ordering::SeqCst);

    scene.clock.pass(Duration::from_mins(4));
    assert_eq!(process.admits(&raw).await, Ok("bot1".into()));
    assert_eq!(process.admits("nobodys").await, AWAY, "nobody can say that it is wrong");
    scene.clock.pass(Duration::from_secs(61));
    assert_eq!(process.admits(&raw).await, AWAY);
    let problem = process.access.verify(raw.as_bytes()).await.unwrap_err().problem();
    assert_eq!((problem.status, &problem.members["retry_after"]), (503, &1.into()));
    assert!(
        !problem.detail.contains("the line is cut"),
        "what the store says is for the log: {}",
        problem.detail
    );
    for (credential, service) in [(API_KEY, "api-key"), ("nine", "bot9")] {
        assert_eq!(process.admits(credential).await, Ok(service.into()));
    }
    assert_eq!(process.admits(&old).await, Err("SERVICE_TOKEN_INVALID"), "what was revoked stays so");

    process.line.cut.store(false, Ordering::SeqCst);
    assert_eq!(process.admits(&raw).await, Ok("bot1".into()), "the first that asks looks again");
}

#[tokio::test]
async fn what_was_revoked_while_the_store_was_away_is_refused_when_it_is_back() {
    let scene = Scene::new().await;
    let (one, two) = (scene.process().await, scene.process().await);
    let (token, raw) = one.create(wanted("bot1")).await;
    assert_eq!(two.admits(&raw).await, Ok("bot1".into()));
    two.line.cut.store(true, Ordering::SeqCst);
    one.access.revoke(token.id, &operator()).await.unwrap();
    scene.clock.pass(Duration::from_mins(6));
    assert_eq!(two.admits(&raw).await, AWAY);
    two.line.cut.store(false, Ordering::SeqCst);
    assert_eq!(two.admits(&raw).await, Err("SERVICE_TOKEN_INVALID"));
}

/// Whether what this caller has begun ends.
async fn ends(process: &crate::scene::Process, raw: &str) -> bool {
    let caller = process.access.verify(raw.as_bytes()).await.unwrap();
    let access = process.access.clone();
    // Longer than it takes to be looked after once.
    timeout(Duration::from_secs(4), async move { access.ended(&caller).await }).await.is_ok()
}

#[tokio::test]
async fn what_a_caller_has_begun_ends_with_its_token_in_every_process() {
    let scene = Scene::new().await;
    let (one, two) = (scene.process().await, scene.process().await);
    two.access.start();
    let (token, raw) = one.create(wanted("bot1")).await;
    assert_eq!(two.admits(&raw).await, Ok("bot1".into()));
    let callers = [one.access.verify(raw.as_bytes()).await, two.access.verify(raw.as_bytes()).await];
    let [here, there] = callers.map(Result::unwrap);
    let now = tokio::join!(ends(&one, &raw), ends(&one, API_KEY));
    assert_eq!(now, (false, false), "it goes on while nothing is wrong");
    one.access.revoke(token.id, &operator()).await.unwrap();
    for (access, caller) in [(&one.access, here), (&two.access, there)] {
        timeout(Duration::from_mins(1), access.ended(&caller)).await.expect("it ends");
    }
    two.access.drain().await;
}

#[tokio::test]
async fn what_a_caller_has_begun_ends_when_its_token_expires_or_could_not_be_checked_for_too_long() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let (_, short) = process.create(NewToken { life: Some(Duration::from_mins(1)), ..wanted("bot1") }).await;
    let (_, long) = process.create(wanted("bot2")).await;
    let [short, long, key] = [
        process.access.verify(short.as_bytes()).await.unwrap(),
        process.access.verify(long.as_bytes()).await.unwrap(),
        process.access.verify(API_KEY.as_bytes()).await.unwrap(),
    ];
    scene.clock.pass(Duration::from_secs(61));
    timeout(Duration::from_mins(1), process.access.ended(&short)).await.expect("it has expired");
    process.line.cut.store(true, Ordering::SeqCst);
    assert!(timeout(Duration::from_secs(3), process.access.ended(&long)).await.is_err(), "the store is away");
    scene.clock.pass(Duration::from_mins(5));
    timeout(Duration::from_mins(1), process.access.ended(&long))
        .await
        .expect("nobody knows about it any more");
    assert!(
        timeout(Duration::from_secs(3), process.access.ended(&key)).await.is_err(),
        "the environment said so"
    );
}

#[tokio::test]
async fn a_hash_of_the_environment_is_refused_elsewhere_as_soon_as_a_revocation_is_noticed() {
    let scene = Scene::new().await;
    let (one, two) = (scene.process().await, scene.process().await);
    two.access.start();
    assert_eq!(two.admits("nine").await, Ok("bot9".into()), "the environment lets it in");
    let (token, _) = one.create(NewToken { hash: Some(TokenHash::of(b"nine")), ..wanted("bot9") }).await;
    one.access.revoke(token.id, &operator()).await.unwrap();
    assert_eq!(one.admits("nine").await, Err("SERVICE_TOKEN_INVALID"), "here at once");
    let (begun, mut refused) = (Instant::now(), false);
    while !refused && begun.elapsed() < Duration::from_mins(1) {
        refused = two.admits("nine").await == Err("SERVICE_TOKEN_INVALID");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(refused, "elsewhere without anybody asking the store for it");
    two.access.drain().await;
}
