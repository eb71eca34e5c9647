//! Callers that ask any node for any connection's token, and try it at the server's resource.

use std::collections::HashMap;
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

use super::super::given::Given;
use super::Plan;
use super::scene::Scene;
use crate::load::Latencies;

/// Longer than any answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// A token that dies this soon may be dead already: the server counts in whole seconds.
const SOON: Duration = Duration::from_secs(1);

/// An answer that must not be, unless the refresh log explains it.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) connection: String,
    pub(super) wrong: Wrong,
    pub(super) asked_at: Timestamp,
    /// When it came to light.
    pub(super) found_at: Timestamp,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// A token that the resource refused before it was said to die.
    Dead,
    /// A token that was past its own `expires_at` before it was asked for, and no warning said so.
    Past,
    /// This code, though a token lived.
    Error(String),
}

/// What the callers were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Tokens that they were given.
    pub(super) given: u64,
    /// Tokens that the resource accepted.
    pub(super) accepted: u64,
    /// Tokens of which the resource said neither that they live nor that they do not.
    pub(super) untried: u64,
    /// What must not be, unless it is explained.
    pub(super) complaints: Vec<Complaint>,
    /// Anything but a token when none lived.
    pub(super) without_a_token: u64,
    /// No answer, because the node was killed or stopped.
    pub(super) unanswered: u64,
    /// How long answers took of nodes to which nothing was done.
    pub(super) waited: Latencies,
    /// Until when the newest token lives that anybody was given, by connection.
    pub(super) living: HashMap<String, Timestamp>,
}

impl Calls {
    /// A token of `name` was given to a caller who asked at `asked_at`.
    fn take(&mut self, name: &str, given: &Given, asked_at: Timestamp) {
        self.given += 1;
        if given.was_past(asked_at) {
            self.complain(name, Wrong::Past, asked_at, asked_at);
        }
        let living = self.living.entry(name.to_owned()).or_default();
        *living = given.expires_at().max(*living);
    }

    /// At `now` the resource answered the try of that token with `status`.
    fn tried(&mut self, name: &str, given: &Given, asked_at: Timestamp, status: Option<u16>, now: Timestamp) {
        match status {
            Some(200) => self.accepted += 1,
            Some(401) if now + SOON < given.expires_at() => self.complain(name, Wrong::Dead, asked_at, now),
            Some(401) => {}
            _ => self.untried += 1,
        }
    }

    /// At `now` a caller who asked for a token of `name` at `asked_at` was answered `code`.
    fn refused(&mut self, name: &str, code: String, asked_at: Timestamp, now: Timestamp) {
        if self.living.get(name).is_some_and(|expires_at| now + SOON < *expires_at) {
            self.complain(name, Wrong::Error(code), asked_at, now);
        } else {
            self.without_a_token += 1;
        }
    }

    fn complain(&mut self, name: &str, wrong: Wrong, asked_at: Timestamp, found_at: Timestamp) {
        self.complaints.push(Complaint { connection: name.to_owned(), wrong, asked_at, found_at });
    }
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
        let (asked, asked_at) = (Instant::now(), SystemClock.now());
        let reply = client.get(&format!("/api/v1/connections/{name}/token")).await.ok();
        let waited = asked.elapsed();
        let disturbed = before || disturbed.load(Ordering::SeqCst);
        let Some(given) = reply.as_ref().and_then(Given::read) else {
            return self.count_failure(name, disturbed, reply.as_ref(), asked_at);
        };
        self.count(|calls| {
            calls.take(name, &given, asked_at);
            if !disturbed {
                calls.waited.push(waited);
            }
        });
        let status = self.rig.call(given.access_token.reveal()).await.ok();
        self.count(|calls| calls.tried(name, &given, asked_at, status, SystemClock.now()));
    }

    fn count_failure(&self, name: &str, disturbed: bool, reply: Option<&Reply>, asked_at: Timestamp) {
        let said = reply.and_then(|reply| reply.json().ok()).unwrap_or(Value::Null);
        let code = match (reply, said["code"].as_str()) {
            (None, _) => "no answer".to_owned(),
            (Some(_), Some(code)) => code.to_owned(),
            (Some(reply), None) => reply.status.to_string(),
        };
        self.count(|calls| {
            if reply.is_none() && disturbed {
                calls.unanswered += 1;
            } else {
                calls.refused(name, code, asked_at, SystemClock.now());
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

#[cfg(test)]
mod tests {
    use super::super::super::given::tests::{at, token};
    use super::*;

    fn wrongs(change: impl FnOnce(&mut Calls)) -> Vec<Wrong> {
        let mut calls = Calls::default();
        change(&mut calls);
        calls.complaints.into_iter().map(|complaint| complaint.wrong).collect()
    }

    #[test]
    fn a_token_that_was_past_before_it_was_asked_for_is_a_complaint() {
        assert_eq!(wrongs(|calls| calls.take("a", &token(5), at(4))), []);
        assert_eq!(wrongs(|calls| calls.take("a", &token(5), at(5))), [Wrong::Past]);
    }

    #[test]
    fn a_refused_token_is_a_complaint_unless_it_was_about_to_die() {
        let tried = |status, now| wrongs(|calls| calls.tried("a", &token(5), at(1), status, at(now)));
        assert_eq!(tried(Some(401), 3), [Wrong::Dead]);
        assert_eq!(tried(Some(401), 4), []);
        assert_eq!(tried(Some(200), 3), []);
        let mut calls = Calls::default();
        for status in [None, Some(502)] {
            calls.tried("a", &token(5), at(1), status, at(3));
        }
        assert_eq!((calls.untried, calls.complaints.len()), (2, 0));
    }

    #[test]
    fn an_error_is_a_complaint_only_while_a_token_lives() {
        let refused = |now| {
            wrongs(|calls| {
                calls.take("a", &token(5), at(1));
                calls.refused("a", "BUSY".to_owned(), at(2), at(now));
                calls.refused("b", "BUSY".to_owned(), at(2), at(now));
            })
        };
        assert_eq!(refused(3), [Wrong::Error("BUSY".to_owned())]);
        assert_eq!(refused(4), []);
    }
}
