//! From written values to values of their types; what does not fit becomes a fault with its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::keep::provider::DurationText;
use toml::Value;

use super::fault::SettingFault;
use super::origin::Origin;
use super::values::{Section, SettingValue, Values, path};

/// A section that is being read, and its path.
pub(crate) struct SectionRef<'v> {
    section: Option<&'v Section>,
    pub(crate) path: Vec<String>,
}

impl<'v> SectionRef<'v> {
    /// The section at `path`, written or not.
    pub(crate) fn of(values: &'v Values, path: Vec<String>) -> Self {
        Self { section: values.section(&path), path }
    }

    /// The section below `key`, written or not.
    pub(crate) fn part(&self, key: &str) -> Self {
        Self { section: self.section.and_then(|section| section.section(key)), path: self.path_of(key) }
    }

    /// The key of the section itself.
    pub(crate) fn key(&self) -> &str {
        self.path.last().map(String::as_str).unwrap_or_default()
    }

    /// The path of what stands below `key`.
    pub(crate) fn path_of(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }

    /// What is written below `key`, with its origin.
    pub(crate) fn found(&self, key: &str) -> Option<&'v SettingValue> {
        self.section?.get(key)
    }

    /// The keys of its own settings, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'v str> + use<'v> {
        self.section.into_iter().flat_map(Section::settings)
    }
}

/// Reads values and collects what is wrong with them. What cannot be read is replaced by a stand-in: whoever finds a
/// fault afterwards must not use the result.
pub(crate) struct Reader<'v> {
    pub(crate) values: &'v Values,
    pub(crate) faults: Vec<SettingFault>,
    /// Where relative paths of the settings file begin.
    pub(crate) folder: PathBuf,
}

impl<'v> Reader<'v> {
    /// The setting of that name as `read` understands it; absent when it is not written, or not right.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.read_at(&path(name), read)
    }

    /// The same for a path whose keys may hold dots.
    pub(crate) fn read_at<T>(
        &mut self,
        path: &[String],
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.taken(self.values.get(path)?, || path.join("."), read)
    }

    /// The same for a setting of a section.
    pub(crate) fn read_in<T>(
        &mut self,
        part: &SectionRef<'_>,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.taken(part.found(key)?, || part.path_of(key).join("."), read)
    }

    fn taken<T>(
        &mut self,
        found: &SettingValue,
        setting: impl FnOnce() -> String,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        match read(&found.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.faults.push(SettingFault::new(Some(found.origin.clone()), setting(), problem));
                None
            }
        }
    }

    /// A duration that is not shorter than `least`.
    pub(crate) fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let read = |value: &Value| {
            let duration = duration(value)?;
            if duration < least {
                return Err(format!("must be {} or more", DurationText(least)));
            }
            Ok(duration)
        };
        self.read(name, read).unwrap_or_default()
    }

    /// A whole number from 1 to `most`.
    pub(crate) fn count(&mut self, name: &str, most: usize) -> usize {
        let read = |value: &Value| match value {
            Value::Integer(number) => usize::try_from(*number)
                .ok()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| format!("must be from 1 to {most}, and is {number}")),
            other => Err(expected("a whole number", other)),
        };
        self.read(name, read).unwrap_or(1)
    }

    /// `true` or `false`.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let read = |value: &Value| value.as_bool().ok_or_else(|| expected("true or false", value));
        self.read(name, read).unwrap_or_default()
    }

    /// The path that `text` means when it is written at `origin`.
    pub(crate) fn resolve(&self, text: &str, origin: Option<&Origin>) -> PathBuf {
        match origin {
            Some(Origin::Environment(_) | Origin::Flag(_)) => PathBuf::from(text),
            _ => join(&self.folder, Path::new(text)),
        }
    }

    /// What is written at `path`, with its origin.
    pub(crate) fn found(&self, path: &[String]) -> Option<&'v SettingValue> {
        self.values.get(path)
    }

    /// Notes a fault of the setting at `path`, at the place where it, or what is around it, is written.
    pub(crate) fn fault(&mut self, path: &[String], problem: impl Into<String>) {
        self.faults.push(SettingFault::new(self.values.origin(path), path.join("."), problem));
    }
}

/// `folder` and `path`, without a leading `./` that would only be noise in messages.
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
        other => Err(expected("text in quotes", other)),
    }
}

/// A duration.
pub(crate) fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => {
            text.parse::<DurationText>().map(|text| text.0).map_err(|error| error.to_string())
        }
        other => Err(expected("a duration in quotes, such as \"45s\"", other)),
    }
}

/// The sentence for a value of the wrong type. It shows the type and not the value, which may be a secret.
pub(crate) fn expected(what: &str, value: &Value) -> String {
    let found = match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    format!("expected {what}, found {found}")
}
