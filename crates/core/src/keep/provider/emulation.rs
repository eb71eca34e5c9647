//! A provider's file read backwards: the replies that its own server would give.
//!
//! A file's golden vectors hold replies as the provider gives them, so that a reply is a vector's, with new tokens and
//! expiries where `take` looks for them. Where no vector fits, the reply is made of what the file says: `ok`, `take` and
//! the rules of `errors`, else of RFC 6749. A refusal is only used if [`Definition::read`] finds in it what is meant.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::body::JsonPath;
use super::class::ErrorClass;
use super::condition::ErrorRule;
use super::date::ZoneOffset;
use super::definition::Definition;
use super::expiry::{ExpirySource, WhichToken};
use super::extract::Extract;
use super::http_types::{Reply, StepOutcome};
use super::request_values::RequestValues;
use super::schema::Unit;
use super::step::{Step, StepSpec};
use super::vector_schema::{ExpectedOutcome, Vector};
use super::vectors::reply_of;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An access token.
    Access,
    /// A refresh token.
    Refresh,
}

/// Tokens that an emulated provider gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The access token.
    pub access: Secret,
    /// When it ends.
    pub access_expires_at: Timestamp,
    /// The refresh token, where the reply brings one.
    pub refresh: Option<Secret>,
    /// When that ends.
    pub refresh_expires_at: Timestamp,
}

/// The server's side of a connection.
#[derive(Clone, Debug)]
pub struct Emulation {
    definition: Definition,
}

impl Emulation {
    /// The provider as the connection of `definition` sees it.
    pub fn of(definition: Definition) -> Self {
        Self { definition }
    }

    /// The connection that it is the other side of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// How long access tokens live where `asked` is wished for: the file may fix it. `None`: they do not expire.
    pub fn access_life(&self, asked: Duration) -> Option<Duration> {
        let steps = [Step::Refresh, Step::Acquire, Step::Exchange];
        let spec = steps.iter().find_map(|step| self.spec(*step))?;
        match spec.take.expires.first()? {
            ExpirySource::Path(..) | ExpirySource::Jwt(..) | ExpirySource::Introspect => Some(asked),
            ExpirySource::Fixed(life) => Some(*life),
            ExpirySource::Never => None,
        }
    }

    /// The text of a token with `random` in it: a JWT where the file reads its expiry out of the token.
    pub fn token(&self, kind: TokenKind, random: &str, expires_at: Timestamp) -> Secret {
        let which = match kind {
            TokenKind::Access => WhichToken::Access,
            TokenKind::Refresh => WhichToken::Refresh,
        };
        let steps = Step::ALL.iter().filter_map(|step| self.definition.spec(*step));
        let takes = steps.map(|spec| &spec.take);
        let claim =
            takes.flat_map(|take| take.expires.iter().chain(&take.refresh_expires)).find_map(|source| {
                match source {
                    ExpirySource::Jwt(of, claim) if *of == which => Some(claim),
                    _ => None,
                }
            });
        let Some(claim) = claim else { return Secret::new(random) };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({ "alg": "none", "typ": "JWT" }));
        let claims = part(&json!({ claim: expires_at.as_secs(), "jti": random }));
        // Nobody checks the signature, which says so itself.
        Secret::from(format!("{header}.{claims}.emulated"))
    }

    /// Whether the replies of a step bring a refresh token.
    pub fn brings_refresh(&self, step: Step) -> bool {
        let Some(spec) = self.spec(step) else { return false };
        match self.vector(step, |vector| expects(vector, ExpectedOutcome::Tokens)) {
            Some((_, body)) => spec.take.refresh.first(&body).is_some(),
            None => step != Step::Acquire && self.spec(Step::Refresh).is_some(),
        }
    }

    /// The reply that brings tokens, at `now`.
    pub fn tokens(&self, step: Step, issued: &Issued, now: Timestamp) -> Reply {
        let Some(spec) = self.spec(step) else { return standard(ErrorClass::Unknown) };
        let (mut reply, mut body) = self.success(step, spec, ExpectedOutcome::Tokens);
        let take = &spec.take;
        take.access.put(&mut body, issued.access.reveal().into());
        match &issued.refresh {
            Some(refresh) => {
                take.refresh.put(&mut body, refresh.reveal().into());
                say(&take.refresh_expires, &mut body, issued.refresh_expires_at, now);
            }
            None => take.refresh.remove(&mut body),
        }
        say(&take.expires, &mut body, issued.access_expires_at, now);
        self.grant_scopes(&take.scope, &mut body);
        fill(&mut reply, &body);
        reply
    }

    /// Grants what is asked for, where the reply says what it grants, and in the form in which it does.
    fn grant_scopes(&self, path: &JsonPath, body: &mut Value) {
        let (asked, shown) = (self.definition.asked_scopes(), path.first(body));
        if let Some(shown) = shown.filter(|_| !asked.is_empty()) {
            let granted = if shown.is_array() { asked.into() } else { asked.join(" ").into() };
            path.put(body, granted);
        }
    }

    /// The reply to an introspection of a token that lives until `until`, or does not live.
    pub fn introspection(&self, until: Option<Timestamp>, now: Timestamp) -> Reply {
        let Some(spec) = self.spec(Step::Introspect) else { return standard(ErrorClass::Unknown) };
        let (mut reply, mut body) = self.success(Step::Introspect, spec, ExpectedOutcome::Introspection);
        let Extract { active, expires, .. } = &spec.take;
        active.put(&mut body, until.is_some().into());
        if let Some(until) = until {
            say(expires, &mut body, until, now);
        }
        fill(&mut reply, &body);
        reply
    }

    /// The reply of a step that brings nothing and was done.
    pub fn done(&self, step: Step) -> Reply {
        let Some(spec) = self.spec(step) else { return standard(ErrorClass::Unknown) };
        let (mut reply, body) = self.success(step, spec, ExpectedOutcome::Done);
        fill(&mut reply, &body);
        reply
    }

    /// A refusal of that class, in the provider's own words where the file knows any.
    pub fn refusal(&self, step: Step, class: ErrorClass, now: Timestamp) -> Reply {
        let provider = &self.definition.provider;
        let expected =
            |vector: &Vector| vector.expect.as_ref().is_some_and(|expect| expect.class == Some(class));
        let vectors = || provider.vectors.iter().map(|(_, vector)| vector).filter(|vector| expected(vector));
        let (own, others): (Vec<&Vector>, Vec<&Vector>) =
            vectors().partition(|vector| vector.step == step.as_str());
        let told = own.into_iter().chain(others).filter_map(|vector| reply_of(vector.reply.as_ref()?).ok());
        let own_rules = self.spec(step).map(|spec| spec.errors.as_slice()).unwrap_or_default();
        let ruled =
            own_rules.iter().chain(&provider.errors).filter(|rule| rule.class == class).filter_map(by_rule);
        let means = |reply: &Reply| {
            let outcome = self.definition.read(step, reply, now, &RequestValues::default());
            matches!(outcome, StepOutcome::Failed(failure) if failure.class == class)
        };
        let told = told.filter(|reply| !reply.body.is_empty());
        let found = told.chain(ruled).find(means).unwrap_or_else(|| standard(class));
        // The clock of a vector is not the clock of today.
        Reply { date: None, ..found }
    }

    fn spec(&self, step: Step) -> Option<&StepSpec> {
        self.definition.spec(step).filter(|_| self.definition.has(step))
    }

    /// The first vector of a step that has a JSON reply and is `wanted`; one that brings a refresh token comes first.
    fn vector(&self, step: Step, wanted: impl Fn(&Vector) -> bool) -> Option<(Reply, Value)> {
        let spec = self.spec(step)?;
        let vectors = self.definition.provider.vectors.iter().map(|(_, vector)| vector);
        let replies =
            vectors.filter(|vector| vector.step == step.as_str() && wanted(vector)).filter_map(|vector| {
                let reply = vector.reply.as_ref()?;
                let body = serde_json::to_value(reply.json.as_ref()?).ok().filter(Value::is_object)?;
                Some((reply_of(reply).ok()?, body))
            });
        let mut replies: Vec<_> = replies.collect();
        replies.sort_by_key(|(_, body)| spec.take.refresh.first(body).is_none());
        replies.into_iter().next()
    }

    /// What a good reply of a step is made of.
    fn success(&self, step: Step, spec: &StepSpec, outcome: ExpectedOutcome) -> (Reply, Value) {
        self.vector(step, |vector| expects(vector, outcome)).unwrap_or_else(|| {
            let mut body = Value::Object(Map::new());
            let status = spec.ok.satisfy(&mut body);
            (Reply { status, ..Reply::default() }, body)
        })
    }
}

fn expects(vector: &Vector, outcome: ExpectedOutcome) -> bool {
    vector.expect.as_ref().is_some_and(|expect| expect.outcome == Some(outcome))
}

/// Writes an expiry where the sources look for it: in the forms that the reply has already, else in the first.
fn say(sources: &[ExpirySource], body: &mut Value, at: Timestamp, now: Timestamp) {
    let decides = |source: &&ExpirySource| !matches!(source, ExpirySource::Fixed(_) | ExpirySource::Never);
    let paths: Vec<_> = sources
        .iter()
        .take_while(decides)
        .filter_map(|source| match source {
            ExpirySource::Path(path, unit, zone) => Some((path, *unit, *zone)),
            _ => None,
        })
        .collect();
    let mut said: Vec<_> = paths.iter().filter(|(path, ..)| path.first(body).is_some()).collect();
    if said.is_empty() {
        said.extend(paths.first());
    }
    for (path, unit, zone) in said {
        let value = in_unit(*unit, *zone, at, now);
        let as_text = path.first(body).is_some_and(Value::is_string);
        let value = if as_text && value.is_number() { Value::String(value.to_string()) } else { value };
        path.put(body, value);
    }
}

/// Rounded down, so that no reply promises more than the token holds.
fn in_unit(unit: Unit, zone: Option<ZoneOffset>, at: Timestamp, now: Timestamp) -> Value {
    let life = at.since(now);
    match unit {
        Unit::M => (life.as_secs() / 60).into(),
        Unit::S => life.as_secs().into(),
        Unit::Ms => u64::try_from(life.as_millis()).unwrap_or(u64::MAX).into(),
        Unit::EpochS => at.as_secs().into(),
        Unit::EpochMs => at.as_micros().div_euclid(1000).into(),
        Unit::Rfc3339 => at.to_string().into(),
        Unit::HttpDate => at.format("%a, %d %b %Y %H:%M:%S GMT").into(),
        Unit::Date => zone.map_or(at, |zone| zone.local(at)).format("%Y-%m-%d %H:%M:%S").into(),
    }
}

fn by_rule(rule: &ErrorRule) -> Option<Reply> {
    let mut body = Value::Object(Map::new());
    let status = rule.when.satisfy(&mut body)?;
    let mut reply = Reply { status, ..Reply::default() };
    fill(&mut reply, &body);
    Some(reply)
}

fn fill(reply: &mut Reply, body: &Value) {
    reply.body = body.to_string().into_bytes().into();
    reply.content_type = Some("application/json".to_owned());
}

/// RFC 6749, section 5.2, and what HTTP has for the rest.
fn standard(class: ErrorClass) -> Reply {
    let (status, error) = match class {
        ErrorClass::DeadGrant => (400, "invalid_grant"),
        ErrorClass::BadClient => (401, "invalid_client"),
        ErrorClass::RateLimited => (429, "slow_down"),
        ErrorClass::Transient => (503, "temporarily_unavailable"),
        ErrorClass::Ambiguous => (500, "server_error"),
        ErrorClass::Suspended | ErrorClass::TooEarly | ErrorClass::Unknown => (400, "invalid_request"),
    };
    let mut reply = Reply { status, ..Reply::default() };
    fill(&mut reply, &json!({ "error": error }));
    reply
}

#[cfg(test)]
#[path = "emulation_tests.rs"]
mod tests;
