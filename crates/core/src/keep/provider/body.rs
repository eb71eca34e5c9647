//! The body of a reply, read leniently, and paths into it.

use serde_json::{Map, Value};

use super::fault::Flaw;
use super::http_types::Reply;

/// The longest body that is read; token replies are a few KiB.
const MAX_BODY: usize = 1 << 20;

/// A path such as `result.value`, `errors.0.code` or `errors.*.code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<String>);

impl JsonPath {
    /// Reads a dotted path. A key in double quotes is taken as it is, so that it may hold dots.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let mut keys = Vec::new();
        let mut rest = Some(text);
        while let Some(left) = rest {
            let (key, after) = match left.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or_default(),
                None => left.split_at(left.find('.').unwrap_or(left.len())),
            };
            rest = after.strip_prefix('.');
            if key.is_empty() || (rest.is_none() && !after.is_empty()) {
                return Err(Flaw::new(format!(
                    "`{text}` is not a path: write keys joined by dots, such as `result.value`, and put a key that holds dots in \
                     double quotes, such as `\"token.value\"`"
                )));
            }
            keys.push(key.to_owned());
        }
        Ok(Self(keys))
    }

    /// A path of one key, which is always well formed.
    pub(super) fn key(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Everything the path leads to, without nulls: more than one value only through `*`.
    pub(super) fn find<'v>(&self, body: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![body];
        for key in &self.0 {
            found = found.into_iter().flat_map(|value| step_into(value, key)).collect();
        }
        found.retain(|value| !value.is_null());
        found
    }

    /// The first value the path leads to.
    pub(super) fn first<'v>(&self, body: &'v Value) -> Option<&'v Value> {
        self.find(body).into_iter().next()
    }

    /// Puts a value where the path leads, making what is missing on the way; a `*` is the first place there. What stands
    /// on the way and holds nothing gives way.
    pub(super) fn put(&self, body: &mut Value, value: Value) {
        let mut place = body;
        for key in &self.0 {
            place = step_or_make(place, key);
        }
        *place = value;
    }

    /// Takes away what the path leads to.
    pub(super) fn remove(&self, body: &mut Value) {
        let Some((last, above)) = self.0.split_last() else { return };
        let mut place = body;
        for key in above {
            let next = match place {
                Value::Object(map) => map.get_mut(key),
                Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get_mut(index)),
                _ => None,
            };
            match next {
                Some(next) => place = next,
                None => return,
            }
        }
        if let Value::Object(map) = place {
            map.remove(last);
        }
    }

    /// The first value as text that is not empty.
    pub(super) fn text<'v>(&self, body: &'v Value) -> Option<&'v str> {
        self.first(body).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            if key.contains('.') { write!(f, "{dot}\"{key}\"")? } else { write!(f, "{dot}{key}")? }
        }
        Ok(())
    }
}

fn step_or_make<'v>(place: &'v mut Value, key: &str) -> &'v mut Value {
    let index = if key == "*" { Some(0) } else { key.parse::<usize>().ok() };
    match (place.is_object(), place.is_array(), index) {
        (true, ..) | (_, true, Some(_)) => {}
        (_, _, Some(_)) => *place = Value::Array(Vec::new()),
        (_, _, None) => *place = Value::Object(Map::new()),
    }
    match place {
        Value::Array(items) => {
            let index = index.unwrap_or_default();
            if items.len() <= index {
                items.resize(index + 1, Value::Null);
            }
            &mut items[index]
        }
        place => &mut place[key],
    }
}

fn step_into<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(map) if key == "*" => map.values().collect(),
        Value::Array(items) if key == "*" => items.iter().collect(),
        Value::Object(map) => map.get(key).into_iter().collect(),
        Value::Array(items) => {
            key.parse::<usize>().ok().and_then(|index| items.get(index)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A body: its bytes, and what they say if that can be read.
pub(super) struct Body<'r> {
    pub(super) raw: &'r [u8],
    pub(super) value: Option<Value>,
}

impl<'r> Body<'r> {
    /// Reads JSON, whatever the media type claims; or a form, where the media type names one or is silent or plain
    /// text. Longer bodies than 1 MiB and JSON nested deeper than 128 levels are not read.
    pub(super) fn read(reply: &'r Reply) -> Self {
        let raw = reply.body.as_slice();
        Self { raw, value: parse(raw, reply.content_type.as_deref()) }
    }

    /// The body as text, for a regular expression over all of it.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.raw[..self.raw.len().min(MAX_BODY)])
    }
}

/// Reads a body of that media type; `None` when it is neither JSON nor a form.
pub(super) fn parse(raw: &[u8], content_type: Option<&str>) -> Option<Value> {
    if raw.len() > MAX_BODY {
        return None;
    }
    let raw = raw.strip_prefix("\u{feff}".as_bytes()).unwrap_or(raw);
    if let Ok(value) = serde_json::from_slice(raw) {
        return Some(value);
    }
    let media_type =
        content_type.and_then(|full| full.split(';').next()).map(|kind| kind.trim().to_ascii_lowercase());
    let may_be_form =
        matches!(media_type.as_deref(), None | Some("" | "text/plain" | "application/x-www-form-urlencoded"));
    let text = std::str::from_utf8(raw).ok()?.trim();
    let looks_like_form =
        text.contains('=') && !text.starts_with(['{', '[', '<', '"']) && !text.contains(['\n', ' ']);
    if !may_be_form || !looks_like_form {
        return None;
    }
    let mut form = Map::new();
    for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
        form.insert(key.into_owned(), Value::String(value.into_owned()));
    }
    Some(Value::Object(form))
}

/// A scalar as text, so that `true` and `"true"`, or `200` and `"200"`, compare equal.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_whatever_the_media_type_claims() {
        for kind in [Some("text/html"), Some("application/json; charset=utf-8"), None] {
            assert_eq!(parse("\u{feff}{\"a\":1}".as_bytes(), kind), Some(json!({"a": 1})));
        }
    }

    #[test]
    fn a_form_is_read_where_it_may_be_one() {
        let body = b"access_token=a%2Bb&expires_in=60";
        let expected = Some(json!({"access_token": "a+b", "expires_in": "60"}));
        assert_eq!(parse(body, Some("application/x-www-form-urlencoded; charset=utf-8")), expected);
        assert_eq!(parse(body, Some("text/plain")), expected);
        assert_eq!(parse(body, Some("text/html")), None);
        assert_eq!(parse(b"<html a=b>", None), None);
        assert_eq!(parse(b"{\"access_token\":\"a=b", None), None);
    }

    #[test]
    fn deep_and_huge_bodies_are_not_read() {
        assert_eq!(parse("[".repeat(100_000).as_bytes(), None), None);
        assert_eq!(parse(format!("\"{}\"", "a".repeat(MAX_BODY)).as_bytes(), None), None);
    }

    #[test]
    fn paths_lead_through_keys_indexes_and_stars() {
        let body = json!({"errors": [{"code": "a"}, {"code": null}, {"code": "b"}], "x": {"0": 7}});
        let find =
            |path: &str| JsonPath::parse(path).unwrap().find(&body).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(find("errors.*.code"), [json!("a"), json!("b")]);
        assert_eq!(find("errors.2.code"), [json!("b")]);
        assert_eq!(find("x.0"), [json!(7)]);
        assert!(find("errors.code").is_empty() && find("errors.9").is_empty() && find("x.0.y").is_empty());
        for bad in ["a..b", "", ".expires", "a.", "\"a", "\"a\"b", "\"\"", "a.\"b\"c"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_in_quotes_may_hold_dots() {
        let body = json!({".expires": 1, "token.value": {"a.b": 2, "c": 3}, "token": {"value": 4}});
        for (written, value) in [
            ("\".expires\"", 1),
            ("\"token.value\".\"a.b\"", 2),
            ("\"token.value\".c", 3),
            ("token.value", 4),
            ("\"token\".value", 4),
        ] {
            let path = JsonPath::parse(written).unwrap();
            assert_eq!(path.first(&body), Some(&json!(value)), "{written}");
            assert_eq!(JsonPath::parse(&path.to_string()), Ok(path), "{written}");
        }
    }

    #[test]
    fn what_is_put_at_a_path_is_found_there_and_can_be_taken_away() {
        let mut body = json!({"ok": true, "errors": "none"});
        for path in ["access", "authed_user.token", "errors.*.code", "errors.1.code", "ok"] {
            let path = JsonPath::parse(path).unwrap();
            path.put(&mut body, json!("put"));
            assert_eq!(path.text(&body), Some("put"), "{path}: {body}");
        }
        let expected = json!({
            "ok": "put", "access": "put", "authed_user": {"token": "put"},
            "errors": [{"code": "put"}, {"code": "put"}],
        });
        assert_eq!(body, expected);
        for path in ["authed_user.token", "errors.1.code", "nothing.there", "ok.0"] {
            let path = JsonPath::parse(path).unwrap();
            path.remove(&mut body);
            assert_eq!(path.first(&body), None, "{path}: {body}");
        }
        assert_eq!(body["authed_user"], json!({}));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&raw, None);
        }
    }
}
