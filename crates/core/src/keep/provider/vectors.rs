//! Golden vectors: what a provider file promises about itself, checked with the very code that serves connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::compare;
use super::define::{Client, Definition, Setup};
use super::http_types::Reply;
use super::load::Provider;
use super::request_values::{RequestValues, Vars};
use super::step::Step;
use super::vector_schema::{Vector, VectorReply};
use crate::secret::Secret;
use crate::suggest;
use crate::time::Timestamp;

/// What one vector showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorResult {
    /// Its name in the file.
    pub name: String,
    /// The line it begins on.
    pub line: Option<usize>,
    /// Where it differs from what the file promises; empty when it holds.
    pub differences: Vec<Difference>,
}

impl VectorResult {
    /// Whether everything came out as the file promises.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for VectorResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "wrong" };
        write!(f, "{verdict}: {}", self.name)?;
        if let (Some(line), false) = (self.line, self.passed()) {
            write!(f, " (line {line})")?;
        }
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// One thing that came out differently. Vectors hold made-up values, so both sides are shown in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which field of `request` or `expect`.
    pub field: String,
    /// What the file promises.
    pub expected: String,
    /// What came out.
    pub got: String,
}

impl Difference {
    pub(super) fn new(field: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { field: field.into(), expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.field, self.expected, self.got)
    }
}

/// When requests of vectors are sent that do not say.
const SENT_AT: &str = "2026-01-01T00:00:00Z";

impl Provider {
    /// Runs the vectors of the file, in their order.
    pub fn run_tests(self: &Arc<Self>) -> Vec<VectorResult> {
        let run = |(line, vector): &(Option<usize>, Vector)| VectorResult {
            name: vector.name.clone(),
            line: *line,
            differences: self.run_vector(vector),
        };
        self.vectors.iter().map(run).collect()
    }

    fn run_vector(self: &Arc<Self>, vector: &Vector) -> Vec<Difference> {
        match self.try_vector(vector) {
            Ok(differences) => differences,
            Err(problem) => vec![Difference::new("the vector itself", "one that can be run", problem)],
        }
    }

    fn try_vector(self: &Arc<Self>, vector: &Vector) -> Result<Vec<Difference>, String> {
        let step = Step::ALL.into_iter().find(|step| step.as_str() == vector.step).ok_or_else(|| {
            let cure = suggest::hint(&vector.step, Step::ALL.map(Step::as_str));
            format!("`{}` is not a step; {cure}", vector.step)
        })?;
        if vector.request.is_none() && vector.expect.is_none() {
            return Err("it promises nothing: write `request`, `expect` or both".to_owned());
        }
        let refused = vector.expect.as_ref().and_then(|expect| expect.refused.as_deref());
        if vector.expect.is_some() && vector.reply.is_none() && refused.is_none() {
            return Err("`expect` needs a `reply` to read, or `refused` alone".to_owned());
        }
        if vector.reply.is_some() && vector.expect.is_none() {
            return Err("`reply` needs an `expect`".to_owned());
        }
        let made = self.prepare(vector).and_then(|(definition, values)| {
            let request = definition.request(step, &values).map_err(|error| error.to_string());
            request.map(|request| (definition, values, request))
        });
        if let Some(text) = refused {
            return Ok(match made {
                Err(problem) if problem.contains(text) => Vec::new(),
                Err(problem) => vec![Difference::new("refused", format!("{text:?}"), format!("{problem:?}"))],
                Ok((_, _, request)) => {
                    vec![Difference::new("refused", format!("{text:?}"), request.url.to_string())]
                }
            });
        }
        let (definition, values, request) = made?;
        let mut differences = Vec::new();
        if let Some(expected) = &vector.request {
            compare::request(expected, &request, &mut differences);
        }
        if let (Some(reply), Some(expected)) = (&vector.reply, &vector.expect) {
            let sent_at = instant(vector.sent_at.as_deref().unwrap_or(SENT_AT))?;
            let outcome = definition.read(step, &reply_of(reply)?, sent_at, &values);
            compare::outcome(expected, &outcome, &mut differences);
        }
        Ok(differences)
    }

    /// The definition and values of a vector, with what its callback captures.
    pub(super) fn prepare(self: &Arc<Self>, vector: &Vector) -> Result<(Definition, RequestValues), String> {
        let setup = Setup {
            vars: vector
                .vars
                .iter()
                .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
                .collect(),
            client: Client {
                id: vector.client.id.clone(),
                secret: vector.client.secret.as_deref().map(Secret::new),
                redirect_uri: vector.client.redirect_uri.clone(),
            },
            policy: vector.policy.clone(),
        };
        let definition = self.define(setup).map_err(|error| error.to_string())?;
        let mut captured = self.given(&vector.captured)?;
        if let Some(callback) = &vector.callback {
            captured.extend(definition.capture(callback).map_err(|error| error.to_string())?);
        }
        let secret = |text: &Option<String>| text.as_deref().map(Secret::new);
        let values = RequestValues {
            access: secret(&vector.slots.access),
            refresh: secret(&vector.slots.refresh),
            refresh_expires_at: vector.slots.refresh_expires_at.as_deref().map(instant).transpose()?,
            code: secret(&vector.slots.code),
            state: secret(&vector.slots.state),
            code_challenge: secret(&vector.slots.code_challenge),
            code_verifier: secret(&vector.slots.code_verifier),
            captured,
        };
        Ok((definition, values))
    }

    fn given(&self, captured: &BTreeMap<String, String>) -> Result<Vars, String> {
        let wrap = |(name, value): (&String, &String)| {
            let var = self.vars.get(name).ok_or_else(|| {
                let names = self.vars.keys().map(String::as_str);
                format!("captured.{name} is not a variable; {}", suggest::hint(name, names))
            })?;
            Ok((name.clone(), var.wrap(value)))
        };
        captured.iter().map(wrap).collect()
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| format!("`{text}` is not an RFC 3339 instant"))
}

pub(super) fn reply_of(written: &VectorReply) -> Result<Reply, String> {
    let body = match (&written.json, &written.body) {
        (Some(json), None) => serde_json::to_vec(json).map_err(|error| error.to_string())?,
        (None, Some(text)) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => return Err("a reply has one body: write `json` or `body`".to_owned()),
    };
    let mut reply = Reply { status: written.status, body: body.into(), ..Reply::default() };
    for (name, value) in &written.headers {
        let field = match name.to_ascii_lowercase().as_str() {
            "retry-after" => &mut reply.retry_after,
            "content-type" => &mut reply.content_type,
            "date" => &mut reply.date,
            _ => {
                return Err(format!(
                    "the header `{name}` of a reply is not read: write retry-after, content-type or date"
                ));
            }
        };
        *field = Some(value.clone());
    }
    Ok(reply)
}
