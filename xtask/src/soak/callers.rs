//! Callers that ask for tokens all the time and try what they are given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::{Emulator, SeededEntropy};
use jeton_testkit::{Client, Reply};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::given::Given;
use super::summary::{Calls, Fate};

/// Callers at work; they stop when told to.
pub(super) struct Callers {
    tasks: TaskTracker,
    stop: CancellationToken,
    calls: Arc<Mutex<Calls>>,
}

impl Callers {
    /// Starts `count` callers, each asking any process for any connection.
    pub(super) fn start(
        count: u64,
        seed: u64,
        names: &[String],
        doors: &[Client],
        emulator: &Arc<Emulator>,
    ) -> Self {
        let callers =
            Self { tasks: TaskTracker::new(), stop: CancellationToken::new(), calls: Arc::default() };
        for number in 0..count {
            let caller = Caller {
                random: SeededEntropy::new(seed.wrapping_add(number)),
                names: names.to_vec(),
                doors: doors.iter().map(|door| door.clone().with_deadline(Duration::from_secs(15))).collect(),
                emulator: Arc::clone(emulator),
                calls: Arc::clone(&callers.calls),
            };
            let stop = callers.stop.clone();
            callers.tasks.spawn(async move { stop.run_until_cancelled(caller.ask_on()).await });
        }
        callers.tasks.close();
        callers
    }

    /// Stops them; answers what they were answered.
    pub(super) async fn stop(self) -> Calls {
        self.stop.cancel();
        self.tasks.wait().await;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Caller {
    random: SeededEntropy,
    names: Vec<String>,
    doors: Vec<Client>,
    emulator: Arc<Emulator>,
    calls: Arc<Mutex<Calls>>,
}

impl Caller {
    async fn ask_on(&self) {
        loop {
            let name = self.any(&self.names);
            let asked_at = SystemClock.now();
            let reply = self.any(&self.doors).get(&format!("/api/v1/connections/{name}/token")).await;
            self.count(name, asked_at, reply.ok());
            sleep(Duration::from_millis(self.random.between(1, 40))).await;
        }
    }

    fn any<'a, T>(&self, items: &'a [T]) -> &'a T {
        let count = u64::try_from(items.len()).expect("a few items");
        &items[usize::try_from(self.random.between(0, count)).expect("below the count")]
    }

    fn count(&self, name: &str, asked_at: Timestamp, reply: Option<Reply>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reply) = reply else {
            calls.unanswered += 1;
            return;
        };
        if let Some(given) = Given::read(&reply) {
            let fate = self.fate(given.access_token.reveal());
            return calls.take(name, &given, fate, asked_at, SystemClock.now());
        }
        let said = reply.json().unwrap_or(Value::Null);
        let code = said["code"].as_str().map_or_else(|| reply.status.to_string(), str::to_owned);
        *calls.errors.entry(code).or_default() += 1;
    }

    /// What the provider says of a token.
    fn fate(&self, access_token: &str) -> Fate {
        if self.emulator.accepts(access_token) {
            Fate::Good
        } else if self.emulator.died_with_grant(access_token) {
            Fate::Killed
        } else {
            Fate::Dead
        }
    }
}
