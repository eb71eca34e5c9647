//! The one shape of an error that leaves a process: RFC 9457 problem details with a stable `code`.

use serde::Serialize;
use serde_json::{Map, Value};

/// An error as a caller sees it (RFC 9457, `application/problem+json`).
///
/// `code` never changes its meaning and has its page under `docs/errors/`; `detail` says what to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// A URI for the kind of problem, made from the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words, the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The stable code, such as `UNKNOWN_CONNECTION`.
    pub code: &'static str,
    /// This occurrence: what happened and what to do.
    pub detail: String,
    /// Further members, such as `retry_after` or `connection`.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl Problem {
    /// A problem with no further members.
    pub fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:jeton:error:{code}"),
            title,
            status,
            code,
            detail: detail.into(),
            members: Map::new(),
        }
    }

    /// Adds a member. Names that RFC 9457 defines are fields of their own and are not given here.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_says() {
        let problem = Problem::new(404, "UNKNOWN_CONNECTION", "Unknown connection", "There is no `acm`.")
            .with("connection", "acm");
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({
                "type": "urn:jeton:error:UNKNOWN_CONNECTION",
                "title": "Unknown connection",
                "status": 404,
                "code": "UNKNOWN_CONNECTION",
                "detail": "There is no `acm`.",
                "connection": "acm",
            })
        );
    }
}
