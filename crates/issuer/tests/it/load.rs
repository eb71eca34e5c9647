//! Rotation under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::RwLock;
use tokio::time::sleep;

use crate::fixture::{Fixture, new_token, operator, start_sync};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_is_refused_in_any_process_while_a_token_is_rotated_under_load() {
    let (_fixture, one, two) = Fixture::with_processes().await;
    start_sync(&one.access);
    start_sync(&two.access);
    let (first, raw) = one.create(new_token("bot1")).await;
    let held = Arc::new(RwLock::new(raw));
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let caller = |number: usize| {
        let process = if number.is_multiple_of(2) { &one } else { &two };
        let (held, over, calls) = (Arc::clone(&held), &over, &calls);
        async move {
            while !over.load(Ordering::SeqCst) {
                let token = held.read().clone();
                // It may have been read a while ago, by a program that reads it seldom.
                sleep(Duration::from_micros(500)).await;
                assert_eq!(process.service_of(&token).await, Ok("bot1".into()));
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let rotating = async {
        let mut id = first.id;
        for _ in 0..30 {
            sleep(Duration::from_millis(30)).await;
            let rotated = one.access.rotate(id, Duration::from_mins(1), None, &operator()).await.unwrap();
            id = rotated.new.token.id;
            *held.write() = rotated.new.raw.unwrap().reveal().to_owned();
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((0..16).map(caller)), rotating);
    assert!(calls.load(Ordering::Relaxed) > 1_000, "{calls:?} calls");
    one.access.drain().await;
    two.access.drain().await;
}
