//! Where a call goes: the rest of the path as it was sent, held to rules that leave no two readings of it.
//!
//! Servers differ in when they decode a path and what they do with dots, empty segments and backslashes then. A path that
//! two servers may read differently could slip past the limits of a scope, so it goes nowhere.

/// How often a path is decoded to see what is behind it: escapes of escapes of escapes are nobody's name.
const DECODINGS: usize = 4;

/// Checks a path below the base of an API, such as `/api/v4/leads`.
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
        return Err("it holds a character that must be escaped");
    }
    let mut seen = path.as_bytes().to_vec();
    for round in 0..DECODINGS {
        judge(&seen)?;
        // The outermost escapes must be right; what is inside of them is the caller's own text.
        let Some(decoded) = decode(&seen) else {
            return if round == 0 {
                Err("it has a broken escape (`%` without two hexadecimal digits)")
            } else {
                Ok(())
            };
        };
        if decoded == seen {
            return Ok(());
        }
        seen = decoded;
    }
    Err("it is escaped over and over")
}

fn judge(path: &[u8]) -> Result<(), &'static str> {
    if path.contains(&b'\\') {
        return Err("it has a backslash, which some servers take for a `/`");
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err("it has a control character, such as a line break");
    }
    // Some servers cut parameters (`;x=1`) off before they look at dots.
    let bare = |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    let dots = |segment: &[u8]| matches!(bare(segment).as_slice(), b"." | b"..");
    if path.split(|byte| *byte == b'/').any(dots) {
        return Err("it has a segment `.` or `..`, which would lead elsewhere");
    }
    Ok(())
}

/// Undoes the escapes of RFC 3986, section 2.1, once; `None` where one is broken.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let mut digit = || rest.next().and_then(|byte| char::from(*byte).to_digit(16));
            let value = digit()? * 16 + digit()?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_are_called_as_they_are() {
        for path in [
            "/",
            "/api/v4/leads",
            "/api/v4/leads/",
            "/a.b/..c/d..",
            "/projects/group%2Fname/issues",
            "/users/a%20b%C3%A9",
            "/rate/100%25",
            "/odd/100%25x",
            "/drive/items:/x;version=2",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_go_nowhere() {
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

    proptest! {
        #[test]
        fn no_path_that_passes_has_dots_for_a_segment_after_any_number_of_decodings(path in "/([./%25eEcCfF;a]{0,12}|[!-~]{0,20})") {
            if check(&path).is_ok() {
                let mut seen = path.into_bytes();
                for _ in 0..8 {
                    prop_assert!(!seen.contains(&b'\\'));
                    prop_assert!(!seen.split(|b| *b == b'/').any(|segment| matches!(segment, b"." | b"..")));
                    let Some(decoded) = decode(&seen) else { break };
                    seen = decoded;
                }
            }
        }
    }
}
