//! Observes the demo: the state of every connection, and what has happened since the last observation.

use std::collections::HashMap;
use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::Condition;
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::time::Timestamp;
use jeton_keeper::Status;

use super::callers::CallCounts;
use super::events::Event;
use super::result::{TokenCounts, stored_sets};
use super::run::DemoRun;
use super::scenarios::TOKEN_LIFE;
use crate::command_error::CommandError;

/// How many attempts and connections are read at once: more than happen between two observations, and more than there are.
const PAGE: usize = 100;

/// How long a reply may take from the socket to the store before it counts as lost while the demo runs.
const STORE_DELAY: Duration = Duration::from_secs(5);

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ConnectionRow {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) condition: Condition,
    /// How long the access token still lives, if there is one.
    pub(super) left: Option<Duration>,
    /// The same as a share of its whole life, from 0 to 1.
    pub(super) share: f64,
    /// How long until the next refresh; zero while one runs.
    pub(super) next: Option<Duration>,
    pub(super) generation: u64,
    pub(super) last: Option<Event>,
    pub(super) served: u64,
    pub(super) errors: u64,
}

/// What one observation shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) rows: Vec<ConnectionRow>,
    /// The events since the observation before, oldest first.
    pub(super) new_events: Vec<Event>,
    pub(super) calls: CallCounts,
    pub(super) tokens: TokenCounts,
}

/// What was observed before.
#[derive(Default)]
pub(super) struct Watcher {
    seen: HashMap<AttemptId, AttemptStatus>,
    last: HashMap<String, Event>,
    /// Events that are not in the refresh log.
    unlogged: Vec<Event>,
}

impl Watcher {
    /// Adds an event that is not in the refresh log.
    pub(super) fn add(&mut self, event: Event) {
        self.unlogged.push(event);
    }

    pub(super) async fn observe(&mut self, run: &DemoRun) -> Result<Observation, CommandError> {
        let attempts = run.app.vault.attempts(&AttemptFilter::default(), PAGE).await?;
        let statuses = run.app.vault.statuses(None, PAGE).await?;
        let new_events = self.new_events(&attempts);
        let now = run.app.host.clock.now();
        let mut observation = Observation { new_events, ..Observation::default() };
        for (connection, calls) in run.connections.iter().zip(run.callers.counts()) {
            let Some(status) = statuses.iter().find(|status| status.name == connection.name) else {
                continue;
            };
            let last = self.last.get(connection.scenario.name).cloned();
            observation.rows.push(row(status, connection.scenario.about, last, &calls, now));
            let tokens = TokenCounts::of(connection, stored_sets(status.generation.0), now - STORE_DELAY);
            observation.tokens = observation.tokens.plus(tokens);
            observation.calls = observation.calls.plus(calls);
        }
        Ok(observation)
    }

    /// The events of new or changed attempts; `attempts` has the newest first.
    fn new_events(&mut self, attempts: &[Attempt]) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.unlogged);
        for attempt in attempts.iter().rev() {
            if self.seen.insert(attempt.id, attempt.status) == Some(attempt.status) {
                continue;
            }
            events.extend(Event::of(attempt));
        }
        // An attempt that has left the page does not return.
        self.seen.retain(|id, _| attempts.iter().any(|attempt| attempt.id == *id));
        events.sort_by_key(|event| event.at);
        for event in &events {
            self.last.insert(event.connection.clone(), event.clone());
        }
        events
    }
}

fn row(
    status: &Status,
    about: &'static str,
    last: Option<Event>,
    calls: &CallCounts,
    now: Timestamp,
) -> ConnectionRow {
    let dead = status.condition == Condition::Dead;
    let left = status.expires_at.map(|expiry| expiry.since(now)).filter(|left| !left.is_zero() && !dead);
    ConnectionRow {
        name: status.name.to_string(),
        about,
        condition: status.condition,
        left,
        share: left.map_or(0.0, |left| (left.as_secs_f64() / TOKEN_LIFE.as_secs_f64()).min(1.0)),
        next: match status.condition {
            Condition::Refreshing => Some(Duration::ZERO),
            _ => status.due_at.map(|due| due.since(now)),
        },
        generation: status.generation.0,
        last,
        served: calls.served,
        errors: calls.errors,
    }
}
