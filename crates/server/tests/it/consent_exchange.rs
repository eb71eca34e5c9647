//! What may happen while the code of a consent is exchanged.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::ports::Administer;
use jeton_core::secret::Secret;
use jeton_emulator::Mood;
use jeton_keeper::{Grant, Settings, SlotState, look_at_spill_slots};
use tokio::time::{Instant, sleep, timeout};

use crate::house::operator;
use crate::scene::{Place, Return, Scene, page, usual};

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
async fn a_grant_that_was_connected_meanwhile_is_left_alone() {
    let (scene, back) = slow_scene().await;
    let meanwhile = async {
        until_accepted(&scene).await;
        let grant = Grant {
            access: Some(Secret::new("a.b.c")),
            access_expires_at: None,
            refresh: Some(Secret::new("another-refresh-token-that-is-long-enough-for-this-provider")),
            refresh_expires_at: None,
        };
        scene.house.vault.connect("acme", grant, &operator()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), meanwhile);
    let sentence = page(&reply, 502, "Not connected");
    assert!(sentence.contains("connected anew or given up"), "{sentence}");
    assert_eq!(scene.house.vault.status("acme").await.unwrap().generation.0, 1);
    let given = scene.house.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert_eq!(given["access_token"], "a.b.c");
}

#[tokio::test]
async fn a_connection_that_was_given_up_meanwhile_stays_given_up() {
    let scene = Scene::of("amocrm").await;
    page(&scene.come_back(&scene.consent().await).await, 200, "Connected");
    let back = scene.consent().await;
    scene.emulator.enqueue([Mood::default().slow_after(Duration::from_millis(500))]);
    let meanwhile = async {
        while scene.emulator.stats().accepted < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        scene.house.vault.administer("acme", Administer::Disconnect, &operator()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), meanwhile);
    page(&reply, 502, "Not connected");
    assert_eq!(scene.condition().await, "pending");
    assert_eq!(scene.progress().await["state"], "failed");
}

/// Waits until the reply lies in a spill slot.
async fn until_spilled(place: &Place) {
    let begun = Instant::now();
    loop {
        let slots = look_at_spill_slots(&place.data_dir()).unwrap();
        let filled: Vec<_> = slots.into_iter().filter(|(_, state)| *state != SlotState::Free).collect();
        if let [(_, state)] = &filled[..] {
            assert!(
                matches!(state, SlotState::Filled { connection, .. } if connection.as_str() == "acme"),
                "{state:?}"
            );
            return;
        }
        assert!(filled.is_empty(), "{filled:?}");
        assert!(begun.elapsed() < PATIENCE, "the reply was not spilled");
        sleep(Duration::from_millis(5)).await;
    }
}

fn all_slots_are_free(place: &Place) {
    let slots = look_at_spill_slots(&place.data_dir()).unwrap();
    assert!(slots.iter().all(|(_, state)| *state == SlotState::Free), "{slots:?}");
}

#[tokio::test]
async fn a_reply_that_the_store_does_not_take_waits_in_its_slot_and_connects_later() {
    let (scene, back) = slow_scene().await;
    let outage = async {
        until_accepted(&scene).await;
        scene.store.faults().set_read_only(true);
        until_spilled(&scene).await;
        assert_eq!(scene.progress().await["state"], "exchanging");
        scene.store.faults().set_read_only(false);
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), outage);
    page(&reply, 200, "Connected");
    all_slots_are_free(&scene);
    assert_alive(&scene).await;
    assert_eq!(scene.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_person_whose_answer_waits_in_a_slot_is_told_to_wait_and_not_to_begin_again() {
    let settings = Settings {
        redeem_timeout: Duration::from_secs(1),
        claim_wait: Duration::from_millis(200),
        ..usual()
    };
    let scene = Place::with("amocrm", &[]).await.open(settings).await;
    let back = scene.consent().await;
    scene.emulator.enqueue([Mood::default().slow_after(Duration::from_millis(300))]);
    let outage = async {
        until_accepted(&scene).await;
        scene.store.faults().set_read_only(true);
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), outage);
    let sentence = page(&reply, 202, "Still under way");
    assert!(sentence.contains("goes on by itself; `jeton status` says when it is done"), "{sentence}");
    // The attempt's lease lapses meanwhile, and what the slot holds is not lost for that.
    until_spilled(&scene).await;
    scene.clock.pass(120);
    assert_eq!(scene.progress().await["state"], "exchanging");
    let sentence = page(&scene.come_back(&back).await, 409, "Taken before");
    assert!(sentence.contains("is being connected with it"), "{sentence}");
    scene.store.faults().set_read_only(false);
    until_done(&scene).await;
    assert_eq!(scene.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_reply_that_is_still_in_its_slot_when_jeton_ends_is_called_safe_and_connects_when_another_opens() {
    let (scene, back) = slow_scene().await;
    let end = async {
        until_accepted(&scene).await;
        scene.store.faults().set_read_only(true);
        until_spilled(&scene).await;
        scene.house.vault.drain().await;
    };
    let (reply, ()) = tokio::join!(scene.come_back(&back), end);
    let sentence = page(&reply, 202, "Safe, and not stored yet");
    assert!(
        sentence.contains("do not begin again, and wait until `jeton status` shows `acme`"),
        "{sentence}"
    );
    assert!(!sentence.contains("nothing is spent"), "{sentence}");
    let next = scene.place().open(usual()).await;
    all_slots_are_free(&next);
    assert_alive(&next).await;
    assert_eq!(next.progress().await["state"], "done");
    assert_eq!(next.emulator.stats().requests, 1);
}

/// A process in a runtime of its own, which dies when the answer of a person's consent lies in its slot.
fn die_with_a_filled_slot(place: &Arc<Place>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let scene = place.open(usual()).await;
        let back = scene.consent().await;
        scene.emulator.enqueue([Mood::default().slow_after(Duration::from_millis(300))]);
        let outage = async {
            until_accepted(&scene).await;
            scene.store.faults().set_read_only(true);
            until_spilled(&scene).await;
        };
        tokio::select! {
            reply = scene.come_back(&back) => panic!("nothing was stored: {}", reply.text()),
            () = outage => {}
        }
    });
    // Every task is dropped where it stands.
    runtime.shutdown_timeout(Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_of_a_consent_connects_when_another_opens() {
    let place = Place::with("amocrm", &[]).await;
    let dying = Arc::clone(&place);
    tokio::task::spawn_blocking(move || {
        // A thread of no runtime: one of its own begins there.
        std::thread::spawn(move || die_with_a_filled_slot(&dying)).join().unwrap();
    })
    .await
    .unwrap();
    until_spilled(&place).await;
    let scene = place.open(usual()).await;
    all_slots_are_free(&scene);
    assert_eq!(scene.progress().await["state"], "done");
    assert_alive(&scene).await;
    assert_eq!(scene.emulator.stats().requests, 1);
}
