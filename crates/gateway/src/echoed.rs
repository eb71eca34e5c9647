//! Secrets that an API says back. One that stands in the query of a call is soon found in the `Location` of a redirect, or
//! in a `Link` to the next page; the caller may call with the token, and may not see it.

use std::ops::Range;

use http::{HeaderMap, HeaderValue};
use jeton_core::keep::provider::Injection;
use jeton_keeper::Call;

use crate::escape::escaped;

/// What stands in the place of a secret.
const HIDDEN: &[u8] = b"REDACTED";

/// The shortest text besides the token that is looked for: what is shorter stands in many headers by chance.
const SHORTEST: usize = 8;

/// How often a value is decoded: an address may stand, escaped, in the query of another.
const DECODINGS: usize = 3;

/// Takes what was put into a call out of the headers of its answer, escaped or not. What is around it stays: a redirect
/// leads where it led, and is to be followed through the gateway, which puts the token in again.
pub(crate) fn hide(headers: &mut HeaderMap, call: &Call) {
    let put_in = call.injections.iter().map(|injection| match injection {
        Injection::Header(_, value)
        | Injection::Query(_, value)
        | Injection::Cookie(_, value)
        | Injection::Body(_, value) => value.reveal(),
    });
    let token = Some(call.token.access.reveal()).filter(|token| !token.is_empty());
    let secrets: Vec<&[u8]> =
        token.into_iter().chain(put_in.filter(|text| text.len() >= SHORTEST)).map(str::as_bytes).collect();
    for value in headers.values_mut() {
        for secret in &secrets {
            if let Some(cleaned) = without(value.as_bytes(), secret) {
                *value = HeaderValue::from_bytes(&cleaned).unwrap_or(HeaderValue::from_static("REDACTED"));
            }
        }
    }
}

/// One byte as it is read, and where it is written.
type Read = (u8, Range<usize>);

/// `value` with [`HIDDEN`] in the place of each `secret`; `None` where there is none.
fn without(value: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    if value.len() < secret.len() {
        return None;
    }
    let mut read: Vec<Read> = value.iter().enumerate().map(|(at, byte)| (*byte, at..at + 1)).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for _ in 0..=DECODINGS {
        found.extend(occurrences(&read, secret));
        let decoded = decoded(&read);
        if decoded.len() == read.len() {
            break;
        }
        read = decoded;
    }
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|place| place.start);
    let mut cleaned = Vec::with_capacity(value.len());
    let mut at = 0;
    for place in found {
        if place.start >= at {
            cleaned.extend_from_slice(&value[at..place.start]);
            cleaned.extend_from_slice(HIDDEN);
        }
        at = at.max(place.end);
    }
    cleaned.extend_from_slice(&value[at..]);
    Some(cleaned)
}

fn occurrences(read: &[Read], secret: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // A form says a space as `+`.
    let same = |(one, other): (&Read, &u8)| one.0 == *other || (one.0 == b'+' && *other == b' ');
    let places = read.windows(secret.len()).filter(move |window| window.iter().zip(secret).all(same));
    places.filter_map(|window| Some(window.first()?.1.start..window.last()?.1.end))
}

/// What is read once the escapes of RFC 3986, section 2.1, are undone; broken ones stay as they are.
fn decoded(read: &[Read]) -> Vec<Read> {
    let mut decoded = Vec::with_capacity(read.len());
    let mut at = 0;
    while let Some((byte, place)) = read.get(at) {
        if let Some(value) = escaped([0, 1, 2].map(|next| read.get(at + next).map(|(byte, _)| *byte))) {
            decoded.push((value, place.start..read[at + 2].1.end));
            at += 3;
        } else {
            decoded.push((*byte, place.clone()));
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(value: &str, secret: &str) -> Option<String> {
        without(value.as_bytes(), secret.as_bytes()).map(|cleaned| String::from_utf8(cleaned).unwrap())
    }

    #[test]
    fn a_secret_is_taken_out_however_it_is_escaped_and_nothing_else_is() {
        for (value, left) in [
            ("https://x/y?token=a/b+c d&z=1", "https://x/y?token=REDACTED&z=1"),
            ("/y?token=a%2Fb%2bc%20d&z=%20", "/y?token=REDACTED&z=%20"),
            ("/y?token=a%2Fb%2Bc+d", "/y?token=REDACTED"),
            ("/y?token=%61%2f%62%2b%63%20%64#f", "/y?token=REDACTED#f"),
            ("/login?next=%2Fy%3Ftoken%3Da%252Fb%252Bc%2520d%26z", "/login?next=%2Fy%3Ftoken%3DREDACTED%26z"),
            (
                "</y?token=a/b+c d>; rel=next, </z?token=a/b+c d>",
                "</y?token=REDACTED>; rel=next, </z?token=REDACTED>",
            ),
        ] {
            assert_eq!(cleaned(value, "a/b+c d").as_deref(), Some(left), "{value}");
        }
        for value in ["", "a/b", "/y?token=a%2Fb%2Bc", "100%", "%zz%2"] {
            assert_eq!(cleaned(value, "a/b+c d"), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_never_passes(secret in "[!-~]{8,20}", before in "[!-~]{0,10}", after in "[!-~]{0,10}", how in prop::collection::vec(0_u8..4, 20)) {
            let escaped: String = secret.bytes().zip(how).map(|(byte, how)| match how {
                1 => format!("%{byte:02x}"),
                2 => format!("%{byte:02X}"),
                _ if byte == b'%' => "%25".to_owned(),
                _ => char::from(byte).to_string(),
            }).collect();
            let cleaned = cleaned(&format!("{before}&{escaped}&{after}"), &secret);
            let cleaned = cleaned.expect("it was there");
            prop_assert!(!cleaned.contains(&escaped));
            prop_assert!(cleaned.starts_with(&before) && cleaned.ends_with(&after) || before.contains('%') || after.contains('%'));
        }
    }
}
