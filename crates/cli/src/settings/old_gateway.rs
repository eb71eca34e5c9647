//! The amoCRM gateway that jeton replaces: its environment, and the connection that takes the place of its own.

use jeton_core::id::ConnectionName;

use super::fault::{Origin, SettingFault};
use super::reader::{Reader, text};
use super::values::{Section, path};
use crate::env_vars::EnvVars;

/// Its variables, and the settings that they set: they make a connection `amocrm` without a settings file. A settings file
/// overrides them.
const VARIABLES: [(&str, &str); 5] = [
    ("AMO_DOMAIN", DOMAIN),
    (CLIENT_ID, "connections.amocrm.client.id"),
    ("AMO_CLIENT_SECRET", "connections.amocrm.client.secret"),
    ("AMO_REDIRECT_URI", "connections.amocrm.client.redirect_uri"),
    ("TOKEN_STORAGE_PATH", "connections.amocrm.import"),
];

const CLIENT_ID: &str = "AMO_CLIENT_ID";
const DOMAIN: &str = "connections.amocrm.vars.domain";

/// What its environment implies, besides the values of its variables.
const IMPLIED: [(&str, &str); 3] = [
    ("connections.amocrm.provider", "amocrm"),
    ("connections.amocrm.aliases", "true"),
    ("old_gateway.connection", "amocrm"),
];

/// Reads its environment, if this is one.
pub(super) fn read(environment: &EnvVars, values: &mut Section, faults: &mut Vec<SettingFault>) {
    // Other programs have variables named TOKEN_STORAGE_PATH too.
    if is_absent(CLIENT_ID, environment) {
        return;
    }
    for (setting, text) in IMPLIED {
        let origin = Origin::variable(CLIENT_ID, environment);
        faults.extend(values.set_text(&path(setting), text, origin).err());
    }
    for (variable, setting) in VARIABLES {
        if !is_absent(variable, environment) {
            faults.extend(values.set_variable(&path(setting), variable, environment).err());
        }
    }
}

/// Names what is missing of its environment, unless it is written elsewhere.
pub(super) fn check(environment: &EnvVars, values: &Section, faults: &mut Vec<SettingFault>) {
    let amo =
        |(variable, _): &(&str, &str)| variable.starts_with("AMO_") && !is_absent(variable, environment);
    let Some((found, _)) = VARIABLES.iter().find(|variable| amo(variable)) else { return };
    let mut missing = |variable: &str| {
        let problem = format!("is set, and {variable} is not; set it too, in the environment or in `.env`");
        faults.push(SettingFault::new(Some(Origin::variable(found, environment)), "", problem));
    };
    if is_absent(CLIENT_ID, environment) {
        if values.connections().next().is_none() {
            missing(CLIENT_ID);
        }
    } else if values.get(&path(DOMAIN)).is_none() {
        // Connections can learn it at consent; the calls and the diagnostics of that gateway need it before.
        missing("AMO_DOMAIN");
    }
}

/// The variable that would set the setting at `path`, where that environment makes the connection and leaves this out.
pub(super) fn missing_variable(values: &Section, at: &[String]) -> Option<&'static str> {
    if values.get(at).is_some() || !values.origin(at).is_some_and(|origin| is_origin(&origin)) {
        return None;
    }
    VARIABLES.iter().find(|(_, setting)| path(setting) == at).map(|(variable, _)| *variable)
}

/// Whether a value comes from a variable of that environment.
pub(super) fn is_origin(origin: &Origin) -> bool {
    origin.variable_name().is_some_and(|name| VARIABLES.iter().any(|(variable, _)| *variable == name))
}

/// The connection that takes the place of its own.
pub(super) fn connection(reader: &mut Reader<'_>) -> Option<ConnectionName> {
    let values = reader.values;
    reader.read("old_gateway.connection", |value| {
        let name = text(value)?;
        match values.connections().find(|known| *known == name) {
            Some(known) => known.parse().map_err(|_| format!("[connections.{name}] is not usable")),
            None => Err(format!("there is no [connections.{name}]; name one that there is")),
        }
    })
}

/// An empty variable counts as absent: templates of `.env` leave the value out.
fn is_absent(variable: &str, environment: &EnvVars) -> bool {
    matches!(environment.get(variable), Ok(text) if text.as_ref().is_none_or(|text| text.reveal().trim().is_empty()))
}
