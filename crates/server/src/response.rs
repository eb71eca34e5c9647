//! Successful responses that several handlers give.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::operation::{DescribeOutput, OperationDoc, ResponseDoc};

/// 201, with what was created.
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
        doc.response(201, ResponseDoc::new("Created.").with_body("application/json", &body));
    }
}

/// 204.
#[derive(Debug)]
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl DescribeOutput for NoContent {
    fn describe(doc: &mut OperationDoc) {
        doc.response(204, ResponseDoc::new("Done."));
    }
}
