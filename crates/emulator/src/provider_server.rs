//! Behaves as the provider of a file: accepts the requests that the file describes, and sends replies that it can read.

mod pattern;

use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use jeton_core::keep::provider::{Capture, Emulation, ErrorClass, Issued, Reply, Step};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use url::Url;

use crate::endpoint::{Exchange, carry};
use crate::grants;
use crate::record::RequestOutcome;
use crate::reply::{Cut, ReplyBody, error, json, own};
use crate::request::{self, ParsedRequest};
use crate::state::SharedState;
use pattern::{Api, FoundTokens, RequestPattern};

/// The server side of a provider file.
pub(crate) struct ProviderServer {
    emulation: Arc<Emulation>,
    /// What each step looks like; one with optional fields looks like several.
    shapes: Vec<RequestPattern>,
    api: Option<Api>,
    /// Codes that were given and not used.
    codes: Mutex<HashSet<String>>,
}

/// What a request was recognized as.
enum Recognized {
    Step(Step, FoundTokens),
    /// It should be that step; these are the names of what is wrong with it, and whether only its credentials are.
    Wrong(Step, String, bool),
    /// A call to the API, with this access token.
    Api(Option<String>),
}

impl ProviderServer {
    pub(crate) fn new(emulation: Arc<Emulation>) -> Self {
        let shapes = pattern::of_all_steps(emulation.definition());
        let api = Api::of(emulation.definition());
        Self { emulation, shapes, api, codes: Mutex::default() }
    }

    fn recognize(&self, asked: &ParsedRequest) -> Recognized {
        let mut nearest: Option<(Step, Vec<pattern::Difference>)> = None;
        for shape in self.shapes.iter().filter(|shape| shape.is_at(asked)) {
            match shape.compare(asked) {
                Ok(caught) => return Recognized::Step(shape.step, caught),
                // A probe is a call to the API like any other, and others may be made to the same place.
                Err(_) if shape.step == Step::Probe => {}
                Err(differences) => {
                    if nearest.as_ref().is_none_or(|(_, least)| differences.len() < least.len()) {
                        nearest = Some((shape.step, differences));
                    }
                }
            }
        }
        let Some((step, differences)) = nearest else {
            return Recognized::Api(self.api.as_ref().and_then(|api| api.token(asked)));
        };
        let credentials = differences.iter().all(|difference| difference.credential);
        let all: Vec<String> = differences.into_iter().map(|difference| difference.what).collect();
        Recognized::Wrong(step, all.join(", "), credentials)
    }

    /// Answers a token request that matches the file.
    fn give(
        &self,
        shared: &SharedState,
        sequence: u64,
        step: Step,
        caught: &FoundTokens,
    ) -> (RequestOutcome, Response<ReplyBody>) {
        let now = shared.now();
        let (outcome, issued) = match (step, &caught.refresh, &caught.code) {
            (Step::Refresh, Some(refresh), _) => {
                let redeemed = shared.redeem(sequence, refresh);
                (redeemed.outcome, redeemed.issued)
            }
            (Step::Exchange, _, code) => {
                let known = code.as_ref().is_some_and(|code| self.codes.lock().remove(code));
                let outcome = if known { RequestOutcome::Issued } else { RequestOutcome::UnknownToken };
                shared.decide(sequence, outcome);
                (outcome, known.then(|| shared.lock().grants.begin(now)))
            }
            _ => {
                shared.decide(sequence, RequestOutcome::Issued);
                (RequestOutcome::Issued, Some(shared.lock().grants.begin(now)))
            }
        };
        let reply = match issued {
            Some(issued) => self.emulation.tokens(step, &self.in_full(step, issued, caught, now), now),
            None => self.emulation.refusal(step, ErrorClass::DeadGrant, now),
        };
        (outcome, own(&reply))
    }

    /// What the reply of that step carries: a refresh token only where the provider's replies have one.
    fn in_full(&self, step: Step, issued: grants::Issued, caught: &FoundTokens, now: Timestamp) -> Issued {
        let brings = self.emulation.brings_refresh(step);
        let stays = caught.refresh.as_deref().map(Secret::new);
        // A successor must be said, whatever the vectors show.
        let rotated = step == Step::Refresh && issued.refresh.is_some();
        Issued {
            access: issued.access,
            access_expires_at: now + issued.expires_in,
            refresh: issued.refresh.or(stays).filter(|_| brings || rotated),
            refresh_expires_at: issued.refresh_expires_at,
        }
    }

    /// Consents at once, as a person would after a while, and goes back with a code.
    fn consent(&self, shared: &SharedState, caught: &FoundTokens) -> Response<ReplyBody> {
        let definition = self.emulation.definition();
        let back = definition.client().redirect_uri.as_deref().and_then(|uri| uri.parse::<Url>().ok());
        let Some(mut back) = back else {
            let why = "the client has no redirect URI to go back to";
            return error(StatusCode::BAD_REQUEST, "invalid_request", why);
        };
        let code = shared.lock().grants.code();
        self.codes.lock().insert(code.clone());
        let mut query = back.query_pairs_mut();
        query.append_pair("code", &code);
        if let Some(state) = &caught.state {
            query.append_pair("state", state);
        }
        for var in definition.provider().vars() {
            if let (Some(Capture::Callback(parameter)), Some(value)) =
                (var.capture(), definition.vars().get(var.name()))
            {
                query.append_pair(parameter, value.reveal());
            }
        }
        drop(query);
        let mut reply = json(StatusCode::FOUND, &json!({ "consent": "given" }));
        match HeaderValue::from_str(back.as_str()) {
            Ok(location) => {
                reply.headers_mut().insert(header::LOCATION, location);
                reply
            }
            Err(_) => error(StatusCode::BAD_REQUEST, "invalid_request", "the redirect URI fits no header"),
        }
    }
}

/// Answers any request to the emulated provider.
pub(crate) async fn answer(
    exchange: &Exchange,
    provider: &ProviderServer,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    let asked = match request::read(request).await {
        Ok(asked) => asked,
        Err(why) => return Ok(error(StatusCode::BAD_REQUEST, "invalid_request", why)),
    };
    let (shared, now) = (&*exchange.shared, exchange.shared.now());
    match provider.recognize(&asked) {
        Recognized::Step(step, caught) if step.gives_tokens() => {
            let presented = caught.refresh.as_deref().filter(|_| step == Step::Refresh);
            carry(exchange, presented, |sequence| provider.give(shared, sequence, step, &caught)).await
        }
        Recognized::Step(Step::Authorize, caught) => Ok(provider.consent(shared, &caught)),
        Recognized::Step(step, caught) => Ok(own(&about_a_token(shared, &provider.emulation, step, &caught))),
        Recognized::Wrong(step, why, credentials) if step.gives_tokens() => {
            let judge = |sequence| {
                let outcome =
                    if credentials { RequestOutcome::BadClient } else { RequestOutcome::BadRequest };
                let reply = wrong(&provider.emulation, step, &why, credentials, now);
                shared.refuse(sequence, outcome, why);
                (outcome, reply)
            };
            carry(exchange, None, judge).await
        }
        Recognized::Wrong(step, why, credentials) => {
            Ok(wrong(&provider.emulation, step, &why, credentials, now))
        }
        Recognized::Api(token) => Ok(resource(shared, token.as_deref())),
    }
}

/// Introspection, revocation and the probe.
fn about_a_token(shared: &SharedState, emulation: &Emulation, step: Step, caught: &FoundTokens) -> Reply {
    let now = shared.now();
    let mut state = shared.lock();
    let until = caught.access.as_deref().and_then(|access| state.grants.good_until(access, now));
    match step {
        Step::Introspect => emulation.introspection(until, now),
        Step::Revoke => {
            let ended = caught.refresh.as_deref().is_some_and(|refresh| state.grants.revoke_refresh(refresh))
                || caught.access.as_deref().is_some_and(|access| state.grants.revoke_access(access));
            state.stats.revocations += u64::from(ended);
            emulation.done(step)
        }
        _ if until.is_some() => {
            state.stats.api_ok += 1;
            emulation.done(step)
        }
        _ => {
            state.stats.api_401 += 1;
            Reply {
                status: 401,
                content_type: Some("application/json".to_owned()),
                body: br#"{"error":"invalid_token"}"#.to_vec().into(),
                ..Reply::default()
            }
        }
    }
}

fn wrong(
    emulation: &Emulation,
    step: Step,
    why: &str,
    credentials: bool,
    now: Timestamp,
) -> Response<ReplyBody> {
    if credentials {
        own(&emulation.refusal(step, ErrorClass::BadClient, now))
    } else {
        let why = format!("the `{step}` request is not what the provider file describes: {why}");
        error(StatusCode::BAD_REQUEST, "invalid_request", &why)
    }
}

/// Every path that is no step is the API.
fn resource(shared: &SharedState, token: Option<&str>) -> Response<ReplyBody> {
    let now = shared.now();
    let mut state = shared.lock();
    if token.is_some_and(|token| state.grants.accepts(token, now)) {
        state.stats.api_ok += 1;
        return json(StatusCode::OK, &json!({ "ok": true }));
    }
    state.stats.api_401 += 1;
    error(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "there is no such step, and no living access token with it",
    )
}
