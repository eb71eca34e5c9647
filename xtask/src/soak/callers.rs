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

use super::summary::Calls;

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
            let reply = self.any(&self.doors).get(&format!("/api/v1/connections/{name}/token")).await;
            self.count(name, reply.ok());
            sleep(Duration::from_millis(self.random.between(1, 40))).await;
        }
    }

    fn any<'a, T>(&self, items: &'a [T]) -> &'a T {
        let count = u64::try_from(items.len()).expect("a few items");
        &items[usize::try_from(self.random.between(0, count)).expect("below the count")]
    }

    fn count(&self, name: &str, reply: Option<Reply>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reply) = reply else {
            calls.unanswered += 1;
            return;
        };
        let said = reply.json().unwrap_or(Value::Null);
        match said["access_token"].as_str().filter(|_| reply.status == 200) {
            Some(token) if self.emulator.accepts(token) || is_expired(&said) => calls.good += 1,
            // Nobody can know that a grant was killed before trying.
            Some(token) if self.emulator.died_with_grant(token) => calls.killed += 1,
            Some(_) => {
                calls.dead += 1;
                let said = |member: &str| said[member].to_string();
                let example = format!(
                    "{name}, generation {}, expires_at {}, fingerprint {}, at {}",
                    said("generation"),
                    said("expires_at"),
                    said("fingerprint"),
                    SystemClock.now()
                );
                calls.first_dead.get_or_insert(example);
            }
            None => {
                let code = said["code"].as_str().map_or_else(|| reply.status.to_string(), str::to_owned);
                *calls.errors.entry(code).or_default() += 1;
            }
        }
    }
}

/// Whether the token has died of age between the answer and the try.
fn is_expired(said: &Value) -> bool {
    let expires_at = said["expires_at"].as_str().and_then(Timestamp::parse_rfc3339);
    expires_at.is_some_and(|expires_at| expires_at <= SystemClock.now())
}
