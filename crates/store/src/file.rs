//! The store in one file, for programs that share a few grants and want no database.
//!
//! It is a `tokens.json` that several processes can trust: the rows of [`crate::memory`], kept as JSON whose tokens are
//! sealed by the keeper.
//!
//! * **Between processes**: a lock of the operating system on a file beside it (`tokens.json.lock`), shared to read and
//!   exclusive to change, held for that moment only. It dies with its holder.
//! * **Against kill -9 and power cuts**: each change writes a whole new file beside the old one, makes it durable, and
//!   puts it in its place in one step; then the folder is made durable. Whoever reads finds the old rows or the new ones.
//!   A disk that is full leaves the old ones.
//! * **Private**: mode 0600 from its creation.
//! * **Small**: of each connection the last rows of the refresh log are kept, and those that it still hangs on. So a
//!   refresh token that was spent longer ago than that is no longer known as spent when somebody connects it again.
//!
//! Every change writes everything: it is right for a hundred connections, not for ten thousand. A file that is damaged, or
//! is not a token file of jeton, is refused in words and never overwritten.

mod format;
mod lock;
mod path_checks;
mod replace;

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use parking_lot::Mutex;

use crate::memory::snapshot::Snapshot;
use crate::memory::{DEFAULT_ATTEMPTS, InMemory, Persistence};
use crate::path_checks::refused;
use lock::{Lock, LockMode};

/// Beyond this it is no file of ours: it would not be read within the patience of any caller.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// How a file store works.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The clock of the store. All processes of one file read the clock of their one machine.
    pub clock: Arc<dyn Clock>,
    /// Whether a file that is missing is created; otherwise it gets [`StoreError::Missing`].
    pub create: bool,
    /// How long a call waits while other processes hold the file, before it gets [`StoreError::Unavailable`].
    pub busy_timeout: Duration,
    /// How many rows of the refresh log are kept of each connection, besides those that it still hangs on.
    pub attempts: usize,
}

impl FileOptions {
    /// 10 s of patience, 50 rows of the log.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, create: true, busy_timeout: Duration::from_secs(10), attempts: DEFAULT_ATTEMPTS }
    }
}

/// A store in one file. It must be used within a tokio runtime, whose blocking threads read and write for it.
pub type FileStore = InMemory<FilePersistence>;

impl FileStore {
    /// Opens the file, and makes it when it is missing (mode 0600) and `create` says so.
    ///
    /// # Errors
    /// [`StoreError::Refused`], in one sentence that names the cure, for a path that cannot be a token file: a folder, a
    /// folder that is missing or cannot be written, a network file system, a file that is damaged, of another program, or
    /// of a newer jeton. [`StoreError::Unavailable`] when other processes hold it for longer than `busy_timeout`.
    /// [`StoreError::Missing`] for a file that is missing, unless `create` is set.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self, StoreError> {
        if !options.create && !path.exists() {
            return Err(StoreError::Missing(format!("the token file {} does not exist", path.display())));
        }
        let path = path_checks::prepare(path)?;
        let persistence =
            FilePersistence { path, busy_timeout: options.busy_timeout, loaded: Mutex::default() };
        persistence.make()?;
        Ok(Self::over(persistence, options.clock, options.attempts))
    }
}

/// Keeps a snapshot in one file.
pub struct FilePersistence {
    path: PathBuf,
    busy_timeout: Duration,
    /// What the file held when it was last looked at or written.
    loaded: Mutex<Option<LoadedFile>>,
}

impl fmt::Debug for FilePersistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePersistence").field("path", &self.path).finish_non_exhaustive()
    }
}

struct LoadedFile {
    snapshot: Snapshot,
    /// Kept open: while it is, no other file gets its number, so that the same number is the same file.
    _file: File,
    stamp: FileStamp,
}

/// What tells one state of the file from another. Changes of ours are new files; the rest notices a person's editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    file: (u64, u64),
    modified: (i64, i64),
    size: u64,
}

impl FileStamp {
    fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            modified: (file.mtime(), file.mtime_nsec()),
            size: file.size(),
        }
    }
}

impl FilePersistence {
    /// Makes the file, unless it is there; reads it in either case.
    fn make(&self) -> Result<(), StoreError> {
        let _lock = self.lock(LockMode::Exclusive)?;
        let loaded = match self.load() {
            Err(LoadError::Missing) => self.save(Snapshot::default())?,
            loaded => loaded.map_err(|unread| unread.into_store_error(&self.path))?,
        };
        *self.loaded.lock() = Some(loaded);
        Ok(())
    }

    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError> {
        Lock::take(&self.path, mode, self.busy_timeout)
    }

    /// Reads the file. Also waits for a writer that has put its file in place and has not made that durable yet.
    fn load_in_turn(&self) -> Result<LoadedFile, StoreError> {
        let _lock = self.lock(LockMode::Shared)?;
        self.load().map_err(|unread| unread.into_store_error(&self.path))
    }

    /// Reads the file, under a lock.
    fn load(&self) -> Result<LoadedFile, LoadError> {
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => LoadError::Missing,
            _ => LoadError::Failed(path_checks::explain(&self.path, "read", &error)),
        })?;
        let read = || {
            let stamp = FileStamp::of(&file.metadata()?);
            let mut text = Vec::new();
            (&file).take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
            Ok((stamp, text))
        };
        let (stamp, text) =
            read().map_err(|error| LoadError::Failed(path_checks::explain(&self.path, "read", &error)))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let what = "is larger than any token file";
            return Err(LoadError::Failed(refused(&self.path, what, "name another file")));
        }
        let snapshot = format::read(&text)
            .map_err(|wrong| LoadError::Failed(refused(&self.path, &wrong.what, wrong.cure)))?;
        Ok(LoadedFile { snapshot, _file: file, stamp })
    }

    /// Puts a new file in the place of the old one, under the exclusive lock.
    fn save(&self, mut snapshot: Snapshot) -> Result<LoadedFile, StoreError> {
        snapshot.changed = false;
        let text = format::write(&snapshot);
        let save = || {
            let file = replace::replace(&self.path, &text)?;
            Ok((FileStamp::of(&file.metadata()?), file))
        };
        let (stamp, file) = save().map_err(|error| path_checks::explain(&self.path, "written", &error))?;
        Ok(LoadedFile { snapshot, _file: file, stamp })
    }

    /// Whether the file is still the one that was loaded.
    fn is_still(&self, loaded: &LoadedFile) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| FileStamp::of(&file) == loaded.stamp)
    }
}

/// Why there is no snapshot.
enum LoadError {
    Missing,
    Failed(StoreError),
}

impl LoadError {
    fn into_store_error(self, path: &Path) -> StoreError {
        match self {
            // A new one would forget every grant, and what was spent.
            Self::Missing => StoreError::Unavailable(format!(
                "the token file {} is gone: put it back, or restore a copy of it",
                path.display()
            )),
            Self::Failed(error) => error,
        }
    }
}

impl Persistence for FilePersistence {
    const BLOCKS: bool = true;
    const POLL: Option<Duration> = Some(Duration::from_millis(50));

    fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, StoreError> {
        let mut loaded = self.loaded.lock();
        let known = loaded.take().filter(|loaded| self.is_still(loaded));
        let known = known.map_or_else(|| self.load_in_turn(), Ok)?;
        Ok(look(&loaded.insert(known).snapshot))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut loaded = self.loaded.lock();
        let _lock = self.lock(LockMode::Exclusive)?;
        let known = loaded.take().filter(|loaded| self.is_still(loaded));
        let load = || self.load().map_err(|unread| unread.into_store_error(&self.path));
        let mut known = known.map_or_else(load, Ok)?;
        // What fails from here on leaves nothing loaded: the file is read again, whatever it holds by then.
        let answer = change(&mut known.snapshot)?;
        *loaded = Some(if known.snapshot.changed { self.save(known.snapshot)? } else { known });
        Ok(answer)
    }
}
