//! When a token expires, read leniently.
//!
//! Sources are tried in the order of the file; the first that gives an instant wins. What is strange is said in a
//! warning and never makes a token set unusable:
//!
//! * a number may be an integer, a float, or either as text;
//! * zero, negative, past or unreadable values are as good as absent: the next source is tried, and with none left
//!   the expiry is unknown. (Believing them would spend one refresh token after the other.)
//! * more than 100 years is cut to 100 years.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::body::JsonPath;
use super::fault::{Flaw, Under};
use super::one_or_many::{OneOrMany, TextOr};
use super::schema::{self, Unit};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A hundred years, beyond which nobody means what they say.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// One way of learning an expiry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExpirySource {
    Path(JsonPath, Unit),
    /// The claim of a token that is a JWT. Its signature is not checked: it says when to refresh, not whom to trust.
    Jwt(WhichToken, String),
    Introspect,
    Fixed(Duration),
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichToken {
    Access,
    Refresh,
}

/// Reads `expires` or `refresh_expires` as written.
pub(super) fn compile(written: &OneOrMany<TextOr<schema::ExpiryTable>>) -> Result<Vec<ExpirySource>, Flaw> {
    let one = |source: &TextOr<schema::ExpiryTable>| match source {
        TextOr::Text(text) => compile_word(text),
        TextOr::Table(table) => compile_table(table),
    };
    written.0.iter().enumerate().map(|(index, source)| one(source).under(index)).collect()
}

fn compile_word(text: &str) -> Result<ExpirySource, Flaw> {
    match text {
        "jwt" => Ok(ExpirySource::Jwt(WhichToken::Access, "exp".to_owned())),
        "introspect" => Ok(ExpirySource::Introspect),
        "none" => Ok(ExpirySource::Never),
        _ => Err(Flaw::new(format!(
            "`{text}` is no way of learning an expiry: write `jwt`, `introspect`, `none`, {{ path = \"{text}\", as = \"s\" }} or {{ fixed = \"1h\" }}"
        ))),
    }
}

fn compile_table(table: &schema::ExpiryTable) -> Result<ExpirySource, Flaw> {
    let ways = [
        table.path.is_some(),
        table.jwt.is_some(),
        table.introspect.is_some(),
        table.fixed.is_some(),
        table.none.is_some(),
    ];
    if ways.iter().filter(|written| **written).count() != 1 {
        return Err(Flaw::new("write exactly one of `path`, `jwt`, `introspect`, `fixed` and `none`"));
    }
    if table.path.is_none() && table.unit.is_some() {
        return Err(Flaw::new("`as` belongs to `path`"));
    }
    if let Some(path) = &table.path {
        let unit = table.unit.ok_or_else(|| {
            Flaw::new("say how to read it: `as` = `s`, `ms`, `epoch_s`, `epoch_ms` or `rfc3339`")
        })?;
        return Ok(ExpirySource::Path(JsonPath::parse(path).under("path")?, unit));
    }
    if let Some(jwt) = &table.jwt {
        let (token, claim) = jwt.split_once('.').unwrap_or((jwt, "exp"));
        let token = match token {
            "access" => WhichToken::Access,
            "refresh" => WhichToken::Refresh,
            _ => return Err(Flaw::new("write `access.exp` or `refresh.exp`").under("jwt")),
        };
        return Ok(ExpirySource::Jwt(token, claim.to_owned()));
    }
    if let Some(fixed) = table.fixed {
        return Ok(ExpirySource::Fixed(fixed.0));
    }
    match (table.introspect, table.none) {
        (Some(true), _) => Ok(ExpirySource::Introspect),
        (_, Some(true)) => Ok(ExpirySource::Never),
        _ => Err(Flaw::new("`false` says nothing: leave the key out")),
    }
}

/// What the sources said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExpiryReading {
    pub(super) at: Option<Timestamp>,
    /// Introspection is an earlier source than the one that gave `at`.
    pub(super) ask_introspection: bool,
    /// A source said that it is over already, and no later one gave an instant.
    pub(super) over: bool,
    pub(super) warnings: Vec<String>,
}

/// What expiries are read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyTokens<'r> {
    pub(super) body: &'r Value,
    pub(super) access: Option<&'r Secret>,
    pub(super) refresh: Option<&'r Secret>,
    /// The instant before the request was sent, so that a slow reply never makes a token look younger than it is.
    pub(super) sent_at: Timestamp,
}

/// Tries the sources in order. `what` begins the warnings, such as "the expiry of the access token".
pub(super) fn read(sources: &[ExpirySource], evidence: ReplyTokens<'_>, what: &str) -> ExpiryReading {
    let mut reading = ExpiryReading::default();
    for source in sources {
        let found = match source {
            ExpirySource::Never => return reading,
            ExpirySource::Fixed(life) => Some(Ok(evidence.sent_at + *life)),
            ExpirySource::Introspect => {
                reading.ask_introspection = true;
                None
            }
            ExpirySource::Path(path, unit) => {
                path.first(evidence.body).map(|value| instant(value, *unit, evidence.sent_at))
            }
            ExpirySource::Jwt(token, claim) => {
                let token = match token {
                    WhichToken::Access => evidence.access,
                    WhichToken::Refresh => evidence.refresh,
                };
                token
                    .and_then(|token| jwt_claim(token.reveal(), claim))
                    .map(|value| instant(&value, Unit::EpochS, evidence.sent_at))
            }
        };
        match found {
            None => {}
            Some(Err(ExpiryProblem { over, problem })) => {
                reading.over |= over;
                reading.warnings.push(format!("{what} {problem}"));
            }
            Some(Ok(at)) => {
                let latest = evidence.sent_at + LONGEST;
                if at > latest {
                    reading.warnings.push(format!("{what} is more than 100 years away and was cut to that"));
                }
                reading.at = Some(at.min(latest));
                reading.over = false;
                return reading;
            }
        }
    }
    if reading.warnings.is_empty() && !reading.ask_introspection && !sources.is_empty() {
        reading.warnings.push(format!("{what} is not said"));
    }
    reading
}

/// Why a value is as good as absent.
struct ExpiryProblem {
    /// It is an instant, or the want of one, and it is over.
    over: bool,
    problem: &'static str,
}

fn unreadable(problem: &'static str) -> ExpiryProblem {
    ExpiryProblem { over: false, problem }
}

fn instant(value: &Value, unit: Unit, sent_at: Timestamp) -> Result<Timestamp, ExpiryProblem> {
    let at = if unit == Unit::Rfc3339 {
        value.as_str().and_then(Timestamp::parse_rfc3339).ok_or(unreadable("is not an RFC 3339 instant"))?
    } else {
        let amount = number(value).ok_or(unreadable("is not a number"))?;
        if amount <= 0.0 {
            return Err(ExpiryProblem { over: true, problem: "is zero or negative and was not believed" });
        }
        let micros = whole(amount * if matches!(unit, Unit::Ms | Unit::EpochMs) { 1e3 } else { 1e6 });
        let relative = matches!(unit, Unit::S | Unit::Ms);
        Timestamp::from_micros(if relative { sent_at.as_micros().saturating_add(micros) } else { micros })
    };
    if at <= sent_at {
        return Err(ExpiryProblem { over: true, problem: "is past already and was not believed" });
    }
    Ok(at)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "casts from floats saturate, which is what an absurd number needs"
)]
fn whole(micros: f64) -> i64 {
    micros as i64
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| !number.is_nan())
}

fn jwt_claim(token: &str, claim: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get(claim).filter(|value| !value.is_null()).cloned()
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
