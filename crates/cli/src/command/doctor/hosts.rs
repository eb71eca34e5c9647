//! Whether the hosts of token endpoints can be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Definition, Endpoint, Step, Vars};
use jeton_keeper::Dialer;

use super::report::Report;
use super::store::StoreFindings;
use crate::settings::Settings;

/// How long one host may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How many hosts are checked at once.
const CONCURRENCY: usize = 32;

/// Steps that bring tokens, in the order in which a connection needs them.
const STEPS: [Step; 3] = [Step::Refresh, Step::Acquire, Step::Exchange];

/// A token endpoint, and the connections that need its host.
struct NeededHost {
    endpoint: Endpoint,
    needed_by: Vec<ConnectionName>,
}

pub(super) async fn check(settings: &Settings, found: &StoreFindings, report: &mut Report) {
    let reach = Dialer::new(&settings.keeper.outbound);
    let hosts = hosts(settings, found);
    let mut tried: Vec<_> = stream::iter(hosts)
        .map(|(origin, host)| {
            let reach = &reach;
            async move {
                let reached = reach.probe(&host.endpoint, LIMIT).await;
                (origin, host.needed_by, reached)
            }
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    tried.sort_by(|a, b| a.0.cmp(&b.0));
    for (origin, needed_by, reached) in tried {
        let who = who(&needed_by);
        match reached {
            Ok(route) => report.ok(HOST, format!("{origin} answers {route} ({who})")),
            Err(why) => {
                let text = format!(
                    "{origin} cannot be reached: {why}; {who} cannot be refreshed until it can: if it can be reached from \
                     elsewhere, check the name, the name resolution and the firewall of this machine; if not, nobody needs to \
                     do anything, and `jeton serve` tries it until it answers"
                );
                report.fault(HOST, text);
            }
        }
    }
}

const HOST: &str = "host";

/// The connections in words; many of them share a host.
fn who(names: &[ConnectionName]) -> String {
    match names {
        [first, _, _, _, ..] => format!("`{first}` and {} more", names.len() - 1),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// The hosts of all defined connections, each once, by origin. A host that comes with the consent is not known before.
fn hosts(settings: &Settings, found: &StoreFindings) -> BTreeMap<String, NeededHost> {
    let mut hosts: BTreeMap<String, NeededHost> = BTreeMap::new();
    for (name, definition) in &settings.definitions {
        let row = found.connections.iter().find(|row| row.name == *name);
        let captured = row.zip(found.installation.as_ref()).map(|(row, app)| app.captured(row));
        for endpoint in endpoints(definition, &captured.unwrap_or_default()) {
            let origin = endpoint.url.origin().ascii_serialization();
            let host = hosts.entry(origin).or_insert_with(|| NeededHost { endpoint, needed_by: Vec::new() });
            if host.needed_by.last() != Some(name) {
                host.needed_by.push(name.clone());
            }
        }
    }
    hosts
}

fn endpoints(definition: &Definition, captured: &Vars) -> Vec<Endpoint> {
    let known = |step| definition.endpoint(step, captured).ok().flatten();
    STEPS.into_iter().filter_map(known).collect()
}
