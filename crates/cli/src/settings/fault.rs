//! What is wrong with a setting, and where it was written.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::env_vars::{ENV_FILE, EnvVars};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `config.default.toml`, which is part of the binary.
    Default,
    File {
        /// The path as it was given.
        path: Arc<str>,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// The name of an environment variable.
    Environment(String),
    /// A variable of the file `.env`.
    EnvFile {
        variable: String,
        /// Where it begins, counted from 1.
        line: usize,
    },
    /// A flag of the command line.
    Flag(&'static str),
}

impl Origin {
    /// The origin of a variable of the environment, or of `.env`.
    pub(crate) fn variable(name: &str, environment: &EnvVars) -> Self {
        let variable = name.to_owned();
        match environment.line(name) {
            Some(line) => Self::EnvFile { variable, line },
            None => Self::Environment(variable),
        }
    }

    /// The variable that a value comes from.
    pub(crate) fn variable_name(&self) -> Option<&str> {
        match self {
            Self::Environment(variable) | Self::EnvFile { variable, .. } => Some(variable),
            Self::Default | Self::File { .. } | Self::Flag(_) => None,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Default => json!({ "source": "default" }),
            Self::File { path, line } => json!({ "source": "file", "file": &**path, "line": line }),
            Self::Environment(name) => json!({ "source": "environment", "variable": name }),
            Self::EnvFile { variable, line } => {
                json!({ "source": "env_file", "file": ENV_FILE, "line": line, "variable": variable })
            }
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
            Self::EnvFile { variable, line } => write!(f, "{ENV_FILE}:{line}: {variable}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the settings, as one sentence: where, which setting, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingFault {
    /// Absent for a setting that is missing everywhere, and for messages that name the place themselves.
    pub(crate) origin: Option<Origin>,
    /// The dotted name; empty for a fault of the whole file.
    pub(crate) setting: String,
    pub(crate) problem: String,
}

impl SettingFault {
    pub(crate) fn new(
        origin: Option<Origin>,
        setting: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self { origin, setting: setting.into(), problem: problem.into() }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "setting": self.setting,
            "origin": self.origin.as_ref().map(Origin::to_json),
            "problem": self.problem,
        })
    }
}

impl fmt::Display for SettingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        f.write_str(&self.problem)
    }
}
