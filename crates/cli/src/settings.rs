//! Settings: built-in defaults, then the settings file, the environment and flags, each value with its origin.
//!
//! * Which setting? `config.default.toml` at the root of the repository.
//! * What does it take? [`schema`]. Where was it written? [`document`], [`values`], [`origin`].
//! * What does it become? [`assemble`], [`connections`].

mod access;
mod assemble;
mod catalogue;
mod connections;
mod document;
mod fault;
mod gateway;
mod origin;
mod reader;
mod schema;
pub(crate) mod show;
mod store;
mod store_url;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Catalogue, Definition};
use jeton_core::secret::Secret;
use jeton_gateway::AliasOf;
use jeton_keeper::KeySource;

pub(crate) use access::{AccessSettings, variables as access_variables};
pub(crate) use assemble::public_callback;
pub(crate) use catalogue::add as add_provider;
pub(crate) use connections::from_file as secret_from_file;
pub(crate) use fault::SettingFault;
pub(crate) use origin::Origin;
pub(crate) use store::{PostgresSettings, StoreSettings};
pub(crate) use values::Values;

use crate::env_vars::EnvVars;
use crate::telemetry::{Format, Level};
use schema::PathKind;

/// Every setting with its default and its description.
pub(crate) const DEFAULTS: &str = include_str!("../../../config.default.toml");

/// The settings file that is read where none is named.
const USUAL_FILE: &str = "jeton.toml";

/// The variable that holds sealing keys in place of the key file.
pub(crate) const KEY_VARIABLE: &str = "JETON__KEY";

/// The variable that holds the key of the API.
pub(crate) const API_KEY_VARIABLE: &str = "API_KEY";

/// Names of variables that the amoCRM gateway of old was set up with, and the settings that they are: they make a
/// connection `amocrm`, with its aliases, with no settings file. A settings file counts more.
const OLD_NAMES: [(&str, &str); 5] = [
    ("AMO_DOMAIN", "connections.amocrm.vars.domain"),
    ("AMO_CLIENT_ID", "connections.amocrm.client.id"),
    ("AMO_CLIENT_SECRET", "connections.amocrm.client.secret"),
    ("AMO_REDIRECT_URI", "connections.amocrm.client.redirect_uri"),
    ("TOKEN_STORAGE_PATH", "connections.amocrm.import"),
];

/// What a run of jeton is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) key: KeySource,
    pub(crate) store: StoreSettings,
    pub(crate) listen: SocketAddr,
    pub(crate) access: AccessSettings,
    pub(crate) level: Level,
    /// Whether somebody asked for this level, beyond the settings of the server.
    pub(crate) level_asked: bool,
    pub(crate) format: Format,
    pub(crate) keeper: jeton_keeper::Settings,
    pub(crate) gateway: jeton_gateway::Settings,
    pub(crate) aliases: Vec<AliasOf>,
    pub(crate) definitions: BTreeMap<ConnectionName, Definition>,
    /// Files with tokens that connections begin with.
    pub(crate) imports: BTreeMap<ConnectionName, PathBuf>,
}

/// Where settings come from besides the defaults.
#[derive(Debug, Default)]
pub(crate) struct SettingSources {
    /// The file that `--config` names.
    pub(crate) config: Option<PathBuf>,
    /// Flags that are settings: the flag, the setting, its text.
    pub(crate) flags: Vec<(&'static str, String, String)>,
    pub(crate) environment: EnvVars,
}

/// What was read, right or wrong.
pub(crate) struct LoadedSettings {
    pub(crate) values: Values,
    pub(crate) catalogue: Catalogue,
    /// The names of providers that come from files of the operator.
    pub(crate) added_providers: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// The settings, or everything that is wrong with them.
    pub(crate) settings: Result<Settings, Vec<SettingFault>>,
}

/// The settings file that is meant, whether it is there or not.
pub(crate) fn file(sources: &SettingSources) -> PathBuf {
    sources.config.clone().unwrap_or_else(|| USUAL_FILE.into())
}

/// Reads all settings. Nothing is opened but the files that the settings name.
pub(crate) fn load(sources: &SettingSources) -> LoadedSettings {
    load_with(sources, |values, faults| read_file(sources.config.as_deref(), values, faults))
}

/// Reads all settings as they would be if the settings file at `path` said `text`.
pub(crate) fn load_text(sources: &SettingSources, path: &Path, text: &str) -> LoadedSettings {
    load_with(sources, |values, faults| {
        let shown = Arc::from(path.display().to_string());
        let origin = |line| Origin::File { path: Arc::clone(&shown), line };
        document::read(text, &origin, values, faults);
        Some(path.to_owned())
    })
}

fn load_with(
    sources: &SettingSources,
    read_file: impl FnOnce(&mut Values, &mut Vec<SettingFault>) -> Option<PathBuf>,
) -> LoadedSettings {
    let (mut values, mut faults) = (Values::default(), Vec::new());
    document::read(DEFAULTS, &|_| Origin::Default, &mut values, &mut faults);
    read_old_names(&sources.environment, &mut values, &mut faults);
    let file = read_file(&mut values, &mut faults);
    read_environment(&sources.environment, &mut values, &mut faults);
    read_flags(&sources.flags, &mut values, &mut faults);
    let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    let assembled = assemble::assemble(&values, faults, folder, &sources.environment);
    let warnings =
        file.iter().filter_map(|file| exposed_secret(file, &values, &assembled.catalogue)).collect();
    LoadedSettings {
        values,
        catalogue: assembled.catalogue,
        added_providers: assembled.added_providers,
        warnings,
        settings: assembled.settings,
    }
}

/// Reads the settings file, if there is one; gives its path.
fn read_file(named: Option<&Path>, values: &mut Values, faults: &mut Vec<SettingFault>) -> Option<PathBuf> {
    let path = named.unwrap_or(Path::new(USUAL_FILE));
    let shown = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => {
            let shown = Arc::from(shown);
            let origin = |line| Origin::File { path: Arc::clone(&shown), line };
            document::read(&text, &origin, values, faults);
            Some(path.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => None,
        Err(error) => {
            let problem =
                format!("the settings file {shown} cannot be read ({error}); name another with --config");
            faults.push(SettingFault::new(None, "", problem));
            None
        }
    }
}

fn read_old_names(environment: &EnvVars, values: &mut Values, faults: &mut Vec<SettingFault>) {
    // The path alone sets nothing up: other programs have variables of that name too.
    if !matches!(environment.get("AMO_CLIENT_ID"), Ok(Some(_))) {
        return;
    }
    // The info routes go with it: the clients of that gateway call no others.
    for (setting, text) in [("connections.amocrm.provider", "amocrm"), ("connections.amocrm.aliases", "true")]
    {
        let origin = Origin::Environment("AMO_CLIENT_ID".to_owned());
        faults.extend(set_text(&values::path(setting), text, origin, values).err());
    }
    for (variable, setting) in OLD_NAMES {
        let origin = Origin::Environment(variable.to_owned());
        let taken = match environment.get(variable) {
            Ok(Some(text)) => set_text(&values::path(setting), text.reveal(), origin, values),
            Ok(None) => Ok(()),
            Err(problem) => Err(SettingFault::new(Some(origin), setting, problem)),
        };
        faults.extend(taken.err());
    }
}

fn read_environment(environment: &EnvVars, values: &mut Values, faults: &mut Vec<SettingFault>) {
    for (variable, name) in environment.settings() {
        if variable == KEY_VARIABLE {
            continue;
        }
        let origin = Origin::Environment(variable.to_owned());
        let mut path = values::path(&name.to_lowercase().replace("__", "."));
        if let [section, connection, ..] = path.as_mut_slice()
            && section == "connections"
            && let Some(right) =
                values.connections().find(|known| known.replace(['-', '.'], "_") == *connection)
        {
            right.clone_into(connection);
        }
        let taken = match environment.get(variable) {
            Ok(text) => set_text(&path, text.unwrap_or_else(|| Secret::new("")).reveal(), origin, values),
            Err(problem) => Err(SettingFault::new(Some(origin), path.join("."), problem)),
        };
        faults.extend(taken.err());
    }
}

fn read_flags(flags: &[(&'static str, String, String)], values: &mut Values, faults: &mut Vec<SettingFault>) {
    for (flag, name, text) in flags {
        faults.extend(set_text(&values::path(name), text, Origin::Flag(flag), values).err());
    }
}

fn set_text(path: &[String], text: &str, origin: Origin, values: &mut Values) -> Result<(), SettingFault> {
    let value = match schema::place(path) {
        PathKind::Setting(kind) => schema::from_text(kind, text),
        _ => text.into(),
    };
    values.set(path, value, origin)
}

/// Whether what stands at `path` is a secret itself, or holds one: a client's, a variable that the provider calls one, or
/// the URL of a store with a password in it.
fn is_secret(path: &[String], values: &Values, catalogue: &Catalogue) -> bool {
    match path {
        [section, url] if section == "store" && url == "url" => {
            let written = values.get(path).and_then(|found| found.value.as_str());
            written.is_some_and(store_url::holds_password)
        }
        [section, _, client, key] if section == "connections" && client == "client" => key == "secret",
        [section, name, vars, key] if section == "connections" && vars == "vars" => {
            let provider = [section.clone(), name.clone(), "provider".to_owned()];
            let provider = values.get(&provider).and_then(|found| found.value.as_str());
            let provider = provider.and_then(|name| catalogue.get(name).ok());
            provider.is_some_and(|file| file.vars().any(|var| var.name() == key && var.is_secret()))
        }
        _ => false,
    }
}

/// A settings file with a secret in it that others can read.
fn exposed_secret(file: &Path, values: &Values, catalogue: &Catalogue) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let read_by_others = mode & 0o007 != 0;
    // Of very many values none is looked at where it makes no difference.
    let (path, _) = values.iter().take_while(|_| read_by_others).find(|(path, found)| {
        matches!(found.origin, Origin::File { .. }) && is_secret(path, values, catalogue)
    })?;
    Some(format!(
        "{file} holds {} and can be read by others; run `chmod 600 {file}`, or move the secret to a file of its own",
        path.join("."),
        file = file.display()
    ))
}

#[cfg(test)]
mod tests;
