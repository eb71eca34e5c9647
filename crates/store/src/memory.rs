//! Stores whose rows all stand in memory: one implementation of the ports over one *image*, and two ways to keep it.
//!
//! * [`MemoryStore`]: nowhere else. For tests, and for programs whose grants need not outlive them.
//! * [`FileStore`](crate::FileStore): in one file that all processes of a machine share (see [`mod@crate::file`]).
//!
//! The image is in `image`, a transaction over it in `draft`; the ports are in `connections`, `consents`, `feed`, `log`,
//! `maintenance` and `nodes`.

mod connections;
mod consents;
mod draft;
mod feed;
pub(crate) mod image;
mod log;
mod maintenance;
mod nodes;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::{Clock, Timestamp};
use tokio::sync::{Semaphore, watch};

use draft::Draft;
use image::Image;

/// How many rows of the refresh log are kept of each connection, unless it is said otherwise.
pub const USUAL_ATTEMPTS: usize = 50;

/// Where an image is kept. What makes a [`Kept`] durable, or shared with other processes.
pub trait Home: Send + Sync + 'static {
    /// Whether a call may wait for a disk or for another process.
    const BLOCKS: bool;

    /// How often to look whether another process has changed the image; `None` where none can.
    const POLL: Option<Duration>;

    /// Lets `look` see the image as it stands.
    fn read<T>(&self, look: impl FnOnce(&Image) -> T) -> Result<T, StoreError>;

    /// Lets `change` see and change the image, and keeps what it did before answering. Nobody else changes it
    /// meanwhile. An error of `change` is one that comes before it has changed anything.
    fn write<T>(&self, change: impl FnOnce(&mut Image) -> Result<T, StoreError>) -> Result<T, StoreError>;
}

/// A store whose rows are one image, kept by `H`. Cheap to clone; all clones are one store.
pub struct Kept<H> {
    shared: Arc<Shared<H>>,
    /// One call at a time: what waits for the disk waits here, and not in a thread each.
    turn: Arc<Semaphore>,
}

struct Shared<H> {
    home: H,
    clock: Arc<dyn Clock>,
    attempts: usize,
    revision: watch::Sender<Revision>,
}

/// A store in the memory of this process, gone with it.
pub type MemoryStore = Kept<Nowhere>;

/// Keeps an image in the memory of this process.
#[derive(Debug, Default)]
pub struct Nowhere(Mutex<Image>);

impl Home for Nowhere {
    const BLOCKS: bool = false;
    const POLL: Option<Duration> = None;

    fn read<T>(&self, look: impl FnOnce(&Image) -> T) -> Result<T, StoreError> {
        Ok(look(&self.0.lock().expect("no panic happens under this lock")))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Image) -> Result<T, StoreError>) -> Result<T, StoreError> {
        change(&mut self.0.lock().expect("no panic happens under this lock"))
    }
}

impl MemoryStore {
    /// A new, empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::over(Nowhere::default(), clock, USUAL_ATTEMPTS)
    }
}

impl<H: Home> Kept<H> {
    pub(crate) fn over(home: H, clock: Arc<dyn Clock>, attempts: usize) -> Self {
        let shared = Shared { home, clock, attempts, revision: watch::Sender::default() };
        Self { shared: Arc::new(shared), turn: Arc::new(Semaphore::new(1)) }
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Image, Timestamp) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(move |shared| {
            shared.home.read(|image| {
                shared.announce(image.revision);
                look(image, shared.clock.now())
            })
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(move |shared| {
            let (answer, revision) = shared.home.write(|image| {
                // Read while nobody else can change anything: what was waited for before does not make it old.
                let draft = Draft::new(image, shared.clock.now(), shared.attempts);
                let answer = work(&draft)?;
                Ok((answer, image.revision))
            })?;
            shared.announce(revision);
            Ok(answer)
        })
        .await
    }

    /// Does `work` once those that came before are done. It goes on when the caller stops waiting for its end.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared<H>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !H::BLOCKS {
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

impl<H> Shared<H> {
    /// Wakes those who wait for a change.
    fn announce(&self, revision: Revision) {
        self.revision.send_if_modified(|known| {
            let news = *known != revision;
            *known = revision;
            news
        });
    }
}

impl<H> Clone for Kept<H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), turn: Arc::clone(&self.turn) }
    }
}

impl<H: fmt::Debug> fmt::Debug for Kept<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("home", &self.shared.home).finish_non_exhaustive()
    }
}
