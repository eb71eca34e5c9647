//! Replies that leave the outcome of a redeem unknown.

use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::seal::SealContext;
use jeton_core::time::Clock as _;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::Settings;
use tokio::time::Instant;

use crate::fixture::{ACME, Fixture, Options, short_settings};
use crate::process::Process;
use crate::recovery::assert_interrupted;

/// Lets one redeem end like this, and answers with the fixture in which its outcome is not known.
async fn ambiguous(ending: FaultKind) -> (Fixture, Process) {
    let settings = Settings { redeem_timeout: Duration::from_millis(800), ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(ending)]);
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(process.last_attempt(ACME).await.status, AttemptStatus::Interrupted);
    let row = process.row(ACME).await;
    assert_eq!(row.interrupted_attempt(fixture.clock.now()), Some(process.last_attempt(ACME).await.id));
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(fixture.requests(), 1, "nothing more is sent");
    assert!(fixture.held_refresh(&process, ACME).await.is_some());
    (fixture, process)
}

/// The raw reply that was kept, opened.
async fn kept(fixture: &Fixture, process: &Process) -> Option<String> {
    let attempt = process.last_attempt(ACME).await.id;
    let sealed = process.store.find_kept_reply(attempt).await.expect("the fixture is ready")?;
    let row = attempt.to_string();
    let place = SealContext { table: "attempts", row: &row, field: "kept_reply", generation: 0 };
    let opened = fixture.sealer(process).await.open(&sealed, place).expect("the fixture is ready");
    let text = String::from_utf8(opened.to_vec()).expect("the fixture is ready");
    assert!(!sealed.windows(8).any(|window| text.as_bytes().windows(8).any(|plain| plain == window)));
    Some(text)
}

#[tokio::test]
async fn a_reply_cut_half_way_is_ambiguous() {
    ambiguous(FaultKind::CutReply).await;
}

#[tokio::test]
async fn a_5xx_to_a_step_that_spends_is_ambiguous() {
    let (_world, process) = ambiguous(FaultKind::FailAfter { status: 502 }).await;
    assert_eq!(process.last_attempt(ACME).await.http_status, Some(502));
}

#[tokio::test]
async fn a_200_that_is_not_json_is_ambiguous_and_kept_sealed() {
    let (fixture, process) = ambiguous(FaultKind::Garbage).await;
    assert!(kept(&fixture, &process).await.unwrap().contains("It works!"));
}

#[tokio::test]
async fn a_200_without_an_access_token_is_ambiguous_and_kept_sealed() {
    let (fixture, process) = ambiguous(FaultKind::NoAccessToken).await;
    assert!(kept(&fixture, &process).await.unwrap().contains("expires_in"));
}

#[tokio::test]
async fn a_reply_longer_than_1_mib_is_ambiguous() {
    let (fixture, process) = ambiguous(FaultKind::Huge { size_bytes: 2 * 1024 * 1024 }).await;
    assert_eq!(kept(&fixture, &process).await, None);
}

#[tokio::test]
async fn a_reply_that_trickles_beyond_the_deadline_is_ambiguous() {
    let started = Instant::now();
    ambiguous(FaultKind::Trickle { pause_ms: 50 }).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_kept_reply_is_wiped_once_the_outcome_is_known() {
    let (fixture, process) = ambiguous(FaultKind::Garbage).await;
    let attempt = process.last_attempt(ACME).await.id;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant).await;
    process.token(ACME).await.unwrap();
    // It belongs to a grant that was replaced: a person may still need it, and it is sealed.
    assert!(process.store.find_kept_reply(attempt).await.unwrap().is_some());
    process.administer(ACME, jeton_core::keep::ports::OperatorCommand::Disconnect).await.unwrap();
    assert!(process.store.find_kept_reply(attempt).await.unwrap().is_none());
}
