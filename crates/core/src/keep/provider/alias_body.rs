//! The body of the call that an alias stands for, made from the body of the caller's request.
//!
//! The template is one of Jinja, whose values are written as JSON by themselves. What comes out as null or empty is left out, so
//! that a template need not ask whether an optional field was sent, and may end a list that it wrote in a loop with `null`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use minijinja::value::ValueKind;
use minijinja::{Environment, Value, context};
use serde::Deserialize;

use crate::time::Timestamp;

/// By the end of its name the engine knows that it writes JSON.
const TEMPLATE: &str = "body.json";

/// What the body of a request must hold, by the dotted path of each field; `*` is every item of a list.
pub(super) type FieldRules = BTreeMap<String, FieldRule>;

/// What a field must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldRule {
    is: Option<FieldKind>,
    /// Whether it must be there. A field that is null or an empty text is not.
    #[serde(default)]
    required: bool,
    /// Of these fields of a table at least one must be there.
    #[serde(default)]
    any: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FieldKind {
    /// A text, or a number as the text of its digits.
    Text,
    /// A whole number, or a text of one.
    Integer,
    List,
    Table,
}

impl FieldKind {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Text => matches!(value.kind(), ValueKind::String | ValueKind::Number),
            Self::Integer => {
                value.is_integer() || value.as_str().is_some_and(|text| text.trim().parse::<i64>().is_ok())
            }
            Self::List => value.kind() == ValueKind::Seq,
            Self::Table => value.kind() == ValueKind::Map,
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::List => "a list",
            Self::Table => "an object",
        }
    }
}

/// Values of a template that no caller sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyValues {
    /// `now`, in seconds of Unix time.
    pub now: Timestamp,
    /// `unique`: a text that no other call has.
    pub unique: String,
}

/// Why there is no body for a call. The texts repeat nothing that the caller sent but the names of fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is not JSON.
    #[error("invalid JSON at line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// What is wrong with each field, by its path.
    #[error("validation failed: {}", list(.0))]
    Fields(BTreeMap<String, String>),
    /// The template does not fit what passed the rules.
    #[error("the body template of the alias cannot be filled: {0}")]
    Template(String),
}

fn list(fields: &BTreeMap<String, String>) -> String {
    fields.values().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether a template can be read, and its rules can hold.
pub(super) fn check(template: &str, rules: &FieldRules) -> Result<(), (&'static str, String)> {
    environment()
        .template_from_named_str(TEMPLATE, template)
        .map_err(|error| ("body", format!("is no template: {error}")))?;
    let is_path = |path: &String| !path.is_empty() && path.split('.').all(|key| !key.is_empty());
    match rules.keys().find(|path| !is_path(path)) {
        Some(path) => Err(("fields", format!("`{path}` is no path: write keys joined by dots"))),
        None => Ok(()),
    }
}

/// The body of the call that a request with `body` stands for.
///
/// # Errors
/// The body is not JSON, breaks a rule, or does not fit the template.
pub(super) fn make(
    template: &str,
    rules: &FieldRules,
    body: &[u8],
    values: &BodyValues,
) -> Result<Vec<u8>, BodyError> {
    let sent: Value = serde_json::from_slice(body)
        .map_err(|error| BodyError::NotJson { line: error.line(), column: error.column() })?;
    let sent =
        if sent.kind() == ValueKind::Map { sent } else { Value::from(BTreeMap::<String, Value>::new()) };
    let faults = faults(rules, &sent);
    if !faults.is_empty() {
        return Err(BodyError::Fields(faults));
    }
    let own = context! { now => values.now.as_secs(), unique => &values.unique };
    let refused = |error: minijinja::Error| BodyError::Template(error.kind().to_string());
    let filled =
        environment().render_named_str(TEMPLATE, template, context! { ..own, ..sent }).map_err(refused)?;
    let filled: serde_json::Value = serde_json::from_str(&filled)
        .map_err(|_| BodyError::Template("what comes out is not JSON".to_owned()))?;
    Ok(without_empty(filled).unwrap_or_default().to_string().into_bytes())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.add_filter("md5", |text: &str| {
        let digest = Md5::digest(text.as_bytes());
        digest.iter().fold(String::new(), |mut hex, byte| {
            // A String takes everything.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    });
    environment
}

/// What is wrong with a body, by the path of each field.
fn faults(rules: &FieldRules, body: &Value) -> BTreeMap<String, String> {
    let mut faults = BTreeMap::new();
    for (path, rule) in rules {
        let keys: Vec<&str> = path.split('.').collect();
        check_below(body, &keys, "", rule, &mut faults);
    }
    faults
}

/// Checks every value that `keys` lead to below `value`, which is at the path `at`. Where nothing is on the way there is nothing to
/// check: what is on the way has rules of its own.
fn check_below(
    value: &Value,
    keys: &[&str],
    at: &str,
    rule: &FieldRule,
    faults: &mut BTreeMap<String, String>,
) {
    let Some((key, rest)) = keys.split_first() else { return };
    let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let mut check = |path: &str, value: &Value| {
        if !rest.is_empty() {
            check_below(value, rest, path, rule, faults);
        } else if let Some(problem) = problem(path, value, rule) {
            faults.insert(path.to_owned(), problem);
        }
    };
    match (*key, value.kind()) {
        ("*", ValueKind::Seq) => {
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                check(&join(&index.to_string()), &item);
            }
        }
        (key, ValueKind::Map) => check(&join(key), &value.get_attr(key).unwrap_or_default()),
        _ => {}
    }
}

fn problem(path: &str, value: &Value, rule: &FieldRule) -> Option<String> {
    if is_absent(value) {
        return rule.required.then(|| format!("{path} is required"));
    }
    if let Some(kind) = rule.is.filter(|kind| !kind.accepts(value)) {
        return Some(format!("{path} must be {}", kind.phrase()));
    }
    let has = |name: &String| value.get_attr(name).is_ok_and(|value| !is_absent(&value));
    let lacks = !rule.any.is_empty() && !rule.any.iter().any(has);
    lacks.then(|| format!("At least one {path} field ({}) is required", rule.any.join(", ")))
}

fn is_absent(value: &Value) -> bool {
    value.is_undefined() || value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The value without what is null or empty; `None` where nothing is left.
fn without_empty(value: serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value;
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(without_empty).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(members) => {
            let members = members.into_iter().filter_map(|(name, value)| Some((name, without_empty(value)?)));
            let members: serde_json::Map<_, _> = members.collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> BodyValues {
        BodyValues { now: Timestamp::from_secs(1_767_225_600), unique: "u1".to_owned() }
    }

    fn made(template: &str, rules: &str, body: &str) -> Result<serde_json::Value, BodyError> {
        let rules: FieldRules = toml::from_str(rules).unwrap();
        check(template, &rules).unwrap();
        make(template, &rules, body.as_bytes(), &values()).map(|body| serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn values_are_written_as_json_and_what_was_not_sent_is_left_out() {
        let template = r#"{ "a": {{ a }}, "b": {{ b.c }}, "at": {{ now }}, "id": {{ "gw_" ~ unique }},
            "hash": {{ a|md5 }}, "list": [{% for x in list %}{"x": {{ x }}}, {% endfor %}null] }"#;
        let body = r#"{"a": "quote \" {{ b }} and \\", "b": {}, "list": [1, "", {"deep": [null]}]}"#;
        assert_eq!(
            made(template, "", body).unwrap(),
            json!({ "a": "quote \" {{ b }} and \\", "at": 1_767_225_600, "id": "gw_u1",
                "hash": "87da0e6fd2b09fd37b0bdf49107c1829", "list": [{ "x": 1 }] })
        );
        assert_eq!(made("{{ now }}", "", "[]").unwrap(), json!(1_767_225_600));
    }

    #[test]
    fn each_field_that_breaks_a_rule_is_named_with_its_place() {
        let rules = "name = { required = true, is = 'text' }\nprice = { is = 'integer' }\n\
            list = { is = 'list' }\n'list.*' = { is = 'table' }\n'list.*.id' = { is = 'integer', required = true }\n\
            who = { is = 'table', required = true, any = ['phone', 'email'] }\n'who.phone' = { is = 'text' }";
        let faults = |body: &str| match made("1", rules, body) {
            Err(BodyError::Fields(faults)) => faults.into_values().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(faults("{}"), ["name is required", "who is required"]);
        assert_eq!(faults("\"text\""), ["name is required", "who is required"]);
        let body = json!({ "name": " ", "price": 1.5, "list": [{ "id": 1 }, {}, 7, { "id": "x" }], "who": { "phone": "" } });
        assert_eq!(
            faults(&body.to_string()),
            [
                "list.1.id is required",
                "list.2 must be an object",
                "list.3.id must be a whole number",
                "name is required",
                "price must be a whole number",
                "At least one who field (phone, email) is required",
            ]
        );
        let wrong = json!({ "name": ["a"], "list": "x", "who": "x" });
        assert_eq!(
            faults(&wrong.to_string()),
            ["list must be a list", "name must be a text", "who must be an object"]
        );
        let right =
            json!({ "name": 7, "price": "5000", "list": null, "who": { "phone": 998_901_234_567_u64 } });
        assert_eq!(made("1", rules, &right.to_string()).unwrap(), json!(1));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place_and_a_template_that_does_not_fit_is_said() {
        for body in ["", "{", "{\"secret\": tru}", "\u{0}"] {
            let refused = made("1", "", body).unwrap_err();
            assert!(matches!(refused, BodyError::NotJson { .. }), "{body:?}: {refused}");
            assert!(!refused.to_string().contains("secret"));
        }
        for template in ["{{ a.b.c.d }}", "not json", "{{ a|int }}"] {
            let refused = made(template, "", "{\"a\": [\"secret\"]}").unwrap_err();
            assert!(matches!(refused, BodyError::Template(_)), "{template}: {refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        assert_eq!(check("{% for %}", &FieldRules::new()).unwrap_err().0, "body");
        let rules = FieldRules::from([("a..b".to_owned(), FieldRule::default())]);
        assert_eq!(check("1", &rules).unwrap_err().0, "fields");
    }

    proptest! {
        #[test]
        fn no_text_of_a_caller_breaks_out_of_its_place(text in "\\PC*") {
            let body = json!({ "a": text }).to_string();
            let made = made("{\"a\": {{ a }}, \"b\": 1}", "", &body).unwrap();
            let expected = if text.is_empty() { json!({ "b": 1 }) } else { json!({ "a": text, "b": 1 }) };
            prop_assert_eq!(made, expected);
        }
    }
}
