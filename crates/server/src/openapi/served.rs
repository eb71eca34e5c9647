//! The document as it is served: to everyone, and only to those who do not have it yet.

use std::convert::Infallible;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::openapi;
use crate::openapi::operation::{DescribeInput, DescribeOutput, OperationDoc, ResponseDoc};

/// How long caches keep it without asking.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

static ETAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = digest(&SHA256, openapi().as_bytes());
    let hex = digest.as_ref().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("digits are ASCII")
});

/// The versions of the document that a caller has.
pub(crate) struct KnownVersions(Vec<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for KnownVersions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()))
    }
}

impl DescribeInput for KnownVersions {
    fn describe(doc: &mut OperationDoc) {
        let means = "The ETag of the document that the caller has.";
        doc.parameter::<String>("header", "If-None-Match", means, None);
    }
}

impl KnownVersions {
    /// Whether the document as it is now is among them (RFC 9110, section 13.1.2).
    fn include_current(&self) -> bool {
        let texts = self.0.iter().filter_map(|value| value.to_str().ok());
        let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == ETAG.as_bytes())
    }
}

/// The document, or the word that the caller has it.
pub(crate) enum DocumentReply {
    Full,
    NotModified,
}

impl IntoResponse for DocumentReply {
    fn into_response(self) -> Response {
        let caching = [(header::CACHE_CONTROL, CACHE_CONTROL), (header::ETAG, ETAG.clone())];
        match self {
            DocumentReply::Full => {
                (caching, [(header::CONTENT_TYPE, "application/json")], openapi()).into_response()
            }
            DocumentReply::NotModified => (StatusCode::NOT_MODIFIED, caching).into_response(),
        }
    }
}

impl DescribeOutput for DocumentReply {
    fn describe(doc: &mut OperationDoc) {
        let tag =
            |answer: ResponseDoc| answer.with_header("ETag", "Its version.", &json!({ "type": "string" }));
        let whole =
            ResponseDoc::new("The document.").with_body("application/json", &json!({ "type": "object" }));
        doc.response(200, tag(whole));
        doc.response(304, tag(ResponseDoc::new("The caller has it.")));
    }
}

/// `GET /openapi.json`: this very document.
pub(crate) async fn show(known: KnownVersions) -> DocumentReply {
    if known.include_current() { DocumentReply::NotModified } else { DocumentReply::Full }
}
