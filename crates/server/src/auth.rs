//! Who may come in, and through which state.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use jeton_core::access::Need;
use jeton_issuer::Caller;
use jeton_keeper::{TokenError, Vault};

use crate::error::RequestError;
use crate::response::ApiError;
use crate::router::AppState;

/// What the state of one group ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequiredScope {
    /// The scope `read`.
    Read,
    /// The scope `token:NAME` for the connection that the URL names.
    Token,
    /// The scope `admin`.
    Admin,
}

/// Lets a request through whose sender has the scope that the door required for. The door finds the [`Caller`] among the extensions
/// of the request, and the access log among those of the answer.
pub(crate) async fn require_scope(
    State((state, required)): State<(Arc<AppState>, RequiredScope)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match state.access.admit(&parts.headers).await {
        Ok(caller) => caller,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let mut response = match check_scope(&state.vault, &caller, required, &mut parts).await {
        Ok(()) => {
            parts.extensions.insert(caller.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    response.extensions_mut().insert(caller);
    response
}

async fn check_scope(
    vault: &Vault,
    caller: &Caller,
    required: RequiredScope,
    parts: &mut Parts,
) -> Result<(), ApiError> {
    match required {
        RequiredScope::Read => Ok(caller.require(&Need::Read)?),
        RequiredScope::Admin => Ok(caller.require(&Need::Admin)?),
        RequiredScope::Token => {
            let Path(name) =
                Path::<String>::from_request_parts(parts, &()).await.map_err(|_| RequestError::UnknownUrl)?;
            let Err(insufficient) = caller.require(&Need::Token(&name)) else { return Ok(()) };
            let defined = vault.names().iter().any(|defined| defined.as_str() == name);
            let unknown =
                || TokenError::UnknownConnection { name: name.chars().take(64).collect(), near: Vec::new() };
            Err(if defined {
                insufficient.into()
            } else {
                limit_suggestions(vault, caller, unknown()).into()
            })
        }
    }
}

/// The error as this caller may see it: of unknown names only those are suggested that it may be told of.
pub(crate) fn limit_suggestions(vault: &Vault, caller: &Caller, error: TokenError) -> TokenError {
    match error {
        TokenError::UnknownConnection { name, .. } => {
            let names = vault.names();
            let near = caller.near(&name, names.iter().map(jeton_core::id::ConnectionName::as_str));
            TokenError::UnknownConnection { name, near }
        }
        other => other,
    }
}

/// Whether the sender of these headers may see what there is, for a door that has another proof besides.
pub(crate) async fn require_read(state: &AppState, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let caller = state.access.admit(headers).await?;
    caller.require(&Need::Read)?;
    Ok(caller)
}
