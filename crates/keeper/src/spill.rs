//! Where a token reply goes when the store cannot take it.
//!
//! Before a refresh token is spent, a *spill slot* is reserved: a file of the data directory whose blocks are already
//! allocated, so that writing it needs no space. If the store is full, read-only or down when the reply arrives, the
//! write that the store refused goes into the slot, sealed as it is and made durable; it is offered to the store
//! again until the store has taken it. The write carries its attempt's id, so that offering it twice does it once.
//!
//! Slots are shared by all processes of a data directory; a slot is held through a lock of the operating system,
//! which dies with its holder. What a dead process left in a slot is returned by whoever looks next.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::ports::{Commit, Connect, Fail};
use serde::{Deserialize, Serialize};

use crate::outbound::LONGEST_REPLY;

/// Room for the longest reply, sealed and in base64, with what surrounds it.
const SLOT_BYTES: u64 = LONGEST_REPLY as u64 * 2;

/// Length of the spilled text, in front of it; zero means that the slot is free.
const LENGTH_BYTES: usize = 8;

/// A write that the store has not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Write {
    /// A new token set.
    Commit(Commit),
    /// A failure, with a reply that could not be read.
    Fail(Fail),
    /// The grant that a code bought.
    Connect(Connect),
}

/// The spill slots of a data directory.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Mutex<Option<File>>>,
    /// Slots of a time when there were more of them: they are not reserved any more, and what is in them returns.
    beyond: Vec<Mutex<Option<File>>>,
}

/// A reserved slot. Dropping it frees the slot, unless it was filled: then it stays filled for whoever returns it.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    home: &'a Mutex<Option<File>>,
    file: Option<File>,
    /// Whether it holds a write that was put there while it was reserved.
    filled: bool,
}

impl Slots {
    /// Opens `count` slots below `data_dir` and allocates what is not allocated yet.
    pub(crate) fn open(data_dir: &Path, count: usize) -> io::Result<Self> {
        let directory = directory(data_dir);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let slots = (0..count)
            .map(|index| open_slot(&slot_path(&directory, index)).map(|file| Mutex::new(Some(file))))
            .collect::<io::Result<_>>()?;
        let beyond = slots_beyond(&directory, count)?;
        File::open(&directory)?.sync_all()?;
        Ok(Self { slots, beyond })
    }

    /// A free slot, or none while all of them are taken or filled.
    pub(crate) fn reserve(&self) -> io::Result<Option<Slot<'_>>> {
        for slot in locked(&self.slots) {
            let mut slot = slot?;
            if slot.length()? == 0 {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Slots that hold a write and that nobody else holds.
    pub(crate) fn filled(&self) -> io::Result<Vec<(Slot<'_>, Write)>> {
        let mut filled = Vec::new();
        for slot in locked(&self.slots).chain(locked(&self.beyond)) {
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
}

/// The slots that could be locked now, each unlocked when it is dropped.
fn locked(slots: &[Mutex<Option<File>>]) -> impl Iterator<Item = io::Result<Slot<'_>>> {
    slots.iter().filter_map(|home| {
        let file = home.lock().expect("no panic happens under this lock").take()?;
        // From here on, dropping the slot puts the file back.
        let mut slot = Slot { home, file: Some(file), filled: false };
        match slot.file().try_lock() {
            Ok(()) => Some(Ok(slot)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => Some(Err(error)),
        }
    })
}

fn slot_path(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("slot-{index:02}"))
}

/// The slots that there are besides the first `count`.
fn slots_beyond(directory: &Path, count: usize) -> io::Result<Vec<Mutex<Option<File>>>> {
    let used: Vec<_> = (0..count).map(|index| slot_path(directory, index)).collect();
    let mut beyond = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !used.contains(&path) {
            beyond.push(Mutex::new(Some(open_slot(&path)?)));
        }
    }
    Ok(beyond)
}

impl Slot<'_> {
    fn file(&mut self) -> &mut File {
        self.file.as_mut().expect("the file is taken only when the slot is dropped")
    }

    fn length(&mut self) -> io::Result<u64> {
        length_of(self.file())
    }

    /// Makes `write` durable in this slot. The length is written last: a slot that was being filled when the machine
    /// went down is free.
    pub(crate) fn fill(&mut self, write: &Write) -> io::Result<()> {
        let text = serde_json::to_vec(write)?;
        let length = text.len() as u64;
        if length + LENGTH_BYTES as u64 > SLOT_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the write is larger than a spill slot"));
        }
        let file = self.file();
        file.seek(SeekFrom::Start(LENGTH_BYTES as u64))?;
        file.write_all(&text)?;
        file.sync_data()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&length.to_be_bytes())?;
        file.sync_data()?;
        self.filled = true;
        Ok(())
    }

    /// Whether [`Slot::fill`] has made a write durable here.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled
    }

    fn read(&mut self) -> io::Result<Option<Write>> {
        let length = self.length()?;
        read_text(self.file(), length)
    }

    /// Frees the slot for good: the store has taken the write.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let length = self.length()?;
        let file = self.file();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0; LENGTH_BYTES])?;
        let text = usize::try_from(length.min(SLOT_BYTES - LENGTH_BYTES as u64)).unwrap_or(0);
        file.write_all(&vec![0; text])?;
        file.sync_data()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // An unlock that fails leaves the slot locked until the process ends: it is missing then, never shared.
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a spill slot could not be unlocked");
            }
            *self.home.lock().expect("no panic happens under this lock") = Some(file);
        }
    }
}

/// What a spill slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing.
    Free,
    /// A reply that the store has not taken yet.
    Filled {
        /// The connection that it is for.
        connection: ConnectionName,
        /// The attempt that it belongs to.
        attempt: AttemptId,
    },
    /// Something that is no reply.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
}

/// Looks at the slots below `data_dir`, in the order of their names, and touches none; there are none where no process
/// has made any. A slot that is being filled or emptied meanwhile is shown as it was before or after.
///
/// # Errors
/// The folder or a slot cannot be read.
pub fn look(data_dir: &Path) -> io::Result<Vec<(PathBuf, SlotState)>> {
    let entries = match fs::read_dir(directory(data_dir)) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let state = look_at(&mut File::open(&path)?)?;
            Ok((path, state))
        })
        .collect()
}

fn look_at(file: &mut File) -> io::Result<SlotState> {
    let length = length_of(file)?;
    match read_text(file, length) {
        Ok(None) => Ok(SlotState::Free),
        Ok(Some(write)) => {
            let (connection, attempt) = write.names();
            Ok(SlotState::Filled { connection: connection.clone(), attempt })
        }
        // Emptied while it was read: the length goes first.
        Err(_) if length_of(file)? == 0 => Ok(SlotState::Free),
        Err(error) => Ok(SlotState::Damaged { why: error.to_string() }),
    }
}

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("spill")
}

fn length_of(file: &mut File) -> io::Result<u64> {
    let mut length = [0; LENGTH_BYTES];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut length) {
        Ok(()) => Ok(u64::from_be_bytes(length)),
        // Made a moment ago, and not allocated yet.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads the text behind a length that was just read.
fn read_text(file: &mut File, length: u64) -> io::Result<Option<Write>> {
    if length == 0 {
        return Ok(None);
    }
    if length > SLOT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a spill slot is damaged: its length is absurd",
        ));
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact(&mut text)?;
    serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
}

fn open_slot(path: &PathBuf) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.len() < SLOT_BYTES {
        // Allocating does not change what is there, so a slot that another process has filled meanwhile stays filled.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SLOT_BYTES)?;
        file.sync_all()?;
    }
    Ok(file)
}

impl Write {
    /// The connection and the attempt that it belongs to.
    pub(crate) fn names(&self) -> (&ConnectionName, AttemptId) {
        match self {
            Self::Commit(commit) => (&commit.connection, commit.attempt),
            Self::Fail(fail) => (&fail.connection, fail.attempt),
            Self::Connect(connect) => (&connect.connection, connect.attempt),
        }
    }
}
