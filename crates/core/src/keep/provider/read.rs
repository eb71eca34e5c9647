//! Reading replies: leniently where it costs nothing, never guessing where a token is at stake.

use serde_json::Value;

use super::body::{Body, JsonPath};
use super::classify::Refusal;
use super::define::Definition;
use super::expiry::{self, Evidence};
use super::extract::Extract;
use super::http_types::{Introspection, Reply, StepOutcome, TokenReply};
use super::request_values::{RequestValues, Vars};
use super::schema::Absent;
use super::step::{Step, StepSpec};
use crate::secret::Secret;
use crate::time::Timestamp;

impl Definition {
    /// Says what the reply to a step means. `sent_at` is the instant before the request was sent; `values` are those
    /// that it was made with.
    ///
    /// Every reply has an outcome: nothing a server can send is an error of this function.
    pub fn read(&self, step: Step, reply: &Reply, sent_at: Timestamp, values: &RequestValues) -> StepOutcome {
        let body = Body::read(reply);
        let refusal = |unusable| Refusal { step, reply, body: &body, sent_at, values, unusable };
        let fail = |unusable| StepOutcome::Failed(self.classify(&refusal(unusable)));
        let Some(spec) = self.provider.steps.get(&step) else {
            return fail(Some("the provider has no such step"));
        };
        if !spec.ok.status_holds(reply.status) {
            return fail(None);
        }
        match step {
            Step::Authorize | Step::Revoke | Step::Probe => {
                if spec.ok.holds(reply.status, &body) {
                    StepOutcome::Done
                } else {
                    fail(None)
                }
            }
            _ if body.value.is_none() => fail(Some("the reply is neither JSON nor a form that can be read")),
            _ if !spec.ok.holds(reply.status, &body) => fail(None),
            Step::Introspect => introspection(spec, &body, sent_at)
                .unwrap_or_else(|| fail(Some("the reply does not say whether the token is active"))),
            Step::Exchange | Step::Acquire | Step::Refresh => self
                .tokens(step, &spec.take, body.value.as_ref().unwrap_or(&Value::Null), sent_at, values)
                .unwrap_or_else(|unusable| fail(Some(unusable))),
        }
    }

    fn tokens(
        &self,
        step: Step,
        take: &Extract,
        body: &Value,
        sent_at: Timestamp,
        values: &RequestValues,
    ) -> Result<StepOutcome, &'static str> {
        let access = take.access.text(body).ok_or("the reply brings no access token")?;
        if !printable(access) {
            return Err("the access token has characters that no header can carry");
        }
        let access = Secret::new(access);
        let mut warnings = Vec::new();
        let Successor { token: refresh, rotated, kept } =
            self.successor(step, take, body, values, &mut warnings)?;
        let evidence = Evidence { body, access: Some(&access), refresh: refresh.as_ref(), sent_at };
        let expires = expiry::read(&take.expires, evidence, "the expiry of the access token");
        warnings.extend(expires.warnings);
        let refresh_expires_at = if refresh.is_some() {
            let said = expiry::read(&take.refresh_expires, evidence, "the expiry of the refresh token");
            warnings.extend(said.warnings);
            said.at.or_else(|| self.refresh_life(kept, sent_at, values))
        } else {
            None
        };
        let scope = scope(take.scope.first(body)).filter(|text| !self.repeats_a_secret(text, values));
        let token_type =
            token_type(&take.token_type, body).filter(|text| !self.repeats_a_secret(text, values));
        let vars = self.taken(take, body, &mut warnings);
        Ok(StepOutcome::Tokens(Box::new(TokenReply {
            access,
            refresh,
            rotated,
            expires_at: expires.at,
            ask_introspection: expires.ask_introspection,
            over: expires.over,
            refresh_expires_at,
            scope,
            vars,
            token_type: token_type.unwrap_or_else(|| "Bearer".to_owned()),
            warnings,
        })))
    }

    /// The refresh token that is good from now on.
    fn successor(
        &self,
        step: Step,
        take: &Extract,
        body: &Value,
        values: &RequestValues,
        warnings: &mut Vec<String>,
    ) -> Result<Successor, &'static str> {
        let sent = if step == Step::Refresh { values.refresh.as_ref() } else { None };
        let found = take.refresh.first(body);
        if let Some(token) = found.and_then(Value::as_str).filter(|token| !token.is_empty()) {
            let least = self.policy().min_refresh_length;
            if token.len() < least {
                warnings.push(format!(
                    "the refresh token has {} bytes, fewer than the {least} that are usual",
                    token.len()
                ));
            }
            let token = Secret::new(token);
            let same = sent == Some(&token);
            return Ok(Successor { rotated: !same, kept: same, token: Some(token) });
        }
        if found.is_some_and(|value| !value.is_string()) {
            warnings.push("the refresh token is not text and was taken for absent".to_owned());
        }
        match take.absent {
            Absent::Error => Err("the reply brings no refresh token, and this provider always gives one"),
            Absent::Clear => Ok(Successor::default()),
            Absent::Keep => {
                if sent.is_some() && self.spends(step) {
                    warnings.push(
                        "the reply brings no new refresh token; the one that was sent is kept".to_owned(),
                    );
                }
                Ok(Successor { token: sent.cloned(), rotated: false, kept: sent.is_some() })
            }
        }
    }

    /// The refresh token's expiry where the reply does not say it: the policy's, and for a token that stays, what was
    /// known of it before.
    fn refresh_life(&self, kept: bool, sent_at: Timestamp, values: &RequestValues) -> Option<Timestamp> {
        let fixed = if kept {
            values.refresh_expires_at
        } else {
            self.policy().refresh_ttl.map(|life| sent_at + life)
        };
        // A token that dies of idleness was just used.
        let idle = self.policy().refresh_idle_ttl.map(|life| sent_at + life);
        match (fixed, idle, kept) {
            (Some(fixed), Some(idle), false) => Some(fixed.min(idle)),
            // What was known of a kept token may itself be an idle expiry, which its use has moved.
            (_, Some(idle), true) if self.policy().refresh_ttl.is_none() => Some(idle),
            (fixed, idle, _) => fixed.or(idle),
        }
    }

    /// Variables that the reply brings; one that must not be used is left as it was, with a warning, because a token
    /// that is already spent is worth more than a new host name.
    fn taken(&self, take: &Extract, body: &Value, warnings: &mut Vec<String>) -> Vars {
        let mut vars = Vars::new();
        for (name, path) in &take.vars {
            let Some(var) = self.provider.vars.get(name) else { continue };
            let Some(value) = path.text(body) else { continue };
            match self.check_captured(var, value) {
                Ok(()) => {
                    vars.insert(name.clone(), var.wrap(value));
                }
                Err(problem) => warnings.push(format!("`{name}` of the reply is not used: {problem}")),
            }
        }
        vars
    }
}

/// The refresh token after a reply.
#[derive(Default)]
struct Successor {
    token: Option<Secret>,
    /// It is another one than was sent.
    rotated: bool,
    /// It is the very one that was sent.
    kept: bool,
}

fn introspection(spec: &StepSpec, body: &Body<'_>, sent_at: Timestamp) -> Option<StepOutcome> {
    let value = body.value.as_ref()?;
    let active = match spec.take.active.first(value)? {
        Value::Bool(active) => *active,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        _ => return None,
    };
    let evidence = Evidence { body: value, access: None, refresh: None, sent_at };
    let reading = if active {
        expiry::read(&spec.take.expires, evidence, "the expiry of the token")
    } else {
        expiry::Reading::default()
    };
    Some(StepOutcome::Introspection(Introspection {
        active,
        expires_at: reading.at,
        warnings: reading.warnings,
    }))
}

/// Characters of an access token (RFC 6749, appendix A.12); no space at its ends.
fn printable(token: &str) -> bool {
    token.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && token.trim() == token
}

fn scope(found: Option<&Value>) -> Option<String> {
    match found? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

fn token_type(path: &JsonPath, body: &Value) -> Option<String> {
    let word = |text: &&str| {
        text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let text = path.text(body).filter(word)?;
    // Servers write the name of this one scheme as they like (RFC 6749, section 5.1: case does not matter).
    (!text.eq_ignore_ascii_case("bearer")).then(|| text.to_owned())
}
