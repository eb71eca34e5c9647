//! One door: a URL with a method, the function behind it, who may come in, and what it says of itself.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::access::{Asks, guard};
use crate::describe::{Described, Sheet};
use crate::router::Doors;

/// What a caller must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing.
    Nothing,
    /// A credential with a scope, which the guard looks at.
    Scope(Asks),
    /// A credential that is good, which the door itself looks at.
    Credential,
    /// The ticket of a link or a credential with the scope `read`, which the door itself looks at.
    TicketOrRead,
}

/// One method of one URL.
pub(crate) struct Door {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) proof: Proof,
    pub(crate) tag: &'static str,
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// Codes of refusals besides those of what it takes and of its guard.
    pub(crate) refusals: &'static [&'static str],
    /// Pages that people are shown, by their status.
    pub(crate) pages: &'static [(u16, &'static str)],
    pub(crate) describe: fn(&mut Sheet),
    behind: MethodRouter<Arc<Doors>>,
}

impl Door {
    pub(crate) fn get<H, T>(path: &'static str, behind: H) -> Self
    where
        H: Handler<T, Arc<Doors>> + Described<T>,
        T: 'static,
    {
        Self::new(path, Method::GET, MethodFilter::GET, behind)
    }

    pub(crate) fn post<H, T>(path: &'static str, behind: H) -> Self
    where
        H: Handler<T, Arc<Doors>> + Described<T>,
        T: 'static,
    {
        Self::new(path, Method::POST, MethodFilter::POST, behind)
    }

    pub(crate) fn delete<H, T>(path: &'static str, behind: H) -> Self
    where
        H: Handler<T, Arc<Doors>> + Described<T>,
        T: 'static,
    {
        Self::new(path, Method::DELETE, MethodFilter::DELETE, behind)
    }

    fn new<H, T>(path: &'static str, method: Method, filter: MethodFilter, behind: H) -> Self
    where
        H: Handler<T, Arc<Doors>> + Described<T>,
        T: 'static,
    {
        Self {
            path,
            method,
            proof: Proof::Nothing,
            tag: "",
            id: "",
            summary: "",
            refusals: &[],
            pages: &[],
            describe: <H as Described<T>>::describe,
            behind: on(filter, behind),
        }
    }

    /// Where it stands in the document, what programs call it, and what it does in one sentence.
    pub(crate) fn says(mut self, tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        (self.tag, self.id, self.summary) = (tag, id, summary);
        self
    }

    /// What a caller must show.
    pub(crate) fn asks(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// Which refusals it passes on from inside.
    pub(crate) fn refuses(mut self, codes: &'static [&'static str]) -> Self {
        self.refusals = codes;
        self
    }

    /// Which pages it shows.
    pub(crate) fn shows(mut self, pages: &'static [(u16, &'static str)]) -> Self {
        self.pages = pages;
        self
    }

    /// What stands at the URL for this method, with its guard before it.
    pub(crate) fn open(self, doors: &Arc<Doors>) -> MethodRouter<Arc<Doors>> {
        match self.proof {
            Proof::Scope(asks) => {
                self.behind.route_layer(from_fn_with_state((Arc::clone(doors), asks), guard))
            }
            Proof::Nothing | Proof::Credential | Proof::TicketOrRead => self.behind,
        }
    }
}
