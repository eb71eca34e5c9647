//! The state of the demo: every connection, what happened to it, and what became of every token.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::Condition;
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::time::Timestamp;
use jeton_emulator::{RequestOutcome, RequestRecord};
use serde::Serialize;

use super::events::Event;
use super::providers::{CallCounts, DemoConnection};
use super::run::DemoRun;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// How many attempts and connections are read at once: more than happen between two observations, and more than there are.
const PAGE: usize = 100;

/// How many events are kept to be shown: more than a screen has lines.
const MAX_EVENTS: usize = 200;

/// How long a reply may take from the socket to the store before it counts as lost while the demo runs.
const STORE_DELAY: Duration = Duration::from_secs(5);

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct ConnectionRow {
    pub(super) name: String,
    pub(super) about: &'static str,
    pub(super) condition: Condition,
    /// How long the access token still lives, if there is one.
    pub(super) left: Option<Duration>,
    /// How long until the next refresh; zero while one runs.
    pub(super) next: Option<Duration>,
    pub(super) generation: u64,
    pub(super) last: Option<Event>,
    pub(super) served: u64,
    pub(super) errors: u64,
}

/// Counts of token requests.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct TokenCounts {
    /// Requests that reached a token endpoint, with those that were rejected before any token was spent.
    #[serde(rename = "spends")]
    pub(super) requests: u64,
    /// Those that were answered with a token set.
    pub(super) accepted: u64,
    /// Replies with a token set that a provider lost on purpose.
    pub(super) lost_upstream: u64,
    /// Token sets that reached this machine and are not in the store.
    pub(super) lost: u64,
}

impl TokenCounts {
    /// Adds a connection with `stored` token sets in the store, of those that had arrived by `by`.
    fn add(&mut self, connection: &DemoConnection, stored: u64, by: Timestamp) {
        let stats = connection.emulator.stats();
        self.requests += stats.requests;
        self.accepted += stats.accepted;
        self.lost_upstream += stats.lost;
        self.lost += count_arrived(&connection.emulator.records(), by).saturating_sub(stored);
    }
}

/// How many different token sets were sent in whole. A replay inside the grace repeats one.
fn count_arrived(records: &[RequestRecord], by: Timestamp) -> u64 {
    let whole = records.iter().filter(|record| {
        matches!(record.outcome, RequestOutcome::Rotated | RequestOutcome::Replayed)
            && record.reply_written
            && record.finished_at.is_some_and(|at| at <= by)
    });
    let sets: BTreeSet<_> = whole.map(|record| (record.grant, record.generation)).collect();
    u64::try_from(sets.len()).unwrap_or(u64::MAX)
}

/// What was observed so far.
#[derive(Default)]
pub(super) struct DemoState {
    pub(super) elapsed: Duration,
    /// Whether the demo ends: nothing is requested any more.
    pub(super) ending: bool,
    pub(super) rows: Vec<ConnectionRow>,
    /// The last events, the newest last.
    pub(super) events: VecDeque<Event>,
    pub(super) calls: CallCounts,
    pub(super) tokens: TokenCounts,
    pub(super) seen: HashMap<AttemptId, AttemptStatus>,
    pub(super) last: HashMap<String, Event>,
}

impl DemoState {
    /// Observes the demo. Returns the events since the last observation, oldest first; `unlogged` is one that is not in the
    /// refresh log.
    pub(super) async fn observe(
        &mut self,
        run: &DemoRun,
        unlogged: Option<Event>,
    ) -> Result<Vec<Event>, CommandError> {
        let attempts = run.app.vault.attempts(&AttemptFilter::default(), PAGE).await?;
        let statuses = run.app.vault.statuses(None, PAGE).await?;
        let new_events = self.add_events(&attempts, unlogged);
        let now = run.app.host.clock.now();
        let arrived_by = if self.ending { now } else { now - STORE_DELAY };
        self.elapsed = run.elapsed();
        self.rows.clear();
        (self.calls, self.tokens) = (CallCounts::default(), TokenCounts::default());
        for connection in &run.connections {
            let Some(status) =
                statuses.iter().find(|status| status.name.as_str() == connection.scenario.name)
            else {
                continue;
            };
            let calls = connection.calls.lock().clone();
            let generation = status.generation.0;
            let left = status.expires_at.map(|expiry| expiry.since(now));
            self.rows.push(ConnectionRow {
                name: status.name.to_string(),
                about: connection.scenario.about,
                condition: status.condition,
                left: left.filter(|left| !left.is_zero() && status.condition != Condition::Dead),
                next: match status.condition {
                    Condition::Refreshing => Some(Duration::ZERO),
                    _ => status.due_at.map(|due| due.since(now)),
                },
                generation,
                last: self.last.get(connection.scenario.name).cloned(),
                served: calls.served,
                errors: calls.errors,
            });
            self.calls.add(&calls);
            // The first generation is the grant that the connection was connected with, not a token set of its provider.
            self.tokens.add(connection, generation.saturating_sub(1), arrived_by);
        }
        Ok(new_events)
    }

    /// Adds the events of new or changed attempts; `attempts` has the newest first.
    fn add_events(&mut self, attempts: &[Attempt], unlogged: Option<Event>) -> Vec<Event> {
        let mut events: Vec<Event> = unlogged.into_iter().collect();
        for attempt in attempts.iter().rev() {
            if self.seen.insert(attempt.id, attempt.status) != Some(attempt.status) {
                events.extend(Event::of(attempt));
            }
        }
        // An attempt that has left the page does not return.
        self.seen.retain(|id, _| attempts.iter().any(|attempt| attempt.id == *id));
        events.sort_by_key(|event| event.at);
        self.last.extend(events.iter().map(|event| (event.connection.clone(), event.clone())));
        self.events.extend(events.iter().cloned());
        self.events.drain(..self.events.len().saturating_sub(MAX_EVENTS));
        events
    }

    /// # Errors
    /// A promise of jeton was broken: a token set was lost, or a dead token was served.
    pub(super) fn verdict(self, seed: u64) -> Result<(), CommandError> {
        let (lost, dead) = (self.tokens.lost, self.calls.dead);
        if lost == 0 && dead == 0 {
            return Ok(());
        }
        let problem = self.calls.first_problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
        let text = format!(
            "{lost} token sets were lost and {dead} dead tokens were served, with the seed {seed}{problem}; this is a \
             defect of jeton: please report it"
        );
        Err(CommandError::new(ErrorCode::PromiseBroken, text))
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::time::{Clock as _, SystemClock};
    use jeton_emulator::{Behaviour, Emulator, Fault, Settings};
    use jeton_testkit::Client;

    use super::*;

    async fn spend(emulator: &Emulator, refresh: &str) -> Option<String> {
        let client = Client::new(&emulator.base_url());
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", "emulated"),
            ("client_secret", "emulated-secret"),
        ];
        let reply = client.post_form("/token", &form).await.ok()?.json().ok()?;
        Some(reply["refresh_token"].as_str()?.to_owned())
    }

    #[tokio::test]
    async fn what_arrived_is_counted_once_however_often_it_was_sent() {
        let grace = Duration::from_mins(1);
        let emulator = Emulator::start(Settings { reuse_grace: grace, ..Settings::default() }).await.unwrap();
        let arrived = async || {
            emulator.wait_until_idle(grace).await;
            count_arrived(&emulator.records(), SystemClock.now())
        };
        let first = emulator.mint(1).remove(0);
        emulator.set_behaviour(Behaviour::from_queue([Fault::lose_reply()]));
        assert_eq!(spend(&emulator, first.reveal()).await, None);
        assert_eq!(arrived().await, 0, "a reply that was lost on the way did not arrive");
        let second = spend(&emulator, first.reveal()).await.unwrap();
        assert_eq!(spend(&emulator, first.reveal()).await.unwrap(), second);
        assert_eq!(arrived().await, 1);
        spend(&emulator, &second).await.unwrap();
        assert_eq!(arrived().await, 2);
    }

    #[test]
    fn a_broken_promise_fails_with_the_seed_and_what_was_seen_first() {
        assert!(DemoState::default().verdict(77).is_ok());
        let first_problem = Some("calm: the token ab of generation 3 was dead".to_owned());
        let calls = CallCounts { dead: 1, first_problem, ..CallCounts::default() };
        let failure = DemoState { calls, ..DemoState::default() }.verdict(77).unwrap_err();
        assert!(
            failure.to_string().contains("1 dead tokens were served, with the seed 77 (calm: "),
            "{failure}"
        );
        assert_eq!(failure.problem().code, "PROMISE_BROKEN");
        let tokens = TokenCounts { lost: 1, ..TokenCounts::default() };
        assert!(DemoState { tokens, ..DemoState::default() }.verdict(77).is_err());
    }
}
