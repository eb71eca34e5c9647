//! Reads values as their types; each that does not fit becomes a fault with its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::keep::provider::DurationText;
use jeton_core::secret::Secret;
use toml::Value;

use super::fault::{Origin, SettingFault};
use super::values::{Section, SettingValue, path};
use crate::env_vars::EnvVars;

/// A section and its path. It may be written nowhere.
pub(crate) struct SectionRef<'v> {
    section: Option<&'v Section>,
    pub(crate) path: Vec<String>,
}

impl<'v> SectionRef<'v> {
    pub(crate) fn of(values: &'v Section, path: Vec<String>) -> Self {
        Self { section: values.section_at(&path), path }
    }

    /// The section below `key`.
    pub(crate) fn section(&self, key: &str) -> Self {
        Self { section: self.section.and_then(|section| section.section(key)), path: self.path_of(key) }
    }

    /// The last key of its path.
    pub(crate) fn key(&self) -> &str {
        self.path.last().map(String::as_str).unwrap_or_default()
    }

    /// The path of what stands below `key`.
    pub(crate) fn path_of(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }

    /// The value below `key`.
    pub(crate) fn value(&self, key: &str) -> Option<&'v SettingValue> {
        self.section?.value(key)
    }

    /// The keys that hold a value, in order.
    pub(crate) fn value_keys(&self) -> impl Iterator<Item = &'v str> + use<'v> {
        self.section.into_iter().flat_map(Section::value_keys)
    }
}

/// Reads values and collects faults. What cannot be read becomes a placeholder: nobody may use the result once there is
/// a fault.
pub(crate) struct Reader<'v> {
    pub(crate) values: &'v Section,
    pub(crate) environment: &'v EnvVars,
    /// Client secrets that cannot be read are no fault.
    pub(crate) without_secrets: bool,
    /// One of them could not be read.
    pub(crate) lacks_secrets: bool,
    pub(crate) faults: Vec<SettingFault>,
    /// Relative paths of the settings file start here.
    pub(crate) folder: &'v Path,
}

impl Reader<'_> {
    /// The setting `name` as `read` understands it; absent when it is not written, or is wrong.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.read_at(&path(name), read)
    }

    /// The same for the setting at `path`.
    pub(crate) fn read_at<T>(
        &mut self,
        path: &[String],
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.accept(self.values.get(path)?, || path.join("."), read)
    }

    /// The same for the setting `key` of a section.
    pub(crate) fn read_in<T>(
        &mut self,
        section: &SectionRef<'_>,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.accept(section.value(key)?, || section.path_of(key).join("."), read)
    }

    fn accept<T>(
        &mut self,
        written: &SettingValue,
        setting: impl FnOnce() -> String,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = read(&written.value);
        value
            .map_err(|problem| {
                self.faults.push(SettingFault::new(Some(written.origin.clone()), setting(), problem));
            })
            .ok()
    }

    /// A duration of `least` or more.
    pub(crate) fn duration(&mut self, name: &str, least: Duration) -> Duration {
        self.read(name, |value| duration_of(value, least)).unwrap_or_default()
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn count(&mut self, name: &str, most: usize) -> usize {
        self.read(name, |value| count_of(value, most)).unwrap_or(1)
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, name: &str) -> bool {
        self.read(name, boolean).unwrap_or_default()
    }

    /// A path, resolved against the folder of the settings file or, from the environment, `.env` and flags, the working directory.
    pub(crate) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let text = self.read(name, text)?;
        Some(self.resolve(&text, self.values.origin(&path(name)).as_ref()))
    }

    /// The path that `text`, written at `origin`, stands for.
    pub(crate) fn resolve(&self, text: &str, origin: Option<&Origin>) -> PathBuf {
        match origin {
            None | Some(Origin::Default | Origin::File { .. }) => join(self.folder, Path::new(text)),
            Some(Origin::Environment(_) | Origin::EnvFile { .. } | Origin::Flag(_)) => PathBuf::from(text),
        }
    }

    /// A secret that only the environment may hold.
    pub(crate) fn secret_variable(&mut self, name: &str) -> Option<Secret> {
        match self.environment.get(name) {
            Ok(Some(secret)) if secret.reveal().trim().is_empty() => {
                self.variable_fault(name, "is empty: give it a value or leave it out");
                None
            }
            Ok(secret) => secret,
            Err(problem) => {
                self.variable_fault(name, problem);
                None
            }
        }
    }

    /// Adds a fault of an environment variable that is no setting.
    pub(crate) fn variable_fault(&mut self, name: &str, problem: impl Into<String>) {
        let origin = Origin::variable(name, self.environment);
        self.faults.push(SettingFault::new(Some(origin), "", problem));
    }

    /// Adds a fault of the setting at `path`, with the place where it, or what is around it, is written.
    pub(crate) fn fault(&mut self, path: &[String], problem: impl Into<String>) {
        self.faults.push(SettingFault::new(self.values.origin(path), path.join("."), problem));
    }

    /// Whether the setting `name` has a fault.
    pub(crate) fn has_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.setting == name)
    }
}

/// `folder` and `path`, without a leading `./`.
pub(crate) fn join(folder: &Path, path: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() || folder == Path::new(".") {
        path.to_owned()
    } else {
        folder.join(path)
    }
}

/// A text that is not empty.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            Err("is empty: give it a value or leave it out".to_owned())
        }
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_type("text in quotes", other)),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong_type("true or false", value))
}

/// A duration of `least` or more.
pub(crate) fn duration_of(value: &Value, least: Duration) -> Result<Duration, String> {
    let duration = duration(value)?;
    if duration < least {
        return Err(format!("must be {} or more", DurationText(least)));
    }
    Ok(duration)
}

/// A whole number from 1 to `most`.
pub(crate) fn count_of(value: &Value, most: usize) -> Result<usize, String> {
    match value {
        Value::Integer(number) => usize::try_from(*number)
            .ok()
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| format!("must be from 1 to {most}, and is {number}")),
        other => Err(wrong_type("a whole number", other)),
    }
}

fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => {
            text.parse::<DurationText>().map(|text| text.0).map_err(|error| error.to_string())
        }
        other => Err(wrong_type("a duration in quotes, such as \"45s\"", other)),
    }
}

/// The texts of a list of `things`, such as `paths`.
pub(crate) fn texts(value: &Value, things: &str) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| wrong_type(&format!("a list of {things}"), value))?;
    let text = |item: &Value| {
        item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(&format!("{things} in quotes"), item))
    };
    list.iter().map(text).collect()
}

/// The message for a value of the wrong type. It shows the type and not the value, which may be a secret.
pub(crate) fn wrong_type(expected: &str, value: &Value) -> String {
    let found = match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    format!("expected {expected}, found {found}")
}
