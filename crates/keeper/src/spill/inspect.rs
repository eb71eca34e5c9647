//! What lies in the spill slots, for whoever wants to know and touches nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jeton_core::id::{AttemptId, ConnectionName};

use super::slot_file::{length_of, read_text, unusable};

/// How the names of slots begin.
pub(super) const SLOT: &str = "slot-";

/// How the names of files begin that hold what was set aside; the id of the attempt follows.
pub(super) const ASIDE: &str = "aside-";

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
    /// It is no slot: a reply that the store refused for good is kept here. Once the cause is mended, renaming the file
    /// to `slot-` and the id of the attempt, and starting anew, offers it again.
    SetAside {
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

/// Looks at the slots below `data_dir` and at what was set aside, in the order of their names, and touches none; there
/// are none where no process has made any. A slot that is being filled or emptied meanwhile is shown as it was before or
/// after.
///
/// # Errors
/// The folder or a slot cannot be read.
pub fn inspect_spill_slots(data_dir: &Path) -> io::Result<Vec<(PathBuf, SlotState)>> {
    let directory = directory(data_dir);
    let inspect_each = |start: &str| {
        let states = named(&directory, start)?.into_iter().map(|path| {
            let mut file = File::open(&path).map_err(|error| unusable(&path, &error))?;
            let state = inspect_slot(&mut file)?;
            Ok((path, state))
        });
        states.collect::<io::Result<Vec<_>>>()
    };
    let mut seen = match inspect_each(SLOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        slots => slots?,
    };
    for (path, state) in inspect_each(ASIDE)? {
        match state {
            SlotState::Filled { connection, attempt } => {
                seen.push((path, SlotState::SetAside { connection, attempt }));
            }
            // It was being written when the machine went down, and its slot is as full as before.
            SlotState::Free => {}
            state => seen.push((path, state)),
        }
    }
    Ok(seen)
}

pub(super) fn inspect_slot(file: &mut File) -> io::Result<SlotState> {
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

/// The folder of the slots.
pub(super) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("spill")
}

/// The files of the folder whose names begin like this, in the order of their names.
pub(super) fn named(directory: &Path, start: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
