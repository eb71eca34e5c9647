//! A provider with a connection's variables and client credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::address::{SourcedValue, UrlFault, ValueSource};
use super::body::Body;
use super::fault::DefineError;
use super::hosts::{self, AllowedHosts};
use super::http_types::{ClientCertificate, Method, OutboundRequest, Reply};
use super::load::Provider;
use super::policy::{self, Policy, PolicyOverrides, Rotation};
use super::request_values::{Client, RequestValues, VarValue, Vars};
use super::server_metadata::{KnownMetadata, ServerMetadata, issuer_url, metadata_urls};
use super::step::{AuthChoice, ClientAuth, Step, StepSpec};
use super::template::{Name, Template};
use super::vars::Var;
use crate::secret::Secret;
use crate::suggest;

/// What a connection adds to its provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Variables by name.
    pub vars: BTreeMap<String, Secret>,
    /// Client credentials.
    pub client: Client,
    /// Settings of `policy` that differ from the provider's file.
    pub policy: PolicyOverrides,
    /// Hosts in a private network that may be reached by plain http, as they stand in URLs.
    pub plain_http_hosts: Arc<[String]>,
}

/// A provider with a connection's variables and client credentials: everything about a connection but its tokens.
#[derive(Clone)]
pub struct Definition {
    pub(super) provider: Arc<Provider>,
    pub(super) vars: Vars,
    pub(super) client: Client,
    policy: Policy,
    plain_http_hosts: Arc<[String]>,
    /// What is known of the issuer's metadata, for a connection that leaves out what stands there.
    pub(super) metadata: Option<Arc<KnownMetadata>>,
    /// What it shows to its provider's hosts that ask for it.
    certificate: Option<Arc<ClientCertificate>>,
    /// Where every URL leads instead of its own host.
    pub(super) emulator: Option<Url>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("provider", self.provider.name())
            .field("vars", &self.vars)
            .field("client", &self.client)
            .field("policy", &self.policy)
            .field("emulator", &self.emulator.as_ref().map(Url::as_str))
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// Makes the definition of a connection, if its settings fit.
    pub fn define(self: &Arc<Self>, setup: Setup) -> Result<Definition, DefineError> {
        let mut vars = Vars::new();
        for (name, value) in &setup.vars {
            vars.insert(name.clone(), self.operator_var(name, value)?);
        }
        let own = |name: &str| vars.get(name).map(VarValue::reveal);
        let has_acquire = self.has_step(Step::Acquire, own);
        if let Some((key, problem)) =
            policy::contradiction(&setup.policy.clone().over(self.policy.clone()), has_acquire)
        {
            return Err(DefineError::new(format!("policy.{key}"), problem));
        }
        let policy = Policy::from_written(setup.policy.over(self.policy.clone()), has_acquire);
        let mut definition = Definition {
            provider: Arc::clone(self),
            vars,
            client: setup.client,
            policy,
            plain_http_hosts: setup.plain_http_hosts,
            metadata: None,
            certificate: None,
            emulator: None,
        };
        definition.find_issuer()?;
        // What is there and wrong comes before what is missing.
        definition.check_urls()?;
        definition.check_mandatory()?;
        definition.check_client()?;
        Ok(definition)
    }

    /// Whether a connection that sets these variables has the step.
    pub(super) fn has_step<'v>(&'v self, step: Step, own: impl Fn(&str) -> Option<&'v str>) -> bool {
        let value = |name: &str| own(name).or_else(|| self.vars.get(name)?.default_value());
        self.steps.get(&step).is_some_and(|spec| spec.applies(value))
    }

    fn operator_var(&self, name: &str, value: &Secret) -> Result<VarValue, DefineError> {
        let field = || format!("vars.{name}");
        let Some(var) = self.vars.get(name) else {
            let cure = suggest::hint(name, self.vars.keys().map(String::as_str));
            let problem = format!("the provider `{}` has no variable `{name}`; {cure}", self.name());
            return Err(DefineError::new(field(), problem));
        };
        var.check(value.reveal()).map_err(|problem| DefineError::new(field(), problem))?;
        Ok(var.wrap(value.reveal()))
    }
}

impl Definition {
    /// The same connection, kept at an emulated provider: every URL keeps its path and leads to `emulator`, which must
    /// be on this machine, so that no secret can leave it.
    pub fn emulated_at(mut self, emulator: Url) -> Result<Self, DefineError> {
        let bare = matches!(emulator.path(), "" | "/") && emulator.query().is_none();
        if emulator.scheme() != "http" || !hosts::is_loopback(&emulator) || !bare {
            let problem = "an emulated provider is on this machine: write http://127.0.0.1:PORT";
            return Err(DefineError::new("emulated_at", problem));
        }
        self.emulator = Some(emulator);
        // Nobody is asked where the real endpoints are.
        self.metadata = None;
        Ok(self)
    }

    /// The same connection, which shows this certificate to every host of its provider that asks for one (RFC 8705).
    #[must_use]
    pub fn with_certificate(mut self, certificate: ClientCertificate) -> Self {
        self.certificate = Some(Arc::new(certificate));
        self
    }

    /// The certificate that it shows, if any. An emulated provider gets none.
    pub fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref().filter(|_| self.emulator.is_none())
    }

    /// Whether some request authenticates it by a certificate.
    pub fn needs_certificate(&self) -> bool {
        self.emulator.is_none()
            && self
                .provider
                .steps
                .keys()
                .any(|step| self.has(*step) && self.client_auth(*step) == ClientAuth::Mtls)
    }

    /// Which hosts its secrets may go to.
    pub(super) fn allowed_hosts(&self) -> AllowedHosts<'_> {
        AllowedHosts { listed: &self.provider.hosts, plain_http: &self.plain_http_hosts }
    }

    /// Where the emulated provider is, if this connection is kept at one.
    pub fn emulator(&self) -> Option<&Url> {
        self.emulator.as_ref()
    }

    /// Its provider.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// How its tokens behave, overrides and defaults included.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its client credentials.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The variables that the connection sets.
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// The step, where this connection has it by the values of its variables.
    pub(super) fn spec(&self, step: Step) -> Option<&StepSpec> {
        let own = |name: &str| self.vars.get(name).map(VarValue::reveal);
        self.provider.steps.get(&step).filter(|_| self.provider.has_step(step, own))
    }

    /// Whether the step can be requested: the provider has it for such a connection, and every optional variable that its URL
    /// hangs on is set or may be captured.
    pub fn has(&self, step: Step) -> bool {
        self.spec(step).is_some_and(|spec| {
            spec.url.names().all(|(name, optional)| {
                let Name::Var(var) = name else { return true };
                let var = self.provider.vars.get(var);
                let capturable = var.is_some_and(|var| var.capture().is_some());
                let unread = self.awaits_metadata() && var.is_some_and(|var| var.discover().is_some());
                !optional || capturable || unread || self.value(name, &RequestValues::default()).is_some()
            })
        })
    }

    /// Whether the step spends what it sends: after it was sent, nobody may send the same again.
    pub fn spends(&self, step: Step) -> bool {
        let Some(spec) = self.spec(step) else { return false };
        match step {
            // An operator who knows that tokens rotate is believed over a file that says they do not.
            Step::Refresh if self.policy.rotation != Rotation::None => true,
            Step::Refresh => spec.spends.unwrap_or(false),
            Step::Exchange => spec.spends.unwrap_or(true),
            _ => false,
        }
    }

    /// How our credentials are sent with that step.
    pub fn client_auth(&self, step: Step) -> ClientAuth {
        if !step.authenticates_client() {
            return ClientAuth::None;
        }
        let own = self.spec(step).and_then(|spec| spec.auth.as_ref());
        match own.unwrap_or(&self.provider.auth) {
            AuthChoice::Fixed(auth) => *auth,
            AuthChoice::Var(var) => {
                let values = RequestValues::default();
                let value = self.value(&Name::Var(var.clone()), &values);
                value.and_then(|given| ClientAuth::parse(given.text)).unwrap_or(ClientAuth::Basic)
            }
        }
    }

    /// What a hole is filled with: the operator's word, else what was captured, else the file's default.
    pub(super) fn value<'v>(&'v self, name: &Name, values: &'v RequestValues) -> Option<SourcedValue<'v>> {
        let given = |text, source| Some(SourcedValue { text, source });
        let secret = |secret: &'v Option<Secret>| {
            secret.as_ref().map(|s| SourcedValue { text: s.reveal(), source: ValueSource::Operator })
        };
        let plain = |text: &'v Option<String>| {
            text.as_deref().map(|text| SourcedValue { text, source: ValueSource::Operator })
        };
        match name {
            Name::Var(var) => {
                if let Some(value) = self.vars.get(var) {
                    return given(value.reveal(), ValueSource::Operator);
                }
                // A variable that is no longer captured by its file is not taken from an old capture either.
                let var = self.provider.vars.get(var)?;
                if let Some(value) = values.captured.get(var.name()).filter(|_| var.capture().is_some()) {
                    return given(value.reveal(), ValueSource::Captured);
                }
                if let Some(text) = self.discovered(var) {
                    return given(text, ValueSource::Operator);
                }
                var.default_value().and_then(|text| given(text, ValueSource::File))
            }
            Name::ClientId => plain(&self.client.id),
            Name::RedirectUri => plain(&self.client.redirect_uri),
            Name::ClientSecret => secret(&self.client.secret),
            Name::Access => secret(&values.access),
            Name::Refresh => secret(&values.refresh),
            Name::Code => secret(&values.code),
            Name::State => secret(&values.state),
            Name::CodeChallenge => secret(&values.code_challenge),
            Name::CodeVerifier => secret(&values.code_verifier),
        }
    }

    fn check_mandatory(&self) -> Result<(), DefineError> {
        let Some(var) = self.left_out().find(|var| self.metadata.is_none() || var.discover().is_none())
        else {
            return Ok(());
        };
        let about = var.about().map(|about| format!(" ({about})")).unwrap_or_default();
        let issuer = self.provider.issuer_template().filter(|_| var.discover().is_some());
        let or = match issuer.and_then(Template::only_hole) {
            Some(name) => format!(", or set vars.{name}, whose metadata has it"),
            None => String::new(),
        };
        let problem =
            format!("the provider `{}` cannot do without it{about}: set it{or}", self.provider.name());
        Err(DefineError::new(format!("vars.{}", var.name()), problem))
    }

    /// The variables that a connection must set, and this one does not.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &Var> {
        self.provider.vars().filter(|var| var.is_mandatory() && !self.vars.contains_key(var.name()))
    }

    fn check_client(&self) -> Result<(), DefineError> {
        let empty_id = self.client.id.as_deref().is_some_and(str::is_empty);
        if empty_id || self.client.secret.as_ref().is_some_and(Secret::is_empty) {
            let field = if empty_id { "client.id" } else { "client.secret" };
            return Err(DefineError::new(field, "is empty: give it a value or leave it out"));
        }
        for (step, spec) in &self.provider.steps {
            // Consent may be set up later, or never where a grant is taken over: its own needs are checked then.
            if matches!(step, Step::Authorize | Step::Exchange | Step::Probe) || !self.has(*step) {
                continue;
            }
            let auth = self.client_auth(*step);
            self.check_credential("client.id", self.client.id.is_some(), spec, &Name::ClientId, auth)?;
            self.check_credential(
                "client.secret",
                self.client.secret.is_some(),
                spec,
                &Name::ClientSecret,
                auth,
            )?;
            let redirect = self.client.redirect_uri.is_some();
            self.check_credential(
                "client.redirect_uri",
                redirect,
                spec,
                &Name::RedirectUri,
                ClientAuth::None,
            )?;
        }
        Ok(())
    }

    pub(super) fn check_credential(
        &self,
        field: &str,
        present: bool,
        spec: &StepSpec,
        name: &Name,
        auth: ClientAuth,
    ) -> Result<(), DefineError> {
        let written = spec.names().iter().any(|(hole, optional)| *hole == name && !optional);
        let needed = match name {
            Name::ClientId => auth.sends_id(),
            Name::ClientSecret => auth.sends_secret(),
            _ => false,
        };
        if present || !(written || needed) {
            return Ok(());
        }
        let problem =
            format!("the provider `{}` needs it for its token requests: set it", self.provider.name());
        Err(DefineError::new(field, problem))
    }

    /// Checks every URL as far as it can be filled before anything is captured or any token is there.
    fn check_urls(&self) -> Result<(), DefineError> {
        if let Some(redirect) = &self.client.redirect_uri
            && !Url::parse(redirect).is_ok_and(|url| url.fragment().is_none())
        {
            return Err(DefineError::new("client.redirect_uri", "not an absolute URL without a `#` part"));
        }
        let values = RequestValues::default();
        for (key, url) in self.provider.urls() {
            match url.fill(|name| self.value(name, &values), self.allowed_hosts()) {
                Err(UrlFault::Bad(Some(name), problem)) => {
                    return Err(DefineError::new(format!("vars.{name}"), problem));
                }
                Err(UrlFault::Bad(None, problem)) => {
                    return Err(DefineError::new(format!("{key} URL"), problem));
                }
                Ok(_) | Err(UrlFault::Unfilled(_)) => {}
            }
        }
        Ok(())
    }
}

impl Definition {
    /// Finds the issuer whose metadata this connection takes endpoints from: one is named, and a variable is left out that must have
    /// a value and may have it from there. A connection that sets all of them reads no metadata.
    pub(super) fn find_issuer(&mut self) -> Result<(), DefineError> {
        if !self.left_out().any(|var| var.discover().is_some()) {
            return Ok(());
        }
        let Some(issuer) = self.issuer() else { return Ok(()) };
        let name = self.provider.issuer_template().and_then(Template::only_hole);
        issuer_url(issuer.reveal(), self.allowed_hosts().plain_http).map_err(|problem| {
            let field = name.map_or_else(|| "authorize.issuer".to_owned(), |name| format!("vars.{name}"));
            DefineError::new(field, problem)
        })?;
        self.metadata = Some(Arc::default());
        Ok(())
    }

    /// The issuer whose metadata this connection needs; `None` where it needs none.
    pub fn discovers(&self) -> Option<Secret> {
        self.metadata.as_ref().and_then(|_| self.issuer())
    }

    /// The metadata that was read last.
    pub fn metadata(&self) -> Option<&ServerMetadata> {
        self.metadata.as_ref()?.latest()
    }

    /// Whether it needs metadata that was not read yet.
    pub fn awaits_metadata(&self) -> bool {
        self.metadata.as_ref().is_some_and(|known| known.latest().is_none())
    }

    /// Takes metadata that [`Definition::read_metadata`] or [`Definition::check_metadata`] found right. Other connections that
    /// share what is known have it, too.
    pub fn take_metadata(&self, metadata: ServerMetadata) {
        if let Some(known) = &self.metadata {
            known.put(metadata);
        }
    }

    /// Shares what is known of the issuer with other connections.
    pub fn share_metadata(&mut self, known: Arc<KnownMetadata>) {
        if self.metadata.is_some() {
            self.metadata = Some(known);
        }
    }

    /// The requests that ask for the metadata, in the order in which they are sent until one brings it.
    pub fn metadata_requests(&self) -> Vec<OutboundRequest> {
        let issuer = self.discovers().and_then(|issuer| issuer.reveal().parse::<Url>().ok());
        let request = |url| OutboundRequest {
            method: Method::Get,
            url,
            headers: vec![("accept".to_owned(), Secret::new("application/json"))],
            body: Zeroizing::default(),
            content_type: None,
            captured_host: false,
            certificate: None,
        };
        issuer.iter().flat_map(metadata_urls).map(request).collect()
    }

    /// Reads the reply to one of these requests.
    ///
    /// # Errors
    /// One sentence that says why it brings no metadata.
    pub fn read_metadata(&self, reply: &Reply) -> Result<ServerMetadata, String> {
        if reply.status != 200 {
            return Err(format!("HTTP {}", reply.status));
        }
        let body = Body::read(reply);
        let document = body.value.filter(Value::is_object).ok_or("HTTP 200 with no JSON object")?;
        let issuer = self.discovers().ok_or("it needs no metadata")?;
        ServerMetadata::read(issuer.reveal(), &document, self.allowed_hosts().plain_http)
    }

    /// Checks metadata that was kept.
    ///
    /// # Errors
    /// One sentence that says why it does not count any more.
    pub fn check_metadata(&self, metadata: &ServerMetadata) -> Result<(), String> {
        let issuer = self.discovers().ok_or("it needs no metadata")?;
        metadata.check(issuer.reveal(), self.allowed_hosts().plain_http)
    }

    /// The value that the metadata gives a variable.
    pub(super) fn discovered(&self, var: &Var) -> Option<&str> {
        self.metadata()?.value(var.discover()?)
    }
}
