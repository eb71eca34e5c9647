//! Which class of failure a reply is: the rules of the file first, then what the standards say.
//!
//! Without a rule of the file:
//!
//! | reply | class |
//! |---|---|
//! | 5xx | `ambiguous` when the step spends (unless `policy.ambiguous_5xx = false`), else `transient` |
//! | 429 | `rate_limited` |
//! | 408 | `transient`: the server gave up before it had the whole request |
//! | `error` of RFC 6749, section 5.2, and of OpenID Connect, section 3.1.2.6, with 2xx or 4xx | see [`standard`] |
//! | 401 with nothing readable, to a request with Basic credentials | `bad_client`: RFC 6749, section 5.2, makes 401 the answer to credentials in that header; a gateway's 401 looks the same, and neither says anything about the grant |
//! | 2xx that cannot be read, or brings no access token and no error | `ambiguous` when the step spends, else `unknown` |
//! | anything else: 3xx, other 4xx, an error nobody knows | `unknown` |

use std::time::Duration;

use serde_json::Value;

use super::body::{Body, JsonPath, scalar_text};
use super::class::ErrorClass;
use super::define::{ClientAuth, Definition};
use super::http_types::{Reply, StepFailure};
use super::request_values::RequestValues;
use super::rule::is_code_byte;
use super::step::Step;
use crate::secret::Secret;
use crate::time::Timestamp;

/// The longest wait that a provider may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// The longest code.
const MAX_CODE: usize = 64;
/// How much of a secret a code may repeat before it is taken for a piece of it.
const ECHO: usize = 12;

/// Why a reply is no success.
pub(super) struct Refusal<'r> {
    pub(super) step: Step,
    pub(super) reply: &'r Reply,
    pub(super) body: &'r Body<'r>,
    pub(super) sent_at: Timestamp,
    pub(super) values: &'r RequestValues,
    /// Said instead of the class's own words, for a success that cannot be used.
    pub(super) unusable: Option<&'static str>,
}

impl Definition {
    pub(super) fn classify(&self, refusal: &Refusal<'_>) -> StepFailure {
        let Refusal { step, reply, body, .. } = refusal;
        let own = self.provider.steps.get(step).map(|spec| spec.errors.as_slice()).unwrap_or_default();
        let rule = own.iter().chain(&self.provider.errors).find(|rule| rule.when.holds(reply.status, body));
        let asked = retry_after(reply, refusal.sent_at);
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
            || self.provider.steps.get(step).is_some_and(|spec| spec.ok.status_holds(reply.status));
        StepFailure {
            class,
            status: reply.status,
            retry_after: asked
                .or(rule.and_then(|rule| rule.retry_after))
                .map(|wait| wait.min(MAX_RETRY_AFTER)),
            message: message(class, &code, refusal, refusal.unusable.filter(|_| !explained)),
            code,
            keep_reply: accepted && !explained && !reply.body.is_empty() && step.gives_tokens(),
        }
    }

    /// The class by the standards, and whether they explain the reply.
    fn by_standard(&self, refusal: &Refusal<'_>, code: Option<&str>) -> (ErrorClass, bool) {
        let Refusal { step, reply, body, .. } = refusal;
        let unsure = if self.spends(*step) { ErrorClass::Ambiguous } else { ErrorClass::Transient };
        let broken = if self.policy().ambiguous_5xx { unsure } else { ErrorClass::Transient };
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
        let basic = self.client_auth(*step) == ClientAuth::Basic;
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
        let text = sanitise_all(text);
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
            .any(|secret| shares_piece(&text, &sanitise_all(secret)))
    }
}

/// The class of an error that a standard names.
fn standard(code: &str) -> Option<ErrorClass> {
    match code {
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            Some(ErrorClass::DeadGrant)
        }
        "invalid_client" | "unauthorized_client" => Some(ErrorClass::BadClient),
        "temporarily_unavailable" | "server_error" => Some(ErrorClass::Transient),
        "slow_down" => Some(ErrorClass::RateLimited),
        _ => None,
    }
}

/// Where providers put their codes, most usual first.
const CODE_PATHS: [&str; 8] =
    ["error", "error.code", "error.type", "error_code", "errorCode", "code", "errors.0.code", "hint"];

/// The provider's own code for what went wrong, as it is.
fn provider_code(body: &Value) -> Option<String> {
    let first = if let Value::Array(items) = body { items.first()? } else { body };
    CODE_PATHS.iter().find_map(|path| {
        let path = JsonPath::parse(path).ok()?;
        let found = path.first(first).filter(|value| !value.is_boolean()).and_then(scalar_text)?;
        (!found.trim().is_empty()).then_some(found)
    })
}

fn has_error(body: &Value) -> bool {
    ["error", "errors"]
        .into_iter()
        .any(|key| body.get(key).is_some_and(|error| !error.is_null() && *error != Value::Bool(false)))
}

fn sanitise_all(text: &str) -> String {
    text.trim().bytes().map(|byte| if is_code_byte(byte) { char::from(byte) } else { '_' }).collect()
}

fn sanitise(text: &str) -> String {
    let mut code = sanitise_all(text);
    code.truncate(MAX_CODE);
    code
}

fn shares_piece(text: &str, secret: &str) -> bool {
    // Both are ASCII by now, so that any cut falls between characters.
    let piece = ECHO.min(secret.len());
    if piece < 4 || text.len() < piece {
        return false;
    }
    (0..=text.len() - piece).any(|start| secret.contains(&text[start..start + piece]))
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

/// Reads the one form of date that senders may write (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

fn message(class: ErrorClass, code: &str, refusal: &Refusal<'_>, unusable: Option<&str>) -> String {
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
