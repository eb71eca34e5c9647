//! Steps: the requests that a provider knows.

use std::collections::{BTreeMap, BTreeSet};

use super::address::UrlTemplate;
use super::condition::ErrorRule;
use super::condition::Success;
use super::extract::Extract;
use super::fault::{Flaw, Under};
use super::http_types::Method;
use super::payload::{self, BodyTemplate, Fields};
use super::schema::{self, Spent};
use super::template::{AllowedNames, Name, Template};
use super::vars::Var;
use crate::named_enum::named_enum;
use crate::suggest;

named_enum! {
    /// A request that a provider knows.
    Step {
        /// The page a person consents on; a URL for a browser, never sent by us.
        Authorize = "authorize",
        /// Turns the code of a callback into a token set.
        Exchange = "exchange",
        /// Gets a token set with no refresh token.
        Acquire = "acquire",
        /// Redeems a refresh token.
        Refresh = "refresh",
        /// Asks what a token is worth (RFC 7662).
        Introspect = "introspect",
        /// Ends a grant (RFC 7009).
        Revoke = "revoke",
        /// A harmless call that shows whether the access token works.
        Probe = "probe",
    }
}

impl Step {
    /// Whether its reply brings a token set.
    pub const fn gives_tokens(self) -> bool {
        matches!(self, Self::Exchange | Self::Acquire | Self::Refresh)
    }

    /// Whether the provider expects our client credentials with it.
    pub(super) const fn authenticates_client(self) -> bool {
        !matches!(self, Self::Authorize | Self::Probe)
    }

    /// The built-in names that have a value in it.
    const fn built_in(self) -> &'static [Name] {
        match self {
            Self::Authorize => &[Name::ClientId, Name::RedirectUri, Name::State, Name::CodeChallenge],
            Self::Exchange => {
                &[Name::ClientId, Name::ClientSecret, Name::RedirectUri, Name::Code, Name::CodeVerifier]
            }
            Self::Acquire => &[Name::ClientId, Name::ClientSecret, Name::RedirectUri],
            Self::Refresh | Self::Introspect | Self::Revoke => {
                &[Name::ClientId, Name::ClientSecret, Name::RedirectUri, Name::Access, Name::Refresh]
            }
            Self::Probe => &[Name::Access],
        }
    }
}

named_enum! {
    /// How our own credentials are sent to a token endpoint.
    ClientAuth {
        /// They are not, beyond what the file writes itself; where a client id is set and the file does not write it, it
        /// is sent as `client_id` in the body, as public clients must (RFC 6749, section 3.2.1).
        None = "none",
        /// As `client_id` and `client_secret` in the body.
        Post = "post",
        /// In an `Authorization: Basic` header, both form-encoded first (RFC 6749, section 2.3.1).
        Basic = "basic",
        /// The same header with both as they are: what many servers expect, against the RFC.
        BasicRaw = "basic-raw",
        /// By a certificate in the TLS handshake, with `client_id` in the body and no secret (RFC 8705, section 2).
        Mtls = "mtls",
    }
}

impl ClientAuth {
    /// Whether a client secret is needed.
    pub(super) fn sends_secret(self) -> bool {
        matches!(self, Self::Basic | Self::BasicRaw | Self::Post)
    }

    /// Whether a client id is needed.
    pub(super) fn sends_id(self) -> bool {
        self.sends_secret() || self == Self::Mtls
    }
}

/// How client credentials are sent, or the variable that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AuthChoice {
    Fixed(ClientAuth),
    Var(String),
}

impl AuthChoice {
    pub(super) fn compile(text: &str, vars: &BTreeMap<String, Var>) -> Result<Self, Flaw> {
        if let Some(auth) = ClientAuth::parse(text) {
            return Ok(Self::Fixed(auth));
        }
        let var =
            text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|name| vars.get(name));
        let Some(var) = var else {
            return Err(Flaw::new(format!(
                "`{text}` is no way to authenticate: write `basic`, `basic-raw`, `post`, `mtls`, `none` or `${{VARIABLE}}`"
            )));
        };
        let listed =
            var.one_of().is_some_and(|listed| listed.iter().all(|one| ClientAuth::parse(one).is_some()));
        let valued = var.default_value().is_some() || var.is_mandatory();
        if !listed || !valued {
            return Err(Flaw::new(format!(
                "the variable `{}` needs an `enum` of `basic`, `basic-raw`, `post`, `mtls` and `none`, and a `default` or to be mandatory",
                var.name()
            )));
        }
        Ok(Self::Var(var.name().to_owned()))
    }
}

/// A step, compiled.
#[derive(Clone, Debug)]
pub(super) struct StepSpec {
    pub(super) method: Method,
    pub(super) url: UrlTemplate,
    pub(super) auth: Option<AuthChoice>,
    pub(super) query: Fields,
    pub(super) headers: Fields,
    pub(super) body: BodyTemplate,
    /// `None` where the file leaves it to the rule: a refresh spends unless nothing rotates, an exchange spends.
    pub(super) spends: Option<bool>,
    /// Who the callback must say it comes from (RFC 9207); of `authorize` alone.
    pub(super) issuer: Option<Template>,
    /// The values of variables without which a connection does not have the step.
    pub(super) only_where: BTreeMap<String, String>,
    pub(super) ok: Success,
    pub(super) take: Extract,
    pub(super) errors: Vec<ErrorRule>,
}

/// What a step is compiled with.
#[derive(Clone, Copy)]
pub(super) struct FileDefaults<'a> {
    pub(super) vars: &'a BTreeMap<String, Var>,
    pub(super) names: &'a BTreeSet<String>,
    pub(super) ok: Option<&'a schema::SuccessTable>,
    pub(super) take: Option<&'a schema::ExtractTable>,
}

impl StepSpec {
    pub(super) fn compile(
        step: Step,
        written: &schema::StepTable,
        around: FileDefaults<'_>,
    ) -> Result<Self, Flaw> {
        let known = AllowedNames { vars: around.names, built_in: step.built_in() };
        let default_method =
            if matches!(step, Step::Authorize | Step::Probe) { Method::Get } else { Method::Post };
        let shared_ok = around.ok.filter(|_| step.gives_tokens());
        let shared_take = around.take.filter(|_| step.gives_tokens());
        let spec = Self {
            method: written.method.unwrap_or(default_method),
            url: UrlTemplate::parse(&written.url, known).under("url")?,
            auth: written
                .auth
                .as_deref()
                .map(|auth| AuthChoice::compile(auth, around.vars))
                .transpose()
                .under("auth")?,
            query: payload::fields(&written.query, known).under("query")?,
            headers: payload::headers(&written.headers, known).under("headers")?,
            body: payload::body(written, known)?,
            spends: spends(step, written.spends.as_deref()).under("spends")?,
            issuer: issuer(step, written.issuer.as_deref(), around.names).under("issuer")?,
            only_where: only_where(&written.only_where, around.vars).under("where")?,
            ok: Success::compile(
                written.ok.as_ref().or(shared_ok).unwrap_or(&schema::SuccessTable::default()),
            )
            .under("ok")?,
            take: Extract::compile(
                written.take.as_ref().or(shared_take).unwrap_or(&schema::ExtractTable::default()),
                step == Step::Introspect,
            )
            .under("take")?,
            errors: ErrorRule::compile_all(&written.errors).under("errors")?,
        };
        if step == Step::Authorize && (spec.method != Method::Get || !matches!(spec.body, BodyTemplate::None))
        {
            return Err(Flaw::new("a browser opens this URL with GET: put everything into `query`"));
        }
        if spec.method == Method::Get && !matches!(spec.body, BodyTemplate::None) {
            return Err(Flaw::new("a GET has no body: use `query`, or another `method`"));
        }
        spec.refuse_secrets(step, around.vars)?;
        Ok(spec)
    }

    /// Paths reach logs and authorize URLs reach browsers: neither may hold a secret.
    fn refuse_secrets(&self, step: Step, vars: &BTreeMap<String, Var>) -> Result<(), Flaw> {
        let secret = |name: &&Name| match name {
            Name::Var(var) => vars.get(var).is_some_and(Var::is_secret),
            Name::ClientId | Name::RedirectUri | Name::State | Name::CodeChallenge => false,
            _ => true,
        };
        if let Some(name) = self.url.names().map(|(name, _)| name).find(secret) {
            let problem = format!(
                "`${{{name}}}` is secret and the path of a URL is logged: use query, headers or body"
            );
            return Err(Flaw::new(problem).under("url"));
        }
        let shown = self.query.iter().chain(&self.headers).flat_map(|(_, template)| template.names());
        if let Some(name) = shown.filter(|_| step == Step::Authorize).find(|name| secret(name)) {
            return Err(Flaw::new(format!("`${{{name}}}` is secret and this URL passes through a browser"))
                .under("query"));
        }
        Ok(())
    }

    /// Whether a connection has the step whose variables have these values.
    pub(super) fn applies<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.only_where.iter().all(|(var, wanted)| value(var) == Some(wanted))
    }

    /// Whether any field is filled with that.
    pub(super) fn mentions(&self, wanted: &Name) -> bool {
        self.names().iter().any(|(name, _)| *name == wanted)
    }

    /// Every hole of the request, and whether it is optional.
    pub(super) fn names(&self) -> Vec<(&Name, bool)> {
        let mut found: Vec<(&Name, bool)> = self.url.names().collect();
        found.extend(self.query.iter().chain(&self.headers).flat_map(|(_, template)| template.holes()));
        found.extend(self.body.holes());
        found
    }
}

fn issuer(step: Step, written: Option<&str>, vars: &BTreeSet<String>) -> Result<Option<Template>, Flaw> {
    if written.is_some() && step != Step::Authorize {
        return Err(Flaw::new("only a callback names its issuer: write it under [authorize]"));
    }
    written.map(|text| Template::parse(text, AllowedNames { vars, built_in: &[] })).transpose()
}

/// A step must be there or not from the beginning on: what decides about it has a value, and always one of a few.
fn only_where(
    written: &BTreeMap<String, String>,
    vars: &BTreeMap<String, Var>,
) -> Result<BTreeMap<String, String>, Flaw> {
    for (name, wanted) in written {
        let Some(var) = vars.get(name) else {
            let cure = suggest::hint(name, vars.keys().map(String::as_str));
            return Err(Flaw::new(format!("`{name}` is not a variable; {cure}")).under(name));
        };
        let values = var.one_of().unwrap_or_default();
        let has_value = var.default_value().is_some() || var.is_mandatory();
        if values.is_empty() || !has_value {
            let problem = "decides about a step, so it needs an `enum`, and a `default` or to be mandatory";
            return Err(Flaw::new(problem).under(name));
        }
        if !values.contains(wanted) {
            let cure = suggest::hint(wanted, values.iter().map(String::as_str));
            return Err(Flaw::new(format!("`{wanted}` is not one of its values; {cure}")).under(name));
        }
    }
    Ok(written.clone())
}

fn spends(step: Step, written: Option<&[Spent]>) -> Result<Option<bool>, Flaw> {
    let Some(written) = written else { return Ok(None) };
    let right = match step {
        Step::Refresh => Some(Spent::Refresh),
        Step::Exchange => Some(Spent::Code),
        _ => None,
    };
    if written.iter().all(|spent| Some(*spent) == right) {
        Ok(Some(!written.is_empty()))
    } else {
        Err(Flaw::new(
            "a refresh spends `refresh`, an exchange spends `code`, and no other step spends anything",
        ))
    }
}
