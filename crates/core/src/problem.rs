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

    /// The same for callers on other machines: paths of this machine are hidden, as by [`without_folders`].
    #[must_use]
    pub fn for_callers(mut self) -> Self {
        self.detail = without_folders(&self.detail);
        self
    }

    /// Adds a member. Names that RFC 9457 defines are fields of their own and are not given here.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

/// The text with the last part alone of each absolute path: the folders of a server are not for those who call it, and its log has
/// the whole path. A path begins behind a space, a quote or a bracket, and ends at one.
pub fn without_folders(text: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | ',' | ';');
    let shown = |word: &str| match word.trim_end_matches(['/', '.', ':']).rsplit_once('/') {
        Some((_, name)) if word.starts_with('/') && !name.is_empty() => {
            let end = &word[word.trim_end_matches(['.', ':']).len()..];
            format!("{name}{end}")
        }
        _ => word.to_owned(),
    };
    let words = text.split_inclusive(is_edge).map(|piece| {
        let word = piece.trim_end_matches(is_edge);
        shown(word) + &piece[word.len()..]
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_only_its_last_part_is_shown_and_other_text_stays() {
        for (text, shown) in [
            ("the data directory /var/lib/jeton/data was removed", "the data directory data was removed"),
            ("(/srv/a/slot-1: Permission denied)", "(slot-1: Permission denied)"),
            ("open \"/srv/a/jeton.sqlite\", then `/etc/x`.", "open \"jeton.sqlite\", then `x`."),
            ("/var/lib/jeton/data/: it is full", "data: it is full"),
            ("the disk of / is full", "the disk of / is full"),
            ("https://a.example.com/x/y answers 302", "https://a.example.com/x/y answers 302"),
            ("200 B/s and/or more, 1/2", "200 B/s and/or more, 1/2"),
            ("", ""),
        ] {
            assert_eq!(without_folders(text), shown);
        }
    }

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
