//! What is in force and where it came from, with every secret hidden.

use jeton_core::keep::provider::Catalogue;
use serde_json::{Value, json};

use super::origin::Origin;
use super::schema::{self, Kind, PathKind};
use super::store_url;
use super::values::{SettingValue, Values};
use super::{API_KEY_VARIABLE, KEY_VARIABLE, access_variables};
use crate::env_vars::EnvVars;

/// One setting as it may be shown.
pub(crate) struct ShownSetting {
    /// Its dotted name.
    pub(crate) name: String,
    /// Its value as TOML; absent when it is a secret.
    value: Option<toml::Value>,
    /// Where it came from.
    pub(crate) origin: Origin,
}

impl ShownSetting {
    /// The value as it stands in a settings file, or that it is hidden.
    pub(crate) fn text(&self) -> String {
        self.value.as_ref().map_or_else(|| "[hidden]".to_owned(), ToString::to_string)
    }

    /// As a member of JSON output: a hidden value is null and marked.
    pub(crate) fn to_json(&self) -> Value {
        let value = self.value.as_ref().and_then(|value| serde_json::to_value(value).ok());
        json!({ "name": self.name, "value": value, "hidden": self.value.is_none(), "origin": self.origin.to_json() })
    }
}

/// All settings that are in force, by name.
pub(crate) fn shown(values: &Values, catalogue: &Catalogue, environment: &EnvVars) -> Vec<ShownSetting> {
    let settings = values.iter().map(|(path, found)| ShownSetting {
        name: dotted(&path),
        value: may_be_shown(&path, values, catalogue).then(|| without_password(&path, &found.value)),
        origin: found.origin.clone(),
    });
    let secrets = [API_KEY_VARIABLE, KEY_VARIABLE]
        .into_iter()
        .chain(access_variables(environment))
        .filter(|name| !matches!(environment.get(name), Ok(None)));
    let secrets = secrets.map(|name| ShownSetting {
        name: name.to_owned(),
        value: None,
        origin: Origin::Environment(name.to_owned()),
    });
    settings.chain(secrets).collect()
}

/// The value, with the password of a store's URL hidden.
fn without_password(path: &[String], value: &toml::Value) -> toml::Value {
    match value.as_str() {
        Some(url) if path == ["store", "url"] => store_url::redacted(url).into(),
        _ => value.clone(),
    }
}

/// Variables may be shown when their provider says that they are no secret.
fn may_be_shown(path: &[String], values: &Values, catalogue: &Catalogue) -> bool {
    if schema::place(path) != PathKind::Setting(Kind::Secret) {
        return true;
    }
    let [connections, name, section, variable] = path else { return false };
    let provider = values.get(&[connections.clone(), name.clone(), "provider".to_owned()]);
    let provider = provider.and_then(|SettingValue { value, .. }| catalogue.get(value.as_str()?).ok());
    let mut vars = provider.iter().flat_map(|provider| provider.vars());
    section == "vars" && vars.any(|known| known.name() == variable && !known.is_secret())
}

/// A path as it would be written in TOML.
fn dotted(path: &[String]) -> String {
    let bare =
        |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let keys = path.iter().map(|key| if bare(key) { key.clone() } else { format!("{key:?}") });
    keys.collect::<Vec<_>>().join(".")
}
