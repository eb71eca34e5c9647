//! An API that writes down what it is asked, and refuses the tokens that it is told to refuse.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Debug)]
struct State {
    calls: Vec<Asked>,
    refused: HashSet<String>,
    /// Paths that no token may see.
    forbidden: &'static str,
    status: StatusCode,
    /// Where every call is led, if anywhere.
    location: Option<String>,
}

/// An API on loopback.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    base: String,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Api {
    /// An API that answers a refused token with `status`.
    pub(crate) async fn refusing_with(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let state = State {
            calls: Vec::new(),
            refused: HashSet::new(),
            forbidden: "nothing",
            status,
            location: None,
        };
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let api = Self { base, state: Arc::new(Mutex::new(state)), tasks, ended };
        let served = api.clone();
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (api, ended) = (served.clone(), served.ended.clone());
                let answer = async move {
                    let service = service_fn(|request| api.answer(request));
                    let builder = http1::Builder::new();
                    // A client that goes away early ends its connection with an error that is none of ours.
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                };
                served.tasks.spawn(ended.run_until_cancelled_owned(answer));
            }
        };
        api.tasks.spawn(api.ended.clone().run_until_cancelled_owned(serve));
        api
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let asked = Asked {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers,
            body,
        };
        let mut state = self.state.lock().unwrap();
        let carries = |token: &String| {
            asked.target.contains(token.as_str())
                || asked.headers.values().any(|value| value.to_str().unwrap().contains(token.as_str()))
        };
        let refused = asked.target.contains(state.forbidden) || state.refused.iter().any(carries);
        state.calls.push(asked);
        if let Some(location) = &state.location {
            let led = Response::builder().status(StatusCode::FOUND).header("location", location);
            return Ok(led.body(Full::default()).unwrap());
        }
        let status = if refused { state.status } else { StatusCode::OK };
        let text = if refused { "no" } else { "yes" };
        Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn refuse(&self, token: &str) {
        self.state.lock().unwrap().refused.insert(token.to_owned());
    }

    /// Answers calls whose path has this in it as if their token were dead.
    pub(crate) fn forbid(&self, part: &'static str) {
        self.state.lock().unwrap().forbidden = part;
    }

    /// Answers every call by leading it there.
    pub(crate) fn lead_to(&self, location: &str) {
        self.state.lock().unwrap().location = Some(location.to_owned());
    }

    /// Answers nobody from now on.
    pub(crate) async fn end(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn calls(&self) -> Vec<Asked> {
        self.state.lock().unwrap().calls.clone()
    }
}
