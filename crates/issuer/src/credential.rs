//! Reads the credential of a request from its headers.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::AccessError;

/// The header of service tokens.
pub const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The headers that may carry a credential of jeton. None of them is sent upstream.
pub const CREDENTIAL_HEADERS: [HeaderName; 3] = [SERVICE_TOKEN, API_KEY, AUTHORIZATION];

/// The credential of a request, which may be repeated. An empty header counts as absent, as it does for proxies; an
/// `Authorization` of another scheme than `Bearer` is ignored.
///
/// # Errors
/// There is none, or there are two that differ.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<&[u8], AccessError> {
    let plain = [SERVICE_TOKEN, API_KEY].map(|name| headers.get_all(name).into_iter());
    let plain = plain.into_iter().flatten().map(HeaderValue::as_bytes);
    let bearer = headers.get_all(AUTHORIZATION).into_iter().filter_map(|value| bearer(value.as_bytes()));
    let mut all = plain.chain(bearer).filter(|credential| !credential.is_empty());
    let first = all.next().ok_or(AccessError::Missing)?;
    if all.all(|other| other == first) { Ok(first) } else { Err(AccessError::Conflicting) }
}

/// The credential of a request that another server received and asks about: its `Authorization` may be for that server, so that it
/// counts only where no header of jeton's own carries one.
///
/// # Errors
/// There is none, or there are two that differ.
pub(crate) fn from_forwarded_headers(headers: &HeaderMap) -> Result<&[u8], AccessError> {
    let own = [SERVICE_TOKEN, API_KEY].map(|name| headers.get_all(name).into_iter());
    let mut own = own.into_iter().flatten().map(HeaderValue::as_bytes).filter(|value| !value.is_empty());
    let Some(first) = own.next() else { return from_headers(headers) };
    if own.all(|other| other == first) { Ok(first) } else { Err(AccessError::Conflicting) }
}

/// The token of the scheme `Bearer` (RFC 6750, section 2.1). Scheme names ignore case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn each_header_carries_a_credential_and_repeating_it_is_no_conflict() {
        for pairs in [
            vec![(SERVICE_TOKEN, "a")],
            vec![(API_KEY, "a")],
            vec![(AUTHORIZATION, "Bearer a")],
            vec![(AUTHORIZATION, "bearer  a ")],
            vec![(API_KEY, "a"), (API_KEY, "a"), (SERVICE_TOKEN, "a"), (AUTHORIZATION, "BEARER a")],
            vec![(API_KEY, ""), (SERVICE_TOKEN, "a")],
            vec![(AUTHORIZATION, "Basic b"), (SERVICE_TOKEN, "a")],
        ] {
            assert_eq!(from_headers(&headers(&pairs)), Ok(&b"a"[..]), "{pairs:?}");
        }
    }

    #[test]
    fn no_credential_is_an_error_and_so_are_two_that_differ() {
        for pairs in [
            vec![],
            vec![(API_KEY, "")],
            vec![(AUTHORIZATION, "Basic YTpi")],
            vec![(AUTHORIZATION, "Bearer ")],
        ] {
            assert_eq!(from_headers(&headers(&pairs)), Err(AccessError::Missing), "{pairs:?}");
        }
        for (one, two) in [(SERVICE_TOKEN, API_KEY), (API_KEY, API_KEY), (API_KEY, SERVICE_TOKEN)] {
            assert_eq!(from_headers(&headers(&[(one, "a"), (two, "b")])), Err(AccessError::Conflicting));
        }
        let pairs = [(AUTHORIZATION, "Bearer b"), (SERVICE_TOKEN, "a")];
        assert_eq!(from_headers(&headers(&pairs)), Err(AccessError::Conflicting));
    }

    #[test]
    fn the_authorization_of_a_forwarded_request_is_its_own_affair_beside_a_header_of_jeton() {
        for own in [SERVICE_TOKEN, API_KEY] {
            let pairs = [(own, "a"), (AUTHORIZATION, "Bearer theirs")];
            assert_eq!(from_forwarded_headers(&headers(&pairs)), Ok(&b"a"[..]));
        }
        assert_eq!(from_forwarded_headers(&headers(&[(AUTHORIZATION, "Bearer a")])), Ok(&b"a"[..]));
        assert_eq!(
            from_forwarded_headers(&headers(&[(API_KEY, ""), (AUTHORIZATION, "Bearer a")])),
            Ok(&b"a"[..])
        );
        assert_eq!(from_forwarded_headers(&headers(&[])), Err(AccessError::Missing));
        let two = headers(&[(SERVICE_TOKEN, "a"), (API_KEY, "b"), (AUTHORIZATION, "Bearer a")]);
        assert_eq!(from_forwarded_headers(&two), Err(AccessError::Conflicting));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(value in proptest::collection::vec(32_u8..=255, 0..20)) {
            prop_assume!(!value.contains(&0x7f));
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(&value).unwrap());
            let _ = from_headers(&headers);
        }
    }
}
