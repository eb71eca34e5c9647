//! Conditions on a reply: `{ status = "4xx", path = "error", in = ["invalid_grant"] }`.

use std::time::Duration;

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use super::body::{Body, JsonPath, scalar_text};
use super::class::ErrorClass;
use super::duration::DurationText;
use super::fault::{Flaw, Under};
use super::one_or_many::OneOrMany;
use super::schema;

/// A span of status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusSpan {
    first: u16,
    last: u16,
}

impl StatusSpan {
    pub(super) const SUCCESS: Self = Self { first: 200, last: 299 };

    pub(super) fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// Reads `status = 401`, `status = "4xx"` or a list of such.
pub(super) fn statuses(written: &OneOrMany<schema::StatusText>) -> Result<Vec<StatusSpan>, Flaw> {
    let read = |status: &schema::StatusText| match status {
        schema::StatusText::Code(code) if (100..=599).contains(code) => {
            Ok(StatusSpan { first: *code, last: *code })
        }
        schema::StatusText::Class(class) => match class.as_bytes() {
            [digit @ b'1'..=b'5', b'x', b'x'] => {
                let first = u16::from(digit - b'0') * 100;
                Ok(StatusSpan { first, last: first + 99 })
            }
            _ => Err(Flaw::new(format!("`{class}` is not a class of status codes: write `4xx`"))),
        },
        schema::StatusText::Code(code) => Err(Flaw::new(format!("{code} is not a status code (100 to 599)"))),
    };
    written.0.iter().map(read).collect()
}

/// A condition; everything that is written must hold.
#[derive(Clone, Debug)]
pub(super) struct ReplyCondition {
    status: Option<Vec<StatusSpan>>,
    /// All the places that are looked at.
    paths: Option<Vec<JsonPath>>,
    one_of: Option<Vec<String>>,
    exists: Option<bool>,
    regex: Option<Regex>,
}

impl ReplyCondition {
    pub(super) fn compile(written: &schema::ConditionTable) -> Result<Self, Flaw> {
        let paths = written.path.as_ref().map(paths).transpose().under("path")?;
        if written.eq.is_some() && written.one_of.is_some() {
            return Err(Flaw::new("write `eq` or `in`, not both"));
        }
        let one_of = match (&written.eq, &written.one_of) {
            (Some(value), _) => Some(vec![scalar(value).under("eq")?]),
            (None, Some(values)) => Some(values.iter().map(scalar).collect::<Result<_, _>>().under("in")?),
            (None, None) => None,
        };
        let status = written.status.as_ref().map(statuses).transpose().under("status")?;
        let regex = written.regex.as_deref().map(pattern).transpose().under("regex")?;
        let compares = one_of.is_some() || written.exists.is_some();
        if paths.is_none() && compares {
            return Err(Flaw::new("`eq`, `in` and `exists` need a `path` to look at"));
        }
        if paths.is_some() && !compares && regex.is_none() {
            return Err(Flaw::new("say what must hold at `path`: `eq`, `in`, `exists` or `regex`"));
        }
        if paths.is_none() && regex.is_none() && status.is_none() {
            return Err(Flaw::new("an empty condition holds always: write `status`, `path` or `regex`"));
        }
        Ok(Self { status, paths, one_of, exists: written.exists, regex })
    }

    /// Holds for every reply of that status.
    pub(super) fn on_status(status: u16) -> Self {
        let span = StatusSpan { first: status, last: status };
        Self { status: Some(vec![span]), paths: None, one_of: None, exists: None, regex: None }
    }

    pub(super) fn compile_all(written: &[schema::ConditionTable]) -> Result<Vec<Self>, Flaw> {
        written.iter().enumerate().map(|(index, one)| Self::compile(one).under(index)).collect()
    }

    /// Whether it could hold for a reply of that status.
    pub(super) fn admits_status(&self, status: u16) -> bool {
        self.status.as_ref().is_none_or(|spans| spans.iter().any(|span| span.holds(status)))
    }

    /// Whether the body must be seen to decide.
    pub(super) fn looks_at_body(&self) -> bool {
        self.paths.is_some() || self.regex.is_some()
    }

    /// Makes a body hold what the condition asks for; gives the status to go with it. `None` where only a regular
    /// expression says what to write, or where something must be absent.
    pub(super) fn satisfy(&self, body: &mut Value) -> Option<u16> {
        let status = self.status.as_ref().and_then(|spans| spans.first()).map_or(400, |span| span.first);
        let Some(path) = self.paths.as_ref().and_then(|paths| paths.first()) else {
            return self.regex.is_none().then_some(status);
        };
        let value = match (&self.one_of, self.exists, &self.regex) {
            (Some(values), _, None) => values.first()?.clone(),
            (None, Some(true), None) => "set".to_owned(),
            _ => return None,
        };
        // Written as it would be compared: scalars are compared as text.
        let scalar =
            serde_json::from_str(&value).ok().filter(|value: &Value| value.is_boolean() || value.is_number());
        path.put(body, scalar.unwrap_or(Value::String(value)));
        Some(status)
    }

    /// Whether it holds; a body that cannot be read has nothing at any path.
    pub(super) fn holds(&self, status: u16, body: &Body<'_>) -> bool {
        if !self.admits_status(status) {
            return false;
        }
        let Some(paths) = &self.paths else {
            return self.regex.as_ref().is_none_or(|regex| matches(regex, &body.text()));
        };
        let found: Vec<_> =
            body.value.iter().flat_map(|value| paths.iter().flat_map(|path| path.find(value))).collect();
        if self.exists.is_some_and(|expected| expected == found.is_empty()) {
            return false;
        }
        let texts: Vec<_> = found.into_iter().filter_map(scalar_text).collect();
        let listed = self.one_of.as_ref().is_none_or(|listed| texts.iter().any(|text| listed.contains(text)));
        listed && self.regex.as_ref().is_none_or(|regex| texts.iter().any(|text| matches(regex, text)))
    }
}

fn paths(written: &OneOrMany<String>) -> Result<Vec<JsonPath>, Flaw> {
    if written.0.is_empty() {
        return Err(Flaw::new("an empty list looks at nothing: write a path such as `error`"));
    }
    written.0.iter().enumerate().map(|(index, text)| JsonPath::parse(text).under(index)).collect()
}

/// The longest regular expression, in characters.
const MAX_PATTERN: usize = 1_000;

/// The most memory of a compiled one, in bytes. Searching takes this times the length of the text.
const MAX_COMPILED: usize = 64 * 1024;

/// How much of a text is searched, in bytes.
const MAX_SEARCHED: usize = 64 * 1024;

/// Compiles a regular expression.
pub(super) fn pattern(text: &str) -> Result<Regex, Flaw> {
    let length = text.chars().count();
    if length > MAX_PATTERN {
        let text =
            format!("a regular expression of {length} characters: shorten it to {MAX_PATTERN} or fewer");
        return Err(Flaw::new(text));
    }
    let compiled = RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
    compiled.map_err(|error| Flaw::new(format!("not a regular expression: {error}")))
}

/// Whether a regular expression matches the first 64 KiB of a text: what others send has any length.
pub(super) fn matches(regex: &Regex, text: &str) -> bool {
    regex.is_match(&text[..text.floor_char_boundary(MAX_SEARCHED)])
}

fn scalar(value: &toml::Value) -> Result<String, Flaw> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Flaw::new("compare with text, a number, true or false")),
    }
}

/// When a reply is a success.
#[derive(Clone, Debug)]
pub(super) struct Success {
    status: Vec<StatusSpan>,
    all: Vec<ReplyCondition>,
    any: Vec<ReplyCondition>,
    none: Vec<ReplyCondition>,
}

impl Success {
    pub(super) fn compile(written: &schema::SuccessTable) -> Result<Self, Flaw> {
        Ok(Self {
            status: match &written.status {
                Some(written) => statuses(written).under("status")?,
                None => vec![StatusSpan::SUCCESS],
            },
            all: ReplyCondition::compile_all(&written.all).under("all")?,
            any: ReplyCondition::compile_all(&written.any).under("any")?,
            none: ReplyCondition::compile_all(&written.none).under("none")?,
        })
    }

    /// Whether the status alone says yes.
    pub(super) fn status_holds(&self, status: u16) -> bool {
        self.status.iter().any(|span| span.holds(status))
    }

    /// Makes a body say yes, as far as its conditions can be met by writing; gives the status to go with it.
    pub(super) fn satisfy(&self, body: &mut Value) -> u16 {
        for condition in self.all.iter().chain(self.any.first()) {
            condition.satisfy(body);
        }
        self.status.first().map_or(200, |span| span.first)
    }

    /// Whether status and body say yes.
    pub(super) fn holds(&self, status: u16, body: &Body<'_>) -> bool {
        let holds = |condition: &ReplyCondition| condition.holds(status, body);
        self.status_holds(status)
            && self.all.iter().all(holds)
            && (self.any.is_empty() || self.any.iter().any(holds))
            && !self.none.iter().any(holds)
    }
}

/// A rule; the first whose condition holds decides.
#[derive(Clone, Debug)]
pub(super) struct ErrorRule {
    pub(super) when: ReplyCondition,
    pub(super) class: ErrorClass,
    pub(super) code: Option<String>,
    /// For how long to wait when the reply has no `Retry-After` of its own.
    pub(super) retry_after: Option<Duration>,
    /// The grant is over for certain: one such answer ends it.
    pub(super) is_final: bool,
}

impl ErrorRule {
    pub(super) fn compile_all(written: &[schema::RuleTable]) -> Result<Vec<Self>, Flaw> {
        written.iter().enumerate().map(|(index, rule)| Self::compile(rule).under(index)).collect()
    }

    fn compile(written: &schema::RuleTable) -> Result<Self, Flaw> {
        if let Some(code) = &written.code
            && (code.is_empty() || code.len() > 64 || !code.bytes().all(is_code_byte))
        {
            return Err(Flaw::new("a code has 1 to 64 of A-Z, a-z, 0-9, `_`, `.`, `:` and `-`").under("code"));
        }
        let retry_after = match written.retry_after.as_deref() {
            None | Some("header") => None,
            Some(text) => {
                let duration = text.parse::<DurationText>();
                Some(duration.map_err(|e| Flaw::new(format!("{e}, or `header`"))).under("retry_after")?.0)
            }
        };
        if written.is_final && written.class != ErrorClass::DeadGrant {
            let problem =
                "only an answer of class `dead_grant` ends a grant; leave `final` out, or change the class";
            return Err(Flaw::new(problem).under("final"));
        }
        Ok(Self {
            when: ReplyCondition::compile(&written.when).under("when")?,
            class: written.class,
            code: written.code.clone(),
            retry_after,
            is_final: written.is_final,
        })
    }
}

/// Whether a byte may stand in a code.
pub(super) const fn is_code_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::provider::http_types::Reply;

    fn holds(condition: &str, status: u16, body: &str) -> bool {
        let written: schema::ConditionTable = toml::from_str(condition).unwrap();
        let reply = Reply { status, body: body.as_bytes().to_vec().into(), ..Reply::default() };
        ReplyCondition::compile(&written).unwrap().holds(status, &Body::read(&reply))
    }

    #[test]
    fn everything_written_in_a_condition_must_hold() {
        let condition = "status = ['4xx', 200]\npath = 'error'\nin = ['a', 'b']";
        assert!(holds(condition, 401, r#"{"error":"b"}"#));
        assert!(holds(condition, 200, r#"{"error":"a"}"#));
        assert!(!holds(condition, 500, r#"{"error":"b"}"#));
        assert!(!holds(condition, 400, r#"{"error":"c"}"#));
        assert!(!holds(condition, 400, "not json"));
    }

    #[test]
    fn scalars_compare_as_text_and_a_star_means_any() {
        assert!(holds("path = 'ok'\neq = true", 200, r#"{"ok":"true"}"#));
        assert!(holds("path = 'errors.*.code'\neq = 7", 200, r#"{"errors":[{"code":"6"},{"code":7}]}"#));
        assert!(holds("path = 'x'\nexists = false", 200, r#"{"x":null}"#));
        assert!(!holds("path = 'x'\nexists = true", 200, "[]"));
        assert!(holds("regex = 'INVALID_SESSION'", 403, r#"[{"errorCode":"INVALID_SESSION_ID"}]"#));
        assert!(holds("path = 'd'\nregex = '(?i)too many'", 400, r#"{"d":"Too many requests"}"#));
    }

    #[test]
    fn of_several_paths_one_match_is_enough_and_absence_is_absence_from_all() {
        let condition = "path = ['errors.*.code', 'code']\nin = ['gone']";
        assert!(holds(condition, 400, r#"{"errors":[{"code":"other"},{"code":"gone"}]}"#));
        assert!(holds(condition, 400, r#"{"code":"gone","errors":[]}"#));
        assert!(!holds(condition, 400, r#"{"code":"other","errors":[{"kind":"gone"}]}"#));
        let absent = "path = ['error', 'errors']\nexists = false";
        assert!(holds(absent, 200, r#"{"error":null}"#));
        assert!(!holds(absent, 200, r#"{"errors":[]}"#));
    }

    #[test]
    fn only_a_dead_grant_can_be_final() {
        let rule = |class: &str| {
            let text = format!("when = {{ status = 400 }}\nclass = '{class}'\nfinal = true");
            ErrorRule::compile(&toml::from_str(&text).unwrap())
        };
        assert!(rule("dead_grant").unwrap().is_final);
        for class in ErrorClass::ALL.iter().filter(|class| **class != ErrorClass::DeadGrant) {
            let flaw = rule(class.as_str()).unwrap_err();
            assert_eq!(flaw.at, ["final"], "{}", flaw.problem);
        }
    }

    #[test]
    fn conditions_that_mean_nothing_are_refused() {
        for bad in [
            "",
            "path = []\neq = 1",
            "path = ['a', '']\neq = 1",
            "eq = 1",
            "path = 'x'",
            "path = 'x'\neq = 1\nin = [2]",
            "regex = '('",
            "status = 99",
            "status = '9xx'",
        ] {
            let written: schema::ConditionTable = toml::from_str(bad).unwrap();
            assert!(ReplyCondition::compile(&written).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_regular_expression_that_could_take_long_is_refused_and_only_the_beginning_of_a_text_is_searched() {
        let flaw = |regex: &str| {
            let written: schema::ConditionTable = toml::from_str(&format!("regex = '{regex}'")).unwrap();
            ReplyCondition::compile(&written).unwrap_err().problem
        };
        assert!(flaw(&"a".repeat(100_000)).contains("shorten it to 1000"), "{}", flaw(&"a".repeat(2_000)));
        assert!(flaw("((a{100}){100}){100}").contains("not a regular expression"));
        let long = |before: usize| format!("{}needle", "x".repeat(before));
        assert!(holds("regex = 'needle'", 200, &long(60_000)));
        assert!(!holds("regex = 'needle'", 200, &long(70_000)));
        assert!(!holds("regex = 'needle'", 200, &"é".repeat(40_000)), "no character is cut in two");
    }
}
