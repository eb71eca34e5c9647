//! The connections as `jeton --json status` prints them.

use anyhow::{Context, Result};
use jeton_core::id::AttemptId;
use jeton_core::keep::connection::Condition;
use serde::Deserialize;
use serde_json::Value;

use super::log::AttemptLog;

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ConnectionStatus {
    pub(super) name: String,
    condition: Condition,
    interrupted_attempt: Option<AttemptId>,
}

impl ConnectionStatus {
    /// Whether only a person can help: its grant is dead, or the outcome of the recovery of an interrupted attempt is unknown
    /// too. With a grace one recovery follows another, and no person is needed.
    pub(super) fn needs_person(&self, log: &AttemptLog, grace: bool) -> bool {
        let open = self.interrupted_attempt.and_then(|id| log.find(id));
        let given_up =
            self.condition == Condition::Interrupted && open.is_some_and(|open| open.recovers.is_some());
        self.condition == Condition::Dead || (given_up && !grace)
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
    fn a_dead_grant_needs_a_person_and_an_interrupted_attempt_only_when_it_was_the_recovery() {
        let (first, second) =
            ("019aa3f0-0000-7000-8000-000000000001", "019aa3f0-0000-7000-8000-000000000002");
        let row = |id: &str, recovers: Option<&str>| {
            json!({"id": id, "connection": "a", "act": "redeem", "status": "interrupted", "code": "no_reply",
                "recovers": recovers, "new_generation": null, "started_at": "2026-11-21T08:00:00Z"})
        };
        let mut log = AttemptLog::default();
        log.add(serde_json::from_value(json!([row(second, Some(first)), row(first, None)])).unwrap());
        let needs_person = |condition: &str, attempt: Option<&str>| {
            let printed = json!([{"name": "a", "condition": condition, "interrupted_attempt": attempt}]);
            [false, true].map(|grace| read(printed.clone()).unwrap()[0].needs_person(&log, grace))
        };
        assert_eq!(needs_person("dead", None), [true, true]);
        assert_eq!(needs_person("interrupted", Some(second)), [true, false]);
        for (condition, attempt) in
            [("live", None), ("interrupted", Some(first)), ("refreshing", Some(second))]
        {
            assert_eq!(needs_person(condition, attempt), [false, false], "{condition}");
        }
        assert!(read(json!({"error": "x"})).is_err());
    }
}
