//! Writes files whole or not at all, private, and never over another's change.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use jeton_core::entropy::{Entropy as _, SystemEntropy};
use jeton_core::secret::Secret;

use super::answers::Answers;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// The text of a settings file, if it exists.
pub(super) fn read(path: &Path) -> Result<Option<String>, CommandError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// The value of a variable, from a file of its own.
pub(super) fn read_value(path: &Path) -> Result<Secret, CommandError> {
    let text = fs::read_to_string(path).map(Secret::from).map_err(|error| {
        CommandError::usage(format!("{} cannot be read: {error}; give a file with the value", path.display()))
    })?;
    Ok(Secret::new(text.reveal().trim_end_matches(['\r', '\n'])))
}

/// How the settings at `settings` name `file`, which was given from the working directory.
pub(super) fn as_written(settings: &Path, file: &Path) -> Result<PathBuf, CommandError> {
    if file.is_absolute() || folder(settings) == Path::new(".") {
        return Ok(file.to_owned());
    }
    file.canonicalize().map_err(|error| failed(file, &error))
}

/// Writes a typed client secret into a file beside the settings. Returns the file's name.
pub(super) fn secret_file(settings: &Path, name: &str, answers: &Answers) -> Result<String, CommandError> {
    let file = format!("{name}.secret");
    let path = folder(settings).join(&file);
    let secret = answers.client.secret.as_ref().map_or("", Secret::reveal);
    write_new(&path, format!("{secret}\n").as_bytes()).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            let shown = path.display();
            CommandError::usage(format!(
                "{shown} exists already and was not changed; give it with --client-secret-file, or move it away"
            ))
        } else {
            failed(&path, &error)
        }
    })?;
    Ok(file)
}

/// Removes the file of [`secret_file`], because the settings that name it were not written.
pub(super) fn remove_secret_file(settings: &Path, file: &str) {
    let path = folder(settings).join(file);
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "a client secret that no setting names cannot be removed");
    }
}

/// A file that is written beside the one it becomes. It is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct PendingFile {
    pending: PathBuf,
    /// The final path, with symbolic links resolved.
    target: PathBuf,
}

impl PendingFile {
    /// Writes `text` beside `path`, for its owner only; or with owner and mode of the file `like`.
    pub(super) fn write(path: &Path, text: &str, like: Option<&Path>) -> Result<Self, CommandError> {
        let target = match like {
            Some(like) => like.canonicalize().map_err(|error| failed(like, &error))?,
            None => path.to_owned(),
        };
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        let mut random = [0; 8];
        SystemEntropy.fill(&mut random);
        name.push(format!(".{:016x}.draft", u64::from_le_bytes(random)));
        let made = Self { pending: folder(&target).join(name), target };
        made.fill(text, like).map_err(|error| failed(path, &error))?;
        Ok(made)
    }

    fn fill(&self, text: &str, like: Option<&Path>) -> io::Result<()> {
        write_new(&self.pending, text.as_bytes())?;
        let Some(like) = like else { return Ok(()) };
        let (known, mine) = (fs::metadata(like)?, fs::metadata(&self.pending)?);
        if (known.uid(), known.gid()) != (mine.uid(), mine.gid()) {
            fchown(File::open(&self.pending)?, Some(known.uid()), Some(known.gid()))?;
        }
        fs::set_permissions(&self.pending, fs::Permissions::from_mode(known.permissions().mode() & 0o777))
    }

    /// Moves it to its path, unless a file exists there.
    pub(super) fn create(self) -> Result<(), CommandError> {
        let linked = fs::hard_link(&self.pending, &self.target).and_then(|()| sync(&self.target));
        linked.map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                self.changed()
            } else {
                failed(&self.target, &error)
            }
        })
    }

    /// Replaces a file whose text is `before`.
    pub(super) fn replace(self, before: &str) -> Result<(), CommandError> {
        if fs::read_to_string(&self.target).map_err(|error| failed(&self.target, &error))? != before {
            return Err(self.changed());
        }
        fs::rename(&self.pending, &self.target)
            .and_then(|()| sync(&self.target))
            .map_err(|error| failed(&self.target, &error))
    }

    fn changed(&self) -> CommandError {
        let text = format!(
            "{} was changed by somebody else meanwhile and is not overwritten; run this again",
            self.target.display()
        );
        CommandError::new(ErrorCode::SystemRefused, text)
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // A rename has removed it already.
        if let Err(error) = fs::remove_file(&self.pending)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.pending.display(), %error, "a temporary file cannot be removed");
        }
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = jeton_keeper::open_private(OpenOptions::new().write(true).create_new(true), path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, error: &io::Error) -> CommandError {
    let shown = path.display();
    CommandError::new(
        ErrorCode::SystemRefused,
        format!(
            "{shown} cannot be read or written: {error}; give --config a path that this user may write to"
        ),
    )
}
