//! Stores whose rows all stand in memory: one implementation of the ports over one *snapshot*, and two ways to keep it.
//!
//! * [`MemoryStore`]: nowhere else. For tests, and for programs whose grants need not outlive them.
//! * [`FileStore`](crate::FileStore): in one file that all processes of a machine share (see [`mod@crate::file`]).
//!
//! The snapshot is in `snapshot`, a transaction over it in `transaction`; the ports are in
//! `ports`.

mod ports;
pub(crate) mod snapshot;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::changes::announce;
use snapshot::Snapshot;
use transaction::Transaction;

/// How many rows of the refresh log are kept of each connection, unless it is said otherwise.
pub const DEFAULT_ATTEMPTS: usize = 50;

/// How a snapshot is kept: what makes an [`InMemory`] durable, or shared with other processes.
pub trait Persistence: Send + Sync + 'static {
    /// Whether a call may wait for a disk or for another process.
    const BLOCKS: bool;

    /// How often to look whether another process has changed the snapshot; `None` where none can.
    const POLL: Option<Duration>;

    /// Lets `look` see the snapshot as it stands.
    fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, StoreError>;

    /// Lets `change` see and change the snapshot, and keeps what it did before answering. Nobody else changes it
    /// meanwhile. An error of `change` is one that comes before it has changed anything.
    fn write<T>(&self, change: impl FnOnce(&mut Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError>;
}

/// A store whose rows are one snapshot, kept by `P`. Cheap to clone; all clones are one store.
pub struct InMemory<P> {
    shared: Arc<SharedState<P>>,
    /// One call at a time: what waits for the disk waits here, and not in a thread each.
    turn: Arc<Semaphore>,
}

struct SharedState<P> {
    persistence: P,
    clock: Arc<dyn Clock>,
    attempts: usize,
    revision: watch::Sender<Revision>,
}

/// A store in the memory of this process, gone with it.
pub type MemoryStore = InMemory<NoPersistence>;

/// Keeps a snapshot in the memory of this process.
#[derive(Debug, Default)]
pub struct NoPersistence(Mutex<Snapshot>);

impl Persistence for NoPersistence {
    const BLOCKS: bool = false;
    const POLL: Option<Duration> = None;

    fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, StoreError> {
        Ok(look(&self.0.lock()))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
        change(&mut self.0.lock())
    }
}

impl MemoryStore {
    /// A new, empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::over(NoPersistence::default(), clock, DEFAULT_ATTEMPTS)
    }
}

impl<P: Persistence> InMemory<P> {
    pub(crate) fn over(persistence: P, clock: Arc<dyn Clock>, attempts: usize) -> Self {
        let shared = SharedState { persistence, clock, attempts, revision: watch::Sender::default() };
        Self { shared: Arc::new(shared), turn: Arc::new(Semaphore::new(1)) }
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Snapshot, Timestamp) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(move |shared| {
            shared.persistence.read(|snapshot| {
                announce(&shared.revision, snapshot.revision);
                look(snapshot, shared.clock.now())
            })
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(move |shared| {
            let (answer, revision) = shared.persistence.write(|snapshot| {
                // Read while nobody else can change anything: what was waited for before does not make it old.
                let mut tx = Transaction::new(snapshot, shared.clock.now(), shared.attempts);
                let answer = work(&mut tx)?;
                Ok((answer, snapshot.revision))
            })?;
            announce(&shared.revision, revision);
            Ok(answer)
        })
        .await
    }

    /// Does `work` once those that came before are done. It goes on when the caller stops waiting for its end.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SharedState<P>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !P::BLOCKS {
            return work(&self.shared);
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Unavailable("it was closed".into()))?;
        let shared = Arc::clone(&self.shared);
        let working = tokio::task::spawn_blocking(move || {
            let answer = work(&shared);
            drop(turn);
            answer
        });
        working
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a call of it broke off: {error}"))))
    }
}

impl<P> Clone for InMemory<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), turn: Arc::clone(&self.turn) }
    }
}

impl<P: fmt::Debug> fmt::Debug for InMemory<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("persistence", &self.shared.persistence).finish_non_exhaustive()
    }
}
