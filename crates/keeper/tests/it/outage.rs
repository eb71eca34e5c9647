//! Providers that are down: what they get, what callers get, how it ends, and that nobody else notices.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::keep::provider::{DurationText, OnUnknown, PolicyOverrides};
use jeton_core::time::Clock as _;
use jeton_emulator::{Behaviour, EmulatedGrant, Fault, FaultKind};
use jeton_keeper::{Settings, TokenError};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, Options, eventually, holding, names, short_settings};
use crate::process::Process;

/// Trials come once a second at most, and a slow start takes an eighth of a second.
fn settings() -> Settings {
    Settings { outage_retry: Duration::from_secs(1), spill_slots: 16, ..short_settings() }
}

fn front_end(retry_after_secs: Option<u32>) -> Fault {
    Fault::new(FaultKind::FrontEnd { status: 503, retry_after_secs })
}

/// `count` connections whose tokens have died, at a provider that treats every request like this.
async fn down(count: usize, fault: Fault, options: Options) -> (Fixture, Process) {
    let (fixture, process) = Fixture::with(Options { names: names(count), ..options }).await;
    for name in names(count) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    fixture.emulator.set_behaviour(Behaviour::faultless().with_chance(1.0, fault));
    (fixture, process)
}

async fn until_unavailable(process: &Process, name: &str) -> TokenError {
    let started = Instant::now();
    loop {
        match process.token_within(name, Duration::from_millis(500)).await {
            Err(error @ TokenError::ProviderUnavailable { .. }) => return error,
            other => assert!(started.elapsed() < Duration::from_secs(20), "{other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until every connection has a new token set; answers how long that took.
async fn until_all_are_back(process: &Process, count: usize, generation: u64) -> Duration {
    let started = Instant::now();
    for name in names(count) {
        process.until_generation(&name, generation).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn a_provider_that_is_down_gets_a_request_at_a_time_and_callers_are_told_since_when_and_until_when() {
    let (fixture, process) =
        down(30, front_end(None), Options { settings: settings(), ..Options::default() }).await;
    process.vault.start().await.unwrap();
    let TokenError::ProviderUnavailable { endpoint, retry_after, .. } =
        until_unavailable(&process, "c9").await
    else {
        unreachable!()
    };
    assert!(endpoint.since <= fixture.emulator.records()[2].at && retry_after <= Duration::from_secs(1));
    let before = fixture.requests();
    assert!(before <= 30, "each was sent once at most");
    let callers = async {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(4) {
            // Dead tokens and many callers cause no requests.
            let all = names(30);
            join_all(all.iter().map(|name| process.token_within(name, Duration::from_millis(100)))).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    callers.await;
    let during = fixture.requests() - before;
    assert!((2..=10).contains(&during), "{during} requests in four seconds and a little");

    fixture.emulator.set_behaviour(Behaviour::faultless());
    let took = until_all_are_back(&process, 30, 2).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    process.vault.drain().await;
    assert_eq!(fixture.emulator.stats().rotations, 30);
    assert!(fixture.emulator.grants().iter().all(EmulatedGrant::is_alive));
}

#[tokio::test]
async fn after_an_outage_that_left_outcomes_unknown_nobody_waits_for_pauses_that_have_grown() {
    let policy = holding(Duration::from_millis(1_200));
    let options = Options { settings: settings(), policy, ..Options::default() };
    let (fixture, process) = down(6, Fault::new(FaultKind::CutBefore), options).await;
    process.vault.start().await.unwrap();
    // By then the connections that failed twice would wait for five seconds, and each further time twice as long.
    sleep(Duration::from_secs(8)).await;
    fixture.emulator.set_behaviour(Behaviour::faultless());
    let took = until_all_are_back(&process, 6, 2).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    process.vault.drain().await;
    let stats = fixture.emulator.stats();
    assert_eq!((stats.overlaps, stats.reuse_kills, stats.rotations), (0, 0, 6), "{stats:?}");
    for name in names(6) {
        let attempts = process.attempts(&name).await;
        let resent = attempts.iter().skip(1).all(|attempt| attempt.recovers.is_some());
        assert!(resent, "each send after an unknown one is on record as its recovery: {attempts:?}");
    }
}

#[tokio::test]
async fn a_process_that_starts_during_an_outage_sends_three_requests_and_then_one_at_a_time() {
    let settings =
        Settings { outage_retry: Duration::from_mins(10), cooldown: Duration::from_mins(5), ..settings() };
    let (fixture, process) = down(30, front_end(None), Options { settings, ..Options::default() }).await;
    process.vault.start().await.unwrap();
    until_unavailable(&process, "c9").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(fixture.requests(), 3);
    process.vault.drain().await;
    let another = fixture.process().await;
    let sent = fixture.requests();
    another.vault.start().await.unwrap();
    until_unavailable(&another, "c9").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(fixture.requests() - sent, 3, "and so does the next one");
    another.vault.drain().await;
}

#[tokio::test]
async fn what_failed_before_a_restart_does_not_wait_for_its_grown_pauses_once_the_provider_is_back() {
    let policy = holding(Duration::from_millis(1_200));
    let options = Options { settings: settings(), policy, ..Options::default() };
    let (fixture, process) = down(3, Fault::new(FaultKind::CutBefore), options).await;
    process.vault.start().await.unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        let mut sends = Vec::new();
        for name in names(3) {
            sends.push(process.attempts(&name).await.len());
        }
        if sends.iter().all(|sends| *sends >= 4) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    process.vault.drain().await;
    drop(process);
    fixture.emulator.set_behaviour(Behaviour::faultless());
    let next = fixture.process().await;
    for name in names(3) {
        let due_at = next.row(&name).await.due_at.unwrap();
        assert!(due_at > fixture.clock.now() + Duration::from_secs(7), "its pause has grown");
    }
    next.vault.start().await.unwrap();
    let took = until_all_are_back(&next, 3, 2).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    next.vault.drain().await;
    let stats = fixture.emulator.stats();
    assert_eq!((stats.overlaps, stats.reuse_kills, stats.rotations), (0, 0, 3), "{stats:?}");
}

#[tokio::test]
async fn the_wait_that_a_provider_asks_for_holds_for_all_connections_of_the_client() {
    let options = Options { settings: settings(), ..Options::default() };
    let (fixture, process) = down(20, front_end(Some(6)), options).await;
    process.vault.start().await.unwrap();
    until_unavailable(&process, "c9").await;
    let sent = fixture.requests();
    sleep(Duration::from_secs(4)).await;
    // Those that were under way when it was found down may still have arrived.
    assert!(fixture.requests() <= sent.max(8 + 3), "{} after {sent}", fixture.requests());
    process.vault.drain().await;
}

#[tokio::test]
async fn a_token_that_lives_is_served_during_an_outage() {
    let options = Options { settings: settings(), ..Options::default() };
    let (fixture, process) = down(5, front_end(None), options).await;
    process.connect("c4", fixture.living_grant(Duration::from_mins(10))).await;
    fixture.clock.advance(Duration::from_mins(3));
    process.vault.start().await.unwrap();
    until_unavailable(&process, "c1").await;
    let started = Instant::now();
    process.token("c4").await.unwrap();
    let longer = process.token_for("c4", Duration::from_mins(10)).await.unwrap();
    let warning = longer.warning.unwrap();
    assert!(warning.contains("has not answered since"), "{warning}");
    assert!(started.elapsed() < Duration::from_secs(1), "nobody waited");
    process.vault.drain().await;
}

#[tokio::test]
async fn a_person_who_forces_a_refresh_is_not_stopped_by_an_outage_and_an_answer_ends_it_for_all() {
    let settings =
        Settings { outage_retry: Duration::from_mins(10), cooldown: Duration::from_mins(5), ..settings() };
    let (fixture, process) = down(5, front_end(None), Options { settings, ..Options::default() }).await;
    for name in ["c0", "c1", "c2"] {
        process.token(name).await.unwrap_err();
    }
    let waits = process.token("c3").await;
    assert!(matches!(waits, Err(TokenError::ProviderUnavailable { .. })), "{waits:?}");
    assert!(process.force("c4").await.is_err());
    assert_eq!(fixture.requests(), 4);
    fixture.emulator.set_behaviour(Behaviour::faultless());
    process.force("c4").await.unwrap();
    process.token("c0").await.unwrap();
}

#[tokio::test]
async fn refusals_and_rate_limits_do_not_count_as_an_outage() {
    let fault = Fault::new(FaultKind::RateLimited { retry_after_secs: 0 });
    let (fixture, process) = down(8, fault, Options { settings: settings(), ..Options::default() }).await;
    for name in names(8) {
        let limited = process.token(&name).await;
        assert!(matches!(limited, Err(TokenError::Failed { .. })), "{limited:?}");
    }
    let bare = Fault::new(FaultKind::Bare { status: 400 });
    fixture.emulator.set_behaviour(Behaviour::faultless().with_chance(1.0, bare));
    for name in names(8) {
        sleep(Duration::from_millis(10)).await;
        let refused = process.force(&name).await;
        assert!(matches!(refused, Err(TokenError::Failed { .. })), "{refused:?}");
    }
    assert_eq!(fixture.requests(), 16);
}

#[tokio::test]
async fn who_waits_for_the_provider_alone_is_told_by_every_process_and_who_waits_for_a_person_is_not() {
    let policy = PolicyOverrides { on_unknown: Some(OnUnknown::Ask), ..PolicyOverrides::default() };
    let options = Options { settings: settings(), policy, ..Options::default() };
    let (fixture, process) = down(6, front_end(None), options).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert!(matches!(process.token("c4").await, Err(TokenError::Interrupted { until: None, .. })));
    process.administer("c5", OperatorCommand::Pause).await.unwrap();
    process.vault.start().await.unwrap();
    process.vault.announce(process.store.shared(), "server");
    until_unavailable(&process, "c1").await;

    let asking = fixture.process().await;
    let begun = Instant::now();
    while asking.vault.unavailable_endpoints().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no heartbeat tells of the outage");
        asking.vault.peers(&*asking.store).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    for vault in [&process.vault, &asking.vault] {
        for name in ["c0", "c1", "c2", "c3"] {
            let outage = vault.status(name).await.unwrap().unavailable.expect("it waits for the provider");
            assert_eq!(outage.endpoint.client.as_ref(), Some(&fixture.options.emulator.client_id));
            assert_eq!(outage.endpoint.last_failure.http_status, Some(503));
            assert!(outage.endpoint.since < outage.endpoint.next_trial, "{outage:?}");
        }
        for name in ["c4", "c5"] {
            assert_eq!(vault.status(name).await.unwrap().unavailable, None, "{name} waits for a person");
        }
    }
    fixture.emulator.set_behaviour(Behaviour::faultless());
    process.until_generation("c0", 2).await;
    assert_eq!(process.vault.status("c0").await.unwrap().unavailable, None);
    process.vault.drain().await;
    asking.vault.peers(&*asking.store).await.unwrap();
    assert_eq!(asking.vault.unavailable_endpoints(), [], "nobody runs who could say so");
}

#[tokio::test]
async fn a_token_of_unknown_outcome_is_said_to_wait_for_the_provider_and_for_no_time_of_its_own() {
    let policy = holding(Duration::from_mins(10));
    let options = Options { settings: settings(), policy, ..Options::default() };
    let (fixture, process) = down(4, Fault::new(FaultKind::CutBefore), options).await;
    let first = process.token("c0").await;
    assert!(
        matches!(&first, Err(TokenError::Interrupted { until: Some(_), endpoint: None, .. })),
        "{first:?}"
    );
    for name in ["c1", "c2"] {
        process.token(name).await.unwrap_err();
    }
    let waits = process.token("c0").await;
    let Err(TokenError::Interrupted { endpoint: Some(endpoint), .. }) = &waits else {
        panic!("the provider is down: {waits:?}")
    };
    assert_eq!(endpoint.last_failure.code, "no_reply");
    assert_eq!(fixture.requests(), 3);
}

/// One connection at a provider that answers, and others of the same client at one that takes connections and never answers.
/// The one never misses a refresh, and nobody who asks for its token waits.
async fn neighbours(hanging: usize, silent: usize) {
    let mut listeners = Vec::new();
    for _ in 0..silent {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port is free on loopback"));
    }
    let url = |index: usize| {
        let address = listeners[index % silent].local_addr().expect("it is bound");
        format!("http://{address}/token")
    };
    let all = names(hanging + 1);
    let other_urls: BTreeMap<_, _> =
        all.iter().skip(1).enumerate().map(|(index, name)| (name.clone(), url(index))).collect();
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_secs(3), ..Default::default() };
    let policy =
        PolicyOverrides { margin: Some(DurationText(Duration::from_secs(2))), ..PolicyOverrides::default() };
    let options =
        Options { emulator, policy, names: all, settings: settings(), other_urls, ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    for name in names(hanging + 1) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    process.vault.start().await.expect("the fixture is ready");
    process.until_generation("c0", 2).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(9) {
        let (asked, token) = (Instant::now(), process.token("c0").await);
        assert!(fixture.emulator.accepts(token.expect("it lives").access.reveal()));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    let attempts = process.attempts("c0").await;
    assert!(attempts.iter().all(|attempt| attempt.status == AttemptStatus::Success), "{attempts:?}");
    process.vault.drain().await;
    drop(listeners);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn two_hundred_connections_that_hang_take_nothing_from_another_provider_of_the_same_client() {
    neighbours(200, 1).await;
}

#[tokio::test]
async fn twelve_providers_that_hang_take_nothing_from_another_one() {
    neighbours(48, 12).await;
}

#[tokio::test]
async fn a_connection_that_is_answered_goes_before_those_that_hang_at_the_same_endpoint() {
    let settings = Settings { provider_concurrency: 2, ..settings() };
    let (fixture, process) = down(9, Fault::none(), Options { settings, ..Options::default() }).await;
    // Two of them hang, one after the other, and then all of those that hang and one that does not are asked for.
    let hangs = || Fault::new(FaultKind::CutBefore).slow_before(Duration::from_millis(200));
    fixture.emulator.enqueue([hangs(), hangs()]);
    for name in ["c0", "c1"] {
        process.token(name).await.unwrap_err();
    }
    fixture.clock.advance(Duration::from_mins(2));
    fixture.emulator.enqueue([Fault::none().slow_before(Duration::from_secs(1))]);
    let behind = async { join_all([process.token("c0"), process.token("c1")]).await };
    let before = async {
        eventually("one of those that hung is under way", || fixture.emulator.stats().in_flight > 0).await;
        let asked = Instant::now();
        process.token("c5").await.unwrap();
        asked.elapsed()
    };
    let (answers, took) = tokio::join!(behind, before);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(took < Duration::from_millis(800), "it did not wait for those that may hang: {took:?}");
}
