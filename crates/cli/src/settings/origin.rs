//! Where a value came from.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `config.default.toml`, which is part of the binary.
    Default,
    /// A settings file.
    File {
        /// Its path, as it was given.
        path: Arc<str>,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Origin {
    /// The origin as a member of JSON output.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Default => json!({ "source": "default" }),
            Self::File { path, line } => json!({ "source": "file", "file": &**path, "line": line }),
            Self::Environment(name) => json!({ "source": "environment", "variable": name }),
            Self::Flag(name) => json!({ "source": "flag", "flag": name }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}
