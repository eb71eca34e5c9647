//! What may happen while the code of a consent is exchanged.

use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_emulator::Mood;
use jeton_keeper::Grant;
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{Return, Scene, page};

/// How long anything may take that must happen by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scene whose provider takes its time with the next code, and a person who is about to come back with it.
async fn slow_scene() -> (Scene, Return) {
    let scene = Scene::of("amocrm").await;
    let back = scene.consent().await;
    scene.emulator.enqueue([Mood::default().slow_after(Duration::from_millis(500))]);
    (scene, back)
}

async fn until_accepted(scene: &Scene) {
    let begun = Instant::now();
    while scene.emulator.stats().accepted == 0 {
        assert!(begun.elapsed() < PATIENCE, "the code was not sent");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn until_done(scene: &Scene) {
    let begun = Instant::now();
    while scene.progress().await["state"] != "done" {
        assert!(begun.elapsed() < PATIENCE, "{}", scene.progress().await);
        sleep(Duration::from_millis(20)).await;
    }
}

/// The token that is given out is the provider's own.
async fn assert_alive(scene: &Scene) {
    let given = scene.house.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(scene.emulator.accepts(given["access_token"].as_str().unwrap()), "{given}");
}

#[tokio::test]
async fn a_browser_that_leaves_meanwhile_does_not_cost_the_grant() {
    let (scene, back) = slow_scene().await;
    assert!(
        timeout(Duration::from_millis(100), scene.come_back(&back)).await.is_err(),
        "it has left by then"
    );
    until_done(&scene).await;
    assert_alive(&scene).await;
    assert_eq!(scene.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_grant_that_was_connected_meanwhile_is_replaced_by_the_consented_one() {
    let (scene, back) = slow_scene().await;
    let meanwhile = async {
        until_accepted(&scene).await;
        let grant = Grant {
            access: Some(Secret::new("a.b.c")),
            access_expires_at: None,
            refresh: Some(Secret::new("another-refresh-token-that-is-long-enough-for-this-provider")),
            refresh_expires_at: None,
        };
        scene.house.vault.connect("acme", grant).await.unwrap();
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), meanwhile);
    page(&reply, 200, "Connected");
    assert_eq!(scene.house.vault.status("acme").await.unwrap().generation.0, 2);
    assert_alive(&scene).await;
}

#[tokio::test]
async fn a_reply_that_the_store_does_not_take_waits_in_its_slot_and_connects_later() {
    let (scene, back) = slow_scene().await;
    let outage = async {
        until_accepted(&scene).await;
        scene.store.faults().set_read_only(true);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.progress().await["state"], "exchanging");
        scene.store.faults().set_read_only(false);
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), outage);
    page(&reply, 200, "Connected");
    assert_alive(&scene).await;
    assert_eq!(scene.emulator.stats().requests, 1);
}
