//! Looking at what runs: how every connection stands, and what happened since the last look.

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
use super::result::{TokenCounts, kept};
use super::run::DemoRun;
use super::scenarios::LIFE;
use crate::command_error::CommandError;

/// How many attempts and connections are read at once: more than happen between two looks, and more than there are.
const PAGE: usize = 100;

/// How long a reply may take from the socket into the store before it counts as lost while the demo runs. At the end
/// there is no such patience.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// One connection, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) condition: Condition,
    /// How much longer the access token lives, where there is one that does.
    pub(super) left: Option<Duration>,
    /// That as a part of its whole life, from 0 to 1.
    pub(super) share: f64,
    /// How long until the keeper acts; zero while it does.
    pub(super) next: Option<Duration>,
    pub(super) generation: u64,
    pub(super) last: Option<Event>,
    pub(super) served: u64,
    pub(super) errors: u64,
}

/// What one look shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) rows: Vec<Row>,
    /// What happened since the look before, oldest first.
    pub(super) news: Vec<Event>,
    pub(super) calls: CallCounts,
    pub(super) tokens: TokenCounts,
}

/// What was seen before.
#[derive(Default)]
pub(super) struct Watcher {
    seen: HashMap<AttemptId, AttemptStatus>,
    last: HashMap<String, Event>,
    /// What happened outside the log.
    told: Vec<Event>,
}

impl Watcher {
    /// Takes note of something that no log says.
    pub(super) fn tell(&mut self, event: Event) {
        self.told.push(event);
    }

    /// Looks once.
    pub(super) async fn look(&mut self, run: &DemoRun) -> Result<Observation, CommandError> {
        let attempts = run.app.vault.attempts(&AttemptFilter::default(), PAGE).await?;
        let statuses = run.app.vault.statuses(None, PAGE).await?;
        let news = self.news(&attempts);
        let now = run.app.host.clock.now();
        let mut observation = Observation { news, ..Observation::default() };
        for (connection, calls) in run.connections.iter().zip(run.callers.calls()) {
            let Some(status) = statuses.iter().find(|status| status.name == connection.name) else {
                continue;
            };
            let last = self.last.get(connection.scenario.name).cloned();
            observation.rows.push(row(status, connection.scenario.about, last, &calls, now));
            let tokens = TokenCounts::of(connection, kept(status.generation.0), now - ON_ITS_WAY);
            observation.tokens = observation.tokens.and(tokens);
            observation.calls = observation.calls.and(calls);
        }
        Ok(observation)
    }

    /// What is new in `attempts`, which begin with the newest.
    fn news(&mut self, attempts: &[Attempt]) -> Vec<Event> {
        let mut news = std::mem::take(&mut self.told);
        for attempt in attempts.iter().rev() {
            if self.seen.insert(attempt.id, attempt.status) == Some(attempt.status) {
                continue;
            }
            news.extend(Event::of(attempt));
        }
        // What has left the page does not come back.
        self.seen.retain(|id, _| attempts.iter().any(|attempt| attempt.id == *id));
        news.sort_by_key(|event| event.at);
        for event in &news {
            self.last.insert(event.connection.clone(), event.clone());
        }
        news
    }
}

fn row(status: &Status, about: &'static str, last: Option<Event>, calls: &CallCounts, now: Timestamp) -> Row {
    let dead = status.condition == Condition::Dead;
    let left = status.expires_at.map(|expiry| expiry.since(now)).filter(|left| !left.is_zero() && !dead);
    Row {
        name: status.name.to_string(),
        about,
        condition: status.condition,
        left,
        share: left.map_or(0.0, |left| (left.as_secs_f64() / LIFE.as_secs_f64()).min(1.0)),
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
