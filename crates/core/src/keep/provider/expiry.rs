//! When a token expires, read leniently.
//!
//! Sources are tried in the order of the file; the first that gives an instant wins. What is strange is said in a
//! warning and never makes a token set unusable:
//!
//! * a number may be an integer, a float, or either as text;
//! * zero, negative, past or unreadable values are as good as absent: the next source is tried. (Believing them would spend one
//!   refresh token after the other.) With none left, a zero or negative life leaves the expiry unknown, for servers that mean
//!   "for ever" by it; a value that cannot be read, or that is past, is taken for an hour from now: such a token does not live
//!   for ever.
//! * more than 100 years is cut to 100 years.
//!
//! A provider that names an instant means a life: what is left until then by its own clock, which the `Date` of its reply shows, or
//! by ours. Where these say different lives the shorter one counts, unless it is none at all. So a civil clock that is wrong by a day
//! neither ends a token nor makes it live a day longer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::body::JsonPath;
use super::date::{ZoneOffset, read_date};
use super::fault::{Flaw, Under};
use super::http_types::SentAt;
use super::one_or_many::{OneOrMany, TextOr};
use super::schema::{self, Unit};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A hundred years, beyond which nobody means what they say.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// How long an access token is taken to live whose expiry is there and cannot be read.
const ASSUMED_LIFE: Duration = Duration::from_hours(1);

/// One way of learning an expiry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExpirySource {
    /// A value of the reply; a date without a zone is local time of the one given.
    Path(JsonPath, Unit, Option<ZoneOffset>),
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
    if table.path.is_none() && (table.unit.is_some() || table.zone.is_some()) {
        return Err(Flaw::new("`as` and `zone` belong to `path`"));
    }
    if let Some(path) = &table.path {
        let unit = table.unit.ok_or_else(|| {
            Flaw::new("say how to read it: `as` = `s`, `m`, `ms`, `epoch_s`, `epoch_ms`, `rfc3339`, `http_date` or `date`")
        })?;
        let zone = table.zone.as_deref().map(|zone| ZoneOffset::parse(zone).under("zone")).transpose()?;
        if zone.is_some() && !unit.is_date() {
            return Err(Flaw::new("belongs to dates: write `as = \"date\"`, or leave it out").under("zone"));
        }
        return Ok(ExpirySource::Path(JsonPath::parse(path).under("path")?, unit, zone));
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
    /// An hour from now, where a source gave something that cannot be believed, and none gave an instant.
    pub(super) assumed: Option<Timestamp>,
    pub(super) warnings: Vec<String>,
}

/// What expiries are read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyTokens<'r> {
    pub(super) body: &'r Value,
    pub(super) access: Option<&'r Secret>,
    pub(super) refresh: Option<&'r Secret>,
    pub(super) sent_at: SentAt,
    /// What the clock of the provider showed when it replied.
    pub(super) date: Option<Timestamp>,
}

/// Tries the sources in order. `what` begins the warnings, such as "the expiry of the access token".
pub(super) fn read(sources: &[ExpirySource], evidence: ReplyTokens<'_>, what: &str) -> ExpiryReading {
    let mut reading = ExpiryReading::default();
    for source in sources {
        let found = match source {
            ExpirySource::Never => return reading,
            ExpirySource::Fixed(life) => Some(Ok(evidence.sent_at.instant + *life)),
            ExpirySource::Introspect => {
                reading.ask_introspection = true;
                None
            }
            ExpirySource::Path(path, unit, zone) => path.first(evidence.body).map(|value| {
                if zone.is_none() && unit.is_date() && lacks_zone(value) {
                    reading.warnings.push(format!("{what} has no zone and was read as UTC"));
                }
                evidence.instant(value, *unit, *zone)
            }),
            ExpirySource::Jwt(token, claim) => {
                let token = match token {
                    WhichToken::Access => evidence.access,
                    WhichToken::Refresh => evidence.refresh,
                };
                token
                    .and_then(|token| jwt_claim(token.reveal(), claim))
                    .map(|value| evidence.instant(&value, Unit::EpochS, None))
            }
        };
        match found {
            None => {}
            Some(Err(problem)) => {
                reading.over |= problem != ExpiryProblem::Unreadable;
                if problem != ExpiryProblem::NoLife {
                    reading.assumed = Some(evidence.sent_at.instant + ASSUMED_LIFE);
                }
                reading.warnings.push(format!("{what} {}", problem.words()));
            }
            Some(Ok(at)) => {
                let latest = evidence.sent_at.instant + LONGEST;
                if at > latest {
                    reading.warnings.push(format!("{what} is more than 100 years away and was cut to that"));
                }
                reading.at = Some(at.min(latest));
                (reading.over, reading.assumed) = (false, None);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpiryProblem {
    Unreadable,
    NoLife,
    Past,
}

impl ExpiryProblem {
    fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "cannot be read as the provider file says",
            Self::NoLife => "is zero or negative and was not believed",
            Self::Past => "is past already and was not believed",
        }
    }
}

fn lacks_zone(value: &Value) -> bool {
    value.as_str().and_then(|text| read_date(text, None)).is_some_and(|reading| reading.zone_assumed)
}

impl ReplyTokens<'_> {
    /// When it is over by this value, by the clock of the request's `instant`.
    fn instant(
        &self,
        value: &Value,
        unit: Unit,
        zone: Option<ZoneOffset>,
    ) -> Result<Timestamp, ExpiryProblem> {
        let life = if unit.is_date() {
            let reading = value.as_str().and_then(|text| read_date(text, zone));
            self.life_until(reading.ok_or(ExpiryProblem::Unreadable)?.at)
        } else {
            let amount = number(value).ok_or(ExpiryProblem::Unreadable)?;
            if amount <= 0.0 {
                return Err(ExpiryProblem::NoLife);
            }
            let micros = whole(amount * if matches!(unit, Unit::Ms | Unit::EpochMs) { 1e3 } else { 1e6 });
            let life = Duration::from_micros(micros.unsigned_abs());
            match unit {
                Unit::S | Unit::Ms => Some(life),
                Unit::M => Some(life.saturating_mul(60)),
                _ => self.life_until(Timestamp::from_micros(micros)),
            }
        };
        let life = life.filter(|life| !life.is_zero()).ok_or(ExpiryProblem::Past)?;
        Ok(self.sent_at.instant + life)
    }

    /// How long it is until `at`: by the provider's clock or by ours, whichever says less and not nothing.
    fn life_until(&self, at: Timestamp) -> Option<Duration> {
        let clocks = [Some(self.sent_at.civil), self.date];
        clocks.into_iter().flatten().map(|clock| at.since(clock)).filter(|life| !life.is_zero()).min()
    }
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
