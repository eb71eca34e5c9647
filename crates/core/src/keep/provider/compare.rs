//! Holding what came out of a vector against what its file promises.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::duration::DurationText;
use super::http_types::{Introspection, Method, OutboundRequest, StepFailure, StepOutcome, TokenReply};
use super::vector_schema::{Expected, ExpectedOutcome, VectorRequest};
use super::vectors::Difference;
use crate::secret::Secret;
use crate::time::Timestamp;

type Differences = Vec<Difference>;

/// Notes a difference, unless nothing was promised.
fn same<T: PartialEq + Debug>(field: &str, expected: Option<&T>, got: &T, differences: &mut Differences) {
    if let Some(expected) = expected
        && expected != got
    {
        differences.push(Difference::new(field, format!("{expected:?}"), format!("{got:?}")));
    }
}

pub(super) fn request(expected: &VectorRequest, got: &OutboundRequest, differences: &mut Differences) {
    let method = expected.method.map(Method::as_str);
    same("request.method", method.as_ref(), &got.method.as_str(), differences);
    same("request.url", expected.url.as_ref(), &got.url.to_string(), differences);
    same("request.captured_host", expected.captured_host.as_ref(), &got.captured_host, differences);
    for (name, value) in &expected.headers {
        let found = got.headers.iter().find(|(written, _)| written.eq_ignore_ascii_case(name));
        let found = found.map(|(_, value)| value.reveal().to_owned());
        let field = format!("request.headers.{name}");
        // An empty text promises that the header is not sent.
        same(&field, Some(&Some(value.clone()).filter(|value| !value.is_empty())), &found, differences);
    }
    if let Some(form) = &expected.form {
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(&got.body).into_owned().collect();
        fields("request.form", form, &pairs, differences);
        let media_type = Some("application/x-www-form-urlencoded");
        same("request.content_type", Some(&media_type), &got.content_type, differences);
    }
    if let Some(json) = &expected.json {
        let promised = serde_json::to_value(json).unwrap_or_default();
        let sent: serde_json::Value = serde_json::from_slice(&got.body).unwrap_or_default();
        if promised != sent {
            differences.push(Difference::new("request.json", promised.to_string(), sent.to_string()));
        }
        same("request.content_type", Some(&Some("application/json")), &got.content_type, differences);
    }
}

fn fields(
    field: &str,
    expected: &BTreeMap<String, String>,
    got: &BTreeMap<String, String>,
    differences: &mut Differences,
) {
    for (name, value) in expected {
        same(&format!("{field}.{name}"), Some(&Some(value)), &got.get(name), differences);
    }
    for (name, value) in got.iter().filter(|(name, _)| !expected.contains_key(*name)) {
        differences.push(Difference::new(format!("{field}.{name}"), "nothing", format!("{value:?}")));
    }
}

pub(super) fn outcome(expected: &Expected, got: &StepOutcome, differences: &mut Differences) {
    let kind = match got {
        StepOutcome::Tokens(_) => ExpectedOutcome::Tokens,
        StepOutcome::Introspection(_) => ExpectedOutcome::Introspection,
        StepOutcome::Done => ExpectedOutcome::Done,
        StepOutcome::Failed(_) => ExpectedOutcome::Failed,
    };
    let Some(promised) = expected.outcome else {
        let problem = "`tokens`, `introspection`, `done` or `failed`";
        differences.push(Difference::new("expect.outcome", problem, "nothing written"));
        return;
    };
    if promised != kind {
        let got = match got {
            StepOutcome::Failed(failure) => format!("failed: {} ({})", failure.class, failure.message),
            _ => format!("{kind:?}"),
        };
        differences.push(Difference::new("expect.outcome", format!("{promised:?}"), got));
        return;
    }
    match got {
        StepOutcome::Tokens(reply) => tokens(expected, reply, differences),
        StepOutcome::Introspection(said) => introspection(expected, said, differences),
        StepOutcome::Failed(failure) => failed(expected, failure, differences),
        StepOutcome::Done => {}
    }
}

fn tokens(expected: &Expected, got: &TokenReply, differences: &mut Differences) {
    let refresh = got.refresh.as_ref().map(Secret::reveal);
    same("expect.access", expected.access.as_deref().as_ref(), &got.access.reveal(), differences);
    same("expect.refresh", expected.refresh.as_deref().map(Some).as_ref(), &refresh, differences);
    same("expect.no_refresh", expected.no_refresh.as_ref(), &refresh.is_none(), differences);
    same("expect.rotated", expected.rotated.as_ref(), &got.rotated, differences);
    instant("expect.expires_at", expected.expires_at.as_deref(), got.expires_at, differences);
    same("expect.no_expiry", expected.no_expiry.as_ref(), &got.expires_at.is_none(), differences);
    let refresh_expiry = expected.refresh_expires_at.as_deref();
    instant("expect.refresh_expires_at", refresh_expiry, got.refresh_expires_at, differences);
    same(
        "expect.ask_introspection",
        expected.ask_introspection.as_ref(),
        &got.ask_introspection,
        differences,
    );
    same("expect.scope", expected.scope.clone().map(Some).as_ref(), &got.scope, differences);
    same("expect.token_type", expected.token_type.as_ref(), &got.token_type, differences);
    if let Some(vars) = &expected.vars {
        let taken = got.vars.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
        fields("expect.vars", vars, &taken, differences);
    }
    if expected.warnings.is_some_and(|count| count != got.warnings.len()) {
        let promised = expected.warnings.unwrap_or_default().to_string();
        differences.push(Difference::new("expect.warnings", promised, format!("{:?}", got.warnings)));
    }
}

fn introspection(expected: &Expected, got: &Introspection, differences: &mut Differences) {
    same("expect.active", expected.active.as_ref(), &got.active, differences);
    instant("expect.expires_at", expected.expires_at.as_deref(), got.expires_at, differences);
}

fn failed(expected: &Expected, got: &StepFailure, differences: &mut Differences) {
    same("expect.class", expected.class.as_ref(), &got.class, differences);
    same("expect.code", expected.code.as_ref(), &got.code, differences);
    let wait = got.retry_after.map(DurationText);
    same("expect.retry_after", expected.retry_after.map(Some).as_ref(), &wait, differences);
    same("expect.keep_reply", expected.keep_reply.as_ref(), &got.keep_reply, differences);
}

fn instant(field: &str, expected: Option<&str>, got: Option<Timestamp>, differences: &mut Differences) {
    let Some(text) = expected else { return };
    let promised = Timestamp::parse_rfc3339(text);
    if promised.is_none() || promised != got {
        let got = got.map_or_else(|| "none".to_owned(), |at| at.to_string());
        differences.push(Difference::new(field, text, got));
    }
}
