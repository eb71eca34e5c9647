//! From everything that was written to the settings of a run.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::keep::provider::Catalogue;
use jeton_core::secret::Secret;
use jeton_keeper::{KeySource, Roots};
use url::Url;

use super::connections::{self, DefinitionContext};
use super::fault::SettingFault;
use super::origin::Origin;
use super::reader::{Reader, join, text};
use super::store::store;
use super::values::{Values, path};
use super::{KEY_VARIABLE, Settings, access, catalogue, gateway};
use crate::env_vars::EnvVars;
use crate::telemetry::{Format, Level};

/// The settings, and what was found on the way to them.
pub(super) struct Assembled {
    pub(super) catalogue: Catalogue,
    pub(super) added_providers: Vec<String>,
    pub(super) settings: Result<Settings, Vec<SettingFault>>,
}

const MS: Duration = Duration::from_millis(1);

/// Makes settings of what is written; `faults` are those found so far.
pub(super) fn assemble(
    values: &Values,
    faults: Vec<SettingFault>,
    folder: PathBuf,
    environment: &EnvVars,
) -> Assembled {
    let mut reader = Reader { values, faults, folder };
    let (catalogue, added_providers) = catalogue::catalogue(&mut reader);
    let data_dir = place(&mut reader, "data_dir");
    let key_file = relative_to(&mut reader, "key_file", &data_dir);
    let callback = callback(&mut reader);
    let around = DefinitionContext { catalogue: &catalogue, environment, callback: callback.as_ref() };
    let definitions = connections::definitions(&mut reader, &around);
    let roots = roots(&mut reader);
    let settings = Settings {
        key: key(&mut reader, environment, key_file),
        store: store(&mut reader, &data_dir),
        listen: listen(&mut reader),
        access: access::access(&mut reader, environment),
        level: reader.read("log.level", |value| text(value)?.parse::<Level>()).unwrap_or_default(),
        level_asked: matches!(
            values.origin(&path("log.level")),
            Some(Origin::Environment(_) | Origin::Flag(_))
        ),
        format: reader.read("log.format", |value| text(value)?.parse::<Format>()).unwrap_or_default(),
        keeper: keeper(&mut reader, roots.clone()),
        gateway: gateway::gateway(&mut reader, roots),
        aliases: gateway::aliases(&mut reader, &definitions),
        definitions,
        imports: connections::imports(&mut reader),
        data_dir,
    };
    let faults = reader.faults;
    Assembled {
        catalogue,
        added_providers,
        settings: if faults.is_empty() { Ok(settings) } else { Err(faults) },
    }
}

/// The times and limits of the keeper.
fn keeper(reader: &mut Reader<'_>, roots: Roots) -> jeton_keeper::Settings {
    let settings = jeton_keeper::Settings {
        lease: reader.duration("keeper.lease", MS),
        redeem_timeout: reader.duration("keeper.redeem_timeout", MS),
        claim_wait: reader.duration("keeper.claim_wait", MS),
        wait: reader.duration("keeper.wait", MS),
        poll: reader.duration("keeper.poll", MS),
        cooldown: reader.duration("keeper.cooldown", Duration::ZERO),
        visit: reader.duration("keeper.visit", Duration::from_secs(1)),
        provider_concurrency: reader.count("keeper.provider_concurrency", 10_000),
        spill_slots: reader.count("keeper.spill_slots", 1_000),
        memory_age: reader.duration("keeper.memory_age", Duration::ZERO),
        waiters: reader.count("keeper.waiters", 1_000_000),
        drain: reader.duration("keeper.drain", Duration::ZERO),
        allow_private_captured_hosts: reader.switch("keeper.allow_private_captured_hosts"),
        roots,
    };
    if reader.faults.iter().all(|fault| !fault.setting.starts_with("keeper."))
        && settings.lease <= settings.redeem_timeout
    {
        let problem = "must be longer than `keeper.redeem_timeout`, or a refresh could outlive its right to the connection";
        reader.fault(&path("keeper.lease"), problem);
    }
    settings
}

/// Whom hosts of providers may be certified by besides the public authorities.
fn roots(reader: &mut Reader<'_>) -> Roots {
    let at = path("outbound.ca_file");
    let Some(written) = reader.read_at(&at, text) else { return Roots::default() };
    let file = reader.resolve(&written, reader.values.origin(&at).as_ref());
    let read = fs::read(&file).map_err(|error| format!("cannot be read: {error}"));
    read.and_then(|text| Roots::from_pem(&text)).unwrap_or_else(|problem| {
        let shown = file.display();
        reader.fault(
            &at,
            format!("the file {shown} {problem}; name one with certificates in PEM, or leave it out"),
        );
        Roots::default()
    })
}

fn place(reader: &mut Reader<'_>, name: &str) -> PathBuf {
    let written = reader.read(name, text).unwrap_or_default();
    reader.resolve(&written, reader.values.origin(&path(name)).as_ref())
}

fn relative_to(reader: &mut Reader<'_>, name: &str, folder: &Path) -> PathBuf {
    join(folder, Path::new(&reader.read(name, text).unwrap_or_default()))
}

fn listen(reader: &mut Reader<'_>) -> SocketAddr {
    let read = reader.read("server.listen", |value| {
        let text = text(value)?;
        text.parse()
            .map_err(|_| format!("{text:?} is not an address with a port; write one such as 127.0.0.1:9095"))
    });
    read.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Where callbacks come in, by `server.public_url`.
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

/// Where callbacks come in, if `server.public_url` is written and is a URL.
pub(crate) fn public_callback(values: &Values) -> Option<String> {
    let public: Url = values.get(&path("server.public_url"))?.value.as_str()?.parse().ok()?;
    Some(callback_of(public).into())
}

fn callback_of(mut callback: Url) -> Url {
    let path = format!("{}/oauth/callback", callback.path().trim_end_matches('/'));
    callback.set_path(&path);
    callback
}

fn key(reader: &mut Reader<'_>, environment: &EnvVars, file: PathBuf) -> KeySource {
    variable(reader, environment, KEY_VARIABLE).map_or(KeySource::File(file), KeySource::Text)
}

/// A secret that only the environment may hold.
pub(super) fn variable(reader: &mut Reader<'_>, environment: &EnvVars, name: &str) -> Option<Secret> {
    let origin = || Some(Origin::Environment(name.to_owned()));
    match environment.get(name) {
        Ok(Some(secret)) if secret.reveal().trim().is_empty() => {
            reader.faults.push(SettingFault::new(origin(), "", "is empty: give it a value or leave it out"));
            None
        }
        Ok(secret) => secret,
        Err(problem) => {
            reader.faults.push(SettingFault::new(origin(), "", problem));
            None
        }
    }
}
