//! The file of a spill slot: a length, and behind it the text of a write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::store_write::StoreWrite;
use crate::outbound::response::MAX_REPLY;
use crate::private_file::{create_private_dir, open_private, owner_cure};

/// Room for the longest reply, sealed and in base64, with what surrounds it.
pub(super) const SLOT_BYTES: u64 = MAX_REPLY as u64 * 2;

/// Length of the spilled text, in front of it; zero means that the slot is free.
pub(super) const LENGTH_BYTES: usize = 8;

/// Opens the file of a slot that exists.
///
/// # Errors
/// The message names the file, and its owner where that is why.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| unusable(path, &error))
}

/// Opens the file of a slot; makes it, its folder and the room that it needs, where there is none.
///
/// # Errors
/// As [`open_existing`].
pub(super) fn open_slot(path: &Path) -> io::Result<File> {
    allocate(path).map_err(|error| unusable(path, &error))
}

/// An error that names the file, and its owner where that is why.
pub(super) fn unusable(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}{}", path.display(), owner_cure(path, error)))
}

fn allocate(path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Not the data directory above it: a new one would not be the one that the installation has.
    if folder.parent().is_some_and(Path::is_dir) {
        create_private_dir(folder)?;
    }
    let file = open_private(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)?;
    if file.metadata()?.len() < SLOT_BYTES {
        // Allocating does not change what is there, so a slot that another process has filled meanwhile stays filled.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SLOT_BYTES)?;
        file.sync_all()?;
        // The folder itself is an entry of its parent, and may be as new as the slot.
        for folder in path.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
    }
    Ok(file)
}

/// Whether the path still leads to this file, with its room, and it can be written there. One that lost its name holds nothing for
/// whoever looks next.
pub(super) fn is_in_place(file: &File, path: &Path) -> bool {
    let same = file.metadata().and_then(|held| {
        let there = fs::metadata(path)?;
        Ok((held.dev(), held.ino()) == (there.dev(), there.ino()) && held.len() >= SLOT_BYTES)
    });
    same.unwrap_or(false) && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// A part of a slot. Parts are written in their order, each durable before the next is begun, so that whatever survives
/// a crash is a free slot or a whole write.
#[derive(Debug)]
pub(super) struct SlotPart {
    at: u64,
    bytes: Vec<u8>,
}

/// The length is written last: a slot that was being filled when the machine went down is free.
pub(super) fn filling(text: Vec<u8>) -> [SlotPart; 2] {
    let length = (text.len() as u64).to_be_bytes().to_vec();
    [SlotPart { at: LENGTH_BYTES as u64, bytes: text }, SlotPart { at: 0, bytes: length }]
}

/// The length goes first: a slot that was being emptied when the machine went down is free as well.
pub(super) fn emptying(length: u64) -> [SlotPart; 2] {
    let text = usize::try_from(length.min(SLOT_BYTES - LENGTH_BYTES as u64)).unwrap_or(0);
    let zeros = |at: usize, count: usize| SlotPart { at: at as u64, bytes: vec![0; count] };
    [zeros(0, LENGTH_BYTES), zeros(LENGTH_BYTES, text)]
}

impl SlotPart {
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, self.at)?;
        file.sync_data()
    }
}

/// The length of the text; zero in a free slot.
pub(super) fn length_of(file: &mut File) -> io::Result<u64> {
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
pub(super) fn read_text(file: &mut File, length: u64) -> io::Result<Option<StoreWrite>> {
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

#[cfg(test)]
mod tests {
    use super::super::inspect::{SlotState, inspect_slot};
    use super::super::slots::tests::write;
    use super::*;

    fn write_all(file: &File, parts: &[SlotPart]) {
        for part in parts {
            part.write(file).unwrap();
        }
    }

    /// Goes through `parts` as a machine does that loses its power: those before `crash` are whole, and of that one the
    /// second half has reached the disk. What fits into one sector arrives whole or not at all.
    fn crash_in(file: &File, parts: &[SlotPart], crash: usize) {
        write_all(file, &parts[..crash]);
        let torn = &parts[crash];
        if torn.bytes.len() > LENGTH_BYTES {
            let half = torn.bytes.len() / 2;
            file.write_all_at(&torn.bytes[half..], torn.at + half as u64).unwrap();
        }
    }

    #[test]
    fn a_crash_in_the_middle_of_filling_or_emptying_leaves_a_free_slot_or_a_whole_write() {
        let home = tempfile::tempdir().unwrap();
        let text = serde_json::to_vec(&write()).unwrap();
        for crash in 0..2 {
            let path = home.path().join(format!("{crash}"));
            let mut file = open_slot(&path).unwrap();
            crash_in(&file, &filling(text.clone()), crash);
            assert_eq!(inspect_slot(&mut file).unwrap(), SlotState::Free, "filling, {crash}");
            write_all(&file, &filling(text.clone()));
            crash_in(&file, &emptying(text.len() as u64), crash);
            let state = inspect_slot(&mut file).unwrap();
            let whole = matches!(state, SlotState::Filled { .. });
            assert!(
                if crash == 0 { whole } else { state == SlotState::Free },
                "emptying, {crash}: {state:?}"
            );
        }
    }

    #[test]
    fn a_slot_that_is_long_enough_is_left_as_it_is_and_a_short_one_gets_its_room() {
        let home = tempfile::tempdir().unwrap();
        let (long, short) = (home.path().join("long"), home.path().join("short"));
        File::create(&long).unwrap().set_len(SLOT_BYTES).unwrap();
        File::create(&short).unwrap().set_len(SLOT_BYTES - 1).unwrap();
        let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
        let before = blocks(&long);
        open_slot(&long).unwrap();
        open_slot(&short).unwrap();
        assert_eq!(blocks(&long), before);
        assert!(blocks(&short) * 512 >= SLOT_BYTES, "its room is there before it is needed");
    }
}
