//! The pauses before work is sent again, and before somebody connects again, grow: a server that is in trouble is not
//! asked more and more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _, StoreError};
use jeton_store::postgres::faults::PostgresHooks;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::fixture::{connect, database, open, options};

/// Loses the answer of each COMMIT, so often, and notes when.
#[derive(Debug)]
struct Losing {
    times: usize,
    lost: Mutex<Vec<Instant>>,
}

#[async_trait]
impl PostgresHooks for Losing {
    async fn after_commit(&self) -> Result<(), StoreError> {
        let mut lost = self.lost.lock().unwrap();
        lost.push(Instant::now());
        if lost.len() <= self.times { Err(StoreError::Unavailable("lost on purpose".into())) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pause_before_a_call_is_sent_again_is_twice_as_long() {
    let database = database();
    let hooks = Arc::new(Losing { times: 7, lost: Mutex::default() });
    let patience = Duration::from_mins(1);
    let options = PostgresOptions { hooks: hooks.clone(), patience, ..options(database.url()) };
    let store = PostgresStore::open(options).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    let lost = hooks.lost.lock().unwrap().clone();
    let pauses: Vec<_> = lost.windows(2).map(|two| two[1] - two[0]).collect();
    let least = [10, 20, 40, 80, 160, 320, 500].map(Duration::from_millis);
    assert_eq!(pauses.len(), least.len());
    assert!(pauses.iter().zip(least).all(|(pause, least)| *pause >= least), "{pauses:?}");
}

/// The way to a server that can be closed: whoever has come by it is cut off, and whoever comes is turned away and counted.
struct ClosableProxy {
    port: u16,
    open: watch::Sender<bool>,
    turned_away: Arc<AtomicUsize>,
}

impl ClosableProxy {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let (turned_away, tasks) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        let count = Arc::clone(&turned_away);
        tasks.clone().spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut is_open = is_open.clone();
                if !*is_open.borrow_and_update() {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                tasks.spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
                        changed = is_open.changed() => drop(changed),
                    }
                });
            }
        });
        Self { port, open, turned_away }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_turned_away_comes_back_ever_more_seldom() {
    let database = database();
    let server = PgCluster::shared().unwrap().port();
    let proxy = ClosableProxy::to(server).await;
    let url = database.tcp_url().replace(&format!(":{server}/"), &format!(":{}/", proxy.port));
    let store = open(&url).await;
    store.connect(connect("acme", 1)).await.unwrap();
    proxy.open.send_replace(false);
    sleep(Duration::from_secs(3)).await;
    // With pauses of 10 ms that double, the ninth try comes after 2.55 s; and each pass over the changes, every 2 s, tries once.
    let tries = proxy.turned_away.load(Ordering::SeqCst);
    assert!((2..=14).contains(&tries), "{tries} tries in 3 s");
    proxy.open.send_replace(true);
    let seen = store.revision().await.unwrap();
    open(database.url()).await.connect(connect("other", 2)).await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), store.wait_for_change(seen)).await.unwrap();
}
