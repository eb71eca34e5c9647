//! `jeton adopt`.

use jeton_keeper::{Installation, JoinMode};
use serde_json::json;

use crate::app::{self, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::{Settings, StoreSettings};

/// Take over a database that was copied or restored, once the original no longer runs
///
/// Where the database is gone for good, it begins a new one in this data directory: every connection must be connected again.
#[derive(Debug, clap::Args)]
pub(crate) struct AdoptArgs {}

impl AdoptArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let host = HostEnv::system();
        let belonged_to = Installation::remembered(&settings.data_dir)?;
        let (store, mut installation) = app::open_installation(settings, &host, OpenMode::Adopt).await?;
        let on_hold = installation.on_hold();
        match &settings.store {
            _ if !on_hold => {}
            StoreSettings::Sqlite(_) => {
                installation.adopt(&*store, &*host.clock, &*host.entropy).await?;
            }
            // Other nodes belong to this database already: it stays what it is, and this data directory follows it.
            StoreSettings::Postgres(_) => {
                let joining = JoinMode::InAnyCase;
                Installation::join(&*store, &settings.data_dir, joining, &*host.entropy).await?;
            }
        }
        let is_new =
            !on_hold && belonged_to.is_some_and(|store| store.instance != Some(installation.instance()));
        let text = if is_new {
            "the store was gone, and this data directory begins a new one; connect its connections with `jeton connect`"
        } else if on_hold {
            "this installation has taken over the database and refreshes its connections; restart `jeton serve` if it runs"
        } else if belonged_to.is_none() {
            "the data directory had no database and belongs to this one now; there was nothing to take over"
        } else {
            "the database belongs to this installation already; nothing was changed"
        };
        Ok(output.print(text, &json!({ "adopted": on_hold || is_new, "new": is_new }))?)
    }
}
