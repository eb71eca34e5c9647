//! The gateway: its times and limits, and the paths that stand for calls.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Alias, Definition};
use jeton_gateway::{AliasOf, Settings, is_a_door};
use jeton_keeper::Roots;
use toml::{Table, Value};

use super::connections::parts;
use super::origin::Origin;
use super::reader::{Reader, expected, text};

const MS: Duration = Duration::from_millis(1);

/// The largest body that is kept for a second sending, for each call under way.
const LARGEST_REPLAY: usize = 64 * 1024 * 1024;

/// The most that all calls under way may keep: what a machine may have.
const MOST_MEMORY: usize = 1024 * 1024 * 1024 * 1024;

/// The times and limits of the gateway.
pub(super) fn gateway(reader: &mut Reader<'_>, roots: Roots) -> Settings {
    Settings {
        connect_timeout: reader.duration("gateway.connect_timeout", MS),
        first_byte_timeout: reader.duration("gateway.first_byte_timeout", MS),
        idle_timeout: reader.duration("gateway.idle_timeout", MS),
        tunnel_idle_timeout: reader.duration("gateway.tunnel_idle_timeout", MS),
        tunnels: reader.count("gateway.tunnels", 1_000_000),
        replay_body: reader.count("gateway.replay_body", LARGEST_REPLAY),
        replay_memory: reader.count("gateway.replay_memory", MOST_MEMORY),
        // One answer for both: a host that may be given a client secret may be given a token.
        allow_private_captured_hosts: reader.switch("keeper.allow_private_captured_hosts"),
        roots,
    }
}

/// The aliases that are written out, and those of providers that connections ask for. On one connection, one that is written
/// out takes the place of the provider's.
pub(super) fn aliases(
    reader: &mut Reader<'_>,
    definitions: &BTreeMap<ConnectionName, Definition>,
) -> Vec<AliasOf> {
    let mut found: Vec<(Vec<String>, AliasOf)> = Vec::new();
    let values = reader.values;
    for index in values.below(&["alias".to_owned()]) {
        let at = vec!["alias".to_owned(), index.to_owned()];
        let read = reader.read_at(&at, |value| {
            let of = alias(value)?;
            let known = values.connections().any(|name| name == of.connection.as_str());
            if known { Ok(of) } else { Err(format!("there is no [connections.{}]", of.connection)) }
        });
        found.extend(read.map(|alias| (at, alias)));
    }
    for part in parts(reader) {
        let wanted = reader.read_in(&part, "aliases", |value| {
            value.as_bool().ok_or_else(|| expected("true or false", value))
        });
        if wanted != Some(true) {
            continue;
        }
        let at = part.path_of("aliases");
        let defined = part.key().parse::<ConnectionName>().ok();
        let Some((connection, definition)) = defined.and_then(|name| definitions.get_key_value(&name)) else {
            continue;
        };
        let provider = definition.provider();
        // What the environment of an older gateway brings along gives way to everything that is written.
        let brought = part.found("aliases").is_some_and(|found| is_of_old_gateway(&found.origin));
        if provider.aliases().is_empty() && !brought {
            reader.fault(&at, format!("the provider `{}` has no aliases: leave it out", provider.name()));
        }
        let of = |alias: &Alias| AliasOf { connection: connection.clone(), alias: alias.clone() };
        let written = |preset: &AliasOf| {
            let same = |one: &AliasOf| {
                (brought || one.connection == preset.connection) && one.alias.collides_with(&preset.alias)
            };
            found.iter().any(|(_, one)| same(one))
        };
        let presets: Vec<_> = provider.aliases().iter().map(of).filter(|one| !written(one)).collect();
        found.extend(presets.into_iter().map(|alias| (at.clone(), alias)));
    }
    check_each_other(reader, &found);
    found.into_iter().map(|(_, alias)| alias).collect()
}

fn is_of_old_gateway(origin: &Origin) -> bool {
    matches!(origin, Origin::Environment(variable) if !variable.starts_with("JETON__"))
}

fn alias(value: &Value) -> Result<AliasOf, String> {
    let Value::Table(table) = value else { return Err(expected("a table", value)) };
    let mut rest: Table = table.clone();
    let connection =
        rest.remove("connection").ok_or("`connection` is missing: name the connection that is called")?;
    let connection =
        text(&connection).and_then(|name| name.parse::<ConnectionName>().map_err(|error| error.to_string()));
    let connection = connection.map_err(|problem| format!("connection: {problem}"))?;
    let alias: Alias = rest
        .try_into()
        .map_err(|error: toml::de::Error| error.message().lines().collect::<Vec<_>>().join(", "))?;
    alias.check().map_err(|fault| fault.to_string())?;
    Ok(AliasOf { connection, alias })
}

fn check_each_other(reader: &mut Reader<'_>, found: &[(Vec<String>, AliasOf)]) {
    for (index, (at, alias)) in found.iter().enumerate() {
        let path = alias.alias.path();
        if is_a_door(path) {
            reader.fault(
                at,
                format!("`{path}` is among the URLs of jeton itself; give the alias another path"),
            );
        } else if let Some((_, other)) =
            found[..index].iter().find(|(_, other)| other.alias.collides_with(&alias.alias))
        {
            let problem = format!(
                "`{path}` stands for a call of `{}` already; give each alias its own path",
                other.connection
            );
            reader.fault(at, problem);
        }
    }
}
