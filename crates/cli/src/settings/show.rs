//! Which values are in force and where each was written, with every secret hidden.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jeton_core::keep::provider::{Catalogue, Var};
use jeton_keeper::{NoProxy, Proxy};
use serde_json::{Value, json};

use super::access;
use super::fault::Origin;
use super::store_url;
use super::values::Section;
use crate::env_vars::{API_KEY_VARIABLE, ENV_FILE, EnvVars, KEY_VARIABLE};

/// One setting as it may be shown.
pub(crate) struct ShownSetting {
    /// Its dotted name.
    pub(crate) name: String,
    /// Its value; absent when it is a secret.
    value: Option<toml::Value>,
    pub(crate) origin: Origin,
}

impl ShownSetting {
    /// The value as TOML, or `[hidden]`.
    pub(crate) fn text(&self) -> String {
        self.value.as_ref().map_or_else(|| "[hidden]".to_owned(), ToString::to_string)
    }

    pub(crate) fn to_json(&self) -> Value {
        let value = self.value.as_ref().and_then(|value| serde_json::to_value(value).ok());
        json!({ "name": self.name, "value": value, "hidden": self.value.is_none(), "origin": self.origin.to_json() })
    }
}

/// All settings in force, by name.
pub(crate) fn shown(values: &Section, catalogue: &Catalogue, environment: &EnvVars) -> Vec<ShownSetting> {
    let settings = values.iter().map(|(path, written)| ShownSetting {
        name: dotted(&path),
        value: match written.value.as_str() {
            Some(url) if path == ["store", "url"] => Some(store_url::redacted(url).into()),
            // What is no URL of a proxy may be one with a typing error, and hold a password all the same.
            Some(url) if path == ["outbound", "proxy"] && url.contains('@') => {
                Proxy::parse(url, NoProxy::default()).ok().map(|proxy| proxy.shown().into())
            }
            _ => (!is_secret(&path, values, catalogue).unwrap_or(true)).then(|| written.value.clone()),
        },
        origin: written.origin.clone(),
    });
    let secrets = [API_KEY_VARIABLE, KEY_VARIABLE]
        .into_iter()
        .chain(access::variables(environment))
        .filter(|name| !matches!(environment.get(name), Ok(None)));
    let secrets = secrets.map(|name| ShownSetting {
        name: name.to_owned(),
        value: None,
        origin: Origin::variable(name, environment),
    });
    settings.chain(secrets).collect()
}

/// Whether the value at `path` is a secret, or holds one: a client secret, a URL of a store or a proxy with a password, or a variable
/// that its provider calls secret. Absent for a variable that no provider knows.
fn is_secret(path: &[String], values: &Section, catalogue: &Catalogue) -> Option<bool> {
    match path {
        [section, url] if section == "store" && url == "url" => {
            let url = values.get(path).and_then(|written| written.value.as_str());
            Some(url.is_some_and(store_url::holds_password))
        }
        [section, proxy] if section == "outbound" && proxy == "proxy" => {
            let url = values.get(path).and_then(|written| written.value.as_str());
            Some(url.is_some_and(|url| url.contains('@')))
        }
        [section, _, client, key] if section == "connections" && client == "client" => Some(key == "secret"),
        [section, name, vars, key] if section == "connections" && vars == "vars" => {
            let provider = values.get(&[section.clone(), name.clone(), "provider".to_owned()])?;
            let provider = catalogue.get(provider.value.as_str()?).ok()?;
            provider.vars().find(|var| var.name() == key).map(Var::is_secret)
        }
        _ => Some(false),
    }
}

/// A warning about a settings file that holds a secret and that others can read.
pub(super) fn exposed_secret(file: &Path, values: &Section, catalogue: &Catalogue) -> Option<String> {
    if !others_can_read(file) {
        return None;
    }
    let is_of_file = |origin: &Origin| matches!(origin, Origin::File { .. });
    let (path, _) = secrets(is_of_file, values, catalogue).next()?;
    Some(format!(
        "{file} holds {} and can be read by others; run `chmod 600 {file}`, or move the secret to a file of its own",
        path.join("."),
        file = file.display()
    ))
}

/// The same for `.env`.
pub(super) fn exposed_variable(
    environment: &EnvVars,
    values: &Section,
    catalogue: &Catalogue,
) -> Option<String> {
    if !others_can_read(Path::new(ENV_FILE)) {
        return None;
    }
    let is_of_file = |origin: &Origin| matches!(origin, Origin::EnvFile { .. });
    let setting = secrets(is_of_file, values, catalogue).find_map(|(_, origin)| origin.variable_name());
    let own = || [API_KEY_VARIABLE, KEY_VARIABLE].into_iter().find(|name| environment.line(name).is_some());
    let variable = setting.or_else(own)?;
    Some(format!("{ENV_FILE} holds {variable} and can be read by others; run `chmod 600 {ENV_FILE}`"))
}

fn others_can_read(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

/// The secrets that stand where `is_of_file` says.
fn secrets<'v>(
    is_of_file: impl Fn(&Origin) -> bool,
    values: &'v Section,
    catalogue: &Catalogue,
) -> impl Iterator<Item = (Vec<String>, &'v Origin)> {
    values.iter().filter_map(move |(path, written)| {
        let is = is_of_file(&written.origin) && is_secret(&path, values, catalogue) == Some(true);
        is.then_some((path, &written.origin))
    })
}

/// A path as TOML writes it.
fn dotted(path: &[String]) -> String {
    let bare =
        |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let keys = path.iter().map(|key| if bare(key) { key.clone() } else { format!("{key:?}") });
    keys.collect::<Vec<_>>().join(".")
}
