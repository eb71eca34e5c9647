//! The database, the key that opens it, and the replies in spill slots.

use std::path::Path;
use std::time::Duration;

use jeton_core::clocks::StoreReading;
use jeton_core::id::Revision;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Identity, LiveNode};
use jeton_keeper::{Hold, Installation, InstallationError, SlotState, inspect_spill_slots};
use jeton_store::PostgresOptions;
use jeton_store::sqlite::inspect;
use tokio::task::spawn_blocking;

use super::clones;
use super::report::Report;
use crate::app::{self, HostEnv};
use crate::command_error::STORE_LOST_CURE;
use crate::settings::{Settings, StoreSettings};

const STORE: &str = "store";
const KEY: &str = "key";
const SPILL: &str = "spill slots";
const TASKS: &str = "background tasks";

/// How long to wait for a database that others write to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What later checks need of the store.
#[derive(Debug, Default)]
pub(super) struct StoreFindings {
    pub(super) connections: Vec<Connection>,
    /// The nodes that are alive.
    pub(super) nodes: Vec<LiveNode>,
    /// The installation, if its key is right.
    pub(super) installation: Option<Installation>,
}

/// What was read of a usable store.
struct StoreContents {
    connections: Vec<Connection>,
    /// The nodes that are alive.
    nodes: Vec<LiveNode>,
    /// The last change.
    revision: Revision,
    /// The installation that it belongs to, if any.
    identity: Option<Identity>,
}

pub(super) async fn check(
    settings: &Settings,
    host: &HostEnv,
    with_clones: bool,
    report: &mut Report,
) -> StoreFindings {
    let contents = match &settings.store {
        StoreSettings::Sqlite(database) => check_sqlite(database, &settings.data_dir, report).await,
        StoreSettings::Postgres(options) => check_postgres(options, &settings.data_dir, host, report).await,
    };
    let Some(contents) = contents else { return StoreFindings::default() };
    let installation = installation(settings, &contents, with_clones, report).await;
    background_tasks(&contents.nodes, report);
    StoreFindings { connections: contents.connections, nodes: contents.nodes, installation }
}

/// How the background tasks of each running node do.
fn background_tasks(nodes: &[LiveNode], report: &mut Report) {
    for node in nodes {
        for task in &node.tasks {
            let name = format!("`{}` of the node {}", task.name, node.name);
            match &task.last_error {
                None => report.ok(TASKS, format!("{name} runs")),
                Some(error) => report.warning(TASKS, format!("{name} fails: {error}; it is tried again")),
            }
        }
    }
}

async fn check_sqlite(database: &Path, data_dir: &Path, report: &mut Report) -> Option<StoreContents> {
    let file = database.to_owned();
    let shown = database.display();
    let found = match spawn_blocking(move || inspect(&file, PATIENCE)).await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) if store_is_lost(format!("the database {shown} does not exist"), data_dir, report) => {
            return None;
        }
        Ok(Ok(None)) => {
            let text = format!(
                "the database {shown} does not exist yet; the first `jeton connect` or `jeton serve` creates it"
            );
            report.warning(STORE, text);
            return None;
        }
        Ok(Err(error)) => {
            report.fault(STORE, error.to_string());
            return None;
        }
        Err(error) => {
            report.fault(STORE, format!("the check of the database crashed: {error}; please report it"));
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
    if found.is_empty && store_is_lost(format!("the database {shown} is empty"), data_dir, report) {
        return None;
    }
    if found.missing_migrations > 0 {
        report.warning(STORE, outdated_message(&shown.to_string()));
        return None;
    }
    let count = found.connections.len();
    report.ok(STORE, format!("{shown} is sound and holds {count} of the connections"));
    let (connections, nodes) = (found.connections, found.nodes);
    Some(StoreContents { connections, nodes, revision: found.revision, identity: found.identity })
}

/// Reports a store that is gone although the data directory belongs to one. Returns whether it does.
fn store_is_lost(why: String, data_dir: &Path, report: &mut Report) -> bool {
    match Installation::remembered(data_dir) {
        Ok(None) => false,
        Ok(Some(remembered)) => {
            let lost = InstallationError::StoreLost { why, data_dir: data_dir.to_owned(), remembered };
            report.fault(STORE, format!("{lost}; {STORE_LOST_CURE}"));
            true
        }
        Err(error) => {
            report.fault("files", error.to_string());
            true
        }
    }
}

/// The message about missing migrations.
fn outdated_message(shown: &str) -> String {
    format!(
        "the database {shown} has an older schema; make a backup, then run `jeton migrate` or `jeton serve`, which migrate it"
    )
}

async fn installation(
    settings: &Settings,
    contents: &StoreContents,
    with_clones: bool,
    report: &mut Report,
) -> Option<Installation> {
    let Some(identity) = &contents.identity else {
        if store_is_lost(
            format!("the database {} is empty", settings.store.redacted()),
            &settings.data_dir,
            report,
        ) {
            return None;
        }
        report.warning(KEY, "the database is new and has no key yet; the next start creates one");
        return None;
    };
    match Installation::of(identity, contents.revision, &settings.data_dir, &settings.key) {
        Ok(mut installation) => {
            report.ok(KEY, format!("{} opens the store; keep a copy apart from the database", settings.key));
            let host = app::host_of(settings);
            match installation.check_host(&host) {
                Ok(record) => {
                    if with_clones {
                        clones::report(&installation, &host, &record, report);
                        clones::list_nodes(&contents.nodes, report);
                    }
                    clones::check_nodes(&installation, &contents.nodes, report);
                }
                Err(error) => report.fault("files", error.to_string()),
            }
            if installation.seems_rolled_back()
                && let Some(revision) = revision_by_now(&settings.store).await
            {
                installation.note_revision(revision);
            }
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

/// How far the store has come by now; none where it cannot be read any more. Reading all of it takes a while, and a running server
/// goes on meanwhile.
async fn revision_by_now(store: &StoreSettings) -> Option<Revision> {
    match store {
        StoreSettings::Sqlite(database) => {
            let file = database.clone();
            let found = spawn_blocking(move || inspect(&file, PATIENCE)).await.ok()?;
            Some(found.ok()??.revision)
        }
        StoreSettings::Postgres(options) => {
            Some(jeton_store::postgres::inspect(options).await.ok()?.revision)
        }
    }
}

fn hold(settings: &Settings, installation: &Installation, report: &mut Report) {
    let Some(hold) = installation.hold() else { return };
    let text = match (&settings.store, hold) {
        // A new node joins when it starts.
        (StoreSettings::Postgres(_), Hold::Copied) if matches!(Installation::remembered(&settings.data_dir), Ok(None)) => return,
        (StoreSettings::Postgres(_), Hold::Copied) => {
            "this node is on hold because its data directory belongs to another database, or is a copy of another \
             node's, and nothing is refreshed; correct `data_dir` or `store.url`, or run `jeton adopt` to make it a node \
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

/// Checks the slots below `data_dir`. Those of `count` that do not exist yet are made when they are needed.
pub(super) fn spill_slots(data_dir: &Path, count: usize, report: &mut Report) {
    let slots = match inspect_spill_slots(data_dir) {
        Ok(slots) => slots,
        Err(error) => {
            let text = format!(
                "the spill slots in {} cannot be read: {error}; let this user read and write them",
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
                    "the reply to attempt {attempt} of `{connection}` has not reached the database; `jeton status` \
                     stores it, once the database can be written"
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
                    "{} holds something that is no reply ({why}); stop jeton, move the file away and keep it: it may hold a \
                     token",
                    path.display()
                );
                report.fault(SPILL, text);
            }
        }
    }
    if free == slots.len() {
        let text = match free {
            0 => "none has been created yet".to_owned(),
            count => format!("all {count} are free"),
        };
        report.ok(SPILL, text);
    } else if free == 0 && slots.len() >= count {
        report.fault(SPILL, "none is free, and without one nothing is refreshed; see above");
    }
}

/// Checks a PostgreSQL database, and that its clock agrees with ours.
async fn check_postgres(
    options: &PostgresOptions,
    data_dir: &Path,
    host: &HostEnv,
    report: &mut Report,
) -> Option<StoreContents> {
    let before = host.clock.now();
    let inspected = jeton_store::postgres::inspect(options).await;
    let after = host.clock.now();
    let found = match inspected {
        Ok(found) => found,
        Err(error) => {
            report.fault(STORE, error.to_string());
            return None;
        }
    };
    let shown = &found.shown_url;
    match (StoreReading { now: found.now, civil: None }).clock_warning(before, after) {
        Some(warning) => report.fault("database clock", warning),
        None => report.ok("database clock", "the database and this machine agree about the time"),
    }
    if !found.encrypted && !is_local(shown) {
        let text = format!(
            "the connection to {shown} is not encrypted; add `sslmode=verify-full` to `store.url`, unless only you use the network between"
        );
        report.warning(STORE, text);
    }
    if found.is_empty && store_is_lost(format!("the database {shown} is empty"), data_dir, report) {
        return None;
    }
    if found.missing_migrations > 0 {
        report.warning(STORE, outdated_message(shown));
        return None;
    }
    if found.is_copy {
        let text = format!(
            "the database {shown} is a copy, or was moved: its address differs from the one it was created at or adopted at, and \
             nothing is refreshed; stop the original for good, then run `jeton adopt`"
        );
        report.fault("hold", text);
    }
    let (version, count) = (&found.server_version, found.connections.len());
    report.ok(STORE, format!("{shown} (PostgreSQL {version}) answers and holds {count} of the connections"));
    let (connections, nodes) = (found.connections, found.nodes);
    Some(StoreContents { connections, nodes, revision: found.revision, identity: found.identity })
}

/// Whether the URL leads to this machine.
fn is_local(shown: &str) -> bool {
    let place = shown.rsplit_once('@').map_or(shown, |(_, place)| place).trim_start_matches("postgres://");
    place.starts_with('/') || ["localhost", "127.", "[::1]"].iter().any(|host| place.starts_with(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_and_loopback_are_this_machine() {
        for local in ["postgres://jeton@/keep?host=/run&port=5432", "postgres://jeton@127.0.0.1:5432/keep"] {
            assert!(is_local(local), "{local}");
        }
        assert!(!is_local("postgres://jeton@db.example.com:5432/keep"));
        assert!(!is_local("postgres://db.example.com:5432/keep"));
    }
}
