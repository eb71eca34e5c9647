//! The database, the key that opens it, and what waits to come into it.

use std::path::Path;
use std::time::Duration;

use jeton_core::keep::connection::Connection;
use jeton_keeper::{Installation, InstallationError, SlotState, look_at_spill_slots};
use jeton_store::sqlite::{Inspection, inspect};
use tokio::task::spawn_blocking;

use super::report::Report;
use crate::settings::Settings;

const STORE: &str = "store";
const KEY: &str = "key";
const SPILL: &str = "spill slots";

/// How long to wait for a database that others are writing to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the store has shown.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) connections: Vec<Connection>,
    /// The installation, if its key is right.
    pub(super) installation: Option<Installation>,
}

pub(super) async fn examine(settings: &Settings, report: &mut Report) -> Found {
    let database = settings.database.clone();
    let looked = spawn_blocking(move || inspect(&database, PATIENCE)).await;
    let inspection = match looked {
        Ok(Ok(Some(inspection))) => inspection,
        Ok(Ok(None)) => {
            let database = settings.database.display();
            let text = format!(
                "the database {database} is not there yet; the first `jeton connect` or `jeton serve` makes it"
            );
            report.warning(STORE, text);
            return Found::default();
        }
        Ok(Err(error)) => {
            report.fault(STORE, error.to_string());
            return Found::default();
        }
        Err(error) => {
            report.fault(STORE, format!("looking at the database broke off ({error}); please report it"));
            return Found::default();
        }
    };
    state(settings, &inspection, report);
    let installation = installation(settings, &inspection, report);
    Found { connections: inspection.connections, installation }
}

fn state(settings: &Settings, found: &Inspection, report: &mut Report) {
    let database = settings.database.display();
    if let [first, rest @ ..] = found.damage.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let text = format!(
            "the database {database} is damaged ({first}{more}); stop jeton, keep the file, and restore a backup"
        );
        report.fault(STORE, text);
    } else if found.missing_migrations > 0 {
        let text = format!(
            "the database {database} has an older schema; the next `jeton serve` brings it up to date: make a backup first"
        );
        report.warning(STORE, text);
    } else {
        let count = found.connections.len();
        report.ok(STORE, format!("{database} is sound and holds {count} of the connections"));
    }
}

fn installation(settings: &Settings, found: &Inspection, report: &mut Report) -> Option<Installation> {
    let Some(identity) = &found.identity else {
        if found.damage.is_empty() && found.missing_migrations == 0 {
            report.warning(KEY, "the database is new and has no key yet; the next start makes one");
        }
        return None;
    };
    match Installation::of(identity, found.revision, &settings.data_dir, &settings.key) {
        Ok(installation) => {
            report.ok(KEY, format!("{} opens the store; keep a copy apart from the database", settings.key));
            if let Some(hold) = installation.hold() {
                let text = format!(
                    "this installation is on hold because {hold}, and nothing is refreshed; stop the original for good, \
                     then run `jeton adopt`"
                );
                report.fault("hold", text);
            }
            Some(installation)
        }
        Err(error) => {
            let check = if matches!(error, InstallationError::File { .. }) { "files" } else { KEY };
            report.fault(check, error.to_string());
            None
        }
    }
}

pub(super) fn spill_slots(data_dir: &Path, report: &mut Report) {
    let slots = match look_at_spill_slots(data_dir) {
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
