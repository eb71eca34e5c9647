//! Which machine a data directory is used on, and what is recorded of it outside. The clone of a disk has the same files, with the
//! same numbers: only what is not on that disk tells it from the original.
//!
//! A record is written when a token is spent, beside the high-water mark: in the data directory the machine, outside it (in
//! [`Host::mark_dir`]) the path of the data directory and the same mark once more. Whoever only looks writes nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::access::TokenHash;
use jeton_core::id::Revision;
use jeton_core::keep::ports::NodeHost;

use crate::memory::high_water::{self, Hold};
use crate::private_file::{create_private_dir, open_private};

/// The file of the data directory with the id of the store that it belongs to.
pub(crate) const INSTANCE_FILE: &str = "instance";

/// The file of the data directory with the machine and its boot.
const HOST_FILE: &str = "host";

/// The file of a mark with the path of its data directory.
const PATH_FILE: &str = "data-dir";

/// What tells this machine from others, and where marks are kept outside of data directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// A digest of the machine's id. Absent where the id says nothing: in a container, or while the system has none that
    /// lasts.
    pub machine: Option<String>,
    /// The id of this boot of the kernel.
    pub boot: Option<String>,
    /// A folder on another disk than the data directory, at best.
    pub mark_dir: Option<PathBuf>,
}

impl Host {
    /// This machine. In a container the machine id is that of the image, or new with each container, and is not used.
    pub fn system(mark_dir: Option<PathBuf>) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let contained =
            ["/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/run/secrets/kubernetes.io"];
        let is_container = contained.iter().any(|path| Path::new(path).exists());
        let lasting = |id: &String| read("/run/machine-id").as_ref() != Some(id);
        let machine = read("/etc/machine-id").filter(|id| !is_container && is_machine_id(id) && lasting(id));
        Self {
            machine: machine.map(|id| digest(&format!("jeton machine {id}"))),
            boot: read("/proc/sys/kernel/random/boot_id").filter(|id| !id.is_empty()),
            mark_dir,
        }
    }

    /// What other nodes learn of one here, on the data directory whose instance file has this text and is on this device.
    pub(crate) fn of_node(&self, instance_text: &str, device: Option<u64>) -> NodeHost {
        NodeHost {
            machine: self.machine.clone(),
            boot: self.boot.clone(),
            data_dir: Some(digest(&format!("jeton data directory {instance_text}"))),
            device,
        }
    }
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

fn digest(text: &str) -> String {
    let mut hex = TokenHash::of(text.as_bytes()).to_hex();
    hex.truncate(32);
    hex
}

/// What is recorded of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRecord {
    /// The machine that something was spent on last.
    pub machine: Option<String>,
    /// Its boot then.
    pub boot: Option<String>,
    /// The folder outside that is for this data directory, if there is a place for it.
    pub mark: Option<PathBuf>,
    /// The data directory that the mark outside is of.
    pub marked_path: Option<PathBuf>,
    /// The change that the store had reached when something was spent last, by the mark outside.
    pub marked: Option<Revision>,
}

impl HostRecord {
    /// Reads what is recorded of the data directory whose instance file has this text.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn read(data_dir: &Path, instance_text: &str, host: &Host) -> io::Result<Self> {
        let text = read_or_none(&data_dir.join(HOST_FILE))?.unwrap_or_default();
        let mut words = text.split_whitespace().map(|word| Some(word.to_owned()).filter(|word| word != "-"));
        let (machine, boot) = (words.next().flatten(), words.next().flatten());
        let mark = host.mark_dir.as_ref().map(|folder| folder.join(digest(instance_text)));
        let outside = |mark: &PathBuf| {
            let path = read_or_none(&mark.join(PATH_FILE))?;
            let path = path.map(|path| PathBuf::from(path.trim_end_matches('\n')));
            Ok::<_, io::Error>((path, high_water::read(mark)?))
        };
        // A folder that cannot be read is that of another user, and says nothing.
        let (marked_path, marked) = mark.as_ref().and_then(|mark| outside(mark).ok()).unwrap_or_default();
        Ok(Self { machine, boot, mark, marked_path, marked })
    }

    /// Why nothing may be spent by what is recorded, on this machine, with a store that has come to `found`.
    pub(crate) fn hold(&self, data_dir: &Path, host: &Host, found: Revision) -> Option<Hold> {
        let differ =
            |known: &Option<String>, now: &Option<String>| known.is_some() && now.is_some() && known != now;
        // Under one kernel it is one machine, whatever its id is by now.
        if differ(&self.machine, &host.machine) && (self.boot.is_none() || self.boot != host.boot) {
            return Some(Hold::OtherMachine);
        }
        if self.marked_path.as_ref().is_some_and(|marked| is_twin(marked, data_dir)) {
            return Some(Hold::Cloned);
        }
        self.marked.filter(|marked| found < *marked).map(|seen| Hold::RolledBack { found, seen })
    }
}

/// Whether another data directory has an instance file of the same text.
fn is_twin(marked: &Path, data_dir: &Path) -> bool {
    let instance = |folder: &Path| {
        let path = folder.join(INSTANCE_FILE);
        let found = fs::metadata(&path)?;
        Ok::<_, io::Error>(((found.dev(), found.ino()), fs::read(&path)?))
    };
    match (instance(marked), instance(data_dir)) {
        (Ok((there, its_text)), Ok((here, our_text))) => there != here && its_text == our_text,
        // It was moved, and what is there by now is none.
        _ => false,
    }
}

fn read_or_none(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Forgets the machine: a person says that the data directory belongs to this one.
pub(crate) fn forget_machine(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(data_dir.join(HOST_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the record when something is spent.
#[derive(Debug, Default)]
pub(crate) struct HostRecorder {
    host: Host,
    mark: Option<PathBuf>,
    recorded: AtomicBool,
}

impl HostRecorder {
    pub(crate) fn new(host: Host, mark: Option<PathBuf>) -> Self {
        Self { host, mark, recorded: AtomicBool::new(false) }
    }

    /// Records the machine, once, and the mark outside. What cannot be written stops nobody: it is one more line of defence.
    pub(crate) fn record(&self, data_dir: &Path, revision: Revision) {
        if !self.recorded.swap(true, Ordering::AcqRel)
            && let Err(error) = self.record_host(data_dir)
        {
            tracing::warn!(%error, "the machine, or the place for a mark outside the data directory, cannot be recorded");
        }
        let Some(mark) = self.mark.as_ref().filter(|mark| mark.exists()) else { return };
        if let Err(error) = high_water::raise(mark, revision) {
            tracing::warn!(path = %mark.display(), %error, "the mark outside the data directory cannot be written");
        }
    }

    fn record_host(&self, data_dir: &Path) -> io::Result<()> {
        if self.host.machine.is_some() {
            let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
            replace(
                &data_dir.join(HOST_FILE),
                &format!("{} {}\n", word(&self.host.machine), word(&self.host.boot)),
            )?;
        }
        if let Some(mark) = &self.mark {
            create_private_dir(mark)?;
            replace(&mark.join(PATH_FILE), &format!("{}\n", data_dir.canonicalize()?.display()))?;
        }
        Ok(())
    }
}

/// Puts a text in place of a file. One that was torn by a crash says nothing, and the next process writes it anew.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut file = open_private(OpenOptions::new().write(true).create(true).truncate(true), path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: &str, boot: &str) -> Host {
        Host { machine: Some(id.to_owned()), boot: Some(boot.to_owned()), mark_dir: None }
    }

    fn data_dir(folder: &Path, name: &str, instance: &str) -> PathBuf {
        let made = folder.join(name);
        fs::create_dir(&made).unwrap();
        fs::write(made.join(INSTANCE_FILE), instance).unwrap();
        made
    }

    const FOUND: Revision = Revision(9);

    #[test]
    fn another_machine_is_known_by_its_id_and_its_boot_and_what_is_unknown_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let here = data_dir(folder.path(), "here", "one");
        HostRecorder::new(machine("a", "1"), None).record(&here, FOUND);
        let hold = |host: &Host| HostRecord::read(&here, "one", host).unwrap().hold(&here, host, FOUND);
        assert_eq!(hold(&machine("b", "2")), Some(Hold::OtherMachine));
        assert_eq!(hold(&Host { boot: None, ..machine("b", "") }), Some(Hold::OtherMachine));
        for same in [
            machine("a", "1"),
            machine("a", "2"),
            // The id was made anew while the machine ran.
            machine("b", "1"),
            // A container on the same disk, here or elsewhere.
            Host { boot: Some("2".to_owned()), ..Host::default() },
            Host::default(),
        ] {
            assert_eq!(hold(&same), None, "{same:?}");
        }
        // A container that spends something does not hide the machine.
        HostRecorder::new(Host::default(), None).record(&here, FOUND);
        assert_eq!(hold(&machine("b", "2")), Some(Hold::OtherMachine));
        fs::write(here.join(HOST_FILE), "").unwrap();
        assert_eq!(hold(&machine("b", "2")), None, "what was torn says nothing");
    }

    #[test]
    fn the_clone_of_a_disk_is_known_by_the_mark_outside_and_a_data_directory_that_was_moved_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host { mark_dir: Some(folder.path().join("marks")), ..Host::default() };
        let original = data_dir(folder.path(), "original", "one");
        let record = |of: &Path| HostRecord::read(of, "one", &host).unwrap();
        HostRecorder::new(host.clone(), record(&original).mark).record(&original, FOUND);
        assert_eq!(record(&original).hold(&original, &host, FOUND), None);

        let clone = data_dir(folder.path(), "clone", "one");
        assert_eq!(record(&clone).hold(&clone, &host, FOUND), Some(Hold::Cloned));
        assert_eq!(record(&original).hold(&original, &host, FOUND), None, "the original goes on");
        // Another node of the same store has an instance file of its own.
        let other = data_dir(folder.path(), "other", "two");
        assert_eq!(HostRecord::read(&other, "two", &host).unwrap().hold(&other, &host, Revision(1)), None);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&original, &link).unwrap();
        assert_eq!(record(&link).hold(&link, &host, FOUND), None, "another path to the same");

        fs::remove_dir_all(&clone).unwrap();
        fs::rename(&original, &clone).unwrap();
        assert_eq!(record(&clone).hold(&clone, &host, FOUND), None, "it was moved");
    }

    #[test]
    fn a_disk_that_was_rolled_back_is_known_by_the_mark_outside() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host { mark_dir: Some(folder.path().join("marks")), ..Host::default() };
        let here = data_dir(folder.path(), "here", "one");
        let record = || HostRecord::read(&here, "one", &host).unwrap();
        let recorder = HostRecorder::new(host.clone(), record().mark);
        assert_eq!(record().hold(&here, &host, Revision(0)), None, "nothing was spent");
        recorder.record(&here, Revision(7));
        recorder.record(&here, FOUND);
        recorder.record(&here, Revision(8));
        assert_eq!(record().hold(&here, &host, FOUND), None);
        let back = Some(Hold::RolledBack { found: Revision(8), seen: FOUND });
        assert_eq!(record().hold(&here, &host, Revision(8)), back);
    }

    #[test]
    fn a_mark_that_cannot_be_written_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let here = data_dir(folder.path(), "here", "one");
        let host = Host { mark_dir: Some(here.join(INSTANCE_FILE)), ..Host::default() };
        let record = HostRecord::read(&here, "one", &host).unwrap();
        HostRecorder::new(host.clone(), record.mark.clone()).record(&here, FOUND);
        assert_eq!(record.hold(&here, &host, Revision(0)), None);
    }

    #[test]
    fn only_an_id_that_a_machine_can_have_is_one() {
        assert!(is_machine_id("3d1219c7c4c5404aaa1f6d2a48adfda4"));
        for none in ["", "uninitialized", "00000000000000000000000000000000", "3d1219c7"] {
            assert!(!is_machine_id(none), "{none}");
        }
    }
}
