//! The connections as `jeton --json status` prints them.

use anyhow::{Context, Result};
use jeton_core::keep::connection::Condition;
use serde::Deserialize;
use serde_json::Value;

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ConnectionStatus {
    pub(super) name: String,
    condition: Condition,
}

impl ConnectionStatus {
    /// Whether only a person can help.
    pub(super) fn needs_person(&self) -> bool {
        self.condition == Condition::Dead
    }
}

/// Reads the list.
pub(super) fn read(printed: Value) -> Result<Vec<ConnectionStatus>> {
    serde_json::from_value(printed).context("reading the status")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_dead_grant_needs_a_person() {
        for (condition, needs) in
            [("dead", true), ("live", false), ("interrupted", false), ("refreshing", false)]
        {
            let listed = read(json!([{"name": "a", "condition": condition}])).unwrap();
            assert_eq!(listed[0].needs_person(), needs, "{condition}");
        }
        assert!(read(json!({"error": "x"})).is_err());
    }
}
