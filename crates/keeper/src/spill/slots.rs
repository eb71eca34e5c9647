//! Where a token reply goes when the store cannot take it.
//!
//! Before a refresh token is spent, a *spill slot* is reserved: a file of the data directory whose blocks are already
//! allocated, so that writing it needs no space. If the store is full, read-only or down when the reply arrives, the
//! write that the store refused goes into the slot, sealed as it is and made durable; it is offered to the store
//! again until the store has taken it. The write carries its attempt's id, so that offering it twice does it once.
//!
//! Slots are shared by all processes of a data directory; a slot is held through a lock of the operating system,
//! which dies with its holder. What a dead process left in a slot is returned by whoever looks next.
//!
//! A write that the store refuses for good is set aside: it is kept in a file of its own beside the slots, and its slot
//! is free again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::inspect::{ASIDE, SLOT, directory, named};
use super::slot_file::{
    LENGTH_BYTES, SLOT_BYTES, SlotPart, emptying, filling, length_of, open_slot, read_text,
};
use super::store_write::StoreWrite;

/// The spill slots of a data directory.
#[derive(Debug)]
pub(crate) struct SpillSlots {
    directory: PathBuf,
    usual: Vec<Mutex<Option<File>>>,
    /// Slots of a time when there were more of them: they are not reserved any more, and what is in them returns.
    beyond: Vec<Mutex<Option<File>>>,
}

/// A reserved slot. Dropping it frees the slot, unless it was filled: then it stays filled for whoever returns it.
#[derive(Debug)]
pub(crate) struct SpillSlot<'a> {
    origin: &'a Mutex<Option<File>>,
    /// Absent when the slot is dropped, and while it is written: one that nobody waits for any more is missing until the
    /// process ends, and never shared.
    file: Option<File>,
    /// Whether it holds a write that was put there while it was reserved.
    filled: bool,
}

impl SpillSlots {
    /// Opens `count` slots below `data_dir` and allocates what is not allocated yet.
    pub(crate) fn open(data_dir: &Path, count: usize) -> io::Result<Self> {
        let directory = directory(data_dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let usual = (0..count)
            .map(|index| open_slot(&slot_path(&directory, index)).map(|file| Mutex::new(Some(file))))
            .collect::<io::Result<_>>()?;
        let beyond = slots_beyond(&directory, count)?;
        File::open(&directory)?.sync_all()?;
        // The folder itself is an entry of its parent, and may be as new as the slots.
        File::open(data_dir)?.sync_all()?;
        Ok(Self { directory, usual, beyond })
    }

    /// A free slot, or none while all of them are taken or filled.
    pub(crate) fn reserve(&self) -> io::Result<Option<SpillSlot<'_>>> {
        for slot in locked(&self.usual) {
            let mut slot = slot?;
            if slot.length()? == 0 {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Slots that hold a write and that nobody else holds.
    pub(crate) fn filled(&self) -> io::Result<Vec<(SpillSlot<'_>, StoreWrite)>> {
        let mut filled = Vec::new();
        for slot in locked(&self.usual).chain(locked(&self.beyond)) {
            let mut slot = slot?;
            match slot.read() {
                Ok(Some(write)) => filled.push((slot, write)),
                Ok(None) => {}
                // One damaged slot must not keep the others from being returned; it stays as it is, for a person.
                Err(error) => tracing::error!(%error, "a spill slot cannot be read"),
            }
        }
        Ok(filled)
    }

    /// Keeps the write of a slot, which the store will never take, in a file of its own, and frees the slot.
    pub(crate) async fn set_aside(
        &self,
        slot: &mut SpillSlot<'_>,
        write: &StoreWrite,
    ) -> io::Result<SetAside> {
        let (_, attempt) = write.names();
        let path = self.directory.join(format!("{ASIDE}{attempt}"));
        let parts = filling(serde_json::to_vec(write)?);
        let kept = spawn_blocking(move || keep_aside(path, &parts)).await.map_err(io::Error::other)??;
        slot.clear().await?;
        Ok(kept)
    }
}

/// Where a write was set aside.
#[derive(Debug)]
pub(crate) struct SetAside {
    pub(crate) path: PathBuf,
    /// How many writes are set aside by now.
    pub(crate) count: usize,
}

fn keep_aside(path: PathBuf, parts: &[SlotPart]) -> io::Result<SetAside> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    parts.iter().try_for_each(|part| part.write(&file))?;
    let directory = path.parent().expect("it was joined to the folder of the slots");
    File::open(directory)?.sync_all()?;
    let count = named(directory, ASIDE)?.len();
    Ok(SetAside { path, count })
}

/// The slots that could be locked now, each unlocked when it is dropped.
fn locked(slots: &[Mutex<Option<File>>]) -> impl Iterator<Item = io::Result<SpillSlot<'_>>> {
    slots.iter().filter_map(|origin| {
        let file = origin.lock().take()?;
        let locked = file.try_lock();
        // From here on, dropping the slot puts the file back.
        let slot = SpillSlot { origin, file: Some(file), filled: false };
        match locked {
            Ok(()) => Some(Ok(slot)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => Some(Err(error)),
        }
    })
}

fn slot_path(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("{SLOT}{index:02}"))
}

/// The slots that there are besides the first `count`.
fn slots_beyond(directory: &Path, count: usize) -> io::Result<Vec<Mutex<Option<File>>>> {
    let used: Vec<_> = (0..count).map(|index| slot_path(directory, index)).collect();
    let beyond = named(directory, SLOT)?.into_iter().filter(|path| !used.contains(path));
    beyond.map(|path| open_slot(&path).map(|file| Mutex::new(Some(file)))).collect()
}

impl SpillSlot<'_> {
    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(lost)
    }

    fn length(&mut self) -> io::Result<u64> {
        length_of(self.file()?)
    }

    /// Makes `write` durable in this slot.
    pub(crate) async fn fill(&mut self, write: &StoreWrite) -> io::Result<()> {
        let text = serde_json::to_vec(write)?;
        if (text.len() + LENGTH_BYTES) as u64 > SLOT_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the write is larger than a spill slot"));
        }
        self.write(filling(text)).await?;
        self.filled = true;
        Ok(())
    }

    /// Whether [`SpillSlot::fill`] has made a write durable here.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled
    }

    fn read(&mut self) -> io::Result<Option<StoreWrite>> {
        let length = self.length()?;
        read_text(self.file()?, length)
    }

    /// Frees the slot for good: the store has taken the write.
    pub(crate) async fn clear(&mut self) -> io::Result<()> {
        let length = self.length()?;
        self.write(emptying(length)).await
    }

    /// Writes away from the tasks of the runtime: a disk that takes its time must not keep callers waiting.
    async fn write(&mut self, parts: [SlotPart; 2]) -> io::Result<()> {
        let file = self.file.take().ok_or_else(lost)?;
        let writing = spawn_blocking(move || {
            let written = parts.iter().try_for_each(|part| part.write(&file));
            (file, written)
        });
        let (file, written) = writing.await.map_err(io::Error::other)?;
        self.file = Some(file);
        written
    }
}

fn lost() -> io::Error {
    io::Error::other("the spill slot went down with the task that wrote it")
}

impl Drop for SpillSlot<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // An unlock that fails leaves the slot locked until the process ends: it is missing then, never shared.
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a spill slot could not be unlocked");
            }
            *self.origin.lock() = Some(file);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::poll;
    use jeton_core::entropy::SystemEntropy;
    use jeton_core::id::AttemptId;
    use jeton_core::id::Generation;
    use jeton_core::keep::ports::{Fail, FailureEffect};
    use jeton_core::time::Timestamp;

    use super::*;

    pub(in crate::spill) fn write() -> StoreWrite {
        StoreWrite::Fail(Fail {
            connection: "acme".parse().unwrap(),
            attempt: AttemptId::generate(Timestamp::from_secs(1), &SystemEntropy),
            generation: Generation(1),
            effect: FailureEffect::Unknown,
            code: "ambiguous".to_owned(),
            http_status: Some(200),
            message: "nobody knows".to_owned(),
            cooldown: Duration::ZERO,
            due_in: None,
            kept_reply: Some(vec![7; 5_000]),
        })
    }

    #[test]
    fn a_slot_is_written_where_a_slow_disk_keeps_no_task_waiting() {
        let home = tempfile::tempdir().unwrap();
        let slots = SpillSlots::open(home.path(), 1).unwrap();
        let mut slot = slots.reserve().unwrap().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let (release, busy) = mpsc::channel::<()>();
        let write = write();
        runtime.block_on(async {
            // The one thread that may wait for a disk is as busy as a slow disk makes it.
            let occupied = spawn_blocking(move || busy.recv().unwrap());
            {
                let mut fill = pin!(slot.fill(&write));
                for _ in 0..10 {
                    assert!(poll!(&mut fill).is_pending(), "the runtime itself waited for the disk");
                    tokio::task::yield_now().await;
                }
                release.send(()).unwrap();
                fill.await.unwrap();
            }
            occupied.await.unwrap();
        });
        assert_eq!(slot.read().unwrap(), Some(write));
    }
}
