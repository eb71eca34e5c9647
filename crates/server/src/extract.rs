//! Extractors: names in the path, queries, JSON bodies.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jeton_core::access::ServiceTokenId;
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::DurationText;
use jeton_core::media_type::is_json;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::{ApiError, RequestError};
use crate::openapi::operation::{DescribeInput, OperationDoc};

/// The largest body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a caller may wait for a refresh at most.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// A query or a body.
pub(crate) trait RequestShape: DeserializeOwned + JsonSchema {
    /// What it must look like, as errors say it: a sentence for a query; for a body, the object of "this URL takes".
    const EXPECTED: &'static str;
}

/// The name of a connection in the path; the vault knows whether it exists.
pub(crate) struct ConnectionPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for ConnectionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| RequestError::UnknownUrl)?;
        Ok(Self(name))
    }
}

impl DescribeInput for ConnectionPath {
    fn describe(doc: &mut OperationDoc) {
        doc.parameter::<ConnectionName>("path", "name", "The name of a connection.", Some("acme"));
        doc.add_errors(&["NOT_FOUND"]);
    }
}

/// The id of a service token in the path; the store knows whether it exists.
pub(crate) struct ServiceTokenPath(pub(crate) ServiceTokenId);

impl<S: Send + Sync> FromRequestParts<S> for ServiceTokenPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ConnectionPath(id) = ConnectionPath::from_request_parts(parts, state).await?;
        Ok(Self(id.parse().map_err(|_| RequestError::UnknownServiceToken)?))
    }
}

impl DescribeInput for ServiceTokenPath {
    fn describe(doc: &mut OperationDoc) {
        doc.parameter::<ServiceTokenId>("path", "id", "The id of a service token.", None);
        doc.add_errors(&["NOT_FOUND", "UNKNOWN_SERVICE_TOKEN"]);
    }
}

/// The query parameters.
pub(crate) struct QueryParams<Q>(pub(crate) Q);

impl<S: Send + Sync, Q: RequestShape> FromRequestParts<S> for QueryParams<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(query) =
            Query::<Q>::try_from_uri(&parts.uri).map_err(|_| RequestError::Query(Q::EXPECTED))?;
        Ok(Self(query))
    }
}

impl<Q: RequestShape> DescribeInput for QueryParams<Q> {
    fn describe(doc: &mut OperationDoc) {
        doc.query::<Q>();
        doc.add_errors(&["BAD_REQUEST"]);
    }
}

/// A JSON body, if one was sent.
pub(crate) struct OptionalJsonBody<B>(pub(crate) Option<B>);

impl<S: Send + Sync, B: RequestShape> FromRequest<S> for OptionalJsonBody<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !has_json(&parts.headers) {
            return Err(RequestError::NotJsonContentType.into());
        }
        match serde_json::from_slice(&bytes) {
            // serde reads a list as the fields of a struct in order: nobody means that.
            Ok(_) if !is_object(&bytes) => Err(RequestError::InvalidBody(B::EXPECTED).into()),
            Ok(body) => Ok(Self(Some(body))),
            // serde's message repeats values, and a value may be a token.
            Err(error) if error.classify() == Category::Data => {
                Err(RequestError::InvalidBody(B::EXPECTED).into())
            }
            Err(error) => Err(RequestError::NotJson { line: error.line(), column: error.column() }.into()),
        }
    }
}

fn body_limits() -> String {
    format!("At most {} KiB, within {} s.", BODY_LIMIT / 1024, BODY_TIMEOUT.as_secs())
}

const BODY_ERRORS: &[&str] =
    &["BAD_REQUEST", "REQUEST_TIMEOUT", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE", "UNPROCESSABLE_BODY"];

impl<B: RequestShape> DescribeInput for OptionalJsonBody<B> {
    fn describe(doc: &mut OperationDoc) {
        doc.json_body::<B>(false, &body_limits());
        doc.add_errors(BODY_ERRORS);
    }
}

/// A JSON body.
pub(crate) struct JsonBody<B>(pub(crate) B);

impl<S: Send + Sync, B: RequestShape> FromRequest<S> for JsonBody<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let OptionalJsonBody(body) = OptionalJsonBody::from_request(request, state).await?;
        Ok(Self(body.ok_or(RequestError::InvalidBody(B::EXPECTED))?))
    }
}

impl<B: RequestShape> DescribeInput for JsonBody<B> {
    fn describe(doc: &mut OperationDoc) {
        doc.json_body::<B>(true, &body_limits());
        doc.add_errors(BODY_ERRORS);
    }
}

pub(crate) async fn read_body(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, RequestError> {
    let too_large = RequestError::BodyTooLarge { limit: BODY_LIMIT };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > BODY_LIMIT as u64) {
        return Err(too_large);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Err(_) => Err(RequestError::BodyTooSlow(BODY_TIMEOUT)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(_)) => Err(RequestError::IncompleteBody),
        Ok(Ok(whole)) => Ok(whole.to_bytes().into()),
    }
}

/// Whether a valid JSON text is an object.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

fn has_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json)
}

/// Reads seconds such as `60`, or a duration such as `5m`.
fn duration(text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.parse::<DurationText>().ok().map(|DurationText(duration)| duration),
    }
}

/// Reads the parameter `min_ttl`.
pub(crate) fn min_ttl(text: &str) -> Result<Duration, RequestError> {
    duration(text)
        .ok_or(RequestError::Query("`min_ttl` is seconds such as 60, or a duration such as 60s or 5m"))
}

/// Reads the parameter `wait`.
pub(crate) fn wait(text: &str) -> Result<Duration, RequestError> {
    let wait = duration(text).filter(|wait| *wait <= MAX_WAIT);
    wait.ok_or(RequestError::Query("`wait` is seconds such as 10, or a duration such as 10s, up to 10m"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Bytes;
    use axum::http::HeaderValue;
    use futures_util::stream;
    use jeton_core::access::{self, TokenHash};
    use jeton_core::id::ServiceName;
    use jeton_core::seal;
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use schemars::SchemaGenerator;

    use super::*;
    use crate::schema_patterns;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, millis) in [("60", 60_000), ("60s", 60_000), ("5m", 300_000), ("250ms", 250), ("0", 0)] {
            assert_eq!(min_ttl(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert!(min_ttl(bad).is_err(), "{bad}");
        }
        assert!(wait("600").is_ok());
        assert!(wait("601s").is_err());
    }

    #[test]
    fn a_json_body_is_recognised_by_its_content_type() {
        for (kind, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(has_json(&headers), json, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_times_out() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert_eq!(read_body(&HeaderMap::new(), body).await, Err(RequestError::BodyTooSlow(BODY_TIMEOUT)));
    }

    #[tokio::test]
    async fn a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
        let of_size = |size| {
            let halves = [Bytes::from(vec![b' '; size / 2]), Bytes::from(vec![b' '; size - size / 2])];
            Body::from_stream(stream::iter(halves.map(Ok::<_, Infallible>)))
        };
        assert_eq!(read_body(&HeaderMap::new(), of_size(BODY_LIMIT)).await.unwrap().len(), BODY_LIMIT);
        let too_large = Err(RequestError::BodyTooLarge { limit: BODY_LIMIT });
        assert_eq!(read_body(&HeaderMap::new(), of_size(BODY_LIMIT + 1)).await, too_large);
    }

    proptest! {
        #[test]
        fn no_error_repeats_what_the_caller_wrote(text in "[a-z]{12,40}") {
            prop_assert!(!min_ttl(&text).unwrap_err().to_string().contains(&text));
            prop_assert!(!wait(&text).unwrap_err().to_string().contains(&text));
        }
    }

    /// Texts that match the documented pattern.
    fn texts<S: JsonSchema>() -> impl Strategy<Value = String> {
        let schema = S::json_schema(&mut SchemaGenerator::default()).to_value();
        let pattern = schema["pattern"].as_str().unwrap();
        let longest = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        let inside = pattern.strip_prefix('^').unwrap().strip_suffix('$').unwrap();
        string_regex(inside)
            .unwrap()
            .prop_filter("longer than may be", move |text| text.len() as u64 <= longest)
    }

    proptest! {
        #[test]
        fn what_the_document_allows_is_taken(
            name in texts::<ConnectionName>(),
            fingerprint in texts::<seal::Fingerprint>(),
            hash in texts::<schema_patterns::Sha256>(),
            duration in texts::<schema_patterns::Duration>(),
            min_ttl in texts::<schema_patterns::DurationOrSeconds>(),
            wait in texts::<schema_patterns::Wait>(),
            scope in texts::<schema_patterns::Scope>(),
            need in texts::<schema_patterns::Need>(),
        ) {
            prop_assert!(name.parse::<ServiceName>().is_ok(), "{}", name);
            prop_assert!(seal::Fingerprint::parse(&fingerprint).is_some(), "{}", fingerprint);
            prop_assert!(TokenHash::from_hex(&hash).is_ok(), "{}", hash);
            prop_assert!(duration.parse::<DurationText>().is_ok(), "{}", duration);
            prop_assert!(super::min_ttl(&min_ttl).is_ok(), "{}", min_ttl);
            prop_assert!(super::wait(&wait).is_ok(), "{}", wait);
            prop_assert!(scope.parse::<access::Scope>().is_ok(), "{}", scope);
            prop_assert!(access::Permission::parse(&need).is_some(), "{}", need);
        }
    }
}
