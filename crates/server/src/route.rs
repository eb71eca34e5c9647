//! One route: a URL with a method, its handler, what callers must present, and its documentation.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use crate::auth::{RequiredScope, require_scope};
use crate::error::{ApiError, RequestError};
use crate::openapi::operation::{DescribeHandler, OperationDoc};
use crate::state::AppState;

/// What a caller must present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    /// A service token with this scope, which is checked before the handler runs.
    Scope(RequiredScope),
    /// Any valid service token, which the handler checks.
    AnyToken,
    /// A service token with the scope `read`, or nothing in the place of an amoCRM gateway; the handler checks both.
    ReadOrOldGateway,
}

/// One method of one URL.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) auth: Auth,
    pub(crate) tag: &'static str,
    pub(crate) operation_id: &'static str,
    pub(crate) summary: &'static str,
    /// Codes of errors besides those of its inputs and of authentication.
    pub(crate) errors: &'static [&'static str],
    /// Pages that it shows to people, by status.
    pub(crate) pages: &'static [(u16, &'static str)],
    pub(crate) describe: fn(&mut OperationDoc),
    /// It answers every method of [`Route::for_any_method`] alike, not only its own.
    pub(crate) any_method: bool,
    /// What comes behind its path does not matter.
    any_rest: bool,
    handler: MethodRouter<Arc<AppState>>,
}

impl Route {
    /// A route that answers every method alike but TRACE and CONNECT, which are about the connection itself.
    pub(crate) fn for_any_method<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        let refused = async || {
            let allowed = [(header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")];
            (allowed, ApiError::from(RequestError::MethodNotAllowed))
        };
        let handlers = any(handler.clone()).trace(refused).connect(refused);
        Self { handler: handlers, any_method: true, ..Self::new(Method::GET, path, handler) }
    }

    /// The same, with whatever comes behind its path.
    pub(crate) fn and_any_rest(self) -> Self {
        Self { any_rest: true, ..self }
    }

    pub(crate) fn new<H, T>(method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("routes have standard methods");
        Self {
            path,
            method,
            auth: Auth::None,
            tag: "",
            operation_id: "",
            summary: "",
            errors: &[],
            pages: &[],
            describe: <H as DescribeHandler<T>>::describe,
            any_method: false,
            any_rest: false,
            handler: on(filter, handler),
        }
    }

    pub(crate) fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    /// Its operation id in the `OpenAPI` document, and one sentence on what it does.
    pub(crate) fn doc(mut self, operation_id: &'static str, summary: &'static str) -> Self {
        (self.operation_id, self.summary) = (operation_id, summary);
        self
    }

    pub(crate) fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    pub(crate) fn errors(mut self, codes: &'static [&'static str]) -> Self {
        self.errors = codes;
        self
    }

    pub(crate) fn pages(mut self, pages: &'static [(u16, &'static str)]) -> Self {
        self.pages = pages;
        self
    }

    /// The router with this route.
    pub(crate) fn add_to(self, router: Router<Arc<AppState>>, app: &Arc<AppState>) -> Router<Arc<AppState>> {
        let (path, any_rest) = (self.path, self.any_rest);
        let handler = self.into_method_router(app);
        if !any_rest {
            return router.route(path, handler);
        }
        let rest = [format!("{path}/"), format!("{path}/{{*rest}}")];
        rest.iter()
            .fold(router.route(path, handler.clone()), |router, path| router.route(path, handler.clone()))
    }

    /// The handler, behind the check of its scope.
    fn into_method_router(self, app: &Arc<AppState>) -> MethodRouter<Arc<AppState>> {
        match self.auth {
            Auth::Scope(scope) => {
                self.handler.route_layer(from_fn_with_state((Arc::clone(app), scope), require_scope))
            }
            Auth::None | Auth::AnyToken | Auth::ReadOrOldGateway => self.handler,
        }
    }
}
