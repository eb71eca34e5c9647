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
use crate::describe::{Answer, Gives, Sheet, Takes};

/// How long caches keep it without asking.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = digest(&SHA256, openapi().as_bytes());
    let hex = digest.as_ref().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("digits are ASCII")
});

/// The versions of the document that a caller has.
pub(crate) struct Known(Vec<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()))
    }
}

impl Takes for Known {
    fn describe(sheet: &mut Sheet) {
        let means = "The ETag of the document that the caller has.";
        sheet.parameter::<String>("header", "If-None-Match", means, None);
    }
}

impl Known {
    /// Whether the document as it is now is among them (RFC 9110, section 13.1.2).
    fn has_current(&self) -> bool {
        let texts = self.0.iter().filter_map(|value| value.to_str().ok());
        let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == TAG.as_bytes())
    }
}

/// The document, or the word that the caller has it.
pub(crate) enum Copy {
    Whole,
    Same,
}

impl IntoResponse for Copy {
    fn into_response(self) -> Response {
        let caching = [(header::CACHE_CONTROL, CACHING), (header::ETAG, TAG.clone())];
        match self {
            Self::Whole => (caching, [(header::CONTENT_TYPE, "application/json")], openapi()).into_response(),
            Self::Same => (StatusCode::NOT_MODIFIED, caching).into_response(),
        }
    }
}

impl Gives for Copy {
    fn describe(sheet: &mut Sheet) {
        let tag = |answer: Answer| answer.with_header("ETag", "Its version.", &json!({ "type": "string" }));
        let whole = Answer::new("The document.").with_body("application/json", &json!({ "type": "object" }));
        sheet.answer(200, tag(whole));
        sheet.answer(304, tag(Answer::new("The caller has it.")));
    }
}

/// `GET /openapi.json`: this very document.
pub(crate) async fn show(known: Known) -> Copy {
    if known.has_current() { Copy::Same } else { Copy::Whole }
}
