//! Removes the token from the headers of an answer. An API that takes it in the query may repeat it in the `Location` of a
//! redirect or in a `Link` to the next page; callers may use the token, and must not see it.

use std::ops::Range;

use http::{HeaderMap, HeaderValue};
use jeton_core::keep::provider::Injection;
use jeton_keeper::Call;

use crate::path_check::decode_escape;

/// Replaces a secret.
const REDACTED: &[u8] = b"REDACTED";

/// The shortest value besides the token that is searched for: a shorter one is in many headers by chance.
const MIN_LENGTH: usize = 8;

/// How often a header is decoded: a URL may be escaped in the query of another one.
const DECODINGS: usize = 3;

/// Replaces what was put into a call, escaped or not, in the headers of its answer. The rest of a header stays: a redirect
/// still leads to the same place, and the caller follows it through the gateway, which puts the token in again.
pub(crate) fn redact(headers: &mut HeaderMap, call: &Call) {
    let put_in = call.injections.iter().map(|injection| match injection {
        Injection::Header(_, value)
        | Injection::Query(_, value)
        | Injection::Cookie(_, value)
        | Injection::Body(_, value) => value.reveal(),
    });
    let token = Some(call.token.access.reveal()).filter(|token| !token.is_empty());
    let secrets: Vec<&[u8]> =
        token.into_iter().chain(put_in.filter(|text| text.len() >= MIN_LENGTH)).map(str::as_bytes).collect();
    for value in headers.values_mut() {
        for secret in &secrets {
            if let Some(redacted) = replace(value.as_bytes(), secret) {
                *value = HeaderValue::from_bytes(&redacted).unwrap_or(HeaderValue::from_static("REDACTED"));
            }
        }
    }
}

/// A decoded byte, and the range of bytes that it was decoded from.
type DecodedByte = (u8, Range<usize>);

/// `value` with [`REDACTED`] in the place of each `secret`; `None` where there is none.
fn replace(value: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    if value.len() < secret.len() {
        return None;
    }
    let mut bytes: Vec<DecodedByte> =
        value.iter().enumerate().map(|(at, byte)| (*byte, at..at + 1)).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for _ in 0..=DECODINGS {
        found.extend(occurrences(&bytes, secret));
        let decoded = decode(&bytes);
        if decoded.len() == bytes.len() {
            break;
        }
        bytes = decoded;
    }
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|range| range.start);
    let mut redacted = Vec::with_capacity(value.len());
    let mut at = 0;
    for range in found {
        if range.start >= at {
            redacted.extend_from_slice(&value[at..range.start]);
            redacted.extend_from_slice(REDACTED);
        }
        at = at.max(range.end);
    }
    redacted.extend_from_slice(&value[at..]);
    Some(redacted)
}

fn occurrences(bytes: &[DecodedByte], secret: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // In a form, `+` stands for a space.
    let same = |(one, other): (&DecodedByte, &u8)| one.0 == *other || (one.0 == b'+' && *other == b' ');
    let found = bytes.windows(secret.len()).filter(move |window| window.iter().zip(secret).all(same));
    found.filter_map(|window| Some(window.first()?.1.start..window.last()?.1.end))
}

/// Decodes the escapes of RFC 3986, section 2.1, once; broken ones stay as they are.
fn decode(bytes: &[DecodedByte]) -> Vec<DecodedByte> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some((byte, range)) = bytes.get(at) {
        if let Some(value) = decode_escape([0, 1, 2].map(|next| bytes.get(at + next).map(|(byte, _)| *byte)))
        {
            decoded.push((value, range.start..bytes[at + 2].1.end));
            at += 3;
        } else {
            decoded.push((*byte, range.clone()));
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(value: &str, secret: &str) -> Option<String> {
        replace(value.as_bytes(), secret.as_bytes()).map(|redacted| String::from_utf8(redacted).unwrap())
    }

    #[test]
    fn a_secret_is_replaced_however_it_is_escaped_and_nothing_else_is() {
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
            assert_eq!(redacted(value, "a/b+c d").as_deref(), Some(left), "{value}");
        }
        for value in ["", "a/b", "/y?token=a%2Fb%2Bc", "100%", "%zz%2"] {
            assert_eq!(redacted(value, "a/b+c d"), None, "{value}");
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
            let redacted = redacted(&format!("{before}&{escaped}&{after}"), &secret);
            let redacted = redacted.expect("it was there");
            prop_assert!(!redacted.contains(&escaped));
            prop_assert!(redacted.starts_with(&before) && redacted.ends_with(&after) || before.contains('%') || after.contains('%'));
        }
    }
}
