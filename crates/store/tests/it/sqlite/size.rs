//! How it does with many connections.

use std::time::Duration;

use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _};
use tokio::time::Instant;

use super::fixture::{claim, folder, open};

#[tokio::test]
async fn a_claim_among_a_hundred_thousand_connections_takes_milliseconds() {
    let (_folder, path) = folder();
    let store = open(&path);
    let filling = rusqlite::Connection::open(&path).unwrap();
    filling
        .execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TEMP TABLE numbers AS
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n;
             INSERT INTO connections (name, provider, grant_id, state, paused, generation, revision, due_at, failures,
                created_at)
             SELECT 'c' || i, 'p', randomblob(16), 'live', 0, 1, i, (unixepoch() * 1000 + i) * 1000, 0, 0 FROM numbers;
             INSERT INTO tokens (connection, generation, attempt, access, refresh, refresh_fingerprint, obtained_at)
             SELECT 'c' || i, 1, randomblob(16), randomblob(128), randomblob(128), randomblob(16), 0 FROM numbers;
             UPDATE store SET revision = 100000;
             COMMIT",
        )
        .unwrap();
    let (now, due) = store.due(Duration::from_secs(10), None, 100).await.unwrap();
    assert_eq!(due.len(), 100);
    assert!(due.windows(2).all(|pair| pair[0] < pair[1]) && due[0].due_at <= now + Duration::from_secs(10));
    let mut times = Vec::new();
    for number in (1..=100_000).step_by(1_000) {
        let began = Instant::now();
        let answer = store.claim(claim(&format!("c{number}"), 1)).await.unwrap();
        assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
        times.push(began.elapsed());
    }
    times.sort();
    println!("100,000 connections: a claim takes {:?} (median), {:?} (longest)", times[50], times[99]);
    assert!(times[50] < Duration::from_millis(20), "the disk may be slow, but not the look: {times:?}");
    assert_eq!(store.revision().await.unwrap().0, 100_100);
}
