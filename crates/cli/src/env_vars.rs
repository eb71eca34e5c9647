//! The environment, read once at start and passed on as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use jeton_core::secret::Secret;

/// What names of settings begin with.
const PREFIX: &str = "JETON__";

/// The variable that holds sealing keys in place of the key file.
pub(crate) const KEY_VARIABLE: &str = "JETON__KEY";

/// The variable that holds the API key.
pub(crate) const API_KEY_VARIABLE: &str = "API_KEY";

/// The variables of the environment. Any of them may hold a secret, so their values do not show.
#[derive(Clone, Default)]
pub(crate) struct EnvVars(BTreeMap<String, OsString>);

impl EnvVars {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.collect())
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// It is not text; the message begins with "is".
    pub(crate) fn get(&self, name: &str) -> Result<Option<Secret>, &'static str> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.to_str().map(|text| Some(Secret::new(text))).ok_or("is not text in UTF-8")
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The names of all variables that are settings, with the part after `JETON__`.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.keys().filter_map(|name| Some((name.as_str(), name.strip_prefix(PREFIX)?)))
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for EnvVars {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}
