//! The refresh log of a run, gathered page by page: one page has an end, and a long run fills many.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use jeton_core::id::AttemptId;

use crate::refresh_log::{Attempt, PAGE};

/// All attempts of a run.
#[derive(Debug, Default)]
pub(super) struct AttemptLog(BTreeMap<AttemptId, Attempt>);

impl AttemptLog {
    /// Adds the newest page. What was known of an attempt is replaced.
    ///
    /// # Errors
    /// Rows are missing between it and those before it.
    pub(super) fn add_newest(&mut self, page: Vec<Attempt>) -> Result<()> {
        let joins = self.0.is_empty() || page.iter().any(|attempt| self.0.contains_key(&attempt.id));
        ensure!(
            page.len() < PAGE || joins,
            "more than {PAGE} attempts were made between two reads of the refresh log: keep fewer connections"
        );
        self.add(page);
        Ok(())
    }

    /// Adds any page.
    pub(super) fn add(&mut self, page: Vec<Attempt>) {
        self.0.extend(page.into_iter().map(|attempt| (attempt.id, attempt)));
    }

    /// All of them, oldest first.
    pub(super) fn attempts(self) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = self.0.into_values().collect();
        attempts.sort_by_key(|attempt| (attempt.started_at, attempt.id));
        attempts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attempt(number: usize, status: &str, started_at: &str) -> Attempt {
        let id = format!("019aa3f0-0000-7000-8000-{number:012x}");
        serde_json::from_value(
            json!({"id": id, "connection": "c", "act": "redeem", "status": status, "node": "x",
            "started_at": started_at}),
        )
        .unwrap()
    }

    #[test]
    fn pages_are_joined_and_attempts_are_in_the_order_of_claims() {
        let mut log = AttemptLog::default();
        log.add_newest(vec![attempt(1, "running", "2026-11-21T08:00:02Z")]).unwrap();
        let late = attempt(1, "interrupted", "2026-11-21T08:00:02Z");
        log.add_newest(vec![late, attempt(2, "success", "2026-11-21T08:00:01Z")]).unwrap();
        let attempts = log.attempts();
        assert!(attempts[0].succeeded() && attempts[0].redeems());
        assert!(attempts[1].is_interrupted() && attempts.len() == 2);
    }

    #[test]
    fn a_gap_between_two_pages_is_an_error() {
        let page = |from: usize| {
            (from..from + PAGE).map(|number| attempt(number, "success", "2026-11-21T08:00:00Z")).collect()
        };
        let mut log = AttemptLog::default();
        log.add_newest(page(0)).unwrap();
        log.add_newest(page(PAGE - 1)).unwrap();
        let error = log.add_newest(page(2 * PAGE)).unwrap_err().to_string();
        assert!(error.contains("between two reads"), "{error}");
    }
}
