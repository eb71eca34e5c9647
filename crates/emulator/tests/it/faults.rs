//! Each behaviour, and whether it spends the token.

use std::time::Duration;

use jeton_emulator::{Behaviour, Fault, FaultKind, RequestOutcome, Settings};
use tokio::time::Instant;

use crate::client::{refresh, start, try_refresh};

/// One request under this kind; answers what came back and whether the token was spent.
async fn under(kind: FaultKind) -> (Option<crate::client::Answer>, bool) {
    let (emulator, token) = start(Settings::default()).await;
    emulator.set_behaviour(Behaviour::from_queue([Fault::new(kind)]));
    let answer = try_refresh(&emulator, &token).await;
    assert!(emulator.wait_until_idle(Duration::from_secs(5)).await);
    let record = emulator.records().remove(0);
    assert_eq!(record.fault, kind);
    assert_eq!(record.accepted, kind.accepts());
    let spent = emulator.grants()[0].generation == 1;
    assert_eq!(record.accepted, spent);
    // The token still works if and only if nothing was accepted.
    assert_eq!(refresh(&emulator, &token).await.status == 200, !spent);
    emulator.shutdown().await;
    (answer, spent)
}

#[tokio::test]
async fn a_connection_cut_before_acceptance_spends_nothing() {
    let (answer, spent) = under(FaultKind::CutBefore).await;
    assert!(answer.is_none() && !spent);
}

#[tokio::test]
async fn a_reply_lost_after_acceptance_spends_the_token_in_silence() {
    let (answer, spent) = under(FaultKind::LoseReply).await;
    assert!(answer.is_none() && spent);
}

#[tokio::test]
async fn a_reply_cut_half_way_shows_a_head_and_half_a_body() {
    let (answer, spent) = under(FaultKind::CutReply).await;
    let answer = answer.unwrap();
    assert!(spent && answer.status == 200 && !answer.whole && !answer.body.is_empty());
}

#[tokio::test]
async fn an_error_in_a_200_spends_nothing() {
    let (answer, spent) = under(FaultKind::ErrorIn200).await;
    let answer = answer.unwrap();
    assert!(!spent && answer.status == 200 && answer.json().get("access_token").is_none());
    assert_eq!(answer.text("error"), "server_error");
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_again() {
    let (answer, spent) = under(FaultKind::RateLimited { retry_after_secs: 7 }).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.header("retry-after"), spent), (429, Some("7"), false));
}

#[tokio::test]
async fn the_same_5xx_comes_before_or_after_acceptance() {
    let (before, spent_before) = under(FaultKind::FailBefore { status: 502 }).await;
    let (after, spent_after) = under(FaultKind::FailAfter { status: 502 }).await;
    assert_eq!((before.unwrap().status, spent_before), (502, false));
    assert_eq!((after.unwrap().status, spent_after), (502, true));
}

#[tokio::test]
async fn garbage_is_a_200_that_is_not_json() {
    let (answer, spent) = under(FaultKind::Garbage).await;
    let answer = answer.unwrap();
    assert!(
        spent && answer.status == 200 && serde_json::from_str::<serde_json::Value>(&answer.body).is_err()
    );
}

#[tokio::test]
async fn a_200_may_lack_its_access_token() {
    let (answer, spent) = under(FaultKind::NoAccessToken).await;
    let answer = answer.unwrap();
    assert!(spent && answer.status == 200 && answer.json().get("access_token").is_none());
}

#[tokio::test]
async fn a_huge_reply_is_right_and_as_large_as_asked() {
    let (answer, spent) = under(FaultKind::Huge { size_bytes: 3 << 20 }).await;
    let answer = answer.unwrap();
    assert!(spent && answer.whole && answer.body.len() == 3 << 20);
    assert!(answer.json()["access_token"].is_string());
}

#[tokio::test]
async fn a_trickling_reply_takes_its_time_and_is_whole() {
    let begun = Instant::now();
    let (answer, spent) = under(FaultKind::Trickle { pause_ms: 2 }).await;
    let answer = answer.unwrap();
    assert!(spent && answer.whole);
    let length = u64::try_from(answer.body.len()).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(2 * length));
}

#[tokio::test]
async fn a_redirect_spends_nothing() {
    let (answer, spent) = under(FaultKind::Redirect).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.header("location"), spent), (302, Some("/elsewhere"), false));
}

#[tokio::test]
async fn right_credentials_may_be_called_wrong() {
    let (answer, spent) = under(FaultKind::WrongClient).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.text("error").as_str(), spent), (401, "invalid_client", false));
}

#[tokio::test]
async fn slowness_comes_before_acceptance_or_after_it() {
    let slow = Duration::from_millis(120);
    for (fault, spent_meanwhile) in
        [(Fault::none().slow_before(slow), false), (Fault::none().slow_after(slow), true)]
    {
        let (emulator, token) = start(Settings::default()).await;
        emulator.set_behaviour(Behaviour::from_queue([fault]));
        let begun = Instant::now();
        let (answer, generation) = tokio::join!(refresh(&emulator, &token), async {
            tokio::time::sleep(slow / 2).await;
            emulator.grants()[0].generation
        });
        assert_eq!((answer.status, generation == 1), (200, spent_meanwhile));
        assert!(begun.elapsed() >= slow);
    }
}

#[tokio::test]
async fn the_faults_come_from_the_seed() {
    let faults = async |seed| {
        let (emulator, _) = start(Settings { seed, ..Settings::default() }).await;
        emulator.set_behaviour(
            Behaviour::faultless()
                .with_chance(0.3, Fault::new(FaultKind::ErrorIn200))
                .with_chance(0.3, Fault::new(FaultKind::CutBefore)),
        );
        for _ in 0..24 {
            try_refresh(&emulator, "emr_unknown").await;
        }
        assert!(emulator.wait_until_idle(Duration::from_secs(5)).await);
        emulator.records().iter().map(|record| record.fault).collect::<Vec<_>>()
    };
    let (one, same, other) = (faults(11).await, faults(11).await, faults(12).await);
    assert_eq!(one, same);
    assert_ne!(one, other);
    for kind in [FaultKind::None, FaultKind::ErrorIn200, FaultKind::CutBefore] {
        assert!(one.contains(&kind), "{kind:?} never came in {one:?}");
    }
}

#[tokio::test]
async fn moods_can_be_queued_at_run_time_and_each_is_used_once() {
    let (emulator, token) = start(Settings::default()).await;
    emulator.enqueue([Fault::new(FaultKind::FailBefore { status: 500 }), Fault::new(FaultKind::ErrorIn200)]);
    let statuses = [
        refresh(&emulator, &token).await.status,
        refresh(&emulator, &token).await.status,
        refresh(&emulator, &token).await.status,
    ];
    assert_eq!(statuses, [500, 200, 200]);
    assert_eq!(emulator.records().last().unwrap().outcome, RequestOutcome::Rotated);
}
