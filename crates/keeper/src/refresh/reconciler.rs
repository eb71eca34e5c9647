//! Keeping everything alive by itself.
//!
//! The reconciler takes no input: it reads what is due, starts refreshes, and sleeps until the next is due or something
//! changes. It need not remember what it has started: the next round tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::plan::Goal;
use jeton_core::keep::ports::{Due, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::run::{RefreshRequest, Refresher};
use crate::background::{Run, Step};
use crate::error::TokenError;

/// How far ahead due connections are looked up.
const HORIZON: Duration = Duration::from_mins(1);

/// The longest sleep: whatever was missed is noticed then.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The shortest sleep, so that a connection that cannot be helped does not keep a core busy.
const SHORTEST_SLEEP: Duration = Duration::from_millis(20);

/// How many due connections are looked at in one page.
const PAGE: usize = 256;

/// How many automatic refreshes are under way at once.
const MAX_REFRESHES: usize = 256;

/// How long a connection whose automatic refresh ended without a new due time is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How long a connection is left alone for which no attempt could be made.
const UNUSABLE_RETRY: Duration = Duration::from_secs(10);

/// A refresh that ended: its connection, and how long to leave that alone.
type FinishedRefresh = (ConnectionName, Duration);

/// Refreshes what is due.
pub(crate) struct Reconciler {
    parts: Arc<Refresher>,
    /// Connections that are under way (no instant) or left alone until an instant.
    busy: HashMap<ConnectionName, Option<Instant>>,
    running: usize,
    ended: mpsc::UnboundedSender<FinishedRefresh>,
    endings: mpsc::UnboundedReceiver<FinishedRefresh>,
}

impl Step for Reconciler {
    async fn run(&mut self) -> Run {
        self.collect();
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
        Self { parts, busy: HashMap::new(), running: 0, ended, endings }
    }

    fn collect(&mut self) {
        while let Ok(ending) = self.endings.try_recv() {
            self.end(ending);
        }
        let now = Instant::now();
        self.busy.retain(|_, until| until.is_none_or(|until| until > now));
    }

    fn end(&mut self, (name, pause): FinishedRefresh) {
        self.running -= 1;
        if pause.is_zero() {
            self.busy.remove(&name);
        } else {
            self.busy.insert(name, Some(Instant::now() + pause));
        }
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
                self.begin(&due.connection);
                after = Some(due);
            }
            if !full {
                return Ok(self.shortest_rest().clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
            }
        }
    }

    /// How long until the first of those that are left alone is to be looked at again.
    fn shortest_rest(&self) -> Duration {
        let first = self.busy.values().flatten().min();
        first.map_or(LONGEST_SLEEP, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Starts a refresh of a connection that is defined here and not under way or left alone.
    fn begin(&mut self, name: &ConnectionName) {
        let Some(def) = self.parts.definitions.find(name.as_str()) else { return };
        if self.parts.store.hold().is_some()
            || self.busy.contains_key(name)
            || def.permits.available_permits() == 0
        {
            return;
        }
        self.busy.insert(name.clone(), None);
        self.running += 1;
        let request = RefreshRequest::new(Goal::NotDue, Trigger::Automatic);
        let follower = self.parts.start(def, request).follower;
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
        // Only a person can help, and what the person does changes the row.
        TokenError::Interrupted { until: None, .. } => LONGEST_SLEEP,
        // The row says when it is due again; a person may change that at any moment.
        error => error.retry_after().unwrap_or(RETRY).clamp(RETRY, LONGEST_SLEEP),
    }
}
