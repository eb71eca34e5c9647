//! Paths as a limit sees them: one spelling for each, or none.

use std::fmt::Write as _;

/// The one spelling of a path, or nothing where servers could differ about what it names.
///
/// Escapes of unreserved characters are decoded and the digits of all others written large (RFC 3986, section 6.2.2).
/// Nothing comes of a path with `.`, `..` or empty segments, with an escaped or a reversed slash, with a broken escape, or
/// with a character that stands in no path: a limit that guessed what the upstream makes of those could be walked around.
pub fn canonical(path: &str) -> Option<String> {
    spell(path, None)
}

/// Whether a limit covers a path in whatever way the upstream reads it: an escaped slash may stand for a character of a name,
/// or for a slash.
pub(super) fn is_covered(path: &str, covers: impl Fn(&str) -> bool) -> bool {
    match canonical(path) {
        Some(path) => covers(&path),
        None => ["%2F", "/"].iter().all(|slash| spell(path, Some(slash)).is_some_and(|path| covers(&path))),
    }
}

/// Whether a path has an escaped slash.
pub(super) fn has_escaped_slash(path: &str) -> bool {
    path.to_ascii_uppercase().contains("%2F")
}

/// The canonical spelling, with `escaped_slash` in the place of each escaped slash; nothing where there is one and `escaped_slash` is
/// `None`.
fn spell(path: &str, escaped_slash: Option<&str>) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let value = u8::try_from(digit()? * 16 + digit()?).ok()?;
                match value {
                    b'/' => out.push_str(escaped_slash?),
                    b'\\' | 0..=0x1f | 0x7f => return None,
                    b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
                    value if value.is_ascii_alphanumeric() => out.push(char::from(value)),
                    value => write!(out, "%{value:02X}").expect("a String takes everything"),
                }
            }
            b'\\' | b'?' | b'#' => return None,
            byte if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => return None,
        }
    }
    let mut segments = out.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Some servers cut a segment at its first `;` before they look at it.
        let name = segment.split(';').next().unwrap_or_default();
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        if empty_inside || matches!(name, "." | "..") {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, spelling) in [
            ("/", "/"),
            ("/api/v4/leads", "/api/v4/leads"),
            ("/api/v4/%6ceads/", "/api/v4/leads/"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a;b=c/...", "/a;b=c/..."),
            ("/users/a:b@c", "/users/a:b@c"),
        ] {
            assert_eq!(canonical(path).as_deref(), Some(spelling), "{path}");
        }
    }

    #[test]
    fn a_path_that_servers_could_read_differently_has_none() {
        for path in [
            "",
            "api",
            "//",
            "/a//b",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/%2e%2E/b",
            "/a/.%2e;x/b",
            "/a/..;/b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%00",
            "/a b",
            "/é",
            "/a?b",
            "/a#b",
            "/a%0ab",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    #[test]
    fn an_escaped_slash_is_covered_where_it_is_covered_in_both_readings() {
        for (pattern, path, covered) in [
            ("/projects/**", "/projects/group%2Fname", true),
            ("/projects/**/issues", "/projects/group%2fname/issues", true),
            ("/projects/*/issues", "/projects/group%2Fname/issues", false),
            ("/projects/*", "/projects/group%2Fname", false),
            ("/projects/a/b", "/projects/a%2Fb", false),
            ("/projects/**", "/projects%2Fx", false),
            ("/**", "/a%2F..%2Fb", false),
            ("/**", "/a%2F%2Fb", false),
            ("/**", "/a%5Cb", false),
            ("/projects/**", "/projects/a%2Fb%2Fc", true),
        ] {
            let glob = crate::access::glob::Glob::new(pattern);
            assert_eq!(is_covered(path, |path| glob.covers(path)), covered, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn spelling_it_again_changes_nothing(path in "(/|[a-z.%0-9;]){0,20}") {
            if let Some(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
            }
        }

        #[test]
        fn however_it_is_escaped_it_is_spelled_the_same(path in "/[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", odd in any::<bool>()) {
            let escaped: String = path
                .bytes()
                .zip(0..)
                .map(|(byte, at)| match byte {
                    b'/' => "/".to_owned(),
                    byte if (at % 2 == 1) == odd => format!("%{byte:02x}"),
                    byte => char::from(byte).to_string(),
                })
                .collect();
            prop_assert_eq!(canonical(&escaped), Some(path));
        }
    }
}
