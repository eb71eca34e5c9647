//! What became of every token: the records of the providers against the store.

use std::collections::BTreeSet;
use std::time::Duration;

use jeton_core::time::Timestamp;
use jeton_emulator::{RequestOutcome, RequestRecord};
use serde::Serialize;

use super::callers::CallCounts;
use super::scenarios::DemoConnection;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// Counts of token requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// The counts of a connection with `stored` token sets in the store, of those that had arrived by `by`.
    pub(super) fn of(connection: &DemoConnection, stored: u64, by: Timestamp) -> Self {
        let stats = connection.emulator.stats();
        Self {
            requests: stats.requests,
            accepted: stats.accepted,
            lost_upstream: stats.lost,
            lost: arrived(&connection.emulator.records(), by).saturating_sub(stored),
        }
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            accepted: self.accepted + other.accepted,
            lost_upstream: self.lost_upstream + other.lost_upstream,
            lost: self.lost + other.lost,
        }
    }
}

/// How many different token sets were sent in whole. A replay inside the grace repeats one.
fn arrived(records: &[RequestRecord], by: Timestamp) -> u64 {
    let whole = records.iter().filter(|record| {
        matches!(record.outcome, RequestOutcome::Rotated | RequestOutcome::Replayed)
            && record.reply_written
            && record.finished_at.is_some_and(|at| at <= by)
    });
    let sets: BTreeSet<_> = whole.map(|record| (record.grant, record.generation)).collect();
    u64::try_from(sets.len()).unwrap_or(u64::MAX)
}

/// The end of the demo in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DemoResult {
    pub(super) seed: u64,
    pub(super) connections: usize,
    pub(super) elapsed: Duration,
    pub(super) tokens: TokenCounts,
    pub(super) calls: CallCounts,
}

impl DemoResult {
    /// Whether no token set was lost and no dead token was served.
    fn is_good(&self) -> bool {
        self.tokens.lost == 0 && self.calls.dead == 0
    }

    /// # Errors
    /// A promise of jeton was broken.
    pub(super) fn into_result(self) -> Result<(), CommandError> {
        if self.is_good() {
            return Ok(());
        }
        let text = format!(
            "{} token sets were lost and {} dead tokens were served, with the seed {}{}; this is a defect of jeton: \
             please report it",
            self.tokens.lost,
            self.calls.dead,
            self.seed,
            self.calls.first_problem.map(|words| format!(" ({words})")).unwrap_or_default()
        );
        Err(CommandError::new(ErrorCode::PromiseBroken, text))
    }
}

/// How many token sets of its provider a connection has stored: its first generation is the grant it was connected with.
pub(super) fn stored_sets(generation: u64) -> u64 {
    generation.saturating_sub(1)
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
        let first = emulator.mint(1).remove(0);
        emulator.set_behaviour(Behaviour::from_queue([Fault::lose_reply()]));
        assert_eq!(spend(&emulator, first.reveal()).await, None);
        emulator.wait_until_idle(grace).await;
        assert_eq!(
            arrived(&emulator.records(), SystemClock.now()),
            0,
            "a reply that was lost on the way did not arrive"
        );
        let second = spend(&emulator, first.reveal()).await.unwrap();
        assert_eq!(spend(&emulator, first.reveal()).await.unwrap(), second);
        emulator.wait_until_idle(grace).await;
        assert_eq!(arrived(&emulator.records(), SystemClock.now()), 1);
        spend(&emulator, &second).await.unwrap();
        emulator.wait_until_idle(grace).await;
        assert_eq!(arrived(&emulator.records(), SystemClock.now()), 2);
    }
}
