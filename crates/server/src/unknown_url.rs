//! The answer to a URL that nothing serves.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};

use crate::auth::authenticate;
use crate::error::{ApiError, RequestError};
use crate::old_gateway;
use crate::state::AppState;

/// Below this path an amoCRM gateway asked for a key, whatever the URL.
const GUARDED: &str = "/api/v1/";

/// 404; in the place of an amoCRM gateway as that one said it, and below `/api/v1` only to those who have a key.
pub(crate) async fn unknown_url(State(app): State<Arc<AppState>>, request: Request) -> Response {
    if app.old_gateway.is_none() {
        return ApiError::from(RequestError::UnknownUrl).into_response();
    }
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    if !path.starts_with(GUARDED) {
        return old_gateway::unknown_url(path);
    }
    match authenticate(&app, &parts).await {
        Err(error) => old_gateway::denial(&app, error, &parts.headers),
        Ok(caller) => {
            let mut response = old_gateway::unknown_url(path);
            response.extensions_mut().insert(caller);
            response
        }
    }
}
