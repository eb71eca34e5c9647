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

/// The settings file of the working directory.
const DEFAULT_FILE: &str = "jeton.toml";

/// The settings file of a machine, which is read where none is named and the working directory has none.
const MACHINE_FILE: &str = "/etc/jeton/jeton.toml";

/// Where settings come from, besides the defaults.
#[derive(Debug, Default)]
pub(crate) struct SettingSources {
    /// The file of `--config` or of `JETON_CONFIG`.
    pub(crate) config: Option<PathBuf>,
    /// Client secrets that cannot be read are no fault: the command asks no provider for anything.
    pub(crate) without_secrets: bool,
    /// Flags that are settings: the flag, the setting, its text.
    pub(crate) flags: Vec<(&'static str, String, String)>,
    pub(crate) environment: EnvVars,
}

/// What was read, right or wrong.
pub(crate) struct LoadedSettings {
    /// The settings file, if there is one.
    pub(crate) file: Option<PathBuf>,
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
        self.file.is_none()
            // What is wrong, such as a file that is named and not there, is said instead.
            && self.settings.as_ref().is_ok_and(|settings| !settings.data_dir.exists())
            && is_default("data_dir")
            && is_default("store.url")
            && self.values.connections().next().is_none()
    }

    /// The settings file, where nobody named it and it is not that of the working directory.
    pub(crate) fn machine_file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|file| *file == Path::new(MACHINE_FILE))
    }

    /// Everything that is wrong with the settings.
    pub(crate) fn faults(&self) -> &[SettingFault] {
        self.settings.as_ref().err().map_or(&[], Vec::as_slice)
    }
}

/// The path of the settings file that a command writes, whether it exists or not.
pub(crate) fn settings_file(sources: &SettingSources) -> PathBuf {
    sources.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
}

/// The file that is read: the one that is named, else that of the working directory, else that of the machine. One that
/// cannot be looked at is there, and is read in vain.
fn readable_file(sources: &SettingSources, machine_file: &Path) -> PathBuf {
    let own = settings_file(sources);
    let is_there = |file: &Path| file.try_exists().unwrap_or(true);
    if sources.config.is_some() || is_there(&own) || !is_there(machine_file) {
        own
    } else {
        machine_file.to_owned()
    }
}

/// Reads all settings. Opens only the files that they name.
pub(crate) fn load(sources: &SettingSources) -> LoadedSettings {
    let file = readable_file(sources, Path::new(MACHINE_FILE));
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

/// The same, where client secrets that cannot be read are no fault.
pub(crate) fn load_without_secrets(sources: &SettingSources) -> LoadedSettings {
    let SettingSources { config, flags, environment, .. } = sources;
    load(&SettingSources {
        config: config.clone(),
        flags: flags.clone(),
        environment: environment.clone(),
        without_secrets: true,
    })
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
    let reader = Reader {
        values: &values,
        environment: &sources.environment,
        without_secrets: sources.without_secrets,
        lacks_secrets: false,
        faults,
        folder,
    };
    let assembled = assemble(reader);
    let exposed = file.and_then(|(file, _)| exposed_secret(file, &values, &assembled.catalogue));
    let in_env_file = exposed_variable(&sources.environment, &values, &assembled.catalogue);
    let plain = assembled.settings.as_ref().ok().and_then(Settings::plain_http);
    LoadedSettings {
        file: file.map(|(file, _)| file.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_named_is_read_then_that_of_the_folder_then_that_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("etc-jeton.toml");
        let named =
            |config: Option<&str>| SettingSources { config: config.map(PathBuf::from), ..Default::default() };
        // Tests run in the folder of their crate, which has no jeton.toml.
        assert_eq!(readable_file(&named(None), &machine), Path::new(DEFAULT_FILE));
        fs::write(&machine, "").unwrap();
        assert_eq!(readable_file(&named(None), &machine), machine);
        assert_eq!(readable_file(&named(Some("/nowhere.toml")), &machine), Path::new("/nowhere.toml"));
    }
}
