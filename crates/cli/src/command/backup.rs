//! `jeton backup` and `jeton restore`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_keeper::{Installation, create_private_dir};
use jeton_store::sqlite::{self, SqliteInspection};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{Settings, StoreSettings};

/// How long to wait for a database that others write to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Copy the SQLite database into a new file, also while `jeton serve` runs
///
/// The tokens in it are sealed. The sealing key is not in it, and nobody can open it without: keep a copy of the key elsewhere.
/// `jeton restore` puts it back. PostgreSQL has its own backups.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The new file
    file: PathBuf,
}

/// Put a file of `jeton backup` in the place of the SQLite database
///
/// `jeton serve` must be stopped. The database that was there stays beside it. Where tokens were spent since the backup, the
/// installation is on hold until `jeton adopt`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The file of `jeton backup`
    file: PathBuf,
}

impl BackupArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let database = database(settings)?.to_owned();
        let (file, shown) = (self.file.clone(), self.file.display());
        let made = blocking(move || sqlite::backup(&database, &file, PATIENCE)).await?;
        let count = made.connections.len();
        let text = format!(
            "{shown} holds the database with {count} of the connections; {} is not in it, and nobody can open it without: keep a \
             copy elsewhere",
            settings.key
        );
        Ok(output
            .print(&text, &json!({ "file": self.file, "connections": count, "revision": made.revision }))?)
    }
}

impl RestoreArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let database = database(settings)?.to_owned();
        let folder = database.parent().unwrap_or(Path::new(".")).to_owned();
        let (file, old) = (self.file.clone(), database.clone());
        let (backup, running) = blocking(move || {
            let backup = sqlite::usable(&file, PATIENCE)?;
            // What cannot be read any more is the reason to restore.
            let running = sqlite::inspect(&old, PATIENCE).ok().flatten().map(|found| found.nodes);
            Ok((backup, running.unwrap_or_default()))
        })
        .await?;
        if let Some(node) = running.first() {
            let text =
                format!("`jeton serve` runs on this database ({}); stop it, and restore then", node.name);
            return Err(CommandError::new(ErrorCode::InstallationUnusable, text));
        }
        check_key(settings, &backup)?;
        create_private_dir(&folder).map_err(|error| {
            let text =
                format!("the folder {} cannot be created: {error}; correct `store.url`", folder.display());
            CommandError::new(ErrorCode::InstallationUnusable, text)
        })?;
        let (file, shown) = (self.file.clone(), database.display().to_string());
        let kept = blocking(move || sqlite::restore(&file, &database)).await?;
        let before = kept
            .as_ref()
            .map_or_else(String::new, |kept| format!("; what was there is now {}", kept.display()));
        let text = format!(
            "{shown} is as it was when the backup was made, with {} of the connections{before}; `jeton doctor` says whether it is \
             on hold until `jeton adopt`",
            backup.connections.len()
        );
        let value = json!({ "database": shown, "connections": backup.connections.len(), "kept": kept });
        Ok(output.print(&text, &value)?)
    }
}

/// The file of the database, where that is SQLite.
fn database(settings: &Settings) -> Result<&Path, CommandError> {
    match &settings.store {
        StoreSettings::Sqlite(database) => Ok(database),
        StoreSettings::Postgres(_) => Err(CommandError::new(
            ErrorCode::InstallationUnusable,
            "the store is PostgreSQL, which has its own backups; use `pg_dump`, or copy the server with `pg_basebackup`",
        )),
    }
}

/// Sees that the key of this installation opens the backup.
fn check_key(settings: &Settings, backup: &SqliteInspection) -> Result<(), CommandError> {
    // One of an older schema is read when it is migrated, and its key then.
    let Some(identity) = &backup.identity else { return Ok(()) };
    Installation::of(identity, backup.revision, &settings.data_dir, &settings.key)?;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, CommandError> {
    let done = spawn_blocking(act).await.map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("working on the database broke off: {error}"))
    })?;
    Ok(done?)
}
