//! Making the requests of a connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::address::{SourcedValue, UrlFault, UrlTemplate};
use super::body::Body;
use super::definition::Definition;
use super::http_types::{Endpoint, Injection, Method, OutboundRequest};
use super::load::{InjectPlace, Rate};
use super::payload::{BodyTemplate, Fields, JsonTemplate};
use super::request_values::{RequestValues, Vars};
use super::schema::RateLimitReach;
use super::step::{ClientAuth, Step, StepSpec};
use super::template::{Name, Template, Unfilled};
use super::vars::{Capture, Var};
use crate::secret::Secret;

/// A request cannot be made; nothing was sent, so nothing was spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The provider has no such step, or its URL hangs on an optional variable that is not set.
    #[error("the provider `{provider}` has no `{step}` step{cure}")]
    NoStep {
        /// The provider.
        provider: String,
        /// The step.
        step: Step,
        /// What would give it one; begins with a semicolon, or is empty.
        cure: String,
    },
    /// Something the request needs has no value.
    #[error("the `{step}` request needs `{name}`, which is not known{cure}")]
    Missing {
        /// The step, or `api`.
        step: String,
        /// What is missing, as a provider file calls it.
        name: String,
        /// Where it would come from; begins with a colon.
        cure: String,
    },
    /// A value makes a URL or header that must not be sent.
    #[error("the `{step}` request cannot be made: {problem}")]
    Refused {
        /// The step, or `api`.
        step: String,
        /// What is wrong, with no secret.
        problem: String,
    },
    /// The refresh token cannot be one of this provider's; sending it would only burn an attempt.
    #[error(
        "the refresh token has {length} bytes and one of `{provider}` has at least {least}: connect again with the whole token"
    )]
    RefreshTooShort {
        /// The provider.
        provider: String,
        /// Its length in bytes.
        length: usize,
        /// `policy.min_refresh_length`.
        least: usize,
    },
}

impl Definition {
    /// Makes the request of a step. Nothing is sent; the caller sends it once, to the URL as it is.
    pub fn request(&self, step: Step, values: &RequestValues) -> Result<OutboundRequest, RequestError> {
        let no_step =
            |cure: String| RequestError::NoStep { provider: self.provider.name().to_string(), step, cure };
        let spec = self.spec(step).ok_or_else(|| no_step(self.cure_of_missing(step)))?;
        let least = self.policy().min_refresh_length;
        if let (Step::Refresh, Some(refresh)) = (step, &values.refresh)
            && refresh.len() < least
        {
            let provider = self.provider.name().to_string();
            return Err(RequestError::RefreshTooShort { provider, length: refresh.len(), least });
        }
        let filler = Filler { definition: self, values, step: step.as_str() };
        let Some(target) = filler.url(&spec.url)? else {
            let optional =
                spec.url.names().find(|(name, optional)| *optional && filler.value(name).is_none());
            let cure =
                optional.map(|(name, _)| format!("; set vars.{name} to give it one")).unwrap_or_default();
            return Err(no_step(cure));
        };
        let mut url = target.url;
        let query = filler.parameters(&spec.query)?;
        if !query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &query {
                pairs.append_pair(name, value.reveal());
            }
        }
        let mut headers = vec![("accept".to_owned(), Secret::new("application/json"))];
        let auth = self.authenticate(step, spec, &filler)?;
        if let Some(basic) = auth.basic {
            headers.push(("authorization".to_owned(), basic));
        }
        for (name, value) in filler.fields(&spec.headers)? {
            check_header_value(&value)
                .map_err(|problem| filler.refused(format!("the header `{name}` {problem}")))?;
            headers.retain(|(written, _)| *written != name);
            headers.push((name, value));
        }
        let (body, content_type) = filler.body(spec, auth.fields)?;
        if let Some(content_type) = content_type {
            headers.push(("content-type".to_owned(), Secret::new(content_type)));
        }
        Ok(OutboundRequest {
            method: spec.method,
            url,
            headers,
            body,
            content_type,
            captured_host: target.captured_host,
            certificate: target.certificate,
        })
    }

    /// What would give this connection a step that its provider has for others; begins with a semicolon, or is empty.
    fn cure_of_missing(&self, step: Step) -> String {
        let wanted = self.provider.steps.get(&step).into_iter().flat_map(|spec| &spec.only_where);
        let wanted: Vec<_> = wanted.map(|(var, value)| format!("vars.{var} to {value:?}")).collect();
        if wanted.is_empty() { String::new() } else { format!("; set {} to have one", wanted.join(" and ")) }
    }

    fn authenticate(
        &self,
        step: Step,
        spec: &StepSpec,
        filler: &Filler<'_>,
    ) -> Result<AuthFields, RequestError> {
        let auth = self.client_auth(step);
        let mut added = AuthFields::default();
        if !step.authenticates_client() {
            return Ok(added);
        }
        match auth {
            ClientAuth::Basic | ClientAuth::BasicRaw => {
                let id = filler.required(&Name::ClientId)?;
                let secret = filler.required(&Name::ClientSecret)?;
                if auth == ClientAuth::BasicRaw && id.text.contains(':') {
                    return Err(filler.refused(
                        "a client id with a colon cannot be sent as `basic-raw`: the server would cut it there".to_owned(),
                    ));
                }
                added.basic = Some(basic(id.text, secret.text, auth));
            }
            ClientAuth::Mtls => {
                if !spec.mentions(&Name::ClientId) {
                    added.fields.push(("client_id", Secret::new(filler.required(&Name::ClientId)?.text)));
                }
            }
            ClientAuth::Post => {
                if !spec.mentions(&Name::ClientId) {
                    added.fields.push(("client_id", Secret::new(filler.required(&Name::ClientId)?.text)));
                }
                if !spec.mentions(&Name::ClientSecret) {
                    added
                        .fields
                        .push(("client_secret", Secret::new(filler.required(&Name::ClientSecret)?.text)));
                }
            }
            ClientAuth::None => {
                if let (false, Some(id)) = (spec.mentions(&Name::ClientId), filler.value(&Name::ClientId)) {
                    added.fields.push(("client_id", Secret::new(id.text)));
                }
            }
        }
        let bodiless = matches!(spec.method, Method::Get | Method::Delete);
        if auth == ClientAuth::Post && bodiless && !added.fields.is_empty() {
            return Err(filler
                .refused("a request without a body cannot carry client credentials as `post`".to_owned()));
        }
        if bodiless {
            added.fields.clear();
        }
        Ok(added)
    }
}

/// What client authentication adds to a request.
#[derive(Default)]
struct AuthFields {
    basic: Option<Secret>,
    fields: Vec<(&'static str, Secret)>,
}

fn basic(id: &str, secret: &str, auth: ClientAuth) -> Secret {
    let mut pair = Zeroizing::new(String::new());
    for (part, text) in [("", id), (":", secret)] {
        pair.push_str(part);
        if auth == ClientAuth::BasicRaw {
            pair.push_str(text);
        } else {
            pair.extend(form_urlencoded::byte_serialize(text.as_bytes()));
        }
    }
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Secret::new(format!("Basic {}", encoded.as_str()))
}

pub(super) fn check_header_value(value: &Secret) -> Result<(), &'static str> {
    let visible = value.reveal().bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    if visible { Ok(()) } else { Err("would hold a character that headers cannot carry") }
}

/// Fills the templates of one request.
pub(super) struct Filler<'a> {
    pub(super) definition: &'a Definition,
    pub(super) values: &'a RequestValues,
    /// What messages call the request.
    pub(super) step: &'a str,
}

impl<'a> Filler<'a> {
    fn value(&self, name: &Name) -> Option<SourcedValue<'a>> {
        self.definition.value(name, self.values)
    }

    fn required(&self, name: &Name) -> Result<SourcedValue<'a>, RequestError> {
        self.value(name).ok_or_else(|| self.missing(name))
    }

    pub(super) fn text(&self, template: &Template) -> Result<Option<Secret>, RequestError> {
        let filled = template.fill(|name| self.value(name).map(|given| given.text));
        filled.map_err(|Unfilled(name)| self.missing(&name))
    }

    fn fields(&self, fields: &Fields) -> Result<Vec<(String, Secret)>, RequestError> {
        let mut filled = Vec::with_capacity(fields.len());
        for (name, template) in fields {
            if let Some(value) = self.text(template)? {
                filled.push((name.clone(), value));
            }
        }
        Ok(filled)
    }

    /// The parameters of a query or a form: one that is a list comes once for each of its values.
    fn parameters(&self, fields: &Fields) -> Result<Vec<(String, Secret)>, RequestError> {
        let mut filled = Vec::with_capacity(fields.len());
        for (name, template) in fields {
            let Some(value) = self.text(template)? else { continue };
            if self.is_list(template) {
                let values = value.reveal().split_ascii_whitespace();
                filled.extend(values.map(|value| (name.clone(), Secret::new(value))));
            } else {
                filled.push((name.clone(), value));
            }
        }
        Ok(filled)
    }

    fn is_list(&self, template: &Template) -> bool {
        let Some(Name::Var(var)) = template.only_hole() else { return false };
        self.definition.provider.vars.get(var).is_some_and(Var::is_list)
    }

    pub(super) fn url(&self, url: &UrlTemplate) -> Result<Option<Endpoint>, RequestError> {
        let filled = url.fill(|name| self.value(name), self.definition.allowed_hosts());
        let target = filled.map_err(|fault| match fault {
            UrlFault::Unfilled(name) => self.missing(&name),
            UrlFault::Bad(Some(name), problem) => self.refused(format!("vars.{name}: {problem}")),
            UrlFault::Bad(None, problem) => self.refused(problem),
        })?;
        let Some(emulator) = &self.definition.emulator else {
            let certificate = self.definition.certificate().cloned();
            return Ok(target.map(|target| Endpoint { certificate, ..target }));
        };
        Ok(target.map(|target| {
            let mut moved = emulator.clone();
            moved.set_path(target.url.path());
            moved.set_query(target.url.query());
            Endpoint { url: moved, captured_host: false, certificate: None }
        }))
    }

    fn body(
        &self,
        spec: &StepSpec,
        added: Vec<(&'static str, Secret)>,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<&'static str>), RequestError> {
        match &spec.body {
            BodyTemplate::Json(template) => {
                let mut value = self.json(template)?.unwrap_or_else(|| Value::Object(Map::new()));
                if let Value::Object(object) = &mut value {
                    for (name, secret) in added {
                        object.entry(name).or_insert_with(|| Value::String(secret.reveal().to_owned()));
                    }
                }
                Ok((value.to_string().into_bytes().into(), Some("application/json")))
            }
            BodyTemplate::None if added.is_empty() => Ok((Zeroizing::default(), None)),
            BodyTemplate::None => Ok((form(&[], &added), Some(FORM))),
            BodyTemplate::Form(fields) => Ok((form(&self.parameters(fields)?, &added), Some(FORM))),
        }
    }

    fn json(&self, template: &JsonTemplate) -> Result<Option<Value>, RequestError> {
        match template {
            JsonTemplate::Literal(value) => Ok(Some(value.clone())),
            JsonTemplate::Text(template) => Ok(self.text(template)?.map(|text| {
                if self.is_list(template) {
                    text.reveal().split_ascii_whitespace().collect()
                } else {
                    Value::String(text.reveal().to_owned())
                }
            })),
            JsonTemplate::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.json(item)).collect();
                Ok(Some(Value::Array(items?.into_iter().flatten().collect())))
            }
            JsonTemplate::Object(fields) => {
                let mut object = Map::new();
                for (name, template) in fields {
                    if let Some(value) = self.json(template)? {
                        object.insert(name.clone(), value);
                    }
                }
                Ok(Some(Value::Object(object)))
            }
        }
    }

    pub(super) fn refused(&self, problem: String) -> RequestError {
        RequestError::Refused { step: self.step.to_owned(), problem }
    }

    fn missing(&self, name: &Name) -> RequestError {
        let cure = match name {
            Name::Var(var) => match self.definition.provider.vars.get(var).and_then(|var| var.capture()) {
                Some(Capture::Callback(parameter)) => {
                    format!(": it comes with the consent (`{parameter}`); connect again, or set vars.{var}")
                }
                Some(Capture::Take) => {
                    format!(": it comes with a token reply; refresh the connection, or set vars.{var}")
                }
                None if self.definition.awaits_metadata() => {
                    format!(": the metadata of the issuer has it, and was not read yet; or set vars.{var}")
                }
                None => format!(": set vars.{var}"),
            },
            Name::ClientId | Name::ClientSecret | Name::RedirectUri => format!(": set {name}"),
            Name::Access | Name::Refresh => ": connect the connection first".to_owned(),
            Name::Code | Name::State | Name::CodeChallenge | Name::CodeVerifier => {
                ": begin the consent again".to_owned()
            }
        };
        RequestError::Missing { step: self.step.to_owned(), name: name.to_string(), cure }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn form(fields: &[(String, Secret)], added: &[(&'static str, Secret)]) -> Zeroizing<Vec<u8>> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, value.reveal());
    }
    for (name, value) in added {
        if !fields.iter().any(|(written, _)| written == name) {
            form.append_pair(name, value.reveal());
        }
    }
    form.finish().into_bytes().into()
}

/// The characters of a cookie's value (RFC 6265, section 4.1.1).
fn check_cookie_value(value: &str) -> Result<(), &'static str> {
    let octet = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    if value.bytes().all(octet) { Ok(()) } else { Err("holds a character that cookies cannot hold") }
}

impl Definition {
    /// What to put into a call to the API, and where.
    pub fn inject(&self, values: &RequestValues) -> Result<Vec<Injection>, RequestError> {
        let filler = Filler { definition: self, values, step: "api" };
        let mut injections = Vec::with_capacity(self.provider.inject.len());
        for (place, name, template) in &self.provider.inject {
            let Some(value) = filler.text(template)? else { continue };
            let name = name.clone();
            injections.push(match place {
                InjectPlace::Header => {
                    check_header_value(&value)
                        .map_err(|problem| filler.refused(format!("the header `{name}` {problem}")))?;
                    Injection::Header(name, value)
                }
                InjectPlace::Query => Injection::Query(name, value),
                InjectPlace::Cookie => {
                    check_cookie_value(value.reveal())
                        .map_err(|problem| filler.refused(format!("the cookie `{name}` {problem}")))?;
                    Injection::Cookie(name, value)
                }
                InjectPlace::Body => Injection::Body(name, value),
            });
        }
        Ok(injections)
    }

    /// Where the API is; `None` where the provider does not say, or its optional variable is not set.
    pub fn api_base(&self, captured: &Vars) -> Result<Option<Endpoint>, RequestError> {
        let Some(api) = &self.provider.api else { return Ok(None) };
        let values = RequestValues { captured: captured.clone(), ..RequestValues::default() };
        let filler = Filler { definition: self, values: &values, step: "api" };
        filler.url(&api.base)
    }

    /// Where a step is requested, as far as that is known before there are tokens; `None` where the connection has no
    /// such step.
    ///
    /// # Errors
    /// The host comes with a consent or a reply that `captured` does not have.
    pub fn endpoint(&self, step: Step, captured: &Vars) -> Result<Option<Endpoint>, RequestError> {
        let Some(spec) = self.spec(step) else { return Ok(None) };
        let values = RequestValues { captured: captured.clone(), ..RequestValues::default() };
        let filler = Filler { definition: self, values: &values, step: step.as_str() };
        filler.url(&spec.url)
    }

    /// Whether it gets its first token with nothing but its settings, so that nobody needs to connect it: no person is asked, and
    /// the `acquire` step needs nothing that a callback or a reply would bring.
    pub fn starts_itself(&self) -> bool {
        self.has(Step::Acquire)
            && !self.asks_for_consent()
            && (self.awaits_metadata()
                || !matches!(
                    self.request(Step::Acquire, &RequestValues::default()),
                    Err(RequestError::Missing { .. })
                ))
    }

    /// Names the server that token requests go to, as far as connections share it: its host and port, or the name of the provider
    /// where each account has a host of its own there.
    pub fn token_server(&self) -> String {
        let step = [Step::Refresh, Step::Acquire].into_iter().find(|step| self.has(*step));
        let url: Option<Url> = if let Some(issuer) = self.discovers() {
            // Before its metadata was read and afterwards.
            issuer.reveal().parse().ok()
        } else {
            let endpoint = self.endpoint(step.unwrap_or(Step::Exchange), &Vars::new());
            endpoint.ok().flatten().map(|endpoint| endpoint.url)
        };
        let host = url.as_ref().and_then(|url| url.host_str()).filter(|host| {
            self.emulator.is_some() || !self.provider.hosts.iter().any(|pattern| pattern.admits_below(host))
        });
        match (host, url.as_ref().and_then(Url::port)) {
            (None, _) => self.provider.name().to_string(),
            (Some(host), None) => host.to_owned(),
            (Some(host), Some(port)) => format!("{host}:{port}"),
        }
    }

    /// Whether an API reply of that status may mean that the access token died, but only its JSON body can tell. A
    /// caller that streams bodies needs to hold back no others.
    pub fn api_wants_body(&self, status: u16) -> bool {
        self.expired_signals().any(|signal| signal.admits_status(status) && signal.looks_at_body())
    }

    /// Whether some replies tell only by their JSON body that the access token died.
    pub fn api_reads_bodies(&self) -> bool {
        self.expired_signals().any(super::condition::ReplyCondition::looks_at_body)
    }

    /// Whether an API reply means that the access token it was asked with is not accepted; a body that is not given
    /// has nothing in it.
    pub fn api_expired(&self, status: u16, raw: Option<&[u8]>) -> bool {
        let body = Body::json(raw.unwrap_or_default());
        self.expired_signals().any(|signal| signal.holds(status, &body))
    }

    /// How many calls the API allows.
    pub fn api_rate(&self) -> Option<Rate> {
        self.provider.api.as_ref().and_then(|api| api.rate)
    }

    /// Which calls wait after a 429, where the file says so.
    pub fn rate_limit_reach(&self) -> Option<RateLimitReach> {
        self.provider.api.as_ref().and_then(|api| api.rate_limit_reach)
    }

    fn expired_signals(&self) -> impl Iterator<Item = &super::condition::ReplyCondition> {
        self.provider.api.iter().flat_map(|api| &api.expired)
    }
}
