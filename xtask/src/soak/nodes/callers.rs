//! Callers that ask any node for any connection's token, and try it at the server's resource.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::SeededEntropy;
use jeton_testkit::{Client, OidcRig, Reply};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Plan;
use super::scene::Scene;
use crate::load::Latencies;

/// Longer than any answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// A token that dies this soon may have died when the answer was made.
const SOON: Duration = Duration::from_secs(1);
/// Every so many tokens are tried: the server that others wrote is slower than jeton.
const TRIED: u64 = 4;

/// What the callers were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Tokens that they were given.
    pub(super) given: u64,
    /// Tokens that the resource accepted.
    pub(super) accepted: u64,
    /// Tokens that the resource refused before they were said to die, by connection.
    pub(super) dead: BTreeMap<String, u64>,
    /// Anything but a token though one lived, by connection and code.
    pub(super) errors: BTreeMap<(String, String), u64>,
    /// Anything but a token when none lived.
    pub(super) without_a_token: u64,
    /// No answer, because the node was killed or stopped.
    pub(super) unanswered: u64,
    /// How long answers took of nodes to which nothing was done.
    pub(super) waited: Latencies,
    /// Until when the newest token lives that anybody was given, by connection.
    pub(super) living: HashMap<String, Timestamp>,
}

/// Callers at work; they stop when told to.
pub(super) struct Callers {
    tasks: TaskTracker,
    stop: CancellationToken,
    calls: Arc<Mutex<Calls>>,
}

impl Callers {
    pub(super) fn start(plan: Plan, scene: &Scene) -> Self {
        let callers =
            Self { tasks: TaskTracker::new(), stop: CancellationToken::new(), calls: Arc::default() };
        let doors: Vec<_> =
            scene.nodes.iter().map(|node| (Arc::clone(&node.client), Arc::clone(&node.disturbed))).collect();
        for number in 0..u64::from(plan.callers) {
            let caller = Caller {
                random: SeededEntropy::new(plan.seed.wrapping_add(number)),
                names: scene.names.clone(),
                doors: doors.clone(),
                rig: Arc::clone(&scene.rig),
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

type Door = (Arc<Mutex<Client>>, Arc<AtomicBool>);

struct Caller {
    random: SeededEntropy,
    names: Vec<String>,
    doors: Vec<Door>,
    rig: Arc<OidcRig>,
    calls: Arc<Mutex<Calls>>,
}

impl Caller {
    async fn ask_on(&self) {
        loop {
            self.ask().await;
            sleep(Duration::from_millis(self.random.between(200, 800))).await;
        }
    }

    async fn ask(&self) {
        let name = self.any(&self.names);
        let (client, disturbed) = self.any(&self.doors);
        let client = client.lock().unwrap_or_else(PoisonError::into_inner).clone().with_deadline(DEADLINE);
        let before = disturbed.load(Ordering::SeqCst);
        let asked = Instant::now();
        let reply = client.get(&format!("/api/v1/connections/{name}/token")).await;
        let waited = asked.elapsed();
        let disturbed = before || disturbed.load(Ordering::SeqCst);
        let said = reply.as_ref().ok().and_then(|reply| reply.json().ok()).unwrap_or(Value::Null);
        let token =
            said["access_token"].as_str().filter(|_| reply.as_ref().is_ok_and(|reply| reply.status == 200));
        let Some(token) = token else {
            return self.count_failure(name, disturbed, reply.ok().as_ref(), &said);
        };
        let expires_at = said["expires_at"].as_str().and_then(Timestamp::parse_rfc3339).unwrap_or_default();
        let is_tried = self.count(|calls| {
            calls.given += 1;
            if !disturbed {
                calls.waited.push(waited);
            }
            let living = calls.living.entry(name.clone()).or_default();
            *living = expires_at.max(*living);
            calls.given.is_multiple_of(TRIED)
        });
        if is_tried {
            let answer = self.rig.call(token).await;
            let now = SystemClock.now();
            self.count(|calls| match answer {
                Ok(200) => calls.accepted += 1,
                // The server counts in whole seconds.
                Ok(401) if now + SOON < expires_at => *calls.dead.entry(name.clone()).or_default() += 1,
                _ => {}
            });
        }
    }

    fn count_failure(&self, name: &str, disturbed: bool, reply: Option<&Reply>, said: &Value) {
        let code = match (reply, said["code"].as_str()) {
            (None, _) => "no answer".to_owned(),
            (Some(_), Some(code)) => code.to_owned(),
            (Some(reply), None) => reply.status.to_string(),
        };
        let now = SystemClock.now();
        self.count(|calls| {
            if reply.is_none() && disturbed {
                calls.unanswered += 1;
            } else if calls.living.get(name).is_some_and(|expires_at| now + SOON < *expires_at) {
                *calls.errors.entry((name.to_owned(), code)).or_default() += 1;
            } else {
                calls.without_a_token += 1;
            }
        });
    }

    fn any<'a, T>(&self, items: &'a [T]) -> &'a T {
        let count = u64::try_from(items.len()).expect("a few items");
        &items[usize::try_from(self.random.between(0, count)).expect("below the count")]
    }

    fn count<T>(&self, change: impl FnOnce(&mut Calls) -> T) -> T {
        change(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
