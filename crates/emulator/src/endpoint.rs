//! `POST /token`: from the request that was read to the answer, through the behaviour.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::behaviour::{Fault, FaultKind};
use crate::grants::Issued;
use crate::record::RequestOutcome;
use crate::reply::{Cut, ReplyBody, error, json, text};
use crate::request::{self, ParsedRequest};
use crate::settings::Settings;
use crate::socket::{Delivery, closed_by_peer};
use crate::state::SharedState;

/// What one connection needs to answer a token request.
pub(crate) struct Exchange {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) delivery: Arc<Delivery>,
}

/// Answers a token request. A request that has been read is carried through even if its client leaves meanwhile, as
/// servers do: that is how a token is spent by somebody who never learns of it.
pub(crate) async fn token(
    exchange: &Exchange,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Cut> {
    let form = request::read_form(request).await;
    let presented = form.as_ref().ok().and_then(|form| form.field("refresh_token"));
    let judge = |sequence| match &form {
        Ok(form) => redeem(exchange, sequence, form),
        Err(why) => {
            exchange.shared.decide(sequence, RequestOutcome::BadRequest);
            (RequestOutcome::BadRequest, error(StatusCode::BAD_REQUEST, "invalid_request", why))
        }
    };
    carry(exchange, presented, judge).await
}

/// Carries a token request that has been read through the behaviour; `judge` decides it and makes its reply.
pub(crate) async fn carry(
    exchange: &Exchange,
    presented: Option<&str>,
    judge: impl FnOnce(u64) -> (RequestOutcome, Response<ReplyBody>),
) -> Result<Response<ReplyBody>, Cut> {
    let (sequence, fault) = exchange.shared.open(presented);
    exchange.delivery.belongs_to(sequence, presented);
    let answer = answer(exchange, sequence, fault, judge);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        () = closed_by_peer(&exchange.stream) => {
            exchange.delivery.client_left();
            answer.await
        }
    };
    let mut answer = answer?;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(answer.map(|body| body.tracked(Arc::clone(&exchange.delivery))))
}

async fn answer(
    exchange: &Exchange,
    sequence: u64,
    fault: Fault,
    judge: impl FnOnce(u64) -> (RequestOutcome, Response<ReplyBody>),
) -> Result<Response<ReplyBody>, Cut> {
    pause(fault.delay_before).await;
    if !fault.kind.accepts() {
        exchange.shared.decide(sequence, RequestOutcome::NotAccepted);
        return refuse(&exchange.shared, fault.kind);
    }
    let (outcome, reply) = judge(sequence);
    pause(fault.delay_after).await;
    spoil(fault.kind, outcome, reply)
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

/// The rules of RFC 6749: who is asking, for what, and is it given?
fn redeem(exchange: &Exchange, sequence: u64, form: &ParsedRequest) -> (RequestOutcome, Response<ReplyBody>) {
    let shared = &exchange.shared;
    let refuse = |outcome, reply| {
        shared.decide(sequence, outcome);
        (outcome, reply)
    };
    if !form.client_is(&exchange.settings) {
        return refuse(RequestOutcome::BadClient, invalid_client());
    }
    let bad = |code, why| error(StatusCode::BAD_REQUEST, code, why);
    match (form.field("grant_type"), form.field("refresh_token")) {
        (Some("refresh_token"), Some(presented)) => {
            let redeemed = shared.redeem(sequence, presented);
            let reply = match &redeemed.issued {
                Some(issued) => token_reply(issued),
                // White space says as little as an empty body, which nobody would ask for.
                None if exchange.settings.bare_refusals => text(StatusCode::BAD_REQUEST, "text/html", " "),
                None => bad("invalid_grant", why_invalid(redeemed.outcome)),
            };
            (redeemed.outcome, reply)
        }
        (Some("client_credentials"), _) => {
            let issued = shared.lock().grants.issue_to_client(shared.now());
            refuse(RequestOutcome::Issued, token_reply(&issued))
        }
        (Some("refresh_token"), None) => {
            refuse(RequestOutcome::BadRequest, bad("invalid_request", "refresh_token is missing"))
        }
        (Some(_), _) => {
            let why = "only refresh_token and client_credentials are known here";
            refuse(RequestOutcome::BadRequest, bad("unsupported_grant_type", why))
        }
        (None, _) => refuse(RequestOutcome::BadRequest, bad("invalid_request", "grant_type is missing")),
    }
}

fn why_invalid(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Reuse => "the refresh token has been used before; the grant is revoked",
        RequestOutcome::ExpiredToken => "the refresh token has expired",
        RequestOutcome::DeadGrant => "the grant is revoked",
        _ => "the refresh token is not known",
    }
}

fn token_reply(issued: &Issued) -> Response<ReplyBody> {
    let mut members = json!({
        "access_token": issued.access.reveal(),
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
    });
    if let Some(refresh) = &issued.refresh {
        members["refresh_token"] = refresh.reveal().into();
    }
    json(StatusCode::OK, &members)
}

/// A 401 as RFC 6749, section 5.2, shapes it.
pub(crate) fn invalid_client() -> Response<ReplyBody> {
    let mut reply = error(StatusCode::UNAUTHORIZED, "invalid_client", "the client did not prove who it is");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
    reply
}

/// The answer of a fault that accepts nothing.
fn refuse(shared: &SharedState, kind: FaultKind) -> Result<Response<ReplyBody>, Cut> {
    let unavailable = "temporarily_unavailable";
    Ok(match kind {
        FaultKind::ErrorIn200 => {
            error(StatusCode::OK, "server_error", "an error in a 200: nothing was accepted")
        }
        FaultKind::RateLimited { retry_after_secs } => {
            let mut reply = error(StatusCode::TOO_MANY_REQUESTS, unavailable, "too many requests");
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_secs));
            reply
        }
        FaultKind::FailBefore { status } => error(status_or_503(status), unavailable, "nothing was accepted"),
        FaultKind::FrontEnd { status, retry_after_secs } => {
            let page = "<html><body>We will be back soon.</body></html>";
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut reply = text(status, "text/html", page);
            if let Some(seconds) = retry_after_secs {
                reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            reply
        }
        FaultKind::Bare { status } => {
            json(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &json!({}))
        }
        FaultKind::RefuseGrant => {
            error(StatusCode::BAD_REQUEST, "invalid_grant", "token request is already being processed")
        }
        FaultKind::Redirect => {
            let mut reply = error(StatusCode::FOUND, unavailable, "moved");
            reply.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/elsewhere"));
            reply
        }
        FaultKind::WrongClient => {
            shared.lock().stats.invalid_client += 1;
            invalid_client()
        }
        _ => return Err(Cut),
    })
}

/// What a fault makes of an answer. A refusal is delivered by the same road but says what it says.
fn spoil(
    kind: FaultKind,
    outcome: RequestOutcome,
    reply: Response<ReplyBody>,
) -> Result<Response<ReplyBody>, Cut> {
    Ok(match kind {
        FaultKind::LoseReply => return Err(Cut),
        FaultKind::CutReply => reply.map(ReplyBody::cut_half_way),
        FaultKind::Trickle { pause_ms } => reply.map(|body| body.trickle(Duration::from_millis(pause_ms))),
        _ if !outcome.is_accepted() => reply,
        FaultKind::FailAfter { status } => {
            error(status_or_503(status), "server_error", "something broke after the token had been accepted")
        }
        FaultKind::Garbage => text(StatusCode::OK, "text/html", "<html><body>It works!</body></html>"),
        FaultKind::NoAccessToken => {
            json(StatusCode::OK, &json!({ "token_type": "Bearer", "expires_in": 3600 }))
        }
        FaultKind::Huge { size_bytes } => reply.map(|body| body.padded(size_bytes)),
        _ => reply,
    })
}

fn status_or_503(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(StatusCode::is_server_error)
        .unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
