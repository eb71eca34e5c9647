//! The gateway: its timeouts and limits, and the aliases.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Alias, Definition, RateLimitReach};
use jeton_gateway::{CallSettings, ConnectionAlias, Settings, is_origin, is_reserved_path};
use jeton_keeper::OutboundSettings;
use toml::{Table, Value};

use super::connections::connection_sections;
use super::old_gateway;
use super::reader::{Reader, SectionRef, boolean, count_of, duration_of, text, texts, wrong_type};
use super::values::path;

const MS: Duration = Duration::from_millis(1);

/// The largest request body that a call may keep for its retry, in bytes.
const LARGEST_REPLAY: usize = 64 * 1024 * 1024;

/// The largest head of a request or an answer that can be allowed, in bytes.
pub(super) const MOST_HEADER_BYTES: usize = 1024 * 1024;

/// The most header lines that can be allowed.
pub(super) const MOST_HEADERS: usize = 10_000;

/// The most that all calls together may keep, in bytes: what a machine may have.
const MOST_MEMORY: usize = 1024 * 1024 * 1024 * 1024;

/// The timeouts and limits of the gateway.
pub(super) fn settings(reader: &mut Reader<'_>, outbound: OutboundSettings) -> Settings {
    let all = SectionRef::of(reader.values, vec!["gateway".to_owned()]);
    let calls = calls(reader, &all, &CallSettings::default());
    let mut connections = BTreeMap::new();
    for section in connection_sections(reader) {
        let own = section.section("gateway");
        if own.value_keys().next().is_some() {
            connections.insert(section.key().to_owned(), self::calls(reader, &own, &calls));
        }
    }
    Settings {
        calls,
        connections,
        tunnel_idle_timeout: reader.duration("gateway.tunnel_idle_timeout", MS),
        tunnels: reader.count("gateway.tunnels", 1_000_000),
        // `jeton serve` keeps fewer where file descriptors are few.
        idle_connections: Settings::default().idle_connections,
        max_header_bytes: reader.count("gateway.max_header_bytes", MOST_HEADER_BYTES),
        max_headers: reader.count("gateway.max_headers", MOST_HEADERS),
        replay_memory: reader.count("gateway.replay_memory", MOST_MEMORY),
        old_gateway: reader.values.get(&path("old_gateway.connection")).is_some(),
        outbound,
    }
}

/// Those of calls in a section, over those that hold where it says nothing.
fn calls(reader: &mut Reader<'_>, section: &SectionRef<'_>, general: &CallSettings) -> CallSettings {
    let mut time = |key, least: Duration, general: Duration| {
        reader.read_in(section, key, |value| duration_of(value, least)).unwrap_or(general)
    };
    let connect_timeout = time("connect_timeout", MS, general.connect_timeout);
    let first_byte_timeout = time("first_byte_timeout", MS, general.first_byte_timeout);
    let idle_timeout = time("idle_timeout", MS, general.idle_timeout);
    let max_retry_after = time("max_retry_after", Duration::ZERO, general.max_retry_after);
    let rate_wait = time("rate_wait", Duration::ZERO, general.rate_wait);
    let replay_body = reader.read_in(section, "replay_body", |value| count_of(value, LARGEST_REPLAY));
    let reach = reader.read_in(section, "rate_limit_reach", |value| {
        let name = text(value)?;
        RateLimitReach::parse(&name).ok_or_else(|| {
            let all: Vec<_> = RateLimitReach::ALL.iter().map(|reach| reach.as_str()).collect();
            format!("{name:?} is not known; write one of {}", all.join(", "))
        })
    });
    let origins = reader.read_in(section, "allowed_origins", |value| {
        let origins = texts(value, "origins")?;
        match origins.iter().find(|origin| !is_origin(origin)) {
            Some(wrong) => Err(format!(
                "{wrong:?} is not an origin; write scheme and host alone, such as https://app.example.com, or \"*\" for all"
            )),
            None => Ok(origins),
        }
    });
    let title_case = reader.read_in(section, "title_case_headers", boolean);
    CallSettings {
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        replay_body: replay_body.unwrap_or(general.replay_body),
        rate_limit_reach: reach.or(general.rate_limit_reach),
        max_retry_after,
        rate_wait,
        title_case_headers: title_case.unwrap_or(general.title_case_headers),
        allowed_origins: origins.unwrap_or_else(|| general.allowed_origins.clone()),
    }
}

/// The aliases of `[[alias]]`, and those of the providers of connections with `aliases = true`. On one connection, the former
/// replace the latter.
pub(super) fn aliases(
    reader: &mut Reader<'_>,
    definitions: &BTreeMap<ConnectionName, Definition>,
) -> Vec<ConnectionAlias> {
    let mut found: Vec<(Vec<String>, ConnectionAlias)> = Vec::new();
    let values = reader.values;
    let own = SectionRef::of(values, vec!["alias".to_owned()]);
    for index in own.value_keys() {
        let at = own.path_of(index);
        let read = reader.read_at(&at, |value| {
            let of = alias(value)?;
            let known = values.connections().any(|name| name == of.connection.as_str());
            if known { Ok(of) } else { Err(format!("there is no [connections.{}]", of.connection)) }
        });
        found.extend(read.map(|alias| (at, alias)));
    }
    for section in connection_sections(reader) {
        if reader.read_in(&section, "aliases", boolean) != Some(true) {
            continue;
        }
        let at = section.path_of("aliases");
        let defined = section.key().parse::<ConnectionName>().ok();
        let Some((connection, definition)) = defined.and_then(|name| definitions.get_key_value(&name)) else {
            continue;
        };
        let provider = definition.provider();
        // Aliases that the environment of the amoCRM gateway implies give way to every alias that is written.
        let implied = section.value("aliases").is_some_and(|value| old_gateway::is_origin(&value.origin));
        if provider.aliases().is_empty() && !implied {
            reader.fault(&at, format!("the provider `{}` has no aliases: leave it out", provider.name()));
        }
        let of = |alias: &Alias| ConnectionAlias { connection: connection.clone(), alias: alias.clone() };
        let written = |preset: &ConnectionAlias| {
            let same = |one: &ConnectionAlias| {
                (implied || one.connection == preset.connection) && one.alias.collides_with(&preset.alias)
            };
            found.iter().any(|(_, one)| same(one))
        };
        let presets: Vec<_> = provider.aliases().iter().map(of).filter(|one| !written(one)).collect();
        found.extend(presets.into_iter().map(|alias| (at.clone(), alias)));
    }
    check_each_other(reader, &found);
    found.into_iter().map(|(_, alias)| alias).collect()
}

fn alias(value: &Value) -> Result<ConnectionAlias, String> {
    let Value::Table(table) = value else { return Err(wrong_type("a table", value)) };
    let mut rest: Table = table.clone();
    let connection =
        rest.remove("connection").ok_or("`connection` is missing: name the connection to call")?;
    let connection =
        text(&connection).and_then(|name| name.parse::<ConnectionName>().map_err(|error| error.to_string()));
    let connection = connection.map_err(|problem| format!("connection: {problem}"))?;
    let alias: Alias = rest
        .try_into()
        .map_err(|error: toml::de::Error| error.message().lines().collect::<Vec<_>>().join(", "))?;
    alias.check().map_err(|fault| fault.to_string())?;
    Ok(ConnectionAlias { connection, alias })
}

fn check_each_other(reader: &mut Reader<'_>, found: &[(Vec<String>, ConnectionAlias)]) {
    for (index, (at, alias)) in found.iter().enumerate() {
        let path = alias.alias.path();
        if is_reserved_path(path) {
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
