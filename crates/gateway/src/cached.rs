//! Who may keep an answer.
//!
//! A cache between jeton and its callers knows neither the token by which an answer was made nor the service token by which
//! somebody was let in: it would give the answer to the next one who asks for the same URL. So no shared cache may keep
//! one, whatever the API says, and though it says nothing, for caches then guess (RFC 9111, section 4.2.2). The caller's own
//! cache may: for it the API's word on times and validators counts as ever. An answer that nobody may keep stays so.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What is said to shared caches alone, beside `Cache-Control` (RFC 9213).
const FOR_SHARED_CACHES: [HeaderName; 4] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// Directives that let a shared cache keep an answer; `private` with names would keep these names from it alone.
const REPLACED: [&str; 5] = ["public", "s-maxage", "proxy-revalidate", "must-understand", "private"];

/// Keeps an answer from shared caches.
pub(crate) fn make_private(headers: &mut HeaderMap) {
    let mut directives = vec!["private".to_owned()];
    for line in headers.get_all(CACHE_CONTROL) {
        // What is no text is no directive; what opens a quote and closes none may be anything.
        let line = line.to_str().unwrap_or_default();
        if line.matches('"').count() % 2 == 1 || line.contains('\\') {
            directives.push("no-store".to_owned());
        }
        directives.extend(split(line).filter(|directive| !is_replaced(directive)).map(str::to_owned));
    }
    // No-store is all there is to say then.
    if directives.iter().any(|directive| directive.eq_ignore_ascii_case("no-store")) {
        directives = vec!["no-store".to_owned()];
    }
    let value = HeaderValue::from_str(&directives.join(", "));
    headers.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("no-store")));
    for name in &FOR_SHARED_CACHES {
        headers.remove(name);
    }
}

/// The directives of a line; a comma within quotes separates none.
fn split(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let separates = move |character: char| {
        quoted ^= character == '"';
        character == ',' && !quoted
    };
    line.split(separates).map(str::trim).filter(|directive| !directive.is_empty())
}

fn is_replaced(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim();
    REPLACED.iter().any(|replaced| replaced.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_private(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=600"));
        make_private(&mut headers);
        assert!(!headers.contains_key("cdn-cache-control"));
        assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
        headers[CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn no_shared_cache_keeps_an_answer_and_the_callers_own_may_as_the_api_says() {
        for (lines, left) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public", "S-MaxAge=60, must-revalidate"], "private, must-revalidate"),
            (&["private=\"set-cookie, x\", no-cache=\"a, b\""], "private, no-cache=\"a, b\""),
            (&["proxy-revalidate, immutable, max-age=1"], "private, immutable, max-age=1"),
            (&["public, No-Store, max-age=60"], "no-store"),
            (&["no-cache=\"a, public"], "no-store"),
        ] {
            assert_eq!(made_private(lines), left, "{lines:?}");
        }
    }
}
