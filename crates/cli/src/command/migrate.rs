//! `jeton migrate`.

use std::time::Duration;

use jeton_keeper::Installation;
use jeton_store::sqlite;
use jeton_store::{PostgresOptions, PostgresStore};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::app::{self, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{Settings, StoreSettings};

/// How long to wait for a file that others write to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Migrate the schema of the database
///
/// Nodes of the version before may run meanwhile: a migration removes nothing that they use.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// Change nothing; fail if migrations are missing
    #[arg(long)]
    check: bool,
}

impl MigrateArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let shown = settings.store.redacted();
        if self.check {
            let missing = missing(settings).await?;
            let text = match missing {
                0 => format!("the schema of {shown} is up to date"),
                count => {
                    format!("the schema of {shown} lacks {}; `jeton migrate` makes them", changes(count))
                }
            };
            output.print(&text, &json!({ "missing": missing }))?;
            return if missing == 0 {
                Ok(())
            } else {
                Err(CommandError::reported(ErrorCode::SchemaOutdated))
            };
        }
        let before = migrate(settings).await?;
        let text = match before {
            Before::NoFile => format!("the database {shown} was made, with the schema of this jeton"),
            Before::Lacked(0) => format!("the schema of {shown} was up to date; nothing was changed"),
            Before::Lacked(count) => format!("the schema of {shown} is up to date after {}", changes(count)),
        };
        let made = before == Before::NoFile;
        let applied = if let Before::Lacked(count) = before { Some(count) } else { None };
        Ok(output.print(&text, &json!({ "made": made, "applied": applied }))?)
    }
}

fn changes(count: usize) -> String {
    if count == 1 { "1 change".to_owned() } else { format!("{count} changes") }
}

/// How many changes the schema lacks.
async fn missing(settings: &Settings) -> Result<usize, CommandError> {
    match &settings.store {
        StoreSettings::Postgres(options) => Ok(PostgresStore::pending(options).await?.len()),
        StoreSettings::Sqlite(database) => {
            let file = database.clone();
            let looked = spawn_blocking(move || sqlite::inspect(&file, PATIENCE)).await;
            let looked = looked.map_err(|error| {
                CommandError::new(
                    ErrorCode::SystemRefused,
                    format!("looking at the database broke off: {error}"),
                )
            })??;
            let found = looked.ok_or_else(|| {
                let text = format!(
                    "the database {} is not there yet; `jeton migrate` without --check makes it",
                    database.display()
                );
                CommandError::new(ErrorCode::StoreUnavailable, text)
            })?;
            Ok(found.missing_migrations)
        }
    }
}

/// How the database was before its schema was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Not there.
    NoFile,
    /// So many changes behind.
    Lacked(usize),
}

/// Makes the changes.
async fn migrate(settings: &Settings) -> Result<Before, CommandError> {
    match &settings.store {
        StoreSettings::Postgres(options) => {
            let remembered = Installation::remembered(&settings.data_dir)?;
            let options = PostgresOptions { create: remembered.is_none(), ..(**options).clone() };
            let made = PostgresStore::migrate(&options).await;
            let made = made.map_err(|error| app::store_error(error, settings, remembered))?;
            Ok(Before::Lacked(made.len()))
        }
        StoreSettings::Sqlite(database) => {
            let before =
                if database.exists() { Before::Lacked(missing(settings).await?) } else { Before::NoFile };
            app::open_store(settings, &HostEnv::system(), OpenMode::Create).await?;
            Ok(before)
        }
    }
}
