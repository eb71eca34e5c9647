//! How an error leaves the process.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jeton_core::problem::Problem;
use jeton_issuer::{AccessError, OrderError};
use jeton_keeper::TokenError;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::RequestError;
use crate::openapi::operation::{DescribeOutput, OperationDoc, ResponseDoc};

/// An error as an answer: problem details (RFC 9457), with `Retry-After` where waiting helps.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

impl From<RequestError> for ApiError {
    fn from(fault: RequestError) -> Self {
        Self(Box::new(fault.problem()))
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        Self(Box::new(error.problem()))
    }
}

impl ApiError {
    /// The same with another status, for a door whose callers understand only a few.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status.as_u16();
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.members.get("retry_after").and_then(Value::as_u64);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Something was made: 201.
#[derive(Debug)]
pub(crate) struct Created<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> DescribeOutput for Created<T> {
    fn describe(doc: &mut OperationDoc) {
        let body = doc.output_schema::<T>();
        doc.response(201, ResponseDoc::new("It is made.").with_body("application/json", &body));
    }
}

/// It is done, and there is nothing to say: 204.
#[derive(Debug)]
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl DescribeOutput for Done {
    fn describe(doc: &mut OperationDoc) {
        doc.response(204, ResponseDoc::new("It is done."));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use jeton_core::keep::provider::ErrorClass;

    use super::*;

    #[test]
    fn waiting_is_told_in_whole_seconds_and_only_where_it_helps() {
        let failed = TokenError::Failed {
            name: "acme".parse().unwrap(),
            class: ErrorClass::RateLimited,
            code: "rate_limited".to_owned(),
            message: "the provider asks for patience".to_owned(),
            retry_after: Some(Duration::from_millis(1_200)),
        };
        let response = ApiError::from(failed).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(!response.headers().contains_key("www-authenticate"));

        let response = ApiError::from(TokenError::OnHold).into_response();
        assert!(!response.headers().contains_key("retry-after"));
    }

    /// Every code that a source file spells out.
    fn codes_in(source: &Path) -> BTreeSet<String> {
        let text = fs::read_to_string(source).unwrap();
        let code = |part: &&str| {
            part.len() > 3
                && part.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
                && part.starts_with(|c: char| c.is_ascii_uppercase())
        };
        text.split('"').filter(code).map(str::to_owned).collect()
    }

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut codes = codes_in(&crates.join("keeper/src/error.rs"));
        assert!(codes.contains("UNKNOWN_CONNECTION"), "the codes of the keeper have moved: {codes:?}");
        codes.extend(codes_in(&crates.join("issuer/src/error.rs")));
        assert!(codes.contains("SCOPE_INSUFFICIENT"), "the codes of the issuer have moved: {codes:?}");
        codes.extend(codes_in(&crates.join("server/src/error.rs")));
        // No door takes a grant over: that is done by the command line.
        let catalogue = crate::error_catalogue::catalogue().into_keys().chain(["GRANT_REFUSED"]);
        assert_eq!(
            codes,
            catalogue.map(str::to_owned).collect(),
            "the document knows every refusal of the state"
        );
        codes.extend(codes_in(&crates.join("gateway/src/fault.rs")));

        let mut pages = BTreeSet::new();
        for entry in fs::read_dir(crates.join("../docs/errors")).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            if stem == "README" {
                continue;
            }
            assert_eq!(text.lines().next(), Some(format!("# {stem}").as_str()), "{}", path.display());
            for section in ["## What it means", "## What was spent", "## What to do"] {
                assert!(text.contains(section), "{} has no `{section}`", path.display());
            }
            pages.insert(stem);
        }
        let without_page: Vec<_> = codes.difference(&pages).collect();
        let without_code: Vec<_> = pages.difference(&codes).collect();
        assert!(without_page.is_empty(), "docs/errors lacks a page for {without_page:?}");
        assert!(without_code.is_empty(), "docs/errors has pages that no code leads to: {without_code:?}");
    }
}
