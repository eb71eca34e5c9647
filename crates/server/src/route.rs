//! One route: a URL with a method, the function handler it, who may come in, and what it says of itself.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::auth::{RequiredScope, require_scope};
use crate::openapi::operation::{DescribeHandler, OperationDoc};
use crate::router::AppState;

/// What a caller must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nothing.
    None,
    /// A credential with a scope, which the guard looks at.
    Scope(RequiredScope),
    /// A credential that is good, which the route itself looks at.
    AnyCredential,
    /// The ticket of a link or a credential with the scope `read`, which the route itself looks at.
    TicketOrRead,
}

/// One method of one URL.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) auth: Auth,
    pub(crate) tag: &'static str,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// Codes of errors besides those of what it takes and of its guard.
    pub(crate) errors: &'static [&'static str],
    /// Pages that people are shown, by their status.
    pub(crate) pages: &'static [(u16, &'static str)],
    pub(crate) describe: fn(&mut OperationDoc),
    handler: MethodRouter<Arc<AppState>>,
}

impl Route {
    pub(crate) fn get<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        Self::new(path, Method::GET, MethodFilter::GET, handler)
    }

    pub(crate) fn post<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        Self::new(path, Method::POST, MethodFilter::POST, handler)
    }

    pub(crate) fn delete<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        Self::new(path, Method::DELETE, MethodFilter::DELETE, handler)
    }

    fn new<H, T>(path: &'static str, method: Method, filter: MethodFilter, handler: H) -> Self
    where
        H: Handler<T, Arc<AppState>> + DescribeHandler<T>,
        T: 'static,
    {
        Self {
            path,
            method,
            auth: Auth::None,
            tag: "",
            id: "",
            summary: "",
            errors: &[],
            pages: &[],
            describe: <H as DescribeHandler<T>>::describe,
            handler: on(filter, handler),
        }
    }

    /// Where it stands in the document, what programs call it, and what it does in one sentence.
    pub(crate) fn doc(mut self, tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        (self.tag, self.id, self.summary) = (tag, id, summary);
        self
    }

    /// What a caller must show.
    pub(crate) fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Which errors it passes on from inside.
    pub(crate) fn errors(mut self, codes: &'static [&'static str]) -> Self {
        self.errors = codes;
        self
    }

    /// Which pages it shows.
    pub(crate) fn pages(mut self, pages: &'static [(u16, &'static str)]) -> Self {
        self.pages = pages;
        self
    }

    /// What stands at the URL for this method, with its guard before it.
    pub(crate) fn into_method_router(self, state: &Arc<AppState>) -> MethodRouter<Arc<AppState>> {
        match self.auth {
            Auth::Scope(scope) => {
                self.handler.route_layer(from_fn_with_state((Arc::clone(state), scope), require_scope))
            }
            Auth::None | Auth::AnyCredential | Auth::TicketOrRead => self.handler,
        }
    }
}
