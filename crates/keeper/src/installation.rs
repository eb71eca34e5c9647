//! What a data directory and a store must agree on before anything is spent.

use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use jeton_core::entropy::Entropy;
use jeton_core::id::{InstanceId, Revision};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Identity, Maintenance, NodeHost, StoreError};
use jeton_core::keep::provider::Vars;
use jeton_core::seal::{KeyRing, SealError, Sealer};
use jeton_core::secret::Secret;
use jeton_core::time::Clock;

use crate::host::{self, Host, HostRecord, HostRecorder, INSTANCE_FILE};
use crate::memory::high_water::{self, Hold};
use crate::private_file::{create_private_dir, open_private};
use crate::token_crypto::unseal_tokens;
use crate::token_metadata::TokenMetadata;

/// Where the sealing keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file; it is made, mode 0600, when the store is made.
    File(PathBuf),
    /// Text, from the environment.
    Text(Secret),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the key file {}", path.display()),
            Self::Text(_) => f.write_str("the key in JETON__KEY"),
        }
    }
}

/// Why an installation cannot be opened. Nothing was spent and nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// A file or directory cannot be used.
    #[error("{} cannot be used: {source}; {cure}", .path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What to do.
        cure: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The key file can be read by others.
    #[error("{} can be read by others; run `chmod 600 {}` and think about who has read it", .path.display(), .path.display())]
    KeyExposed {
        /// The path.
        path: PathBuf,
    },
    /// The store was made with a key that is not there.
    #[error(
        "the store is sealed, and {key} is missing; put the key back from your backup, a new one would open nothing"
    )]
    KeyMissing {
        /// Where it should be.
        key: String,
    },
    /// The key is not the one that the store was made with.
    #[error(
        "{key} is not the one this store was sealed with ({source}); put the right one back, nothing was changed"
    )]
    KeyDiffers {
        /// Where it is.
        key: String,
        /// What opening said.
        source: SealError,
    },
    /// The key cannot be read as one.
    #[error("{key} cannot be read: {source}")]
    KeyMalformed {
        /// Where it is.
        key: String,
        /// What is wrong.
        source: SealError,
    },
    /// The data directory belongs to a store that is not there.
    #[error("{why}, and the data directory {} belongs to {remembered}", .data_dir.display())]
    StoreLost {
        /// What is there instead.
        why: String,
        /// The data directory.
        data_dir: PathBuf,
        /// What it says of its store.
        remembered: RememberedStore,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a data directory says of the store that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedStore {
    /// The instance id of the store; absent where the file of it cannot be understood.
    pub instance: Option<InstanceId>,
    /// A change that the store had reached, if anything was spent.
    pub revision: Option<Revision>,
}

impl fmt::Display for RememberedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance {
            Some(instance) => write!(f, "the instance {instance}")?,
            None => f.write_str("an instance")?,
        }
        self.revision.map_or(Ok(()), |revision| write!(f, ", which had come to change {}", revision.0))
    }
}

/// Which data directories join a store that many machines share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinMode {
    /// Those that belong to no store yet: of new nodes.
    IfNew,
    /// Also one that belongs to another store, because an operator says so.
    InAnyCase,
}

/// An installation whose store, data directory and sealing key belong together.
#[derive(Debug)]
pub struct Installation {
    pub(crate) sealer: Sealer,
    instance: InstanceId,
    pub(crate) data_dir: PathBuf,
    /// A revision that the store has reached.
    pub(crate) seen: Revision,
    hold: Option<Hold>,
    pub(crate) instance_file: InstanceFile,
    pub(crate) recorder: HostRecorder,
    pub(crate) node_host: NodeHost,
}

/// The instance file as it was when the installation was opened, by its device and its number there.
#[derive(Clone, Debug)]
pub(crate) struct InstanceFile {
    path: PathBuf,
    id: Option<(u64, u64)>,
}

impl InstanceFile {
    fn of(data_dir: &Path) -> Self {
        let path = data_dir.join(INSTANCE_FILE);
        Self { id: file_id(&path), path }
    }

    /// Whether the data directory is not the one that was opened: it was removed, or another is in its place.
    pub(crate) fn is_gone(&self) -> bool {
        self.id.is_some() && self.id != file_id(&self.path)
    }

    /// From now on the data directory belongs to no store: it is the clone of one that does.
    pub(crate) fn mark_cloned(&self) -> io::Result<()> {
        let text = fs::read_to_string(&self.path)?;
        let instance = text.split_whitespace().next().unwrap_or_default();
        fs::write(&self.path, format!("{instance} cloned\n"))
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Installation {
    /// Opens an installation, and makes it where there is none: the data directory (0700), the key file (0600), the
    /// instance id in both places.
    ///
    /// A store whose instance id the data directory does not know was copied or restored, and one that is behind the
    /// high-water mark of the data directory is a backup that was put back: the installation is opened *on hold*,
    /// which serves what lives and spends nothing until [`Installation::adopt`].
    ///
    /// # Errors
    /// [`InstallationError::StoreLost`] for a store that is new while the data directory belongs to another one, until
    /// [`Installation::forget`].
    pub async fn open(
        store: &dyn Maintenance,
        data_dir: &Path,
        key: &KeySource,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, InstallationError> {
        make_directory(data_dir, entropy)?;
        // Before the store is asked: what another process makes meanwhile is not taken for a loss.
        let remembered = Self::remembered(data_dir)?;
        let (known, is_new) = match (store.identity().await?, remembered) {
            (Some(identity), _) => (identity, false),
            (None, Some(remembered)) => {
                let (why, data_dir) = ("the store is empty".to_owned(), data_dir.to_owned());
                return Err(InstallationError::StoreLost { why, data_dir, remembered });
            }
            (None, None) => (initialise(store, key, clock, entropy).await?, true),
        };
        // Before the instance file is read: whoever spends anything has published it.
        let revision = store.revision().await?;
        if is_new || revision == Revision(0) {
            // A store that holds nothing yet can be no copy; its maker may have been killed before it came to this.
            let path = data_dir.join(INSTANCE_FILE);
            publish(&path, |file| instance_text(known.instance, file), Publish::UnlessThere, entropy)?;
        }
        let mut installation = Self::of(&known, revision, data_dir, key)?;
        installation.look_again(store).await?;
        if installation.hold.is_none() && store.is_copy().await? {
            installation.hold = Some(Hold::Copied);
        }
        Ok(installation)
    }

    /// Makes this data directory one of those of a store that many machines share; [`Installation::open`] is for
    /// afterwards, and for a store that is new.
    pub async fn join(
        store: &dyn Maintenance,
        data_dir: &Path,
        joining: JoinMode,
        entropy: &dyn Entropy,
    ) -> Result<(), InstallationError> {
        let Some(identity) = store.identity().await? else { return Ok(()) };
        make_directory(data_dir, entropy)?;
        let how = match joining {
            JoinMode::IfNew => Publish::UnlessThere,
            JoinMode::InAnyCase => Publish::Replace,
        };
        let path = data_dir.join(INSTANCE_FILE);
        publish(&path, |file| instance_text(identity.instance, file), how, entropy)?;
        if joining == JoinMode::InAnyCase {
            // The other nodes know it by its instance id.
            store.adopt(identity.instance).await?;
            // Whatever this data directory has seen before, it follows the store from where that is now.
            let revision = store.revision().await?;
            high_water::reset(data_dir, revision).map_err(|source| unusable_mark(data_dir, source))?;
            forget_machine(data_dir)?;
        }
        Ok(())
    }

    /// Opens the installation of a store that was founded and has come to `revision`, and writes nothing: to look at one
    /// that may be wrong.
    ///
    /// # Errors
    /// The key is missing, is not the one of that store, or can be read by others; a file cannot be read.
    pub fn of(
        known: &Identity,
        revision: Revision,
        data_dir: &Path,
        key: &KeySource,
    ) -> Result<Self, InstallationError> {
        let ring = read_ring(key)?.ok_or_else(|| InstallationError::KeyMissing { key: key.to_string() })?;
        let sealer = Sealer::open_with(ring, &known.key_check)
            .map_err(|source| InstallationError::KeyDiffers { key: key.to_string(), source })?;
        let copied = (read_instance(data_dir)? != Some(known.instance)).then_some(Hold::Copied);
        let mark = high_water::read(data_dir).map_err(|source| unusable_mark(data_dir, source))?;
        let went_back = mark.filter(|mark| revision < *mark);
        let went_back = went_back.map(|seen| Hold::RolledBack { found: revision, seen });
        let hold = copied.or(went_back);
        Ok(Self {
            sealer,
            instance: known.instance,
            data_dir: data_dir.to_owned(),
            seen: revision,
            hold,
            instance_file: InstanceFile::of(data_dir),
            recorder: HostRecorder::default(),
            node_host: NodeHost::default(),
        })
    }

    /// Compares this machine, and what is recorded outside the data directory, with what was recorded when something was spent
    /// last; records it anew from then on. What does not fit puts the installation on hold. Answers what is recorded.
    ///
    /// # Errors
    /// A file of the data directory cannot be read.
    pub fn check_host(&mut self, host: &Host) -> Result<HostRecord, InstallationError> {
        let path = self.data_dir.join(INSTANCE_FILE);
        let read = fs::read_to_string(&path);
        let unusable =
            |source| InstallationError::File { path, cure: "jeton must be able to read it", source };
        let text = match read {
            Err(error) if is_absent(&error) => return Ok(HostRecord::default()),
            Err(error) => return Err(unusable(error)),
            Ok(text) => text,
        };
        let record = HostRecord::read(&self.data_dir, &text, host).map_err(unusable)?;
        self.node_host = host.of_node(&text, self.instance_file.id.map(|(device, _)| device));
        self.hold = self.hold.or_else(|| record.hold(&self.data_dir, host, self.seen));
        self.recorder = HostRecorder::new(host.clone(), record.mark.clone());
        Ok(record)
    }

    /// Asks the store once more how far it has come, where it seems to have gone back in time: another process may have spent something,
    /// and marked it, since it was asked. Whoever compares marks with a store that others use does this after it.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn look_again(&mut self, store: &dyn Maintenance) -> Result<(), InstallationError> {
        if self.seems_rolled_back() {
            self.note_revision(store.revision().await?);
        }
        Ok(())
    }

    /// Whether the store is behind a mark, as far as it had come when it was asked.
    pub fn seems_rolled_back(&self) -> bool {
        matches!(self.hold, Some(Hold::RolledBack { .. }))
    }

    /// The store has come to `revision` by now: a mark that is no higher holds nothing up.
    pub fn note_revision(&mut self, revision: Revision) {
        self.seen = self.seen.max(revision);
        self.hold = match self.hold {
            Some(Hold::RolledBack { seen, .. }) if revision >= seen => None,
            Some(Hold::RolledBack { seen, .. }) => Some(Hold::RolledBack { found: revision, seen }),
            hold => hold,
        };
    }

    /// The store that this data directory belongs to, whichever; `None` for one that belongs to none yet. A high-water mark
    /// without an instance file tells of a store too.
    ///
    /// # Errors
    /// A file of it cannot be read.
    pub fn remembered(data_dir: &Path) -> Result<Option<RememberedStore>, InstallationError> {
        let path = data_dir.join(INSTANCE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => Some(text),
            Err(error) if is_absent(&error) => None,
            Err(source) => {
                return Err(InstallationError::File { path, cure: "jeton must be able to read it", source });
            }
        };
        let mark = high_water::read(data_dir).map_err(|source| unusable_mark(data_dir, source))?;
        let revision = mark.filter(|mark| *mark > Revision(0));
        if text.is_none() && revision.is_none() {
            return Ok(None);
        }
        let instance = text.and_then(|text| parse_instance(&String::from_utf8_lossy(&text)));
        Ok(Some(RememberedStore { instance, revision }))
    }

    /// Makes a data directory forget the store that it belongs to, which is gone for good: the next [`Installation::open`]
    /// begins a new one in it. The sealing key and the spill slots stay.
    ///
    /// # Errors
    /// A file of it cannot be changed.
    pub fn forget(data_dir: &Path) -> Result<(), InstallationError> {
        high_water::reset(data_dir, Revision(0)).map_err(|source| unusable_mark(data_dir, source))?;
        let path = data_dir.join(INSTANCE_FILE);
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => {
                Err(InstallationError::File { path, cure: "jeton must be able to remove it", source: error })
            }
            _ => Ok(()),
        }
    }

    /// The variables that consents and replies of a connection have brought; none where they cannot be opened.
    pub fn captured(&self, row: &Connection) -> Vars {
        let opened = row
            .tokens
            .as_ref()
            .and_then(|tokens| unseal_tokens(&self.sealer, &row.name, row.generation, tokens).ok());
        TokenMetadata::from_text(opened.and_then(|opened| opened.extras).as_ref()).vars
    }

    /// Takes a copied or restored database over: store and data directory get a new instance id in common, so that
    /// the original, if it still runs elsewhere, is the one that no longer matches its copy. The high-water mark begins
    /// anew where the store is.
    pub async fn adopt(
        &mut self,
        store: &dyn Maintenance,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<(), InstallationError> {
        let instance = InstanceId::generate(clock.now(), entropy);
        store.adopt(instance).await?;
        self.instance = instance;
        let path = self.data_dir.join(INSTANCE_FILE);
        publish(&path, |file| instance_text(instance, file), Publish::Replace, entropy)?;
        self.instance_file = InstanceFile::of(&self.data_dir);
        self.seen = store.revision().await?;
        high_water::reset(&self.data_dir, self.seen)
            .map_err(|source| unusable_mark(&self.data_dir, source))?;
        forget_machine(&self.data_dir)?;
        self.recorder = HostRecorder::default();
        self.hold = None;
        Ok(())
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The instance id of the store.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// What a node of it tells the others of where it runs, once [`Installation::check_host`] has looked.
    pub fn node_host(&self) -> &NodeHost {
        &self.node_host
    }

    /// Whether nothing may be spent.
    pub fn on_hold(&self) -> bool {
        self.hold.is_some()
    }

    /// Why nothing may be spent, where that is so.
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }
}

/// Makes key and identity of a new installation. Several processes may do so at once: the first to publish each of them
/// wins, and all of them go on with the winner's.
async fn initialise(
    store: &dyn Maintenance,
    key: &KeySource,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Identity, InstallationError> {
    if let KeySource::File(path) = key {
        publish(path, |_| KeyRing::generate(entropy).to_text(), Publish::UnlessThere, entropy)?;
    }
    let ring = read_ring(key)?.ok_or_else(|| InstallationError::KeyMissing { key: key.to_string() })?;
    let instance = InstanceId::generate(clock.now(), entropy);
    let (_, key_check) = Sealer::create(ring, entropy);
    Ok(store.initialise(Identity { instance, key_check }).await?)
}

/// Whether a path leads nowhere.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn forget_machine(data_dir: &Path) -> Result<(), InstallationError> {
    let cure = "jeton must be able to remove files there";
    host::forget_machine(data_dir).map_err(|source| InstallationError::File {
        path: data_dir.to_owned(),
        cure,
        source,
    })
}

fn unusable_mark(data_dir: &Path, source: io::Error) -> InstallationError {
    let cure = "jeton must be able to read and write the high-water mark in its data directory";
    InstallationError::File { path: data_dir.to_owned(), cure, source }
}

fn read_ring(key: &KeySource) -> Result<Option<KeyRing>, InstallationError> {
    let malformed = |source| InstallationError::KeyMalformed { key: key.to_string(), source };
    match key {
        KeySource::Text(text) => KeyRing::parse(text.reveal()).map(Some).map_err(malformed),
        KeySource::File(path) => {
            let unusable = |source| InstallationError::File {
                path: path.clone(),
                cure: "jeton must be able to read its key",
                source,
            };
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unusable(error)),
            };
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(InstallationError::KeyExposed { path: path.clone() });
            }
            let text = Secret::from(fs::read_to_string(path).map_err(unusable)?);
            KeyRing::parse(text.reveal()).map(Some).map_err(malformed)
        }
    }
}

fn read_instance(data_dir: &Path) -> Result<Option<InstanceId>, InstallationError> {
    let path = data_dir.join(INSTANCE_FILE);
    let read = fs::metadata(&path).and_then(|file| Ok((file, fs::read_to_string(&path)?)));
    match read {
        // A file that is not the one that was made here says nothing about this store: the installation is on hold, as
        // without the file.
        Ok((file, text)) => Ok(parse_instance(&text).filter(|id| instance_text(*id, &file).reveal() == text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InstallationError::File { path, cure: "jeton must be able to read it", source }),
    }
}

/// The id in the text of an instance file.
fn parse_instance(text: &str) -> Option<InstanceId> {
    text.split_whitespace().next()?.parse().ok()
}

/// What stands in the instance file: the id, and which very file it is. A copy of the whole data directory has the same
/// id in another file, and so is known for a copy.
fn instance_text(instance: InstanceId, file: &Metadata) -> Secret {
    let made = file.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    Secret::from(format!("{instance} {} {}\n", file.ino(), made.unwrap_or_default().as_nanos()))
}

fn make_directory(path: &Path, entropy: &dyn Entropy) -> Result<(), InstallationError> {
    let unusable =
        |source| InstallationError::File { path: path.to_owned(), cure: cure_for_directory(&source), source };
    create_private_dir(path).map_err(unusable)?;
    // Only writing shows that it can be written: modes, read-only mounts and full disks differ.
    let probe = path.join(format!(".probe-{}", unlike_any_other(entropy)));
    match write_private(&probe, |_| Secret::new("probe")) {
        // What lives can be served without writing, and nothing is spent until the store can record it.
        Err(error) if is_full(&error) && path.join(INSTANCE_FILE).exists() => {
            tracing::warn!(
                data_dir = %path.display(), %error,
                "the data directory is full: living tokens are served, and nothing is refreshed until there is space"
            );
            Ok(())
        }
        written => written.and_then(|()| fs::remove_file(&probe)).map_err(unusable),
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What helps against a data directory that cannot be written.
fn cure_for_directory(error: &io::Error) -> &'static str {
    if is_full(error) {
        "free space there, or raise the quota or limit of the user that jeton runs as"
    } else {
        "give the data directory a path that jeton may write to (`data_dir`, or JETON__DATA_DIR)"
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Publish {
    UnlessThere,
    Replace,
}

/// Puts a file in place whole or not at all, mode 0600 from its creation, durable before it returns.
fn publish(
    path: &Path,
    content: impl FnOnce(&Metadata) -> Secret,
    how: Publish,
    entropy: &dyn Entropy,
) -> Result<(), InstallationError> {
    // A node joins its store at every start, also on a full disk.
    if how == Publish::UnlessThere && path.exists() {
        return Ok(());
    }
    let cure = "jeton must be able to write there";
    let unusable = |source| InstallationError::File { path: path.to_owned(), cure, source };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", unlike_any_other(entropy)));
    let draft = PathBuf::from(draft);
    write_private(&draft, content).map_err(unusable)?;
    let placed = match how {
        Publish::Replace => fs::rename(&draft, path),
        Publish::UnlessThere => {
            let linked = fs::hard_link(&draft, path);
            fs::remove_file(&draft).map_err(unusable)?;
            match linked {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        }
    };
    placed.map_err(unusable)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(unusable)
}

/// Part of a file name. The id of the process would not do: in two containers that share a folder it may be the same.
fn unlike_any_other(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}

fn write_private(path: &Path, content: impl FnOnce(&Metadata) -> Secret) -> io::Result<()> {
    let mut file = open_private(OpenOptions::new().write(true).create_new(true), path)?;
    let written = file
        .metadata()
        .and_then(|made| file.write_all(content(&made).reveal().as_bytes()))
        .and_then(|()| file.sync_all());
    if written.is_err()
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(path = %path.display(), %error, "a file that could not be written whole stays behind");
    }
    written
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use jeton_core::entropy::SystemEntropy;
    use jeton_core::time::SystemClock;

    use super::*;

    /// Names the directory to the process of the test below that may not write.
    const DIRECTORY: &str = "JETON_TEST_DIRECTORY";

    #[test]
    fn a_data_directory_with_no_room_is_told_to_have_none_and_nothing_is_left_in_it() {
        if let Some(path) = env::var_os(DIRECTORY) {
            let refused = make_directory(Path::new(&path), &SystemEntropy).unwrap_err().to_string();
            assert!(refused.contains("; free space there, or raise"), "{refused}");
            assert!(refused.starts_with(&*path.to_string_lossy()), "{refused}");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        // A process that may make files and write nothing into them.
        let written = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ && ulimit -f 0 && exec "$0" --exact "$1" --nocapture"#])
            .arg(env::current_exe().unwrap())
            .arg("installation::tests::a_data_directory_with_no_room_is_told_to_have_none_and_nothing_is_left_in_it")
            .env(DIRECTORY, home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&written.stdout);
        assert!(written.status.success() && said.contains("1 passed"), "{written:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_that_was_raised_while_the_store_was_read_is_no_sign_of_a_rollback() {
        let home = tempfile::tempdir().unwrap();
        let text = KeyRing::generate(&SystemEntropy).to_text();
        let (_, key_check) = Sealer::create(KeyRing::parse(text.reveal()).unwrap(), &SystemEntropy);
        let key = KeySource::Text(text);
        let instance = InstanceId::generate(SystemClock.now(), &SystemEntropy);
        let known = Identity { instance, key_check };
        let path = home.path().join(INSTANCE_FILE);
        publish(&path, |file| instance_text(instance, file), Publish::UnlessThere, &SystemEntropy).unwrap();
        high_water::raise(home.path(), Revision(9)).unwrap();
        let mut installation = Installation::of(&known, Revision(7), home.path(), &key).unwrap();
        assert!(installation.seems_rolled_back());
        installation.note_revision(Revision(8));
        assert_eq!(installation.hold(), Some(Hold::RolledBack { found: Revision(8), seen: Revision(9) }));
        installation.note_revision(Revision(9));
        assert_eq!(installation.hold(), None);
    }

    #[test]
    fn a_data_directory_that_may_not_be_written_gets_another_cure_than_one_that_is_full() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert!(cure_for_directory(&full).starts_with("free space"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(cure_for_directory(&denied).starts_with("give the data directory a path"));
    }
}
