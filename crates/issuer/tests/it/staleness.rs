//! The store is away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::scene::{API_KEY, Scene, operator, wanted};

const AWAY: Result<String, &str> = Err("STORE_UNAVAILABLE");

#[tokio::test]
async fn tokens_of_the_store_are_let_in_for_five_minutes_and_the_environment_for_good() {
    let scene = Scene::new();
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
    assert!(problem.detail.contains("the line is cut"), "{}", problem.detail);
    for (credential, service) in [(API_KEY, "api-key"), ("nine", "bot9")] {
        assert_eq!(process.admits(credential).await, Ok(service.into()));
    }
    assert_eq!(process.admits(&old).await, Err("SERVICE_TOKEN_INVALID"), "what was revoked stays so");

    process.line.cut.store(false, Ordering::SeqCst);
    assert_eq!(process.admits(&raw).await, Ok("bot1".into()), "the first that asks looks again");
}

#[tokio::test]
async fn what_was_revoked_while_the_store_was_away_is_refused_when_it_is_back() {
    let scene = Scene::new();
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
