//! Golden vectors: what a provider file promises about itself, checked with the very code that serves connections.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use super::definition::{Definition, Setup};
use super::duration::DurationText;
use super::http_types::{
    Introspection, Method, OutboundRequest, Reply, StepFailure, StepOutcome, TokenReply,
};
use super::load::Provider;
use super::request_values::{RequestValues, Vars};
use super::step::Step;
use super::vector_schema::{Expected, ExpectedOutcome, Vector, VectorReply, VectorRequest};
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

/// When requests of vectors are sent that do not say: at the beginning of 2026.
const SENT_AT: Timestamp = Timestamp::from_secs(1_767_225_600);

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
        let step = Step::parse(&vector.step).ok_or_else(|| {
            let cure = suggest::hint(&vector.step, Step::ALL.iter().map(|step| step.as_str()));
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
            compare_request(expected, &request, &mut differences);
        }
        if let (Some(reply), Some(expected)) = (&vector.reply, &vector.expect) {
            let sent_at = vector.sent_at.unwrap_or(SENT_AT);
            let outcome = definition.read(step, &reply_of(reply)?, sent_at, &values);
            compare_outcome(expected, &outcome, &mut differences);
        }
        Ok(differences)
    }

    /// The definition and values of a vector, with what its callback captures.
    pub(super) fn prepare(self: &Arc<Self>, vector: &Vector) -> Result<(Definition, RequestValues), String> {
        let setup = Setup {
            vars: vector.vars.clone(),
            client: vector.client.clone(),
            policy: vector.policy.clone(),
            ..Setup::default()
        };
        let definition = self.define(setup).map_err(|error| error.to_string())?;
        let mut captured = self.given(&vector.captured)?;
        if let Some(callback) = &vector.callback {
            captured.extend(definition.capture(callback).map_err(|error| error.to_string())?);
        }
        let values = RequestValues { captured, ..vector.slots.clone() };
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

impl Provider {
    /// A connection that the file's own vectors show, with made-up values, whose tokens can be asked for at once; `None`
    /// where no vector shows one.
    pub fn example(self: &Arc<Self>) -> Option<Setup> {
        let setups = || self.vectors.iter().filter_map(|(_, vector)| self.shown_by(vector));
        let mut setup = setups().find(|setup| self.is_complete(setup))?;
        // Another vector may know what this one does without.
        for other in setups().map(|other| other.client) {
            setup.client.id = setup.client.id.or(other.id);
            setup.client.secret = setup.client.secret.or(other.secret);
            setup.client.redirect_uri = setup.client.redirect_uri.or(other.redirect_uri);
        }
        for (name, value) in self.vectors.iter().flat_map(|(_, vector)| self.captures_of(vector)) {
            let mut more = setup.clone();
            more.vars.entry(name).or_insert(value);
            if self.is_complete(&more) {
                setup = more;
            }
        }
        Some(setup)
    }

    /// What callbacks and replies of a vector bring.
    fn captures_of(self: &Arc<Self>, vector: &Vector) -> Vec<(String, Secret)> {
        let before = self.prepare(vector).map(|(_, values)| values.captured).unwrap_or_default();
        let taken = vector.expect.as_ref().and_then(|expect| expect.vars.clone()).unwrap_or_default();
        let before = before.into_iter().map(|(name, value)| (name, Secret::new(value.reveal())));
        before.chain(taken.into_iter().map(|(name, value)| (name, Secret::from(value)))).collect()
    }

    fn shown_by(self: &Arc<Self>, vector: &Vector) -> Option<Setup> {
        let (definition, values) = self.prepare(vector).ok()?;
        let given = definition.vars().iter().chain(&values.captured);
        let vars = given.map(|(name, value)| (name.clone(), Secret::new(value.reveal()))).collect();
        Some(Setup { vars, client: definition.client().clone(), ..Setup::default() })
    }

    fn is_complete(self: &Arc<Self>, setup: &Setup) -> bool {
        let Ok(definition) = self.define(setup.clone()) else { return false };
        let nothing = Vars::new();
        let known = |step| definition.endpoint(step, &nothing);
        let steps = [Step::Refresh, Step::Acquire];
        steps.iter().any(|step| matches!(known(*step), Ok(Some(_))))
            && steps.iter().all(|step| known(*step).is_ok())
    }
}

type Differences = Vec<Difference>;

/// Notes a difference, unless nothing was promised.
fn same<T: PartialEq + Debug>(field: &str, expected: Option<&T>, got: &T, differences: &mut Differences) {
    if let Some(expected) = expected
        && expected != got
    {
        differences.push(Difference::new(field, format!("{expected:?}"), format!("{got:?}")));
    }
}

fn compare_request(expected: &VectorRequest, got: &OutboundRequest, differences: &mut Differences) {
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
        let promised = form.iter().map(|(name, values)| (name.clone(), values.0.clone())).collect();
        let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&got.body).into_owned() {
            sent.entry(name).or_default().push(value);
        }
        fields("request.form", &promised, &sent, differences);
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

fn fields<V: PartialEq + Debug>(
    field: &str,
    expected: &BTreeMap<String, V>,
    got: &BTreeMap<String, V>,
    differences: &mut Differences,
) {
    for (name, value) in expected {
        same(&format!("{field}.{name}"), Some(&Some(value)), &got.get(name), differences);
    }
    for (name, value) in got.iter().filter(|(name, _)| !expected.contains_key(*name)) {
        differences.push(Difference::new(format!("{field}.{name}"), "nothing", format!("{value:?}")));
    }
}

fn compare_outcome(expected: &Expected, got: &StepOutcome, differences: &mut Differences) {
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
    compare_instant("expect.expires_at", expected.expires_at, got.expires_at, differences);
    same("expect.no_expiry", expected.no_expiry.as_ref(), &got.expires_at.is_none(), differences);
    let refresh_expiry = expected.refresh_expires_at;
    compare_instant("expect.refresh_expires_at", refresh_expiry, got.refresh_expires_at, differences);
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
    compare_instant("expect.expires_at", expected.expires_at, got.expires_at, differences);
}

fn failed(expected: &Expected, got: &StepFailure, differences: &mut Differences) {
    same("expect.class", expected.class.as_ref(), &got.class, differences);
    same("expect.code", expected.code.as_ref(), &got.code, differences);
    let wait = got.retry_after.map(DurationText);
    same("expect.retry_after", expected.retry_after.map(Some).as_ref(), &wait, differences);
    same("expect.keep_reply", expected.keep_reply.as_ref(), &got.keep_reply, differences);
    same("expect.final", expected.is_final.as_ref(), &got.is_final, differences);
}

fn compare_instant(
    field: &str,
    expected: Option<Timestamp>,
    got: Option<Timestamp>,
    differences: &mut Differences,
) {
    if let Some(promised) = expected.filter(|promised| Some(*promised) != got) {
        let got = got.map_or_else(|| "none".to_owned(), |at| at.to_string());
        differences.push(Difference::new(field, promised.to_string(), got));
    }
}
