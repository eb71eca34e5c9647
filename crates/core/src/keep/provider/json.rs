//! JSON as the readers of common clients take it.
//!
//! That is RFC 8259, and what Python's `json` or JavaScript's `JSON.parse` reads besides: `NaN` (null here), `Infinity`
//! and numbers beyond any float (the largest float), half of a surrogate pair (U+FFFD). Of equal keys the last counts.

use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may lie in each other; Python gives up at about the same depth.
const MAX_DEPTH: usize = 1_000;

/// Reads the value that a text begins with, and gives what comes after it; `None` where it begins with no JSON.
pub(super) fn read(text: &str) -> Option<(Value, &str)> {
    let mut reader = Reader { rest: text };
    let mut open: Vec<Container> = Vec::new();
    'value: loop {
        let mut value = match reader.opening()? {
            Opening::Value(value) => value,
            Opening::Container(_) if open.len() == MAX_DEPTH => return None,
            Opening::Container(container) => {
                open.push(container);
                continue;
            }
        };
        // The value is whole: it goes into what is open around it, which may be whole by that.
        loop {
            let Some(mut around) = open.pop() else { return Some((value, reader.rest)) };
            match &mut around {
                Container::Array(items) => items.push(value),
                Container::Object(fields, key) => {
                    fields.insert(std::mem::take(key), value);
                }
            }
            if reader.take(",") {
                if let Container::Object(_, key) = &mut around {
                    *key = reader.key()?;
                }
                open.push(around);
                continue 'value;
            }
            value = match around {
                Container::Array(items) if reader.take("]") => Value::Array(items),
                Container::Object(fields, _) if reader.take("}") => Value::Object(fields),
                _ => return None,
            };
        }
    }
}

/// An array or object whose end was not read yet.
enum Container {
    Array(Vec<Value>),
    /// The fields so far, and the key of the value that comes next.
    Object(Map<String, Value>, String),
}

/// What stands where a value begins.
enum Opening {
    Value(Value),
    Container(Container),
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    /// Takes a word, with the white space before it.
    fn take(&mut self, word: &str) -> bool {
        let stripped = self.rest.trim_start_matches([' ', '\t', '\n', '\r']).strip_prefix(word);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn opening(&mut self) -> Option<Opening> {
        let container = if self.take("[") {
            if self.take("]") {
                return Some(Opening::Value(Value::Array(Vec::new())));
            }
            Container::Array(Vec::new())
        } else if self.take("{") {
            if self.take("}") {
                return Some(Opening::Value(Value::Object(Map::new())));
            }
            Container::Object(Map::new(), self.key()?)
        } else {
            return self.scalar().map(Opening::Value);
        };
        Some(Opening::Container(container))
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<String> {
        let key = if self.take("\"") { self.string()? } else { return None };
        self.take(":").then_some(key)
    }

    fn scalar(&mut self) -> Option<Value> {
        let words = [
            ("null", Value::Null),
            ("NaN", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("Infinity", f64::MAX.into()),
            ("-Infinity", f64::MIN.into()),
        ];
        if self.take("\"") {
            return self.string().map(Value::String);
        }
        match words.into_iter().find(|(word, _)| self.take(word)) {
            Some((_, value)) => Some(value),
            None => self.number().map(Value::Number),
        }
    }

    fn number(&mut self) -> Option<Number> {
        self.take("");
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        // Checks the grammar, and not the range.
        serde_json::from_str::<IgnoredAny>(digits).ok()?;
        let in_range = || Number::from_f64(digits.parse::<f64>().ok()?.clamp(f64::MIN, f64::MAX));
        digits.parse().ok().or_else(in_range)
    }

    /// What is left of a string after its opening quote.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let end = self.rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ')?;
            let (plain, rest) = self.rest.split_at(end);
            text.push_str(plain);
            if let Some(after) = rest.strip_prefix('"') {
                self.rest = after;
                return Some(text);
            }
            let mut escape = rest.strip_prefix('\\')?.chars();
            let escaped = escape.next()?;
            self.rest = escape.as_str();
            text.push(match escaped {
                '"' | '\\' | '/' => escaped,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.unicode_escape()?,
                _ => return None,
            });
        }
    }

    /// What is left of a `\u` escape, with the one after it where the two are one character.
    fn unicode_escape(&mut self) -> Option<char> {
        let first = self.hex()?;
        if let (0xd800..=0xdbff, Some(after)) = (first, self.rest.strip_prefix("\\u")) {
            let mut second = Reader { rest: after };
            if let Some(low @ 0xdc00..=0xdfff) = second.hex() {
                self.rest = second.rest;
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00));
            }
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn whole(text: &str) -> Option<Value> {
        read(text).filter(|(_, rest)| rest.trim_ascii().is_empty()).map(|(value, _)| value)
    }

    #[test]
    fn what_the_rfc_leaves_out_and_clients_read_is_read() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":Infinity,"c":-Infinity}"#, json!({"a": null, "b": f64::MAX, "c": f64::MIN})),
            (r"[1e400,-1E+400,1e-400]", json!([f64::MAX, f64::MIN, 0.0])),
            (r#"{"a":1,"a":2}"#, json!({"a": 2})),
            (r#"["\ud83d","\ud83dx","\udc00\ud83d\ude00"]"#, json!(["\u{fffd}", "\u{fffd}x", "\u{fffd}😀"])),
            ("\r\n\t {\"a\" : [ ] , \"b\":{ } }\n", json!({"a": [], "b": {}})),
        ] {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        let digits = "9".repeat(400);
        assert_eq!(whole(&digits), Some(json!(f64::MAX)));
    }

    #[test]
    fn what_no_client_reads_is_not_read() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\" 1}",
            "[1 2]",
            "[1}",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "nul",
            "+1",
            "01x",
            ".5",
            "1.",
            "--1",
            "-",
            "\u{a0}1",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn what_follows_the_document_is_given_back() {
        let (value, rest) = read("{\"a\":\"}\"}\r\n0\r\n\r\n").unwrap();
        assert_eq!((value, rest), (json!({"a": "}"}), "\r\n0\r\n\r\n"));
    }

    #[test]
    fn deep_documents_are_read_up_to_a_limit() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(whole(&nested(MAX_DEPTH)).is_some());
        assert!(whole(&nested(MAX_DEPTH + 1)).is_none());
        assert!(read(&"[".repeat(1_000_000)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_json_reads_it_where_that_reads_it(
            text in r#"[\[\]{},:" \\ntu0-9a-f.eE+-]{0,40}|\PC{0,20}"#
        ) {
            let expected = serde_json::from_str::<Value>(&text).ok();
            if expected.is_some() {
                prop_assert_eq!(whole(&text), expected);
            } else {
                let _ = read(&text);
            }
        }

        #[test]
        fn what_is_written_is_read_again(
            key in "\\PC*", texts in proptest::collection::vec("(?s).*", 0..4), number in any::<f64>(), integer in any::<i64>()
        ) {
            let value = json!({ key: texts, "number": number, "whole": [integer, null, true, {"deep": [[]]}] });
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                // The last digit of a float may change, for serde_json as for us.
                prop_assert_eq!(whole(&text), serde_json::from_str::<Value>(&text).ok());
            }
        }
    }
}
