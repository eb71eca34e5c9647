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

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::inspect::{ASIDE, SLOT, directory, named};
use super::slot_file::{
    LENGTH_BYTES, SLOT_BYTES, SlotPart, emptying, filling, is_in_place, length_of, open_existing, open_slot,
    read_text,
};
use super::store_write::StoreWrite;
use crate::private_file::open_private;

/// The spill slots of a data directory.
#[derive(Debug)]
pub(crate) struct SpillSlots {
    directory: PathBuf,
    usual: Vec<SlotPlace>,
    /// Slots of a time when there were more of them: they are not reserved any more, and what is in them returns.
    beyond: Vec<SlotPlace>,
    /// Held while slots are counted and one is taken.
    reserving: Mutex<()>,
}

/// Whose slots one more is reserved for. However many providers hang, there are slots left for those that do not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotShare<'a> {
    /// How many slots the requests of this client at its token endpoint hold; the new one is added.
    pub(crate) held: &'a AtomicUsize,
    /// Nobody should count on an answer to this request.
    pub(crate) doubtful: bool,
}

/// Where a slot is, and its file while nobody has it.
#[derive(Debug)]
struct SlotPlace {
    path: PathBuf,
    file: Mutex<SlotFile>,
}

#[derive(Debug)]
enum SlotFile {
    /// It does not exist yet, or cannot be opened.
    Closed,
    /// It is open, and nobody has it.
    Idle(File),
    /// A [`SpillSlot`] has it.
    Taken,
}

/// A reserved slot. Dropping it frees the slot, unless it was filled: then it stays filled for whoever returns it.
#[derive(Debug)]
pub(crate) struct SpillSlot<'a> {
    origin: &'a SlotPlace,
    /// Absent when the slot is dropped, and while it is written: one that nobody waits for any more is missing until the
    /// process ends, and never shared.
    file: Option<File>,
    /// Whether it holds a write that was put there while it was reserved.
    filled: bool,
}

impl SpillSlots {
    /// Opens those of `count` slots below `data_dir` that exist, and makes none: whoever only looks leaves nothing behind. One
    /// that cannot be opened stops no other.
    pub(crate) fn open(data_dir: &Path, count: usize) -> io::Result<Self> {
        let directory = directory(data_dir);
        let usual: Vec<_> =
            (0..count).map(|index| SlotPlace::open(directory.join(format!("{SLOT}{index:02}")))).collect();
        let all = match named(&directory, SLOT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            all => all?,
        };
        let is_beyond = |path: &PathBuf| usual.iter().all(|slot| slot.path != *path);
        let beyond = all.into_iter().filter(is_beyond).map(SlotPlace::open).collect();
        Ok(Self { directory, usual, beyond, reserving: Mutex::new(()) })
    }

    /// Makes the slots that do not exist yet, with the room that they need.
    ///
    /// # Errors
    /// None can be used. While some can, the others are logged.
    pub(crate) fn allocate(&self) -> io::Result<()> {
        let unusable: Vec<io::Error> = self.usual.iter().filter_map(|slot| slot.allocate().err()).collect();
        if unusable.len() < self.usual.len() {
            for error in unusable {
                tracing::warn!(%error, "a spill slot cannot be used; the others do its work");
            }
            return Ok(());
        }
        unusable.into_iter().next().map_or(Ok(()), Err)
    }

    /// A free slot, or none while all of them are taken or filled. Within a share: a client at an endpoint takes no more slots
    /// than it leaves free, and requests that may well hang take none of the last half. A slot whose file is gone is made anew.
    ///
    /// # Errors
    /// There is none, and one could not be made.
    pub(crate) fn reserve(&self, share: Option<SlotShare<'_>>) -> io::Result<Option<SpillSlot<'_>>> {
        let _counting = self.reserving.lock();
        let (mut first, mut free, mut unusable) = (None, 0, None);
        for place in &self.usual {
            if first.is_some() && place.is_missing() {
                free += 1;
                continue;
            }
            match place.lock_free() {
                Ok(None) => {}
                Ok(Some(slot)) => {
                    free += 1;
                    first.get_or_insert(slot);
                }
                Err(error) => {
                    unusable.get_or_insert(error);
                }
            }
        }
        if first.is_none() {
            return unusable.map_or(Ok(None), Err);
        }
        if let Some(SlotShare { held, doubtful }) = share {
            let of_last_half = doubtful && free * 2 <= self.usual.len();
            if free <= held.load(Ordering::Relaxed) || of_last_half {
                return Ok(None);
            }
            held.fetch_add(1, Ordering::Relaxed);
        }
        Ok(first)
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
    let file = open_private(OpenOptions::new().write(true).create(true).truncate(true), &path)?;
    parts.iter().try_for_each(|part| part.write(&file))?;
    let directory = path.parent().expect("it was joined to the folder of the slots");
    File::open(directory)?.sync_all()?;
    let count = named(directory, ASIDE)?.len();
    Ok(SetAside { path, count })
}

impl SlotPlace {
    fn open(path: PathBuf) -> Self {
        let file = match open_existing(&path) {
            Ok(file) => SlotFile::Idle(file),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "a spill slot cannot be opened");
                }
                SlotFile::Closed
            }
        };
        Self { path, file: Mutex::new(file) }
    }

    /// Makes its file, unless it is open.
    fn allocate(&self) -> io::Result<()> {
        let mut file = self.file.lock();
        if matches!(*file, SlotFile::Closed) {
            *file = SlotFile::Idle(open_slot(&self.path)?);
        }
        Ok(())
    }

    /// The slot, unless it is closed or somebody has it. It is unlocked when it is dropped.
    fn lock(&self) -> io::Result<Option<SpillSlot<'_>>> {
        let mut file = self.file.lock();
        if !matches!(*file, SlotFile::Idle(_)) {
            return Ok(None);
        }
        let SlotFile::Idle(taken) = mem::replace(&mut *file, SlotFile::Taken) else { return Ok(None) };
        drop(file);
        let locked = taken.try_lock();
        // From here on, dropping the slot puts the file back.
        let slot = SpillSlot { origin: self, file: Some(taken), filled: false };
        match locked {
            Ok(()) => Ok(Some(slot)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether its file does not exist yet: it can be made when it is needed.
    fn is_missing(&self) -> bool {
        matches!(*self.file.lock(), SlotFile::Closed) && !self.path.exists()
    }

    /// The slot, if it is free. Its file is made where there is none.
    fn lock_free(&self) -> io::Result<Option<SpillSlot<'_>>> {
        self.allocate()?;
        let Some(mut slot) = self.lock()? else { return Ok(None) };
        if slot.length()? > 0 {
            return Ok(None);
        }
        let file = slot.file()?;
        if !is_in_place(file, &self.path) {
            *file = another(&self.path)?;
        }
        Ok(Some(slot))
    }
}

/// The slots that could be locked now.
fn locked(slots: &[SlotPlace]) -> impl Iterator<Item = io::Result<SpillSlot<'_>>> {
    slots.iter().filter_map(|slot| slot.lock().transpose())
}

/// A new file in the place of one that lost its name, locked.
fn another(path: &Path) -> io::Result<File> {
    let mut file = open_slot(path)?;
    file.try_lock()?;
    if length_of(&mut file)? > 0 {
        return Err(io::Error::other(format!("{} was put there by somebody else", path.display())));
    }
    tracing::warn!(path = %path.display(), "the file of a spill slot was removed or replaced; it is made anew");
    Ok(file)
}

/// Fills a slot where whoever looks next finds it: in another file, if its own has lost its name. Answers the file.
fn fill_in_place(mut file: File, path: &Path, parts: &[SlotPart]) -> (File, io::Result<()>) {
    for _ in 0..2 {
        if !is_in_place(&file, path) {
            match another(path) {
                Ok(made) => file = made,
                Err(error) => return (file, Err(error)),
            }
        }
        if let Err(error) = parts.iter().try_for_each(|part| part.write(&file)) {
            return (file, Err(error));
        }
        // It may have been removed while it was written.
        if is_in_place(&file, path) {
            return (file, Ok(()));
        }
    }
    (file, Err(io::Error::other(format!("{} is removed as often as it is made", path.display()))))
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
        let path = self.origin.path.clone();
        self.write(move |file| fill_in_place(file, &path, &filling(text))).await?;
        self.filled = true;
        Ok(())
    }

    /// Whether [`SpillSlot::fill`] has made a write durable here, and it is still where whoever looks next finds it.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled && self.file.as_ref().is_some_and(|file| is_in_place(file, &self.origin.path))
    }

    fn read(&mut self) -> io::Result<Option<StoreWrite>> {
        let length = self.length()?;
        read_text(self.file()?, length)
    }

    /// Frees the slot for good: the store has taken the write.
    pub(crate) async fn clear(&mut self) -> io::Result<()> {
        let length = self.length()?;
        self.filled = false;
        self.write(move |file| {
            let emptied = emptying(length).iter().try_for_each(|part| part.write(&file));
            (file, emptied)
        })
        .await
    }

    /// Writes away from the tasks of the runtime: a disk that takes its time must not keep callers waiting.
    async fn write(
        &mut self,
        write: impl FnOnce(File) -> (File, io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let file = self.file.take().ok_or_else(lost)?;
        let (file, written) = spawn_blocking(move || write(file)).await.map_err(io::Error::other)?;
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
            *self.origin.file.lock() = SlotFile::Idle(file);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
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
            provider_message: None,
            cooldown: Duration::ZERO,
            due_in: None,
            kept_reply: Some(vec![7; 5_000]),
        })
    }

    #[test]
    fn a_client_takes_no_more_slots_than_it_leaves_free_and_what_may_hang_none_of_the_last_half() {
        let home = tempfile::tempdir().unwrap();
        let slots = SpillSlots::open(home.path(), 8).unwrap();
        let held: [AtomicUsize; 5] = Default::default();
        let take = |client: usize, doubtful| {
            slots.reserve(Some(SlotShare { held: &held[client], doubtful })).unwrap()
        };
        let mut taken: Vec<_> = (0..8).filter_map(|_| take(0, false)).collect();
        assert_eq!(taken.len(), 4);
        assert!(take(1, true).is_none(), "half of them are for those that may be answered");
        taken.extend((1..5).flat_map(|client| [client; 8]).filter_map(|client| take(client, false)));
        assert_eq!(held.each_ref().map(|held| held.load(Ordering::Relaxed)), [4, 2, 1, 1, 0]);
        assert!(slots.reserve(None).unwrap().is_none(), "all of them are taken");
        drop(taken);
        assert!(take(4, true).is_some());
        let sole_home = tempfile::tempdir().unwrap();
        let sole = SpillSlots::open(sole_home.path(), 1).unwrap();
        let share = SlotShare { held: &AtomicUsize::new(0), doubtful: true };
        assert!(
            sole.reserve(Some(share)).unwrap().is_some(),
            "where there is one slot, everybody may have it"
        );
    }

    #[test]
    fn a_slot_is_written_where_a_slow_disk_keeps_no_task_waiting() {
        let home = tempfile::tempdir().unwrap();
        let slots = SpillSlots::open(home.path(), 1).unwrap();
        let mut slot = slots.reserve(None).unwrap().unwrap();
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

    #[test]
    fn whoever_opens_slots_makes_none_and_whoever_reserves_one_makes_that() {
        let home = tempfile::tempdir().unwrap();
        let slots = SpillSlots::open(home.path(), 3).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let count = || fs::read_dir(home.path().join("spill")).unwrap().count();
        let first = slots.reserve(None).unwrap().unwrap();
        assert_eq!(count(), 1);
        let second = slots.reserve(None).unwrap().unwrap();
        assert_eq!(count(), 2);
        drop((first, second));
        slots.allocate().unwrap();
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_slot_that_cannot_be_opened_stops_no_other_and_the_last_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let slot = |index: usize| home.path().join(format!("spill/slot-0{index}"));
        // A folder is no slot, not even for root.
        fs::create_dir_all(slot(0)).unwrap();
        let slots = SpillSlots::open(home.path(), 2).unwrap();
        slots.allocate().unwrap();
        let other = slots.reserve(None).unwrap().unwrap();
        assert!(slots.reserve(None).unwrap_err().to_string().starts_with(&*slot(0).to_string_lossy()));
        drop(other);
        drop(slots);
        fs::remove_file(slot(1)).unwrap();
        fs::create_dir(slot(1)).unwrap();
        let slots = SpillSlots::open(home.path(), 2).unwrap();
        assert!(slots.allocate().unwrap_err().to_string().starts_with(&*slot(0).to_string_lossy()));
        assert!(slots.reserve(None).is_err());
    }

    /// What a new process finds in the slots.
    fn found(home: &Path) -> Vec<StoreWrite> {
        let slots = SpillSlots::open(home, 2).unwrap();
        slots.filled().unwrap().into_iter().map(|(_, write)| write).collect()
    }

    /// Ways in which the files of the slots lose their names.
    fn displaced(home: &Path, how: usize) {
        let spill = home.join("spill");
        match how {
            0 => fs::remove_dir_all(&spill).unwrap(),
            1 => fs::rename(&spill, home.join("elsewhere")).unwrap(),
            2 => {
                fs::rename(&spill, home.join("elsewhere")).unwrap();
                fs::create_dir(&spill).unwrap();
                File::create(spill.join("slot-00")).unwrap();
            }
            _ => fs::remove_file(spill.join("slot-00")).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_reply_is_where_the_next_process_finds_it_though_the_folder_was_removed_or_replaced() {
        for how in 0..4 {
            // Before the slot is reserved, before it is filled, after it was filled.
            for moment in 0..3 {
                let home = tempfile::tempdir().unwrap();
                let slots = SpillSlots::open(home.path(), 2).unwrap();
                slots.allocate().unwrap();
                let displace = |now: usize| {
                    if now == moment {
                        displaced(home.path(), how);
                    }
                };
                displace(0);
                let mut slot = slots.reserve(None).unwrap().unwrap();
                displace(1);
                slot.fill(&write()).await.unwrap();
                displace(2);
                if moment == 2 {
                    assert!(!slot.is_filled(), "{how}: it is noticed");
                    slot.fill(&write()).await.unwrap();
                }
                assert!(slot.is_filled());
                drop(slot);
                drop(slots);
                assert_eq!(found(home.path()).len(), 1, "{how}, {moment}");
            }
        }
    }

    #[tokio::test]
    async fn no_slot_is_made_below_a_data_directory_that_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        let slots = SpillSlots::open(&data_dir, 2).unwrap();
        slots.allocate().unwrap();
        let mut slot = slots.reserve(None).unwrap().unwrap();
        fs::rename(&data_dir, home.path().join("elsewhere")).unwrap();
        slot.fill(&write()).await.unwrap_err();
        assert!(!slot.is_filled());
        slots.reserve(None).unwrap_err();
        assert!(!data_dir.exists());
        fs::rename(home.path().join("elsewhere"), &data_dir).unwrap();
        slot.fill(&write()).await.unwrap();
        assert!(slot.is_filled() && slots.reserve(None).unwrap().is_some(), "it is back");
    }
}
