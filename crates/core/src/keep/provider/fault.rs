//! What is wrong with a provider file or with a connection's settings, and where.

use std::fmt;

/// A provider file was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The name of the file, as the caller gave it.
    pub file: String,
    /// The line of the key that is wrong, counted from 1; `None` where a key is missing from the file as a whole.
    pub line: Option<usize>,
    /// The dotted path of the key, such as `refresh.json.client_id`; empty for a file that is not TOML at all.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for FileError {}

/// A connection's settings do not fit its provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct DefineError {
    /// The setting, below the connection's own table: `vars.token_url`, `client.secret`, `policy.margin`.
    pub field: String,
    /// What is wrong and what would be right, without the field and without any value that may be secret.
    pub problem: String,
}

impl DefineError {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Something wrong below a key whose outer path the finder does not know; each caller on the way out adds its part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Innermost key last.
    pub(super) at: Vec<String>,
    pub(super) problem: String,
}

impl Flaw {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { at: Vec::new(), problem: problem.into() }
    }

    pub(super) fn under(mut self, key: impl fmt::Display) -> Self {
        self.at.insert(0, key.to_string());
        self
    }
}

/// Says under which key a flaw was found.
pub(super) trait Under<T> {
    fn under(self, key: impl fmt::Display) -> Result<T, Flaw>;
}

impl<T> Under<T> for Result<T, Flaw> {
    fn under(self, key: impl fmt::Display) -> Self {
        self.map_err(|flaw| flaw.under(key))
    }
}
