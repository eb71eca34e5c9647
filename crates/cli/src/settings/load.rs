//! Reads the layers of settings: defaults, settings file, environment and `.env`, flags.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::keep::provider::Catalogue;

use super::assemble::{Settings, assemble};
use super::document;
use super::fault::{Origin, SettingFault};
use super::old_gateway;
use super::reader::Reader;
use super::schema::DEFAULTS;
use super::show::{exposed_secret, exposed_variable};
use super::values::{Section, path};
use crate::env_file::EnvFault;
use crate::env_vars::{ENV_FILE, EnvVars, KEY_VARIABLE};

/// The settings file that is read where none is named.
const DEFAULT_FILE: &str = "jeton.toml";

/// Where settings come from, besides the defaults.
#[derive(Debug, Default)]
pub(crate) struct SettingSources {
    /// The file of `--config`.
    pub(crate) config: Option<PathBuf>,
    /// Flags that are settings: the flag, the setting, its text.
    pub(crate) flags: Vec<(&'static str, String, String)>,
    pub(crate) environment: EnvVars,
}

/// What was read, right or wrong.
pub(crate) struct LoadedSettings {
    /// Whether there is a settings file.
    has_file: bool,
    pub(crate) values: Section,
    pub(crate) catalogue: Catalogue,
    /// The names of providers from files of the operator.
    pub(crate) added_providers: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// The settings, or everything that is wrong with them.
    pub(crate) settings: Result<Settings, Vec<SettingFault>>,
}

impl LoadedSettings {
    /// Whether nothing says where an installation is: no settings file, no connection, no database and no data directory.
    pub(crate) fn is_unconfigured(&self) -> bool {
        let is_default = |name: &str| self.values.origin(&path(name)) == Some(Origin::Default);
        let has_data_dir = self.settings.as_ref().is_ok_and(|settings| settings.data_dir.exists());
        !self.has_file
            && !has_data_dir
            && is_default("data_dir")
            && is_default("store.url")
            && self.values.connections().next().is_none()
    }

    /// Whether there is a settings file.
    pub(crate) fn has_file(&self) -> bool {
        self.has_file
    }

    /// Everything that is wrong with the settings.
    pub(crate) fn faults(&self) -> &[SettingFault] {
        self.settings.as_ref().err().map_or(&[], Vec::as_slice)
    }
}

/// The path of the settings file, whether it exists or not.
pub(crate) fn settings_file(sources: &SettingSources) -> PathBuf {
    sources.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
}

/// Reads all settings. Opens only the files that they name.
pub(crate) fn load(sources: &SettingSources) -> LoadedSettings {
    let file = settings_file(sources);
    match fs::read_to_string(&file) {
        Ok(text) => load_text(sources, &file, &text),
        Err(error) if error.kind() == ErrorKind::NotFound && sources.config.is_none() => {
            load_layers(sources, None, Vec::new())
        }
        Err(error) => {
            let shown = file.display();
            let problem =
                format!("the settings file {shown} cannot be read: {error}; name another with --config");
            load_layers(sources, None, vec![SettingFault::new(None, "", problem)])
        }
    }
}

/// Reads all settings as they would be if the settings file `file` held `text`.
pub(crate) fn load_text(sources: &SettingSources, file: &Path, text: &str) -> LoadedSettings {
    load_layers(sources, Some((file, text)), Vec::new())
}

fn load_layers(
    sources: &SettingSources,
    file: Option<(&Path, &str)>,
    mut faults: Vec<SettingFault>,
) -> LoadedSettings {
    let mut values = Section::default();
    document::read(DEFAULTS, &|_| Origin::Default, &mut values, &mut faults);
    for EnvFault { line, problem } in sources.environment.file_faults() {
        let origin = Origin::File { path: Arc::from(ENV_FILE), line: *line };
        faults.push(SettingFault::new(Some(origin), "", problem.as_str()));
    }
    old_gateway::read(&sources.environment, &mut values, &mut faults);
    if let Some((file, text)) = file {
        let shown = Arc::from(file.display().to_string());
        let origin = |line| Origin::File { path: Arc::clone(&shown), line };
        document::read(text, &origin, &mut values, &mut faults);
    }
    read_environment(&sources.environment, &mut values, &mut faults);
    for (flag, name, text) in &sources.flags {
        faults.extend(values.set_text(&path(name), text, Origin::Flag(flag)).err());
    }
    old_gateway::check(&sources.environment, &values, &mut faults);
    let folder = file.and_then(|(file, _)| file.parent()).unwrap_or(Path::new(""));
    let assembled = assemble(Reader { values: &values, environment: &sources.environment, faults, folder });
    let exposed = file.and_then(|(file, _)| exposed_secret(file, &values, &assembled.catalogue));
    let in_env_file = exposed_variable(&sources.environment, &values, &assembled.catalogue);
    let plain = assembled.settings.as_ref().ok().and_then(Settings::plain_http);
    LoadedSettings {
        has_file: file.is_some(),
        values,
        catalogue: assembled.catalogue,
        added_providers: assembled.added_providers,
        warnings: exposed.into_iter().chain(in_env_file).chain(plain).collect(),
        settings: assembled.settings,
    }
}

fn read_environment(environment: &EnvVars, values: &mut Section, faults: &mut Vec<SettingFault>) {
    for (variable, name) in environment.settings() {
        if variable == KEY_VARIABLE {
            continue;
        }
        let mut path = path(&name.to_lowercase().replace("__", "."));
        // The name of a variable holds neither dashes nor dots, which names of connections may.
        if let [section, connection, ..] = path.as_mut_slice()
            && section == "connections"
            && let Some(known) =
                values.connections().find(|known| known.replace(['-', '.'], "_") == *connection)
        {
            known.clone_into(connection);
        }
        faults.extend(values.set_variable(&path, variable, environment).err());
    }
}
