//! The environment and the file `.env`, read once at start and passed on as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use jeton_core::secret::Secret;

use crate::env_file::{self, EnvFault};

/// What names of settings begin with.
const PREFIX: &str = "JETON__";

/// The variable that holds sealing keys in place of the key file.
pub(crate) const KEY_VARIABLE: &str = "JETON__KEY";

/// The variable that names the settings file.
pub(crate) const CONFIG_VARIABLE: &str = "JETON_CONFIG";

/// The variable that holds the API key.
pub(crate) const API_KEY_VARIABLE: &str = "API_KEY";

/// The file that is read besides the environment, in the working directory.
pub(crate) const ENV_FILE: &str = ".env";

/// A variable, and where the file has it; no line where the environment has it, which counts more.
#[derive(Clone)]
struct Variable {
    value: OsString,
    line: Option<usize>,
}

/// The variables of the environment and of `.env`. Any of them may hold a secret, so their values do not show.
#[derive(Clone, Default)]
pub(crate) struct EnvVars {
    variables: BTreeMap<String, Variable>,
    faults: Vec<EnvFault>,
}

impl EnvVars {
    /// The environment of this process, and what `file` adds to it.
    pub(crate) fn of_process(file: &Path) -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let variable = |(name, value)| (name, Variable { value, line: None });
        Self { variables: named.map(variable).collect(), faults: Vec::new() }.with_file(file)
    }

    /// Adds what the environment does not have.
    fn with_file(mut self, file: &Path) -> Self {
        let (lines, faults) = env_file::read(file);
        let mut added = BTreeMap::new();
        for line in lines {
            // Of two with one name the later counts, as where a shell reads them.
            added.insert(line.name, Variable { value: line.value.reveal().into(), line: Some(line.line) });
        }
        added.append(&mut self.variables);
        Self { variables: added, faults }
    }

    /// What is wrong with the file.
    pub(crate) fn file_faults(&self) -> &[EnvFault] {
        &self.faults
    }

    /// In which line of the file a variable is, if it is not in the environment.
    pub(crate) fn line(&self, name: &str) -> Option<usize> {
        self.variables.get(name)?.line
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// It is not text; the message begins with "is".
    pub(crate) fn get(&self, name: &str) -> Result<Option<Secret>, &'static str> {
        let Some(variable) = self.variables.get(name) else { return Ok(None) };
        variable.value.to_str().map(|text| Some(Secret::new(text))).ok_or("is not text in UTF-8")
    }

    /// The path that a variable holds; none where it is empty.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = &self.variables.get(name)?.value;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The names of all variables that are settings, with the part after `JETON__`.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.keys().filter_map(|name| Some((name.as_str(), name.strip_prefix(PREFIX)?)))
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for EnvVars {
    fn from(variables: [(&str, &str); N]) -> Self {
        let variable = |value: &str| Variable { value: value.into(), line: None };
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), variable(value)));
        Self { variables: variables.collect(), faults: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_counts_more_than_the_file_and_the_later_line_more_than_the_earlier() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(ENV_FILE);
        std::fs::write(&file, "A=file\nB=first\n\nB=second\n").unwrap();
        let read = EnvVars::from([("A", "environment")]).with_file(&file);
        let get = |name| read.get(name).unwrap().map(|value| value.reveal().to_owned());
        assert_eq!((get("A").as_deref(), get("B").as_deref()), (Some("environment"), Some("second")));
        assert_eq!((read.line("A"), read.line("B"), read.line("C")), (None, Some(4), None));
        assert!(!format!("{read:?}").contains("second"));
    }
}
