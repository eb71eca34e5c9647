//! The refresh log and the connections, as `jeton --json logs` and `jeton --json status` print them.

use anyhow::{Context, Result};
use jeton_core::id::AttemptId;
use jeton_core::keep::connection::Condition;
use jeton_core::time::Timestamp;
use jeton_testkit::TestInstallation;
use serde::Deserialize;

use crate::proof::TIMEOUT;

/// How many rows `jeton logs` prints at most.
pub(crate) const PAGE: usize = 1_000;

/// A row.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) connection: String,
    /// `redeem` spends a token; the others send nothing to a provider.
    pub(crate) act: String,
    pub(crate) status: String,
    pub(crate) code: Option<String>,
    /// Of the refresh token.
    pub(crate) fingerprint: Option<String>,
    /// The interrupted attempt that this one recovers.
    pub(crate) recovers: Option<AttemptId>,
    /// The generation that it brought.
    pub(crate) new_generation: Option<u64>,
    /// When it was claimed, by the clock of the store. Its id may be much older: a process can be paused in between.
    pub(crate) started_at: Timestamp,
    pub(crate) completed_at: Option<Timestamp>,
}

impl Attempt {
    pub(crate) fn redeems(&self) -> bool {
        self.act == "redeem"
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.status == "success"
    }

    /// Whether the log says that its outcome is not known. An attempt that still runs when all processes have ended is shown so
    /// as soon as its lease has lapsed.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.status == "interrupted" || self.status == "running"
    }
}

/// The newest rows, newest first: of all connections, or of one.
///
/// # Errors
/// `jeton logs` failed.
pub(crate) async fn newest(
    installation: &TestInstallation,
    connection: Option<&str>,
) -> Result<Vec<Attempt>> {
    let lines = PAGE.to_string();
    let arguments = ["--json", "logs", "--lines", &lines];
    let filter = connection.map(|name| ["--connection", name]);
    let command = installation.command(arguments.into_iter().chain(filter.into_iter().flatten()))?;
    serde_json::from_value(command.run(TIMEOUT).await?.json()?).context("reading the refresh log")
}

/// The newest attempts to redeem.
///
/// # Errors
/// As [`newest`].
pub(crate) async fn redeems(
    installation: &TestInstallation,
    connection: Option<&str>,
) -> Result<Vec<Attempt>> {
    let mut attempts = newest(installation, connection).await?;
    attempts.retain(Attempt::redeems);
    Ok(attempts)
}

/// A connection.
#[derive(Deserialize)]
pub(crate) struct ConnectionStatus {
    pub(crate) name: String,
    pub(crate) condition: Condition,
    pub(crate) generation: u64,
    pub(crate) interrupted_attempt: Option<String>,
}

/// All connections.
///
/// # Errors
/// `jeton status` failed.
pub(crate) async fn connections(installation: &TestInstallation) -> Result<Vec<ConnectionStatus>> {
    let command = installation.command(["--json", "status"])?;
    serde_json::from_value(command.run(TIMEOUT).await?.json()?).context("reading the status")
}
