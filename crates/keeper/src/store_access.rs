//! The store as the keeper uses it: asked again while it fails, and on hold once it is not what it was.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::ports::{AttemptLog, ChangeFeed, ConnectionStore, ConsentStore, StoreError};
use tokio::time::{Instant, sleep};

use crate::error::TokenError;
use crate::host::HostRecorder;
use crate::installation::{Installation, InstanceFile};
use crate::memory::high_water::{HighWater, Hold};
use crate::settings::Settings;

/// The store, by the use cases of the keeper.
#[derive(Clone)]
pub struct Ports {
    /// Connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// Changes that others made.
    pub feed: Arc<dyn ChangeFeed>,
    /// The refresh log.
    pub log: Arc<dyn AttemptLog>,
    /// People who consent.
    pub consents: Arc<dyn ConsentStore>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The spill slots cannot be made: without one, nothing may be spent.
    #[error(
        "the spill slots below {} cannot be used: {source}; jeton must be able to write there, and they need {mib} MiB of space \
         (`keeper.spill_slots`)",
        .data_dir.display()
    )]
    SpillSlots {
        /// The data directory.
        data_dir: PathBuf,
        /// How much they need.
        mib: usize,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store, how long it is asked again, and whether anything may be spent on it.
#[derive(Debug)]
pub(crate) struct StoreAccess {
    pub(crate) ports: Ports,
    pub(crate) high_water: HighWater,
    hold: OnceLock<Hold>,
    instance_file: InstanceFile,
    recorder: HostRecorder,
    retry_for: Duration,
    poll: Duration,
}

impl StoreAccess {
    pub(crate) fn new(ports: Ports, installation: &mut Installation, settings: &Settings) -> Self {
        Self {
            ports,
            high_water: HighWater::new(installation.data_dir.clone(), installation.seen),
            hold: installation.hold().map_or_else(OnceLock::new, OnceLock::from),
            instance_file: installation.instance_file.clone(),
            recorder: std::mem::take(&mut installation.recorder),
            retry_for: settings.claim_wait,
            poll: settings.poll,
        }
    }

    /// Asks the store until it answers, for at most `claim_wait`.
    pub(crate) async fn with_retry<T, F, Fut>(&self, ask: F) -> Result<T, StoreError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let deadline = Instant::now() + self.retry_for;
        loop {
            match ask().await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tracing::debug!(%error, "the store is asked again");
                    sleep(self.poll).await;
                }
                answer => return answer,
            }
        }
    }

    /// Why nothing may be spent, where that is so.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold.get().copied()
    }

    /// Something is spent that the store has recorded at `revision`, or later.
    pub(crate) fn mark_spent(&self, revision: Revision) {
        self.high_water.mark(revision);
        self.recorder.record(self.high_water.data_dir(), revision);
    }

    /// Refuses what would spend while the data directory is not the one that was opened: no reply would be safe there.
    pub(crate) fn check_data_dir(&self) -> Result<(), TokenError> {
        if !self.instance_file.is_gone() {
            return Ok(());
        }
        let data_dir = self.high_water.data_dir().display();
        let message =
            format!("the data directory {data_dir} was removed or replaced while it was in use: put it back");
        Err(TokenError::Store { message })
    }

    /// Refuses what would spend while the installation is on hold.
    pub(crate) fn check_hold(&self) -> Result<(), TokenError> {
        match self.hold() {
            None => Ok(()),
            Some(hold @ (Hold::Copied | Hold::OtherMachine | Hold::Cloned)) => Err(TokenError::OnHold(hold)),
            Some(Hold::RolledBack { found, seen }) => Err(TokenError::RolledBack { found, seen }),
        }
    }

    /// Another node, of this name, lives on the data directory of this one in another place. Nothing is spent from now on.
    pub(crate) fn mark_cloned(&self, other: &str) {
        if self.hold.set(Hold::Cloned).is_ok() {
            // No later process spends anything here either: the other node may be out of reach by then, and not gone.
            if let Err(error) = self.instance_file.mark_cloned() {
                tracing::warn!(%error, "the data directory cannot be marked as a clone; after a restart the nodes are compared anew");
            }
            tracing::error!(
                "on hold: {}, and the node {other} lives on the other; living tokens are served, and nothing is spent until this \
                 data directory is adopted",
                Hold::Cloned
            );
        }
    }

    /// The store is at `found`, and was further before, or contradicts what it said. Nothing is spent from now on, and by no
    /// later process either.
    pub(crate) fn mark_rolled_back(&self, found: Revision) {
        let seen = self.high_water.seen();
        let hold = Hold::RolledBack { found, seen };
        if self.hold.set(hold).is_ok() {
            // Numbers of changes may have been jumped over: the mark is beyond what the store has come to in any case.
            self.high_water.mark(seen.max(found.next()));
            tracing::error!(
                "on hold: {hold}; living tokens are served, and nothing is spent until this store is adopted"
            );
        }
    }
}
