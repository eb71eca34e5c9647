//! The body of a reply, read leniently, and paths into it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fault::Flaw;
use super::http_types::Reply;
use super::{charset, json};

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
    /// What was strange about the reply, one sentence each.
    pub(super) warnings: Vec<String>,
}

impl<'r> Body<'r> {
    /// Reads JSON or a form, whatever the media type and the character set are said to be. Longer bodies than 1 MiB and
    /// JSON nested deeper than 1,000 levels are not read. Of a reply that was cut short only JSON is read, and only where
    /// it is whole: an object ends where it says, and a form may lack the half of a token.
    pub(super) fn read(reply: &'r Reply) -> Self {
        let raw = reply.body.as_slice();
        let mut warnings = reply.warnings.clone();
        let value = match (parse_json(raw), &reply.cut_short) {
            (Some(Document { value, rest }), cut_short) => {
                if let Some(why) = cut_short {
                    warnings.push(format!("the reply was read although it broke off: {why}"));
                } else if rest {
                    warnings.push("something follows the JSON of the reply, and was not read".to_owned());
                }
                Some(value).filter(|value| cut_short.is_none() || is_container(value))
            }
            (None, None) => parse_form(raw, reply.content_type.as_deref()),
            (None, Some(_)) => None,
        };
        Self { raw, value, warnings }
    }

    /// Reads JSON and nothing else.
    pub(super) fn json(raw: &'r [u8]) -> Self {
        Self { raw, value: parse_json(raw).map(|document| document.value), warnings: Vec::new() }
    }

    /// The body as text, for a regular expression over all of it.
    pub(super) fn text(&self) -> Cow<'_, str> {
        charset::decode(&self.raw[..self.raw.len().min(MAX_BODY)])
    }
}

/// Whether a body holds a JSON object or array from its beginning to its end. What is missing of a reply after such a body is
/// no part of the document.
pub fn is_whole_document(body: &[u8]) -> bool {
    parse_json(body).is_some_and(|document| is_container(&document.value))
}

/// The JSON that a body begins with.
struct Document {
    value: Value,
    /// Something follows it that is neither white space nor zeros.
    rest: bool,
}

/// An object or an array, which ends where it says.
fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn parse_json(raw: &[u8]) -> Option<Document> {
    if raw.len() > MAX_BODY {
        return None;
    }
    let text = charset::decode(raw);
    let (value, rest) = json::read(&text)?;
    let rest = !rest.trim_matches(|c: char| c.is_whitespace() || c == '\0').is_empty();
    // A number or a word that goes on is none.
    (!rest || is_container(&value)).then_some(Document { value, rest })
}

fn parse_form(raw: &[u8], content_type: Option<&str>) -> Option<Value> {
    if raw.len() > MAX_BODY {
        return None;
    }
    let media_type = content_type.and_then(|full| full.split(';').next()).map(str::trim);
    let said = media_type.is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let text = charset::decode(raw);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let is_form = text.contains('=')
        && !text.starts_with(['{', '[', '<', '"'])
        && (said || !text.contains(char::is_whitespace));
    is_form.then(|| {
        let fields = url::form_urlencoded::parse(text.as_bytes());
        fields.map(|(key, value)| (key.into_owned(), Value::String(value.into_owned()))).collect()
    })
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

    fn reply(body: &[u8], content_type: Option<&str>) -> Reply {
        Reply {
            status: 200,
            body: body.to_vec().into(),
            content_type: content_type.map(str::to_owned),
            ..Reply::default()
        }
    }

    fn parse(body: &[u8], content_type: Option<&str>) -> Option<Value> {
        Body::read(&reply(body, content_type)).value
    }

    #[test]
    fn json_is_read_whatever_the_media_type_and_the_character_set_are_said_to_be() {
        let utf_16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for kind in [Some("text/html"), Some("application/json; charset=utf-8"), Some("nonsense"), None] {
            assert_eq!(parse("\u{feff}{\"a\":1}".as_bytes(), kind), Some(json!({"a": 1})));
            assert_eq!(parse(&utf_16, kind), Some(json!({"a": 1})));
            assert_eq!(
                parse(b"{\"a\":1,\"name\":\"M\xfcller\"}", kind),
                Some(json!({"a": 1, "name": "Müller"}))
            );
        }
    }

    #[test]
    fn a_form_is_read_where_it_looks_like_one() {
        let body = b"access_token=a%2Bb&expires_in=60\r\n";
        let expected = Some(json!({"access_token": "a+b", "expires_in": "60"}));
        for kind in [Some("application/x-www-form-urlencoded; charset=utf-8"), Some("text/html"), None] {
            assert_eq!(parse(body, kind), expected);
        }
        assert_eq!(parse(b"<html a=b>", None), None);
        assert_eq!(parse(b"{\"access_token\":\"a=b", None), None);
        let spaced = b"access_token=a&scope=read write";
        assert_eq!(parse(spaced, None), None, "this may be prose");
        let expected = json!({"access_token": "a", "scope": "read write"});
        assert_eq!(parse(spaced, Some("Application/X-WWW-Form-Urlencoded")), Some(expected));
    }

    #[test]
    fn deep_and_huge_bodies_are_not_read() {
        assert_eq!(parse("[".repeat(100_000).as_bytes(), None), None);
        assert_eq!(parse(format!("\"{}\"", "a".repeat(MAX_BODY)).as_bytes(), None), None);
        assert_eq!(parse(format!("a={}", "a".repeat(MAX_BODY)).as_bytes(), None), None);
    }

    #[test]
    fn what_follows_a_whole_object_is_left_with_a_warning_unless_it_is_white_space_or_zeros() {
        for (body, warns) in
            [("{\"a\":1}\n\0\0", false), ("{\"a\":1}<br />Notice", true), ("{\"a\":1}{\"a\":2}", true)]
        {
            let reply = reply(body.as_bytes(), None);
            let read = Body::read(&reply);
            assert_eq!(
                (read.value, read.warnings.len()),
                (Some(json!({"a": 1})), usize::from(warns)),
                "{body}"
            );
        }
        assert_eq!(parse(b"123 abc", None), None);
    }

    #[test]
    fn of_a_reply_that_was_cut_short_only_a_whole_document_is_read() {
        let cut =
            |body: &str| Reply { cut_short: Some("it ended".to_owned()), ..reply(body.as_bytes(), None) };
        for (body, read) in [
            ("{\"a\":1}", true),
            ("[1]\r\n0", true),
            ("{\"a\":1", false),
            ("a=1&b=2", false),
            ("123", false),
            ("\"abc\"", false),
            ("", false),
        ] {
            let reply = cut(body);
            assert_eq!(is_whole_document(&reply.body), read, "{body}");
            let body = Body::read(&reply);
            assert_eq!(body.value.is_some(), read);
            assert!(!read || body.warnings[0].ends_with("it ended"));
        }
    }

    proptest! {
        #[test]
        fn no_beginning_of_a_document_is_taken_for_the_whole(
            texts in proptest::collection::vec("\\PC*", 0..4), cut in any::<proptest::sample::Index>()
        ) {
            let whole = json!({"texts": texts, "more": [{}, [1.5, null]]}).to_string();
            prop_assert!(!is_whole_document(&whole.as_bytes()[..cut.index(whole.len())]));
        }
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
            let _ = parse(&raw, Some("application/x-www-form-urlencoded"));
        }
    }
}
