//! `jeton status`.

use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Condition;
use jeton_core::keep::ports::{BackgroundTask, LiveNode};
use jeton_core::keep::provider::OnUnknown;
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_core::time::Timestamp;
use jeton_keeper::{Peers, ProviderOutage, Status, Vault};
use jeton_server::provider_says;
use serde_json::{Value, json};

use crate::app::{OpenMode, with_app};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{self, Output, Table};
use crate::settings::Settings;
use crate::time_format::relative;

const PAGE: usize = 500;

/// Show the state of every connection
///
/// With --check the exit code is 1 if a person is needed: for a connection that has no grant, whose grant died or that waits for
/// a decision, or for an installation on hold.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only this connection
    name: Option<String>,
    /// Show the running `jeton serve` processes instead
    #[arg(long, conflicts_with = "name")]
    nodes: bool,
    /// Fail if a connection needs a person
    #[arg(long, conflicts_with = "nodes")]
    check: bool,
}

impl StatusArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        with_app(settings, OpenMode::Existing, async |app| {
            let now = app.vault.now();
            let Peers { nodes, mut warnings, other_definitions } = app.vault.peers(&*app.store).await?;
            // Without its secret, each definition is another one.
            if !app.lacks_secrets {
                warnings.extend(other_definitions);
            }
            if !output.json {
                warnings.iter().try_for_each(|warning| output::print_note(&format!("warning: {warning}")))?;
            }
            if self.nodes {
                return show_nodes(&nodes, now, output);
            }
            let states = match &self.name {
                Some(name) => vec![app.vault.status(name).await?],
                None => all_statuses(&app.vault).await?,
            };
            if let Some(hold) = app.vault.hold().filter(|_| !output.json) {
                output::print_note(&format!(
                    "this installation is on hold because {hold}: nothing is refreshed until `jeton adopt`"
                ))?;
            }
            let mut table = Table::new(
                ["NAME", "PROVIDER", "CONDITION", "EXPIRES", "NEXT LOOK", "GENERATION", "NOTE"],
                "no connection is defined; write [connections.NAME] into jeton.toml",
            );
            for state in &states {
                let definition = app.vault.definition(state.name.as_str()).ok();
                let on_unknown = definition.map(|definition| definition.policy().on_unknown);
                table.row(row(state, on_unknown, now, !nodes.is_empty()));
            }
            if !output.json {
                print_outages(&app.vault.unavailable_endpoints())?;
            }
            output.print_table(&table, &states)?;
            let is_needed = app.vault.on_hold() || states.iter().any(Status::needs_person);
            if self.check && is_needed {
                Err(CommandError::reported(ErrorCode::PersonNeeded))
            } else {
                Ok(())
            }
        })
        .await
    }
}

/// One note for each token endpoint that does not answer.
fn print_outages(outages: &[ProviderOutage]) -> Result<(), CommandError> {
    for ProviderOutage { endpoint, summary } in outages {
        let said = endpoint.last_failure.provider_message.as_deref();
        let said = said.map(|words| format!("; {}", provider_says(words))).unwrap_or_default();
        output::print_note(&format!("unavailable: {summary}{said}"))?;
    }
    Ok(())
}

fn show_nodes(nodes: &[LiveNode], now: Timestamp, output: Output) -> Result<(), CommandError> {
    let mut table = Table::new(
        ["NODE", "NAME", "VERSION", "STARTED", "LAST SEEN", "BACKGROUND TASKS", "UNAVAILABLE"],
        "no `jeton serve` runs on this store",
    );
    for node in nodes {
        table.row([
            node.node.to_string(),
            node.name.clone(),
            node.version.clone(),
            relative(Some(node.started_at), now),
            relative(Some(node.seen_at), now),
            background(&node.tasks),
            unavailable(&node.unavailable),
        ]);
    }
    let listed: Vec<Value> = nodes
        .iter()
        .map(|node| {
            json!({
                "node": node.node.to_string(), "name": node.name, "version": node.version,
                "started_at": node.started_at, "seen_at": node.seen_at, "background_tasks": node.tasks,
                "unavailable": node.unavailable,
            })
        })
        .collect();
    Ok(output.print_table(&table, &listed)?)
}

/// How background tasks do, in a few words.
fn background(tasks: &[BackgroundTask]) -> String {
    let failing: Vec<&str> =
        tasks.iter().filter(|task| task.last_error.is_some()).map(|task| task.name.as_str()).collect();
    if failing.is_empty() {
        format!("{} ok", tasks.len())
    } else {
        format!("failing: {}", failing.join(", "))
    }
}

/// The token endpoints that do not answer a node, in a few words.
fn unavailable(endpoints: &[UnavailableEndpoint]) -> String {
    let servers: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.server.as_str()).collect();
    if servers.is_empty() { "-".to_owned() } else { servers.join(", ") }
}

/// The status of every connection that is defined or stored.
pub(super) async fn all_statuses(vault: &Vault) -> Result<Vec<Status>, CommandError> {
    let mut states: Vec<Status> = Vec::new();
    loop {
        let after: Option<ConnectionName> = states.last().map(|state| state.name.clone());
        let page = vault.statuses(after.as_ref(), PAGE).await?;
        let last = page.len() < PAGE;
        states.extend(page);
        if last {
            return Ok(states);
        }
    }
}

fn row(state: &Status, on_unknown: Option<OnUnknown>, now: Timestamp, is_served: bool) -> [String; 7] {
    let asks = state.condition == Condition::Interrupted && on_unknown == Some(OnUnknown::Ask);
    [
        state.name.to_string(),
        state.provider.to_string(),
        state.condition.as_str().to_owned(),
        relative(state.expires_at, now),
        relative(next_look(state).filter(|_| !asks), now),
        state.generation.0.to_string(),
        note(state, asks, now, is_served),
    ]
}

fn forced_resend(state: &Status) -> String {
    format!("a person decides: `jeton refresh --connection {} --force` sends it again", state.name)
}

/// When something is sent for it next.
fn next_look(state: &Status) -> Option<Timestamp> {
    state.unavailable.as_ref().map(|outage| outage.endpoint.next_trial).or(state.due_at)
}

/// What a person should know, and do. Where an attempt of unknown outcome `asks` for a person, nobody else goes on.
fn note(state: &Status, asks: bool, now: Timestamp, is_served: bool) -> String {
    let mut notes = Vec::new();
    if state.orphaned {
        notes.push("its definition was removed, the grant is kept".to_owned());
    }
    match (state.condition, state.interrupted_attempt) {
        (Condition::Pending, _) if state.starts_itself => {
            notes.push("`jeton serve` gets its first token by itself".to_owned());
        }
        (Condition::Pending, _) => notes.push(format!("`jeton connect {}`", state.name)),
        (Condition::Dead, _) => {
            let code = state.code.as_deref().unwrap_or("dead");
            notes.push(format!("`jeton connect {}` ({code})", state.name));
        }
        _ if let Some(code) = state.refused() => {
            let next = if asks {
                forced_resend(state)
            } else {
                format!("sent again {} before the grant is taken for dead", relative(next_look(state), now))
            };
            notes.push(format!("refused once ({code}), {next}"));
        }
        (Condition::Interrupted, Some(attempt)) => {
            let next = if asks { format!(", {}", forced_resend(state)) } else { String::new() };
            notes.push(format!("attempt {attempt} may have spent the token{next}"));
        }
        _ if state.failures > 0 => {
            let code = state.last_error.as_deref().unwrap_or("unknown");
            let since =
                state.failing_since.map(|since| format!(", the first {}", relative(Some(since), now)));
            notes.push(format!("{code}, {} in a row{}", state.failures, since.unwrap_or_default()));
        }
        _ => {}
    }
    if let Some(ProviderOutage { endpoint, .. }) = &state.unavailable {
        let (server, since) = (&endpoint.server, endpoint.since.to_the_second());
        let next = relative(Some(endpoint.next_trial), now);
        notes.push(format!("`{server}` unavailable since {since}, next trial {next}, nobody is needed"));
    }
    notes.extend(state.provider_message.as_deref().map(provider_says));
    if !state.missing_scopes.is_empty() {
        notes.push(format!("not granted: {}", state.missing_scopes.join(" ")));
    }
    let starts = state.condition == Condition::Pending && state.starts_itself;
    let waits_for_server =
        matches!(state.condition, Condition::Stale | Condition::Failing | Condition::Interrupted);
    if ((waits_for_server && !asks) || starts) && !is_served {
        notes.push(
            if starts { "no `jeton serve` runs" } else { "nobody tries again until `jeton serve` runs" }
                .to_owned(),
        );
    }
    if state.paused && state.condition != Condition::Paused {
        notes.push("paused".to_owned());
    }
    notes.join("; ")
}
