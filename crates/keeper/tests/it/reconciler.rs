//! Everything stays alive with nobody asking.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::keep::provider::{DurationText, PolicyOverrides};
use jeton_core::time::Clock as _;
use jeton_emulator::{Fault, FaultKind, RequestRecord};
use jeton_keeper::{Grant, Settings, TokenError};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, eventually, names, short_settings};

/// Tokens that live for two seconds and are refreshed a second after their birth.
fn hectic() -> Options {
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_secs(2), ..Default::default() };
    let policy = PolicyOverrides {
        margin: Some(DurationText(Duration::from_millis(1_600))),
        ..PolicyOverrides::default()
    };
    Options { emulator, policy, ..Options::default() }
}

#[tokio::test]
async fn a_connection_is_kept_alive_with_nobody_asking() {
    let (fixture, process) = Fixture::with(hectic()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.vault.start().await.unwrap();
    process.until_generation(ACME, 2).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2_600) {
        // Looking changes nothing: no caller waits here.
        let held = fixture.held_access(&process, ACME).await.unwrap();
        assert!(fixture.emulator.accepts(held.reveal()));
        sleep(Duration::from_millis(20)).await;
    }
    process.vault.drain().await;
    fixture.assert_spent_once();
    let rotations = fixture.emulator.stats().rotations;
    assert!((2..=3).contains(&rotations), "it refreshes when it is due, and not before: {rotations}");
    let attempts = process.attempts(ACME).await;
    assert!(attempts.iter().all(|attempt| attempt.trigger == Trigger::Automatic));
}

#[tokio::test]
async fn ten_rotations_come_when_they_are_due_and_each_spends_a_fresh_token() {
    let (fixture, process) = Fixture::with(Options { names: names(2), ..Options::default() }).await;
    let other = fixture.process().await;
    process.connect("c0", fixture.expired_grant()).await;
    process.vault.start().await.unwrap();
    for generation in 2..12 {
        process.until_generation("c0", generation).await;
        // The machine sleeps; what another process does to another connection makes the keeper look at the clock.
        for (pass, due) in [(40, false), (8, true)] {
            fixture.clock.advance(Duration::from_secs(pass));
            let stir =
                Grant { access: Some("a-token".into()), ..fixture.living_grant(Duration::from_hours(24)) };
            other.connect("c1", stir).await;
            if due {
                process.until_generation("c0", generation + 1).await;
            } else {
                sleep(Duration::from_millis(80)).await;
                assert_eq!(process.row("c0").await.generation.0, generation, "it was not due yet");
            }
        }
    }
    process.vault.drain().await;
    fixture.assert_spent_once();
}

#[tokio::test]
async fn two_processes_share_the_work_with_no_double_spend() {
    let (fixture, one) = Fixture::with(Options { names: names(6), ..hectic() }).await;
    let two = fixture.process().await;
    for name in names(6) {
        one.connect(&name, fixture.expired_grant()).await;
    }
    one.vault.start().await.unwrap();
    two.vault.start().await.unwrap();
    eventually("everything was rotated several times", || fixture.emulator.stats().rotations >= 18).await;
    join_all([one.vault.drain(), two.vault.drain()]).await;
    fixture.assert_spent_once();
    let grants = fixture.emulator.grants();
    assert!(grants.iter().all(|grant| grant.is_alive() && grant.generation >= 2), "{grants:?}");
}

/// The most requests that were under way at once.
fn most_at_once(records: &[RequestRecord]) -> usize {
    let at_once = |instant| {
        let under_way = |record: &&RequestRecord| {
            record.at <= instant && record.finished_at.is_none_or(|finished| finished > instant)
        };
        records.iter().filter(under_way).count()
    };
    records.iter().map(|record| at_once(record.at)).max().unwrap_or(0)
}

#[tokio::test]
async fn no_more_redeems_run_at_once_at_one_provider_than_the_settings_allow() {
    let settings = Settings { provider_concurrency: 2, spill_slots: 8, ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, names: names(8), ..Options::default() }).await;
    for name in names(8) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    let slow = Fault::none().slow_before(Duration::from_millis(100));
    fixture.emulator.enqueue(std::iter::repeat_n(slow, 8));
    process.vault.start().await.unwrap();
    // Callers are bound by it as well.
    let callers = names(8);
    let answers = join_all(callers.iter().map(|name| process.token(name))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    process.vault.drain().await;
    assert!(most_at_once(&fixture.emulator.records()) <= 2);
    assert_eq!(fixture.emulator.stats().rotations, 8);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_paused_connection_is_left_alone_until_it_is_resumed() {
    let (fixture, process) = Fixture::with(hectic()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.administer(ACME, OperatorCommand::Pause).await.unwrap();
    process.vault.start().await.unwrap();
    sleep(Duration::from_millis(400)).await;
    let paused = process.token(ACME).await;
    assert!(matches!(paused, Err(TokenError::Paused { .. })), "{paused:?}");
    assert!(matches!(process.force(ACME).await, Err(TokenError::Paused { .. })));
    assert_eq!(fixture.requests(), 0);
    process.administer(ACME, OperatorCommand::Resume).await.unwrap();
    let resumed = Instant::now();
    process.until_generation(ACME, 2).await;
    assert!(resumed.elapsed() < Duration::from_secs(3), "{:?}", resumed.elapsed());
    process.vault.drain().await;
}

#[tokio::test]
async fn a_connection_that_is_connected_while_the_keeper_sleeps_is_looked_at_soon() {
    let (fixture, process) = Fixture::usual().await;
    let other = fixture.process().await;
    process.vault.start().await.unwrap();
    sleep(Duration::from_millis(150)).await;
    // Another process does it, as the command line does beside a server.
    other
        .connect(ACME, Grant { refresh: Some(fixture.emulator.mint(1).remove(0)), ..Grant::default() })
        .await;
    let connected = Instant::now();
    process.until_generation(ACME, 2).await;
    assert!(connected.elapsed() < Duration::from_secs(3), "{:?}", connected.elapsed());
    process.vault.drain().await;
}

#[tokio::test]
async fn a_failure_is_tried_again_when_its_cool_down_is_over_and_not_much_later() {
    let (mut fixture, process) = Fixture::usual().await;
    fixture.emulator.refuse_connections().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.vault.start().await.unwrap();
    let failed = async {
        while process.row(ACME).await.failures == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    failed.await;
    fixture.emulator.accept_connections().await.unwrap();
    let mended = Instant::now();
    process.until_generation(ACME, 2).await;
    assert!(mended.elapsed() < Duration::from_secs(4), "{:?}", mended.elapsed());
    process.vault.drain().await;
}

#[tokio::test]
async fn failures_in_a_row_are_tried_at_growing_distances() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.refuse_connections().await;
    let mut distances = Vec::new();
    for _ in 0..4 {
        assert!(process.force(ACME).await.is_err());
        let (row, now) = (process.row(ACME).await, fixture.clock.now());
        // Callers wait as long as the keeper: asking for a token does not make the provider answer.
        assert_eq!(row.due_at, row.cooling_until);
        distances.push(row.due_at.unwrap().since(now));
    }
    assert!(distances.is_sorted() && distances[3] > distances[0] * 4, "{distances:?}");
    fixture.emulator.accept_connections().await.unwrap();
}

#[tokio::test]
async fn draining_waits_for_a_redeem_under_way_and_loses_nothing() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(600))]);
    process.vault.start().await.unwrap();
    fixture.until_accepted(1).await;
    process.vault.drain().await;
    let row = process.row(ACME).await;
    assert_eq!((row.generation.0, row.lease, row.open_attempt), (2, None, None));
    assert!(process.token(ACME).await.is_ok(), "what is in memory is still served");
    assert_eq!(process.force(ACME).await, Err(TokenError::ShuttingDown));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn draining_begins_no_attempt_that_was_still_waiting_for_its_turn() {
    let settings = Settings { provider_concurrency: 1, ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(600))]);
    let close = async {
        fixture.until_accepted(1).await;
        sleep(Duration::from_millis(50)).await;
        process.vault.drain().await;
    };
    let second = async {
        fixture.until_accepted(1).await;
        process.token("c1").await
    };
    let (first, second, ()) = tokio::join!(process.token("c0"), second, close);
    first.unwrap();
    assert_eq!(second, Err(TokenError::ShuttingDown));
    assert_eq!(fixture.requests(), 1);
    assert!(process.attempts("c1").await.is_empty());
}

#[tokio::test]
async fn a_visit_that_finds_nothing_due_leaves_a_skipped_row() {
    let settings = Settings { visit: Duration::from_millis(300), ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    process.vault.start().await.unwrap();
    sleep(Duration::from_millis(1_100)).await;
    process.vault.drain().await;
    let attempts = process.attempts(ACME).await;
    assert!((1..=5).contains(&attempts.len()), "{}", attempts.len());
    for attempt in attempts {
        assert_eq!((attempt.status, attempt.trigger), (AttemptStatus::Skipped, Trigger::Automatic));
        assert_eq!(attempt.message.as_deref(), Some("Token doesn't need refresh yet"));
    }
    assert_eq!(fixture.requests(), 0);
}

#[tokio::test]
async fn a_dead_connection_costs_the_keeper_nothing() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.revoke_grant(grant.refresh.unwrap().reveal());
    process.vault.start().await.unwrap();
    eventually("the grant is found dead", || fixture.requests() == 1).await;
    sleep(Duration::from_millis(100)).await;
    let before = process.probe.calls();
    sleep(Duration::from_millis(500)).await;
    assert!(process.probe.calls() - before <= 2, "{} calls", process.probe.calls() - before);
    assert_eq!(fixture.requests(), 1);
    process.vault.drain().await;
}

#[tokio::test]
async fn a_rate_limited_provider_is_not_asked_before_its_time_by_the_keeper_either() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 1 })]);
    process.vault.start().await.unwrap();
    process.until_generation(ACME, 2).await;
    let records = fixture.emulator.records();
    assert_eq!(records.len(), 2);
    let distance = records[1].at.since(records[0].at);
    assert!(distance >= Duration::from_secs(1) && distance < Duration::from_millis(4_500), "{distance:?}");
    process.vault.drain().await;
}

#[tokio::test]
async fn a_connection_whose_definition_was_removed_is_kept_shown_as_orphaned_and_not_spent_for() {
    let (mut fixture, process) = Fixture::with(Options { names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    fixture.options.names = vec!["c1".to_owned()];
    let node = fixture.process().await;
    node.vault.start().await.unwrap();
    node.until_generation("c1", 2).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.requests(), 1, "it claims only what it defines");
    assert!(matches!(node.token("c0").await, Err(TokenError::UnknownConnection { .. })));
    assert!(node.vault.status("c0").await.unwrap().orphaned);
    let statuses = node.vault.statuses(None, 10).await.unwrap();
    assert_eq!(statuses.iter().map(|status| status.orphaned).collect::<Vec<_>>(), [true, false]);
    node.administer("c0", OperatorCommand::Disconnect).await.unwrap();
    assert!(node.row("c0").await.tokens.is_none());
    node.vault.drain().await;
}
