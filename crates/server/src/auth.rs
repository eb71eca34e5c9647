//! Who may call what: the caller's service token, and the scope that a route requires.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use jeton_core::access::Permission;
use jeton_core::audit::Actor;
use jeton_core::id::ConnectionName;
use jeton_issuer::{AccessError, Caller};
use jeton_keeper::{TokenError, Vault};

use crate::client_address::ClientAddress;
use crate::error::{ApiError, RequestError};
use crate::old_gateway;
use crate::state::AppState;

/// The scope that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequiredScope {
    /// `read`.
    Read,
    /// `token:NAME`, for the connection in the URL.
    Token,
    /// `operate:NAME`, for the connection in the URL.
    Operate,
    /// Either of both.
    TokenOrOperate,
    /// `admin`.
    Admin,
}

/// The connection that a URL names: an extension of the response, for the access log. Only names that are defined are logged,
/// because a caller may have put a token in their place.
#[derive(Clone, Debug)]
pub(crate) struct NamedConnection(pub(crate) ConnectionName);

impl NamedConnection {
    async fn find(vault: &Vault, parts: &mut Parts) -> Option<Self> {
        let Path(name) = Path::<String>::from_request_parts(parts, &()).await.ok()?;
        vault.definition(&name).ok()?;
        name.parse().ok().map(Self)
    }
}

/// Lets a request through whose caller has the scope. Its [`Caller`] becomes an extension of the request, for the handler,
/// and of the response, for the access log; so does the connection.
pub(crate) async fn require_scope(
    State((app, required)): State<(Arc<AppState>, RequiredScope)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match authenticate(&app, &parts).await {
        Ok(caller) => caller,
        Err(error) => return old_gateway::denial(&app, error, &parts.headers),
    };
    let connection = NamedConnection::find(&app.vault, &mut parts).await;
    let mut response = match check_scope(&app.vault, &caller, required, &mut parts).await {
        Ok(()) => {
            parts.extensions.insert(caller.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    response.extensions_mut().insert(caller);
    if let Some(connection) = connection {
        response.extensions_mut().insert(connection);
    }
    response
}

/// Who sent a request that another server received and asks about.
pub(crate) async fn authenticate_forwarded(app: &AppState, parts: &Parts) -> Result<Caller, AccessError> {
    app.access.authenticate_forwarded(&parts.headers, ClientAddress::of(&parts.extensions)).await
}

/// Who sends this request.
pub(crate) async fn authenticate(app: &AppState, parts: &Parts) -> Result<Caller, AccessError> {
    app.access.authenticate(&parts.headers, ClientAddress::of(&parts.extensions)).await
}

async fn check_scope(
    vault: &Vault,
    caller: &Caller,
    required: RequiredScope,
    parts: &mut Parts,
) -> Result<(), ApiError> {
    match required {
        RequiredScope::Read => Ok(caller.require(&Permission::Read)?),
        RequiredScope::Admin => Ok(caller.require(&Permission::Admin)?),
        RequiredScope::Token | RequiredScope::Operate | RequiredScope::TokenOrOperate => {
            let path = Path::<String>::from_request_parts(parts, &()).await;
            let Path(name) = path.map_err(|_| RequestError::UnknownUrl)?;
            let (token, operate) = (Permission::Token(&name), Permission::Operate(&name));
            let required = match required {
                RequiredScope::TokenOrOperate if caller.require(&operate).is_ok() => operate,
                RequiredScope::Operate => operate,
                _ => token,
            };
            let Err(insufficient) = caller.require(&required) else { return Ok(()) };
            // One that the caller may not see is answered like one that does not exist.
            let is_visible = caller.may_see(&name) && vault.definition(&name).is_ok();
            Err(if is_visible {
                insufficient.into()
            } else {
                unknown_connection(vault, caller, &name).into()
            })
        }
    }
}

/// The error for a connection that does not exist, or that this caller may not see.
pub fn unknown_connection(vault: &Vault, caller: &Caller, name: &str) -> TokenError {
    let name = name.chars().take(64).collect();
    visible_error(vault, caller, TokenError::UnknownConnection { name, near: Vec::new() })
}

/// The error as this caller may see it: only connections that it may see are suggested for an unknown name, and what a provider
/// said in its own words is for those who operate the connection or read how it stands.
pub fn visible_error(vault: &Vault, caller: &Caller, error: TokenError) -> TokenError {
    let operates = |name: &ConnectionName| caller.require(&Permission::Operate(name.as_str())).is_ok();
    let may_read = caller.require(&Permission::Read).is_ok() || error.connection().is_some_and(operates);
    match if may_read { error } else { error.without_provider_message() } {
        TokenError::UnknownConnection { name, .. } => {
            let names = vault.names();
            let near = caller.suggest(&name, names.iter().map(ConnectionName::as_str));
            TokenError::UnknownConnection { name, near }
        }
        other => other,
    }
}

/// Who acts in the name of this caller, for the audit log.
pub(crate) fn actor(caller: &Caller) -> Actor {
    Actor::Service(caller.service().clone())
}

/// Checks the scope `read`, for a handler that accepts a ticket instead.
pub(crate) async fn require_read(app: &AppState, parts: &Parts) -> Result<Caller, ApiError> {
    let caller = authenticate(app, parts).await?;
    caller.require(&Permission::Read)?;
    Ok(caller)
}
