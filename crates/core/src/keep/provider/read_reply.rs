//! What replies and callbacks mean: leniently where it costs nothing, never guessing where a token is at stake.
//!
//! The class of a failure is that of the first rule of the file that matches. Without one:
//!
//! | reply | class |
//! |---|---|
//! | 403, 502, 503, 521, 523 or 530 with an HTML page; 503 with `Retry-After` and nothing readable | `transient`: a front end (load balancer, CDN, firewall) refused it |
//! | any other 5xx | `ambiguous` when the step spends (unless `policy.ambiguous_5xx = false`), else `transient` |
//! | 429 | `rate_limited` |
//! | 408 | `transient`: the server gave up before it had the whole request |
//! | `error` of RFC 6749, section 5.2, and of OpenID Connect, section 3.1.2.6, with 2xx or 4xx | see `error_codes.rs` |
//! | 401 with nothing readable, to a request with Basic credentials | `bad_client`: RFC 6749, section 5.2, makes 401 the answer to credentials in that header; a gateway's 401 looks the same, and neither says anything about the grant |
//! | 2xx that cannot be read, or brings no access token and no error | `ambiguous` when the step spends, else `unknown` |
//! | anything else: 3xx, other 4xx, an error nobody knows | `unknown` |

use std::time::Duration;

use serde_json::Value;

use super::address::{SourcedValue, UrlFault, ValueSource};
use super::body::{Body, JsonPath};
use super::class::ErrorClass;
use super::date::http_date;
use super::definition::Definition;
use super::error_codes::{provider_code, standard};
use super::expiry::{self, ReplyTokens};
use super::extract::Extract;
use super::fault::DefineError;
use super::http_types::{CallbackParams, Introspection, Reply, SentAt, StepFailure, StepOutcome, TokenReply};
use super::provider_message::{self, code_text, repeats};
use super::request::{Filler, RequestError};
use super::request_values::{RequestValues, Vars};
use super::schema::Absent;
use super::scopes;
use super::server_metadata::ServerMetadata;
use super::step::{ClientAuth, Step, StepSpec};
use super::template::Name;
use super::vars::{Capture, Var};
use crate::secret::Secret;
use crate::time::Timestamp;

impl Definition {
    /// Says what the reply to a step means. `sent_at` is when the request was sent; `values` are those that it was made with.
    ///
    /// Every reply has an outcome: nothing a server can send is an error of this function.
    pub fn read(
        &self,
        step: Step,
        reply: &Reply,
        sent_at: impl Into<SentAt>,
        values: &RequestValues,
    ) -> StepOutcome {
        let sent_at = sent_at.into();
        let date = reply.date.as_deref().and_then(http_date);
        let body = Body::read(reply);
        let refusal = |unusable| FailedReply { step, reply, body: &body, sent_at, values, unusable };
        let fail = |unusable| StepOutcome::Failed(self.classify(&refusal(unusable)));
        let Some(spec) = self.spec(step) else {
            return fail(Some("the provider has no such step"));
        };
        if !spec.ok.status_holds(reply.status) {
            return fail(None);
        }
        let mut outcome = match step {
            Step::Authorize | Step::Revoke | Step::Probe => {
                if spec.ok.holds(reply.status, &body) {
                    StepOutcome::Done
                } else {
                    fail(None)
                }
            }
            _ if body.value.is_none() => fail(Some("the reply is neither JSON nor a form that can be read")),
            _ if !spec.ok.holds(reply.status, &body) => fail(None),
            Step::Introspect => introspection(spec, &body, sent_at, date)
                .unwrap_or_else(|| fail(Some("the reply does not say whether the token is active"))),
            Step::Exchange | Step::Acquire | Step::Refresh => self
                .tokens(
                    step,
                    &spec.take,
                    (body.value.as_ref().unwrap_or(&Value::Null), date),
                    sent_at,
                    values,
                )
                .unwrap_or_else(|unusable| fail(Some(unusable))),
        };
        outcome.add_warnings(body.warnings);
        outcome
    }

    fn tokens(
        &self,
        step: Step,
        take: &Extract,
        (body, date): (&Value, Option<Timestamp>),
        sent_at: SentAt,
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
        let evidence = ReplyTokens { body, access: Some(&access), refresh: refresh.as_ref(), sent_at, date };
        let expires = expiry::read(&take.expires, evidence, "the expiry of the access token");
        warnings.extend(expires.warnings);
        if expires.assumed.is_some() {
            warnings.push("the access token is taken to expire in an hour".to_owned());
        }
        let refresh_expires_at = if refresh.is_some() {
            let said = expiry::read(&take.refresh_expires, evidence, "the expiry of the refresh token");
            warnings.extend(said.warnings);
            said.at.or_else(|| self.refresh_life(kept, sent_at.instant, values))
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
            expires_at: expires.at.or(expires.assumed),
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

fn introspection(
    spec: &StepSpec,
    body: &Body<'_>,
    sent_at: SentAt,
    date: Option<Timestamp>,
) -> Option<StepOutcome> {
    let value = body.value.as_ref()?;
    let active = match spec.take.active.first(value)? {
        Value::Bool(active) => *active,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        _ => return None,
    };
    let evidence = ReplyTokens { body: value, access: None, refresh: None, sent_at, date };
    let reading = if active {
        expiry::read(&spec.take.expires, evidence, "the expiry of the token")
    } else {
        expiry::ExpiryReading::default()
    };
    Some(StepOutcome::Introspection(Introspection {
        active,
        expires_at: reading.at.or(reading.assumed),
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

/// The longest wait that a provider may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// The longest code.
const MAX_CODE: usize = 64;

/// Why a reply is no success.
pub(super) struct FailedReply<'r> {
    pub(super) step: Step,
    pub(super) reply: &'r Reply,
    pub(super) body: &'r Body<'r>,
    pub(super) sent_at: SentAt,
    pub(super) values: &'r RequestValues,
    /// Said instead of the class's own words, for a success that cannot be used.
    pub(super) unusable: Option<&'static str>,
}

impl Definition {
    pub(super) fn classify(&self, refusal: &FailedReply<'_>) -> StepFailure {
        let FailedReply { step, reply, body, .. } = refusal;
        let own = self.spec(*step).map(|spec| spec.errors.as_slice()).unwrap_or_default();
        let rule = own.iter().chain(&self.provider.errors).find(|rule| rule.when.holds(reply.status, body));
        let asked = retry_after(reply, refusal.sent_at.civil);
        let said = body.value.as_ref().and_then(provider_code);
        let (class, explained) = match rule {
            Some(rule) => (rule.class, true),
            None => self.by_standard(refusal, said.as_deref()),
        };
        // A word of a standard is no piece of a secret, however short and unlucky the secret may be.
        let shown =
            said.filter(|said| standard(said).is_some() || !self.repeats_a_secret(said, refusal.values));
        let code = rule.and_then(|rule| rule.code.clone()).or_else(|| shown.as_deref().map(sanitise));
        let code = code.unwrap_or_else(|| format!("http_{}", reply.status));
        // Also a yes of another kind than the file expects: it may hold tokens all the same.
        let accepted = (200..=299).contains(&reply.status)
            || self.spec(*step).is_some_and(|spec| spec.ok.status_holds(reply.status));
        StepFailure {
            class,
            status: reply.status,
            retry_after: asked
                .or(rule.and_then(|rule| rule.retry_after))
                .map(|wait| wait.min(MAX_RETRY_AFTER)),
            message: message(class, &code, refusal, refusal.unusable.filter(|_| !explained)),
            provider_message: self.provider_message(refusal),
            code,
            is_final: rule.is_some_and(|rule| rule.is_final),
            keep_reply: accepted && !explained && !reply.body.is_empty() && step.gives_tokens(),
        }
    }

    fn provider_message(&self, refusal: &FailedReply<'_>) -> Option<String> {
        let FailedReply { step, reply, body, values, .. } = refusal;
        let take = self.spec(*step).map(|spec| &spec.take);
        let paths = take.into_iter().flat_map(|take| [&take.access, &take.refresh]);
        let taken = paths.filter_map(|path| path.text(body.value.as_ref()?)).map(Secret::new).collect();
        provider_message::of_reply(reply, body, taken, &|text| self.repeats_a_secret(text, values))
    }

    /// The class by the standards, and whether they explain the reply.
    fn by_standard(&self, refusal: &FailedReply<'_>, code: Option<&str>) -> (ErrorClass, bool) {
        let FailedReply { step, reply, body, .. } = refusal;
        let unsure = if self.spends(*step) { ErrorClass::Ambiguous } else { ErrorClass::Transient };
        let broken = if self.policy().ambiguous_5xx { unsure } else { ErrorClass::Transient };
        if is_front_end(reply, body) {
            return (ErrorClass::Transient, true);
        }
        match reply.status {
            500..=599 => return (broken, true),
            429 => return (ErrorClass::RateLimited, true),
            408 => return (ErrorClass::Transient, true),
            200..=299 | 400..=499 => {}
            _ => return (ErrorClass::Unknown, false),
        }
        match code.and_then(standard) {
            Some(ErrorClass::Transient) if code == Some("server_error") => return (broken, true),
            Some(class) => return (class, true),
            None => {}
        }
        let basic = matches!(self.client_auth(*step), ClientAuth::Basic | ClientAuth::BasicRaw);
        if reply.status == 401 && basic && code.is_none() {
            return (ErrorClass::BadClient, true);
        }
        let silent = code.is_none() && !body.value.as_ref().is_some_and(has_error);
        // A yes that cannot be used was accepted, whatever else it says; one that fails the file's own `ok` was not.
        let refused =
            body.value.as_ref().and_then(|value| value.get("error")).is_some_and(|error| !error.is_null());
        let accepted = silent || (refusal.unusable.is_some() && !refused);
        if (200..=299).contains(&reply.status) && accepted && self.spends(*step) {
            return (ErrorClass::Ambiguous, false);
        }
        (ErrorClass::Unknown, false)
    }

    /// Whether a text may hold a piece of something secret that the request carried.
    pub(super) fn repeats_a_secret(&self, text: &str, values: &RequestValues) -> bool {
        let slot_secrets = [
            &values.access,
            &values.refresh,
            &values.code,
            &values.state,
            &values.code_verifier,
            &self.client().secret,
        ];
        let vars = self.vars().values().chain(values.captured.values()).filter(|value| value.is_hidden());
        slot_secrets
            .into_iter()
            .flatten()
            .map(Secret::reveal)
            .chain(vars.map(super::request_values::VarValue::reveal))
            .any(|secret| repeats(text, secret))
    }
}

/// Whether a front end refused the request, so that the token endpoint never had it. 504, 520, 522 and 524 are not among them:
/// there the front end gave up on an endpoint that may have done its work.
fn is_front_end(reply: &Reply, body: &Body<'_>) -> bool {
    let is_page = body.text().trim_start().starts_with('<');
    match reply.status {
        403 | 502 | 521 | 523 | 530 => body.value.is_none() && is_page,
        503 => body.value.is_none() && (is_page || reply.retry_after.is_some()),
        _ => false,
    }
}

fn has_error(body: &Value) -> bool {
    ["error", "errors"]
        .into_iter()
        .any(|key| body.get(key).is_some_and(|error| !error.is_null() && *error != Value::Bool(false)))
}

fn sanitise(text: &str) -> String {
    let mut code = code_text(text);
    code.truncate(MAX_CODE);
    code
}

fn retry_after(reply: &Reply, sent_at: Timestamp) -> Option<Duration> {
    read_retry_after(reply.retry_after.as_deref()?, reply.date.as_deref(), sent_at)
}

/// How long a `Retry-After` asks to wait (RFC 9110, section 10.2.3): seconds, or a date, which is counted from the
/// `Date` of the same reply, else from `now`.
pub fn read_retry_after(text: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?;
    // The provider counts by its own clock, which its `Date` shows.
    let now = date.and_then(http_date).unwrap_or(now);
    Some(until.since(now))
}

fn message(class: ErrorClass, code: &str, refusal: &FailedReply<'_>, unusable: Option<&str>) -> String {
    let why = unusable.unwrap_or(match class {
        ErrorClass::DeadGrant => "the provider says that the grant is over",
        ErrorClass::BadClient => "the provider does not accept our client credentials",
        ErrorClass::Suspended => "the provider says that the account is suspended",
        ErrorClass::TooEarly => "the provider does not refresh this early",
        ErrorClass::RateLimited => "the provider asks for fewer requests",
        ErrorClass::Transient => "the provider could not answer now",
        ErrorClass::Ambiguous => "the provider may have accepted the request and gave no usable answer",
        ErrorClass::Unknown => "the provider refused for a reason that its file does not explain",
    });
    let status = refusal.reply.status;
    let detail = if code == format!("http_{status}") { String::new() } else { format!("{code}, ") };
    format!("{} failed: {why} ({detail}HTTP {status})", refusal.step)
}

/// A callback brought something that must not be used; the consent is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback's `{parameter}` is refused: {problem}")]
pub struct CaptureError {
    /// The parameter of the callback.
    pub parameter: String,
    /// What is wrong with it, with no secret.
    pub problem: String,
}

impl Definition {
    /// Captures variables from a callback, in the order of their names. Parameters that no variable asks for are
    /// ignored; a variable that the connection sets itself must not be contradicted.
    pub fn capture(&self, callback: &CallbackParams) -> Result<Vars, CaptureError> {
        let mut captured = Vars::new();
        for var in self.provider.vars() {
            let Some(Capture::Callback(parameter)) = var.capture() else { continue };
            let refuse = |problem: String| CaptureError { parameter: parameter.clone(), problem };
            let Some(value) = callback.get(parameter).filter(|value| !value.is_empty()) else { continue };
            self.check_captured(var, value).map_err(refuse)?;
            if let Some(set) = self.vars.get(var.name())
                && set.reveal() != value
            {
                let problem = if var.is_secret() {
                    format!("it is not the value of vars.{} that this connection is set to", var.name())
                } else {
                    format!(
                        "the consent was given for {value:?}, and this connection is set to {:?}",
                        set.reveal()
                    )
                };
                return Err(refuse(problem));
            }
            captured.insert(var.name().to_owned(), var.wrap(value));
        }
        Ok(captured)
    }

    /// Says what is wrong with a value that came from outside: its pattern, and every host it would decide.
    pub(super) fn check_captured(&self, var: &Var, value: &str) -> Result<(), String> {
        if value.len() > MAX_CAPTURED {
            return Err(format!("longer than {MAX_CAPTURED} bytes"));
        }
        var.check(value)?;
        let name = Name::Var(var.name().to_owned());
        for (_, url) in self.provider.urls() {
            if !url.host_names().any(|host| *host == name) {
                continue;
            }
            // Everything else in the URL is as harmless as can be, so that only this value is judged.
            let stand_in = |other: &Name| {
                if *other == name {
                    return Some(SourcedValue { text: value, source: ValueSource::Captured });
                }
                let own = match other {
                    Name::Var(other) => self.vars.get(other).map(super::request_values::VarValue::reveal),
                    _ => None,
                };
                own.map(|text| SourcedValue { text, source: ValueSource::Operator })
                    .or(Some(SourcedValue { text: "x", source: ValueSource::File }))
            };
            if let Err(UrlFault::Bad(_, problem)) = url.fill(stand_in, self.allowed_hosts()) {
                return Err(problem);
            }
        }
        Ok(())
    }
}

/// The longest value that is captured.
const MAX_CAPTURED: usize = 2048;

/// The parameter by which a callback says where it comes from (RFC 9207, section 2).
const ISSUER: &str = "iss";

impl Definition {
    /// Whether a person gives the grant of this connection in a browser.
    pub fn asks_for_consent(&self) -> bool {
        self.has(Step::Authorize) && self.has(Step::Exchange)
    }

    /// The scopes that the grant of this connection is asked for: at the consent, or where there is none, at each acquiring.
    pub fn asked_scopes(&self) -> Vec<String> {
        let step = if self.asks_for_consent() { Step::Authorize } else { Step::Acquire };
        self.request(step, &placeholders()).map_or_else(|_| Vec::new(), |request| scopes::asked(&request))
    }

    /// The scopes among them that a grant with the scopes of this text lacks.
    pub fn missing_scopes(&self, granted: &str) -> Vec<String> {
        scopes::missing(self.asked_scopes(), granted)
    }

    /// What the provider said in a callback that is an error (RFC 6749, section 4.1.2.1), for operators: as in
    /// [`StepFailure::provider_message`](super::StepFailure::provider_message). It came through a browser, where anybody could
    /// have changed it.
    pub fn callback_message(&self, callback: &CallbackParams) -> Option<String> {
        let values = RequestValues::default();
        provider_message::of_callback(callback, &|text| self.repeats_a_secret(text, &values))
    }

    /// Checks everything that a consent needs before anybody is asked, because a code is good once.
    pub fn check_consent(&self) -> Result<(), DefineError> {
        let provider = self.provider.name();
        for step in [Step::Authorize, Step::Exchange] {
            let Some(spec) = self.spec(step).filter(|_| self.has(step)) else {
                let problem =
                    format!("the provider `{provider}` gives no grant in the browser to this connection");
                return Err(DefineError::new(format!("{step} step"), problem));
            };
            let auth = self.client_auth(step);
            let (id, secret) = (self.client.id.is_some(), self.client.secret.is_some());
            self.check_credential("client.id", id, spec, &Name::ClientId, auth)?;
            self.check_credential("client.secret", secret, spec, &Name::ClientSecret, auth)?;
        }
        if self.client.redirect_uri.is_none() {
            let problem =
                "is where the provider sends the browser back to: set it, or set `server.public_url`";
            return Err(DefineError::new("client.redirect_uri", problem));
        }
        let ties = self.spec(Step::Authorize).is_some_and(|spec| spec.mentions(&Name::State));
        if !ties {
            let problem = "sends no `${state}`, so that nobody could tell a forged callback: add it to the provider file";
            return Err(DefineError::new("authorize step", problem));
        }
        let request = self.request(Step::Authorize, &placeholders());
        request.map_err(|error| DefineError::new("authorize step", error.to_string()))?;
        self.check_exchange()
    }

    /// Checks that the request which spends a code can be made of what is known, and of what its callback brings.
    fn check_exchange(&self) -> Result<(), DefineError> {
        let values = placeholders();
        let spec = self.spec(Step::Exchange);
        let holes = spec.into_iter().flat_map(|spec| spec.names());
        let needed = holes.filter(|(name, optional)| !optional && self.value(name, &values).is_none());
        if let Some(unknown) = needed.map(|(name, _)| name).find(|name| !self.is_brought(name)) {
            let field = match unknown {
                Name::Var(var) => format!("vars.{var}"),
                other => other.to_string(),
            };
            let problem =
                format!("the provider `{}` needs it to exchange a code: set it", self.provider.name());
            return Err(DefineError::new(field, problem));
        }
        match self.request(Step::Exchange, &values) {
            // What is missing now was found above to come with the callback.
            Ok(_) | Err(RequestError::Missing { .. }) => Ok(()),
            Err(error) => Err(DefineError::new("exchange step", error.to_string())),
        }
    }

    fn is_brought(&self, name: &Name) -> bool {
        let Name::Var(var) = name else { return false };
        self.provider.vars.get(var).is_some_and(|var| self.is_brought_by_callback(var))
    }

    /// Whether the callback is where the value of a variable comes from.
    fn is_brought_by_callback(&self, var: &Var) -> bool {
        matches!(var.capture(), Some(Capture::Callback(_))) && !self.vars.contains_key(var.name())
    }

    /// Whether a person may bring the code of a callback alone, without its `state`: what ties it to this consent is PKCE
    /// then (RFC 7636), by which a provider that keeps to it gives nothing for a code of another consent; and nothing else of
    /// the callback is needed.
    pub fn takes_bare_code(&self) -> bool {
        let mentions = |step, name| self.spec(step).is_some_and(|spec| spec.mentions(name));
        let names_issuer = match self.metadata() {
            Some(metadata) => metadata.sends_issuer(),
            None => self.issuer().is_some(),
        };
        mentions(Step::Authorize, &Name::CodeChallenge)
            && mentions(Step::Exchange, &Name::CodeVerifier)
            && !self.metadata().is_some_and(ServerMetadata::lacks_pkce)
            && !names_issuer
            && !self.provider.vars().any(|var| self.is_brought_by_callback(var))
    }

    /// Checks where a callback says it comes from (RFC 9207, section 2.4; RFC 9700, section 4.4).
    ///
    /// Where the issuer is known, the callback must name just that, and one provider's answer is never taken for another's.
    /// Where it is not known, a callback that names one must name the host that the person was sent to; a callback that
    /// names none is taken. So between two providers that send no `iss`, one of which is hostile, a mix-up is not found
    /// here: the state says which connection was asked for, and nothing says who answered. The host that the code goes to
    /// is that of the connection all the same.
    pub fn check_issuer(&self, callback: &CallbackParams) -> Result<(), CaptureError> {
        let refuse = |problem: String| Err(CaptureError { parameter: ISSUER.to_owned(), problem });
        let named = callback.get(ISSUER).map(String::as_str);
        match (self.issuer(), named) {
            (Some(expected), Some(named)) if expected.reveal() == named => Ok(()),
            (Some(expected), Some(named)) => refuse(format!(
                "it names {:?}, and this connection consents at {:?}",
                clip(named),
                expected.reveal()
            )),
            // Its metadata says that it sends none (RFC 9207, section 3).
            (Some(_), None) if self.metadata().is_some_and(|metadata| !metadata.sends_issuer()) => Ok(()),
            (Some(expected), None) => refuse(format!(
                "it is missing, and {:?}, the issuer that the settings name, sends it with every answer; if yours sends none, \
                 leave the issuer out of the settings",
                expected.reveal()
            )),
            (None, None) => Ok(()),
            (None, Some(named)) => {
                let asked = self.request(Step::Authorize, &placeholders()).ok();
                let asked = asked.and_then(|request| request.url.host_str().map(str::to_owned));
                let named_host =
                    url::Url::parse(named).ok().and_then(|url| url.host_str().map(str::to_owned));
                if asked.is_some() && asked == named_host {
                    return Ok(());
                }
                refuse(format!(
                    "it names {:?}, and the person was sent to {:?}; if that is right, say so as `issuer` under [authorize] \
                     of the provider file",
                    clip(named),
                    asked.unwrap_or_default()
                ))
            }
        }
    }

    /// Who callbacks come from, where that is known.
    pub(super) fn issuer(&self) -> Option<Secret> {
        let template = self.provider.issuer_template()?;
        let filler =
            Filler { definition: self, values: &RequestValues::default(), step: Step::Authorize.as_str() };
        // One that hangs on a variable without a value is not known.
        filler.text(template).ok().flatten()
    }
}

/// What stands for the values of a consent that has not begun.
fn placeholders() -> RequestValues {
    let text = || Some(Secret::new("x"));
    RequestValues {
        state: text(),
        code_challenge: text(),
        code: text(),
        code_verifier: text(),
        ..RequestValues::default()
    }
}

fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;
