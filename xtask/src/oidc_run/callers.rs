//! Callers that ask any node for any connection's token, and use it at the server's resource.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::SeededEntropy;
use jeton_testkit::{OidcRig, Reply};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::nodes::{NodeAccess, Nodes};
use crate::callers::{Callers, any};
use crate::latency::Latencies;
use crate::token_reply::{TokenReply, error_code};

/// Longer than any answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// A token that dies this soon may be dead already: the server counts in whole seconds.
const SOON: Duration = Duration::from_secs(1);

/// What the callers do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerPlan {
    pub(crate) seed: u64,
    pub(crate) callers: u16,
    /// How long a caller waits between two calls: between so many milliseconds.
    pub(crate) pause_ms: (u64, u64),
    pub(crate) connections: u16,
    /// How long an access token lives.
    pub(crate) life: Duration,
}

/// An answer that must not be, unless the refresh log explains it.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) connection: String,
    pub(super) wrong: Wrong,
    pub(super) asked_at: Timestamp,
    /// When the caller learned it.
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
    /// Tokens that they received.
    pub(super) received: u64,
    /// Tokens that the resource accepted.
    pub(super) accepted: u64,
    /// Tokens that the resource neither accepted nor refused.
    pub(super) unverified: u64,
    /// What must not be, unless it is explained.
    pub(super) complaints: Vec<Complaint>,
    /// Anything but a token when none lived.
    pub(super) without_a_token: u64,
    /// No answer, because the node was killed or stopped.
    pub(super) unanswered: u64,
    /// Times that a caller received an older token than before. Another node may be behind; the same node must not be.
    pub(super) went_back: u64,
    /// How long answers took of nodes to which nothing was done.
    pub(super) waited: Latencies,
    /// Until when the newest token lives that any caller received, by connection.
    pub(super) living: HashMap<String, Timestamp>,
}

impl Calls {
    /// A caller who asked at `asked_at` received a token of `name`.
    fn receive(&mut self, name: &str, token: &TokenReply, asked_at: Timestamp) {
        self.received += 1;
        if token.was_past(asked_at) {
            self.complain(name, Wrong::Past, asked_at, asked_at);
        }
        let living = self.living.entry(name.to_owned()).or_default();
        *living = token.expires_at().max(*living);
    }

    /// At `now` the resource answered a call with that token with `status`.
    fn count_use(
        &mut self,
        name: &str,
        token: &TokenReply,
        asked_at: Timestamp,
        status: Option<u16>,
        now: Timestamp,
    ) {
        match status {
            Some(200) => self.accepted += 1,
            Some(401) if now + SOON < token.expires_at() => self.complain(name, Wrong::Dead, asked_at, now),
            Some(401) => {}
            _ => self.unverified += 1,
        }
    }

    /// At `now` a caller who asked for a token of `name` at `asked_at` was answered `code`.
    fn count_error(&mut self, name: &str, code: String, asked_at: Timestamp, now: Timestamp) {
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

/// Starts the callers.
pub(super) fn start(plan: CallerPlan, nodes: &Nodes) -> Callers<Calls> {
    Callers::start(plan.callers.into(), plan.seed, |random, calls| {
        let (names, nodes, rig) = (nodes.names.clone(), nodes.access(), Arc::clone(&nodes.rig));
        let mut caller = OidcCaller { random, names, nodes, rig, calls, newest: HashMap::new() };
        async move {
            loop {
                caller.call().await;
                sleep(Duration::from_millis(caller.random.between(plan.pause_ms.0, plan.pause_ms.1))).await;
            }
        }
    })
}

struct OidcCaller {
    random: SeededEntropy,
    names: Vec<String>,
    nodes: Vec<NodeAccess>,
    rig: Arc<OidcRig>,
    calls: Arc<Mutex<Calls>>,
    /// The newest generation of each connection that this caller received.
    newest: HashMap<String, u64>,
}

impl OidcCaller {
    async fn call(&mut self) {
        let name = any(&self.random, &self.names).clone();
        let NodeAccess { client, disturbed } = any(&self.random, &self.nodes);
        let client = client.lock().clone().with_deadline(DEADLINE);
        let before = disturbed.load(Ordering::SeqCst);
        let (asked, asked_at) = (Instant::now(), SystemClock.now());
        let reply = client.get(&format!("/api/v1/connections/{name}/token")).await.ok();
        let waited = asked.elapsed();
        let disturbed = before || disturbed.load(Ordering::SeqCst);
        let Some(token) = reply.as_ref().and_then(TokenReply::read) else {
            return self.count_failure(&name, disturbed, reply.as_ref(), asked_at);
        };
        let newest = self.newest.entry(name.clone()).or_default();
        let went_back = token.generation < *newest;
        *newest = token.generation.max(*newest);
        {
            let mut calls = self.calls.lock();
            calls.receive(&name, &token, asked_at);
            calls.went_back += u64::from(went_back);
            if !disturbed {
                calls.waited.push(waited);
            }
        }
        let status = self.rig.call(token.access_token.reveal()).await.ok();
        self.calls.lock().count_use(&name, &token, asked_at, status, SystemClock.now());
    }

    fn count_failure(&self, name: &str, disturbed: bool, reply: Option<&Reply>, asked_at: Timestamp) {
        let mut calls = self.calls.lock();
        match reply {
            None if disturbed => calls.unanswered += 1,
            None => calls.count_error(name, "no answer".to_owned(), asked_at, SystemClock.now()),
            Some(reply) => calls.count_error(name, error_code(reply), asked_at, SystemClock.now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token_reply::tests::{at, token};

    fn wrongs(change: impl FnOnce(&mut Calls)) -> Vec<Wrong> {
        let mut calls = Calls::default();
        change(&mut calls);
        calls.complaints.into_iter().map(|complaint| complaint.wrong).collect()
    }

    #[test]
    fn a_token_that_was_past_before_it_was_asked_for_is_a_complaint() {
        assert_eq!(wrongs(|calls| calls.receive("a", &token(5), at(4))), []);
        assert_eq!(wrongs(|calls| calls.receive("a", &token(5), at(5))), [Wrong::Past]);
    }

    #[test]
    fn a_refused_token_is_a_complaint_unless_it_was_about_to_expire() {
        let used = |status, now| wrongs(|calls| calls.count_use("a", &token(5), at(1), status, at(now)));
        assert_eq!(used(Some(401), 3), [Wrong::Dead]);
        assert_eq!(used(Some(401), 4), []);
        assert_eq!(used(Some(200), 3), []);
        let mut calls = Calls::default();
        for status in [None, Some(502)] {
            calls.count_use("a", &token(5), at(1), status, at(3));
        }
        assert_eq!((calls.unverified, calls.complaints.len()), (2, 0));
    }

    #[test]
    fn an_error_is_a_complaint_only_while_a_token_lives() {
        let answered = |now| {
            wrongs(|calls| {
                calls.receive("a", &token(5), at(1));
                calls.count_error("a", "BUSY".to_owned(), at(2), at(now));
                calls.count_error("b", "BUSY".to_owned(), at(2), at(now));
            })
        };
        assert_eq!(answered(3), [Wrong::Error("BUSY".to_owned())]);
        assert_eq!(answered(4), []);
    }
}
