//! Races and failures while the code of a consent is exchanged.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::ports::OperatorCommand;
use jeton_core::secret::Secret;
use jeton_emulator::Fault;
use jeton_keeper::{Grant, Settings, SlotState, inspect_spill_slots};
use tokio::time::{Instant, sleep, timeout};

use crate::app::operator;
use crate::consent_app::{Callback, ConsentApp, ConsentEnv, default_settings, page};

/// How long to wait for what happens by itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server whose provider is slow with the next code, and a browser that is about to bring it.
async fn slow_app() -> (ConsentApp, Callback) {
    let app = ConsentApp::of("amocrm").await;
    let back = app.consent().await;
    app.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(500))]);
    (app, back)
}

async fn until_accepted(app: &ConsentApp) {
    let started = Instant::now();
    while app.emulator.stats().accepted == 0 {
        assert!(started.elapsed() < TIMEOUT, "the code was not sent");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn until_done(app: &ConsentApp) {
    let started = Instant::now();
    while app.progress().await["state"] != "done" {
        assert!(started.elapsed() < TIMEOUT, "{}", app.progress().await);
        sleep(Duration::from_millis(20)).await;
    }
}

/// The served token is one of the provider's.
async fn assert_alive(app: &ConsentApp) {
    let given = app.server.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(app.emulator.accepts(given["access_token"].as_str().unwrap()), "{given}");
}

#[tokio::test]
async fn a_browser_that_leaves_meanwhile_does_not_cost_the_grant() {
    let (app, back) = slow_app().await;
    assert!(timeout(Duration::from_millis(100), app.call_back(&back)).await.is_err(), "it has left by then");
    until_done(&app).await;
    assert_alive(&app).await;
    assert_eq!(app.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_grant_that_was_connected_meanwhile_is_left_alone() {
    let (app, back) = slow_app().await;
    let meanwhile = async {
        until_accepted(&app).await;
        let grant = Grant {
            access: Some(Secret::new("a.b.c")),
            access_expires_at: None,
            refresh: Some(Secret::new("another-refresh-token-that-is-long-enough-for-this-provider")),
            refresh_expires_at: None,
        };
        app.server.vault.connect("acme", grant, &operator()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(app.call_back(&back), meanwhile);
    page(&reply, 502, "Not connected");
    let progress = app.progress().await;
    assert!(progress["message"].as_str().unwrap().contains("connected anew or given up"), "{progress}");
    assert_eq!(app.server.vault.status("acme").await.unwrap().generation.0, 1);
    let given = app.server.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert_eq!(given["access_token"], "a.b.c");
}

#[tokio::test]
async fn a_connection_that_is_disconnected_meanwhile_stays_disconnected() {
    let app = ConsentApp::of("amocrm").await;
    page(&app.call_back(&app.consent().await).await, 200, "Connected");
    let back = app.consent().await;
    app.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(500))]);
    let meanwhile = async {
        while app.emulator.stats().accepted < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        app.server.vault.administer("acme", OperatorCommand::Disconnect, &operator()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(app.call_back(&back), meanwhile);
    page(&reply, 502, "Not connected");
    assert_eq!(app.condition().await, "pending");
    assert_eq!(app.progress().await["state"], "failed");
}

/// Waits until the reply is in a spill slot.
async fn until_spilled(env: &ConsentEnv) {
    let started = Instant::now();
    loop {
        let slots = inspect_spill_slots(&env.data_dir()).unwrap();
        let filled: Vec<_> = slots.into_iter().filter(|(_, state)| *state != SlotState::Free).collect();
        if let [(_, state)] = &filled[..] {
            assert!(
                matches!(state, SlotState::Filled { connection, .. } if connection.as_str() == "acme"),
                "{state:?}"
            );
            return;
        }
        assert!(filled.is_empty(), "{filled:?}");
        assert!(started.elapsed() < TIMEOUT, "the reply was not spilled");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Lets the provider reply while the store takes nothing, so that the reply is in a spill slot.
async fn keep_from_storing(app: &ConsentApp) {
    until_accepted(app).await;
    app.store.faults().set_read_only(true);
    until_spilled(app).await;
}

pub(crate) fn all_slots_are_free(env: &ConsentEnv) {
    let slots = inspect_spill_slots(&env.data_dir()).unwrap();
    assert!(slots.iter().all(|(_, state)| *state == SlotState::Free), "{slots:?}");
}

#[tokio::test]
async fn a_reply_that_the_store_does_not_take_waits_in_its_slot_and_connects_later() {
    let (app, back) = slow_app().await;
    let outage = async {
        keep_from_storing(&app).await;
        assert_eq!(app.progress().await["state"], "exchanging");
        app.store.faults().set_read_only(false);
    };
    let (reply, ()) = tokio::join!(app.call_back(&back), outage);
    page(&reply, 200, "Connected");
    all_slots_are_free(&app);
    assert_alive(&app).await;
    assert_eq!(app.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_person_whose_answer_is_in_a_spill_slot_is_asked_to_wait() {
    let settings = Settings {
        redeem_timeout: Duration::from_secs(1),
        claim_wait: Duration::from_millis(200),
        ..default_settings()
    };
    let app = ConsentEnv::with("amocrm", &[]).await.open(settings).await;
    let back = app.consent().await;
    app.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
    let outage = async {
        until_accepted(&app).await;
        app.store.faults().set_read_only(true);
    };
    let (reply, ()) = tokio::join!(app.call_back(&back), outage);
    let sentence = page(&reply, 202, "Saving the connection");
    assert!(sentence.contains("please do not start again"), "{sentence}");
    // The attempt's lease lapses meanwhile, and what the slot holds is not lost for that.
    until_spilled(&app).await;
    app.clock.advance(Duration::from_mins(2));
    assert_eq!(app.progress().await["state"], "exchanging");
    let again = app.call_back(&back).await;
    page(&again, 202, "Saving the connection");
    assert_eq!(again.headers["refresh"], "3", "it updates by itself");
    app.store.faults().set_read_only(false);
    until_done(&app).await;
    assert_eq!(app.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_reply_in_a_spill_slot_at_shutdown_connects_when_another_process_starts() {
    let (app, back) = slow_app().await;
    let end = async {
        keep_from_storing(&app).await;
        app.server.vault.drain().await;
    };
    let (reply, ()) = tokio::join!(app.call_back(&back), end);
    let sentence = page(&reply, 202, "Saving the connection");
    assert!(sentence.contains("please do not start again"), "{sentence}");
    let next = app.env().open(default_settings()).await;
    all_slots_are_free(&next);
    assert_alive(&next).await;
    assert_eq!(next.progress().await["state"], "done");
    assert_eq!(next.emulator.stats().requests, 1);
}

/// A server in a runtime of its own, which dies when the reply is in a spill slot.
fn die_with_a_filled_spill_slot(env: &Arc<ConsentEnv>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let app = env.open(default_settings()).await;
        let back = app.consent().await;
        app.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
        tokio::select! {
            reply = app.call_back(&back) => panic!("nothing was stored: {}", reply.text()),
            () = keep_from_storing(&app) => {}
        }
    });
    // Every task is dropped where it stands.
    runtime.shutdown_timeout(Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_of_a_dead_process_connects_when_another_starts() {
    let env = ConsentEnv::with("amocrm", &[]).await;
    let dying = Arc::clone(&env);
    tokio::task::spawn_blocking(move || {
        // A thread of no runtime: one of its own begins there.
        std::thread::spawn(move || die_with_a_filled_spill_slot(&dying)).join().unwrap();
    })
    .await
    .unwrap();
    until_spilled(&env).await;
    let app = env.open(default_settings()).await;
    all_slots_are_free(&app);
    assert_eq!(app.progress().await["state"], "done");
    assert_alive(&app).await;
    assert_eq!(app.emulator.stats().requests, 1);
}
