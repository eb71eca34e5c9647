//! Calls to a provider's API: where it is, how a token is put in, and which replies mean that the token died.

use super::body::{self, Body};
use super::define::Definition;
use super::http_types::{ApiBase, Endpoint, Injection};
use super::load::{InjectTemplate, Rate};
use super::request::{Filler, RequestError, check_header_value};
use super::request_values::{RequestValues, Vars};
use super::step::Step;

/// The characters of a cookie's value (RFC 6265, section 4.1.1).
fn check_cookie_value(value: &str) -> Result<(), &'static str> {
    let octet = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    if value.bytes().all(octet) { Ok(()) } else { Err("holds a character that cookies cannot hold") }
}

impl Definition {
    /// What to put into a call to the API, and where.
    pub fn inject(&self, values: &RequestValues) -> Result<Vec<Injection>, RequestError> {
        let filler = Filler { definition: self, values, step: "api" };
        let mut made = Vec::with_capacity(self.provider.inject.len());
        for template in &self.provider.inject {
            match template {
                InjectTemplate::Header(name, template) => {
                    if let Some(value) = filler.text(template)? {
                        check_header_value(&value)
                            .map_err(|problem| filler.refused(format!("the header `{name}` {problem}")))?;
                        made.push(Injection::Header(name.clone(), value));
                    }
                }
                InjectTemplate::Query(name, template) => {
                    if let Some(value) = filler.text(template)? {
                        made.push(Injection::Query(name.clone(), value));
                    }
                }
                InjectTemplate::Cookie(name, template) => {
                    if let Some(value) = filler.text(template)? {
                        check_cookie_value(value.reveal())
                            .map_err(|problem| filler.refused(format!("the cookie `{name}` {problem}")))?;
                        made.push(Injection::Cookie(name.clone(), value));
                    }
                }
                InjectTemplate::Body(name, template) => {
                    if let Some(value) = filler.text(template)? {
                        made.push(Injection::Body(name.clone(), value));
                    }
                }
            }
        }
        Ok(made)
    }

    /// Where the API is; `None` where the provider does not say, or its optional variable is not set.
    pub fn api_base(&self, captured: &Vars) -> Result<Option<ApiBase>, RequestError> {
        let Some(api) = &self.provider.api else { return Ok(None) };
        let values = RequestValues { captured: captured.clone(), ..RequestValues::default() };
        let filler = Filler { definition: self, values: &values, step: "api" };
        let target = filler.url(&api.base)?;
        Ok(target.map(|target| ApiBase { url: target.url, captured_host: target.captured_host }))
    }

    /// Where a step is requested, as far as that is known before there are tokens; `None` where the connection has no
    /// such step.
    ///
    /// # Errors
    /// The host comes with a consent or a reply that `captured` does not have.
    pub fn endpoint(&self, step: Step, captured: &Vars) -> Result<Option<Endpoint>, RequestError> {
        let Some(spec) = self.provider.steps.get(&step) else { return Ok(None) };
        let values = RequestValues { captured: captured.clone(), ..RequestValues::default() };
        let filler = Filler { definition: self, values: &values, step: step.as_str() };
        let target = filler.url(&spec.url)?;
        Ok(target.map(|target| Endpoint { url: target.url, captured_host: target.captured_host }))
    }

    /// Whether an API reply of that status may mean that the access token died, but only its JSON body can tell. A
    /// caller that streams bodies needs to hold back no others.
    pub fn api_wants_body(&self, status: u16) -> bool {
        self.expired_signals().any(|signal| signal.admits_status(status) && signal.looks_at_body())
    }

    /// Whether some replies tell only by their JSON body that the access token died.
    pub fn api_reads_bodies(&self) -> bool {
        self.expired_signals().any(super::condition::Condition::looks_at_body)
    }

    /// Whether an API reply means that the access token it was asked with is not accepted; a body that is not given
    /// has nothing in it.
    pub fn api_expired(&self, status: u16, raw: Option<&[u8]>) -> bool {
        let raw = raw.unwrap_or_default();
        let body = Body { raw, value: body::parse(raw, Some("application/json")) };
        self.expired_signals().any(|signal| signal.holds(status, &body))
    }

    /// How many calls the API allows.
    pub fn api_rate(&self) -> Option<Rate> {
        self.provider.api.as_ref().and_then(|api| api.rate)
    }

    fn expired_signals(&self) -> impl Iterator<Item = &super::condition::Condition> {
        self.provider.api.iter().flat_map(|api| &api.expired)
    }
}
