//! The envelope of aliases: `{"success":true,"message":...,"data":...}`, and failures as `{"success":false,"error":...}`.
//!
//! The texts are exactly those of the gateway that jeton replaces: its clients compare them.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::{ErrorResponse, ProxyError};
use crate::header_names::RETRY_HEADER;

/// The largest answer that is wrapped, in bytes: it has to be read whole to be known as JSON.
const MAX_SIZE: usize = 8 * 1024 * 1024;

/// Wraps an answer of the API called `title`, or an error of the gateway, in the envelope.
pub(crate) async fn wrap(answer: Result<Response, ErrorResponse>, title: &str, message: &str) -> Response {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return error_response(&error),
    };
    let (head, body) = response.into_parts();
    let broken = |what: &str| {
        let error = ProxyError::Broken(format!("{what}, and only whole JSON can be wrapped"));
        error_response(&ErrorResponse::from(error))
    };
    let Ok(body) = Limited::new(body, MAX_SIZE).collect().await else {
        return broken("its answer broke off, or is longer than 8 MiB");
    };
    let body = body.to_bytes();
    let read: Option<&RawValue> = serde_json::from_slice(&body).ok();
    let text = match (read, head.status.is_success()) {
        (Some(read), true) => success(message, read.get()),
        (None, true) if body.is_empty() => success(message, "null"),
        (None, true) => return broken("its answer is not JSON"),
        (read, false) => {
            failure(&format!("{title} answered {}", head.status.as_u16()), read.map(RawValue::get))
        }
    };
    let mut wrapped = json_response(head.status, text);
    for name in [header::RETRY_AFTER, RETRY_HEADER] {
        if let Some(value) = head.headers.get(&name) {
            wrapped.headers_mut().insert(name, value.clone());
        }
    }
    wrapped
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
        let details = json!(problem).to_string();
        json_response(error.status(), failure(&problem.detail, Some(&details)))
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
        let response = wrap(Ok(response), "amoCRM", "Done").await;
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
