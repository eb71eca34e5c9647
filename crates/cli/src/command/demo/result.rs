//! What became of every token: what the providers wrote down against what the store holds.

use std::collections::BTreeSet;
use std::time::Duration;

use jeton_core::time::Timestamp;
use jeton_emulator::{RequestOutcome, RequestRecord};
use serde::Serialize;

use super::callers::CallCounts;
use super::run::DemoRun;
use super::scenarios::DemoConnection;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// Counts of token requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct TokenCounts {
    /// Requests that reached a token endpoint.
    pub(super) spends: u64,
    /// Those that were given a token set.
    pub(super) accepted: u64,
    /// Replies with a token set that a provider lost on the way, as its temper has it.
    pub(super) lost_upstream: u64,
    /// Token sets that reached this machine and are not in the store.
    pub(super) lost: u64,
}

impl TokenCounts {
    /// The counts of one connection whose store holds `kept` token sets of its provider, as far as they had arrived `by`
    /// that instant.
    pub(super) fn of(connection: &DemoConnection, kept: u64, by: Timestamp) -> Self {
        let stats = connection.emulator.stats();
        Self {
            spends: stats.requests,
            accepted: stats.accepted,
            lost_upstream: stats.lost,
            lost: arrived(&connection.emulator.records(), by).saturating_sub(kept),
        }
    }

    /// Both together.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            spends: self.spends + other.spends,
            accepted: self.accepted + other.accepted,
            lost_upstream: self.lost_upstream + other.lost_upstream,
            lost: self.lost + other.lost,
        }
    }
}

/// How many token sets were written to us whole. A replay inside the grace brings the same one again.
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
    pub(super) ran: Duration,
    pub(super) tokens: TokenCounts,
    pub(super) calls: CallCounts,
}

impl DemoResult {
    /// Judges a run that has been drained.
    pub(super) async fn of(run: &DemoRun) -> Result<Self, CommandError> {
        let mut tokens = TokenCounts::default();
        let now = run.app.host.clock.now();
        for connection in &run.connections {
            let status = run.app.vault.status(connection.name.as_str()).await?;
            tokens = tokens.and(TokenCounts::of(connection, kept(status.generation.0), now));
        }
        let calls = run.callers.calls().into_iter().fold(CallCounts::default(), CallCounts::and);
        Ok(Self { seed: run.seed, connections: run.connections.len(), ran: run.ran(), tokens, calls })
    }

    /// Whether the promises were kept.
    pub(super) fn is_good(&self) -> bool {
        self.tokens.lost == 0 && self.calls.dead == 0
    }

    /// As the end of the command.
    ///
    /// # Errors
    /// A promise was broken.
    pub(super) fn into_result(self) -> Result<(), CommandError> {
        if self.is_good() {
            return Ok(());
        }
        let text = format!(
            "{} token sets were lost and {} tokens were handed out dead, with the seed {}{}; this is a defect of jeton: \
             please report it",
            self.tokens.lost,
            self.calls.dead,
            self.seed,
            self.calls.trouble.map(|words| format!(" ({words})")).unwrap_or_default()
        );
        Err(CommandError::new(ErrorCode::PromiseBroken, text))
    }
}

/// How many token sets of a provider a connection holds or has held: taking its grant over was the first generation.
pub(super) fn kept(generation: u64) -> u64 {
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
