//! The refresh log as `jeton --json logs` prints it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jeton_core::id::AttemptId;
use jeton_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// What the judge needs of one row.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) connection: String,
    /// `redeem` spends a token; the others call nobody.
    pub(super) act: String,
    pub(super) status: String,
    pub(super) code: Option<String>,
    /// The interrupted attempt whose recovery this one is.
    pub(super) recovers: Option<AttemptId>,
    /// The generation that it brought.
    pub(super) new_generation: Option<u64>,
    /// When it was claimed, by the clock of the store. Its id tells when it was thought of, which may be long before: a process
    /// can be paused in between.
    pub(super) started_at: Timestamp,
}

impl Attempt {
    pub(super) fn redeems(&self) -> bool {
        self.act == "redeem"
    }

    pub(super) fn succeeded(&self) -> bool {
        self.status == "success"
    }

    /// Whether an operator is told that the outcome is not known. An attempt that still runs when all processes have ended
    /// is shown so as soon as its lease has lapsed.
    pub(super) fn is_named_interrupted(&self) -> bool {
        self.status == "interrupted" || self.status == "running"
    }
}

/// The refresh log, gathered page by page: one page has an end, and a long act fills many.
#[derive(Debug, Default)]
pub(super) struct Log(BTreeMap<AttemptId, Attempt>);

/// How many rows `jeton logs` prints at most.
pub(super) const PAGE: usize = 1_000;

impl Log {
    /// Takes a page, newest first, as it is printed. What was known of an attempt is replaced.
    ///
    /// # Errors
    /// It is no page, or rows are missing between it and those before it.
    pub(super) fn take(&mut self, printed: Value) -> Result<()> {
        let page: Vec<Attempt> = serde_json::from_value(printed).context("reading the refresh log")?;
        let joins = self.0.is_empty() || page.iter().any(|attempt| self.0.contains_key(&attempt.id));
        ensure!(
            page.len() < PAGE || joins,
            "more than {PAGE} attempts were made between two looks at the refresh log: keep fewer connections"
        );
        self.put(page);
        Ok(())
    }

    /// Takes a page of one connection.
    ///
    /// # Errors
    /// It is no page.
    pub(super) fn take_over(&mut self, printed: Value) -> Result<()> {
        self.put(serde_json::from_value(printed).context("reading the refresh log")?);
        Ok(())
    }

    fn put(&mut self, page: Vec<Attempt>) {
        self.0.extend(page.into_iter().map(|attempt| (attempt.id, attempt)));
    }

    pub(super) fn find(&self, id: AttemptId) -> Option<&Attempt> {
        self.0.get(&id)
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

    fn row(number: usize, status: &str, started_at: &str) -> Value {
        let id = format!("019aa3f0-0000-7000-8000-{number:012x}");
        json!({"id": id, "connection": "c", "act": "redeem", "status": status, "started_at": started_at, "node": "x",
            "code": null, "recovers": null, "new_generation": null})
    }

    #[test]
    fn pages_are_joined_and_the_log_is_told_in_the_order_of_claims() {
        let mut log = Log::default();
        log.take(json!([row(1, "running", "2026-11-21T08:00:02Z")])).unwrap();
        let (late, early) =
            (row(1, "interrupted", "2026-11-21T08:00:02Z"), row(2, "success", "2026-11-21T08:00:01Z"));
        log.take(json!([late, early])).unwrap();
        let attempts = log.attempts();
        assert!(attempts[0].succeeded() && attempts[0].redeems());
        assert!(attempts[1].is_named_interrupted() && attempts.len() == 2);
    }

    #[test]
    fn a_gap_between_two_pages_is_an_error_and_so_is_anything_but_a_page() {
        let mut log = Log::default();
        log.take(json!([row(PAGE, "success", "2026-11-21T08:00:00Z")])).unwrap();
        let full: Vec<Value> =
            (0..PAGE).map(|number| row(number, "success", "2026-11-21T08:00:00Z")).collect();
        let error = log.take(json!(full)).unwrap_err().to_string();
        assert!(error.contains("between two looks"), "{error}");
        assert!(log.take(json!({"error": "x"})).is_err());
    }
}
