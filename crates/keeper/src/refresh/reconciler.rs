//! Keeping everything alive by itself.
//!
//! The reconciler takes no input: it reads what is due, starts refreshes, and sleeps until the next is due or something
//! changes. It need not remember what it has started: the next round tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::plan::Goal;
use jeton_core::keep::ports::{Due, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::run::{RefreshRequest, Refresher};
use crate::background::{Run, Step};
use crate::error::TokenError;
use crate::outbound::limiter::EndpointLimiter;

/// How far ahead due connections are looked up.
const HORIZON: Duration = Duration::from_mins(1);

/// The longest sleep: whatever was missed is noticed then.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The shortest sleep, so that a connection that cannot be helped does not keep a core busy.
const SHORTEST_SLEEP: Duration = Duration::from_millis(20);

/// How many due connections are looked at in one page.
const PAGE: usize = 256;

/// How many automatic refreshes are under way at once.
const MAX_REFRESHES: usize = 1024;

/// How long a connection whose automatic refresh ended without a new due time is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How long a connection is left alone for which no attempt could be made.
const UNUSABLE_RETRY: Duration = Duration::from_secs(10);

/// A refresh that ended: its connection, and how long to leave that alone.
type FinishedRefresh = (ConnectionName, Duration);

/// Refreshes what is due.
pub(crate) struct Reconciler {
    parts: Arc<Refresher>,
    busy: HashMap<ConnectionName, Busy>,
    running: usize,
    /// By the index of its limiter.
    endpoints: Vec<EndpointWork>,
    /// What was failing at the start is known.
    loaded: bool,
    ended: mpsc::UnboundedSender<FinishedRefresh>,
    endings: mpsc::UnboundedReceiver<FinishedRefresh>,
}

/// Why no refresh of a connection is started.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// One is under way.
    UnderWay {
        /// The limiter that its request goes through.
        limiter: usize,
        /// Its last request got no answer.
        down: bool,
    },
    /// It is left alone until then.
    Until(Instant),
}

/// What is under way at a token endpoint.
#[derive(Debug, Default)]
struct EndpointWork {
    running: usize,
    running_down: usize,
    /// How often what failed had been given a new chance when that was last looked at.
    returns: u64,
    /// What failed or was interrupted before it came back, or before this process began, and need not wait any longer.
    released: Vec<ConnectionName>,
}

impl Step for Reconciler {
    async fn run(&mut self) -> Run {
        self.collect();
        self.start_waiting();
        match self.start_due().await {
            Ok(sleep) => Run::done(sleep),
            Err(error) => Run::failed(RETRY, &error),
        }
    }

    async fn woken(&mut self) {
        tokio::select! {
            Some(ending) = self.endings.recv() => self.end(ending),
            // What changes together is read together.
            () = self.parts.memory.changed.notified() => sleep(SHORTEST_SLEEP).await,
        }
    }
}

impl Reconciler {
    pub(crate) fn new(parts: Arc<Refresher>) -> Self {
        let (ended, endings) = mpsc::unbounded_channel();
        let endpoints = parts.definitions.limiters().iter().map(|_| EndpointWork::default()).collect();
        Self { parts, busy: HashMap::new(), running: 0, endpoints, loaded: false, ended, endings }
    }

    fn collect(&mut self) {
        while let Ok(ending) = self.endings.try_recv() {
            self.end(ending);
        }
        let now = Instant::now();
        self.busy.retain(|_, busy| !matches!(busy, Busy::Until(until) if *until <= now));
    }

    fn end(&mut self, (name, pause): FinishedRefresh) {
        self.running -= 1;
        let until = Busy::Until(Instant::now() + pause);
        if let Some(Busy::UnderWay { limiter, down }) = self.busy.insert(name.clone(), until) {
            self.endpoints[limiter].running -= 1;
            self.endpoints[limiter].running_down -= usize::from(down);
        }
        if pause.is_zero() {
            self.busy.remove(&name);
        }
    }

    /// Starts what the store does not call due, because its pauses have grown: the trial of an endpoint that is down or that
    /// this process has not tried, and what waited for one that has come back.
    fn start_waiting(&mut self) {
        let parts = Arc::clone(&self.parts);
        let first = !self.loaded && parts.memory.loaded.initialized();
        self.loaded |= first;
        for limiter in parts.definitions.limiters() {
            let returns = limiter.returns();
            if first || self.endpoints[limiter.index].returns != returns {
                self.release(limiter, returns);
            }
            let work = &mut self.endpoints[limiter.index];
            let mut waiting = limiter.down();
            waiting.extend(std::mem::take(&mut work.released));
            let idle = work.running == 0;
            waiting.sort();
            waiting.dedup();
            waiting.retain(|name| self.is_failing(name));
            let may_try = |name: &&ConnectionName| !limiter.is_down(name) || limiter.may_retry_early(name);
            if limiter.outage().is_some() {
                self.begin_one_of(limiter, waiting.iter().filter(|name| limiter.may_retry_early(name)));
            } else if limiter.is_untried() {
                // Unless something is due there anyway, one that failed finds out whether the endpoint is back.
                if idle {
                    self.begin_one_of(limiter, waiting.iter().filter(may_try));
                }
                self.endpoints[limiter.index].released = waiting;
            } else {
                for name in waiting.iter().filter(may_try) {
                    self.begin(name, true);
                }
                waiting.retain(|name| !limiter.is_down(name));
                self.endpoints[limiter.index].released = waiting;
            }
        }
    }

    /// The connections of an endpoint that has come back so often, and whose last attempts failed, need not wait any longer.
    fn release(&mut self, limiter: &EndpointLimiter, returns: u64) {
        let released: Vec<_> =
            limiter.connections().iter().filter(|name| self.is_failing(name)).cloned().collect();
        for name in &released {
            if let Some(Busy::Until(_)) = self.busy.get(name) {
                self.busy.remove(name);
            }
        }
        let work = &mut self.endpoints[limiter.index];
        (work.returns, work.released) = (returns, released);
    }

    /// Begins the one of `waiting` that was due first, because it has waited longest, among those that nothing else holds up.
    fn begin_one_of<'a>(
        &mut self,
        limiter: &EndpointLimiter,
        waiting: impl Iterator<Item = &'a ConnectionName>,
    ) {
        let now = self.parts.node.clock.now();
        let known = |name: &ConnectionName| self.parts.memory.known(name);
        // The cool-down of a request that got no answer is skipped by who made it, and by no other process.
        let cools = |name: &ConnectionName| {
            !limiter.is_down(name)
                && known(name).and_then(|known| known.row.cooling_until).is_some_and(|until| now < until)
        };
        let free = waiting.filter(|name| !self.busy.contains_key(*name) && !cools(name));
        let first = free.min_by_key(|name| known(name).and_then(|known| known.row.due_at)).cloned();
        if let Some(name) = first {
            self.begin(&name, true);
        }
    }

    /// Whether the last attempt of a connection failed, or its outcome is not known.
    fn is_failing(&self, name: &ConnectionName) -> bool {
        self.parts.memory.known(name).is_some_and(|known| {
            let row = &known.row;
            !row.paused && row.state == GrantState::Live && (row.failures > 0 || row.open_attempt.is_some())
        })
    }

    /// Begins what is due; answers how long to sleep.
    async fn start_due(&mut self) -> Result<Duration, StoreError> {
        let mut after: Option<Due> = None;
        loop {
            let asked = self.parts.node.clock.uptime();
            let (now, page) = self.parts.store.ports.connections.due(HORIZON, after.as_ref(), PAGE).await?;
            self.parts.node.clock.learn(now, asked);
            let full = page.len() == PAGE;
            for due in page {
                if due.due_at > now {
                    let rest = due.due_at.since(now).min(self.shortest_rest());
                    return Ok(rest.clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
                }
                if self.running >= MAX_REFRESHES {
                    return Ok(LONGEST_SLEEP);
                }
                self.begin(&due.connection, false);
                after = Some(due);
            }
            if !full {
                return Ok(self.shortest_rest().clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
            }
        }
    }

    /// How long until the first of those that are left alone is to be looked at again, or the next trial of an endpoint that is
    /// down is due.
    fn shortest_rest(&self) -> Duration {
        let now = Instant::now();
        let left_alone = self.busy.values().filter_map(|busy| match busy {
            Busy::Until(until) => Some(until.saturating_duration_since(now)),
            Busy::UnderWay { .. } => None,
        });
        let trials = self
            .parts
            .definitions
            .limiters()
            .iter()
            .filter_map(|limiter| limiter.outage().map(|down| down.retry_after.max(limiter.step())));
        left_alone.chain(trials).min().unwrap_or(LONGEST_SLEEP)
    }

    /// Starts a refresh of a connection that is defined here and not under way or left alone, if its token endpoint has room for
    /// it: what may hang leaves room for what does not. One that is `early` need not wait for pauses that have grown.
    fn begin(&mut self, name: &ConnectionName, early: bool) {
        let Some(def) = self.parts.definitions.find(name.as_str()) else { return };
        let (limiter, down) = (&def.limiter, def.limiter.is_down(name));
        let work = &mut self.endpoints[limiter.index];
        let (most, most_down) = limiter.concurrency();
        if self.parts.store.hold().is_some()
            || self.busy.contains_key(name)
            || work.running >= most
            || (down && work.running_down >= most_down)
            || !limiter.may_start(name)
        {
            return;
        }
        work.running += 1;
        work.running_down += usize::from(down);
        self.busy.insert(name.clone(), Busy::UnderWay { limiter: limiter.index, down });
        self.running += 1;
        let request = RefreshRequest { early, ..RefreshRequest::new(Goal::NotDue, Trigger::Automatic, None) };
        let follower = self.parts.start(def, &request).follower;
        let (ended, name, now) = (self.ended.clone(), name.clone(), self.parts.node.clock.now());
        self.parts.lifecycle.attempts.spawn(async move {
            let pause = match follower.outcome().await {
                Some(Ok(())) => Duration::ZERO,
                Some(Err(TokenError::Interrupted { until: Some(until), .. })) => {
                    until.since(now).clamp(RETRY, LONGEST_SLEEP)
                }
                Some(Err(error)) => left_alone_for(&name, &error),
                None => RETRY,
            };
            // Nobody listens once the reconciler has ended; then nothing needs to be remembered.
            let _ = ended.send((name, pause));
        });
    }
}

/// How long a connection is left alone whose automatic refresh ended in `error`. What an attempt ran into is told by
/// the attempt; what kept it from being made is told here.
fn left_alone_for(name: &ConnectionName, error: &TokenError) -> Duration {
    match error {
        TokenError::Definition { .. }
        | TokenError::GrantUnusable { .. }
        | TokenError::Store { .. }
        | TokenError::Busy { .. } => {
            tracing::warn!(connection = %name, %error, "no attempt could be made");
            UNUSABLE_RETRY
        }
        // The limiter knows when it is worth another look.
        TokenError::ProviderUnavailable { .. } => Duration::ZERO,
        // Only a person can help, and what the person does changes the row.
        TokenError::Interrupted { until: None, .. } => LONGEST_SLEEP,
        // The row says when it is due again; a person may change that at any moment.
        error => error.retry_after().unwrap_or(RETRY).clamp(RETRY, LONGEST_SLEEP),
    }
}
