//! The database, the key that opens it, and what waits to come into it.

use std::path::Path;
use std::time::Duration;

use jeton_core::keep::connection::{Connection, Revision};
use jeton_core::keep::ports::Identity;
use jeton_keeper::{Hold, Installation, InstallationError, SlotState, inspect_spill_slots};
use jeton_store::sqlite::inspect;
use tokio::task::spawn_blocking;

use super::postgres;
use super::report::Report;
use crate::app::HostEnv;
use crate::settings::{Settings, StoreSettings};

pub(super) const STORE: &str = "store";
const KEY: &str = "key";
const SPILL: &str = "spill slots";

/// How long to wait for a database that others are writing to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the store has shown.
#[derive(Debug, Default)]
pub(super) struct StoreFindings {
    pub(super) connections: Vec<Connection>,
    /// The installation, if its key is right.
    pub(super) installation: Option<Installation>,
}

/// What was read of a store that can be read.
struct StoreContents {
    connections: Vec<Connection>,
    /// The last change.
    revision: Revision,
    /// Which installation it belongs to, once there is one.
    identity: Option<Identity>,
}

pub(super) async fn check(settings: &Settings, host: &HostEnv, report: &mut Report) -> StoreFindings {
    let sound = match &settings.store {
        StoreSettings::Sqlite(database) => sqlite(database, report).await,
        StoreSettings::Postgres(postgres) => {
            postgres::check(postgres, host, report).await.map(|found| StoreContents {
                connections: found.connections,
                revision: found.revision,
                identity: found.identity,
            })
        }
    };
    let Some(sound) = sound else { return StoreFindings::default() };
    let installation = installation(settings, &sound, report);
    StoreFindings { connections: sound.connections, installation }
}

async fn sqlite(database: &Path, report: &mut Report) -> Option<StoreContents> {
    let file = database.to_owned();
    let shown = database.display();
    let found = match spawn_blocking(move || inspect(&file, PATIENCE)).await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => {
            let text = format!(
                "the database {shown} is not there yet; the first `jeton connect` or `jeton serve` makes it"
            );
            report.warning(STORE, text);
            return None;
        }
        Ok(Err(error)) => {
            report.fault(STORE, error.to_string());
            return None;
        }
        Err(error) => {
            report.fault(STORE, format!("looking at the database broke off ({error}); please report it"));
            return None;
        }
    };
    if let [first, rest @ ..] = found.damage.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let text = format!(
            "the database {shown} is damaged ({first}{more}); stop jeton, keep the file, and restore a backup"
        );
        report.fault(STORE, text);
        return None;
    }
    if found.missing_migrations > 0 {
        report.warning(STORE, outdated(&shown.to_string()));
        return None;
    }
    let count = found.connections.len();
    report.ok(STORE, format!("{shown} is sound and holds {count} of the connections"));
    Some(StoreContents { connections: found.connections, revision: found.revision, identity: found.identity })
}

/// The sentence about a schema that is not up to date.
pub(super) fn outdated(shown: &str) -> String {
    format!(
        "the database {shown} has an older schema; the next `jeton serve` or `jeton migrate` brings it up to date: make a \
         backup first"
    )
}

fn installation(settings: &Settings, sound: &StoreContents, report: &mut Report) -> Option<Installation> {
    let Some(identity) = &sound.identity else {
        report.warning(KEY, "the database is new and has no key yet; the next start makes one");
        return None;
    };
    match Installation::of(identity, sound.revision, &settings.data_dir, &settings.key) {
        Ok(installation) => {
            report.ok(KEY, format!("{} opens the store; keep a copy apart from the database", settings.key));
            hold(settings, &installation, report);
            Some(installation)
        }
        Err(error) => {
            let check = if matches!(error, InstallationError::File { .. }) { "files" } else { KEY };
            report.fault(check, error.to_string());
            None
        }
    }
}

fn hold(settings: &Settings, installation: &Installation, report: &mut Report) {
    let Some(hold) = installation.hold() else { return };
    let text = match (&settings.store, hold) {
        // A new node joins by itself when it starts.
        (StoreSettings::Postgres(_), Hold::Copied) if !Installation::is_initialised(&settings.data_dir) => return,
        (StoreSettings::Postgres(_), Hold::Copied) => {
            "this node is on hold because its data directory belongs to another database, or is a copy of another \
             node's, and nothing is refreshed; put `data_dir` or `store.url` right, or run `jeton adopt` to make it a node \
             of this database"
                .to_owned()
        }
        _ => format!(
            "this installation is on hold because {hold}, and nothing is refreshed; stop the original for good, then run \
             `jeton adopt`"
        ),
    };
    report.fault("hold", text);
}

pub(super) fn spill_slots(data_dir: &Path, report: &mut Report) {
    let slots = match inspect_spill_slots(data_dir) {
        Ok(slots) => slots,
        Err(error) => {
            let text = format!(
                "the spill slots below {} cannot be read ({error}); let this user read and write them",
                data_dir.display()
            );
            report.fault(SPILL, text);
            return;
        }
    };
    let free = slots.iter().filter(|(_, state)| *state == SlotState::Free).count();
    for (path, state) in &slots {
        match state {
            SlotState::Free => {}
            SlotState::Filled { connection, attempt } => {
                let text = format!(
                    "the reply to attempt {attempt} of `{connection}` has not reached the database; `jeton status` takes \
                     it in, once the database can be written"
                );
                report.warning(SPILL, text);
            }
            SlotState::SetAside { connection, attempt } => {
                let text = format!(
                    "the database contradicts the reply to attempt {attempt} of `{connection}`, which is kept in {}; \
                     restore the right database, rename the file to slot-{attempt} and start jeton, or connect \
                     `{connection}` anew and remove the file",
                    path.display()
                );
                report.fault(SPILL, text);
            }
            SlotState::Damaged { why } => {
                let text = format!(
                    "{} holds something that is no reply ({why}); stop jeton and move the file away, and keep it: it may \
                     hold a token",
                    path.display()
                );
                report.fault(SPILL, text);
            }
        }
    }
    if free == slots.len() {
        let text = match free {
            0 => "none has been made yet".to_owned(),
            count => format!("all {count} are free"),
        };
        report.ok(SPILL, text);
    } else if free == 0 {
        report.fault(SPILL, "none is free, and without one nothing is refreshed; see above");
    }
}
