//! An API that rejects the tokens that it is told to reject.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use jeton_testkit::{Received, TestApi};
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct State {
    rejected: HashSet<String>,
    /// Paths that have this in them accept no token.
    forbidden: Option<&'static str>,
    /// Where every call is redirected to.
    location: Option<String>,
}

/// An API on loopback.
pub(crate) struct Api {
    server: TestApi,
    state: Arc<Mutex<State>>,
}

impl Api {
    /// An API that answers a rejected token with `status`.
    pub(crate) async fn rejecting_with(status: u16) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let known = Arc::clone(&state);
        let server = TestApi::answering(move |request| answer(&known.lock(), request, status)).await;
        Self { server, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.base_url())
    }

    /// Rejects this token from now on.
    pub(crate) fn reject(&self, token: &str) {
        self.state.lock().rejected.insert(token.to_owned());
    }

    /// Answers calls whose path has this in it as if their token had expired.
    pub(crate) fn forbid(&self, part: &'static str) {
        self.state.lock().forbidden = Some(part);
    }

    /// Redirects every call.
    pub(crate) fn redirect_to(&self, location: &str) {
        self.state.lock().location = Some(location.to_owned());
    }

    /// Answers nobody from now on.
    pub(crate) async fn end(&self) {
        self.server.end().await;
    }

    pub(crate) fn calls(&self) -> Vec<Received> {
        self.server.received()
    }
}

fn answer(state: &State, request: &Received, status: u16) -> Response<Full<Bytes>> {
    if let Some(location) = &state.location {
        let redirect = Response::builder().status(StatusCode::FOUND).header("location", location);
        return redirect.body(Full::default()).unwrap();
    }
    let target = request.uri.to_string();
    let has = |token: &String| {
        let mut headers = request.headers.values().map(|value| value.to_str().unwrap());
        target.contains(token.as_str()) || headers.any(|value| value.contains(token.as_str()))
    };
    let rejected =
        state.forbidden.is_some_and(|part| target.contains(part)) || state.rejected.iter().any(has);
    let (status, text) = if rejected { (status, "no") } else { (200, "yes") };
    Response::builder().status(status).body(Full::from(text)).unwrap()
}
