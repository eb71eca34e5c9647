//! `jeton adopt`.

use jeton_keeper::{Installation, JoinMode};
use serde_json::json;

use crate::app::{self, HostEnv};
use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::{Settings, StoreSettings};

/// Take over a database that was copied or restored, once the original no longer runs
#[derive(Debug, clap::Args)]
pub(crate) struct AdoptArgs {}

impl AdoptArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let host = HostEnv::system();
        let (store, mut installation) = app::open_installation(settings, &host).await?;
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
        let text = if on_hold {
            "this installation has taken over the database and refreshes its connections; restart `jeton serve` if it runs"
        } else {
            "the database belongs to this installation already; nothing was changed"
        };
        Ok(output.print(text, &json!({ "adopted": on_hold }))?)
    }
}
