//! From written values to the settings of a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Catalogue, Definition};
use jeton_gateway::ConnectionAlias;
use jeton_keeper::{KeySource, OutboundSettings};
use jeton_server::{Limits, TrustedProxies};
use url::Url;

use super::access::AccessSettings;
use super::connections::{self, DefinitionContext};
use super::fault::{Origin, SettingFault};
use super::reader::{Reader, join, text, texts};
use super::store::{StoreSettings, store};
use super::values::{Section, path};
use super::{catalogue, gateway, old_gateway, outbound};
use crate::env_vars::KEY_VARIABLE;
use crate::telemetry::{AccessLog, Format, Level};

/// The settings of a run.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, or says how they were read")]
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// Where marks are kept outside the data directory.
    pub(crate) mark_dir: Option<PathBuf>,
    /// Whether the data directory belongs to one machine.
    pub(crate) bound_to_machine: bool,
    pub(crate) key: KeySource,
    /// Whether core files and debuggers may see the memory of the process.
    pub(crate) allow_core_dumps: bool,
    pub(crate) store: StoreSettings,
    pub(crate) listen: SocketAddr,
    pub(crate) trusted_proxies: TrustedProxies,
    /// What callers may send, and how long they may take.
    pub(crate) limits: Limits,
    pub(crate) access: AccessSettings,
    pub(crate) level: Level,
    /// Whether the environment or a flag sets the level.
    pub(crate) level_is_explicit: bool,
    pub(crate) access_log: AccessLog,
    pub(crate) format: Format,
    pub(crate) keeper: jeton_keeper::Settings,
    pub(crate) gateway: jeton_gateway::Settings,
    pub(crate) aliases: Vec<ConnectionAlias>,
    /// The connection that takes the place of the one of an amoCRM gateway.
    pub(crate) old_gateway: Option<ConnectionName>,
    pub(crate) definitions: BTreeMap<ConnectionName, Definition>,
    /// Whether a client secret could not be read, and a definition stands without it.
    pub(crate) lacks_secrets: bool,
    /// Files with the first tokens of connections.
    pub(crate) imports: BTreeMap<ConnectionName, PathBuf>,
}

impl Settings {
    /// What is wrong with plain HTTP on an address that other machines reach, unless a proxy is there to add TLS.
    pub(super) fn plain_http(&self) -> Option<String> {
        let (address, has_proxy) = (self.listen, !self.trusted_proxies.is_empty());
        (!address.ip().to_canonical().is_loopback() && !has_proxy).then(|| {
            format!(
                "server.listen: other machines reach {address} over plain HTTP, so that whoever is between can read keys and \
                 tokens; listen on 127.0.0.1, or put a proxy with TLS in front and name its address in `server.trusted_proxies`"
            )
        })
    }
}

/// The settings, and the providers that they were checked against.
pub(super) struct Assembled {
    pub(super) catalogue: Catalogue,
    /// The names of providers from files of the operator.
    pub(super) added_providers: Vec<String>,
    pub(super) settings: Result<Settings, Vec<SettingFault>>,
}

const MS: Duration = Duration::from_millis(1);

/// Makes settings of what is written.
pub(super) fn assemble(mut reader: Reader<'_>) -> Assembled {
    let reader = &mut reader;
    let (catalogue, added_providers) = catalogue::read(reader);
    let data_dir = reader.file("data_dir").unwrap_or_default();
    let key_file = join(&data_dir, Path::new(&reader.read("key_file", text).unwrap_or_default()));
    let callback = callback(reader);
    let context = DefinitionContext {
        catalogue: &catalogue,
        callback: callback.as_ref(),
        plain_http_hosts: outbound::plain_http_hosts(reader),
    };
    let definitions = connections::definitions(reader, &context);
    let outbound = outbound::settings(reader);
    let state = |name: &str, below: &str| {
        let folder = reader.environment.get(name).ok().flatten()?;
        Some(Path::new(folder.reveal()).join(below)).filter(|folder| folder.is_absolute())
    };
    let mark_dir = reader.file("mark_dir");
    let mark_dir =
        mark_dir.or_else(|| state("XDG_STATE_HOME", "jeton").or_else(|| state("HOME", ".local/state/jeton")));
    let settings = Settings {
        mark_dir,
        bound_to_machine: reader.boolean("bound_to_machine"),
        key: reader.secret_variable(KEY_VARIABLE).map_or(KeySource::File(key_file), KeySource::Text),
        allow_core_dumps: reader.boolean("allow_core_dumps"),
        store: store(reader, &data_dir),
        listen: listen(reader),
        trusted_proxies: trusted_proxies(reader),
        limits: limits(reader),
        access: AccessSettings::read(reader),
        level: reader.read("log.level", |value| text(value)?.parse::<Level>()).unwrap_or_default(),
        level_is_explicit: matches!(
            reader.values.origin(&path("log.level")),
            Some(Origin::Environment(_) | Origin::EnvFile { .. } | Origin::Flag(_))
        ),
        access_log: reader.read("log.access", |value| text(value)?.parse::<AccessLog>()).unwrap_or_default(),
        format: reader.read("log.format", |value| text(value)?.parse::<Format>()).unwrap_or_default(),
        keeper: keeper(reader, outbound.clone()),
        gateway: gateway::settings(reader, outbound),
        aliases: gateway::aliases(reader, &definitions),
        old_gateway: old_gateway::connection(reader),
        definitions,
        lacks_secrets: reader.lacks_secrets,
        imports: connections::imports(reader),
        data_dir,
    };
    let faults = std::mem::take(&mut reader.faults);
    let settings = if faults.is_empty() { Ok(settings) } else { Err(faults) };
    Assembled { catalogue, added_providers, settings }
}

fn keeper(reader: &mut Reader<'_>, outbound: OutboundSettings) -> jeton_keeper::Settings {
    let settings = jeton_keeper::Settings {
        lease: reader.duration("keeper.lease", MS),
        redeem_timeout: reader.duration("keeper.redeem_timeout", MS),
        claim_wait: reader.duration("keeper.claim_wait", MS),
        wait: reader.duration("keeper.wait", MS),
        poll: reader.duration("keeper.poll", MS),
        cooldown: reader.duration("keeper.cooldown", Duration::ZERO),
        visit: reader.duration("keeper.visit", Duration::from_secs(1)),
        provider_concurrency: reader.count("keeper.provider_concurrency", 10_000),
        outage_retry: reader.duration("keeper.outage_retry", MS),
        spill_slots: reader.count("keeper.spill_slots", 1_000),
        memory_age: reader.duration("keeper.memory_age", Duration::ZERO),
        waiters: reader.count("keeper.waiters", 1_000_000),
        drain: reader.duration("keeper.drain", Duration::ZERO),
        outbound,
    };
    if !["keeper.lease", "keeper.redeem_timeout"].iter().any(|name| reader.has_fault(name))
        && settings.lease <= settings.redeem_timeout
    {
        let problem = "must be longer than `keeper.redeem_timeout`, or a refresh could outlive its right to the connection";
        reader.fault(&path("keeper.lease"), problem);
    }
    settings
}

fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let read = reader.read("server.listen", |value| {
        let text = text(value)?;
        text.parse()
            .map_err(|_| format!("{text:?} is not an address with a port; write one such as 127.0.0.1:9095"))
    });
    read.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    Limits {
        header_bytes: reader.count("server.max_header_bytes", gateway::MOST_HEADER_BYTES),
        header_lines: reader.count("server.max_headers", gateway::MOST_HEADERS),
        write_timeout: reader.duration("server.write_timeout", MS),
        ..Limits::default()
    }
}

fn trusted_proxies(reader: &mut Reader<'_>) -> TrustedProxies {
    let read = reader.read("server.trusted_proxies", |value| {
        let texts = texts(value, "addresses")?;
        TrustedProxies::parse(texts.iter().map(String::as_str)).map_err(|wrong| {
            format!("{wrong:?} is neither an address nor a network; write one such as 10.0.0.7 or 10.0.0.0/8")
        })
    });
    read.unwrap_or_default()
}

/// The redirect URI of clients that have none of their own, by `server.public_url`.
fn callback(reader: &mut Reader<'_>) -> Option<Url> {
    let public = reader.read("server.public_url", |value| {
        let url: Url = text(value)?.parse().map_err(|error| {
            format!("is not a URL ({error}); write one such as https://jeton.example.com")
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!("the scheme must be https, or http, and is `{}`", url.scheme()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must end with its path: leave out what begins with `?` or `#`".to_owned());
        }
        Ok(url)
    })?;
    Some(callback_of(public))
}

/// The redirect URI below `server.public_url`, if that is written and is a URL.
pub(crate) fn public_callback(values: &Section) -> Option<String> {
    let public: Url = values.get(&path("server.public_url"))?.value.as_str()?.parse().ok()?;
    Some(callback_of(public).into())
}

fn callback_of(mut callback: Url) -> Url {
    let path = format!("{}/oauth/callback", callback.path().trim_end_matches('/'));
    callback.set_path(&path);
    callback
}
