//! What is wrong with a setting, and where.

use std::fmt;

use serde_json::{Value, json};

use super::origin::Origin;

/// One thing that is wrong with the settings: one sentence that names the place, the setting and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingFault {
    /// Where it stands; absent for what is written nowhere and for messages that name their place themselves.
    pub(crate) origin: Option<Origin>,
    /// The dotted name of the setting; empty where the whole file is meant.
    pub(crate) setting: String,
    /// What is wrong and what would be right.
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
