//! Whether the hosts of token endpoints can be reached, and what issuers say of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Definition, Endpoint, MetadataMember, Step, Vars};
use jeton_core::time::Clock;
use jeton_keeper::{Dialer, read_server_metadata};

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

pub(super) async fn check(
    settings: &Settings,
    found: &StoreFindings,
    clock: &Arc<dyn Clock>,
    report: &mut Report,
) {
    // It says where the token endpoints are.
    metadata(settings, clock, report).await;
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
const ISSUER: &str = "issuer";

/// Reads the metadata of each issuer, for every connection that needs it.
async fn metadata(settings: &Settings, clock: &Arc<dyn Clock>, report: &mut Report) {
    let mut issuers: BTreeMap<String, Vec<(&ConnectionName, &Definition)>> = BTreeMap::new();
    for (name, definition) in &settings.definitions {
        if let Some(issuer) = definition.discovers() {
            issuers.entry(issuer.reveal().to_owned()).or_default().push((name, definition));
        }
    }
    for (issuer, members) in issuers {
        let names: Vec<_> = members.iter().map(|(name, _)| (*name).clone()).collect();
        let who = who(&names);
        let Some((_, first)) = members.first() else { continue };
        let outbound = &settings.keeper.outbound;
        let read = read_server_metadata(first, outbound, Arc::clone(clock), &settings.data_dir).await;
        let metadata = match read {
            Ok(metadata) => metadata,
            Err(why) => {
                report.fault(ISSUER, format!("{issuer}: {why} ({who})"));
                continue;
            }
        };
        let endpoint = metadata.endpoint(MetadataMember::TokenEndpoint).unwrap_or_default();
        report.ok(ISSUER, format!("{issuer} names its endpoints; tokens come from {endpoint} ({who})"));
        if metadata.lacks_pkce() {
            let text = format!(
                "{issuer} does not list S256 among its PKCE methods, so that a stolen code is not found out; `jeton connect --code` \
                 takes the whole address only ({who})"
            );
            report.warning(ISSUER, text);
        }
        if let Some(methods) = metadata.auth_methods().filter(|_| metadata.client_auth().is_none()) {
            let text = format!(
                "{issuer} accepts clients by {} alone; set `client_auth` to one of them that jeton has ({who})",
                methods.join(", ")
            );
            report.warning(ISSUER, text);
        }
        for (_, definition) in members {
            definition.take_metadata(metadata.clone());
        }
    }
}

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
