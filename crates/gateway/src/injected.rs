//! Putting the token into a call, where the provider says.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jeton_core::keep::provider::Injection;
use jeton_core::media_type::{self, is_json};
use jeton_core::secret::Secret;
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::fault::Fault;

/// Whether the token travels in the body, so that the body must be known whole.
pub(crate) fn in_body(injections: &[Injection]) -> bool {
    injections.iter().any(|injection| matches!(injection, Injection::Body(..)))
}

/// Puts headers and cookies in, replacing those of the same name.
///
/// # Errors
/// The value cannot stand in a header; the provider file would have to be mended.
pub(crate) fn into_headers(headers: &mut HeaderMap, injections: &[Injection]) -> Result<(), Fault> {
    let unfit = |_| Fault::Unreachable("the token holds a character that headers cannot hold".to_owned());
    let mut cookies = String::new();
    for injection in injections {
        match injection {
            Injection::Header(name, value) => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| Fault::Unreachable(format!("`{name}` is no name of a header")))?;
                let mut value = HeaderValue::from_str(value.reveal()).map_err(unfit)?;
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Injection::Cookie(name, value) => {
                if !cookies.is_empty() {
                    cookies.push_str("; ");
                }
                cookies.push_str(name);
                cookies.push('=');
                cookies.push_str(value.reveal());
            }
            Injection::Query(..) | Injection::Body(..) => {}
        }
    }
    if !cookies.is_empty() {
        let mut value = HeaderValue::from_str(&cookies).map_err(unfit)?;
        value.set_sensitive(true);
        headers.insert(header::COOKIE, value);
    }
    Ok(())
}

/// The query of the call: the caller's as it was sent, but for the parameters that are put in.
pub(crate) fn into_query(query: Option<&str>, injections: &[Injection]) -> Option<String> {
    let put_in: Vec<(&str, &Secret)> = injections
        .iter()
        .filter_map(|injection| match injection {
            Injection::Query(name, value) => Some((name.as_str(), value)),
            _ => None,
        })
        .collect();
    if put_in.is_empty() {
        return query.map(str::to_owned);
    }
    let replaced = |pair: &&str| {
        form_urlencoded::parse(pair.as_bytes())
            .any(|(name, _)| put_in.iter().any(|(known, _)| *known == name))
    };
    let kept = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !replaced(pair));
    let mut made: Vec<String> = kept.map(str::to_owned).collect();
    made.push(
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(put_in.iter().map(|(name, value)| (*name, value.reveal())))
            .finish(),
    );
    Some(made.join("&"))
}

/// The body with the fields that are put in.
///
/// # Errors
/// [`Fault::BodyKind`] where it is neither a JSON object nor a form.
pub(crate) fn into_body(body: &Bytes, headers: &HeaderMap, injections: &[Injection]) -> Result<Bytes, Fault> {
    let put_in = injections.iter().filter_map(|injection| match injection {
        Injection::Body(name, value) => Some((name.as_str(), value)),
        _ => None,
    });
    match essence(headers).as_deref() {
        Some("application/x-www-form-urlencoded") => {
            let put_in: Vec<_> = put_in.collect();
            let kept = form_urlencoded::parse(body)
                .filter(|(name, _)| put_in.iter().all(|(known, _)| known != name));
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(kept).extend_pairs(put_in.iter().map(|(name, value)| (*name, value.reveal())));
            Ok(form.finish().into())
        }
        Some(kind) if is_json(kind) => {
            // The values stay as they were sent: a number may be longer than any that we could read.
            let mut object: BTreeMap<String, Box<RawValue>> =
                serde_json::from_slice(body).map_err(|_| Fault::BodyKind)?;
            for (name, value) in put_in {
                let value = serde_json::value::to_raw_value(value.reveal()).expect("text is always JSON");
                object.insert(name.to_owned(), value);
            }
            Ok(serde_json::to_vec(&object).expect("texts and values are always JSON").into())
        }
        _ => Err(Fault::BodyKind),
    }
}

/// The media type without its parameters, in lower case.
pub(crate) fn essence(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(media_type::essence(kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_kind(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn headers_and_cookies_replace_those_of_the_caller() {
        let mut headers = HeaderMap::new();
        headers.append("x-token", HeaderValue::from_static("mine"));
        headers.append("x-token", HeaderValue::from_static("mine too"));
        let injections = [
            Injection::Header("x-token".to_owned(), "at-1".into()),
            Injection::Cookie("a".to_owned(), "at-1".into()),
            Injection::Cookie("b".to_owned(), "2".into()),
        ];
        into_headers(&mut headers, &injections).unwrap();
        assert_eq!(headers.get_all("x-token").iter().collect::<Vec<_>>(), ["at-1"]);
        assert_eq!(headers["cookie"], "a=at-1; b=2");
        assert!(headers["x-token"].is_sensitive() && headers["cookie"].is_sensitive());
    }

    #[test]
    fn a_query_keeps_what_the_caller_wrote_but_the_parameters_that_are_put_in() {
        let injections = [Injection::Query("token".to_owned(), "a&b".into())];
        let query = into_query(Some("x=1&%74oken=mine&y=%zz&token&x=2"), &injections);
        assert_eq!(query.as_deref(), Some("x=1&y=%zz&x=2&token=a%26b"));
        assert_eq!(into_query(None, &injections).as_deref(), Some("token=a%26b"));
        assert_eq!(into_query(Some("a=%zz"), &[]).as_deref(), Some("a=%zz"));
        assert_eq!(into_query(None, &[]), None);
    }

    #[test]
    fn a_body_is_a_form_or_an_object_that_takes_the_field() {
        let injections = [Injection::Body("auth".to_owned(), "at-1".into())];
        let put = |kind, body: &str| into_body(&Bytes::from(body.to_owned()), &of_kind(kind), &injections);
        let json =
            put("application/json; charset=utf-8", r#"{"a":1234567890123456789012,"auth":"mine"}"#).unwrap();
        assert_eq!(json, r#"{"a":1234567890123456789012,"auth":"at-1"}"#);
        let form = put("application/x-www-form-urlencoded", "a=1&auth=mine&b=x%20y").unwrap();
        assert_eq!(form, "a=1&b=x+y&auth=at-1");
        for (kind, body) in [("application/json", "[1]"), ("application/json", "{"), ("text/plain", "x")] {
            assert_eq!(put(kind, body), Err(Fault::BodyKind), "{kind} {body}");
        }
        assert_eq!(into_body(&Bytes::new(), &HeaderMap::new(), &injections), Err(Fault::BodyKind));
    }

    proptest! {
        #[test]
        fn whatever_a_caller_writes_there_is_one_parameter_of_that_name(query in "([a-z%=&+]{0,20}|(token=[a-z]{0,3}&?){0,4})") {
            let injections = [Injection::Query("token".to_owned(), "right".into())];
            let made = into_query(Some(&query), &injections).unwrap();
            let found: Vec<_> =
                form_urlencoded::parse(made.as_bytes()).filter(|(name, _)| name == "token").map(|(_, value)| value.into_owned()).collect();
            prop_assert_eq!(found, ["right"]);
        }
    }
}
