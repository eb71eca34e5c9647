//! The record of each request: that every loss is explained.

use std::time::Duration;

use jeton_emulator::{Behaviour, Fault, FaultKind, RequestOutcome, Settings, short_hash};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{basic, refresh, refresh_form, request, start, try_refresh};

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_answer_that_was_written_whole_is_no_loss() {
    let (emulator, token) = start(Settings::default()).await;
    refresh(&emulator, &token).await;
    assert!(emulator.wait_until_idle(PATIENCE).await);
    let record = emulator.records().remove(0);
    assert!(record.accepted && record.reply_written && !record.is_lost() && !record.overlapping);
    assert_eq!(record.outcome, RequestOutcome::Rotated);
    assert_eq!(record.presented, Some(short_hash(&token)));
    assert_eq!((record.grant, record.generation), (emulator.grant_of(&token), Some(1)));
    assert!(record.at <= record.accepted_at.unwrap() && record.accepted_at <= record.finished_at);
    let stats = emulator.stats();
    assert_eq!((stats.requests, stats.accepted, stats.replies_written, stats.lost), (1, 1, 1, 0));
}

#[tokio::test]
async fn accepted_and_not_written_is_counted_as_lost_and_nothing_else_is() {
    for (kind, lost) in [
        (FaultKind::LoseReply, true),
        (FaultKind::CutReply, true),
        (FaultKind::CutBefore, false),
        (FaultKind::FailAfter { status: 500 }, false),
        (FaultKind::ErrorIn200, false),
    ] {
        let (emulator, token) = start(Settings::default()).await;
        emulator.set_behaviour(Behaviour::from_queue([Fault::new(kind)]));
        try_refresh(&emulator, &token).await;
        assert!(emulator.wait_until_idle(PATIENCE).await);
        let record = emulator.records().remove(0);
        assert_eq!((record.is_lost(), emulator.stats().lost == 1), (lost, lost), "{kind:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_and_its_token_is_spent_all_the_same() {
    let (emulator, token) = start(Settings::default()).await;
    emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_before(Duration::from_millis(150))]));
    let mut stream = TcpStream::connect(emulator.address()).await.unwrap();
    let asked = request("POST", "/token", &basic(), &refresh_form(&token));
    stream.write_all(asked.as_bytes()).await.unwrap();
    drop(stream);
    while emulator.stats().requests == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(emulator.wait_until_idle(PATIENCE).await);
    let record = emulator.records().remove(0);
    assert!(record.client_left_at.unwrap() < record.accepted_at.unwrap());
    assert!(record.accepted);
}

#[tokio::test]
async fn two_requests_with_one_token_at_the_same_time_are_marked_on_both() {
    let grace = Settings { reuse_grace: Duration::from_mins(1), ..Settings::default() };
    let (emulator, token) = start(grace).await;
    let slow = Fault::none().slow_after(Duration::from_millis(150));
    emulator.set_behaviour(Behaviour::from_queue([slow, slow]));
    let (one, two) = tokio::join!(refresh(&emulator, &token), refresh(&emulator, &token));
    assert_eq!(one.text("refresh_token"), two.text("refresh_token"));
    assert!(emulator.wait_until_idle(PATIENCE).await);
    let records = emulator.records();
    assert!(records.iter().all(|record| record.overlapping) && records.len() == 2);
    assert_eq!(emulator.stats().overlaps, 1);
    refresh(&emulator, &one.text("refresh_token")).await;
    assert!(!emulator.records()[2].overlapping, "one after the other is no overlap");
}

#[tokio::test]
async fn a_client_that_is_gone_is_no_rival_of_its_successor() {
    let grace = Settings { reuse_grace: Duration::from_mins(1), ..Settings::default() };
    let (emulator, token) = start(grace).await;
    emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_after(Duration::from_millis(400))]));
    let mut stream = TcpStream::connect(emulator.address()).await.unwrap();
    let asked = request("POST", "/token", &basic(), &refresh_form(&token));
    stream.write_all(asked.as_bytes()).await.unwrap();
    drop(stream);
    while emulator.records().first().is_none_or(|record| record.client_left_at.is_none()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(refresh(&emulator, &token).await.status, 200);
    assert_eq!(emulator.stats().overlaps, 0);
}

#[tokio::test]
async fn no_token_is_in_the_records() {
    let (emulator, token) = start(Settings::default()).await;
    let pair = refresh(&emulator, &token).await;
    let told = format!("{:?} {:?} {emulator:?}", emulator.records(), emulator.grants());
    assert!(told.contains(&short_hash(&token)));
    for secret in [token, pair.text("refresh_token"), pair.text("access_token")] {
        assert!(!told.contains(&secret), "{told}");
    }
}

#[tokio::test]
async fn only_so_many_records_are_kept_and_the_rest_is_counted() {
    let (emulator, _) = start(Settings { max_records: 3, ..Settings::default() }).await;
    for _ in 0..5 {
        refresh(&emulator, "emr_unknown").await;
        assert!(emulator.wait_until_idle(PATIENCE).await);
    }
    let kept: Vec<u64> = emulator.records().iter().map(|record| record.sequence).collect();
    assert_eq!((kept, emulator.stats().records_dropped), (vec![3, 4, 5], 2));
}
