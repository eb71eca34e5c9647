//! Refuses paths that two servers could read differently.
//!
//! Servers differ in when they decode a path, and in what they do with dots, empty segments and backslashes then. A path that
//! is read differently could bypass the limits of a scope.

/// How often a path is decoded to see what it hides. No real name is escaped more often.
const DECODINGS: usize = 4;

/// Checks a path below the base of an API, such as `/api/v4/leads`.
///
/// Names may hold a `%`, which is escaped as `%25`: `/rate/100%25` and `/a%2520b` are fine. An API that decodes once too
/// often reads an escape in such a name. So a name may not hold, at any depth, an escape of a character that changes where
/// the path leads. Refusing every path that changes when it is decoded twice would be shorter, but would refuse `5%25added`,
/// whose name only looks like an escape.
///
/// # Errors
/// Why it cannot be called, in words that complete a sentence.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it must begin with `/`");
    }
    if path[1..].split('/').rev().skip(1).any(str::is_empty) {
        return Err("it has an empty segment (`//`), which servers read differently");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has a character that must be escaped");
    }
    check_decoded(path.as_bytes())?;
    let Decoded { text: mut seen, is_broken, .. } = decode(path.as_bytes());
    if is_broken {
        return Err("it has a broken escape (`%` without two hexadecimal digits)");
    }
    check_decoded(&seen)?;
    for _ in 1..DECODINGS {
        // A broken escape within another one is left as it is: servers that decode twice differ in how they read it, and
        // most do the same.
        let Decoded { text, misleads, .. } = decode(&seen);
        if misleads {
            return Err("it has an escape within an escape (such as `%252e`) that would lead elsewhere");
        }
        check_decoded(&text)?;
        if text == seen {
            return Ok(());
        }
        seen = text;
    }
    Err("it is escaped too many times")
}

fn check_decoded(path: &[u8]) -> Result<(), &'static str> {
    if path.contains(&b'\\') {
        return Err("it has a backslash, which some servers take for a `/`");
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err("it has a control character, such as a line break");
    }
    // Some servers remove parameters (`;x=1`) before they resolve dots.
    let without_parameters =
        |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    let dots = |segment: &[u8]| matches!(without_parameters(segment).as_slice(), b"." | b"..");
    if path.split(|byte| *byte == b'/').any(dots) {
        return Err("it has a segment `.` or `..`, which would lead elsewhere");
    }
    Ok(())
}

/// A text whose escapes were undone once.
struct Decoded {
    text: Vec<u8>,
    /// A `%` begins no escape; it stands in the text as it is.
    is_broken: bool,
    /// An escape stood for a dot, a slash, a backslash or a control character.
    misleads: bool,
}

/// Undoes the escapes of RFC 3986, section 2.1, once.
fn decode(text: &[u8]) -> Decoded {
    let mut decoded = Decoded { text: Vec::with_capacity(text.len()), is_broken: false, misleads: false };
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if let Some(value) = decode_escape([0, 1, 2].map(|next| text.get(at + next).copied())) {
            decoded.misleads |= matches!(value, b'.' | b'/' | b'\\') || value.is_ascii_control();
            decoded.text.push(value);
            at += 3;
        } else {
            decoded.is_broken |= *byte == b'%';
            decoded.text.push(*byte);
            at += 1;
        }
    }
    decoded
}

/// The byte that these three stand for, where they are an escape (RFC 3986, section 2.1).
pub(crate) fn decode_escape([percent, high, low]: [Option<u8>; 3]) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    if percent != Some(b'%') {
        return None;
    }
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_are_accepted() {
        for path in [
            "/",
            "/api/v4/leads",
            "/api/v4/leads/",
            "/a.b/..c/d..",
            "/projects/group%2Fname/issues",
            "/users/a%20b%C3%A9",
            "/rate/100%25",
            "/odd/100%25x",
            "/odd/5%25added",
            "/odd/a%2520b",
            "/odd/%25zz",
            "/odd/%2525",
            "/drive/items:/x;version=2",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        for path in [
            "",
            "x",
            "//evil.example/x",
            "/a//b",
            "/a/../b",
            "/..",
            "/a/./b",
            "/%2e%2e/admin",
            "/a/%2E%2e/b",
            "/a/.%2e/b",
            "/a/%252e%252e/b",
            "/a/%25252e%25252e/b",
            "/a%25zz/%252e%252e/b",
            "/a%25/%252E%252e/b",
            "/%2525zz/%25252e%25252e/b",
            "/a%25%32%65%25%32%65",
            "/a/%25%2532e%25%2532e/b",
            "/a%252fb",
            "/a%25zz%252Fb",
            "/a%255c..%255cb",
            "/a%25zz/x%250d%250ab",
            "/a%2500",
            "/a/..%253bx/b",
            "/%2525252525",
            "/a%2f..%2fb",
            "/a/..;/b",
            "/a/..%3bx/b",
            "/a\\b",
            "/a/%5c../b",
            "/a%5C..%5Cb",
            "/a%0d%0aHost:%20evil",
            "/a%00",
            "/a%zz",
            "/a%2",
            "/a b",
            "/\u{e9}",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_broken_escape_is_named() {
        for path in ["/a%zz", "/a%2", "/a%", "/a%%32e"] {
            assert!(check(path).unwrap_err().contains("broken escape"), "{path}");
        }
    }

    /// The text as a server reads it that decodes once more, and leaves broken escapes as they are.
    fn decoded_once_more(text: &str) -> String {
        let mut decoded = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let escaped = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
            let value = escaped
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            decoded.push(value.map_or(character, char::from));
            rest = &rest[if value.is_some() { 3 } else { character.len_utf8() }..];
        }
        decoded
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn no_path_that_passes_leads_elsewhere_after_any_number_of_decodings(
            path in "/([./%25eEcCfF;a]{0,12}|[!-~]{0,20}|(%|25|%25|zz|2|e|2e|%2e|2f|5c|0a|\\.|/|;|a){0,12})"
        ) {
            if check(&path).is_ok() {
                let mut seen = decoded_once_more(&path);
                let slashes = seen.matches('/').count();
                for _ in 0..8 {
                    prop_assert!(!seen.contains(['\\', '\n', '\0']), "{}", seen);
                    prop_assert!(!seen.split('/').any(|segment| matches!(segment, "." | "..")), "{}", seen);
                    prop_assert_eq!(seen.matches('/').count(), slashes, "{}", &seen);
                    seen = decoded_once_more(&seen);
                }
            }
        }
    }
}
