//! The envelope of aliases: `{"success":true,"message":...,"data":...}`, and failures as `{"success":false,"error":...}`.
//!
//! The texts are exactly those of the gateway that jeton replaces: its clients compare them.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use jeton_core::keep::provider::Alias;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::access_log::AccessLogEntry;
use crate::error::{ErrorResponse, FIELDS, JSON_ERROR, ProxyError};
use crate::header_names::RETRY_HEADER;

/// The largest answer that is wrapped, in bytes: it has to be read whole to be known as JSON.
const MAX_SIZE: usize = 8 * 1024 * 1024;

/// Wraps an answer of the API called `title`, or an error of the gateway, in the envelope of an alias, and writes the line of
/// the call in the access log.
pub(crate) async fn wrap(
    answer: Result<(Response, Option<AccessLogEntry>), ErrorResponse>,
    title: &str,
    alias: &Alias,
) -> Response {
    let (response, entry) = match answer {
        Ok(answer) => answer,
        Err(error) => return error_response(&error),
    };
    let (head, body) = response.into_parts();
    let (mut wrapped, size) = match wrap_body(head.status, body, title, alias).await {
        Ok((status, text)) => (json_response(status, text.clone()), text.len()),
        Err(error) => {
            let error = ErrorResponse::from(error);
            return error_response(&entry.map_or(error.clone(), |entry| entry.fail(error)));
        }
    };
    for name in [header::RETRY_AFTER, RETRY_HEADER] {
        if let Some(value) = head.headers.get(&name) {
            wrapped.headers_mut().insert(name, value.clone());
        }
    }
    wrapped.extensions_mut().extend(head.extensions);
    if let Some(entry) = entry {
        entry.answer(wrapped.status(), size);
    }
    wrapped
}

/// The status and the text in the envelope.
async fn wrap_body(
    status: StatusCode,
    body: Body,
    title: &str,
    alias: &Alias,
) -> Result<(StatusCode, String), ProxyError> {
    let broken = |what: &str| ProxyError::Broken(format!("{what}, and only whole JSON can be wrapped"));
    let body = Limited::new(body, MAX_SIZE).collect().await;
    let body = body.map_err(|_| broken("its answer broke off, or is longer than 8 MiB"))?.to_bytes();
    let read: Option<&RawValue> = serde_json::from_slice(&body).ok();
    let message = alias.envelope().unwrap_or_default();
    Ok(match (read, status.is_success(), alias.failure()) {
        (Some(read), true, _) => (status, success(message, read.get())),
        (None, true, _) if body.is_empty() => (status, success(message, "null")),
        (None, true, _) => return Err(broken("its answer is not JSON")),
        (read, false, Some(told)) => {
            let details = json!({ &told.answer: read, &told.code: status.as_u16() }).to_string();
            let status = StatusCode::from_u16(told.status).unwrap_or(status);
            (status, failure(&told.error, Some(&details)))
        }
        (read, false, None) => {
            let error = format!("{title} answered {}", status.as_u16());
            (status, failure(&error, read.map(RawValue::get)))
        }
    })
}

fn success(message: &str, data: &str) -> String {
    format!(r#"{{"success":true,"message":{},"data":{data}}}"#, Value::from(message))
}

fn failure(error: &str, details: Option<&str>) -> String {
    let details = details.map(|details| format!(r#","details":{details}"#)).unwrap_or_default();
    format!(r#"{{"success":false,"error":{}{details}}}"#, Value::from(error))
}

/// An error of the gateway in the envelope.
fn error_response(error: &ErrorResponse) -> Response {
    let problem = &*error.0;
    let mut response = error.invalid_key().unwrap_or_else(|| {
        let (error_text, details) = match (problem.members.get(FIELDS), problem.members.get(JSON_ERROR)) {
            (Some(fields), _) => ("Validation failed", fields.clone()),
            (_, Some(place)) => ("Invalid JSON", json!({ JSON_ERROR: place })),
            _ => (&*problem.detail, json!(problem)),
        };
        json_response(error.status(), failure(error_text, Some(&details.to_string())))
    });
    error.set_headers(&mut response);
    response
}

fn json_response(status: StatusCode, text: String) -> Response {
    // An envelope is a body, which answers of these two statuses cannot have.
    let status = if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        StatusCode::OK
    } else {
        status
    };
    let mut response = (status, Body::from(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wrapped(status: u16, body: &'static str) -> (u16, String) {
        let response = Response::builder().status(status).body(Body::from(body)).unwrap();
        let alias = "path = '/x'\nupstream = '/y'\nenvelope = true\nmessage = 'Done'";
        let response = wrap(Ok((response, None)), "amoCRM", &toml::from_str(alias).unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_wrapped_as_it_is_digit_for_digit() {
        let (status, text) = wrapped(200, r#"{"b":12345678901234567890123,"a":1.10}"#).await;
        assert_eq!(status, 200);
        assert_eq!(
            text,
            r#"{"success":true,"message":"Done","data":{"b":12345678901234567890123,"a":1.10}}"#
        );
        assert_eq!(
            wrapped(204, "").await,
            (200, r#"{"success":true,"message":"Done","data":null}"#.to_owned())
        );
    }

    #[tokio::test]
    async fn a_failure_keeps_its_status_and_its_details() {
        let (status, text) = wrapped(404, r#"{"title":"Not found"}"#).await;
        assert_eq!(status, 404);
        assert_eq!(
            text,
            r#"{"success":false,"error":"amoCRM answered 404","details":{"title":"Not found"}}"#
        );
        let (status, text) = wrapped(503, "<html>").await;
        assert_eq!((status, text.as_str()), (503, r#"{"success":false,"error":"amoCRM answered 503"}"#));
        let (status, text) = wrapped(200, "<html>").await;
        assert_eq!(status, 502);
        assert!(
            text.starts_with(
                r#"{"success":false,"error":"the API gave no whole answer: its answer is not JSON"#
            ),
            "{text}"
        );
    }
}
