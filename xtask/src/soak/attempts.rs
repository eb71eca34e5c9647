//! The refresh log as `jeton --json logs` prints it.

use anyhow::{Context, Result};
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
    #[serde(default = "redeem")]
    pub(super) act: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    /// The interrupted attempt whose recovery this one is.
    #[serde(default)]
    pub(super) recovers: Option<AttemptId>,
}

fn redeem() -> String {
    "redeem".to_owned()
}

impl Attempt {
    /// When it was claimed, to the millisecond: its id is a UUID of version 7, which begins with that (RFC 9562).
    pub(super) fn started_at(&self) -> Timestamp {
        let millis = self.id.as_bytes()[..6].iter().fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        Timestamp::from_micros(millis * 1_000)
    }

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

/// Reads the log, oldest first.
pub(super) fn read(printed: &Value) -> Result<Vec<Attempt>> {
    let rows = printed.get("attempts").or_else(|| printed.get("items")).unwrap_or(printed);
    let mut attempts: Vec<Attempt> =
        serde_json::from_value(rows.clone()).context("reading the refresh log")?;
    attempts.sort_by_key(|attempt| attempt.id);
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_log_is_read_oldest_first_and_an_id_tells_the_instant() {
        let row = |id: &str, status: &str| json!({"id": id, "connection": "c", "status": status, "trigger": "automatic"});
        let (late, early) = ("019aa3f0-0001-7000-8000-000000000000", "019aa3f0-0000-7000-8000-000000000000");
        let attempts = read(&json!([row(late, "success"), row(early, "interrupted")])).unwrap();
        assert_eq!(attempts[0].id.to_string(), early);
        assert_eq!(attempts[0].started_at(), Timestamp::from_micros(0x019a_a3f0_0000 * 1_000));
        assert!(attempts[0].is_named_interrupted() && attempts[1].succeeded() && attempts[1].redeems());
        assert!(read(&json!({"error": "x"})).is_err());
    }
}
